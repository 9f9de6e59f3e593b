package store

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/sennit/sennit"
)

// gate lets reads in as long as the store is open. Who embeds a node, or serves
// a request that takes long, may still read when it is closed: such a read ends
// with an error, and not the process.
type gate struct {
	inside  atomic.Int64  // reads under way
	closing atomic.Bool   // no more come in
	empty   chan struct{} // has a token when the last one left after that

	mu   sync.Mutex
	open map[io.Closer]bool // snapshots and iterators that outlive a read
}

func newGate() *gate {
	return &gate{empty: make(chan struct{}, 1), open: map[io.Closer]bool{}}
}

// enter begins a read, which ends with leave.
func (g *gate) enter() error {
	if g == nil { // of an open batch: its writer ends before the store does
		return nil
	}
	if g.inside.Add(1); g.closing.Load() {
		g.leave()
		return sennit.Errorf(sennit.Gone, "the node has stopped")
	}
	return nil
}

func (g *gate) leave() {
	if g == nil {
		return
	}
	if g.inside.Add(-1) == 0 && g.closing.Load() {
		select {
		case g.empty <- struct{}{}:
		default:
		}
	}
}

// keep notes something that is open until release.
func (g *gate) keep(c io.Closer) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[c] = true
}

// release closes it, if close didn't.
func (g *gate) release(c io.Closer) error {
	if g == nil {
		return c.Close()
	}
	g.mu.Lock()
	kept := g.open[c]
	delete(g.open, c)
	g.mu.Unlock()
	if !kept {
		return nil
	}
	return c.Close()
}

// close lets nobody in any more, waits until all are out, and closes what they
// left open.
func (g *gate) close() error {
	g.closing.Store(true)
	for g.inside.Load() != 0 {
		<-g.empty
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var err error
	for c := range g.open {
		err = errors.Join(err, c.Close())
	}
	clear(g.open)
	return err
}
