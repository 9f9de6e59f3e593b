package blob_test

import (
	"math/rand/v2"
	"testing"

	"github.com/sennit/sennit/internal/blob"
)

const benchSize = 256 << 20

// BenchmarkWrite writes 256 MiB and syncs them.
func BenchmarkWrite(b *testing.B) {
	s := open(b, blob.Config{Dir: b.TempDir()})
	chunk := make([]byte, 128<<10)
	rand.NewChaCha8([32]byte{}).Read(chunk)
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		w := s.Create()
		for range benchSize / len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				b.Fatal(err)
			}
		}
		v, err := w.Finish(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Remove(b.Context(), *v.Blob); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRead reads 256 MiB that the system has in memory.
func BenchmarkRead(b *testing.B) {
	s := open(b, blob.Config{Dir: b.TempDir()})
	ref := write(b, s, noise(1, benchSize))
	r, err := s.Open(b.Context(), ref)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	buf := make([]byte, 128<<10)
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		for off := int64(0); off < benchSize; off += int64(len(buf)) {
			if _, err := r.ReadAt(b.Context(), buf, off); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkAcross takes 256 MiB from one store to another in slices of 1 MiB.
func BenchmarkAcross(b *testing.B) {
	from, to := open(b, blob.Config{Dir: b.TempDir()}), open(b, blob.Config{Dir: b.TempDir()})
	ref := write(b, from, noise(1, benchSize))
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		r, err := from.Open(b.Context(), ref)
		if err != nil {
			b.Fatal(err)
		}
		f, err := to.Begin(b.Context(), ref)
		if err != nil {
			b.Fatal(err)
		}
		var slice []byte
		for _, gap := range f.Missing(0, 1) {
			for i := gap.First; i < gap.End; i += blob.MaxSlice {
				n := int(min(blob.MaxSlice, gap.End-i))
				if slice, err = r.Slice(slice[:0], i, n); err != nil {
					b.Fatal(err)
				}
				if err := f.Put(b.Context(), i, n, slice); err != nil {
					b.Fatal(err)
				}
			}
		}
		if !f.Done() {
			b.Fatal("not all came across")
		}
		for _, err := range []error{r.Close(), f.Close(), to.Remove(b.Context(), ref)} {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
