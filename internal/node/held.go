package node

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about what is held of a space's past, so that two nodes find what
// one of them lacks. docs/decisions/full.md says how they do.

// fewCommits is how many commits of a stretch are told one by one. A stretch
// that has more is told by prints of its parts.
const fewCommits = 64

// KeepsAll reports whether this node keeps all that ever arrived of a space.
func (n *Node) KeepsAll(id sennit.Space) (bool, error) {
	f, err := n.Follow(id)
	return f.Mode == Full, err
}

// heldReader is one reading of what is held of a space.
type heldReader struct {
	n       *Node
	v       *store.View
	num     uint32
	may     Filter
	salt    wire.Tag             // of prints
	waiting map[store.Place]bool // commits that don't count, or not wholly: they are no part of what is told
}

// heldReader begins a reading. The caller releases its view. ok is false if
// nothing is known of the space.
func (n *Node) heldReader(space sennit.Space, may Filter, salt wire.Tag) (h *heldReader, ok bool, err error) {
	num, ok := n.st.Space(space)
	if !ok {
		return nil, false, nil
	}
	v, err := n.st.View()
	if err != nil {
		return nil, false, err
	}
	h = &heldReader{n, v, num, may, salt, map[store.Place]bool{}}
	if err := v.Waiting(num, func(log uint32, seq uint64, _ store.Wait) error {
		h.waiting[store.Place{Log: log, Seq: seq}] = true
		return nil
	}); err != nil {
		v.Release()
		return nil, false, err
	}
	return h, true, nil
}

