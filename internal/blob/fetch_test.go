package blob_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"lukechampine.com/blake3"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/blob"
	"github.com/sennit/sennit/internal/bubble"
)

func put(t testing.TB, f *blob.Fetch, from *blob.Reader, first uint64, count int) {
	t.Helper()
	if err := f.Put(t.Context(), first, count, sliceOf(t, from, first, count)); err != nil {
		t.Fatal(err)
	}
}

// fetchAll fetches what is missing.
func fetchAll(t testing.TB, s *blob.Store, f *blob.Fetch, from *blob.Reader) {
	t.Helper()
	for _, gap := range f.Missing(0, 1<<20) {
		for i := gap.First; i < gap.End; i += blob.MaxSlice {
			put(t, f, from, i, int(min(blob.MaxSlice, gap.End-i)))
		}
	}
	if ok, err := s.Has(t.Context(), f.Blob()); !f.Done() || !ok || err != nil {
		t.Fatalf("nothing is missing, but the fetch isn't done: %v", err)
	}
}

func TestAFetchFillsABlobInAnyOrder(t *testing.T) {
	for i, size := range sizes() {
		data := noise(byte(i), size)
		from, s := sourceOf(t, data), inMemory(t)
		f := begin(t, s, named(data))
		rnd := rand.New(rand.NewPCG(uint64(size), 0))
		n := int(pieceCount(data))
		for k, i := range rnd.Perm(n) {
			if f.Done() != (len(f.Missing(0, 1)) == 0) {
				t.Fatalf("it is done: %v, but missing is %v", f.Done(), f.Missing(0, 9))
			}
			put(t, f, from, uint64(i), 1)
			if k == n/2 {
				put(t, f, from, uint64(i), 1+rnd.IntN(min(n-i, blob.MaxSlice)))
			}
		}
		if got := f.Missing(0, 9); len(got) != 0 || !f.Done() {
			t.Fatalf("missing is %v", got)
		}
		mustHold(t, s, data)
		put(t, f, from, 0, 1) // does no harm
		put(t, begin(t, s, named(data)), from, 0, 2)
	}
}

func TestMissing(t *testing.T) {
	data := noise(1, 40*blob.Piece)
	from, s := sourceOf(t, data), inMemory(t)
	f := begin(t, s, named(data))
	for _, i := range []uint64{0, 3, 4, 5, 9, 20, 39} {
		put(t, f, from, i, 1)
	}
	for _, c := range []struct {
		from  uint64
		limit int
		want  []blob.Range
	}{
		{0, 9, []blob.Range{{1, 3}, {6, 9}, {10, 20}, {21, 39}}},
		{0, 2, []blob.Range{{1, 3}, {6, 9}}},
		{0, 0, nil},
		{0, -1, nil},
		{2, 1, []blob.Range{{2, 3}}},
		{4, 1, []blob.Range{{6, 9}}},
		{20, 9, []blob.Range{{21, 39}}},
		{38, 9, []blob.Range{{38, 39}}},
		{39, 9, nil},
		{40, 9, nil},
		{1 << 63, 9, nil},
	} {
		if got := f.Missing(c.from, c.limit); !slices.Equal(got, c.want) {
			t.Errorf("from %d at most %d: %v, not %v", c.from, c.limit, got, c.want)
		}
	}
}

func TestAPartialBlobGivesSlicesOfWhatIsHere(t *testing.T) {
	data := noise(1, 20*blob.Piece)
	from, s := sourceOf(t, data), inMemory(t)
	f := begin(t, s, named(data))
	put(t, f, from, 3, 4)
	put(t, f, from, 19, 1)
	r := read(t, s, named(data))
	for first := range uint64(20) {
		for count := 1; count <= 16 && first+uint64(count) <= 20; count++ {
			here := first >= 3 && first+uint64(count) <= 7 || first == 19
			got, err := r.Slice(nil, first, count)
			if !here {
				mustFail(t, err, sennit.NotFound, "not all here")
			} else if err != nil || !bytes.Equal(got, sliceOf(t, from, first, count)) {
				t.Errorf("%d pieces from %d: %v", count, first, err)
			}
		}
	}
	if err := s.Verify(t.Context(), named(data)); err != nil {
		t.Error(err)
	}
}

