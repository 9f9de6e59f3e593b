package node_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/bubble"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

// collect collects a node's own space.
func collect(t *testing.T, n *node.Node) node.Collected {
	t.Helper()
	c, err := n.Collect(t.Context(), n.Self().Space, nil)
	if err != nil {
		t.Fatalf("collect: %v", err)
	}
	return c
}

func whole(t *testing.T, n *node.Node) {
	t.Helper()
	found, err := n.Verify(t.Context(), func(uint64, uint64) {})
	if err != nil || len(found) > 0 {
		t.Fatalf("verify: %q, %v", found, err)
	}
}

// TestWhatIsOverwrittenGoesAway: a key that was overwritten often leaves the
// newest of its values, and nothing that shows is touched.
func TestWhatIsOverwrittenGoesAway(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		id := newIdentity(t, "owner")
		later := time.Duration(0)
		m := boot(t, &machine{id: id, fs: vfs.NewMem(), now: func() time.Time { return time.Now().Add(later) }})
		defer m.stop()
		bus := m.Bus(m.Owner())
		put := func(p, v string) sennit.Change {
			return sennit.Change{Kind: sennit.KindPut, Path: sennit.MustPath(p), Value: sennit.Value{Data: []byte(v)}}
		}
		write := func(changes ...sennit.Change) {
			t.Helper()
			if _, err := bus.Write(context.Background(), "me", changes); err != nil {
				t.Fatal(err)
			}
		}
		const times = 3000
		for i := range times {
			if i%7 == 0 {
				write(put("hot", fmt.Sprint(i)), put(fmt.Sprint("cold/", i), "stays"))
			} else {
				write(put("hot", fmt.Sprint(i)))
			}
		}
		before, err := bus.Digest(context.Background(), sennit.Addr{Root: "me"})
		if err != nil {
			t.Fatal(err)
		}
		c := collect(t, m.Node)
		if c.Dropped < times-40 || c.Commits < times*6/7-40 {
			t.Errorf("of %d ops %d were dropped, with %d commits", c.Seen, c.Dropped, c.Commits)
		}
		after, err := bus.Digest(context.Background(), sennit.Addr{Root: "me"})
		if err != nil || after.Hash != before.Hash || after.Ops != before.Ops {
			t.Errorf("the digest was %v of %d ops, and is %v of %d, %v", before.Hash, before.Ops, after.Hash, after.Ops, err)
		}
		whole(t, m.Node)
		if again := collect(t, m.Node); again.Dropped > 5 {
			t.Errorf("another collection drops %d more", again.Dropped)
		}
		// Once it is too old to be wanted back, nothing of it is left.
		later = 31 * 24 * time.Hour
		collect(t, m.Node)
		if left := collect(t, m.Node); left.Seen != before.Ops {
			t.Errorf("%d ops are kept, %d are live", left.Seen, before.Ops)
		}
		whole(t, m.Node)

		// A new follower gets what is live, and agrees.
		other := boot(t, &machine{id: newIdentity(t, "other"), fs: vfs.NewMem()})
		defer other.stop()
		relay(t, m, other, m.Self().Space, how{limit: 1 << 20})
		theirs, err := other.Trie(context.Background(), m.Self().Space)
		if err != nil {
			t.Fatal(err)
		}
		defer theirs.Done()
		if n, err := other.LastArrival(m.Self().Space); err != nil || n == 0 {
			t.Errorf("nothing arrived: %v", err)
		}
		whole(t, other.Node)
	})
}

// spared is a node with a second device of its owner, whose logs are written by
// hand. It collects whatever is superseded.
func spared(t failer, tb testing.TB) (m *machine, newData func(nonce byte) *log, rules *log) {
	t.Helper()
	id := newIdentity(tb, "owner")
	m = boot(t, &machine{id: id, fs: vfs.NewMem(), undo: 1})
	rules = newLog(id.Space(), id.Space(), secret("spare"), wire.Authority, 0)
	rules.write(t, uint64(time.Now().UnixMilli())<<16, []sennit.Hash{m.own(t, id.Space())[0].commits[0].ID}, eventOp(id.person.add(secret("spare"))))
	if err := m.deliver(rules.rec, rules.whole(t)); err != nil {
		t.Fatalf("deliver rules: %v", err)
	}
	return m, func(nonce byte) *log { return newLog(id.Space(), id.Space(), secret("spare"), wire.Data, nonce) }, rules
}

