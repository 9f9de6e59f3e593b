package access

import (
	"crypto/sha256"

	"github.com/sennit/sennit"
)

// trie maps hashes to values, shares structure with the tries that it was made
// from, and has a digest that depends on what is in it and on nothing else: a
// leaf lies at the first nibble that tells it from all others. Keys are
// digests, so it is balanced unless somebody grinds them, and 64 deep at worst.
type trie[V any] struct {
	root *node[V]
	n    int
}

type node[V any] struct {
	digest sennit.Hash
	kids   *[16]*node[V] // nil in a leaf
	key    sennit.Hash
	value  V
}

func nibble(k sennit.Hash, depth int) byte {
	return k[depth/2] >> (4 * (1 - depth%2)) & 15
}

func (t trie[V]) digest() sennit.Hash {
	if t.root == nil {
		return sennit.Hash{}
	}
	return t.root.digest
}

func (t trie[V]) get(k sennit.Hash) (v V, ok bool) {
	n := t.root
	for depth := 0; n != nil && n.kids != nil; depth++ {
		n = n.kids[nibble(k, depth)]
	}
	if n == nil || n.key != k {
		return v, false
	}
	return n.value, true
}

// put is t with v at k; mark stands for v in the digest.
func (t trie[V]) put(k, mark sennit.Hash, v V) trie[V] {
	b := append(make([]byte, 0, 65), 0)
	b = append(append(b, k[:]...), mark[:]...)
	if _, ok := t.get(k); !ok {
		t.n++
	}
	t.root = t.root.put(0, &node[V]{digest: sha256.Sum256(b), key: k, value: v})
	return t
}

func (n *node[V]) put(depth int, leaf *node[V]) *node[V] {
	var kids [16]*node[V]
	switch {
	case n == nil || n.kids == nil && n.key == leaf.key:
		return leaf
	case n.kids == nil:
		kids[nibble(n.key, depth)] = n
	default:
		kids = *n.kids
	}
	i := nibble(leaf.key, depth)
	kids[i] = kids[i].put(depth+1, leaf)
	b := append(make([]byte, 0, 1+16*33), 1)
	for i, kid := range kids {
		if kid != nil {
			b = append(append(b, byte(i)), kid.digest[:]...)
		}
	}
	return &node[V]{digest: sha256.Sum256(b), kids: &kids}
}

// each calls f for every value, in order of key.
func (t trie[V]) each(f func(V)) { t.root.each(f) }

func (n *node[V]) each(f func(V)) {
	switch {
	case n == nil:
	case n.kids == nil:
		f(n.value)
	default:
		for _, kid := range n.kids {
			kid.each(f)
		}
	}
}
