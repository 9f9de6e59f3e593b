package node_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/store"
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
	n, err := node.New(node.Config{Store: st, Identity: id, Log: slog.New(slog.DiscardHandler)})
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
