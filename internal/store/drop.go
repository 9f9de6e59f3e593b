package store

import (
	"context"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about what collection removes.

// DropCommit removes a commit's record, and its ops.
func (b *Batch) DropCommit(log uint32, seq uint64, c *wire.Stored) {
	b.buf = commitKey(b.buf[:0], log, seq)
	b.del(b.buf)
	index := uint32(0)
	upTo := func(end uint32) {
		for ; index < end; index++ {
			b.DropOp(log, seq, index)
		}
	}
	for _, g := range c.Gone {
		upTo(g.First)
		index = g.First + g.N
	}
	upTo(c.Count)
}

// DropOp removes an op.
func (b *Batch) DropOp(log uint32, seq uint64, index uint32) {
	b.buf = opKey(b.buf[:0], log, seq, index)
	b.del(b.buf)
}

// DropBelow removes the nodes of a log's id tree that lie below one.
func (b *Batch) DropBelow(log uint32, at commit.Place) {
	for level := at.Level; level > 0; {
		level--
		from, to := at.Index<<(at.Level-level), (at.Index+1)<<(at.Level-level)
		b.delRange(nodeKey(nil, log, commit.Place{Level: level, Index: from}), nodeKey(nil, log, commit.Place{Level: level, Index: to}))
	}
}

// DropArrival forgets that something arrived.
func (b *Batch) DropArrival(space uint32, n uint64) {
	b.buf = arrivalKey(b.buf[:0], space, n)
	b.del(b.buf)
}

// Index calls f for where each op is that is live in a space, in no order.
func (v reads) Index(space uint32, f func(Pos) error) error {
	if err := v.Under(space, "", func(_ sennit.Path, slot tree.Slot, pos Pos) error {
		if slot.Many() {
			return nil // its ops are listed by themselves
		}
		return f(pos)
	}); err != nil {
		return err
	}
	return v.ManyUnder(space, "", func(_ sennit.Path, _ tree.Slot, pos Pos, _ uint64) error { return f(pos) })
}

// Shrink gives the room on disk back that removed data takes. Pebble does so
// by itself in time, but for logs: it keeps some files to be used again.
func (s *Store) Shrink(ctx context.Context) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	// Each flush begins a new log. Those that were kept are dropped instead of
	// used while lean is set.
	s.lean.Store(true)
	defer s.lean.Store(false)
	for range memTables + 2 {
		b := s.Batch()
		b.setMeta("epoch", s.epoch) // as it is: a log of nothing isn't ended
		if err := b.b.Commit(pebble.NoSync); err != nil {
			return sennit.Errorf(sennit.Internal, "shrink the store: %w", err)
		}
		if err := s.db.Flush(); err != nil {
			return sennit.Errorf(sennit.Internal, "shrink the store: %w", err)
		}
	}
	if err := s.db.Compact(ctx, []byte{0}, []byte{math.MaxUint8}, true); err != nil {
		return sennit.Errorf(sennit.CodeOf(err), "shrink the store: %w", err)
	}
	// Files that are of no use any more are removed one by one, so that a disk
	// isn't kept busy with it.
	for range shrinkTries {
		if s.db.Metrics().Table.ObsoleteSize == 0 {
			break
		}
		select {
		case <-time.After(shrinkWait):
		case <-ctx.Done():
			return sennit.Errorf(sennit.CodeOf(ctx.Err()), "shrink the store: %w", ctx.Err())
		}
	}
	return nil
}

// How long Shrink waits for files to be removed that are of no use any more.
const (
	shrinkWait  = 20 * time.Millisecond
	shrinkTries = 250
)
