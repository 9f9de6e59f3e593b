package peer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/bubble"
	"github.com/sennit/sennit/internal/peer"
)

// session is what the replication of a node needs.
type session interface {
	Send(ctx context.Context, msg []byte) error
	Recv(ctx context.Context) ([]byte, error)
	Remote() peer.ID
	Close() error
}

var _ session = (*peer.Conn)(nil)

func TestTooLargeToSend(t *testing.T) {
	c, s, _, _ := pair(t, overQUIC)
	ctx := deadline(t)
	wantCode(t, c.Send(ctx, make([]byte, peer.MaxMessage+1)), sennit.TooLarge, "2097153 bytes")
	if err := c.Send(ctx, []byte("next")); err != nil {
		t.Fatalf("the stream was not to be harmed: %v", err)
	}
	if msg, err := s.Recv(ctx); err != nil || string(msg) != "next" {
		t.Fatalf("got %q, %v", msg, err)
	}
}

// What a hostile peer writes on the stream must end it, with a clear error on
// our side and a hint for the peer, and leave the connection alone.
func TestHostilePeer(t *testing.T) {
	bomb := new(bytes.Buffer) // 64 MiB in a few KB
	w := peer.NewFrameWriter(bomb, rich())
	w.Wire(1e6)
	if err := w.Write(make([]byte, peer.MaxMessage)); err != nil {
		t.Fatal(err)
	}
	head := bomb.Len()
	for range 1000 {
		bomb.Write(bomb.Bytes()[head/2 : head])
	}
	for _, tt := range transports {
		b := start(t, peer.Config{Key: key(2), Listen: []string{tt.listen}})
		a := start(t, peer.Config{Key: key(1)})
		errs := make(chan error)
		b.Serve(proto, func(ctx context.Context, c *peer.Conn) {
			for {
				if _, err := c.Recv(ctx); err != nil {
					_, again := c.Recv(ctx)
					if again == nil || sennit.CodeOf(again) != sennit.CodeOf(err) {
						t.Errorf("after %v the next error is %v", err, again)
					}
					errs <- err
					return
				}
			}
		})
		dial(t, a, b).Close()
		wantCode(t, <-errs, sennit.Gone, "closed")

		for _, bad := range []struct {
			name  string
			bytes []byte
			code  sennit.Code
			text  string
		}{
			{"2 MiB and 1 byte", frame(0, peer.MaxMessage+1), sennit.TooLarge, "at most 2097152"},
			{"an over-long length", bytes.Repeat([]byte{0xff}, 10), sennit.TooLarge, "beyond all limits"},
			{"garbage", []byte("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"), sennit.BadInput, "malformed"},
			{"garbage for zstd", append(binary.AppendUvarint(frame(2, 100), 500), noise(1, 100)...), sennit.BadInput, "compressed message is malformed"},
			{"a bomb", append(binary.AppendUvarint(frame(2, uint64(bomb.Len())), 64<<20), bomb.Bytes()...), sennit.TooLarge, "67108864 bytes"},
			{"a bomb in disguise", bomb.Bytes(), sennit.BadInput, "malformed"},
		} {
			t.Run(bad.name+", "+tt.name, func(t *testing.T) {
				raw, err := a.Raw(deadline(t), b.ID(), b.Addrs(), proto)
				if err != nil {
					t.Fatal(err)
				}
				raw.SetDeadline(time.Now().Add(10 * time.Second))
				go raw.Write(bad.bytes) // may be cut off
				wantCode(t, <-errs, bad.code, bad.text)
				var reset *network.StreamError
				_, err = io.ReadAll(raw)
				if !errors.As(err, &reset) || reset.ErrorCode != network.StreamProtocolViolation {
					t.Errorf("the peer hears %v", err)
				}
				raw.Reset()
				dial(t, a, b).Close()
				wantCode(t, <-errs, sennit.Gone, "closed")
			})
		}
		t.Run("nothing, "+tt.name, func(t *testing.T) {
			raw, err := a.Raw(deadline(t), b.ID(), b.Addrs(), proto)
			if err != nil {
				t.Fatal(err)
			}
			raw.Write(frame(0, peer.MaxMessage))
			raw.Close()
			wantCode(t, <-errs, sennit.Gone, "ended within a message")
		})
	}
}

