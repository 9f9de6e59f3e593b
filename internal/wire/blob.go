package wire

import (
	"encoding/binary"

	"github.com/sennit/sennit"
)

// Bounds of the blob protocol's messages. A message that exceeds one ends the
// stream.
const (
	MaxBlobFrame  = 1<<20 + 1<<16 // bytes of one message
	MaxSlicePiece = 16            // pieces asked for in one message
	MaxHave       = 1024          // ranges of pieces told in one message
	maxPiece      = 1 << 46       // pieces of a blob
)

// BlobFrameType is the first byte of a message of the blob protocol.
type BlobFrameType uint8

// The messages of the blob protocol. As in the replication protocol, the type
// is followed by the number of messages that the sender sent before.
const (
	FrameBlobWant   BlobFrameType = 1
	FrameBlobHave   BlobFrameType = 2
	FrameBlobData   BlobFrameType = 3
	FrameBlobReject BlobFrameType = 4
)

// BlobFrame is one message of the blob protocol.
//
//	type u8 | number uvarint | body by type
type BlobFrame interface {
	blobFrame() BlobFrameType
	append(dst []byte) []byte
}

// AppendBlobFrame encodes a message.
func AppendBlobFrame(dst []byte, number uint64, f BlobFrame) []byte {
	return f.append(binary.AppendUvarint(append(dst, byte(f.blobFrame())), number))
}

// DecodeBlobFrame decodes a message. It aliases b.
func DecodeBlobFrame(b []byte) (number uint64, f BlobFrame, err error) {
	if len(b) > MaxBlobFrame {
		return 0, nil, malformed("blob message: too long")
	}
	r := reader{b: b}
	t := BlobFrameType(r.u8())
	number = r.uvarint(1 << 62)
	switch t {
	case FrameBlobWant:
		f = r.blobWant()
	case FrameBlobHave:
		f = r.blobHave()
	case FrameBlobData:
		f = &BlobData{First: r.uvarint(maxPiece - 1), Slice: r.rest()}
	case FrameBlobReject:
		f = &BlobReject{Busy: r.flag()}
	default:
		r.fail("blob message: unknown type")
	}
	return number, f, r.end("blob message")
}

// BlobWant asks for pieces of a blob that is the value at a path, or, with a
// Count of 0, which pieces the other side has. It is answered by one message:
// data, have or reject.
//
//	space hash | path | root hash | size uvarint | count uvarint | first uvarint, unless count is 0
type BlobWant struct {
	Space sennit.Space
	Path  sennit.Path
	Blob  sennit.Blob
	First uint64
	Count uint32 // at most MaxSlicePiece
}

func (*BlobWant) blobFrame() BlobFrameType { return FrameBlobWant }

func (w *BlobWant) append(dst []byte) []byte {
	dst = appendBytes(append(dst, w.Space[:]...), w.Path)
	dst = binary.AppendUvarint(append(dst, w.Blob.Root[:]...), w.Blob.Size)
	dst = binary.AppendUvarint(dst, uint64(w.Count))
	if w.Count > 0 {
		dst = binary.AppendUvarint(dst, w.First)
	}
	return dst
}

func (r *reader) blobWant() *BlobWant {
	w := &BlobWant{Space: sennit.Space(r.hash()), Path: r.path()}
	w.Blob = sennit.Blob{Root: r.hash(), Size: r.uvarint(1 << 62)}
	if w.Blob.Size <= sennit.MaxInline {
		r.fail("blob: too small to be one")
	}
	if w.Count = uint32(r.uvarint(MaxSlicePiece)); w.Count > 0 {
		w.First = r.uvarint(maxPiece - 1)
	}
	return w
}

// PieceRange is the pieces from First up to and without End.
type PieceRange struct{ First, End uint64 }

// BlobHave says which pieces of the blob that was asked for its sender has: the
// first ranges of them, if there are more than MaxHave.
//
//	ranges list of (gap uvarint, length uvarint)
//
// The gap is what is missing before a range: at least 1 but before the first.
// No range is empty.
type BlobHave struct{ Ranges []PieceRange }

func (*BlobHave) blobFrame() BlobFrameType { return FrameBlobHave }

func (h *BlobHave) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(h.Ranges)))
	at := uint64(0)
	for _, p := range h.Ranges {
		dst = binary.AppendUvarint(dst, p.First-at)
		dst = binary.AppendUvarint(dst, p.End-p.First)
		at = p.End
	}
	return dst
}

func (r *reader) blobHave() *BlobHave {
	h := &BlobHave{Ranges: make([]PieceRange, 0, r.count(MaxHave, 2))}
	at := uint64(0)
	for i := range cap(h.Ranges) {
		gap := r.uvarint(maxPiece - at)
		n := r.uvarint(maxPiece - at - gap)
		if n == 0 || gap == 0 && i > 0 {
			r.fail("ranges")
		}
		if r.err != nil {
			break
		}
		h.Ranges = append(h.Ranges, PieceRange{at + gap, at + gap + n})
		at += gap + n
	}
	return h
}

// BlobData answers a want with the slice of the pieces from First on. Its number
// of pieces is that of the want; package blob knows what a slice is.
//
//	first uvarint | slice: all that is left
type BlobData struct {
	First uint64
	Slice []byte
}

func (*BlobData) blobFrame() BlobFrameType { return FrameBlobData }

func (d *BlobData) append(dst []byte) []byte {
	return append(binary.AppendUvarint(dst, d.First), d.Slice...)
}

// BlobReject answers a want that gets nothing: because the other side does not
// have the blob or the asker may not read it, which are not told apart, or
// because it serves too many others now.
//
//	busy flag
type BlobReject struct{ Busy bool }

func (*BlobReject) blobFrame() BlobFrameType   { return FrameBlobReject }
func (j *BlobReject) append(dst []byte) []byte { return appendFlag(dst, j.Busy) }
