package evil

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/blob"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about lies that are told to whoever asks for bytes of a blob.

// The lies about blobs.
const (
	AlteredPiece     Lie = "altered piece of a blob"
	AlteredLastPiece Lie = "altered last piece of a blob"
	ShortSlice       Lie = "slice of a blob that is cut off"
	OtherPieces      Lie = "other pieces of a blob than were asked for"
	BlobFlood        Lie = "answers about a blob without end"
	BlobGarbage      Lie = "garbage about a blob"
	EmptyAnswer      Lie = "empty answer about a blob"
	DataFirst        Lie = "bytes of a blob that nobody asked for"
	BlobQuestion     Lie = "question in place of an answer about a blob"
	NoAnswer         Lie = "no answer about a blob"
	Stall            Lie = "bytes of a blob that never come"
	EmptyPromise     Lie = "pieces of a blob that are there and aren't given"
	BeyondTheEnd     Lie = "pieces beyond a blob's end"
	AlwaysBusy       Lie = "always too busy for a blob"
)

// BlobLie is a way to answer a question about a blob.
type BlobLie struct {
	Lie   Lie
	Named bool // whoever hears it can tell that the peer lied; otherwise it is slow, or doesn't have the blob
	// Reply makes of a want and of the honest answer to it, which it may alter,
	// what goes out.
	Reply func(w *wire.BlobWant, honest []byte, number uint64) [][]byte
}

// BlobLies lists the lies about blobs.
func BlobLies() []BlobLie {
	return []BlobLie{
		{AlteredPiece, true, func(w *wire.BlobWant, honest []byte, _ uint64) [][]byte {
			if w.Count > 0 && w.First > 3 && len(honest) > 100 {
				honest[len(honest)-100] ^= 1
			}
			return [][]byte{honest}
		}},
		{AlteredLastPiece, true, func(w *wire.BlobWant, honest []byte, _ uint64) [][]byte {
			if w.Count > 0 {
				honest[len(honest)-1] ^= 1
			}
			return [][]byte{honest}
		}},
		{ShortSlice, true, func(w *wire.BlobWant, honest []byte, _ uint64) [][]byte {
			if w.Count > 0 {
				honest = honest[:len(honest)-1]
			}
			return [][]byte{honest}
		}},
		{OtherPieces, true, func(w *wire.BlobWant, honest []byte, number uint64) [][]byte {
			if w.Count > 0 {
				_, f, _ := wire.DecodeBlobFrame(honest)
				if d, ok := f.(*wire.BlobData); ok {
					return [][]byte{wire.AppendBlobFrame(nil, number, &wire.BlobData{First: d.First + 1, Slice: d.Slice})}
				}
			}
			return [][]byte{honest}
		}},
		{BlobFlood, true, func(_ *wire.BlobWant, honest []byte, _ uint64) (all [][]byte) {
			for range 1000 {
				all = append(all, honest)
			}
			return all
		}},
		{BlobGarbage, true, func(*wire.BlobWant, []byte, uint64) [][]byte { return [][]byte{make([]byte, 1000)} }},
		{EmptyAnswer, true, func(*wire.BlobWant, []byte, uint64) [][]byte { return [][]byte{{}} }},
		{DataFirst, true, func(_ *wire.BlobWant, _ []byte, number uint64) [][]byte {
			return [][]byte{wire.AppendBlobFrame(nil, number, &wire.BlobData{})}
		}},
		{BlobQuestion, true, func(w *wire.BlobWant, _ []byte, number uint64) [][]byte {
			return [][]byte{wire.AppendBlobFrame(nil, number, w)}
		}},
		{NoAnswer, false, func(*wire.BlobWant, []byte, uint64) [][]byte { return nil }},
		{Stall, false, func(w *wire.BlobWant, honest []byte, _ uint64) [][]byte {
			if w.Count > 0 {
				return nil
			}
			return [][]byte{honest}
		}},
		{EmptyPromise, false, func(w *wire.BlobWant, honest []byte, number uint64) [][]byte {
			if w.Count > 0 {
				return [][]byte{wire.AppendBlobFrame(nil, number, Everything(w))}
			}
			return [][]byte{honest}
		}},
		{BeyondTheEnd, false, func(w *wire.BlobWant, honest []byte, number uint64) [][]byte {
			if w.Count == 0 {
				return [][]byte{wire.AppendBlobFrame(nil, number, &wire.BlobHave{Ranges: []wire.PieceRange{{First: 1 << 40, End: 1 << 45}}})}
			}
			return [][]byte{honest}
		}},
		{AlwaysBusy, false, func(_ *wire.BlobWant, _ []byte, number uint64) [][]byte {
			return [][]byte{wire.AppendBlobFrame(nil, number, &wire.BlobReject{Busy: true})}
		}},
	}
}

