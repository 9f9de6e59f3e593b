// Package bustest is the conformance suite that every [sennit.Bus] passes, in
// this process or at the far end of a door, and a naive Bus to test doors with.
//
// Owns: what the contract of sennit.Bus means, as tests; [Model], the oracle.
// Promises: uses nothing but the interface, so that every implementation is
// held to the same contract; waits for what must come, never sleeps; writes
// nothing outside the bus that it is given.
// Must not know: engines, doors, encodings.
//
// Where sennit.Bus leaves something open, the suite holds to this:
//
//   - Listing where there is nothing is [sennit.NotFound], except the root of a
//     space, which is always there. Deleting what isn't there is done.
//   - A watch of what isn't there, or may not be read, is an empty snapshot.
//   - A snapshot is in the order of [sennit.Path.Compare], or newest first if it
//     was asked for by number. The Live marker that ends it has a cursor.
//   - Each change has the cursor behind its commit. The changes of one commit
//     may share it; then one call of Next returns all of them, so that whoever
//     resumes there has seen all. Cursors inside a snapshot are not for use: a
//     snapshot that breaks off starts again.
//   - A watch that resumes may or may not begin with a Live marker. A cursor
//     that the node can't resume at gives Reset and a snapshot, or
//     [sennit.Gone].
//   - A deep delete reaches every watch that could have seen something under
//     it, at the path where the delete was made or further down.
package bustest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sennit/sennit"
)

// patience is how long the suite waits for something that must come.
const patience = 20 * time.Second

