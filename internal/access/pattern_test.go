package access_test

import (
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/wire"
)

// FuzzWhere compares what a pattern lets somebody write, delete and read with
// a matcher that is as plain as can be.
func FuzzWhere(f *testing.F) {
	me := principal("bob/1").Space.String()
	for _, seed := range [][3]string{
		{"posts", "*/likes/{self}", "posts/1/likes/" + me}, {"", "", ""}, {"a", "", "a/b"}, {"a", "b", "a"},
		{"", "{self}", me}, {"", "{self}", "{self}"}, {"{self}", "*", "{self}/x"}, {"a", "*", "ab/c"}, {"a*", "b*", "a*/b*/c"},
		{"a", "*/*", "a/b/c/d"}, {"", "*", "\x00"}, {"a/b", "c", "a/b/c/d"}, {"a", "{self}x", "a/{self}x"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	base := genesis(f, grantOp(wire.Grant{Who: who("bob"), May: sennit.Read, Prefix: "elsewhere"}))
	base, _ = base.With(nil, []access.Evidence{{Inception: newPerson("bob").inception, Events: events{newPerson("bob").add(0, nil, "bob/1")}}})
	bob := principal("bob/1")
	f.Fuzz(func(t *testing.T, prefix, where, at string) {
		g := wire.Grant{Prefix: sennit.Path(prefix), Where: where, Who: who("any"), May: sennit.Read | sennit.Write | sennit.Remove}
		body := g.Append(nil)
		if _, err := wire.DecodeGrant(body); err != nil {
			t.Skip()
		}
		p, err := sennit.ParsePath(at)
		if err != nil {
			t.Skip()
		}
		want := append(components(prefix), components(where)...)
		have := components(string(p))
		match := len(have) >= len(want)
		for i := 0; match && i < len(want); i++ {
			switch c := want[i]; {
			case i >= len(components(prefix)) && c == "*":
			case i >= len(components(prefix)) && c == "{self}":
				match = have[i] == me
			default:
				match = have[i] == c
			}
		}
		a, out := base.With([]access.Commit{{ID: id("g1"), Author: principal("me/1"), Heads: hashes("g0"), Ops: []wire.Op{{Kind: sennit.KindGrant, Body: body}}}}, nil)
		if len(out.Refused) > 0 {
			t.Fatal(out.Refused[0].Err)
		}
		c := access.Claim{Author: bob, Auth: hashes("g1"), Kind: sennit.KindPut, Path: p}
		write := match && !p.Reserved()
		if got := a.Judge(c) == access.Valid; got != write {
			t.Errorf("grant %q where %q: put %q is valid: %v, want %v", prefix, where, p, got, write)
		}
		if c.Kind, c.Deep = sennit.KindDel, true; (a.Judge(c) == access.Valid) != write {
			t.Errorf("grant %q where %q: deep del %q, want %v", prefix, where, p, write)
		}
		read := match || p.Under("elsewhere")
		if got := a.May(bob, sennit.Read, p, 0); got != read {
			t.Errorf("grant %q where %q: may read %q: %v, want %v", prefix, where, p, got, read)
		}
		sight := a.Sight(bob, p, 0)
		if (sight == access.All) != read || sight == access.None && p == "" {
			t.Errorf("grant %q where %q: sees %d of %q, may read: %v", prefix, where, sight, p, read)
		}
		for _, q := range a.Readable(bob, 0) {
			if !a.May(bob, sennit.Read, q, 0) || a.Sight(bob, q, 0) != access.All {
				t.Errorf("grant %q where %q: %q is readable and can't be read", prefix, where, q)
			}
		}
	})
}
