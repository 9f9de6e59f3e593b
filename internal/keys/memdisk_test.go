package keys_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sennit/sennit/internal/keys"
)

var errCrash = errors.New("the machine stopped")

// memDisk is a file system in memory that stops at a chosen operation and then
// shows what a real one may: what was not synced may be there or not.
type memDisk struct {
	root    *inode
	ops     int // operations so far
	read    int // bytes read so far
	crashAt int // the operation at which it stops, having done half of it; 0 never
	failAt  int // the operation that fails with failure; 0 none
	failure error
	stopped bool
	loose   bool // it knows no modes and says 0755, as FAT does
}

// inode is a file or directory: as a program sees it, and as a power loss at
// this moment leaves it if it leaves as little as it may.
type inode struct {
	mode            fs.FileMode
	data, synced    []byte
	entries, stable map[string]*inode
}

func newDir() *inode {
	return &inode{mode: fs.ModeDir | 0o700, entries: map[string]*inode{}, stable: map[string]*inode{}}
}

func newMemDisk() *memDisk { return &memDisk{root: newDir()} }

// step counts an operation and says whether it is to be done.
func (m *memDisk) step() error {
	if m.stopped {
		return errCrash
	}
	m.ops++
	switch m.ops {
	case m.crashAt:
		m.stopped = true
		return errCrash
	case m.failAt:
		return m.failure
	}
	return nil
}

// restart is the machine after a crash. Where the power failed, survives says
// of each file and directory whether what was not synced is still there; where
// only the program was killed, survives is nil, all is there, and what was not
// synced still isn't.
func (m *memDisk) restart(survives func(n *inode) bool) {
	m.stopped, m.ops, m.crashAt, m.failAt = false, 0, 0, 0
	if survives != nil {
		m.root.powerLoss(survives)
	}
}

func (n *inode) powerLoss(survives func(n *inode) bool) {
	if survives(n) {
		n.sync()
	}
	n.data, n.entries = n.synced, maps.Clone(n.stable)
	for _, e := range n.entries {
		e.powerLoss(survives)
	}
}

func (n *inode) sync() { n.synced, n.stable = slices.Clone(n.data), maps.Clone(n.entries) }

// dump is all that there is, for comparing.
func (n *inode) dump() string {
	s := fmt.Sprintf("%v %q %q", n.mode, n.data, n.synced)
	for _, entries := range []map[string]*inode{n.entries, n.stable} {
		for _, name := range slices.Sorted(maps.Keys(entries)) {
			s += fmt.Sprintf("\n%q: {%s}", name, entries[name].dump())
		}
		s += ";"
	}
	return s
}

// at finds a file, nil if there is none.
func (m *memDisk) at(name string) *inode {
	n := m.root
	for _, c := range strings.Split(strings.Trim(filepath.ToSlash(name), "/"), "/") {
		if c != "" && n != nil {
			n = n.entries[c]
		}
	}
	return n
}

func (m *memDisk) parent(name string) (*inode, string) {
	name = filepath.ToSlash(name)
	return m.at(path.Dir(name)), path.Base(name)
}

func missing(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist} }

func (m *memDisk) Stat(name string) (fs.FileInfo, error) {
	if err := m.step(); err != nil {
		return nil, err
	}
	n := m.at(name)
	if n == nil {
		return nil, missing("stat", name)
	}
	return info{n}, nil
}

func (m *memDisk) Open(name string) (io.ReadCloser, error) {
	if err := m.step(); err != nil {
		return nil, err
	}
	n := m.at(name)
	if n == nil {
		return nil, missing("open", name)
	}
	return &memFile{m: m, n: n}, nil
}

func (m *memDisk) Names(dir string) ([]string, error) {
	if err := m.step(); err != nil {
		return nil, err
	}
	n := m.at(dir)
	if n == nil {
		return nil, missing("list", dir)
	}
	var names []string
	for name := range n.entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func (m *memDisk) add(op, name string, n *inode) error {
	if err := m.step(); err != nil {
		return err
	}
	p, base := m.parent(name)
	if p == nil || p.entries == nil {
		return missing(op, name)
	}
	if p.entries[base] != nil {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrExist}
	}
	p.entries[base] = n
	return nil
}

func (m *memDisk) Mkdir(dir string) error { return m.add("mkdir", dir, newDir()) }

func (m *memDisk) MkdirTemp(dir, pattern string) (string, error) {
	for i := 0; ; i++ {
		name := filepath.Join(dir, strings.Replace(pattern, "*", strconv.Itoa(i), 1))
		if m.at(name) == nil {
			return name, m.add("mkdir", name, newDir())
		}
	}
}

func (m *memDisk) Create(name string) (keys.File, error) {
	n := &inode{mode: 0o600}
	if m.loose {
		n.mode = 0o755
	}
	return &memFile{m: m, n: n}, m.add("create", name, n)
}

func (m *memDisk) Rename(from, to string) error {
	if err := m.step(); err != nil {
		return err
	}
	p, base := m.parent(from)
	q, onto := m.parent(to)
	if p == nil || q == nil || p.entries[base] == nil {
		return missing("rename", from)
	}
	if q.entries[onto] != nil {
		return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
	}
	q.entries[onto] = p.entries[base]
	delete(p.entries, base)
	return nil
}

func (m *memDisk) Remove(name string) error {
	if err := m.step(); err != nil {
		return err
	}
	p, base := m.parent(name)
	if p == nil || p.entries[base] == nil {
		return missing("remove", name)
	}
	if len(p.entries[base].entries) > 0 {
		return &fs.PathError{Op: "remove", Path: name, Err: errors.New("directory not empty")}
	}
	delete(p.entries, base)
	return nil
}

func (m *memDisk) SyncDir(dir string) error {
	if err := m.step(); err != nil {
		return err
	}
	n := m.at(dir)
	if n == nil {
		return missing("sync", dir)
	}
	n.sync()
	return nil
}

type memFile struct {
	m  *memDisk
	n  *inode
	at int
}

func (f *memFile) Read(b []byte) (int, error) {
	if err := f.m.step(); err != nil {
		return 0, err
	}
	if f.at == len(f.n.data) {
		return 0, io.EOF
	}
	n := copy(b, f.n.data[f.at:])
	f.at += n
	f.m.read += n
	return n, nil
}

func (f *memFile) Write(b []byte) (int, error) {
	if err := f.m.step(); err != nil {
		f.n.data = append(f.n.data, b[:len(b)/2]...)
		return len(b) / 2, err
	}
	f.n.data = append(f.n.data, b...)
	return len(b), nil
}

func (f *memFile) Sync() error {
	if err := f.m.step(); err != nil {
		return err
	}
	f.n.sync()
	return nil
}

func (f *memFile) Close() error { return f.m.step() }

// info describes an inode.
type info struct{ n *inode }

func (i info) Name() string       { return "" }
func (i info) Size() int64        { return int64(len(i.n.data)) }
func (i info) Mode() fs.FileMode  { return i.n.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.n.mode.IsDir() }
func (i info) Sys() any           { return nil }
