package bustest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sennit/sennit"
)

func paths(updates []sennit.Update) string {
	var s []string
	for _, u := range updates {
		s = append(s, string(u.Node.Path))
	}
	return strings.Join(s, " ")
}

func watchSnapshot(t *testing.T, bus sennit.Bus) {
	for _, p := range []string{"p/c", "p/a/2", "q", "p", "p/a", "pp", "p/a b", "p/a-", "p/b"} {
		put(t, bus, p, "at "+p)
	}
	put(t, bus, "p/gone", "x")
	write(t, bus, deleting("p/gone", false))
	got := watch(t, bus, sennit.WatchOptions{}, subtree("p")).snapshot()
	if want := "p p/a p/a/2 p/a b p/a- p/b p/c"; paths(got) != want {
		t.Fatalf("got %s, want %s", paths(got), want)
	}
	for _, u := range got {
		if n := get(t, bus, string(u.Node.Path)); string(u.Node.Value.Data) != "at "+string(u.Node.Path) || n.Version != u.Node.Version {
			t.Errorf("got %s, want what Get gives: version %q", show(u), n.Version)
		}
	}
	if got := watch(t, bus, sennit.WatchOptions{Tail: true}, subtree("p/a")).snapshot(); paths(got) != "p/a p/a/2" {
		t.Errorf("a tail begins with %s", paths(got))
	}
}

func watchChanges(t *testing.T, bus sennit.Bus) {
	for _, tail := range []bool{false, true} {
		base := fmt.Sprintf("p%v", tail)
		put(t, bus, base+"/a", "0")
		r := watch(t, bus, sennit.WatchOptions{Tail: tail}, subtree(base))
		r.snapshot()

		v := put(t, bus, base+"/a", "1")
		if u := r.wantSet(base+"/a", "1"); u.Node.Version != v || u.Space.IsZero() || u.Cursor == (sennit.Cursor{}) {
			t.Errorf("tail=%v: got %s, want version %q, a space and a cursor", tail, show(u), v)
		}
		put(t, bus, base+"x", "beside")
		put(t, bus, base+"/b/c", "2")
		r.wantSet(base+"/b/c", "2")
		write(t, bus, deleting(base+"/a", false))
		r.wantGone(base + "/a")
		put(t, bus, base, "3")
		r.wantSet(base, "3")
		put(t, bus, base+"/a", "")
		r.wantSet(base+"/a", "")
	}
}

func watchAbsent(t *testing.T, bus sennit.Bus) {
	r := watch(t, bus, sennit.WatchOptions{}, subtree("not/yet"))
	if got := r.snapshot(); len(got) != 0 {
		t.Fatalf("the snapshot of nothing holds %s", paths(got))
	}
	put(t, bus, "not", "x")
	put(t, bus, "not/yet/here", "now")
	r.wantSet("not/yet/here", "now")
}

func watchExact(t *testing.T, bus sennit.Bus) {
	put(t, bus, "p/a", "0")
	put(t, bus, "p/a/b", "0")
	for _, tail := range []bool{false, true} {
		r := watch(t, bus, sennit.WatchOptions{Tail: tail}, only("p/a"))
		if got := r.snapshot(); paths(got) != "p/a" {
			t.Fatalf("the snapshot holds %q", paths(got))
		}
		put(t, bus, "p/a/b", "below")
		put(t, bus, "p", "above")
		write(t, bus, deleting("p/a/b", true), deleting("p", false))
		put(t, bus, "p/a", "1")
		r.wantSet("p/a", "1")
		write(t, bus, deleting("p/a", true))
		r.wantGone("p/a")
		put(t, bus, "p/a", "0")
		r.wantSet("p/a", "0")
	}
}

