package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"rsc.io/qr"

	"github.com/sennit/sennit"

	httpdoor "github.com/sennit/sennit/internal/door/http"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
)

// maxControl bounds the body of a request to /_node/.
const maxControl = 64 << 10

// Version is this program's version: the module's, as it was built.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// control serves /_node/: the node's own resources, in JSON, to its owner.
func (d *daemon) control() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(r *http.Request) (status int, answer any, err error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			status, answer, err := f(r)
			if err != nil {
				d.door.Fail(w, r, err)
				return
			}
			if answer == nil {
				w.WriteHeader(status)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(answer) // the caller went away
		})
	}
	handle("GET /_node/status", d.status)
	handle("GET /_node/id", d.identity)
	handle("GET /_node/follows", d.listFollows)
	handle("PUT /_node/follows/{space}", d.putFollow)
	handle("DELETE /_node/follows/{space}", d.deleteFollow)
	handle("GET /_node/invites", d.listInvites)
	handle("POST /_node/invites", d.addInvite)
	handle("DELETE /_node/invites/{id}", d.deleteInvite)
	handle("POST /_node/join", d.join)
	handle("GET /_node/tokens", d.listTokens)
	handle("POST /_node/tokens", d.addToken)
	handle("DELETE /_node/tokens/{id}", d.deleteToken)
	handle("GET /_node/rules", d.listRules)
	handle("POST /_node/rules", d.addRule)
	handle("GET /_node/saved", d.saved)
	handle("POST /_node/page", func(*http.Request) (int, any, error) { return d.openPage() })
	mux.HandleFunc("POST /_node/qr", d.qrCode)
	mux.HandleFunc("GET /_node/doctor", d.doctor)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !httpdoor.CallerOf(r.Context()).Owner() {
			d.door.Fail(w, r, sennit.Errorf(sennit.NotFound, "nothing at %s", r.URL.Path))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// read reads a request's JSON body into v. An unknown member is an error, so
// that a misspelt one isn't passed over.
func read(r *http.Request, v any) error {
	dec := json.NewDecoder(io.LimitReader(r.Body, maxControl))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return sennit.Errorf(sennit.BadInput, "the request's body makes no sense: %w", err)
	}
	return nil
}

// Status is the answer of GET /_node/status.
type Status struct {
	Version  string    `json:"version"`
	Space    string    `json:"space"`
	Device   string    `json:"device"`
	HTTP     string    `json:"http,omitempty"`
	Peer     []string  `json:"peer"`
	PID      int       `json:"pid"`
	Since    time.Time `json:"since"`
	Disk     Usage     `json:"disk"`
	Store    uint64    `json:"store"` // bytes
	Spaces   int       `json:"spaces"`
	Ops      uint64    `json:"ops"` // live, in the default space
	Peers    []Peer    `json:"peers"`
	Warnings []Finding `json:"warnings"`
}

// Peer is a session with another node.
type Peer struct {
	Host   string    `json:"host"`
	Space  string    `json:"space,omitempty"` // who it proved to be
	Addr   string    `json:"addr"`
	Since  time.Time `json:"since"`
	Synced int       `json:"synced"` // spaces of which both hold the same
	Spaces int       `json:"spaces"` // spaces that are replicated with it
}

// Finding is something that is wrong, and what to do about it.
type Finding struct {
	What  string `json:"what"`
	Where string `json:"where,omitempty"`
	Do    string `json:"do,omitempty"`
}

