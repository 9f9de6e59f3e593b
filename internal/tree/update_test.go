package tree_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
	"pgregory.net/rapid"
)

// alike is n names whose hashes start with a zero byte, so that the top of
// their trie is a chain.
func alike(n int) (found []string) {
	for i := 0; len(found) < n; i++ {
		name := fmt.Sprintf("z%d", i)
		if sha256.Sum256([]byte(name))[0] == 0 {
			found = append(found, name)
		}
	}
	return found
}

// step is a change of many paths, small to draw.
type step struct {
	Dir      sennit.Path
	Alike    bool // names whose hashes are alike
	From, N  int  // which names
	Beneath  string
	Ops      int // live ops of each from now on
	Salt     byte
	Cleared  bool // of Dir
	CutShort bool // ends the batch
}

func drawStep(t *rapid.T) step {
	return step{
		Dir:      rapid.SampledFrom([]sennit.Path{"", "d", "d/n3", "d!"}).Draw(t, "dir"),
		Alike:    rapid.Bool().Draw(t, "alike"),
		From:     rapid.IntRange(0, 60).Draw(t, "from"),
		N:        rapid.SampledFrom([]int{1, 1, 2, 5, 31, 32, 33, 34, 60, 100}).Draw(t, "n"),
		Beneath:  rapid.SampledFrom([]string{"", "", "x", "x/y"}).Draw(t, "beneath"),
		Ops:      rapid.SampledFrom([]int{0, 0, 1, 1, 3}).Draw(t, "ops"),
		Salt:     rapid.ByteRange(0, 2).Draw(t, "salt"),
		Cleared:  rapid.IntRange(0, 9).Draw(t, "cleared") == 0,
		CutShort: rapid.Bool().Draw(t, "cut"),
	}
}

// refs are n names of ops.
func refs(n int, salt byte) (r []wire.OpRef) {
	for i := range n {
		r = append(r, wire.OpRef{Commit: sennit.Hash{salt, 7}, Index: uint32(i * 100)})
	}
	return r
}

// apply does the step to the names, and to the changes of a batch.
func (s step) apply(state names, batch map[sennit.Path]tree.Change, similar []string) {
	if s.Cleared {
		for p := range state {
			if p != s.Dir && p.Under(s.Dir) {
				delete(state, p)
			}
		}
		maps.DeleteFunc(batch, func(p sennit.Path, _ tree.Change) bool { return p != s.Dir && p.Under(s.Dir) })
		batch[s.Dir] = tree.Change{Path: s.Dir, Names: state[s.Dir], Cleared: true}
	}
	for i := s.From; i < s.From+s.N; i++ {
		name := fmt.Sprintf("n%d", i)
		if s.Alike {
			name = similar[i]
		}
		p := s.Dir.Join(sennit.Path(name)).Join(sennit.Path(s.Beneath))
		if i%20 == 0 {
			p = s.Dir // now and then the directory itself
		}
		c := batch[p]
		c.Path, c.Names = p, refs(s.Ops, s.Salt)
		batch[p], state[p] = c, c.Names
		if s.Ops == 0 {
			delete(state, p)
		}
	}
}

func TestTrieIsAFunctionOfTheState(t *testing.T) {
	similar := alike(200)
	rapid.Check(t, func(t *rapid.T) {
		store, state, batch := newMemory(), names{}, map[sennit.Path]tree.Change{}
		update := func() {
			changes := slices.Collect(maps.Values(batch)) // in random order
			clear(batch)
			store.start()
			if err := tree.Update(store, changes); err != nil {
				t.Fatal(err)
			}
			if key := store.again(); key != "" {
				t.Fatalf("a node was read or written again: %s", key)
			}
		}
		for _, s := range rapid.SliceOfN(rapid.Custom(drawStep), 1, 12).Draw(t, "steps") {
			s.apply(state, batch, similar)
			if s.CutShort {
				update()
			}
		}
		update()

		fresh := newMemory()
		if err := tree.Update(fresh, state.changes()); err != nil {
			t.Fatal(err)
		}
		if !store.equal(fresh) {
			t.Fatalf("changed bit by bit:\n%s\nmade at once:\n%s", store.dump(), fresh.dump())
		}
		for _, p := range []sennit.Path{"", "d", "d/n3", "d/n3/x", "d!", "d!/n40", "n31", "none/x", "d/n3/x/y/z"} {
			info, ok, err := tree.Find(store, p)
			if err != nil || info != (tree.Info{Hash: state.digest(p), Ops: state.ops(p)}) || ok != (info.Ops > 0) {
				t.Fatalf("/%s has digest %v %v %v, want %s with %d ops", p, info, ok, err, state.digest(p), state.ops(p))
			}
		}

		// Naming paths that didn't change writes nothing.
		store.start()
		if err := tree.Update(store, state.changes()); err != nil || store.writes > 0 {
			t.Fatalf("an update that changes nothing: %v, %d writes", err, store.writes)
		}
	})
}

