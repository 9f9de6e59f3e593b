package tree

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/sennit/sennit"
)

// Reader reads the stored nodes of one space's trie.
type Reader interface {
	// Get returns the value of a key, nil if there is none. The value need not
	// outlast the next call.
	Get(key []byte) ([]byte, error)
}

// Nodes reads and writes the stored nodes of one space's trie. Keys and values
// belong to the caller again when a call returns. What was written is read
// back by later calls. First bytes of keys are at least 0x10 and below 0xff.
type Nodes interface {
	Reader
	Set(key, value []byte) error
	// Delete deletes a key, which need not exist.
	Delete(key []byte) error
	// DeleteRange deletes all keys from start on that are before end.
	DeleteRange(start, end []byte) error
}

// Each node is stored under
//
//	each component of the directory's path, 0x00 | 0x10 | nibbles, a byte each
//
// Components hold no control characters, so the nodes of a directory and of
// everything beneath it are one range of keys. The value of a directory's top
// node, which has no nibbles, starts with the directory's own part:
//
//	ops uvarint | own hash, if ops isn't 0
//
// and then, as in every other node,
//
//	'B' | count uvarint | for each child: name bytes with uvarint length |
//	  ops<<1 + dir uvarint | digest hash
//	'T' | bitmap u16 | for each branch: children uvarint | ops uvarint | hash
//
// A path without children is stored in its parent's bucket alone. Only the
// root of the space, which has no parent, then has a top node: a bucket
// without children.
const (
	keyNode  = 0x10 // ends the path in a key
	keyAfter = 0xff // above the first byte of every key
)

// maxOps bounds the counts in a node, so that their sums can't overflow.
const maxOps = 1 << 48

// keyPrefix is the part of its keys that says which path.
func keyPrefix(p sennit.Path) string {
	if p == "" {
		return ""
	}
	return strings.ReplaceAll(string(p), "/", "\x00") + "\x00"
}

// appendKey appends the key of a node: the first depth nibbles of key say
// which one of its directory.
func appendKey(dst []byte, prefix string, key *sennit.Hash, depth int) []byte {
	dst = append(append(dst, prefix...), keyNode)
	for i := range depth {
		dst = append(dst, nibbleAt(key, i))
	}
	return dst
}

// load reads a node. ok is false if there is none.
func load(nodes Reader, key []byte, prefix string) (e Expansion, ok bool, err error) {
	value, err := nodes.Get(key)
	if err != nil {
		return Expansion{}, false, sennit.Errorf(sennit.CodeOf(err), "reading the digest node %q: %w", key, err)
	}
	if value == nil {
		return Expansion{}, false, nil
	}
	e, fault := decode(value, key[len(prefix)+1:], prefix == "")
	if fault != "" {
		return Expansion{}, false, corrupt(key, fault)
	}
	return e, true, nil
}

// otherCounts is the fault of a node that the one above it doesn't describe.
const otherCounts = "it is missing, or does not hold what the node above it counts"

func corrupt(key []byte, fault string) error {
	return sennit.Hint(sennit.Errorf(sennit.Internal, "the digest node %q is corrupt: %s", key, fault),
		"digests are derived from the ops: rebuild them")
}

// encode appends a node's value; top says whether it is a directory's top node.
func (e *Expansion) encode(dst []byte, top bool) []byte {
	if top {
		dst = binary.AppendUvarint(dst, e.OwnOps)
		if e.OwnOps > 0 {
			dst = append(dst, e.Own[:]...)
		}
	}
	if len(e.Branches) > 0 {
		dst = append(dst, tagInner, 0, 0)
		at, bitmap := len(dst)-2, uint16(0)
		for i := range e.Branches {
			b := &e.Branches[i]
			bitmap |= 1 << b.Nibble
			dst = binary.AppendUvarint(dst, b.Children)
			dst = binary.AppendUvarint(dst, b.Ops)
			dst = append(dst, b.Hash[:]...)
		}
		binary.BigEndian.PutUint16(dst[at:], bitmap)
		return dst
	}
	dst = binary.AppendUvarint(append(dst, tagBucket), uint64(len(e.Children)))
	for i := range e.Children {
		c := &e.Children[i]
		dst = binary.AppendUvarint(dst, uint64(len(c.Name)))
		dst = append(dst, c.Name...)
		ops := c.Ops << 1
		if c.Dir {
			ops |= 1
		}
		dst = binary.AppendUvarint(dst, ops)
		dst = append(dst, c.Digest[:]...)
	}
	return dst
}

