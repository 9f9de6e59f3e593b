package node

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/hub"
)

// Follow is a space that this node replicates, and how.
type Follow struct {
	Space    sennit.Space  `json:"-"`
	Name     string        `json:"name,omitempty"` // petname, "" if none
	Prefixes []sennit.Path `json:"prefixes"`
	Mode     string        `json:"mode"`            // "live" or "full"
	Host     string        `json:"host,omitempty"`  // a replica: its transport id
	Addrs    []string      `json:"addrs,omitempty"` // where it was reached
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
		all = append(all, f)
		return err
	})
	return all, err
}

func decodeFollow(id sennit.Space, b []byte) (f Follow, err error) {
	if b != nil {
		err = json.Unmarshal(b, &f)
	}
	if f.Space = id; err != nil {
		err = damagedFollow(err)
	}
	return f, err
}

func damagedFollow(why error) error {
	return sennit.Errorf(sennit.Internal, "the record of a follow is damaged: %w", why)
}

// EditFollow follows a space, changes how, or stops it: edit gets what there
// is and changes it. Without a Mode a space is not followed; what is here of it
// stays. Edits don't overlap. A space that is followed is known, so that it can
// be watched before anything of it is here. It fails with Conflict if the name
// is that of another space.
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
	if f.Mode == "" {
		f = Follow{}
	} else if b, err = json.Marshal(f); err != nil {
		return err
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
	t.keep(t.space(id))
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
