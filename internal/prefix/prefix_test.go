package prefix_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/prefix"
)

func TestOf(t *testing.T) {
	for _, c := range []struct{ from, want []sennit.Path }{
		{nil, nil},
		{[]sennit.Path{""}, []sennit.Path{""}},
		{[]sennit.Path{"a", ""}, []sennit.Path{""}},
		{[]sennit.Path{"b", "a", "b"}, []sennit.Path{"a", "b"}},
		{[]sennit.Path{"a/c", "a-b", "a"}, []sennit.Path{"a", "a-b"}}, // a-b comes between a and a/c
		{[]sennit.Path{"posts", "postscript"}, []sennit.Path{"posts", "postscript"}},
	} {
		before := slices.Clone(c.from)
		if got := prefix.Of(c.from...); !slices.Equal(got, c.want) {
			t.Errorf("of %q: %q, want %q", c.from, got, c.want)
		}
		if !slices.Equal(before, c.from) {
			t.Errorf("%q became %q", before, c.from)
		}
	}
}

// few is all paths of up to three components out of three, so that sets can be
// told by trying each.
func few() (all []sennit.Path) {
	all = []sennit.Path{""}
	for i := 0; i < len(all); i++ {
		if all[i].Depth() < 3 {
			for _, name := range []sennit.Path{"a", "a-b", "b"} {
				all = append(all, all[i].Join(name))
			}
		}
	}
	return all
}

// TestSetsAreWhatTheyHold: a naive model of a set lists its paths.
func TestSetsAreWhatTheyHold(t *testing.T) {
	all := few()
	held := func(prefixes []sennit.Path) map[sennit.Path]bool {
		in := map[sennit.Path]bool{}
		for _, p := range all {
			for _, q := range prefixes {
				in[p] = in[p] || p == q || q == "" || len(p) > len(q) && p[:len(q)+1] == q+"/"
			}
		}
		return in
	}
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.SliceOfN(rapid.SampledFrom(all), 0, 6)
		from, other := some.Draw(t, "s"), some.Draw(t, "t")
		s, u := prefix.Of(from...), prefix.Of(other...)
		mine, theirs := held(from), held(other)
		both, covers := s.And(u), true
		for _, p := range all {
			if s.Has(p) != mine[p] {
				t.Fatalf("%q has %q: %v", s, p, s.Has(p))
			}
			if both.Has(p) != (mine[p] && theirs[p]) {
				t.Fatalf("%q and %q: %q has %q: %v", s, u, both, p, both.Has(p))
			}
			covers = covers && (mine[p] || !theirs[p])
			beneath := false
			for _, q := range all {
				beneath = beneath || mine[q] && q.Under(p)
			}
			if s.Concerns(p, true) != beneath || s.Concerns(p, false) != mine[p] {
				t.Fatalf("%q and a deletion at %q: %v and %v", s, p, s.Concerns(p, true), s.Concerns(p, false))
			}
		}
		if s.Covers(u) != covers {
			t.Fatalf("%q covers %q: %v", s, u, s.Covers(u))
		}
		if !both.Equal(u.And(s)) || s.Covers(u) && u.Covers(s) && !s.Equal(u) || !s.Equal(prefix.Of(s...)) {
			t.Fatalf("%q and %q aren't canonical", s, u)
		}
	})
}
