// Package prefix is about parts of a space that are given by prefixes: what
// somebody may read of it, what somebody follows, what both of them do.
//
// Owns: sets of paths that are given by prefixes, in one canonical form.
// Promises: two sets with the same paths are equal element by element, and so
// the same bytes wherever they are written down. Nothing here changes what it
// is given.
// Must not know: rights, follows, messages.
package prefix

import (
	"slices"

	"github.com/sennit/sennit"
)

// Set is all paths at or under some prefixes. The prefixes ascend by their
// bytes, and none is under another. Without any it is empty; {""} is everything.
type Set []sennit.Path

// All is everything.
func All() Set { return Set{""} }

// Of is the set of what is at or under some prefixes, in any order.
func Of(prefixes ...sennit.Path) Set {
	sorted := slices.Clone(prefixes)
	slices.Sort(sorted) // what is above comes first
	seen := make(map[sennit.Path]bool, len(sorted))
	top := Set{}
	for _, p := range sorted {
		if !within(p, func(q sennit.Path) bool { return seen[q] }) {
			seen[p] = true
			top = append(top, p)
		}
	}
	return top
}

// within reports whether a path or something above it is one of some.
func within(p sennit.Path, one func(sennit.Path) bool) bool {
	for !one(p) {
		if p == "" {
			return false
		}
		p = p.Parent()
	}
	return true
}

// Has reports whether a path is in the set.
func (s Set) Has(p sennit.Path) bool {
	return within(p, func(q sennit.Path) bool {
		_, ok := slices.BinarySearch(s, q)
		return ok
	})
}

// Concerns reports whether an op at a path has to do with the set: the path is
// in it, or the op deletes all that is under the path and some of the set is.
func (s Set) Concerns(p sennit.Path, deep bool) bool {
	return s.Has(p) || deep && slices.ContainsFunc(s, func(q sennit.Path) bool { return q.Under(p) })
}

// And is what is in both sets.
func (s Set) And(t Set) Set {
	var both []sennit.Path
	for _, p := range s {
		if t.Has(p) {
			both = append(both, p)
		}
	}
	for _, p := range t {
		if s.Has(p) {
			both = append(both, p)
		}
	}
	return Of(both...)
}

// Covers reports whether all of t is in s.
func (s Set) Covers(t Set) bool {
	return !slices.ContainsFunc(t, func(p sennit.Path) bool { return !s.Has(p) })
}

// Equal reports whether both are the same.
func (s Set) Equal(t Set) bool { return slices.Equal(s, t) }
