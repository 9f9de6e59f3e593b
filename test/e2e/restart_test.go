package e2e_test

import (
	"slices"
	"testing"
)

// TestPeersFindEachOtherAfterBothWereKilled: with the addresses that nodes
// listen on by default, ports are free to choose, and friends know no others
// than those of the first time.
func TestPeersFindEachOtherAfterBothWereKilled(t *testing.T) {
	a, b := startWith(t), startWith(t)
	befriend(t, a, b)
	a.do("set", "greeting", "before")
	same(t, a, b)
	were := [][]string{a.ready.Peer, b.ready.Peer}

	a.kill()
	b.kill()
	a.up()
	b.up()
	for i, n := range []*node{a, b} {
		if !slices.Equal(n.ready.Peer, were[i]) || n.ready.Note != "" {
			t.Errorf("the node is at %q now, and was at %q; it notes %q", n.ready.Peer, were[i], n.ready.Note)
		}
	}
	a.do("set", "greeting", "after")
	b.do("set", "greeting", "you too")
	same(t, a, b)
	if got := b.do("get", "/@a/greeting"); got != "after" {
		t.Errorf("b has %q of a", got)
	}
	if got := a.do("get", "/@b/greeting"); got != "you too" {
		t.Errorf("a has %q of b", got)
	}
	a.stop()
	b.stop()
}
