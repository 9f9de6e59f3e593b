package blob_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/blob"
)

// disk counts what is written to a file system in memory, and fails at some
// point.
type disk struct {
	*vfs.MemFS
	ops    int    // so far
	failAt int    // the first operation that fails, 0 for none
	err    error  // how
	lasts  bool   // whether all fail from then on
	then   func() // is called before the first fails
	failed errorfs.OpKind
}

func (d *disk) fs() vfs.FS {
	return errorfs.Wrap(d.MemFS, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
			return nil
		}
		d.ops++
		if d.failAt == 0 || d.ops < d.failAt || d.ops > d.failAt && !d.lasts {
			return nil
		}
		if d.ops == d.failAt {
			d.failed = op.Kind
			if d.then != nil {
				d.then()
			}
		}
		return d.err
	}))
}

// promises is what a store has said.
type promises struct {
	whole  map[sennit.Blob]bool
	pieces map[sennit.Blob][]uint64 // at least, of partial blobs
	gone   map[sennit.Blob]bool
}

// story is the blobs that a run is about.
type story struct {
	data    map[sennit.Blob][]byte
	refs    []sennit.Blob
	sources map[sennit.Blob]*blob.Reader
}

func newStory(t testing.TB) *story {
	st := &story{data: map[sennit.Blob][]byte{}, sources: map[sennit.Blob]*blob.Reader{}}
	for seed, pieces := range []int{2, 3, 2, 2} {
		data := noise(byte(seed), (pieces-1)*blob.Piece+100)
		ref := named(data)
		st.refs = append(st.refs, ref)
		st.data[ref] = data
		st.sources[ref] = sourceOf(t, data)
	}
	return st
}

