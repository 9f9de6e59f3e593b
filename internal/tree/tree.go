// Package tree says what a set of ops amounts to: which of them are live, which
// value a path shows, and the digest by which two replicas tell whether they
// agree about a subtree.
//
// Owns: the order of ops, the rules of merging, the canonical Merkle trie over
// live ops, its hashes, and the keys and values under which it is stored.
// Promises: pure functions of their arguments. Which ops are live, and every
// digest, depend on the set of ops alone: not on the order of arrival, on
// duplicates, on how changes were batched, or on which dead ops were dropped.
// Whatever bytes a store gives back, the answer is an error or a result, never
// a panic.
// Must not know: clocks, locks, files, networks, goroutines, who may write, or
// what a value means.
//
// Only data ops are merged here. Ops of authority, and ops that the rules make
// void, must not be passed in.
package tree

import (
	"bytes"
	"cmp"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// Stamp places an op in the total order of all ops of a space. Fields compare
// in the order in which they stand here, so the commit id decides only between
// the branches of a forked log. Equal stamps mean the same op.
//
// The zero Stamp stands for "no op": seqs start at 1, so it is older than the
// stamp of any op, and needs no case of its own in comparisons.
type Stamp struct {
	Clock  uint64      // of the commit
	Log    sennit.Hash // the log's id
	Seq    uint64      // of the commit in its log, from 1
	Index  uint32      // of the op in its commit
	Commit sennit.Hash // the commit's id
}

// Compare is negative if s is older than t, positive if it is newer.
func (s Stamp) Compare(t Stamp) int { return s.compare(&t) }

// Before reports whether s is older than t.
func (s Stamp) Before(t Stamp) bool { return s.compare(&t) < 0 }

// IsZero reports whether s stands for no op.
func (s Stamp) IsZero() bool { return s == Stamp{} }

// Name is the op's name.
func (s Stamp) Name() wire.OpRef { return wire.OpRef{Commit: s.Commit, Index: s.Index} }

// compare takes pointers because a stamp is 88 bytes and clocks mostly differ.
func (s *Stamp) compare(t *Stamp) int {
	if s.Clock != t.Clock {
		return cmp.Compare(s.Clock, t.Clock)
	}
	if c := bytes.Compare(s.Log[:], t.Log[:]); c != 0 {
		return c
	}
	if s.Seq != t.Seq {
		return cmp.Compare(s.Seq, t.Seq)
	}
	if s.Index != t.Index {
		return cmp.Compare(s.Index, t.Index)
	}
	return bytes.Compare(s.Commit[:], t.Commit[:])
}

// CompareNames is the order in which the names of a path's live ops are
// hashed: by commit id, then by index.
func CompareNames(a, b wire.OpRef) int {
	if c := bytes.Compare(a.Commit[:], b.Commit[:]); c != 0 {
		return c
	}
	return cmp.Compare(a.Index, b.Index)
}
