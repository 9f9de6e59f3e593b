package sim

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/blob"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/swarm"
	"github.com/sennit/sennit/internal/wire"
	"github.com/sennit/sennit/test/evil"
)

// maxAhead is how far a clock may be ahead of most peers' before its owner
// stops writing, as a program around a node should have it.
const maxAhead = 5 * time.Minute

// machine is a node's disk, keys and clock, which outlive its runs.
type machine struct {
	w    *world
	name string
	id   *keys.Identity
	host replicate.Host
	liar *evil.Liar // nil: it is honest
	disk *disk
	skew atomic.Int64 // nanoseconds that its clock is ahead
	full atomic.Bool  // its disk is full

	orders chan order // has room for several

	mu    sync.Mutex // guards what follows
	run   *run       // nil while it is down
	shown map[place]bool
	lost  bool                    // it was set back to an older state: what was acknowledged since may be gone
	reach map[uint64]uint64       // by epoch: the newest arrival that others heard of
	had   map[sennit.Space]*model // before collections
	gone  map[place]bool          // commits that a collection may have dropped

	took map[sennit.Space]prefix.Set // all that it followed at any time; guarded by w.mu
}

// order is what happens to a machine.
type order struct {
	stop bool       // cleanly
	mem  *vfs.MemFS // the power went: what is left on the disk
	from *run       // whose power it was
	down time.Duration
	last bool // it is not started again
}

// place is a commit by its place in a log.
type place struct {
	log sennit.Hash
	seq uint64
}

// run is a node from start to stop.
type run struct {
	m    *machine
	st   *store.Store
	n    *node.Node
	r    *replicate.Replicator
	s    *swarm.Swarm
	dead atomic.Bool // its power went: nothing that happens in it counts

	net, eng context.CancelFunc
	mu       sync.Mutex // guards what follows
	stopping bool
	netwg    sync.WaitGroup
	engwg    sync.WaitGroup
	netctx   context.Context
	dialed   map[replicate.Host]*conn // the last to each
	sights   map[sightOf]*sight       // guarded by m.mu
	heard    map[string]bool          // live messages, by what they say
}

func newMachine(w *world, i int, id *keys.Identity) *machine {
	return &machine{
		w: w, name: fmt.Sprintf("n%d", i), id: id, host: replicate.Host(id.Host().Public().(ed25519.PublicKey)),
		disk: newDisk(w.c.Seed<<8 | uint64(i)), orders: make(chan order, 8),
		shown: map[place]bool{}, reach: map[uint64]uint64{}, had: map[sennit.Space]*model{}, gone: map[place]bool{},
		took: map[sennit.Space]prefix.Set{id.Space(): prefix.All()},
	}
}

func (m *machine) now() time.Time {
	return time.Now().Add(time.Duration(m.skew.Load()))
}

// takes notes that the machine is about to follow parts of a space: none are all.
func (m *machine) takes(space sennit.Space, parts []sennit.Path) {
	if len(parts) == 0 {
		parts = prefix.All()
	}
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.took[space] = prefix.Of(slices.Concat(m.took[space], parts)...)
}

// live starts and stops the machine as it is ordered to.
func (m *machine) live() {
	for {
		r, err := m.start()
		if err != nil {
			m.w.fail("%s does not start: %v", m.name, err)
			for o := range m.orders {
				if o.last {
					return
				}
			}
		}
		o := <-m.orders
		for o.from != nil && o.from != r {
			o = <-m.orders // of an earlier run
		}
		if o.mem != nil {
			m.drop(r)
			m.disk.insert(o.mem)
		} else {
			m.stop(r)
		}
		if o.last {
			return
		}
		time.Sleep(o.down)
	}
}