// run does a bit of everything, until something fails, and notes in p what it
// was promised.
func (st *story) run(ctx context.Context, s *blob.Store, p *promises) error {
	*p = promises{map[sennit.Blob]bool{}, map[sennit.Blob][]uint64{}, map[sennit.Blob]bool{}}
	a, b, c, d := st.refs[0], st.refs[1], st.refs[2], st.refs[3]
	write := func(ref sennit.Blob) error {
		delete(p.gone, ref)
		w := s.Create()
		if _, err := w.Write(st.data[ref]); err != nil {
			w.Abort()
			return err
		}
		_, err := w.Finish(ctx)
		p.whole[ref] = p.whole[ref] || err == nil
		return err
	}
	fetch := func(ref sennit.Blob, pieces ...uint64) (*blob.Fetch, error) {
		delete(p.gone, ref)
		f, err := s.Begin(ctx, ref)
		if err != nil {
			return nil, err
		}
		for _, i := range pieces {
			slice, err := st.sources[ref].Slice(nil, i, 1)
			if err == nil {
				err = f.Put(ctx, i, 1, slice)
			}
			if err != nil {
				return nil, errors.Join(err, f.Close())
			}
		}
		p.whole[ref] = p.whole[ref] || f.Done()
		return f, nil
	}
	steps := []func() error{
		func() error { return write(a) },
		func() error {
			f, err := fetch(b, 2, 0)
			if err != nil {
				return err
			}
			err = f.Close()
			if err == nil {
				p.pieces[b] = []uint64{0, 2}
			}
			return err
		},
		func() error {
			f, err := fetch(b, 1)
			if err != nil {
				return err
			}
			return f.Close()
		},
		func() error { _, err := fetch(c, 1); return err },
		func() error { return write(c) },
		func() error {
			delete(p.whole, a)
			err := s.Remove(ctx, a)
			p.gone[a] = err == nil
			return err
		},
		func() error {
			f, err := fetch(d, 0)
			if err != nil {
				return err
			}
			err = s.Remove(ctx, d)
			p.gone[d] = err == nil
			return errors.Join(err, f.Close())
		},
		func() error { return write(a) },
		func() error { _, err := fetch(d, 1); return err },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// mustKeep fails the test unless a store has kept its promises, what it holds is
// right, and it can be used.
func (st *story) mustKeep(t *testing.T, s *blob.Store, p promises) {
	t.Helper()
	here := map[sennit.Blob]bool{}
	if err := s.Each(func(ref sennit.Blob, _ uint64, whole bool) error {
		if here[ref] = whole; whole {
			mustHold(t, s, st.data[ref])
			return nil
		}
		return s.Verify(t.Context(), ref)
	}); err != nil {
		t.Fatal(err)
	}
	for ref, whole := range here {
		if p.gone[ref] {
			t.Fatalf("a blob that was removed is back")
		}
		if whole {
			continue
		}
		f := begin(t, s, ref)
		missing := f.Missing(0, 9)
		if p.whole[ref] {
			t.Fatalf("a blob that was whole misses %v", missing)
		}
		for _, i := range p.pieces[ref] {
			if slices.ContainsFunc(missing, func(r blob.Range) bool { return r.First <= i && i < r.End }) {
				t.Fatalf("of pieces %v that were kept, %v are missing", p.pieces[ref], missing)
			}
		}
	}
	for ref, ok := range p.whole {
		if _, there := here[ref]; ok && !there {
			t.Fatal("a blob is lost")
		}
	}
	for ref := range p.pieces {
		if _, there := here[ref]; !there {
			t.Fatal("a partial blob is lost")
		}
	}
	want := uint64(0)
	for _, ref := range st.refs {
		if !here[ref] {
			fetchAll(t, s, begin(t, s, ref), st.sources[ref])
			mustHold(t, s, st.data[ref])
		}
		want += ref.Size + (ref.Size-1)/blob.Piece*64
	}
	if s.Usage() != want {
		t.Fatalf("%d bytes are used, not %d", s.Usage(), want)
	}
}

// pace is how far apart the operations are that are looked at.
func pace() int {
	if testing.Short() {
		return 4
	}
	return 1
}

// operations is how many a run takes that goes well.
func operations(t *testing.T, st *story) int {
	t.Helper()
	d := &disk{MemFS: vfs.NewMem()}
	s := open(t, blob.Config{Dir: dir, FS: d.fs(), SyncEvery: 2})
	var p promises
	if err := st.run(t.Context(), s, &p); err != nil {
		t.Fatal(err)
	}
	st.mustKeep(t, s, p)
	return d.ops
}

// Whatever operation a process stops at, and whatever of the unsynced the disk
// forgets, promises are kept.
func TestACrashAtEveryOperation(t *testing.T) {
	t.Parallel()
	st := newStory(t)
	all := operations(t, st)
	for op := 1; op <= all; op += pace() {
		for _, percent := range []int{-1, 0, 50} { // of the unsynced that is kept; -1 if only the process dies
			base := vfs.NewMem()
			var left *vfs.MemFS
			d := &disk{MemFS: base, failAt: op, err: errors.New("stopped"), lasts: true}
			if percent >= 0 {
				d.MemFS = vfs.NewCrashableMem()
				d.then = func() {
					left = d.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(op), 0))})
				}
			}
			var p promises
			s, err := blob.Open(blob.Config{Dir: dir, FS: d.fs(), SyncEvery: 2})
			if err == nil {
				err = st.run(t.Context(), s, &p)
			}
			if d.ops < op {
				continue // reached only by what follows the run
			}
			if left == nil {
				left = d.MemFS
			}
			if err == nil && d.ops > op {
				t.Fatalf("operation %d failed, and nobody was told", op)
			}
			t.Logf("operation %d, %d%% of the unsynced kept", op, percent)
			st.mustKeep(t, open(t, blob.Config{Dir: dir, FS: left}), p)
		}
	}
}

// Data without the file that says which of it counts would pass for whole. The
// file system in memory never forgets what was there, so that the test above
// can't see it.
func TestAPartialBlobIsRemovedDataFirst(t *testing.T) {
	mem := vfs.NewCrashableMem()
	looked := false
	s := open(t, blob.Config{Dir: dir, FS: errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpRemove && strings.HasSuffix(op.Path, ".have") {
			names, err := mem.CrashClone(vfs.CrashCloneCfg{}).List(dir)
			if err != nil || len(names) != 1 || !strings.HasSuffix(names[0], ".have") {
				t.Errorf("for good there are %q: %v", names, err)
			}
			looked = true
		}
		return nil
	}))})
	data := noise(1, 2*blob.Piece)
	f := begin(t, s, named(data))
	put(t, f, sourceOf(t, data), 0, 1)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), named(data)); err != nil || !looked {
		t.Fatalf("looked: %v, %v", looked, err)
	}
}

