package wire

import (
	"encoding/binary"

	"github.com/sennit/sennit"
)

// MaxRun bounds the items of one run, so that one frame's checking is bounded.
const MaxRun = 16384

// Run carries commits of one log under one signature: that of its last
// commit. Commits that are left out are stood for by tree hashes, and so are
// ops that are left out of a commit; what is there can be verified all the same.
// It is how commits travel.
//
//	log hash | from uvarint | count uvarint | items | signature 64 bytes
//
// Each item starts with head uvarint: 0 for a commit, else the number of
// commits that are left out.
//
//	gap:    head | nodes list of hashes
//	commit: 0 | clock u64 | auth: 0, or 1 and list of hashes | parts
//
// Auth 0 means "as the commit before in this run", which the first can't say.
// The parts are a uvarint with the number of ops in the commit, then parts until there are
// as many, each with head uvarint = n << 1 | left out:
//
//	ops:      head | n ops, each bytes
//	left out: head | nodes list of hashes
//
// The nodes that stand for a range are the tree heads of its decomposition
// into the largest aligned subtrees, from left to right.
type Run struct {
	Log   sennit.Hash
	From  uint64 // commits of the log before the first item; the receiver must hold their tree
	Items []RunItem
	Sig   [64]byte
}

// RunItem is a gap or a commit.
type RunItem struct {
	Gap   uint64        // commits left out
	Nodes []sennit.Hash // what stands for them

	Clock uint64
	Auth  []sennit.Hash
	Count uint32 // ops in the commit
	Parts []Part
}

// Part is some consecutive ops of a commit, or what stands for them.
type Part struct {
	Ops   []Op
	Skip  uint32
	Nodes []sennit.Hash
}

// AppendParts encodes the parts of a commit of count ops.
func AppendParts(dst []byte, count uint32, parts []Part) []byte {
	dst = binary.AppendUvarint(dst, uint64(count))
	for _, p := range parts {
		if p.Skip > 0 {
			dst = binary.AppendUvarint(dst, uint64(p.Skip)<<1|1)
			dst = appendHashes(dst, p.Nodes)
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(p.Ops))<<1)
		for i := range p.Ops {
			dst = appendBytes(dst, p.Ops[i].Bytes())
		}
	}
	return dst
}

// carve gives an empty slice with room for n, from what is spare if that is enough.
func carve[T any](spare *[]T, n int) []T {
	if n > len(*spare) {
		return make([]T, 0, n)
	}
	s := (*spare)[:0:n]
	*spare = (*spare)[n:]
	return s
}

func (r *reader) parts() (count uint32, parts []Part) {
	parts = carve(&r.spareParts, 1)
	count = uint32(r.uvarint(sennit.MaxOps))
	if count == 0 {
		r.fail("commit: no ops")
	}
	for left, last := uint64(count), uint64(2); left > 0 && r.err == nil; {
		head := r.uvarint(sennit.MaxOps<<1 | 1)
		n, skipped := head>>1, head&1
		if n == 0 || n > left || skipped == last {
			r.fail("commit: parts")
			break
		}
		left, last = left-n, skipped
		if skipped == 1 {
			parts = append(parts, Part{Skip: uint32(n), Nodes: r.hashes(64)})
			continue
		}
		if n*12 > uint64(len(r.b)) { // the shortest op has 12 bytes
			r.fail("commit: more ops than bytes")
			break
		}
		ops := carve(&r.spareOps, int(n))
		for range n {
			op, err := DecodeOp(r.bytes(sennit.MaxOp))
			if r.err == nil && err != nil {
				r.stop(err)
			}
			if r.err != nil {
				break
			}
			ops = append(ops, op)
		}
		parts = append(parts, Part{Ops: ops})
	}
	return count, parts
}

// Append encodes the run.
func (run *Run) Append(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, run.Log[:]...), run.From)
	dst = binary.AppendUvarint(dst, uint64(len(run.Items)))
	var auth []sennit.Hash
	for i := range run.Items {
		it := &run.Items[i]
		dst = binary.AppendUvarint(dst, it.Gap)
		if it.Gap > 0 {
			dst = appendHashes(dst, it.Nodes)
			continue
		}
		dst = binary.BigEndian.AppendUint64(dst, it.Clock)
		if auth != nil && sameHashes(auth, it.Auth) {
			dst = append(dst, 0)
		} else {
			dst = appendHashes(append(dst, 1), it.Auth)
			if auth = it.Auth; auth == nil {
				auth = []sennit.Hash{}
			}
		}
		dst = AppendParts(dst, it.Count, it.Parts)
	}
	return append(dst, run.Sig[:]...)
}

