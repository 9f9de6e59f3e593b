package files_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/sennit/sennit/bustest"
	"github.com/sennit/sennit/internal/files"
)

const (
	benchFiles = 10_000
	benchSize  = 4 << 10
)

// corpus writes the files of the benchmarks.
func corpus(b *testing.B) string {
	dir := b.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, benchSize)
	for i := range benchFiles {
		for j := range data {
			data[j] = byte(rng.Uint32())
		}
		write(b, dir, fmt.Sprintf("d%02d/e%02d/f%d", i%10, i/10%10, i), data, 0o644)
	}
	return dir
}

func BenchmarkImport(b *testing.B) {
	dir := corpus(b)
	b.SetBytes(benchFiles * benchSize)
	for b.Loop() {
		r, err := files.Import(b.Context(), files.Options{Bus: bustest.Memory(), Dir: dir, At: at("p")})
		if err != nil || r.Files != benchFiles {
			b.Fatal(r, err)
		}
	}
}

// BenchmarkImportAgain imports what is there already.
func BenchmarkImportAgain(b *testing.B) {
	o := files.Options{Bus: bustest.Memory(), Dir: corpus(b), At: at("p")}
	if _, err := files.Import(b.Context(), o); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(benchFiles * benchSize)
	for b.Loop() {
		r, err := files.Import(b.Context(), o)
		if err != nil || r.Unchanged != benchFiles {
			b.Fatal(r, err)
		}
	}
}

func BenchmarkExport(b *testing.B) {
	o := files.Options{Bus: bustest.Memory(), Dir: corpus(b), At: at("p")}
	if _, err := files.Import(b.Context(), o); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(benchFiles * benchSize)
	for b.Loop() {
		o.Dir = b.TempDir()
		r, err := files.Export(b.Context(), o)
		if err != nil || r.Files != benchFiles {
			b.Fatal(r, err)
		}
		b.StopTimer()
		if err := os.RemoveAll(o.Dir); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkSyncIdle looks at what has not changed.
func BenchmarkSyncIdle(b *testing.B) {
	o := files.SyncOptions{Bus: bustest.Memory(), Dir: corpus(b), At: at("p"), Once: true}
	for b.Loop() {
		if _, err := files.Sync(b.Context(), o); err != nil {
			b.Fatal(err)
		}
	}
}
