package document_test

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/document"
	"pgregory.net/rapid"
)

// lookup gives the leaves of a state, and notes which were read.
func lookup(t failer, s state, read map[sennit.Path]bool) document.Leaves {
	return func(under sennit.Path) iter.Seq2[document.Leaf, error] {
		if _, err := sennit.ParsePath(string(under)); err != nil {
			t.Fatalf("a look-up: %v", err)
		}
		return func(yield func(document.Leaf, error) bool) {
			for _, l := range s.leaves(under) {
				read[l.Path] = true
				if !yield(l, nil) {
					return
				}
			}
		}
	}
}

func patch(t failer, s state, p string) (state, []sennit.Change, map[sennit.Path]bool) {
	t.Helper()
	read := map[sennit.Path]bool{}
	changes, err := document.Patch(at, lookup(t, s, read), []byte(p))
	if err != nil {
		t.Fatalf("patch %s: %v", p, err)
	}
	return s.apply(changes), changes, read
}

// TestPatchesOfTheRFC has the test cases of RFC 7396 appendix A.
func TestPatchesOfTheRFC(t *testing.T) {
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		// Others.
		{``, `{"a":null}`, `{}`},
		{``, `[null]`, `[null]`},
		{`{"a":{"b":1}}`, `{"a":{}}`, `{"a":{"b":1}}`},
		{`{"a":{"b":1}}`, `{"a":{"b":null}}`, `{"a":{}}`},
		{`{"a":{"b":{"c":1}},"d":1}`, `{"a":null}`, `{"d":1}`},
		{`{"a":1}`, `{"a":{"b":[null],"c":null}}`, `{"a":{"b":[null]}}`},
	} {
		s := state{}
		if c[0] != "" {
			s = s.apply(diff(t, at, nil, c[0]))
		}
		after, _, _ := patch(t, s, c[1])
		if got := compose(t, at, after); got != c[2] {
			t.Errorf("%s with %s gives %s, want %s", c[0], c[1], got, c[2])
		}
	}
}

// mergePatch is the pseudocode of RFC 7396 section 2; references are no objects.
func mergePatch(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out, _ := target.(map[string]any)
	if out = maps.Clone(out); out == nil || isReference(target) {
		if same(target, patch) {
			return target
		}
		out = map[string]any{}
	}
	for name, v := range changes {
		if v == nil {
			delete(out, name)
		} else {
			out[name] = mergePatch(out[name], v)
		}
	}
	return out
}

// named fails if a change lies neither under what a patch names, nor at an own
// value of the objects that it goes into.
func named(t failer, p sennit.Path, v any, changes []sennit.Change) {
	changed := map[string][]sennit.Change{}
	for _, c := range changes {
		if c.Path != p {
			name := c.Path.Components()[p.Depth()]
			changed[name] = append(changed[name], c)
		}
	}
	members, ok := v.(map[string]any)
	for name, some := range changed {
		v, is := members[document.Unescape(name)]
		switch {
		case !ok:
		case is:
			named(t, p.Join(sennit.Path(name)), v, some)
		case name != "~":
			t.Fatalf("%+v is not named", some)
		}
	}
}

func TestPatchAgainstTheRFC(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := states().Draw(t, "state")
		p := patches(2).Draw(t, "patch")
		old := reading(t, at, at, s)
		want := mergePatch(old, p)
		after, changes, _ := patch(t, s, text(t, p))
		if got := compose(t, at, after); !same(moved(parse(t, got)), moved(want)) {
			t.Fatalf("%v\n%s with %s becomes\n%s\nwant\n%s\nby %+v", s, text(t, old), text(t, p), got, text(t, want), changes)
		}
		named(t, at, p, changes)
		whole := diff(t, at, s, text(t, want))
		if same(old, moved(old)) && len(whole) != len(changes) {
			t.Fatalf("%v\n%s with %s: changes %+v\na diff with %s has %+v", s, text(t, old), text(t, p), changes, text(t, want), whole)
		}
	})
}

