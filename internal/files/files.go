// Package files carries directories of files into a tree of values, out of it,
// and keeps both the same.
//
// Owns: what a file is as a value and back (docs/files.md), and what two sides
// that changed apart become.
// Promises: bytes are the same on both sides. What can't be kept is told with
// its reason, and the rest is done. Nothing is read or written outside the
// directory, and nothing through a symlink. A file has its name only once it is
// whole. What was interrupted goes on where it was when it is done again.
// Memory: contents of at most 8 MiB at a time, and some 300 bytes for each name.
// Must not know: nodes, doors, or anything of the tree but [sennit.Bus].
package files

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sennit/sennit"
)

// Options says what is carried, and where.
type Options struct {
	Bus    sennit.Bus
	Dir    string      // the directory
	At     sennit.Addr // its files are the values under this path
	Delete bool        // remove what isn't on the side that is carried
	// Progress is told how far things are: from the caller's goroutine, some
	// times a second. It may be nil.
	Progress func(Progress)

	seam seam
}

// seam is where tests take part in what is done to the directory.
type seam struct {
	step     func(doing, name string) error // is called before each step, which fails if it does. nil: nothing is called
	volatile bool                           // nothing is synced
}

// Skip is something that could not be carried.
type Skip struct {
	Path string `json:"path"` // below the directory, with slashes
	Why  string `json:"why"`  // why it can't be kept
}

// Report is what was done.
type Report struct {
	Files     int     `json:"files"`     // files that were carried
	Bytes     uint64  `json:"bytes"`     // bytes in them
	Unchanged int     `json:"unchanged"` // files that were there already, and the same
	Deleted   int     `json:"deleted"`   // values or files that were deleted
	Skipped   []Skip  `json:"skipped"`   // what could not be kept, in order of path
	Seconds   float64 `json:"seconds"`   // how long it took
}

// skip adds to what could not be carried.
func (r *Report) skip(name, why string) { r.Skipped = append(r.Skipped, Skip{name, why}) }

// end completes a report. Something that was skipped makes it one of a thing
// that was partly done.
func (r *Report) end(begun time.Time, err error) (Report, error) {
	slices.SortFunc(r.Skipped, func(a, b Skip) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Why, b.Why)) })
	r.Skipped = slices.Compact(r.Skipped)
	if r.Skipped == nil {
		r.Skipped = []Skip{}
	}
	r.Seconds = time.Since(begun).Seconds()
	if err == nil && len(r.Skipped) > 0 {
		err = sennit.Errorf(sennit.Partly, "%d could not be kept", len(r.Skipped))
	}
	return *r, err
}

// Progress is how far an import or export is.
type Progress struct {
	Files, Total      int    // files that are done with, and all
	Bytes, TotalBytes uint64 // in them
	Elapsed           time.Duration
}

// Rate is bytes per second.
func (p Progress) Rate() float64 {
	return float64(p.Bytes) / max(p.Elapsed.Seconds(), 1e-3)
}

// Left is how long the rest takes if all goes on as it went. It counts files as
// well as bytes, for small files cost no less than some KB. 0: that is unknown.
func (p Progress) Left() time.Duration {
	const each = 4 << 10
	done, all := float64(p.Bytes)+each*float64(p.Files), float64(p.TotalBytes)+each*float64(p.Total)
	if done == 0 || all < done {
		return 0
	}
	return time.Duration(float64(p.Elapsed) * (all - done) / done).Round(time.Second)
}

// tell is how often progress is told.
const tell = 200 * time.Millisecond

// meter counts for a [Progress].
type meter struct {
	total      int
	totalBytes uint64
	bytes      atomic.Uint64 // that were read or written
	begun      time.Time
	told       func(Progress)
}

// say tells the progress when so many files are done with.
func (m *meter) say(files int) {
	if m.told != nil {
		m.told(Progress{Files: files, Total: m.total, Bytes: min(m.bytes.Load(), m.totalBytes), TotalBytes: m.totalBytes, Elapsed: time.Since(m.begun)})
	}
}

// Reasons why one file can't be carried now.
var (
	errBusy  = errors.New("it changes while it is read")
	errStale = errors.New("it has changed meanwhile")
)

// inTheWay is why a file can't have its name.
type inTheWay string

func (e inTheWay) Error() string { return string(e) }

// why is an error as the reason of a [Skip]: without the name, which stands
// beside it.
func why(err error) string {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return p.Err.Error()
	case errors.As(err, &l):
		return l.Err.Error()
	}
	return err.Error()
}

// grave reports whether an error is not one of a single file: what comes after
// it would fail as well.
func grave(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS) ||
		errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// failed gives an error of the file system a code.
func failed(err error, format string, args ...any) error {
	code := sennit.CodeOf(err)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EROFS):
		code = sennit.ReadOnly
	case errors.Is(err, fs.ErrNotExist):
		code = sennit.NotFound
	case errors.Is(err, fs.ErrPermission):
		code = sennit.Denied
	case errors.Is(err, syscall.ENOTDIR):
		code = sennit.BadInput
	}
	return sennit.Errorf(code, format+": %w", append(args, err)...)
}
