package files_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/bustest"
	"github.com/sennit/sennit/internal/files"
)

// once syncs, and wants it to succeed.
func once(t *testing.T, o files.SyncOptions) files.Report {
	t.Helper()
	o.Once, o.Quiet = true, 1
	o.Volatile()
	r, err := files.Sync(t.Context(), o)
	check(t, err)
	return r
}

// onceFails syncs, and wants it to fail.
func onceFails(t *testing.T, o files.SyncOptions, code sennit.Code, part string) files.Report {
	t.Helper()
	o.Once, o.Quiet = true, 1
	o.Volatile()
	r, err := files.Sync(t.Context(), o)
	wantCode(t, err, code)
	if !strings.Contains(err.Error(), part) {
		t.Fatalf("%v, want %q", err, part)
	}
	return r
}

func del(t *testing.T, bus sennit.Bus, path string) {
	t.Helper()
	_, err := bus.Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindDel, Path: sennit.MustPath(path)}})
	check(t, err)
}

var conflictName = regexp.MustCompile(`^(.*)\.conflict-[0-9]{8}-[0-9]{6}(-[0-9]+)?(\.txt)?$`)

// unmark gives copies that conflicts left a name without a time.
func unmark(all map[string]string) map[string]string {
	plain := map[string]string{}
	for name, v := range all {
		plain[conflictName.ReplaceAllString(name, "$1!$3")] = v
	}
	return plain
}

// TestSyncDecides goes through what can have happened to a name on both sides.
func TestSyncDecides(t *testing.T) {
	const gone = "-"
	for _, c := range []struct{ base, here, there, want, copy string }{
		{base: "a", here: "a", there: "a", want: "a"},
		{base: "a", here: "b", there: "a", want: "b"},
		{base: "a", here: "a", there: "b", want: "b"},
		{base: "a", here: "b", there: "b", want: "b"},
		{base: "a", here: "b", there: "c", want: "c", copy: "b"},
		{base: "a", here: gone, there: "a", want: gone},
		{base: "a", here: "a", there: gone, want: gone},
		{base: "a", here: gone, there: gone, want: gone},
		{base: "a", here: "b", there: gone, want: "b"},
		{base: "a", here: gone, there: "b", want: "b"},
		{base: gone, here: "a", there: gone, want: "a"},
		{base: gone, here: gone, there: "a", want: "a"},
		{base: gone, here: "a", there: "a", want: "a"},
		{base: gone, here: "a", there: "b", want: "b", copy: "a"},
	} {
		t.Run(fmt.Sprintf("%s to %s and %s", c.base, c.here, c.there), func(t *testing.T) {
			bus := bustest.Memory()
			o := files.SyncOptions{Bus: bus, Dir: t.TempDir(), At: at("p")}
			write(t, o.Dir, "stays", []byte("x"), 0o644)
			if c.base != gone {
				write(t, o.Dir, "d/n.txt", []byte(c.base), 0o644)
			}
			once(t, o)
			if c.here == gone {
				check(t, os.RemoveAll(filepath.Join(o.Dir, "d")))
			} else {
				write(t, o.Dir, "d/n.txt", []byte(c.here), 0o644)
			}
			if c.there == gone {
				del(t, bus, "p/d/n.txt")
			} else {
				put(t, bus, "p/d/n.txt", []byte(c.there), "text/plain; charset=utf-8")
			}
			once(t, o)
			want := map[string]string{"stays": "- x"}
			if c.want != gone {
				want["d/n.txt"] = "- " + c.want
			}
			if c.copy != "" {
				want["d/n!.txt"] = "- " + c.copy
			}
			wantSame(t, "the directory", unmark(disk(t, o.Dir)), want)
			wantSame(t, "the tree", unmark(tree(t, bus, "p")), want)
			if r := once(t, o); r.Files+r.Deleted != 0 {
				t.Errorf("it doesn't come to rest: %+v", r)
			}
		})
	}
}

// TestSyncKeepsBothChanges: what a file holds and whether it is a program can
// change on different sides.
func TestSyncKeepsBothChanges(t *testing.T) {
	bus := bustest.Memory()
	o := files.SyncOptions{Bus: bus, Dir: t.TempDir(), At: at("p")}
	write(t, o.Dir, "run", []byte("1"), 0o644)
	once(t, o)
	write(t, o.Dir, "run", []byte("2"), 0o644)
	put(t, bus, "p/run", []byte("1"), "text/plain; mode=755")
	once(t, o)
	want := map[string]string{"run": "x 2"}
	wantSame(t, "the directory", disk(t, o.Dir), want)
	wantSame(t, "the tree", tree(t, bus, "p"), want)
	check(t, os.Chmod(filepath.Join(o.Dir, "run"), 0o600))
	once(t, o)
	if got := tree(t, bus, "p")["run"]; got != "- 2" {
		t.Errorf("the value is %q", got)
	}
}

