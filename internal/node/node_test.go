package node_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/blob"
	"github.com/sennit/sennit/internal/bubble"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

// open starts a node on a file system and stops it when the test ends.
func open(t testing.TB, fs vfs.FS) *node.Node {
	t.Helper()
	id, err := keys.Create(t.TempDir(), keys.Options{DeviceName: "test", Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return start(t, fs, id)
}

func start(t testing.TB, fs vfs.FS, id *keys.Identity) *node.Node {
	t.Helper()
	st, err := store.Open(store.Config{Dir: "store", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.Open(blob.Config{Dir: "blobs", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.New(node.Config{Store: st, Identity: id, Blobs: blobs, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func TestPutIsReadBack(t *testing.T) {
	n := open(t, vfs.NewMem())
	bus := n.Bus(n.Owner())
	ctx := context.Background()
	for i := range 100 {
		p := sennit.MustPath(fmt.Sprintf("a/b%d", i))
		if _, err := bus.Write(ctx, "me", []sennit.Change{{Kind: sennit.KindPut, Path: p, Value: sennit.Value{Type: "text/plain", Data: []byte(p)}}}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := bus.Get(ctx, sennit.Addr{Root: "me", Path: "a/b7"})
	if err != nil || string(got.Value.Data) != "a/b7" {
		t.Fatal(got, err)
	}
	list, more, err := bus.List(ctx, sennit.Addr{Root: "me", Path: "a"}, sennit.Listing{Limit: 30})
	if err != nil || !more || len(list) != 30 {
		t.Fatal(list, more, err)
	}
	d, err := bus.Digest(ctx, sennit.Addr{Root: "me"})
	if err != nil || d.Ops != 100 {
		t.Fatal(d, err)
	}
}

// TestAWatchThatLostEventsDoesNotWaitForMore lets a watch fall so far behind
// that the hub gives up on it. What it missed, be it changes or that a space is
// followed now, must come without another event.
func TestAWatchThatLostEventsDoesNotWaitForMore(t *testing.T) {
	ids := []identity{newIdentity(t, "owner"), newIdentity(t, "left")}
	for _, tail := range []bool{false, true} {
		t.Run(fmt.Sprintf("tail=%v", tail), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) { lag(t, ids, tail) })
		})
	}
}

func lag(t *testing.T, ids []identity, tail bool) {
	m, friend := boot(t, &machine{id: ids[0], fs: vfs.NewMem()}), boot(t, &machine{id: ids[1], fs: vfs.NewMem()})
	defer m.stop()
	defer friend.stop()
	w, err := m.Bus(m.Owner()).Watch(t.Context(), []sennit.Pattern{{Root: "me"}, {Root: sennit.Follows, Path: "*"}}, sennit.WatchOptions{Tail: tail})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	got := map[sennit.Path]string{}
	take := func() {
		t.Helper()
		for {
			soon, cancel := context.WithTimeout(t.Context(), time.Second)
			updates, err := w.Next(soon)
			cancel()
			if errors.Is(err, context.DeadlineExceeded) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range updates {
				if u.Kind == sennit.Set {
					got[u.Node.Path] = string(u.Node.Value.Data)
				}
			}
		}
	}
	take()
	for i := range 5 {
		changes := make([]sennit.Change, sennit.MaxOps)
		for j := range changes {
			changes[j] = sennit.Change{Kind: sennit.KindPut, Path: sennit.Path(fmt.Sprintf("a/%d", j)), Value: sennit.Value{Data: fmt.Append(nil, i)}}
		}
		if _, err := m.Bus(m.Owner()).Write(t.Context(), "me", changes); err != nil {
			t.Fatal(err)
		}
	}
	space := friend.Self().Space
	if err := m.EditFollow(t.Context(), space, func(f *node.Follow) { f.Mode = "live" }); err != nil {
		t.Fatal(err)
	}
	take()
	if len(got) != sennit.MaxOps || got["a/7"] != "4" {
		t.Errorf("%d values are known, one of them %q", len(got), got["a/7"])
	}
	if _, err := friend.Allow(t.Context(), friend.Owner(), space, []wire.Grant{{Who: wire.Who{Subject: wire.SubjectAny}, May: sennit.Read}}); err != nil {
		t.Fatal(err)
	}
	if _, err := friend.Bus(friend.Owner()).Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: "hello"}}); err != nil {
		t.Fatal(err)
	}
	relay(t, friend, m, space, how{limit: 1 << 16})
	take()
	if _, ok := got["hello"]; !ok {
		t.Error("that a space is followed was lost")
	}
}

// TestTimesAreInTheOrderOfClocks, also of what was written within a millisecond.
func TestTimesAreInTheOrderOfClocks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := open(t, vfs.NewMem())
		bus := n.Bus(n.Owner())
		var last time.Time
		for range 50 { // the time of the bubble stands still
			if _, err := bus.Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: "a"}}); err != nil {
				t.Fatal(err)
			}
			v, err := bus.Get(t.Context(), sennit.Addr{Root: "me", Path: "a"})
			if err != nil || !v.Time.After(last) || time.Until(v.Time).Abs() > time.Millisecond {
				t.Fatalf("%v after %v, now is %v (%v)", v.Time, last, time.Now(), err)
			}
			last = v.Time
		}
	})
}
