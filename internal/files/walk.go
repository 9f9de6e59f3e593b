package files

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sennit/sennit"
)

// listing is what a directory holds.
type listing struct {
	files   map[string]stat // regular files that a value can stand for
	dirs    []string        // directories, each after the one that it is in
	empty   []string        // those with nothing in them
	temps   []string        // what writers left that were killed
	skipped []Skip          // what no value can stand for
	blocked names           // where something was skipped: what is there, or below, is not known
}

// walk lists a directory. Names for which leave is true are left out, and not
// entered. enter is called before a directory is read, so that who watches it
// misses nothing.
func (d *disk) walk(ctx context.Context, at sennit.Path, leave func(base string) bool, enter func(dir string)) (listing, error) {
	l := listing{files: map[string]stat{}, blocked: names{}}
	skip := func(name, why string) {
		l.skipped = append(l.skipped, Skip{strings.ToValidUTF8(name, "\uFFFD"), why})
		l.blocked[name] = true
	}
	var in func(dir string) error
	in = func(dir string) error {
		if err := errors.Join(ctx.Err(), d.step("list", dir)); err != nil {
			return err
		}
		if enter != nil {
			enter(dir)
		}
		entries, err := d.list(dir)
		if err != nil {
			if dir == "." || grave(err) {
				return failed(err, "list the directory")
			}
			if !errors.Is(err, fs.ErrNotExist) {
				skip(dir, why(err))
			}
			return nil
		}
		if dir != "." {
			l.dirs = append(l.dirs, dir)
			if len(entries) == 0 {
				l.empty = append(l.empty, dir)
			}
		}
		for _, e := range entries {
			base, name := e.Name(), path.Join(dir, e.Name())
			if strings.HasPrefix(base, tempPrefix) && e.Type().IsRegular() {
				l.temps = append(l.temps, name)
			}
			if leave(base) {
				continue
			}
			if _, err := pathOf(at, name); err != nil {
				skip(name, err.Error())
				continue
			}
			if e.IsDir() {
				if err := in(name); err != nil {
					return err
				}
				continue
			}
			info, err := e.Info()
			switch {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				skip(name, why(err))
			case !info.Mode().IsRegular():
				skip(name, "it is "+kindOf(info.Mode()))
			default:
				l.files[name] = statOf(info)
			}
		}
		return nil
	}
	err := in(".")
	return l, err
}

// list reads a directory, unless it has become something else.
func (d *disk) list(dir string) ([]fs.DirEntry, error) {
	f, err := d.root.Open(filepath.FromSlash(dir))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if dir != "." {
		is, err := f.Stat()
		if err != nil {
			return nil, err
		}
		// A symlink may have taken its place.
		was, err := d.lstat(dir)
		if err == nil && (!was.info.IsDir() || !is.IsDir()) {
			err = errStale
		}
		if err != nil {
			return nil, err
		}
		d.mu.Lock()
		d.known[dir] = true
		d.mu.Unlock()
	}
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

// clean removes what killed writers left.
func (d *disk) clean(l listing) error {
	for _, name := range l.temps {
		was, err := d.lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = d.step("remove", name)
		}
		if err == nil && was.info.Mode().IsRegular() {
			err = d.root.Remove(filepath.FromSlash(name))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return failed(err, "remove %s", name)
		}
	}
	return nil
}
