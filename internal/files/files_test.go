package files_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/bustest"
	"github.com/sennit/sennit/internal/files"
)

// tb is what the helpers need of a *testing.T or a *rapid.T.
type tb interface {
	Helper()
	Context() context.Context
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func at(path string) sennit.Addr { return sennit.Addr{Root: "me", Path: sennit.MustPath(path)} }

func check(t tb, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t tb, err error, code sennit.Code) {
	t.Helper()
	if sennit.CodeOf(err) != code {
		t.Fatalf("got %v (code %q), want code %q", err, sennit.CodeOf(err), code)
	}
}

// write writes a file, and the directories that it is in.
func write(t tb, dir, name string, data []byte, perm fs.FileMode) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	check(t, os.MkdirAll(filepath.Dir(path), 0o777))
	check(t, os.WriteFile(path, data, perm))
	check(t, os.Chmod(path, perm))
}

// disk reads all files of a directory, as "x " and the bytes for programs and
// "- " for others. What is Sennit's own is left out.
func disk(t tb, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if strings.HasPrefix(d.Name(), ".sennit-tmp-") {
			t.Errorf("%s was left", name)
		}
		if strings.HasPrefix(d.Name(), ".sennit-") || !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		kind := "- "
		if info.Mode()&0o100 != 0 {
			kind = "x "
		}
		all[filepath.ToSlash(name)] = kind + string(b)
		return err
	}))
	return all
}

// tree reads all values under a path in the same way.
func tree(t tb, bus sennit.Bus, under string) map[string]string {
	t.Helper()
	all := map[string]string{}
	w, err := bus.Watch(t.Context(), []sennit.Pattern{{Root: "me", Path: under}}, sennit.WatchOptions{})
	check(t, err)
	defer w.Close()
	for {
		us, err := w.Next(t.Context())
		check(t, err)
		for _, u := range us {
			if u.Kind == sennit.Live {
				return all
			}
			n, c, err := bus.Open(t.Context(), sennit.Addr{Root: "me", Path: u.Node.Path})
			check(t, err)
			b := make([]byte, n.Value.Size())
			if len(b) > 0 {
				k, _ := c.ReadAt(t.Context(), b, 0)
				b = b[:k]
			}
			check(t, c.Close())
			kind := "- "
			if files.IsExec(n.Value.Type) {
				kind = "x "
			}
			all[strings.TrimPrefix(string(n.Path), under+"/")] = kind + string(b)
		}
	}
}

func put(t tb, bus sennit.Bus, path string, data []byte, typ string) sennit.Version {
	t.Helper()
	v, err := bus.Put(t.Context(), at(path), typ, bytes.NewReader(data), nil)
	check(t, err)
	return v
}

func wantSame(t tb, what string, got, want map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if g, ok := got[name]; !ok {
			t.Errorf("%s: %q is missing", what, name)
		} else if g != want[name] {
			t.Errorf("%s: %q has %d bytes %.40q, want %d bytes %.40q", what, name, len(g)-2, g, len(want[name])-2, want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: %q should not be there", what, name)
		}
	}
}

func skips(r files.Report) map[string]string {
	all := map[string]string{}
	for _, s := range r.Skipped {
		all[s.Path] = s.Why
	}
	return all
}