func watchAny(t *testing.T, bus sennit.Bus) {
	for _, p := range []string{"p/a/x", "p/a/x/deep", "p/a/y", "p/b/x", "p/x", "q/a/x"} {
		put(t, bus, p, "0")
	}
	below := watch(t, bus, sennit.WatchOptions{}, subtree("p/*/x"))
	if got := below.snapshot(); paths(got) != "p/a/x p/a/x/deep p/b/x" {
		t.Errorf("the subtree's snapshot holds %s", paths(got))
	}
	exact := watch(t, bus, sennit.WatchOptions{}, only("p/*/x"))
	if got := exact.snapshot(); paths(got) != "p/a/x p/b/x" {
		t.Errorf("the exact snapshot holds %s", paths(got))
	}
	first := watch(t, bus, sennit.WatchOptions{Tail: true}, subtree("*/a"))
	if got := first.snapshot(); paths(got) != "p/a/x p/a/x/deep p/a/y q/a/x" {
		t.Errorf("the snapshot of any directory's a holds %s", paths(got))
	}
	put(t, bus, "p/a/y", "1")
	put(t, bus, "p/c/x/deep", "1")
	put(t, bus, "p/c/x", "1")
	below.wantSet("p/c/x/deep", "1")
	below.wantSet("p/c/x", "1")
	exact.wantSet("p/c/x", "1")
	first.wantSet("p/a/y", "1")
	write(t, bus, deleting("p/a", true))
	exact.wantGone("p/a/x")
	first.wantGone("p/a/x")
}

func watchSeveral(t *testing.T, bus sennit.Bus) {
	for _, p := range []string{"p/a", "p/a/b", "q/c", "r", "s"} {
		put(t, bus, p, "0")
	}
	r := watch(t, bus, sennit.WatchOptions{Tail: true}, only("r"), subtree("p"), subtree("p/a"), subtree("q"), only("p/*"))
	got := r.snapshot()
	slices.SortFunc(got, func(a, b sennit.Update) int { return strings.Compare(string(a.Node.Path), string(b.Node.Path)) })
	if paths(got) != "p/a p/a/b q/c r" {
		t.Fatalf("the snapshot holds %s, want each value once", paths(got))
	}
	// Each change once, though several patterns match it.
	put(t, bus, "p/a", "1")
	put(t, bus, "s", "1")
	put(t, bus, "r/below", "1")
	put(t, bus, "q/c", "1")
	put(t, bus, "r", "1")
	r.wantSet("p/a", "1")
	r.wantSet("q/c", "1")
	r.wantSet("r", "1")

	// One space by two names is one space.
	id := got[0].Space.String()
	twice := watch(t, bus, sennit.WatchOptions{Tail: true}, subtree("p/a"), sennit.Pattern{Root: id, Path: "p/a"})
	if got := twice.snapshot(); paths(got) != "p/a p/a/b" {
		t.Errorf("by two names: the snapshot holds %s", paths(got))
	}
	put(t, bus, "p/a", "2")
	put(t, bus, "p/a", "3")
	twice.wantSet("p/a", "2")
	twice.wantSet("p/a", "3")
}

func watchNewest(t *testing.T, bus sennit.Bus) {
	for _, name := range []string{"d", "a", "e", "b", "c"} {
		put(t, bus, "p/"+name, "0")
	}
	put(t, bus, "p/a", "1")
	put(t, bus, "p/gone", "x")
	write(t, bus, deleting("p/gone", false))
	for _, c := range []struct {
		n    int
		want string
	}{{1, "p/a"}, {3, "p/a p/c p/b"}, {5, "p/a p/c p/b p/e p/d"}, {100, "p/a p/c p/b p/e p/d"}} {
		r := watch(t, bus, sennit.WatchOptions{Newest: c.n}, subtree("p"))
		if got := r.snapshot(); paths(got) != c.want {
			t.Errorf("the newest %d are %s, want %s", c.n, paths(got), c.want)
		}
	}
	r := watch(t, bus, sennit.WatchOptions{Newest: 1}, subtree("p"))
	r.snapshot()
	put(t, bus, "p/d", "2") // changes come whether or not the snapshot held the value
	put(t, bus, "p/f", "2")
	r.wantSet("p/d", "2")
	r.wantSet("p/f", "2")
}

func watchBad(t *testing.T, bus sennit.Bus) {
	for _, c := range []struct {
		name     string
		patterns []sennit.Pattern
		o        sennit.WatchOptions
		code     sennit.Code
	}{
		{"no pattern", nil, sennit.WatchOptions{}, sennit.BadInput},
		{"a negative count", []sennit.Pattern{subtree("p")}, sennit.WatchOptions{Newest: -1}, sennit.BadInput},
		{"an unknown root", []sennit.Pattern{{Root: "@nobody", Path: "p"}}, sennit.WatchOptions{}, sennit.NotFound},
	} {
		w, err := bus.Watch(t.Context(), c.patterns, c.o)
		if err == nil {
			w.Close()
			t.Errorf("%s was accepted", c.name)
			continue
		}
		wantCode(t, err, c.code)
	}
}

