// Package store keeps a node's commits, ops, id trees and the index that is
// derived from them, in one Pebble database.
//
// Owns: the layout of keys, what one durable batch is, and the view: a
// snapshot of what is durable, which is all that readers ever see.
// Promises: a batch is on disk whole or not at all. Nothing that a reader gets
// can be lost by kill -9 or power failure afterwards. Damage is found by
// Pebble's checksums and reported, never a panic.
// Must not know: what a commit has to satisfy (package commit), who may write
// (access), what wins (tree), or anything about peers.
package store

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/wire"
)

// Version is the format of the store's layout.
const Version = 1

// Sizes that bound the store's memory.
const (
	memTable   = 8 << 20  // bytes of one memtable: a group commit takes up to 3 MiB of it, and those above half go a slower way
	memTables  = 3        // that may wait to be flushed; one more log than that is kept to be used again, on disk
	blockCache = 16 << 20 // bytes of cached blocks
	openFiles  = 256

	// openRoom is the room on disk that opening needs at most: what the log
	// holds that isn't in tables yet is written to some.
	openRoom = memTables * memTable

	// l0Tables is how many tables may hold the same keys, half of it, before
	// they are compacted: a burst of tens of MB is written once while it lasts.
	l0Tables = 12

	retryFlush = 100 * time.Millisecond // pause after a flush or compaction that failed
)

// Config says where and how to open a store.
type Config struct {
	Dir string // the store's own directory; made if it isn't there
	FS  vfs.FS // nil: the operating system's
	// Fatal is told that a write failed, when the process can't go on, and must
	// not return. nil: it panics.
	Fatal func(error)
}

// Store is an open store. Its methods are safe for concurrent use; batches are
// written by one goroutine at a time.
type Store struct {
	cfg   Config
	db    *pebble.DB
	cache *pebble.Cache
	lean  *atomic.Bool
	epoch uint64
	gate  *gate

	mu     sync.RWMutex // guards what follows
	view   *View
	spaces map[sennit.Space]uint32
	names  []sennit.Space // by number
	logs   []*Log         // by number
	byID   map[sennit.Hash]*Log
	forks  map[sennit.Hash][]*Log // branches of logs that have several, the first included
}

// Log is a log that the store has commits of: one branch of it, if its device
// signed several histories.
type Log struct {
	Num   uint32
	Space uint32
	ID    sennit.Hash
	Rec   wire.Log
}

