package node

import (
	"cmp"
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about what a collection removes, in the committer.

// whole is a commit that goes away with all its ops that are here.
type whole struct {
	seq uint64
	ops uint32
}

// drop is what the committer removes at once.
type drop struct {
	folds  uint32 // of the space, when it was found to be superseded
	log    *store.Log
	whole  []whole             // commits, in order
	sparse map[uint64][]uint32 // ops of others
	stayed []whole             // those of whole that did not go: the committer says so
	heads  []commit.Place      // nodes of the log's tree below which nothing is left

	arrivals []uint64
	last     uint64 // the newest of which something is gone

	ended bool // the collection is over, and left so much
	kept  uint64
}

// drop removes what a collection found. What something newer covers stays
// covered, unless rules change.
func (t *txn) drop(sp *space, d *drop) error {
	if sp.state.Folds != d.folds {
		return errFolded
	}
	if full, err := t.n.KeepsAll(sp.id); full || err != nil {
		return cmp.Or(err, errKept)
	}
	t.keep(sp)
	if d.log != nil {
		ls, err := t.n.logState(t.loaded, d.log)
		if err != nil {
			return err
		}
		if err := t.dropWhole(sp, ls, d); err != nil {
			return err
		}
		for seq, ops := range d.sparse {
			if err := t.dropOps(sp, ls, seq, ops); err != nil {
				return err
			}
		}
		if err := t.dropNodes(ls, d.heads); err != nil {
			return err
		}
	}
	for _, n := range d.arrivals {
		t.b.DropArrival(sp.num, n)
	}
	sp.state.Dropped = max(sp.state.Dropped, d.last)
	sp.state.Torn = sp.state.Torn || len(d.whole) > 0
	if d.ended {
		sp.state.Kept, sp.state.Torn = d.kept, false
	}
	return nil
}

// dropWhole removes commits, but for those that a cut names. What their ids
// prove about others is kept: the heads of the largest subtrees of the log's tree
// that hold nothing else. A log that forked keeps its trees whole: which branch
// a commit is part of can be seen in its leaf only.
func (t *txn) dropWhole(sp *space, ls *logState, d *drop) error {
	all := d.whole
	forked, cuts := t.n.st.Forked(ls.ID), sp.rules.Cuts(ls.ID)
	var ids []sennit.Hash // of those that follow each other
	flush := func(end uint64) error {
		for _, head := range commit.Decompose(end-uint64(len(ids)), end) {
			mine := ids[:1<<head.Level]
			ids = ids[1<<head.Level:]
			if known, err := t.b.Node(ls.Num, head); head.Level > 0 && !forked && (err != nil || !known.IsZero()) {
				if err != nil {
					return err
				}
				t.b.DropBelow(ls.Num, head)
				continue
			}
			for i, id := range mine {
				t.b.PutNode(ls.Num, commit.Place{Index: head.Index<<head.Level + uint64(i)}, commit.Leaf(id[:]))
			}
		}
		return nil
	}
	next := uint64(0)
	drop := func(w whole, rec *wire.Stored) error {
		if present(rec) != w.ops || slices.ContainsFunc(cuts, func(c wire.Cut) bool { return c.Last == rec.ID }) {
			d.stayed = append(d.stayed, w)
			return nil // more of it has arrived, or it proves that others came before it
		}
		if w.seq != next && len(ids) > 0 {
			if err := flush(next - 1); err != nil {
				return err
			}
		}
		ids, next = append(ids, rec.ID), w.seq+1
		t.b.DropCommit(ls.Num, w.seq, rec)
		sp.state.Ops -= min(sp.state.Ops, uint64(w.ops))
		return nil
	}
	// Those that lie near each other are read in one go. Nothing else is in this
	// batch, so what was loaded is what there is.
	for len(all) > 0 {
		before := len(all)
		if err := t.loaded.Commits(ls.Num, all[0].seq, func(seq uint64, rec *wire.Stored) error {
			for len(all) > 0 && all[0].seq < seq {
				all = all[1:] // it isn't here any more
			}
			if len(all) == 0 || all[0].seq > seq+64 {
				return store.ErrStop
			}
			if all[0].seq > seq {
				return nil
			}
			w := all[0]
			all = all[1:]
			return drop(w, rec)
		}); err != nil {
			return err
		}
		if len(all) == before {
			break // nothing from there on is here any more
		}
	}
	return flush(next - 1)
}

// present is how many ops of a commit are here.
func present(rec *wire.Stored) uint32 {
	ops := rec.Count
	for _, g := range rec.Gone {
		ops -= g.N
	}
	return ops
}

// dropNodes removes what lies below nodes of a log's tree, if none of their
// commits has come back.
func (t *txn) dropNodes(ls *logState, heads []commit.Place) error {
	for _, head := range heads {
		begin, end := head.Index<<head.Level, (head.Index+1)<<head.Level
		next, some, err := t.b.NextCommit(ls.Num, begin+1)
		if err != nil {
			return err
		}
		known, err := t.b.Node(ls.Num, head)
		if err != nil {
			return err
		}
		if (!some || next > end) && !known.IsZero() {
			t.b.DropBelow(ls.Num, head)
		}
	}
	return nil
}

// dropOps removes some ops of a commit.
func (t *txn) dropOps(sp *space, ls *logState, seq uint64, ops []uint32) error {
	c, err := stored(t.b, ls.Log, seq)
	if err != nil || c == nil {
		return err
	}
	slices.Sort(ops)
	dropped := 0
	parts, err := c.Pick(func(i uint32, _ *wire.Op) bool {
		_, found := slices.BinarySearch(ops, i)
		if found {
			dropped++
			t.b.DropOp(ls.Num, seq, i)
		}
		return !found
	})
	if err != nil {
		return err
	}
	bare := *c
	bare.Parts = parts
	rec := bare.Stored()
	t.b.PutCommit(ls.Num, seq, &rec)
	sp.state.Ops -= min(sp.state.Ops, uint64(dropped))
	return nil
}
