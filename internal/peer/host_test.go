package peer_test

import (
	"context"
	"crypto/ed25519"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/peer"
)

const proto = "/sennit/test/1"

const (
	overQUIC = "/ip4/127.0.0.1/udp/0/quic-v1"
	overTCP  = "/ip4/127.0.0.1/tcp/0"
)

// transports are what most tests run over.
var transports = []struct{ name, listen string }{{"QUIC", overQUIC}, {"TCP", overTCP}}

// node is a running host.
type node struct {
	*peer.Host
	stop func() // ends it and waits
}

// start makes and runs a host that ends with the test.
func start(t testing.TB, c peer.Config) node {
	t.Helper()
	h, err := peer.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	n := node{h, sync.OnceFunc(func() { // whoever calls it while somebody else does waits as well
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})}
	t.Cleanup(n.stop)
	return n
}

// pair runs two hosts, the first of which serves proto, and gives both ends of
// a stream of it.
func pair(t testing.TB, listen string) (client, server *peer.Conn, a, b node) {
	t.Helper()
	b = start(t, peer.Config{Key: key(2), Listen: []string{listen}})
	a = start(t, peer.Config{Key: key(1)})
	conns := make(chan *peer.Conn, 1)
	b.Serve(proto, func(ctx context.Context, c *peer.Conn) {
		select {
		case conns <- c:
			<-ctx.Done()
		case <-ctx.Done():
		}
	})
	client = dial(t, a, b)
	return client, <-conns, a, b
}

func dial(t testing.TB, from, to node) *peer.Conn {
	t.Helper()
	// A host that was just started may not have told libp2p yet what it
	// serves.
	ctx := deadline(t)
	for {
		c, err := from.Dial(ctx, to.ID(), to.Addrs(), proto)
		if err == nil {
			return c
		}
		if sennit.CodeOf(err) != sennit.Unsupported {
			t.Fatal(err)
		}
	}
}

// deadline is a context that no call in these tests should outlive.
func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// wantCode fails the test unless err has the code, and the text in its message.
func wantCode(t testing.TB, err error, code sennit.Code, text string) {
	t.Helper()
	if sennit.CodeOf(err) != code || err != nil && !strings.Contains(err.Error(), text) {
		t.Fatalf("got %v (%s), want %q (%s)", err, sennit.CodeOf(err), text, code)
	}
}

func TestDial(t *testing.T) {
	for _, tt := range transports {
		t.Run(tt.name, func(t *testing.T) {
			c, s, a, b := pair(t, tt.listen)
			if c.Remote() != b.ID() || s.Remote() != a.ID() {
				t.Fatalf("the ends are named %s and %s", c.Remote(), s.Remote())
			}
			if want := strings.TrimSuffix(b.Addrs()[0], "/p2p/"+b.ID().String()); c.RemoteAddr() != want {
				t.Errorf("the server is at %s, want %s", c.RemoteAddr(), want)
			}
			if !strings.HasPrefix(s.RemoteAddr(), "/ip4/127.0.0.1/") {
				t.Errorf("the client is at %s", s.RemoteAddr())
			}
			ctx := deadline(t)
			for i, msg := range [][]byte{[]byte("ping"), nil, noise(1, peer.MaxMessage), prose(peer.MaxMessage)} {
				sent := make(chan error, 1)
				go func() { sent <- c.Send(ctx, msg) }()
				got, err := s.Recv(ctx)
				if err != nil || string(got) != string(msg) {
					t.Fatalf("message %d of %d bytes: got %d, %v", i, len(msg), len(got), err)
				}
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
				go func() { sent <- s.Send(ctx, got) }()
				back, err := c.Recv(ctx)
				if err != nil || string(back) != string(msg) {
					t.Fatalf("message %d of %d bytes back: got %d, %v", i, len(msg), len(back), err)
				}
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
			}
			if x, y := c.Stats(), s.Stats(); x.In != y.Out || x.Out != y.In || x.Out < peer.MaxMessage || x.Out > 2*peer.MaxMessage+100 {
				t.Errorf("one end counts %+v, the other %+v", x, y)
			}
		})
	}
}

