package blob

import (
	"errors"
	"io"
	"io/fs"
	"strconv"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"
)

// Names in the directory: a blob's data is in a file with the name that
// fileName gives. If it is partly here, a file with haveSuffix says which
// pieces are, and was there before the data. Files with tempSuffix are being
// written.
const (
	haveSuffix = ".have"
	tempSuffix = ".tmp"
)

func (s *Store) path(name string) string { return s.fs.PathJoin(s.dir, name) }

// makeDir makes the directory, durably.
func (s *Store) makeDir() error {
	var parents []string // of directories that aren't there
	for dir := s.dir; ; {
		if _, err := s.fs.Stat(dir); err == nil {
			break
		}
		up := s.fs.PathDir(dir)
		if up == dir {
			break
		}
		parents = append(parents, up)
		dir = up
	}
	if err := s.fs.MkdirAll(s.dir, 0o700); err != nil {
		return failed(err, "make the directory %s", s.dir)
	}
	for _, dir := range parents {
		if err := s.syncDirAt(dir); err != nil {
			return err
		}
	}
	return nil
}

// syncDir makes the names in the directory durable.
func (s *Store) syncDir() error { return s.syncDirAt(s.dir) }

func (s *Store) syncDirAt(path string) error {
	d, err := s.fs.OpenDir(path)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		return failed(err, "sync the directory %s", path)
	}
	return nil
}

// remove removes a file, if it is there.
func (s *Store) remove(path string) error {
	if err := s.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed(err, "remove %s", path)
	}
	return nil
}

// temp is the path of a new temporary file.
func (s *Store) temp() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.temps++
	return s.path(strconv.FormatUint(s.temps, 10) + tempSuffix)
}

// readHave reads which pieces of a blob are here: none if the file is damaged,
// which costs fetching them again.
func (s *Store) readHave(ref sennit.Blob) (ranges, error) {
	f, err := s.fs.Open(s.path(fileName(ref) + haveSuffix))
	var b []byte
	if err == nil {
		b, err = io.ReadAll(f)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return nil, failed(err, "read which pieces of blob %s are here", ref.Root)
	}
	have, _ := decodeRanges(ref, b)
	return have, nil
}

// writeHave replaces the file that says which pieces of a blob are here. It is
// durable if the directory is synced afterwards; otherwise a crash may leave
// the old one.
func (s *Store) writeHave(ref sennit.Blob, have ranges) error {
	temp := s.temp()
	f, err := s.fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(have.encode())
		if err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
		if err == nil {
			err = s.fs.Rename(temp, s.path(fileName(ref)+haveSuffix))
		}
		if err != nil {
			err = errors.Join(err, s.fs.Remove(temp))
		}
	}
	if err != nil {
		return failed(err, "note which pieces of blob %s are here", ref.Root)
	}
	return nil
}

// failed makes an error of what the file system said.
func failed(err error, format string, args ...any) error {
	doing := sennit.Errorf(sennit.Internal, format, args...).Error()
	if vfs.IsNoSpaceError(err) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS) {
		return sennit.Hint(sennit.Errorf(sennit.ReadOnly, "%s: the disk takes no more: %w", doing, err), "free some room on that disk")
	}
	return sennit.Errorf(sennit.Internal, "%s: %w", doing, err)
}
