package replicate_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

// net connects peers by host, in memory and without faults; it counts bytes
// and messages.
type net struct {
	mu      sync.Mutex
	peers   map[replicate.Host]*peer
	dialled map[[2]replicate.Host]int // how often one dialled another
	opened  int
	bytes   atomic.Int64
	turns   atomic.Int64
	dying   atomic.Pointer[peer]                                               // whose connections are not closed: it vanishes
	delay   atomic.Int64                                                       // nanoseconds that it takes to connect
	tap     atomic.Pointer[func(from, to replicate.Host, msg []byte) [][]byte] // what arrives instead; nil: the message
}

type peer struct {
	t    testing.TB
	net  *net
	host replicate.Host
	id   *keys.Identity
	fs   vfs.FS
	skew time.Duration    // that its clock is ahead
	cfg  replicate.Config // what it sets; the rest is the same for all
	n    *node.Node
	r    *replicate.Replicator
	stop func()
	run  func(func(context.Context))
}

type pipe struct {
	net        *net
	self, host replicate.Host
	in, out    chan []byte
	closed     chan struct{}
	once       *sync.Once
}

// trace prints messages when the environment has DEBUG set.
func trace(self replicate.Host, msg []byte) {
	if os.Getenv("DEBUG") == "" {
		return
	}
	number, f, err := wire.DecodeFrame(msg)
	text := fmt.Sprintf("%+v", f)
	fmt.Fprintf(os.Stderr, "%d %x -> %d %T %.300s %v\n", time.Now().UnixMilli()%1e6, self[:1], number, f, text, err)
}

