package node

import (
	"slices"
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
	waited     bool // none of it did, while it waited until now
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
	sp.state.Ops += uint64(f.Ops())
	if f.had != nil {
		sp.state.Ops -= uint64(f.had.Ops())
	}
	return t.merge(sp, f.ls, f.Commit, size, was, own)
}

// merge judges a commit's ops and merges the valid ones into the index. A
// commit with ops that are void or held waits as well. What this node writes
// itself is never held: its clock follows what it was shown.
func (t *txn) merge(sp *space, ls *logState, c *commit.Commit, size int, was before, own bool) error {
	held := !own && t.ahead(c)
	m := merging{t: t, sp: sp, ls: ls, c: c, fresh: c.Clock > sp.state.Clock, quiet: was.quiet, unheard: c.Seq > ls.peaks.Size || (was.waits || was.waited) && !was.arrived}
	arrival := store.Arrival{Log: ls.Num, Seq: c.Seq}
	waits, valid, whole := held, 0, c.Whole()
	var err error
	c.Each(func(i uint32, op *wire.Op) {
		if err != nil {
			return
		}
		counts, shows := false, false
		if !held {
			counts, err = t.valid(sp, ls, c, op)
		}
		switch {
		case err != nil:
		case !counts:
			waits = true
		default:
			if shows, err = m.one(i, op); err == nil {
				valid++
			}
		}
		if arrival.Mask == nil && (!shows || !whole) {
			if arrival.Mask = make([]byte, (c.Count+7)/8); whole {
				for j := range i {
					arrival.Mask[j/8] |= 1 << (j % 8)
				}
			}
		}
		if shows && arrival.Mask != nil {
			arrival.Mask[i/8] |= 1 << (i % 8)
		}
		if counts && m.lost {
			if arrival.Beaten == nil {
				arrival.Beaten = make([]byte, (c.Count+7)/8)
			}
			arrival.Beaten[i/8] |= 1 << (i % 8)
		}
	})
	if err != nil {
		return err
	}
	if valid > 0 {
		sp.state.Clock = max(sp.state.Clock, c.Clock)
	}
	arrives := valid > 0 && (m.changed || !was.arrived)
	arrival.Late, arrival.Between = m.late, m.between
	if arrives && !was.quiet {
		t.arrive(sp, arrival)
		if m.dead > maxDeaths {
			t.restart(sp)
		}
	}
	t.wait(sp, ls, c, size, was, waits, was.arrived || arrives)
	if due := clockTime(c.Clock).Add(-MaxAhead); held && (sp.held.IsZero() || due.Before(sp.held)) {
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

// maxDeaths bounds the values that a late deletion takes one by one from its
// watchers. Beyond, they start over.
const maxDeaths = 1000

// merging is a commit whose ops are being merged.
type merging struct {
	t     *txn
	sp    *space
	ls    *logState
	c     *commit.Commit
	fresh bool // it is newer than all that the space holds
	quiet bool // watchers aren't told

	unheard bool // this node knew nothing of it when it wrote what it wrote
	lost    bool // the op at hand: see store.Arrival

	version sennit.Version // of the commit, once somebody needs it

	changed bool // something lives now that didn't
	late    bool // see store.Arrival
	between bool // see store.Arrival
	dead    int  // values that late deletions took
}

// one merges one valid op. It reports whether that changed a value.
func (m *merging) one(index uint32, op *wire.Op) (shows bool, err error) {
	t, sp := m.t, m.sp
	m.lost = false
	slot := tree.SlotOf(op.Kind, deep(op))
	pos := store.Pos{Clock: m.c.Clock, Log: m.ls.Num, Seq: m.c.Seq, Index: index}
	switch slot {
	case tree.Add:
		return m.add(op, pos)
	case tree.Append:
		return m.append(op, pos)
	}
	effect := tree.Newest(slot)
	var covered covered
	if !m.fresh {
		at, err := t.stamp(pos) // as the others are made: one that is known must be recognised
		if err != nil {
			return false, err
		}
		now, cover, err := t.slots(sp, op.Path)
		if err != nil {
			return false, err
		}
		if effect = tree.Decide(slot, at, &now, cover); effect.Fate != tree.Live {
			m.lost = slot == tree.Put && m.unheard && m.beaten(at, append(now[:], cover)) && !m.setAgain(op.Path)
			m.nameBlob(slot, op) // it may be asked for, and kept
			return false, nil
		}
		if slot == tree.Other {
			if known, err := t.b.HasMany(sp.num, op.Path, slot, pos); known || err != nil {
				return false, err
			}
		}
		if covered, err = t.covered(sp, op.Path, effect, at, !now[tree.Put].IsZero()); err != nil {
			return false, err
		}
	}
	if err := t.clear(sp, op.Path, slot, effect, m.fresh, covered.dead); err != nil {
		return false, err
	}
	m.changed = true
	if slot == tree.Other {
		t.b.SetMany(sp.num, op.Path, slot, pos, 0)
		t.many(sp)
		return false, nil // kinds that are not interpreted change nothing that could be seen
	}
	t.b.SetSlot(sp.num, op.Path, slot, pos)
	sp.state.Deep = sp.state.Deep || slot == tree.Deep
	t.blobs = m.nameBlob(slot, op) || t.blobs
	switch {
	case slot == tree.Put && sp.state.Many && !m.fresh:
		s, _, err := t.through().shows(sp, op.Path)
		if err != nil || s.newest != pos {
			return false, err // a counter or a stream is newer
		}
		fallthrough
	case slot == tree.Put || m.fresh || slot == tree.Deep && !covered.left:
		return true, m.tell(op, slot, op.Path)
	}
	// A deletion that comes late took only what is older.
	m.late = m.late || slot == tree.Deep && len(covered.values) > 0
	if m.dead += len(covered.values); m.dead <= maxDeaths {
		for _, p := range covered.values {
			told, err := m.tellPresent(p)
			m.late = m.late || told // what it left can't be told of later: who set it may have come long before
			if err == nil && !told {
				err = m.tell(op, tree.Del, p)
			}
			if err != nil {
				return false, err
			}
		}
	}
	return len(covered.values) > 0, nil
}

// add merges one valid add. It reports whether that changed what the path shows.
func (m *merging) add(op *wire.Op, pos store.Pos) (shows bool, err error) {
	t, sp := m.t, m.sp
	body, err := wire.DecodeAdd(op.Body)
	if err != nil {
		return false, unreadable(op.Path, err)
	}
	pos.Since = body.Since
	at, err := t.stamp(pos)
	if err != nil {
		return false, err
	}
	now, cover, err := t.slots(sp, op.Path)
	if err != nil {
		return false, err
	}
	// Branches of a log are one log: the newest of their totals counts.
	var have tree.Stamp
	var held []store.Pos
	for _, l := range t.b.Branches(m.ls.ID) {
		old, ok, err := t.b.Total(sp.num, op.Path, l.Num, pos.Since)
		if err != nil {
			return false, err
		}
		if ok {
			if have, err = t.stamp(old); err != nil {
				return false, err
			}
			held = append(held, old)
		}
	}
	if tree.DecideAdd(at, pos.Since, &now, cover, have) != tree.Live {
		return false, nil
	}
	for _, old := range held {
		t.b.ClearSlot(sp.num, op.Path, tree.Add, old)
	}
	t.b.SetSlot(sp.num, op.Path, tree.Add, pos)
	t.many(sp)
	m.changed = true
	l := t.through()
	s, _, err := l.shows(sp, op.Path)
	if err != nil || s.adds == nil {
		return false, err
	}
	return true, m.tellShown(l, op.Path, s)
}

// nameBlob notes that an op names a blob, if it does.
func (m *merging) nameBlob(slot tree.Slot, op *wire.Op) bool {
	if slot != tree.Put {
		return false
	}
	ref := wire.BlobOf(op.Body)
	if ref.Size > 0 {
		m.t.b.NameBlob(ref, m.sp.num, op.Path)
	}
	return ref.Size > 0
}

// beaten reports whether an op is older than one of those that this node itself
// wrote.
func (m *merging) beaten(at tree.Stamp, by []tree.Stamp) bool {
	return slices.ContainsFunc(by, func(s tree.Stamp) bool { return m.t.n.wrote[s.Log] && at.Before(s) })
}

// setAgain reports whether the run that is being taken sets a path again after the
// commit: who wrote it took the one for the base of the other.
func (m *merging) setAgain(p sennit.Path) bool {
	t := m.t
	if t.taking == nil {
		return false
	}
	if t.sets == nil {
		t.sets = map[sennit.Path]set{}
		for _, c := range t.taking.commits {
			c.Each(func(_ uint32, op *wire.Op) {
				if op.Kind == sennit.KindPut {
					t.sets[op.Path] = set{c, *op}
				}
			})
		}
	}
	last, ok := t.sets[p]
	if !ok || last.c.Seq <= m.c.Seq || t.ahead(last.c) {
		return false
	}
	counts, err := t.valid(m.sp, m.ls, last.c, &last.op)
	return counts && err == nil // whoever merges that op meets the error
}

// set is a put in a commit.
type set struct {
	c  *commit.Commit
	op wire.Op
}

// many notes that a path may hold more than its slots Put, Del and Deep.
func (t *txn) many(sp *space) {
	sp.state.Many = true
	sp.many.Store(true)
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

// covered is what an op covers that isn't newer than all that there is.
type covered struct {
	dead   []entry       // live ops that aren't any more, but for those in the path's own slots
	values []sennit.Path // where a value goes
	left   bool          // there are newer values, which stay
}

// value notes a path where a value goes.
func (c *covered) value(p sennit.Path) {
	if k := len(c.values); k == 0 || c.values[k-1] != p {
		c.values = append(c.values, p)
	}
}

type entry struct {
	path  sennit.Path
	slot  tree.Slot
	pos   store.Pos
	bytes uint64 // of a chunk
}

// covered looks for what an op covers. put says that there is a value at its path.
func (t *txn) covered(sp *space, p sennit.Path, e tree.Effect, at tree.Stamp, put bool) (c covered, err error) {
	if put && e.Clears.Has(tree.Put) {
		c.values = append(c.values, p)
	} else {
		c.left = put
	}
	look := func(path sennit.Path, s tree.Slot, pos store.Pos, bytes uint64) error {
		stamp, err := t.stamp(pos)
		dies := stamp.Before(at)
		if s == tree.Add {
			dies = tree.Resets(at, stamp, pos.Since)
		}
		switch {
		case err != nil:
			return err
		case !dies:
			c.left = c.left || visible(s)
		default:
			if c.dead = append(c.dead, entry{path, s, pos, bytes}); visible(s) {
				c.value(path)
			}
		}
		return nil
	}
	single := func(path sennit.Path, s tree.Slot, pos store.Pos) error {
		if path == p && s <= tree.Deep || s.Many() {
			return nil // it is decided already, or looked at by itself
		}
		return look(path, s, pos, 0)
	}
	switch {
	case e.Beneath:
		if err = t.b.Under(sp.num, p, single); err == nil && sp.state.Many {
			err = t.b.ManyUnder(sp.num, p, look)
		}
	case e.Clears.Has(tree.Other) && sp.state.Many:
		err = t.b.Here(sp.num, p, func(s tree.Slot, pos store.Pos) error { return single(p, s, pos) })
		if err == nil {
			err = t.b.Many(sp.num, p, func(s tree.Slot, pos store.Pos, bytes uint64) error { return look(p, s, pos, bytes) })
		}
	}
	slices.SortFunc(c.values, sennit.Path.Compare)
	c.values = slices.Compact(c.values)
	return c, err
}

// visible reports whether ops of a slot make a value.
func visible(s tree.Slot) bool { return s == tree.Put || s == tree.Add || s == tree.Append }

// clear takes out of the index what an op covers. What it puts itself into the
// index overwrites what held its own slot. If it is fresh, nothing is newer.
func (t *txn) clear(sp *space, p sennit.Path, slot tree.Slot, e tree.Effect, fresh bool, dead []entry) error {
	for s := tree.Put; s <= tree.Deep; s++ {
		if s != slot && e.Clears.Has(s) && (s != tree.Deep || sp.state.Deep) {
			t.b.ClearSlot(sp.num, p, s, store.Pos{})
		}
	}
	if fresh && e.Clears.Has(tree.Other) && sp.state.Many {
		t.b.ClearMany(sp.num, p)
	}
	if fresh && e.Beneath {
		t.b.ClearUnder(sp.num, p)
	}
	for _, d := range dead {
		switch {
		case !d.slot.Many():
			t.b.ClearSlot(sp.num, d.path, d.slot, d.pos)
		case d.slot == tree.Append:
			if err := t.shrink(sp, d); err != nil {
				return err
			}
			fallthrough
		default:
			t.b.DropMany(sp.num, d.path, d.slot, d.pos)
		}
	}
	return nil
}

// tell tells watchers what an op changed at a path.
func (m *merging) tell(op *wire.Op, slot tree.Slot, p sennit.Path) error {
	if m.quiet {
		return nil
	}
	if m.version == "" {
		m.version = version(m.c.Log, m.c.Seq)
	}
	u, err := update(m.sp, m.ls.author, m.version, m.c.Clock, op, slot)
	if err != nil {
		return unreadable(p, err)
	}
	u.Node.Path = p
	m.t.events = append(m.t.events, hub.Event[*sennit.Update]{Space: m.sp.id, Path: p, Deep: u.Deep, Data: u})
	return nil
}

// tellPresent tells watchers what a path shows now, in a space where a path may
// show something else when the register or some totals are gone. It reports
// whether there is anything to tell.
func (m *merging) tellPresent(p sennit.Path) (told bool, err error) {
	if !m.sp.state.Many {
		return false, nil
	}
	l := m.t.through()
	s, ok, err := l.shows(m.sp, p)
	if !ok || err != nil {
		return false, err
	}
	return true, m.tellShown(l, p, s)
}

// tellShown tells watchers what a path shows.
func (m *merging) tellShown(l lens, p sennit.Path, s shown) error {
	if m.quiet {
		return nil
	}
	node, err := l.node(m.sp, p, s)
	if err == nil {
		u := &sennit.Update{Kind: sennit.Set, Space: m.sp.id, Node: node}
		m.t.events = append(m.t.events, hub.Event[*sennit.Update]{Space: m.sp.id, Path: p, Data: u})
	}
	return err
}

// update is what a put or del tells watchers.
func update(sp *space, author sennit.Principal, v sennit.Version, clock uint64, op *wire.Op, slot tree.Slot) (*sennit.Update, error) {
	u := &sennit.Update{Kind: sennit.Deleted, Space: sp.id, Deep: slot == tree.Deep}
	u.Node = sennit.Node{Path: op.Path, Author: author, Version: v, Time: clockTime(clock)}
	if slot != tree.Put {
		return u, nil
	}
	put, err := wire.DecodePut(op.Body)
	u.Kind, u.Node.Value = sennit.Set, put.Value
	return u, err
}

// clockTime is the wall clock of an op's clock. What that counts within a
// millisecond is nanoseconds here, so that times are in the order of clocks.
func clockTime(clock uint64) time.Time {
	return time.UnixMilli(int64(clock >> 16)).Add(time.Duration(clock & 0xffff))
}

// deep reports whether an op deletes a subtree.
func deep(op *wire.Op) bool { return op.Kind == sennit.KindDel && op.Body[0] == 1 }

// version names a commit.
func version(log sennit.Hash, seq uint64) sennit.Version {
	return sennit.Version(sennit.Space(log).String() + "-" + strconv.FormatUint(seq, 10))
}