func (d *daemon) status(r *http.Request) (int, any, error) {
	s := Status{
		Version: Version(), Space: d.id.Space().String(), Device: d.id.Device().String(), HTTP: d.ready.HTTP,
		Peer: d.host.Addrs(), PID: os.Getpid(), Since: d.begun.UTC(), Store: d.store.DiskUsage(),
		Spaces: len(d.node.Spaces()), Peers: []Peer{}, Warnings: []Finding{},
	}
	digest, err := d.node.Bus(d.node.Owner()).Digest(r.Context(), sennit.Addr{Root: "me"})
	if err != nil {
		return 0, nil, err
	}
	s.Ops = digest.Ops
	for _, p := range d.rep.Peers() {
		out := Peer{Host: replicate.HostText(p.Host), Addr: p.Addr, Since: p.Since.UTC(), Spaces: len(p.Spaces)}
		if !p.Principal.Space.IsZero() {
			out.Space = p.Principal.Space.String()
		}
		for _, sp := range p.Spaces {
			if sp.Synced {
				out.Synced++
			}
		}
		s.Peers = append(s.Peers, out)
	}
	usage, _ := d.disk.look()
	s.Disk = usage
	if err := d.full(); err != nil {
		s.Warnings = append(s.Warnings, Finding{What: err.Error(), Do: sennit.HintOf(err)})
	}
	if words, err := d.id.Words(); err == nil && words != "" {
		s.Warnings = append(s.Warnings, Finding{What: "the recovery words were not written down yet", Do: "sennit id words"})
	}
	return http.StatusOK, s, nil
}

// Identity is the answer of GET /_node/id.
type Identity struct {
	Space   string   `json:"space"`
	Device  string   `json:"device"`
	Devices []Device `json:"devices"`
	Words   bool     `json:"words_pending"` // the recovery words can still be shown
}

// Device is a device of the identity.
type Device struct {
	Device string    `json:"device"`
	Name   string    `json:"name"`
	Added  time.Time `json:"added"`
}

func (d *daemon) identity(*http.Request) (int, any, error) {
	id := Identity{Space: d.id.Space().String(), Device: d.id.Device().String(), Devices: []Device{}}
	if state := d.node.Authority(d.id.Space()).Keys(); state != nil {
		for _, e := range state.Devices() {
			id.Devices = append(id.Devices, Device{e.Device.String(), e.Name, time.UnixMilli(int64(e.Added)).UTC()})
		}
	}
	words, err := d.id.Words()
	id.Words = err == nil && words != ""
	return http.StatusOK, id, nil
}

// Follow is a followed space.
type Follow struct {
	Space    string        `json:"space"`
	Name     string        `json:"name,omitempty"`
	Prefixes []sennit.Path `json:"prefixes"`
	Mode     string        `json:"mode"`
	Host     string        `json:"host,omitempty"`
	Addrs    []string      `json:"addrs,omitempty"`
	State    string        `json:"state"` // "live", "syncing" or "offline"
	Ops      uint64        `json:"ops"`
	Peers    int           `json:"peers"` // that it is replicated with now
	Problem  string        `json:"problem,omitempty"`
}

func (d *daemon) listFollows(r *http.Request) (int, any, error) {
	follows, err := d.node.Follows()
	if err != nil {
		return 0, nil, err
	}
	all := []Follow{}
	for _, f := range follows {
		out := Follow{
			Space: f.Space.String(), Name: f.Name, Prefixes: f.Prefixes, Mode: f.Mode, Host: f.Host, Addrs: f.Addrs, State: "offline",
		}
		for _, p := range d.rep.Peers() {
			for _, sp := range p.Spaces {
				if sp.Space != f.Space {
					continue
				}
				if out.Peers++; sp.Synced {
					out.State = "live"
				} else if out.State == "offline" {
					out.State = "syncing"
				}
			}
		}
		if host, err := sennit.ParseDevice(f.Host); err == nil && out.State == "offline" {
			if why := d.rep.Failure(replicate.Host(host)); why != nil {
				out.Problem = why.Error()
			}
		}
		if digest, err := d.node.Bus(d.node.Owner()).Digest(r.Context(), sennit.Addr{Root: f.Space.String()}); err == nil {
			out.Ops = digest.Ops
		}
		all = append(all, out)
	}
	return http.StatusOK, all, nil
}