// DecodeRun decodes a run. Its ops alias b.
func DecodeRun(b []byte) (*Run, error) {
	r := reader{b: b}
	run := r.run()
	return run, r.end("run")
}

func (r *reader) run() *Run {
	run := &Run{Log: r.hash(), From: r.uvarint(MaxSeq)}
	// A gap takes at least 2 bytes and a commit 13, and a commit follows every gap.
	n := r.count(MaxRun, 7)
	commits := min(n, len(r.b)/13)
	run.Items = make([]RunItem, 0, n)
	r.spareParts, r.spareOps = make([]Part, commits), make([]Op, commits)
	at, first, gap := run.From, true, false
	var auth []sennit.Hash
	for i := 0; i < n && r.err == nil; i++ {
		it := RunItem{Gap: r.uvarint(MaxSeq)}
		if it.Gap > 0 {
			if it.Nodes = r.hashes(128); gap {
				r.fail("run: two gaps in a row")
			}
			gap = true
		} else {
			gap = false
			it.Clock = r.u64()
			if r.flag() {
				it.Auth = r.hashes(MaxAuth)
				if !first && sameHashes(auth, it.Auth) {
					r.fail("run: auth said twice")
				}
			} else if it.Auth = auth; first {
				r.fail("run: no auth")
			}
			auth, first = it.Auth, false
			it.Count, it.Parts = r.parts()
		}
		if at += max(it.Gap, 1); at > MaxSeq {
			r.fail("run: too long")
		}
		run.Items = append(run.Items, it)
	}
	if n == 0 || gap {
		r.fail("run: no commit at its end")
	}
	copy(run.Sig[:], r.take(64))
	return run
}

func sameHashes(a, b []sennit.Hash) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// Stored is a commit as a store keeps it: what its log, its place there and
// its ops don't tell. The ops are stored on their own.
//
//	clock u64 | id hash | auth list of hashes | signed flag, signature 64 bytes |
//	count uvarint | gone list of (first uvarint, n uvarint, nodes list of hashes)
type Stored struct {
	Clock uint64
	ID    sennit.Hash
	Auth  []sennit.Hash
	Sig   *[64]byte // nil: a later commit of the log is signed
	Count uint32
	Gone  []Gone // ops that aren't kept, in order
}

// Gone stands for consecutive ops of a commit that aren't kept.
type Gone struct {
	First, N uint32
	Nodes    []sennit.Hash
}

// Append encodes the record.
func (s *Stored) Append(dst []byte) []byte {
	dst = append(binary.BigEndian.AppendUint64(dst, s.Clock), s.ID[:]...)
	dst = appendFlag(appendHashes(dst, s.Auth), s.Sig != nil)
	if s.Sig != nil {
		dst = append(dst, s.Sig[:]...)
	}
	dst = binary.AppendUvarint(dst, uint64(s.Count))
	dst = binary.AppendUvarint(dst, uint64(len(s.Gone)))
	for _, g := range s.Gone {
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(g.First)), uint64(g.N))
		dst = appendHashes(dst, g.Nodes)
	}
	return dst
}

// StoredID reads the commit's id out of a stored commit without decoding it.
func StoredID(b []byte) (id sennit.Hash, ok bool) {
	if len(b) < 8+len(id) {
		return id, false
	}
	return sennit.Hash(b[8 : 8+len(id)]), true
}

// DecodeStored decodes a stored commit.
func DecodeStored(b []byte) (*Stored, error) {
	r := reader{b: b}
	s := &Stored{Clock: r.u64(), ID: r.hash(), Auth: r.hashes(MaxAuth)}
	if r.flag() {
		s.Sig = new([64]byte)
		copy(s.Sig[:], r.take(64))
	}
	s.Count = uint32(r.uvarint(sennit.MaxOps))
	end := uint32(0)
	for i := range r.count(sennit.MaxOps, 3) {
		g := Gone{uint32(r.uvarint(sennit.MaxOps)), uint32(r.uvarint(sennit.MaxOps)), r.hashes(64)}
		if g.N == 0 || g.First < end || i > 0 && g.First == end || g.First+g.N > s.Count {
			r.fail("stored commit")
		}
		end = g.First + g.N
		s.Gone = append(s.Gone, g)
	}
	if s.Count == 0 {
		r.fail("stored commit")
	}
	return s, r.end("stored commit")
}
