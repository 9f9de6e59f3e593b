package node

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/hub"
	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/wire"
)

// Follow is a space that this node replicates, and how.
type Follow struct {
	Space    sennit.Space `json:"-"`
	Name     string       `json:"name,omitempty"`   // petname, "" if none
	Prefixes prefix.Set   `json:"prefixes"`         // what it takes of the space; an edit that leaves none means everything
	Mode     string       `json:"mode"`             // Live or Full
	Newest   int          `json:"newest,omitempty"` // so many values are asked for before the rest, at most wire.MaxNewest
	Hosts    []Host       `json:"hosts,omitempty"`  // replicas that its user chose, the preferred one first; at most MaxHosts
}

// Modes of a follow.
const (
	Live = "live" // what counts now, and of what was superseded what undoing takes
	Full = "full" // all that sources still hold and all that ever arrives; nothing is collected
)

// Host is a replica of a space: its transport key, and where it can be reached.
type Host struct {
	Key   string   `json:"host"`
	Addrs []string `json:"addrs,omitempty"` // multiaddrs
}

// MaxHosts is how many hosts a follow can be given.
const MaxHosts = 8

// Prefer puts a host before the others of a follow. If there are too many then,
// the last one is dropped.
func (f *Follow) Prefer(h Host) {
	others := slices.DeleteFunc(slices.Clone(f.Hosts), func(o Host) bool { return o.Key == h.Key })
	f.Hosts = append([]Host{h}, others[:min(len(others), MaxHosts-1)]...)
}

// Names of local records: of a follow, by space, and of a space, by petname.
const (
	followKey = "follow/"
	nameKey   = "name/"
)

// Follows lists what this node follows, by space.
func (n *Node) Follows() ([]Follow, error) {
	var all []Follow
	err := n.Locals(followKey, func(name string, b []byte) error {
		id, err := sennit.ParseSpace(name[len(followKey):])
		if err != nil {
			return damagedFollow(err)
		}
		f, err := decodeFollow(id, b)
		if id != n.self.Space { // which is not followed, but may be kept in full
			all = append(all, f)
		}
		return err
	})
	return all, err
}

func decodeFollow(id sennit.Space, b []byte) (f Follow, err error) {
	if b != nil {
		was := struct { // written when a follow had one host
			*Follow
			Host  string   `json:"host"`
			Addrs []string `json:"addrs"`
		}{Follow: &f}
		if err = json.Unmarshal(b, &was); was.Host != "" {
			f.Prefer(Host{was.Host, was.Addrs})
		}
	}
	if f.Space = id; err != nil {
		err = damagedFollow(err)
	}
	if b != nil && len(f.Prefixes) == 0 {
		f.Prefixes = prefix.All() // what was written before there were parts
	}
	return f, err
}

// canonical brings the prefixes of a follow into their one form, and fails with
// BadInput if they are none, or they or the hosts are too many.
func (f *Follow) canonical() error {
	if n := len(f.Hosts); n > MaxHosts {
		return sennit.Errorf(sennit.BadInput, "there are %d nodes to reach for; at most %d are allowed", n, MaxHosts)
	}
	if f.Newest < 0 || f.Newest > wire.MaxNewest {
		return sennit.Errorf(sennit.BadInput, "the newest %d values are asked for first; 0 to %d are allowed", f.Newest, wire.MaxNewest)
	}
	if len(f.Prefixes) == 0 {
		f.Prefixes = prefix.All()
	}
	for _, p := range f.Prefixes {
		if q, err := sennit.ParsePath(string(p)); err != nil {
			return err
		} else if q != p {
			return sennit.Errorf(sennit.BadInput, "%q is not a path in its canonical form, which is %q", p, q)
		}
	}
	f.Prefixes = prefix.Of(f.Prefixes...)
	if n := len(f.Prefixes); n > wire.MaxScope {
		return sennit.Hint(sennit.Errorf(sennit.BadInput, "there are %d prefixes; at most %d are allowed", n, wire.MaxScope), "follow what they lie under")
	}
	return nil
}

