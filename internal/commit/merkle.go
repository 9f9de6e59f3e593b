package commit

import (
	"crypto/sha256"
	"math/bits"

	"github.com/sennit/sennit"
	"github.com/transparency-dev/merkle/proof"

	"github.com/sennit/sennit/internal/wire"
)

// Leaf is the hash of a leaf (RFC 6962 section 2.1).
func Leaf(data []byte) sennit.Hash {
	var buf [512]byte
	if len(data) < len(buf) {
		buf[0] = 0
		return sha256.Sum256(buf[:1+copy(buf[1:], data)])
	}
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(data)
	return sennit.Hash(h.Sum(nil))
}

func join(l, r sennit.Hash) sennit.Hash {
	var buf [65]byte
	buf[0] = 1
	copy(buf[1:], l[:])
	copy(buf[33:], r[:])
	return sha256.Sum256(buf[:])
}

// Place is where a node stands in a tree: it is the head of the leaves
// [Index<<Level, (Index+1)<<Level).
type Place struct {
	Level uint8
	Index uint64
}

// Decompose splits the leaves [begin, end) into the largest aligned subtrees,
// from left to right: at most two a level.
func Decompose(begin, end uint64) []Place {
	var places []Place
	for begin < end {
		level := bits.Len64(end-begin) - 1
		if begin != 0 {
			level = min(level, bits.TrailingZeros64(begin))
		}
		places = append(places, Place{uint8(level), begin >> level})
		begin += 1 << level
	}
	return places
}

// Peaks is an RFC 6962 tree that only grows: the heads of its largest perfect
// subtrees, from left to right, of which there is one for each bit set in its
// size. The zero Peaks is the empty tree. A copy shares no later change as
// long as only one of the two grows; use Clone where both may.
type Peaks struct {
	Size  uint64
	Nodes []sennit.Hash
}

// Clone copies the peaks.
func (p *Peaks) Clone() Peaks {
	return Peaks{p.Size, append(make([]sennit.Hash, 0, len(p.Nodes)+2), p.Nodes...)}
}

// Append adds a leaf by its hash. Each node that this completes above the leaf
// is handed to seen, if there is one.
func (p *Peaks) Append(leaf sennit.Hash, seen func(Place, sennit.Hash)) {
	p.push(0, leaf, seen)
}

func (p *Peaks) push(level int, node sennit.Hash, seen func(Place, sennit.Hash)) {
	at := p.Size >> level
	p.Size += 1 << level
	for ; at&1 == 1; level++ {
		last := len(p.Nodes) - 1
		node = join(p.Nodes[last], node)
		p.Nodes = p.Nodes[:last]
		at >>= 1
		if seen != nil {
			seen(Place{uint8(level + 1), at}, node)
		}
	}
	p.Nodes = append(p.Nodes, node)
}

// Skip adds n leaves of which only the heads of their decomposition are known.
// It reports whether nodes are as many as that takes. The given nodes are
// handed to seen as well as what they complete.
func (p *Peaks) Skip(n uint64, nodes []sennit.Hash, seen func(Place, sennit.Hash)) bool {
	places := Decompose(p.Size, p.Size+n)
	if len(places) != len(nodes) {
		return false
	}
	for i, at := range places {
		if seen != nil {
			seen(at, nodes[i])
		}
		p.push(int(at.Level), nodes[i], seen)
	}
	return true
}

// Root is the tree head: SHA-256 of nothing for the empty tree.
func (p *Peaks) Root() sennit.Hash {
	if len(p.Nodes) == 0 {
		return sha256.Sum256(nil)
	}
	root := p.Nodes[len(p.Nodes)-1]
	for i := len(p.Nodes) - 2; i >= 0; i-- {
		root = join(p.Nodes[i], root)
	}
	return root
}

// Prove makes the id proof of commit seq for a header whose past has size
// commits.
func Prove(seq, size uint64, node func(Place) (sennit.Hash, error)) (wire.IDProof, error) {
	want, err := proof.Inclusion(seq-1, size)
	if err != nil {
		return wire.IDProof{}, sennit.Errorf(sennit.BadInput, "prove commit %d of %d: %w", seq, size, err)
	}
	hashes := make([][]byte, len(want.IDs))
	for i, id := range want.IDs {
		h, err := node(Place{uint8(id.Level), id.Index})
		if err != nil {
			return wire.IDProof{}, err
		}
		hashes[i] = h[:]
	}
	hashes, err = want.Rehash(hashes, func(l, r []byte) []byte {
		h := join(sennit.Hash(l), sennit.Hash(r))
		return h[:]
	})
	if err != nil {
		return wire.IDProof{}, err
	}
	p := wire.IDProof{Seq: seq, Size: size}
	for _, h := range hashes {
		p.Nodes = append(p.Nodes, sennit.Hash(h))
	}
	return p, nil
}

// Proves reports whether p shows that the tree with head past holds commit id
// at p.Seq.
func Proves(p wire.IDProof, id, past sennit.Hash) bool {
	if p.Seq == 0 || p.Seq > p.Size {
		return false
	}
	// From the leaf to the head: a left sibling where the index is odd, a
	// right one where there is something to the right (RFC 9162 section 2.1.3.2).
	h, at, last := Leaf(id[:]), p.Seq-1, p.Size-1
	for _, sibling := range p.Nodes {
		if last == 0 {
			return false
		}
		if at&1 == 1 || at == last {
			h = join(sibling, h)
			for at&1 == 0 && at != 0 {
				at, last = at>>1, last>>1
			}
		} else {
			h = join(h, sibling)
		}
		at, last = at>>1, last>>1
	}
	return last == 0 && h == past
}

// Head works out the head of a subtree from the nodes that are known in it, if
// they are enough.
func Head(at Place, known map[Place]sennit.Hash) (sennit.Hash, bool) {
	if h, ok := known[at]; ok || at.Level == 0 {
		return h, ok
	}
	l, ok := Head(Place{at.Level - 1, at.Index * 2}, known)
	if !ok {
		return l, false
	}
	r, ok := Head(Place{at.Level - 1, at.Index*2 + 1}, known)
	if !ok {
		return r, false
	}
	return join(l, r), true
}