// After a sync that failed nobody knows what the disk has, even if the next one
// goes well (Rebello and others, "Can Applications Recover from fsync
// Failures?", 2020): the pieces since the last good one are fetched again.
func TestWhatFailedToSyncDoesNotCount(t *testing.T) {
	data := noise(1, 6*blob.Piece)
	from := sourceOf(t, data)
	fails := false
	s := open(t, blob.Config{Dir: dir, SyncEvery: 2, FS: errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fails && op.Kind == errorfs.OpFileSync {
			return syscall.EIO
		}
		return nil
	}))})
	f := begin(t, s, named(data))
	put(t, f, from, 0, 2)
	put(t, f, from, 2, 1)
	fails = true
	mustFail(t, f.Put(t.Context(), 3, 1, sliceOf(t, from, 3, 1)), sennit.Internal, "sync", named(data).Root.String())
	if got := f.Missing(0, 9); !slices.Equal(got, []blob.Range{{First: 2, End: 6}}) {
		t.Fatalf("missing is %v", got)
	}
	mustFail(t, f.Put(t.Context(), 2, 4, sliceOf(t, from, 2, 4)), sennit.Internal, "sync")
	if f.Done() {
		t.Fatal("it is done")
	}
	fails = false
	fetchAll(t, s, f, from)
	mustHold(t, s, data)
}

// What fails to be written back counts no more than what fails to be synced:
// the file system tells an error once only.
func TestWhatFailedToBeWrittenBackDoesNotCount(t *testing.T) {
	const parts = 5 // the fourth brings enough to be written back
	data := noise(1, parts*blob.MaxSlice*blob.Piece)
	from := sourceOf(t, data)
	fails := true
	s := open(t, blob.Config{Dir: dir, FS: errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fails && op.Kind == errorfs.OpFileSyncTo {
			return syscall.EIO
		}
		return nil
	}))})
	f := begin(t, s, named(data))
	for i := range uint64(3) {
		put(t, f, from, i*blob.MaxSlice, blob.MaxSlice)
	}
	mustFail(t, f.Put(t.Context(), 3*blob.MaxSlice, blob.MaxSlice, sliceOf(t, from, 3*blob.MaxSlice, blob.MaxSlice)), sennit.Internal, "write back", named(data).Root.String())
	if got := f.Missing(0, 9); !slices.Equal(got, []blob.Range{{First: 0, End: parts * blob.MaxSlice}}) {
		t.Fatalf("missing is %v", got)
	}
	fails = false
	fetchAll(t, s, f, from)
	mustHold(t, s, data)
}

// A disk that is full, for a moment or for long, is told as such, loses nothing,
// and is used again when there is room.
func TestAFullDiskAtEveryOperation(t *testing.T) {
	t.Parallel()
	st := newStory(t)
	all := operations(t, st)
	for op := 1; op <= all; op += pace() {
		for _, lasts := range []bool{false, true} {
			d := &disk{MemFS: vfs.NewMem(), err: syscall.ENOSPC, lasts: lasts}
			s := open(t, blob.Config{Dir: dir, FS: d.fs(), SyncEvery: 2})
			d.failAt = d.ops + op
			var p promises
			err := st.run(t.Context(), s, &p)
			if d.ops < d.failAt {
				continue
			}
			d.failAt = 0
			t.Logf("operation %d, lasting %v", op, lasts)
			if err != nil || lasts {
				mustFail(t, err, sennit.ReadOnly, "the disk takes no more")
				if sennit.HintOf(err) == "" {
					t.Errorf("there is no hint at %v", err)
				}
			}
			if !lasts && d.failed != errorfs.OpRemove {
				names, err := d.List(dir)
				if err != nil || slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, ".tmp") }) {
					t.Fatalf("there are files %q: %v", names, err)
				}
			}
			st.mustKeep(t, s, p)
			st.mustKeep(t, open(t, blob.Config{Dir: dir, FS: d.MemFS}), promises{whole: p.whole})
		}
	}
}
