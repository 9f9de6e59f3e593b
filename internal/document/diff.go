package document

import (
	"slices"

	"github.com/sennit/sennit"
)

// Diff tells which changes make a document of the leaves that were seen at a
// path and under it, in order of path. A leaf that shows what the document has
// in its place is not touched, and no leaf is that wasn't seen, so changes that
// others made meanwhile to other leaves survive. There are puts and dels, at
// most one for each path; the paths are absolute, the values share memory with
// doc and seen. They are to be done together: in between, the document is
// neither the old one nor the new one.
//
// It fails with BadInput if doc is malformed, has two members of one name in an
// object, or would need a value at the root of the space; with TooLarge if a
// leaf would be larger than [sennit.MaxInline], or nest deeper than
// [MaxNesting], or if there would be a put beyond [sennit.MaxOps] changes; with
// Unsupported if a stream would have to move that has more than MaxInline
// bytes; with Internal if what was seen is not in order.
func Diff(at sennit.Path, seen []Leaf, doc []byte) ([]sennit.Change, error) {
	d := differ{at: at}
	v, err := d.read.read(doc, MaxNesting+sennit.MaxDepth)
	if err != nil {
		return nil, err
	}
	return d.diff(seen, &v)
}

type differ struct {
	at      sennit.Path
	read    reader
	merge   bool // objects are merge patches
	changes []sennit.Change
}

func (d *differ) diff(seen []Leaf, v *value) ([]sennit.Change, error) {
	var last sennit.Path
	for i := range seen {
		if err := inOrder(d.at, last, seen[i].Path, i == 0); err != nil {
			return nil, err
		}
		last = seen[i].Path
	}
	err := d.write(d.at, seen, v, d.merge)
	return d.changes, err
}

// write changes the leaves at p and under it so that they show v, or what v as
// a merge patch makes of them.
func (d *differ) write(p sennit.Path, seen []Leaf, v *value, merge bool) error {
	var own *Leaf
	var shown value
	reference := false
	kids := seen
	if len(seen) > 0 && seen[0].Path == p {
		own, kids = &seen[0], seen[1:]
		shown, reference = d.read.show(d.at, own)
	}
	isObject := len(kids) > 0 || shown.object && !reference
	switch {
	case !v.object || !isObject && equal(&shown, v): // not a directory, or a reference that came back
		d.remove(kids)
		if own != nil && equal(&shown, v) {
			return nil
		}
		return d.put(p, v)
	case merge && !isObject:
		all := merged(&value{}, v)
		v, merge = &all, false
	}
	dir := object{path: p, merge: merge, own: own, kids: kids}
	if own != nil && (!shown.object || reference) {
		other := shown
		dir.other = &other
	}
	return d.object(&dir, v, shown.members)
}

// object is a directory that is written.
type object struct {
	path  sennit.Path
	merge bool
	own   *Leaf  // nil if it has no value of its own
	other *value // what that shows, if it is no object
	kids  []Leaf // under the path

	rest    []member // of the new object: those that are no children
	changed bool     // rest is not what the own value has
	parent  bool     // children are left
	hidden  bool     // a child has the empty name, and so hides other
	empty   *value   // the new member with the empty name, if other may show it
}

// object writes the object v to a directory whose own value has the members
// old. Children, members and old members are gone through together, in order
// of component.
func (d *differ) object(dir *object, v *value, old []member) error {
	if dir.other != nil {
		old = nil
		if dir.merge {
			dir.empty = dir.other
		}
	}
	members, kids := v.members, dir.kids
	for len(members)+len(old)+len(kids) > 0 {
		comp := first(dir.path, members, old, kids)
		var m, o *member
		if len(members) > 0 && members[0].comp == comp {
			m, members = &members[0], members[1:]
		}
		if len(old) > 0 && old[0].comp == comp {
			o, old = &old[0], old[1:]
		}
		n := 0
		for n < len(kids) && child(dir.path, kids[n].Path) == comp {
			n++
		}
		var group []Leaf
		group, kids = kids[:n], kids[n:]
		if err := d.member(dir, comp, group, m, o); err != nil {
			return err
		}
	}
	if dir.other != nil && !dir.hidden {
		if done, err := d.other(dir); done || err != nil {
			return err
		}
	}
	switch {
	case dir.other != nil && dir.hidden && len(dir.rest) == 0: // stays, out of sight
		return nil
	case len(dir.rest) == 0 && dir.parent:
		if dir.own != nil && (dir.changed || dir.other != nil) {
			d.changes = append(d.changes, sennit.Change{Kind: sennit.KindDel, Path: dir.path})
		}
		return nil
	case dir.own != nil && dir.other == nil && !dir.changed:
		return nil
	}
	own := newObject(dir.rest)
	return d.put(dir.path, &own)
}

