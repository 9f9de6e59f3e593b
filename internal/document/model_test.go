package document_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/document"
	"pgregory.net/rapid"
)

// state is what a tree holds, by path.
type state map[sennit.Path]sennit.Value

// leaves lists those at p and under it, in the order of lists of components.
func (s state) leaves(p sennit.Path) []document.Leaf {
	var out []document.Leaf
	for at, v := range s {
		if at.Under(p) {
			out = append(out, document.Leaf{Path: at, Value: v})
		}
	}
	slices.SortFunc(out, func(a, b document.Leaf) int { return slices.Compare(a.Path.Components(), b.Path.Components()) })
	return out
}

func (s state) apply(changes []sennit.Change) state {
	s = maps.Clone(s)
	for _, c := range changes {
		if delete(s, c.Path); c.Kind == sennit.KindPut {
			s[c.Path] = c.Value
		}
	}
	return s
}

// seq is leaves as an iterator.
func seq(leaves []document.Leaf) iter.Seq2[document.Leaf, error] {
	return func(yield func(document.Leaf, error) bool) {
		for _, l := range leaves {
			if !yield(l, nil) {
				return
			}
		}
	}
}

// failer is what tests and rapid's tests have in common.
type failer interface {
	Helper()
	Fatalf(string, ...any)
}

func compose(t failer, at sennit.Path, s state) string {
	t.Helper()
	var out strings.Builder
	if err := document.Compose(&out, at, seq(s.leaves(at))); err != nil {
		t.Fatalf("compose %v: %v", s, err)
	}
	return out.String()
}

func diff(t failer, at sennit.Path, s state, doc string) []sennit.Change {
	t.Helper()
	changes, err := document.Diff(at, s.leaves(at), []byte(doc))
	if err != nil {
		t.Fatalf("diff with %s: %v", doc, err)
	}
	seen := map[sennit.Path]bool{}
	for _, c := range changes {
		if _, ok := s[c.Path]; seen[c.Path] || c.Kind == sennit.KindDel && !ok || !c.Path.Under(at) || c.Deep {
			t.Fatalf("diff with %s: the change %+v makes no sense", doc, c)
		}
		if _, err := sennit.ParsePath(string(c.Path)); err != nil {
			t.Fatalf("diff with %s: %v", doc, err)
		}
		seen[c.Path] = true
	}
	return changes
}

// parse reads JSON with the standard library: maps, slices, numbers as texts.
func parse(t failer, text string) any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		t.Fatalf("%s: something follows", text)
	}
	return v
}

func text(t failer, v any) string {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatalf("%v", err)
	}
	return b.String()
}

func same(a, b any) bool { return reflect.DeepEqual(a, b) }

// absent is what is read where nothing is.
type absent struct{}

// reading is the document at p in the plainest way.
func reading(t failer, at, p sennit.Path, s state) any {
	children := map[string]bool{}
	for q := range s {
		if q.Under(p) && q != p {
			children[q.Components()[p.Depth()]] = true
		}
	}
	v, ok := s[p]
	var own any
	marked := false // own has members
	if ok {
		own, marked = alone(t, at, p, v)
	}
	switch {
	case len(children) == 0 && !ok:
		return absent{}
	case len(children) == 0:
		return own
	}
	out := map[string]any{}
	if marked {
		maps.Copy(out, own.(map[string]any))
	} else if ok {
		out[""] = own
	}
	for c := range children {
		out[document.Unescape(c)] = reading(t, at, p.Join(sennit.Path(c)), s)
	}
	return out
}

func alone(t failer, at, p sennit.Path, v sennit.Value) (any, bool) {
	size := uint64(len(v.Data))
	switch {
	case v.Blob != nil:
		size = v.Blob.Size
	case v.Type == document.Text && utf8.Valid(v.Data):
		return string(v.Data), false
	case v.Type == document.JSON && json.Valid(v.Data):
		own := parse(t, string(v.Data))
		_, ok := own.(map[string]any)
		return own, ok
	}
	return map[string]any{
		"$value": strings.TrimPrefix(strings.TrimPrefix(string(p), string(at)), "/"),
		"type":   cmp.Or(v.Type, "application/octet-stream"), "size": json.Number(fmt.Sprint(size)),
	}, false
}

// isReference reports whether an object looks like one.
func isReference(v any) bool {
	m, ok := v.(map[string]any)
	return ok && len(m) == 3 && m["$value"] != nil && m["type"] != nil && m["size"] != nil
}

