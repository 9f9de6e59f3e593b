package node_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/wire"
)

// values is n puts of 150 bytes from number first on.
func values(first, n int) []sennit.Change {
	changes := make([]sennit.Change, n)
	for i := range changes {
		changes[i] = sennit.Change{Kind: sennit.KindPut, Path: sennit.Path(fmt.Sprintf("data/%07d", first+i)), Value: sennit.Value{Data: make([]byte, 150)}}
	}
	return changes
}

// BenchmarkPut is one durable value per write, by so many writers at once, on a
// real disk. B/op and allocs/op are of the whole way of one value.
func BenchmarkPut(b *testing.B) {
	for _, writers := range []int{1, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			m := boot(b, &machine{id: newIdentity(b, "owner"), fs: vfs.Default, dir: b.TempDir()})
			defer m.stop()
			bus := m.Bus(m.Owner())
			work := make(chan int, writers)
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for i := range work {
						if _, err := bus.Write(context.Background(), "me", values(i, 1)); err != nil {
							b.Error(err)
						}
					}
				})
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				work <- i
				i++
			}
			close(work)
			wg.Wait()
			b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "puts/s")
		})
	}
}

// BenchmarkGet reads one value of 100,000, on a real disk.
func BenchmarkGet(b *testing.B) {
	m := boot(b, &machine{id: newIdentity(b, "owner"), fs: vfs.Default, dir: b.TempDir()})
	defer m.stop()
	bus := m.Bus(m.Owner())
	const count = 100_000
	for i := 0; i < count; i += 1000 {
		if _, err := bus.Write(context.Background(), "me", values(i, 1000)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bus.Get(context.Background(), sennit.Addr{Root: "me", Path: sennit.Path(fmt.Sprintf("data/%07d", rand.IntN(count)))}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPutInDirectory is one durable value more in a directory of so many,
// and the digests after it. It is to cost the same in each.
func BenchmarkPutInDirectory(b *testing.B) {
	for _, size := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("values=%d", size), func(b *testing.B) {
			m := boot(b, &machine{id: newIdentity(b, "owner"), fs: vfs.Default, dir: b.TempDir()})
			defer m.stop()
			bus := m.Bus(m.Owner())
			write := func(first, n int) {
				if _, err := bus.Write(context.Background(), "me", values(first, n)); err != nil {
					b.Fatal(err)
				}
			}
			digest := func() {
				if _, err := bus.Digest(context.Background(), sennit.Addr{Root: "me", Path: "data"}); err != nil {
					b.Fatal(err)
				}
			}
			for i := 0; i < size; i += 1000 {
				write(i, 1000)
			}
			digest()
			var digests time.Duration
			i := size
			for b.Loop() {
				write(i, 1)
				b.StopTimer()
				begun := time.Now()
				digest()
				digests += time.Since(begun)
				b.StartTimer()
				i++
			}
			b.ReportMetric(float64(digests.Microseconds())/float64(i-size), "us-digest")
		})
	}
}

// BenchmarkDigest is bringing the digests up to date with 100,000 new values.
func BenchmarkDigest(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		m := boot(b, &machine{id: newIdentity(b, "owner"), fs: vfs.NewMem()})
		bus := m.Bus(m.Owner())
		for i := 0; i < 100_000; i += 1000 {
			if _, err := bus.Write(b.Context(), "me", values(i, 1000)); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		if _, err := bus.Digest(b.Context(), sennit.Addr{Root: "me"}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		m.stop()
		b.StartTimer()
	}
}

// BenchmarkRevoke is taking somebody's rights back who wrote 100,000 values, so
// that they stay, and so that they go.
func BenchmarkRevoke(b *testing.B) {
	for _, void := range []bool{false, true} {
		b.Run(fmt.Sprintf("void=%v", void), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				m := boot(b, &machine{id: newIdentity(b, "owner"), fs: vfs.NewMem()})
				space, ana := m.Self().Space, newPerson("ana")
				ana.add(secret("ana 1"))
				who := wire.Who{Subject: wire.SubjectSpace, Key: ana.space()}
				if _, err := m.Allow(context.Background(), m.Owner(), space, []wire.Grant{{Who: who, May: sennit.Write}}); err != nil {
					b.Fatal(err)
				}
				in := m.Intake()
				if err := in.Evidence(context.Background(), space, ana.evidence()); err != nil {
					b.Fatal(err)
				}
				if _, err := in.Wait(context.Background()); err != nil {
					b.Fatal(err)
				}
				l := newLog(space, ana.space(), secret("ana 1"), wire.Data, 1)
				heads := m.Authority(space).Heads()
				for i := range 1000 {
					var ops []wire.Op
					for j := range 100 {
						ops = append(ops, putOp(fmt.Sprintf("data/%d/%d", j, i), "value"))
					}
					l.write(b, uint64(time.Now().UnixMilli())<<16+uint64(i), heads, ops...)
				}
				if err := m.deliver(l.rec, l.whole(b)); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if _, err := m.Revoke(context.Background(), m.Owner(), space, []node.Revocation{{Who: who, Void: void}}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				d, err := m.Bus(m.Owner()).Digest(context.Background(), sennit.Addr{Root: "me"})
				if want := map[bool]uint64{false: 100_000, true: 0}[void]; err != nil || d.Ops != want {
					b.Fatalf("%d values are left, not %d (%v)", d.Ops, want, err)
				}
				if err := m.stop(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
