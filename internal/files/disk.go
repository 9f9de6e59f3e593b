package files

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/sennit/sennit"
)

// stat is what a look at a file tells without reading it.
type stat struct {
	size  int64
	mtime int64 // nanoseconds since 1970
	exec  bool
	info  fs.FileInfo
}

func statOf(info fs.FileInfo) stat {
	return stat{info.Size(), info.ModTime().UnixNano(), info.Mode()&0o111 != 0, info}
}

// same reports whether two looks saw one file, unchanged.
func (s stat) same(t stat) bool {
	return s.size == t.size && s.mtime == t.mtime && s.exec == t.exec && os.SameFile(s.info, t.info)
}

// disk is a directory. All that is ever done in it goes through here, and
// through [os.Root], which never leaves it.
type disk struct {
	root *os.Root
	seam

	mu    sync.Mutex
	known names // directories that are there under exactly this name
	files names // written since the last flush
	dirs  names // whose entries changed since
}

func openDisk(dir string, seam seam) (*disk, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		if info, is := os.Stat(dir); is == nil && !info.IsDir() {
			return nil, sennit.Errorf(sennit.BadInput, "%s is no directory", dir)
		}
		return nil, failed(err, "open the directory")
	}
	if seam.step == nil {
		seam.step = func(string, string) error { return nil }
	}
	return &disk{root: root, seam: seam, known: names{}, files: names{}, dirs: names{}}, nil
}

func (d *disk) close() { d.root.Close() }

// local is a name as this system writes it.
func local(name string) (string, error) {
	l, err := filepath.Localize(name)
	if err != nil {
		return "", inTheWay("this system has no such names")
	}
	return l, nil
}

// lstat looks at what has a name. It fails with fs.ErrNotExist if nothing has.
func (d *disk) lstat(name string) (stat, error) {
	l, err := local(name)
	if err != nil {
		return stat{}, err
	}
	info, err := d.root.Lstat(l)
	if err != nil {
		if errors.Is(err, syscall.ENOTDIR) {
			err = fs.ErrNotExist
		}
		return stat{}, err
	}
	return statOf(info), nil
}

// parents makes the directories that a name is in. It fails if anything but a
// directory has one of those names, or one that differs in case only.
func (d *disk) parents(name string) error {
	for i, c := range name {
		if c != '/' {
			continue
		}
		dir := name[:i]
		was, err := d.lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			if err = d.step("mkdir", dir); err == nil {
				err = d.root.Mkdir(filepath.FromSlash(dir), 0o777)
			}
			if err == nil {
				d.note(dir, "")
				continue
			}
			if errors.Is(err, fs.ErrExist) { // another writer was quicker
				was, err = d.lstat(dir)
			}
		}
		switch {
		case err != nil:
			return err
		case !was.info.IsDir():
			return inTheWay(fmt.Sprintf("%s is in the way: it is %s", dir, kindOf(was.info.Mode())))
		}
		if err := d.exact(dir, true); err != nil {
			return err
		}
	}
	return nil
}

// exact fails unless what has a name has exactly that name. Where systems don't
// tell case apart it may be that of another.
func (d *disk) exact(name string, isDir bool) error {
	d.mu.Lock()
	known := isDir && d.known[name]
	d.mu.Unlock()
	if known {
		return nil
	}
	parent, err := d.root.Open(filepath.FromSlash(path.Dir(name)))
	if err != nil {
		return err
	}
	defer parent.Close()
	for {
		all, err := parent.Readdirnames(1000)
		for _, n := range all {
			if n == path.Base(name) {
				if isDir {
					d.note(name, "")
				}
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return inTheWay(name + " differs from a name that is there in case only, which this system doesn't tell apart")
		}
		if err != nil {
			return err
		}
	}
}

// note remembers a directory that is there, or a file that was written.
func (d *disk) note(dir, file string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dir != "" {
		d.known[dir] = true
		d.dirs[path.Dir(dir)] = true
	}
	if file != "" {
		d.files[file] = true
		d.dirs[path.Dir(file)] = true
	}
}

// place writes a file under a passing name, and gives it its own once it is
// whole and if what has that name is still what it was: was, or nothing if that
// is nil. It is not synced before [disk.flush].
func (d *disk) place(name string, exec bool, was *stat, fill func(io.Writer) error) (stat, error) {
	l, err := local(name)
	if err != nil {
		return stat{}, err
	}
	if err := d.parents(name); err != nil {
		return stat{}, err
	}
	var random [8]byte
	rand.Read(random[:]) // it never fails
	temp := filepath.Join(filepath.Dir(l), tempPrefix+hex.EncodeToString(random[:]))
	if err := d.step("create", temp); err != nil {
		return stat{}, err
	}
	perm := fs.FileMode(0o666)
	if exec {
		perm = 0o777
	}
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return stat{}, err
	}
	info, err := d.fill(f, exec, was, fill)
	if err == nil {
		err = d.rename(temp, name, was)
	}
	if err != nil {
		if d.step("remove", temp) == nil {
			err = errors.Join(err, d.root.Remove(temp))
		}
		return stat{}, err
	}
	d.note("", name)
	return statOf(info), nil
}

