package keys

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"syscall"

	"github.com/sennit/sennit"
)

// disk is what this package does to a file system, one method for each thing
// that a crash can come before or after. Tests put a crashing one in its place.
type disk interface {
	Stat(name string) (fs.FileInfo, error)
	Open(name string) (io.ReadCloser, error)
	Names(dir string) ([]string, error)            // what a directory holds
	Mkdir(dir string) error                        // mode 0700
	MkdirTemp(dir, pattern string) (string, error) // mode 0700
	Create(name string) (file, error)              // a new file, mode 0600
	Rename(from, to string) error                  // a directory, never onto another
	Remove(name string) error                      // a file or an empty directory
	SyncDir(dir string) error                      // makes what happened to its entries durable
}

// file is a new file that is being written.
type file interface {
	io.WriteCloser
	Sync() error
}

// system is the real file system.
type system struct{}

func (system) Stat(name string) (fs.FileInfo, error)         { return os.Stat(name) }
func (system) Open(name string) (io.ReadCloser, error)       { return os.Open(name) }
func (system) Mkdir(dir string) error                        { return os.Mkdir(dir, 0o700) }
func (system) MkdirTemp(dir, pattern string) (string, error) { return os.MkdirTemp(dir, pattern) }
func (system) Rename(from, to string) error                  { return os.Rename(from, to) }
func (system) Remove(name string) error                      { return os.Remove(name) }

func (system) Create(name string) (file, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func (system) Names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (system) SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // it can't, and journals its directories
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// diskError is err with a code and with what was being done. The system's
// errors name the file.
func diskError(doing string, err error) error {
	code := sennit.Internal
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EROFS):
		code = sennit.ReadOnly
	case errors.Is(err, syscall.ENOTDIR):
		code = sennit.Conflict
	case errors.Is(err, fs.ErrPermission):
		code = sennit.Denied
	}
	return sennit.Errorf(code, "%s: %w", doing, err)
}
