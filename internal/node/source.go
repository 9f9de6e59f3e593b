package node

import (
	"cmp"
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about where a watch gets what the hub can't tell: the present
// state, and what arrived earlier.

// snapshot is the present state under patterns.
func (w *watch) snapshot(pats []pattern) []source {
	if w.o.Newest > 0 && len(pats) > 0 {
		return []source{w.newest(pats)}
	}
	var all []source
	for i, p := range pats {
		all = append(all, w.scan(p, pats[:i]))
	}
	return all
}

// selects reports whether one of some patterns selects a path.
func selects(pats []pattern, sp *space, p sennit.Path) bool {
	for _, t := range pats {
		if t.sp == sp && t.Match(p) {
			return true
		}
	}
	return false
}

// concerns reports whether what an op does at a path concerns some patterns.
func concerns(pats []pattern, sp *space, p sennit.Path, deep bool) bool {
	if !deep {
		return selects(pats, sp, p)
	}
	for _, t := range pats {
		if t.sp == sp && t.meets(p) {
			return true
		}
	}
	return false
}

// walk goes through the values under a path that are wanted, in order.
type walk struct {
	sp    *space
	root  sennit.Path
	want  func(sennit.Path) bool
	begun bool
	last  sennit.Path
}

// next shows values until the watch is full. It reports whether there may be
// more.
func (k *walk) next(w *watch) (more bool, err error) {
	var after *sennit.Path
	if k.begun {
		after = &k.last
	}
	err = w.lens().each(k.sp, k.root, after, func(path sennit.Path, s shown) error {
		if w.full() {
			more = true
			return store.ErrStop
		}
		k.begun, k.last = true, path
		if !k.want(path) {
			return nil
		}
		return w.show(k.sp, path, s)
	})
	return more, err
}

// lens is what the watch's sources look through.
func (w *watch) lens() lens { return w.b.n.through(w.view) }

// scan gives the values that a pattern selects, in order of path, without
// those that earlier patterns gave.
func (w *watch) scan(p pattern, earlier []pattern) source {
	want := func(path sennit.Path) bool { return p.Match(path) && !selects(earlier, p.sp, path) }
	if at := p.fixed(); p.Exact && at == sennit.Path(p.Path) {
		return func(w *watch) (bool, error) {
			s, ok, err := w.lens().shows(p.sp, at)
			if !ok || err != nil || !want(at) {
				return false, err
			}
			return false, w.show(p.sp, at, s)
		}
	}
	k := &walk{sp: p.sp, root: p.fixed(), want: want}
	return k.next
}

// show adds the value that a path shows, with the cursor of the sources.
func (w *watch) show(sp *space, path sennit.Path, s shown) error {
	return w.showAt(sp, path, s, w.base)
}

func (w *watch) showAt(sp *space, path sennit.Path, s shown, n uint64) error {
	node, err := w.lens().node(sp, path, s)
	if err == nil {
		w.add(sp, &sennit.Update{Kind: sennit.Set, Space: sp.id, Node: node}, n)
	}
	return err
}

// newest gives the newest values under patterns, newest first. It looks at the
// index of all of them and reads only those that it gives.
func (w *watch) newest(pats []pattern) source {
	type item struct {
		p    pattern
		path sennit.Path
		shown
		at tree.Stamp
	}
	var best []item
	done := false
	older := func(a, b item) int { return b.at.Compare(a.at) }
	return func(w *watch) (bool, error) {
		for i, p := range pats {
			if done {
				break
			}
			if err := w.lens().each(p.sp, p.fixed(), nil, func(path sennit.Path, s shown) error {
				if !p.Match(path) || selects(pats[:i], p.sp, path) || !w.b.n.may(w.b.c, p.sp, sennit.Read, path) {
					return nil
				}
				at, err := w.b.n.stamp(w.view, s.newest)
				if err != nil {
					return err
				}
				if best = append(best, item{p, path, s, at}); len(best) >= 2*w.o.Newest+64 {
					slices.SortFunc(best, older)
					best = best[:w.o.Newest]
				}
				return nil
			}); err != nil {
				return false, err
			}
		}
		if !done {
			slices.SortFunc(best, older)
			best, done = best[:min(len(best), w.o.Newest)], true
		}
		for len(best) > 0 && !w.full() {
			if err := w.show(best[0].p.sp, best[0].path, best[0].shown); err != nil {
				return false, err
			}
			best = best[1:]
		}
		return len(best) > 0, nil
	}
}

// changes is what arrived after n: every change in order for a tail, the
// present state of each changed path otherwise.
func (w *watch) changes(pats []pattern, n uint64) []source {
	var spaces []*space
	for _, p := range pats {
		if !slices.Contains(spaces, p.sp) {
			spaces = append(spaces, p.sp)
		}
	}
	var all []source
	if w.o.Tail {
		return append(all, w.complete(spaces, n), w.merged(pats, spaces, n))
	}
	for _, sp := range spaces {
		all = append(all, w.changed(pats, sp, n))
	}
	return all
}

// complete has the watch start over if something that arrived after n is gone,
// which a tail would have told. It gives nothing itself.
func (w *watch) complete(spaces []*space, n uint64) source {
	return func(w *watch) (bool, error) {
		for _, sp := range spaces {
			if state, err := w.view.SpaceState(sp.num); err != nil || state.Dropped > n {
				return false, cmp.Or(err, errReset)
			}
		}
		return false, nil
	}
}

// merged replays arrivals of several spaces in one order.
func (w *watch) merged(pats []pattern, spaces []*space, n uint64) source {
	return func(w *watch) (bool, error) {
		type arrival struct {
			sp *space
			store.Arrival
		}
		var next []arrival
		upTo := w.view.N
		for _, sp := range spaces {
			k := 0
			if err := w.view.Arrivals(sp.num, n, func(a store.Arrival) error {
				if k++; k > watchBatch {
					upTo = min(upTo, a.N-1)
					return store.ErrStop
				}
				next = append(next, arrival{sp, a})
				return nil
			}); err != nil {
				return false, err
			}
		}
		slices.SortFunc(next, func(a, b arrival) int { return cmp.Compare(a.N, b.N) })
		for _, a := range next {
			if a.N > upTo || w.full() {
				return true, nil
			}
			if err := w.replay(pats, a.sp, a.Arrival); err != nil {
				return false, err
			}
			n = a.N
		}
		n = max(n, upTo)
		return n < w.view.N, nil
	}
}

// replay gives the changes that a commit made when it arrived.
func (w *watch) replay(pats []pattern, sp *space, a store.Arrival) error {
	if a.Seq == 0 || a.Late {
		return errReset
	}
	l := w.b.n.st.LogByNum(a.Log)
	if l == nil || l.Rec.Class != wire.Data {
		return nil
	}
	rec, err := w.view.Commit(a.Log, a.Seq)
	if err != nil || rec == nil {
		return err
	}
	by, v := author(l.Rec), version(l.ID, a.Seq)
	return w.view.Ops(a.Log, a.Seq, func(i uint32, raw []byte) error {
		if !a.Changed(i) {
			return nil
		}
		op, err := wire.DecodeOp(raw)
		if err != nil {
			return unreadable(op.Path, err)
		}
		slot := tree.SlotOf(op.Kind, deep(&op))
		if slot == tree.Other || !concerns(pats, sp, op.Path, slot == tree.Deep) {
			return nil
		}
		switch slot {
		case tree.Append:
			body, err := wire.DecodeAppend(op.Body)
			if err != nil {
				return unreadable(op.Path, err)
			}
			w.add(sp, chunkUpdate(sp, by, v, rec.Clock, op.Path, &body, a.Between), a.N)
			return nil
		case tree.Add:
			// What a counter was then isn't kept. What isn't a counter now came
			// since, with an arrival of its own.
			s, _, err := w.lens().shows(sp, op.Path)
			if err != nil || s.adds == nil {
				return err
			}
			return w.showAt(sp, op.Path, s, a.N)
		}
		u, err := update(sp, by, v, rec.Clock, &op, slot)
		if err != nil {
			return unreadable(op.Path, err)
		}
		return w.tell(sp, u, a.N)
	})
}

// changed gives the present state of the paths of one space that changed.
func (w *watch) changed(pats []pattern, sp *space, n uint64) source {
	var paths []sennit.Path
	var dirty map[sennit.Path]bool // true: everything under it as well
	var beneath *walk
	want := func(p sennit.Path) bool { return selects(pats, sp, p) }
	return func(w *watch) (bool, error) {
		for !w.full() {
			switch {
			case beneath != nil:
				more, err := beneath.next(w)
				if more || err != nil {
					return more, err
				}
				beneath = nil
			case len(paths) > 0:
				p := paths[0]
				paths = paths[1:]
				if err := w.now(sp, p, dirty[p]); err != nil {
					return false, err
				}
				if dirty[p] {
					beneath = &walk{sp: sp, root: p, want: want}
					paths = paths[count(paths, func(q sennit.Path) bool { return q.Under(p) }):]
				}
			default:
				was := n
				var err error
				if dirty, n, err = w.dirty(pats, sp, n); err != nil || n == was {
					return false, err
				}
				for p := range dirty {
					paths = append(paths, p)
				}
				store.SortPaths(paths)
			}
		}
		return true, nil
	}
}

// count is how many paths at the beginning of a list are so.
func count(paths []sennit.Path, so func(sennit.Path) bool) int {
	i := slices.IndexFunc(paths, func(p sennit.Path) bool { return !so(p) })
	if i < 0 {
		return len(paths)
	}
	return i
}

// dirty collects paths that changed after arrival n, and says up to where.
func (w *watch) dirty(pats []pattern, sp *space, n uint64) (dirty map[sennit.Path]bool, next uint64, err error) {
	dirty, next = map[sennit.Path]bool{}, n
	err = w.view.Arrivals(sp.num, n, func(a store.Arrival) error {
		if len(dirty) >= watchBatch {
			return store.ErrStop
		}
		if next = a.N; a.Seq == 0 {
			return errReset
		}
		if l := w.b.n.st.LogByNum(a.Log); l == nil || l.Rec.Class != wire.Data {
			return nil
		}
		return w.view.Ops(a.Log, a.Seq, func(i uint32, raw []byte) error {
			if !a.Changed(i) {
				return nil
			}
			op, err := wire.DecodeOp(raw)
			if err != nil {
				return unreadable(op.Path, err)
			}
			if op.Kind <= sennit.KindAppend && concerns(pats, sp, op.Path, deep(&op)) {
				dirty[op.Path] = dirty[op.Path] || deep(&op)
			}
			return nil
		})
	})
	return dirty, next, err
}

// now gives the present state of a path. If all under it may have been deleted,
// it only says so; what is there now comes after.
func (w *watch) now(sp *space, p sennit.Path, deep bool) error {
	s, ok, err := w.lens().shows(sp, p)
	if err != nil {
		return err
	}
	if !ok || deep {
		return w.tell(sp, &sennit.Update{Kind: sennit.Deleted, Space: sp.id, Deep: deep, Node: sennit.Node{Path: p}}, w.base)
	}
	return w.show(sp, p, s)
}
