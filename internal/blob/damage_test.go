package blob_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/blob"
)

// flip damages the file of a blob on disk.
func flip(t testing.TB, fs *vfs.MemFS, ref sennit.Blob, at int) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, ref.Root.String()) && !strings.HasSuffix(name, ".have") {
			b, err := fs.UnsafeGetFileDataBuffer(fs.PathJoin(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			b[at] ^= 4
			return
		}
	}
	t.Fatal("no file to damage")
}

func TestDamageIsFoundAndNeverServed(t *testing.T) {
	const p, stride = blob.Piece, blob.Piece + 64
	data := noise(1, 4*p+100)
	ref := named(data)
	for name, c := range map[string]struct {
		at   int
		hurt []int // pieces that can't be read
		says string
	}{
		"first byte of a piece":        {0, []int{0}, "piece 0 of 5"},
		"last byte of a piece":         {2*stride + p - 1, []int{2}, "piece 2 of 5"},
		"last piece":                   {4*stride + 99, []int{4}, "piece 4 of 5"},
		"node over two":                {stride - 1, []int{0, 1}, "pieces 0 to 1"},
		"node over four":               {2*stride - 64, []int{0, 1, 2, 3}, "pieces 0 to 3"},
		"node over all, its left half": {4*stride - 64, []int{0, 1, 2, 3, 4}, "pieces 0 to 4"},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := open(t, blob.Config{Dir: dir, FS: fs})
			write(t, s, data)
			flip(t, fs, ref, c.at)
			r := read(t, s, ref)
			for i := range 5 {
				want := data[i*p : min(i*p+p, len(data))]
				buf := make([]byte, len(want))
				for _, skip := range []int{0, 1} { // straight into buf, and by way of the reader's buffer
					clear(buf)
					n, err := r.ReadAt(t.Context(), buf[skip:], int64(i*p+skip))
					if !slices.Contains(c.hurt, i) {
						if err != nil || !bytes.Equal(buf[skip:], want[skip:]) {
							t.Errorf("piece %d, which is fine: %v", i, err)
						}
						continue
					}
					mustFail(t, err, sennit.Internal, ref.Root.String(), c.says)
					if !strings.Contains(sennit.HintOf(err), "sennit doctor --verify") {
						t.Errorf("the hint is %q", sennit.HintOf(err))
					}
					if n != 0 || !bytes.Equal(buf, make([]byte, len(buf))) {
						t.Errorf("damaged piece %d was handed out", i)
					}
				}
				_, err := r.Slice(nil, uint64(i), 1)
				if (err != nil) != slices.Contains(c.hurt, i) {
					t.Errorf("slice of piece %d: %v", i, err)
				}
			}
			mustFail(t, s.Verify(t.Context(), ref), sennit.Internal, ref.Root.String(), c.says)
		})
	}
}

func TestADamagedPieceDoesNotSpoilTheOneBefore(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, blob.Config{Dir: dir, FS: fs})
	data := noise(1, 3*blob.Piece)
	ref := write(t, s, data)
	flip(t, fs, ref, blob.Piece+64)
	r := read(t, s, ref)
	got := make([]byte, 10)
	for range 2 {
		if _, err := r.ReadAt(t.Context(), got, 5); err != nil || !bytes.Equal(got, data[5:15]) {
			t.Fatalf("a piece that is fine: %v", err)
		}
		_, err := r.ReadAt(t.Context(), got, blob.Piece+5)
		mustFail(t, err, sennit.Internal, "piece 1 of 3")
	}
}

func TestATruncatedFileIsDamagedAndCanBeReplaced(t *testing.T) {
	data := noise(1, 200_000)
	ref := named(data)
	for name, restore := range map[string]func(t *testing.T, s *blob.Store){
		"written": func(t *testing.T, s *blob.Store) { write(t, s, data) },
		"fetched": func(t *testing.T, s *blob.Store) { fetchAll(t, s, begin(t, s, ref), sourceOf(t, data)) },
		"removed": func(t *testing.T, s *blob.Store) {
			if err := s.Remove(t.Context(), ref); err != nil {
				t.Fatal(err)
			}
			write(t, s, data)
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := open(t, blob.Config{Dir: dir, FS: fs})
			write(t, s, data)
			path := fs.PathJoin(dir, ref.Root.String()+"-200000")
			f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(slices.Clone(data[:1000])); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			_, err = s.Open(t.Context(), ref)
			mustFail(t, err, sennit.Internal, "damaged", ref.Root.String())
			if ok, err := s.Has(t.Context(), ref); ok || err != nil {
				t.Errorf("it counts as whole: %v", err)
			}
			restore(t, s)
			mustHold(t, s, data)
			if s.Usage() != 200_000+3*64 {
				t.Errorf("%d bytes are used", s.Usage())
			}
		})
	}
}
