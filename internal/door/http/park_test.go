//go:build unix

package httpdoor_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sennit/sennit"
	httpdoor "github.com/sennit/sennit/internal/door/http"
)

// subscriber subscribes to /me/ over a connection of its own, and reads up to the
// end of the snapshot.
func (h *house) subscriber(t *testing.T, query string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, "GET /me/"+query+benchHead+"Subscribe: ?1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	until(t, r, "Live: ?1")
	return c, r
}

// until reads lines until one is a text.
func until(t *testing.T, r *bufio.Reader, text string) {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if strings.TrimRight(line, "\r\n") == text {
			return
		}
		if err != nil {
			t.Fatalf("before %q came: %v", text, err)
		}
	}
}

// soon waits until something is so.
func soon(t *testing.T, what string, so func() bool) {
	t.Helper()
	for late := time.Now().Add(20 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func TestSubscribersHaveNoGoroutines(t *testing.T) {
	h := open(t, nil)
	h.subscriber(t, "")
	// The model has one for each watch that sleeps; the door has none.
	soon(t, "the first is parked", func() bool { return strings.Count(stacks(), "net/http.(*conn).serve") == 0 })
	const crowd = 50
	readers := make([]*bufio.Reader, crowd)
	for i := range readers {
		_, readers[i] = h.subscriber(t, "")
	}
	soon(t, "all are parked", func() bool { return strings.Count(stacks(), "net/http.(*conn).serve") == 0 })
	for i := range 20 {
		h.put(t, "a", fmt.Sprint("value ", i))
		for _, r := range readers {
			until(t, r, fmt.Sprint("value ", i))
		}
	}
}

// stacks is where all goroutines are.
func stacks() string {
	b := make([]byte, 4<<20)
	return string(b[:runtime.Stack(b, true)])
}

func TestAClientThatWentIsNoticed(t *testing.T) {
	t.Run("when something happens", func(t *testing.T) {
		h := open(t, nil)
		c, _ := h.subscriber(t, "")
		c.Close()
		soon(t, "the watch is closed", func() bool {
			h.put(t, "a", "x") // a first write may still be taken by the kernel
			return h.model.Watches() == 0
		})
	})
	t.Run("when nothing does", func(t *testing.T) {
		h := open(t, func(c *httpdoor.Config) { c.Limits.Idle = 20 * time.Millisecond })
		c, _ := h.subscriber(t, "")
		c.Close()
		soon(t, "the watch is closed", func() bool { return h.model.Watches() == 0 })
	})
}

// Who reads slowly gets all that a tail promises, and keeps nobody waiting. Who
// never reads is cut off.
func TestWhoIsSlowHoldsUpNobody(t *testing.T) {
	h := open(t, func(c *httpdoor.Config) { c.Limits.Write = 4 * time.Second })
	_, brisk := h.subscriber(t, "?tail")
	_, late := h.subscriber(t, "?tail")
	never, _ := h.subscriber(t, "?tail")
	if err := never.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	filler := strings.Repeat("x", 50_000)
	const changes = 400 // 20 MB, more than sockets take
	for i := range changes {
		h.put(t, "a", fmt.Sprintf("%s\nvalue %d\n", filler, i))
		until(t, brisk, fmt.Sprint("value ", i))
		if i%100 == 99 { // by then it is behind
			until(t, late, fmt.Sprint("value ", i-50))
		}
	}
	for i := changes - 49; i < changes; i++ {
		until(t, late, fmt.Sprint("value ", i))
	}
	soon(t, "who never reads is cut off", func() bool { return h.model.Watches() == 2 })
}

func TestSubscriptionsEndInOrderWhenServingDoes(t *testing.T) {
	h := open(t, nil)
	c, r := h.subscriber(t, "")
	stuck, _ := h.subscriber(t, "?tail")
	if err := stuck.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		h.put(t, "a", strings.Repeat("x", 60_000))
	}
	go io.Copy(io.Discard, r)
	begun := time.Now()
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("it took %v to end", took)
	}
	if n := h.model.Watches(); n != 0 {
		t.Errorf("%d watches are open", n)
	}
	c.Close()

	h = open(t, nil)
	_, r = h.subscriber(t, "")
	go h.stop()
	until(t, r, "")            // of the marker
	rest, err := io.ReadAll(r) // its body, the end of its chunk, the last chunk
	if err != nil || !strings.HasSuffix(string(rest), "\r\n0\r\n\r\n") {
		t.Errorf("at the end came %q, %v", rest, err)
	}
}

