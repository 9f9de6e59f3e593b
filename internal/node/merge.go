package node

import (
	"strconv"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/hub"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// before is what was known of a commit before it was judged.
type before struct {
	store.Wait      // if it waits
	waits      bool // not all of it counted
	arrived    bool // some of it counted
	quiet      bool // what it brings is not told: its watches start over
}

// data stores a data commit and merges what of it is valid.
func (t *txn) data(sp *space, f arriving, own bool) error {
	var was before
	if f.had != nil {
		var err error
		if was.Wait, was.waits, err = t.b.WaitOf(sp.num, f.ls.Num, f.Seq); err != nil {
			return err
		}
		// If ops came that were missing, it arrives again.
		was.arrived = f.Ops() == f.had.Ops() && (was.Arrived || !was.waits && f.had.Ops() > 0)
	}
	t.keep(sp)
	size := t.put(f.ls, f.Commit)
	return t.merge(sp, f.ls, f.Commit, size, was, own)
}

// merge judges a commit's ops and merges the valid ones into the index. A
// commit with ops that are void or held waits as well. What this node writes
// itself is never held: its clock follows what it was shown.
func (t *txn) merge(sp *space, ls *logState, c *commit.Commit, size int, was before, own bool) error {
	held := !own && t.ahead(c)
	fresh := c.Clock > sp.state.Clock
	whole := c.Whole()
	waits, valid, changed := held, 0, 0
	var mask []byte // see store.Batch.Arrive
	var err error
	c.Each(func(i uint32, op *wire.Op) {
		if err != nil {
			return
		}
		yes := false
		if held || !ls.valid(sp.rules, c, op) {
			waits = true
		} else if yes, err = t.one(sp, ls, c, i, op, fresh, was.quiet); err == nil {
			valid++
		}
		if yes {
			changed++
		}
		if mask == nil && (!yes || !whole) {
			if mask = make([]byte, (c.Count+7)/8); whole {
				for j := range i {
					mask[j/8] |= 1 << (j % 8)
				}
			}
		}
		if yes && mask != nil {
			mask[i/8] |= 1 << (i % 8)
		}
	})
	if err != nil {
		return err
	}
	if valid > 0 {
		sp.state.Clock = max(sp.state.Clock, c.Clock)
	}
	arrives := valid > 0 && (changed > 0 || !was.arrived)
	if arrives && !was.quiet {
		t.arrive(sp, ls, c.Seq, mask)
	}
	t.wait(sp, ls, c, size, was, waits, was.arrived || arrives)
	if due := time.UnixMilli(int64(c.Clock >> 16)).Add(-MaxAhead); held && (sp.held.IsZero() || due.Before(sp.held)) {
		sp.held = due
	}
	return nil
}

// wait notes whether a commit waits.
func (t *txn) wait(sp *space, ls *logState, c *commit.Commit, size int, was before, waits, arrived bool) {
	if was.waits {
		sp.waiting -= int(was.Size)
	}
	now := store.Wait{Size: uint32(size), Arrived: arrived}
	switch {
	case waits:
		sp.waiting += size
		if !was.waits || now != was.Wait {
			t.b.SetWaiting(sp.num, ls.Num, c.Seq, now)
		}
	case was.waits:
		t.b.ClearWaiting(sp.num, ls.Num, c.Seq)
	}
}

// one merges one valid op. It reports whether that changed what is live.
func (t *txn) one(sp *space, ls *logState, c *commit.Commit, index uint32, op *wire.Op, fresh, quiet bool) (bool, error) {
	slot := tree.SlotOf(op.Kind, deep(op))
	pos := store.Pos{Clock: c.Clock, Log: ls.Num, Seq: c.Seq, Index: index}
	at := tree.Stamp{Clock: c.Clock, Log: ls.ID, Seq: c.Seq, Index: index, Commit: c.ID}
	effect := tree.Newest(slot)
	if !fresh {
		now, cover, err := t.slots(sp, op.Path)
		if err != nil {
			return false, err
		}
		if effect = tree.Decide(slot, at, &now, cover); effect.Fate != tree.Live {
			return false, nil
		}
		if slot == tree.Other {
			if known, err := t.b.Has(sp.num, op.Path, slot, pos); known || err != nil {
				return false, err
			}
		}
	}
	if err := t.clear(sp, op.Path, slot, effect, at, fresh); err != nil {
		return false, err
	}
	t.b.SetSlot(sp.num, op.Path, slot, pos)
	sp.state.Deep = sp.state.Deep || slot == tree.Deep
	sp.state.Other = sp.state.Other || slot == tree.Other
	if !quiet {
		t.event(sp, ls, c, op, slot)
	}
	return true, nil
}

// slots reads what holds a path's slots, and the newest deep del above it.
func (t *txn) slots(sp *space, p sennit.Path) (now tree.Slots, cover tree.Stamp, err error) {
	at := func(p sennit.Path, s tree.Slot) (tree.Stamp, error) {
		pos, ok, err := t.b.At(sp.num, p, s)
		if !ok || err != nil {
			return tree.Stamp{}, err
		}
		return t.stamp(pos)
	}
	for s := tree.Put; s <= tree.Deep; s++ {
		if s == tree.Deep && !sp.state.Deep {
			break
		}
		if now[s], err = at(p, s); err != nil {
			return now, cover, err
		}
	}
	for sp.state.Deep && p != "" {
		p = p.Parent()
		s, err := at(p, tree.Deep)
		if err != nil {
			return now, cover, err
		}
		if cover.Before(s) {
			cover = s
		}
	}
	return now, cover, nil
}

// clear takes out of the index what an op covers. What it puts itself into the
// index overwrites what held its own slot.
func (t *txn) clear(sp *space, p sennit.Path, slot tree.Slot, e tree.Effect, at tree.Stamp, fresh bool) error {
	for s := tree.Put; s <= tree.Deep; s++ {
		if s != slot && e.Clears.Has(s) && (s != tree.Deep || sp.state.Deep) {
			t.b.ClearSlot(sp.num, p, s, store.Pos{})
		}
	}
	if fresh {
		if e.Clears.Has(tree.Other) && sp.state.Other {
			t.b.ClearOther(sp.num, p)
		}
		if e.Beneath {
			t.b.ClearUnder(sp.num, p)
		}
		return nil
	}
	type found struct {
		path sennit.Path
		slot tree.Slot
		pos  store.Pos
	}
	var dead []found
	collect := func(path sennit.Path, s tree.Slot, pos store.Pos) error {
		if path == p && s != tree.Other {
			return nil
		}
		stamp, err := t.stamp(pos)
		if err == nil && stamp.Before(at) {
			dead = append(dead, found{path, s, pos})
		}
		return err
	}
	var err error
	switch {
	case e.Beneath:
		err = t.b.Under(sp.num, p, collect)
	case e.Clears.Has(tree.Other) && sp.state.Other:
		err = t.b.Here(sp.num, p, func(s tree.Slot, pos store.Pos) error { return collect(p, s, pos) })
	}
	for _, d := range dead {
		t.b.ClearSlot(sp.num, d.path, d.slot, d.pos)
	}
	return err
}

// event tells watchers what an op changed. Kinds that are not interpreted
// change nothing that could be seen.
func (t *txn) event(sp *space, ls *logState, c *commit.Commit, op *wire.Op, slot tree.Slot) {
	if slot == tree.Other {
		return
	}
	u, err := update(sp, ls.author, c.Log, c.Seq, c.Clock, op, slot)
	if err != nil {
		return // can't be: the op was checked when it was decoded or made
	}
	t.events = append(t.events, hub.Event[*sennit.Update]{Space: sp.id, Path: op.Path, Deep: u.Deep, Data: u})
}

// update is what a put or del tells watchers.
func update(sp *space, author sennit.Principal, log sennit.Hash, seq, clock uint64, op *wire.Op, slot tree.Slot) (*sennit.Update, error) {
	u := &sennit.Update{Kind: sennit.Deleted, Space: sp.id, Deep: slot == tree.Deep}
	u.Node = sennit.Node{Path: op.Path, Author: author, Version: version(log, seq), Time: time.UnixMilli(int64(clock >> 16))}
	if slot != tree.Put {
		return u, nil
	}
	put, err := wire.DecodePut(op.Body)
	u.Kind, u.Node.Value = sennit.Set, put.Value
	return u, err
}

// deep reports whether an op deletes a subtree.
func deep(op *wire.Op) bool { return op.Kind == sennit.KindDel && op.Body[0] == 1 }

// version names a commit.
func version(log sennit.Hash, seq uint64) sennit.Version {
	return sennit.Version(sennit.Space(log).String() + "-" + strconv.FormatUint(seq, 10))
}
