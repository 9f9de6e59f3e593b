package swarm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/blob"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/swarm"
	"github.com/sennit/sennit/internal/wire"
	"github.com/sennit/sennit/test/evil"
)

// liar serves blobs in its own way. reply makes of a want and of the honest
// answer to it what goes out; nothing is sent if it gives nothing.
func liar(reply func(w *wire.BlobWant, honest []byte, number uint64) [][]byte) func(context.Context, *peer, swarm.Conn) {
	return func(ctx context.Context, p *peer, c swarm.Conn) {
		for number := uint64(0); ; number++ {
			msg, err := c.Recv(ctx)
			if err != nil {
				return
			}
			_, f, err := wire.DecodeBlobFrame(msg)
			if err != nil {
				return
			}
			w := f.(*wire.BlobWant)
			for _, b := range reply(w, p.honest(w, number), number) {
				if c.Send(ctx, b) != nil {
					return
				}
			}
		}
	}
}

// honest is the right answer to a want, if the blob is here.
func (p *peer) honest(w *wire.BlobWant, number uint64) []byte {
	r, err := p.blobs.Open(context.Background(), w.Blob)
	if err != nil {
		return wire.AppendBlobFrame(nil, number, &wire.BlobReject{})
	}
	defer r.Close()
	if w.Count == 0 {
		return wire.AppendBlobFrame(nil, number, evil.Everything(w))
	}
	slice, err := r.Slice(nil, w.First, int(w.Count))
	if err != nil {
		return wire.AppendBlobFrame(nil, number, &wire.BlobReject{})
	}
	return wire.AppendBlobFrame(nil, number, &wire.BlobData{First: w.First, Slice: slice})
}

// trick is how a liar answers, which changes from lie to lie.
type trick struct {
	mu    sync.Mutex // guards what follows
	reply func(w *wire.BlobWant, honest []byte, number uint64) [][]byte
}

func (k *trick) set(reply func(w *wire.BlobWant, honest []byte, number uint64) [][]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reply = reply
}

func (k *trick) plays(p *peer) {
	p.serve = liar(func(w *wire.BlobWant, honest []byte, number uint64) [][]byte {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.reply(w, honest, number)
	})
}

// TestAgainstALiar lets only a liar have a blob first. Nothing that is wrong is
// kept, and readers learn who it was. Then an honest peer has it as well, and it
// arrives.
func TestAgainstALiar(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		var k trick
		a, b, bad := n.peer(t, "a"), n.peer(t, "b"), n.peer(t, "evil", k.plays)
		bad.join(a)
		b.join(a)
		b.join(bad)
		for i, lie := range evil.BlobLies() {
			k.set(lie.Reply)
			b.stop()
			b.said = &said{}
			// b gets the op from a, but not the bytes: they are gone there.
			path, content := fmt.Sprint("film", i), bytesOf(uint64(i), 5e5)
			ref := a.put(path, content)
			bad.arrives(ref, time.Minute)
			if err := a.blobs.Remove(t.Context(), ref); err != nil {
				t.Fatal(err)
			}
			b.start()
			b.knows(a.space(), path)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			err := b.s.Fetch(ctx, node.Want{Space: a.space(), Path: sennit.Path(path), Blob: ref})
			cancel()
			var lied *swarm.Lied
			switch {
			case sennit.CodeOf(err) != sennit.Unreachable:
				t.Errorf("%s: the error is %v", lie.Lie, err)
			case errors.As(err, &lied) != lie.Named || lie.Named && lied.Host != bad.host:
				t.Errorf("%s: the error names %v: %v", lie.Lie, lied, err)
			case !strings.Contains(err.Error(), replicate.HostText(bad.host)):
				t.Errorf("%s: the error doesn't say who was asked: %v", lie.Lie, err)
			}
			if b.said.names(bad.host) != lie.Named {
				t.Errorf("%s: the log says %s", lie.Lie, &b.said.buf)
			}
			time.Sleep(time.Second)
			if why := b.why(ref); lie.Named && why != "damaged by "+replicate.HostText(bad.host) {
				t.Errorf("%s: it is missing because: %q", lie.Lie, why)
			}
			a.put("again", content)
			a.restart()
			a.r.Wake()
			b.r.Wake()
			bad.r.Wake()
			b.arrives(ref, time.Minute)
		}
	})
}