func (d *daemon) putFollow(r *http.Request) (int, any, error) {
	space, err := sennit.ParseSpace(r.PathValue("space"))
	if err != nil {
		return 0, nil, err
	}
	var in struct {
		Name  string   `json:"name"`
		Mode  string   `json:"mode"`
		Host  string   `json:"host"`
		Addrs []string `json:"addrs"`
	}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	if space == d.id.Space() {
		return 0, nil, sennit.Errorf(sennit.BadInput, "this is your own space")
	}
	if in.Mode == "" {
		in.Mode = "live"
	}
	if in.Mode != "live" {
		return 0, nil, sennit.Errorf(sennit.Unsupported, "the mode %q is not there yet", in.Mode)
	}
	if _, err := sennit.ParseAddr("/@" + in.Name); in.Name != "" && err != nil {
		return 0, nil, sennit.Errorf(sennit.BadInput, "%q can't be a name: %w", in.Name, err)
	}
	if _, err := sennit.ParseDevice(in.Host); in.Host != "" && err != nil {
		return 0, nil, err
	}
	f := node.Follow{Space: space, Name: in.Name, Prefixes: []sennit.Path{""}, Mode: in.Mode, Host: in.Host, Addrs: in.Addrs}
	status := http.StatusCreated
	follows, err := d.node.Follows()
	if err != nil {
		return 0, nil, err
	}
	for _, have := range follows {
		if have.Space != space {
			continue
		}
		status = http.StatusOK
		if f.Name == "" {
			f.Name = have.Name
		}
		if f.Host == "" {
			f.Host, f.Addrs = have.Host, have.Addrs
		}
	}
	if err := d.node.SetFollow(r.Context(), f); err != nil {
		return 0, nil, err
	}
	return status, Follow{Space: space.String(), Name: f.Name, Prefixes: f.Prefixes, Mode: f.Mode, Host: f.Host, Addrs: f.Addrs, State: "offline"}, nil
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
		return 0, nil, sennit.Errorf(sennit.NotFound, "%s is not followed", space)
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
	life, err := time.ParseDuration(in.Expires)
	if err != nil {
		return 0, nil, sennit.Errorf(sennit.BadInput, "%q is not a time: write it as 30m, 24h or 168h", in.Expires)
	}
	open, err := sennit.ParsePath(in.Open)
	if err != nil {
		return 0, nil, err
	}
	reads, err := sennit.ParsePath(in.Reads)
	if err != nil {
		return 0, nil, err
	}
	inv, link, err := d.rep.NewInvite(r.Context(), replicate.Invite{Uses: in.Uses, Expires: time.Now().Add(life), Open: open, Reads: reads})
	if err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, struct {
		replicate.Invite
		Link string `json:"link"`
	}{inv, link}, nil
}

func (d *daemon) deleteInvite(r *http.Request) (int, any, error) {
	return http.StatusNoContent, nil, d.rep.RevokeInvite(r.Context(), r.PathValue("id"))
}

// Joined is the answer of POST /_node/join.
type Joined struct {
	Space string      `json:"space"`
	Name  string      `json:"name,omitempty"`
	Open  sennit.Path `json:"open,omitempty"`
	Ops   uint64      `json:"ops"` // of the inviter's space that are here
}

// joinWait is how long a join waits for the first sync.
const joinWait = 30 * time.Second

func (d *daemon) join(r *http.Request) (int, any, error) {
	var in struct {
		Link string `json:"link"`
		Name string `json:"name"`
	}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	if _, err := sennit.ParseAddr("/@" + in.Name); in.Name != "" && err != nil {
		return 0, nil, sennit.Errorf(sennit.BadInput, "%q can't be a name: %w", in.Name, err)
	}
	joined, err := d.rep.Join(r.Context(), in.Link, in.Name, d.spawn)
	if err != nil {
		return 0, nil, err
	}
	out := Joined{Space: joined.Space.String(), Name: in.Name, Open: joined.Open}
	ctx, cancel := context.WithTimeout(r.Context(), joinWait)
	defer cancel()
	d.rep.Synced(ctx, joined.Space)
	digest, err := d.node.Bus(d.node.Owner()).Digest(r.Context(), sennit.Addr{Root: out.Space})
	if err == nil {
		out.Ops = digest.Ops
	}
	return http.StatusOK, out, nil
}

