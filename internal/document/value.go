package document

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sennit/sennit"
)

// value is a JSON value in the form in which values are compared and written:
// objects are taken apart, everything else is a leaf.
type value struct {
	object  bool
	members []member     // of an object, by component
	atom    sennit.Value // of anything else: a Text, or a compact JSON text
	nesting int          // of arrays and objects in it, itself included
}

// member is one member of an object.
type member struct {
	name  string
	comp  string // Escape(name)
	value value
}

// newObject makes an object of members, and sorts them.
func newObject(members []member) value {
	byComponent := func(a, b member) int { return strings.Compare(a.comp, b.comp) }
	if !slices.IsSortedFunc(members, byComponent) {
		slices.SortFunc(members, byComponent)
	}
	v := value{object: true, members: members, nesting: 1}
	for i := range members {
		v.nesting = max(v.nesting, 1+members[i].value.nesting)
	}
	return v
}

// member finds a member by its component, nil if there is none.
func (v *value) member(comp string) *member {
	i, ok := slices.BinarySearchFunc(v.members, comp, func(m member, c string) int { return strings.Compare(m.comp, c) })
	if !ok {
		return nil
	}
	return &v.members[i]
}

// isNull reports whether v is null, which in a merge patch means removal.
func (v *value) isNull() bool { return v.atom.Type == JSON && string(v.atom.Data) == "null" }

// append appends v as JSON, its members by component.
func (v *value) append(dst []byte) []byte {
	if !v.object {
		return appendAtom(dst, v.atom)
	}
	dst = append(dst, '{')
	for i := range v.members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendQuoted(dst, v.members[i].name), ':')
		dst = v.members[i].value.append(dst)
	}
	return append(dst, '}')
}

func appendAtom(dst []byte, v sennit.Value) []byte {
	if v.Type == Text {
		return appendQuoted(dst, v.Data)
	}
	return append(dst, v.Data...)
}

// appendQuoted appends valid UTF-8 as a JSON string.
func appendQuoted[T string | []byte](dst []byte, text T) []byte {
	dst, _ = jsontext.AppendQuote(dst, text) // fails only on invalid UTF-8
	return dst
}

// leaf is the value of the leaf that holds v whole.
func (v *value) leaf() sennit.Value {
	if v.object {
		return sennit.Value{Type: JSON, Data: v.append(nil)}
	}
	return v.atom
}

// equal reports whether two values are the same but for the order of members
// and the spelling of strings. Numbers are the same if their texts are.
func equal(a, b *value) bool {
	if a.object != b.object || len(a.members) != len(b.members) {
		return false
	}
	for i := range a.members {
		if a.members[i].comp != b.members[i].comp || !equal(&a.members[i].value, &b.members[i].value) {
			return false
		}
	}
	if a.object || a.atom.Type == b.atom.Type && bytes.Equal(a.atom.Data, b.atom.Data) {
		return true
	}
	// Arrays keep the order of members in the objects that they hold. Only if
	// they have the same length can they differ in nothing else.
	if a.atom.Type != JSON || b.atom.Type != JSON || len(a.atom.Data) != len(b.atom.Data) || a.nesting == 0 || b.nesting == 0 {
		return false
	}
	return bytes.Equal(reordered(a.atom.Data), reordered(b.atom.Data))
}

// reordered is a JSON text with the members of all its objects in one order.
func reordered(text []byte) []byte {
	out, err := jsontext.AppendFormat(nil, text, jsontext.ReorderRawObjects(true),
		jsontext.PreserveRawStrings(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return text
	}
	return out
}

// merged is target with a merge patch done to it (RFC 7396 section 2).
func merged(target, patch *value) value {
	if !patch.object {
		return *patch
	}
	old, changes := target.members, patch.members
	out := make([]member, 0, len(old)+len(changes))
	for len(old) > 0 || len(changes) > 0 {
		switch {
		case len(changes) == 0 || len(old) > 0 && old[0].comp < changes[0].comp:
			out, old = append(out, old[0]), old[1:]
			continue
		case len(old) > 0 && old[0].comp == changes[0].comp:
			if !changes[0].value.isNull() {
				out = append(out, changes[0])
				out[len(out)-1].value = merged(&old[0].value, &changes[0].value)
			}
			old = old[1:]
		case !changes[0].value.isNull():
			out = append(out, changes[0])
			out[len(out)-1].value = merged(&value{}, &changes[0].value)
		}
		changes = changes[1:]
	}
	return newObject(out)
}

// show is what a leaf of the document at a path shows. A reference stands for
// a value that JSON can't hold, or that isn't here.
func (r *reader) show(at sennit.Path, leaf *Leaf) (v value, reference bool) {
	lv := &leaf.Value
	switch {
	case lv.Blob != nil || lv.Stream > 0:
	case lv.Type == Text && utf8.Valid(lv.Data):
		return value{atom: *lv}, false
	case lv.Type == JSON:
		if v, err := r.read(lv.Data, MaxNesting); err == nil {
			return v, false
		}
	}
	typ := lv.Type
	if typ == "" {
		typ = "application/octet-stream"
	}
	where := strings.TrimPrefix(string(leaf.Path[len(at):]), "/")
	text := func(s string) value { return value{atom: sennit.Value{Type: Text, Data: []byte(s)}} }
	return newObject([]member{
		{"$value", "$value", text(where)},
		{"size", "size", value{atom: sennit.Value{Type: JSON, Data: strconv.AppendUint(nil, lv.Size(), 10)}}},
		{"type", "type", text(typ)},
	}), true
}
