package commit_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/bits"
	"testing"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
	"pgregory.net/rapid"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/wire"
)

// largest is how many leaves the trees of these tests have at most: enough for
// every shape of seven levels.
const largest = 130

// leafData is the data of leaf i, of many lengths.
func leafData(i uint64) []byte {
	h := sha256.Sum256(fmt.Append(nil, i))
	return bytes.Repeat(h[:], int(i%20))[:i%20*32-i%20]
}

func id(i uint64) sennit.Hash { return sha256.Sum256(fmt.Append(nil, "id", i)) }

// oracle is the tree of leaves 0 to n-1 as the reference library builds it.
func oracle(n uint64, data func(uint64) []byte) *testonly.Tree {
	t := testonly.New(rfc6962.DefaultHasher)
	for i := range n {
		t.AppendData(data(i))
	}
	return t
}

func idData(i uint64) []byte {
	h := id(i)
	return h[:]
}

// head is the head of the subtree at a place, by definition.
func head(at commit.Place, data func(uint64) []byte) sennit.Hash {
	if at.Level == 0 {
		return sennit.Hash(rfc6962.DefaultHasher.HashLeaf(data(at.Index)))
	}
	l, r := head(commit.Place{Level: at.Level - 1, Index: at.Index * 2}, data), head(commit.Place{Level: at.Level - 1, Index: at.Index*2 + 1}, data)
	return sennit.Hash(rfc6962.DefaultHasher.HashChildren(l[:], r[:]))
}

func TestRootsAreThoseOfTheReference(t *testing.T) {
	want := oracle(largest, leafData)
	var peaks commit.Peaks
	nodes := map[commit.Place]sennit.Hash{}
	for n := uint64(0); ; n++ {
		if root := peaks.Root(); !bytes.Equal(root[:], want.HashAt(n)) {
			t.Fatalf("the root of %d leaves is %v", n, root)
		}
		if len(peaks.Nodes) != bits.OnesCount64(n) || peaks.Size != n {
			t.Fatalf("%d leaves have %d peaks", n, len(peaks.Nodes))
		}
		if n == largest {
			break
		}
		peaks.Append(commit.Leaf(leafData(n)), func(at commit.Place, h sennit.Hash) {
			if _, again := nodes[at]; again || at.Level == 0 || (at.Index+1)<<at.Level != n+1 {
				t.Errorf("leaf %d completes %+v", n, at)
			}
			nodes[at] = h
		})
	}
	for at, h := range nodes {
		if h != head(at, leafData) {
			t.Errorf("the node at %+v is wrong", at)
		}
	}
	if want := largest/2 + largest/4 + largest/8 + largest/16 + largest/32 + largest/64 + largest/128; len(nodes) != want {
		t.Errorf("%d inner nodes are complete, want %d", len(nodes), want)
	}
}

func TestDecomposeIsTheLargestAlignedSubtrees(t *testing.T) {
	for end := uint64(0); end <= largest; end++ {
		for begin := uint64(0); begin <= end; begin++ {
			// By definition: at each leaf the largest aligned subtree that fits.
			var want []commit.Place
			for at := begin; at < end; {
				level := uint8(0)
				for at%(2<<level) == 0 && at+2<<level <= end {
					level++
				}
				want = append(want, commit.Place{Level: level, Index: at >> level})
				at += 1 << level
			}
			got := commit.Decompose(begin, end)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("[%d, %d) is %v, want %v", begin, end, got, want)
			}
			left, right := compact.Decompose(begin, end)
			if len(got) != bits.OnesCount64(left)+bits.OnesCount64(right) {
				t.Fatalf("[%d, %d) has %d subtrees, the reference says otherwise", begin, end, len(got))
			}
		}
	}
	if got := commit.Decompose(1<<48-1, 1<<48); len(got) != 1 || got[0].Level != 0 {
		t.Errorf("the last leaf of the largest log: %v", got)
	}
}

// TestTreesFromPieces appends leaves and skips ranges at random: root, peaks
// and every node that is seen must be those of the whole tree.
func TestTreesFromPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var peaks commit.Peaks
		known := map[commit.Place]sennit.Hash{}
		see := func(at commit.Place, h sennit.Hash) { known[at] = h }
		var ends []uint64
		for range rapid.IntRange(0, 12).Draw(t, "steps") {
			if n := rapid.Uint64Range(0, 20).Draw(t, "skip"); n > 0 {
				var nodes []sennit.Hash
				for _, at := range commit.Decompose(peaks.Size, peaks.Size+n) {
					nodes = append(nodes, head(at, leafData))
				}
				for _, wrong := range [][]sennit.Hash{nodes[1:], append(nodes[:len(nodes):len(nodes)], sennit.Hash{1})} {
					if c := peaks.Clone(); c.Skip(n, wrong, nil) {
						t.Fatalf("skipping %d leaves took %d nodes instead of %d", n, len(wrong), len(nodes))
					}
				}
				if !peaks.Skip(n, nodes, see) {
					t.Fatalf("skipping %d leaves at %d failed", n, peaks.Size)
				}
			} else {
				see(commit.Place{Index: peaks.Size}, commit.Leaf(leafData(peaks.Size)))
				peaks.Append(commit.Leaf(leafData(peaks.Size)), see)
			}
			ends = append(ends, peaks.Size)
		}
		want := oracle(peaks.Size, leafData)
		if root := peaks.Root(); !bytes.Equal(root[:], want.Hash()) {
			t.Fatalf("the root of %d leaves is wrong", peaks.Size)
		}
		for at, h := range known {
			if h != head(at, leafData) {
				t.Fatalf("the node seen at %+v is wrong", at)
			}
		}
		// Wherever a piece ended, the tree up to there can be loaded from what
		// was seen.
		for _, end := range ends {
			loaded := commit.Peaks{Size: end}
			for _, at := range commit.Decompose(0, end) {
				h, ok := known[at]
				if !ok {
					t.Fatalf("loading %d of %d leaves: the node at %+v was not seen", end, peaks.Size, at)
				}
				loaded.Nodes = append(loaded.Nodes, h)
			}
			if root := loaded.Root(); !bytes.Equal(root[:], want.HashAt(end)) {
				t.Fatalf("the loaded tree of %d leaves has another root", end)
			}
		}
		// Head finds a node exactly where what is known is enough.
		for level := range uint8(6) {
			at := commit.Place{Level: level, Index: rapid.Uint64Range(0, peaks.Size>>level).Draw(t, "index")}
			got, ok := commit.Head(at, known)
			if want := derivable(at, known); ok != want || ok && got != head(at, leafData) {
				t.Fatalf("the head at %+v: %v, want %v", at, ok, want)
			}
		}
	})
}

