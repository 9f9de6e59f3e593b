package node

import (
	"context"
	"io"
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about putting a version together that is in no index: a counter,
// or a stream that was deleted since.

// gathered is the ops that were live at a path at the moment.
type gathered struct {
	adds   []counted
	chunks []chunk
	sure   bool // nothing that was live then can have been dropped
}

// counted is an add, with its total.
type counted struct {
	pos   store.Pos
	at    tree.Stamp
	total int64
}

// slot is where adds replace each other.
type addSlot struct {
	log   uint32
	since uint64
}

// gather finds what was live at the path at the moment among all ops that are
// held of the space.
func (m *moment) gather(ctx context.Context) (g gathered, err error) {
	n := m.b.n
	select {
	case n.gathering <- struct{}{}:
		defer func() { <-n.gathering }()
	case <-ctx.Done():
		return g, sennit.Errorf(sennit.CodeOf(ctx.Err()), "waiting to read a version of %s: %w", m.a, ctx.Err())
	}
	adds := map[addSlot]counted{}
	var reset tree.Stamp          // the newest deletion before the moment
	deletedSince := false         // and whether there is one after it
	grown := map[uint32]bool{}    // logs that counted here after it
	newest := map[uint32]uint64{} // of each log, its newest add before it: commit
	concerns := func(p sennit.Path, deep bool) bool { return p == m.a.Path || deep && m.a.Path.Under(p) }
	err = n.eachPast(ctx, m.v, m.sp, concerns, func(x past) error {
		after := m.at.Before(x.at)
		pos := store.Pos{Clock: x.at.Clock, Log: x.log.Num, Seq: x.at.Seq, Index: x.at.Index}
		switch x.op.Kind {
		case sennit.KindDel:
			if deletedSince = deletedSince || after; !after && reset.Before(x.at) {
				reset = x.at
			}
		case sennit.KindAdd:
			if after {
				grown[x.log.Num] = true
				return nil
			}
			add, err := wire.DecodeAdd(x.op.Body)
			if err != nil {
				return unreadable(m.a.Path, err)
			}
			newest[x.log.Num] = max(newest[x.log.Num], x.at.Seq)
			slot := addSlot{x.log.Num, add.Since}
			if have, ok := adds[slot]; !ok || have.at.Before(x.at) {
				adds[slot] = counted{pos, x.at, add.Total}
			}
		case sennit.KindAppend:
			if after {
				return nil
			}
			if len(g.chunks) == maxChunks {
				return sennit.Errorf(sennit.TooLarge, "the stream that was at %s has more than %d parts, too many to read it at a version after it was deleted", m.a, maxChunks)
			}
			body, err := wire.DecodeAppend(x.op.Body)
			if err != nil {
				return unreadable(m.a.Path, err)
			}
			g.chunks = append(g.chunks, chunk{pos, x.at, uint64(len(body.Data))})
		}
		return nil
	})
	if err != nil {
		return g, err
	}
	g.chunks = slices.DeleteFunc(g.chunks, func(k chunk) bool { return k.at.Before(reset) })
	for slot, x := range adds {
		if !tree.Resets(reset, x.at, slot.since) {
			g.adds = append(g.adds, x)
		}
	}
	// What was dropped was covered by something that is held: an add by a later
	// one of its log, anything by a deletion. So most logs can't lack anything.
	g.sure = true
	for _, l := range n.st.Logs(m.sp.num) {
		if l.Rec.Class != wire.Data || !deletedSince && !grown[l.Num] {
			continue
		}
		from := uint64(1)
		if m.op.Kind == sennit.KindAdd && !deletedSince {
			from = newest[l.Num] + 1
		}
		whole, err := m.whole(l, from, reset.Clock)
		if g.sure = g.sure && whole; err != nil {
			return g, err
		}
	}
	return g, nil
}

// whole reports whether all commits of a log are here, with all their ops, from
// seq on up to the moment, but for those before a clock. Clocks of a log ascend;
// whoever writes one in which they don't can only hide what they counted.
func (m *moment) whole(l *store.Log, seq, clock uint64) (bool, error) {
	whole, next := true, seq
	err := m.v.Commits(l.Num, seq, func(seq uint64, rec *wire.Stored) error {
		if rec.Clock < clock {
			next = seq + 1
			return nil
		}
		whole = whole && seq == next
		if next++; !whole || rec.Clock > m.at.Clock {
			return store.ErrStop
		}
		whole = len(rec.Gone) == 0
		return nil
	})
	return whole, err
}

// pieces is the content of a deleted stream.
type pieces struct {
	l      lens
	path   sennit.Path
	chunks []chunk
	ends   []uint64 // of each: how many bytes there are up to its end
}

// ReadAt reads like [io.ReaderAt].
func (c *pieces) ReadAt(ctx context.Context, p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, sennit.Errorf(sennit.BadInput, "reading from byte %d on", off)
	}
	for n < len(p) {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		at := uint64(off) + uint64(n)
		i, found := slices.BinarySearch(c.ends, at)
		if found {
			i++ // the byte behind an end is the next one's
		}
		if i >= len(c.chunks) {
			return n, io.EOF
		}
		body, err := c.l.chunk(c.path, c.chunks[i].pos)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], body.Data[at-(c.ends[i]-c.chunks[i].bytes):])
	}
	return n, nil
}

// Close implements [sennit.Content]: it holds nothing but the view.
func (*pieces) Close() error { return nil }
