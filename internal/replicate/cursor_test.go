package replicate_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

// eitherWay runs a test in virtual time several times, so that the host with the
// lower key, which begins comparisons, is one or the other.
func eitherWay(t *testing.T, f func(t *testing.T, n *net)) {
	t.Helper()
	for range 5 {
		inBubble(t, f)
	}
}

// comes waits until a peer shows a value.
func (p *peer) comes(space sennit.Space, path sennit.Path, value string) {
	p.t.Helper()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		n, err := p.bus().Get(context.Background(), sennit.Addr{Root: space.String(), Path: path})
		if err == nil && string(n.Value.Data) == value {
			return
		}
		if time.Since(begun) > time.Minute {
			p.t.Fatalf("%s does not become %q: %q, %v", path, value, n.Value.Data, err)
		}
	}
}

// TestAWrongCursorHidesNothing: a peer remembers that it has what it hasn't. What
// is missing is found by comparing.
func TestAWrongCursorHidesNothing(t *testing.T) {
	eitherWay(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		space := a.n.Self().Space
		a.lets(sennit.Read, "", b)
		b.follows(space, a, "posts")
		a.put("posts/1", "one")
		agree(t, space, prefix.Set{"posts"}, a, b)
		b.stop()
		a.put("posts/2", "two")
		at, err := a.n.Arrivals()
		if err != nil {
			t.Fatal(err)
		}
		st, err := store.Open(store.Config{Dir: "store", FS: b.fs})
		if err != nil {
			t.Fatal(err)
		}
		record, err := json.Marshal(map[string]any{"epoch": a.n.Epoch(), "n": at, "prefixes": []string{"posts"}})
		if err != nil {
			t.Fatal(err)
		}
		batch := st.Batch()
		batch.SetLocal("sync/"+replicate.HostText(a.host)+"/"+space.String(), record)
		if err := errors.Join(batch.Sync(), st.Close()); err != nil {
			t.Fatal(err)
		}
		b.start()
		b.comes(space, "posts/2", "two")
	})
}

// parting is an owner, somebody who followed everything and then less, and a third
// who can reach only that one: what was taken before is there, but not kept.
func parting(t *testing.T, n *net) (b, c *peer, space sennit.Space) {
	a := n.peer(t, "a")
	b, c = n.peer(t, "b"), n.peer(t, "c")
	space = a.n.Self().Space
	a.lets(sennit.Read, "", b, c)
	a.put("posts/1", "post")
	a.put("photos/1", "photo")
	b.follows(space, a)
	agree(t, space, prefix.All(), a, b)
	b.follows(space, nil, "posts")
	n.quiet()
	a.stop()
	return b, c, space
}

// TestFollowingMoreFindsWhatWasLeftOut, even if its source doesn't keep it, and
// more is followed while the two aren't in touch.
func TestFollowingMoreFindsWhatWasLeftOut(t *testing.T) {
	for name, apart := range map[string]bool{"in touch": false, "apart": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *net) {
				b, c, space := parting(t, n)
				c.follows(space, b, "posts")
				c.comes(space, "posts/1", "post")
				b.put("own", "so that the cursor moves")
				time.Sleep(10 * time.Second)
				if apart {
					b.stop()
				}
				c.follows(space, nil, "photos", "posts")
				if apart {
					time.Sleep(time.Second)
					b.start()
				}
				c.comes(space, "photos/1", "photo")
			})
		})
	}
}

// TestWhatIsUnderWayIsNotClaimed: the connection breaks after both sides found
// that they keep the same, and before the rest got through. Neither says
// meanwhile that all is there, and the next session goes on with it.
func TestWhatIsUnderWayIsNotClaimed(t *testing.T) {
	eitherWay(t, func(t *testing.T, n *net) {
		b, c, space := parting(t, n)
		c.follows(space, b, "posts")
		c.comes(space, "posts/1", "post")
		c.stop()
		c.start()
		var held atomic.Int32
		n.listen(func(from, _ replicate.Host, msg []byte) [][]byte {
			_, f, err := wire.DecodeFrame(slices.Clone(msg))
			if o, ok := f.(*wire.Ops); err == nil && ok && from == b.host && len(o.Runs) > 0 && o.Up == 0 && held.Add(1) == 1 {
				time.Sleep(10 * time.Second)
				return nil
			}
			return [][]byte{msg}
		})
		c.follows(space, nil)
		time.Sleep(5 * time.Second)
		if held.Load() == 0 {
			t.Fatal("nothing of the rest was sent")
		}
		if saved, err := b.r.Saved(space); saved != 0 || err != nil {
			t.Errorf("%d peers are said to hold what is still under way (%v)", saved, err)
		}
		c.restart()
		c.comes(space, "photos/1", "photo")
		time.Sleep(5 * time.Second)
		if saved, err := b.r.Saved(space); saved != 1 || err != nil {
			t.Errorf("%d peers are said to hold what is there (%v)", saved, err)
		}
	})
}
