package access

import "unsafe"

// set is a set of small numbers that shares structure with those that it was
// made from: adding to one costs a path of three nodes, and a union costs
// nothing where its operands share. Ancestries are kept as sets, so that
// asking for an ancestor is three loads instead of a walk through the DAG. A
// set doesn't change. The nil set is empty.
type set [MaxCommits / (16 * 512)]*shelf

type (
	shelf [16]*leaf
	leaf  [512 / 64]uint64
)

func (s *set) has(i uint32) bool {
	if s == nil || s[i>>13] == nil || s[i>>13][i>>9&15] == nil {
		return false
	}
	return s[i>>13][i>>9&15][i>>6&7]&(1<<(i&63)) != 0
}

// add is s with i.
func (s *set) add(i uint32) *set {
	if s.has(i) {
		return s
	}
	var t set
	var sh shelf
	var l leaf
	if s != nil {
		t = *s
	}
	if t[i>>13] != nil {
		sh = *t[i>>13]
	}
	if sh[i>>9&15] != nil {
		l = *sh[i>>9&15]
	}
	l[i>>6&7] |= 1 << (i & 63)
	sh[i>>9&15] = &l
	t[i>>13] = &sh
	return &t
}

// union is what is in s or t.
func (s *set) union(t *set) *set {
	return join(s, t, func(u, s, t *set) {
		for i := range u {
			u[i] = s[i].union(t[i])
		}
	})
}

func (s *shelf) union(t *shelf) *shelf {
	return join(s, t, func(u, s, t *shelf) {
		for i := range u {
			u[i] = s[i].union(t[i])
		}
	})
}

func (s *leaf) union(t *leaf) *leaf {
	return join(s, t, func(u, s, t *leaf) {
		for i := range u {
			u[i] = s[i] | t[i]
		}
	})
}

// join merges two nodes unless one of them already is the result.
func join[T comparable](s, t *T, merge func(u, s, t *T)) *T {
	switch {
	case t == nil || s == t:
		return s
	case s == nil:
		return t
	}
	u := new(T)
	switch merge(u, s, t); *u {
	case *s:
		return s
	case *t:
		return t
	}
	return u
}

// beyond is the bytes of s that it doesn't share with t.
func (s *set) beyond(t *set) (bytes int) {
	if s == t || s == nil {
		return 0
	}
	if t == nil {
		t = new(set)
	}
	bytes = int(unsafe.Sizeof(*s))
	for i, sh := range s {
		if sh == nil || sh == t[i] {
			continue
		}
		bytes += int(unsafe.Sizeof(*sh))
		for j, l := range sh {
			if l != nil && (t[i] == nil || l != t[i][j]) {
				bytes += int(unsafe.Sizeof(*l))
			}
		}
	}
	return bytes
}
