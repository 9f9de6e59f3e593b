package files_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/bustest"
	"github.com/sennit/sennit/internal/files"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
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
		for i := range rapid.IntRange(1, 3).Draw(t, "files") {
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
	for _, cut := range []int{0, 1, 5, 30, 60, 150} {
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

// lying is a bus that gives other bytes than it says.
type lying struct{ sennit.Bus }

func (b lying) Open(ctx context.Context, a sennit.Addr) (sennit.Node, sennit.Content, error) {
	n, err := b.Get(ctx, a)
	if err != nil {
		return n, nil, err
	}
	_, c, err := b.Bus.Open(ctx, at("other/"+string(a.Path)))
	return n, c, err
}

// TestExportChecksWhatItGets: a file has its name only if its bytes are those
// of the value.
func TestExportChecksWhatItGets(t *testing.T) {
	bus, dir := bustest.Memory(), t.TempDir()
	large := bytes.Repeat([]byte("l"), sennit.MaxInline+1)
	put(t, bus, "p/small", []byte("1"), "")
	put(t, bus, "p/large", large, "")
	put(t, bus, "p/cut", large, "")
	put(t, bus, "other/p/small", []byte("2"), "")
	put(t, bus, "other/p/large", bytes.ToUpper(large), "")
	put(t, bus, "other/p/cut", large[1:], "")
	r, err := files.Export(t.Context(), files.Options{Bus: lying{bus}, Dir: dir, At: at("p")})
	wantCode(t, err, sennit.Partly)
	if len(r.Skipped) != 3 || !strings.Contains(r.Skipped[0].Why, "other bytes") || len(disk(t, dir)) != 0 {
		t.Errorf("%+v, %v", r, disk(t, dir))
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
