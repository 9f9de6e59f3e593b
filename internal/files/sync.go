package files

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"
)

// SyncOptions says what to keep the same, and how.
type SyncOptions struct {
	Bus sennit.Bus
	Dir string // the directory, or one file
	// At is the path whose values are the directory's files, or the value of
	// the one file. Its root is what the state file remembers, so it should be
	// a space's id: "me" is another one on another node.
	At          sennit.Addr
	Once        bool        // make both sides the same, and end
	Overtaken   Overtaken   // may be nil: then what came too late to show is left to history
	ForceDelete bool        // also if more than half of the names are gone from a side
	Tell        func(Event) // is told what is done, from the caller's goroutine. It may be nil

	Quiet  time.Duration // how long nothing changed before a file is read; 0: 200 ms
	Absent time.Duration // how long a file is gone before its value is deleted, unless Once is set; 0: 2 s
	Rescan time.Duration // how often to look at all files, told of changes or not; 0: 1 minute

	seam seam
}

// Did is what was done to a name.
type Did string

// What was done.
const (
	Sent        Did = "sent"         // the value was made like the file
	Fetched     Did = "fetched"      // the file was made like the value
	DeletedTree Did = "deleted-tree" // the value was deleted, as the file was
	DeletedFile Did = "deleted-file" // the file was deleted, as the value was
	Conflicted  Did = "conflict"     // both had changed: one of the two has another name now, on both sides
	Restored    Did = "restored"     // it was deleted here while somebody else changed it: the change is back
	Skipped     Did = "skipped"      // it can't be kept the same
	Live        Did = "live"         // both sides are the same for the first time
	Waiting     Did = "waiting"      // the node can't be reached, or takes no more for now
)

// Event is something that a sync did.
type Event struct {
	Path string `json:"path,omitempty"` // below the directory, with slashes
	Did  Did    `json:"did"`            // "sent", "fetched", "deleted-tree", "deleted-file", "conflict", "restored", "skipped", "live" or "waiting"
	Copy string `json:"copy,omitempty"` // of "conflict": the other name
	Why  string `json:"why,omitempty"`  // of what was skipped, or is waited for
}

// Sync keeps a directory and the values under a path the same, or one file and
// one value: what changed on one side since both agreed is carried to the other.
// What changed on both is kept from both: the tree's value under its name, the
// file's under one that tells of the conflict (docs/files.md). It goes on until
// ctx ends; with o.Once it ends when both sides are the same.
//
// It fails with [sennit.NotFound] if the directory is gone, with
// [sennit.Conflict] if another sync runs there, if the directory is kept the
// same as something else, or if more than half of more than 20 names are gone
// from a side. With o.Once, skipped names make the code [sennit.Partly], and the
// report is whole.
func Sync(ctx context.Context, o SyncOptions) (Report, error) {
	begun := time.Now()
	s, err := newSyncer(ctx, o)
	if err != nil {
		var r Report
		return r.end(begun, err)
	}
	if o.Once {
		err = s.once(ctx)
	} else {
		err = s.live(ctx)
	}
	err = errors.Join(err, s.close())
	for name, why := range s.skips {
		s.report.skip(name, why)
	}
	return s.report.end(begun, err)
}

// scope is what is kept the same as what.
type scope struct {
	at   sennit.Addr
	only string // the one file, "" if it is a directory
}

// pathOf is where the value of a file is.
func (s scope) pathOf(name string) (sennit.Path, error) {
	switch {
	case s.only == "":
		return pathOf(s.at.Path, name)
	case name == s.only:
		return s.at.Path, nil
	}
	stem, ext := splitExt(s.only)
	return pathOf("", strings.TrimSuffix(string(s.at.Path), ext)+name[len(stem):])
}