// Open opens a store or makes a new one. It fails with ReadOnly if the disk has
// less than 24 MiB left.
func Open(c Config) (*Store, error) {
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Fatal == nil {
		c.Fatal = func(err error) { panic(err) }
	}
	if err := room(c); err != nil {
		return nil, err
	}
	s := &Store{
		gate:   newGate(),
		cfg:    c,
		cache:  pebble.NewCache(memTables*memTable + blockCache), // of which memtables take their part
		lean:   new(atomic.Bool),
		spaces: map[sennit.Space]uint32{},
		byID:   map[sennit.Hash]*Log{},
		forks:  map[sennit.Hash][]*Log{},
	}
	opts := &pebble.Options{
		FS:                          markedFS{c.FS, s.lean},
		Cache:                       s.cache,
		MemTableSize:                memTable,
		MemTableStopWritesThreshold: memTables,
		MaxOpenFiles:                openFiles,
		L0CompactionThreshold:       l0Tables,
		L0StopWritesThreshold:       32,
		LBaseMaxBytes:               64 << 20,
		FormatMajorVersion:          pebble.FormatNewest,
		Logger:                      faults{c.Fatal},
		EventListener: &pebble.EventListener{
			// Pebble tries again at once, whatever the reason: a full disk must
			// not cost a processor as well.
			BackgroundError: func(error) { time.Sleep(retryFlush) },
			// Whoever reads damaged data gets an error. Without this Pebble
			// would take it as fatal.
			DataCorruption: func(pebble.DataCorruptionInfo) {},
		},
		NoSyncOnClose: false,
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		opts.Levels[i].FilterType = pebble.TableFilter
	}
	// A filter is read whole, and those of the last level, where nearly all data
	// is, are too large to be cached: what a filter there spares is one block.
	opts.Levels[len(opts.Levels)-1].FilterPolicy = pebble.NoFilterPolicy
	db, err := pebble.Open(c.Dir, opts)
	if err != nil {
		s.cache.Unref()
		return nil, openError(c, err)
	}
	s.db = db
	if err := s.load(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// room fails if there is not enough on disk to open the store. Pebble would
// try to for ever.
func room(c Config) error {
	if err := c.FS.MkdirAll(c.Dir, 0o700); err != nil {
		return openError(c, err)
	}
	usage, err := c.FS.GetDiskUsage(c.Dir)
	if err != nil || usage.AvailBytes >= openRoom {
		return nil // it can't be told for every file system
	}
	return sennit.Hint(sennit.Errorf(sennit.ReadOnly, "the disk with %s has %d bytes left, and a store needs %d to be opened", c.Dir, usage.AvailBytes, openRoom),
		"free some room on that disk")
}

func openError(c Config, err error) error {
	lock, held := pebble.LockDirectory(c.Dir, c.FS)
	var file *fs.PathError
	switch {
	case held == nil:
		err = errors.Join(err, lock.Close())
	case !errors.As(held, &file): // there is a file, and it can't be locked
		return sennit.Hint(sennit.Errorf(sennit.Conflict, "the store in %s is in use by another program", c.Dir),
			"stop the node that runs there, or use another data directory")
	}
	if pebble.IsCorruptionError(err) {
		return sennit.Hint(sennit.Errorf(sennit.Internal, "the store in %s is damaged: %w", c.Dir, err),
			"move the data directory away, restore it from a backup or a peer's copy, and keep the damaged one")
	}
	return sennit.Errorf(sennit.Internal, "open the store in %s: %w", c.Dir, err)
}

// faults is Pebble's logger: it says nothing but what is fatal.
type faults struct{ fatal func(error) }

func (faults) Infof(string, ...any)  {}
func (faults) Errorf(string, ...any) {}

// Fatalf ends the process: Pebble can't go on after a failed write to its log,
// and must not return from here. What was acknowledged is durable.
func (f faults) Fatalf(format string, args ...any) {
	f.fatal(sennit.Hint(sennit.Errorf(sennit.ReadOnly, "the disk failed: "+format, args...),
		"look whether the disk is full or broken; what was acknowledged is safe"))
}

// load reads the tables that are kept in memory, or makes them.
func (s *Store) load() error {
	version, err := s.meta("version")
	if err != nil {
		return err
	}
	if version == 0 {
		if s.epoch = rand.Uint64() | 1; s.epoch == 0 {
			s.epoch = 1
		}
		b := s.Batch()
		b.setMeta("version", Version)
		b.setMeta("epoch", s.epoch)
		if err := b.b.Commit(pebble.Sync); err != nil {
			return sennit.Errorf(sennit.Internal, "begin a store: %w", err)
		}
	} else if version > Version {
		return sennit.Hint(sennit.Errorf(sennit.Unsupported,
			"the data directory has layout %d; this program knows layout %d", version, Version), "install a newer version of sennit")
	} else if s.epoch, err = s.meta("epoch"); err != nil {
		return err
	}
	n, err := s.meta("arrivals")
	if err != nil {
		return err
	}
	s.view = newView(s, n)
	err = s.view.scan([]byte{keySpace}, func(k, v []byte) error {
		if len(k) != 33 || len(v) != 4 {
			return damaged(k)
		}
		s.spaces[sennit.Space(k[1:])] = binary.BigEndian.Uint32(v)
		return nil
	})
	if err != nil {
		return err
	}
	s.names = make([]sennit.Space, len(s.spaces))
	for id, num := range s.spaces {
		if int(num) >= len(s.names) || !s.names[num].IsZero() {
			return damaged(append([]byte{keySpace}, id[:]...))
		}
		s.names[num] = id
	}
	return s.view.scan([]byte{keyLog}, func(k, v []byte) error {
		rec, err := wire.DecodeLog(v)
		if err != nil || len(k) != 5 || int(binary.BigEndian.Uint32(k[1:])) != len(s.logs) {
			return damaged(k)
		}
		space, ok := s.spaces[rec.Space]
		if !ok {
			return damaged(k)
		}
		s.remember(&Log{uint32(len(s.logs)), space, rec.ID(), rec})
		return nil
	})
}

func (s *Store) remember(l *Log) {
	s.logs = append(s.logs, l)
	first := s.byID[l.ID]
	switch {
	case first == nil:
		s.byID[l.ID] = l
	case s.forks[l.ID] == nil:
		s.forks[l.ID] = []*Log{first, l}
	default:
		s.forks[l.ID] = append(s.forks[l.ID], l)
	}
}

func damaged(k []byte) error {
	return sennit.Hint(sennit.Errorf(sennit.Internal, "the store is damaged at key %x", k), "run: sennit doctor --verify")
}

func (s *Store) meta(name string) (uint64, error) {
	v, closer, err := s.db.Get(append([]byte{keyMeta}, name...))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, readError(err)
	}
	defer closer.Close()
	if len(v) != 8 {
		return 0, damaged([]byte(name))
	}
	return binary.BigEndian.Uint64(v), nil
}

func readError(err error) error {
	return sennit.Hint(sennit.Errorf(sennit.Internal, "read the store: %w", err), "run: sennit doctor --verify")
}

// Close waits for reads that are under way and for background work, and closes
// the store. Who still has a view reads no more with it: such a read fails with
// [sennit.Gone].
func (s *Store) Close() error {
	s.mu.Lock()
	view := s.view
	s.view = nil
	s.mu.Unlock()
	if view != nil {
		view.Release()
	}
	err := errors.Join(s.gate.close(), s.db.Close())
	s.cache.Unref()
	return err
}

// Epoch names this store's order of arrival.
func (s *Store) Epoch() uint64 { return s.epoch }

// DiskUsage is the bytes that the store takes on disk, 0 after Close.
func (s *Store) DiskUsage() uint64 {
	if s.gate.enter() != nil {
		return 0
	}
	defer s.gate.leave()
	return s.db.Metrics().DiskSpaceUsage()
}

// Space tells the number of a space that the store knows.
func (s *Store) Space(id sennit.Space) (num uint32, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	num, ok = s.spaces[id]
	return num, ok
}

// Spaces lists the spaces that the store knows, in order of first sight.
func (s *Store) Spaces() []sennit.Space {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return append([]sennit.Space(nil), s.names...)
}

// Branches lists the branches of a log: one, unless its device signed several
// histories; the one that was here first comes first.
func (s *Store) Branches(id sennit.Hash) []*Log {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if all := s.forks[id]; all != nil {
		return slices.Clone(all)
	}
	if l := s.byID[id]; l != nil {
		return []*Log{l}
	}
	return nil
}

// Forked reports whether a log has several branches.
func (s *Store) Forked(id sennit.Hash) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.forks[id] != nil
}

