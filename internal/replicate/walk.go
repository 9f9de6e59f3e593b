package replicate

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// walk goes down this side's trie along what the peer says of its own.
type walk struct {
	t      tree.Reader
	part   prefix.Set           // what may be given
	told   map[sennit.Path]bool // directories that the peer described in the same message
	narrow bool                 // one level at a time, however wide a node is

	items []wire.Item
	wants []wire.WantItem
	push  []sennit.Path
}

// sub is a part of a node: one or two nibbles further down.
type sub struct {
	hash     sennit.Hash
	ops      uint64
	children []tree.Child // if it is (part of) a bucket
	kids     uint64
}

// below splits a node by the next depth nibbles.
func (w *walk) below(p sennit.Path, nibbles string, depth int) (tree.Expansion, map[uint8]sub, error) {
	e, err := tree.Expand(w.t, tree.NodeRef{Path: p, Nibbles: nibbles})
	if err != nil {
		return e, nil, err
	}
	parts := map[uint8]sub{}
	split := func(children []tree.Child, base uint8, at int) {
		groups := map[uint8][]tree.Child{}
		for _, ch := range children {
			key := sha256.Sum256([]byte(ch.Name))
			k := base | nibble(key, at)
			if depth == 2 && at == len(nibbles) {
				k = nibble(key, at)<<4 | nibble(key, at+1)
			}
			groups[k] = append(groups[k], ch)
		}
		for k, g := range groups {
			part := sub{children: g, kids: uint64(len(g))}
			for _, ch := range g {
				part.ops += ch.Ops
			}
			x := tree.Expansion{Children: g}
			part.hash = x.Hash()
			parts[k] = part
		}
	}
	split(e.Children, 0, len(nibbles))
	for _, b := range e.Branches {
		if depth == 1 {
			parts[b.Nibble] = sub{hash: b.Hash, ops: b.Ops, kids: b.Children}
			continue
		}
		down, err := tree.Expand(w.t, tree.NodeRef{Path: p, Nibbles: nibbles + string([]byte{b.Nibble})})
		if err != nil {
			return e, nil, err
		}
		split(down.Children, b.Nibble<<4, len(nibbles)+1)
		for _, d := range down.Branches {
			parts[b.Nibble<<4|d.Nibble] = sub{hash: d.Hash, ops: d.Ops, kids: d.Children}
		}
	}
	return e, parts, nil
}

func nibble(key sennit.Hash, i int) uint8 { return key[i/2] >> (4 * (1 - i&1)) & 15 }

func extend(nibbles string, at uint8, depth int) string {
	if depth == 2 {
		return nibbles + string([]byte{at >> 4, at & 15})
	}
	return nibbles + string([]byte{at})
}

// describe adds what this side holds in a node. Where all of it lies behind
// one child, the child is described as well, so that narrow trees take no
// round trip a level.
func (w *walk) describe(p sennit.Path, nibbles string, level int) error {
	e, err := tree.Expand(w.t, tree.NodeRef{Path: p, Nibbles: nibbles})
	if err != nil {
		return err
	}
	ops, kids := e.OwnOps, uint64(len(e.Children))
	for _, b := range e.Branches {
		ops, kids = ops+b.Ops, kids+b.Children
	}
	for _, ch := range e.Children {
		ops += ch.Ops
	}
	it := wire.Item{Path: p, Nibbles: nibbles, Own: print5(e.Own)}
	switch {
	case ops <= fewOps:
		it.Kind, it.Own = wire.ItemList, [5]byte{}
		leaves, err := w.leaves(p, nibbles, fewOps+1)
		if err != nil {
			return err
		}
		for _, l := range leaves {
			it.Prints = append(it.Prints, l.print)
		}
		sortPrints(it.Prints)
		it.Prints = slices.Compact(it.Prints)
	case len(e.Branches) == 0:
		it.Kind = wire.ItemBucket
		for _, ch := range e.Children {
			it.Prints = append(it.Prints, print5(hashOf([]byte(ch.Name))))
		}
		kidsBy := map[[5]byte][4]byte{}
		for i, ch := range e.Children {
			kidsBy[it.Prints[i]] = print4(ch.Digest)
		}
		sortPrints(it.Prints)
		it.Prints = slices.Compact(it.Prints)
		for _, n := range it.Prints {
			it.Kids = append(it.Kids, kidsBy[n])
		}
	default:
		depth := 1
		if it.Kind = wire.ItemChildren; kids >= manyKids && !w.narrow {
			it.Kind, depth = wire.ItemGrandchildren, 2
		}
		_, parts, err := w.below(p, nibbles, depth)
		if err != nil {
			return err
		}
		it.Nodes = map[uint8][4]byte{}
		for k, part := range parts {
			it.Nodes[k] = print4(part.hash)
		}
	}
	w.items = append(w.items, it)
	if it.Kind == wire.ItemBucket && len(e.Children) == 1 && e.Children[0].Dir && level < sennit.MaxDepth {
		return w.describe(p.Join(sennit.Path(e.Children[0].Name)), "", level+1)
	}
	return nil
}

func sortPrints(all [][5]byte) {
	slices.SortFunc(all, func(a, b [5]byte) int { return bytes.Compare(a[:], b[:]) })
}

