package files

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// flush makes durable what was written since the last time: files first, then
// the directories that name them. Many at a time cost little more than one, for
// a journal takes them together.
func (d *disk) flush(ctx context.Context) error {
	d.mu.Lock()
	files, dirs := d.files, d.dirs
	d.files, d.dirs = names{}, names{}
	d.mu.Unlock()
	if d.volatile {
		return nil
	}
	for _, set := range []names{files, dirs} {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(16)
		for name := range set {
			group.Go(func() error {
				if err := ctx.Err(); err != nil {
					return err
				}
				return d.sync(name)
			})
		}
		if err := group.Wait(); err != nil {
			return failed(err, "write to the disk")
		}
		if runtime.GOOS == "windows" {
			return nil // it can't sync directories, and journals them
		}
	}
	return nil
}

// sync makes a file or directory durable, if it is still there.
func (d *disk) sync(name string) error {
	if err := d.step("sync", name); err != nil {
		return err
	}
	flags := os.O_RDONLY
	if runtime.GOOS == "windows" {
		flags = os.O_RDWR // what syncing asks for there
	}
	f, err := d.root.OpenFile(filepath.FromSlash(name), flags|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOTDIR) {
		return nil // somebody else's by now
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
