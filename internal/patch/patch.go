// Package patch changes parts of a value that ranges name, as Braid's patches do
// (Toomim, Range Patch, draft-toomim-httpbis-range-patch).
//
// Owns: what a range names in a text or a JSON value, and what a patch makes of it.
// Promises: pure; all patches are done or none; what no patch names keeps its
// bytes: the order of members, the text of numbers, white space.
// Must not know: where values are, who may change them.
//
// # Ranges
//
// Of the unit "json" a range is a way into the value, step by step:
//
//	.name  ["name"]   the member of an object; in quotes as a JSON string
//	[2]  [-1]         the element of an array; negative ones count from the end
//	[2:5]  [2:]  [:5] at last: the elements from 2 up to and without 5 of an
//	                  array, or as many characters of a string; -0 is the end
//
// No step at all is the whole value. The content is a JSON value: the new
// member or element; for a slice of an array, an array of what comes in its
// place; for one of a string, a string. No content deletes what the range names.
//
// Of the unit "text" a range is [2:5], of characters, and the content is text.
//
// Characters are Unicode code points.
package patch

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sennit/sennit"
)

// Bounds.
const (
	MaxPatches = 1000    // that are done at once
	maxWork    = 1 << 28 // patches times bytes: each goes through the whole value
	maxSteps   = 256
	maxRange   = 4096 // bytes of a range
)

// Patch is a new content for a part of a value.
type Patch struct {
	Unit    string // "json" or "text"
	Range   string
	Content []byte
}

// Parse reads the value of a Content-Range header: a unit, and a range.
func Parse(header string) (p Patch, err error) {
	p.Unit, p.Range, _ = strings.Cut(header, " ")
	if p.Unit != "json" && p.Unit != "text" {
		return p, sennit.Hint(sennit.Errorf(sennit.BadInput, "ranges of the unit %.40q are not taken", p.Unit), "the units are json and text")
	}
	if _, err := p.steps(); err != nil {
		return p, err
	}
	return p, nil
}

// Apply does patches one after the other. If one can't be done it fails with
// [sennit.BadInput], or with [sennit.NotFound] if the range names what isn't there.
func Apply(value []byte, patches []Patch) ([]byte, error) {
	if len(patches) > MaxPatches {
		return nil, sennit.Errorf(sennit.TooLarge, "%d patches; at most %d are done at once", len(patches), MaxPatches)
	}
	for i := range patches {
		p := &patches[i]
		if len(value)*len(patches) > maxWork {
			return nil, sennit.Hint(sennit.Errorf(sennit.TooLarge, "%d patches are too many for a value of %d bytes", len(patches), len(value)), "do fewer at once")
		}
		steps, err := p.steps()
		if err != nil {
			return nil, err
		}
		if p.Unit == "text" {
			value, err = applyText(value, steps, p.Content)
		} else {
			value, err = applyJSON(value, steps, p.Content)
		}
		if err != nil {
			if len(patches) > 1 {
				err = sennit.Errorf(sennit.CodeOf(err), "patch %d of %d: %w", i+1, len(patches), err)
			}
			return nil, err
		}
	}
	return value, nil
}

// step is one step of a range: to a member, to an element, or to a slice.
type step struct {
	text     string // as it was written
	member   bool
	name     string
	slice    bool
	from, to index
}

// index is a place in an array or a string.
type index struct {
	n   int
	end bool // n counts back from the end
}

// at is the place in something of a length, false if it lies outside.
func (i index) at(length int) (int, bool) {
	n := i.n
	if i.end {
		n = length - i.n
	}
	return n, n >= 0 && n <= length
}

func (p *Patch) malformed(why string) error {
	return sennit.Errorf(sennit.BadInput, "the range %.100q is malformed: %s", p.Range, why)
}

