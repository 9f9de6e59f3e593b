package blob

import (
	"math/bits"

	"lukechampine.com/blake3/guts"

	"github.com/sennit/sennit"
)

// Sizes of the format.
const (
	Piece   = 64 << 10 // bytes of a piece: the least that is checked, fetched or missing
	MaxSize = 1 << 62  // bytes of a blob

	nodeLen  = 64                            // bytes of an inner node: the chaining values of its halves
	stride   = Piece + nodeLen               // from one piece to the next in a file
	maxDepth = 46                            // inner nodes above a piece: log2(MaxSize / Piece)
	laneLen  = guts.MaxSIMD * guts.ChunkSize // bytes that guts hashes at once
)

// Range is the pieces from First up to and without End. Pieces count from 0.
type Range struct{ First, End uint64 }

func (r Range) len() uint64 { return r.End - r.First }

func (r Range) meets(o Range) bool { return r.First < o.End && o.First < r.End }

// halves splits what an inner node stands for. The left half has the largest
// power of two pieces that leaves something to the right (BLAKE3, section 2.1).
func (r Range) halves() (left, right Range) {
	at := r.First + 1<<(bits.Len64(r.len()-1)-1)
	return Range{r.First, at}, Range{at, r.End}
}

// pieces is all pieces of a blob, the last of which may be short.
func pieces(ref sennit.Blob) Range { return Range{0, (ref.Size + Piece - 1) / Piece} }

// pieceLen is the bytes of a piece.
func pieceLen(ref sennit.Blob, i uint64) int { return int(min(ref.Size-i*Piece, Piece)) }

// fileLen is the bytes of a whole blob's file: there is one inner node less
// than there are pieces.
func fileLen(ref sennit.Blob) uint64 { return ref.Size + nodeLen*(pieces(ref).End-1) }

// pieceAt is where a piece is in the file.
func pieceAt(i uint64) int64 { return int64(i * stride) }

// nodeAt is where the inner node over r is in the file: between the pieces at
// which it splits. No other node splits there, and the place doesn't depend on
// how many pieces follow, so that a file can grow.
func nodeAt(r Range) int64 {
	_, right := r.halves()
	return pieceAt(right.First) - nodeLen
}

// walk calls visit for every node of the tree over all that has a piece of want
// beneath it, parents first and from left to right, pieces included.
func walk(all, want Range, visit func(Range) error) error {
	if !all.meets(want) {
		return nil
	}
	if err := visit(all); err != nil || all.len() == 1 {
		return err
	}
	left, right := all.halves()
	if err := walk(left, want, visit); err != nil {
		return err
	}
	return walk(right, want, visit)
}

// subtree is a node whose hash is known: the chaining value, or the blob's root
// for the node over all.
type subtree struct {
	Range
	hash sennit.Hash
}

// top is the node over all of a blob.
func top(ref sennit.Blob) subtree { return subtree{pieces(ref), ref.Root} }

// holds checks the bytes of a node, a piece's or an inner node's.
func (t subtree) holds(b []byte, all Range) bool {
	if t.len() == 1 {
		return pieceHash(b, t.First) == t.hash
	}
	return innerHash((*[nodeLen]byte)(b), t.Range == all) == t.hash
}

// below is the halves of a node whose bytes were checked.
func (t subtree) below(node []byte) (left, right subtree) {
	left.Range, right.Range = t.halves()
	left.hash, right.hash = sennit.Hash(node[:32]), sennit.Hash(node[32:nodeLen])
	return left, right
}

// innerHash is the hash of an inner node. A blob has two pieces or more, so
// that the root is always an inner node.
func innerHash(node *[nodeLen]byte, root bool) sennit.Hash {
	n := guts.Node{
		CV:       guts.IV,
		Block:    guts.BytesToWords(*node),
		BlockLen: nodeLen,
		Flags:    guts.FlagParent,
	}
	if root {
		n.Flags |= guts.FlagRoot
	}
	return words(guts.CompressNode(n))
}

// pieceHash is the chaining value of a piece: of the complete subtree over its
// chunks, or what there is of it.
func pieceHash(piece []byte, i uint64) sennit.Hash {
	return words(guts.CompressNode(compress(piece, i*(Piece/guts.ChunkSize))))
}

// compress gives the node over b, which begins with the given chunk.
func compress(b []byte, chunk uint64) guts.Node {
	switch {
	case len(b) == laneLen:
		return guts.CompressBuffer((*[laneLen]byte)(b), laneLen, &guts.IV, chunk, 0)
	case len(b) < laneLen:
		var lane [laneLen]byte
		return guts.CompressBuffer(&lane, copy(lane[:], b), &guts.IV, chunk, 0)
	}
	left := laneLen << (bits.Len(uint(len(b)-1)/laneLen) - 1)
	l := compress(b[:left], chunk)
	r := compress(b[left:], chunk+uint64(left/guts.ChunkSize))
	return guts.ParentNode(guts.ChainingValue(l), guts.ChainingValue(r), &guts.IV, 0)
}

func words(w [16]uint32) sennit.Hash {
	b := guts.WordsToBytes(w)
	return sennit.Hash(b[:32])
}
