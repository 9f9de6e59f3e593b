// Package commit makes and checks commits: headers, the tree of ids that links
// a log's commits to all before them, runs, sparse commits, and fork proofs.
//
// Owns: what makes a commit genuine.
// Promises: pure: no I/O, clock or state. Checking costs one signature for a
// run however long, and a few hashes an op. Whatever [Check] passes was signed
// by the log's device, op by op and place by place.
// Must not know: whether anybody was allowed to write it (package access), or
// what it means (package tree).
package commit

import (
	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/wire"
)

// Commit is what one device wrote to one space at once, checked or just made.
type Commit struct {
	Log   sennit.Hash
	Seq   uint64
	Clock uint64
	Auth  []sennit.Hash
	Count uint32      // ops that it was made of
	Parts []wire.Part // those that are here, and what stands for the others
	Past  sennit.Hash
	Root  sennit.Hash
	ID    sennit.Hash
	Sig   *[64]byte // nil: a later commit of the log vouches for it
}

// Each calls f for every op that is here, in order, with its index in the
// commit.
func (c *Commit) Each(f func(index uint32, op *wire.Op)) {
	at := uint32(0)
	for i := range c.Parts {
		part := &c.Parts[i]
		for j := range part.Ops {
			f(at+uint32(j), &part.Ops[j])
		}
		at += part.Skip + uint32(len(part.Ops))
	}
}

// Whole reports whether all ops are here.
func (c *Commit) Whole() bool {
	return len(c.Parts) == 1 && c.Parts[0].Skip == 0
}

// Header is the commit's header.
func (c *Commit) Header(space sennit.Space) *wire.Header {
	return &wire.Header{
		Space: space, Log: c.Log, Seq: c.Seq, Past: c.Past, Clock: c.Clock,
		Auth: c.Auth, Count: c.Count, Root: c.Root,
	}
}

// Item is the commit as it travels in a run.
func (c *Commit) Item() wire.RunItem {
	return wire.RunItem{Clock: c.Clock, Auth: c.Auth, Count: c.Count, Parts: c.Parts}
}

// Build makes and signs the next commit of a log whose earlier commits have
// the given tree, and adds it to the tree.
func Build(space sennit.Space, log sennit.Hash, past *Peaks, clock uint64, auth []sennit.Hash, ops []wire.Op,
	sign func(id sennit.Hash) [64]byte, seen func(Place, sennit.Hash),
) (*Commit, error) {
	c := &Commit{
		Log: log, Seq: past.Size + 1, Clock: clock, Auth: auth,
		Count: uint32(len(ops)), Parts: []wire.Part{{Ops: ops}},
	}
	size, err := c.size()
	switch {
	case err != nil:
		return nil, err
	case len(ops) == 0 || len(ops) > sennit.MaxOps:
		return nil, sennit.Errorf(sennit.TooLarge, "a commit has %d ops; 1 to %d are allowed", len(ops), sennit.MaxOps)
	case size > sennit.MaxCommit:
		return nil, sennit.Errorf(sennit.TooLarge, "a commit has %d bytes; at most %d are allowed", size, sennit.MaxCommit)
	}
	if err := c.seal(space, past, seen); err != nil {
		return nil, err
	}
	sig := sign(c.ID)
	c.Sig = &sig
	return c, nil
}

// size is the number of bytes of ops that are here.
func (c *Commit) size() (n int, err error) {
	for i := range c.Parts {
		for j := range c.Parts[i].Ops {
			l := len(c.Parts[i].Ops[j].Bytes())
			if l > sennit.MaxOp {
				return 0, sennit.Errorf(sennit.TooLarge, "an op has %d bytes; at most %d are allowed", l, sennit.MaxOp)
			}
			n += l
		}
	}
	return n, nil
}

// seal computes the root, past and id, and adds the id to the tree.
func (c *Commit) seal(space sennit.Space, past *Peaks, seen func(Place, sennit.Hash)) error {
	var few [8]sennit.Hash
	ops := Peaks{Nodes: few[:0]}
	for i := range c.Parts {
		part := &c.Parts[i]
		if part.Skip > 0 {
			if len(part.Ops) > 0 || !ops.Skip(uint64(part.Skip), part.Nodes, nil) {
				return sennit.Errorf(sennit.BadInput, "commit %d: the hashes of left out ops are too few or too many", c.Seq)
			}
			continue
		}
		for j := range part.Ops {
			ops.Append(Leaf(part.Ops[j].Bytes()), nil)
		}
	}
	if ops.Size != uint64(c.Count) || c.Count == 0 || c.Count > sennit.MaxOps {
		return sennit.Errorf(sennit.BadInput, "commit %d: %d ops instead of %d", c.Seq, ops.Size, c.Count)
	}
	c.Root, c.Past = ops.Root(), past.Root()
	c.ID = c.Header(space).ID()
	past.Append(Leaf(c.ID[:]), seen)
	return nil
}

