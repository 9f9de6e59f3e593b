package bustest

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/sennit/sennit"
)

func listOrder(t *testing.T, bus sennit.Bus) {
	// Where keys are whole paths, "a.b" sorts before "a/x": the children of
	// one directory are not neighbours. The listing must not show it.
	for _, p := range []string{"p/b", "p/a", "p/a/x", "p/a!/x", "p/a.b", "p/é", "p/ab/x/y", "p/A", "p/\xf0\x9f\xaa\xa2", "p/a/x/y", "p/~"} {
		put(t, bus, p, p)
	}
	got, more := list(t, bus, "p", sennit.Listing{})
	want := []sennit.Entry{
		{Name: "A", Value: true},
		{Name: "a", Value: true, Dir: true},
		{Name: "a!", Dir: true},
		{Name: "a.b", Value: true},
		{Name: "ab", Dir: true},
		{Name: "b", Value: true},
		{Name: "~", Value: true},
		{Name: "é", Value: true},
		{Name: "\xf0\x9f\xaa\xa2", Value: true},
	}
	if !reflect.DeepEqual(got, want) || more {
		t.Fatalf("got %v more=%v, want %v", got, more, want)
	}
	got, _ = list(t, bus, "", sennit.Listing{})
	got = slices.DeleteFunc(got, func(e sennit.Entry) bool { return sennit.Path(e.Name).Reserved() })
	if want := []sennit.Entry{{Name: "p", Dir: true}}; !reflect.DeepEqual(got, want) {
		t.Fatalf("the root: got %v, want %v", got, want)
	}
}

func listPages(t *testing.T, bus sennit.Bus) {
	var want []string
	var changes []sennit.Change
	for i := range 25 {
		name := fmt.Sprintf("n%02d", i)
		want = append(want, name)
		changes = append(changes, putting("p/"+name+"/x", "x"), putting("p/"+name+"/y", "y"))
	}
	write(t, bus, changes...)
	for limit := 1; limit <= 26; limit += 4 {
		var got []string
		for more, after := true, ""; more; {
			var entries []sennit.Entry
			entries, more = list(t, bus, "p", sennit.Listing{After: after, Limit: limit})
			if len(entries) > limit || more && len(entries) != limit {
				t.Fatalf("limit %d: got %d entries, more=%v", limit, len(entries), more)
			}
			for _, e := range entries {
				got = append(got, e.Name)
				after = e.Name
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("limit %d: got %v, want %v", limit, got, want)
		}
	}
	for _, c := range []struct {
		after string
		want  int // index of the first
	}{{"n03", 4}, {"n03/x", 4}, {"n035", 4}, {"n0", 0}, {"a", 0}, {"n24", 25}, {"z", 25}} {
		entries, more := list(t, bus, "p", sennit.Listing{After: c.after, Limit: 2})
		var got []string
		for _, e := range entries {
			got = append(got, e.Name)
		}
		if page := want[c.want:min(c.want+2, len(want))]; !slices.Equal(got, page) || more != (c.want+2 < len(want)) {
			t.Errorf("after %q: got %v more=%v, want %v", c.after, got, more, page)
		}
	}
	_, _, err := bus.List(t.Context(), me("p"), sennit.Listing{Limit: -1})
	wantCode(t, err, sennit.BadInput)
}

func listDefault(t *testing.T, bus sennit.Bus) {
	changes := make([]sennit.Change, 1001)
	for i := range changes {
		changes[i] = putting(fmt.Sprintf("p/%04d", i), "x")
	}
	write(t, bus, changes[:1000]...)
	if got, more := list(t, bus, "p", sennit.Listing{}); len(got) != 1000 || more {
		t.Fatalf("of 1,000: got %d entries, more=%v", len(got), more)
	}
	write(t, bus, changes[1000])
	if got, more := list(t, bus, "p", sennit.Listing{}); len(got) != 1000 || !more {
		t.Fatalf("of 1,001: got %d entries, more=%v", len(got), more)
	}
	if got, more := list(t, bus, "p", sennit.Listing{Limit: 1001}); len(got) != 1001 || more {
		t.Fatalf("of 1,001, all: got %d entries, more=%v", len(got), more)
	}
}

func listAbsent(t *testing.T, bus sennit.Bus) {
	if _, _, err := bus.List(t.Context(), me(""), sennit.Listing{}); err != nil {
		t.Errorf("a space always has a root: %v", err)
	}
	put(t, bus, "a", "x")
	put(t, bus, "b/c", "x")
	for _, p := range []string{"nothing", "a", "b/c", "b/c/d"} {
		_, _, err := bus.List(t.Context(), me(p), sennit.Listing{})
		wantCode(t, err, sennit.NotFound)
	}
	write(t, bus, deleting("b/c", false))
	_, _, err := bus.List(t.Context(), me("b"), sennit.Listing{})
	wantCode(t, err, sennit.NotFound)
	entries, _ := list(t, bus, "", sennit.Listing{})
	for _, e := range entries {
		if e.Name == "b" {
			t.Errorf("a directory without children is listed: %v", e)
		}
	}
}
