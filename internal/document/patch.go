package document

import (
	"slices"

	"github.com/sennit/sennit"
)

// Patch tells which changes a JSON merge patch (RFC 7396) makes to the document
// at a path, as [Diff] does for a whole document, with the same errors and
// those that leaves gives. A patch that is no object replaces the document. A
// reference is patched as a value that is no object: an object takes its place.
// It fails with TooLarge, and reads no further, if the patch has more than
// [sennit.MaxOps] members that are not within an array.
//
// It reads what the patch names. Of the objects that it goes into, it reads
// their own values and the first child or two besides.
func Patch(at sennit.Path, leaves Leaves, patch []byte) ([]sennit.Change, error) {
	d := differ{at: at, merge: true}
	v, err := d.read.read(patch, MaxNesting+sennit.MaxDepth)
	if err != nil {
		return nil, err
	}
	members := 0
	seen, err := gather(nil, at, leaves, &v, &members)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(seen, func(a, b Leaf) int { return a.Path.Compare(b.Path) })
	seen = slices.CompactFunc(seen, func(a, b Leaf) bool { return a.Path == b.Path })
	return d.diff(seen, &v)
}

// gather appends the leaves that the patch v of the document at p depends on,
// in any order, some twice. It counts the members of the patch.
func gather(seen []Leaf, p sennit.Path, leaves Leaves, v *value, members *int) ([]Leaf, error) {
	if !v.object {
		return take(seen, leaves, p, -1)
	}
	// Whether anything is left beneath p decides whether it is an object, and
	// whether it becomes an empty one: look for one leaf that is not removed.
	for leaf, err := range leaves(p) {
		if err != nil {
			return nil, err
		}
		if leaf.Path != p {
			if m := v.member(child(p, leaf.Path)); m != nil && m.value.isNull() {
				continue
			}
			seen = append(seen, leaf)
			break
		}
		seen = append(seen, leaf)
	}
	// An own value may have to make way for others under the empty name.
	if v.member(emptyName) == nil && fits(p, emptyName) {
		var err error
		if seen, err = take(seen, leaves, below(p, emptyName, nil), 1); err != nil {
			return nil, err
		}
	}
	if *members += len(v.members); *members > sennit.MaxOps {
		return nil, sennit.Hint(sennit.Errorf(sennit.TooLarge, "the patch has more than %d members", sennit.MaxOps), "patch in several parts")
	}
	for i := range v.members {
		m := &v.members[i]
		if !fits(p, m.comp) {
			continue
		}
		var err error
		if seen, err = gather(seen, below(p, m.comp, nil), leaves, &m.value, members); err != nil {
			return nil, err
		}
	}
	return seen, nil
}

// take appends the first n leaves at and under p, all of them if n is negative.
func take(seen []Leaf, leaves Leaves, p sennit.Path, n int) ([]Leaf, error) {
	for leaf, err := range leaves(p) {
		if err != nil {
			return nil, err
		}
		seen = append(seen, leaf)
		if n--; n == 0 {
			break
		}
	}
	return seen, nil
}
