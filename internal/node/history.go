package node

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about what was: the versions of a value that collection has not
// dropped, and how one of them is brought back.

// Past is one change of a value, as it was made.
type Past struct {
	sennit.Node
	Kind  sennit.Kind
	Deep  bool  // of a del: of everything under Path
	Total int64 // of an add: its log's running total after it
	Shown bool  // it is what the path shows, or what makes it show nothing
}

// past is one op that concerns a path.
type past struct {
	at  tree.Stamp
	log *store.Log
	op  wire.Op
}

// History lists the changes of a value that are still held, newest first, at
// most limit of them. It looks through all ops that are held of the space.
func (n *Node) History(ctx context.Context, a sennit.Addr, limit int) ([]Past, error) {
	sp, v, err := (&view{n, n.Owner()}).open(a)
	if err != nil {
		return nil, err
	}
	defer v.Release()
	all, err := n.past(ctx, v, sp, func(p sennit.Path, deep bool) bool { return p == a.Path || deep && a.Path.Under(p) })
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, absent(a)
	}
	var list []Past
	for i, x := range all[:min(len(all), limit)] {
		p := Past{Kind: x.op.Kind, Deep: deep(&x.op), Shown: i == 0}
		p.Path, p.Version, p.Time = x.op.Path, version(x.log.ID, x.at.Seq), clockTime(x.at.Clock)
		p.Author = author(x.log.Rec)
		switch x.op.Kind {
		case sennit.KindPut:
			put, err := wire.DecodePut(x.op.Body)
			if err != nil {
				return nil, unreadable(p.Path, err)
			}
			p.Value = put.Value
		case sennit.KindAppend:
			chunk, err := wire.DecodeAppend(x.op.Body)
			if err != nil {
				return nil, unreadable(p.Path, err)
			}
			p.Value = sennit.Value{Type: chunk.Type, Data: chunk.Data}
		case sennit.KindAdd:
			add, err := wire.DecodeAdd(x.op.Body)
			if err != nil {
				return nil, unreadable(p.Path, err)
			}
			p.Total = add.Total
		}
		list = append(list, p)
	}
	return list, nil
}

// past gathers the ops that count and concern some paths, newest first.
func (n *Node) past(ctx context.Context, v *store.View, sp *space, concerns func(p sennit.Path, deep bool) bool) (all []past, err error) {
	if err := n.eachPast(ctx, v, sp, concerns, func(x past) error {
		all = append(all, x)
		return nil
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b past) int { return b.at.Compare(a.at) })
	return all, nil
}

// eachPast calls f for the ops that count and concern some paths, log by log.
func (n *Node) eachPast(ctx context.Context, v *store.View, sp *space, concerns func(p sennit.Path, deep bool) bool, f func(past) error) error {
	for _, l := range n.st.Logs(sp.num) {
		if l.Rec.Class != wire.Data {
			continue
		}
		size, err := v.Size(l.Num)
		if err != nil {
			return err
		}
		x := newTrial(sp.authority(), v, l, n.st.Branches(l.ID))
		var rec *wire.Stored
		var at uint64
		if err := v.OpRange(l.Num, 1, size, func(seq uint64, index uint32, raw []byte) error {
			if index == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			path, ok := wire.PathOf(raw)
			if !ok || !concerns(sennit.Path(path), raw[0] == byte(sennit.KindDel) && raw[len(raw)-9] == 1) {
				return nil
			}
			op, err := wire.DecodeOp(raw)
			if err != nil {
				return unreadable(sennit.Path(path), err)
			}
			if at != seq || rec == nil {
				if rec, err = v.Commit(l.Num, seq); err != nil || rec == nil {
					return err
				}
				at = seq
			}
			if counts, err := x.counts(seq, rec, &op); err != nil || !counts || n.early(rec.Clock) {
				return err
			}
			return f(past{tree.Stamp{Clock: rec.Clock, Log: l.ID, Seq: seq, Index: index, Commit: rec.ID}, l, op})
		}); err != nil {
			return err
		}
	}
	return nil
}

// early reports whether a clock is too far ahead for what bears it to count.
func (n *Node) early(clock uint64) bool {
	return clock>>16 > uint64(n.cfg.Now().Add(MaxAhead).UnixMilli())
}