// leaves reports whether a file is not to be carried.
func (s scope) leaves(base string) bool {
	if s.only == "" {
		return passing(base)
	}
	stem, ext := splitExt(s.only)
	return base != s.only && (!strings.HasPrefix(base, stem+copyMark) || !strings.HasSuffix(base, ext) || len(base) < len(stem+copyMark+ext))
}

// syncer is one sync.
type syncer struct {
	SyncOptions
	scope
	dir   string // the directory, also of one file
	info  fs.FileInfo
	disk  *disk
	lock  interface{ Close() error }
	state string // the name of the state file

	base   map[string]agreed
	since  sennit.Cursor        // behind the arrivals of which it is known what they overtook
	kept   sennit.Cursor        // since, as the state file has it
	todo   []Older              // what was overtaken and isn't kept yet
	tried  map[string]time.Time // of those that failed: when to try again
	unkept map[string]string    // why somebody's older change isn't beside a name
	copies names                // of one file that are in the tree
	saved  bool                 // there is a state file
	dirty  bool                 // it isn't what base is
	mirror *mirror
	enter  func(dir string) // is called before a directory is listed; may be nil

	gone   map[string]time.Time // files of which values are left, and since when
	absent time.Duration        // how long until those are deleted
	skips  map[string]string    // reasons, of the last round
	report Report
}

func newSyncer(ctx context.Context, o SyncOptions) (_ *syncer, err error) {
	if o.Quiet == 0 {
		o.Quiet = 200 * time.Millisecond
	}
	if o.Absent == 0 {
		o.Absent = 2 * time.Second
	}
	if o.Rescan == 0 {
		o.Rescan = time.Minute
	}
	s := &syncer{SyncOptions: o, scope: scope{at: o.At}, dir: o.Dir, state: stateName, base: map[string]agreed{}, tried: map[string]time.Time{}, unkept: map[string]string{}, copies: names{}, gone: map[string]time.Time{}}
	info, err := os.Stat(o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, failed(err, "look at %s", o.Dir)
	}
	if err != nil || !info.IsDir() {
		s.dir, s.only = filepath.Split(filepath.Clean(o.Dir))
		s.dir = filepath.Clean(s.dir)
		s.state += "." + s.only
		if _, bad := pathOf("", s.only); bad != nil {
			return nil, bad
		}
	}
	if s.only != "" && o.At.Path == "" {
		return nil, sennit.Errorf(sennit.BadInput, "one file needs the path of one value; %s is a whole space", o.At)
	}
	if err != nil {
		if missing := s.mayBeMissing(ctx); missing != nil {
			return nil, missing
		}
	}
	if s.info, err = os.Stat(s.dir); err != nil {
		return nil, failed(err, "look at %s", s.dir)
	}
	if s.disk, err = openDisk(s.dir, o.seam); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	lock := s.state + lockSuffix
	if was, err := s.disk.lstat(lock); err == nil && !was.info.Mode().IsRegular() {
		return nil, sennit.Errorf(sennit.Conflict, "%s is in the way: it is %s", filepath.Join(s.dir, lock), kindOf(was.info.Mode()))
	}
	if s.lock, err = vfs.Default.Lock(filepath.Join(s.dir, lock)); err != nil {
		return nil, sennit.Errorf(sennit.Conflict, "another sync runs on %s: %w", o.Dir, err)
	}
	return s, s.load(ctx)
}

// mayBeMissing fails unless one file may be missing, because a sync remembers
// it or a value is there to become it.
func (s *syncer) mayBeMissing(ctx context.Context) error {
	if _, err := os.Lstat(filepath.Join(s.dir, s.state)); err == nil {
		return nil
	}
	if _, err := s.Bus.Get(ctx, s.at); err == nil {
		return nil
	} else if sennit.CodeOf(err) != sennit.NotFound {
		return err
	}
	return sennit.Hint(sennit.Errorf(sennit.NotFound, "there is no %s", s.Dir), "make it first, or see whether its disk is mounted")
}

