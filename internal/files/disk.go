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
	"strconv"
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
	if _, err := local(name); err != nil {
		return stat{}, err
	}
	if err := d.parents(name); err != nil {
		return stat{}, err
	}
	temp := filepath.FromSlash(d.passing(name))
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
	switch {
	case err != nil:
	case was == nil:
		err = d.rename(temp, name)
	default:
		return d.replace(temp, name, *was, statOf(info))
	}
	if err != nil {
		return stat{}, errors.Join(err, d.drop(temp))
	}
	d.note("", name)
	return statOf(info), nil
}

// drop removes a file under a passing name.
func (d *disk) drop(temp string) error {
	if d.step("remove", temp) != nil {
		return nil // the test ends here
	}
	return d.root.Remove(filepath.FromSlash(temp))
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

// rename gives a file a name that nothing has, or fails with errStale.
func (d *disk) rename(from, to string) error {
	if err := d.step("rename", to); err != nil {
		return err
	}
	if err := d.unchanged(to, nil); err != nil {
		return err
	}
	err := d.renameat(from, to, false)
	switch {
	case errors.Is(err, fs.ErrExist):
		return errStale
	case errors.Is(err, errors.ErrUnsupported):
		return d.root.Rename(filepath.FromSlash(from), filepath.FromSlash(to))
	}
	return err
}

// maxSwaps is how often two files change names. If somebody saves as often, the
// one without a name is laid beside the other.
const maxSwaps = 9

// replace gives a file, which is like made, the name of one that is as it was,
// and removes that, or fails with errStale. Who saves in between loses nothing:
// the two change names in one step, and if it wasn't the one that it was they
// change back.
func (d *disk) replace(temp, name string, was, made stat) (stat, error) {
	err := d.step("rename", name)
	if err == nil {
		err = d.unchanged(name, &was)
	}
	if err == nil {
		err = d.renameat(temp, name, true)
	}
	switch {
	case errors.Is(err, errors.ErrUnsupported): // here a save in this moment is lost
		if err = d.root.Rename(filepath.FromSlash(temp), filepath.FromSlash(name)); err != nil {
			err = errors.Join(err, d.drop(temp))
		}
	case err == nil:
		var out stat
		if out, err = d.lstat(filepath.ToSlash(temp)); err == nil && !out.same(was) {
			return stat{}, d.swapBack(temp, name, made, out)
		}
		if err == nil {
			err = d.drop(temp)
		}
	default:
		if errors.Is(err, fs.ErrNotExist) {
			err = errStale
		}
		return stat{}, errors.Join(err, d.drop(temp))
	}
	if err != nil {
		return stat{}, err
	}
	d.note("", name)
	return made, nil
}

// swapBack gives a file that was saved a moment ago its name back, which the
// one that is like made has. It fails with errStale when that is done.
func (d *disk) swapBack(temp, name string, made, saved stat) error {
	has := made // what has the name, unless somebody saves again
	for range maxSwaps {
		if err := d.renameat(temp, name, true); errors.Is(err, fs.ErrNotExist) { // the other one was removed
			if err = d.renameat(temp, name, false); err == nil {
				return errStale
			}
		} else if err != nil {
			return err
		}
		out, err := d.lstat(filepath.ToSlash(temp))
		switch {
		case err != nil:
			return err
		case out.same(made):
			return errors.Join(errStale, d.drop(temp))
		case out.same(has):
			return d.lay(temp, name) // the newest has the name
		}
		// It was saved once more meanwhile. What has the name now is older.
		has, saved = saved, out
	}
	return d.lay(temp, name)
}

// lay gives a file that somebody saved, and that has no name any more, one
// beside the one that it had. It fails with errStale when that is done.
func (d *disk) lay(temp, name string) error {
	dir, base := path.Split(name)
	stem, ext := splitExt(base)
	if len(ext) > sennit.MaxComponent/2 {
		stem, ext = base, ""
	}
	for n := 1; ; n++ {
		err := d.renameat(temp, dir+marked(stem, copyMark+strconv.Itoa(n)+ext), false)
		if !errors.Is(err, fs.ErrExist) {
			return errors.Join(errStale, err)
		}
	}
}

// move gives a file that is what it was a name that nothing has.
func (d *disk) move(from, to string, was stat) error {
	if err := d.unchanged(from, &was); err != nil {
		return err
	}
	if err := d.rename(from, to); err != nil {
		return err
	}
	d.note("", to)
	return nil
}

// renameat gives a file a name that nothing has, or, with swap, two files each
// other's. It fails with errors.ErrUnsupported where the system or the disk
// can't do that in one step.
func (d *disk) renameat(from, to string, swap bool) error {
	if err := d.step("renameat", to); err != nil {
		return err
	}
	from, to = filepath.FromSlash(from), filepath.FromSlash(to)
	old, err := d.root.Open(filepath.Dir(from))
	if err != nil {
		return err
	}
	defer old.Close()
	dir := old
	if filepath.Dir(to) != filepath.Dir(from) {
		if dir, err = d.root.Open(filepath.Dir(to)); err != nil {
			return err
		}
		defer dir.Close()
	}
	if err := renameat(old, filepath.Base(from), dir, filepath.Base(to), swap); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
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
	if err := d.takeOut(name, was); err != nil {
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

// takeOut removes a file if it is what it was. It is looked at once more when
// nobody can save to its name any more.
func (d *disk) takeOut(name string, was stat) error {
	temp := d.passing(name)
	err := d.renameat(name, temp, false)
	if errors.Is(err, errors.ErrUnsupported) { // here a save in this moment is lost
		return d.root.Remove(filepath.FromSlash(name))
	}
	if err != nil {
		return err
	}
	out, err := d.lstat(temp)
	switch {
	case err != nil:
		return err
	case out.same(was):
		return d.root.Remove(filepath.FromSlash(temp))
	}
	if err := d.renameat(temp, name, false); errors.Is(err, fs.ErrExist) {
		return d.lay(temp, name)
	} else if err != nil {
		return err
	}
	return errStale
}

// passing is a passing name beside another one.
func (d *disk) passing(name string) string {
	var random [8]byte
	rand.Read(random[:]) // it never fails
	return path.Join(path.Dir(name), tempPrefix+hex.EncodeToString(random[:]))
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