// TestTheNewestCommitOfALogStays: whatever became of what it did, it vouches
// for those before it, and says where the log goes on.
func TestTheNewestCommitOfALogStays(t *testing.T) {
	newIdentity(t, "owner")
	newIdentity(t, "other")
	bubble.Test(t, func(t *testing.T) {
		m, newLog, rules := spared(t, t)
		defer m.stop()
		heads := []sennit.Hash{rules.commits[0].ID}
		now := uint64(time.Now().UnixMilli()) << 16
		a, b := newLog(1), newLog(2)
		a.write(t, now, heads, putOp("cold", "1"))
		a.write(t, now+1, heads, putOp("hot", "1"))
		b.write(t, now+2, heads, putOp("hot", "2"))
		for _, l := range []*log{a, b} {
			if err := m.deliver(l.rec, l.whole(t)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if c := collect(t, m.Node); c.Dropped != 1 || c.Commits != 0 {
			t.Errorf("dropped %d ops and %d commits", c.Dropped, c.Commits)
		}
		whole(t, m.Node)
		other := boot(t, &machine{id: newIdentity(t, "other"), fs: vfs.NewMem()})
		defer other.stop()
		relay(t, m, other, m.Self().Space, how{limit: 1 << 20})
		whole(t, other.Node)
		a.write(t, now+3, heads, putOp("hot", "3"))
		if err := m.deliver(a.rec, a.run(t, 2, 3, 3, all, allOps)); err != nil {
			t.Errorf("the log goes on: %v", err)
		}
	})
}

// TestWhatWaitsIsNotCollected: an op that no rule lets count yet isn't
// superseded.
func TestWhatWaitsIsNotCollected(t *testing.T) {
	newIdentity(t, "owner")
	bubble.Test(t, func(t *testing.T) {
		m, _, rules := spared(t, t)
		defer m.stop()
		ana := newPerson("ana")
		ana.add(secret("ana 1"))
		clock := func() uint64 { return uint64(time.Now().UnixMilli()) << 16 }
		grant := func(prefix string) []sennit.Hash {
			t.Helper()
			c := rules.write(t, clock(), []sennit.Hash{rules.commits[len(rules.commits)-1].ID}, grantOp(wire.Grant{
				Who: wire.Who{Subject: wire.SubjectSpace, Key: ana.space()}, May: sennit.Write, Prefix: sennit.Path(prefix),
			}))
			if err := m.deliver(rules.rec, rules.whole(t)); err != nil {
				t.Fatal(err)
			}
			return []sennit.Hash{c.ID}
		}
		first := grant("a")
		in := m.Intake()
		if err := in.Evidence(t.Context(), m.Self().Space, ana.evidence()); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		l := newLog(m.Self().Space, ana.space(), secret("ana 1"), wire.Data, 1)
		l.write(t, clock(), first, putOp("a/x", "1"), putOp("c/x", "1")) // the second doesn't count
		if err := m.deliver(l.rec, l.whole(t)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if c := collect(t, m.Node); c.Dropped > 0 {
			t.Errorf("%d ops were dropped", c.Dropped)
		}
		whole(t, m.Node)
	})
}

// TestATailStartsOverWhereSomethingIsGone: it can't tell every change any more.
// A watch of the present state can go on.
func TestATailStartsOverWhereSomethingIsGone(t *testing.T) {
	newIdentity(t, "owner")
	bubble.Test(t, func(t *testing.T) {
		m, _, _ := spared(t, t)
		defer m.stop()
		bus := m.Bus(m.Owner())
		set := func(v string) {
			t.Helper()
			if _, err := bus.Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: "a", Value: sennit.Value{Data: []byte(v)}}}); err != nil {
				t.Fatal(err)
			}
		}
		set("1")
		d, err := bus.Digest(t.Context(), sennit.Addr{Root: "me"})
		if err != nil {
			t.Fatal(err)
		}
		set("2")
		set("3")
		told := func(tail bool, since sennit.Cursor) (kinds []sennit.UpdateKind) {
			w, err := bus.Watch(t.Context(), []sennit.Pattern{{Root: "me"}}, sennit.WatchOptions{Since: since, Tail: tail})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			for {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				updates, err := w.Next(ctx)
				cancel()
				if err != nil {
					return kinds
				}
				for _, u := range updates {
					kinds = append(kinds, u.Kind)
				}
			}
		}
		if got := fmt.Sprint(told(true, d.Cursor)); got != fmt.Sprint([]sennit.UpdateKind{sennit.Live, sennit.Set, sennit.Set}) {
			t.Errorf("before, a tail tells %s", got)
		}
		time.Sleep(time.Second)
		collect(t, m.Node)
		if got := told(true, d.Cursor); len(got) == 0 || got[0] != sennit.Reset {
			t.Errorf("after, a tail tells %v", got)
		}
		if got := fmt.Sprint(told(false, d.Cursor)); got != fmt.Sprint([]sennit.UpdateKind{sennit.Live, sennit.Set}) {
			t.Errorf("after, a watch of the state tells %s", got)
		}
		now, err := bus.Digest(t.Context(), sennit.Addr{Root: "me"})
		if err != nil {
			t.Fatal(err)
		}
		set("4")
		if got := fmt.Sprint(told(true, now.Cursor)); got != fmt.Sprint([]sennit.UpdateKind{sennit.Live, sennit.Set}) {
			t.Errorf("from behind what is gone, a tail tells %s", got)
		}
	})
}

