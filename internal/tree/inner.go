package tree

import "github.com/sennit/sennit"

// lower is a node below an inner one while that is updated.
type lower struct {
	branch  Branch      // as stored; no children if it wasn't
	key     sennit.Hash // starts with the nibbles of the node
	now     Expansion   // what it holds now, once it has been read
	read    bool
	changed bool
}

// inner updates an inner node, as node does. If too few children are left, it
// becomes a bucket, and the buckets below it go.
func (u *updater) inner(prefix string, depth int, e Expansion, ups []*update) (Expansion, bool, error) {
	var all [16]lower
	for _, b := range e.Branches {
		all[b.Nibble].branch = b
	}
	for i := range all {
		s := &all[i]
		s.key = ups[0].key
		setNibble(&s.key, depth, uint8(i))
	}
	var left uint64
	changed := false
	for len(ups) > 0 {
		nibble, n := nibbleAt(&ups[0].key, depth), 1
		for n < len(ups) && nibbleAt(&ups[n].key, depth) == nibble {
			n++
		}
		s := &all[nibble]
		if err := u.readBelow(prefix, depth, s); err != nil {
			return Expansion{}, false, err
		}
		var err error
		if s.now, s.changed, err = u.node(prefix, depth+1, s.now, ups[:n]); err != nil {
			return Expansion{}, false, err
		}
		changed = changed || s.changed
		ups = ups[n:]
	}
	if !changed {
		return e, false, nil
	}
	for i := range all {
		n := all[i].branch.Children
		if all[i].read {
			n, _ = all[i].now.below()
		}
		left += n
	}
	if left <= MaxBucket {
		e, err := u.collapse(prefix, depth, &all)
		return e, true, err
	}
	e, err := u.writeBelow(prefix, depth, &all)
	return e, true, err
}

// readBelow reads a node below an inner one, if it is stored and wasn't read.
func (u *updater) readBelow(prefix string, depth int, s *lower) (err error) {
	if s.read {
		return nil
	}
	s.read = true
	if s.branch.Children == 0 {
		return nil
	}
	u.key = appendKey(u.key[:0], prefix, &s.key, depth+1)
	s.now, err = loadBranch(u.nodes, u.key, prefix, &s.branch)
	return err
}

// loadBranch reads the node that a branch promises.
func loadBranch(nodes Reader, key []byte, prefix string, b *Branch) (Expansion, error) {
	e, _, err := load(nodes, key, prefix)
	if err != nil {
		return Expansion{}, err
	}
	if children, ops := e.below(); children != b.Children || ops != b.Ops {
		return Expansion{}, corrupt(key, otherCounts)
	}
	return e, nil
}

// writeBelow writes what changed below an inner node, and returns the node.
func (u *updater) writeBelow(prefix string, depth int, all *[16]lower) (Expansion, error) {
	e := Expansion{Branches: make([]Branch, 0, 16)}
	for i := range all {
		s := &all[i]
		if !s.changed {
			if s.branch.Children > 0 {
				e.Branches = append(e.Branches, s.branch)
			}
			continue
		}
		if n, _ := s.now.below(); n == 0 {
			if err := u.deleteBelow(prefix, depth, s); err != nil {
				return Expansion{}, err
			}
			continue
		}
		b, err := u.write(prefix, depth, &s.key, &s.now)
		if err != nil {
			return Expansion{}, err
		}
		e.Branches = append(e.Branches, b)
	}
	return e, nil
}

// collapse makes one bucket of the nodes below, each of which is a bucket
// since together they have few enough children.
func (u *updater) collapse(prefix string, depth int, all *[16]lower) (e Expansion, err error) {
	for i := range all {
		s := &all[i]
		if err := u.readBelow(prefix, depth, s); err != nil {
			return Expansion{}, err
		}
		e.Children = append(e.Children, s.now.Children...)
		if err := u.deleteBelow(prefix, depth, s); err != nil {
			return Expansion{}, err
		}
	}
	return e, nil
}

func (u *updater) deleteBelow(prefix string, depth int, s *lower) error {
	if s.branch.Children == 0 {
		return nil
	}
	u.key = appendKey(u.key[:0], prefix, &s.key, depth+1)
	if err := u.nodes.Delete(u.key); err != nil {
		return u.failed("deleting", err)
	}
	return nil
}
