package node_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"
)

func TestWhatWasDoneIsListedAndTakenBack(t *testing.T) {
	n := open(t, vfs.NewMem())
	bus := n.Bus(n.Owner())
	ctx := context.Background()
	at := func(p string) sennit.Addr { return sennit.Addr{Root: "me", Path: sennit.MustPath(p)} }
	do := func(changes ...sennit.Change) {
		t.Helper()
		if _, err := bus.Write(ctx, "me", changes); err != nil {
			t.Fatal(err)
		}
	}
	set := func(p, v string) sennit.Change {
		return sennit.Change{Kind: sennit.KindPut, Path: sennit.MustPath(p), Value: sennit.Value{Type: "text/plain", Data: []byte(v)}}
	}
	shows := func(p, want string) {
		t.Helper()
		got, err := bus.Get(ctx, at(p))
		if want == "" && sennit.CodeOf(err) == sennit.NotFound {
			return
		}
		if err != nil || string(got.Value.Data) != want {
			t.Fatalf("%s shows %q, %v; want %q", p, got.Value.Data, err, want)
		}
	}
	undo := func(p string, want int) {
		t.Helper()
		if k, err := n.Undo(ctx, at(p)); err != nil || k != want {
			t.Fatalf("undoing %s changed %d values, %v; want %d", p, k, err, want)
		}
	}
	do(set("a", "1"))
	do(set("a", "2"), set("b", "x"))
	do(set("a", "3"))
	list, err := n.History(ctx, at("a"), 2)
	if err != nil || len(list) != 2 || string(list[0].Value.Data) != "3" || !list[0].Shown || string(list[1].Value.Data) != "2" || list[1].Shown {
		t.Errorf("history: %+v, %v", list, err)
	}
	undo("a", 1)
	shows("a", "2")
	undo("a", 1) // takes the undoing back
	shows("a", "3")
	undo("b", 1)
	shows("b", "")
	if _, err := n.Undo(ctx, at("never")); sennit.CodeOf(err) != sennit.NotFound {
		t.Errorf("undoing nothing: %v", err)
	}

	// A subtree that was deleted comes back, but for what was written since.
	do(set("d/1", "one"), set("d/2", "two"), set("d/sub/3", "three"), set("d/gone", "x"))
	do(sennit.Change{Kind: sennit.KindDel, Path: "d/gone"})
	do(sennit.Change{Kind: sennit.KindDel, Path: "d", Deep: true})
	do(set("d/2", "newer"))
	undo("d", 2)
	shows("d/1", "one")
	shows("d/2", "newer")
	shows("d/sub/3", "three")
	shows("d/gone", "")

	// Large values too.
	big := strings.Repeat("0123456789", 10_000)
	if _, err := bus.Put(ctx, at("big"), "", strings.NewReader(big), nil); err != nil {
		t.Fatal(err)
	}
	do(set("big", "small"))
	undo("big", 1)
	got, c, err := bus.Open(ctx, at("big"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := make([]byte, len(big))
	if k, err := c.ReadAt(ctx, p, 0); k != len(big) || string(p) != big || got.Value.Blob == nil {
		t.Errorf("%d bytes came back, %v", k, err)
	}

	do(sennit.Change{Kind: sennit.KindAdd, Path: "n", Delta: 1})
	if _, err := n.Undo(ctx, at("n")); sennit.CodeOf(err) != sennit.Unsupported {
		t.Errorf("undoing a step of a counter: %v", err)
	}
	if list, err := n.History(ctx, at("n"), 10); err != nil || len(list) != 1 || fmt.Sprint(list[0].Total) != "1" {
		t.Errorf("history of a counter: %+v, %v", list, err)
	}
}