// load reads the state file. Without one nothing is deleted, what is equal
// agrees, and what differs is a conflict.
func (s *syncer) load(ctx context.Context) error {
	st, there, err := s.disk.loadState(ctx, s.state)
	if err != nil || !there {
		return err
	}
	if st.at != s.at.String() {
		return sennit.Hint(sennit.Errorf(sennit.Conflict, "%s is kept the same as %s, not as %s", s.Dir, st.at, s.at),
			"remove "+filepath.Join(s.dir, s.state)+" if that is over")
	}
	s.base, s.since, s.kept, s.todo, s.saved = st.names, st.since, st.since, st.todo, true
	return nil
}

func (s *syncer) close() error {
	var err error
	if s.lock != nil {
		err = s.lock.Close()
	}
	s.disk.close()
	return err
}

// stillThere fails if the directory or what it remembers vanished: it may have
// been unmounted, and that deletes nothing.
func (s *syncer) stillThere() error {
	now, err := os.Stat(s.dir)
	if err == nil && !os.SameFile(now, s.info) {
		err = fs.ErrNotExist
	}
	if err == nil && s.saved {
		_, err = s.disk.lstat(s.state)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return sennit.Hint(sennit.Errorf(sennit.NotFound, "%s vanished, or its %s did; nothing was deleted", s.dir, s.state),
			"see whether its disk is mounted, and start again")
	}
	if err != nil {
		return failed(err, "look at %s", s.dir)
	}
	return nil
}

// tell tells what was done.
func (s *syncer) tell(e Event) {
	if s.Tell != nil {
		s.Tell(e)
	}
}

// maxRounds is how often a single sync looks again, because something changed
// while it looked.
const maxRounds = 20

// once makes both sides the same.
func (s *syncer) once(ctx context.Context) error {
	var err error
	if s.mirror, err = readMirror(ctx, s.Bus, s.at.Path, s.pattern()); err != nil {
		return err
	}
	for range maxRounds {
		next, err := s.round(ctx)
		if err != nil || next == 0 {
			return err
		}
		if err := pause(ctx, next); err != nil {
			return err
		}
	}
	return sennit.Hint(sennit.Errorf(sennit.Timeout, "%s doesn't come to rest: something writes to it all the time", s.Dir), "sync it when less is going on")
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pattern is what to watch.
func (s *syncer) pattern() []sennit.Pattern {
	return []sennit.Pattern{{Root: s.at.Root, Path: string(s.at.Path), Exact: s.only != ""}}
}

// copyMark is in the names of the copies that conflicts leave.
const copyMark = ".conflict-"

// splitExt splits a file's name before its extension.
func splitExt(base string) (stem, ext string) {
	if ext = path.Ext(base); ext == base {
		return base, ""
	}
	return base[:len(base)-len(ext)], ext
}

// marked is a file's name with another end. What doesn't fit is cut off before that.
func marked(stem, end string) string {
	for len(stem)+len(end) > sennit.MaxComponent && stem != "" {
		_, size := utf8.DecodeLastRuneInString(stem)
		stem = stem[:len(stem)-size]
	}
	return stem + end
}

// copyName is a name for the side of a conflict that doesn't keep its own, and that isn't taken.
func (s *syncer) copyName(name string, now time.Time, taken func(string) bool) (string, error) {
	dir, base := path.Split(name)
	stem, ext := splitExt(base)
	mark := copyMark + now.Format("20060102-150405")
	for n := 0; ; n++ {
		end := mark + ext
		if n > 0 {
			end = mark + "-" + strconv.Itoa(n) + ext
		}
		short := stem + end
		if s.only == "" {
			short = marked(stem, end)
		}
		copied := dir + short
		if _, err := s.pathOf(copied); err != nil || len(short) > sennit.MaxComponent {
			return "", inTheWay("both sides changed, and its name is too long for one that tells of that")
		}
		if !taken(copied) {
			return copied, nil
		}
	}
}