func derivable(at commit.Place, known map[commit.Place]sennit.Hash) bool {
	if _, ok := known[at]; ok {
		return true
	}
	return at.Level > 0 && derivable(commit.Place{Level: at.Level - 1, Index: at.Index * 2}, known) &&
		derivable(commit.Place{Level: at.Level - 1, Index: at.Index*2 + 1}, known)
}

func TestPeaksOfACloneAreItsOwn(t *testing.T) {
	var a commit.Peaks
	for i := range uint64(7) {
		a.Append(commit.Leaf(leafData(i)), nil)
	}
	root := a.Root()
	b := a.Clone()
	b.Append(sennit.Hash{1}, nil)
	b.Append(sennit.Hash{2}, nil)
	if a.Root() != root || a.Size != 7 {
		t.Error("a clone changed what it was cloned from")
	}
}

// TestIDProofs holds proofs against the reference both ways: it accepts ours,
// and we accept its own; nobody accepts a proof with any bit changed.
func TestIDProofs(t *testing.T) {
	const n = 21
	want := oracle(n, idData)
	node := func(at commit.Place) (sennit.Hash, error) { return head(at, idData), nil }
	for size := uint64(1); size <= n; size++ {
		past := sennit.Hash(want.HashAt(size))
		for seq := uint64(1); seq <= size; seq++ {
			p, err := commit.Prove(seq, size, node)
			if err != nil {
				t.Fatal(err)
			}
			var raw [][]byte
			for i := range p.Nodes {
				raw = append(raw, p.Nodes[i][:])
			}
			if err := proof.VerifyInclusion(rfc6962.DefaultHasher, seq-1, size, commitLeaf(seq-1), raw, past[:]); err != nil {
				t.Fatalf("the reference refuses the proof of %d in %d: %v", seq, size, err)
			}
			theirs, err := want.InclusionProof(seq-1, size)
			if err != nil {
				t.Fatal(err)
			}
			q := wire.IDProof{Seq: seq, Size: size}
			for _, h := range theirs {
				q.Nodes = append(q.Nodes, sennit.Hash(h))
			}
			if !commit.Proves(q, id(seq-1), past) {
				t.Fatalf("the reference's proof of %d in %d is refused", seq, size)
			}
			refuse := func(what string, p wire.IDProof, id, past sennit.Hash) {
				if commit.Proves(p, id, past) {
					t.Fatalf("accepted: %d of %d with %s", seq, size, what)
				}
			}
			refuse("another id", p, id(seq), past)
			refuse("another past", p, id(seq-1), id(0))
			for i := range p.Nodes {
				bad := p
				bad.Nodes = append([]sennit.Hash(nil), p.Nodes...)
				bad.Nodes[i][seq%32] ^= 1 << (size % 8)
				refuse("a changed node", bad, id(seq-1), past)
				bad.Nodes = append(append([]sennit.Hash(nil), p.Nodes[:i]...), p.Nodes[i+1:]...)
				refuse("a missing node", bad, id(seq-1), past)
			}
			bad := p
			bad.Nodes = append(p.Nodes[:len(p.Nodes):len(p.Nodes)], sennit.Hash{})
			refuse("a node too many", bad, id(seq-1), past)
			bad = p
			bad.Seq, bad.Size = 0, size
			refuse("no seq", bad, id(seq-1), past)
			bad.Seq = size + 1
			refuse("a seq beyond the size", bad, id(seq-1), past)
			for other := uint64(1); other <= size; other++ {
				if bad = p; other != seq {
					bad.Seq = other
					refuse("another seq", bad, id(seq-1), past)
				}
			}
		}
	}
	if _, err := commit.Prove(0, 5, node); err == nil {
		t.Error("commit 0 was proved")
	}
	if _, err := commit.Prove(6, 5, node); err == nil {
		t.Error("commit 6 of 5 was proved")
	}
	if _, err := commit.Prove(3, 5, func(commit.Place) (sennit.Hash, error) {
		return sennit.Hash{}, sennit.Errorf(sennit.Internal, "gone")
	}); sennit.CodeOf(err) != sennit.Internal {
		t.Errorf("a proof without nodes: %v", err)
	}
}

func commitLeaf(i uint64) []byte {
	h := commit.Leaf(idData(i))
	return h[:]
}
