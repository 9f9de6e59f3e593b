package replicate_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
)

// keeps has a peer keep all of a space, its own or another that it gets through a
// host.
func (p *peer) keeps(space sennit.Space, via *peer, parts ...sennit.Path) {
	p.t.Helper()
	if err := p.n.EditFollow(context.Background(), space, func(f *node.Follow) {
		if f.Mode, f.Prefixes = node.Full, parts; via != nil {
			f.Hosts = []node.Host{via.at()}
		}
	}); err != nil {
		p.t.Fatal(err)
	}
}

// history is how many changes of a value a peer holds.
func (p *peer) history(space sennit.Space, path sennit.Path) int {
	p.t.Helper()
	list, err := p.n.History(context.Background(), sennit.Addr{Root: space.String(), Path: path}, 1<<20)
	if err != nil && sennit.CodeOf(err) != sennit.NotFound {
		p.t.Fatal(err)
	}
	return len(list)
}

// until waits until something holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for begun := time.Now(); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Since(begun) > 2*time.Minute {
			t.Fatalf("it never came that %s", what)
		}
	}
}

// TestAFullFollowerHasAllThatEverWas: one who was there keeps what others
// collect, and one who comes late gets it from them, so that each version can
// still be read.
func TestAFullFollowerHasAllThatEverWas(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		const times = 300
		a, b, c := n.peer(t, "a"), n.peer(t, "b"), n.peer(t, "c")
		space := a.n.Self().Space
		a.lets(sennit.Read, "", b, c)
		b.keeps(space, a)
		var versions []sennit.Version
		for i := range times {
			v, err := a.bus().Write(t.Context(), "me", []sennit.Change{put("hot", fmt.Sprint(i)), put(sennit.Path(fmt.Sprint("cold/", i)), "x")})
			if err != nil {
				t.Fatal(err)
			}
			versions = append(versions, v)
			if i%50 == 0 {
				a.write("me", sennit.Change{Kind: sennit.KindDel, Path: "cold", Deep: true})
				agree(t, space, []sennit.Path{""}, a, b)
			}
		}
		agree(t, space, []sennit.Path{""}, a, b)
		collected, err := a.n.Collect(t.Context(), space, nil)
		if err != nil || collected.Dropped == 0 {
			t.Fatalf("collected %+v, %v", collected, err)
		}
		if kept, err := b.n.Collect(t.Context(), space, nil); err != nil || kept.Dropped > 0 {
			t.Errorf("who keeps all collected %+v, %v", kept, err)
		}
		if got := b.history(space, "hot"); got != times {
			t.Errorf("who was there holds %d versions of %d", got, times)
		}
		if got := a.history(space, "hot"); got >= times {
			t.Errorf("who collected holds %d versions", got)
		}
		// Who comes late and live gets what shows. Turned full it gets the rest.
		c.follows(space, a)
		agree(t, space, []sennit.Path{""}, a, c)
		c.keeps(space, b)
		until(t, "the late one holds all", func() bool { return c.history(space, "hot") == times })
		for i, v := range versions {
			node, content, err := c.bus().At(t.Context(), sennit.Addr{Root: space.String(), Path: "hot"}, v)
			if err != nil || string(node.Value.Data) != fmt.Sprint(i) {
				t.Fatalf("at %s it is %q, %v", v, node.Value.Data, err)
			}
			content.Close()
		}
		// With nothing missing, asking costs little and ends.
		time.Sleep(10 * time.Minute)
		before := n.bytes.Load()
		time.Sleep(time.Minute)
		if cost := n.bytes.Load() - before; cost > 10_000 {
			t.Errorf("an idle minute costs %d bytes", cost)
		}
		found, err := c.n.Verify(t.Context(), func(uint64, uint64) {})
		if err != nil || len(found) > 0 {
			t.Errorf("verify: %q, %v", found, err)
		}
	})
}

// TestThePastOfAPartIsThatPart: who keeps all of what they may read and take gets
// nothing else, neither ops nor word of them.
func TestThePastOfAPartIsThatPart(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		const times = 100
		a, b := n.peer(t, "a"), n.peer(t, "b")
		space := a.n.Self().Space
		a.lets(sennit.Read, "posts", b)
		a.lets(sennit.Read, "notes", b)
		var h heard
		h.from(n, a.host)
		for i := range times {
			a.write("me", put("posts/hot", fmt.Sprint(i)), put("notes/hot", canary), put("secret", canary))
			a.write("me", put("secret", canary))
		}
		b.follows(space, a, "posts")
		agree(t, space, []sennit.Path{"posts"}, a, b)
		b.restart()
		agree(t, space, []sennit.Path{"posts"}, a, b)
		b.keeps(space, a, "posts")
		until(t, "all of the part is there", func() bool { return b.history(space, "posts/hot") == times })
		time.Sleep(time.Minute)
		if found := h.canaries(); len(found) > 0 {
			t.Errorf("what isn't for the follower is in %v", found)
		}
		for _, o := range b.ops(space) {
			if !o.path.Under("posts") {
				t.Errorf("%q came", o.path)
			}
		}
		// More of the past comes when more is kept.
		b.keeps(space, nil, "posts", "notes")
		until(t, "all of the other part is there", func() bool { return b.history(space, "notes/hot") == times })
	})
}

