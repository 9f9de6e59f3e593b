package files_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/bustest"
	"github.com/sennit/sennit/internal/files"
)

var errKilled = errors.New("killed")

// world is a directory and a tree that people edit, and what they wrote last.
type world struct {
	t   tb
	dir string
	bus *bustest.Model

	writes int
	alive  map[string]bool // contents that nobody knowingly overwrote or deleted
}

// edit is something that a person does on one side.
type edit struct {
	here     bool // in the directory; else in the tree
	do       string
	name, to string
}

var modelNames = []string{"a", "b.txt", "d", "d/a", "d/b.txt", "d/e", "d/e/a", "f/a", ".hidden", "é"}

func drawEdit(t *rapid.T) edit {
	name := rapid.SampledFrom(modelNames)
	return edit{
		here: rapid.Bool().Draw(t, "here"), do: rapid.SampledFrom([]string{"write", "write", "write", "remove", "rename", "mode"}).Draw(t, "do"),
		name: name.Draw(t, "name"), to: name.Draw(t, "to"),
	}
}

// apply does an edit. Whoever does it sees what is there, and what they
// overwrite or delete they know.
func (w *world) apply(e edit) {
	switch {
	case e.here && e.do == "write":
		w.writeFile(e.name, w.fresh(), 0o644)
	case e.here && e.do == "remove":
		w.drop(e.name)
	case e.here && e.do == "rename":
		b, err := os.ReadFile(w.path(e.name))
		if err != nil || strings.HasPrefix(e.to, e.name+"/") {
			return // there is none, or a directory
		}
		was := w.alive[string(b)]
		w.drop(e.name)
		w.writeFile(e.to, string(b), 0o644)
		w.keep(string(b), was)
	case e.here:
		if info, err := os.Stat(w.path(e.name)); err == nil && info.Mode().IsRegular() {
			check(w.t, os.Chmod(w.path(e.name), info.Mode().Perm()^0o111))
		}
	case e.do == "write":
		w.putValue(e.name, w.fresh(), "text/plain")
	case e.do == "remove":
		w.dropValue(e.name)
	case e.do == "rename":
		if n, err := w.bus.Get(w.t.Context(), at("p/"+e.name)); err == nil {
			was := w.alive[string(n.Value.Data)]
			w.dropValue(e.name)
			w.putValue(e.to, string(n.Value.Data), n.Value.Type)
			w.keep(string(n.Value.Data), was)
		}
	default:
		if n, err := w.bus.Get(w.t.Context(), at("p/"+e.name)); err == nil {
			typ := "text/plain; mode=755"
			if files.IsExec(n.Value.Type) {
				typ = "text/plain"
			}
			put(w.t, w.bus, "p/"+e.name, n.Value.Data, typ)
		}
	}
}

// keep sets whether a content must be there in the end. A rename leaves that as
// it was: bytes that are the same again at the same name are no change, so they
// go with a deletion on the other side.
func (w *world) keep(content string, must bool) {
	if !must {
		delete(w.alive, content)
	}
}

func (w *world) path(name string) string { return filepath.Join(w.dir, filepath.FromSlash(name)) }

// fresh is a content that was never written.
func (w *world) fresh() string {
	w.writes++
	return fmt.Sprintf("content %d", w.writes)
}

// drop removes what has a name in the directory, and all below it.
func (w *world) drop(name string) {
	if _, err := os.Lstat(w.path(name)); err != nil {
		return // nothing is there
	}
	for n, v := range disk(quiet{w.t}, w.dir) {
		if sennit.Path(n).Under(sennit.Path(name)) {
			delete(w.alive, v[2:])
		}
	}
	check(w.t, os.RemoveAll(w.path(name)))
}

// quiet is for looks while a sync runs, which has temporary files then.
type quiet struct{ tb }

func (quiet) Errorf(string, ...any) {}

func (w *world) writeFile(name, content string, perm os.FileMode) {
	for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
		if info, err := os.Lstat(w.path(dir)); err == nil && !info.IsDir() {
			w.drop(dir)
		}
	}
	w.drop(name)
	write(w.t, w.dir, name, []byte(content), perm)
	w.alive[content] = true
	// Most files are older than the look that is taken at them.
	w.writes++
	then := time.Now().Add(-time.Hour + time.Duration(w.writes)*time.Millisecond)
	check(w.t, os.Chtimes(w.path(name), then, then))
}

func (w *world) dropValue(name string) {
	if n, err := w.bus.Get(w.t.Context(), at("p/"+name)); err == nil {
		delete(w.alive, string(n.Value.Data))
	}
	_, err := w.bus.Write(w.t.Context(), "me", []sennit.Change{{Kind: sennit.KindDel, Path: sennit.Path("p/" + name)}})
	check(w.t, err)
}

func (w *world) putValue(name, content, typ string) {
	w.dropValue(name)
	put(w.t, w.bus, "p/"+name, []byte(content), typ)
	w.alive[content] = true
}

