package tree_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
	"pgregory.net/rapid"
)

// This file says by definition, slowly, what the package computes.

// op is an op as far as merging looks at it.
type op struct {
	kind sennit.Kind
	deep bool
	path sennit.Path
	at   tree.Stamp

	since uint64 // of an add
}

func (o op) String() string {
	what := map[sennit.Kind]string{sennit.KindPut: "put", sennit.KindDel: "del", sennit.KindAdd: "add"}[o.kind]
	if o.deep {
		what = "deep"
	}
	return fmt.Sprintf("%s(%d) /%s %d.%x.%d.%d.%x since %d", what, o.kind, o.path, o.at.Clock, o.at.Log[:1], o.at.Seq, o.at.Index, o.at.Commit[:2], o.since)
}

// newer spells out the order: clock, log, seq, index, commit id.
func newer(a, b tree.Stamp) bool {
	flat := func(s tree.Stamp) []byte {
		f := binary.BigEndian.AppendUint64(nil, s.Clock)
		f = append(f, s.Log[:]...)
		f = binary.BigEndian.AppendUint64(f, s.Seq)
		f = binary.BigEndian.AppendUint32(f, s.Index)
		return append(f, s.Commit[:]...)
	}
	return bytes.Compare(flat(a), flat(b)) > 0
}

// liveOf is the set of live ops, by the rules as people would say them.
func liveOf(ops []op) map[op]bool {
	deleted := func(o op, byValue bool) bool { // by a newer del, value or deep
		return slices.ContainsFunc(ops, func(d op) bool {
			before := o.kind == sennit.KindAdd && o.since < d.at.Clock
			if d.kind != sennit.KindDel || !newer(d.at, o.at) && !before {
				return false
			}
			if d.deep {
				return o.path.Under(d.path)
			}
			return byValue && o.path == d.path
		})
	}
	newest := func(o op) bool { // of its sort at its path
		return !slices.ContainsFunc(ops, func(p op) bool {
			same := p.kind != sennit.KindAdd || p.at.Log == o.at.Log && p.since == o.since
			return p.kind == o.kind && p.deep == o.deep && p.path == o.path && same && newer(p.at, o.at)
		})
	}
	live := map[op]bool{}
	for _, o := range ops {
		switch {
		case o.kind == sennit.KindPut:
			if newest(o) && !deleted(o, true) {
				live[o] = true
			}
		case o.kind == sennit.KindDel:
			if newest(o) && !deleted(o, false) {
				live[o] = true
			}
		case o.kind == sennit.KindAdd:
			if newest(o) && !deleted(o, true) {
				live[o] = true
			}
		default:
			if !deleted(o, true) {
				live[o] = true
			}
		}
	}
	return live
}

// names are the live ops of each path.
type names map[sennit.Path][]wire.OpRef

func namesOf(live map[op]bool) names {
	n := names{}
	for o := range live {
		n[o.path] = append(n[o.path], o.at.Name())
	}
	for _, refs := range n {
		slices.SortFunc(refs, func(a, b wire.OpRef) int {
			return strings.Compare(fmt.Sprintf("%x %08d", a.Commit[:], a.Index), fmt.Sprintf("%x %08d", b.Commit[:], b.Index))
		})
	}
	return n
}

// changes are what makes an empty trie hold n.
func (n names) changes() (c []tree.Change) {
	for p, refs := range n {
		c = append(c, tree.Change{Path: p, Names: refs})
	}
	return c
}

func (n names) ops(p sennit.Path) (count uint64) {
	for q, refs := range n {
		if q.Under(p) {
			count += uint64(len(refs))
		}
	}
	return count
}

// digest is the digest of p by definition, zero if it has none.
func (n names) digest(p sennit.Path) sennit.Hash {
	var own sennit.Hash
	if len(n[p]) > 0 {
		in := []byte{'O', 1}
		for _, ref := range n[p] {
			in = binary.AppendUvarint(append(in, ref.Commit[:]...), uint64(ref.Index))
		}
		own = sha256.Sum256(in)
	}
	children := map[string]sennit.Path{} // by H(name) in hexadecimal
	for q := range n {
		if q != p && q.Under(p) && len(n[q]) > 0 {
			child := sennit.Path(q.Components()[p.Depth()])
			h := sha256.Sum256([]byte(child))
			children[hex.EncodeToString(h[:])] = p.Join(child)
		}
	}
	if len(children) == 0 {
		return own
	}
	top := n.node("", children)
	return sha256.Sum256(slices.Concat([]byte{'D', 1}, own[:], top[:]))
}

func (n names) node(prefix string, children map[string]sennit.Path) sennit.Hash {
	below := map[string]sennit.Path{}
	for key, p := range children {
		if strings.HasPrefix(key, prefix) {
			below[key] = p
		}
	}
	if len(below) == 0 {
		return sennit.Hash{}
	}
	if len(below) <= 32 {
		in := []byte{'B', 1}
		for _, key := range slices.Sorted(maps.Keys(below)) {
			in = binary.AppendUvarint(in, uint64(len(below[key].Base())))
			in = append(in, below[key].Base()...)
			d := n.digest(below[key])
			in = append(in, d[:]...)
		}
		return sha256.Sum256(in)
	}
	bitmap, hashes := 0, []byte(nil)
	for i, digit := range "0123456789abcdef" {
		if h := n.node(prefix+string(digit), below); !h.IsZero() {
			bitmap += 1 << i
			hashes = append(hashes, h[:]...)
		}
	}
	return sha256.Sum256(slices.Concat([]byte{'T', 1, byte(bitmap >> 8), byte(bitmap)}, hashes))
}

// drawOps draws a set of ops on few short paths, with equal clocks and forked
// logs, each op once.
func drawOps(t *rapid.T, label string) []op {
	drawn := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) op {
		o := op{
			kind: sennit.Kind(rapid.SampledFrom([]int{1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 5, 6, 99}).Draw(t, "kind")),
			path: sennit.Path(strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "a-"}), 0, 3).Draw(t, "path"), "/")),
		}
		o.deep = o.kind == sennit.KindDel && rapid.Bool().Draw(t, "deep")
		if o.kind == sennit.KindAdd {
			o.since = rapid.Uint64Range(0, 4).Draw(t, "since")
		}
		o.at = tree.Stamp{
			Clock: rapid.Uint64Range(1, 4).Draw(t, "clock"),
			Log:   sennit.Hash{rapid.ByteRange(1, 2).Draw(t, "log")},
			Seq:   rapid.Uint64Range(1, 2).Draw(t, "seq"),
			Index: rapid.Uint32Range(0, 2).Draw(t, "index"),
		}
		// A commit id stands for all of its header, whatever the branch.
		branch := rapid.ByteRange(0, 1).Draw(t, "branch")
		o.at.Commit = sha256.Sum256([]byte{byte(o.at.Clock), o.at.Log[0], byte(o.at.Seq), branch})
		return o
	}), 0, 14).Draw(t, label)
	seen := map[wire.OpRef]bool{}
	return slices.DeleteFunc(drawn, func(o op) bool {
		again := seen[o.at.Name()]
		seen[o.at.Name()] = true
		return again
	})
}