func (d *daemon) listTokens(*http.Request) (int, any, error) {
	all, err := tokens{d.node}.list()
	out := []*token{}
	for _, tok := range all {
		out = append(out, tok)
	}
	slices.SortFunc(out, func(a, b *token) int { return a.Created.Compare(b.Created) })
	return http.StatusOK, out, err
}

func (d *daemon) addToken(r *http.Request) (int, any, error) {
	var in struct {
		Prefix  []string `json:"prefix"`
		May     []string `json:"may"`
		All     bool     `json:"all"`
		Expires string   `json:"expires"`
	}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	tok := token{Prefixes: in.Prefix, May: sennit.Read}
	var err error
	if len(in.May) > 0 {
		if tok.May, err = sennit.ParseRights(in.May); err != nil {
			return 0, nil, err
		}
	}
	switch {
	case in.All && len(in.Prefix) > 0:
		return 0, nil, sennit.Errorf(sennit.BadInput, "a token is for prefixes or for all, not both")
	case !in.All && len(in.Prefix) == 0:
		return 0, nil, sennit.Hint(sennit.Errorf(sennit.BadInput, "a token for what?"), "name a prefix (--prefix /me/notes), or say --all")
	case in.All && len(in.May) == 0:
		tok.May = sennit.AllRights
	}
	for i, p := range tok.Prefixes {
		a, err := sennit.ParseAddr(strings.TrimSuffix(p, "/"))
		if err != nil {
			return 0, nil, err
		}
		tok.Prefixes[i] = a.String()
	}
	if in.Expires != "" {
		life, err := time.ParseDuration(in.Expires)
		if err != nil || life <= 0 {
			return 0, nil, sennit.Errorf(sennit.BadInput, "%q is not a time: write it as 30m, 24h or 168h", in.Expires)
		}
		tok.Expires = time.Now().Add(life).UTC()
	}
	tok, text, err := tokens{d.node}.add(r.Context(), tok)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, struct {
		token
		Token string `json:"token"`
	}{tok, text}, nil
}

func (d *daemon) deleteToken(r *http.Request) (int, any, error) {
	return http.StatusNoContent, nil, tokens{d.node}.remove(r.Context(), r.PathValue("id"))
}

// Rule is a grant as it is listed.
type Rule struct {
	ID     string   `json:"id"`
	Prefix string   `json:"prefix"`
	Who    string   `json:"who"`
	May    []string `json:"may"`
	Where  string   `json:"where,omitempty"`
	Until  string   `json:"until,omitempty"`
	Author string   `json:"author"`
}

func (d *daemon) listRules(r *http.Request) (int, any, error) {
	a, err := sennit.ParseAddr(r.URL.Query().Get("path"))
	if err != nil {
		return 0, nil, err
	}
	space, err := d.node.Resolve(a.Root)
	if err != nil {
		return 0, nil, err
	}
	authority := d.node.Authority(space)
	if authority == nil {
		return 0, nil, sennit.Errorf(sennit.NotFound, "this node holds nothing of %s", a)
	}
	all := []Rule{}
	for _, rule := range authority.Rules(a.Path) {
		out := Rule{
			ID: rule.ID.Commit.String() + "-" + itoa(rule.ID.Index), Prefix: "/" + space.String() + "/" + string(rule.Grant.Prefix),
			Who: who(rule.Grant.Who), May: rule.Gives.Names(), Where: rule.Grant.Where, Author: rule.Author.Space.String(),
		}
		if rule.Grant.Until > 0 {
			out.Until = time.UnixMilli(int64(rule.Grant.Until)).UTC().Format(time.RFC3339)
		}
		all = append(all, out)
	}
	return http.StatusOK, all, nil
}

