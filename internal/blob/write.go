package blob

import (
	"bytes"
	"context"
	"errors"
	"math/bits"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"
)

// batch is how many pieces a Writer holds: 512 KiB.
const batch = 8

// Writer takes in a value of any size. It is for one goroutine, and must end
// with Finish or Abort.
type Writer struct {
	s    *Store
	err  error // why nothing can be written any more
	file vfs.File
	temp string

	buf  []byte    // the part of the file from piece base on
	base uint64    // first piece in buf
	at   uint64    // the piece that is being filled
	n    int       // bytes of it
	tree []subtree // complete subtrees over the pieces before, left to right
	node [nodeLen]byte
}

// Create begins to write a value. Nothing is on disk before there are more than
// [sennit.MaxInline] bytes.
func (s *Store) Create() *Writer { return &Writer{s: s} }

// Write takes bytes in. It fails with [sennit.ReadOnly] if the disk is full,
// and after an error always fails with the same.
func (w *Writer) Write(p []byte) (int, error) {
	for taken := 0; ; {
		if w.err != nil || taken == len(p) {
			return taken, w.err
		}
		if w.n == Piece {
			w.err = w.turn()
			continue
		}
		if w.buf == nil {
			w.buf = make([]byte, Piece)
		}
		n := copy(w.piece()[w.n:Piece], p[taken:])
		w.n += n
		taken += n
	}
}

// piece is the buffer from the piece at hand on.
func (w *Writer) piece() []byte { return w.buf[(w.at-w.base)*stride:] }

// turn goes on to the next piece when this one is full and there are more
// bytes.
func (w *Writer) turn() error {
	if w.file == nil {
		if err := w.begin(); err != nil {
			return err
		}
	}
	w.hash()
	// As many subtrees are complete now as the number of pieces has zeros at its
	// end (BLAKE3, section 5.1.2). As there are more pieces, none is the root.
	for range bits.TrailingZeros64(w.at) {
		if err := w.join(false); err != nil {
			return err
		}
	}
	if w.at-w.base < batch {
		return nil
	}
	err := w.writeAt(w.buf, pieceAt(w.base))
	w.base = w.at
	return err
}

// begin makes the file, and the buffer as big as it gets.
func (w *Writer) begin() error {
	w.buf = append(make([]byte, 0, batch*stride), w.buf...)[:batch*stride]
	w.temp = w.s.temp()
	var err error
	if w.file, err = w.s.fs.OpenReadWrite(w.temp, vfs.WriteCategoryUnspecified); err != nil {
		return failed(err, "begin to write a blob")
	}
	return nil
}

// hash puts the piece at hand into the tree.
func (w *Writer) hash() {
	w.tree = append(w.tree, subtree{Range{w.at, w.at + 1}, pieceHash(w.piece()[:w.n], w.at)})
	w.at++
	w.n = 0
}

// join makes one subtree of the last two, and writes the node over them.
func (w *Writer) join(root bool) error {
	l, r := w.tree[len(w.tree)-2], w.tree[len(w.tree)-1]
	node := w.node[:]
	copy(node[:32], l.hash[:])
	copy(node[32:], r.hash[:])
	all := Range{l.First, r.End}
	w.tree = append(w.tree[:len(w.tree)-2], subtree{all, innerHash(&w.node, root)})
	off := nodeAt(all)
	if start := pieceAt(w.base); off >= start {
		copy(w.buf[off-start:], node)
		return nil
	}
	return w.writeAt(node, off)
}

func (w *Writer) writeAt(b []byte, off int64) error {
	if _, err := w.file.WriteAt(b, off); err != nil {
		return failed(err, "write a blob")
	}
	return nil
}

// Finish ends the value. If it fits an op, it comes back as Data. Otherwise it
// is kept, and comes back as Blob when it is on disk for good; if the same blob
// was here before, it is kept once. Finish waits for others who change that
// blob. After an error nothing is kept.
func (w *Writer) Finish(ctx context.Context) (sennit.Value, error) {
	defer w.Abort()
	if w.err != nil {
		return sennit.Value{}, w.err
	}
	if w.at == 0 {
		return sennit.Value{Data: bytes.Clone(w.buf[:w.n])}, nil
	}
	ref := sennit.Blob{Size: w.at*Piece + uint64(w.n)}
	end := int(w.at-w.base)*stride + w.n
	w.hash()
	for len(w.tree) > 1 {
		if err := w.join(len(w.tree) == 2); err != nil {
			return sennit.Value{}, err
		}
	}
	ref.Root = w.tree[0].hash
	if err := w.writeAt(w.buf[:end], pieceAt(w.base)); err != nil {
		return sennit.Value{}, err
	}
	if err := w.file.Sync(); err != nil {
		return sennit.Value{}, failed(err, "write a blob")
	}
	file := w.file
	w.file = nil
	if err := file.Close(); err != nil {
		return sennit.Value{}, failed(err, "write a blob")
	}
	if err := w.s.keep(ctx, ref, w.temp); err != nil {
		return sennit.Value{}, err
	}
	return sennit.Value{Blob: &ref}, nil
}

// Abort ends the value and keeps nothing. It does nothing after Finish.
func (w *Writer) Abort() {
	if w.file != nil {
		_ = w.file.Close() // nobody needs it any more
		w.file = nil
	}
	if w.temp != "" {
		_ = w.s.fs.Remove(w.temp) // or Open does
		w.temp = ""
	}
	w.buf = nil
	if w.err == nil {
		w.err = ended()
	}
}

func ended() error { return sennit.Errorf(sennit.BadInput, "this value was finished or aborted") }

// keep makes a finished file a blob, unless the blob is here. The file may be
// there afterwards.
func (s *Store) keep(ctx context.Context, ref sennit.Blob, temp string) error {
	if err := s.claim(ctx, ref); err != nil {
		return err
	}
	defer s.release(ref)
	if p, err := s.settled(ref); err != nil {
		return err
	} else if p != nil {
		return s.pour(ref, temp, p)
	}
	there, whole := s.look(ref)
	if !whole {
		if err := s.fs.Rename(temp, s.path(fileName(ref))); err != nil {
			return failed(err, "keep blob %s", ref.Root)
		}
	}
	if !there {
		s.mu.Lock()
		s.bytes += fileLen(ref)
		s.mu.Unlock()
	}
	// Even if it was there: whoever put it there may have failed to sync.
	return s.syncDir()
}

// pour completes a partial blob from a file that has all of it. Its own file
// stays, as there may be readers. The caller has the claim.
func (s *Store) pour(ref sennit.Blob, temp string, p *partial) (err error) {
	f, err := s.fs.Open(temp)
	if err != nil {
		return failed(err, "keep blob %s", ref.Root)
	}
	r := newReader(ref, f, nil)
	defer func() { err = errors.Join(err, r.Close()) }()
	var slice []byte
	for _, gap := range p.have.gaps(pieces(ref), len(p.have)+1) {
		for at := gap.First; at < gap.End; at += MaxSlice {
			want := Range{at, min(at+MaxSlice, gap.End)}
			if slice, err = r.Slice(slice[:0], want.First, int(want.len())); err != nil {
				return err
			}
			if err := s.fill(p, want, slice); err != nil {
				return err
			}
		}
	}
	return nil
}