// A claim that a blob is 4 EiB big costs neither memory nor disk.
func TestAClaimCostsNothing(t *testing.T) {
	data := noise(1, 4*blob.Piece)
	slice := sliceOf(t, sourceOf(t, data), 0, 2)
	ref := sennit.Blob{Root: named(data).Root, Size: blob.MaxSize}
	binary.LittleEndian.PutUint64(slice, ref.Size)
	s := open(t, blob.Config{Dir: t.TempDir()})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f := begin(t, s, ref)
	mustFail(t, f.Put(t.Context(), 0, 2, slice), sennit.BadInput)
	mustFail(t, f.Put(t.Context(), 1<<46-1, 1, slice), sennit.BadInput)
	if got := f.Missing(5, 3); len(got) != 1 || got[0] != (blob.Range{First: 5, End: 1 << 46}) {
		t.Errorf("missing is %v", got)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 || s.Usage() != 0 {
		t.Errorf("it cost %d bytes of memory and %d of disk", n, s.Usage())
	}
}

func TestReadersWaitForWhatTheyNeed(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		data := noise(1, 6*blob.Piece)
		from, s := sourceOf(t, data), inMemory(t)
		f := begin(t, s, named(data))
		put(t, f, from, 0, 1)
		got := make([]byte, 2*blob.Piece)
		n, done := 0, make(chan error)
		go func() {
			r := read(t, s, named(data))
			var err error
			n, err = r.ReadAt(t.Context(), got, 100)
			done <- err
		}()
		other := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := read(t, s, named(data)).ReadAt(ctx, make([]byte, 10), 5*blob.Piece)
			other <- err
		}()
		wants := func(want ...uint64) {
			t.Helper()
			synctest.Wait()
			if got := f.Wanted(); !slices.Equal(got, want) {
				t.Fatalf("wanted is %v, not %v", got, want)
			}
		}
		wants(1, 5)
		put(t, f, from, 3, 1) // which nobody waits for
		wants(1, 5)
		put(t, f, from, 1, 1)
		wants(2, 5)
		mustFail(t, <-other, sennit.Timeout, "piece 5")
		wants(2)
		put(t, f, from, 2, 1)
		if err := <-done; err != nil || n != len(got) || !bytes.Equal(got, data[100:100+len(got)]) {
			t.Fatalf("read %d bytes: %v", n, err)
		}
		wants()
		go func() {
			_, err := read(t, s, named(data)).ReadAt(t.Context(), got, 5*blob.Piece)
			done <- err
		}()
		wants(5)
		if err := s.Remove(t.Context(), named(data)); err != nil {
			t.Fatal(err)
		}
		mustFail(t, <-done, sennit.Gone, "piece 5")
	})
}

// Who waits for a slow disk can give up.
func TestWaitingForTheDiskEnds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		data := noise(1, 2*blob.Piece)
		ref, from := named(data), sourceOf(t, data)
		slow := make(chan struct{})
		s := open(t, blob.Config{Dir: dir, FS: errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileWriteAt {
				<-slow
			}
			return nil
		}))})
		f := begin(t, s, ref)
		slice := sliceOf(t, from, 0, 2)
		done := make(chan error)
		go func() { done <- f.Put(t.Context(), 0, 2, slice) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, has := s.Has(ctx, ref)
		_, opened := s.Open(ctx, ref)
		_, begun := s.Begin(ctx, ref)
		for _, err := range []error{has, opened, begun, s.Remove(ctx, ref), f.Put(ctx, 0, 2, slice)} {
			mustFail(t, err, sennit.Timeout, ref.Root.String())
		}
		if _, err := s.Has(t.Context(), sennit.Blob{Root: ref.Root, Size: 100_000}); err != nil {
			t.Errorf("another blob has to wait: %v", err)
		}
		close(slow)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		mustHold(t, s, data)
	})
}

func TestAWriterCompletesWhatIsFetched(t *testing.T) {
	data := noise(1, 9*blob.Piece+5)
	s := inMemory(t)
	f := begin(t, s, named(data))
	put(t, f, sourceOf(t, data), 3, 2)
	r := read(t, s, named(data))
	write(t, s, data)
	if !f.Done() {
		t.Error("the fetch isn't done")
	}
	got := make([]byte, len(data))
	if _, err := r.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, data) {
		t.Errorf("who read before doesn't see it: %v", err)
	}
	mustHold(t, s, data)
	if want := uint64(len(data) + 9*64); s.Usage() != want {
		t.Errorf("%d bytes are used, not %d", s.Usage(), want)
	}
}

