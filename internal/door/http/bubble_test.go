package httpdoor_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/sennit/sennit/internal/bubble"
	httpdoor "github.com/sennit/sennit/internal/door/http"
)

// pipes is a listener whose connections are pipes, for bubbles of synctest.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.conns <- far
	return near
}

// inBubble runs f in a bubble, over a door that serves pipes.
func inBubble(t *testing.T, change func(*httpdoor.Config), f func(t *testing.T, h *house, p *pipes)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		h := newDoor(t, change)
		ctx, cancel := context.WithCancel(context.Background())
		p := newPipes()
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := h.door.Serve(ctx, p); err != nil {
				t.Errorf("serving ended with: %v", err)
			}
		})
		h.stop = sync.OnceValue(func() error {
			cancel()
			wg.Wait()
			return nil
		})
		f(t, h, p)
		h.stop()
	})
}
