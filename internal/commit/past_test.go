package commit_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/wire"
)

// TestPastHoldsWhatItsHeadVouchesFor: with some nodes missing and some of
// another history nothing is believed that isn't so, and with all of them
// everything that is.
func TestPastHoldsWhatItsHeadVouchesFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "commits")
		nodes := map[commit.Place]sennit.Hash{}
		var peaks, before commit.Peaks
		var all []*commit.Commit
		for i := range n {
			before = peaks.Clone()
			op := wire.Op{Kind: sennit.KindPut, Path: "a", Body: wire.Put{Value: sennit.Value{Data: fmt.Append(nil, i)}}.Append(nil)}
			c, err := commit.Build(sennit.Space{1}, sennit.Hash{2}, &peaks, uint64(i), []sennit.Hash{{3}}, []wire.Op{op},
				func(sennit.Hash) [64]byte { return [64]byte{} }, func(at commit.Place, h sennit.Hash) { nodes[at] = h })
			if err != nil {
				t.Fatal(err)
			}
			nodes[commit.Place{Index: uint64(i)}] = commit.Leaf(c.ID[:])
			all = append(all, c)
		}
		last := all[n-1]
		whole := true
		for at := range nodes {
			switch rapid.IntRange(0, 20).Draw(t, "node") {
			case 1:
				nodes[at], whole = sennit.Hash{}, false
			case 2:
				nodes[at], whole = sennit.Hash{9}, false
			case 3: // as another history would have it
				other := sennit.Hash{byte(at.Index)}
				nodes[at], whole = commit.Leaf(other[:]), false
			}
		}
		read := func(at commit.Place) (sennit.Hash, error) { return nodes[at], nil }
		if commit.NewPast(last, sennit.Space{7}, before, read) != nil {
			t.Fatal("a past in another space")
		}
		if n > 1 {
			short := commit.Peaks{Size: before.Size, Nodes: before.Clone().Nodes}
			short.Nodes[0][0] ^= 1
			if commit.NewPast(last, sennit.Space{1}, short, read) != nil {
				t.Fatal("another past")
			}
		}
		p := commit.NewPast(last, sennit.Space{1}, before, read)
		for range 2 { // with what it remembers as well
			for i, c := range all {
				ok, err := p.Holds(c.Seq, c.ID)
				if want := i < n-1; err != nil || ok != want && (whole || ok) {
					t.Fatalf("commit %d of %d is in the past: %v, %v", c.Seq, n, ok, err)
				}
				for _, seq := range []uint64{c.Seq - 1, c.Seq + 1, 0, 1 << 40} {
					if ok, err := p.Holds(seq, c.ID); ok || err != nil {
						t.Fatalf("commit %d is in the past at %d: %v", c.Seq, seq, err)
					}
				}
				other := sennit.Hash{byte(c.Seq)}
				if ok, err := p.Holds(c.Seq, other); ok || err != nil {
					t.Fatalf("another commit is in the past at %d: %v", c.Seq, err)
				}
			}
		}
	})
}