func TestRoundTrip(t *testing.T) {
	component := rapid.OneOf(
		rapid.StringMatching(`[a-zA-Z0-9 ._~#$%&+,;=@!'()\[\]{}^-]{1,12}`),
		rapid.StringMatching(`[äöü€λ漢字🙂\x{200d}\x{feff}\x{202e}]{1,6}`),
		rapid.SampledFrom([]string{"...", "..a", "-rf", "con", "a\\b", "%2f", "a:b", ".hidden", strings.Repeat("n", 255), "\u00e9", "e\u0301"}),
	).Filter(func(s string) bool {
		return s != "." && s != ".." && s != "*" && !strings.HasPrefix(s, ".sennit-") && len(s) <= 255
	})
	rapid.Check(t, func(t *rapid.T) {
		in, out := tempDir(t), tempDir(t)
		defer os.RemoveAll(in)
		defer os.RemoveAll(out)
		bus := bustest.Memory()
		for i := range rapid.IntRange(1, 5).Draw(t, "files") {
			name := strings.Join(rapid.SliceOfN(component, 1, 3).Draw(t, "name"), "/")
			size := rapid.SampledFrom([]int{0, 1, 100, sennit.MaxInline - 1, sennit.MaxInline, sennit.MaxInline + 1, 140_000}).Draw(t, "size")
			data := bytes.Repeat([]byte{byte(i), 0xff, 'a'}, size/3+1)[:size]
			path := filepath.Join(in, name)
			if os.MkdirAll(filepath.Dir(path), 0o777) != nil {
				continue // a part of it is a file
			}
			_ = os.WriteFile(path, data, rapid.SampledFrom([]fs.FileMode{0o666, 0o777}).Draw(t, "perm")) // or the name is a directory
		}
		want := disk(t, in)
		o := files.Options{Bus: bus, Dir: in, At: at("some/where")}
		o.Volatile()
		r, err := files.Import(t.Context(), o)
		check(t, err)
		if r.Files != len(want) || r.Unchanged != 0 {
			t.Fatalf("%d files of %d were imported", r.Files, len(want))
		}
		wantSame(t, "the tree", tree(t, bus, "some/where"), want)
		if r, err = files.Import(t.Context(), o); err != nil || r.Files != 0 || r.Unchanged != len(want) {
			t.Fatalf("again: %+v, %v", r, err)
		}
		o.Dir = out
		r, err = files.Export(t.Context(), o)
		check(t, err)
		if r.Files != len(want) {
			t.Fatalf("%d files of %d were exported", r.Files, len(want))
		}
		wantSame(t, "the other directory", disk(t, out), want)
		if r, err = files.Export(t.Context(), o); err != nil || r.Files != 0 || r.Unchanged != len(want) {
			t.Fatalf("again: %+v, %v", r, err)
		}
	})
}

func tempDir(t tb) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "files")
	check(t, err)
	return dir
}

// TestWhatCannotBeKept: it is told, and the rest is done.
func TestWhatCannotBeKept(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "good", []byte("x"), 0o644)
	write(t, dir, "empty", nil, 0o644)
	write(t, dir, "secret", []byte("x"), 0)
	write(t, dir, "closed/in", []byte("x"), 0o644)
	check(t, os.Chmod(filepath.Join(dir, "closed"), 0))
	defer os.Chmod(filepath.Join(dir, "closed"), 0o777)
	check(t, os.MkdirAll(filepath.Join(dir, "hollow", "deep"), 0o777))
	outside := filepath.Join(t.TempDir(), "outside")
	check(t, os.WriteFile(outside, []byte("outside"), 0o644))
	check(t, os.Symlink(outside, filepath.Join(dir, "link")))
	check(t, os.Symlink("good", filepath.Join(dir, "near")))
	check(t, os.Symlink(filepath.Dir(outside), filepath.Join(dir, "linked")))
	check(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o666))
	t.Chdir(dir)
	l, err := net.Listen("unix", "socket")
	check(t, err)
	defer l.Close()
	write(t, dir, "*", []byte("x"), 0o644)
	write(t, dir, "line\nbreak", []byte("x"), 0o644)
	write(t, dir, "latin\xe4", []byte("x"), 0o644)
	write(t, dir, strings.Repeat("d/", 32)+"f", []byte("x"), 0o644)
	long := strings.Repeat("l", 250) + "/"
	write(t, dir, strings.Repeat(long, 4)+strings.Repeat("l", 100), []byte("x"), 0o644)
	write(t, dir, ".sennit-sync", []byte("x"), 0o644)

	bus := bustest.Memory()
	put(t, bus, "p/linked/x", []byte("stays"), "")
	put(t, bus, "p/closed/in", []byte("stays"), "")
	put(t, bus, "p/old", []byte("goes"), "")
	r, err := files.Import(t.Context(), files.Options{Bus: bus, Dir: dir, At: at("p"), Delete: true})
	wantCode(t, err, sennit.Partly)
	want := map[string]string{
		"closed": "permission denied", "secret": "permission denied", "hollow/deep": "empty directory",
		"link": "a symlink", "near": "a symlink", "linked": "a symlink", "pipe": "a pipe", "socket": "a socket",
		"*": "can't be one", "line\nbreak": "control character", "latin\uFFFD": "not valid UTF-8",
		strings.Repeat("d/", 31) + "d":                     "more than 32 components",
		strings.Repeat(long, 4) + strings.Repeat("l", 100): "at most 1024",
	}
	if os.Getuid() == 0 { // nothing is closed to it
		delete(want, "closed")
		delete(want, "secret")
	}
	got := skips(r)
	for name, part := range want {
		if !strings.Contains(got[name], part) {
			t.Errorf("%q was skipped because %q, want %q", name, got[name], part)
		}
	}
	for name, why := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%q was skipped because %q", name, why)
		}
	}
	have := tree(t, bus, "p")
	if have["good"] != "- x" || have["empty"] != "- " || have["linked/x"] != "- stays" || have["closed/in"] == "" || have["old"] != "" || r.Deleted != 1 {
		t.Errorf("the tree has %v after %+v", have, r)
	}
	for name, v := range have {
		if strings.Contains(v, "outside") {
			t.Errorf("%s was read through a symlink", name)
		}
	}
}