// Check verifies a run of the log described by log: every hash, the link of
// each commit to all before it, the class's rules, and the signature, which
// verify checks against the log's device. past is the tree of the log's first
// run.From commits; it grows by the run if all is well and must be dropped if
// not. Nodes of the id tree that become known are handed to seen; keep them
// only if Check succeeds.
func Check(run *wire.Run, log wire.Log, past *Peaks, verify func(id sennit.Hash, sig *[64]byte) bool,
	seen func(Place, sennit.Hash),
) ([]*Commit, error) {
	bad := func(format string, args ...any) error {
		return sennit.Errorf(sennit.BadInput, "run of log "+log.ID().String()[:8]+": "+format, args...)
	}
	if log.ID() != run.Log || past.Size != run.From {
		return nil, bad("it is for another log or place")
	}
	block := make([]Commit, len(run.Items)) // one allocation for all; they live and die together
	commits := make([]*Commit, 0, len(run.Items))
	for i := range run.Items {
		it := &run.Items[i]
		if past.Size > wire.MaxSeq || max(it.Gap, 1) > wire.MaxSeq-past.Size {
			return nil, bad("it goes beyond the last commit that a log can have")
		}
		if it.Gap > 0 {
			if !past.Skip(it.Gap, it.Nodes, seen) {
				return nil, bad("the hashes of left out commits are too few or too many")
			}
			continue
		}
		c := &block[i]
		*c = Commit{
			Log: run.Log, Seq: past.Size + 1, Clock: it.Clock, Auth: it.Auth, Count: it.Count, Parts: it.Parts,
		}
		if err := c.fits(log.Class); err != nil {
			return nil, bad("commit %d: %w", c.Seq, err)
		}
		if err := c.seal(log.Space, past, seen); err != nil {
			return nil, bad("%w", err)
		}
		commits = append(commits, c)
	}
	if len(run.Items) == 0 || run.Items[len(run.Items)-1].Gap > 0 {
		return nil, bad("no commit at its end, whose signature would vouch for the rest")
	}
	last := commits[len(commits)-1]
	if !verify(last.ID, &run.Sig) {
		return nil, bad("the signature of commit %d is wrong", last.Seq)
	}
	sig := run.Sig
	last.Sig = &sig
	return commits, nil
}

// fits checks what the class of a log asks of its commits.
func (c *Commit) fits(class wire.Class) error {
	n, err := c.size()
	switch {
	case err != nil:
		return err
	case n > sennit.MaxCommit:
		return sennit.Errorf(sennit.TooLarge, "%d bytes; at most %d are allowed", n, sennit.MaxCommit)
	case class == wire.Data && (len(c.Auth) == 0 || len(c.Auth) > wire.MaxDataAuth):
		return sennit.Errorf(sennit.BadInput, "it names %d authority commits; 1 to %d are allowed", len(c.Auth), wire.MaxDataAuth)
	case class == wire.Authority && !c.Whole():
		return sennit.Errorf(sennit.BadInput, "an authority commit is never sparse")
	}
	for i := range c.Parts {
		for j := range c.Parts[i].Ops {
			if k := c.Parts[i].Ops[j].Kind; k.Authority() != (class == wire.Authority) {
				return sennit.Errorf(sennit.BadInput, "an op of kind %d in a log of the other class", k)
			}
		}
	}
	return nil
}

// CheckFork reports whether f proves that a device signed two histories of one
// log. verify checks a signature against the log's device.
func CheckFork(f *wire.ForkProof, verify func(id sennit.Hash, sig *[64]byte) bool) error {
	log := f.Log.ID()
	idA, idB := f.A.ID(), f.B.ID()
	switch {
	case f.A.Log != log || f.B.Log != log || f.A.Space != f.Log.Space || f.B.Space != f.Log.Space:
		return sennit.Errorf(sennit.BadInput, "fork proof: a header is of another log")
	case !verify(idA, &f.SigA) || !verify(idB, &f.SigB):
		return sennit.Errorf(sennit.BadInput, "fork proof: a signature is wrong")
	case f.A.Seq == f.B.Seq:
		if idA == idB {
			return sennit.Errorf(sennit.BadInput, "fork proof: both headers are the same")
		}
		return nil
	case f.Other == idA || f.Proof.Seq != f.A.Seq || f.Proof.Size != f.B.Seq-1 || !Proves(f.Proof, f.Other, f.B.Past):
		return sennit.Errorf(sennit.BadInput, "fork proof: the later header's past holds the earlier one, or it isn't shown")
	}
	return nil
}
