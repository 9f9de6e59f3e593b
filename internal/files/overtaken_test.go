package files_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lukechampine.com/blake3"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/bustest"
	"github.com/sennit/sennit/internal/files"
)

// crossed is a bus to which somebody's writes came too late to show.
type crossed struct {
	sennit.Bus
	late  []files.Older
	texts map[sennit.Version]string
	first int // those before came before any sync
	fails sennit.Code
	away  map[sennit.Version]bool
	gone  bool
}

func (c *crossed) write(name, text, by string) {
	v := sennit.Version(by + "-" + string(rune('1'+len(c.late))))
	c.late = append(c.late, files.Older{
		Path: sennit.MustPath("p/" + name), Version: v, Time: time.Date(2026, 2, 3, 4, 5, len(c.late), 0, time.UTC),
		Type: "text/plain", Hash: blake3.Sum256([]byte(text)), Size: uint64(len(text)),
	})
	c.texts[v] = text
}

// overtaken is a files.Overtaken of which the cursors count from 1000.
func (c *crossed) overtaken(_ context.Context, since sennit.Cursor) ([]files.Older, sennit.Cursor, error) {
	if c.gone {
		c.gone = false
		return nil, since, sennit.Errorf(sennit.Gone, "another store")
	}
	n := c.first
	if since.Epoch == 1000 {
		n = int(since.N)
	}
	return c.late[n:], sennit.Cursor{Epoch: 1000, N: uint64(len(c.late))}, nil
}

type text struct{ *strings.Reader }

func (t text) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	return t.Reader.ReadAt(p, off)
}
func (text) Close() error { return nil }

func (c *crossed) At(_ context.Context, _ sennit.Addr, v sennit.Version) (sennit.Node, sennit.Content, error) {
	s, ok := c.texts[v]
	switch {
	case c.fails == sennit.Unreachable || c.away[v]:
		return sennit.Node{}, nil, sennit.Errorf(sennit.Unreachable, "nobody who has it can be reached")
	case !ok:
		return sennit.Node{}, nil, sennit.Errorf(sennit.Gone, "it is not held any more")
	}
	return sennit.Node{Version: v}, text{strings.NewReader(s)}, nil
}

func (c *crossed) Put(ctx context.Context, a sennit.Addr, typ string, from io.Reader, cond *sennit.Version) (sennit.Version, error) {
	if c.fails == sennit.ReadOnly {
		return "", sennit.Errorf(c.fails, "the disk is full")
	}
	return c.Bus.Put(ctx, a, typ, from, cond)
}

