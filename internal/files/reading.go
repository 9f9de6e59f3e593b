package files

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// reading is a file that is being read. It fails at its end if the file has
// changed since it was opened.
type reading struct {
	ctx   context.Context
	f     *os.File
	was   stat
	n     int64
	meter *atomic.Uint64 // nil: nobody counts
}

// open opens a regular file that nobody has written to for so long.
func (d *disk) open(ctx context.Context, name string, quiet time.Duration) (*reading, error) {
	if err := d.step("read", name); err != nil {
		return nil, err
	}
	was, err := d.lstat(name)
	if err != nil {
		return nil, err
	}
	if age := time.Since(was.info.ModTime()); age >= 0 && age < quiet {
		return nil, errBusy
	}
	// If what has the name is a pipe by now, opening it must not wait.
	f, err := d.root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || !was.same(statOf(info))) {
		err = errBusy
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &reading{ctx: ctx, f: f, was: was}, nil
}

func (r *reading) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.f.Read(p)
	r.n += int64(n)
	if r.meter != nil {
		r.meter.Add(uint64(n))
	}
	if errors.Is(err, io.EOF) {
		info, failed := r.f.Stat()
		if failed == nil && (r.n != r.was.size || !r.was.same(statOf(info))) {
			failed = errBusy
		}
		if failed != nil {
			err = failed
		}
	}
	return n, err
}

func (r *reading) Close() error { return r.f.Close() }

// hash reads a file and tells what it holds.
func (d *disk) hash(ctx context.Context, name string, quiet time.Duration) (content, stat, error) {
	r, err := d.open(ctx, name, quiet)
	if err != nil {
		return content{}, stat{}, err
	}
	defer r.Close()
	h, size, err := hashOf(r)
	return content{h, size, r.was.exec}, r.was, err
}
