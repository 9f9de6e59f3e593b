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
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	values := map[string][]byte{followKey + f.Space.String(): b}
	if f.Name != "" {
		if have, err := n.Local("name/" + f.Name); err != nil {
			return err
		} else if have != nil && !slices.Equal(have, f.Space[:]) {
			return sennit.Hint(sennit.Errorf(sennit.Conflict, "@%s is somebody else here", f.Name), "choose another name")
		}
		values["name/"+f.Name] = f.Space[:]
	}
	return n.submit(ctx, &request{space: f.Space, done: make(chan result, 1), follow: &f.Space, do: func(b *store.Batch) error {
		for name, value := range values {
			b.SetLocal(name, value)
		}
		return nil
	}}).err
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
