package bustest

import (
	"strings"
	"testing"
	"time"

	"github.com/sennit/sennit"
)

// send sends a live message, or fails the test.
func send(t tb, bus sennit.Bus, path, s string) {
	t.Helper()
	if err := bus.Send(t.Context(), me(path), text(s), 0); err != nil {
		t.Fatalf("sending to %s: %v", path, err)
	}
}

// wantMessage wants the next update to be this message.
func (r *reader) wantMessage(path, want string) sennit.Update {
	r.t.Helper()
	u := r.next()
	if u.Kind != sennit.Message || string(u.Node.Path) != path || string(u.Node.Value.Data) != want {
		r.t.Fatalf("got %s, want the message %.40q at %s", show(u), want, path)
	}
	return u
}

func messages(t *testing.T, bus sennit.Bus) {
	put(t, bus, "doc", "text")
	before := digest(t, bus, "")
	asks := watch(t, bus, sennit.WatchOptions{Messages: true, Tail: true}, subtree(""))
	asks.snapshot()
	quiet := watch(t, bus, sennit.WatchOptions{Tail: true}, subtree(""))
	quiet.snapshot()

	begun := time.Now()
	if err := bus.Send(t.Context(), me("doc/cursors"), sennit.Value{Type: "application/json", Data: []byte(`{"at":12}`)}, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	u := asks.wantMessage("doc/cursors", `{"at":12}`)
	n, doc := u.Node, get(t, bus, "doc")
	if n.Value.Type != "application/json" || n.Author != doc.Author || n.Version != "" || u.Cursor != (sennit.Cursor{}) || u.Space.IsZero() {
		t.Errorf("the message is %s of type %q by %v in %v", show(u), n.Value.Type, n.Author, u.Space)
	}
	if off := n.Time.Sub(begun); off < -time.Minute || off > time.Minute {
		t.Errorf("the message was sent at %v, %v off", n.Time, off)
	}
	if life := u.Until.Sub(n.Time); life != 20*time.Second {
		t.Errorf("the message counts for %v, want 20s", life)
	}

	// It leaves nothing behind, and who asked for none, or comes late, gets none.
	wantNothing(t, bus, "doc/cursors")
	if after := digest(t, bus, ""); after.Hash != before.Hash || after.Ops != before.Ops {
		t.Errorf("a message changed the digest from %v to %v", before, after)
	}
	late := watch(t, bus, sennit.WatchOptions{Messages: true, Tail: true}, subtree("doc"))
	if got := late.snapshot(); paths(got) != "doc" {
		t.Errorf("a later snapshot holds %s", paths(got))
	}
	put(t, bus, "doc", "longer text")
	quiet.wantSet("doc", "longer text")
	late.wantSet("doc", "longer text")
	asks.wantSet("doc", "longer text")

	// What is sent after a write comes after it; of many, none comes twice.
	put(t, bus, "doc", "more")
	quiet.wantSet("doc", "more")
	late.wantSet("doc", "more")
	for i := range 20 {
		send(t, bus, "doc", strings.Repeat("x", i))
	}
	asks.wantSet("doc", "more")
	for i := range 20 {
		asks.wantMessage("doc", strings.Repeat("x", i))
	}
}

func messagePatterns(t *testing.T, bus sennit.Bus) {
	exact := watch(t, bus, sennit.WatchOptions{Messages: true}, only("a/b"))
	exact.snapshot()
	below := watch(t, bus, sennit.WatchOptions{Messages: true}, subtree("a/*/x"), subtree("q"))
	below.snapshot()
	for _, p := range []string{"a", "a/b/c", "a/b/x/y", "ab", "a/b", "r", "q"} {
		send(t, bus, p, p)
	}
	exact.wantMessage("a/b", "a/b")
	below.wantMessage("a/b/x/y", "a/b/x/y")
	below.wantMessage("q", "q")
	put(t, bus, "q", "1")
	below.wantSet("q", "1")
}

func messageLimits(t *testing.T, bus sennit.Bus) {
	r := watch(t, bus, sennit.WatchOptions{Messages: true}, subtree(""))
	r.snapshot()
	plain := text("x")
	for _, c := range []struct {
		name  string
		at    sennit.Addr
		value sennit.Value
		life  time.Duration
		want  []sennit.Code
	}{
		{"too many bytes", me("p"), text(strings.Repeat("x", sennit.MaxMessage+1)), 0, []sennit.Code{sennit.TooLarge}},
		{"no value's type", me("p"), sennit.Value{Type: "a/b\n"}, 0, []sennit.Code{sennit.BadInput}},
		{"a blob", me("p"), sennit.Value{Blob: &sennit.Blob{Size: 1 << 20}}, 0, []sennit.Code{sennit.TooLarge, sennit.Unsupported}},
		{"too long", me("p"), plain, sennit.MaxMessageLife + time.Millisecond, []sennit.Code{sennit.BadInput}},
		{"too short", me("p"), plain, time.Microsecond, []sennit.Code{sennit.BadInput}},
		{"negative", me("p"), plain, -time.Second, []sennit.Code{sennit.BadInput}},
		{"the root", me(""), plain, 0, []sennit.Code{sennit.BadInput}},
		{"a reserved place", me(".acl/x"), plain, 0, []sennit.Code{sennit.Denied}},
		{"an unknown space", sennit.Addr{Root: "@nobody", Path: "p"}, plain, 0, []sennit.Code{sennit.NotFound}},
	} {
		if err := bus.Send(t.Context(), c.at, c.value, c.life); err == nil {
			t.Errorf("%s: sent", c.name)
		} else {
			wantCode(t, err, c.want...)
		}
	}
	most := strings.Repeat("x", sennit.MaxMessage)
	for _, life := range []time.Duration{time.Second, sennit.MaxMessageLife} {
		if err := bus.Send(t.Context(), me("p"), text(most), life); err != nil {
			t.Errorf("a message of the most bytes for %v: %v", life, err)
		}
		r.wantMessage("p", most)
	}
	if err := bus.Send(t.Context(), me("p"), sennit.Value{}, 0); err != nil {
		t.Errorf("an empty message: %v", err)
	}
	r.wantMessage("p", "")
}

func limitedMessages(t *testing.T, owner, limited sennit.Bus) {
	r := watch(t, limited, sennit.WatchOptions{Messages: true}, subtree(""), subtree("p/other"))
	r.snapshot()
	for _, p := range []string{"p/other/a", "p", "r", "p/mine2", "p/mine/a", "q"} {
		send(t, owner, p, p)
	}
	r.wantMessage("p/mine/a", "p/mine/a")
	r.wantMessage("q", "q")
	for path, code := range map[string]sennit.Code{"p/mine/a": sennit.Denied, "p/other/a": sennit.NotFound, "r": sennit.NotFound} {
		wantCode(t, limited.Send(t.Context(), me(path), text("1"), 0), code)
	}
}

func limitedSends(t *testing.T, owner, limited sennit.Bus) {
	r := watch(t, owner, sennit.WatchOptions{Messages: true}, subtree(""))
	r.snapshot()
	wantCode(t, limited.Send(t.Context(), me("p/other/a"), text("1"), 0), sennit.NotFound)
	send(t, limited, "p/mine/a", "1")
	r.wantMessage("p/mine/a", "1")
}