// start opens the store and starts a node on it.
func (m *machine) start() (*run, error) {
	fs := m.disk.fs()
	st, err := store.Open(store.Config{Dir: "store", FS: fs})
	if err != nil {
		return nil, err
	}
	blobs, err := blob.Open(blob.Config{Dir: "blobs", FS: fs, SyncEvery: 2})
	if err != nil {
		return nil, err
	}
	r := &run{m: m, st: st, dialed: map[replicate.Host]*conn{}, sights: map[sightOf]*sight{}, heard: map[string]bool{}}
	log := slog.New(&ear{r: r})
	r.n, err = node.New(node.Config{
		Store: st, Identity: m.id, Blobs: blobs, Log: log, Now: m.now, Full: r.full, Undo: m.w.plan.undo,
		Fetch: func(ctx context.Context, w node.Want) error { return r.s.Fetch(ctx, w) },
	})
	if err != nil {
		return nil, err
	}
	if err := m.audit(r); err != nil {
		return nil, err
	}
	r.r, err = replicate.New(replicate.Config{
		Node: r.n, Identity: m.id, Self: m.host, Dial: r.dial, Log: log, Now: m.now,
		Addrs: func() []string { return []string{"/dns4/" + m.name + "/tcp/1"} }, // so that others are told of it
	})
	if err != nil {
		return nil, err
	}
	r.s, err = swarm.New(swarm.Config{Node: r.n, Sessions: r.r, Dial: r.dialBlobs, Log: log, Full: r.full})
	if err != nil {
		return nil, err
	}
	var eng context.Context
	r.netctx, r.net = context.WithCancel(context.Background())
	eng, r.eng = context.WithCancel(context.Background())
	r.engwg.Go(func() {
		if err := r.n.Run(eng); err != nil && !r.dead.Load() {
			m.w.fail("%s: the engine stopped: %v", m.name, err)
		}
	})
	r.netwg.Go(func() {
		if err := r.r.Run(r.netctx); err != nil {
			m.w.fail("%s: the replicator stopped: %v", m.name, err)
		}
	})
	r.netwg.Go(func() {
		if err := r.s.Run(r.netctx); err != nil {
			m.w.fail("%s: the swarm stopped: %v", m.name, err)
		}
	})
	m.mu.Lock()
	m.run = r
	m.mu.Unlock()
	m.w.net.up(r)
	m.w.watch(r)
	return r, nil
}

// up is the machine's run, nil while it is down.
func (m *machine) up() *run {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.run
}

// stop stops a run cleanly.
func (m *machine) stop(r *run) {
	m.mu.Lock()
	m.run = nil
	m.mu.Unlock()
	m.w.net.down(r, false)
	r.halt()
	if err := r.st.Close(); err != nil && !r.dead.Load() {
		m.w.fail("%s: close the store: %v", m.name, err)
	}
}

// drop gets rid of a run whose power went.
func (m *machine) drop(r *run) {
	m.mu.Lock()
	m.run = nil
	m.mu.Unlock()
	r.halt()
	r.st.Close() // on a disk that nobody will look at again
}

// halt ends what runs: network first, then the engine.
func (r *run) halt() {
	r.mu.Lock()
	r.stopping = true
	r.mu.Unlock()
	r.net()
	r.netwg.Wait()
	r.eng()
	r.engwg.Wait()
}

// power makes the power of a run go: from now on nothing leaves it, and
// nothing that it does counts.
func (r *run) power(mem *vfs.MemFS, down time.Duration, quiet bool) {
	r.m.mu.Lock()
	gone := r.dead.Swap(true)
	r.m.mu.Unlock()
	if gone {
		return
	}
	r.m.w.net.down(r, quiet)
	r.m.orders <- order{mem: mem, from: r, down: down}
}

// spawn runs something with the network until it stops. It reports whether it could.
func (r *run) spawn(f func(ctx context.Context)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return false
	}
	r.netwg.Go(func() { f(r.netctx) })
	return true
}

// full is why the node can't write: its disk is full.
func (r *run) full() error {
	if r.m.full.Load() {
		return sennit.Errorf(sennit.ReadOnly, "the disk is full")
	}
	return nil
}

func (r *run) bus() sennit.Bus { return r.n.Bus(r.n.Owner()) }

func (r *run) dial(ctx context.Context, host replicate.Host, _ []string) (replicate.Conn, error) {
	c, err := r.m.w.net.dial(ctx, r, host, false)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.dialed[host] = c
	r.mu.Unlock()
	return r.dress(c), nil
}

func (r *run) dialBlobs(ctx context.Context, host replicate.Host) (swarm.Conn, error) {
	return r.m.w.net.dial(ctx, r, host, true)
}

// dress makes a liar's connections lie.
func (r *run) dress(c *conn) replicate.Conn {
	if r.m.liar == nil {
		return c
	}
	return r.m.liar.Wrap(c)
}

// accept serves a connection that another machine made.
func (r *run) accept(c *conn) bool {
	return r.spawn(func(ctx context.Context) {
		if c.blobs {
			var to swarm.Conn = c
			if r.m.liar != nil {
				to = r.m.liar.WrapBlobs(c)
			}
			if err := r.s.Serve(ctx, to); err != nil {
				r.m.w.c.Log("%s: a stream of blobs to %s ended: %v", r.m.name, r.m.w.nameOf(c), err)
			}
			return
		}
		err := r.r.Serve(ctx, r.dress(c))
		r.m.w.ended(r, c, err)
	})
}

