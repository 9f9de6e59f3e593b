package swarm_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/blob"
	"github.com/sennit/sennit/internal/bubble"
	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/swarm"
	"github.com/sennit/sennit/internal/wire"
)

// net connects peers in memory: streams of sessions, and streams of blobs.
type net struct {
	mu    sync.Mutex // guards what follows
	peers map[replicate.Host]*peer
	tap   func(from, to replicate.Host, msg []byte) [][]byte // what arrives instead of a message about blobs; nil: the message
}

// peer is a node with everything that moves blobs.
type peer struct {
	t      testing.TB
	net    *net
	name   string
	id     *keys.Identity
	host   replicate.Host
	fs     vfs.FS
	said   *said
	budget uint64
	full   func() error
	serve  func(ctx context.Context, p *peer, c swarm.Conn) // instead of the swarm's, if set

	st    *store.Store
	n     *node.Node
	r     *replicate.Replicator
	s     *swarm.Swarm
	blobs *blob.Store
	run   func(func(context.Context))
	stop  func()
}

// said is what a peer logged.
type said struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *said) names(host replicate.Host) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.buf.String(), "sent what is not right") && strings.Contains(s.buf.String(), replicate.HostText(host))
}

// inBubble runs a test in virtual time.
func inBubble(t *testing.T, f func(t *testing.T, n *net)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) { f(t, &net{peers: map[replicate.Host]*peer{}}) })
}

