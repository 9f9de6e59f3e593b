package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/sennit/sennit"
)

// Compare says what its sender holds in some nodes of a space's trie.
//
//	tag | basis 8 bytes | at uvarint | differs flag | items list
//	item: path of the trie | nibbles bytes | kind u8 | by kind
//	  children 1, grandchildren 2: bitmap 2 or 32 bytes | own 5 bytes (if nibbles is empty) | a print of 4 bytes for each bit
//	  list 3: prints list of 5 bytes, ascending
//	  bucket 4: own 5 bytes (if nibbles is empty) | names list of 5 bytes, ascending | a print of 4 bytes for each name
//
// Bit at%8 of byte at/8 of a bitmap, from the lowest, stands for node at. At
// least one is set: a node with nothing below it is a list.
type Compare struct {
	Tag     Tag
	Basis   [8]byte // see [BasisOf]
	At      uint64  // arrival that the sender's trie was worked out at
	Differs bool    // the sender found a difference since the comparison began
	Items   []Item
}

// BasisOf says what a comparison is about: the beginning of a hash of the digest
// of the authority that ops are judged by and of the prefixes that are
// compared. Sides that differ in it have nothing to tell each other by digests.
//
//	SHA-256("basis" | authority hash | prefixes list of paths)
func BasisOf(authority sennit.Hash, prefixes []sennit.Path) [8]byte {
	b := append([]byte("basis"), authority[:]...)
	h := sha256.Sum256(appendPaths(b, prefixes))
	return [8]byte(h[:8])
}

// Kinds of items.
const (
	ItemChildren      = 1 // fingerprints of the nodes one nibble below
	ItemGrandchildren = 2 // two nibbles below
	ItemList          = 3 // of every path with live ops in the node: a fingerprint of their names
	ItemBucket        = 4 // fingerprints of the node's children, which are few
)

// Item is one node of a trie, as one side has it.
type Item struct {
	Path    sennit.Path
	Nibbles string // as in package tree: one byte for each
	Kind    uint8
	Own     [5]byte           // of a top node, but for lists: what is live at the path itself
	Nodes   map[uint8][4]byte // children, grandchildren: by nibble, or nibble<<4|nibble
	Prints  [][5]byte         // list: of live ops; bucket: of names; sorted
	Kids    [][4]byte         // bucket: as Prints
}

func (*Compare) frame() FrameType { return FrameCompare }

func (c *Compare) append(dst []byte) []byte {
	dst = append(append(dst, c.Tag[:]...), c.Basis[:]...)
	dst = appendFlag(binary.AppendUvarint(dst, c.At), c.Differs)
	dst = binary.AppendUvarint(dst, uint64(len(c.Items)))
	for i := range c.Items {
		dst = c.Items[i].append(dst)
	}
	return dst
}

func (it *Item) append(dst []byte) []byte {
	dst = append(appendBytes(appendBytes(dst, it.Path), it.Nibbles), it.Kind)
	switch it.Kind {
	case ItemList:
		return appendPrints(dst, it.Prints)
	case ItemBucket:
		if it.Nibbles == "" {
			dst = append(dst, it.Own[:]...)
		}
		dst = appendPrints(dst, it.Prints)
		for _, k := range it.Kids {
			dst = append(dst, k[:]...)
		}
		return dst
	}
	var bitmap [32]byte
	size := bitmapLen(it.Kind)
	for at := range it.Nodes {
		bitmap[at/8] |= 1 << (at % 8)
	}
	dst = append(dst, bitmap[:size]...)
	if it.Nibbles == "" {
		dst = append(dst, it.Own[:]...)
	}
	for at := range size * 8 {
		if p, ok := it.Nodes[uint8(at)]; ok {
			dst = append(dst, p[:]...)
		}
	}
	return dst
}

func appendPrints(dst []byte, prints [][5]byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(prints)))
	for _, p := range prints {
		dst = append(dst, p[:]...)
	}
	return dst
}

func bitmapLen(kind uint8) int {
	if kind == ItemGrandchildren {
		return 32
	}
	return 2
}

