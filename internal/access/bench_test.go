package access_test

import (
	"fmt"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/wire"
)

func BenchmarkJudgeOwner(b *testing.B) {
	a := genesis(b)
	c := claim("me/1", "put", "notes/2024/some/thing", "g0")
	court := a.Court()
	b.ReportAllocs()
	for b.Loop() {
		if court.Judge(c) != access.Valid {
			b.Fatal("not valid")
		}
	}
}

// One claim on its own, as after each change of author.
func BenchmarkJudgeOwnerAlone(b *testing.B) {
	a := genesis(b)
	c := claim("me/1", "put", "notes/2024/some/thing", "g0")
	b.ReportAllocs()
	for b.Loop() {
		if a.Judge(c) != access.Valid {
			b.Fatal("not valid")
		}
	}
}

// rulesFor50 is a space with 50 rules for bob, in 10 commits.
func rulesFor50(b *testing.B) *access.Authority {
	a := genesis(b)
	bob := newPerson("bob")
	proof := []access.Evidence{{Inception: bob.inception, Events: events{bob.add(0, nil, "bob/1")}}}
	for i := range 10 {
		var ops []wire.Op
		for j := range 5 {
			g := wire.Grant{Who: who("bob"), May: sennit.Write, Prefix: sennit.Path(fmt.Sprintf("rooms/r%d", i*5+j))}
			if j == 0 {
				g = wire.Grant{Who: who("any"), May: sennit.Write | sennit.Remove, Prefix: g.Prefix, Where: "*/likes/{self}"}
			}
			ops = append(ops, grantOp(g))
		}
		a, _ = a.With([]access.Commit{{ID: number(i), Author: principal("me/1"), Heads: a.Heads(), Ops: ops}}, proof)
	}
	return a
}

// 1,000 ops of one author under 50 rules; an op is one of them.
func BenchmarkJudge50Rules(b *testing.B) {
	a := rulesFor50(b)
	claims := make([]access.Claim, 1000)
	for i := range claims {
		claims[i] = access.Claim{Author: principal("bob/1"), Auth: a.Heads(), Kind: sennit.KindPut, Path: sennit.Path(fmt.Sprintf("rooms/r%d/posts/p%d", i%50, i))}
	}
	court := a.Court()
	i, valid := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		if court.Judge(claims[i]) == access.Valid {
			valid++
		}
		if i++; i == len(claims) {
			i = 0
		}
	}
	if b.N >= 1000 && (valid < b.N/2 || valid == b.N) {
		b.Fatalf("%d of %d are valid", valid, b.N)
	}
}

// The author changes with each op, so the rules are looked up each time.
func BenchmarkJudge50RulesTwoAuthors(b *testing.B) {
	a := rulesFor50(b)
	claims := []access.Claim{
		{Author: principal("bob/1"), Auth: a.Heads(), Kind: sennit.KindPut, Path: "rooms/r33/posts/p1"},
		{Author: principal("-/1"), Auth: a.Heads(), Kind: sennit.KindPut, Path: "rooms/r33/posts/p1"},
	}
	court := a.Court()
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		court.Judge(claims[i&1])
		i++
	}
}

func BenchmarkMay50Rules(b *testing.B) {
	a := rulesFor50(b)
	bob := principal("bob/1")
	b.ReportAllocs()
	for b.Loop() {
		if !a.May(bob, sennit.Write, "rooms/r33/posts/p1", 0) {
			b.Fatal("no")
		}
	}
}

// One commit with one rule, on top of so many.
func BenchmarkWithOne(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a, commits := chainOf(b, n)
			a, _ = a.With(commits, nil)
			next := commits[0]
			next.ID, next.Heads = number(n), a.Heads()
			b.ReportAllocs()
			for b.Loop() {
				if with, _ := a.With([]access.Commit{next}, nil); with == a {
					b.Fatal("refused")
				}
			}
		})
	}
}

// 10,000 commits with a rule each in one batch, as when a node starts.
func BenchmarkWith10000(b *testing.B) {
	a, commits := chainOf(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if with, out := a.With(commits, nil); with.Len() != len(commits)+1 {
			b.Fatal(out.Refused)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(commits)), "ns/commit")
}

func chainOf(b *testing.B, n int) (*access.Authority, []access.Commit) {
	a := genesis(b)
	commits := make([]access.Commit, n)
	for i := range commits {
		g := wire.Grant{Who: wire.Who{Subject: wire.SubjectSpace, Key: number(i)}, May: sennit.Write, Prefix: "a"}
		commits[i] = access.Commit{ID: number(i), Author: principal("me/1"), Heads: hashes("g0"), Ops: []wire.Op{grantOp(g)}}
		if i > 0 {
			commits[i].Heads = []sennit.Hash{number(i - 1)}
		}
	}
	return a, commits
}
