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

// Bounds of asking a peer.
const (
	dialTimeout  = 10 * time.Second
	snubTimeout  = 3 * time.Second  // for its first answer
	stallTimeout = 10 * time.Second // for each answer after that
	askAgain     = time.Second      // before a peer is asked again that can't help now
	maxIdle      = 10               // times in a row that it can't
	maxWindow    = 8                // wants under way on a stream
	minWindow    = 2
	briskAnswer  = 500 * time.Millisecond // slices grow while they come faster than this
	slowAnswer   = 2 * time.Second        // and shrink when they take longer than this
)

// What a peer may say. The texts follow its name.
var (
	errBusy    = errors.New("is busy")
	errNothing = errors.New("doesn't have them, or doesn't give them")
	errPartly  = errors.New("has only a part of them")
)

// Lied is the error of a peer that sent what is not right.
type Lied struct {
	Host replicate.Host
	Err  error // what it sent
}

func (e *Lied) Error() string { return "sent what is not right: " + e.Err.Error() }

// Unwrap is what is wrong with what the peer sent.
func (e *Lied) Unwrap() error { return e.Err }

// ownError is an error that is not the peer's fault.
type ownError struct{ err error }

func (e *ownError) Error() string { return e.err.Error() }

// source is one peer that is asked for a blob.
type source struct {
	s     *Swarm
	b     *bringing
	host  replicate.Host
	wants []node.Want // paths to ask for

	conn      Conn
	sent, got uint64    // messages
	want      node.Want // which of the paths it gives the blob for
	have      []blob.Range
	asked     []ask // under way, oldest first

	size   uint64    // pieces of the next slice
	window int       // wants that may be under way
	last   time.Time // when the last answer came
	idle   int       // how often in a row it had nothing that was missing
}

// ask is a want for pieces.
type ask struct {
	r  blob.Range
	at time.Time
}

