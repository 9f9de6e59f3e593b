package bustest_test

import (
	"context"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/bustest"
)

func TestModel(t *testing.T) {
	bustest.Run(t, func(*testing.T) sennit.Bus { return bustest.Memory() })
}

func TestModelLimited(t *testing.T) {
	bustest.RunLimited(t, func(_ *testing.T, prefixes []sennit.Addr, may sennit.Rights) (owner, limited sennit.Bus) {
		m := bustest.Memory()
		return m, m.Limited(prefixes, may)
	})
}

func put(t *testing.T, bus sennit.Bus, path, text string) {
	t.Helper()
	_, err := bus.Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: sennit.MustPath(path), Value: sennit.Value{Data: []byte(text)}}})
	if err != nil {
		t.Fatal(err)
	}
}

func pattern(t *testing.T, text string) sennit.Pattern {
	t.Helper()
	p, err := sennit.ParsePattern(text, false)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func next(t *testing.T, w sennit.Watch, n int) (got []sennit.Update) {
	t.Helper()
	for len(got) < n {
		updates, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, updates...)
	}
	return got
}

func TestWatchSpansTheSpacesThatAreFollowed(t *testing.T) {
	m := bustest.Memory()
	ana, ben := m.Friend("ana"), m.Friend("ben")
	put(t, ana, "posts/1", "a1")
	put(t, m, "posts/1", "mine")
	put(t, ben, "posts/1", "b1")
	put(t, ana, "drafts/1", "secret")
	w, err := m.Watch(t.Context(), []sennit.Pattern{pattern(t, "/@follows/*/posts"), pattern(t, "/me/posts")}, sennit.WatchOptions{Newest: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	put(t, ben, "posts/2", "b2")
	put(t, ana, "posts/2", "a2")
	var got string
	for _, u := range next(t, w, 5) {
		got += string(u.Node.Value.Data) + " "
	}
	if want := "b1 mine  b2 a2 "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if n, err := m.Get(t.Context(), sennit.Addr{Root: "@ana", Path: "posts/1"}); err != nil || string(n.Value.Data) != "a1" {
		t.Errorf("by petname: %q, %v", n.Value.Data, err)
	}
	_, err = m.Write(t.Context(), "@ana", []sennit.Change{{Kind: sennit.KindPut, Path: "posts/3"}})
	if sennit.CodeOf(err) != sennit.Denied {
		t.Errorf("writing to a friend's space: %v", err)
	}
}

func TestWatchEndsAndResets(t *testing.T) {
	m := bustest.Memory()
	put(t, m, "a", "x")
	w, err := m.Watch(t.Context(), []sennit.Pattern{pattern(t, "/me/a")}, sennit.WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	next(t, w, 2)
	m.Restore()
	got := next(t, w, 3)
	if len(got) != 3 || got[0].Kind != sennit.Reset || got[1].Kind != sennit.Set || got[2].Kind != sennit.Live {
		t.Errorf("after a restore: %v", got)
	}
	m.Stop()
	if _, err := w.Next(context.Background()); sennit.CodeOf(err) != sennit.Gone {
		t.Errorf("after the stop: %v", err)
	}
	if m.Watches() != 1 {
		t.Errorf("%d watches are open, want 1", m.Watches())
	}
	w.Close()
	if m.Watches() != 0 {
		t.Errorf("%d watches are open, want none", m.Watches())
	}
}
