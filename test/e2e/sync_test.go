//go:build linux

package e2e_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var editing = flag.Duration("edit", 5*time.Second, "how long two people edit the same directory")

// desk is somebody's directory, in which they edit files at random.
type desk struct {
	t      *testing.T
	dir    string
	aside  string // beside it, on the same file system
	name   string
	random *rand.Rand

	wrote []string        // every content, each another one
	seen  map[string]bool // contents of which they know that they replaced or removed them
}

// edit changes one file. What was there is swapped out in one step, so that it
// is known what the editor saw.
func (d *desk) edit() {
	name := fmt.Sprintf("notes-%d/%d.txt", d.random.IntN(3), d.random.IntN(12))
	path := filepath.Join(d.dir, name)
	if d.random.IntN(5) == 0 {
		if err := os.Rename(path, d.aside); err == nil {
			d.saw()
		} else if !errors.Is(err, fs.ErrNotExist) {
			d.t.Errorf("remove: %v", err)
		}
		return
	}
	text := fmt.Sprintf("%s %d %s\n", d.name, len(d.wrote), strings.Repeat("x", d.random.IntN(3000)))
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(d.aside, []byte(text), 0o644)); err != nil {
		d.t.Errorf("write: %v", err)
		return
	}
	switch err := unix.Renameat2(unix.AT_FDCWD, d.aside, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE); {
	case err == nil:
		d.saw()
	case !errors.Is(err, fs.ErrNotExist):
		d.t.Errorf("swap: %v", err)
		return
	default: // there is none
		if err := unix.Renameat2(unix.AT_FDCWD, d.aside, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE); err != nil {
			return // there is by now, or its directory went
		}
	}
	d.wrote = append(d.wrote, text)
}

// saw notes what lies aside.
func (d *desk) saw() {
	b, err := os.ReadFile(d.aside)
	if err != nil {
		d.t.Errorf("what was swapped out: %v", err)
	}
	d.seen[string(b)] = true
}

// files is what is in a directory, by path.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && (e.IsDir() || strings.HasPrefix(e.Name(), ".sennit-")) {
			return nil
		}
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if name, inside := filepath.Rel(dir, path); inside == nil {
			all[name] = string(b)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestTwoEditTheSameDirectory: two people at two nodes keep a directory each the
// same as one place in the tree, and edit at random. In the end both have the
// same files, and every content that somebody wrote is there, in its file or as a
// conflict, unless somebody who saw it replaced or removed it: also where both
// wrote to one value while the change of neither had reached the other's node.
func TestTwoEditTheSameDirectory(t *testing.T) {
	a, b := start(t), start(t)
	befriend(t, a, b)
	a.do("allow", "@b", "read,write,delete", "/me/shared")
	a.do("set", "shared/notes-0/begun.txt", "begun\n")
	eventually(t, "the friend may write", func() bool {
		_, _, exit := b.try("set", "/@a/shared/notes-1/begun.txt", "by b\n")
		return exit == 0
	})
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	var desks []*desk
	var running []*exec.Cmd
	exited := make(chan string, 2)
	for i, side := range []struct {
		n     *node
		place string
	}{{a, "shared"}, {b, "/@a/shared"}} {
		d := &desk{t: t, dir: t.TempDir(), name: string(rune('a' + i)), random: rand.New(rand.NewPCG(uint64(i), 1)), seen: map[string]bool{}}
		d.aside = filepath.Join(filepath.Dir(d.dir), "aside-"+d.name)
		desks = append(desks, d)
		cmd := exec.Command(path, "--data", side.n.dir, "sync", d.dir, side.place)
		said := new(strings.Builder)
		cmd.Stderr = said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, cmd)
		go func() { err := cmd.Wait(); exited <- fmt.Sprintf("%s: %v\n%s", d.name, err, said) }()
	}
	defer func() {
		for _, cmd := range running {
			_ = cmd.Process.Kill() // it may have ended
		}
	}()
	for _, d := range desks {
		eventually(t, "what was there is in the directory of "+d.name, func() bool { return len(files(t, d.dir)) == 2 })
	}

	// A pause that lets most edits through alone, so that there is more than conflicts.
	pause := max(30*time.Millisecond, min(*editing/100, time.Second))
	end := time.Now().Add(*editing)
	var wg sync.WaitGroup
	for _, d := range desks {
		wg.Go(func() {
			for time.Now().Before(end) && !t.Failed() {
				d.edit()
				time.Sleep(time.Duration(d.random.Int64N(int64(2 * pause))))
			}
		})
	}
	wg.Wait()
	var all map[string]string
	var since time.Time
	eventually(t, "both directories are the same, and stay so", func() bool {
		one, two := files(t, desks[0].dir), files(t, desks[1].dir)
		if !maps.Equal(one, two) || !maps.Equal(one, all) {
			all, since = one, time.Now()
			return false
		}
		return time.Since(since) > 12*time.Second // what was overtaken is asked for every 5 s
	})
	select {
	case why := <-exited:
		t.Errorf("sync ended by itself: %s", why)
	default:
	}
	if one, two := a.do("digest", "shared"), b.do("digest", "/@a/shared"); one != two {
		t.Errorf("the nodes differ: %s, %s", one, two)
	}

	conflicts, lost := 0, 0
	here := map[string]bool{}
	for name, text := range all {
		here[text] = true
		if strings.Contains(name, ".conflict-") {
			conflicts++
		}
	}
	for _, d := range desks {
		for _, text := range d.wrote {
			if here[text] || slices.ContainsFunc(desks, func(d *desk) bool { return d.seen[text] }) {
				continue
			}
			if lost++; lost < 5 {
				t.Errorf("what %s wrote is gone, and nobody saw it: %.30q", d.name, text)
			}
		}
	}
	t.Logf("%v: %d and %d edits, %d files in the end, %d of them conflicts; %d are lost",
		*editing, len(desks[0].wrote), len(desks[1].wrote), len(all), conflicts, lost)
	for _, cmd := range running {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
		<-exited
	}
}

