package tree

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// Change says which ops are live at one path now.
type Change struct {
	Path sennit.Path

	// Names of the live ops at the path, not beneath it, in the order of
	// [CompareNames]. Empty if none is.
	Names []wire.OpRef

	// Cleared says that nothing beneath the path is live but what other
	// changes of the same call name. It costs one DeleteRange, however much
	// was there.
	Cleared bool
}

// Update brings the trie up to date with changes, in any order. Only paths
// whose own live ops changed need to be named, each once; naming one that did
// not change does no harm.
//
// Each node is read at most once and written at most once, and nodes that
// don't change are not written. A change reads and writes the nodes between
// the root and its path: the number of them grows with the path's depth and
// with the logarithm of the number of siblings. Memory is proportional to the
// changes, some 400 bytes for each. The work for a path is proportional to the number of its live ops.
//
// If Update fails, some writes may have been done: they are to be discarded
// with the batch that they are part of.
func Update(nodes Nodes, changes []Change) error {
	work, err := items(changes)
	if err != nil || len(work) == 0 {
		return err
	}
	u := updater{nodes: nodes}
	u.key = appendKey(u.key[:0], "", nil, 0)
	top, found, err := load(nodes, u.key, "")
	if err != nil {
		return err
	}
	_, err = u.path("", top, found, work)
	return err
}

// item is a change whose path has the form that keys use.
type item struct {
	path   string
	change *Change
}

// items checks changes and gives their paths the form that keys use.
func items(changes []Change) ([]item, error) {
	size := 0
	for i := range changes {
		size += len(changes[i].Path) + 1
	}
	var text strings.Builder // one allocation for all paths
	text.Grow(size)
	work := make([]item, len(changes))
	for i := range changes {
		c := &changes[i]
		from := text.Len()
		for rest, more := string(c.Path), c.Path != ""; more; {
			var component string
			component, rest, more = strings.Cut(rest, "/")
			text.WriteString(component)
			text.WriteByte(0)
		}
		work[i] = item{text.String()[from:], c}
		for j := 1; j < len(c.Names); j++ {
			if CompareNames(c.Names[j-1], c.Names[j]) >= 0 {
				return nil, sennit.Errorf(sennit.Internal, "updating digests: the names of ops at %q are out of order", c.Path)
			}
		}
	}
	return work, nil
}

type updater struct {
	nodes Nodes
	key   []byte // the key in use; no call keeps it over another
	buf   []byte // what is hashed or written
}

// update is the part of the work that lies at or beneath one child.
type update struct {
	key  sennit.Hash // H(name)
	name string
	work []item

	// If all of the work is at the child itself: its own part. It is hashed
	// while the work is still in order of paths, and so probably in cache.
	leaf bool
	own  sennit.Hash
	ops  uint64
}

// path updates one path and everything beneath it. top is its top node, or,
// if it is not stored, holds its own part. It returns what the parent keeps of
// the path; without ops, the path is gone.
func (u *updater) path(prefix string, top Expansion, stored bool, work []item) (Child, error) {
	changed := false
	c, work, err := split(prefix, work)
	if err != nil {
		return Child{}, err
	}
	if c != nil {
		own, ops := top.Own, top.OwnOps
		top.Own, u.buf = ownHash(c.Names, u.buf)
		top.OwnOps = uint64(len(c.Names))
		changed = own != top.Own || ops != top.OwnOps
		if c.Cleared && stored {
			if err := u.clear(prefix); err != nil {
				return Child{}, err
			}
			top.Branches, top.Children, stored, changed = nil, nil, false, true
		}
	}
	if len(work) > 0 {
		below, moved, err := u.node(prefix, 0, top, u.group(prefix, work))
		if err != nil {
			return Child{}, err
		}
		top.Branches, top.Children = below.Branches, below.Children
		changed = changed || moved
	}

	children, ops := top.below()
	ops += top.OwnOps
	keep := children > 0 || prefix == "" && ops > 0
	if changed {
		u.key = appendKey(u.key[:0], prefix, nil, 0)
		switch {
		case keep:
			u.buf = top.encode(u.buf[:0], true)
			if err := u.nodes.Set(u.key, u.buf); err != nil {
				return Child{}, u.failed("writing", err)
			}
		case stored:
			if err := u.nodes.Delete(u.key); err != nil {
				return Child{}, u.failed("deleting", err)
			}
		}
	}
	var h sennit.Hash
	h, u.buf = top.hash(u.buf)
	return Child{Digest: top.digest(h), Ops: ops, Dir: children > 0}, nil
}

// clear deletes all nodes of a path and of everything beneath it.
func (u *updater) clear(prefix string) error {
	end := []byte{keyAfter}
	if prefix != "" {
		end = append([]byte(prefix[:len(prefix)-1]), 1)
	}
	u.key = append(u.key[:0], prefix...)
	if err := u.nodes.DeleteRange(u.key, end); err != nil {
		return u.failed("deleting all below", err)
	}
	return nil
}

func (u *updater) failed(doing string, err error) error {
	return sennit.Errorf(sennit.CodeOf(err), "%s the digest node %q: %w", doing, u.key, err)
}

// split takes the change of the path itself, if there is one, from those
// beneath it.
func split(prefix string, work []item) (own *Change, beneath []item, err error) {
	for i := range work {
		if len(work[i].path) > len(prefix) {
			continue
		}
		if own != nil {
			return nil, nil, sennit.Errorf(sennit.Internal, "updating digests: the path %q is named twice", own.Path)
		}
		own = work[i].change
		work[i] = work[0]
	}
	if own != nil {
		work = work[1:]
	}
	return own, work, nil
}