// Run holds a Bus to its contract. It calls open once for each test: open
// returns the bus of an owner whose space "me" holds no value outside the
// reserved names, and cleans up with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) sennit.Bus) {
	tests := []struct {
		name string
		test func(t *testing.T, bus sennit.Bus)
	}{
		{"a value comes back as it was put", putGet},
		{"absent values are not found", absent},
		{"a value and its children are apart", valueAndChildren},
		{"the last put wins", lastPutWins},
		{"a counter adds up", counter},
		{"what many add at once adds up", countMany},
		{"a stream grows at its end", streams},
		{"a stream of many writers holds all their bytes", streamMany},
		{"a long stream is read where it is wanted", streamLong},
		{"a watch tells what a stream grew by", streamWatch},
		{"a value of any size comes back as it was put", big},
		{"a write with a condition is done if it holds", conditions},
		{"of many who write on one version one does", conditionMany},
		{"a value is read at its versions", versions},
		{"a counter and a stream are read at their versions", versionsOfMany},
		{"versions that never were", versionsUnknown},
		{"a value tells its path, author, version and time", metadata},
		{"me is a name for a space", meIsASpace},
		{"roots that name nothing", unknownRoots},
		{"deleting a value leaves its children", deleteValue},
		{"deleting deep leaves nothing, and a later put survives", deleteDeep},

		{"a listing is in order of name", listOrder},
		{"a listing comes in pages", listPages},
		{"a listing has a default limit", listDefault},
		{"listing what isn't there", listAbsent},

		{"a commit is done in order", writeOrder},
		{"a commit is done as a whole or not at all", writeAtomic},
		{"a commit has limits", writeLimits},
		{"reserved names take no plain writes", writeReserved},
		{"writes from many at once", writeMany},

		{"a watch begins with a snapshot", watchSnapshot},
		{"a watch tells changes", watchChanges},
		{"a watch of a path that isn't there yet", watchAbsent},
		{"a watch of one value only", watchExact},
		{"a watch of any component", watchAny},
		{"a watch of several patterns", watchSeveral},
		{"a watch of the newest", watchNewest},
		{"a watch of nothing, or of nonsense", watchBad},
		{"a deep delete reaches watches above and below", watchDeepDelete},
		{"a slow reader gets the latest state", watchCoalesces},
		{"a slow reader of a tail gets every change", watchTail},
		{"a tail loses nothing while many write", watchTailMany},
		{"a wait that ends loses nothing", watchWaitEnds},
		{"closing a watch", watchClose},
		{"one reader of many watches is woken for each", watchWake},
		{"many watches", watchCrowd},

		{"a tail resumes at each cursor", resumeTail},
		{"a state watch resumes at each cursor", resumeState},
		{"a watch resumes again and again while many write", resumeOften},
		{"a cursor from elsewhere starts anew", resumeForeign},

		{"a message reaches who asked for it, and leaves nothing behind", messages},
		{"a message reaches those whose patterns match", messagePatterns},
		{"a message has limits", messageLimits},

		{"a digest tells states apart", digests},
		{"a digest of nothing", digestNothing},

		{"random programs do what a map does", random},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// tb is what the helpers need of a *testing.T or a *rapid.T.
type tb interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// me is an address in the caller's own space.
func me(path string) sennit.Addr { return sennit.Addr{Root: "me", Path: sennit.MustPath(path)} }

func text(s string) sennit.Value { return sennit.Value{Type: "text/plain", Data: []byte(s)} }

func putting(path, s string) sennit.Change {
	return sennit.Change{Kind: sennit.KindPut, Path: sennit.MustPath(path), Value: text(s)}
}

func adding(path string, delta int64) sennit.Change {
	return sennit.Change{Kind: sennit.KindAdd, Path: sennit.MustPath(path), Delta: delta}
}

func appending(path, s string) sennit.Change {
	return sennit.Change{Kind: sennit.KindAppend, Path: sennit.MustPath(path), Value: text(s)}
}

func deleting(path string, deep bool) sennit.Change {
	return sennit.Change{Kind: sennit.KindDel, Path: sennit.MustPath(path), Deep: deep}
}

// write writes, or fails the test.
func write(t tb, bus sennit.Bus, changes ...sennit.Change) sennit.Version {
	t.Helper()
	v, err := bus.Write(t.Context(), "me", changes)
	if err != nil {
		t.Fatalf("writing %d changes from %q on: %v", len(changes), changes[0].Path, err)
	}
	return v
}

func put(t tb, bus sennit.Bus, path, s string) sennit.Version {
	t.Helper()
	return write(t, bus, putting(path, s))
}

func get(t tb, bus sennit.Bus, path string) sennit.Node {
	t.Helper()
	n, err := bus.Get(t.Context(), me(path))
	if err != nil {
		t.Fatalf("getting %s: %v", path, err)
	}
	return n
}

// wantText wants a value with this text at the path.
func wantText(t tb, bus sennit.Bus, path, want string) {
	t.Helper()
	if n := get(t, bus, path); string(n.Value.Data) != want {
		t.Fatalf("at %s: got %.80q, want %.80q", path, n.Value.Data, want)
	}
}

// wantNothing wants no value at the path.
func wantNothing(t tb, bus sennit.Bus, path string) {
	t.Helper()
	n, err := bus.Get(t.Context(), me(path))
	if err == nil {
		t.Fatalf("at %s: got %.80q, want nothing", path, n.Value.Data)
	}
	wantCode(t, err, sennit.NotFound)
}

// wantCode wants an error with one of the codes.
func wantCode(t tb, err error, codes ...sennit.Code) {
	t.Helper()
	for _, c := range codes {
		if err != nil && sennit.CodeOf(err) == c {
			return
		}
	}
	t.Fatalf("got error %v (code %q), want code %q", err, sennit.CodeOf(err), codes)
}

// mediaType is a value's type: without one it is plain bytes.
func mediaType(v sennit.Value) string {
	if v.Type == "" {
		return "application/octet-stream"
	}
	return v.Type
}

func list(t tb, bus sennit.Bus, path string, o sennit.Listing) ([]sennit.Entry, bool) {
	t.Helper()
	entries, more, err := bus.List(t.Context(), me(path), o)
	if err != nil {
		t.Fatalf("listing %q: %v", path, err)
	}
	return entries, more
}

// reader reads a watch one update at a time.
type reader struct {
	t     tb
	watch sennit.Watch
	ahead []sennit.Update // what the last call of Next returned and next did not
	last  sennit.Cursor   // of the newest change
}

// subtree and only are patterns in the caller's own space.
func subtree(path string) sennit.Pattern { return sennit.Pattern{Root: "me", Path: path} }

func only(path string) sennit.Pattern { return sennit.Pattern{Root: "me", Path: path, Exact: true} }

func watch(t tb, bus sennit.Bus, o sennit.WatchOptions, patterns ...sennit.Pattern) *reader {
	t.Helper()
	w, err := bus.Watch(t.Context(), patterns, o)
	if err != nil {
		t.Fatalf("watching %v: %v", patterns, err)
	}
	t.Cleanup(func() { w.Close() })
	return &reader{t: t, watch: w}
}

func (r *reader) next() sennit.Update {
	r.t.Helper()
	for len(r.ahead) == 0 {
		ctx, cancel := context.WithTimeout(r.t.Context(), patience)
		updates, err := r.watch.Next(ctx)
		cancel()
		if err != nil {
			r.t.Fatalf("waiting for an update: %v", err)
		}
		if len(updates) == 0 {
			r.t.Fatal("Next returned no update and no error")
		}
		if u := updates[0]; (u.Kind == sennit.Set || u.Kind == sennit.Deleted || u.Kind == sennit.Appended) && u.Cursor == r.last && r.last != (sennit.Cursor{}) {
			r.t.Fatalf("two calls of Next return parts of one commit, with one cursor; the second begins with %s", show(u))
		}
		r.ahead = updates
	}
	u := r.ahead[0]
	r.ahead = r.ahead[1:]
	return u
}

// whole reports whether all changes with the newest cursor were read: only
// then is it one to resume at.
func (r *reader) whole() bool { return len(r.ahead) == 0 || r.ahead[0].Cursor != r.last }

// snapshot reads up to the Live marker.
func (r *reader) snapshot() []sennit.Update {
	r.t.Helper()
	var got []sennit.Update
	for {
		switch u := r.next(); u.Kind {
		case sennit.Live:
			return got
		case sennit.Set:
			got = append(got, u)
		default:
			r.t.Fatalf("a snapshot holds %s", show(u))
		}
	}
}

// change is the next change; the Live marker, which a watch that continues
// after a cursor may or may not give, is skipped if it comes.
func (r *reader) change() sennit.Update {
	r.t.Helper()
	for {
		if u := r.next(); u.Kind != sennit.Live {
			r.last = u.Cursor
			return u
		}
	}
}

// wantSet wants the next change to set this text at the path.
func (r *reader) wantSet(path, want string) sennit.Update {
	r.t.Helper()
	u := r.change()
	if u.Kind != sennit.Set || string(u.Node.Path) != path || string(u.Node.Value.Data) != want {
		r.t.Fatalf("got %s, want %s set to %q", show(u), path, want)
	}
	return u
}

// wantGone wants the next change to delete the value at the path, by itself
// or together with what it lies under.
func (r *reader) wantGone(path string) sennit.Update {
	r.t.Helper()
	u := r.change()
	if u.Kind != sennit.Deleted || !removes(u, sennit.Path(path)) {
		r.t.Fatalf("got %s, want %s deleted", show(u), path)
	}
	return u
}

// removes reports whether a deletion takes the value at p.
func removes(u sennit.Update, p sennit.Path) bool {
	return u.Node.Path == p || u.Deep && p.Under(u.Node.Path)
}

func show(u sennit.Update) string {
	name := map[sennit.UpdateKind]string{
		sennit.Set: "set", sennit.Deleted: "deleted", sennit.Live: "live", sennit.Reset: "reset", sennit.Appended: "appended", sennit.Message: "message",
	}[u.Kind]
	return fmt.Sprintf("%s %q deep=%v %.40q version=%q cursor=%v", name, u.Node.Path, u.Deep, u.Node.Value.Data, u.Node.Version, u.Cursor)
}

// same reports whether two updates tell the same.
func same(a, b sennit.Update) bool {
	return a.Kind == b.Kind && a.Space == b.Space && a.Deep == b.Deep && a.Node.Path == b.Node.Path &&
		a.Node.Version == b.Node.Version && a.Node.Author == b.Node.Author && a.Node.Time.Equal(b.Node.Time) &&
		mediaType(a.Node.Value) == mediaType(b.Node.Value) && string(a.Node.Value.Data) == string(b.Node.Value.Data) &&
		a.Cursor == b.Cursor
}

// fold is a state as a watcher has it.
type fold map[sennit.Path]string

func (f fold) apply(u sennit.Update) {
	switch u.Kind {
	case sennit.Set:
		f[u.Node.Path] = string(u.Node.Value.Data)
	case sennit.Appended:
		f[u.Node.Path] += string(u.Node.Value.Data)
	case sennit.Deleted:
		for p := range f {
			if removes(u, p) {
				delete(f, p)
			}
		}
	case sennit.Reset:
		clear(f)
	}
}

// state is what the bus holds under a path, by Get and List.
func state(t tb, bus sennit.Bus, path sennit.Path) fold {
	t.Helper()
	f := fold{}
	if n, err := bus.Get(t.Context(), sennit.Addr{Root: "me", Path: path}); err == nil {
		f[path] = string(n.Value.Data)
	}
	for after := ""; ; {
		entries, more, err := bus.List(t.Context(), sennit.Addr{Root: "me", Path: path}, sennit.Listing{After: after})
		if err != nil {
			wantCode(t, err, sennit.NotFound)
			return f
		}
		for _, e := range entries {
			child := path.Join(sennit.Path(e.Name))
			below := state(t, bus, child)
			if _, has := below[child]; has != e.Value {
				t.Fatalf("the listing of %q says value=%v of %q", path, e.Value, e.Name)
			}
			if dir := len(below) > 1 || len(below) == 1 && !e.Value; dir != e.Dir {
				t.Fatalf("the listing of %q says dir=%v of %q", path, e.Dir, e.Name)
			}
			for p, s := range below {
				f[p] = s
			}
			after = e.Name
		}
		if !more {
			return f
		}
	}
}

func (f fold) diff(want fold) error {
	for p, s := range want {
		if got, ok := f[p]; !ok {
			return fmt.Errorf("%q is missing, want %.40q", p, s)
		} else if got != s {
			return fmt.Errorf("%q is %.40q, want %.40q", p, got, s)
		}
	}
	for p, s := range f {
		if _, ok := want[p]; !ok {
			return fmt.Errorf("%q is %.40q, want nothing", p, s)
		}
	}
	return nil
}

// ended reports whether an error is that of a context.
func ended(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		sennit.CodeOf(err) == sennit.Timeout || sennit.CodeOf(err) == sennit.Interrupted
}
