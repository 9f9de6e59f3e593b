package swarm

import (
	"context"
	"errors"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/blob"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
)

// Bounds of serving. Each stream holds one slice at most.
const (
	maxStreams  = 48 // streams at a time
	hostStreams = 8  // of one host
	maxReading  = 4  // slices that are read from the disk at a time
	idleTimeout = time.Minute
	sendTimeout = 30 * time.Second // for a peer to take one message
)

// Serve answers a peer on a stream that it opened, until it ends.
func (s *Swarm) Serve(ctx context.Context, conn Conn) (err error) {
	v := &server{s: s, conn: conn}
	defer func() { err = errors.Join(err, v.close()) }()
	admitted := s.admit(conn.Host())
	if admitted {
		defer s.dismiss(conn.Host())
	}
	for number := uint64(0); ; number++ {
		w, err := v.recv(ctx, number)
		if err != nil {
			return err
		}
		if !admitted {
			return errors.Join(sennit.Errorf(sennit.OverQuota, "too many streams are open"), v.send(ctx, &wire.BlobReject{Busy: true}))
		}
		if err := v.answer(ctx, w); err != nil {
			return err
		}
	}
}

// admit takes a place for a stream, if there is one.
func (s *Swarm) admit(host replicate.Host) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serves >= maxStreams || s.served[host] >= hostStreams {
		return false
	}
	s.serves++
	s.served[host]++
	return true
}

func (s *Swarm) dismiss(host replicate.Host) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serves--
	if s.served[host]--; s.served[host] == 0 {
		delete(s.served, host)
	}
}

// server is one stream on which a peer asks.
type server struct {
	s    *Swarm
	conn Conn
	sent uint64
	buf  []byte       // of the last message
	r    *blob.Reader // of the blob that was asked for last, nil if there is none
}

func (v *server) close() error {
	err := v.conn.Close()
	if v.r != nil {
		err = errors.Join(err, v.r.Close())
	}
	return err
}

func (v *server) recv(ctx context.Context, number uint64) (*wire.BlobWant, error) {
	ctx, cancel := context.WithTimeout(ctx, idleTimeout)
	defer cancel()
	msg, err := v.conn.Recv(ctx)
	if err != nil {
		return nil, err
	}
	got, f, err := wire.DecodeBlobFrame(msg)
	if err != nil {
		return nil, err
	}
	w, ok := f.(*wire.BlobWant)
	if !ok || got != number {
		return nil, sennit.Errorf(sennit.BadInput, "want number %d was to come; message %d came", number, got)
	}
	return w, nil
}

func (v *server) send(ctx context.Context, f wire.BlobFrame) error {
	v.buf = wire.AppendBlobFrame(v.buf[:0], v.sent, f)
	return v.flush(ctx)
}

// flush sends what is in the buffer.
func (v *server) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	v.sent++
	return v.conn.Send(ctx, v.buf)
}

// answer answers one want.
func (v *server) answer(ctx context.Context, w *wire.BlobWant) error {
	// Looked up each time: rights may be taken back, and sessions end.
	who, _ := v.s.cfg.Sessions.Principal(v.conn.Host())
	may, err := v.s.n.MayHave(who, node.Want{Space: w.Space, Path: w.Path, Blob: w.Blob})
	if err != nil {
		return err
	}
	if !may {
		return v.send(ctx, &wire.BlobReject{})
	}
	switch err := v.open(ctx, w.Blob); {
	case sennit.CodeOf(err) == sennit.NotFound:
		return v.send(ctx, &wire.BlobReject{})
	case err != nil:
		return v.damaged(ctx, err)
	case w.Count == 0:
		return v.tell(ctx)
	}
	select {
	case v.s.turns <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	v.buf = wire.AppendBlobFrame(v.buf[:0], v.sent, &wire.BlobData{First: w.First})
	slice, err := v.r.Slice(v.buf, w.First, int(w.Count))
	<-v.s.turns
	switch sennit.CodeOf(err) {
	case "":
		v.buf = slice
		return v.flush(ctx)
	case sennit.NotFound:
		return v.tell(ctx)
	case sennit.BadInput:
		return err
	}
	return v.damaged(ctx, err)
}

// open opens the blob that is asked for, if it isn't open.
func (v *server) open(ctx context.Context, ref sennit.Blob) error {
	if v.r != nil && v.r.Blob() == ref {
		return nil
	}
	if old := v.r; old != nil {
		v.r = nil
		if err := old.Close(); err != nil {
			return err
		}
	}
	r, err := v.s.blobs.Open(ctx, ref)
	if err == nil {
		v.r = r
	}
	return err
}

// tell says which pieces are here.
func (v *server) tell(ctx context.Context) error {
	here := v.r.Here(wire.MaxHave)
	if len(here) == 0 {
		return v.send(ctx, &wire.BlobReject{})
	}
	h := &wire.BlobHave{Ranges: make([]wire.PieceRange, len(here))}
	for i, r := range here {
		h.Ranges[i] = wire.PieceRange(r)
	}
	return v.send(ctx, h)
}

// damaged answers for a blob that can't be read here, which is nobody's
// business but the owner's.
func (v *server) damaged(ctx context.Context, err error) error {
	v.s.cfg.Log.Warn("a blob can't be read", "err", err)
	return v.send(ctx, &wire.BlobReject{})
}
