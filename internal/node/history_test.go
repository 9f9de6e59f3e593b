package node_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/bubble"
	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
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

// TestWhatCameTooLateToShowIsListed: what others wrote without knowing of what
// was written here, and which is older, is told once. Nothing else is.
func TestWhatCameTooLateToShowIsListed(t *testing.T) {
	newIdentity(t, "owner")
	bubble.Test(t, func(t *testing.T) {
		m, dataLog, rules := spared(t, t)
		defer func() { m.stop() }()
		auth := []sennit.Hash{rules.commits[0].ID}
		begun := uint64(time.Now().UnixMilli()) << 16
		root := sennit.Addr{Root: "me"}
		time.Sleep(time.Minute)
		write := func(changes ...sennit.Change) {
			t.Helper()
			if _, err := m.Bus(m.Owner()).Write(t.Context(), "me", changes); err != nil {
				t.Fatal(err)
			}
		}
		put := func(p string) sennit.Change {
			return sennit.Change{Kind: sennit.KindPut, Path: sennit.MustPath(p), Value: sennit.Value{Data: []byte("here")}}
		}
		var since sennit.Cursor
		late := func(what string, at sennit.Addr, want ...string) {
			t.Helper()
			list, next, err := m.Overtaken(t.Context(), at, since, 100)
			if err != nil {
				t.Fatal(err)
			}
			got := []string{}
			for _, n := range list {
				got = append(got, string(n.Path)+"="+string(n.Value.Data))
				if _, text, err := m.at(n.Path, n.Version); err != nil || text != string(n.Value.Data) {
					t.Errorf("%s: at its version %s shows %q, %v", what, n.Path, text, err)
				}
			}
			if !slices.Equal(got, want) && len(got)+len(want) > 0 {
				t.Errorf("%s: %q were overtaken, want %q", what, got, want)
			}
			if at == root {
				since = next
			}
		}
		other := dataLog(1)
		deliver := func(l *log) {
			t.Helper()
			if err := m.deliver(l.rec, l.whole(t)); err != nil {
				t.Fatal(err)
			}
		}

		write(put("p/a"), put("p/b"), put("q"), put("gone"), put("under/x"))
		write(sennit.Change{Kind: sennit.KindDel, Path: "gone"}, sennit.Change{Kind: sennit.KindDel, Path: "under", Deep: true})
		late("before anything came", root)
		other.write(t, begun+1, auth, putOp("p/a", "late"), putOp("p/new", "1"), delOp("p/b", false), putOp("q", "late"), putOp("gone", "late"), putOp("under/x", "late"))
		deliver(other)
		late("beneath p", sennit.Addr{Root: "me", Path: "p"}, "p/a=late")
		late("everywhere", root, "p/a=late", "q=late", "gone=late", "under/x=late")
		late("when all was told", root)
		deliver(other)
		late("told again by a peer", root)

		now := uint64(time.Now().Add(time.Second).UnixMilli()) << 16
		other.write(t, now, auth, putOp("p/a", "newer"))
		deliver(other)
		third := dataLog(2)
		third.write(t, begun+2, auth, putOp("p/a", "beaten by another"))
		deliver(third)
		late("newer, and beaten by somebody else", root)

		// What was known of when this node wrote was not overlooked.
		known := dataLog(3)
		known.write(t, begun+3, auth, putOp("k", "known"), putOp("l", "x"))
		if err := m.deliver(known.rec, known.run(t, 0, 1, 1, all, func(_ int, op uint32) bool { return op == 1 })); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		write(put("k"))
		deliver(known)
		late("an op of a commit that was known", root)

		// It goes on after a restart, with the log that it had.
		if err := m.stop(); err != nil {
			t.Fatal(err)
		}
		m = boot(t, m)
		known.write(t, begun+4, auth, putOp("k", "late"))
		deliver(known)
		late("after a restart", root, "k=late")
		if err := m.stop(); err != nil {
			t.Fatal(err)
		}
		st, err := store.Open(store.Config{Dir: "store", FS: m.fs})
		if err != nil {
			t.Fatal(err)
		}
		b := st.Batch()
		b.SetLocal("clean", nil)
		if err := errors.Join(b.Sync(), st.Close()); err != nil {
			t.Fatal(err)
		}
		m = boot(t, m)
		known.write(t, begun+5, auth, putOp("k", "later"))
		deliver(known)
		late("after it was killed", root, "k=later")

		// Of what somebody wrote in a row the last is what they meant.
		row := dataLog(4)
		row.write(t, begun+6, auth, putOp("k", "first"))
		row.write(t, begun+7, auth, putOp("k", "second"))
		row.write(t, begun+8, auth, putOp("p/b", "first"))
		row.write(t, uint64(time.Now().UnixMilli())<<16, auth, putOp("p/b", "newest of all"))
		deliver(row)
		late("several in a row", root, "k=second")

		// Nobody saw what no rule allowed yet.
		guest := newPerson("ana")
		guest.add(secret("ana 1"))
		guests := newLog(m.Self().Space, guest.space(), secret("ana 1"), wire.Data, 0)
		allow := func(prefix string) *commit.Commit {
			t.Helper()
			g := wire.Grant{Who: wire.Who{Subject: wire.SubjectSpace, Key: guest.space()}, Prefix: sennit.Path(prefix), May: sennit.Write}
			return rules.write(t, now, []sennit.Hash{rules.commits[len(rules.commits)-1].ID}, grantOp(g))
		}
		allow("elsewhere")
		deliver(rules)
		in := m.Intake()
		if err := in.Evidence(t.Context(), m.Self().Space, guest.evidence()); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		guests.write(t, begun+9, []sennit.Hash{allow("").ID}, putOp("k", "by a guest"))
		deliver(guests)
		late("what no rule allows yet", root)
		deliver(rules)
		late("when a rule allows it", root, "k=by a guest")
		for _, foreign := range []sennit.Cursor{{Epoch: since.Epoch + 1, N: 1}, {Epoch: since.Epoch, N: since.N + 1}} {
			if _, _, err := m.Overtaken(t.Context(), root, foreign, 100); sennit.CodeOf(err) != sennit.Gone {
				t.Errorf("a cursor of another store: %v", err)
			}
		}
		since = sennit.Cursor{}
		list, next, err := m.Overtaken(t.Context(), root, since, 1)
		if err != nil || len(list) != 4 {
			t.Errorf("one commit's worth: %v, %v", list, err)
		}
		if list, _, err = m.Overtaken(t.Context(), root, next, 1); err != nil || len(list) != 1 || string(list[0].Value.Data) != "late" {
			t.Errorf("the next: %v, %v", list, err)
		}
	})
}
