package peer

import (
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/multiformats/go-multiaddr"

	"github.com/sennit/sennit"
)

// resetByUser is the code that the peer gets when [Conn.Reset] was called or a
// context ended. libp2p's codes begin at 0x1000; 0 means an orderly end.
const resetByUser network.StreamErrorCode = 1

// Conn is a stream of messages, in both directions, to an authenticated peer.
//
// One goroutine may send while another receives. A Send while another is under
// way fails with [sennit.Conflict], and so does a Recv; any number may call
// the other methods.
//
// A Conn works until its first error: when a call of Send or Recv fails, both
// directions are over, and every later call fails with the same error. Three
// errors change nothing: a message that is too long, a context that had ended
// before the call, a call while another is under way. And when the peer has
// closed its end, what is still under way can be received; then Recv fails
// with an error that wraps [io.EOF].
//
// When the peer does not receive, Send waits: at most a flow-control window is
// under way. It begins with 256 KiB (TCP) or 512 KiB (QUIC), and grows to at
// most 16 MiB while the peer keeps up. A peer that vanishes without a word is
// noticed within a minute.
//
// Errors: [sennit.Gone] when one side has closed or reset the stream,
// [sennit.Unreachable] when the connection broke, [sennit.BadInput] and
// [sennit.TooLarge] when the peer sent what makes no sense, or says so of us,
// [sennit.OverQuota] when it or we have too many streams or too little memory,
// and the context's errors.
type Conn struct {
	s      network.Stream
	remote ID
	free   func() // tells the host; called once, by whoever sets over

	in, out            atomic.Uint64
	sending, receiving atomic.Bool
	w                  *frameWriter          // belongs to who set sending
	r                  *frameReader          // belongs to who set receiving
	over               atomic.Pointer[error] // why nothing more can be sent or received
}

func newConn(s network.Stream, remote ID, free func()) *Conn {
	c := &Conn{s: s, remote: remote, free: free}
	c.w = newFrameWriter(counter{s.Write, &c.out}, s.Scope())
	c.r = newFrameReader(counter{s.Read, &c.in}, s.Scope())
	return c
}

// counter counts the bytes that pass through a stream.
type counter struct {
	f func([]byte) (int, error)
	n *atomic.Uint64
}

func (c counter) Read(p []byte) (int, error) {
	n, err := c.f(p)
	c.n.Add(uint64(n))
	return n, err
}

func (c counter) Write(p []byte) (int, error) { return c.Read(p) }

// Remote names the peer at the other end.
func (c *Conn) Remote() ID { return c.remote }

// RemoteAddr is the address at which the peer is, as a multiaddr.
func (c *Conn) RemoteAddr() string { return c.s.Conn().RemoteMultiaddr().String() }

// Stats counts the bytes of a stream: frames, without what the transport adds.
type Stats struct{ In, Out uint64 }

// Stats tells how many bytes have passed so far.
func (c *Conn) Stats() Stats { return Stats{In: c.in.Load(), Out: c.out.Load()} }

// Send sends one message, of at most [MaxMessage] bytes. When it returns, msg
// may be reused; whether it arrives, only an answer tells.
func (c *Conn) Send(ctx context.Context, msg []byte) error {
	if len(msg) > MaxMessage {
		return sennit.Errorf(sennit.TooLarge, "can't send a message of %d bytes; at most %d are allowed", len(msg), MaxMessage)
	}
	if err := c.begin(ctx, &c.sending, "sending"); err != nil {
		return err
	}
	defer c.sending.Store(false)
	release := guard(ctx, c.s.SetWriteDeadline)
	err := c.w.write(msg)
	release()
	if err != nil {
		return c.fail(ctx, "sending", err)
	}
	return nil
}

// Recv waits for the next message, which is the caller's to keep.
func (c *Conn) Recv(ctx context.Context) ([]byte, error) {
	if err := c.begin(ctx, &c.receiving, "receiving"); err != nil {
		return nil, err
	}
	defer c.receiving.Store(false)
	release := guard(ctx, c.s.SetReadDeadline)
	msg, err := c.r.read()
	release()
	switch {
	case err == nil:
		return msg, nil
	case err == io.EOF:
		return nil, sennit.Errorf(sennit.Gone, "%s has closed the stream: %w", c.remote, err)
	}
	return nil, c.fail(ctx, "receiving", err)
}