// ops is which ops of a commit are here, of those that may be told.
func (h *heldReader) ops(log uint32, seq uint64, rec *wire.Stored) ([]byte, error) {
	bits := make([]byte, (rec.Count+7)/8)
	if h.may == nil {
		gone := rec.Gone
		for i := uint32(0); i < rec.Count; i++ {
			if len(gone) > 0 && i == gone[0].First {
				i += gone[0].N - 1
				gone = gone[1:]
				continue
			}
			bits[i/8] |= 1 << (i % 8)
		}
	} else if err := h.v.Ops(log, seq, func(i uint32, raw []byte) error {
		op, err := wire.DecodeOp(raw)
		if err != nil {
			return unreadable(op.Path, err)
		}
		if h.may(op.Path, deep(&op)) && i < rec.Count {
			bits[i/8] |= 1 << (i % 8)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	return bytes.TrimRight(bits, "\x00"), nil
}

// each calls f for the commits of a stretch of which something may be told,
// branch by branch.
func (h *heldReader) each(ctx context.Context, s wire.Stretch, f func(id sennit.Hash, set wire.OpSet) error) error {
	first, last := s.Bounds()
	for _, l := range h.n.st.Branches(s.Log) {
		if l.Space != h.num || l.Rec.Class != wire.Data {
			continue
		}
		if err := h.v.Commits(l.Num, first, func(seq uint64, rec *wire.Stored) error {
			if seq > last {
				return store.ErrStop
			}
			if err := ctx.Err(); err != nil || h.waiting[store.Place{Log: l.Num, Seq: seq}] {
				return err
			}
			ops, err := h.ops(l.Num, seq, rec)
			if err != nil || len(ops) == 0 {
				return err
			}
			return f(rec.ID, wire.OpSet{Seq: seq, ID: [8]byte(rec.ID[:8]), Ops: ops})
		}); err != nil {
			return err
		}
	}
	return nil
}

// printOf is a commit's part in the print of a stretch. The salt is new in each
// session: nobody can write commits whose prints cancel each other out.
func printOf(salt wire.Tag, id sennit.Hash, ops []byte) uint64 {
	sum := sha256.Sum256(slices.Concat(salt[:], id[:], ops))
	return binary.BigEndian.Uint64(sum[:])
}

// HeldLogs tells of the logs of a space with ids after one, in order, at most
// limit of them: of each, what is held of it that may be told. It reads the
// records of all their commits.
func (n *Node) HeldLogs(ctx context.Context, space sennit.Space, may Filter, salt wire.Tag, after sennit.Hash, limit int) (logs []wire.HeldLog, more bool, err error) {
	h, ok, err := n.heldReader(space, may, salt)
	if !ok || err != nil {
		return nil, false, err
	}
	defer h.v.Release()
	var ids []sennit.Hash
	for _, l := range n.st.Logs(h.num) {
		if l.Rec.Class == wire.Data && bytes.Compare(l.ID[:], after[:]) > 0 {
			ids = append(ids, l.ID)
		}
	}
	slices.SortFunc(ids, func(a, b sennit.Hash) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range slices.Compact(ids) {
		if len(logs) == limit {
			return logs, true, nil
		}
		sum, last := uint64(0), uint64(0)
		if err := h.each(ctx, wire.Stretch{Log: id, Level: wire.MaxLevel}, func(id sennit.Hash, set wire.OpSet) error {
			sum, last = sum+printOf(h.salt, id, set.Ops), max(last, set.Seq)
			return nil
		}); err != nil {
			return nil, false, err
		}
		if last == 0 {
			continue
		}
		l := wire.HeldLog{Stretch: wire.Stretch{Log: id}}
		for last > 1<<(4*l.Level) {
			l.Level++
		}
		binary.BigEndian.PutUint64(l.Print[:], sum)
		logs = append(logs, l)
	}
	return logs, false, nil
}

// Print is the print of what is held of a stretch and may be told.
func (n *Node) Print(ctx context.Context, space sennit.Space, may Filter, salt wire.Tag, s wire.Stretch) (print [8]byte, err error) {
	h, ok, err := n.heldReader(space, may, salt)
	if !ok || err != nil {
		return print, err
	}
	defer h.v.Release()
	sum := uint64(0)
	err = h.each(ctx, s, func(id sennit.Hash, set wire.OpSet) error {
		sum += printOf(h.salt, id, set.Ops)
		return nil
	})
	binary.BigEndian.PutUint64(print[:], sum)
	return print, err
}

// Held tells what is held of a stretch and may be told: its commits, or, with
// parts or if they are many, prints of its parts.
func (n *Node) Held(ctx context.Context, space sennit.Space, may Filter, salt wire.Tag, s wire.Stretch, parts bool) (wire.HeldStretch, error) {
	out := wire.HeldStretch{Stretch: s}
	h, ok, err := n.heldReader(space, may, salt)
	if !ok || err != nil {
		return out, err
	}
	defer h.v.Release()
	var sums [16]uint64
	var some [16]bool
	count := 0
	if err := h.each(ctx, s, func(id sennit.Hash, set wire.OpSet) error {
		if count++; count <= fewCommits {
			out.Commits = append(out.Commits, set)
		}
		if s.Level > 0 {
			k := (set.Seq - 1) >> (4 * (s.Level - 1)) & 15
			sums[k], some[k] = sums[k]+printOf(h.salt, id, set.Ops), true
		}
		return nil
	}); err != nil {
		return out, err
	}
	if s.Level == 0 || count <= fewCommits && !parts {
		slices.SortFunc(out.Commits, func(a, b wire.OpSet) int {
			return cmp.Or(cmp.Compare(a.Seq, b.Seq), bytes.Compare(a.ID[:], b.ID[:]))
		})
		out.Commits = slices.CompactFunc(out.Commits, func(a, b wire.OpSet) bool { return a.Seq == b.Seq && a.ID == b.ID })
		return out, nil
	}
	out.Commits, out.Parts = nil, map[uint8][8]byte{}
	for k := range uint8(16) {
		if some[k] {
			var print [8]byte
			binary.BigEndian.PutUint64(print[:], sums[k])
			out.Parts[k] = print
		}
	}
	return out, nil
}

// Lacks tells which of some ops of a log are not here.
func (n *Node) Lacks(log sennit.Hash, sets []wire.OpSet) (all []wire.WantedOps, err error) {
	v, err := n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	for _, set := range sets {
		missing := bytes.Clone(set.Ops)
		err := commitsOf(n, v, log, &set, func(l *store.Log, rec *wire.Stored) error {
			h := heldReader{n: n, v: v}
			here, err := h.ops(l.Num, set.Seq, rec)
			for i := range missing[:min(len(missing), len(here))] {
				missing[i] &^= here[i]
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if missing = bytes.TrimRight(missing, "\x00"); len(missing) > 0 {
			all = append(all, wire.WantedOps{Log: log, OpSet: wire.OpSet{Seq: set.Seq, ID: set.ID, Ops: missing}})
		}
	}
	return all, nil
}

// commitsOf calls f for the commit that a set of ops is of, in each branch that
// has it.
func commitsOf(n *Node, v *store.View, log sennit.Hash, set *wire.OpSet, f func(*store.Log, *wire.Stored) error) error {
	for _, l := range n.st.Branches(log) {
		rec, err := v.Commit(l.Num, set.Seq)
		if err != nil {
			return err
		}
		if rec == nil || [8]byte(rec.ID[:8]) != set.ID {
			continue
		}
		if err := f(l, rec); err != nil {
			return err
		}
	}
	return nil
}

// Find finds ops of a space that are asked for, as far as they are here.
func (n *Node) Find(space sennit.Space, wants []wire.WantedOps) (Picks, error) {
	num, ok := n.st.Space(space)
	if !ok || len(wants) == 0 {
		return nil, nil
	}
	v, err := n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	picks := Picks{}
	for _, w := range wants {
		if err := commitsOf(n, v, w.Log, &w.OpSet, func(l *store.Log, rec *wire.Stored) error {
			if l.Space != num || l.Rec.Class != wire.Data {
				return nil
			}
			var ops []uint32
			for i := range min(uint32(len(w.Ops))*8, rec.Count) {
				if w.Ops[i/8]>>(i%8)&1 == 1 {
					ops = append(ops, i)
				}
			}
			if len(ops) > 0 {
				picks.Add(Picks{l.Num: {w.Seq: ops}})
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return picks, nil
}
