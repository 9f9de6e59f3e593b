package document_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/document"
)

func TestEscape(t *testing.T) {
	for name, want := range map[string]string{
		"title": "title", "a b": "a b", "ü/世界": "ü~1世界", "a/b": "a~1b", "/": "~1", "//": "~1~1",
		"": "~", ".": "~.", "..": "~..", "*": "~*", "...": "...", "**": "**", ".a": ".a",
		"~": "~0", "~0": "~00", "~00": "~000", "~.": "~0.", "~0*": "~00*", "~*": "~0*",
		"~1": "~01", "~01": "~001", "~2": "~2", "~~": "~~", "~~1": "~~01", "a~": "a~", "a~0": "a~0", "m~n": "m~n", "~/": "~~1",
		"\n": "~x0a", "\x00\x1f\x7f": "~x00~x1f~x7f", "~x0a": "~0x0a", "~0x0a": "~00x0a", "~x0A": "~x0A", "~x20": "~x20", "~x": "~x", "~x0": "~x0",
		"\u0080": "\u0080", "1": "1", "~x\n": "~x~x0a", "~x1/": "~x1~1", "~0/": "~0~1",
	} {
		if got := document.Escape(name); got != want || document.Unescape(want) != name {
			t.Errorf("%q: escape %q, want %q, which stands for %q", name, got, want, document.Unescape(want))
		}
	}
}

// all calls f with every text of at most n characters of an alphabet.
func all(alphabet string, n int, f func(string)) {
	f("")
	if n == 0 {
		return
	}
	for _, c := range alphabet {
		all(alphabet, n-1, func(rest string) { f(string(c) + rest) })
	}
}

func isComponent(c string) bool {
	p, err := sennit.ParsePath(c)
	return err == nil && p.Depth() == 1 && string(p) == c
}

func TestNamesAndComponentsCorrespond(t *testing.T) {
	components := 0
	all("~01x7f./*\n", 5, func(s string) {
		escaped := document.Escape(s)
		if !isComponent(escaped) || document.Unescape(escaped) != s {
			t.Fatalf("%q becomes %q and comes back as %q", s, escaped, document.Unescape(escaped))
		}
		if isComponent(s) {
			components++
			if document.Escape(document.Unescape(s)) != s {
				t.Fatalf("the component %q is %q, which becomes %q", s, document.Unescape(s), document.Escape(document.Unescape(s)))
			}
		}
	})
	if components == 0 {
		t.Error("no text was a component")
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "a/b", "~", "~01", "~x7f", "..", "~0..", "\x00", "ü~1~"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			t.Skip()
		}
		escaped := document.Escape(s)
		if document.Unescape(escaped) != s || len(escaped) <= sennit.MaxComponent && !isComponent(escaped) {
			t.Errorf("%q becomes %q and comes back as %q", s, escaped, document.Unescape(escaped))
		}
		if isComponent(s) && document.Escape(document.Unescape(s)) != s {
			t.Errorf("the component %q is %q", s, document.Unescape(s))
		}
		if strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == "" && s != "" && escaped != s {
			t.Errorf("%q becomes %q", s, escaped)
		}
	})
}
