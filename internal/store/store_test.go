package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
)

func open(t testing.TB, fs vfs.FS) *store.Store {
	t.Helper()
	s, err := store.Open(store.Config{Dir: "store", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func shut(t testing.TB, s *store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAStoreThatHasNoRoomSaysSo: opening would wait for room for ever.
func TestAStoreThatHasNoRoomSaysSo(t *testing.T) {
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20, TotalBytes: 1 << 30, UsedBytes: 1<<30 - 1<<20})
	_, err := store.Open(store.Config{Dir: "store", FS: fs})
	if sennit.CodeOf(err) != sennit.ReadOnly || sennit.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
}

func TestAStoreIsOpenOnce(t *testing.T) {
	fs, dir := vfs.Default, t.TempDir()
	s, err := store.Open(store.Config{Dir: dir, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(store.Config{Dir: dir, FS: fs}); sennit.CodeOf(err) != sennit.Conflict {
		t.Errorf("the second time: %v", err)
	}
	shut(t, s)
	s, err = store.Open(store.Config{Dir: dir, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	shut(t, s)
}

// TestADamagedFileIsReported overwrites each file of a store in turn. Opening
// it and reading everything must fail with an error or give what was written;
// it must not panic, and not give anything else.
func TestADamagedFileIsReported(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	write := func(from int) {
		for i := from; i < from+200; i++ {
			b := s.Batch()
			b.SetLocal(fmt.Sprintf("name/%04d", i), []byte(strings.Repeat("v", 50)+fmt.Sprint(i)))
			if err := b.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(0)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	write(200)
	shut(t, s)
	names, err := fs.List("store")
	if err != nil {
		t.Fatal(err)
	}
	reported := 0
	for _, name := range names {
		for range 8 {
			copied := vfs.NewMem()
			if _, err := vfs.Clone(fs, copied, "store", "store"); err != nil {
				t.Fatal(err)
			}
			if !damage(t, copied, "store/"+name) {
				continue
			}
			if err := readAll(t, copied); err != nil {
				reported++
			}
		}
	}
	if reported < 8 {
		t.Errorf("only %d damages were noticed", reported)
	}
}

// damage changes some bytes in the middle of a file. It reports whether there
// were any.
func damage(t *testing.T, fs vfs.FS, name string) bool {
	t.Helper()
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() < 16 {
		return false
	}
	junk := make([]byte, 8)
	for i := range junk {
		junk[i] = byte(rand.Uint32())
	}
	if _, err := f.WriteAt(junk, rand.Int64N(info.Size()-8)); err != nil {
		t.Fatal(err)
	}
	return true
}

// readAll opens a store and reads the names in it. What it gives must be right.
func readAll(t *testing.T, fs vfs.FS) error {
	t.Helper()
	s, err := store.Open(store.Config{Dir: "store", FS: fs})
	if err != nil {
		return err
	}
	defer s.Close()
	v, err := s.View()
	if err != nil {
		return err
	}
	defer v.Release()
	next := 0
	return v.Locals("name/", func(name string, value []byte) error {
		if want := fmt.Sprintf("name/%04d", next); name != want || string(value) != strings.Repeat("v", 50)+fmt.Sprint(next) {
			t.Errorf("%s = %q came after %d names", name, value, next)
		}
		next++
		return nil
	})
}

// TestTheIndexIsAsAMap sets and clears slots at random and compares what can be
// asked with a plain map.
func TestTheIndexIsAsAMap(t *testing.T) {
	components := []string{"a", "b", "ab", "a.b", "é", "ÿ", "\U0010ffff", "0", "!"}
	rapid.Check(t, func(rt *rapid.T) {
		s := open(t, vfs.NewMem())
		defer shut(t, s)
		type at struct {
			path sennit.Path
			slot tree.Slot
			pos  store.Pos // for tree.Add what tells totals apart, for slots that hold many all
		}
		want := map[at]store.Pos{}
		var space uint32
		path := rapid.Custom(func(t *rapid.T) sennit.Path {
			return sennit.Path(strings.Join(rapid.SliceOfN(rapid.SampledFrom(components), 0, 4).Draw(t, "components"), "/"))
		})
		for range rapid.IntRange(1, 20).Draw(rt, "batches") {
			b := s.Batch()
			space = b.Space(sennit.Space{7})
			b.Space(sennit.Space{8})
			for range rapid.IntRange(1, 8).Draw(rt, "changes") {
				p := path.Draw(rt, "path")
				k := at{path: p, slot: rapid.SampledFrom([]tree.Slot{tree.Put, tree.Del, tree.Deep, tree.Add, tree.Append, tree.Other}).Draw(rt, "slot")}
				pos := store.Pos{Clock: rapid.Uint64().Draw(rt, "clock"), Log: rapid.Uint32Range(0, 3).Draw(rt, "log"), Seq: rapid.Uint64Range(1, 300).Draw(rt, "seq"), Index: rapid.Uint32Range(0, sennit.MaxOps-1).Draw(rt, "index")}
				if k.slot == tree.Add {
					pos.Since = rapid.Uint64Range(0, 2).Draw(rt, "since")
				}
				k.pos = apart(k.slot, pos)
				switch rapid.IntRange(0, 9).Draw(rt, "what") {
				case 0:
					b.ClearUnder(space, p)
					for q := range want {
						if q.path != p && q.path.Under(p) {
							delete(want, q)
						}
					}
				case 1:
					b.ClearMany(space, p)
					for q := range want {
						if q.path == p && q.slot >= tree.Add {
							delete(want, q)
						}
					}
				case 2, 3:
					if k.slot.Many() {
						b.DropMany(space, p, k.slot, pos)
					} else {
						b.ClearSlot(space, p, k.slot, pos)
					}
					delete(want, k)
				default:
					if k.slot.Many() {
						b.SetMany(space, p, k.slot, pos, pos.Seq)
					} else {
						b.SetSlot(space, p, k.slot, pos)
					}
					want[k] = pos
				}
			}
			if err := b.Sync(); err != nil {
				rt.Fatal(err)
			}
		}
		v, err := s.View()
		if err != nil {
			rt.Fatal(err)
		}
		defer v.Release()
		under := path.Draw(rt, "under")
		var paths []sennit.Path
		n := 0
		for k := range want {
			paths = append(paths, k.path)
			if k.path.Under(under) {
				n++
			}
		}
		last := sennit.Path("")
		visit := func(p sennit.Path, slot tree.Slot, pos store.Pos) error {
			k := at{p, slot, apart(slot, pos)}
			if have, ok := want[k]; !ok || have != pos || !p.Under(under) {
				rt.Fatalf("%q %v %v: want %v", p, slot, pos, have)
			}
			if last.Compare(p) > 0 {
				rt.Fatalf("%q comes after %q", p, last)
			}
			last = p
			n--
			return nil
		}
		err = v.Under(space, under, visit)
		if last = ""; err == nil {
			err = v.ManyUnder(space, under, func(p sennit.Path, slot tree.Slot, pos store.Pos, bytes uint64) error {
				if bytes != pos.Seq {
					rt.Fatalf("%q %v %v has %d bytes", p, slot, pos, bytes)
				}
				return visit(p, slot, pos)
			})
		}
		if err != nil || n != 0 {
			rt.Fatalf("%d are missing, %v", n, err)
		}
		for k, pos := range want {
			if k.slot != tree.Add {
				continue
			}
			if got, ok, err := v.Total(space, k.path, pos.Log, pos.Since); got != pos || !ok || err != nil {
				rt.Fatalf("the total at %q is %v, %v; want %v", k.path, got, err, pos)
			}
		}
		// Some of the paths, and some that aren't there.
		for range 3 {
			paths = append(paths, path.Draw(rt, "other"))
		}
		for k := range want {
			if k.slot.Many() {
				paths = append(paths, tree.Moment(k.path, k.pos.Clock))
			}
		}
		store.SortPaths(paths)
		paths = slices.Compact(paths)
		n = len(want)
		if err := v.Each(space, paths, func(i int, slot tree.Slot, pos store.Pos) error {
			k := at{paths[i], slot, apart(slot, pos)}
			if slot.Many() {
				k.path, _, _ = tree.OfMoment(k.path)
			}
			if have, ok := want[k]; !ok || have != pos {
				rt.Fatalf("each: %q %v %v: want %v", paths[i], slot, pos, have)
			}
			n--
			return nil
		}); err != nil || n != 0 {
			rt.Fatalf("each: %d are missing, %v", n, err)
		}
	})
}

// apart is what tells ops of one slot of a path apart.
func apart(slot tree.Slot, pos store.Pos) store.Pos {
	switch slot {
	case tree.Add:
		return store.Pos{Log: pos.Log, Since: pos.Since}
	case tree.Append, tree.Other:
		return pos
	}
	return store.Pos{}
}

// TestNothingIsShownBeforeItIsDurable: a view shows a batch when its Sync has
// returned, and old views stay as they were.
func TestNothingIsShownBeforeItIsDurable(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer shut(t, s)
	before, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	defer before.Release()
	b := s.Batch()
	b.SetLocal("a", []byte{1})
	read := func() []byte {
		v, err := s.View()
		if err != nil {
			t.Fatal(err)
		}
		defer v.Release()
		value, err := v.Local("a")
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	if read() != nil {
		t.Error("it is seen before it was written")
	}
	if err := b.Sync(); err != nil {
		t.Fatal(err)
	}
	if read() == nil {
		t.Error("it isn't seen")
	}
	if value, err := before.Local("a"); value != nil || err != nil {
		t.Errorf("the view of before shows %v, %v", value, err)
	}
}

func TestAClosedStoreIsGone(t *testing.T) {
	s := open(t, vfs.NewMem())
	shut(t, s)
	if _, err := s.View(); sennit.CodeOf(err) != sennit.Gone {
		t.Errorf("%v", err)
	}
}

// TestAFailedDiskIsTold fails a sync: whoever wrote must not be told that it is
// durable, and Fatal must be told why.
func TestAFailedDiskIsTold(t *testing.T) {
	var broken atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo) {
			return errors.New("input/output error")
		}
		return nil
	}))
	told := make(chan error, 1)
	s, err := store.Open(store.Config{Dir: "store", FS: fs, Fatal: func(err error) {
		select {
		case told <- err:
		default:
		}
		select {} // as a process that ended
	}})
	if err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	done := make(chan error, 1)
	go func() {
		b := s.Batch()
		b.SetLocal("a", []byte{1})
		done <- b.Sync()
	}()
	select {
	case err := <-told:
		if sennit.CodeOf(err) != sennit.ReadOnly || !strings.Contains(err.Error(), "input/output error") || sennit.HintOf(err) == "" {
			t.Errorf("%v", err)
		}
	case err := <-done:
		if err == nil {
			t.Error("it is durable, they say")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nobody is told")
	}
}

// TestAnOldStateIsRead: stores that were made before ops were counted, or
// turns noted, go on.
func TestAnOldStateIsRead(t *testing.T) {
	for length, want := range map[int]store.SpaceState{
		13: {Clock: 9, Deep: true, Folds: 3},
		37: {Clock: 9, Deep: true, Folds: 3, Ops: 5},
	} {
		fs := vfs.NewMem()
		s := open(t, fs)
		b := s.Batch()
		space := b.Space(sennit.Space{7})
		b.SetSpaceState(space, store.SpaceState{Clock: 9, Deep: true, Folds: 3, Ops: 5, Turned: 8})
		if err := b.Sync(); err != nil {
			t.Fatal(err)
		}
		shut(t, s)
		db, err := pebble.Open("store", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatNewest})
		if err != nil {
			t.Fatal(err)
		}
		key := []byte{'k', 0, 0, 0, byte(space)}
		old, closer, err := db.Get(key)
		if err != nil {
			t.Fatal(err)
		}
		short := slices.Clone(old[:length])
		if err := errors.Join(closer.Close(), db.Set(key, short, pebble.Sync), db.Close()); err != nil {
			t.Fatal(err)
		}
		s = open(t, fs)
		v, err := s.View()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := v.SpaceState(space); err != nil || got != want {
			t.Errorf("a state of %d bytes: %+v, %v, want %+v", length, got, err, want)
		}
		v.Release()
		shut(t, s)
	}
}