// TestWhatTwoEditWhileTheyAreApartIsKept: neither knows of the other's change.
// The later one shows, and the earlier one, small or large, becomes a conflict
// copy at both; one that lost to a deletion comes back.
func TestWhatTwoEditWhileTheyAreApartIsKept(t *testing.T) {
	a, b := start(t), start(t)
	befriend(t, a, b)
	a.do("allow", "@b", "read,write,delete", "/me/shared")
	mine, theirs := t.TempDir(), t.TempDir()
	put := func(dir string, all map[string]string) {
		for name, text := range all {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	sync := func(n *node) {
		if n == a {
			n.do("sync", mine, "shared", "--once")
		} else {
			n.do("sync", theirs, "/@a/shared", "--once")
		}
	}
	// together brings both directories to the same state.
	together := func(count int) map[string]string {
		var all map[string]string
		eventually(t, "both directories are the same", func() bool {
			sync(a)
			sync(b)
			all = files(t, mine)
			return len(all) == count && maps.Equal(all, files(t, theirs))
		})
		return all
	}
	put(mine, map[string]string{"small.txt": "begun\n", "large.bin": "begun\n", "gone.txt": "begun\n", "same.txt": "begun\n"})
	eventually(t, "the friend may write", func() bool {
		_, _, exit := b.try("set", "/@a/shared/b.txt", "by b\n")
		return exit == 0
	})
	together(5)

	large := strings.Repeat("what a wrote into the large one\n", 10_000)
	b.stop()
	put(mine, map[string]string{"small.txt": "by a\n", "large.bin": large, "gone.txt": "by a\n", "same.txt": "by both\n"})
	sync(a)
	a.stop()
	b.up()
	put(theirs, map[string]string{"small.txt": "by b\n", "large.bin": "by b\n", "same.txt": "by both\n"})
	if err := os.Remove(filepath.Join(theirs, "gone.txt")); err != nil {
		t.Fatal(err)
	}
	sync(b)
	a.up()

	all := together(7)
	want := map[string]string{"b.txt": "by b\n", "same.txt": "by both\n", "gone.txt": "by a\n", "small.txt": "by b\n", "large.bin": "by b\n",
		"small.conflict.txt": "by a\n", "large.conflict.bin": large}
	got := map[string]string{}
	for name, text := range all {
		stem, rest, copied := strings.Cut(name, ".conflict-")
		if copied {
			name = stem + ".conflict" + filepath.Ext(rest)
		}
		got[name] = text
	}
	if !maps.Equal(got, want) {
		t.Errorf("both have %d files: %.200q, want %d: %.200q", len(all), got, len(want), want)
	}
	// It stays so, whoever looks again.
	for range 2 {
		sync(a)
		sync(b)
	}
	if again := files(t, mine); !maps.Equal(all, again) || !maps.Equal(all, files(t, theirs)) {
		t.Errorf("it doesn't come to rest: %d files, then %d and %d", len(all), len(again), len(files(t, theirs)))
	}
}