func TestMediaTypes(t *testing.T) {
	cut := append(bytes.Repeat([]byte("a"), sennit.MaxInline-1), 0xe2)
	for _, c := range []struct {
		name string
		exec bool
		data []byte
		want string
	}{
		{"a.txt", false, []byte("x"), "text/plain; charset=utf-8"},
		{"a.txt", false, []byte("\xff"), "text/plain"},
		{"A.HTML", false, []byte("x"), "text/html; charset=utf-8"},
		{"a.png", false, []byte("x"), "image/png"},
		{"main.go", false, []byte("x"), "text/plain; charset=utf-8"},
		{"empty", false, nil, "text/plain; charset=utf-8"},
		{"data", false, []byte("\xff"), ""},
		{"data", true, []byte("\xff"), "application/octet-stream; mode=755"},
		{"run", true, []byte("#!/bin/sh\n"), "text/plain; charset=utf-8; mode=755"},
		{"large", false, cut, "text/plain; charset=utf-8"},
		{"broken", false, append(bytes.Clone(cut), "aaaa"...), ""},
	} {
		got := files.TypeOf(c.name, c.exec, c.data)
		if got != c.want || files.IsExec(got) != c.exec {
			t.Errorf("%s: %q, program: %v, want %q", c.name, got, files.IsExec(got), c.want)
		}
	}
	for typ, want := range map[string]bool{"a/b;mode=755": true, `a/b; mode="0700"`: true, "a/b; mode=644": false, "a/b; mode=x": false, "mode=755": false, "a/b; model=755": false} {
		if files.IsExec(typ) != want {
			t.Errorf("IsExec(%q) is %v", typ, !want)
		}
	}
}

