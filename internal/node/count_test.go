package node_test

import (
	"context"
	"fmt"
	"math"
	"math/big"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/wire"
)

// TestCountersCountWhatIsAdded holds counters against plain sums: writes of
// one or several changes, in any mix with values and deletions.
func TestCountersCountWhatIsAdded(t *testing.T) {
	paths := []sennit.Path{"a", "a/b", "a/b/c", "d"}
	rapid.Check(t, func(rt *rapid.T) {
		m := boot(rt, &machine{id: newIdentity(t, "owner"), fs: vfs.NewMem()})
		defer func() { m.stop() }()
		type state struct {
			sum     int64
			counted bool
			set     string // the value, if it is newer
		}
		want := map[sennit.Path]*state{}
		for range rapid.IntRange(1, 12).Draw(rt, "writes") {
			var changes []sennit.Change
			for i := range rapid.IntRange(1, 5).Draw(rt, "changes") {
				p := rapid.SampledFrom(paths).Draw(rt, "path")
				at := want[p]
				if at == nil {
					at = new(state)
				}
				switch what := rapid.IntRange(0, 9).Draw(rt, "what"); what {
				case 0, 1:
					deep := what == 0
					changes = append(changes, sennit.Change{Kind: sennit.KindDel, Path: p, Deep: deep})
					for q := range want {
						if q == p || deep && q.Under(p) {
							delete(want, q)
						}
					}
					continue
				case 2, 3:
					v := fmt.Sprint("value ", i)
					changes = append(changes, sennit.Change{Kind: sennit.KindPut, Path: p, Value: sennit.Value{Data: []byte(v)}})
					at.set = v
				default:
					n := rapid.Int64Range(-100, 100).Draw(rt, "delta")
					changes = append(changes, sennit.Change{Kind: sennit.KindAdd, Path: p, Delta: n})
					at.sum, at.counted, at.set = at.sum+n, true, ""
				}
				want[p] = at
			}
			if _, err := m.Bus(m.Owner()).Write(t.Context(), "me", changes); err != nil {
				rt.Fatal(err)
			}
			if rapid.IntRange(0, 5).Draw(rt, "restart") == 0 {
				if err := m.stop(); err != nil {
					rt.Fatal(err)
				}
				boot(rt, m)
			}
		}
		for _, p := range paths {
			got, err := m.Bus(m.Owner()).Get(t.Context(), sennit.Addr{Root: "me", Path: p})
			switch at := want[p]; {
			case at == nil:
				if sennit.CodeOf(err) != sennit.NotFound {
					rt.Errorf("/%s is %q, %v; want nothing", p, got.Value.Data, err)
				}
			case at.set != "":
				if string(got.Value.Data) != at.set || err != nil {
					rt.Errorf("/%s is %q, %v; want %q", p, got.Value.Data, err, at.set)
				}
			default:
				if string(got.Value.Data) != fmt.Sprint(at.sum) || got.Value.Type != "application/json" || err != nil {
					rt.Errorf("/%s is %q (%s), %v; want %d", p, got.Value.Data, got.Value.Type, err, at.sum)
				}
			}
		}
	})
}

// TestManyCountAtOnce: no step is lost, whoever shares a commit.
func TestManyCountAtOnce(t *testing.T) {
	m := boot(t, &machine{id: newIdentity(t, "owner"), fs: vfs.NewMem()})
	defer m.stop()
	var all sync.WaitGroup
	const writers, steps = 16, 50
	for range writers {
		all.Go(func() {
			for range steps {
				if _, err := m.Bus(m.Owner()).Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindAdd, Path: "n", Delta: 3}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	got, err := m.Bus(m.Owner()).Get(t.Context(), sennit.Addr{Root: "me", Path: "n"})
	if string(got.Value.Data) != fmt.Sprint(3*writers*steps) || err != nil {
		t.Errorf("%q, %v", got.Value.Data, err)
	}
	d, err := m.Bus(m.Owner()).Digest(t.Context(), sennit.Addr{Root: "me"})
	if err != nil || d.Ops != 1 {
		t.Errorf("%d live ops, %v; want the newest total alone", d.Ops, err)
	}
}

// TestCountersHaveBounds: beyond, nothing of a write is done.
func TestCountersHaveBounds(t *testing.T) {
	m := boot(t, &machine{id: newIdentity(t, "owner"), fs: vfs.NewMem()})
	defer m.stop()
	add := func(n int64, more ...sennit.Change) error {
		_, err := m.Bus(m.Owner()).Write(t.Context(), "me", append([]sennit.Change{{Kind: sennit.KindAdd, Path: "n", Delta: n}}, more...))
		return err
	}
	if err := add(math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	other := sennit.Change{Kind: sennit.KindPut, Path: "other"}
	if err := add(1, other); sennit.CodeOf(err) != sennit.BadInput {
		t.Errorf("beyond 64 bits: %v", err)
	}
	if _, err := m.Bus(m.Owner()).Get(t.Context(), sennit.Addr{Root: "me", Path: "other"}); sennit.CodeOf(err) != sennit.NotFound {
		t.Errorf("a part of a write that failed was done: %v", err)
	}
}

// TestTheSumOfTotalsIsExact: it may need more than the 64 bits of a total.
func TestTheSumOfTotalsIsExact(t *testing.T) {
	for _, name := range []string{"owner", "left", "right"} {
		newIdentity(t, name)
	}
	if err := inBubble(t, func(f failer) {
		s := newScene(f, t, newChoices(1, 60))
		defer s.close()
		m := s.nodes[0]
		s.admit(m)
		want := new(big.Int)
		for i, total := range []int64{math.MaxInt64, math.MaxInt64, -5, math.MaxInt64} {
			l := newLog(s.space, s.space, s.spare, wire.Data, byte(i+1))
			l.write(f, uint64(s.base.UnixMilli())<<16, s.heads[:1], addOp("n", 0, total))
			if err := m.deliver(l.rec, l.whole(f)); err != nil {
				f.Fatalf("deliver: %v", err)
			}
			want.Add(want, big.NewInt(total))
			got, err := m.Bus(m.Owner()).Get(context.Background(), sennit.Addr{Root: "me", Path: "n"})
			if string(got.Value.Data) != want.String() || err != nil {
				f.Fatalf("after %d totals: %q, %v; want %v", i+1, got.Value.Data, err, want)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
}