// TestSyncLeavesAlone: what editors put beside a file is nobody's business, in
// either direction.
func TestSyncLeavesAlone(t *testing.T) {
	bus := bustest.Memory()
	o := files.SyncOptions{Bus: bus, Dir: t.TempDir(), At: at("p")}
	for _, name := range []string{".#a", "#a#", "a~", ".a.swp", ".a.swx", "4913", ".a.kate-swp", ".goutputstream-X1", ".~lock.a.odt#", "~$a.docx", "dir~/a", ".sennit-tmp-0"} {
		write(t, o.Dir, name, []byte("x"), 0o644)
	}
	put(t, bus, "p/b~", []byte("x"), "")
	put(t, bus, "p/.sennit-sync", []byte("x"), "")
	write(t, o.Dir, "a", []byte("x"), 0o644)
	once(t, o)
	wantSame(t, "the tree", tree(t, bus, "p"), map[string]string{"a": "- x", "b~": "- x", ".sennit-sync": "- x"})
	if _, err := os.Lstat(filepath.Join(o.Dir, "b~")); err == nil {
		t.Error("b~ was fetched")
	}
	if _, err := os.Lstat(filepath.Join(o.Dir, ".sennit-tmp-0")); err == nil {
		t.Error("what a killed sync left is still there")
	}
}

// TestSyncSkips: what can't be kept the same is told, every time, and frozen.
func TestSyncSkips(t *testing.T) {
	bus := bustest.Memory()
	o := files.SyncOptions{Bus: bus, Dir: t.TempDir(), At: at("p")}
	for _, name := range []string{"a", "d/x", "d/y", "plain"} {
		write(t, o.Dir, name, []byte("x"), 0o644)
	}
	once(t, o)
	outside := t.TempDir()
	check(t, os.RemoveAll(filepath.Join(o.Dir, "d")))
	check(t, os.Symlink(outside, filepath.Join(o.Dir, "d")))
	check(t, os.Remove(filepath.Join(o.Dir, "a")))
	check(t, os.Symlink("plain", filepath.Join(o.Dir, "a")))
	put(t, bus, "p/d/x", []byte("new"), "")
	put(t, bus, "p/plain/below", []byte("new"), "")
	put(t, bus, "p/e", []byte("new"), "")
	put(t, bus, "p/e/below", []byte("new"), "")
	for range 2 {
		r := onceFails(t, o, sennit.Partly, "4 could not be kept")
		got := skips(r)
		if got["a"] != "it is a symlink" || got["d"] != "it is a symlink" || !strings.Contains(got["plain/below"], "plain is in the way") || !strings.Contains(got["e"], "it is a directory") {
			t.Errorf("skipped: %v", got)
		}
	}
	wantSame(t, "the tree", tree(t, bus, "p"), map[string]string{
		"a": "- x", "d/x": "- new", "d/y": "- x", "plain": "- x", "plain/below": "- new", "e": "- new", "e/below": "- new",
	})
	if len(disk(t, outside)) != 0 {
		t.Errorf("outside there is %v", disk(t, outside))
	}
}

// TestSyncGuardsAgainstMishaps: a disk that isn't mounted deletes nothing.
func TestSyncGuardsAgainstMishaps(t *testing.T) {
	bus := bustest.Memory()
	o := files.SyncOptions{Bus: bus, Dir: filepath.Join(t.TempDir(), "dir"), At: at("p")}
	onceFails(t, o, sennit.NotFound, "there is no")
	fill := func() {
		for i := range 30 {
			write(t, o.Dir, fmt.Sprint(i), []byte("x"), 0o644)
		}
	}
	fill()
	once(t, o)
	all := tree(t, bus, "p")
	empty := func() {
		for i := range 16 {
			check(t, os.Remove(filepath.Join(o.Dir, fmt.Sprint(i))))
		}
	}
	empty()
	onceFails(t, o, sennit.Conflict, "16 of 30 files are gone")
	wantSame(t, "the tree", tree(t, bus, "p"), all)
	o.ForceDelete = true
	if r := once(t, o); r.Deleted != 16 || len(tree(t, bus, "p")) != 14 {
		t.Errorf("%+v", r)
	}
	o.ForceDelete = false
	fill()
	once(t, o)
	_, err := bus.Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindDel, Path: "p", Deep: true}})
	check(t, err)
	onceFails(t, o, sennit.Conflict, "30 of 30 files are gone")
	if len(disk(t, o.Dir)) != 30 {
		t.Errorf("%d files are left", len(disk(t, o.Dir)))
	}
	for i := range 30 {
		put(t, bus, fmt.Sprintf("p/%d", i), []byte("x"), "")
	}
	check(t, os.RemoveAll(o.Dir))
	onceFails(t, o, sennit.NotFound, "there is no")
	check(t, os.Mkdir(o.Dir, 0o777)) // where the disk would be
	once(t, o)
	wantSame(t, "the tree", tree(t, bus, "p"), all)
}

