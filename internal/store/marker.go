package store

import (
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// markedFS makes a file that a marker names durable before the marker. Pebble
// points to the manifest that counts by an empty file with the manifest's name
// in its own, and syncs their directory once, behind both. A file system that
// doesn't keep the order of names could, after a power failure, have the
// marker alone, and with it no store.
type markedFS struct {
	vfs.FS
	lean *atomic.Bool // logs that are kept to be used again are removed instead, see [Store.Shrink]
}

// ReuseForWrite implements [vfs.FS].
func (fs markedFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if !fs.lean.Load() {
		return fs.FS.ReuseForWrite(old, name, c)
	}
	f, err := fs.FS.Create(name, c)
	if err == nil {
		err = fs.Remove(old)
	}
	return f, err
}

// Create implements [vfs.FS].
func (fs markedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(fs.PathBase(name), "marker.") {
		if err := fs.syncDir(fs.PathDir(name)); err != nil {
			return nil, err
		}
	}
	return fs.FS.Create(name, c)
}

func (fs markedFS) syncDir(name string) error {
	d, err := fs.OpenDir(name)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close() // the disk has failed already
		return err
	}
	return d.Close()
}

// Unwrap implements [vfs.FS].
func (fs markedFS) Unwrap() vfs.FS { return fs.FS }
