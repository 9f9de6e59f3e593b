package replicate_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
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
