package blob

import (
	"encoding/binary"

	"github.com/sennit/sennit"
)

// Bounds of slices.
const (
	MaxSlice    = 16                                                         // pieces
	MaxSliceLen = sizeLen + MaxSlice*Piece + (MaxSlice-1+2*maxDepth)*nodeLen // bytes
	sizeLen     = 8
)

// A slice is some pieces that follow each other, and what proves them: the size
// of the blob, little-endian, then the nodes above and between them, parents
// first. It is what Bao calls a slice, with groups of 64 chunks (O'Connor, the
// Bao spec, docs/spec.md in github.com/oconnor663/bao).

// checkWant refuses pieces that can't be asked for as one slice.
func checkWant(ref sennit.Blob, first uint64, count int) (Range, error) {
	all := pieces(ref)
	if count < 1 || count > MaxSlice || first >= all.End || uint64(count) > all.End-first {
		return Range{}, sennit.Errorf(sennit.BadInput, "a slice has 1 to %d of the %d pieces of blob %s, not %d from %d on",
			MaxSlice, all.End, ref.Root, count, first)
	}
	return Range{first, first + uint64(count)}, nil
}

// nodeSize is the bytes of a node in a slice.
func nodeSize(ref sennit.Blob, r Range) int {
	if r.len() == 1 {
		return pieceLen(ref, r.First)
	}
	return nodeLen
}

// sliceLen is the bytes of the slice of some pieces.
func sliceLen(ref sennit.Blob, want Range) int {
	n := sizeLen
	_ = walk(pieces(ref), want, func(r Range) error { // visit doesn't fail
		n += nodeSize(ref, r)
		return nil
	})
	return n
}

// frontier is the nodes of a tree that are known and have not been visited, the
// next one last: each has wanted pieces beneath it, and all that lies before
// was visited.
type frontier []subtree

// start makes f the frontier of a blob of which nothing was visited.
func (f *frontier) start(ref sennit.Blob) { *f = append((*f)[:0], top(ref)) }

func (f *frontier) pop() subtree {
	old := *f
	*f = old[:len(old)-1]
	return old[len(old)-1]
}

// push goes on below t, whose bytes were checked, if t is an inner node.
func (f *frontier) push(t subtree, node []byte, want Range) {
	if t.len() == 1 {
		return
	}
	left, right := t.below(node)
	if right.meets(want) {
		*f = append(*f, right)
	}
	if left.meets(want) {
		*f = append(*f, left)
	}
}

// checkSlice checks every byte of a slice.
func checkSlice(ref sennit.Blob, want Range, slice []byte) error {
	if n := sliceLen(ref, want); len(slice) != n {
		return sennit.Errorf(sennit.BadInput, "the slice of pieces %d to %d of blob %s has %d bytes, not %d",
			want.First, want.End-1, ref.Root, n, len(slice))
	}
	if n := binary.LittleEndian.Uint64(slice); n != ref.Size {
		return sennit.Errorf(sennit.BadInput, "a slice of a blob of %d bytes can't be one of blob %s, which has %d", n, ref.Root, ref.Size)
	}
	slice = slice[sizeLen:]
	ahead := make(frontier, 0, maxDepth+1)
	for ahead.start(ref); len(ahead) > 0; {
		t := ahead.pop()
		n := nodeSize(ref, t.Range)
		if !t.holds(slice[:n], pieces(ref)) {
			return sennit.Errorf(sennit.BadInput, "the slice doesn't belong to blob %s of %d bytes: it is wrong at pieces %d to %d",
				ref.Root, ref.Size, t.First, t.End-1)
		}
		ahead.push(t, slice, want)
		slice = slice[n:]
	}
	return nil
}
