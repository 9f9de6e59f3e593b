package bustest

import (
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/sennit/sennit"
)

// history writes commits of several changes each, under "p", and returns how
// many changes a watcher of "p" sees: puts, deletes, deep deletes.
func history(t *testing.T, bus sennit.Bus) (changes int) {
	for i := range 8 {
		c := []sennit.Change{
			putting("p/a", fmt.Sprint("a", i)),
			putting(fmt.Sprintf("p/b/%d", i), "b"),
			putting("beside", fmt.Sprint(i)),
		}
		changes += 2
		switch i {
		case 3:
			c = append(c, deleting("p/a", false))
			changes++
		case 5:
			c = append(c, deleting("p/b", true), putting("p/b/again", "x"))
			changes += 2
		}
		write(t, bus, c...)
	}
	return changes
}

func resumeTail(t *testing.T, bus sennit.Bus) {
	put(t, bus, "p/a", "before")
	r := watch(t, bus, sennit.WatchOptions{Tail: true}, subtree("p"))
	for u := r.next(); u.Kind != sennit.Live; u = r.next() {
	}
	var got []sennit.Update
	for range history(t, bus) {
		got = append(got, r.change())
	}
	put(t, bus, "p/end", "x")
	got = append(got, r.wantSet("p/end", "x"))

	for i, from := range got[:len(got)-1] {
		if got[i+1].Cursor == from.Cursor {
			continue // not the end of a commit
		}
		again := watch(t, bus, sennit.WatchOptions{Tail: true, Since: from.Cursor}, subtree("p"))
		for j, want := range got[i+1:] {
			if u := again.change(); !same(u, want) {
				t.Fatalf("from cursor %v on, change %d: got %s, want %s", from.Cursor, j, show(u), show(want))
			}
		}
		again.watch.Close()
	}
	// From the last: nothing, until something happens.
	again := watch(t, bus, sennit.WatchOptions{Tail: true, Since: got[len(got)-1].Cursor}, subtree("p"))
	put(t, bus, "p/later", "x")
	again.wantSet("p/later", "x")
}

func resumeState(t *testing.T, bus sennit.Bus) {
	put(t, bus, "p/a", "before")
	put(t, bus, "p/b/old", "before")
	r := watch(t, bus, sennit.WatchOptions{}, subtree("p"))
	type point struct {
		cursor sennit.Cursor
		have   fold
	}
	var points []point
	have := fold{}
	step := func(u sennit.Update) {
		have.apply(u)
		if r.whole() {
			points = append(points, point{u.Cursor, maps.Clone(have)})
		}
	}
	for _, u := range r.snapshot() {
		have.apply(u) // a snapshot that breaks off begins again: its cursors are for nothing
	}
	history(t, bus)
	put(t, bus, "p/end", "1")
	for have["p/end"] != "1" {
		step(r.change())
	}
	put(t, bus, "p/a", "last")
	write(t, bus, deleting("p/b/again", false))
	put(t, bus, "p/end", "2")
	want := state(t, bus, "p")
	if len(want) == 0 {
		t.Fatal("there is no state to resume to")
	}
	for _, from := range points {
		again := watch(t, bus, sennit.WatchOptions{Since: from.cursor}, subtree("p"))
		got := from.have
		for got["p/end"] != "2" {
			got.apply(again.change())
		}
		if err := got.diff(want); err != nil {
			t.Fatalf("resumed at %v: %v", from.cursor, err)
		}
		again.watch.Close()
	}
}

// resumeOften has writers going while one reader closes its tail and resumes
// after every few updates.
func resumeOften(t *testing.T, bus sennit.Bus) {
	const writers, each = 4, 60
	r := watch(t, bus, sennit.WatchOptions{Tail: true}, subtree("p"))
	r.snapshot()
	put(t, bus, "p/start", "x")
	cursor := r.wantSet("p/start", "x").Cursor
	r.watch.Close()

	var wg sync.WaitGroup
	defer wg.Wait()
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := bus.Write(t.Context(), "me", []sennit.Change{
					putting(fmt.Sprintf("p/%d", w), fmt.Sprint(2*i)),
					putting(fmt.Sprintf("p/%d", w), fmt.Sprint(2*i+1)),
				}); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	count := map[sennit.Path]int{}
	for seen, round := 0, 0; seen < 2*writers*each; round++ {
		r := watch(t, bus, sennit.WatchOptions{Tail: true, Since: cursor}, subtree("p"))
		for n := min(1+round%13, 2*writers*each-seen); n > 0 || !r.whole(); n-- {
			u := r.change()
			if got, want := string(u.Node.Value.Data), fmt.Sprint(count[u.Node.Path]); got != want {
				t.Fatalf("%s after %d updates, resumed at %v: got change %q, want %s", u.Node.Path, seen, cursor, got, want)
			}
			count[u.Node.Path]++
			cursor = u.Cursor
			seen++
		}
		r.watch.Close()
	}
}

// resumeForeign resumes at a cursor that this bus never gave: it says Gone, or
// takes back everything with Reset and gives a snapshot.
func resumeForeign(t *testing.T, bus sennit.Bus) {
	put(t, bus, "p/a", "x")
	r := watch(t, bus, sennit.WatchOptions{}, subtree("p"))
	r.snapshot()
	put(t, bus, "p/a", "y")
	c := r.wantSet("p/a", "y").Cursor
	for _, foreign := range []sennit.Cursor{{Epoch: c.Epoch + 1, N: c.N}, {Epoch: c.Epoch, N: c.N + 1<<40}} {
		w, err := bus.Watch(t.Context(), []sennit.Pattern{subtree("p")}, sennit.WatchOptions{Since: foreign})
		if err != nil {
			wantCode(t, err, sennit.Gone)
			continue
		}
		again := &reader{t: t, watch: w}
		if u := again.next(); u.Kind != sennit.Reset {
			t.Errorf("resumed at %v, of another epoch or of the future: got %s, want a reset", foreign, show(u))
		} else if got := again.snapshot(); len(got) != 1 || string(got[0].Node.Value.Data) != "y" {
			t.Errorf("after the reset: got %d values", len(got))
		}
		w.Close()
	}
}