// first is the first component of any.
func first(dir sennit.Path, a, b []member, kids []Leaf) (comp string) {
	for _, members := range [][]member{a, b} {
		if len(members) > 0 && (comp == "" || members[0].comp < comp) {
			comp = members[0].comp
		}
	}
	if len(kids) > 0 {
		if c := child(dir, kids[0].Path); comp == "" || c < comp {
			return c
		}
	}
	return comp
}

// member writes the member m, nil if there is none. group has the leaves of
// the child that it is, and o is the old member in the directory's own value,
// which a child hides.
func (d *differ) member(dir *object, comp string, group []Leaf, m, o *member) error {
	removed := m == nil && !dir.merge || m != nil && dir.merge && m.value.isNull()
	if comp == emptyName {
		dir.hidden = len(group) > 0 && !removed
		if removed {
			dir.empty = nil
		}
	}
	switch {
	case removed:
		d.remove(group)
		dir.changed = dir.changed || o != nil
	case m == nil && len(group) > 0: // not named by the patch
		dir.parent = true
	case m == nil:
		dir.rest = append(dir.rest, *o)
	case len(group) > 0:
		dir.parent = true
		return d.write(below(dir.path, comp, group), group, &m.value, dir.merge)
	case o != nil:
		now := *m
		if dir.merge {
			now.value = merged(&o.value, &m.value)
		}
		dir.changed = dir.changed || !equal(&o.value, &now.value)
		dir.rest = append(dir.rest, now)
	case comp == emptyName && dir.other != nil:
		now := m.value
		if dir.merge {
			now = merged(&value{}, &now)
		}
		dir.empty = &now
	case fits(dir.path, comp):
		dir.parent = true
		return d.write(below(dir.path, comp, nil), nil, &m.value, dir.merge)
	default:
		now := *m
		if dir.merge {
			now.value = merged(&value{}, &now.value)
		}
		dir.rest = append(dir.rest, now)
		dir.changed = true
	}
	return nil
}

// other decides what becomes of an own value that is no object and that no
// child hides. It is done if that stays, or another takes its place; otherwise
// it is still to be deleted.
func (d *differ) other(dir *object) (done bool, err error) {
	want := dir.empty
	if want == nil {
		return false, nil
	}
	same := equal(dir.other, want)
	switch {
	case dir.parent && len(dir.rest) == 0 && same:
		return true, nil
	case dir.parent && len(dir.rest) == 0 && !want.object:
		return true, d.put(dir.path, want)
	case !fits(dir.path, emptyName):
		dir.rest = append(dir.rest, member{"", emptyName, *want})
		return false, nil
	}
	dir.parent = true
	if p := below(dir.path, emptyName, nil); same {
		if n := dir.own.Value.Stream; n > 0 {
			return true, sennit.Hint(sennit.Errorf(sennit.Unsupported, "the stream at %.100q would have to move, and has %d bytes", dir.path, n),
				"delete it by itself first, or keep a member beside it")
		}
		d.changes = append(d.changes, sennit.Change{Kind: sennit.KindPut, Path: p, Value: dir.own.Value})
	} else {
		err = d.write(p, nil, want, false)
	}
	return false, err
}

// below is the path of a child. It shares memory with the first of the leaves.
func below(dir sennit.Path, comp string, leaves []Leaf) sennit.Path {
	if len(leaves) > 0 {
		return leaves[0].Path[:start(dir)+len(comp)]
	}
	return dir.Join(sennit.Path(comp))
}

func (d *differ) remove(leaves []Leaf) {
	d.changes = slices.Grow(d.changes, len(leaves))
	for i := range leaves {
		d.changes = append(d.changes, sennit.Change{Kind: sennit.KindDel, Path: leaves[i].Path})
	}
}

// put sets a leaf.
func (d *differ) put(p sennit.Path, v *value) error {
	leaf := v.leaf()
	switch {
	case p == "":
		return sennit.Hint(sennit.Errorf(sennit.BadInput, "the root of a space has no value of its own"),
			"a document there is an object, and each of its names fits a path")
	case len(d.changes) >= sennit.MaxOps:
		return sennit.Hint(sennit.Errorf(sennit.TooLarge, "more than %d values differ, which is the most that one commit changes", sennit.MaxOps),
			"write it in parts: an object within it can be written as a document of its own")
	case v.nesting > MaxNesting:
		return sennit.Errorf(sennit.TooLarge, "the value for %.100q nests %d deep; at most %d are allowed", p, v.nesting, MaxNesting)
	case len(leaf.Data) > sennit.MaxInline:
		return sennit.Hint(sennit.Errorf(sennit.TooLarge, "the value for %.100q has %d bytes; at most %d are allowed", p, len(leaf.Data), sennit.MaxInline),
			"an object may be larger, as each of its members is a value; a string or an array is one")
	}
	d.changes = append(d.changes, sennit.Change{Kind: sennit.KindPut, Path: p, Value: leaf})
	return nil
}