func watchDeepDelete(t *testing.T, bus sennit.Bus) {
	for _, tail := range []bool{false, true} {
		for _, p := range []string{"p/a/b/c", "p/a/b", "p/a/d", "p/e"} {
			put(t, bus, p, "0")
		}
		whole := watch(t, bus, sennit.WatchOptions{Tail: tail}, subtree("p"))
		within := watch(t, bus, sennit.WatchOptions{Tail: tail}, subtree("p/a/b"))
		value := watch(t, bus, sennit.WatchOptions{Tail: tail}, only("p/a/b/c"))
		states := map[*reader]fold{whole: {}, within: {}, value: {}}
		for r, f := range states {
			for _, u := range r.snapshot() {
				f.apply(u)
			}
		}
		write(t, bus, deleting("p/a", true), putting("p/a/b/c", "1"), putting("p/a/b", "1"))
		for r, want := range map[*reader]fold{
			whole:  {"p/a/b/c": "1", "p/a/b": "1", "p/e": "0"},
			within: {"p/a/b/c": "1", "p/a/b": "1"},
			value:  {"p/a/b/c": "1"},
		} {
			for states[r].diff(want) != nil {
				states[r].apply(r.change())
			}
		}
	}
}

// block is a value so large that no connection holds many of them.
func block(i int) string { return fmt.Sprintf("%08d", i) + strings.Repeat("x", sennit.MaxInline-8) }

// blocks is more of them than what a node, a door, two sockets and a client
// may hold for a reader that does not read.
const blocks = 320

func watchCoalesces(t *testing.T, bus sennit.Bus) {
	put(t, bus, "p/a", "0")
	put(t, bus, "p/b", "0")
	r := watch(t, bus, sennit.WatchOptions{Queue: 256 << 10}, subtree("p"))
	r.snapshot()
	for i := range blocks {
		put(t, bus, "p/a", block(i))
	}
	write(t, bus, deleting("p/b", false))
	got, changes := fold{"p/a": "0", "p/b": "0"}, 0
	for want := (fold{"p/a": block(blocks - 1)}); got.diff(want) != nil; changes++ {
		got.apply(r.change())
	}
	if changes >= blocks/2 {
		t.Errorf("a reader that didn't read got %d of %d changes: they were queued, not merged", changes, blocks)
	}
	put(t, bus, "p/a", "last") // and it goes on
	r.wantSet("p/a", "last")
}

func watchTail(t *testing.T, bus sennit.Bus) {
	r := watch(t, bus, sennit.WatchOptions{Tail: true, Queue: 256 << 10}, subtree("p"))
	r.snapshot()
	for i := range blocks {
		put(t, bus, "p/a", block(i))
	}
	write(t, bus, deleting("p/a", false), putting("p/b", "x"), putting("p/b", "y"))
	var last sennit.Cursor
	for i := range blocks {
		u := r.wantSet("p/a", block(i))
		if u.Cursor == last {
			t.Fatalf("two changes have the cursor %v", last)
		}
		last = u.Cursor
	}
	r.wantGone("p/a")
	r.wantSet("p/b", "x")
	r.wantSet("p/b", "y")
}

func watchTailMany(t *testing.T, bus sennit.Bus) {
	const writers, each = 8, 40
	r := watch(t, bus, sennit.WatchOptions{Tail: true}, subtree("p"))
	r.snapshot()
	var wg sync.WaitGroup
	defer wg.Wait()
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := bus.Write(t.Context(), "me", []sennit.Change{putting(fmt.Sprintf("p/%d", w), fmt.Sprint(i))}); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	count := map[sennit.Path]int{}
	for range writers * each {
		u := r.change()
		if got, want := string(u.Node.Value.Data), fmt.Sprint(count[u.Node.Path]); got != want {
			t.Fatalf("%s: got change %q, want %s", u.Node.Path, got, want)
		}
		count[u.Node.Path]++
	}
	wg.Wait()
	put(t, bus, "p/end", "x")
	r.wantSet("p/end", "x")
}