// TestSyncKeepsWhatCameTooLateToShow: a change that somebody made before they
// knew of a newer one is no less kept than one that was seen in time.
func TestSyncKeepsWhatCameTooLateToShow(t *testing.T) {
	bus := &crossed{Bus: bustest.Memory(), texts: map[sennit.Version]string{}}
	o := files.SyncOptions{Bus: bus, Dir: t.TempDir(), At: at("p"), Overtaken: bus.overtaken}
	did := map[string]files.Did{}
	o.Tell = func(e files.Event) {
		if e.Did != files.Fetched {
			did[e.Path] = e.Did
		}
	}
	for _, name := range []string{"n.txt", "same.txt", "gone.txt", "theirs.txt", "dir/x"} {
		write(t, o.Dir, name, []byte("here"), 0o644)
	}
	bus.write("n.txt", "before it began", "a")
	bus.first = 1
	once(t, o)
	bus.write("n.txt", "an earlier one of them", "a")
	bus.write("n.txt", "late", "a")
	bus.write("n.txt", "late, by another", "b")
	bus.write("same.txt", "here", "a")
	bus.write("gone.txt", "late", "a")
	bus.write("dir", "late", "a")
	bus.write("n.txt~", "late", "a")
	check(t, os.Remove(filepath.Join(o.Dir, "gone.txt")))
	del(t, bus, "p/gone.txt")
	want := map[string]string{
		"n.txt": "- here", "same.txt": "- here", "theirs.txt": "- here", "dir/x": "- here",
		"n!.txt": "- late", "gone.txt": "- late",
	}
	for _, again := range []string{"", "when there is nothing new", "when the state is gone", "when the store is another one"} {
		switch again {
		case "when the state is gone":
			check(t, os.Remove(filepath.Join(o.Dir, ".sennit-sync")))
		case "when the store is another one":
			bus.gone = true
		}
		once(t, o)
		got := disk(t, o.Dir)
		byB := "n.conflict-20260203-040503.txt"
		if got[byB] != "- late, by another" {
			t.Errorf("%s: %s is %q", again, byB, got[byB])
		}
		delete(got, byB)
		for name := range got {
			if strings.HasPrefix(name, "dir.conflict-") {
				delete(got, name)
			}
		}
		wantSame(t, "the directory "+again, unmark(got), want)
	}
	if did["n.txt"] != files.Conflicted || did["gone.txt"] != files.Restored {
		t.Errorf("it told %v", did)
	}
	if a, b := disk(t, o.Dir), tree(t, bus, "p"); !maps.Equal(a, b) {
		t.Errorf("the directory has %v, the tree %v", a, b)
	}

	// What can't be read is told, once.
	bus.write("n.txt", "not held", "c")
	clear(bus.texts)
	if r := onceFails(t, o, sennit.Partly, "1 could not be kept"); len(r.Skipped) != 1 || !strings.Contains(r.Skipped[0].Why, "sennit history") {
		t.Errorf("skipped %v", r.Skipped)
	}
	once(t, o)

	// What may be read later is tried again later.
	bus.write("n.txt", "on a laptop that sleeps", "d")
	for _, why := range []sennit.Code{sennit.Unreachable, sennit.ReadOnly} {
		bus.fails = why
		if r := onceFails(t, o, sennit.Partly, "1 could not be kept"); len(r.Skipped) != 1 {
			t.Errorf("skipped %v", r.Skipped)
		}
	}
	bus.fails = ""
	once(t, o)
	if got := disk(t, o.Dir); got["n.conflict-20260203-040509.txt"] != "- on a laptop that sleeps" {
		t.Errorf("the directory has %v", got)
	}

	// If the node can't be asked, nothing is taken for seen to.
	bus.write("n.txt", "late again", "e")
	away := errors.Join(sennit.Errorf(sennit.Unreachable, "the node is away"), io.ErrUnexpectedEOF)
	o.Overtaken = func(context.Context, sennit.Cursor) ([]files.Older, sennit.Cursor, error) {
		return nil, sennit.Cursor{}, away
	}
	onceFails(t, o, sennit.Unreachable, "the node is away")
	o.Overtaken = bus.overtaken
	once(t, o)
	if got := disk(t, o.Dir); got["n.conflict-20260203-040510.txt"] != "- late again" {
		t.Errorf("the directory has %v", got)
	}
}

// TestSyncOfOneFileKeepsWhatCameTooLateToShow: beside the file, also if another
// copy is in the tree already.
func TestSyncOfOneFileKeepsWhatCameTooLateToShow(t *testing.T) {
	bus := &crossed{Bus: bustest.Memory(), texts: map[sennit.Version]string{}}
	dir := t.TempDir()
	o := files.SyncOptions{Bus: bus, Dir: filepath.Join(dir, "n.txt"), At: at("p/n.txt"), Overtaken: bus.overtaken}
	write(t, dir, "n.txt", []byte("here"), 0o644)
	once(t, o)
	put(t, bus, "p/n.conflict-20260203-040500.txt", []byte("another"), "")
	bus.write("n.txt", "late", "a")
	bus.write("other.txt", "late", "a")
	once(t, o)
	once(t, o)
	want := map[string]string{"n.txt": "- here", "n.conflict-20260203-040500-1.txt": "- late"}
	wantSame(t, "the directory", disk(t, dir), want)
	want["n.conflict-20260203-040500.txt"] = "- another"
	wantSame(t, "the tree", tree(t, bus, "p"), want)
}

