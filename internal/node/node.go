// Package node is the engine: the one place where writes happen, whoever they
// come from, and where reads, watches and digests are answered.
//
// Owns: the write path. Everything that changes a space, a local put as well
// as a peer's commit, goes through [Node.append], in one goroutine, in group
// commits: validity, durability, merging, publishing, in that order.
// Promises: what was acknowledged or shown to anybody is on disk. A commit
// counts once, however often it arrives. No lock is held over I/O, a send or a
// callback; readers never wait for writers.
// Must not know: protocols, peers' addresses, the network.
package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/blob"
	"github.com/sennit/sennit/internal/hub"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

// Bounds of the engine.
const (
	MaxAhead    = 5 * time.Minute // how far ahead of this clock an op may be before it is held
	queueBytes  = 8 << 20         // bytes of ops that may wait for the committer; writers wait beyond
	groupBytes  = 1 << 20         // bytes of ops in one group commit: Pebble takes batches above half a memtable another, slower way
	waitingRoom = 16 << 20        // bytes of void and held commits kept for a space
)

// Config is what a node needs. All fields but those with a default are
// required.
type Config struct {
	Store    *store.Store
	Identity *keys.Identity
	Blobs    *blob.Store // nil: values above sennit.MaxInline are neither taken nor read
	Log      *slog.Logger
	Now      func() time.Time // default time.Now
	// Full says that there is no room to write, nil if there is; it is asked
	// before each group commit. Default: there always is.
	Full func() error
	// Ahead says that this node's clock is wrong, nil if it seems right; it is
	// asked before each commit of its own. Default: it is right.
	Ahead func() error
	// Undo is for how long what was overwritten or deleted may be wanted back:
	// collection drops it then. Default 30 days; negative: for ever.
	Undo time.Duration
	// Fetch brings a blob that isn't here, or not wholly, and returns when it is
	// whole, the context ends, or nobody is left to ask. Default: nobody is.
	Fetch func(context.Context, Want) error
}

// Node is a running engine. Make one with [New], then call Run.
type Node struct {
	cfg  Config
	st   *store.Store
	hub  *hub.Hub[*sennit.Update]
	self sennit.Principal

	keys   admitted
	spaces sync.Map // sennit.Space -> *space
	blobs  blobs
	mail   mail

	gathering chan struct{} // has room for one: whoever puts a version together from all that is held

	mu     sync.Mutex // guards what follows
	queue  []*request
	queued int           // bytes in queue
	closed error         // why nothing is taken any more
	wake   chan struct{} // has one token when queue isn't empty
	room   chan struct{} // closed and replaced when the queue was emptied

	arrivals uint64 // newest arrival given out; committer only
	own      map[ownLog]*logState
	wrote    map[sennit.Hash]bool // logs that this store began, also those that don't go on
	logs     map[uint32]*logState // committer only
}

type ownLog struct {
	space sennit.Space
	class wire.Class
}