// decode reads the value of the node with the given nibbles; root says whether
// its directory is the root of the space. It accepts what encode writes for a
// canonical trie and nothing else, as far as one node can show. What it
// returns doesn't alias value. fault is "" if all is well.
func decode(value, nibbles []byte, root bool) (e Expansion, fault string) {
	r := cursor{b: value}
	top := len(nibbles) == 0
	if top {
		if e.OwnOps = r.uvarint(maxOps); e.OwnOps > 0 {
			e.Own = r.hash()
		}
	}
	switch r.byte() {
	case tagBucket:
		r.bucket(&e, nibbles)
		if len(e.Children) == 0 && !(root && top && e.OwnOps > 0) {
			r.fail("a bucket without children")
		}
	case tagInner:
		r.inner(&e)
		if len(nibbles) == maxNibbles {
			r.fail("an inner node below the last nibble")
		}
	default:
		r.fail("neither bucket nor inner")
	}
	if len(r.b) > 0 {
		r.fail("bytes left over")
	}
	if r.fault != "" {
		return Expansion{}, r.fault
	}
	return e, ""
}

// cursor reads a value. The first fault sticks; what is read after it is zero.
type cursor struct {
	b     []byte
	fault string
}

func (r *cursor) fail(fault string) {
	if r.fault == "" {
		r.fault = fault
	}
	r.b = nil
}

func (r *cursor) take(n int) []byte {
	if n > len(r.b) {
		r.fail("it ends early")
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *cursor) byte() (b byte) {
	if v := r.take(1); v != nil {
		b = v[0]
	}
	return b
}

func (r *cursor) hash() (h sennit.Hash) {
	copy(h[:], r.take(len(h)))
	return h
}

// uvarint reads an integer of at most limit in its shortest form.
func (r *cursor) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 || v > limit {
		r.fail("a malformed integer")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *cursor) bucket(e *Expansion, nibbles []byte) {
	n := int(r.uvarint(MaxBucket))
	// One string for all names saves an allocation for each.
	text, all := string(r.b), len(r.b)
	e.Children = make([]Child, 0, n)
	for i := range n {
		size := int(r.uvarint(sennit.MaxComponent))
		from := all - len(r.b)
		if size == 0 || r.take(size) == nil {
			r.fail("a malformed name")
			return
		}
		c := Child{Name: text[from : from+size]}
		c.key = sha256.Sum256([]byte(c.Name))
		ops := r.uvarint(maxOps<<1 | 1)
		c.Ops, c.Dir, c.Digest = ops>>1, ops&1 == 1, r.hash()
		switch {
		case r.fault != "":
			return
		case c.Ops == 0:
			r.fail("a child without ops")
			return
		case i > 0 && string(e.Children[i-1].key[:]) >= string(c.key[:]):
			r.fail("children out of order")
			return
		case !startsWith(&c.key, nibbles):
			r.fail("a child in the wrong bucket")
			return
		}
		e.Children = append(e.Children, c)
	}
}

func (r *cursor) inner(e *Expansion) {
	var bitmap uint16
	if b := r.take(2); b != nil {
		bitmap = binary.BigEndian.Uint16(b)
	}
	e.Branches = make([]Branch, 0, 16)
	var children uint64
	for i := range uint8(16) {
		if bitmap>>i&1 == 0 {
			continue
		}
		b := Branch{Nibble: i, Children: r.uvarint(maxOps), Ops: r.uvarint(maxOps), Hash: r.hash()}
		if r.fault != "" {
			return
		}
		if b.Children == 0 || b.Ops < b.Children {
			r.fail("a branch without ops")
			return
		}
		children += b.Children
		e.Branches = append(e.Branches, b)
	}
	if children <= MaxBucket {
		r.fail("an inner node that should be a bucket")
	}
}
