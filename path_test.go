package sennit_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sennit/sennit"
	"pgregory.net/rapid"
)

// wellFormed says in the plainest way what a canonical path is; wild allows "*".
func wellFormed(text string, wild bool) bool {
	if text == "" {
		return true
	}
	cs := strings.Split(text, "/")
	for _, c := range cs {
		if c == "" || c == "." || c == ".." || c == "*" && !wild || len(c) > 255 || !utf8.ValidString(c) ||
			strings.ContainsFunc(c, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			return false
		}
	}
	return len(cs) <= 32 && len(text) <= 1024
}

// pathText draws texts that are often paths, or nearly.
func pathText() *rapid.Generator[string] {
	piece := rapid.SampledFrom([]string{
		"a", "b", "posts", "ü", "世界", ".acl", ".", "..", "...", "*", "**", "", "\x00", "\x1f", "\x7f", "\xff", "\u0085", "{self}",
		strings.Repeat("c", 255), strings.Repeat("c", 256),
	})
	return rapid.Custom(func(t *rapid.T) string {
		text := strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(t, "components"), "/")
		if rapid.IntRange(0, 9).Draw(t, "deep") == 0 {
			text += strings.Repeat("/x", rapid.IntRange(25, 33).Draw(t, "depth"))
		}
		return rapid.SampledFrom([]string{"", "", "", "/"}).Draw(t, "slash") + text
	})
}

// goodPath draws canonical paths.
func goodPath() *rapid.Generator[sennit.Path] {
	c := rapid.SampledFrom([]string{"a", "b", "ab", "posts", "ü", ".acl", ".app", "..."})
	return rapid.Map(rapid.SliceOfN(c, 0, 5), func(cs []string) sennit.Path { return sennit.Path(strings.Join(cs, "/")) })
}

func TestParsePath(t *testing.T) {
	long := strings.Repeat(strings.Repeat("c", 255)+"/", 4) + "c" // 1,025 bytes
	for _, c := range []struct{ text, want, problem string }{
		{"", "", ""},
		{"/", "", ""},
		{"a", "a", ""},
		{"/a/b", "a/b", ""},
		{"a b/ü/世界", "a b/ü/世界", ""},
		{"...", "...", ""},
		{".hidden/**", ".hidden/**", ""},
		{"\u0085", "\u0085", ""},
		{strings.Repeat("c", 255), strings.Repeat("c", 255), ""},
		{long[1:], long[1:], ""},
		{"/" + long[1:], long[1:], ""},
		{"x" + strings.Repeat("/x", 31), "x" + strings.Repeat("/x", 31), ""},
		{"//a", "", "a component is empty"},
		{"a//b", "", "a component is empty"},
		{"a/", "", "a component is empty"},
		{"//", "", "a component is empty"},
		{".", "", `"." is not allowed`},
		{"a/../b", "", `".." is not allowed`},
		{"*", "", "any component"},
		{"a/*/b", "", "any component"},
		{"a\x00", "", "control character 0x00"},
		{"a\tb", "", "control character 0x09"},
		{"a\x7f", "", "control character 0x7f"},
		{"a\xff", "", "not valid UTF-8"},
		{"\xed\xa0\x80", "", "not valid UTF-8"},
		{strings.Repeat("c", 256), "", "256 bytes; at most 255"},
		{long, "", "1025 bytes; at most 1024"},
		{"x" + strings.Repeat("/x", 32), "", "more than 32 components"},
	} {
		got, err := sennit.ParsePath(c.text)
		if c.problem == "" {
			if err != nil || got.String() != c.want {
				t.Errorf("%.40q: got %q, %v", c.text, got, err)
			}
			continue
		}
		if sennit.CodeOf(err) != sennit.BadInput || !strings.Contains(err.Error(), c.problem) || got != "" {
			t.Errorf("%.40q: got %q, %v; want %q", c.text, got, err, c.problem)
		}
	}
}

func TestParsePathAgainstTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := pathText().Draw(t, "path")
		want := strings.TrimPrefix(text, "/")
		got, err := sennit.ParsePath(text)
		if (err == nil) != wellFormed(want, false) || err == nil && string(got) != want {
			t.Fatalf("%q: got %q, %v", text, got, err)
		}
	})
}

func TestMustPathPanicsOnlyOnBadPaths(t *testing.T) {
	if sennit.MustPath("/a/b") != "a/b" {
		t.Error("it changes a good path")
	}
	defer func() {
		if recover() == nil {
			t.Error("it takes a bad path")
		}
	}()
	sennit.MustPath("a//b")
}

func TestPathsAreListsOfComponents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := goodPath().Draw(t, "p"), goodPath().Draw(t, "q")
		join := func(cs []string) sennit.Path { return sennit.Path(strings.Join(cs, "/")) }
		var cs []string
		if p != "" {
			cs = strings.Split(string(p), "/")
		}
		if !slices.Equal(p.Components(), cs) || p.Depth() != len(cs) {
			t.Fatalf("%q: components %q, depth %d", p, p.Components(), p.Depth())
		}
		first, base, parent := "", "", sennit.Path("")
		if len(cs) > 0 {
			first, base, parent = cs[0], cs[len(cs)-1], join(cs[:len(cs)-1])
		}
		if p.First() != first || p.Base() != base || p.Parent() != parent {
			t.Fatalf("%q: first %q, base %q, parent %q", p, p.First(), p.Base(), p.Parent())
		}
		if got, want := p.Join(q), join(append(slices.Clone(cs), q.Components()...)); got != want {
			t.Fatalf("%q joined with %q is %q", p, q, got)
		}
		qs := q.Components()
		if got, want := p.Under(q), len(cs) >= len(qs) && slices.Equal(cs[:len(qs)], qs); got != want {
			t.Fatalf("%q under %q: %t", p, q, got)
		}
		if !p.Join(q).Under(p) || !p.Under(p) || !p.Under("") {
			t.Fatalf("%q: what is joined to it does not lie under it", p)
		}
	})
}

func TestUnderIsByComponent(t *testing.T) {
	for _, c := range []struct {
		p, q string
		want bool
	}{
		{"a", "a", true},
		{"a/b", "a", true},
		{"a/b/c", "a/b", true},
		{"", "", true},
		{"a", "", true},
		{"", "a", false},
		{"ab", "a", false},
		{"ab/c", "a", false},
		{"a", "a/b", false},
		{"a/bc", "a/b", false},
		{"b/a", "a", false},
	} {
		if got := sennit.MustPath(c.p).Under(sennit.MustPath(c.q)); got != c.want {
			t.Errorf("%q under %q: %t", c.p, c.q, got)
		}
	}
}

