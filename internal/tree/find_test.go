package tree_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/tree"
	"pgregory.net/rapid"
)

// diff lists the paths whose own live ops differ between two stores, in the
// way in which two replicas find them: it descends only where hashes differ,
// and checks each answer against the hash that was promised.
func diff(t *rapid.T, a, b tree.Reader) map[sennit.Path]bool {
	d := differ{t: t, a: a, b: b, found: map[sennit.Path]bool{}}
	x, _, errA := tree.Find(a, "")
	y, _, errB := tree.Find(b, "")
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	d.path("", x.Hash, y.Hash)
	return d.found
}

type differ struct {
	t     *rapid.T
	a, b  tree.Reader
	found map[sennit.Path]bool
}

func (d *differ) expand(ref tree.NodeRef) (x, y tree.Expansion) {
	x, errA := tree.Expand(d.a, ref)
	y, errB := tree.Expand(d.b, ref)
	if errA != nil || errB != nil {
		d.t.Fatal(errA, errB)
	}
	return x, y
}

func (d *differ) path(p sennit.Path, x, y sennit.Hash) {
	if x == y {
		return
	}
	ex, ey := d.expand(tree.NodeRef{Path: p})
	if ex.Digest() != x || ey.Digest() != y {
		d.t.Fatalf("/%s: the top nodes don't have the digests that were promised", p)
	}
	if ex.Own != ey.Own {
		d.found[p] = true
	}
	d.node(tree.NodeRef{Path: p}, ex.Hash(), ey.Hash())
}

func (d *differ) node(ref tree.NodeRef, x, y sennit.Hash) {
	if x == y {
		return
	}
	ex, ey := d.expand(ref)
	if ex.Hash() != x || ey.Hash() != y {
		d.t.Fatalf("%q: the nodes don't have the hashes that were promised", ref)
	}
	if len(ex.Branches)+len(ey.Branches) == 0 {
		digests := map[string][2]sennit.Hash{}
		for _, c := range ex.Children {
			digests[c.Name] = [2]sennit.Hash{c.Digest}
		}
		for _, c := range ey.Children {
			digests[c.Name] = [2]sennit.Hash{digests[c.Name][0], c.Digest}
		}
		for name, h := range digests {
			d.path(ref.Path.Join(sennit.Path(name)), h[0], h[1])
		}
		return
	}
	for nibble := range uint8(16) {
		below := tree.NodeRef{Path: ref.Path, Nibbles: ref.Nibbles + string([]byte{nibble})}
		d.node(below, d.below(ex, below), d.below(ey, below))
	}
}

// below is the hash of a node as the one above it promises it; of a bucket's
// part, its own.
func (d *differ) below(e tree.Expansion, ref tree.NodeRef) sennit.Hash {
	for _, b := range e.Branches {
		if b.Nibble == ref.Nibbles[len(ref.Nibbles)-1] {
			return b.Hash
		}
	}
	part := tree.Expansion{Children: slices.Clone(e.Children)}
	part.Children = slices.DeleteFunc(part.Children, func(c tree.Child) bool { return !strings.HasPrefix(nibblesOf(c.Name), ref.Nibbles) })
	return part.Hash()
}

func TestDescentFindsTheDifference(t *testing.T) {
	similar := alike(200)
	rapid.Check(t, func(t *rapid.T) {
		draw := func(state names, label string) names {
			state = maps.Clone(state)
			for _, s := range rapid.SliceOfN(rapid.Custom(drawStep), 0, 5).Draw(t, label) {
				s.apply(state, map[sennit.Path]tree.Change{}, similar)
			}
			return state
		}
		common := draw(names{}, "common")
		a, b := draw(common, "a"), draw(common, "b")
		want := map[sennit.Path]bool{}
		for p := range a {
			want[p] = true
		}
		for p := range b {
			want[p] = true
		}
		maps.DeleteFunc(want, func(p sennit.Path, _ bool) bool { return slices.Equal(a[p], b[p]) })
		x, y := newMemory(), newMemory()
		if err := errors.Join(tree.Update(x, a.changes()), tree.Update(y, b.changes())); err != nil {
			t.Fatal(err)
		}
		if got := diff(t, x, y); !maps.Equal(got, want) {
			t.Fatalf("found %v\nwant %v", got, want)
		}
	})
}

