package daemon

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/peer"
	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
)

// Follow is a followed space.
type Follow struct {
	Space    string        `json:"space"`             // id of the space
	Name     string        `json:"name,omitempty"`    // what it is called here, without the @
	Prefixes []sennit.Path `json:"prefixes"`          // what is followed of it; "" is everything
	Mode     string        `json:"mode"`              // "live" or "full"
	Newest   int           `json:"newest,omitempty"`  // values that are asked for before the rest
	Host     string        `json:"host,omitempty"`    // the first of hosts
	Addrs    []string      `json:"addrs,omitempty"`   // multiaddrs of the first of hosts
	Hosts    []Host        `json:"hosts"`             // the nodes that have it, in the order in which they are tried
	State    string        `json:"state"`             // "live": equal to a peer's copy of all that is followed, "syncing" or "offline"
	Ops      uint64        `json:"ops"`               // live ops of it that are here
	Peers    int           `json:"peers"`             // nodes that it is replicated with now
	Problem  string        `json:"problem,omitempty"` // why the first of hosts can't be reached
}

// Host is a node that has a followed space, or is said to.
type Host struct {
	Host   string    `json:"host"`              // transport key
	Addrs  []string  `json:"addrs,omitempty"`   // multiaddrs
	Chosen bool      `json:"chosen"`            // by the user or with an invitation; else other nodes told of it
	Good   time.Time `json:"good,omitzero"`     // when both last held the same of the space; none: never
	State  string    `json:"state"`             // "connected" or "offline"
	Why    string    `json:"problem,omitempty"` // why it can't be reached
}

func (d *daemon) listFollows(r *http.Request) (int, any, error) {
	all, err := d.follows(r.Context())
	return http.StatusOK, all, err
}

func (d *daemon) follows(ctx context.Context) ([]Follow, error) {
	follows, err := d.node.Follows()
	if err != nil {
		return nil, err
	}
	sources, err := d.rep.Sources()
	if err != nil {
		return nil, err
	}
	peers, synced, connected := map[sennit.Space]int{}, map[sennit.Space]bool{}, map[replicate.Host]bool{}
	for _, p := range d.rep.Peers() {
		connected[p.Host] = true
		for _, sp := range p.Spaces {
			peers[sp.Space]++
			synced[sp.Space] = synced[sp.Space] || sp.Synced && sp.Whole
		}
	}
	all := []Follow{}
	for _, f := range follows {
		out := follow(f)
		out.Peers = peers[f.Space]
		switch {
		case synced[f.Space]:
			out.State = "live"
		case out.Peers > 0:
			out.State = "syncing"
		}
		out.name(d.hosts(sources[f.Space], connected))
		if len(out.Hosts) > 0 && out.State == "offline" {
			out.Problem = out.Hosts[0].Why
		}
		if out.Ops, err = d.held(ctx, f.Space); err != nil {
			return nil, err
		}
		all = append(all, out)
	}
	return all, nil
}

// follow is a follow as it is listed, before anything is known of its state.
func follow(f node.Follow) Follow {
	out := Follow{Space: f.Space.String(), Name: f.Name, Prefixes: f.Prefixes, Mode: f.Mode, Newest: f.Newest, State: "offline"}
	hosts := []Host{}
	for _, h := range f.Hosts {
		hosts = append(hosts, Host{Host: h.Key, Addrs: h.Addrs, Chosen: true, State: "offline"})
	}
	out.name(hosts)
	return out
}

// name says which hosts have the space.
func (f *Follow) name(hosts []Host) {
	if f.Hosts = hosts; len(hosts) > 0 {
		f.Host, f.Addrs = hosts[0].Host, hosts[0].Addrs
	}
}

