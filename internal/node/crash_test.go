package node_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/node"
)

// watchedFS calls touch before and after everything that changes what is on
// disk.
type watchedFS struct {
	vfs.FS
	touch func()
}

type watchedFile struct {
	vfs.File
	touch func()
}

func (f watchedFS) wrap(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return watchedFile{file, f.touch}, nil
}

// around does something between two touches.
func around(touch func(), do func() error) error {
	touch()
	defer touch()
	return do()
}

func (f watchedFS) Create(name string, c vfs.DiskWriteCategory) (file vfs.File, err error) {
	err = around(f.touch, func() error { file, err = f.FS.Create(name, c); return err })
	return f.wrap(file, err)
}

func (f watchedFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.wrap(f.FS.OpenReadWrite(name, c, o...))
}

func (f watchedFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (file vfs.File, err error) {
	err = around(f.touch, func() error { file, err = f.FS.ReuseForWrite(from, to, c); return err })
	return f.wrap(file, err)
}

func (f watchedFS) OpenDir(name string) (vfs.File, error) { return f.wrap(f.FS.OpenDir(name)) }
func (f watchedFS) Rename(from, to string) error {
	return around(f.touch, func() error { return f.FS.Rename(from, to) })
}
func (f watchedFS) Remove(name string) error {
	return around(f.touch, func() error { return f.FS.Remove(name) })
}

func (f watchedFile) Write(b []byte) (n int, err error) {
	err = around(f.touch, func() error { n, err = f.File.Write(b); return err })
	return n, err
}
func (f watchedFile) Sync() error     { return around(f.touch, f.File.Sync) }
func (f watchedFile) SyncData() error { return around(f.touch, f.File.SyncData) }
func (f watchedFile) SyncTo(length int64) (full bool, err error) {
	err = around(f.touch, func() error { full, err = f.File.SyncTo(length); return err })
	return full, err
}

// crash is what may be left if the power fails at one moment, and what must be
// there: what was acknowledged before, or shown to anybody.
type crash struct {
	disk    *vfs.MemFS
	durable map[sennit.Path]int // newest value of each path that must not be lost
}

// known is what was acknowledged or seen: numbers that only grow.
type known struct {
	mu     sync.Mutex
	newest map[sennit.Path]int
}

func (k *known) note(p sennit.Path, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.newest[p] = max(k.newest[p], n)
}

func number(t failer, v sennit.Value) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(string(v.Data), &n); err != nil {
		t.Fatalf("a value is %q", v.Data)
	}
	return n
}

