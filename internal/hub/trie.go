package hub

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// node is one level of the trie: the root, a space, or a component of a path.
//
// Writers hold the hub's mu. The publisher reads without any lock: whatever it
// can reach is either immutable or an atomic pointer, and what is immutable is
// replaced by a changed copy. So the publisher sees each topic that was there
// before it looked, which is all that Subscribe promises.
type node[T any] struct {
	name   string // of a space its 32 bytes
	parent *node[T]
	star   atomic.Pointer[node[T]]  // the child for "*"
	kids   atomic.Pointer[kids[T]]  // the other children; nil if there are none
	under  atomic.Pointer[topic[T]] // the topic of this path and all beneath it
	exact  atomic.Pointer[topic[T]] // the topic of this path alone

	count int // children in kids; guarded by the hub's mu
}

// kids is the children of a node by name: one, or a hash table whose length is
// a power of two. One is the common case, as paths like users/anna/inbox are
// watched one by one, and each step saved is a cache miss saved.
type kids[T any] struct {
	only  *node[T]
	table []atomic.Pointer[cell[T]]
}

// cell is a child in a slot of a table, and the others of the slot.
type cell[T any] struct {
	hash uint64 // of the node's name
	node *node[T]
	next *cell[T]
}

func (k *kids[T]) slot(hash uint64) *atomic.Pointer[cell[T]] {
	return &k.table[hash&uint64(len(k.table)-1)]
}

func (k *kids[T]) put(hash uint64, n *node[T]) {
	slot := k.slot(hash)
	slot.Store(&cell[T]{hash, n, slot.Load()})
}

// each calls f for every child.
func (k *kids[T]) each(f func(*node[T])) {
	if k.only != nil {
		f(k.only)
	}
	for i := range k.table {
		for c := k.table[i].Load(); c != nil; c = c.next {
			f(c.node)
		}
	}
}

// find is the child with a name, or nil.
func (n *node[T]) find(seed maphash.Seed, name string) *node[T] {
	k := n.kids.Load()
	switch {
	case k == nil:
		return nil
	case k.only != nil:
		if k.only.name == name {
			return k.only
		}
		return nil
	}
	hash := maphash.String(seed, name)
	for c := k.slot(hash).Load(); c != nil; c = c.next {
		if c.hash == hash && c.node.name == name {
			return c.node
		}
	}
	return nil
}

// add inserts a child that isn't there yet. A slot holds one child on average,
// at most.
func (n *node[T]) add(seed maphash.Seed, child *node[T]) {
	n.count++
	switch k := n.kids.Load(); {
	case k == nil:
		n.kids.Store(&kids[T]{only: child})
	case n.count > len(k.table):
		n.rebuild(seed, max(2, 2*len(k.table)), child, nil)
	default:
		k.put(maphash.String(seed, child.name), child)
	}
}

// drop removes a child.
func (n *node[T]) drop(seed maphash.Seed, child *node[T]) {
	n.count--
	k := n.kids.Load()
	switch {
	case n.count == 0:
		n.kids.Store(nil)
		return
	case n.count == 1 || n.count < len(k.table)/4:
		n.rebuild(seed, len(k.table)/2, nil, child)
		return
	}
	slot := k.slot(maphash.String(seed, child.name))
	var rest *cell[T]
	for c := slot.Load(); c != nil; c = c.next {
		if c.node != child {
			rest = &cell[T]{c.hash, c.node, rest}
		}
	}
	slot.Store(rest)
}

// rebuild replaces the table by one of another size, with one child more and
// one less.
func (n *node[T]) rebuild(seed maphash.Seed, size int, with, without *node[T]) {
	k := &kids[T]{}
	put := func(c *node[T]) {
		if c == nil || c == without {
			return
		}
		if n.count == 1 {
			k.only = c
		} else {
			k.put(maphash.String(seed, c.name), c)
		}
	}
	if n.count > 1 {
		k.table = make([]atomic.Pointer[cell[T]], size)
	}
	n.kids.Load().each(put)
	put(with)
	n.kids.Store(k)
}

// at is where a topic of the node hangs.
func (n *node[T]) at(exact bool) *atomic.Pointer[topic[T]] {
	if exact {
		return &n.exact
	}
	return &n.under
}

// reach finds or makes the node of a topic. The caller holds mu.
func (h *Hub[T]) reach(t Topic) *node[T] {
	n := h.child(h.root, string(t.Space[:]), false)
	for rest, more := t.Path, t.Path != ""; more; {
		var c string
		c, rest, more = strings.Cut(rest, "/")
		n = h.child(n, c, c == "*")
	}
	return n
}

func (h *Hub[T]) child(n *node[T], name string, wild bool) *node[T] {
	if wild {
		c := n.star.Load()
		if c == nil {
			c = &node[T]{parent: n}
			n.star.Store(c)
		}
		return c
	}
	c := n.find(h.seed, name)
	if c == nil {
		// The clone keeps a long path from being held by its first component.
		c = &node[T]{name: strings.Clone(name), parent: n}
		n.add(h.seed, c)
	}
	return c
}

// prune removes a node, and those above it, that serve no topic any more. The
// caller holds mu.
func (h *Hub[T]) prune(n *node[T]) {
	for n.parent != nil && n.count == 0 && n.star.Load() == nil && n.under.Load() == nil && n.exact.Load() == nil {
		p := n.parent
		if p.star.Load() == n {
			p.star.Store(nil)
		} else {
			p.drop(h.seed, n)
		}
		n = p
	}
}

// match gives an event to every topic that it concerns. The trie is a tree, so
// no topic is met twice.
func (h *Hub[T]) match(e *Event[T]) {
	if n := h.root.find(h.seed, string(e.Space[:])); n != nil {
		h.descend(n, e, string(e.Path), e.Path != "")
	}
}

// descend serves a node that matches the event's path up to rest. However many
// "*" there are, each node is met at most once.
func (h *Hub[T]) descend(n *node[T], e *Event[T], rest string, more bool) {
	for {
		if !more {
			if e.Deep {
				h.below(n)
				return
			}
			if t := n.exact.Load(); t != nil {
				h.give(t)
			}
			if t := n.under.Load(); t != nil {
				h.give(t)
			}
			return
		}
		if t := n.under.Load(); t != nil {
			h.give(t)
		}
		var c string
		c, rest, more = strings.Cut(rest, "/")
		if w := n.star.Load(); w != nil {
			h.descend(w, e, rest, more)
		}
		if n = n.find(h.seed, c); n == nil {
			return
		}
	}
}

// below gives an event to every topic of a node and beneath it.
func (h *Hub[T]) below(n *node[T]) {
	if t := n.exact.Load(); t != nil {
		h.give(t)
	}
	if t := n.under.Load(); t != nil {
		h.give(t)
	}
	if w := n.star.Load(); w != nil {
		h.below(w)
	}
	if k := n.kids.Load(); k != nil {
		k.each(h.below)
	}
}