func TestCancelRecv(t *testing.T) {
	for _, tt := range transports {
		t.Run(tt.name, func(t *testing.T) {
			c, s, _, _ := pair(t, tt.listen)
			// A context that ended before the call changes nothing.
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			_, err := c.Recv(ended)
			wantCode(t, err, sennit.Interrupted, "context canceled")
			wantCode(t, c.Send(ended, nil), sennit.Interrupted, "context canceled")

			// A context that ends after the call doesn't either.
			ctx, cancel := context.WithCancel(deadline(t))
			for range 200 {
				if err := s.Send(deadline(t), []byte("hello")); err != nil {
					t.Fatal(err)
				}
				once, stop := context.WithCancel(ctx)
				if _, err := c.Recv(once); err != nil {
					t.Fatal(err)
				}
				stop()
			}
			// One that ends during the call ends the stream.
			go cancel()
			began := time.Now()
			_, err = c.Recv(ctx)
			wantCode(t, err, sennit.Interrupted, "context canceled")
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			wantCode(t, c.Send(deadline(t), nil), sennit.Interrupted, "given up")
			_, err = s.Recv(deadline(t))
			wantCode(t, err, sennit.Gone, "the peer has ended the stream")

			timeout, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			c, _, _, _ = pair(t, tt.listen)
			_, err = c.Recv(timeout)
			wantCode(t, err, sennit.Timeout, "deadline exceeded")
		})
	}
}

// The deadline by which a context interrupts a call must not hit the next one.
func TestGuard(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		proceed := make(chan struct{})
		var mu sync.Mutex
		var set []string
		release := peer.Guard(ctx, func(d time.Time) error {
			if d.IsZero() {
				mu.Lock()
				defer mu.Unlock()
				set = append(set, "none")
				return nil
			}
			<-proceed
			mu.Lock()
			defer mu.Unlock()
			set = append(set, "past")
			return nil
		})
		cancel()
		synctest.Wait() // the deadline is just being set
		go release()
		synctest.Wait()
		close(proceed)
		synctest.Wait()
		if want := []string{"past", "none"}; !slices.Equal(set, want) {
			t.Errorf("the deadlines set were %v, want %v", set, want)
		}

		set = nil
		ctx, cancel = context.WithCancel(t.Context())
		peer.Guard(ctx, func(time.Time) error { set = append(set, "any"); return nil })()
		cancel()
		synctest.Wait()
		if len(set) > 0 {
			t.Errorf("%v after the call", set)
		}
	})
}

// A context may end in the very moment in which a message arrives. Whatever
// comes of it, the next call must not suffer.
func TestCancelRacesWithRecv(t *testing.T) {
	for _, tt := range transports {
		t.Run(tt.name, func(t *testing.T) {
			b := start(t, peer.Config{Key: key(2), Listen: []string{tt.listen}})
			a := start(t, peer.Config{Key: key(1)})
			b.Serve(proto, func(ctx context.Context, c *peer.Conn) { // echoes
				for {
					msg, err := c.Recv(ctx)
					if err != nil || c.Send(ctx, msg) != nil {
						return
					}
				}
			})
			all := deadline(t)
			c := dial(t, a, b)
			const rounds = 100
			faster := 0
			for i := range rounds {
				if err := c.Send(all, []byte("hello")); err != nil {
					t.Fatal(err)
				}
				// From far too early to far too late.
				ctx, cancel := context.WithTimeout(all, time.Duration(i)*5*time.Microsecond)
				_, err := c.Recv(ctx)
				cancel()
				if err == nil {
					faster++
					if err = c.Send(all, []byte("hello")); err == nil {
						_, err = c.Recv(all)
					}
					if err != nil {
						t.Fatalf("a call that was not cancelled: %v", err)
					}
					continue
				}
				wantCode(t, err, sennit.Timeout, "deadline exceeded")
				c.Close()
				c = dial(t, a, b)
			}
			t.Logf("%d of %d were faster than the context", faster, rounds)
		})
	}
}

func TestCancelSend(t *testing.T) {
	for _, tt := range transports {
		t.Run(tt.name, func(t *testing.T) {
			c, s, _, _ := pair(t, tt.listen) // s doesn't receive
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			var err error
			for err == nil {
				err = c.Send(ctx, noise(1, 256<<10))
			}
			wantCode(t, err, sennit.Timeout, "deadline exceeded")
			if d, _ := ctx.Deadline(); time.Since(d) > 5*time.Second {
				t.Errorf("it went on for %v", time.Since(d))
			}
			_, err = c.Recv(deadline(t))
			wantCode(t, err, sennit.Timeout, "given up")
			for err = nil; err == nil; {
				_, err = s.Recv(deadline(t))
			}
			wantCode(t, err, sennit.Gone, "")
		})
	}
}