// at is where tests have their documents: so deep that objects soon meet the
// limit of components.
var at = sennit.Path(strings.Repeat("x/", 26) + "doc")

// names are few, so that documents meet, and evil.
func names() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{
		"a", "b", "c", "a b", "a/b", "", "~", "~0", "~1", "~~1", ".", "..", "*", "~.", "\x00", "\x7f", "~x7f", "ü", "世界", "$value", "type", "size",
		strings.Repeat("n", 255), strings.Repeat("n", 256), strings.Repeat("/", 128),
	})
}

func scalars() *rapid.Generator[any] {
	return rapid.SampledFrom([]any{
		nil, true, false, "", "hello", "{}", "\x00<é>\u2028", json.Number("0"), json.Number("-0"), json.Number("1.0"), json.Number("1"),
		json.Number("1e400"), json.Number("123456789012345678901234567890.10"),
		[]any{},
		[]any{json.Number("1.0"), "a", map[string]any{"x": nil, "": []any{}}},
	})
}

func jsonValues(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		switch n := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case depth == 0 || n < 4:
			return scalars().Draw(t, "scalar")
		case n == 4:
			return rapid.SliceOfN(jsonValues(depth-1), 0, 3).Draw(t, "array")
		}
		return map[string]any(rapid.MapOfN(names(), jsonValues(depth-1), 0, 4).Draw(t, "object"))
	})
}

// states draws trees that documents did not write, or not alone.
func states() *rapid.Generator[state] {
	component := rapid.SampledFrom([]string{"a", "b", "a b", "a~1b", "~", "~0", "~.", "~x7f", "~x", "$value", "c"})
	return rapid.Custom(func(t *rapid.T) state {
		s := state{}
		for range rapid.IntRange(1, 8).Draw(t, "leaves") {
			cs := rapid.SliceOfN(component, 0, 3).Draw(t, "path")
			p := at.Join(sennit.Path(strings.Join(cs, "/")))
			s[p] = rapid.Custom(func(t *rapid.T) sennit.Value {
				switch rapid.IntRange(0, 8).Draw(t, "kind") {
				case 0, 1:
					return sennit.Value{Type: document.Text, Data: []byte(rapid.SampledFrom([]string{"", "x", "ü"}).Draw(t, "text"))}
				case 2, 3, 4:
					return sennit.Value{Type: document.JSON, Data: []byte(text(t, jsonValues(2).Draw(t, "json")))}
				case 5:
					return sennit.Value{Type: document.JSON, Data: []byte(rapid.SampledFrom([]string{"{}", "{", ` [1 , "\u0061"] `, `"x"`, "{}"}).Draw(t, "json"))}
				case 6:
					return sennit.Value{Type: "image/png", Blob: &sennit.Blob{Size: 1 << 20}}
				case 7:
					return sennit.Value{Type: document.Text, Data: []byte("\xff")}
				}
				return sennit.Value{Type: rapid.SampledFrom([]string{"", "text/plain"}).Draw(t, "type"), Data: []byte("x")}
			}).Draw(t, "value")
		}
		return s
	})
}

// edited draws what somebody makes of a document.
func edited(t *rapid.T, v any) any {
	m, ok := v.(map[string]any)
	if !ok || isReference(v) || rapid.IntRange(0, 9).Draw(t, "replace") == 0 {
		return jsonValues(2).Draw(t, "value")
	}
	out := maps.Clone(m)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		switch rapid.IntRange(0, 5).Draw(t, "do") {
		case 0:
			delete(out, name)
		case 1, 2:
			out[name] = edited(t, m[name])
		}
	}
	if rapid.Bool().Draw(t, "add") {
		out[names().Draw(t, "name")] = jsonValues(2).Draw(t, "value")
	}
	return out
}

func TestComposeAgainstANaiveReading(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := states().Draw(t, "state")
		doc := compose(t, at, s)
		if want := reading(t, at, at, s); !same(parse(t, doc), want) {
			t.Fatalf("%v reads as\n%s\nwant\n%s", s, doc, text(t, want))
		}
		if changes := diff(t, at, s, doc); len(changes) > 0 {
			t.Fatalf("%s comes back, and changes %+v", doc, changes)
		}
	})
}

func TestRoundTripOfAnyDocument(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := jsonValues(6).Draw(t, "document")
		s := state{}.apply(diff(t, at, nil, text(t, want)))
		if got := compose(t, at, s); !same(parse(t, got), want) {
			t.Fatalf("%s comes back as\n%s", text(t, want), got)
		}
	})
}

