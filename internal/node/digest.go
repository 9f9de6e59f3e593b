package node

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// trieBatch is how many changed paths go into the trie at once, which bounds
// the memory that bringing it up to date takes.
const trieBatch = 1 << 15

// Trie is a space's digest trie at one moment.
type Trie struct {
	*store.Trie
	N uint64 // arrivals that it covers
}

// Trie brings a space's trie up to date and reads it. The cost is that of what
// arrived since it was last asked for; what was done of that is kept when ctx
// ends. Release it with Done.
func (n *Node) Trie(ctx context.Context, id sennit.Space) (*Trie, error) {
	sp := n.space(id)
	if sp == nil {
		return nil, sennit.Errorf(sennit.NotFound, "this node holds nothing of space %s", id)
	}
	select {
	case sp.digests <- struct{}{}:
		defer func() { <-sp.digests }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	v, err := n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	state, err := v.SpaceState(sp.num)
	if err != nil {
		return nil, err
	}
	at, err := n.st.TrieAt(sp.num, state.Folds)
	if err != nil {
		return nil, err
	}
	for at < v.N {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		changes, next, err := n.changes(v, sp, at)
		if err != nil {
			return nil, err
		}
		if next == at {
			break
		}
		if at = next; len(changes) == 0 {
			continue // nothing to write down: it is found again at no cost
		}
		edit := n.st.EditTrie(sp.num, state.Folds)
		if err := tree.Update(edit, changes); err != nil {
			return nil, cmp.Or(err, edit.Done())
		}
		if err := edit.Commit(at); err != nil {
			return nil, sennit.Errorf(sennit.CodeOf(err), "write digests: %w", err)
		}
	}
	return &Trie{n.st.ReadTrie(sp.num, state.Folds), v.N}, nil
}

// changes works out which paths changed after arrival at, and what is live
// there now. next is the arrival up to which it got.
func (n *Node) changes(v *store.View, sp *space, at uint64) (changes []tree.Change, next uint64, err error) {
	dirty := map[sennit.Path]bool{} // true: everything under it as well
	next = at
	err = v.Arrivals(sp.num, at, func(a store.Arrival) error {
		if len(dirty) >= trieBatch {
			return store.ErrStop
		}
		next = a.N
		if l := n.st.LogByNum(a.Log); l == nil || l.Rec.Class != wire.Data {
			return nil
		}
		var clock uint64
		return v.Ops(a.Log, a.Seq, func(_ uint32, raw []byte) error {
			op, err := wire.DecodeOp(raw)
			if err != nil {
				return err
			}
			if tree.SlotOf(op.Kind, deep(&op)).Many() {
				if clock == 0 {
					rec, err := v.Commit(a.Log, a.Seq)
					if err != nil || rec == nil {
						return err
					}
					clock = rec.Clock
				}
				at := tree.Moment(op.Path, clock)
				dirty[at] = false // nothing is beneath a moment
				return nil
			}
			dirty[op.Path] = dirty[op.Path] || deep(&op)
			if op.Kind == sennit.KindDel && sp.many.Load() {
				dirty[tree.Moments(op.Path)] = true
			}
			return nil
		})
	})
	if err != nil || len(dirty) == 0 {
		return nil, next, err
	}
	var paths []sennit.Path
	for p, cleared := range dirty {
		paths = append(paths, p)
		if !cleared {
			continue
		}
		if of, _, ok := tree.OfMoment(p); ok {
			err = v.Many(sp.num, of, func(_ tree.Slot, pos store.Pos, _ uint64) error {
				paths = append(paths, tree.Moment(of, pos.Clock))
				return nil
			})
		} else {
			if err = v.Under(sp.num, p, func(q sennit.Path, _ tree.Slot, _ store.Pos) error {
				paths = append(paths, q)
				return nil
			}); err == nil {
				err = v.ManyUnder(sp.num, p, func(q sennit.Path, _ tree.Slot, pos store.Pos, _ uint64) error {
					paths = append(paths, tree.Moment(q, pos.Clock))
					return nil
				})
			}
		}
		if err != nil {
			return nil, at, err
		}
	}
	store.SortPaths(paths)
	paths = slices.Compact(paths)
	changes = make([]tree.Change, len(paths))
	for i, p := range paths {
		changes[i] = tree.Change{Path: p, Cleared: dirty[p]}
	}
	return changes, next, n.names(v, sp, changes, paths)
}

// names fills in the names of the ops that are live at each path.
func (n *Node) names(v *store.View, sp *space, changes []tree.Change, paths []sennit.Path) error {
	type live struct {
		change int
		pos    store.Pos
	}
	var ops []live
	if err := v.Each(sp.num, paths, func(i int, _ tree.Slot, pos store.Pos) error {
		ops = append(ops, live{i, pos})
		return nil
	}); err != nil {
		return err
	}
	slices.SortFunc(ops, func(a, b live) int {
		return cmp.Or(cmp.Compare(a.pos.Log, b.pos.Log), cmp.Compare(a.pos.Seq, b.pos.Seq))
	})
	places := make([]store.Place, len(ops))
	for i, o := range ops {
		places[i] = store.Place{Log: o.pos.Log, Seq: o.pos.Seq}
	}
	found := 0
	if err := v.IDs(places, func(i int, id sennit.Hash) error {
		c := &changes[ops[i].change]
		c.Names = append(c.Names, wire.OpRef{Commit: id, Index: ops[i].pos.Index})
		found++
		return nil
	}); err != nil {
		return err
	}
	if found != len(ops) {
		return sennit.Hint(sennit.Errorf(sennit.Internal, "the index of space %s names commits that aren't here", sp.id), "run: sennit doctor --verify")
	}
	for i := range changes {
		slices.SortFunc(changes[i].Names, tree.CompareNames)
	}
	return nil
}

// Digest implements [sennit.Bus].
func (b *view) Digest(ctx context.Context, a sennit.Addr) (sennit.Digest, error) {
	sp, v, err := b.open(a)
	if err != nil {
		return sennit.Digest{}, err
	}
	v.Release()
	if err := b.n.whole(sp.id, a); err != nil {
		return sennit.Digest{}, err
	}
	t, err := b.n.Trie(ctx, sp.id)
	if err != nil {
		return sennit.Digest{}, err
	}
	info, _, err := tree.Find(t, a.Path)
	if err = errors.Join(err, t.Done()); err != nil {
		return sennit.Digest{}, err
	}
	return sennit.Digest{Hash: info.Hash, Ops: info.Ops, Cursor: sennit.Cursor{Epoch: b.n.st.Epoch(), N: t.N}}, nil
}

// whole fails with Unsupported if this node follows only a part of what lies
// under a path: a digest of that part would pass for one of everything.
func (n *Node) whole(id sennit.Space, a sennit.Addr) error {
	keeps, err := n.Keeps(id)
	if err != nil || len(keeps) == 0 || keeps.Has(a.Path) {
		return err // what isn't followed any more is as it was
	}
	parts := make([]string, 0, 4)
	for _, p := range keeps[:min(len(keeps), 3)] {
		parts = append(parts, sennit.Addr{Root: a.Root, Path: p}.String())
	}
	if len(keeps) > 3 {
		parts = append(parts, "...")
	}
	return sennit.Hint(sennit.Errorf(sennit.Unsupported, "not all of %s is here: this node follows only %s", a, strings.Join(parts, ", ")),
		"ask about a part that is followed, or follow more")
}