// says notes what a run tells a peer, unless its power is off.
func (r *run) says(c *conn, msg []byte) bool {
	if r.m.liar != nil || c.blobs {
		return !r.dead.Load()
	}
	_, f, err := wire.DecodeFrame(msg)
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if r.dead.Load() {
		return false
	}
	if err != nil {
		r.m.w.fail("%s sends a message that can't be decoded: %v", r.m.name, err)
	}
	if _, ping := f.(*wire.Ping); !ping && r.m.w.c.Loud {
		r.m.w.c.Log("%s %s -> %s: %s", time.Since(r.m.w.began), r.m.name, r.m.w.nameOf(c), tell(f))
	}
	switch f := f.(type) {
	case *wire.Open:
		r.reached(f.At.N)
	case *wire.Ops:
		r.reached(f.Up)
		for _, run := range f.Runs {
			r.mayTell(c, f.Tag, run)
			at := run.From
			for i := range run.Items {
				if at += max(1, run.Items[i].Gap); run.Items[i].Gap == 0 {
					r.m.shown[place{run.Log, at}] = true
				}
			}
		}
	}
	return true
}

// mayTell looks whether a peer may read what it is sent, and whether it ever
// followed that, or an open said so that was altered on its way.
func (r *run) mayTell(c *conn, tag wire.Tag, run *wire.Run) {
	peer := c.other.owner.m
	log := r.st.Log(run.Log)
	if log == nil {
		r.m.w.fail("%s sends %s a log that it doesn't have", r.m.name, peer.name)
		return
	}
	scope, was := r.scope(peer, log.Rec.Space)
	takes := prefix.All() // a liar may say that it takes anything
	if peer.liar == nil && log.Rec.Class == wire.Data {
		peer.w.mu.Lock()
		takes = peer.took[log.Rec.Space]
		peer.w.mu.Unlock()
		c.in.mu.Lock()
		takes = prefix.Of(slices.Concat(takes, c.in.altered[tag])...)
		c.in.mu.Unlock()
	}
	for i := range run.Items {
		for _, part := range run.Items[i].Parts {
			for j := range part.Ops {
				op := &part.Ops[j]
				deep := op.Kind == sennit.KindDel && op.Body[0] == 1
				if !takes.Concerns(op.Path, deep) {
					r.m.w.fail("%s sends %s an op at %s/%s, which it never followed", r.m.name, peer.name, r.m.w.owner(log.Rec.Space), op.Path)
				}
				if !scope.Concerns(op.Path, deep) && !was.Concerns(op.Path, deep) {
					r.m.w.fail("%s sends %s an op at %s/%s, which it may not read", r.m.name, peer.name, r.m.w.owner(log.Rec.Space), op.Path)
				}
			}
		}
	}
}

// reached notes that somebody heard of an arrival; m.mu is held.
func (r *run) reached(n uint64) {
	epoch := r.n.Epoch()
	r.m.reach[epoch] = max(r.m.reach[epoch], n)
}

// show notes that a reader of this node saw a commit, unless its power is off.
func (r *run) show(at place) bool {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if r.dead.Load() {
		return false
	}
	r.m.shown[at] = true
	return true
}

// tell is a message in short, for people.
func tell(f wire.Frame) string {
	switch f := f.(type) {
	case *wire.Open:
		return fmt.Sprintf("open %x authority %x, %d heads, scope %q, interest %q, %d ops %x, at %d since %d", f.Tag[:3], f.Authority[:3], len(f.Heads), f.Scope, f.Interest, f.Ops, f.Digest[:3], f.At.N, f.Since.N)
	case *wire.AuthorityFrame:
		return fmt.Sprintf("authority %x: %d logs, %d runs, %d chains", f.Tag[:3], len(f.Logs), len(f.Runs), len(f.Evidence))
	case *wire.Ops:
		return fmt.Sprintf("ops %x: %d logs, %d runs, up %d, caught up %v", f.Tag[:3], len(f.Logs), len(f.Runs), f.Up, f.Caught)
	case *wire.Compare:
		return fmt.Sprintf("compare %x: %d items, differs %v", f.Tag[:3], len(f.Items), f.Differs)
	case *wire.Want:
		return fmt.Sprintf("want %x: %d items", f.Tag[:3], len(f.Items))
	case *wire.Need:
		return fmt.Sprintf("need %x: log %s from %d", f.Tag[:3], f.Log, f.Size)
	case *wire.Ack:
		return fmt.Sprintf("ack %x: %d", f.Tag[:3], f.N)
	}
	return fmt.Sprintf("%T", f)
}