func (n *net) peer(t testing.TB, name string, change ...func(*peer)) *peer {
	id, err := keys.Create(t.TempDir(), keys.Options{DeviceName: name, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, net: n, name: name, id: id, fs: vfs.NewMem(), host: replicate.Host(id.Host().Public().(ed25519.PublicKey)), said: &said{}}
	for _, f := range change {
		f(p)
	}
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
	p.st = st
	if p.blobs, err = blob.Open(blob.Config{Dir: "blobs", FS: p.fs, SyncEvery: 16}); err != nil {
		p.t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(p.said, &slog.HandlerOptions{Level: slog.LevelWarn}))
	fetch := func(ctx context.Context, w node.Want) error { return p.s.Fetch(ctx, w) }
	if p.n, err = node.New(node.Config{Store: st, Identity: p.id, Blobs: p.blobs, Log: log, Fetch: fetch}); err != nil {
		p.t.Fatal(err)
	}
	if p.r, err = replicate.New(replicate.Config{
		Node: p.n, Identity: p.id, Self: p.host, Log: log,
		Dial: func(ctx context.Context, host replicate.Host, _ []string) (replicate.Conn, error) {
			return p.net.dial(p, host, false, func(to *peer, c *pipe) { to.run(func(ctx context.Context) { to.r.Serve(ctx, c) }) })
		},
	}); err != nil {
		p.t.Fatal(err)
	}
	p.s, err = swarm.New(swarm.Config{
		Node: p.n, Sessions: p.r, Log: log, Budget: p.budget, Full: p.full,
		Dial: func(ctx context.Context, host replicate.Host) (swarm.Conn, error) {
			return p.net.dial(p, host, true, func(to *peer, c *pipe) {
				to.run(func(ctx context.Context) {
					if to.serve != nil {
						to.serve(ctx, to, c)
						c.Close()
						return
					}
					to.s.Serve(ctx, c)
				})
			})
		},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	nctx, ncancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var wg, nwg sync.WaitGroup
	over := false
	p.run = func(f func(context.Context)) {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			wg.Go(func() { f(ctx) })
		}
	}
	nwg.Go(func() {
		if err := p.n.Run(nctx); err != nil {
			p.t.Error(err)
		}
	})
	wg.Go(func() { p.r.Run(ctx) })
	wg.Go(func() { p.s.Run(ctx) })
	p.net.mu.Lock()
	p.net.peers[p.host] = p
	p.net.mu.Unlock()
	p.stop = func() {
		p.net.mu.Lock()
		delete(p.net.peers, p.host)
		p.net.mu.Unlock()
		mu.Lock()
		over = true
		mu.Unlock()
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

func (p *peer) restart() {
	p.stop()
	p.start()
}

// crash stops a peer as a power failure would: what was not synced is lost at
// random.
func (p *peer) crash(seed uint64) {
	left := p.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: mathrand.New(mathrand.NewPCG(seed, 1))})
	p.stop()
	p.fs = left
	p.start()
}

// pipe is one end of a stream.
type pipe struct {
	n          *net
	self, host replicate.Host
	in, out    chan []byte
	closed     chan struct{}
	once       *sync.Once
	blobs      bool
}

// dial connects to a peer that is up, and has it serve.
func (n *net) dial(from *peer, host replicate.Host, blobs bool, serve func(to *peer, c *pipe)) (*pipe, error) {
	n.mu.Lock()
	to := n.peers[host]
	n.mu.Unlock()
	if to == nil {
		return nil, errors.New("nobody there")
	}
	room := 64
	if blobs {
		room = 4 // answers are large: a network holds few of them
	}
	a, b := make(chan []byte, room), make(chan []byte, 64)
	closed, once := make(chan struct{}), new(sync.Once)
	serve(to, &pipe{n, host, from.host, b, a, closed, once, blobs})
	return &pipe{n, from.host, host, a, b, closed, once, blobs}, nil
}

func (p *pipe) Send(ctx context.Context, msg []byte) error {
	msgs := [][]byte{bytes.Clone(msg)}
	p.n.mu.Lock()
	tap := p.n.tap
	p.n.mu.Unlock()
	if p.blobs && tap != nil {
		msgs = tap(p.self, p.host, msgs[0])
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
		select {
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
	p.once.Do(func() { close(p.closed) })
	return nil
}

// listen gives every message about blobs to hear, which says what arrives.
func (n *net) listen(hear func(from, to replicate.Host, msg []byte) [][]byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tap = hear
}

func typeOf(msg []byte) wire.BlobFrameType { return wire.BlobFrameType(msg[0]) }

func (p *peer) bus() sennit.Bus     { return p.n.Bus(p.n.Owner()) }
func (p *peer) space() sennit.Space { return p.n.Self().Space }

// bytesOf makes up content that does not compress, the same for a seed.
func bytesOf(seed uint64, size int) []byte {
	b := make([]byte, size)
	rng := mathrand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 7})
	rng.Read(b)
	return b
}

// put puts a value of any size, and tells which blob it is.
func (p *peer) put(path string, content []byte) sennit.Blob {
	p.t.Helper()
	return p.putIn(p.space(), path, content)
}

func (p *peer) putIn(space sennit.Space, path string, content []byte) sennit.Blob {
	p.t.Helper()
	a := sennit.Addr{Root: space.String(), Path: sennit.MustPath(path)}
	if _, err := p.bus().Put(context.Background(), a, "", bytes.NewReader(content), nil); err != nil {
		p.t.Fatal(err)
	}
	got, err := p.bus().Get(context.Background(), a)
	if err != nil || got.Value.Blob == nil {
		p.t.Fatal("no blob", err)
	}
	return *got.Value.Blob
}

// claim puts a blob that this peer makes up.
func (p *peer) claim(path string, ref sennit.Blob) {
	p.t.Helper()
	rec := wire.Log{Space: p.space(), Principal: p.space(), Device: p.id.Device(), Class: wire.Data}
	rand.Read(rec.Nonce[:])
	op := wire.Op{Kind: sennit.KindPut, Path: sennit.MustPath(path), Body: wire.Put{Value: sennit.Value{Blob: &ref}}.Append(nil)}
	rand.Read(op.Salt[:])
	var past commit.Peaks
	made, err := commit.Build(p.space(), rec.ID(), &past, uint64(time.Now().UnixMilli())<<16, p.n.Authority(p.space()).Heads(), []wire.Op{op}, p.id.SignCommit, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	in := p.n.Intake()
	if err := in.Log(rec); err != nil {
		p.t.Fatal(err)
	}
	if err := in.Run(context.Background(), &wire.Run{Log: rec.ID(), Items: []wire.RunItem{made.Item()}, Sig: *made.Sig}); err != nil {
		p.t.Fatal(err)
	}
	if _, err := in.Wait(context.Background()); err != nil {
		p.t.Fatal(err)
	}
}

// allow lets another peer read, or more.
func (p *peer) allow(who *peer, prefix string, may sennit.Rights) {
	p.t.Helper()
	g := wire.Grant{Prefix: sennit.MustPath(prefix), May: may, Who: wire.Who{Subject: wire.SubjectSpace, Key: who.space()}}
	if _, err := p.n.Allow(context.Background(), p.n.Owner(), p.space(), []wire.Grant{g}); err != nil {
		p.t.Fatal(err)
	}
}

// join makes p follow another by invitation; the other follows p as well.
func (p *peer) join(other *peer) {
	p.t.Helper()
	_, link, err := other.r.NewInvite(context.Background(), replicate.Invite{Uses: 1, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.r.Join(context.Background(), link, "", nil, p.run); err != nil {
		p.t.Fatal(err)
	}
}

// follow makes p follow a space, through a peer.
func (p *peer) follow(space sennit.Space, via *peer) {
	p.t.Helper()
	err := p.n.EditFollow(context.Background(), space, func(f *node.Follow) {
		f.Mode, f.Prefixes, f.Hosts = "live", []sennit.Path{""}, []node.Host{{Key: replicate.HostText(via.host)}}
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) has(ref sennit.Blob) bool {
	p.t.Helper()
	ok, err := p.blobs.Has(context.Background(), ref)
	if err != nil {
		p.t.Fatal(err)
	}
	return ok
}

// arrives waits until a blob is at a peer whole, and checks it.
func (p *peer) arrives(ref sennit.Blob, within time.Duration) {
	p.t.Helper()
	for end := time.Now().Add(within); !p.has(ref); {
		if time.Now().After(end) {
			p.t.Fatalf("%s: the blob isn't there after %s: %+v\n%s", p.name, within, p.s.Pending(10), &p.said.buf)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := p.blobs.Verify(context.Background(), ref); err != nil {
		p.t.Fatal(err)
	}
}

// knows waits until a peer has the op at a path.
func (p *peer) knows(space sennit.Space, path string) {
	p.t.Helper()
	for range 10_000 {
		if _, err := p.bus().Get(context.Background(), sennit.Addr{Root: space.String(), Path: sennit.MustPath(path)}); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("%s doesn't know /%s/%s", p.name, space, path)
}

// why tells what a peer says of a blob that isn't there, "" if nothing.
func (p *peer) why(ref sennit.Blob) string {
	b := p.s.Pending(100)
	if i := slices.IndexFunc(b.Some, func(x swarm.Pending) bool { return x.Blob == ref }); i >= 0 {
		return b.Some[i].Why
	}
	return ""
}

// crashable gives a peer a disk that forgets what was not synced.
func crashable(p *peer) { p.fs = vfs.NewCrashableMem() }