func TestSyncKnowsItsState(t *testing.T) {
	bus := bustest.Memory()
	o := files.SyncOptions{Bus: bus, Dir: t.TempDir(), At: at("p")}
	state := filepath.Join(o.Dir, ".sennit-sync")
	write(t, o.Dir, "a", []byte("1"), 0o644)
	write(t, o.Dir, "b", []byte("1"), 0o644)
	once(t, o)
	good, err := os.ReadFile(state)
	check(t, err)
	other := o
	other.At = at("q")
	onceFails(t, other, sennit.Conflict, "is kept the same as /me/p, not as /me/q")
	if len(tree(t, bus, "q")) != 0 {
		t.Error("the other tree was written")
	}

	for name, bad := range map[string][]byte{
		"missing": nil, "empty": {}, "cut": good[:len(good)-5], "cut at a line": good[:bytes.LastIndexByte(good[:len(good)-1], '\n')+1],
		"altered": bytes.Replace(good, []byte(`"size":1`), []byte(`"size":2`), 1), "longer": append(bytes.Clone(good), good...), "no JSON": []byte("hello\n"),
	} {
		t.Run(name, func(t *testing.T) {
			if bad == nil {
				check(t, os.Remove(state))
			} else {
				check(t, os.WriteFile(state, bad, 0o644))
			}
			check(t, os.Remove(filepath.Join(o.Dir, "a")))
			once(t, o) // nothing is deleted
			wantSame(t, "the directory", disk(t, o.Dir), map[string]string{"a": "- 1", "b": "- 1"})
			wantSame(t, "the tree", tree(t, bus, "p"), map[string]string{"a": "- 1", "b": "- 1"})
		})
	}
}

// TestSyncOfOneFile keeps a file the same as a value that has another name.
func TestSyncOfOneFile(t *testing.T) {
	bus, dir := bustest.Memory(), t.TempDir()
	o := files.SyncOptions{Bus: bus, Dir: filepath.Join(dir, "todo.txt"), At: at("notes/todo")}
	onceFails(t, o, sennit.NotFound, "there is no")
	write(t, dir, "other.txt", []byte("x"), 0o644)
	put(t, bus, "notes/todo", []byte("1"), "")
	put(t, bus, "notes/todo/below", []byte("x"), "")
	put(t, bus, "notes/other", []byte("x"), "")
	once(t, o)
	wantSame(t, "the directory", disk(t, dir), map[string]string{"todo.txt": "- 1", "other.txt": "- x"})
	write(t, dir, "todo.txt", []byte("22"), 0o644)
	once(t, o)
	put(t, bus, "notes/todo", []byte("333"), "")
	write(t, dir, "todo.txt", []byte("4444"), 0o644)
	once(t, o)
	wantSame(t, "the directory", unmark(disk(t, dir)), map[string]string{"todo.txt": "- 333", "todo!.txt": "- 4444", "other.txt": "- x"})
	wantSame(t, "the tree", unmark(tree(t, bus, "notes")), map[string]string{"todo": "- 333", "todo!.txt": "- 4444", "todo/below": "- x", "other": "- x"})
	if r := once(t, o); r.Files+r.Deleted != 0 {
		t.Errorf("it doesn't come to rest: %+v", r)
	}
	check(t, os.Remove(filepath.Join(dir, "todo.txt")))
	once(t, o)
	if _, ok := tree(t, bus, "notes")["todo"]; ok {
		t.Error("the value is still there")
	}
	o.At = sennit.Addr{Root: "me"}
	onceFails(t, o, sennit.BadInput, "a whole space")
}

// TestSyncOfLongNames: a conflict finds room for the name of the copy.
func TestSyncOfLongNames(t *testing.T) {
	bus := bustest.Memory()
	o := files.SyncOptions{Bus: bus, Dir: t.TempDir(), At: at("p")}
	name := strings.Repeat("ä", 125) + ".txt"
	write(t, o.Dir, name, []byte("1"), 0o644)
	put(t, bus, "p/"+name, []byte("2"), "")
	once(t, o)
	all := tree(t, bus, "p")
	for n := range all {
		if len(n) > sennit.MaxComponent {
			t.Errorf("%d bytes", len(n))
		}
	}
	if len(all) != 2 {
		t.Errorf("the tree has %v", all)
	}
	wantSame(t, "the directory", disk(t, o.Dir), all)
}