func watchWaitEnds(t *testing.T, bus sennit.Bus) {
	r := watch(t, bus, sennit.WatchOptions{Tail: true}, subtree("p"))
	r.snapshot()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.watch.Next(over); !errors.Is(err, context.Canceled) {
		t.Fatalf("Next with nothing to tell and a cancelled context: %v", err)
	}
	for i := range 50 {
		brief, cancel := context.WithTimeout(t.Context(), time.Duration(i)*50*time.Microsecond)
		if i%2 == 0 {
			put(t, bus, "p/a", fmt.Sprint(i))
		}
		updates, err := r.watch.Next(brief)
		cancel()
		if err != nil && !ended(err) {
			t.Fatalf("Next: %v", err)
		}
		r.ahead = append(r.ahead, updates...)
	}
	put(t, bus, "p/end", "x")
	for i := 0; i < 50; i += 2 {
		r.wantSet("p/a", fmt.Sprint(i))
	}
	r.wantSet("p/end", "x")
}

func watchClose(t *testing.T, bus sennit.Bus) {
	r := watch(t, bus, sennit.WatchOptions{}, subtree("p"))
	r.snapshot()
	failed := make(chan error)
	var wg sync.WaitGroup
	wg.Go(func() {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := r.watch.Next(ctx)
		failed <- err
	})
	if err := r.watch.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	if err := <-failed; err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next, while the watch was closed, ended with %v", err)
	}
	wg.Wait()
	if err := r.watch.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
	put(t, bus, "p/a", "x") // nobody listens: the write goes on
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if updates, err := r.watch.Next(ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next after Close: %v, %v", updates, err)
	}

	unread := watch(t, bus, sennit.WatchOptions{}, subtree("p"))
	if err := unread.watch.Close(); err != nil {
		t.Errorf("closing unread: %v", err)
	}
}

// watchWake reads many watches from one goroutine, which only looks at those
// that called.
func watchWake(t *testing.T, bus sennit.Bus) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	const crowd, rounds = 20, 30
	called := make(chan int, 1000)
	watches := make([]sennit.Watch, crowd)
	for i := range watches {
		w, err := bus.Watch(t.Context(), []sennit.Pattern{subtree(fmt.Sprintf("p/%d", i%5))}, sennit.WatchOptions{
			Tail: i%2 == 0, Messages: i%3 == 0,
			Wake: func() { called <- i },
		})
		if sennit.CodeOf(err) == sennit.Unsupported {
			return // it is at the far end of a connection
		}
		if err != nil {
			t.Fatalf("a watch that wakes: %v", err)
		}
		t.Cleanup(func() { w.Close() })
		watches[i] = w
	}
	last := make([]string, crowd)
	look := func(i int) {
		for {
			updates, err := watches[i].Next(over)
			if err != nil {
				if !errors.Is(err, context.Canceled) {
					t.Fatalf("Next of watch %d: %v", i, err)
				}
				return
			}
			for _, u := range updates {
				if u.Kind == sennit.Set || u.Kind == sennit.Message {
					last[i] = string(u.Node.Value.Data)
				}
			}
		}
	}
	for i := range watches {
		look(i)
	}
	late := time.After(patience)
	for n := range rounds {
		message, want := n%3 == 2, fmt.Sprint(n)
		var changes []sennit.Change
		for p := range 5 {
			path := fmt.Sprintf("p/%d/x", p)
			changes = append(changes, putting(path, want))
			if !message {
				continue
			}
			if err := bus.Send(t.Context(), me(path), text(want), time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		if !message {
			write(t, bus, changes...)
		}
		for i := range last {
			if message && i%3 != 0 {
				continue // it takes no messages
			}
			for last[i] != want {
				select {
				case j := <-called:
					look(j)
				case <-late:
					t.Fatalf("in round %d watch %d had got %q, and nobody called", n, i, last[i])
				}
			}
		}
	}
}

func watchCrowd(t *testing.T, bus sennit.Bus) {
	crowd := make([]*reader, 50)
	for i := range crowd {
		crowd[i] = watch(t, bus, sennit.WatchOptions{Tail: i%2 == 0}, subtree(fmt.Sprintf("p/%d", i%5)))
		crowd[i].snapshot()
	}
	var changes []sennit.Change
	for i := range 5 {
		changes = append(changes, putting(fmt.Sprintf("p/%d/x", i), fmt.Sprint(i)))
	}
	write(t, bus, changes...)
	for i, r := range crowd {
		r.wantSet(fmt.Sprintf("p/%d/x", i%5), fmt.Sprint(i%5))
	}
}