func TestAClosedFetchTakesNothing(t *testing.T) {
	data := noise(1, 3*blob.Piece)
	from, s := sourceOf(t, data), inMemory(t)
	f, g := begin(t, s, named(data)), begin(t, s, named(data))
	put(t, f, from, 0, 1)
	for range 2 {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	mustFail(t, f.Put(t.Context(), 1, 1, sliceOf(t, from, 1, 1)), sennit.BadInput, "closed")
	fetchAll(t, s, g, from)
}

// Everything at once.
func TestConcurrentUse(t *testing.T) {
	s := open(t, blob.Config{Dir: dir, FS: vfs.NewMem(), SyncEvery: 5})
	data := noise(1, 24*blob.Piece+1)
	ref := named(data)
	var all sync.WaitGroup
	fail := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	for k := range 3 { // sources
		from := sourceOf(t, data)
		f := begin(t, s, ref)
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(k), 0))
			for _, i := range rnd.Perm(25) {
				n := 1 + rnd.IntN(min(3, 25-i))
				slice, err := from.Slice(nil, uint64(i), n)
				fail(err)
				fail(f.Put(t.Context(), uint64(i), n, slice))
			}
			fail(f.Close())
			if !f.Done() {
				t.Error("it isn't done")
			}
		})
	}
	for k := range 4 { // readers
		r := read(t, s, ref)
		all.Go(func() {
			got, off := make([]byte, len(data)), k*len(data)/4
			_, err := r.ReadAt(t.Context(), got[off:], int64(off))
			fail(err)
			_, err = r.ReadAt(t.Context(), got[:off], 0)
			fail(err)
			if !bytes.Equal(got, data) {
				t.Error("a reader got something else")
			}
		})
	}
	small := [][]byte{noise(2, 70_000), noise(3, 150_000)}
	for k := range 4 { // writers of the same, who remove it again
		all.Go(func() {
			for i := range 6 {
				w := s.Create()
				_, err := w.Write(small[(k+i)%2])
				fail(err)
				v, err := w.Finish(t.Context())
				fail(err)
				if i%3 == 2 {
					if err := s.Remove(t.Context(), *v.Blob); sennit.CodeOf(err) != sennit.NotFound {
						fail(err)
					}
				}
				s.Usage()
				fail(s.Each(func(sennit.Blob, uint64, bool) error { return nil }))
			}
		})
	}
	all.Wait()
	mustHold(t, s, data)
	sum := uint64(0)
	if err := s.Each(func(ref sennit.Blob, n uint64, whole bool) error {
		sum += n
		if !whole {
			t.Errorf("%v is partial", ref)
		}
		return s.Verify(t.Context(), ref)
	}); err != nil {
		t.Error(err)
	}
	if sum != s.Usage() {
		t.Errorf("each gives %d bytes, usage %d", sum, s.Usage())
	}
}

// validHave tells whether a file lists ranges of 4 pieces, without what follows
// them if there is a sum.
func validHave(b []byte, sum bool) bool {
	if !sum || len(b)%16 != 0 { // the sum has 32 bytes
		return false
	}
	last := int64(-1)
	for b = b[:len(b)-32]; len(b) > 0; b = b[16:] {
		first, end := int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
		if first <= last || end <= first || end > 4 {
			return false
		}
		last = end
	}
	return true
}

// FuzzHave reads any file that says which pieces are here.
func FuzzHave(f *testing.F) {
	pair := func(n ...uint64) (b []byte) {
		for _, n := range n {
			b = binary.BigEndian.AppendUint64(b, n)
		}
		return b
	}
	for _, b := range [][]byte{
		nil, pair(0, 1), pair(0, 4), pair(0, 5), pair(1, 2, 3, 4), pair(1, 2, 2, 3), pair(2, 3, 0, 1), pair(1, 1), pair(3, 1), pair(0, 1, 2), {1},
	} {
		f.Add(b, true)
	}
	f.Add(pair(0, 4), false)
	data := pattern(4 * blob.Piece)
	from := sourceOf(f, data)
	f.Fuzz(func(t *testing.T, body []byte, sum bool) {
		fs := vfs.NewMem()
		s := open(t, blob.Config{Dir: dir, FS: fs})
		fetch := begin(t, s, named(data))
		put(t, fetch, from, 0, 1)
		if err := fetch.Close(); err != nil {
			t.Fatal(err)
		}
		file, err := fs.Create(fs.PathJoin(dir, named(data).Root.String()+"-262144.have"), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		h := blake3.Sum256(body)
		if sum {
			body = append(slices.Clone(body), h[:]...)
		}
		if _, err := file.Write(slices.Clone(body)); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, blob.Config{Dir: dir, FS: fs})
		fetch = begin(t, s, named(data))
		// Whatever it says, what is missing can be fetched, and what it claims that
		// isn't so isn't served.
		if valid, n := validHave(body, sum), fetch.Missing(0, 9); !valid && !slices.Equal(n, []blob.Range{{First: 0, End: 4}}) {
			t.Fatalf("%x counts, and missing is %v", body, n)
		}
		at := uint64(0)
		for _, gap := range fetch.Missing(0, 9) {
			if gap.First < at || gap.First >= gap.End || gap.End > 4 {
				t.Fatalf("missing is %v", fetch.Missing(0, 9))
			}
			at = gap.End
			put(t, fetch, from, gap.First, int(gap.End-gap.First))
		}
		if !fetch.Done() {
			t.Fatal("nothing is missing, but it isn't done")
		}
		r, err := s.Open(t.Context(), named(data))
		if err != nil {
			mustFail(t, err, sennit.Internal, "damaged")
			return
		}
		defer r.Close()
		got := make([]byte, len(data))
		n, err := r.ReadAt(t.Context(), got, 0)
		if !bytes.Equal(got[:n], data[:n]) || (n == len(data)) != (err == nil || errors.Is(err, io.EOF)) {
			t.Fatalf("read %d bytes that may be others: %v", n, err)
		}
	})
}
