package commit_test

import (
	"testing"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/wire"
)

// forked is a device that wrote two histories of one log, which have the first
// common commits in common.
func forked(t testing.TB, common, a, b int) (x, y *author) {
	x, y = newAuthor("f", wire.Data), newAuthor("f", wire.Data)
	auth := []sennit.Hash{id(1)}
	for i := range common {
		x.must(t, uint64(i), auth, put("a", "common"))
		y.must(t, uint64(i), auth, put("a", "common"))
	}
	for range a {
		x.must(t, 50, auth, put("a", "left"))
	}
	for range b {
		y.must(t, 50, auth, put("a", "right"))
	}
	return x, y
}

// accuse makes the proof that commit i of x is not in the past of commit j of
// y, counted from 1. It says what it would say of a real fork, true or not.
func accuse(t testing.TB, x *author, i int, y *author, j int) *wire.ForkProof {
	a, b := x.commits[i-1], y.commits[j-1]
	f := &wire.ForkProof{Log: x.log, A: a.Header(x.log.Space), B: b.Header(x.log.Space), SigA: *a.Sig, SigB: *b.Sig}
	if i < j {
		f.Other = y.commits[i-1].ID
		var err error
		f.Proof, err = commit.Prove(uint64(i), uint64(j-1), func(at commit.Place) (sennit.Hash, error) {
			h, ok := commit.Head(at, y.nodes)
			if !ok {
				t.Fatalf("no node at %+v", at)
			}
			return h, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestForkProofs(t *testing.T) {
	const common, left, right = 5, 4, 6
	x, y := forked(t, common, left, right)
	check := func(f *wire.ForkProof) error {
		g, err := wire.DecodeForkProof(f.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		return commit.CheckFork(g, x.verify)
	}
	for i := 1; i <= common+left; i++ {
		for j := i; j <= common+right; j++ {
			err := check(accuse(t, x, i, y, j))
			if real := i > common; real != (err == nil) {
				t.Errorf("commit %d of one history, %d of the other, %d in common: %v", i, j, common, err)
			}
			if j <= common+left {
				if err := check(accuse(t, x, i, x, j)); err == nil {
					t.Errorf("commits %d and %d of one history pass for a fork", i, j)
				}
			}
		}
	}
}

func TestForkProofsCantBeMadeUp(t *testing.T) {
	x, y := forked(t, 3, 3, 5)
	other := newAuthor("other", wire.Data)
	otherLog := newAuthor("f", wire.Data)
	otherLog.log.Nonce[0] = 1
	for range 8 {
		other.must(t, 1, []sennit.Hash{id(1)}, put("a", "b"))
		otherLog.must(t, 1, []sennit.Hash{id(1)}, put("a", "b"))
	}
	for name, alter := range map[string]func(f *wire.ForkProof){
		"another header's signature": func(f *wire.ForkProof) { f.SigA = *x.commits[0].Sig },
		"the later one's signature":  func(f *wire.ForkProof) { f.SigB[3] ^= 1 },
		"a header of another log": func(f *wire.ForkProof) {
			f.A = otherLog.commits[3].Header(x.log.Space)
			f.SigA = *otherLog.commits[3].Sig
		},
		"a later header of another log": func(f *wire.ForkProof) {
			f.B = otherLog.commits[6].Header(x.log.Space)
			f.SigB = *otherLog.commits[6].Sig
		},
		"another log record":            func(f *wire.ForkProof) { f.Log.Nonce[0] = 1 },
		"a header of another space":     func(f *wire.ForkProof) { f.A.Space[0] ^= 1; f.SigA = x.sign(f.A.ID()) },
		"a later header of another one": func(f *wire.ForkProof) { f.B.Space[0] ^= 1; f.SigB = x.sign(f.B.ID()) },
		"a header that was changed":     func(f *wire.ForkProof) { f.A.Clock++ },
		"a proof of another seq":        func(f *wire.ForkProof) { f.Proof.Seq-- },
		"a proof for another size":      func(f *wire.ForkProof) { f.Proof.Size++ },
		"another id":                    func(f *wire.ForkProof) { f.Other[0] ^= 1 },
		"the same id":                   func(f *wire.ForkProof) { f.Other = x.commits[3].ID },
		"a proof with a node changed":   func(f *wire.ForkProof) { f.Proof.Nodes[0][0] ^= 1 },
		"a proof with a node missing":   func(f *wire.ForkProof) { f.Proof.Nodes = f.Proof.Nodes[1:] },
		"the later one first":           func(f *wire.ForkProof) { f.A, f.B, f.SigA, f.SigB = f.B, f.A, f.SigB, f.SigA },
		"the same header twice":         func(f *wire.ForkProof) { f.B, f.SigB = f.A, f.SigA },
		"the same header, no other":     func(f *wire.ForkProof) { f.B, f.SigB, f.Other, f.Proof = f.A, f.SigA, sennit.Hash{}, wire.IDProof{} },
		"no proof":                      func(f *wire.ForkProof) { f.Proof = wire.IDProof{} },
		"another device's":              func(f *wire.ForkProof) { f.Log = other.log },
	} {
		f := accuse(t, x, 4, y, 7)
		if err := commit.CheckFork(f, x.verify); err != nil {
			t.Fatal(err)
		}
		alter(f)
		if err := commit.CheckFork(f, x.verify); sennit.CodeOf(err) != sennit.BadInput {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := commit.CheckFork(accuse(t, x, 4, y, 7), other.verify); err == nil {
		t.Error("a fork is blamed on another device")
	}
}
