package bustest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/sennit/sennit"
)

func streams(t *testing.T, bus sennit.Bus) {
	v := write(t, bus, appending("log", "one\n"))
	wantText(t, bus, "log", "one\n")
	if n := get(t, bus, "log"); n.Version != v && !strings.HasPrefix(string(n.Version), string(v)+".") {
		t.Errorf("version %q, want %q", n.Version, v)
	}
	more := sennit.Change{Kind: sennit.KindAppend, Path: "log", Value: sennit.Value{Data: []byte("two\n")}}
	before := get(t, bus, "log")
	write(t, bus, more, appending("log/below", "x"), appending("log", "three\n"))
	wantText(t, bus, "log", "one\ntwo\nthree\n")
	wantText(t, bus, "log/below", "x")
	if n := get(t, bus, "log"); mediaType(n.Value) != "text/plain" || n.Version == before.Version {
		t.Errorf("type %q, version %q as before %q", n.Value.Type, n.Version, before.Version)
	}

	// A value that is set is a thing of its own; the newer is shown.
	put(t, bus, "log", "set")
	wantText(t, bus, "log", "set")
	write(t, bus, appending("log", "four\n"))
	wantText(t, bus, "log", "one\ntwo\nthree\nfour\n")
	write(t, bus, adding("log", 4))
	wantCount(t, bus, "log", 4)

	// It is listed as a value, and what deletes values deletes it.
	entries, _ := list(t, bus, "", sennit.Listing{})
	if want := (sennit.Entry{Name: "log", Value: true, Dir: true}); len(entries) != 1 || entries[0] != want {
		t.Errorf("the listing is %v, want %v", entries, want)
	}
	write(t, bus, deleting("log", false))
	wantNothing(t, bus, "log")
	wantText(t, bus, "log/below", "x")
	write(t, bus, appending("log", "gone"), deleting("log", true), appending("log", "new"), appending("log/below", "y"))
	wantText(t, bus, "log", "new")
	wantText(t, bus, "log/below", "y")

	for _, c := range []sennit.Change{
		{Kind: sennit.KindAppend, Path: "log"}, appending(".acl/log", "x"), {Kind: sennit.KindAppend, Value: text("x")},
		appending("log", strings.Repeat("x", sennit.MaxInline+1)),
	} {
		if _, err := bus.Write(t.Context(), "me", []sennit.Change{c}); err == nil {
			t.Errorf("%d bytes at %q were taken", len(c.Value.Data), c.Path)
		}
	}
	wantText(t, bus, "log", "new")
}

