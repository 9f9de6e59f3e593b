package node

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
)

// This file is about holding two engines against each other that were given the
// same commits: what each derived from them must be the same.

// compare compares what both engines hold.
func (x *check) compare(ctx context.Context, trie *Trie) error {
	other := x.twin.space(x.sp.id)
	if other == nil {
		other = newSpace(x.sp.id, ^uint32(0)) // all of it was refused
	}
	w, err := x.twin.st.View()
	if err != nil {
		return err
	}
	defer w.Release()
	if err := x.damage(x.where(), x.index(ctx, w, other, (*Node).single)); err != nil {
		return err
	}
	if err := x.damage(x.where(), x.index(ctx, w, other, (*Node).many)); err != nil {
		return err
	}
	if err := x.damage(x.where(), x.arrived(w, other)); err != nil {
		return err
	}
	if other.num == ^uint32(0) {
		return nil
	}
	good, err := x.twin.Trie(ctx, other.id)
	if err != nil {
		return err
	}
	defer good.Done()
	same, err := trie.Same(good.Trie)
	if err == nil && !same {
		x.find(doRebuild, x.where(), "the digests are not those of what is live")
	}
	return x.damage(x.where(), err)
}

// index compares what is live at each path.
func (x *check) index(ctx context.Context, w *store.View, other *space, live func(*Node, *store.View, *space) iter.Seq2[liveAt, error]) error {
	have, stopHave := iter.Pull2(live(x.n, x.v, x.sp))
	defer stopHave()
	want, stopWant := iter.Pull2(live(x.twin, w, other))
	defer stopWant()
	a, err, more := have()
	b, err2, more2 := want()
	for (more || more2) && len(x.found) < maxFindings {
		if err = cmp.Or(err, err2, ctx.Err()); err != nil {
			return err
		}
		order := 0
		switch {
		case !more:
			order = 1
		case !more2:
			order = -1
		default:
			order = a.path.Compare(b.path)
		}
		where := "/" + x.sp.id.String() + "/"
		switch {
		case order < 0:
			x.find(doRebuild, where+string(a.path), "the index has %d ops there, and should have none", len(a.names))
		case order > 0:
			x.find(doRebuild, where+string(b.path), "the index has nothing there, and should have %d ops", len(b.names))
		case !slices.EqualFunc(a.names, b.names, liveName.equal):
			x.find(doRebuild, where+string(a.path), "the index has other ops there than it should")
		}
		if order <= 0 {
			a, err, more = have()
		}
		if order >= 0 {
			b, err2, more2 = want()
		}
	}
	return cmp.Or(err, err2)
}

// liveAt is what is live at one path.
type liveAt struct {
	path  sennit.Path
	names []liveName // sorted
}

type liveName struct {
	slot   tree.Slot
	clock  uint64
	log    sennit.Hash
	seq    uint64
	index  uint32
	commit sennit.Hash  // only where a log has several branches
	sum    store.Stream // of a stream; of a chunk, its bytes
}

func (a liveName) compare(b liveName) int {
	return cmp.Or(cmp.Compare(a.slot, b.slot), cmp.Compare(a.clock, b.clock), bytes.Compare(a.log[:], b.log[:]),
		cmp.Compare(a.seq, b.seq), cmp.Compare(a.index, b.index), bytes.Compare(a.commit[:], b.commit[:]))
}

// equal reports whether both are the same op. A log of which commits came in
// pieces may be taken for forked by one node and not by another, which doesn't
// look at commit ids then.
func (a liveName) equal(b liveName) bool {
	if a.commit.IsZero() || b.commit.IsZero() {
		a.commit, b.commit = sennit.Hash{}, sennit.Hash{}
	}
	return a == b
}

// single goes through what is live in a space in slots that hold one op, and
// what its streams come to, in names that mean the same to every node.
func (n *Node) single(v *store.View, sp *space) iter.Seq2[liveAt, error] {
	return n.live(v, func(take func(sennit.Path, tree.Slot, store.Pos, store.Stream) error) error {
		return v.Under(sp.num, "", func(p sennit.Path, slot tree.Slot, pos store.Pos) error {
			if slot != tree.Append {
				return take(p, slot, pos, store.Stream{})
			}
			s, _, err := v.Stream(sp.num, p)
			if err != nil {
				return err
			}
			s.Newest = store.Pos{} // its name says which it is
			return take(p, slot, pos, s)
		})
	})
}

// many goes through what is live in the other slots.
func (n *Node) many(v *store.View, sp *space) iter.Seq2[liveAt, error] {
	return n.live(v, func(take func(sennit.Path, tree.Slot, store.Pos, store.Stream) error) error {
		return v.ManyUnder(sp.num, "", func(p sennit.Path, slot tree.Slot, pos store.Pos, bytes uint64) error {
			return take(p, slot, pos, store.Stream{Bytes: bytes})
		})
	})
}

// live groups what a walk along the index gives by path.
func (n *Node) live(v *store.View, along func(take func(sennit.Path, tree.Slot, store.Pos, store.Stream) error) error) iter.Seq2[liveAt, error] {
	return func(yield func(liveAt, error) bool) {
		var at liveAt
		send := func() bool {
			slices.SortFunc(at.names, liveName.compare)
			return len(at.names) == 0 || yield(at, nil)
		}
		err := along(func(p sennit.Path, slot tree.Slot, pos store.Pos, sum store.Stream) error {
			stamp, err := n.stamp(v, pos)
			if err != nil {
				return err
			}
			if p != at.path {
				if !send() {
					return store.ErrStop
				}
				at = liveAt{path: p}
			}
			at.names = append(at.names, liveName{slot, pos.Clock, stamp.Log, pos.Seq, pos.Index, stamp.Commit, sum})
			return nil
		})
		if err != nil {
			yield(liveAt{}, err)
			return
		}
		send()
	}
}

// arrived compares which commits count: those are what followers are sent.
func (x *check) arrived(w *store.View, other *space) error {
	counts := map[sennit.Hash]bool{} // by id; true: on both sides
	state, err := x.v.SpaceState(x.sp.num)
	if err != nil {
		return err
	}
	torn := state.Torn
	add := func(n *Node, v *store.View, num uint32, f func(id sennit.Hash)) error {
		return v.Arrivals(num, 0, func(a store.Arrival) error {
			if a.Seq == 0 {
				return nil // watches started over
			}
			c, err := v.Commit(a.Log, a.Seq)
			if err != nil {
				return err
			}
			if c == nil && torn {
				return nil // a collection dropped it; the next one forgets that it was here
			}
			if c == nil {
				x.find(doRestore, x.where(), "arrival %d, commit %d of log %d, is not here", a.N, a.Seq, a.Log)
				return nil
			}
			f(c.ID)
			return nil
		})
	}
	if err := add(x.n, x.v, x.sp.num, func(id sennit.Hash) { counts[id] = false }); err != nil {
		return err
	}
	err = add(x.twin, w, other.num, func(id sennit.Hash) {
		if _, ok := counts[id]; !ok {
			x.find(doRebuild, x.where(), "commit %s counts, and is not among the arrivals: peers aren't sent it", id)
		}
		counts[id] = true
	})
	return err
}