// hosts lists who has a space.
func (d *daemon) hosts(sources []replicate.Source, connected map[replicate.Host]bool) []Host {
	all := []Host{}
	for _, s := range sources {
		h := Host{Host: replicate.HostText(s.Host), Addrs: s.Addrs, Chosen: s.Chosen, Good: s.Good.UTC(), State: "offline"}
		if connected[s.Host] {
			h.State = "connected"
		} else if why := d.rep.Failure(s.Host); why != nil {
			h.Why = why.Error()
		}
		all = append(all, h)
	}
	return all
}

// held counts the live ops that are here of what is followed of a space, and may
// be read.
func (d *daemon) held(ctx context.Context, space sennit.Space) (ops uint64, err error) {
	authority := d.node.Authority(space)
	if authority == nil { // nothing came yet
		return 0, nil
	}
	bus := d.node.Bus(d.node.Owner())
	keeps, err := d.node.Keeps(space)
	if err != nil {
		return 0, err
	}
	readable := prefix.Of(authority.Readable(d.node.Self(), uint64(d.cfg.Now().UnixMilli()))...)
	for _, p := range readable.And(keeps) {
		digest, err := bus.Digest(ctx, sennit.Addr{Root: space.String(), Path: p})
		if err != nil && sennit.CodeOf(err) != sennit.NotFound {
			return 0, err
		}
		ops += digest.Ops
	}
	return ops, nil
}

func (d *daemon) putFollow(r *http.Request) (int, any, error) {
	space, err := d.id.Space(), error(nil)
	if text := r.PathValue("space"); text != "me" {
		if space, err = sennit.ParseSpace(text); err != nil {
			return 0, nil, err
		}
	}
	var in struct {
		Name     string   `json:"name"`
		Prefixes []string `json:"prefixes"` // none: as before, or everything
		Mode     string   `json:"mode"`
		Newest   *int     `json:"newest"` // none: as before
		Hosts    []string `json:"hosts"`  // keys of nodes that have it; none here or in addrs: as before
		Addrs    []string `json:"addrs"`  // of these nodes, or of others if they end in /p2p/ and a key
	}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	switch {
	case in.Mode != "" && in.Mode != node.Live && in.Mode != node.Full:
		return 0, nil, sennit.Hint(sennit.Errorf(sennit.BadInput, "there is no mode %.40q", in.Mode), "modes are live and full")
	case space == d.id.Space() && (in.Mode == "" || in.Newest != nil || len(in.Name)+len(in.Prefixes)+len(in.Hosts)+len(in.Addrs) > 0):
		return 0, nil, sennit.Hint(sennit.Errorf(sennit.BadInput, "this is your own space"), "all that can be set of it is its mode")
	case len(in.Addrs) > node.MaxHosts*peer.MaxAddrs:
		return 0, nil, sennit.Errorf(sennit.BadInput, "there are %d addresses; at most %d are allowed", len(in.Addrs), node.MaxHosts*peer.MaxAddrs)
	}
	if err := d.vacantName(in.Name, space); err != nil {
		return 0, nil, err
	}
	hosts, err := parseHosts(in.Hosts, in.Addrs)
	if err != nil {
		return 0, nil, err
	}
	parts, err := parseParts(in.Prefixes)
	if err != nil {
		return 0, nil, err
	}
	status := http.StatusCreated
	var now node.Follow
	if err := d.node.EditFollow(r.Context(), space, func(f *node.Follow) {
		if f.Mode != "" {
			status = http.StatusOK
		}
		f.Mode = cmp.Or(in.Mode, f.Mode, node.Live)
		f.Name = cmp.Or(in.Name, f.Name)
		if in.Newest != nil {
			f.Newest = *in.Newest
		}
		if len(parts) > 0 {
			f.Prefixes = parts
		} else if len(f.Prefixes) == 0 {
			f.Prefixes = prefix.All()
		}
		if len(hosts) > 0 {
			f.Hosts = hosts
		}
		now = *f
	}); err != nil {
		return 0, nil, err
	}
	return status, follow(now), nil
}