func streamMany(t *testing.T, bus sennit.Bus) {
	const writers, lines = 8, 20
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			for j := range lines {
				if _, err := bus.Write(t.Context(), "me", []sennit.Change{appending("log", fmt.Sprintf("%d %d\n", i, j))}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	next := map[string]int{}
	n := get(t, bus, "log")
	for line := range strings.Lines(string(n.Value.Data)) {
		who, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		if what != fmt.Sprint(next[who]) {
			t.Fatalf("after %d lines of writer %s comes %q", next[who], who, line)
		}
		next[who]++
	}
	for i := range writers {
		if next[fmt.Sprint(i)] != lines {
			t.Errorf("%d of %d lines of writer %d are there", next[fmt.Sprint(i)], lines, i)
		}
	}
}

// wantRanges reads a content here and there.
func wantRanges(t *testing.T, c sennit.Content, want []byte) {
	t.Helper()
	size := len(want)
	for _, r := range [][2]int{
		{0, 1}, {1, 100}, {size - 1, 1}, {size / 2, 70_000}, {size/2 + 70_000, 10}, {size / 3, 5}, {size / 3, 5}, {max(0, size-100), 200}, {0, size + 1}, {size, 1}, {size + 7, 1},
	} {
		off, n := r[0], r[1]
		if off > size+7 {
			continue
		}
		p := make([]byte, n)
		k, err := c.ReadAt(t.Context(), p, int64(off))
		left := want[min(off, size):]
		if wantErr := n > len(left); k != min(n, len(left)) || !bytes.Equal(p[:k], left[:k]) || wantErr != errors.Is(err, io.EOF) || !wantErr && err != nil {
			t.Fatalf("reading %d bytes from %d on of %d: %d bytes, right: %v, %v", n, off, size, k, bytes.Equal(p[:k], left[:min(k, len(left))]), err)
		}
	}
}

func open(t *testing.T, bus sennit.Bus, path string) (sennit.Node, sennit.Content) {
	t.Helper()
	n, c, err := bus.Open(t.Context(), me(path))
	if err != nil {
		t.Fatalf("opening %s: %v", path, err)
	}
	t.Cleanup(func() { c.Close() })
	return n, c
}

func streamLong(t *testing.T, bus sennit.Bus) {
	var want []byte
	var changes []sennit.Change
	for i := range 400 {
		chunk := bytes.Repeat([]byte{byte(i)}, 1+i*37%1500)
		want = append(want, chunk...)
		changes = append(changes, appending("log", string(chunk)))
	}
	for len(changes) > 0 {
		n := min(len(changes), 1+len(changes)%90)
		write(t, bus, changes[:n]...)
		changes = changes[n:]
	}
	short := get(t, bus, "log")
	if short.Value.Data != nil || short.Value.Stream != uint64(len(want)) || short.Value.Size() != uint64(len(want)) {
		t.Errorf("a stream of %d bytes is given as %d bytes, stream %d", len(want), len(short.Value.Data), short.Value.Stream)
	}
	n, c := open(t, bus, "log")
	if n.Version != short.Version || n.Value.Stream != uint64(len(want)) {
		t.Errorf("opened, it is %q of %d, want %q of %d", n.Version, n.Value.Stream, short.Version, len(want))
	}
	wantRanges(t, c, want)

	// Watches don't drag it along.
	r := watch(t, bus, sennit.WatchOptions{}, subtree(""))
	if got := r.snapshot(); len(got) != 1 || got[0].Node.Value.Stream != uint64(len(want)) || got[0].Node.Value.Data != nil {
		t.Errorf("a snapshot has %d values, the first with %d bytes", len(got), len(got[0].Node.Value.Data))
	}

	put(t, bus, "short", "0123456789")
	_, c = open(t, bus, "short")
	wantRanges(t, c, []byte("0123456789"))
	if _, _, err := bus.Open(t.Context(), me("absent")); sennit.CodeOf(err) != sennit.NotFound {
		t.Errorf("opening what isn't there: %v", err)
	}
}

func streamWatch(t *testing.T, bus sennit.Bus) {
	write(t, bus, appending("log", "a"), appending("log", "b"))
	tail := watch(t, bus, sennit.WatchOptions{Tail: true}, subtree(""))
	state := watch(t, bus, sennit.WatchOptions{}, only("log"))
	for _, r := range []*reader{tail, state} {
		if got := r.snapshot(); len(got) != 1 || string(got[0].Node.Value.Data) != "ab" {
			t.Fatalf("the snapshot is %v", got)
		}
	}
	write(t, bus, appending("log", "c"), appending("new", "x"))
	from := tail.wantAppended("log", "c").Cursor
	tail.wantAppended("new", "x")
	state.wantAppended("log", "c")
	write(t, bus, appending("log", "d"))
	write(t, bus, appending("log", "e"))
	tail.wantAppended("log", "d")
	tail.wantAppended("log", "e")
	have := fold{"log": "abc"}
	for have["log"] != "abcde" {
		have.apply(state.change())
	}
	again := watch(t, bus, sennit.WatchOptions{Tail: true, Since: from}, subtree(""))
	again.wantAppended("log", "d")
	again.wantAppended("log", "e")
	write(t, bus, deleting("log", false), appending("log", "f"))
	for _, r := range []*reader{tail, again} {
		r.wantGone("log")
		r.wantAppended("log", "f")
	}
	for have["log"] != "f" {
		have.apply(state.change())
	}
}

// wantAppended wants the next change to add this text at the end of a stream.
func (r *reader) wantAppended(path, want string) sennit.Update {
	r.t.Helper()
	u := r.change()
	if u.Kind != sennit.Appended || string(u.Node.Path) != path || string(u.Node.Value.Data) != want || u.Late {
		r.t.Fatalf("got %s, want %q appended at %s", show(u), want, path)
	}
	return u
}

func conditions(t *testing.T, bus sennit.Bus) {
	on := func(c sennit.Change, v sennit.Version) sennit.Change {
		c.If = &v
		return c
	}
	refused := func(changes ...sennit.Change) {
		t.Helper()
		_, err := bus.Write(t.Context(), "me", changes)
		wantCode(t, err, sennit.Conflict)
	}
	v := write(t, bus, on(putting("a", "1"), ""))
	refused(on(putting("a", "x"), ""))
	refused(putting("b", "x"), on(putting("a", "x"), "nothing-1"))
	wantNothing(t, bus, "b")
	wantText(t, bus, "a", "1")
	w := write(t, bus, putting("b", "1"), on(putting("a", "2"), v))
	refused(on(putting("a", "x"), v))
	refused(on(deleting("a", false), v))
	refused(on(adding("a", 1), v))
	refused(on(appending("a", "x"), v))
	if _, err := bus.Put(t.Context(), me("a"), "text/plain", strings.NewReader("x"), &v); sennit.CodeOf(err) != sennit.Conflict {
		t.Errorf("a put from a stream: %v, want a conflict", err)
	}
	wantText(t, bus, "a", "2")
	w, err := bus.Put(t.Context(), me("a"), "text/plain", strings.NewReader("3"), &w)
	if err != nil {
		t.Fatal(err)
	}
	wantText(t, bus, "a", "3")
	write(t, bus, on(deleting("a", false), w))
	wantNothing(t, bus, "a")

	// Of counters and streams too: each step is a new version.
	write(t, bus, adding("n", 1), appending("s", "x"))
	n, s := get(t, bus, "n").Version, get(t, bus, "s").Version
	write(t, bus, on(adding("n", 1), n), on(appending("s", "y"), s))
	refused(on(adding("n", 1), n))
	refused(on(appending("s", "z"), s))
	wantCount(t, bus, "n", 2)
	wantText(t, bus, "s", "xy")
}

func conditionMany(t *testing.T, bus sennit.Bus) {
	const writers, steps = 8, 10
	put(t, bus, "n", "0")
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for done := 0; done < steps; {
				n, err := bus.Get(t.Context(), me("n"))
				if err != nil {
					t.Error(err)
					return
				}
				var now int
				fmt.Sscan(string(n.Value.Data), &now)
				next := putting("n", fmt.Sprint(now+1))
				next.If = &n.Version
				switch _, err := bus.Write(t.Context(), "me", []sennit.Change{next}); sennit.CodeOf(err) {
				case "":
					done++
				case sennit.Conflict:
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	wantText(t, bus, "n", fmt.Sprint(writers*steps))
}
