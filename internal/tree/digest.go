package tree

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// The digest of a path is a hash of the names of all ops that are live at it
// and beneath it. H is SHA-256; every input starts with a tag and the format.
//
//	own(p)    = H('O' 1 | names of the live ops at p, in order of CompareNames:
//	              each commit id, index uvarint)
//	            32 zero bytes if no op is live at p
//	digest(p) = own(p)                                  if p has no children
//	            H('D' 1 | own(p) | hash of the top node) if it has
//
// A path has a child where an op is live at the child or beneath it. A path
// without live ops and without children has no digest, and its parent does not
// know it. The children of a path form a trie, keyed by H(name), nibble by
// nibble from the most significant. A node of the trie with at most MaxBucket
// children beneath it is a bucket, any other is inner. Nodes that have no
// children beneath them do not exist.
//
//	hash(bucket) = H('B' 1 | for each child in order of H(name):
//	                 name bytes with uvarint length, digest(child))
//	hash(inner)  = H('T' 1 | bitmap of nibbles u16, bit i for nibble i |
//	                 hash of each node below, in order of nibbles)
//
// So the trie's shape depends on the set of children alone. A childless path's
// digest is its own part, so that nothing needs to be stored for it outside
// its parent's bucket, not even when it gets children later.
//
// Whoever chooses names can make tries deeper, by searching for names whose
// hashes start alike: k levels for MaxBucket+1 names cost 16^k hashes each.
const (
	tagOwn    = 'O'
	tagDigest = 'D'
	tagBucket = 'B'
	tagInner  = 'T'
	format    = 1
)

// MaxBucket is the largest number of children in one bucket. It is part of the
// digest's format. Measured with names of 12 bytes, averaged over directories
// of 62,500 to 640,000 children (fresh: written at once; one: a single change):
//
//	MaxBucket         8     16     24     32     48     64     96
//	fresh, B/child   70     61     57     54     52     50     49
//	nodes/child    0.50   0.31   0.22   0.18   0.12   0.10   0.06
//	one, B written 2508   2551   2596   2679   2866   3062   3431
//
// From 16 to 32 the nodes become fewer by 43 % while one change costs 5 %
// more; beyond, one change costs more than is gained.
const MaxBucket = 32

// maxNibbles is the depth at which two names can't be told apart any more.
const maxNibbles = 2 * sha256.Size

// Info is what is known of a subtree.
type Info struct {
	Hash sennit.Hash // its digest
	Ops  uint64      // live ops in it
}

// Branch is a node below an inner node.
//
// Ops and Children are not hashed. What a peer says about them is a hint.
type Branch struct {
	Nibble   uint8
	Hash     sennit.Hash
	Ops      uint64 // live ops beneath
	Children uint64 // children of the directory beneath
}

// Child is a child of a directory.
//
// Ops and Dir are not hashed. What a peer says about them is a hint.
type Child struct {
	Name   string
	Digest sennit.Hash
	Ops    uint64 // live ops at it and beneath it
	Dir    bool   // it has children of its own

	key sennit.Hash // H(Name); zero in what was not decoded here
}

// Expansion is what one node of a trie holds. At most one of Branches and
// Children is set: neither, where the directory has no children beneath the
// node.
type Expansion struct {
	// Own and OwnOps are set in a directory's top node: the hash of the names
	// of the ops that are live at the directory itself, and their number.
	Own    sennit.Hash
	OwnOps uint64

	Branches []Branch // of an inner node, by nibble
	Children []Child  // of a bucket, by H(name)
}

// Hash is the node's hash, zero if it holds neither branches nor children. It
// is computed from what the expansion holds, so it checks a peer's answer
// against the hash that was promised.
func (e *Expansion) Hash() sennit.Hash {
	h, _ := e.hash(nil)
	return h
}

// Digest is the digest of the path whose top node this is.
func (e *Expansion) Digest() sennit.Hash { return e.digest(e.Hash()) }

// hash is Hash with a buffer to work in, which it returns for the next call.
func (e *Expansion) hash(buf []byte) (sennit.Hash, []byte) {
	switch {
	case len(e.Branches) > 0:
		buf = slices.Grow(buf[:0], 4+len(e.Branches)*sha256.Size)
		buf = append(buf, tagInner, format, 0, 0)
		var bitmap uint16
		for i := range e.Branches {
			bitmap |= 1 << (e.Branches[i].Nibble & 15)
			buf = append(buf, e.Branches[i].Hash[:]...)
		}
		binary.BigEndian.PutUint16(buf[2:], bitmap)
	case len(e.Children) > 0:
		buf = slices.Grow(buf[:0], len(e.Children)*64)
		buf = append(buf, tagBucket, format)
		for i := range e.Children {
			c := &e.Children[i]
			buf = binary.AppendUvarint(buf, uint64(len(c.Name)))
			buf = append(append(buf, c.Name...), c.Digest[:]...)
		}
	default:
		return sennit.Hash{}, buf
	}
	return sha256.Sum256(buf), buf
}

// digest is the digest of a path whose top node has the hash top.
func (e *Expansion) digest(top sennit.Hash) sennit.Hash {
	if top.IsZero() {
		return e.Own
	}
	var buf [2 + 2*sha256.Size]byte
	buf[0], buf[1] = tagDigest, format
	copy(buf[2:], e.Own[:])
	copy(buf[2+sha256.Size:], top[:])
	return sha256.Sum256(buf[:])
}

// below is the number of children and of live ops beneath the node, without
// what is live at the directory itself.
func (e *Expansion) below() (children, ops uint64) {
	for i := range e.Branches {
		children += e.Branches[i].Children
		ops += e.Branches[i].Ops
	}
	for i := range e.Children {
		ops += e.Children[i].Ops
	}
	return children + uint64(len(e.Children)), ops
}

// branch is the branch for a nibble, nil if there is none.
func (e *Expansion) branch(nibble uint8) *Branch {
	for i := range e.Branches {
		if e.Branches[i].Nibble == nibble {
			return &e.Branches[i]
		}
	}
	return nil
}

// ownHash is own(p) for the given names, and a buffer to work in as in hash.
func ownHash(names []wire.OpRef, buf []byte) (sennit.Hash, []byte) {
	if len(names) == 0 {
		return sennit.Hash{}, buf
	}
	buf = append(buf[:0], tagOwn, format)
	for i := range names {
		buf = append(buf, names[i].Commit[:]...)
		buf = binary.AppendUvarint(buf, uint64(names[i].Index))
	}
	return sha256.Sum256(buf), buf
}

// nibbleAt is the i-th nibble of a name's hash.
func nibbleAt(key *sennit.Hash, i int) uint8 {
	return key[i/2] >> (4 * (1 - i&1)) & 15
}

// setNibble sets the i-th nibble of a name's hash.
func setNibble(key *sennit.Hash, i int, nibble uint8) {
	shift := 4 * (1 - i&1)
	key[i/2] = key[i/2]&^(15<<shift) | nibble<<shift
}

// startsWith reports whether a name's hash starts with the nibbles.
func startsWith[N string | []byte](key *sennit.Hash, nibbles N) bool {
	for i := range len(nibbles) {
		if nibbleAt(key, i) != nibbles[i] {
			return false
		}
	}
	return true
}
