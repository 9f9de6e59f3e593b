package blob

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"
)

// Reader reads a blob and checks what it reads. It is for one goroutine; a blob
// can have any number of them. It holds one piece.
type Reader struct {
	ref  sennit.Blob
	file vfs.File
	part *partial // nil if the blob was whole when it was opened

	ahead frontier // of all from the piece after the last one that was read
	node  [nodeLen]byte
	buf   []byte // a piece
	piece uint64 // which; it is past the end if buf holds none
}

// Open opens a blob that is here, whole or partly. It fails with
// [sennit.NotFound] if none of it is. It waits for changes to the blob that are
// under way.
func (s *Store) Open(ctx context.Context, ref sennit.Blob) (*Reader, error) {
	if err := checkRef(ref); err != nil {
		return nil, err
	}
	if err := s.claim(ctx, ref); err != nil {
		return nil, err
	}
	defer s.release(ref)
	path, p := s.path(fileName(ref)), s.partial(ref)
	info, err := s.fs.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, notFound(ref)
	case err != nil:
		return nil, failed(err, "open blob %s", ref.Root)
	case p == nil && uint64(info.Size()) != fileLen(ref):
		return nil, damaged(ref, "its file has %d bytes instead of %d", info.Size(), fileLen(ref))
	}
	f, err := s.fs.Open(path)
	if err != nil {
		return nil, failed(err, "open blob %s", ref.Root)
	}
	return newReader(ref, f, p), nil
}

func newReader(ref sennit.Blob, f vfs.File, p *partial) *Reader {
	return &Reader{ref: ref, file: f, part: p, ahead: make(frontier, 0, maxDepth+1), piece: pieces(ref).End}
}

// Blob is what r reads.
func (r *Reader) Blob() sennit.Blob { return r.ref }

// Close ends reading.
func (r *Reader) Close() error { return r.file.Close() }

// Here lists at most limit ranges of pieces that are here, in order.
func (r *Reader) Here(limit int) []Range {
	if r.part == nil {
		return []Range{pieces(r.ref)}[:min(limit, 1)]
	}
	have := r.part.ranges()
	return have[:min(limit, len(have))]
}

// ReadAt reads as an [io.ReaderAt] does, but waits for pieces that a fetch has
// yet to bring. It fails with [sennit.Gone] if they won't come because the blob
// was removed, and with [sennit.Internal] if the file is damaged. Bytes that
// don't verify are not handed out.
func (r *Reader) ReadAt(ctx context.Context, b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, sennit.Errorf(sennit.BadInput, "read of blob %s at %d: there is nothing before 0", r.ref.Root, off)
	}
	for n < len(b) {
		at := uint64(off) + uint64(n)
		if at >= r.ref.Size {
			return n, io.EOF
		}
		i, skip := at/Piece, int(at%Piece)
		whole := pieceLen(r.ref, i)
		switch {
		case i == r.piece:
			n += copy(b[n:], r.buf[skip:whole])
		case skip == 0 && len(b)-n >= whole: // no need to hold it
			if err := r.get(ctx, i, b[n:n+whole]); err != nil {
				clear(b[n : n+whole])
				return n, err
			}
			n += whole
		default:
			if r.buf == nil {
				r.buf = make([]byte, Piece)
			}
			r.piece = pieces(r.ref).End
			if err := r.get(ctx, i, r.buf[:whole]); err != nil {
				return n, err
			}
			r.piece = i
		}
	}
	return n, nil
}

// get waits for a piece, reads it and checks it.
func (r *Reader) get(ctx context.Context, i uint64, b []byte) error {
	if r.part != nil {
		if err := r.part.await(ctx, i); err != nil {
			return err
		}
	}
	if len(r.ahead) == 0 || r.ahead[len(r.ahead)-1].First > i {
		r.ahead.start(r.ref)
	}
	for {
		t := r.ahead.pop()
		if t.End <= i {
			continue
		}
		into := r.node[:]
		if t.len() == 1 {
			into = b
		}
		if err := r.load(t, into); err != nil {
			r.ahead = r.ahead[:0]
			return err
		}
		if t.len() == 1 {
			return nil
		}
		r.ahead.push(t, into, Range{i, pieces(r.ref).End})
	}
}

// load reads a node or a piece, and checks it.
func (r *Reader) load(t subtree, b []byte) error {
	off := pieceAt(t.First)
	if t.len() > 1 {
		off = nodeAt(t.Range)
	}
	if n, err := r.file.ReadAt(b, off); n < len(b) && !errors.Is(err, io.EOF) {
		return sennit.Hint(failed(err, "read pieces %d to %d of blob %s", t.First, t.End-1, r.ref.Root), "run: sennit doctor --verify")
	} else if n == len(b) && t.holds(b, pieces(r.ref)) {
		return nil
	}
	if t.len() == 1 {
		return damaged(r.ref, "piece %d of %d is not what it was", t.First, pieces(r.ref).End)
	}
	return damaged(r.ref, "the node over pieces %d to %d is not what it was", t.First, t.End-1)
}

// damaged is the error for a blob whose file is not right.
func damaged(ref sennit.Blob, format string, args ...any) error {
	return sennit.Hint(sennit.Errorf(sennit.Internal, "blob %s is damaged: %w", ref.Root, sennit.Errorf(sennit.Internal, format, args...)),
		"run: sennit doctor --verify; a blob that was removed can be fetched again from a peer that has it")
}

// Slice appends the slice of some pieces, at most [MaxSlice] and
// [MaxSliceLen] bytes, to dst: the pieces and what proves them to somebody who
// knows only the Blob. Beside the pieces it has 8 bytes, 64 for each piece but
// one, and at most 128 for each time that the number of pieces can be halved.
// It fails with [sennit.NotFound] if not all of them are here.
func (r *Reader) Slice(dst []byte, first uint64, count int) ([]byte, error) {
	want, err := checkWant(r.ref, first, count)
	if err != nil {
		return nil, err
	}
	if r.part != nil && !r.part.covers(want) {
		return nil, sennit.Errorf(sennit.NotFound, "pieces %d to %d of blob %s are not all here", want.First, want.End-1, r.ref.Root)
	}
	start, n := len(dst), sliceLen(r.ref, want)
	dst = slices.Grow(dst, n)[:start+n]
	slice := dst[start:]
	binary.LittleEndian.PutUint64(slice, r.ref.Size)
	slice = slice[sizeLen:]
	ahead := make(frontier, 0, maxDepth+1)
	for ahead.start(r.ref); len(ahead) > 0; {
		t := ahead.pop()
		n := nodeSize(r.ref, t.Range)
		if err := r.load(t, slice[:n]); err != nil {
			return nil, err
		}
		ahead.push(t, slice, want)
		slice = slice[n:]
	}
	return dst, nil
}

// Verify reads all of a blob that is here and checks it. It fails as
// [Reader.ReadAt] does at the first piece that is damaged.
func (s *Store) Verify(ctx context.Context, ref sennit.Blob) (err error) {
	r, err := s.Open(ctx, ref)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	buf := make([]byte, Piece)
	for _, h := range r.Here(math.MaxInt) {
		for i := h.First; i < h.End; i++ {
			if err := ctx.Err(); err != nil {
				return sennit.Errorf(sennit.CodeOf(err), "verify blob %s: %w", ref.Root, err)
			}
			if err := r.get(ctx, i, buf[:pieceLen(ref, i)]); err != nil {
				return err
			}
		}
	}
	return nil
}