// begin takes the gate of one direction, or says why it can't be used.
func (c *Conn) begin(ctx context.Context, gate *atomic.Bool, doing string) error {
	if err := c.over.Load(); err != nil {
		return *err
	}
	if err := ctx.Err(); err != nil {
		return sennit.Errorf(sennit.CodeOf(err), "%s, peer %s: %w", doing, c.remote, err)
	}
	if gate.CompareAndSwap(false, true) {
		return nil
	}
	if err := c.over.Load(); err != nil { // Close keeps the gate
		return *err
	}
	return sennit.Errorf(sennit.Conflict, "%s, peer %s: another goroutine is at it", doing, c.remote)
}

// fail ends the stream because of err, unless it was over before, and returns
// the reason why it is.
func (c *Conn) fail(ctx context.Context, doing string, err error) error {
	err = c.explain(ctx, doing, err)
	code := resetByUser
	switch sennit.CodeOf(err) {
	case sennit.BadInput, sennit.TooLarge:
		code = network.StreamProtocolViolation
	case sennit.OverQuota:
		code = network.StreamResourceLimitExceeded
	}
	return c.end(err, code)
}

func (c *Conn) end(err error, code network.StreamErrorCode) error {
	if c.over.CompareAndSwap(nil, &err) {
		c.s.ResetWithError(code)
		c.free()
	}
	return *c.over.Load()
}

// explain turns an error of the stream into one of ours.
func (c *Conn) explain(ctx context.Context, doing string, err error) error {
	var ours *sennit.Error
	var reset *network.StreamError
	var lost *network.ConnError
	code, what := sennit.Unreachable, "the connection broke"
	switch {
	case errors.As(err, &ours):
		code, what = ours.Code, "it can't be understood"
		if ours.Code == sennit.OverQuota {
			what = "it needs too much"
		}
	case ctx.Err() != nil && timedOut(err):
		code, what, err = sennit.CodeOf(ctx.Err()), "given up", ctx.Err()
	case errors.As(err, &lost):
		what = "the connection was closed"
	case errors.As(err, &reset) && reset.Remote:
		code, what = refusal(reset)
	case errors.Is(err, io.ErrUnexpectedEOF):
		code, what = sennit.Gone, "the stream ended within a message"
	}
	return sennit.Errorf(code, "%s, peer %s: %s: %w", doing, c.remote, what, err)
}

// refusal says why the peer has reset a stream.
func refusal(reset *network.StreamError) (code sennit.Code, what string) {
	switch reset.ErrorCode {
	case network.StreamResourceLimitExceeded, network.StreamRateLimited:
		return sennit.OverQuota, "the peer refuses the stream: too many are open, or too little memory is left"
	case network.StreamProtocolViolation:
		return sennit.BadInput, "the peer says that it can't understand what was sent"
	}
	return sennit.Gone, "the peer has ended the stream"
}

// timedOut reports whether err says that a stream's deadline has passed.
func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// Close ends the stream in good order: the peer receives what was sent, and
// then the end. What it sends from now on is lost, and its Send fails. When a
// Send is under way, that is not possible, and Close does what Reset does. A
// Conn that was opened must be closed or reset. Closing again does nothing.
func (c *Conn) Close() error {
	err := sennit.Errorf(sennit.Gone, "the stream to %s was closed here", c.remote)
	if !c.over.CompareAndSwap(nil, &err) {
		return nil
	}
	defer c.free()
	if !c.sending.CompareAndSwap(false, true) {
		c.s.ResetWithError(resetByUser)
		return nil
	}
	if c.quic() {
		// Sends the end of the stream behind what is under way, and asks the
		// peer to stop sending.
		c.s.Close()
		return nil
	}
	// yamux has no way to ask a peer to stop sending, and would drop what comes,
	// until the peer's Send blocked for good. A reset behind the end makes it
	// stop; what came before the end stays readable.
	c.s.CloseWrite()
	c.s.Reset()
	return nil
}

func (c *Conn) quic() bool {
	_, err := c.s.Conn().LocalMultiaddr().ValueForProtocol(multiaddr.P_QUIC_V1)
	return err == nil
}

// Reset ends the stream at once: what is under way may be lost, and what both
// sides are doing fails.
func (c *Conn) Reset() {
	c.end(sennit.Errorf(sennit.Gone, "the stream to %s was reset here", c.remote), resetByUser)
}
