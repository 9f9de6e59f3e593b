package node

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/hub"
	"github.com/sennit/sennit/internal/store"
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

const followKey = "follow/"

// Follows lists what this node follows, by space.
func (n *Node) Follows() ([]Follow, error) {
	var all []Follow
	err := n.Locals(followKey, func(name string, b []byte) error {
		var f Follow
		id, err := sennit.ParseSpace(name[len(followKey):])
		if err == nil {
			err = json.Unmarshal(b, &f)
		}
		if err != nil {
			return sennit.Errorf(sennit.Internal, "the record of a follow is damaged: %w", err)
		}
		f.Space = id
		all = append(all, f)
		return nil
	})
	return all, err
}

// SetFollow follows a space, or changes how. It makes the space known, so that
// it can be watched before anything of it is here, and tells the watches of
// @follows.
func (n *Node) SetFollow(ctx context.Context, f Follow) error {
	return n.follow(ctx, f.Space, func(b *store.Batch) error { return n.putFollow(b, f) })
}

// EditFollow changes how a space is followed; edit gets an empty Mode if it
// isn't, and reports whether it changed anything. What others change meanwhile
// is not lost.
func (n *Node) EditFollow(ctx context.Context, id sennit.Space, edit func(f *Follow) (changed bool)) error {
	return n.follow(ctx, id, func(b *store.Batch) error {
		raw, err := n.Local(followKey + id.String())
		if err != nil {
			return err
		}
		var f Follow
		if raw != nil {
			if err := json.Unmarshal(raw, &f); err != nil {
				return sennit.Errorf(sennit.Internal, "the record of a follow is damaged: %w", err)
			}
		}
		if f.Space = id; !edit(&f) {
			return nil
		}
		return n.putFollow(b, f)
	})
}

// follow does something about a follow. It has a group commit of its own, so
// that it finds all that was done before.
func (n *Node) follow(ctx context.Context, id sennit.Space, do func(*store.Batch) error) error {
	return n.submit(ctx, &request{space: id, done: make(chan result, 1), follow: &id, do: do}).err
}

func (n *Node) putFollow(b *store.Batch, f Follow) error {
	raw, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if f.Name != "" {
		have, err := n.Local("name/" + f.Name)
		if err != nil {
			return err
		}
		if have != nil && !slices.Equal(have, f.Space[:]) {
			return sennit.Hint(sennit.Errorf(sennit.Conflict, "@%s is somebody else here", f.Name), "choose another name")
		}
		b.SetLocal("name/"+f.Name, f.Space[:])
	}
	b.SetLocal(followKey+f.Space.String(), raw)
	return nil
}

// Unfollow stops following a space. What is here of it stays.
func (n *Node) Unfollow(ctx context.Context, id sennit.Space) error {
	values := map[string][]byte{followKey + id.String(): nil}
	err := n.Locals("name/", func(name string, b []byte) error {
		if slices.Equal(b, id[:]) {
			values[name] = nil
		}
		return nil
	})
	if err != nil {
		return err
	}
	return n.submit(ctx, &request{space: id, done: make(chan result, 1), follow: &id, do: func(b *store.Batch) error {
		for name, value := range values {
			b.SetLocal(name, value)
		}
		return nil
	}}).err
}

// follows is the event that a space is followed now, or isn't any more.
func (t *txn) follows(id sennit.Space) {
	t.keep(t.space(id)) // so that it can be watched before anything of it is here
	t.events = append(t.events, hub.Event[*sennit.Update]{
		N: t.n.arrivals, Path: sennit.Path(followsTopic + "/" + id.String()),
	})
}
