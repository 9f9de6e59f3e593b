package bustest

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/sennit/sennit"
)

func putGet(t *testing.T, bus sennit.Bus) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	deep := strings.Repeat("d/", sennit.MaxDepth-1) + "leaf"
	for _, c := range []struct {
		name, path, typ string
		data            []byte
	}{
		{"text", "a", "text/plain; charset=utf-8", []byte("hello")},
		{"every byte", "b/bytes", "application/octet-stream", every},
		{"without a type", "b/untyped", "", []byte("x")},
		{"empty", "b/empty", "text/plain", nil},
		{"line ends", "b/lines", "text/plain", []byte("\r\n\r\nHTTP 200 OK\r\n\r\n")},
		{"JSON", "b/json", "application/json", []byte(`{"a":[1,2,"\u0000"]}`)},
		{"the largest", "b/large", "image/png", bytes.Repeat([]byte{0xff, 0}, sennit.MaxInline/2)},
		{"a path that isn't ASCII", "grüße/世界/🪢", "text/plain", []byte("x")},
		{"a path that needs escaping", `q?a=b#c/100% + "x";,:@&=$!'()~[]{}|\^<>` + "`", "text/plain", []byte("x")},
		{"a path that looks encoded", "%2e%2e/%2f/%", "text/plain", []byte("x")},
		{"a component with dots", "...", "text/plain", []byte("x")},
		{"a reserved name that isn't first", "x/.acl", "text/plain", []byte("x")},
		{"the longest component", "long/" + strings.Repeat("c", sennit.MaxComponent), "text/plain", []byte("x")},
		{"the deepest path", deep, "text/plain", []byte("x")},
		{"the longest path", strings.Repeat(strings.Repeat("l", 204)+"/", 5)[:sennit.MaxPath], "text/plain", []byte("x")},
		{"a long type", "b/type", "application/" + strings.Repeat("x", sennit.MaxType-len("application/")), []byte("x")},
	} {
		v, err := bus.Write(t.Context(), "me", []sennit.Change{{
			Kind: sennit.KindPut, Path: sennit.MustPath(c.path), Value: sennit.Value{Type: c.typ, Data: c.data},
		}})
		if err != nil {
			t.Errorf("%s: putting: %v", c.name, err)
			continue
		}
		n, err := bus.Get(t.Context(), me(c.path))
		if err != nil {
			t.Errorf("%s: getting: %v", c.name, err)
			continue
		}
		if !bytes.Equal(n.Value.Data, c.data) || mediaType(n.Value) != mediaType(sennit.Value{Type: c.typ}) || n.Value.Blob != nil {
			t.Errorf("%s: got %q %.60q, want %q %.60q", c.name, n.Value.Type, n.Value.Data, c.typ, c.data)
		}
		if string(n.Path) != c.path || n.Version != v {
			t.Errorf("%s: got path %q version %q, want %q and %q", c.name, n.Path, n.Version, c.path, v)
		}
	}
}

func absent(t *testing.T, bus sennit.Bus) {
	put(t, bus, "a/b", "x")
	wantNothing(t, bus, "b")
	wantNothing(t, bus, "a") // a directory is no value
	wantNothing(t, bus, "a/b/c")
}

func valueAndChildren(t *testing.T, bus sennit.Bus) {
	put(t, bus, "a/b", "child")
	put(t, bus, "a", "value")
	put(t, bus, "a/b/c", "grandchild")
	wantText(t, bus, "a", "value")
	wantText(t, bus, "a/b", "child")
	wantText(t, bus, "a/b/c", "grandchild")
	put(t, bus, "a", "other")
	wantText(t, bus, "a/b", "child")
}

func lastPutWins(t *testing.T, bus sennit.Bus) {
	versions := map[sennit.Version]bool{}
	for _, s := range []string{"1", "2", "", "3"} {
		v := put(t, bus, "a", s)
		if v == "" || versions[v] {
			t.Fatalf("version %q of %q is empty or was there before", v, s)
		}
		versions[v] = true
		wantText(t, bus, "a", s)
		if n := get(t, bus, "a"); n.Version != v {
			t.Fatalf("Get says version %q, Write said %q", n.Version, v)
		}
	}
}