// A server that isn't Serve's has subscribers too.
func TestSubscribersOfAMountedDoor(t *testing.T) {
	h := newDoor(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = l.Addr().String()
	srv := &http.Server{Handler: h.door}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	c, r := h.subscriber(t, "")
	h.put(t, "a", "hello")
	until(t, r, "hello")
	c.Close()
	soon(t, "the watch is closed", func() bool { return h.model.Watches() == 0 })
}

// oddBus has watches of /me/odd/ that do something else when they are asked for
// more than the snapshot.
type oddBus struct {
	sennit.Bus
	odd func()
}

type oddWatch struct {
	sennit.Watch
	odd   func()
	asked int
}

func (b oddBus) Watch(ctx context.Context, patterns []sennit.Pattern, o sennit.WatchOptions) (sennit.Watch, error) {
	w, err := b.Bus.Watch(ctx, patterns, o)
	if err == nil && patterns[0].Path == "odd" {
		w = &oddWatch{Watch: w, odd: b.odd}
	}
	return w, err
}

func (w *oddWatch) Next(ctx context.Context) ([]sennit.Update, error) {
	if w.asked++; w.asked > 1 {
		w.odd()
	}
	return w.Watch.Next(ctx)
}

func strange(c *httpdoor.Config, f func()) {
	bus := c.Bus
	c.Bus = func(c httpdoor.Caller) sennit.Bus { return oddBus{bus(c), f} }
}

func TestWatchesThatTakeLongHoldUpNobody(t *testing.T) {
	free := make(chan struct{})
	h := open(t, func(c *httpdoor.Config) { strange(c, func() { <-free }) })
	_, r := h.subscriber(t, "")
	for range runtime.GOMAXPROCS(0) + 3 {
		h.subscriber(t, "odd/")
	}
	for i := range 5 {
		h.put(t, "a", fmt.Sprint("value ", i))
		until(t, r, fmt.Sprint("value ", i))
	}
	close(free)
}

func TestABugInAWatchEndsOneSubscription(t *testing.T) {
	h := open(t, func(c *httpdoor.Config) { strange(c, func() { panic("a bug") }) })
	_, r := h.subscriber(t, "")
	for range 3 {
		c, broken := h.subscriber(t, "odd/")
		if _, err := io.Copy(io.Discard, broken); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a subscription with a bug ends with %v", err)
		}
		c.Close()
	}
	h.put(t, "a", "hello")
	until(t, r, "hello")
	soon(t, "their watches are closed", func() bool { return h.model.Watches() == 1 })
}

// revocable is a token that can be revoked.
type revocable struct {
	tokens
	revoked atomic.Bool
}

func (r *revocable) Lookup(ctx context.Context, hash sennit.Hash) (httpdoor.Token, bool) {
	token, ok := r.tokens.Lookup(ctx, hash)
	return token, ok && !r.revoked.Load()
}

func TestARevokedTokenEndsItsSubscriptions(t *testing.T) {
	r := &revocable{}
	h := open(t, func(c *httpdoor.Config) {
		r.tokens = c.Tokens.(tokens)
		c.Tokens, c.Limits.Idle = r, 20*time.Millisecond
	})
	_, reader := h.subscriber(t, "")
	until(t, reader, "2") // a heartbeat
	r.revoked.Store(true)
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Errorf("the subscription ends with %v", err)
	}
}