// patches are values, more often objects, and with nulls.
func patches(depth int) *rapid.Generator[any] {
	name := rapid.SampledFrom([]string{"a", "b", "a b", "a/b", "", "~", ".", "\x7f", "~x", "$value", "c", strings.Repeat("n", 256)})
	return rapid.Custom(func(t *rapid.T) any {
		switch n := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case n == 0 || depth == 0 && n < 6:
			return scalars().Draw(t, "scalar")
		case n < 3 || depth == 0:
			return nil
		}
		return map[string]any(rapid.MapOfN(name, patches(depth-1), 0, 4).Draw(t, "object"))
	})
}

func TestPatchReadsWhatItNeeds(t *testing.T) {
	s := state{}.apply(diff(t, at, nil, `{"a":{"x":1,"y":{"z":2}},"b":{"c":1,"d":2,"e":3},"f":4,"g":{"h":5,"i":6,"j":7}}`))
	for p, want := range map[string]string{
		`{"f":5}`:                   "a/x f",
		`{"a":{"x":5}}`:             "a/x",
		`{"b":{"d":3}}`:             "a/x b/c b/d",
		`{"b":{"c":null,"d":null}}`: "a/x b/c b/d b/e",
		`{"a":null}`:                "a/x a/y/z b/c",
		`{"new":1}`:                 "a/x",
		`{"g":1}`:                   "a/x g/h g/i g/j",
		`{}`:                        "a/x",
	} {
		_, _, read := patch(t, s, p)
		var got []string
		for _, l := range slices.Sorted(maps.Keys(read)) {
			got = append(got, strings.TrimPrefix(string(l), string(at)+"/"))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s reads %s, want %s", p, got, want)
		}
	}
}

// TestPatchReadsNoMoreThanACommitHolds: each member is a look-up.
func TestPatchReadsNoMoreThanACommitHolds(t *testing.T) {
	calls := 0
	leaves := func(sennit.Path) iter.Seq2[document.Leaf, error] {
		calls++
		return func(func(document.Leaf, error) bool) {}
	}
	many := func(n int) string {
		var b strings.Builder
		b.WriteString(`{"o":{`)
		for i := range n - 2 {
			fmt.Fprintf(&b, `"%d":null,`, i)
		}
		return b.String() + `"last":null}}`
	}
	if _, err := document.Patch(at, leaves, []byte(many(sennit.MaxOps))); err != nil || calls < sennit.MaxOps {
		t.Errorf("%d members: %d look-ups, %v", sennit.MaxOps, calls, err)
	}
	calls = 0
	_, err := document.Patch(at, leaves, []byte(many(sennit.MaxOps+1)))
	if sennit.CodeOf(err) != sennit.TooLarge || sennit.HintOf(err) == "" || calls > 10 {
		t.Errorf("one more: %d look-ups, %v", calls, err)
	}
}

func TestPatchGivesErrorsOn(t *testing.T) {
	broken := errors.New("broken")
	calls := 0
	for _, p := range []string{`1`, `{"a":1}`, `{"a":{"b":null}}`, `{"a":null}`} {
		for fail := range 6 {
			calls = 0
			_, err := document.Patch(at, func(under sennit.Path) iter.Seq2[document.Leaf, error] {
				return func(yield func(document.Leaf, error) bool) {
					if calls++; calls > fail {
						yield(document.Leaf{}, broken)
					}
				}
			}, []byte(p))
			if (calls > fail) != (err != nil) || err != nil && !errors.Is(err, broken) {
				t.Errorf("%s: after %d look-ups: %v", p, fail, err)
			}
		}
	}
	if _, err := document.Patch(at, lookup(t, nil, nil), []byte(`{"a":1,"a":2}`)); sennit.CodeOf(err) != sennit.BadInput {
		t.Errorf("two members of one name: %v", err)
	}
}
