// Package wire is the canonical codec: the only place where Sennit's records,
// ops, headers, proofs and frames become bytes and come back.
//
// Owns: the layout of every byte that is hashed, signed, stored or sent
// between nodes. docs/formats describes it; testdata holds vectors.
// Promises: one encoding per value. Whatever decodes re-encodes to the same
// bytes; everything else is refused with [sennit.BadInput]. Decoding allocates
// at most in proportion to its input, never panics, and may alias its input.
// Must not know: keys, clocks, stores, peers, or what anything means.
//
// Layout, throughout: integers are unsigned LEB128 in the fewest bytes
// ("uvarint"), or 8 bytes big-endian where an order or a width matters
// ("u64"); hashes and keys are raw; byte strings carry a uvarint length; lists
// carry a uvarint count. Everything that is hashed on its own starts with a
// tag byte of its kind and the format version, so that no record can pass for
// another or for a Merkle tree's node (RFC 6962 section 2.1 uses 0x00, 0x01).
package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/sennit/sennit"
)

// Tags of what is hashed on its own. Format is the version that follows each.
const (
	tagHeader    = 'C'
	tagInception = 'I'
	tagKeyEvent  = 'K'
	tagLog       = 'L'
	tagLive      = 'V'
	tagNextKey   = 'N'
	tagHost      = 'H'
	tagRedeem    = 'R'
	tagEvidence  = 'E'

	Format = 1
)

// OpRef names an op: the commit that carries it, and its place there. In
// parents an all-zero commit means "this commit".
type OpRef struct {
	Commit sennit.Hash
	Index  uint32
}

func malformed(what string) error {
	return sennit.Errorf(sennit.BadInput, "malformed %s", what)
}

// reader decodes from a byte slice. The first error sticks, and everything
// read after it is zero, so that decoders need one check at their end.
type reader struct {
	b   []byte
	err error

	// Room that a run's commits share, which are of no use without each other:
	// they alias the same input.
	spareParts []Part
	spareOps   []Op
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.stop(malformed(what))
	}
}

func (r *reader) stop(err error) { r.err, r.b = err, nil }

func (r *reader) u8() byte {
	if len(r.b) < 1 {
		r.fail("record: it ends early")
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// uvarint reads an integer of at most limit in its shortest form.
func (r *reader) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.fail("integer")
		return 0
	}
	if v > limit {
		r.fail("integer: over its limit")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) u64() uint64 {
	b := r.take(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// take reads n bytes, aliasing the input.
func (r *reader) take(n int) []byte {
	if n < 0 || len(r.b) < n {
		r.fail("record: it ends early")
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// bytes reads a byte string of at most limit bytes, aliasing the input.
func (r *reader) bytes(limit int) []byte {
	return r.take(int(r.uvarint(uint64(limit))))
}

// rest takes everything that is left.
func (r *reader) rest() []byte { return r.take(len(r.b)) }

func (r *reader) hash() (h sennit.Hash) {
	copy(h[:], r.take(len(h)))
	return h
}

// count reads the length of a list whose elements take at least size bytes
// each, so that a list can't be claimed longer than its input could hold.
func (r *reader) count(limit, size int) int {
	n := int(r.uvarint(uint64(limit)))
	if n*size > len(r.b) {
		r.fail("list: longer than its record")
		return 0
	}
	return n
}

func (r *reader) flag() bool {
	v := r.u8()
	if v > 1 {
		r.fail("flag")
	}
	return v == 1
}

func (r *reader) tag(tag byte, what string) {
	if r.u8() != tag {
		r.fail(what)
	}
	if v := r.u8(); r.err == nil && v != Format {
		r.stop(sennit.Errorf(sennit.Unsupported, "%s of format %d; this program reads format %d", what, v, Format))
	}
}

// end says how decoding went; anything left over is an error.
func (r *reader) end(what string) error {
	if r.err == nil && len(r.b) != 0 {
		r.fail(what + ": bytes left over")
	}
	return r.err
}

func (r *reader) path() sennit.Path {
	b := r.bytes(sennit.MaxPath)
	p, err := sennit.ParsePath(string(b))
	if err != nil || len(p) != len(b) {
		r.fail("path")
		return ""
	}
	return p
}

// triePath reads a path of the trie of digests: that of a value, or the
// directory beneath it, called 0x01, in which ops of slots that hold many are.
func (r *reader) triePath() sennit.Path {
	b := r.bytes(sennit.MaxPath)
	plain := strings.TrimSuffix(strings.TrimSuffix(string(b), "\x01"), "/")
	p, err := sennit.ParsePath(plain)
	if err != nil || len(p) != len(plain) || p == "" && len(b) > 1 || p != "" && len(b) != len(p) && len(b) != len(p)+2 {
		r.fail("path")
		return ""
	}
	return sennit.Path(b)
}

func (r *reader) ref() OpRef {
	return OpRef{r.hash(), uint32(r.uvarint(sennit.MaxOps - 1))}
}

func (r *reader) optRef() *OpRef {
	if !r.flag() {
		return nil
	}
	o := r.ref()
	return &o
}

func (r *reader) refs(limit int) []OpRef {
	n := r.count(limit, 33)
	if n == 0 {
		return nil
	}
	refs := make([]OpRef, n)
	for i := range refs {
		refs[i] = r.ref()
	}
	return refs
}

func (r *reader) hashes(limit int) []sennit.Hash {
	n := r.count(limit, 32)
	if n == 0 {
		return nil
	}
	hs := make([]sennit.Hash, n)
	for i := range hs {
		hs[i] = r.hash()
	}
	return hs
}

// text reads a short string of printable ASCII, aliasing the input.
func (r *reader) text(limit int) []byte {
	b := r.bytes(limit)
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			r.fail("text")
			return nil
		}
	}
	return b
}

func appendBytes[B []byte | string | sennit.Path](dst []byte, b B) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

func appendFlag(dst []byte, on bool) []byte {
	if on {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func appendRef(dst []byte, o OpRef) []byte {
	dst = append(dst, o.Commit[:]...)
	return binary.AppendUvarint(dst, uint64(o.Index))
}

func appendOptRef(dst []byte, o *OpRef) []byte {
	if o == nil {
		return append(dst, 0)
	}
	return appendRef(append(dst, 1), *o)
}

func appendRefs(dst []byte, refs []OpRef) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(refs)))
	for _, o := range refs {
		dst = appendRef(dst, o)
	}
	return dst
}

func appendHashes(dst []byte, hs []sennit.Hash) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(hs)))
	for _, h := range hs {
		dst = append(dst, h[:]...)
	}
	return dst
}

func sum(b []byte) sennit.Hash { return sha256.Sum256(b) }