// Log tells the log with an id, nil if there is none: its first branch.
func (s *Store) Log(id sennit.Hash) *Log {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byID[id]
}

// LogByNum tells the log with a number, nil if there is none.
func (s *Store) LogByNum(num uint32) *Log {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if int(num) >= len(s.logs) {
		return nil
	}
	return s.logs[num]
}

// Logs lists the logs of a space.
func (s *Store) Logs(space uint32) []*Log {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var logs []*Log
	for _, l := range s.logs {
		if l.Space == space {
			logs = append(logs, l)
		}
	}
	return logs
}

// Flush writes what is in memory to tables. Only tests and benchmarks need it.
func (s *Store) Flush() error { return s.db.Flush() }

// Exists reports whether dir holds a store.
func Exists(fs vfs.FS, dir string) bool {
	if fs == nil {
		fs = vfs.Default
	}
	list, err := fs.List(dir)
	if err != nil {
		return false
	}
	for _, name := range list {
		if ok, _ := filepath.Match("MANIFEST-*", name); ok {
			return true
		}
	}
	return false
}

// scratchSuffix makes a store's directory that of its scratch store.
const scratchSuffix = ".scratch"

// Scratch makes an empty store beside this one, for work that needs another.
// drop closes and removes it; what a crash leaves is removed by the next one.
func (s *Store) Scratch() (scratch *Store, drop func() error, err error) {
	c := s.cfg
	c.Dir += scratchSuffix
	if err := c.FS.RemoveAll(c.Dir); err != nil {
		return nil, nil, sennit.Errorf(sennit.Internal, "make room for a scratch store: %w", err)
	}
	if scratch, err = Open(c); err != nil {
		return nil, nil, err
	}
	return scratch, func() error { return errors.Join(scratch.Close(), c.FS.RemoveAll(c.Dir)) }, nil
}