// TestHistoryIsThinned: of a path that a log writes often, the newest versions
// stay and one for each of some ages, and all of them go in the end.
func TestHistoryIsThinned(t *testing.T) {
	newIdentity(t, "owner")
	bubble.Test(t, func(t *testing.T) {
		m := boot(t, &machine{id: newIdentity(t, "owner"), fs: vfs.NewMem()})
		defer m.stop()
		bus := m.Bus(m.Owner())
		for i := range 200 {
			if _, err := bus.Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: "hot", Value: sennit.Value{Data: fmt.Append(nil, i)}}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second)
		}
		collect(t, m.Node)
		// 199 are superseded. 16 stay, and those of an hour ago; what a second or
		// a minute ago was current is among the 16.
		if c := collect(t, m.Node); c.Seen != 1+16+1 {
			t.Errorf("%d are kept", c.Seen)
		}
		whole(t, m.Node)
	})
}

// TestWhatIsKeptInFullIsNotCollected: neither the node's own space nor another,
// until it is live again.
func TestWhatIsKeptInFullIsNotCollected(t *testing.T) {
	m := boot(t, &machine{id: newIdentity(t, "owner"), fs: vfs.NewMem(), undo: 1})
	defer m.stop()
	space := m.Self().Space
	mode := func(mode string) error {
		return m.EditFollow(t.Context(), space, func(f *node.Follow) { f.Mode = mode })
	}
	if err := mode(node.Full); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if _, err := m.Bus(m.Owner()).Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: "hot", Value: sennit.Value{Data: []byte{byte(i)}}}}); err != nil {
			t.Fatal(err)
		}
	}
	if c := collect(t, m.Node); c.Dropped > 0 {
		t.Errorf("of what is kept in full %d ops were dropped", c.Dropped)
	}
	if all, err := m.Follows(); err != nil || len(all) > 0 {
		t.Errorf("the own space is among the follows: %+v, %v", all, err)
	}
	for _, edit := range []func(f *node.Follow){
		func(f *node.Follow) { f.Mode = "fullest" },
		func(f *node.Follow) { f.Name = "myself" },
		func(f *node.Follow) { f.Hosts = []node.Host{{Key: "host"}} },
	} {
		if err := m.EditFollow(t.Context(), space, edit); sennit.CodeOf(err) != sennit.BadInput {
			t.Errorf("an edit that makes no sense: %v", err)
		}
	}
	if err := mode(node.Live); err != nil {
		t.Fatal(err)
	}
	if c := collect(t, m.Node); c.Dropped != 9 {
		t.Errorf("of what is live again %d ops were dropped", c.Dropped)
	}
}

// TestACollectionThatIsBrokenOff leaves nothing that verify takes for damage, and
// the next one forgets what is left of it.
func TestACollectionThatIsBrokenOff(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := boot(t, &machine{id: newIdentity(t, "owner"), fs: vfs.NewMem(), undo: 1})
		defer func() { m.stop() }()
		arrivals := func() (n int) {
			v, err := m.st.View()
			if err != nil {
				t.Fatal(err)
			}
			defer v.Release()
			num, _ := m.st.Space(m.Self().Space)
			if err := v.Arrivals(num, 0, func(store.Arrival) error { n++; return nil }); err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := arrivals()
		for i := range 50 {
			if _, err := m.Bus(m.Owner()).Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: "a", Value: sennit.Value{Data: fmt.Append(nil, i)}}}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := m.Collect(ctx, m.Self().Space, func(uint64, uint64) { cancel() }); err == nil {
			t.Fatal("it came to its end")
		}
		if got := arrivals(); got != before+50 {
			t.Fatalf("it forgot %d arrivals already: what this test is about didn't happen", before+50-got)
		}
		whole(t, m.Node)
		if err := m.stop(); err != nil {
			t.Fatal(err)
		}
		boot(t, m)
		whole(t, m.Node)
		collect(t, m.Node)
		if got := arrivals(); got != before+1 {
			t.Errorf("%d arrivals are left, want %d", got, before+1)
		}
		whole(t, m.Node)
	})
}