// TestNothingIsLostInACrash has writers, readers and watchers use a node, and
// takes the disk as a power failure at any moment would leave it: before and
// after each write, sync and rename. On each of these disks a node must start,
// hold all that anybody was told, and be whole.
func TestNothingIsLostInACrash(t *testing.T) {
	const writers, each = 4, 25
	id := newIdentity(t, "owner")
	mem := vfs.NewCrashableMem()
	random := rand.New(rand.NewPCG(1, 2))
	acked := known{newest: map[sennit.Path]int{}}
	var mu sync.Mutex // guards crashes and random
	var crashes []crash
	on := true
	touch := func() {
		mu.Lock()
		defer mu.Unlock()
		if !on {
			return
		}
		acked.mu.Lock()
		must := make(map[sennit.Path]int, len(acked.newest))
		for p, n := range acked.newest {
			must[p] = n
		}
		acked.mu.Unlock()
		cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 0, 50, 100}[random.IntN(4)], RNG: random}
		crashes = append(crashes, crash{mem.CrashClone(cfg), must})
	}
	m := boot(t, &machine{id: id, fs: watchedFS{mem, touch}})
	ctx, cancel := context.WithCancel(t.Context())
	bus := m.Bus(m.Owner())
	var writing, looking sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			p := sennit.Path(fmt.Sprintf("w/%d", w))
			for i := 1; i <= each; i++ {
				_, err := bus.Write(ctx, "me", []sennit.Change{
					{Kind: sennit.KindPut, Path: p, Value: sennit.Value{Data: fmt.Append(nil, i)}},
					{Kind: sennit.KindDel, Path: sennit.Path(fmt.Sprintf("d/%d", w)), Deep: true},
					{Kind: sennit.KindPut, Path: sennit.Path(fmt.Sprintf("d/%d/%d", w, i)), Value: sennit.Value{Data: fmt.Append(nil, i)}},
				})
				if err != nil {
					t.Errorf("write: %v", err)
					return
				}
				acked.note(p, i)
				if i%10 == 9 && w == 0 { // so that tables and manifests are written as well
					if err := m.st.Flush(); err != nil {
						t.Errorf("flush: %v", err)
					}
				}
			}
		})
	}
	for w := range writers { // who reads, and who asks for digests, which are written too
		looking.Go(func() {
			for ctx.Err() == nil {
				p := sennit.Path(fmt.Sprintf("w/%d", w))
				if got, err := bus.Get(ctx, sennit.Addr{Root: "me", Path: p}); err == nil {
					acked.note(p, number(t, got.Value))
				}
				if _, err := bus.Digest(ctx, sennit.Addr{Root: "me"}); err != nil && ctx.Err() == nil {
					t.Errorf("digest: %v", err)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	for _, tail := range []bool{false, true} {
		looking.Go(func() {
			watch, err := bus.Watch(ctx, []sennit.Pattern{{Root: "me", Path: "w"}}, sennit.WatchOptions{Tail: tail})
			if err != nil {
				t.Errorf("watch: %v", err)
				return
			}
			defer watch.Close()
			for {
				updates, err := watch.Next(ctx)
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("next: %v", err)
					}
					return
				}
				for _, u := range updates {
					if u.Kind == sennit.Set {
						acked.note(u.Node.Path, number(t, u.Node.Value))
					}
				}
			}
		})
	}
	writing.Wait()
	cancel()
	looking.Wait()
	mu.Lock()
	on = false
	mu.Unlock()
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	if len(crashes) < 4*each {
		t.Fatalf("only %d moments were looked at", len(crashes))
	}
	t.Logf("%d moments", len(crashes))
	lost, every := 0, 1
	if testing.Short() {
		every = 8
	}
	for i, c := range crashes {
		if i%every != 0 {
			continue
		}
		if lost += c.check(t, i, id); lost > 3 {
			t.Fatal("and so on")
		}
	}
}

// check starts a node on what is left and looks at everything. It tells how
// many values are lost.
func (c crash) check(t *testing.T, i int, id identity) (lost int) {
	t.Helper()
	m := boot(t, &machine{id: id, fs: c.disk})
	defer m.stop()
	bus := m.Bus(m.Owner())
	for p, want := range c.durable {
		got, err := bus.Get(t.Context(), sennit.Addr{Root: "me", Path: p})
		if err != nil || number(t, got.Value) < want {
			t.Errorf("crash %d: /%s is %q, %v; it was %d for somebody before", i, p, got.Value.Data, err, want)
			lost++
		}
	}
	r := m.reference(t, id.Space())
	r.compare(t, fmt.Sprint("after crash ", i), m)
	m.whole(t, fmt.Sprint("after crash ", i))
	before := m.own(t, id.Space())
	if _, err := bus.Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: "after", Value: sennit.Value{Data: []byte("0")}}}); err != nil {
		t.Fatalf("crash %d: write: %v", i, err)
	}
	for _, l := range m.own(t, id.Space()) {
		j := slices.IndexFunc(before, func(b *log) bool { return b.rec == l.rec })
		if j >= 0 && len(l.commits) != len(before[j].commits) {
			t.Errorf("crash %d: a log goes on that may be shorter here than elsewhere", i)
		}
	}
	return lost
}

// reference is what follows from the node's own logs of a space, if it has no
// others.
func (m *machine) reference(t failer, space sennit.Space) *reference {
	t.Helper()
	r := &reference{space: space, latest: uint64(time.Now().Add(node.MaxAhead).UnixMilli())}
	for _, l := range m.own(t, space) {
		r.add(l)
	}
	for _, e := range m.Authority(space).Evidence() {
		r.evidence = append(r.evidence, access.Evidence{Inception: e.Inception, Events: e.Events})
	}
	r.settle()
	return r
}

func TestOwnLogsGoOnAfterACleanStop(t *testing.T) {
	m := boot(t, &machine{id: newIdentity(t, "owner"), fs: vfs.NewMem()})
	put := func() {
		t.Helper()
		if _, err := m.Bus(m.Owner()).Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: "a"}}); err != nil {
			t.Fatal(err)
		}
	}
	put()
	for range 3 {
		if err := m.stop(); err != nil {
			t.Fatal(err)
		}
		boot(t, m)
		put()
	}
	logs := m.own(t, m.Self().Space)
	if len(logs) != 2 || len(logs[0].commits)+len(logs[1].commits) != 5 {
		t.Errorf("%d logs", len(logs))
	}
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
}
