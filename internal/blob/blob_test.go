package blob_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"lukechampine.com/blake3"
	"pgregory.net/rapid"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/blob"
)

const dir = "/srv/blobs"

// noise is n bytes that depend on the seed.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // it never fails
	return b
}

// pattern is n bytes of what BLAKE3's official test vectors hash.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

// named is the name of a blob, from the reference.
func named(data []byte) sennit.Blob {
	return sennit.Blob{Root: blake3.Sum256(data), Size: uint64(len(data))}
}

func open(t testing.TB, c blob.Config) *blob.Store {
	t.Helper()
	s, err := blob.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func inMemory(t testing.TB) *blob.Store {
	t.Helper()
	return open(t, blob.Config{Dir: dir, FS: vfs.NewMem()})
}

// write writes a blob, in parts of a size that fits nothing.
func write(t testing.TB, s *blob.Store, data []byte) sennit.Blob {
	t.Helper()
	w := s.Create()
	for part := range slices.Chunk(data, 50_021) {
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	v, err := w.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if v.Blob == nil || v.Data != nil {
		t.Fatalf("%d bytes came back as data", len(data))
	}
	return *v.Blob
}

func read(t testing.TB, s *blob.Store, ref sennit.Blob) *blob.Reader {
	t.Helper()
	r, err := s.Open(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func begin(t testing.TB, s *blob.Store, ref sennit.Blob) *blob.Fetch {
	t.Helper()
	f, err := s.Begin(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// mustHold fails the test unless a blob is whole and reads as data.
func mustHold(t testing.TB, s *blob.Store, data []byte) {
	t.Helper()
	got := make([]byte, len(data)+1)
	n, err := read(t, s, named(data)).ReadAt(t.Context(), got, 0)
	if n != len(data) || !errors.Is(err, io.EOF) || !bytes.Equal(got[:n], data) {
		t.Fatalf("a blob of %d bytes read as %d others: %v", len(data), n, err)
	}
	if ok, err := s.Has(t.Context(), named(data)); !ok || err != nil {
		t.Fatalf("a blob of %d bytes isn't here: %v", len(data), err)
	}
}

// mustFail fails the test unless err has a code, and says some things.
func mustFail(t rapid.TB, err error, code sennit.Code, says ...string) {
	t.Helper()
	if sennit.CodeOf(err) != code {
		t.Fatalf("error %v has code %q, not %q", err, sennit.CodeOf(err), code)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q doesn't say %q", err, s)
		}
	}
}

// sizes are those at which the tree, the batches of the writer or the lanes of
// the hash change shape.
func sizes() []int {
	const p = blob.Piece
	return []int{
		p + 1, p + 1023, p + 1024, p + 1025, p + 16384, p + 16385, p + 32769, p + 49153, 100_000, 2*p - 1, 2 * p, 2*p + 1,
		3 * p, 4 * p, 5*p + 7, 7*p + 1, 8 * p, 8*p + 1, 9 * p, 16 * p, 17*p + 5, 24*p + 1, 33 * p,
	}
}

func TestWhatIsWrittenIsNamedAndReadBack(t *testing.T) {
	s := inMemory(t)
	for _, n := range sizes() {
		data := pattern(n)
		if ref := write(t, s, data); ref != named(data) {
			t.Fatalf("%d bytes are named %v, not %v", n, ref, named(data))
		}
		mustHold(t, s, data)
		if err := s.Verify(t.Context(), named(data)); err != nil {
			t.Error(err)
		}
	}
}

// The one official vector of BLAKE3 that is longer than a value in an op:
// github.com/BLAKE3-team/BLAKE3, test_vectors/test_vectors.json.
func TestOfficialVector(t *testing.T) {
	const want = "d93c23eedaf165a7e0be908ba86f1a7a520d568d2d13cde787c8580c5c72cc54"
	if ref := write(t, inMemory(t), pattern(100_000)); ref.Root.String() != want {
		t.Errorf("100,000 bytes hash to %s, not %s", ref.Root, want)
	}
}

func TestSmallValuesNeverTouchTheDisk(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, blob.Config{Dir: dir, FS: fs})
	for _, n := range []int{0, 1, 1000, sennit.MaxInline} {
		w := s.Create()
		data := noise(1, n)
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if names, err := fs.List(dir); err != nil || len(names) != 0 {
			t.Fatalf("%d bytes made files: %q, %v", n, names, err)
		}
		v, err := w.Finish(t.Context())
		if err != nil || v.Blob != nil || !bytes.Equal(v.Data, data) {
			t.Errorf("%d bytes came back as %d, blob %v: %v", n, len(v.Data), v.Blob, err)
		}
		if _, err := w.Write(data); n > 0 && err == nil {
			t.Error("a finished value took more")
		}
	}
}

func TestTheSameBlobIsKeptOnce(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, blob.Config{Dir: dir, FS: fs})
	data := noise(1, 300_000)
	for range 2 {
		write(t, s, data)
		if names, err := fs.List(dir); err != nil || len(names) != 1 {
			t.Fatalf("there are files %q: %v", names, err)
		}
	}
	if want := uint64(300_000 + 4*64); s.Usage() != want {
		t.Errorf("%d bytes are used, not %d", s.Usage(), want)
	}
	mustHold(t, s, data)
}

func TestAbortLeavesNothing(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, blob.Config{Dir: dir, FS: fs})
	w := s.Create()
	if _, err := w.Write(noise(1, 2_000_000)); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	w.Abort()
	if names, err := fs.List(dir); err != nil || len(names) != 0 {
		t.Errorf("there are files %q: %v", names, err)
	}
	_, err := w.Write([]byte{1})
	mustFail(t, err, sennit.BadInput)
	_, err = w.Finish(t.Context())
	mustFail(t, err, sennit.BadInput)
}

func TestReadAtReadsAnyPart(t *testing.T) {
	s := inMemory(t)
	data := noise(1, 5*blob.Piece+77)
	r := read(t, s, write(t, s, data))
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		off := rnd.IntN(len(data) + 10)
		buf := make([]byte, rnd.IntN(3*blob.Piece))
		want := data[min(off, len(data)):min(off+len(buf), len(data))]
		n, err := r.ReadAt(t.Context(), buf, int64(off))
		if !bytes.Equal(buf[:n], want) || (n < len(buf)) != errors.Is(err, io.EOF) || n == len(buf) && err != nil {
			t.Fatalf("%d bytes at %d: got %d, %v", len(buf), off, n, err)
		}
	}
	_, err := r.ReadAt(t.Context(), make([]byte, 1), -1)
	mustFail(t, err, sennit.BadInput)
}

func TestReadingAllocatesNothing(t *testing.T) {
	s := inMemory(t)
	r := read(t, s, write(t, s, noise(1, 9*blob.Piece)))
	buf, off := make([]byte, 100_000), int64(0)
	if n := testing.AllocsPerRun(50, func() {
		if _, err := r.ReadAt(t.Context(), buf, off%400_000); err != nil {
			t.Fatal(err)
		}
		off += 77_777
	}); n > 0 {
		t.Errorf("a read allocates %v times", n)
	}
}

func TestEachAndUsageTellWhatIsHere(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, blob.Config{Dir: dir, FS: fs})
	a, b := noise(1, 100_000), noise(2, 4*blob.Piece)
	write(t, s, a)
	f := begin(t, s, named(b))
	put(t, f, sourceOf(t, b), 1, 2)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*blob.Store{s, open(t, blob.Config{Dir: dir, FS: fs})} {
		got := map[sennit.Blob]bool{}
		sum := uint64(0)
		if err := s.Each(func(ref sennit.Blob, n uint64, whole bool) error {
			got[ref] = whole
			sum += n
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || !got[named(a)] || got[named(b)] {
			t.Errorf("here is %v", got)
		}
		if want := uint64(100_000 + 64 + 2*(blob.Piece+64)); sum != want || s.Usage() != want {
			t.Errorf("each gives %d bytes and usage %d, not %d", sum, s.Usage(), want)
		}
		stop := errors.New("stop")
		if err := s.Each(func(sennit.Blob, uint64, bool) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("each went on: %v", err)
		}
	}
}

func TestRemove(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, blob.Config{Dir: dir, FS: fs})
	a, b := noise(1, 300_000), noise(2, 300_000)
	ra := read(t, s, write(t, s, a))
	f := begin(t, s, named(b))
	put(t, f, sourceOf(t, b), 1, 2)
	rb := read(t, s, named(b))
	for _, ref := range []sennit.Blob{named(a), named(b)} {
		if err := s.Remove(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		mustFail(t, s.Remove(t.Context(), ref), sennit.NotFound, ref.Root.String())
		_, err := s.Open(t.Context(), ref)
		mustFail(t, err, sennit.NotFound, ref.Root.String())
	}
	if names, err := fs.List(dir); err != nil || len(names) != 0 || s.Usage() != 0 {
		t.Errorf("there are files %q, %d bytes: %v", names, s.Usage(), err)
	}
	got := make([]byte, len(a))
	if _, err := ra.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, a) {
		t.Errorf("a reader of a removed blob didn't go on: %v", err)
	}
	got = got[:2*blob.Piece]
	if _, err := rb.ReadAt(t.Context(), got, blob.Piece); err != nil || !bytes.Equal(got, b[blob.Piece:3*blob.Piece]) {
		t.Errorf("a reader of a removed partial blob didn't go on: %v", err)
	}
	_, err := rb.ReadAt(t.Context(), got, 0)
	mustFail(t, err, sennit.Gone, named(b).Root.String(), "piece 0")
	slice := sliceOf(t, sourceOf(t, b), 0, 1)
	mustFail(t, f.Put(t.Context(), 0, 1, slice), sennit.Gone)
	// It can come back.
	fetchAll(t, s, begin(t, s, named(b)), sourceOf(t, b))
	mustHold(t, s, b)
}

func TestOtherFilesAreLeftAlone(t *testing.T) {
	fs := vfs.NewMem()
	if err := fs.MkdirAll("/srv", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	root := hex.EncodeToString(make([]byte, 32))
	strange := []string{
		"README", root, root + "-", root + "-65536", root + "-070000", root + "-+70000", root + "-4611686018427387905",
		strings.ToUpper("ab") + root[2:] + "-70000", root + "-70000.old", "-70000",
	}
	for _, name := range append(strange, "7.tmp") {
		f, err := fs.Create(fs.PathJoin(dir, name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, blob.Config{Dir: dir, FS: fs})
	if err := s.Each(func(ref sennit.Blob, _ uint64, _ bool) error {
		t.Errorf("%v is no blob", ref)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List(dir)
	slices.Sort(names)
	slices.Sort(strange)
	if err != nil || !slices.Equal(names, strange) || s.Usage() != 0 {
		t.Errorf("there are files %q, %d bytes: %v", names, s.Usage(), err)
	}
}

func TestWhatCannotNameABlobIsRefused(t *testing.T) {
	s := inMemory(t)
	for _, size := range []uint64{0, 1, sennit.MaxInline, blob.MaxSize + 1, 1 << 63} {
		ref := sennit.Blob{Root: sennit.Hash{1}, Size: size}
		_, has := s.Has(t.Context(), ref)
		_, opened := s.Open(t.Context(), ref)
		_, begun := s.Begin(t.Context(), ref)
		for _, err := range []error{has, opened, begun, s.Remove(t.Context(), ref), s.Verify(t.Context(), ref)} {
			mustFail(t, err, sennit.BadInput, "a blob has more than 65536 bytes")
		}
	}
	_, err := s.Open(t.Context(), sennit.Blob{Root: sennit.Hash{1}, Size: 100_000})
	mustFail(t, err, sennit.NotFound)
}

func TestAWriterHoldsLessThanAMegabyte(t *testing.T) {
	s := open(t, blob.Config{Dir: t.TempDir()})
	part := noise(1, 128<<10)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w := s.Create()
	for range 16 << 20 / len(part) {
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	w.Abort()
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("writing 16 MiB allocated %d bytes", n)
	}
}