// Keeps is what this node keeps up to date of a space: all of its own, of
// another what it follows. More of it may be here: what this node wrote
// elsewhere, or took before it followed less.
func (n *Node) Keeps(id sennit.Space) (prefix.Set, error) {
	if id == n.self.Space {
		return prefix.All(), nil
	}
	f, err := n.Follow(id)
	return f.Prefixes, err
}

// Follow is how a space is followed; it has no Mode if it isn't.
func (n *Node) Follow(id sennit.Space) (f Follow, err error) {
	b, err := n.Local(followKey + id.String())
	if err != nil {
		return f, err
	}
	return decodeFollow(id, b)
}

func damagedFollow(why error) error {
	return sennit.Errorf(sennit.Internal, "the record of a follow is damaged: %w", why)
}

// EditFollow follows a space, changes how, or stops it: edit gets what there
// is and changes it. Without a Mode a space is not followed; what is here of it
// stays. So does what is here when less of a space is followed than before; when
// more is, what is missing is fetched. Edits don't overlap. A space that is
// followed is known, so that it can be watched before anything of it is here. It
// fails with Conflict if the name is that of another space, and with BadInput if
// there are more than wire.MaxScope prefixes or MaxHosts hosts, or a prefix isn't a path.
// The node's own space is not followed; only that its Mode is Full can be said of it.
func (n *Node) EditFollow(ctx context.Context, id sennit.Space, edit func(f *Follow)) error {
	return n.submit(ctx, &request{space: id, done: make(chan result, 1), follow: edit}).err
}

// Unfollow stops following a space.
func (n *Node) Unfollow(ctx context.Context, id sennit.Space) error {
	return n.EditFollow(ctx, id, func(f *Follow) { *f = Follow{} })
}

// editFollow changes the record of a follow, and tells the watches of @follows.
// It has a group commit of its own, so what is durable is all that there is.
func (t *txn) editFollow(id sennit.Space, edit func(*Follow)) error {
	key := followKey + id.String()
	old, err := t.n.Local(key)
	if err != nil {
		return err
	}
	was, err := decodeFollow(id, old)
	if err != nil {
		return err
	}
	f := was
	edit(&f)
	var b []byte
	own := id == t.n.self.Space
	if own && (f.Name != "" || len(f.Hosts) > 0) {
		return sennit.Errorf(sennit.BadInput, "this is your own space: only its mode can be set")
	}
	switch {
	case f.Mode == "", own && f.Mode == Live:
		f = Follow{}
	case f.Mode != Live && f.Mode != Full:
		return sennit.Hint(sennit.Errorf(sennit.BadInput, "there is no mode %.40q", f.Mode), "modes are live and full")
	default:
		if own {
			f.Prefixes = nil // all
		}
		if err := f.canonical(); err != nil {
			return err
		}
		if b, err = json.Marshal(f); err != nil {
			return err
		}
	}
	if bytes.Equal(b, old) {
		return nil
	}
	if f.Name != was.Name {
		if err := t.rename(id, was.Name, f.Name); err != nil {
			return err
		}
	}
	t.b.SetLocal(key, b)
	if sp := t.space(id); (was.Mode == "") != (f.Mode == "") {
		t.turn(sp)
	} else {
		t.keep(sp) // what is to be seen of it is as it was
	}
	t.events = append(t.events, hub.Event[*sennit.Update]{
		N: t.n.arrivals, Path: sennit.Path(followsTopic + "/" + id.String()),
	})
	return nil
}

// rename gives a space another petname; "" is none.
func (t *txn) rename(id sennit.Space, from, to string) error {
	if to != "" {
		switch have, err := t.n.Local(nameKey + to); {
		case err != nil:
			return err
		case have != nil && !bytes.Equal(have, id[:]):
			return sennit.Hint(sennit.Errorf(sennit.Conflict, "@%s is somebody else here", to), "choose another name")
		}
		t.b.SetLocal(nameKey+to, id[:])
	}
	if from != "" {
		t.b.SetLocal(nameKey+from, nil)
	}
	return nil
}