// A peer that doesn't receive must make the sender wait, and not fill anybody's
// memory.
func TestSlowReader(t *testing.T) {
	for _, tt := range transports {
		t.Run(tt.name, func(t *testing.T) {
			c, s, _, _ := pair(t, tt.listen)
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
			defer cancel()
			msg := noise(1, 256<<10)
			for c.Send(ctx, msg) == nil {
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
			t.Logf("%d KB went out, memory grew by %d KB", c.Stats().Out>>10, grown>>10)
			if c.Stats().Out > 32<<20 || grown > 32<<20 {
				t.Errorf("%d bytes went out, memory grew by %d", c.Stats().Out, grown)
			}
			_ = s
		})
	}
}

func TestPeerDies(t *testing.T) {
	for _, tt := range transports {
		t.Run(tt.name, func(t *testing.T) {
			c, s, _, b := pair(t, tt.listen)
			ctx := deadline(t)
			var wg sync.WaitGroup
			wg.Go(func() {
				for {
					if _, err := s.Recv(ctx); err != nil {
						return
					}
				}
			})
			recv := make(chan error, 1)
			wg.Go(func() {
				_, err := c.Recv(ctx)
				recv <- err
			})
			msg, sent := noise(1, 64<<10), make(chan struct{}, 1)
			var err error
			wg.Go(func() {
				for err == nil {
					err = c.Send(ctx, msg)
					select {
					case sent <- struct{}{}:
					default:
					}
				}
			})
			<-sent
			b.stop()
			wg.Wait()
			for _, err := range []error{err, <-recv} {
				if code := sennit.CodeOf(err); code != sennit.Unreachable && code != sennit.Gone {
					t.Errorf("got %v (%s)", err, code)
				}
			}
		})
	}
}

func TestClose(t *testing.T) {
	for _, tt := range transports {
		t.Run("what was sent arrives, "+tt.name, func(t *testing.T) {
			c, s, _, _ := pair(t, tt.listen)
			ctx := deadline(t)
			const n = 50
			for i := range n {
				if err := c.Send(ctx, noise(uint64(i), 4000)); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
			}
			wantCode(t, c.Send(ctx, nil), sennit.Gone, "closed here")
			_, err := c.Recv(ctx)
			wantCode(t, err, sennit.Gone, "closed here")
			for i := range n {
				if msg, err := s.Recv(ctx); err != nil || !bytes.Equal(msg, noise(uint64(i), 4000)) {
					t.Fatalf("message %d: %d bytes, %v", i, len(msg), err)
				}
			}
			for range 2 {
				_, err = s.Recv(ctx)
				wantCode(t, err, sennit.Gone, "has closed the stream")
				if !errors.Is(err, io.EOF) {
					t.Errorf("%v doesn't wrap io.EOF", err)
				}
			}
		})
		t.Run("while the other sends, "+tt.name, func(t *testing.T) {
			c, s, _, _ := pair(t, tt.listen)
			ctx := deadline(t)
			ended := make(chan error, 1)
			go func() {
				var err error
				for msg := noise(1, 64<<10); err == nil; {
					err = c.Send(ctx, msg)
				}
				ended <- err
			}()
			if _, err := s.Recv(ctx); err != nil {
				t.Fatal(err)
			}
			s.Close()
			select {
			case err := <-ended:
				wantCode(t, err, sennit.Gone, "the peer has ended the stream")
			case <-time.After(5 * time.Second):
				t.Fatal("the other still sends, to nobody")
			}
		})
		t.Run("during a Send and a Recv, "+tt.name, func(t *testing.T) {
			c, s, _, _ := pair(t, tt.listen)
			ctx := deadline(t)
			errs, first := make(chan error, 2), make(chan struct{})
			go func() {
				_, err := c.Recv(ctx)
				errs <- err
			}()
			go func() {
				msg := noise(1, peer.MaxMessage)
				err := c.Send(ctx, msg[:10])
				close(first)
				for err == nil { // until the window is full, and then it waits
					err = c.Send(ctx, msg)
				}
				errs <- err
			}()
			<-first
			c.Close()
			for range 2 {
				wantCode(t, <-errs, sennit.Gone, "closed here")
			}
			var err error
			for err == nil {
				_, err = s.Recv(ctx)
			}
			wantCode(t, err, sennit.Gone, "the peer has ended the stream") // and not: within a message
		})
		t.Run("reset, "+tt.name, func(t *testing.T) {
			c, s, _, _ := pair(t, tt.listen)
			ctx := deadline(t)
			ended := make(chan error, 1)
			go func() {
				_, err := s.Recv(ctx)
				ended <- err
			}()
			c.Reset()
			c.Reset()
			wantCode(t, <-ended, sennit.Gone, "the peer has ended the stream")
			wantCode(t, c.Send(ctx, nil), sennit.Gone, "reset here")
			c.Close()
		})
	}
}

// Two goroutines that do the same would garble the stream.
func TestOneAtATime(t *testing.T) {
	c, s, _, _ := pair(t, overTCP)
	ctx := deadline(t)
	second := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := c.Recv(ctx)
			second <- err
		}()
	}
	wantCode(t, <-second, sennit.Conflict, "another goroutine")
	if err := s.Send(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if err := <-second; err != nil {
		t.Fatalf("the first was not to be harmed: %v", err)
	}
}
