package bustest

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sennit/sennit"
)

// wantAt reads a value at a version, in one go and, if it has several bytes, from
// its middle on.
func wantAt(t tb, bus sennit.Bus, path string, v sennit.Version, want string) sennit.Node {
	t.Helper()
	n, c, err := bus.At(t.Context(), me(path), v)
	if err != nil {
		t.Errorf("%s at %s: %v, want %.40q", path, v, err, want)
		return n
	}
	defer c.Close()
	if n.Version != v && !strings.HasPrefix(string(n.Version), string(v)+".") || n.Path != sennit.MustPath(path) {
		t.Errorf("%s at %s says that it is %s at %s", path, v, n.Path, n.Version)
	}
	if n.Value.Size() != uint64(len(want)) {
		t.Errorf("%s at %s has %d bytes, want %d", path, v, n.Value.Size(), len(want))
	}
	for _, off := range []int{len(want) / 2, 0} {
		got := make([]byte, len(want)-off+1)
		k, err := c.ReadAt(t.Context(), got, int64(off))
		if !errors.Is(err, io.EOF) || string(got[:k]) != want[off:] {
			t.Errorf("%s at %s is %.40q from byte %d on, %v; want %.40q", path, v, got[:k], off, err, want[off:])
		}
	}
	return n
}

func versions(t *testing.T, bus sennit.Bus) {
	v1 := put(t, bus, "a", "one")
	was := get(t, bus, "a")
	v2 := write(t, bus, putting("a", "skipped"), putting("b", "x"), putting("a", "two"))
	write(t, bus, deleting("a", false))
	v4 := put(t, bus, "a", "four")
	gone := write(t, bus, deleting("", true))
	big := strings.Repeat("0123456789abcdef", sennit.MaxInline/8)
	v6, err := bus.Put(t.Context(), me("a"), "text/plain", strings.NewReader(big), nil)
	if err != nil {
		t.Fatal(err)
	}
	put(t, bus, "a", "seven")

	n := wantAt(t, bus, "a", v1, "one")
	if n.Author != was.Author || !n.Time.Equal(was.Time) || mediaType(n.Value) != mediaType(was.Value) {
		t.Errorf("at its version the value is %+v, and was %+v", n, was)
	}
	wantAt(t, bus, "a", v2, "two")
	wantAt(t, bus, "b", v2, "x")
	wantAt(t, bus, "a", v4, "four")
	if n := wantAt(t, bus, "a", v6, big); n.Value.Blob == nil {
		t.Errorf("a large value at its version is %+v", n.Value)
	}
	for _, path := range []string{"a", "b"} {
		_, _, err := bus.At(t.Context(), me(path), gone)
		wantCode(t, err, sennit.NotFound)
	}
	wantText(t, bus, "a", "seven")
}

func versionsOfMany(t *testing.T, bus sennit.Bus) {
	type state struct {
		v    sennit.Version // as the value had it
		as   sennit.Version // as the write gave it
		want string
	}
	var counts, streams []state
	sum, text := 0, ""
	step := func(i int) {
		as := write(t, bus, adding("n", int64(i)))
		sum += i
		counts = append(counts, state{get(t, bus, "n").Version, as, string(get(t, bus, "n").Value.Data)})
		line := strings.Repeat(string(rune('a'+i%26)), 1+i*700) + "\n"
		as = write(t, bus, appending("log", line), putting("other", line))
		text += line
		streams = append(streams, state{get(t, bus, "log").Version, as, text})
	}
	check := func() {
		t.Helper()
		for _, s := range counts {
			wantAt(t, bus, "n", s.v, s.want)
			wantAt(t, bus, "n", s.as, s.want)
		}
		for _, s := range streams {
			wantAt(t, bus, "log", s.v, s.want)
			if n := wantAt(t, bus, "log", s.as, s.want); n.Version != s.v {
				t.Errorf("at %s the stream has version %s, and had %s", s.as, n.Version, s.v)
			}
		}
	}
	for i := range 16 {
		step(i)
	}
	check()
	// What was set between is of no account, and what was deleted begins anew.
	put(t, bus, "n", "set")
	put(t, bus, "log", "set")
	write(t, bus, deleting("n", false), deleting("log", false))
	sum, text = 0, ""
	check()
	for i := range 3 {
		step(i)
	}
	if wantCount(t, bus, "n", int64(sum)); sum != 3 {
		t.Errorf("counted to %d", sum)
	}
	check()
}

func versionsUnknown(t *testing.T, bus sennit.Bus) {
	v := put(t, bus, "a", "one")
	put(t, bus, "b", "two")
	for _, c := range []struct {
		path string
		v    sennit.Version
	}{
		{"b", v}, {"never", v}, {"a/below", v}, {"a", ""}, {"a", "x"}, {"a", "-"}, {"a", v + "0"}, {"a", "x" + v}, {"a", v + "\"\r\n"}, {"a", " " + v},
		{"a", sennit.Version(strings.Repeat("a", 52)) + "-1"}, {"a", v[:strings.IndexByte(string(v), '-')] + "-0"},
		{"a", v[:strings.IndexByte(string(v), '-')] + "-99999"}, {"a", v + ".0123456789abcdef"},
	} {
		if n, content, err := bus.At(t.Context(), me(c.path), c.v); sennit.CodeOf(err) != sennit.NotFound {
			t.Errorf("%s at %q is %.20q (%v)", c.path, c.v, n.Value.Data, err)
			if err == nil {
				content.Close()
			}
		}
	}
	_, _, err := bus.At(t.Context(), sennit.Addr{Root: "@nobody", Path: "a"}, v)
	wantCode(t, err, sennit.NotFound)
}