// meet compares one node of the peer's with this side's.
func (w *walk) meet(it *wire.Item) error {
	if len(w.items) >= maxAnswers || len(w.wants) >= maxAnswers || len(w.push) >= maxPush {
		return nil // enough for one message; the next comparison goes on
	}
	switch it.Kind {
	case wire.ItemList:
		return w.meetList(it)
	case wire.ItemBucket:
		return w.meetBucket(it)
	}
	depth := 1
	if it.Kind == wire.ItemGrandchildren {
		depth = 2
	}
	e, parts, err := w.below(it.Path, it.Nibbles, depth)
	if err != nil {
		return err
	}
	w.meetOwn(it, &e)
	for k := range 1 << (4 * depth) {
		at := uint8(k)
		theirs, there := it.Nodes[at]
		mine, here := parts[at]
		down := extend(it.Nibbles, at, depth)
		switch {
		case !there && !here || there && here && theirs == print4(mine.hash):
		case !here:
			w.wants = append(w.wants, wire.WantItem{Path: it.Path, Nibbles: down, All: true})
		case !there:
			err = w.giveAll(it.Path, down)
		default:
			err = w.describe(it.Path, down, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// meetOwn compares what is live at a directory itself.
func (w *walk) meetOwn(it *wire.Item, e *tree.Expansion) {
	mine := print5(e.Own)
	if it.Nibbles != "" || it.Own == mine {
		return
	}
	if e.OwnOps > 0 {
		w.give(it.Path)
	}
	if it.Own != ([5]byte{}) {
		w.wants = append(w.wants, wire.WantItem{Path: it.Path, Prints: [][5]byte{it.Own}})
	}
}

func (w *walk) meetList(it *wire.Item) error {
	leaves, err := w.leaves(it.Path, it.Nibbles, maxPush)
	if err != nil {
		return err
	}
	mine := map[[5]byte]bool{}
	for _, l := range leaves {
		mine[l.print] = true
		if _, ok := slices.BinarySearchFunc(it.Prints, l.print, func(a, b [5]byte) int { return bytes.Compare(a[:], b[:]) }); !ok {
			w.give(l.path)
		}
	}
	want := wire.WantItem{Path: it.Path, Nibbles: it.Nibbles}
	for _, p := range it.Prints {
		if !mine[p] {
			want.Prints = append(want.Prints, p)
		}
	}
	if len(want.Prints) > 0 {
		w.wants = append(w.wants, want)
	}
	return nil
}

func (w *walk) meetBucket(it *wire.Item) error {
	e, err := tree.Expand(w.t, tree.NodeRef{Path: it.Path, Nibbles: it.Nibbles})
	if err != nil {
		return err
	}
	w.meetOwn(it, &e)
	if len(e.Branches) > 0 {
		return w.describe(it.Path, it.Nibbles, 0) // there is much more here: the peer is to look
	}
	mine := map[[5]byte]*tree.Child{}
	for i := range e.Children {
		mine[print5(hashOf([]byte(e.Children[i].Name)))] = &e.Children[i]
	}
	for i, name := range it.Prints {
		ch := mine[name]
		delete(mine, name)
		if ch == nil {
			w.wantChild(it.Path, name)
			continue
		}
		at := it.Path.Join(sennit.Path(ch.Name))
		if print4(ch.Digest) == it.Kids[i] || w.told[at] {
			continue
		}
		if _, _, leaf := tree.OfMoment(at); leaf && !ch.Dir {
			w.give(at) // some of what one clock brought: too little to describe
			w.wantChild(it.Path, name)
			continue
		}
		if err := w.describe(at, "", 0); err != nil {
			return err
		}
	}
	for _, ch := range mine {
		if err := w.giveAll(it.Path.Join(sennit.Path(ch.Name)), ""); err != nil {
			return err
		}
	}
	return nil
}

// wantChild asks for all of a child, of which the beginning of its name's hash is known.
func (w *walk) wantChild(p sennit.Path, name [5]byte) {
	nibbles := make([]byte, 0, 10)
	for i := range 10 {
		nibbles = append(nibbles, name[i/2]>>(4*(1-i&1))&15)
	}
	w.wants = append(w.wants, wire.WantItem{Path: p, Nibbles: string(nibbles), All: true})
}

// give sends the live ops at a path, if the peer may have them.
func (w *walk) give(p sennit.Path) {
	if w.part.Has(p) {
		w.push = append(w.push, p)
	}
}

func (w *walk) giveAll(p sennit.Path, nibbles string) error {
	leaves, err := w.leaves(p, nibbles, maxPush-len(w.push))
	for _, l := range leaves {
		w.give(l.path)
	}
	return err
}

// leaf is a path with live ops.
type leaf struct {
	path  sennit.Path
	print [5]byte
}

// leaves lists up to limit paths with live ops in a node.
func (w *walk) leaves(p sennit.Path, nibbles string, limit int) (all []leaf, err error) {
	e, err := tree.Expand(w.t, tree.NodeRef{Path: p, Nibbles: nibbles})
	if err != nil || limit <= 0 {
		return nil, err
	}
	if nibbles == "" && e.OwnOps > 0 {
		all = append(all, leaf{p, print5(e.Own)})
	}
	for _, b := range e.Branches {
		more, err := w.leaves(p, nibbles+string([]byte{b.Nibble}), limit-len(all))
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	for _, ch := range e.Children {
		at := p.Join(sennit.Path(ch.Name))
		if !ch.Dir {
			all = append(all, leaf{at, print5(ch.Digest)})
			continue
		}
		more, err := w.leaves(at, "", limit-len(all))
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all[:min(len(all), limit)], nil
}
