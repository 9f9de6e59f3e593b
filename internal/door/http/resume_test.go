package httpdoor_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/client"
	httpdoor "github.com/sennit/sennit/internal/door/http"
)

// shears is a proxy before a door that cuts each connection after some bytes
// of the answer.
type shears struct {
	addr string
	cuts atomic.Int64
}

func newShears(t *testing.T, to string, after func(conn int) int64) *shears {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &shears{addr: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			n := after(i)
			wg.Go(func() {
				io.Copy(far, near)
				far.Close()
			})
			wg.Go(func() {
				if _, err := io.CopyN(near, far, n); err == nil {
					s.cuts.Add(1)
				}
				near.Close()
				far.Close()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return s
}

func pattern(t testing.TB, text string) sennit.Pattern {
	t.Helper()
	p, err := sennit.ParsePattern(text, false)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestWatchLosesNothingAsConnectionsBreak has writers going while every
// connection of the watch is cut somewhere: in headers, in bodies, in the
// middle of the snapshot, between the changes of a commit.
func TestWatchLosesNothingAsConnectionsBreak(t *testing.T) {
	const writers, each, old = 4, 150, 50
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	h := open(t, nil)
	for i := range old {
		h.put(t, fmt.Sprintf("p/old/%d", i), "x")
	}
	// The first is Dial's, the next two break within the snapshot.
	s := newShears(t, h.addr, func(conn int) int64 {
		switch conn {
		case 0:
			return 1 << 20
		case 1, 2:
			return int64(3000 * conn)
		}
		return 25_000 + rng.Int64N(20_000)
	})
	c := h.client(t, client.Config{Origin: "http://" + s.addr, Token: tok})
	c.Close() // not to keep the connection that is never cut
	w, err := c.Watch(t.Context(), []sennit.Pattern{pattern(t, "/me/p")}, sennit.WatchOptions{Tail: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()

	var wg sync.WaitGroup
	defer wg.Wait()
	start := make(chan struct{})
	for i := range writers {
		wg.Go(func() {
			<-start
			for j := range each {
				var changes []sennit.Change
				for k := range 3 {
					changes = append(changes, sennit.Change{Kind: sennit.KindPut, Path: sennit.MustPath(fmt.Sprintf("p/%d", i)),
						Value: sennit.Value{Data: fmt.Appendf(nil, "%d", 3*j+k)}})
				}
				if _, err := h.model.Write(t.Context(), "me", changes); err != nil {
					t.Errorf("writing: %v", err)
					return
				}
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	snapshot, live, resets, got := map[sennit.Path]bool{}, false, 0, 0
	count := map[sennit.Path]int{}
	for got < 3*writers*each {
		updates, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("after %d changes and %d cuts: %v", got, s.cuts.Load(), err)
		}
		for _, u := range updates {
			switch {
			case u.Kind == sennit.Reset:
				if live {
					t.Fatal("a watch that was live was reset, though nothing was lost")
				}
				resets++
				clear(snapshot)
			case u.Kind == sennit.Live:
				if live || len(snapshot) != old {
					t.Fatalf("live=%v again, with %d of %d values", live, len(snapshot), old)
				}
				live = true
				close(start)
			case !live:
				if snapshot[u.Node.Path] {
					t.Fatalf("%s is in the snapshot twice", u.Node.Path)
				}
				snapshot[u.Node.Path] = true
			default:
				if want := fmt.Sprint(count[u.Node.Path]); string(u.Node.Value.Data) != want {
					t.Fatalf("%s: got change %s, want %s, after %d cuts", u.Node.Path, u.Node.Value.Data, want, s.cuts.Load())
				}
				count[u.Node.Path]++
				got++
			}
		}
	}
	if cuts := s.cuts.Load(); cuts < 10 || resets == 0 {
		t.Errorf("the test was too easy: %d cuts, %d resets", cuts, resets)
	} else {
		t.Logf("%d changes through %d cuts and %d resets", got, cuts, resets)
	}
}

func TestWatchOutlivesARestartOfTheNode(t *testing.T) {
	h := open(t, nil)
	c := h.client(t, h.bySocket())
	w, err := c.Watch(t.Context(), []sennit.Pattern{pattern(t, "/me/p")}, sennit.WatchOptions{Tail: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	next := func(want ...string) {
		t.Helper()
		for len(want) > 0 {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			updates, err := w.Next(ctx)
			cancel()
			if err != nil {
				t.Fatalf("waiting for %q: %v", want, err)
			}
			for _, u := range updates {
				if len(want) == 0 || string(u.Node.Value.Data) != want[0] {
					t.Fatalf("got %d %q, want %q", u.Kind, u.Node.Value.Data, want)
				}
				want = want[1:]
			}
		}
	}
	next("") // live
	h.put(t, "p/a", "1")
	next("1")
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	h.put(t, "p/a", "2")
	if _, err := c.Get(t.Context(), sennit.Addr{Root: "me", Path: "p/a"}); sennit.CodeOf(err) != sennit.Unreachable || sennit.HintOf(err) == "" {
		t.Errorf("while the node is down: %v", err)
	}
	h.put(t, "p/a", "3")

	l, err := net.Listen("unix", h.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := h.door.Serve(ctx, l); err != nil {
			t.Errorf("serving again: %v", err)
		}
	})
	defer wg.Wait()
	defer cancel()
	next("2", "3")
	h.put(t, "p/a", "4")
	next("4")
}

// gate is tokens that can be revoked all at once.
type gate struct {
	tokens
	closed atomic.Bool
}

func (g *gate) Lookup(ctx context.Context, hash sennit.Hash) (httpdoor.Token, bool) {
	if g.closed.Load() {
		return httpdoor.Token{}, false
	}
	return g.tokens.Lookup(ctx, hash)
}

func TestWatchEndsOnceItsTokenIsRevoked(t *testing.T) {
	var g gate
	h := open(t, func(c *httpdoor.Config) {
		g.tokens = c.Tokens.(tokens)
		c.Tokens = &g
	})
	c := h.client(t, h.byTCP(tok))
	w, err := c.Watch(t.Context(), []sennit.Pattern{pattern(t, "/me/p")}, sennit.WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.closed.Store(true)
	h.model.Stop() // ends the stream
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 2 { // and it stays so
		if u, err := w.Next(ctx); sennit.CodeOf(err) != sennit.Denied {
			t.Errorf("with a revoked token: %v, %v", u, err)
		}
	}
}