func metadata(t *testing.T, bus sennit.Bus) {
	first := time.Now()
	put(t, bus, "a/1", "x")
	put(t, bus, "a/2", "y")
	one, two := get(t, bus, "a/1"), get(t, bus, "a/2")
	if one.Path != "a/1" || two.Path != "a/2" {
		t.Errorf("paths are %q and %q", one.Path, two.Path)
	}
	if one.Author.Space.IsZero() || one.Author.Device.IsZero() || one.Author != two.Author {
		t.Errorf("one author wrote both, but they say %v and %v", one.Author, two.Author)
	}
	if one.Time.Before(first.Add(-time.Minute)) || one.Time.After(time.Now().Add(time.Minute)) || two.Time.Before(one.Time) {
		t.Errorf("written at %v and then %v, now is %v", one.Time, two.Time, time.Now())
	}
	for _, u := range watch(t, bus, sennit.WatchOptions{}, only("a/1")).snapshot() {
		if u.Node.Author != one.Author || u.Node.Version != one.Version || !u.Node.Time.Equal(one.Time) || u.Node.Value.Type != one.Value.Type {
			t.Errorf("a watch says %+v, Get says %+v", u.Node, one)
		}
	}
}

func meIsASpace(t *testing.T, bus sennit.Bus) {
	put(t, bus, "a", "x")
	got := watch(t, bus, sennit.WatchOptions{}, only("a")).snapshot()
	if len(got) != 1 || got[0].Space.IsZero() {
		t.Fatalf("a watch of one value gave %d values, or no space", len(got))
	}
	id := got[0].Space.String()
	n, err := bus.Get(t.Context(), sennit.Addr{Root: id, Path: "a"})
	if err != nil || string(n.Value.Data) != "x" {
		t.Fatalf("by its id: got %q, %v", n.Value.Data, err)
	}
	if n.Author.Space != got[0].Space {
		t.Errorf("the owner's space is %v, but the author's is %v", got[0].Space, n.Author.Space)
	}
	if _, err := bus.Write(t.Context(), id, []sennit.Change{putting("a", "y")}); err != nil {
		t.Fatalf("writing by id: %v", err)
	}
	wantText(t, bus, "a", "y")
	if entries, _, err := bus.List(t.Context(), sennit.Addr{Root: id}, sennit.Listing{}); err != nil || len(entries) == 0 {
		t.Errorf("listing by id: %v, %v", entries, err)
	}
}

func unknownRoots(t *testing.T, bus sennit.Bus) {
	nobody := sennit.Addr{Root: "@nobody", Path: "a"}
	_, err := bus.Get(t.Context(), nobody)
	wantCode(t, err, sennit.NotFound)
	_, _, err = bus.List(t.Context(), nobody, sennit.Listing{})
	wantCode(t, err, sennit.NotFound)
	_, err = bus.Write(t.Context(), nobody.Root, []sennit.Change{putting("a", "x")})
	wantCode(t, err, sennit.NotFound)
	_, err = bus.Digest(t.Context(), nobody)
	wantCode(t, err, sennit.NotFound)

	// A node may look for a space that it doesn't hold, and not get there.
	stranger := sennit.Addr{Root: sennit.Space{1, 2, 3}.String(), Path: "a"}
	_, err = bus.Get(t.Context(), stranger)
	wantCode(t, err, sennit.NotFound, sennit.Unreachable)
	_, err = bus.Write(t.Context(), stranger.Root, []sennit.Change{putting("a", "x")})
	wantCode(t, err, sennit.NotFound, sennit.Unreachable)
}

func deleteValue(t *testing.T, bus sennit.Bus) {
	put(t, bus, "a", "value")
	put(t, bus, "a/b", "child")
	if v := write(t, bus, deleting("a", false)); v == "" {
		t.Error("a delete has no version")
	}
	wantNothing(t, bus, "a")
	wantText(t, bus, "a/b", "child")
	put(t, bus, "a", "again")
	wantText(t, bus, "a", "again")
	write(t, bus, deleting("never/there", false)) // it wins over a put that is on its way
	wantNothing(t, bus, "never/there")
}

func deleteDeep(t *testing.T, bus sennit.Bus) {
	for _, p := range []string{"a", "a/b", "a/b/c", "a/d", "ab", "a.b", "b"} {
		put(t, bus, p, p)
	}
	write(t, bus, deleting("a", true))
	for _, p := range []string{"a", "a/b", "a/b/c", "a/d"} {
		wantNothing(t, bus, p)
	}
	for _, p := range []string{"ab", "a.b", "b"} {
		wantText(t, bus, p, p)
	}
	_, _, err := bus.List(t.Context(), me("a"), sennit.Listing{})
	wantCode(t, err, sennit.NotFound)
	put(t, bus, "a/b/c", "again")
	wantText(t, bus, "a/b/c", "again")
	wantNothing(t, bus, "a/b")
	wantNothing(t, bus, "a/d")
}