// Two messages of 300 bytes each way must cost less than 1 KB together when
// they hold what protocol messages do: ids and hashes that come again.
func TestShortExchangeIsCheap(t *testing.T) {
	for _, tt := range transports {
		t.Run(tt.name, func(t *testing.T) {
			c, s, _, _ := pair(t, tt.listen)
			ctx := deadline(t)
			ids := noise(7, 160)
			for i := range uint64(2) {
				for _, way := range [][2]*peer.Conn{{c, s}, {s, c}} {
					msg := append(noise(i, 140), ids...)
					if err := way[0].Send(ctx, msg); err != nil {
						t.Fatal(err)
					}
					if _, err := way[1].Recv(ctx); err != nil {
						t.Fatal(err)
					}
				}
			}
			st := c.Stats()
			t.Logf("%d bytes out, %d in", st.Out, st.In)
			if st.In+st.Out > 1000 {
				t.Errorf("1,200 bytes took %d, want at most 1,000", st.In+st.Out)
			}
		})
	}
}

func TestBadConfig(t *testing.T) {
	addr := func(s string) []string { return []string{s} }
	for _, tt := range []struct {
		name string
		c    peer.Config
		text string
	}{
		{"no key", peer.Config{}, "0 bytes"},
		{"half a key", peer.Config{Key: key(1)[:32]}, "32 bytes"},
		{"a key whose halves don't fit", peer.Config{Key: append(append(ed25519.PrivateKey{}, key(1)[:32]...), key(2)[32:]...)}, "not an Ed25519 private key"},
		{"no address", peer.Config{Key: key(1), Listen: addr("")}, "not a multiaddr"},
		{"host:port", peer.Config{Key: key(1), Listen: addr("127.0.0.1:4001")}, "not a multiaddr"},
		{"a name", peer.Config{Key: key(1), Listen: addr("/dns/localhost/tcp/0")}, "not an address to listen on"},
		{"a peer id", peer.Config{Key: key(1), Listen: addr(overTCP + "/p2p/" + idOf(key(1)).String())}, "not an address to listen on"},
		{"WebSocket", peer.Config{Key: key(1), Listen: addr(overTCP + "/ws")}, "of a kind"},
		{"somebody else's address", peer.Config{Key: key(1), Listen: addr("/ip4/192.0.2.7/tcp/0")}, "/ip4/192.0.2.7/tcp/0"},
		{"too many", peer.Config{Key: key(1), Listen: slices.Repeat(addr(overTCP), 17)}, "at most 16"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, err := peer.New(tt.c)
			if err == nil {
				h.Close()
			}
			wantCode(t, err, sennit.BadInput, tt.text)
		})
	}
}

func TestTakenPort(t *testing.T) {
	for _, tt := range transports {
		t.Run(tt.name, func(t *testing.T) {
			a := start(t, peer.Config{Key: key(1), Listen: []string{tt.listen}})
			addr, _, _ := strings.Cut(a.Addrs()[0], "/p2p/")
			// A free port first: to get one of two is not enough.
			h, err := peer.New(peer.Config{Key: key(2), Listen: []string{overTCP, addr}})
			if err == nil {
				h.Close()
			}
			wantCode(t, err, sennit.Conflict, addr)
			if sennit.HintOf(err) == "" {
				t.Error("there is no hint")
			}
			// The port is free again when the host that held it has ended.
			a.stop()
			start(t, peer.Config{Key: key(2), Listen: []string{addr}})
		})
	}
}

func TestAddrs(t *testing.T) {
	a := start(t, peer.Config{Key: key(1), Listen: []string{overTCP, overQUIC}})
	addrs := a.Addrs()
	if len(addrs) != 2 || !strings.Contains(addrs[0], "/quic-v1") || !strings.Contains(addrs[1], "/ip4/127.0.0.1/tcp/") {
		t.Fatalf("got %v, want QUIC and TCP on loopback", addrs)
	}
	for _, text := range addrs {
		if id, _, err := peer.ParseAddr(text); err != nil || id != a.ID() {
			t.Errorf("%s: %s, %v", text, id, err)
		}
	}
	b := start(t, peer.Config{Key: key(2), Listen: peer.DefaultListen()})
	if len(b.Addrs()) == 0 {
		t.Fatal("the default gives no address")
	}
	loopback := 0
	for _, text := range b.Addrs() {
		if strings.Contains(text, "/0.0.0.0/") || strings.Contains(text, "/::/") || strings.Contains(text, "/fe80:") || strings.Contains(text, "/tcp/0/") {
			t.Errorf("%s is of no use to others", text)
		}
		if strings.Contains(text, "/127.0.0.1/") || strings.Contains(text, "/::1/") {
			loopback++
		}
	}
	if loopback > 0 && loopback < len(b.Addrs()) {
		t.Errorf("loopback is told beside others: %v", b.Addrs())
	}
	if got := start(t, peer.Config{Key: key(3)}).Addrs(); len(got) != 0 {
		t.Errorf("a host that doesn't listen is at %v", got)
	}
}