// run asks a peer for what is missing, until nothing is or the peer can't help.
func (c *source) run(ctx context.Context) (err error) {
	dctx, cancel := context.WithTimeout(ctx, dialTimeout)
	c.conn, err = c.s.cfg.Dial(dctx, c.host)
	cancel()
	if err != nil {
		return sennit.Errorf(sennit.CodeOf(err), "can't be reached: %w", err)
	}
	defer c.conn.Close()
	if err := c.which(ctx); err != nil {
		return err
	}
	select {
	case c.b.found <- struct{}{}:
	default: // somebody else found it
	}
	select {
	case <-c.b.begun:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() {
		for len(c.asked) > 0 {
			c.settle()
		}
	}()
	plan := c.b.plan
	for !plan.f.Done() {
		moved := plan.wait()
		if err := c.ask(ctx); err != nil {
			return err
		}
		if len(c.asked) > 0 {
			if err := c.answer(ctx); err != nil {
				return err
			}
			continue
		}
		if err := c.pause(ctx, moved); err != nil {
			return err
		}
	}
	return nil
}

// which finds out which pieces the peer has, and at which path it gives them.
func (c *source) which(ctx context.Context) error {
	for _, w := range c.wants {
		if err := c.send(ctx, w, blob.Range{}); err != nil {
			return err
		}
		f, err := c.recv(ctx, snubTimeout)
		if err != nil {
			return err
		}
		switch f := f.(type) {
		case *wire.BlobHave:
			c.want = w
			c.has(f)
			return nil
		case *wire.BlobReject:
			if f.Busy {
				return errBusy
			}
		default:
			return c.lied("data that nobody asked for")
		}
	}
	return errNothing
}

func (c *source) has(f *wire.BlobHave) {
	c.have = c.have[:0]
	for _, r := range f.Ranges {
		c.have = append(c.have, blob.Range(r))
	}
}

// ask sends wants as long as there is something to ask for and room.
func (c *source) ask(ctx context.Context) error {
	for len(c.asked) < c.window {
		if !c.s.flight.take(c.size, len(c.asked) == 0) {
			return nil
		}
		r, ok := c.b.plan.next(c.have, c.size)
		c.s.flight.give(c.size - (r.End - r.First))
		if !ok {
			return nil
		}
		c.asked = append(c.asked, ask{r, time.Now()})
		if err := c.send(ctx, c.want, r); err != nil {
			return err
		}
	}
	return nil
}

// settle ends the oldest want.
func (c *source) settle() {
	r := c.asked[0].r
	c.asked = c.asked[1:]
	c.s.flight.give(r.End - r.First)
	c.b.plan.done(r)
}

// answer takes the answer to the oldest want.
func (c *source) answer(ctx context.Context) error {
	f, err := c.recv(ctx, stallTimeout)
	if err != nil {
		return err
	}
	a := c.asked[0]
	switch f := f.(type) {
	case *wire.BlobData:
		if f.First != a.r.First {
			return c.lied("pieces that nobody asked for")
		}
		if err := c.put(ctx, a.r, f.Slice); err != nil {
			return err
		}
		c.settle()
		c.pace(a)
	case *wire.BlobHave: // they are gone there
		c.settle()
		c.have = nil
	case *wire.BlobReject:
		if f.Busy {
			return errBusy
		}
		return errNothing
	}
	return nil
}

// put keeps the pieces of a slice.
func (c *source) put(ctx context.Context, r blob.Range, slice []byte) error {
	if err := c.s.cfg.Full(); err != nil {
		return &ownError{err}
	}
	err := c.b.plan.f.Put(ctx, r.First, int(r.End-r.First), slice)
	switch {
	case err == nil:
		c.idle = 0
		return nil
	case sennit.CodeOf(err) == sennit.BadInput:
		return &Lied{c.host, err}
	}
	return &ownError{err}
}

// pace fits slices and the number of wants to how fast answers come: a slow peer
// has little under way, so that what a reader waits for is asked soon.
func (c *source) pace(a ask) {
	now := time.Now()
	if c.last.After(a.at) {
		a.at = c.last
	}
	c.last = now
	took := now.Sub(a.at)
	switch {
	case took < briskAnswer:
		c.size = min(2*c.size, blob.MaxSlice)
	case took > slowAnswer:
		c.size = max(c.size/2, 1)
	}
	c.window = int(min(max(time.Second/max(took, 1), minWindow), maxWindow))
}

// pause waits until a peer that has nothing to give may have something: pieces
// that were asked for elsewhere don't come from there, or it got more itself.
func (c *source) pause(ctx context.Context, moved <-chan struct{}) error {
	all := c.b.plan.last + 1
	if len(c.have) == 1 && c.have[0].First == 0 && c.have[0].End >= all {
		select {
		case <-moved:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	timer := time.NewTimer(askAgain)
	defer timer.Stop()
	select {
	case <-moved:
		return nil
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	if c.idle++; c.idle >= maxIdle {
		return errPartly
	}
	return c.which(ctx)
}

func (c *source) send(ctx context.Context, w node.Want, r blob.Range) error {
	ctx, cancel := context.WithTimeout(ctx, stallTimeout)
	defer cancel()
	f := &wire.BlobWant{Space: w.Space, Path: w.Path, Blob: w.Blob, First: r.First, Count: uint32(r.End - r.First)}
	msg := wire.AppendBlobFrame(nil, c.sent, f)
	c.sent++
	if err := c.conn.Send(ctx, msg); err != nil {
		return sennit.Errorf(sennit.CodeOf(err), "can't be asked: %w", err)
	}
	return nil
}

func (c *source) recv(ctx context.Context, timeout time.Duration) (wire.BlobFrame, error) {
	rctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	msg, err := c.conn.Recv(rctx)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case rctx.Err() != nil && err != nil:
		return nil, sennit.Errorf(sennit.Timeout, "said nothing for %s", timeout)
	case err != nil:
		return nil, sennit.Errorf(sennit.CodeOf(err), "ended the stream: %w", err)
	}
	number, f, err := wire.DecodeBlobFrame(msg)
	switch {
	case err != nil:
		return nil, &Lied{c.host, err}
	case number != c.got:
		return nil, c.lied("message %d instead of message %d", number, c.got)
	}
	c.got++
	if _, want := f.(*wire.BlobWant); want {
		return nil, c.lied("a want on a stream that is not its own")
	}
	return f, nil
}

func (c *source) lied(format string, args ...any) error {
	return &Lied{c.host, sennit.Errorf(sennit.BadInput, format, args...)}
}
