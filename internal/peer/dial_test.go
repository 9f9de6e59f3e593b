package peer_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/peer"
)

func TestDialFails(t *testing.T) {
	b := start(t, peer.Config{Key: key(2), Listen: []string{overQUIC, overTCP}})
	a := start(t, peer.Config{Key: key(1), Listen: []string{overTCP}})
	bare := func(i int) string { addr, _, _ := strings.Cut(b.Addrs()[i], "/p2p/"); return addr }
	other := idOf(key(3))
	closed := closedPort(t)

	t.Run("myself", func(t *testing.T) {
		_, err := a.Dial(deadline(t), a.ID(), a.Addrs(), proto)
		wantCode(t, err, sennit.BadInput, "that is this node")
	})
	t.Run("no address", func(t *testing.T) {
		_, err := a.Dial(deadline(t), idOf(key(9)), nil, proto)
		wantCode(t, err, sennit.Unreachable, "no address of it is known")
	})
	t.Run("bad addresses", func(t *testing.T) {
		_, err := a.Dial(deadline(t), idOf(key(9)), []string{"gopher://x", "/ip4/127.0.0.1/tcp/1/ws"}, proto)
		wantCode(t, err, sennit.Unreachable, `"gopher://x" is not a multiaddr`)
		wantCode(t, err, sennit.Unreachable, "of a kind")
	})
	t.Run("the address says that it is another node's", func(t *testing.T) {
		_, err := a.Dial(deadline(t), other, b.Addrs(), proto)
		wantCode(t, err, sennit.Unreachable, "the address is that of another node, "+b.ID().String())
	})
	for i, name := range []string{"QUIC", "TCP"} {
		t.Run("another node is there, "+name, func(t *testing.T) {
			_, err := a.Dial(deadline(t), other, []string{bare(i)}, proto)
			wantCode(t, err, sennit.Unreachable, "another node is there, "+b.ID().String())
			if !strings.Contains(sennit.HintOf(err), "new link") {
				t.Errorf("the hint is %q", sennit.HintOf(err))
			}
		})
	}
	t.Run("nobody is there", func(t *testing.T) {
		began := time.Now()
		for range 2 { // the second must try as well
			_, err := a.Dial(deadline(t), idOf(key(4)), []string{closed}, proto)
			wantCode(t, err, sennit.Unreachable, closed+": connection refused")
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("my own address", func(t *testing.T) {
		mine, _, _ := strings.Cut(a.Addrs()[0], "/p2p/")
		_, err := a.Dial(deadline(t), idOf(key(5)), []string{mine}, proto)
		wantCode(t, err, sennit.Unreachable, "that is this node")
	})
	t.Run("many addresses", func(t *testing.T) {
		var many []string
		for i := range 1000 {
			many = append(many, fmt.Sprintf("/ip4/127.0.0.1/tcp/%d/ws", i))
		}
		_, err := a.Dial(deadline(t), idOf(key(6)), many, proto)
		wantCode(t, err, sennit.Unreachable, fmt.Sprintf("and %d more", peer.MaxAddrs-6))
	})
	t.Run("one good address is enough", func(t *testing.T) {
		b.Serve("/one", func(context.Context, *peer.Conn) {})
		c, err := a.Dial(deadline(t), b.ID(), []string{"junk", closed, bare(1)}, "/one")
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
	t.Run("a protocol that is not served", func(t *testing.T) {
		_, err := a.Dial(deadline(t), b.ID(), b.Addrs(), "/nobody/serves/this")
		wantCode(t, err, sennit.Unsupported, "/nobody/serves/this")
	})
	t.Run("a context that has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := a.Dial(ctx, idOf(key(7)), []string{bare(1)}, proto)
		wantCode(t, err, sennit.Interrupted, "context canceled")
	})
	t.Run("a context that ends", func(t *testing.T) {
		// This accepts, and then says nothing.
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err = a.Dial(ctx, idOf(key(8)), []string{fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", l.Addr().(*net.TCPAddr).Port)}, proto)
		wantCode(t, err, sennit.Timeout, "deadline")
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("the host has stopped", func(t *testing.T) {
		c := start(t, peer.Config{Key: key(10)})
		c.stop()
		_, err := c.Dial(deadline(t), b.ID(), b.Addrs(), proto)
		wantCode(t, err, sennit.Gone, "stopping")
	})
}

// closedPort is the address of a TCP port on which nobody listens.
func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", l.Addr().(*net.TCPAddr).Port)
}

// After a peer has restarted at the same address, the old connection is dead
// but may look alive.
func TestDialAfterRestart(t *testing.T) {
	for _, tt := range transports {
		t.Run(tt.name, func(t *testing.T) {
			c, _, a, b := pair(t, tt.listen)
			c.Close()
			addr := b.Addrs()
			b.stop()
			b = start(t, peer.Config{Key: key(2), Listen: []string{strings.TrimSuffix(addr[0], "/p2p/"+b.ID().String())}})
			b.Serve(proto, func(context.Context, *peer.Conn) {})
			dial(t, a, b).Close()
		})
	}
}

// A connection over which nothing comes through any more must not keep Dial
// from reaching the peer in another way.
func TestDialOverDeadConnection(t *testing.T) {
	b := start(t, peer.Config{Key: key(2), Listen: []string{overTCP}})
	b.Serve(proto, func(ctx context.Context, c *peer.Conn) { c.Recv(ctx) })
	id, direct, err := peer.ParseAddr(b.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wires sync.WaitGroup
	cut := make(chan struct{})
	wire := func(to, from net.Conn) {
		defer to.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			select {
			case <-cut: // swallow it, but stay open
			default:
				to.Write(buf[:n])
			}
			if err != nil {
				return
			}
		}
	}
	wires.Go(func() {
		out, err := l.Accept()
		if err != nil {
			return
		}
		in, err := net.Dial("tcp4", strings.ReplaceAll(strings.TrimPrefix(direct, "/ip4/"), "/tcp/", ":"))
		if err != nil {
			out.Close()
			return
		}
		wires.Go(func() { wire(in, out) })
		wires.Go(func() { wire(out, in) })
	})
	defer wires.Wait()
	defer l.Close()
	a := start(t, peer.Config{Key: key(1)})
	defer a.stop()
	detour := fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", l.Addr().(*net.TCPAddr).Port)
	c, err := a.Dial(deadline(t), id, []string{detour}, proto)
	if err != nil {
		t.Fatal(err)
	}
	if c.RemoteAddr() != detour {
		t.Fatalf("the peer is at %s, want %s", c.RemoteAddr(), detour)
	}
	close(cut)
	c2, err := a.Dial(deadline(t), id, []string{direct}, proto)
	if err != nil {
		t.Fatal(err)
	}
	if c2.RemoteAddr() != direct {
		t.Errorf("the peer is at %s, want %s", c2.RemoteAddr(), direct)
	}
	c2.Close()
	wantCode(t, c.Send(deadline(t), prose(1000)), sennit.Unreachable, "")
}

// Near each other, hosts that listen on both talk over TCP, which costs less. One
// whose TCP port nobody answers is reached over QUIC all the same.
func TestNearbyHostsTalkOverTCP(t *testing.T) {
	b := start(t, peer.Config{Key: key(2), Listen: []string{overQUIC, overTCP}})
	b.Serve(proto, func(ctx context.Context, _ *peer.Conn) { <-ctx.Done() })
	for i, want := range []string{"/tcp/", "/quic-v1"} {
		a := start(t, peer.Config{Key: key(byte(3 + i))})
		var addrs []string
		for _, addr := range b.Addrs() {
			addr = strings.TrimSuffix(addr, "/p2p/"+b.ID().String())
			if i > 0 && strings.Contains(addr, "/tcp/") {
				addr = "/ip4/127.0.0.1/tcp/1"
			}
			addrs = append(addrs, addr)
		}
		c, err := a.Dial(deadline(t), b.ID(), addrs, proto)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(c.RemoteAddr(), want) {
			t.Errorf("of %q it took %s, want one with %s", addrs, c.RemoteAddr(), want)
		}
	}
}