// A node becomes inner with its 33rd child and a bucket again with its 32nd.
func TestGrowingAndShrinkingOneByOne(t *testing.T) {
	for name, leaf := range map[string]func(i int) string{
		"spread": func(i int) string { return fmt.Sprint(i) },
		"alike":  func() func(int) string { names := alike(70); return func(i int) string { return names[i] } }(),
	} {
		store, state := newMemory(), names{}
		for i := range 140 {
			p, n := sennit.Path("d/"+leaf(min(i, 139-i))), 1
			state[p] = refs(1, 1)
			if i >= 70 {
				delete(state, p)
				n = 0
			}
			if err := tree.Update(store, []tree.Change{{Path: p, Names: refs(n, 1)}}); err != nil {
				t.Fatal(err)
			}
			fresh := newMemory()
			if err := tree.Update(fresh, state.changes()); err != nil {
				t.Fatal(err)
			}
			if !store.equal(fresh) {
				t.Fatalf("%s, with %d children, changed bit by bit:\n%s\nmade at once:\n%s", name, len(state), store.dump(), fresh.dump())
			}
			info, _, err := tree.Find(store, "")
			if want := state.digest(""); err != nil || info.Hash != want {
				t.Fatalf("%s, with %d children: digest %s, %v, want %s", name, len(state), info.Hash, err, want)
			}
		}
	}
}

func TestDifferentStatesHaveDifferentDigests(t *testing.T) {
	similar := alike(200)
	rapid.Check(t, func(t *rapid.T) {
		digest := func(state names) sennit.Hash {
			store := newMemory()
			if err := tree.Update(store, state.changes()); err != nil {
				t.Fatal(err)
			}
			info, _, err := tree.Find(store, "")
			if err != nil {
				t.Fatal(err)
			}
			return info.Hash
		}
		state := names{}
		for _, s := range rapid.SliceOfN(rapid.Custom(drawStep), 1, 4).Draw(t, "steps") {
			s.apply(state, map[sennit.Path]tree.Change{}, similar)
		}
		other := names{}
		for p, r := range state {
			other[p] = slices.Clone(r)
		}
		// One difference, of each kind that there is.
		p := sennit.Path(rapid.SampledFrom([]string{"", "d", "n3", "d/n3", "d/n3/x", "d!/n7/x/y", "f"}).Draw(t, "path"))
		switch n := len(other[p]); {
		case n > 0 && rapid.Bool().Draw(t, "remove"):
			if other[p] = other[p][1:]; n == 1 {
				delete(other, p)
			}
		case n > 0 && rapid.Bool().Draw(t, "move"):
			delete(other, p)
			q := p.Join("moved")
			other[q] = state[p]
		case n > 0 && rapid.Bool().Draw(t, "commit"):
			other[p][n-1].Commit[31] ^= 1
		default:
			other[p] = append(other[p], wire.OpRef{Commit: sennit.Hash{200}, Index: 5})
		}
		if digest(state) == digest(other) {
			t.Fatalf("a change at /%s keeps the digest", p)
		}
	})
}

func TestMisuseIsRefused(t *testing.T) {
	a, b := wire.OpRef{Index: 1}, wire.OpRef{Index: 2}
	for name, changes := range map[string][]tree.Change{
		"a path twice":       {{Path: "a"}, {Path: "b"}, {Path: "a"}},
		"a directory twice":  {{Path: "a"}, {Path: "a/b"}, {Path: "a/c"}, {Path: "a"}},
		"the root twice":     {{}, {Path: "a"}, {}},
		"names out of order": {{Path: "a", Names: []wire.OpRef{b, a}}},
		"a name twice":       {{Path: "a", Names: []wire.OpRef{a, a}}},
	} {
		if err := tree.Update(newMemory(), changes); sennit.CodeOf(err) != sennit.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUpdateReturnsTheStoresErrors(t *testing.T) {
	full := sennit.Errorf(sennit.ReadOnly, "the disk is full")
	many := leaves("d", 40)
	for name, c := range map[string]struct{ before, changes []tree.Change }{
		"writing":      {nil, many},
		"deleting":     {many[:2], []tree.Change{{Path: many[0].Path}, {Path: many[1].Path}}},
		"collapsing":   {many[:33], []tree.Change{{Path: many[0].Path}}},
		"clearing all": {many, []tree.Change{{Cleared: true}}},
		"clearing":     {many, []tree.Change{{Path: "d", Cleared: true}}},
	} {
		store := newMemory()
		if err := tree.Update(store, c.before); err != nil {
			t.Fatal(err)
		}
		store.fail = full
		if err := tree.Update(store, c.changes); !errors.Is(err, full) || sennit.CodeOf(err) != sennit.ReadOnly {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A change costs what lies between the root and its path, however much lies
// beside it.
func TestCostOfOneChange(t *testing.T) {
	const n = 60_000
	store, changes := newMemory(), leaves("d", n)
	if err := tree.Update(store, changes); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		c := changes[rand.IntN(n)]
		store.start()
		c.Names = refs(1, byte(rand.IntN(200)))
		if err := tree.Update(store, []tree.Change{c}); err != nil {
			t.Fatal(err)
		}
		// The root, the directory, and at most 4 levels below it.
		if store.reads > 6 || store.writes > 6 || store.read > 6000 || store.written > 6000 {
			t.Fatalf("%s: %d nodes (%d bytes) read, %d (%d bytes) written", c.Path, store.reads, store.read, store.writes, store.written)
		}
	}
	store.start()
	if err := tree.Update(store, []tree.Change{{Path: "d", Names: refs(1, 1), Cleared: true}}); err != nil {
		t.Fatal(err)
	}
	if store.reads > 2 || len(store.m) != 1 {
		t.Fatalf("clearing a directory read %d nodes and left %d", store.reads, len(store.m))
	}
}