// FuzzState: whatever a state file holds, it is read or refused, and what is
// read can be written again.
func FuzzState(f *testing.F) {
	bus := bustest.Memory()
	dir := f.TempDir()
	write(f, dir, "a b/ä", []byte("1"), 0o755)
	write(f, dir, "c", []byte("2"), 0o644)
	_, err := files.Sync(f.Context(), files.SyncOptions{Bus: bus, Dir: dir, At: at("p"), Once: true, Quiet: 1, Overtaken: (&crossed{}).overtaken})
	check(f, err)
	good, err := os.ReadFile(filepath.Join(dir, ".sennit-sync"))
	check(f, err)
	f.Add(good)
	f.Add([]byte("{}\n"))
	f.Add([]byte("{\"sennit-sync\":1,\"at\":\"/me/p\"}\n"))
	f.Add([]byte("{\"sennit-sync\":1,\"at\":\"/me/p\",\"since\":\"1-x\"}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		once, err := files.DecodeState(bytes.NewReader(b))
		if err != nil {
			if bytes.Equal(b, good) {
				t.Fatal(err)
			}
			return
		}
		again, err := files.DecodeState(bytes.NewReader(once))
		if err != nil || !bytes.Equal(once, again) {
			t.Fatalf("it changes: %q, %q, %v", once, again, err)
		}
	})
}

// TestSyncLosesNoSaveOfTheLastMoment: somebody saves between the look at a file
// and what is done to it, and perhaps again when that is taken back.
func TestSyncLosesNoSaveOfTheLastMoment(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("this system can't exchange two files in one step")
	}
	for _, what := range []string{"the file becomes the value", "the file goes", "a file comes"} {
		for _, name := range []string{"d/n", "d/.n", "d/" + strings.Repeat("n", 250)} {
			for saves := 1; saves <= 12; saves++ {
				t.Run(fmt.Sprintf("%s, %.6s, %d saves", what, name, saves), func(t *testing.T) { saveAtTheLastMoment(t, what, name, saves) })
			}
		}
	}
}

func saveAtTheLastMoment(t *testing.T, what, name string, saves int) {
	bus := bustest.Memory()
	o := files.SyncOptions{Bus: bus, Dir: t.TempDir(), At: at("p")}
	o.Quiet = 1
	o.Volatile()
	if what != "a file comes" {
		write(t, o.Dir, name, []byte("begun"), 0o644)
	}
	write(t, o.Dir, "d/stays", []byte("x"), 0o644)
	once(t, o)
	if what == "the file goes" {
		del(t, bus, "p/"+name)
	} else {
		put(t, bus, "p/"+name, []byte("theirs"), "")
	}
	file := filepath.Join(o.Dir, filepath.FromSlash(name))
	aside := filepath.Join(o.Dir, "d", "n~")
	saved, seen := 0, map[string]bool{"begun": true}
	o.OnStep(func(doing, at string) error {
		if doing != "renameat" || saved == saves || at != name && !strings.Contains(at, "tmp-") {
			return nil
		}
		saved++
		b, err := os.ReadFile(file)
		if err == nil {
			seen[string(b)] = true // who saves has read it
		}
		text := fmt.Appendf(nil, "saved %d%s", saved, strings.Repeat("!", saved))
		if saved%3 == 0 && err == nil {
			check(t, os.WriteFile(file, text, 0o644)) // as an editor does that writes in place
			return nil
		}
		check(t, os.WriteFile(aside, text, 0o644))
		check(t, os.Rename(aside, file))
		return nil
	})
	o.Once = true
	for range 30 {
		if r, err := files.Sync(t.Context(), o); err == nil && r.Files+r.Deleted == 0 {
			break
		}
	}
	if saved == 0 {
		t.Fatal("nobody saved anything")
	}
	here := disk(t, o.Dir)
	wantSame(t, "the directory", here, tree(t, bus, "p"))
	held := map[string]bool{}
	for name, v := range here {
		held[strings.TrimPrefix(v, "- ")] = true
		if strings.Contains(name, ".conflict-") && !strings.HasPrefix(name, "d/n") && !strings.HasPrefix(name, "d/.n.") {
			t.Errorf("a copy is called %s", name)
		}
	}
	for n := 1; n <= saved; n++ {
		if text := fmt.Sprintf("saved %d%s", n, strings.Repeat("!", n)); !held[text] && !seen[text] {
			t.Errorf("%q is lost: %v", text, here)
		}
	}
	if what != "the file goes" && !held["theirs"] && !seen["theirs"] {
		t.Errorf("what they wrote is lost: %v", here)
	}
}