// group splits work beneath a path by child, in order of H(name).
func (u *updater) group(prefix string, work []item) []*update {
	// Sorting heads takes a fourth of the time that sorting updates takes.
	type head struct {
		start uint64 // of the key
		up    *update
	}
	var ups []update
	var heads []head
	for len(work) > 0 {
		// Changes come in order of paths more often than not: what belongs
		// to one child is mostly one run.
		rest := work[0].path[len(prefix):]
		name := rest[:strings.IndexByte(rest, 0)]
		child := work[0].path[:len(prefix)+len(name)+1]
		n := 1
		for n < len(work) && strings.HasPrefix(work[n].path, child) {
			n++
		}
		if ups == nil {
			// Reached if the rest are leaves, and never exceeded: pointers
			// into ups stay good.
			most := 1 + len(work) - n
			ups, heads = make([]update, 0, most), make([]head, 0, most)
		}
		ups = append(ups, update{key: sha256.Sum256([]byte(name)), name: name, work: work[:n:n]})
		up := &ups[len(ups)-1]
		if up.leaf = n == 1 && len(work[0].path) == len(child); up.leaf {
			names := work[0].change.Names
			up.own, u.buf = ownHash(names, u.buf)
			up.ops = uint64(len(names))
		}
		heads = append(heads, head{binary.BigEndian.Uint64(up.key[:]), up})
		work = work[n:]
	}
	slices.SortFunc(heads, func(a, b head) int {
		if a.start != b.start {
			return cmp.Compare(a.start, b.start)
		}
		return bytes.Compare(a.up.key[:], b.up.key[:])
	})
	sorted := make([]*update, 0, len(heads))
	for _, h := range heads {
		if n := len(sorted); n > 0 && sorted[n-1].key == h.up.key {
			last := sorted[n-1]
			last.work, last.leaf = append(last.work, h.up.work...), false
			continue
		}
		sorted = append(sorted, h.up)
	}
	return sorted
}

// node updates the node at the first depth nibbles of the updates' keys and
// returns what it holds now, for its parent to write: a bucket may yet be
// merged into it. Nodes below it are written. changed says whether it differs.
func (u *updater) node(prefix string, depth int, e Expansion, ups []*update) (_ Expansion, changed bool, err error) {
	if len(e.Branches) > 0 {
		return u.inner(prefix, depth, e, ups)
	}
	children, changed, err := u.merge(prefix, e.Children, ups)
	if err != nil || !changed {
		return e, false, err
	}
	e, err = u.build(prefix, depth, children)
	return e, true, err
}

// merge brings the children of a bucket up to date. The result may be too
// long for one.
func (u *updater) merge(prefix string, old []Child, ups []*update) (children []Child, changed bool, err error) {
	children = make([]Child, 0, len(old)+len(ups))
	for _, up := range ups {
		for len(old) > 0 && bytes.Compare(old[0].key[:], up.key[:]) < 0 {
			children, old = append(children, old[0]), old[1:]
		}
		var was Child
		if len(old) > 0 && old[0].key == up.key {
			was, old = old[0], old[1:]
		}
		now, err := u.child(prefix, was, up)
		if err != nil {
			return nil, false, err
		}
		changed = changed || now.Digest != was.Digest
		if now.Ops > 0 {
			now.Name, now.key = up.name, up.key
			children = append(children, now)
		}
	}
	return append(children, old...), changed, nil
}

// child updates one child of a directory.
func (u *updater) child(prefix string, was Child, up *update) (Child, error) {
	if up.leaf && !was.Dir {
		// Most changes end here: no children before, none now.
		return Child{Digest: up.own, Ops: up.ops}, nil
	}
	path := up.work[0].path[:len(prefix)+len(up.name)+1]
	if !was.Dir {
		return u.path(path, Expansion{Own: was.Digest, OwnOps: was.Ops}, false, up.work)
	}
	u.key = appendKey(u.key[:0], path, nil, 0)
	top, _, err := load(u.nodes, u.key, path)
	if err != nil {
		return Child{}, err
	}
	if _, ops := top.below(); ops+top.OwnOps != was.Ops {
		return Child{}, corrupt(u.key, otherCounts)
	}
	return u.path(path, top, true, up.work)
}

// build makes a node of children, all of which lie beneath it, and writes the
// nodes below it.
func (u *updater) build(prefix string, depth int, children []Child) (Expansion, error) {
	if len(children) <= MaxBucket {
		return Expansion{Children: children}, nil
	}
	e := Expansion{Branches: make([]Branch, 0, 16)}
	for len(children) > 0 {
		nibble, n := nibbleAt(&children[0].key, depth), 1
		for n < len(children) && nibbleAt(&children[n].key, depth) == nibble {
			n++
		}
		below, err := u.build(prefix, depth+1, children[:n])
		if err != nil {
			return Expansion{}, err
		}
		b, err := u.write(prefix, depth, &children[0].key, &below)
		if err != nil {
			return Expansion{}, err
		}
		e.Branches = append(e.Branches, b)
		children = children[n:]
	}
	return e, nil
}

// write writes a node that lies below one at depth.
func (u *updater) write(prefix string, depth int, key *sennit.Hash, e *Expansion) (Branch, error) {
	u.key = appendKey(u.key[:0], prefix, key, depth+1)
	u.buf = e.encode(u.buf[:0], false)
	if err := u.nodes.Set(u.key, u.buf); err != nil {
		return Branch{}, u.failed("writing", err)
	}
	b := Branch{Nibble: nibbleAt(key, depth)}
	b.Children, b.Ops = e.below()
	b.Hash, u.buf = e.hash(u.buf)
	return b, nil
}