// steps reads the range.
func (p *Patch) steps() (all []step, err error) {
	if len(p.Range) > maxRange || !utf8.ValidString(p.Range) {
		return nil, p.malformed("it has more than " + strconv.Itoa(maxRange) + " bytes, or is no UTF-8")
	}
	for rest := p.Range; rest != ""; {
		if len(all) == maxSteps {
			return nil, p.malformed("it has more than " + strconv.Itoa(maxSteps) + " steps")
		}
		if n := len(all); n > 0 && all[n-1].slice {
			return nil, p.malformed("something follows a slice")
		}
		var s step
		before := rest
		switch {
		case rest[0] == '.':
			n := strings.IndexAny(rest[1:], ".[") + 1
			if n == 0 {
				n = len(rest)
			}
			s.member, s.name, rest = true, rest[1:n], rest[n:]
			if s.name == "" {
				return nil, p.malformed("a name is empty; write it in brackets and quotes")
			}
		case strings.HasPrefix(rest, `["`):
			n := stringEnd(rest, 1)
			if n < 0 || !strings.HasPrefix(rest[n:], "]") || json.Unmarshal([]byte(rest[1:n]), &s.name) != nil {
				return nil, p.malformed("a name in quotes doesn't end")
			}
			s.member, rest = true, rest[n+1:]
		case rest[0] == '[':
			inside, after, ok := strings.Cut(rest[1:], "]")
			from, to, slice := strings.Cut(inside, ":")
			s.slice, rest = slice, after
			var fine, fineTo bool
			s.from, fine = parseIndex(from, index{}, slice)
			s.to, fineTo = parseIndex(to, index{end: true}, true)
			if !ok || !fine || !fineTo {
				return nil, p.malformed("brackets hold a number, two with a colon between them, or a name in quotes")
			}
		default:
			return nil, p.malformed("a step begins with a dot or a bracket")
		}
		s.text = before[:len(before)-len(rest)]
		all = append(all, s)
	}
	if p.Unit == "text" && (len(all) > 1 || len(all) == 1 && !all[0].slice) {
		return nil, p.malformed("of text it is a slice, such as [2:5]")
	}
	return all, nil
}

// parseIndex reads a number; nothing is the one that is given, if it may be.
func parseIndex(text string, none index, may bool) (i index, ok bool) {
	if text == "" {
		return none, may
	}
	digits, back := strings.CutPrefix(text, "-")
	n, err := strconv.ParseUint(digits, 10, 31)
	return index{int(n), back}, err == nil && digits[0] != '+'
}

