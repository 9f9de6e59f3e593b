package replicate_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
)

// TestTheNewestComeFirst: a newcomer gets the newest values that show in the part
// that it takes, and then all.
func TestTheNewestComeFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		space := a.n.Self().Space
		a.lets(sennit.Read, "", b)
		for i := range 300 {
			var changes []sennit.Change
			for j := range 10 {
				changes = append(changes, put(sennit.Path(fmt.Sprintf("posts/%d", 10*i+j)), "post"), put(sennit.Path(fmt.Sprintf("photos/%d", 10*i+j)), "photo"))
			}
			a.write("me", changes...)
		}
		a.write("me", sennit.Change{Kind: sennit.KindDel, Path: "posts/2999"}, put("posts/2998", "changed"))
		var first atomic.Pointer[wire.Ops]
		n.listen(func(from, _ replicate.Host, msg []byte) [][]byte {
			if _, f, err := wire.DecodeFrame(slices.Clone(msg)); err == nil {
				if o, ok := f.(*wire.Ops); ok && from == a.host && len(o.Runs) > 0 {
					first.CompareAndSwap(nil, o)
				}
			}
			return [][]byte{msg}
		})
		if err := b.n.EditFollow(t.Context(), space, func(f *node.Follow) {
			f.Mode, f.Prefixes, f.Newest, f.Hosts = node.Live, prefix.Of("posts"), 50, []node.Host{a.at()}
		}); err != nil {
			t.Fatal(err)
		}
		agree(t, space, prefix.Set{"posts"}, a, b)
		got := map[sennit.Path]bool{}
		for _, run := range first.Load().Runs {
			for _, it := range run.Items {
				for _, part := range it.Parts {
					for i := range part.Ops {
						got[part.Ops[i].Path] = true
					}
				}
			}
		}
		if len(got) != 50 {
			t.Errorf("%d values came first", len(got))
		}
		for i := range 50 {
			if p := sennit.Path(fmt.Sprintf("posts/%d", 2998-i)); !got[p] {
				t.Errorf("%s is not among those that came first", p)
			}
		}
	})
}

// TestThereAreFewerThanTheNewest that were asked for: all come, also none.
func TestThereAreFewerThanTheNewest(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		space := a.n.Self().Space
		a.lets(sennit.Read, "", b)
		if err := b.n.EditFollow(t.Context(), space, func(f *node.Follow) {
			f.Mode, f.Newest, f.Hosts = node.Live, wire.MaxNewest, []node.Host{a.at()}
		}); err != nil {
			t.Fatal(err)
		}
		agree(t, space, prefix.All(), a, b)
		b.stop()
		c := n.peer(t, "c")
		a.lets(sennit.Read, "", c)
		a.put("posts/1", "post")
		if err := c.n.EditFollow(t.Context(), space, func(f *node.Follow) {
			f.Mode, f.Newest, f.Hosts = node.Live, wire.MaxNewest, []node.Host{a.at()}
		}); err != nil {
			t.Fatal(err)
		}
		c.comes(space, "posts/1", "post")
		agree(t, space, prefix.All(), a, c)
	})
}

// BenchmarkNewestFirst is a first sync of 100,000 values of which 50 come first.
func BenchmarkNewestFirst(b *testing.B) {
	for _, newest := range []int{0, 50} {
		b.Run(fmt.Sprintf("newest=%d", newest), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				n := newNet()
				x, y := n.peer(b, "a"), n.peer(b, "b")
				x.lets(sennit.Read, "", y)
				x.fill(100_000, 1000)
				b.StartTimer()
				if err := y.n.EditFollow(b.Context(), x.n.Self().Space, func(f *node.Follow) {
					f.Mode, f.Newest, f.Hosts = node.Live, newest, []node.Host{x.at()}
				}); err != nil {
					b.Fatal(err)
				}
				same(b, x.n.Self().Space, x, y)
			}
		})
	}
}
