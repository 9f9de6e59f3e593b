package node_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/bubble"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/wire"
)

// TestAWatchThatResumesSeesWhatTurnedMeanwhile: while a watch is away, its
// caller's rights change, or a space is followed. No commit says so of the
// values that lay there all along.
func TestAWatchThatResumesSeesWhatTurnedMeanwhile(t *testing.T) {
	ids := []identity{newIdentity(t, "owner"), newIdentity(t, "left")}
	for _, tail := range []bool{false, true} {
		bubble.Test(t, func(t *testing.T) { turns(t, ids, tail) })
	}
}

func turns(t *testing.T, ids []identity, tail bool) {
	m, friend := boot(t, &machine{id: ids[0], fs: vfs.NewMem()}), boot(t, &machine{id: ids[1], fs: vfs.NewMem()})
	defer m.stop()
	defer friend.stop()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	guest, phone := newPerson("guest"), secret("guest phone")
	guest.add(phone)
	who := wire.Who{Subject: wire.SubjectSpace, Key: guest.space()}
	space := m.Self().Space
	put := func(n *machine, paths ...sennit.Path) {
		t.Helper()
		for _, p := range paths {
			_, err := n.Bus(n.Owner()).Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: p}})
			must(err)
		}
	}
	allow := func(n *machine, g wire.Grant) {
		t.Helper()
		_, err := n.Allow(t.Context(), n.Owner(), n.Self().Space, []wire.Grant{g})
		must(err)
	}
	put(m, "open/a", "shut/a")
	allow(m, wire.Grant{Who: wire.Who{Subject: wire.SubjectAny}, Prefix: "open", May: sennit.Read})
	allow(m, wire.Grant{Who: who, Prefix: "shut", May: sennit.Read})

	var cursor sennit.Cursor
	state := map[sennit.Path]bool{}
	// resume has a watch go on where the last one ended, and says what its reader has.
	resume := func(c node.Caller, pattern sennit.Pattern, reset bool, want ...sennit.Path) {
		t.Helper()
		w, err := m.Bus(c).Watch(t.Context(), []sennit.Pattern{pattern}, sennit.WatchOptions{Tail: tail, Since: cursor})
		must(err)
		defer w.Close()
		was := false
		for {
			soon, cancel := context.WithTimeout(t.Context(), time.Second)
			updates, err := w.Next(soon)
			cancel()
			if errors.Is(err, context.DeadlineExceeded) {
				break
			}
			must(err)
			for _, u := range updates {
				switch u.Kind {
				case sennit.Set:
					state[u.Node.Path] = true
				case sennit.Reset:
					was = true
					clear(state)
				}
				cursor = u.Cursor
			}
		}
		if got := slices.Sorted(maps.Keys(state)); !slices.Equal(got, want) || was != reset {
			t.Errorf("tail %v: the watch shows %q and started over: %v; want %q, %v", tail, got, was, want, reset)
		}
	}
	caller := node.Caller{Principal: sennit.Principal{Space: guest.space(), Device: public(phone)}}
	whole := sennit.Pattern{Root: space.String()}
	resume(caller, whole, false, "open/a")
	put(m, "open/b")
	resume(caller, whole, false, "open/a", "open/b")

	in := m.Intake()
	must(in.Evidence(t.Context(), space, guest.evidence())) // now it is known whose phone that is
	_, err := in.Wait(t.Context())
	must(err)
	resume(caller, whole, true, "open/a", "open/b", "shut/a")
	resume(caller, whole, false, "open/a", "open/b", "shut/a")

	_, err = m.Revoke(t.Context(), m.Owner(), space, []node.Revocation{{Who: who, Prefix: "shut"}})
	must(err)
	resume(caller, whole, true, "open/a", "open/b")
	put(m, "open/c")
	resume(caller, whole, false, "open/a", "open/b", "open/c")

	allow(m, wire.Grant{Who: wire.Who{Subject: wire.SubjectAny}, May: sennit.Read})
	resume(caller, whole, true, "open/a", "open/b", "open/c", "shut/a")

	// What somebody sees of their own space is all of it, whatever is ruled.
	cursor = sennit.Cursor{}
	clear(state)
	resume(m.Owner(), whole, false, "open/a", "open/b", "open/c", "shut/a")
	allow(m, wire.Grant{Who: who, Prefix: "open", May: sennit.Write})
	put(m, "open/d")
	resume(m.Owner(), whole, false, "open/a", "open/b", "open/c", "open/d", "shut/a")

	// What came of a friend before anybody followed them is there afterwards.
	cursor = sennit.Cursor{}
	clear(state)
	allow(friend, wire.Grant{Who: wire.Who{Subject: wire.SubjectAny}, May: sennit.Read})
	put(friend, "hello")
	relay(t, friend, m, friend.Self().Space, how{limit: 1 << 16})
	all := sennit.Pattern{Root: sennit.Follows, Path: "*"}
	resume(m.Owner(), all, false)
	must(m.EditFollow(t.Context(), friend.Self().Space, func(f *node.Follow) { f.Mode = node.Live }))
	resume(m.Owner(), all, true, "hello")
	for _, host := range []string{"one", "two"} { // where they are found is no matter
		must(m.EditFollow(t.Context(), friend.Self().Space, func(f *node.Follow) { f.Hosts = []node.Host{{Key: host}} }))
		resume(m.Owner(), all, false, "hello")
	}
}