func (r *reader) nibbles() string {
	b := r.bytes(maxNibbles)
	for _, c := range b {
		if c > 15 {
			r.fail("nibble")
			return ""
		}
	}
	return string(b)
}

func (r *reader) compare() *Compare {
	c := &Compare{Tag: r.tag8(), Basis: [8]byte(r.tag8()), At: r.uvarint(1 << 62), Differs: r.flag()}
	prints := 0
	c.Items = make([]Item, 0, r.count(MaxItems, 4))
	for range cap(c.Items) {
		it := Item{Path: r.triePath(), Nibbles: r.nibbles(), Kind: r.u8()}
		switch it.Kind {
		case ItemList:
			it.Prints = r.prints()
			prints += len(it.Prints)
		case ItemBucket:
			if it.Nibbles == "" {
				copy(it.Own[:], r.take(opFingerprint))
			}
			if it.Prints = r.prints(); len(it.Prints)*fingerprint > len(r.b) {
				r.fail("comparison: it ends early")
				break
			}
			if len(it.Prints) > 0 {
				it.Kids = make([][4]byte, len(it.Prints))
			}
			for i := range it.Kids {
				copy(it.Kids[i][:], r.take(fingerprint))
			}
			prints += len(it.Prints)
		case ItemChildren, ItemGrandchildren:
			bitmap := r.take(bitmapLen(it.Kind))
			if it.Nibbles == "" {
				copy(it.Own[:], r.take(opFingerprint))
			}
			set := 0
			for _, b := range bitmap {
				set += bits.OnesCount8(b)
			}
			if set == 0 || set*fingerprint > len(r.b) {
				r.fail("comparison: its bitmap")
				break
			}
			it.Nodes = make(map[uint8][4]byte, set)
			for at := range len(bitmap) * 8 {
				if bitmap[at/8]&(1<<(at%8)) != 0 {
					it.Nodes[uint8(at)] = [4]byte(r.take(fingerprint))
				}
			}
			prints += len(it.Nodes)
		default:
			r.fail("comparison: unknown kind of item")
		}
		if prints > MaxPrints {
			r.fail("comparison: too many fingerprints")
		}
		if r.err != nil {
			break
		}
		c.Items = append(c.Items, it)
	}
	return c
}

// prints reads a sorted list of fingerprints.
func (r *reader) prints() [][5]byte {
	n := r.count(MaxPrints, opFingerprint)
	if n == 0 {
		return nil
	}
	all := make([][5]byte, n)
	for i := range all {
		copy(all[i][:], r.take(opFingerprint))
		if i > 0 && string(all[i-1][:]) >= string(all[i][:]) {
			r.fail("fingerprints out of order")
		}
	}
	return all
}

// Want asks for ops: in each node all, or those of the paths whose
// fingerprints are listed.
//
//	tag | items list of (path of the trie | nibbles bytes | all flag | prints list of 5 bytes, ascending)
type Want struct {
	Tag   Tag
	Items []WantItem
}

// WantItem is one node that ops are wanted of.
type WantItem struct {
	Path    sennit.Path
	Nibbles string
	All     bool
	Prints  [][5]byte // sorted; empty if All
}

func (*Want) frame() FrameType { return FrameWant }

func (w *Want) append(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, w.Tag[:]...), uint64(len(w.Items)))
	for _, it := range w.Items {
		dst = appendFlag(appendBytes(appendBytes(dst, it.Path), it.Nibbles), it.All)
		dst = appendPrints(dst, it.Prints)
	}
	return dst
}

func (r *reader) want() *Want {
	w := &Want{Tag: r.tag8()}
	w.Items = make([]WantItem, 0, r.count(MaxItems, 4))
	for range cap(w.Items) {
		it := WantItem{Path: r.triePath(), Nibbles: r.nibbles(), All: r.flag(), Prints: r.prints()}
		if it.All != (len(it.Prints) == 0) {
			r.fail("want")
		}
		if r.err != nil {
			break
		}
		w.Items = append(w.Items, it)
	}
	return w
}