// New opens the engine over a store. It writes the identity's space if the
// store is new; Run must be called for anything else to be written.
func New(c Config) (*Node, error) {
	n, err := open(c)
	if err == nil {
		err = n.begin()
	}
	if err == nil {
		err = n.genesis()
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

// open makes an engine over a store as it is.
func open(c Config) (*Node, error) {
	if c.Store == nil || c.Identity == nil || c.Log == nil {
		return nil, errors.New("node: Store, Identity and Log are required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Full == nil {
		c.Full = func() error { return nil }
	}
	if c.Ahead == nil {
		c.Ahead = func() error { return nil }
	}
	n := &Node{
		cfg: c, st: c.Store, hub: hub.New[*sennit.Update](hub.Config{Ring: 2 * sennit.MaxOps}), self: c.Identity.Principal(),
		wake: make(chan struct{}, 1), room: make(chan struct{}),
		own: map[ownLog]*logState{}, wrote: map[sennit.Hash]bool{}, logs: map[uint32]*logState{},
		mail: newMail(), gathering: make(chan struct{}, 1),
		blobs: blobs{pins: map[sennit.Blob]int{}, changed: make(chan struct{})},
	}
	if n.cfg.Undo == 0 {
		n.cfg.Undo = undoWindow
	}
	if n.cfg.Fetch == nil {
		n.cfg.Fetch = func(_ context.Context, w Want) error { return nobody(w) }
	}
	v, err := n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	n.arrivals = v.N
	for _, id := range n.st.Spaces() {
		if err := n.load(v, id); err != nil {
			return nil, fmt.Errorf("load space %s: %w", id, err)
		}
	}
	return n, nil
}

// begin decides whether own logs go on: after a clean stop they do, otherwise
// new ones are begun, because the disk may hold less than was signed.
func (n *Node) begin() error {
	v, err := n.st.View()
	if err != nil {
		return err
	}
	defer v.Release()
	clean, err := v.Local("clean")
	if err != nil {
		return err
	}
	b := n.st.Batch()
	b.SetLocal("clean", nil)
	if err := v.Locals(wroteKey, func(name string, _ []byte) error {
		id, err := sennit.ParseHash(strings.TrimPrefix(name, wroteKey))
		n.wrote[id] = true
		return err
	}); err != nil {
		return errors.Join(err, b.Drop())
	}
	err = v.Locals("own/", func(name string, id []byte) error {
		if id := sennit.Hash(id); !n.wrote[id] { // it was begun before that was noted
			n.wrote[id] = true
			b.SetLocal(wroteKey+id.String(), []byte{1})
		}
		l := n.st.Log(sennit.Hash(id))
		if clean == nil || l == nil {
			b.SetLocal(name, nil)
			return nil
		}
		ls, err := n.logState(v, l)
		if err != nil {
			return err
		}
		n.own[ownLog{l.Rec.Space, l.Rec.Class}] = ls
		return nil
	})
	if err != nil {
		return errors.Join(err, b.Drop())
	}
	return b.Sync()
}

// genesis writes the first authority commit of the node's own space: its
// inception record and the key events that there are.
func (n *Node) genesis() error {
	if sp := n.space(n.self.Space); sp != nil && len(sp.authority().Heads()) > 0 {
		return nil
	}
	inc := n.cfg.Identity.Inception()
	ops := []wire.Op{n.op(sennit.KindKey, "", wire.Key{Inception: &inc}.Append(nil))}
	for _, e := range n.cfg.Identity.Events() {
		ops = append(ops, n.op(sennit.KindKey, "", wire.Key{Event: e}.Append(nil)))
	}
	r := &request{space: n.self.Space, class: wire.Authority, ops: ops, done: make(chan result, 1)}
	if err := n.append([]*request{r}); err != nil {
		return err
	}
	return (<-r.done).err
}

// op makes an op with a fresh salt.
func (n *Node) op(k sennit.Kind, p sennit.Path, body []byte) wire.Op {
	o := wire.Op{Kind: k, Path: p, Body: body}
	rand.Read(o.Salt[:])
	return o
}

// Epoch names the store's order of arrival.
func (n *Node) Epoch() uint64 { return n.st.Epoch() }

// Arrivals is the number of the newest arrival that is durable.
func (n *Node) Arrivals() (uint64, error) {
	v, err := n.st.View()
	if err != nil {
		return 0, err
	}
	defer v.Release()
	return v.N, nil
}

// Self is who this node is.
func (n *Node) Self() sennit.Principal { return n.self }

// Run commits what is written until the context ends, then notes a clean stop.
// It returns early if the disk fails: nothing more can be promised then.
func (n *Node) Run(ctx context.Context) error {
	var wakers sync.WaitGroup
	defer wakers.Wait()
	hctx, stopWaking := context.WithCancel(ctx)
	defer stopWaking()
	wakers.Go(func() { n.hub.Run(hctx) })
	wakers.Go(func() { n.collectDue(hctx) })
	wakers.Go(func() { n.deliver(hctx) })
	held := time.NewTimer(time.Hour)
	defer held.Stop()
	for {
		held.Stop()
		if next := n.nextHeld(); !next.IsZero() {
			held.Reset(max(next.Sub(n.cfg.Now()), time.Second))
		}
		select {
		case <-ctx.Done():
			return n.stop()
		case <-n.wake:
		case <-held.C:
			n.rejudgeHeld()
		}
		for reqs := n.take(); len(reqs) > 0; reqs = n.take() {
			if err := n.append(reqs); err != nil {
				n.close(err)
				return err
			}
			if len(reqs) > 1 {
				// Whoever was told just now may have more to write. Let them
				// queue it, so that it shares the next sync.
				runtime.Gosched()
			}
		}
	}
}

// stop fails what waits and notes that the store is as this node left it.
func (n *Node) stop() error {
	n.close(sennit.Errorf(sennit.Gone, "the node has stopped"))
	b := n.st.Batch()
	for at, ls := range n.own {
		b.SetLocal(fmt.Sprintf("own/%s/%d", at.space, at.class), ls.ID[:])
	}
	b.SetLocal("clean", []byte{1})
	return b.Sync()
}

func (n *Node) close(why error) {
	n.mu.Lock()
	n.closed = why
	queue := n.queue
	n.queue, n.queued = nil, 0
	close(n.room)
	n.room = make(chan struct{})
	n.mu.Unlock()
	for _, r := range queue {
		r.finish(result{err: why})
	}
	// Watches that wait must learn of it. A deep deletion of everything, which
	// deletes nothing, wakes all of them.
	end := []hub.Event[*sennit.Update]{{N: n.arrivals, Deep: true, Data: &sennit.Update{}}}
	n.spaces.Range(func(id, _ any) bool {
		end = append(end, hub.Event[*sennit.Update]{N: n.arrivals, Space: id.(sennit.Space), Deep: true, Data: &sennit.Update{}})
		return true
	})
	n.hub.Publish(end)
}

// gone is the error of a node that stopped, nil before.
func (n *Node) gone() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closed
}

// submit queues a request and waits for its result. When the queue is full it
// waits for room: that is how a slow disk slows writers and peers down.
func (n *Node) submit(ctx context.Context, r *request) result {
	if err := n.enqueue(ctx, r); err != nil {
		return result{err: err}
	}
	select {
	case res := <-r.done:
		return res
	case <-ctx.Done():
		return result{err: sennit.Errorf(sennit.CodeOf(ctx.Err()), "the write was given up; it may still be done: %w", ctx.Err())}
	}
}

func (n *Node) enqueue(ctx context.Context, r *request) error {
	n.mu.Lock()
	for n.closed == nil && n.queued > queueBytes {
		room := n.room
		n.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return sennit.Errorf(sennit.CodeOf(ctx.Err()), "wait to write: %w", ctx.Err())
		}
		n.mu.Lock()
	}
	if err := n.closed; err != nil {
		n.mu.Unlock()
		return err
	}
	n.queue = append(n.queue, r)
	n.queued += r.size
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
	return nil
}

// take empties the queue up to one group commit.
func (n *Node) take() []*request {
	n.mu.Lock()
	defer n.mu.Unlock()
	i, size := 0, 0
	for ; i < len(n.queue) && (i == 0 || size+n.queue[i].size <= groupBytes); i++ {
		if i > 0 && (n.queue[i].alone() || n.queue[0].alone()) {
			break
		}
		size += n.queue[i].size
	}
	reqs := n.queue[:i:i]
	if n.queue = n.queue[i:]; len(n.queue) == 0 {
		n.queue = nil
	}
	n.queued -= size
	if i > 0 {
		close(n.room)
		n.room = make(chan struct{})
	}
	return reqs
}