// TestPathsAreOrderedByComponent compares with the order of lists of components.
func TestPathsAreOrderedByComponent(t *testing.T) {
	text := rapid.StringMatching(`[a /.-]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		p, err := sennit.ParsePath(text.Draw(t, "p"))
		q, err2 := sennit.ParsePath(text.Draw(t, "q"))
		if err != nil || err2 != nil {
			t.Skip()
		}
		if got, want := p.Compare(q), slices.Compare(p.Components(), q.Components()); got != want {
			t.Errorf("%q compared with %q is %d, want %d", p, q, got, want)
		}
	})
}

func TestReservedPlaces(t *testing.T) {
	for _, c := range []string{".id", ".acl", ".group", ".key", ".board"} {
		for path, want := range map[string]bool{c: true, c + "/x": true, c + "s": false, "x/" + c: false, c[1:]: false} {
			if got := sennit.MustPath(path).Reserved(); got != want {
				t.Errorf("%s: reserved is %t", path, got)
			}
		}
	}
	for _, p := range []sennit.Path{"", ".app", ".app/x", "a"} {
		if p.Reserved() {
			t.Errorf("%q is reserved", p)
		}
	}
}

func TestParseAddr(t *testing.T) {
	id := sennit.Space{7}.String()
	for _, c := range []struct{ text, root, path, problem string }{
		{"", "me", "", ""},
		{"a/b", "me", "a/b", ""},
		{"me/a", "me", "me/a", ""},
		{"@ana", "me", "@ana", ""},
		{"/me", "me", "", ""},
		{"/me/", "me", "", ""},
		{"/me/a/b", "me", "a/b", ""},
		{"/_node/peers", "_node", "peers", ""},
		{"/@ana/posts", "@ana", "posts", ""},
		{"/@ana@club/posts", "@ana@club", "posts", ""},
		{"/@follows/x", "@follows", "x", ""},
		{"/" + id + "/x", id, "x", ""},
		{"/", "", "", "names no space"},
		{"//", "", "", "names no space"},
		{"/you/x", "", "", "names no space"},
		{"/" + strings.ToUpper(id), "", "", "names no space"},
		{"/@/x", "", "", "not a petname"},
		{"/@*/x", "", "", "not a petname"},
		{"/@../x", "", "", "not a petname"},
		{"/@a\x00/x", "", "", "not a petname"},
		{"/me//a", "", "", "a component is empty"},
		{"/me/a/", "", "", "a component is empty"},
		{"a/", "", "", "a component is empty"},
		{"/me/..", "", "", "not allowed"},
		{"/me/*", "", "", "any component"},
	} {
		got, err := sennit.ParseAddr(c.text)
		if c.problem == "" {
			if err != nil || got != (sennit.Addr{Root: c.root, Path: sennit.Path(c.path)}) {
				t.Errorf("%q: got %+v, %v", c.text, got, err)
			}
			if again, err := sennit.ParseAddr(got.String()); err != nil || again != got {
				t.Errorf("%q: its text %q gives %+v, %v", c.text, got, again, err)
			}
			continue
		}
		if sennit.CodeOf(err) != sennit.BadInput || !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%q: got %+v, %v; want %q", c.text, got, err, c.problem)
		}
	}
	if _, err := sennit.ParseAddr("/you/x"); !strings.Contains(sennit.HintOf(err), "/@name") {
		t.Errorf("hint %q", sennit.HintOf(err))
	}
}

func TestParsePattern(t *testing.T) {
	for _, c := range []struct {
		text string
		want sennit.Pattern
	}{
		{"", sennit.Pattern{Root: "me"}},
		{"/me/", sennit.Pattern{Root: "me"}},
		{"a/*/b", sennit.Pattern{Root: "me", Path: "a/*/b"}},
		{"/me/a/", sennit.Pattern{Root: "me", Path: "a"}},
		{"/@ana/*", sennit.Pattern{Root: "@ana", Path: "*"}},
		{"/@follows/*/chirp/posts", sennit.Pattern{Root: "@follows", Path: "*/chirp/posts"}},
	} {
		for _, exact := range []bool{false, true} {
			c.want.Exact = exact
			if got, err := sennit.ParsePattern(c.text, exact); err != nil || got != c.want {
				t.Errorf("%q: got %+v, %v", c.text, got, err)
			}
		}
	}
	for text, problem := range map[string]string{
		"/@follows": "no followed space", "/@follows/a": "no followed space", "/@follows/": "no followed space",
		"a//b": "empty", "/me//": "empty", "a//": "empty", "/me/../x": "not allowed", "/*/x": "names no space", "/me/\x01": "control character",
		"*" + strings.Repeat("/*", 32): "more than 32 components",
	} {
		if got, err := sennit.ParsePattern(text, false); sennit.CodeOf(err) != sennit.BadInput || !strings.Contains(err.Error(), problem) {
			t.Errorf("%q: got %+v, %v; want %q", text, got, err, problem)
		}
	}
	if _, err := sennit.ParsePattern("/@follows/a", false); !strings.Contains(sennit.HintOf(err), "/@follows/*/path") {
		t.Errorf("hint %q", sennit.HintOf(err))
	}
}

// matches is what a pattern means, component by component.
func matches(pattern, path string, exact bool) bool {
	split := func(s string) []string {
		return slices.DeleteFunc(strings.Split(s, "/"), func(c string) bool { return c == "" })
	}
	want, have := split(pattern), split(path)
	if len(want) > len(have) || exact && len(want) != len(have) {
		return false
	}
	for i, c := range want {
		if c != "*" && c != have[i] {
			return false
		}
	}
	return true
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, path  string
		subtree, exact bool
	}{
		{"", "", true, true},
		{"", "a", true, false},
		{"a", "a", true, true},
		{"a", "a/b", true, false},
		{"a", "ab", false, false},
		{"a", "", false, false},
		{"a/b", "a", false, false},
		{"*", "", false, false},
		{"*", "a", true, true},
		{"*", "a/b", true, false},
		{"a/*", "a", false, false},
		{"a/*", "a/b", true, true},
		{"a/*/c", "a/b/c/d", true, false},
		{"a/*/c", "a/b/d", false, false},
		{"*/*", "a", false, false},
	} {
		for exact, want := range map[bool]bool{false: c.subtree, true: c.exact} {
			if got := (sennit.Pattern{Path: c.pattern, Exact: exact}).Match(sennit.MustPath(c.path)); got != want {
				t.Errorf("pattern %q (exact: %t) and path %q: %t", c.pattern, exact, c.path, got)
			}
		}
	}
}

func TestMatchAgainstANaiveMatcher(t *testing.T) {
	yes, no := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		// Few names, so that many pairs match.
		name := rapid.SampledFrom([]string{"a", "ab", "*"})
		pattern := strings.Join(rapid.SliceOfN(name, 0, 3).Draw(t, "pattern"), "/")
		path := strings.ReplaceAll(strings.Join(rapid.SliceOfN(name, 0, 4).Draw(t, "path"), "/"), "*", "a")
		exact := rapid.Bool().Draw(t, "exact")
		p, err := sennit.ParsePattern("/me/"+pattern, exact)
		if err != nil {
			t.Fatal(err)
		}
		want := matches(pattern, path, exact)
		if got := p.Match(sennit.MustPath(path)); got != want {
			t.Fatalf("pattern %q (exact: %t) and path %q: %t", pattern, exact, path, got)
		}
		if want {
			yes++
		} else {
			no++
		}
	})
	if yes == 0 || no == 0 {
		t.Errorf("%d pairs matched and %d didn't: the test shows nothing", yes, no)
	}
}

func FuzzParsePath(f *testing.F) {
	for i := range 30 {
		f.Add(pathText().Example(i))
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := sennit.ParsePath(text)
		if want := strings.TrimPrefix(text, "/"); (err == nil) != wellFormed(want, false) || err == nil && string(p) != want {
			t.Errorf("%q: got %q, %v", text, p, err)
		}
		a, err := sennit.ParseAddr(text)
		if err == nil {
			if again, err := sennit.ParseAddr(a.String()); err != nil || again != a || !wellFormed(string(a.Path), false) {
				t.Errorf("%q: %+v comes back as %+v, %v", text, a, again, err)
			}
		} else if sennit.CodeOf(err) != sennit.BadInput {
			t.Errorf("%q: %v", text, err)
		}
		pattern, err := sennit.ParsePattern(text, false)
		if err == nil && !wellFormed(pattern.Path, true) {
			t.Errorf("%q: accepted as %+v", text, pattern)
		}
		if err == nil && pattern.Match(p) != matches(pattern.Path, string(p), false) {
			t.Errorf("%+v matches %q: %t", pattern, p, pattern.Match(p))
		}
	})
}
