package tree_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// leaves are changes of n paths in one directory, with one live op each.
func leaves(dir string, n int) []tree.Change {
	names := make([]wire.OpRef, n)
	changes := make([]tree.Change, n)
	for i := range changes {
		binary.BigEndian.PutUint64(names[i].Commit[:], uint64(i+1)*0x9e3779b97f4a7c15)
		path := sennit.Path(fmt.Sprintf("%s/%012d", dir, i))
		changes[i] = tree.Change{Path: path, Names: names[i : i+1]}
	}
	return changes
}

func filled(b *testing.B, changes []tree.Change) *memory {
	store := newMemory()
	if err := tree.Update(store, changes); err != nil {
		b.Fatal(err)
	}
	return store
}

func BenchmarkUpdateFresh100k(b *testing.B) {
	inOrder := leaves("posts", 100_000)
	shuffled := make([]tree.Change, len(inOrder))
	for i, j := range rand.Perm(len(inOrder)) {
		shuffled[i] = inOrder[j]
	}
	for i, changes := range [][]tree.Change{inOrder, shuffled} {
		b.Run([]string{"sorted", "shuffled"}[i], func(b *testing.B) {
			b.ReportAllocs()
			var store *memory
			for b.Loop() {
				store = filled(b, changes)
			}
			b.ReportMetric(float64(store.written)/float64(len(changes)), "written-B/leaf")
			b.ReportMetric(float64(store.writes)/float64(len(changes)), "nodes/leaf")
		})
	}
}

func BenchmarkUpdateOneMillion(b *testing.B) {
	const n = 1_000_000
	changes := leaves("posts", n)
	store := filled(b, changes)
	for _, count := range []int{1, 1000} {
		b.Run(fmt.Sprintf("change%d", count), func(b *testing.B) {
			b.ReportAllocs()
			store.reads, store.writes, store.read, store.written = 0, 0, 0, 0
			some := make([]tree.Change, count)
			for b.Loop() {
				at := rand.IntN(n)
				for i := range some {
					some[i] = changes[(at+i*7919)%n]
					some[i].Names = []wire.OpRef{{Commit: sennit.Hash{1}, Index: rand.Uint32N(4096)}}
				}
				if err := tree.Update(store, some); err != nil {
					b.Fatal(err)
				}
			}
			per := func(n int, unit string) { b.ReportMetric(float64(n)/float64(b.N)/float64(count), unit+"/change") }
			per(store.reads, "reads")
			per(store.writes, "writes")
			per(store.read, "read-B")
			per(store.written, "written-B")
		})
	}
	b.Run("find", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok, err := tree.Find(store, changes[rand.IntN(n)].Path); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("findDirectory", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok, err := tree.Find(store, "posts"); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	log := sennit.Hash{1}
	now := tree.Slots{
		tree.Put: {Clock: 5, Log: log, Seq: 5}, tree.Del: {Clock: 4, Log: log, Seq: 4}, tree.Deep: {Clock: 3, Log: log, Seq: 3},
	}
	cover, at := tree.Stamp{Clock: 2, Log: log, Seq: 2}, tree.Stamp{Clock: 6, Log: log, Seq: 6}
	b.ReportAllocs()
	for b.Loop() {
		if tree.Decide(tree.Put, at, &now, cover).Fate != tree.Live {
			b.Fatal("dead")
		}
	}
}