func (d *daemon) addRule(r *http.Request) (int, any, error) {
	var in struct {
		Who    string   `json:"who"`
		May    []string `json:"may"`
		Prefix string   `json:"prefix"`
		Where  string   `json:"where"`
	}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	a, err := sennit.ParseAddr(strings.TrimSuffix(in.Prefix, "/"))
	if err != nil {
		return 0, nil, err
	}
	space, err := d.node.Resolve(a.Root)
	if err != nil {
		return 0, nil, err
	}
	g := wire.Grant{Prefix: a.Path, Where: in.Where}
	if g.May, err = sennit.ParseRights(in.May); err != nil {
		return 0, nil, err
	}
	if g.Who, err = d.parseWho(in.Who); err != nil {
		return 0, nil, err
	}
	if _, err := wire.DecodeGrant(g.Append(nil)); err != nil {
		return 0, nil, sennit.Errorf(sennit.BadInput, "this makes no rule: %w", err)
	}
	v, err := d.node.Allow(r.Context(), d.node.Owner(), space, []wire.Grant{g})
	return http.StatusCreated, map[string]string{"version": string(v)}, err
}

// parseWho reads whom a rule is for.
func (d *daemon) parseWho(text string) (w wire.Who, err error) {
	if text == "any" {
		return wire.Who{Subject: wire.SubjectAny}, nil
	}
	if key, ok := strings.CutPrefix(text, "device:"); ok {
		device, err := sennit.ParseDevice(key)
		return wire.Who{Subject: wire.SubjectDevice, Key: device}, err
	}
	if kind, _, ok := strings.Cut(text, ":"); ok && (kind == "group" || kind == "board") {
		return w, sennit.Errorf(sennit.Unsupported, "rules for a %s are not interpreted yet", kind)
	}
	space, err := d.node.Resolve(text)
	if err != nil {
		return w, sennit.Hint(err, "rules are for any, a space id, @name or device:KEY")
	}
	return wire.Who{Subject: wire.SubjectSpace, Key: space}, nil
}

func who(w wire.Who) string {
	switch w.Subject {
	case wire.SubjectAny:
		return "any"
	case wire.SubjectSpace:
		return sennit.Space(w.Key).String()
	case wire.SubjectDevice:
		return "device:" + sennit.Device(w.Key).String()
	case wire.SubjectGroup:
		return "group:" + w.Group
	case wire.SubjectBoard:
		return "board:" + sennit.Space(w.Key).String()
	}
	return "?"
}

// Saved is the answer of GET /_node/saved: how many peers hold everything that
// this node holds of a space.
type Saved struct {
	Peers int `json:"peers"`
}

func (d *daemon) saved(r *http.Request) (int, any, error) {
	a, err := sennit.ParseAddr(r.URL.Query().Get("path"))
	if err != nil {
		return 0, nil, err
	}
	space, err := d.node.Resolve(a.Root)
	if err != nil {
		return 0, nil, err
	}
	n, err := d.rep.Saved(space)
	return http.StatusOK, Saved{n}, err
}

func (d *daemon) openPage() (int, any, error) {
	if d.http == nil {
		return 0, nil, sennit.Hint(sennit.Errorf(sennit.Unsupported, "the HTTP door is off"), "start the node without --http off")
	}
	return http.StatusCreated, map[string]string{"open": d.page()}, nil
}

// qrCode draws a text, at most what a link may have, as a QR code.
func (d *daemon) qrCode(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Text string `json:"text"`
	}
	err := read(r, &in)
	if err == nil && (in.Text == "" || len(in.Text) > 1024) {
		err = sennit.Errorf(sennit.BadInput, "a QR code holds 1 to 1,024 bytes here; this text has %d", len(in.Text))
	}
	if err != nil {
		d.door.Fail(w, r, err)
		return
	}
	code, err := qr.Encode(in.Text, qr.M)
	if err != nil {
		d.door.Fail(w, r, sennit.Errorf(sennit.BadInput, "this can't be drawn: %w", err))
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	_, _ = io.WriteString(w, svg(code)) // the caller went away
}

// svg draws a QR code with the quiet zone of four modules that readers need
// (ISO/IEC 18004 section 9.1).
func svg(code *qr.Code) string {
	var b strings.Builder
	side := itoa(uint32(code.Size + 8))
	b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="QR code" viewBox="0 0 ` + side + ` ` + side +
		`"><path fill="#fff" d="M0 0h` + side + `v` + side + `H0z"/><path d="`)
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				b.WriteString("M" + itoa(uint32(x+4)) + " " + itoa(uint32(y+4)) + "h1v1h-1z")
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return b.String()
}