// Everything says that all of a blob is there.
func Everything(w *wire.BlobWant) *wire.BlobHave {
	return &wire.BlobHave{Ranges: []wire.PieceRange{{End: (w.Blob.Size + blob.Piece - 1) / blob.Piece}}}
}

// WrapBlobs makes a connection lie on which an honest server answers questions
// about blobs. Some don't, or not at first.
func (l *Liar) WrapBlobs(c replicate.Conn) replicate.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := BlobLies()
	e := &blobConn{Conn: c, l: l, rng: rand.New(rand.NewPCG(l.rng.Uint64(), 'b')), lie: all[(l.c.First+l.streams)%len(all)]}
	e.rate = []float64{0, 0.1, 0.5, 1}[e.rng.IntN(4)]
	l.streams++
	return e
}

// blobConn is a connection on which lies about blobs are told.
type blobConn struct {
	replicate.Conn
	l    *Liar
	lie  BlobLie
	rate float64 // lies an answer

	rng  *rand.Rand // of the sender
	sent uint64     // by the honest server

	mu   sync.Mutex // guards what follows
	want *wire.BlobWant
}

// Recv implements replicate.Conn.
func (c *blobConn) Recv(ctx context.Context) ([]byte, error) {
	msg, err := c.Conn.Recv(ctx)
	if err != nil {
		return nil, err
	}
	if _, f, err := wire.DecodeBlobFrame(bytes.Clone(msg)); err == nil {
		if w, ok := f.(*wire.BlobWant); ok {
			c.mu.Lock()
			c.want = w
			c.mu.Unlock()
		}
	}
	return msg, nil
}

// Send implements replicate.Conn.
func (c *blobConn) Send(ctx context.Context, msg []byte) error {
	c.mu.Lock()
	w := c.want
	c.mu.Unlock()
	number := c.sent
	c.sent++
	if w == nil || c.rng.Float64() >= c.rate {
		return c.Conn.Send(ctx, msg)
	}
	c.l.c.Count(c.lie.Lie)
	for _, b := range c.lie.Reply(w, bytes.Clone(msg), number) {
		if err := c.Conn.Send(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// falseBlob is a blob that there isn't: a root that nobody has, or a size that
// isn't that of its root. l.mu is held.
func (c *conn) falseBlob() sennit.Blob {
	b := sennit.Blob{Root: [32]byte(c.hash()), Size: sennit.MaxInline + 1 + c.rng.Uint64N(1<<20)}
	if len(c.l.roots) > 0 && c.rng.IntN(3) > 0 {
		b = c.l.roots[c.rng.IntN(len(c.l.roots))]
	}
	switch c.rng.IntN(4) {
	case 0:
		b.Size = blob.MaxSize
	case 1:
		b.Size++
	case 2:
		b.Size = max(sennit.MaxInline+1, b.Size-1)
	}
	return b
}

// noteBlobs remembers which blobs are named; l.mu is held.
func (l *Liar) noteBlobs(runs []*wire.Run) {
	for _, run := range runs {
		for i := range run.Items {
			for _, part := range run.Items[i].Parts {
				for j := range part.Ops {
					if part.Ops[j].Kind != sennit.KindPut || len(l.roots) >= maxRoots {
						continue
					}
					if p, err := wire.DecodePut(part.Ops[j].Body); err == nil && p.Value.Blob != nil {
						l.roots = append(l.roots, *p.Value.Blob)
					}
				}
			}
		}
	}
}