// TestThePastCostsWhatDiffers: of two who hold the same long past nobody tells
// more than a print; of one who lacks a few ops of it, what leads to these.
func TestThePastCostsWhatDiffers(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		const times = 1000
		a, b, c := n.peer(t, "a"), n.peer(t, "b"), n.peer(t, "c")
		space := a.n.Self().Space
		a.lets(sennit.Read, "", b, c)
		a.keeps(space, nil)
		b.keeps(space, a)
		c.follows(space, a)
		for i := range times {
			a.write("me", put("hot", fmt.Sprint(i)))
		}
		agree(t, space, []sennit.Path{""}, a, b, c)
		var asked atomic.Int64
		tap := func(from, to replicate.Host, msg []byte) [][]byte {
			if kind := wire.FrameType(msg[0]); kind == wire.FramePast || kind == wire.FrameHeld {
				asked.Add(int64(len(msg)))
			}
			return [][]byte{msg}
		}
		n.tap.Store(&tap)
		b.restart()
		agree(t, space, []sennit.Path{""}, a, b)
		time.Sleep(time.Minute)
		if cost := asked.Swap(0); cost == 0 || cost > 500 {
			t.Errorf("learning that nothing is missing took %d bytes", cost)
		}
		// The third collects, and has all again soon after it keeps it.
		if _, err := c.n.Collect(t.Context(), space, nil); err != nil {
			t.Fatal(err)
		}
		lost := times - c.history(space, "hot")
		if lost == 0 {
			t.Fatal("nothing was collected")
		}
		c.keeps(space, nil)
		until(t, "the third has all", func() bool { return c.history(space, "hot") == times })
		if cost := asked.Load(); cost > int64(lost)*120+20_000 {
			t.Errorf("finding %d commits took %d bytes", lost, cost)
		}
	})
}

// dials is how often one of two peers dialled the other.
func (n *net) dials(a, b *peer) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dialled[[2]replicate.Host{a.host, b.host}] + n.dialled[[2]replicate.Host{b.host, a.host}]
}

// TestLiesAboutThePastEndTheSession: an answer to no question, and one that
// answers another, aren't worked on.
func TestLiesAboutThePastEndTheSession(t *testing.T) {
	for name, lie := range map[string]func(h *wire.Held){
		"another stretch": func(h *wire.Held) {
			if len(h.Stretches) > 0 {
				h.Stretches[0].Stretch = wire.Stretch{Log: h.Stretches[0].Log, Level: 9, Index: 1}
				h.Stretches[0].Commits, h.Stretches[0].Parts = nil, nil
			}
		},
		"nothing":       func(h *wire.Held) { h.Stretches = nil; h.Logs = nil; h.More = true },
		"the same logs": func(h *wire.Held) { h.More = true },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *net) {
				a, b := n.peer(t, "a"), n.peer(t, "b")
				space := a.n.Self().Space
				a.lets(sennit.Read, "", b)
				for i := range 100 {
					a.write("me", put("hot", fmt.Sprint(i)))
				}
				a.keeps(space, nil)
				b.follows(space, a)
				agree(t, space, []sennit.Path{""}, a, b)
				if _, err := b.n.Collect(t.Context(), space, nil); err != nil {
					t.Fatal(err)
				}
				var lied, answers atomic.Int32
				tap := func(from, to replicate.Host, msg []byte) [][]byte {
					if from != a.host || wire.FrameType(msg[0]) != wire.FrameHeld {
						return [][]byte{msg}
					}
					number, f, err := wire.DecodeFrame(msg)
					if err != nil {
						t.Error(err)
						return [][]byte{msg}
					}
					answers.Add(1)
					was := string(msg)
					lie(f.(*wire.Held))
					msg = wire.AppendFrame(nil, number, f)
					if string(msg) != was {
						lied.Add(1)
					}
					return [][]byte{msg}
				}
				n.tap.Store(&tap)
				dialled := n.dials(a, b)
				b.keeps(space, a)
				time.Sleep(5 * time.Minute)
				if lied.Load() == 0 || n.dials(a, b) == dialled {
					t.Errorf("%d of %d answers were lies, and no session ended", lied.Load(), answers.Load())
				}
			})
		})
	}
}
