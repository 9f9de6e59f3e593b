package tree

import (
	"crypto/sha256"
	"slices"

	"github.com/sennit/sennit"
)

// Find returns the digest of a path with everything beneath it, and the number
// of live ops there. ok is false if there are none.
//
// A directory takes one read; a path without children one more for each level
// of its parent's trie.
func Find(nodes Reader, p sennit.Path) (info Info, ok bool, err error) {
	prefix := keyPrefix(p)
	top, ok, err := load(nodes, appendKey(nil, prefix, nil, 0), prefix)
	if err != nil {
		return Info{}, false, err
	}
	if ok {
		_, ops := top.below()
		return Info{top.Digest(), ops + top.OwnOps}, true, nil
	}
	if p == "" {
		return Info{}, false, nil
	}
	key := sennit.Hash(sha256.Sum256([]byte(p.Base())))
	e, err := descend(nodes, keyPrefix(p.Parent()), &key, maxNibbles)
	if err != nil {
		return Info{}, false, err
	}
	for i := range e.Children {
		if c := &e.Children[i]; c.key == key {
			if c.Dir {
				return Info{}, false, corrupt(appendKey(nil, prefix, nil, 0), otherCounts)
			}
			return Info{c.Digest, c.Ops}, true, nil
		}
	}
	return Info{}, false, nil
}

// NodeRef names a node of a directory's trie: the children whose H(name)
// starts with the nibbles.
type NodeRef struct {
	Path    sennit.Path
	Nibbles string // one byte of 0-15 for each nibble, at most 64; "" for the top node
}

// Expand returns what a node holds. Every node can be asked for: one that is
// not stored, because a node above it is a bucket, gives those of the bucket's
// children that belong to it, and has the hash that it would have if it were
// stored. So a replica whose trie is deeper can ask one whose trie is not.
// Where nothing is, the expansion is empty.
//
// It takes one read if the node is stored, otherwise one more for each level
// above it.
func Expand(nodes Reader, ref NodeRef) (Expansion, error) {
	var key sennit.Hash
	if len(ref.Nibbles) > maxNibbles {
		return Expansion{}, sennit.Errorf(sennit.BadInput, "a digest node has at most %d nibbles; %d were given", maxNibbles, len(ref.Nibbles))
	}
	for i := range len(ref.Nibbles) {
		if ref.Nibbles[i] > 15 {
			return Expansion{}, sennit.Errorf(sennit.BadInput, "%d is not a nibble of a digest node", ref.Nibbles[i])
		}
		setNibble(&key, i, ref.Nibbles[i])
	}
	prefix, depth := keyPrefix(ref.Path), len(ref.Nibbles)
	e, ok, err := load(nodes, appendKey(nil, prefix, &key, depth), prefix)
	switch {
	case err != nil || ok:
		return e, err
	case depth == 0:
		own, _, err := Find(nodes, ref.Path)
		return Expansion{Own: own.Hash, OwnOps: own.Ops}, err
	}
	e, err = descend(nodes, prefix, &key, depth)
	if err != nil {
		return Expansion{}, err
	}
	elsewhere := func(c Child) bool { return !startsWith(&c.key, ref.Nibbles) }
	return Expansion{Children: slices.DeleteFunc(e.Children, elsewhere)}, nil
}

// descend goes down a directory's trie along key, to a bucket or to depth
// limit. The expansion is empty if nothing lies along key.
func descend(nodes Reader, prefix string, key *sennit.Hash, limit int) (Expansion, error) {
	at := appendKey(make([]byte, 0, len(prefix)+16), prefix, nil, 0)
	e, _, err := load(nodes, at, prefix)
	depth := 0
	for err == nil && depth < limit && len(e.Branches) > 0 {
		b := e.branch(nibbleAt(key, depth))
		if b == nil {
			return Expansion{}, nil
		}
		at = append(at, b.Nibble)
		depth++
		e, err = loadBranch(nodes, at, prefix, b)
	}
	return e, err
}