// fill writes a file to its end.
func (d *disk) fill(f *os.File, exec bool, was *stat, fill func(io.Writer) error) (info fs.FileInfo, err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	if was != nil { // whoever could read it can go on
		if err := f.Chmod(withExec(was.info.Mode().Perm(), exec)); err != nil {
			return nil, err
		}
	}
	if err := fill(f); err != nil {
		return nil, err
	}
	return f.Stat()
}

// withExec is permissions with the bits to execute where there are those to
// read, or without any.
func withExec(perm fs.FileMode, exec bool) fs.FileMode {
	if exec == (perm&0o111 != 0) {
		return perm
	}
	if perm &^= 0o111; exec {
		perm |= perm & 0o444 >> 2
	}
	return perm
}

// rename gives a file another name. It fails with errStale if what has that
// name isn't what it was. Between the look and the rename lies no other work,
// but no system does both at once: what is saved in that moment is lost.
func (d *disk) rename(from, to string, was *stat) error {
	if err := d.step("rename", to); err != nil {
		return err
	}
	if err := d.unchanged(to, was); err != nil {
		return err
	}
	return d.root.Rename(filepath.FromSlash(from), filepath.FromSlash(to))
}

// move gives a file that is what it was a name that nothing has.
func (d *disk) move(from, to string, was stat) error {
	if err := d.unchanged(from, &was); err != nil {
		return err
	}
	if err := d.rename(from, to, nil); err != nil {
		return err
	}
	d.note("", to)
	return nil
}

// unchanged fails unless what has a name is what it was.
func (d *disk) unchanged(name string, was *stat) error {
	now, err := d.lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if was != nil {
			return errStale
		}
		return nil
	case err != nil:
		return err
	case !now.info.Mode().IsRegular():
		return inTheWay(kindOf(now.info.Mode()) + " is in the way")
	case was != nil && !was.same(now):
		return errStale
	case was == nil:
		if err := d.exact(name, false); err != nil {
			return err
		}
		return errStale
	}
	return nil
}

// chmod makes a file a program, or none.
func (d *disk) chmod(name string, exec bool, was stat) (stat, error) {
	if err := d.step("chmod", name); err != nil {
		return stat{}, err
	}
	if err := d.unchanged(name, &was); err != nil {
		return stat{}, err
	}
	if err := d.root.Chmod(filepath.FromSlash(name), withExec(was.info.Mode().Perm(), exec)); err != nil {
		return stat{}, err
	}
	d.note("", name)
	return d.lstat(name)
}

// remove removes a file if it is what it was, and the directories that it
// leaves empty.
func (d *disk) remove(name string, was stat) error {
	if err := d.step("remove", name); err != nil {
		return err
	}
	if err := d.unchanged(name, &was); err != nil {
		return err
	}
	if err := d.root.Remove(filepath.FromSlash(name)); err != nil {
		return err
	}
	d.mu.Lock()
	delete(d.files, name)
	d.dirs[path.Dir(name)] = true
	d.mu.Unlock()
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if err := d.removeDir(dir); err != nil {
			return nil // it isn't empty, or is gone
		}
	}
	return nil
}

// removeDir removes an empty directory.
func (d *disk) removeDir(dir string) error {
	if err := d.step("rmdir", dir); err != nil {
		return err
	}
	was, err := d.lstat(dir)
	if err == nil && !was.info.IsDir() {
		err = errStale
	}
	if err == nil {
		err = d.root.Remove(filepath.FromSlash(dir))
	}
	if err != nil {
		return err
	}
	d.mu.Lock()
	delete(d.known, dir)
	delete(d.dirs, dir)
	d.dirs[path.Dir(dir)] = true
	d.mu.Unlock()
	return nil
}

// kindOf says what a thing is that isn't a regular file.
func kindOf(m fs.FileMode) string {
	switch m.Type() {
	case 0:
		return "a file"
	case fs.ModeDir:
		return "a directory"
	case fs.ModeSymlink:
		return "a symlink"
	case fs.ModeNamedPipe:
		return "a pipe"
	case fs.ModeSocket:
		return "a socket"
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		return "a device"
	}
	return "no regular file"
}
