package tree_test

import (
	"fmt"
	"testing"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

func TestMomentsLieBeneathTheirPath(t *testing.T) {
	for _, p := range []sennit.Path{"", "a", "a/b"} {
		for _, clock := range []uint64{0, 1, 1<<64 - 1} {
			at := tree.Moment(p, clock)
			if got, c, ok := tree.OfMoment(at); got != p || c != clock || !ok || !at.Under(tree.Moments(p)) || !at.Under(p) {
				t.Errorf("%q at %d is %q, of %q at %d, %v", p, clock, at, got, c, ok)
			}
			if _, err := sennit.ParsePath(string(at)); err == nil {
				t.Errorf("%q may be a value's path", at)
			}
		}
		if got, _, ok := tree.OfMoment(tree.Moments(p)); got != p || !ok {
			t.Errorf("the directory of %q is that of %q, %v", p, got, ok)
		}
	}
	for _, p := range []sennit.Path{"", "a", "a/b", "\x01/zz", "a/\x01/00", "a/\x01/00000000000000zz", "a/\x01/00000000000000FF", "a/\x01/0000000000000001/b"} {
		if of, _, ok := tree.OfMoment(p); ok {
			t.Errorf("%q is taken for a moment of %q", p, of)
		}
	}
}

// TestAStreamGrowsAtTheCostOfALeaf: one more chunk writes as little of the trie
// beneath a path with 10,000 as one more value does in a directory of as many.
func TestAStreamGrowsAtTheCostOfALeaf(t *testing.T) {
	written := func(path func(i int) sennit.Path) int {
		nodes := newMemory()
		var changes []tree.Change
		for i := range 10_000 {
			changes = append(changes, tree.Change{Path: path(i), Names: []wire.OpRef{{Commit: sennit.Hash{byte(i >> 8), byte(i)}}}})
		}
		if err := tree.Update(nodes, changes); err != nil {
			t.Fatal(err)
		}
		nodes.start()
		if err := tree.Update(nodes, []tree.Change{{Path: path(10_000), Names: []wire.OpRef{{Commit: sennit.Hash{255}}}}}); err != nil {
			t.Fatal(err)
		}
		return nodes.written
	}
	chunk := written(func(i int) sennit.Path { return tree.Moment("log", uint64(i)) })
	value := written(func(i int) sennit.Path { return sennit.Path(fmt.Sprintf("log/values/%016x", i)) })
	if chunk > value+200 {
		t.Errorf("a chunk writes %d bytes of the trie, a value %d", chunk, value)
	}
}
