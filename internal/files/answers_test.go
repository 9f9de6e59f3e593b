package files_test

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/bustest"
	"github.com/sennit/sennit/internal/files"
)

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
