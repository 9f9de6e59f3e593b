package commit_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/wire"
)

// here is the ops that a commit has, by index.
func here(c *commit.Commit) map[uint32][]byte {
	ops := map[uint32][]byte{}
	c.Each(func(i uint32, op *wire.Op) { ops[i] = op.Bytes() })
	return ops
}

// pick is a commit with some of its ops only.
func pick(t *rapid.T, c *commit.Commit, bits uint16) *commit.Commit {
	parts, err := c.Pick(func(i uint32, _ *wire.Op) bool { return bits>>i&1 == 1 })
	if err != nil {
		t.Fatal(err)
	}
	p := *c
	p.Parts = parts
	return &p
}

// TestSparseCommits takes ops away, stores what is left, reads it back and
// puts parts together: what is there is right, and all of it still verifies.
func TestSparseCommits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := newAuthor("a", wire.Data)
		n := rapid.IntRange(1, 14).Draw(t, "ops")
		ops := make([]wire.Op, n)
		for i := range ops {
			ops[i] = put(fmt.Sprint("p", i), "x")
		}
		whole, err := a.build(1, []sennit.Hash{id(1)}, ops...)
		if err != nil {
			t.Fatal(err)
		}
		genuine := func(what string, c *commit.Commit, bits uint16) {
			got := here(c)
			for i := range uint32(n) {
				if want := bits>>i&1 == 1; want != (got[i] != nil) || want && !bytes.Equal(got[i], ops[i].Bytes()) {
					t.Fatalf("%s: op %d is wrong", what, i)
				}
			}
			if c.Ops() != len(got) || c.Whole() != (len(got) == n) {
				t.Fatalf("%s: %d ops, whole: %v", what, c.Ops(), c.Whole())
			}
			run := redecode(t, &wire.Run{Log: a.log.ID(), Items: []wire.RunItem{c.Item()}, Sig: *whole.Sig})
			if _, err := commit.Check(run, a.log, &commit.Peaks{}, a.verify, nil); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		x, y := rapid.Uint16().Draw(t, "x"), rapid.Uint16().Draw(t, "y")
		one, two := pick(t, whole, x), pick(t, whole, y)
		genuine("picked", one, x)
		genuine("picked twice", pick(t, one, y), x&y)

		rec := one.Stored()
		stored, err := wire.DecodeStored(rec.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		var left []wire.Op
		one.Each(func(_ uint32, op *wire.Op) { left = append(left, *op) })
		back, err := commit.Restore(one.Log, one.Seq, stored, left)
		if err != nil {
			t.Fatal(err)
		}
		genuine("restored", back, x)
		if back.ID != whole.ID || back.Clock != whole.Clock || back.Sig == nil || *back.Sig != *whole.Sig || !slices.Equal(back.Auth, whole.Auth) {
			t.Fatalf("restored as %+v", back)
		}
		for what, ops := range map[string][]wire.Op{"too few": left[:max(len(left)-1, 0)], "too many": append(slices.Clone(left), put("x", "y"))} {
			if len(ops) == len(left) {
				continue
			}
			if _, err := commit.Restore(one.Log, one.Seq, stored, ops); sennit.CodeOf(err) != sennit.Internal {
				t.Fatalf("restored with %s ops: %v", what, err)
			}
		}

		if rapid.Bool().Draw(t, "unsigned") {
			one.Sig = nil
		}
		unsigned := one.Sig == nil
		all, more, err := commit.Union(one, two)
		if err != nil {
			t.Fatal(err)
		}
		mask := uint16(1)<<n - 1
		if want := y&^x&mask != 0 || unsigned; more != want || all.Sig == nil {
			t.Fatalf("the union of %b and %b has more: %v", x&mask, y&mask, more)
		}
		genuine("union", all, x|y)
		genuine("what it was made of", one, x)
	})
}

func TestARestoredCommitIsCompleted(t *testing.T) {
	a := newAuthor("f", wire.Data)
	for range 5 {
		a.must(t, 9, []sennit.Hash{id(1)}, put("a", "b"), put("b", "c"), put("c", "d"))
	}
	var past commit.Peaks
	for _, c := range a.commits {
		parts, err := c.Pick(func(i uint32, _ *wire.Op) bool { return i == 1 })
		if err != nil {
			t.Fatal(err)
		}
		bare := *c
		bare.Parts = parts
		rec := bare.Stored()
		restore := func() *commit.Commit {
			r, err := commit.Restore(c.Log, c.Seq, &rec, parts[1].Ops)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		if r := restore(); r.Complete(a.log.Space, &past) != nil || r.Header(a.log.Space).ID() != c.ID || r.Root != c.Root {
			t.Errorf("commit %d is completed to %+v, want %+v", c.Seq, r, c)
		}
		for what, alter := range map[string]func(r *commit.Commit){
			"another clock":     func(r *commit.Commit) { r.Clock++ },
			"another seq":       func(r *commit.Commit) { r.Seq++ },
			"a hash of an op":   func(r *commit.Commit) { r.Parts[0].Nodes = []sennit.Hash{{1}} },
			"a hash is missing": func(r *commit.Commit) { r.Parts[0].Nodes = nil },
		} {
			r := restore()
			alter(r)
			if err := r.Complete(a.log.Space, &past); sennit.CodeOf(err) != sennit.Internal || !r.Root.IsZero() {
				t.Errorf("commit %d with %s: %v", c.Seq, what, err)
			}
		}
		past.Append(commit.Leaf(c.ID[:]), nil)
	}
}
