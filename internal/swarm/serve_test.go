package swarm_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
	"github.com/sennit/sennit/test/evil"
)

// TestTheLastPieceIsAskedFirst, as nothing else proves the size.
func TestTheLastPieceIsAskedFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		var mu sync.Mutex
		var asked []uint64
		n.listen(func(from, _ replicate.Host, msg []byte) [][]byte {
			if _, f, err := wire.DecodeBlobFrame(msg); err == nil && from == b.host {
				if w, ok := f.(*wire.BlobWant); ok && w.Count > 0 {
					mu.Lock()
					asked = append(asked, w.First)
					mu.Unlock()
				}
			}
			return [][]byte{msg}
		})
		b.join(a)
		b.arrives(a.put("film", bytesOf(1, 10<<16)), time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if len(asked) < 2 || asked[0] != 9 || asked[1] != 0 {
			t.Errorf("the pieces were asked for in the order %v", asked)
		}
	})
}

// TestOneHostHasSoManyStreams: the ninth hears that the node is busy, another
// host is served meanwhile, and a stream on which nothing is asked ends.
func TestOneHostHasSoManyStreams(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b, c := n.peer(t, "a"), n.peer(t, "b"), n.peer(t, "c")
		b.join(a)
		c.join(a)
		ref := a.put("film", bytesOf(1, 1e6))
		b.arrives(ref, time.Minute)
		c.arrives(ref, time.Minute)
		time.Sleep(time.Second)
		open := func(from *peer) (*pipe, wire.BlobFrame) {
			p, err := n.dial(from, a.host, true, func(to *peer, c *pipe) { to.run(func(ctx context.Context) { to.s.Serve(ctx, c) }) })
			if err != nil {
				t.Fatal(err)
			}
			w := &wire.BlobWant{Space: a.space(), Path: "film", Blob: ref, Count: 1}
			if err := p.Send(t.Context(), wire.AppendBlobFrame(nil, 0, w)); err != nil {
				t.Fatal(err)
			}
			msg, err := p.Recv(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, f, err := wire.DecodeBlobFrame(msg)
			if err != nil {
				t.Fatal(err)
			}
			return p, f
		}
		for range 8 {
			if _, f := open(b); f == nil {
				t.Fatal("no answer")
			} else if _, ok := f.(*wire.BlobData); !ok {
				t.Fatalf("it answers %+v", f)
			}
		}
		if _, f := open(b); f == nil || f.(*wire.BlobReject).Busy != true {
			t.Errorf("one too many gets %+v", f)
		}
		p, f := open(c)
		if _, ok := f.(*wire.BlobData); !ok {
			t.Errorf("another host gets %+v", f)
		}
		if err := p.Send(t.Context(), wire.AppendBlobFrame(nil, 2, &wire.BlobWant{Space: a.space(), Path: "film", Blob: ref})); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Recv(t.Context()); err == nil {
			t.Error("a message with a wrong number is answered")
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if _, f := open(b); f == nil {
			t.Error("no answer")
		} else if _, ok := f.(*wire.BlobData); !ok {
			t.Errorf("after a minute in which nothing was asked it answers %+v", f)
		}
	})
}

// TestAReaderIsToldWhoLied looks at the error that somebody gets who reads.
func TestAReaderIsToldWhoLied(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		bad := n.peer(t, "evil", func(p *peer) { p.serve = liar(evil.BlobLies()[1].Reply) })
		b := n.peer(t, "b", func(p *peer) { p.budget = 1 })
		b.join(bad)
		bad.put("film", bytesOf(1, 1e6))
		b.knows(bad.space(), "film")
		_, c, err := b.bus().Open(t.Context(), sennit.Addr{Root: bad.space().String(), Path: "film"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = c.ReadAt(t.Context(), make([]byte, 10), 0)
		if sennit.CodeOf(err) != sennit.Unreachable || !b.said.names(bad.host) {
			t.Errorf("it gets %v", err)
		}
	})
}