func TestExpansionCountsOps(t *testing.T) {
	similar := alike(200)
	rapid.Check(t, func(t *rapid.T) {
		state := names{}
		for _, s := range rapid.SliceOfN(rapid.Custom(drawStep), 1, 6).Draw(t, "steps") {
			s.apply(state, map[sennit.Path]tree.Change{}, similar)
		}
		store := newMemory()
		if err := tree.Update(store, state.changes()); err != nil {
			t.Fatal(err)
		}
		// walk returns the children and the ops beneath a node.
		var walk func(tree.NodeRef) (uint64, uint64)
		walk = func(ref tree.NodeRef) (children, ops uint64) {
			e, err := tree.Expand(store, ref)
			if err != nil {
				t.Fatal(err)
			}
			if ref.Nibbles == "" && int(e.OwnOps) != len(state[ref.Path]) || ref.Nibbles != "" && e.OwnOps != 0 {
				t.Fatalf("%q has %d ops of its own, want %d", ref, e.OwnOps, len(state[ref.Path]))
			}
			for _, b := range e.Branches {
				c, o := walk(tree.NodeRef{Path: ref.Path, Nibbles: ref.Nibbles + string([]byte{b.Nibble})})
				if c != b.Children || o != b.Ops {
					t.Fatalf("below %q, %d: %d children and %d ops, want %d and %d", ref, b.Nibble, b.Children, b.Ops, c, o)
				}
				children, ops = children+c, ops+o
			}
			for _, c := range e.Children {
				p := ref.Path.Join(sennit.Path(c.Name))
				n, o := walk(tree.NodeRef{Path: p})
				if o += uint64(len(state[p])); o != c.Ops || c.Dir != (n > 0) || o != state.ops(p) {
					t.Fatalf("/%s: %d ops, directory %v; want %d (%d by the model), %d children", p, c.Ops, c.Dir, o, state.ops(p), n)
				}
				children, ops = children+1, ops+o
			}
			return children, ops
		}
		walk(tree.NodeRef{})
	})
}

func TestExpandAnswersForNodesThatAreNotStored(t *testing.T) {
	store := newMemory()
	if err := tree.Update(store, append(leaves("d", 20), tree.Change{Path: "d/leaf", Names: refs(2, 1)})); err != nil {
		t.Fatal(err)
	}
	deep := tree.NodeRef{Path: "d", Nibbles: nibblesOf("leaf")}
	if e, err := tree.Expand(store, deep); err != nil || len(e.Children) != 1 || e.Children[0].Name != "leaf" || e.Children[0].Ops != 2 {
		t.Errorf("the last nibble of a child: %+v, %v", e, err)
	}
	last := byte(deep.Nibbles[63] ^ 1)
	for name, ref := range map[string]tree.NodeRef{
		"no child":                {Path: "d", Nibbles: deep.Nibbles[:63] + string([]byte{last})},
		"no directory":            {Path: "none", Nibbles: deep.Nibbles[:3]},
		"no path":                 {Path: "none/at/all"},
		"beneath a childless one": {Path: "d/leaf", Nibbles: "\x01"},
	} {
		if e, err := tree.Expand(store, ref); err != nil || !e.Hash().IsZero() || !e.Digest().IsZero() || e.OwnOps != 0 {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	if e, err := tree.Expand(store, tree.NodeRef{Path: "d/leaf"}); err != nil || e.OwnOps != 2 || e.Own.IsZero() || e.Digest() != e.Own {
		t.Errorf("a path without children: %+v, %v", e, err)
	}
	for _, nibbles := range []string{"\x10", "\x01\xff", deep.Nibbles + "\x00"} {
		if _, err := tree.Expand(store, tree.NodeRef{Path: "d", Nibbles: nibbles}); sennit.CodeOf(err) != sennit.BadInput {
			t.Errorf("nibbles %q: %v", nibbles, err)
		}
	}
}