// stringEnd is where the JSON string that begins at i ends, -1 if it doesn't.
func stringEnd[T string | []byte](s T, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// splice puts something in the place of a part.
func splice(value []byte, from, to int, content ...[]byte) []byte {
	n := len(value) - (to - from)
	for _, c := range content {
		n += len(c)
	}
	out := append(make([]byte, 0, n), value[:from]...)
	for _, c := range content {
		out = append(out, c...)
	}
	return append(out, value[to:]...)
}

func applyText(value []byte, steps []step, content []byte) ([]byte, error) {
	if !utf8.Valid(value) || !utf8.Valid(content) {
		return nil, sennit.Errorf(sennit.BadInput, "a range of text in what is no UTF-8")
	}
	if len(steps) == 0 {
		return content, nil
	}
	from, to, err := span(steps[0], utf8.RuneCount(value))
	if err != nil {
		return nil, err
	}
	a := offset(value, from)
	return splice(value, a, a+offset(value[a:], to-from), content), nil
}

// span is what a slice names in something of a length.
func span(s step, length int) (from, to int, err error) {
	from, fine := s.from.at(length)
	to, fineTo := s.to.at(length)
	if !fine || !fineTo || from > to {
		return 0, 0, sennit.Errorf(sennit.NotFound, "%s lies outside: there are %d", s.text, length)
	}
	return from, to, nil
}

// offset is where the nth character begins.
func offset(text []byte, n int) (at int) {
	for range n {
		_, size := utf8.DecodeRune(text[at:])
		at += size
	}
	return at
}

func applyJSON(value []byte, steps []step, content []byte) ([]byte, error) {
	if !json.Valid(value) {
		return nil, sennit.Errorf(sennit.BadInput, "a range of JSON in what is no JSON")
	}
	content = bytes.TrimSpace(content)
	if len(content) > 0 && !json.Valid(content) {
		return nil, sennit.Errorf(sennit.BadInput, "the content of a patch is no JSON: %.60q", content)
	}
	from, to := trim(value)
	for i, s := range steps {
		last := i == len(steps)-1
		if s.slice {
			return applySlice(value, from, to, s, content)
		}
		parts, kind := children(value, from, to)
		if want := kindOf(s); kind != want {
			return nil, sennit.Errorf(sennit.NotFound, "there is no %s here: this is no %s", s.text, want)
		}
		at := -1
		if s.member {
			for k := range parts { // of several the last counts, as for most readers
				if parts[k].is(value, s.name) {
					at = k
				}
			}
		} else if n, ok := s.from.at(len(parts)); ok && n < len(parts) {
			at = n
		}
		switch {
		case at >= 0 && last && len(content) == 0:
			return remove(value, parts, at, at+1), nil
		case at >= 0:
			from, to = parts[at].value, parts[at].end
		case last && s.member && len(content) > 0:
			name, err := json.Marshal(s.name)
			if err != nil {
				return nil, err
			}
			return insert(value, from, parts, len(parts), append(append(name, ':'), content...)), nil
		default:
			return nil, sennit.Errorf(sennit.NotFound, "there is no %s here", s.text)
		}
	}
	if len(content) == 0 {
		return nil, sennit.Hint(sennit.Errorf(sennit.BadInput, "a patch without content deletes, and this one names the whole value"), "DELETE it")
	}
	return splice(value, from, to, content), nil
}

// kindOf is what a step leads into.
func kindOf(s step) string {
	if s.member {
		return "object"
	}
	return "array"
}

// applySlice changes some elements of an array, or characters of a string.
func applySlice(value []byte, from, to int, s step, content []byte) ([]byte, error) {
	parts, kind := children(value, from, to)
	switch kind {
	case "array":
		a, b, err := span(s, len(parts))
		if err != nil {
			return nil, err
		}
		var inside []byte
		if len(content) > 0 {
			if content[0] != '[' {
				return nil, sennit.Errorf(sennit.BadInput, "the content for a slice of an array is an array, not %.60q", content)
			}
			inside = bytes.TrimSpace(content[1 : len(content)-1])
		}
		switch {
		case len(inside) == 0:
			return remove(value, parts, a, b), nil
		case a == b:
			return insert(value, from, parts, a, inside), nil
		}
		return splice(value, parts[a].begin, parts[b-1].end, inside), nil
	case "string":
		var old, new string
		if err := json.Unmarshal(value[from:to], &old); err != nil {
			return nil, sennit.Errorf(sennit.BadInput, "a string can't be read: %w", err)
		}
		if len(content) > 0 && json.Unmarshal(content, &new) != nil {
			return nil, sennit.Errorf(sennit.BadInput, "the content for a slice of a string is a string, not %.60q", content)
		}
		text := []byte(old)
		a, b, err := span(s, utf8.RuneCount(text))
		if err != nil {
			return nil, err
		}
		first := offset(text, a)
		text = splice(text, first, first+offset(text[first:], b-a), []byte(new))
		quoted, err := quote(string(text))
		if err != nil {
			return nil, err
		}
		return splice(value, from, to, quoted), nil
	}
	return nil, sennit.Errorf(sennit.NotFound, "there is no %s here: this is neither an array nor a string", s.text)
}

// quote writes a JSON string, and escapes no more than it must.
func quote(s string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(s)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// part is a member of an object or an element of an array, by where it is.
type part struct {
	begin int // of the name or, without one, of the value
	value int
	end   int
}

// is reports whether a part is the member with a name.
func (p part) is(value []byte, name string) bool {
	var have string
	raw := value[p.begin:stringEnd(value, p.begin)]
	return json.Unmarshal(raw, &have) == nil && have == name
}

// remove takes parts a up to and without b out, with the comma that goes with them.
func remove(value []byte, parts []part, a, b int) []byte {
	switch {
	case a == b:
		return value
	case a > 0:
		return splice(value, parts[a-1].end, parts[b-1].end)
	case b < len(parts):
		return splice(value, parts[a].begin, parts[b].begin)
	}
	return splice(value, parts[a].begin, parts[b-1].end)
}

// insert puts something before part i of what begins at from.
func insert(value []byte, from int, parts []part, i int, content []byte) []byte {
	comma := []byte{','}
	switch {
	case len(parts) == 0:
		return splice(value, from+1, from+1, content)
	case i < len(parts):
		return splice(value, parts[i].begin, parts[i].begin, content, comma)
	}
	end := parts[len(parts)-1].end
	return splice(value, end, end, comma, content)
}

// trim is the value without the white space around it.
func trim(value []byte) (from, to int) {
	from = space(value, 0)
	to = from + len(bytes.TrimRight(value[from:], " \t\r\n"))
	return from, to
}

// space is where what isn't white space goes on.
func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

// children lists what is in a value, and tells its kind. The value was found
// to be JSON.
func children(b []byte, from, to int) (parts []part, kind string) {
	switch b[from] {
	case '{':
		kind = "object"
	case '[':
		kind = "array"
	case '"':
		return nil, "string"
	default:
		return nil, "other"
	}
	for i := space(b, from+1); i < to-1; {
		p := part{begin: i, value: i}
		if kind == "object" {
			i = space(b, stringEnd(b, i))
			p.value = space(b, i+1) // behind the colon
		}
		p.end = skip(b, p.value)
		parts = append(parts, p)
		if i = space(b, p.end); b[i] == ',' {
			i = space(b, i+1)
		}
	}
	return parts, kind
}

// skip is where the value that begins at i ends.
func skip(b []byte, i int) int {
	switch b[i] {
	case '"':
		return stringEnd(b, i)
	case '{', '[':
		for depth := 0; ; {
			switch b[i] {
			case '"':
				i = stringEnd(b, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
	}
	for i < len(b) && strings.IndexByte(",]} \t\r\n", b[i]) < 0 {
		i++
	}
	return i
}