func (p *pipe) Send(ctx context.Context, msg []byte) error {
	trace(p.self, msg)
	p.net.bytes.Add(int64(len(msg)))
	p.net.turns.Add(1)
	msgs := [][]byte{msg}
	if tap := p.net.tap.Load(); tap != nil {
		msgs = (*tap)(p.self, p.host, msg)
	}
	for _, msg := range msgs {
		select {
		case p.out <- msg:
		case <-p.closed:
			return io.ErrClosedPipe
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (p *pipe) Recv(ctx context.Context) ([]byte, error) {
	select {
	case msg := <-p.in:
		return msg, nil
	case <-p.closed:
		select { // what was sent before the end still arrives
		case msg := <-p.in:
			return msg, nil
		default:
			return nil, io.EOF
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipe) Host() replicate.Host { return p.host }
func (p *pipe) Addr() string         { return "memory" }
func (p *pipe) Close() error {
	if dying := p.net.dying.Load(); dying == nil || dying.host != p.self {
		p.once.Do(func() { close(p.closed) })
	}
	return nil
}

func newNet() *net {
	return &net{peers: map[replicate.Host]*peer{}, dialled: map[[2]replicate.Host]int{}}
}

// dial connects to a peer that is up.
func (n *net) dial(self replicate.Host) replicate.Dialer {
	return func(_ context.Context, host replicate.Host, addrs []string) (replicate.Conn, error) {
		time.Sleep(time.Duration(n.delay.Load()))
		n.mu.Lock()
		to := n.peers[host]
		n.dialled[[2]replicate.Host{self, host}]++
		n.mu.Unlock()
		if to == nil {
			return nil, errors.New("nobody there")
		}
		if at := to.at().Addrs; len(at) > 0 && !slices.ContainsFunc(addrs, func(a string) bool { return strings.HasPrefix(at[0], a) }) { // invitations leave the last part out
			return nil, errors.New("no address of it is known")
		}
		a, b := make(chan []byte, 64), make(chan []byte, 64)
		closed, once := make(chan struct{}), new(sync.Once)
		mine := &pipe{n, self, host, a, b, closed, once}
		theirs := &pipe{n, host, self, b, a, closed, once}
		to.run(func(ctx context.Context) { to.r.Serve(ctx, theirs) })
		return mine, nil
	}
}

func (n *net) peer(t testing.TB, name string) *peer { return n.peerWith(t, name, replicate.Config{}) }

// open makes a peer of which others may be told, and that serves so many guests;
// 0: as many as by default.
func (n *net) open(t testing.TB, name string, guests int) *peer {
	n.mu.Lock()
	n.opened++
	addr := fmt.Sprintf("/ip4/192.0.2.%d/tcp/4001", n.opened)
	n.mu.Unlock()
	return n.peerWith(t, name, replicate.Config{Addrs: func() []string { return []string{addr} }, Guests: guests})
}

func (n *net) peerWith(t testing.TB, name string, c replicate.Config) *peer {
	id, err := keys.Create(t.TempDir(), keys.Options{DeviceName: name, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, net: n, id: id, cfg: c, fs: vfs.NewMem(), host: replicate.Host(id.Host().Public().(ed25519.PublicKey))}
	p.start()
	t.Cleanup(func() {
		if p.stop != nil {
			p.stop()
		}
	})
	return p
}

func (p *peer) start() {
	st, err := store.Open(store.Config{Dir: "store", FS: p.fs})
	if err != nil {
		p.t.Fatal(err)
	}
	level := slog.LevelError
	if os.Getenv("DEBUG") != "" {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	now := func() time.Time { return time.Now().Add(p.skew) }
	p.n, err = node.New(node.Config{Store: st, Identity: p.id, Log: log, Now: now})
	if err != nil {
		p.t.Fatal(err)
	}
	c := p.cfg
	c.Node, c.Identity, c.Self, c.Dial, c.Log, c.Now = p.n, p.id, p.host, p.net.dial(p.host), log, now
	p.r, err = replicate.New(c)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	nctx, ncancel := context.WithCancel(context.Background())
	var wg, nwg sync.WaitGroup
	nwg.Go(func() {
		if err := p.n.Run(nctx); err != nil {
			p.t.Error(err)
		}
	})
	wg.Go(func() { p.r.Run(ctx) })
	p.run = func(f func(context.Context)) { wg.Go(func() { f(ctx) }) }
	p.net.mu.Lock()
	p.net.peers[p.host] = p
	p.net.mu.Unlock()
	p.stop = func() {
		p.net.mu.Lock()
		delete(p.net.peers, p.host)
		p.net.mu.Unlock()
		cancel()
		wg.Wait()
		ncancel()
		nwg.Wait()
		if err := st.Close(); err != nil {
			p.t.Error(err)
		}
		p.stop = nil
	}
}

// at is where a peer can be reached.
func (p *peer) at() node.Host {
	h := node.Host{Key: replicate.HostText(p.host)}
	if p.cfg.Addrs != nil {
		h.Addrs = p.cfg.Addrs()
	}
	return h
}

func (p *peer) bus() sennit.Bus { return p.n.Bus(p.n.Owner()) }

func (p *peer) put(path, value string) {
	p.t.Helper()
	_, err := p.bus().Write(context.Background(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: sennit.MustPath(path), Value: sennit.Value{Data: []byte(value)}}})
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) invite() string {
	p.t.Helper()
	_, link, err := p.r.NewInvite(context.Background(), replicate.Invite{Uses: 1, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		p.t.Fatal(err)
	}
	return link
}

func (p *peer) join(link string) error {
	_, err := p.r.Join(context.Background(), link, "", nil, p.run)
	return err
}

// same waits until peers are in step about a space, and wants equal digests.
func same(t testing.TB, space sennit.Space, peers ...*peer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !inStep(space, peers) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("no agreement: %+v", peers[0].r.Peers())
		}
	}
	var want sennit.Digest
	for i, p := range peers {
		d, err := p.bus().Digest(context.Background(), sennit.Addr{Root: space.String()})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			want = d
		}
		if d.Hash != want.Hash {
			t.Fatalf("%d live ops here, %d there, and the digests differ", want.Ops, d.Ops)
		}
	}
}

// inStep reports whether every peer has a session in which both hold the same
// of a space, and what arrived was acknowledged.
func inStep(space sennit.Space, peers []*peer) bool {
	for _, p := range peers {
		last, err := p.n.LastArrival(space)
		found := false
		for _, other := range p.r.Peers() {
			for _, sp := range other.Spaces {
				found = found || err == nil && sp.Space == space && sp.Synced && sp.Acked >= last
			}
		}
		if !found {
			return false
		}
	}
	return true
}

func TestTwoPeersByInvitation(t *testing.T) {
	n := newNet()
	a, b := n.peer(t, "a"), n.peer(t, "b")
	for i := range 1000 {
		a.put(fmt.Sprintf("posts/%04d", i), "hello")
	}
	if err := b.join(a.invite()); err != nil {
		t.Fatal(err)
	}
	same(t, a.n.Self().Space, a, b)
	b.put("posts/1", "hello from b")
	same(t, b.n.Self().Space, a, b)
	a.put("posts/x", "live")
	same(t, a.n.Self().Space, a, b)
	t.Log("bytes", n.bytes.Load(), "messages", n.turns.Load())
}

// forget drops what a stopped peer remembers of sessions with another, so that
// the next one has to compare.
func (p *peer) forget(other *peer) error { return p.forgetOf(other, other.n.Self().Space) }

func (p *peer) forgetOf(other *peer, space sennit.Space) error {
	st, err := store.Open(store.Config{Dir: "store", FS: p.fs})
	if err != nil {
		return err
	}
	b := st.Batch()
	b.SetLocal("sync/"+replicate.HostText(other.host)+"/"+space.String(), nil)
	return errors.Join(b.Sync(), st.Close())
}
