package sim

import (
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is a machine's disk: a file system in memory on which making the
// store's log durable takes time, so that something can happen meanwhile. What
// is not durable when the power goes is lost at random.
type disk struct {
	mu    sync.Mutex // guards what follows
	mem   *vfs.MemFS
	rng   *rand.Rand
	slow  time.Duration // longest time that a sync takes
	fuse  int           // syncs until the power goes; 0: it stays
	blown func()
}

func newDisk(seed uint64) *disk {
	return &disk{mem: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(seed, 'd')), slow: 4 * time.Millisecond}
}

// fs is the file system for one run of a node. After a power failure that
// run's file system is a dead one: the next run gets another.
func (d *disk) fs() vfs.FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &fileSystem{d.mem, d, d.mem}
}

// light makes the power go during one of the next syncs, or not if there are 0
// until then.
func (d *disk) light(syncs int, blown func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fuse, d.blown = syncs, blown
}

// cut is what is left on the disk if the power goes now, and keep percent of
// the blocks that were not synced happen to have reached it.
func (d *disk) cut(keep int) *vfs.MemFS {
	d.mu.Lock()
	mem, rng := d.mem, rand.New(rand.NewPCG(d.rng.Uint64(), 'c'))
	d.fuse = 0
	d.mu.Unlock()
	return mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rng})
}

// insert puts another state of the disk in.
func (d *disk) insert(mem *vfs.MemFS) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mem, d.fuse = mem, 0
}

// pause is how long a sync of some run's file system takes, before and after
// the data is durable, and whether the power goes before or after that.
func (d *disk) pause(mem *vfs.MemFS) (before, after time.Duration, blow int, blown func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if mem != d.mem {
		return 0, 0, 0, nil // of a run that lost its power
	}
	before, after = rand0(d.rng, d.slow), rand0(d.rng, d.slow)
	if d.fuse > 0 {
		if d.fuse--; d.fuse == 0 {
			blow, blown = 1+d.rng.IntN(2), d.blown
		}
	}
	return before, after, blow, blown
}

// rand0 is a random time up to a limit.
func rand0(rng *rand.Rand, limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return time.Duration(rng.Int64N(int64(limit)))
}

// closing reports whether Pebble is closing the file. It does that under the
// lock under which others write, and a bubble's time stands still while
// somebody waits for a lock: such a sync can't take any.
func closing() bool {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, ".closeInternal") {
			return true
		}
		if !more {
			return false
		}
	}
}

type fileSystem struct {
	vfs.FS
	d   *disk
	mem *vfs.MemFS
}

func (s *fileSystem) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return &walFile{f, s}, nil
}

func (s *fileSystem) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	return s.wrap(name, f, err)
}

func (s *fileSystem) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.ReuseForWrite(old, name, c)
	return s.wrap(name, f, err)
}

func (s *fileSystem) Unwrap() vfs.FS { return s.FS }

// walFile is a file of the store's log.
type walFile struct {
	vfs.File
	s *fileSystem
}

func (f *walFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *walFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *walFile) SyncTo(int64) (bool, error) { return true, f.sync(f.File.Sync) }

func (f *walFile) sync(do func() error) error {
	before, after, blow, blown := f.s.d.pause(f.s.mem)
	if closing() {
		before, after = 0, 0
	}
	time.Sleep(before)
	if blow == 1 {
		blown()
	}
	err := do()
	time.Sleep(after)
	if blow == 2 {
		blown()
	}
	return err
}
