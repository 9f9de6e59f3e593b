package daemon_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/daemon"
)

func TestOneProcessHoldsADirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "not", "yet", "there")
	first, err := daemon.OpenDirectory(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = daemon.OpenDirectory(path)
	if says := fmt.Sprintf("process %d has used the data directory %s since ", os.Getpid(), path); sennit.CodeOf(err) != sennit.Conflict || !strings.HasPrefix(err.Error(), says) {
		t.Errorf("a second process: %v", err)
	}
	// The one that holds it may just be about to say who it is.
	for _, text := range []string{"", "{", `{"pid":0}`} {
		write(t, filepath.Join(path, "lock"), text)
		if _, err := daemon.OpenDirectory(path); sennit.CodeOf(err) != sennit.Conflict || !strings.HasPrefix(err.Error(), "another process uses the data directory") {
			t.Errorf("with the lock %q: %v", text, err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := daemon.OpenDirectory(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("the new directory is %v, %v", info.Mode(), err)
	}
}

func TestADirectoryOfSomethingElseIsLeftAlone(t *testing.T) {
	for _, one := range []struct {
		name  string
		files []string // a directory if it ends in a slash
		ours  bool
	}{
		{"empty", nil, true},
		{"a configuration before the first start", []string{"config.toml"}, true},
		{"a start that was killed", []string{"lock", "sock", "keys.new-123/", "ports"}, true},
		{"a data directory", []string{"keys/", "store/", "lock"}, true},
		{"a data directory with notes of its owner", []string{"keys/", "README"}, true},
		{"photos", []string{"cat.png"}, false},
		{"a store without keys, and something else", []string{"store/", "thesis.tex"}, false},
		{"a hidden file", []string{".profile"}, false},
	} {
		t.Run(one.name, func(t *testing.T) {
			path := t.TempDir()
			for _, f := range one.files {
				if name, dir := strings.CutSuffix(f, "/"); dir {
					if err := os.Mkdir(filepath.Join(path, name), 0o700); err != nil {
						t.Fatal(err)
					}
					continue
				}
				write(t, filepath.Join(path, f), "x")
			}
			d, err := daemon.OpenDirectory(path)
			if one.ours {
				if err != nil {
					t.Fatal(err)
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			if sennit.CodeOf(err) != sennit.BadInput || sennit.HintOf(err) == "" {
				t.Errorf("got %v", err)
			}
			if list, err := os.ReadDir(path); err != nil || len(list) != len(one.files) {
				t.Errorf("it holds %v now, %v", list, err)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "x")
	for _, path := range []string{file, filepath.Join(file, "below")} {
		if _, err := daemon.OpenDirectory(path); sennit.CodeOf(err) != sennit.BadInput {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestAFileIsReplacedWhollyOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ports")
	for _, text := range []string{"one", "two, and more", ""} {
		if err := daemon.Replace(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Errorf("it holds %q, %v; want %q", got, err, text)
		}
	}
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
	// What can't be put in place leaves what was there, and nothing beside it.
	blocked := filepath.Join(dir, "blocked")
	if err := os.MkdirAll(filepath.Join(blocked, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Replace(blocked, []byte("x")); err == nil {
		t.Error("a file took the place of a directory")
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 2 {
		t.Errorf("the directory holds %v, %v", list, err)
	}
}
