package files_test

import (
	"bytes"
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sennit/sennit"

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