// TestSyncMakesEachCopyOnce: also while another one can't be made, which is told
// each time, and whatever becomes of the copy.
func TestSyncMakesEachCopyOnce(t *testing.T) {
	bus := &crossed{Bus: bustest.Memory(), texts: map[sennit.Version]string{}}
	o := files.SyncOptions{Bus: bus, Dir: t.TempDir(), At: at("p"), Overtaken: bus.overtaken}
	long := strings.Repeat("d/", 10) + strings.Repeat("n", 200)
	deep := strings.Repeat(strings.Repeat("e", 240)+"/", 4) + "0123456789012345678901234567890123456789012"
	for _, name := range []string{"a", "b", "c", long, deep} {
		write(t, o.Dir, name, []byte("here"), 0o644)
	}
	once(t, o)
	bus.write("a", "late a", "x")
	bus.write("b", "late b", "x")
	delete(bus.texts, bus.late[1].Version)
	bus.away = map[sennit.Version]bool{bus.late[1].Version: true} // on a laptop that is gone
	bus.write("c", "late c", "x")
	bus.write(long, "late", "x")
	bus.write(deep, "late, and no name fits", "x")
	put(t, bus, "p/seen-late", []byte("x"), "")
	r := onceFails(t, o, sennit.Partly, "2 could not be kept")
	skipped := map[string]bool{}
	for _, s := range r.Skipped {
		skipped[s.Path] = true
	}
	if !skipped["b"] || !skipped[deep] {
		t.Errorf("skipped %v", r.Skipped)
	}
	copyOfA := "a.conflict-20260203-040500"
	if got := disk(t, o.Dir); got[copyOfA] != "- late a" || got["c.conflict-20260203-040502"] != "- late c" {
		t.Errorf("the directory has %v", got)
	}
	check(t, os.Remove(filepath.Join(o.Dir, copyOfA)))
	for range 2 {
		if r := onceFails(t, o, sennit.Partly, "1 could not be kept"); r.Skipped[0].Path != "b" {
			t.Errorf("skipped %v", r.Skipped)
		}
	}
	bus.away = nil
	bus.texts[bus.late[1].Version] = "late b"
	once(t, o)
	got := disk(t, o.Dir)
	if got["b.conflict-20260203-040501"] != "- late b" {
		t.Errorf("the directory has %v", got)
	}
	for name := range got {
		if strings.HasPrefix(name, "a.conflict-") {
			t.Errorf("the copy that was removed is back: %s", name)
		}
	}
}

// TestSyncMeetsAnotherCopyOfTheSameName: somebody else makes one meanwhile.
func TestSyncMeetsAnotherCopyOfTheSameName(t *testing.T) {
	bus := &crossed{Bus: bustest.Memory(), texts: map[sennit.Version]string{}}
	o := files.SyncOptions{Bus: bus, Dir: t.TempDir(), At: at("p")}
	write(t, o.Dir, "a", []byte("here"), 0o644)
	once(t, o)
	o.Overtaken = func(ctx context.Context, since sennit.Cursor) ([]files.Older, sennit.Cursor, error) {
		if len(bus.late) == 0 {
			bus.write("a", "late", "x")
			put(t, bus, "p/a.conflict-20260203-040500", []byte("another's"), "")
		}
		return bus.overtaken(ctx, since)
	}
	once(t, o)
	once(t, o)
	want := map[string]string{"a": "- here", "a.conflict-20260203-040500": "- another's", "a.conflict-20260203-040500-1": "- late"}
	wantSame(t, "the directory", disk(t, o.Dir), want)
	wantSame(t, "the tree", tree(t, bus, "p"), want)
}
