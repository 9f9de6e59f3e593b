package bustest

import (
	"testing"

	"github.com/sennit/sennit"
)

func digest(t tb, bus sennit.Bus, path string) sennit.Digest {
	t.Helper()
	d, err := bus.Digest(t.Context(), me(path))
	if err != nil {
		t.Fatalf("digest of %q: %v", path, err)
	}
	return d
}

func digests(t *testing.T, bus sennit.Bus) {
	put(t, bus, "p/a/x", "1")
	put(t, bus, "p/b", "1")
	put(t, bus, "q", "1")
	look := func() map[string]sennit.Hash {
		m := map[string]sennit.Hash{}
		for _, p := range []string{"", "p", "p/a", "p/a/x", "p/b", "q"} {
			d := digest(t, bus, p)
			if d.Hash.IsZero() || d.Ops == 0 || d.Cursor == (sennit.Cursor{}) {
				t.Errorf("digest of %q: %+v", p, d)
			}
			m[p] = d.Hash
		}
		return m
	}
	seen := map[string]map[sennit.Hash]string{} // path to hash to when
	before := look()
	step := func(name string, change sennit.Change, changed ...string) {
		t.Helper()
		write(t, bus, change)
		after := look()
		want := map[string]bool{}
		for _, p := range changed {
			want[p] = true
		}
		for p, h := range after {
			if (h != before[p]) != want[p] {
				t.Errorf("%s: the digest of %q changed=%v, want %v", name, p, h != before[p], want[p])
			}
			if seen[p] == nil {
				seen[p] = map[sennit.Hash]string{}
			}
			if when, ok := seen[p][h]; ok && want[p] {
				t.Errorf("%s: the digest of %q is what it was after %s", name, p, when)
			}
			seen[p][h] = name
		}
		before = after
	}
	if again := look(); again["p"] != before["p"] || again[""] != before[""] {
		t.Error("the digest of an unchanged state changed")
	}
	step("a put below", putting("p/a/x", "2"), "", "p", "p/a", "p/a/x")
	step("a put beside", putting("q", "2"), "", "q")
	step("a new value below", putting("p/a/y", "1"), "", "p", "p/a")
	step("a value where there are only children", putting("p/a", "1"), "", "p", "p/a")
	// What was deleted leaves its mark: a replica that never had the value is
	// in another state than one that had it deleted.
	step("a delete", deleting("p/a/y", false), "", "p", "p/a")

	ops := digest(t, bus, "p").Ops
	put(t, bus, "p/c", "1")
	if now := digest(t, bus, "p").Ops; now != ops+1 {
		t.Errorf("after one more value: %d ops, before %d", now, ops)
	}
	put(t, bus, "p/c", "2") // takes the place of the first
	if now := digest(t, bus, "p").Ops; now != ops+1 {
		t.Errorf("after a put over a put: %d ops, before %d", now, ops+1)
	}
}

func digestNothing(t *testing.T, bus sennit.Bus) {
	a, errA := bus.Digest(t.Context(), me("never/there"))
	b, errB := bus.Digest(t.Context(), me("nor/here"))
	if errA != nil || errB != nil {
		wantCode(t, errA, sennit.NotFound)
		wantCode(t, errB, sennit.NotFound)
		return
	}
	if a.Ops != 0 || b.Ops != 0 || a.Hash != b.Hash {
		t.Errorf("two paths without anything have %+v and %+v", a, b)
	}
}