// parseParts reads the prefixes that are followed of a space: paths in it, which
// may begin with a slash.
func parseParts(texts []string) (prefix.Set, error) {
	if len(texts) > wire.MaxScope {
		return nil, sennit.Errorf(sennit.BadInput, "there are %d prefixes; at most %d are allowed", len(texts), wire.MaxScope)
	}
	var parts []sennit.Path
	for _, text := range texts {
		p, err := sennit.ParsePath(strings.TrimPrefix(text, "/"))
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return prefix.Of(parts...), nil
}

// vacantName reports an error unless a space can be called name here. It may
// have that name already.
func (d *daemon) vacantName(name string, space sennit.Space) error {
	if name == "" {
		return nil
	}
	a, err := sennit.ParseAddr("/@" + name)
	if err != nil || a.Path != "" {
		return sennit.Errorf(sennit.BadInput, "%.80q can't be a name: it holds what no part of a path may", name)
	}
	if "@"+name == sennit.Follows {
		return sennit.Errorf(sennit.BadInput, "%q stands for everybody whom this node follows", "@"+name)
	}
	switch have, err := d.node.Resolve("@" + name); {
	case sennit.CodeOf(err) == sennit.NotFound:
		return nil
	case err != nil:
		return err
	case have != space:
		return sennit.Hint(sennit.Errorf(sennit.Conflict, "@%s is somebody else here: %s", name, have), "choose another name")
	}
	return nil
}

func (d *daemon) deleteFollow(r *http.Request) (int, any, error) {
	space, err := sennit.ParseSpace(r.PathValue("space"))
	if err != nil {
		return 0, nil, err
	}
	follows, err := d.node.Follows()
	if err != nil {
		return 0, nil, err
	}
	if !slices.ContainsFunc(follows, func(f node.Follow) bool { return f.Space == space }) {
		return 0, nil, sennit.Hint(sennit.Errorf(sennit.NotFound, "%s is not followed", space), "see: sennit follows")
	}
	return http.StatusNoContent, nil, d.node.Unfollow(r.Context(), space)
}

func (d *daemon) listInvites(*http.Request) (int, any, error) {
	all, err := d.rep.Invites()
	if all == nil {
		all = []replicate.Invite{}
	}
	return http.StatusOK, all, err
}

// Invited is the answer of POST /_node/invites.
type Invited struct {
	replicate.Invite
	Link string `json:"link"` // the invitation itself, told once
}

func (d *daemon) addInvite(r *http.Request) (int, any, error) {
	in := struct {
		Uses    int    `json:"uses"`
		Expires string `json:"expires"`
		Open    string `json:"open"`
		Reads   string `json:"reads"`
	}{Uses: 1, Expires: "168h"}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	life, err := lifetime(in.Expires)
	if err != nil {
		return 0, nil, err
	}
	own := func(text string) (sennit.Path, error) {
		a, space, err := d.where(text)
		if err == nil && space != d.id.Space() {
			err = sennit.Errorf(sennit.BadInput, "an invitation is into your own space, and %s is not in it", a)
		}
		return a.Path, err
	}
	open, err := own(in.Open)
	if err != nil {
		return 0, nil, err
	}
	reads, err := own(in.Reads)
	if err != nil {
		return 0, nil, err
	}
	inv, link, err := d.rep.NewInvite(r.Context(), replicate.Invite{Uses: in.Uses, Expires: d.cfg.Now().Add(life), Open: open, Reads: reads})
	if err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, Invited{inv, link}, nil
}

func (d *daemon) deleteInvite(r *http.Request) (int, any, error) {
	return http.StatusNoContent, nil, d.rep.RevokeInvite(r.Context(), r.PathValue("id"))
}

// Joined is the answer of POST /_node/join.
type Joined struct {
	Space string      `json:"space"`          // id of the inviter's space
	Name  string      `json:"name,omitempty"` // what it is called here, without the @
	Open  sennit.Path `json:"open,omitempty"` // path that the inviter wants shown first
	Ops   uint64      `json:"ops"`            // live ops of the inviter's space that are here
	Whole bool        `json:"synced"`         // that is all there is
}

// joinWait is how long a join waits for the first sync.
const joinWait = 30 * time.Second

func (d *daemon) join(r *http.Request) (int, any, error) {
	var in struct {
		Link     string   `json:"link"`
		Name     string   `json:"name"`
		Prefixes []string `json:"prefixes"` // of the inviter's space that are followed; none: as before, or everything
	}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	link, err := wire.ParseLink(in.Link)
	if err != nil {
		return 0, nil, err
	}
	// An invitation can be used once, so what can be wrong on this side is
	// found before.
	if err := d.vacantName(in.Name, link.Space); err != nil {
		return 0, nil, err
	}
	parts, err := parseParts(in.Prefixes)
	if err != nil {
		return 0, nil, err
	}
	for _, err := range []error{d.disk.full(), d.ahead()} {
		if err != nil {
			return 0, nil, err
		}
	}
	joined, err := d.rep.Join(r.Context(), in.Link, in.Name, parts, d.spawn)
	if err != nil {
		return 0, nil, err
	}
	name, err := d.call(r.Context(), joined.Space, in.Name)
	if err != nil {
		return 0, nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), joinWait)
	defer cancel()
	out := Joined{Space: joined.Space.String(), Name: name, Open: joined.Open, Whole: d.rep.Synced(ctx, joined.Space)}
	out.Ops, err = d.held(r.Context(), joined.Space)
	return http.StatusOK, out, err
}

