package commit

import "github.com/sennit/sennit"

// maxGood bounds the nodes that a Past remembers: about 8 MB. When it is full
// it begins anew, which costs reading them again.
const maxGood = 1 << 16

// Past tells which commits came before a commit of the same log, out of nodes
// of the log's tree that may be incomplete, or partly of another history: it
// believes only what the commit's id vouches for.
type Past struct {
	peaks Peaks
	read  func(Place) (sennit.Hash, error) // zero if it isn't known
	good  map[Place]sennit.Hash
}

// NewPast is what came before a commit, if peaks are the heads of that tree. It
// is nil if they aren't.
func NewPast(c *Commit, space sennit.Space, peaks Peaks, read func(Place) (sennit.Hash, error)) *Past {
	if same := *c; same.Complete(space, &peaks) != nil {
		return nil
	}
	return &Past{peaks: peaks, read: read}
}

// Holds reports whether it is certain that the commit with this id came at seq.
func (p *Past) Holds(seq uint64, id sennit.Hash) (bool, error) {
	if seq == 0 || seq > p.peaks.Size {
		return false, nil
	}
	if p.good == nil || len(p.good) >= maxGood {
		p.good = map[Place]sennit.Hash{}
		for i, at := range Decompose(0, p.peaks.Size) {
			p.good[at] = p.peaks.Nodes[i]
		}
	}
	h, err := p.node(Place{Index: seq - 1})
	return h == Leaf(id[:]), err
}

// node is a node below a peak, zero if it isn't known or nothing vouches for it.
func (p *Past) node(at Place) (sennit.Hash, error) {
	if h, ok := p.good[at]; ok {
		return h, nil
	}
	above, err := p.node(Place{at.Level + 1, at.Index / 2})
	if err != nil || above.IsZero() {
		return above, err
	}
	left, right := Place{at.Level, at.Index &^ 1}, Place{at.Level, at.Index | 1}
	l, err := p.read(left)
	if err != nil {
		return l, err
	}
	r, err := p.read(right)
	if err != nil || join(l, r) != above {
		return sennit.Hash{}, err
	}
	p.good[left], p.good[right] = l, r
	return p.good[at], nil
}
