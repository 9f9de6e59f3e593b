package commit

import (
	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/wire"
)

// This file is about commits of which only some ops are here.

// Ops is the number of ops that are here.
func (c *Commit) Ops() (n int) {
	for i := range c.Parts {
		n += len(c.Parts[i].Ops)
	}
	return n
}

// Stored is the commit as a store keeps it beside its ops.
func (c *Commit) Stored() wire.Stored {
	rec := wire.Stored{Clock: c.Clock, ID: c.ID, Auth: c.Auth, Sig: c.Sig, Count: c.Count}
	at := uint32(0)
	for i := range c.Parts {
		part := &c.Parts[i]
		if part.Skip > 0 {
			rec.Gone = append(rec.Gone, wire.Gone{First: at, N: part.Skip, Nodes: part.Nodes})
		}
		at += part.Skip + uint32(len(part.Ops))
	}
	return rec
}

// Restore makes a commit out of what a store keeps: its record, and the ops
// that are here, in order. Past and root are not told. It fails if the ops are
// not just those that the record doesn't say are gone.
func Restore(log sennit.Hash, seq uint64, rec *wire.Stored, ops []wire.Op) (*Commit, error) {
	c := &Commit{Log: log, Seq: seq, Clock: rec.Clock, Auth: rec.Auth, Count: rec.Count, ID: rec.ID, Sig: rec.Sig}
	at := uint32(0)
	upTo := func(end uint32) {
		if n := min(int(end-at), len(ops)); n > 0 {
			c.Parts = append(c.Parts, wire.Part{Ops: ops[:n:n]})
			ops = ops[n:]
			at += uint32(n)
		}
	}
	for _, g := range rec.Gone {
		if upTo(g.First); at != g.First {
			break
		}
		c.Parts = append(c.Parts, wire.Part{Skip: g.N, Nodes: g.Nodes})
		at += g.N
	}
	if upTo(rec.Count); at != rec.Count || len(ops) > 0 {
		return nil, sennit.Errorf(sennit.Internal, "commit %d of log %s is not as its record says: ops are missing, or too many", seq, log)
	}
	return c, nil
}

// Complete works out what [Restore] doesn't tell: root and past, the latter from
// the tree of the commits before. It fails with Internal if the commit's id is
// not that of what is here.
func (c *Commit) Complete(space sennit.Space, past *Peaks) error {
	all, tree := *c, past.Clone()
	if err := all.seal(space, &tree, nil); err != nil || all.Seq != tree.Size || all.ID != c.ID {
		return sennit.Errorf(sennit.Internal, "commit %d of log %s is stored under the id of another one", c.Seq, c.Log)
	}
	*c = all
	return nil
}

// Pick lays out the commit with only those of its ops that keep selects.
func (c *Commit) Pick(keep func(index uint32, op *wire.Op) bool) ([]wire.Part, error) {
	ops := make([]*wire.Op, c.Count)
	known := map[Place]sennit.Hash{}
	c.known(known)
	c.Each(func(i uint32, op *wire.Op) {
		if keep(i, op) {
			ops[i] = op
		} else {
			known[Place{Index: uint64(i)}] = Leaf(op.Bytes())
		}
	})
	return layout(ops, known)
}

// Union puts together what two copies of a commit hold. more says that b has
// something that a hasn't.
func Union(a, b *Commit) (all *Commit, more bool, err error) {
	u := *a
	if a.Sig == nil && b.Sig != nil {
		u.Sig, more = b.Sig, true
	}
	ops, added := make([]*wire.Op, a.Count), false
	a.Each(func(i uint32, op *wire.Op) { ops[i] = op })
	b.Each(func(i uint32, op *wire.Op) {
		if ops[i] == nil {
			ops[i], added = op, true
		}
	})
	if !added {
		return &u, more, nil
	}
	known := map[Place]sennit.Hash{}
	a.known(known)
	b.known(known)
	u.Parts, err = layout(ops, known)
	return &u, true, err
}

// known collects the nodes that stand for what is left out.
func (c *Commit) known(nodes map[Place]sennit.Hash) {
	at := uint64(0)
	for i := range c.Parts {
		part := &c.Parts[i]
		end := at + uint64(part.Skip)
		for j, place := range Decompose(at, end) {
			if j < len(part.Nodes) {
				nodes[place] = part.Nodes[j]
			}
		}
		at = end + uint64(len(part.Ops))
	}
}

// layout lays out ops by index; nil stands for one that is left out.
func layout(ops []*wire.Op, known map[Place]sennit.Hash) (parts []wire.Part, err error) {
	for i := 0; i < len(ops); {
		j := i
		for j < len(ops) && (ops[j] == nil) == (ops[i] == nil) {
			j++
		}
		var p wire.Part
		if ops[i] != nil {
			for _, op := range ops[i:j] {
				p.Ops = append(p.Ops, *op)
			}
		} else {
			p.Skip = uint32(j - i)
			for _, place := range Decompose(uint64(i), uint64(j)) {
				h, ok := Head(place, known)
				if !ok {
					return nil, sennit.Errorf(sennit.Internal, "a commit lacks the hash of ops that are left out")
				}
				p.Nodes = append(p.Nodes, h)
			}
		}
		parts, i = append(parts, p), j
	}
	return parts, nil
}