func TestStreamLimit(t *testing.T) {
	for _, tt := range transports {
		t.Run(tt.name, func(t *testing.T) {
			b := start(t, peer.Config{Key: key(2), Listen: []string{tt.listen}})
			a := start(t, peer.Config{Key: key(1)})
			other := start(t, peer.Config{Key: key(3)})
			// Handlers wait for the peer to close.
			ends := make(chan struct{}, 2*peer.MaxServed)
			b.Serve(proto, func(ctx context.Context, c *peer.Conn) {
				for c.Send(ctx, []byte("welcome")) == nil {
					if _, err := c.Recv(ctx); err != nil {
						break
					}
				}
				c.Close()
				ends <- struct{}{}
			})
			ctx := deadline(t)
			var open []*peer.Conn
			for range peer.MaxServed {
				c := dial(t, a, b)
				if _, err := c.Recv(ctx); err != nil {
					t.Fatal(err)
				}
				open = append(open, c)
			}
			try := func() error {
				c, err := a.Dial(ctx, b.ID(), b.Addrs(), proto)
				if err == nil {
					_, err = c.Recv(ctx)
				}
				return err
			}
			wantCode(t, try(), sennit.OverQuota, "too many are open")
			for _, c := range open { // and the others go on
				if err := c.Send(ctx, nil); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Recv(ctx); err != nil {
					t.Fatal(err)
				}
			}

			c := dial(t, other, b) // somebody else is not affected
			if _, err := c.Recv(ctx); err != nil {
				t.Fatal(err)
			}
			open[0].Close() // and a place that becomes free can be taken
			<-ends
			err := try()
			for sennit.CodeOf(err) == sennit.OverQuota { // the handler is just about to return
				err = try()
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Streams that were reset must not make room for more handlers.
func TestResetStreamsKeepTheirPlace(t *testing.T) {
	b := start(t, peer.Config{Key: key(2), Listen: []string{overQUIC}})
	a := start(t, peer.Config{Key: key(1)})
	broken, leave := make(chan error), make(chan struct{})
	b.Serve(proto, func(ctx context.Context, c *peer.Conn) {
		_, err := c.Recv(ctx)
		select {
		case broken <- err:
			select {
			case <-leave: // it still works for the peer
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
	})
	ctx := deadline(t)
	for range peer.MaxServed {
		dial(t, a, b).Reset()
		if err := <-broken; err == nil {
			t.Error("a message came from nowhere")
		}
	}
	c, err := a.Dial(ctx, b.ID(), b.Addrs(), proto)
	if err == nil {
		_, err = c.Recv(ctx)
	}
	wantCode(t, err, sennit.OverQuota, "too many are open")
	close(leave)
}

func TestRunEnds(t *testing.T) {
	t.Run("handlers end first", func(t *testing.T) {
		b := start(t, peer.Config{Key: key(2), Listen: []string{overQUIC}})
		a := start(t, peer.Config{Key: key(1)})
		ended := make(chan error, 1)
		b.Serve(proto, func(ctx context.Context, c *peer.Conn) {
			c.Send(ctx, []byte("hello"))
			_, err := c.Recv(ctx)
			ended <- err
		})
		c := dial(t, a, b)
		ctx := deadline(t)
		if _, err := c.Recv(ctx); err != nil {
			t.Fatal(err)
		}
		b.stop()
		select {
		case err := <-ended:
			wantCode(t, err, sennit.Interrupted, "")
		default:
			t.Fatal("Run has returned before the handler did")
		}
		if _, err := c.Recv(ctx); err == nil {
			t.Fatal("a stream outlived its host")
		}
	})
	t.Run("a handler may say goodbye", func(t *testing.T) {
		b := start(t, peer.Config{Key: key(2), Listen: []string{overQUIC}})
		a := start(t, peer.Config{Key: key(1)})
		b.Serve(proto, func(ctx context.Context, c *peer.Conn) {
			c.Send(ctx, []byte("hello"))
			<-ctx.Done()
			c.Send(context.Background(), []byte("goodbye"))
			c.Recv(context.Background()) // until the peer has heard it
		})
		c := dial(t, a, b)
		ctx := deadline(t)
		if _, err := c.Recv(ctx); err != nil {
			t.Fatal(err)
		}
		go b.stop()
		msg, err := c.Recv(ctx)
		if err != nil || string(msg) != "goodbye" {
			t.Fatalf("got %q, %v", msg, err)
		}
		c.Close()
		b.stop()
	})
	t.Run("once", func(t *testing.T) {
		a := start(t, peer.Config{Key: key(1)})
		a.stop()
		wantCode(t, a.Run(deadline(t)), sennit.Conflict, "ran already")
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("a host that was closed", func(t *testing.T) {
		h, err := peer.New(peer.Config{Key: key(1), Listen: []string{overQUIC}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		}
		wantCode(t, h.Run(deadline(t)), sennit.Conflict, "ran already")
	})
}

// No goroutine outlives a host, whatever was going on.
func TestNothingIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, tt := range transports {
		b := start(t, peer.Config{Key: key(2), Listen: []string{tt.listen}, LAN: true})
		a := start(t, peer.Config{Key: key(1), Listen: []string{overQUIC}, LAN: true})
		b.Serve(proto, func(ctx context.Context, c *peer.Conn) {
			for {
				if _, err := c.Recv(ctx); err != nil {
					return
				}
			}
		})
		ctx := deadline(t)
		for i := range 4 {
			c := dial(t, a, b)
			if err := c.Send(ctx, prose(1000)); err != nil {
				t.Fatal(err)
			}
			switch i {
			case 0:
				c.Close()
			case 1:
				c.Reset()
			case 2:
				short, cancel := context.WithCancel(ctx)
				cancel()
				c.Recv(short)
			}
		}
		a.stop()
		b.stop()
		if a.InUse() != 2+1 || b.InUse() != 0 { // two streams were neither closed nor reset
			t.Errorf("the hosts believe that %d and %d streams are in use", a.InUse(), b.InUse())
		}
	}
	// Some goroutines of libp2p end a moment after it says that they have.
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			t.Fatalf("%d goroutines are left, %d were there before", runtime.NumGoroutine(), before)
		}
	}
}

// An idle host must be cheap.
func TestIdleCost(t *testing.T) {
	measure := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before, goroutines := measure(), runtime.NumGoroutine()
	start(t, peer.Config{Key: key(1), Listen: peer.DefaultListen()})
	after := measure()
	t.Logf("an idle host takes %d KB and %d goroutines", (after-before)>>10, runtime.NumGoroutine()-goroutines)
	if after-before > 8<<20 {
		t.Errorf("an idle host takes %d bytes", after-before)
	}
}

// A stranger must learn nothing of the program but its name.
func TestStrangersLearnLittle(t *testing.T) {
	b := start(t, peer.Config{Key: key(2), Listen: []string{overTCP}})
	a := start(t, peer.Config{Key: key(1)})
	b.Serve(proto, func(context.Context, *peer.Conn) {})
	dial(t, a, b).Close()
	told := a.Told(deadline(t), b.ID())
	if told.Agent != "sennit" || told.Version != "sennit" {
		t.Errorf("the peer says that it is %q, %q", told.Agent, told.Version)
	}
	slices.Sort(told.Protocols)
	if want := []string{"/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", proto}; !slices.Equal(told.Protocols, want) {
		t.Errorf("the peer serves %v, want %v", told.Protocols, want)
	}
}

// libp2p must have understood the limits.
func TestLimits(t *testing.T) {
	if conns, streams, memory := peer.Limits(); conns != 128 || streams != 1024 || memory != peer.MaxMemory {
		t.Errorf("got %d connections, %d streams and %d bytes", conns, streams, memory)
	}
}