// TestAnHonestOneBesideALiar: both are asked, and a reader gets its bytes.
func TestAnHonestOneBesideALiar(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		var k trick
		a, b, bad := n.peer(t, "a"), n.peer(t, "b", func(p *peer) { p.budget = 1 }), n.peer(t, "evil", k.plays)
		bad.join(a)
		b.join(a)
		b.join(bad)
		for i, lie := range evil.BlobLies() {
			k.set(lie.Reply)
			path := fmt.Sprint("film", i)
			ref := a.put(path, bytesOf(uint64(i), 5e5))
			bad.arrives(ref, time.Minute)
			b.knows(a.space(), path)
			b.restart() // it doesn't know of lies any more
			b.r.Wake()
			time.Sleep(2 * time.Second)
			if err := b.s.Fetch(t.Context(), node.Want{Space: a.space(), Path: sennit.Path(path), Blob: ref}); err != nil {
				t.Fatalf("%s: %v", lie.Lie, err)
			}
			b.arrives(ref, 0)
		}
	})
}

// TestALiarIsNotAskedForAWhile counts how often it gets to lie.
func TestALiarIsNotAskedForAWhile(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		var mu sync.Mutex
		told := 0
		bad := n.peer(t, "evil", func(p *peer) {
			p.serve = liar(func(w *wire.BlobWant, honest []byte, _ uint64) [][]byte {
				if w.Count > 0 {
					mu.Lock()
					told++
					mu.Unlock()
					honest[len(honest)-1] ^= 1
				}
				return [][]byte{honest}
			})
		})
		b := n.peer(t, "b")
		b.join(bad)
		b.arrivesNot(bad.put("film", bytesOf(1, 7e5)), 3*time.Hour)
		mu.Lock()
		defer mu.Unlock()
		// Asked after 0, 1, 3, 7, 15, 31, 63, 123 minutes, for as many slices as are under way.
		if told < 6 || told > 9*8 {
			t.Errorf("it lied %d times", told)
		}
		if u := b.blobs.Usage(); u != 0 {
			t.Errorf("%d bytes are kept", u)
		}
	})
}

// TestASizeThatIsNotTrue: the pieces of a true blob under a size that isn't its
// own. What comes is true, and there is never more than that.
func TestASizeThatIsNotTrue(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		bad := n.peer(t, "evil", func(p *peer) {
			p.serve = liar(func(w *wire.BlobWant, honest []byte, number uint64) [][]byte {
				if w.Count == 0 {
					return [][]byte{wire.AppendBlobFrame(nil, number, evil.Everything(w))}
				}
				return [][]byte{wire.AppendBlobFrame(nil, number, &wire.BlobData{First: w.First, Slice: make([]byte, 1<<20)})}
			})
		})
		b := n.peer(t, "b")
		b.join(bad)
		ref := bad.put("film", bytesOf(1, 1e6))
		for _, size := range []uint64{ref.Size + 1, ref.Size - 1, 30 << 30, blob.MaxSize} {
			made := sennit.Blob{Root: ref.Root, Size: size}
			bad.claim("made/up", made)
			b.knows(bad.space(), "made/up")
			b.restart() // it doesn't know of lies any more
			b.r.Wake()
			err := b.s.Fetch(t.Context(), node.Want{Space: bad.space(), Path: "made/up", Blob: made})
			if sennit.CodeOf(err) != sennit.Unreachable {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
		if u := b.blobs.Usage(); u != 0 {
			t.Errorf("%d bytes are kept", u)
		}
	})
}
