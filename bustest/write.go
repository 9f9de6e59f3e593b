package bustest

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/sennit/sennit"
)

func writeOrder(t *testing.T, bus sennit.Bus) {
	v := write(t, bus,
		putting("a", "1"), putting("a", "2"),
		putting("b", "1"), deleting("b", false),
		putting("c/d", "1"), deleting("c", true), putting("c/e", "2"),
		putting("last", "x"))
	wantText(t, bus, "a", "2")
	wantNothing(t, bus, "b")
	wantNothing(t, bus, "c/d")
	wantText(t, bus, "c/e", "2")
	if n := get(t, bus, "last"); n.Version != v {
		t.Errorf("Write gave version %q, the last value has %q", v, n.Version)
	}
}

func writeAtomic(t *testing.T, bus sennit.Bus) {
	put(t, bus, "kept", "x")
	before, err := bus.Digest(t.Context(), me(""))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		bad   sennit.Change
		codes []sennit.Code
	}{
		{"a value too large", putting("bad", strings.Repeat("x", sennit.MaxInline+1)), []sennit.Code{sennit.TooLarge}},
		{"a type too long", sennit.Change{Kind: sennit.KindPut, Path: "bad", Value: sennit.Value{Type: "text/" + strings.Repeat("x", sennit.MaxType)}},
			[]sennit.Code{sennit.TooLarge, sennit.BadInput}},
		{"no kind", sennit.Change{Path: "bad"}, []sennit.Code{sennit.BadInput, sennit.Unsupported}},
		{"an authority op", sennit.Change{Kind: sennit.KindGrant, Path: "bad"}, []sennit.Code{sennit.BadInput, sennit.Unsupported, sennit.Denied}},
		{"a reserved name", putting(".acl/x", "x"), []sennit.Code{sennit.Denied, sennit.BadInput}},
		{"a value at the root", sennit.Change{Kind: sennit.KindPut, Value: text("x")}, []sennit.Code{sennit.BadInput}},
	} {
		for _, changes := range [][]sennit.Change{
			{putting("good", "x"), c.bad},
			{c.bad, putting("good", "x")},
			{deleting("kept", true), c.bad, putting("good", "x")},
			{c.bad},
		} {
			if _, err := bus.Write(t.Context(), "me", changes); err == nil {
				t.Fatalf("%s was accepted", c.name)
			} else {
				wantCode(t, err, c.codes...)
			}
			wantNothing(t, bus, "good")
			wantNothing(t, bus, "bad")
			wantText(t, bus, "kept", "x")
		}
	}
	after, err := bus.Digest(t.Context(), me(""))
	if err != nil || after.Hash != before.Hash || after.Ops != before.Ops {
		t.Errorf("refused writes changed the digest: %v to %v, %v", before, after, err)
	}
}

func writeLimits(t *testing.T, bus sennit.Bus) {
	_, err := bus.Write(t.Context(), "me", nil)
	wantCode(t, err, sennit.BadInput)

	many := make([]sennit.Change, sennit.MaxOps+1)
	for i := range many {
		many[i] = putting(fmt.Sprintf("many/%d", i), "x")
	}
	_, err = bus.Write(t.Context(), "me", many)
	wantCode(t, err, sennit.TooLarge)
	_, _, err = bus.List(t.Context(), me("many"), sennit.Listing{})
	wantCode(t, err, sennit.NotFound)
	write(t, bus, many[:sennit.MaxOps]...)
	wantText(t, bus, fmt.Sprintf("many/%d", sennit.MaxOps-1), "x")

	large := make([]sennit.Change, sennit.MaxCommit/sennit.MaxInline)
	for i := range large {
		large[i] = putting(fmt.Sprintf("large/%d", i), strings.Repeat("x", sennit.MaxInline))
	}
	_, err = bus.Write(t.Context(), "me", large)
	wantCode(t, err, sennit.TooLarge)
	wantNothing(t, bus, "large/0")
	write(t, bus, large[1:]...)
	wantNothing(t, bus, "large/0")
	wantText(t, bus, "large/1", strings.Repeat("x", sennit.MaxInline))
}

func writeReserved(t *testing.T, bus sennit.Bus) {
	for _, p := range []string{".id", ".acl", ".group/x", ".key/x/y", ".board"} {
		_, err := bus.Write(t.Context(), "me", []sennit.Change{putting(p, "x")})
		wantCode(t, err, sennit.Denied, sennit.BadInput)
		_, err = bus.Write(t.Context(), "me", []sennit.Change{deleting(p, true)})
		wantCode(t, err, sennit.Denied, sennit.BadInput)
	}
	put(t, bus, ".app/x", "x") // ordinary data
	wantText(t, bus, ".app/x", "x")
	put(t, bus, ".idx", "x")
	wantText(t, bus, ".idx", "x")
}

func writeMany(t *testing.T, bus sennit.Bus) {
	const writers, each = 16, 12
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				_, err := bus.Write(t.Context(), "me", []sennit.Change{
					putting(fmt.Sprintf("own/%d/%d", w, i), fmt.Sprint(i)),
					putting(fmt.Sprintf("own/%d/last", w), fmt.Sprint(i)),
					putting("shared/x", fmt.Sprint(w, i)),
					putting("shared/y", fmt.Sprint(w, i)),
				})
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	wg.Wait()
	for w := range writers {
		wantText(t, bus, fmt.Sprintf("own/%d/last", w), fmt.Sprint(each-1))
		if got, _ := list(t, bus, fmt.Sprintf("own/%d", w), sennit.Listing{}); len(got) != each+1 {
			t.Errorf("writer %d left %d values, want %d", w, len(got), each+1)
		}
	}
	if x, y := get(t, bus, "shared/x"), get(t, bus, "shared/y"); string(x.Value.Data) != string(y.Value.Data) {
		t.Errorf("two values always written together are %q and %q", x.Value.Data, y.Value.Data)
	}
}