// moved is v without what tells where a directory's own value of another type
// lies: it moves when all that is beside it goes.
func moved(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := map[string]any{}
	for name, v := range m {
		if out[name] = moved(v); name == "" && isReference(v) {
			delete(out[name].(map[string]any), "$value")
		}
	}
	return out
}

func TestDiffChangesWhatItMust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := states().Draw(t, "state")
		old := reading(t, at, at, s)
		want := edited(t, old)
		changes := diff(t, at, s, text(t, want))
		after := s.apply(changes)
		got := compose(t, at, after)
		if !same(moved(parse(t, got)), moved(want)) {
			t.Fatalf("%v\n%s becomes\n%s\nwant\n%s\nby %+v", s, text(t, old), got, text(t, want), changes)
		}
		if again := diff(t, at, after, got); len(again) > 0 {
			t.Fatalf("a second diff with %s has %+v", got, again)
		}
		untouched(t, at, old, want, changes)
		// Without any one of them, the document is another, save that an own
		// value goes even where a child would hide it, and that one above may
		// happen to have the same hidden.
		for i, c := range changes {
			above := func(p sennit.Path) bool {
				return c.Path != p && c.Path.Under(p) && strings.HasPrefix(string(s[p].Data), `{"`) || c.Path.Under(p.Join("~"))
			}
			if c.Kind == sennit.KindDel && len(after.leaves(c.Path.Join("~"))) > 0 || slices.ContainsFunc(slices.Collect(maps.Keys(s)), above) {
				continue
			}
			less := s.apply(slices.Delete(slices.Clone(changes), i, i+1))
			if same(moved(reading(t, at, at, less)), moved(want)) {
				t.Fatalf("%v\n%s becomes %s without %+v of %+v", s, text(t, old), text(t, want), changes[i], changes)
			}
		}
	})
}

// untouched fails if a change lies where both documents have the same. The
// empty name may be that of an own value.
func untouched(t failer, p sennit.Path, old, now any, changes []sennit.Change) {
	a, ok1 := old.(map[string]any)
	b, ok2 := now.(map[string]any)
	if !same(old, now) {
		for name := range a {
			if _, both := b[name]; ok1 && ok2 && both && name != "" && !isReference(old) {
				untouched(t, p.Join(sennit.Path(document.Escape(name))), a[name], b[name], changes)
			}
		}
		return
	}
	for _, c := range changes {
		if c.Path.Under(p) {
			t.Fatalf("%+v changes what is the same: %v", c, old)
		}
	}
}

func TestWritersOfDifferentFieldsKeepBoth(t *testing.T) {
	fields := rapid.SampledFrom([]string{"a", "b", "c/d", "", "*"})
	rapid.Check(t, func(t *rapid.T) {
		base := map[string]any(rapid.MapOfN(fields, jsonValues(3), 1, 5).Draw(t, "base"))
		s := state{}.apply(diff(t, at, nil, text(t, base)))
		one, other := fields.Draw(t, "one"), fields.Draw(t, "other")
		if one == other || len(base) < 3 {
			t.Skip()
		}
		edit := func(doc map[string]any, name, label string) map[string]any {
			doc = maps.Clone(doc)
			if doc[name] = jsonValues(3).Draw(t, label); rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
				delete(doc, name)
			}
			return doc
		}
		x, y := edit(base, one, "x"), edit(base, other, "y")
		want := maps.Clone(x)
		if delete(want, other); y[other] != nil {
			want[other] = y[other]
		} else if _, ok := y[other]; ok {
			want[other] = nil
		}
		first, second := diff(t, at, s, text(t, x)), diff(t, at, s, text(t, y))
		for _, merged := range []state{s.apply(first).apply(second), s.apply(second).apply(first)} {
			if got := compose(t, at, merged); !same(parse(t, got), any(want)) {
				t.Fatalf("%s and %s of %s give %s", text(t, x), text(t, y), text(t, base), got)
			}
		}
	})
}

func TestAFieldAddedMeanwhileSurvives(t *testing.T) {
	s := state{}.apply(diff(t, at, nil, `{"a":{"x":1},"b":2}`))
	changes := diff(t, at, s, `{"a":"flat","b":3}`)
	s[at.Join("a/y")] = sennit.Value{Type: document.JSON, Data: []byte("2")}
	s[at.Join("c")] = sennit.Value{Type: document.JSON, Data: []byte("4")}
	if got, want := compose(t, at, s.apply(changes)), `{"a":{"y":2,"":"flat"},"b":3,"c":4}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