// TestExportStaysInside: what is no regular file in the directory is neither
// overwritten nor gone through.
func TestExportStaysInside(t *testing.T) {
	bus := bustest.Memory()
	for _, p := range []string{"link", "dir/x", "linked/x", "taken", "pipe", "both", "both/x", "good", "file/x", ".sennit-sync", "a/.sennit-tmp-1"} {
		put(t, bus, "p/"+p, []byte("new "+p), "text/plain")
	}
	dir, outside := t.TempDir(), t.TempDir()
	write(t, outside, "x", []byte("old"), 0o644)
	write(t, dir, "file", []byte("old"), 0o644)
	write(t, dir, "other", []byte("old"), 0o644)
	write(t, dir, "sub/other", []byte("old"), 0o644)
	write(t, dir, ".sennit-tmp-1", []byte("old"), 0o644)
	check(t, os.Symlink(filepath.Join(outside, "x"), filepath.Join(dir, "link")))
	check(t, os.Symlink(outside, filepath.Join(dir, "linked")))
	check(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	check(t, os.MkdirAll(filepath.Join(dir, "taken", "x"), 0o777))
	check(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o666))
	o := files.Options{Bus: bus, Dir: dir, At: at("p")}
	r, err := files.Export(t.Context(), o)
	wantCode(t, err, sennit.Partly)
	want := map[string]string{
		"link": "a symlink is in the way", "linked/x": "linked is in the way: it is a symlink", "taken": "a directory is in the way",
		"pipe": "a pipe is in the way", "both": "it is a directory", "file/x": "file is in the way: it is a file",
		".sennit-sync": "sennit itself", "a/.sennit-tmp-1": "sennit itself",
	}
	got := skips(r)
	for name := range want {
		if !strings.Contains(got[name], want[name]) {
			t.Errorf("%q was skipped because %q, want %q", name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("skipped: %v", got)
	}
	if len(disk(t, outside)) != 1 || disk(t, outside)["x"] != "- old" {
		t.Errorf("outside there is %v now", disk(t, outside))
	}
	wantSame(t, "the directory", disk(t, dir), map[string]string{
		"good": "- new good", "dir/x": "- new dir/x", "both/x": "- new both/x", "file": "- old", "other": "- old", "sub/other": "- old",
	})

	o.Delete = true
	r, err = files.Export(t.Context(), o)
	wantCode(t, err, sennit.Partly)
	wantSame(t, "the directory", disk(t, dir), map[string]string{
		"good": "- new good", "dir/x": "- new dir/x", "both/x": "- new both/x", "file/x": "- new file/x", "taken": "- new taken",
	})
	for name, there := range map[string]bool{"link": true, "linked": true, "dangling": true, "pipe": true, "sub": false} {
		if _, err := os.Lstat(filepath.Join(dir, name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r.Deleted != 3 || len(disk(t, outside)) != 1 {
		t.Errorf("%d files were deleted; outside there is %v", r.Deleted, disk(t, outside))
	}
	_, err = files.Export(t.Context(), files.Options{Bus: bus, Dir: dir, At: at("nothing"), Delete: true})
	wantCode(t, err, sennit.NotFound)
}

// TestExportKeepsWhoMayRead: a private file stays private.
func TestExportKeepsWhoMayRead(t *testing.T) {
	bus, dir := bustest.Memory(), t.TempDir()
	put(t, bus, "p/private", []byte("new"), "text/plain; mode=755")
	put(t, bus, "p/same", []byte("same"), "text/plain")
	write(t, dir, "private", []byte("old"), 0o640)
	write(t, dir, "same", []byte("same"), 0o750)
	r, err := files.Export(t.Context(), files.Options{Bus: bus, Dir: dir, At: at("p")})
	check(t, err)
	for name, want := range map[string]fs.FileMode{"private": 0o750, "same": 0o640} {
		info, err := os.Stat(filepath.Join(dir, name))
		check(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", name, info.Mode().Perm(), want)
		}
	}
	if r.Files != 2 {
		t.Errorf("%+v", r)
	}
}

// TestChangesWhileItReads: what is torn is not kept.
func TestChangesWhileItReads(t *testing.T) {
	const size = 300_000
	bus, dir := bustest.Memory(), t.TempDir()
	for _, name := range []string{"calm", "often", "once"} {
		write(t, dir, name, bytes.Repeat([]byte("0"), size), 0o644)
	}
	var mu sync.Mutex // guards reads
	reads := map[string]int{}
	torn := &tearing{Bus: bus, tear: func(path sennit.Path) {
		mu.Lock()
		defer mu.Unlock()
		name := path.Base()
		if reads[name]++; name == "often" || name == "once" && reads[name] == 1 {
			write(t, dir, name, bytes.Repeat([]byte("1"), size+reads[name]), 0o644)
		}
	}}
	r, err := files.Import(t.Context(), files.Options{Bus: torn, Dir: dir, At: at("p")})
	wantCode(t, err, sennit.Partly)
	if why := skips(r)["often"]; !strings.Contains(why, "changes while it is read") || len(r.Skipped) != 1 {
		t.Errorf("skipped: %v", r.Skipped)
	}
	wantSame(t, "the tree", tree(t, bus, "p"), map[string]string{
		"calm": "- " + strings.Repeat("0", size), "once": "- " + strings.Repeat("1", size+1),
	})
}

// tearing calls tear after the first bytes of a large value were read.
type tearing struct {
	sennit.Bus
	tear func(sennit.Path)
}

func (b *tearing) Put(ctx context.Context, a sennit.Addr, typ string, from io.Reader, cond *sennit.Version) (sennit.Version, error) {
	first := make([]byte, 1000)
	n, err := from.Read(first)
	if err != nil {
		return "", err
	}
	b.tear(a.Path)
	return b.Bus.Put(ctx, a, typ, io.MultiReader(bytes.NewReader(first[:n]), from), cond)
}

// TestSomebodyElseWrites: what others write between the look and the write is
// not overwritten, and the rest of the batch is.
func TestSomebodyElseWrites(t *testing.T) {
	bus, dir := bustest.Memory(), t.TempDir()
	for i := range 20 {
		write(t, dir, fmt.Sprint(i), []byte("mine"), 0o644)
		put(t, bus, fmt.Sprintf("p/%d", i), []byte("old"), "")
	}
	put(t, bus, "p/gone", []byte("old"), "")
	o := files.Options{Bus: bus, Dir: dir, At: at("p"), Delete: true}
	o.OnStep(after(5, func() {
		put(t, bus, "p/7", []byte("theirs"), "")
		put(t, bus, "p/gone", []byte("theirs"), "")
	}))
	r, err := files.Import(t.Context(), o)
	wantCode(t, err, sennit.Partly)
	if got := skips(r); len(got) != 2 || got["7"] == "" || got["gone"] == "" || r.Files != 19 || r.Deleted != 0 {
		t.Errorf("%+v", r)
	}
	if have := tree(t, bus, "p"); have["7"] != "- theirs" || have["gone"] != "- theirs" || have["8"] != "- mine" {
		t.Errorf("the tree has %v", have)
	}
}

func TestWhatIsAskedForMakesSense(t *testing.T) {
	bus := bustest.Memory()
	put(t, bus, "p/x", []byte("x"), "")
	file := filepath.Join(t.TempDir(), "file")
	write(t, filepath.Dir(file), "file", []byte("x"), 0o644)
	missing := filepath.Join(t.TempDir(), "missing")
	_, err := files.Import(t.Context(), files.Options{Bus: bus, Dir: missing, At: at("p")})
	wantCode(t, err, sennit.NotFound)
	_, err = files.Import(t.Context(), files.Options{Bus: bus, Dir: file, At: at("p")})
	wantCode(t, err, sennit.BadInput)
	_, err = files.Export(t.Context(), files.Options{Bus: bus, Dir: file, At: at("p")})
	wantCode(t, err, sennit.BadInput)
	_, err = files.Import(t.Context(), files.Options{Bus: bus, Dir: filepath.Dir(file), At: sennit.Addr{Root: "@nobody"}})
	wantCode(t, err, sennit.NotFound)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = files.Import(ctx, files.Options{Bus: bus, Dir: filepath.Dir(file), At: at("p")})
	wantCode(t, err, sennit.Interrupted)
}

// TestInterrupted: whatever step an import or export ends at, doing it again
// completes it, and nothing half-written is left.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	in := t.TempDir()
	for i := range 30 {
		write(t, in, fmt.Sprintf("d%d/f%d", i%3, i), bytes.Repeat([]byte{byte(i)}, i*i*100), 0o644)
	}
	want := disk(t, in)
	for _, cut := range []int{0, 1, 2, 5, 17, 30, 60, 100, 150} {
		bus, out := bustest.Memory(), t.TempDir()
		carry := func(do func(context.Context, files.Options) (files.Report, error), dir string) {
			o := files.Options{Bus: bus, Dir: dir, At: at("p")}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o.OnStep(after(cut, cancel))
			if _, err := do(ctx, o); err != nil {
				wantCode(t, err, sennit.Interrupted)
			}
			for name, v := range tree(t, bus, "p") {
				if want[name] != v {
					t.Fatalf("after step %d, the value %s is half-written", cut, name)
				}
			}
			for name, v := range disk(t, out) { // it finds temporary files as well
				if want[name] != v {
					t.Fatalf("after step %d, the file %s is half-written", cut, name)
				}
			}
			o.OnStep(nil)
			_, err := do(t.Context(), o)
			check(t, err)
		}
		carry(files.Import, in)
		carry(files.Export, out)
		wantSame(t, "the tree", tree(t, bus, "p"), want)
		wantSame(t, "the other directory", disk(t, out), want)
	}
}

// after calls f at step number n.
func after(n int, f func()) func(string, string) error {
	turn := make(chan int, 1)
	turn <- 0
	return func(string, string) error {
		k := <-turn
		if turn <- k + 1; k == n {
			f()
		}
		return nil
	}
}

func TestProgress(t *testing.T) {
	bus, dir := bustest.Memory(), t.TempDir()
	for i := range 50 {
		write(t, dir, fmt.Sprint(i), bytes.Repeat([]byte("x"), 10_000*(i%9)), 0o644)
	}
	var last files.Progress
	progress := func(p files.Progress) {
		if p.Files < last.Files || p.Bytes < last.Bytes || p.Files > p.Total || p.Bytes > p.TotalBytes {
			t.Errorf("%+v after %+v", p, last)
		}
		last = p
	}
	o := files.Options{Bus: bus, Dir: dir, At: at("p"), Progress: progress}
	r, err := files.Import(t.Context(), o)
	check(t, err)
	if last.Files != 50 || last.Total != 50 || last.Bytes != r.Bytes || last.Left() != 0 || last.Rate() <= 0 {
		t.Errorf("%+v", last)
	}
	last, o.Dir = files.Progress{}, t.TempDir()
	r, err = files.Export(t.Context(), o)
	check(t, err)
	if last.Files != 50 || last.Total != 50 || last.Bytes != r.Bytes {
		t.Errorf("%+v", last)
	}
	p := files.Progress{Files: 10, Total: 20, Bytes: 1 << 20, TotalBytes: 2 << 20, Elapsed: time.Second}
	if p.Left() != time.Second || p.Rate() != 1<<20 {
		t.Errorf("left %v, %f bytes a second", p.Left(), p.Rate())
	}
}

// TestLongStreams: of a stream nobody knows the hash, and it is read.
func TestLongStreams(t *testing.T) {
	bus, dir := bustest.Memory(), t.TempDir()
	chunk := bytes.Repeat([]byte("s"), 50_000)
	for range 3 {
		_, err := bus.Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindAppend, Path: "p/log", Value: sennit.Value{Data: chunk}}})
		check(t, err)
	}
	o := files.Options{Bus: bus, Dir: dir, At: at("p")}
	r, err := files.Export(t.Context(), o)
	check(t, err)
	if got := disk(t, dir)["log"]; len(got) != 150_002 || r.Files != 1 {
		t.Errorf("%d bytes, %+v", len(got), r)
	}
	r, err = files.Import(t.Context(), o)
	check(t, err)
	if r.Unchanged != 1 || r.Files != 0 {
		t.Errorf("%+v", r)
	}
}
