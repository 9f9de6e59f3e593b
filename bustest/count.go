package bustest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/sennit/sennit"
)

func wantCount(t *testing.T, bus sennit.Bus, path string, want int64) {
	t.Helper()
	n, err := bus.Get(t.Context(), me(path))
	if err != nil || string(n.Value.Data) != fmt.Sprint(want) || mediaType(n.Value) != "application/json" {
		t.Errorf("%s is %q of type %q, %v; want the number %d", path, n.Value.Data, n.Value.Type, err, want)
	}
}

func counter(t *testing.T, bus sennit.Bus) {
	v := write(t, bus, adding("n", 5))
	wantCount(t, bus, "n", 5)
	if n, err := bus.Get(t.Context(), me("n")); err != nil || n.Version != v {
		t.Errorf("version %q, %v; want %q", n.Version, err, v)
	}
	write(t, bus, adding("n", -7))
	wantCount(t, bus, "n", -2)
	write(t, bus, adding("n", 0), adding("n", 2), adding("n/below", 3), adding("n", 1))
	wantCount(t, bus, "n", 1)
	wantCount(t, bus, "n/below", 3)

	// A value that is set is a thing of its own; the newer is shown.
	write(t, bus, putting("n", "ten"))
	wantText(t, bus, "n", "ten")
	write(t, bus, adding("n", 1))
	wantCount(t, bus, "n", 2)

	// It is listed as a value, and what deletes values deletes it.
	entries, _, err := bus.List(t.Context(), me(""), sennit.Listing{})
	if want := (sennit.Entry{Name: "n", Value: true, Dir: true}); err != nil || len(entries) != 1 || entries[0] != want {
		t.Errorf("the listing is %v, %v; want %v", entries, err, want)
	}
	write(t, bus, deleting("n", false))
	wantNothing(t, bus, "n")
	wantCount(t, bus, "n/below", 3)
	write(t, bus, adding("n", 4), deleting("n", true), adding("n", 6), adding("n/below", 7))
	wantCount(t, bus, "n", 6)
	wantCount(t, bus, "n/below", 7)

	for _, c := range []sennit.Change{adding(".acl/n", 1), {Kind: sennit.KindAdd, Delta: 1}} {
		if _, err := bus.Write(t.Context(), "me", []sennit.Change{c}); err == nil {
			t.Errorf("a counter at %q was taken", c.Path)
		}
	}
}

func countMany(t *testing.T, bus sennit.Bus) {
	const writers, steps = 8, 10
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range steps {
				if _, err := bus.Write(t.Context(), "me", []sennit.Change{adding("n", 1)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	wantCount(t, bus, "n", writers*steps)
}