// Overtaken lists the values at and under a path that came after a cursor and
// were older than what this node itself had written in the same place, or than
// its deletion of that: who set them had not seen it, and this node hadn't seen
// them. They show nowhere, and can be read with At for as long as they are held.
// Of several by one writer that came together only the last is listed, and none
// if a newer one came with them: it was made of the others.
//
// It lists about limit of them, and tells behind which cursor to go on; it is
// the same one if nothing came. It fails with Gone if the cursor is another
// store's.
func (n *Node) Overtaken(ctx context.Context, a sennit.Addr, since sennit.Cursor, limit int) (list []sennit.Node, next sennit.Cursor, err error) {
	sp, v, err := (&view{n, n.Owner()}).open(a)
	if err != nil {
		return nil, next, err
	}
	defer v.Release()
	if since != (sennit.Cursor{}) && (since.Epoch != n.st.Epoch() || since.N > v.N) {
		return nil, next, sennit.Hint(sennit.Errorf(sennit.Gone, "the cursor %s is of another store", since), "begin with the cursor of a watch")
	}
	next = sennit.Cursor{Epoch: n.st.Epoch(), N: v.N}
	bytes := 0
	err = v.Arrivals(sp.num, since.N, func(x store.Arrival) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case len(list) >= limit || bytes >= overtakenBytes:
			next.N = x.N - 1
			return store.ErrStop
		case x.Beaten == nil:
			return nil
		}
		l := n.st.LogByNum(x.Log)
		rec, err := v.Commit(x.Log, x.Seq)
		if l == nil || rec == nil || err != nil {
			return err
		}
		t := newTrial(sp.authority(), v, l, n.st.Branches(l.ID))
		return v.Ops(x.Log, x.Seq, func(i uint32, raw []byte) error {
			if !x.Lost(i) {
				return nil
			}
			op, err := wire.DecodeOp(raw)
			if err != nil {
				return unreadable(op.Path, err)
			}
			if counts, err := t.counts(x.Seq, rec, &op); !counts || err != nil || !op.Path.Under(a.Path) {
				return err
			}
			u, err := update(sp, author(l.Rec), version(l.ID, x.Seq), rec.Clock, &op, tree.Put)
			if err != nil {
				return unreadable(op.Path, err)
			}
			list = append(list, u.Node)
			bytes += len(u.Node.Value.Data)
			return nil
		})
	})
	return list, next, err
}

// overtakenBytes is how many bytes of values Overtaken lists at once, and those
// of one commit more.
const overtakenBytes = 1 << 20

// Undo takes the newest change of a value back: what was there before is set
// again, or nothing if nothing was. If the newest change deleted everything
// under the path, all of it comes back. It tells how many values were changed.
// It fails with NotFound if there is nothing to take back, or if what was there
// is not held any more.
func (n *Node) Undo(ctx context.Context, a sennit.Addr) (changed int, err error) {
	b := &view{n, n.Owner()}
	sp, v, err := b.open(a)
	if err != nil {
		return 0, err
	}
	defer v.Release()
	all, err := n.past(ctx, v, sp, func(p sennit.Path, deep bool) bool { return p.Under(a.Path) || deep && a.Path.Under(p) })
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(all, func(x past) bool { return x.op.Path == a.Path || deep(&x.op) && a.Path.Under(x.op.Path) })
	if i < 0 {
		return 0, sennit.Errorf(sennit.NotFound, "nothing that was done at %s is held", a)
	}
	last := &all[i]
	if last.op.Kind != sennit.KindPut && last.op.Kind != sennit.KindDel {
		return 0, sennit.Hint(sennit.Errorf(sennit.Unsupported, "the newest change at %s added to a counter or a stream, which can't be taken back", a),
			"add what makes up for it")
	}
	restored := shownBefore(all[i+1:], all[:i], a.Path, deep(&last.op))
	if !deep(&last.op) && len(restored) == 0 {
		if last.op.Kind == sennit.KindDel {
			return 0, gone(a, last)
		}
		restored = []wire.Op{n.op(sennit.KindDel, a.Path, wire.Del{}.Append(nil))}
	}
	if len(restored) == 0 {
		return 0, gone(a, last)
	}
	var changes []sennit.Change
	for _, op := range restored {
		c := sennit.Change{Kind: op.Kind, Path: op.Path}
		if op.Kind == sennit.KindPut {
			put, err := wire.DecodePut(op.Body)
			if err != nil {
				return 0, unreadable(op.Path, err)
			}
			c.Value = put.Value
		}
		if err := b.check(sp, sp.id, &c); err != nil {
			return 0, err
		}
		changes = append(changes, c)
	}
	for len(changes) > 0 {
		k, size := 0, 0
		for k < len(changes) && k < sennit.MaxOps && (k == 0 || size+len(changes[k].Value.Data)+2*sennit.MaxPath < sennit.MaxCommit) {
			size += len(changes[k].Value.Data) + len(changes[k].Path) + sennit.MaxType + 64
			k++
		}
		if _, err := b.commit(ctx, sp, sp.id, changes[:k]); err != nil {
			return changed, err
		}
		changed, changes = changed+k, changes[k:]
	}
	return changed, nil
}

func gone(a sennit.Addr, last *past) error {
	return sennit.Errorf(sennit.NotFound, "what was at %s before %s is not held any more", a, clockTime(last.at.Clock).UTC().Format(time.RFC3339))
}

// shownBefore is the puts that were shown when only older ops were there: at a
// path or, with under, everywhere under it, but for what is newer.
func shownBefore(older, newer []past, p sennit.Path, under bool) (puts []wire.Op) {
	var deeps []sennit.Path // that were newer than what comes
	done := map[sennit.Path]bool{}
	for _, x := range newer {
		done[x.op.Path] = true
	}
	for _, x := range older { // newest first
		q := x.op.Path
		switch {
		case deep(&x.op):
			deeps = append(deeps, q)
			continue
		case q != p && !(under && q.Under(p)), done[q], slices.ContainsFunc(deeps, func(d sennit.Path) bool { return q.Under(d) }):
			continue
		}
		if x.op.Kind == sennit.KindPut || x.op.Kind == sennit.KindDel {
			done[q] = true
		}
		if x.op.Kind == sennit.KindPut {
			puts = append(puts, x.op)
		}
	}
	slices.SortFunc(puts, func(a, b wire.Op) int { return cmp.Compare(a.Path, b.Path) })
	return puts
}