// call gives a followed space the name that somebody asked for, if any, and
// tells what it is called then. One that was followed before the invitation
// was used had a name, or none, already.
func (d *daemon) call(ctx context.Context, space sennit.Space, name string) (string, error) {
	err := d.node.EditFollow(ctx, space, func(f *node.Follow) {
		if f.Mode != "" { // else it was unfollowed at the same moment
			f.Name = cmp.Or(name, f.Name)
		}
		name = f.Name
	})
	return name, err
}

// parseHosts reads where a follower is to look: the keys of nodes that have the
// space, and addresses. An address that ends in /p2p/ and a peer id, as nodes
// tell their own, names its node as well; the others are those of the one node
// that is named.
func parseHosts(named, addrs []string) (hosts []node.Host, err error) {
	at := map[sennit.Device]int{}
	add := func(key sennit.Device) *node.Host {
		i, ok := at[key]
		if !ok {
			i, at[key] = len(hosts), len(hosts)
			hosts = append(hosts, node.Host{Key: replicate.HostText(replicate.Host(key))})
		}
		return &hosts[i]
	}
	var only sennit.Device
	for _, text := range named {
		key, err := parseHostKey(text)
		if err != nil {
			return nil, err
		}
		only = key
		add(key)
	}
	for _, a := range addrs {
		if !strings.Contains(a, "/p2p/") {
			if len(named) != 1 {
				return nil, sennit.Hint(sennit.Errorf(sennit.BadInput, "the address %.128q doesn't say which node is there", a),
					"end it in /p2p/ and the node's peer id, as the node itself tells it, or name one node: --host KEY")
			}
			a += "/p2p/" + peer.ID(only).String()
		}
		id, _, err := peer.ParseAddr(a)
		if err != nil {
			return nil, err
		}
		h := add(sennit.Device(id))
		if h.Addrs = append(h.Addrs, a); len(h.Addrs) > peer.MaxAddrs {
			return nil, sennit.Errorf(sennit.BadInput, "there are more than %d addresses of one node", peer.MaxAddrs)
		}
	}
	return hosts, nil
}

// parseHostKey reads a node's key, as a peer id or as follows tell it.
func parseHostKey(text string) (sennit.Device, error) {
	if id, err := peer.ParseID(text); err == nil {
		return sennit.Device(id), nil
	}
	key, err := sennit.ParseDevice(text)
	if err != nil {
		return key, sennit.Errorf(sennit.BadInput, "%.80q is not a node's key: want a peer id that begins with 12D3KooW, or 52 lower-case base32 characters", text)
	}
	return key, nil
}
