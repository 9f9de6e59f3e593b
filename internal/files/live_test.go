package files_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/bustest"
	"github.com/sennit/sennit/internal/files"
)

// started is a live sync.
type started struct {
	t      *testing.T
	events chan files.Event
	ended  chan error
	stop   context.CancelFunc
}

func start(t *testing.T, o files.SyncOptions) *started {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	s := &started{t, make(chan files.Event, 1000), make(chan error, 1), stop}
	o.Tell = func(e files.Event) { s.events <- e }
	go func() {
		_, err := files.Sync(ctx, o)
		s.ended <- err
	}()
	t.Cleanup(stop)
	return s
}

// wait waits until a path met with something.
func (s *started) wait(path string, did files.Did) files.Event {
	s.t.Helper()
	patience := time.After(20 * time.Second)
	for {
		select {
		case e := <-s.events:
			if e.Path == path && e.Did == did {
				return e
			}
		case err := <-s.ended:
			s.t.Fatalf("it ended with %v while %q of %q was waited for", err, did, path)
		case <-patience:
			s.t.Fatalf("%q does not become %q", path, did)
		}
	}
}

// end waits until the sync ends.
func (s *started) end(code sennit.Code) {
	s.t.Helper()
	select {
	case err := <-s.ended:
		wantCode(s.t, err, code)
	case <-time.After(20 * time.Second):
		s.t.Fatal("it does not end")
	}
}

func TestLiveSync(t *testing.T) {
	t.Parallel()
	bus := bustest.Memory()
	o := files.SyncOptions{Bus: bus, Dir: t.TempDir(), At: at("p"), Absent: 10 * time.Millisecond, Quiet: time.Millisecond, Rescan: time.Hour}
	write(t, o.Dir, "first", []byte("1"), 0o644)
	s := start(t, o)
	s.wait("first", files.Sent)
	s.wait("", files.Live)
	onceFails(t, o, sennit.Conflict, "another sync runs")

	write(t, o.Dir, "new/dir/file", []byte("1"), 0o644) // in directories that nobody watched
	s.wait("new/dir/file", files.Sent)
	put(t, bus, "p/new/theirs", []byte("x"), "")
	s.wait("new/theirs", files.Fetched)               // what the tree had to tell so far was told
	temp := filepath.Join(o.Dir, "new/dir/.file.swp") // saved as editors do it
	check(t, os.WriteFile(temp, []byte("22"), 0o644))
	check(t, os.Rename(temp, filepath.Join(o.Dir, "new/dir/file")))
	s.wait("new/dir/file", files.Sent)
	put(t, bus, "p/theirs", []byte("x"), "")
	s.wait("theirs", files.Fetched)
	check(t, os.Remove(filepath.Join(o.Dir, "theirs")))
	s.wait("theirs", files.DeletedTree)
	del(t, bus, "p/first")
	s.wait("first", files.DeletedFile)
	want := map[string]string{"new/dir/file": "- 22", "new/theirs": "- x"}
	wantSame(t, "the directory", disk(t, o.Dir), want)
	wantSame(t, "the tree", tree(t, bus, "p"), want)
	bus.Restore() // the watch starts over
	put(t, bus, "p/later", []byte("x"), "")
	s.wait("later", files.Fetched)
	_, err := bus.Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindDel, Path: "p/new", Deep: true}})
	check(t, err)
	s.wait("new/dir/file", files.DeletedFile)
	s.stop()
	s.end(sennit.Interrupted)
	wantSame(t, "the directory", disk(t, o.Dir), map[string]string{"later": "- x"})
}

// TestLiveSyncOfWhatVanishes: it ends, and deletes nothing.
func TestLiveSyncOfWhatVanishes(t *testing.T) {
	t.Parallel()
	for name, vanish := range map[string]func(dir string) error{
		"removed":  os.RemoveAll,
		"replaced": func(dir string) error { return os.Rename(dir, dir+".old") },
	} {
		t.Run(name, func(t *testing.T) {
			bus := bustest.Memory()
			o := files.SyncOptions{Bus: bus, Dir: filepath.Join(t.TempDir(), "dir"), At: at("p"), Quiet: time.Millisecond, Rescan: 50 * time.Millisecond}
			for i := range 5 {
				write(t, o.Dir, fmt.Sprint(i), []byte("x"), 0o644)
			}
			s := start(t, o)
			s.wait("", files.Live)
			check(t, vanish(o.Dir))
			check(t, os.MkdirAll(o.Dir, 0o777))
			s.end(sennit.NotFound)
			if n := len(tree(t, bus, "p")); n != 5 {
				t.Errorf("%d values are left", n)
			}
		})
	}
}

// away is a bus whose node can't be reached for a while.
type away struct {
	sennit.Bus
	failures int
}

func (b *away) Write(ctx context.Context, root string, changes []sennit.Change) (sennit.Version, error) {
	if b.failures++; b.failures == 1 {
		return "", sennit.Errorf(sennit.Unreachable, "nobody answers")
	}
	return b.Bus.Write(ctx, root, changes)
}

func TestLiveSyncWaitsForTheNode(t *testing.T) {
	t.Parallel()
	bus := bustest.Memory()
	o := files.SyncOptions{Bus: &away{Bus: bus}, Dir: t.TempDir(), At: at("p"), Quiet: time.Millisecond}
	write(t, o.Dir, "a", []byte("1"), 0o644)
	s := start(t, o)
	if e := s.wait("", files.Waiting); e.Why != "nobody answers" {
		t.Errorf("%+v", e)
	}
	s.wait("a", files.Sent)
	s.stop()
	s.end(sennit.Interrupted)
}