// fault is what happens to a sync on its way: at step number at, either an edit
// or its death. Its steps are those in the directory and those in the tree.
type fault struct {
	mu     sync.Mutex // guards all
	at     int
	edit   func() // nil: it is killed
	after  bool   // the answer to a write that was done is lost
	n      int
	killed bool
}

// step counts a step, and tells whether the process is dead.
func (f *fault) step(write bool) (dead error, lost bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.killed {
		return errKilled, false
	}
	f.n++
	if f.n != f.at {
		return nil, false
	}
	if f.edit != nil {
		f.edit()
		return nil, false
	}
	if f.killed = true; f.after && write {
		return nil, true
	}
	return errKilled, false
}

// faulty is a bus whose caller can die.
type faulty struct {
	sennit.Bus
	fault *fault
}

func (b *faulty) Get(ctx context.Context, a sennit.Addr) (sennit.Node, error) {
	if err, _ := b.fault.step(false); err != nil {
		return sennit.Node{}, err
	}
	return b.Bus.Get(ctx, a)
}

func (b *faulty) Open(ctx context.Context, a sennit.Addr) (sennit.Node, sennit.Content, error) {
	if err, _ := b.fault.step(false); err != nil {
		return sennit.Node{}, nil, err
	}
	return b.Bus.Open(ctx, a)
}

func (b *faulty) Write(ctx context.Context, root string, changes []sennit.Change) (sennit.Version, error) {
	err, lost := b.fault.step(true)
	if err != nil {
		return "", err
	}
	v, err := b.Bus.Write(ctx, root, changes)
	if lost {
		return "", errKilled
	}
	return v, err
}

func (b *faulty) Put(ctx context.Context, a sennit.Addr, typ string, from io.Reader, cond *sennit.Version) (sennit.Version, error) {
	err, lost := b.fault.step(true)
	if err != nil {
		return "", err
	}
	v, err := b.Bus.Put(ctx, a, typ, from, cond)
	if lost {
		return "", errKilled
	}
	return v, err
}

// sync syncs once, with a fault if there is one.
func (w *world) sync(f *fault) (files.Report, error) {
	o := files.SyncOptions{Bus: w.bus, Dir: w.dir, At: at("p"), Once: true, Quiet: 1}
	o.Volatile()
	if f != nil {
		o.Bus = &faulty{w.bus, f}
		o.OnStep(func(string, string) error {
			err, _ := f.step(false)
			return err
		})
	}
	return files.Sync(w.t.Context(), o)
}

// TestSyncLosesNothing: whatever people do on both sides, and wherever syncs
// die, both sides become the same, and hold every content that nobody knowingly
// overwrote or deleted on the side where they saw it.
func TestSyncLosesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, dir: tempDir(t), bus: bustest.Memory(), alive: map[string]bool{}}
		defer os.RemoveAll(w.dir)
		for range rapid.IntRange(1, 16).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"edit", "edit", "edit", "sync", "kill", "race", "forget"}).Draw(t, "step") {
			case "edit":
				w.apply(drawEdit(t))
			case "sync":
				if _, err := w.sync(nil); err != nil {
					wantCode(t, err, sennit.Partly)
				}
			case "kill":
				f := &fault{at: rapid.IntRange(1, 40).Draw(t, "at"), after: rapid.Bool().Draw(t, "lost answer")}
				if _, err := w.sync(f); err != nil && !errors.Is(err, errKilled) {
					wantCode(t, err, sennit.Partly)
				}
			case "race":
				e := drawEdit(t)
				f := &fault{at: rapid.IntRange(1, 40).Draw(t, "at"), edit: func() { w.apply(e) }}
				if _, err := w.sync(f); err != nil {
					wantCode(t, err, sennit.Partly)
				}
			case "forget":
				_ = os.Remove(filepath.Join(w.dir, ".sennit-sync")) // it may not be there
			}
		}
		w.rest()
	})
}

// rest syncs until nothing is left to do, and looks at what came of it.
func (w *world) rest() {
	var r files.Report
	for i := 0; ; i++ {
		var err error
		if r, err = w.sync(nil); err != nil {
			wantCode(w.t, err, sennit.Partly)
		}
		if r.Files+r.Deleted == 0 {
			break
		}
		if i == 5 {
			w.t.Fatalf("it does not come to rest: %+v", r)
		}
	}
	here, there := disk(w.t, w.dir), tree(w.t, w.bus, "p")
	for _, content := range slices.Sorted(maps.Keys(w.alive)) {
		found := func(side map[string]string) bool {
			for _, v := range side {
				if v[2:] == content {
					return true
				}
			}
			return false
		}
		if !found(there) {
			w.t.Errorf("%q is lost from the tree", content)
		}
		if !found(here) && len(r.Skipped) == 0 {
			w.t.Errorf("%q is lost from the directory", content)
		}
	}
	for _, s := range r.Skipped {
		delete(here, s.Path)
		delete(there, s.Path)
	}
	wantSame(w.t, "the directory, beside the tree", here, there)
}
