package access_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/wire"
)

// genesis is a space of me's, and g0 in it.
func genesis(t testing.TB, ops ...wire.Op) *access.Authority {
	me := newPerson("me")
	c := ownerCommit("g0", "me/1", nil, me.add(0, nil, "me/1"))
	c.Ops = append(c.Ops, ops...)
	a, out := access.New(me.space()).With([]access.Commit{c}, nil)
	if len(out.Refused) > 0 {
		t.Fatal(out.Refused[0].Err)
	}
	return a
}

func number(n int) sennit.Hash {
	h := sennit.Hash{0: byte(n), 1: byte(n >> 8), 31: 1}
	binary.BigEndian.PutUint32(h[4:], uint32(n))
	return h
}

func TestCommitsThatNobodyTakes(t *testing.T) {
	a := genesis(t)
	big := wire.Op{Kind: 63, Body: make([]byte, access.MaxSize/2+1)}
	for name, c := range map[string]access.Commit{
		"no ops":            {},
		"too many heads":    {Heads: make([]sennit.Hash, wire.MaxAuth+1), Ops: []wire.Op{{Kind: 63}}},
		"too many ops":      {Ops: slices.Repeat([]wire.Op{{Kind: 63}}, sennit.MaxOps+1)},
		"too big":           {Ops: []wire.Op{big, big}},
		"a data op":         {Ops: []wire.Op{{Kind: sennit.KindPut, Body: wire.Put{}.Append(nil)}}},
		"a bad key op":      {Ops: []wire.Op{{Kind: sennit.KindKey, Body: []byte("K\x01 nonsense")}}},
		"a bad grant":       {Ops: []wire.Op{{Kind: sennit.KindGrant, Body: []byte("nonsense")}}},
		"a bad revocation":  {Ops: []wire.Op{{Kind: sennit.KindRevoke, Body: []byte("nonsense")}}},
		"a bad member":      {Ops: []wire.Op{{Kind: sennit.KindMember, Body: []byte{}}}},
		"a grant of nobody": {Ops: []wire.Op{{Kind: sennit.KindGrant}}},
	} {
		c.ID, c.Author = id(name), principal("me/1")
		next, out := a.With([]access.Commit{c}, nil)
		if next != a || len(out.Refused) != 1 || out.Refused[0].Reason != access.Malformed || out.Refused[0].Commit != c.ID || out.Refused[0].Err == nil {
			t.Errorf("%s: %+v", name, out)
		}
	}
	half := access.Commit{ID: id("half"), Author: principal("me/1"), Ops: []wire.Op{big}}
	if next, _ := a.With([]access.Commit{half}, nil); !next.Has(half.ID) {
		t.Error("half of what is too big is refused")
	}
}

// A delegate can use up half of each bound, never the owner's half; and what
// the owner's commits name comes in even then, so that nodes which filled that
// half with different commits can go on together.
func TestTheOwnerAlwaysHasRoom(t *testing.T) {
	a := genesis(t, grantOp(wire.Grant{Who: who("-/1"), May: sennit.AllRights}))
	body := wire.Grant{Who: who("any"), May: sennit.Read}.Append(nil)
	const each = 2048
	grants := slices.Repeat([]wire.Op{{Kind: sennit.KindGrant, Body: body}}, each)
	commit := func(n int, author string, heads ...sennit.Hash) access.Commit {
		return access.Commit{ID: number(n), Author: principal(author), Heads: heads, Ops: grants}
	}
	add := func(cs ...access.Commit) (refused []access.Refusal) {
		next, out := a.With(cs, nil)
		a = next
		return out.Refused
	}
	n := 0
	for ; n < access.MaxRules/2/each; n++ {
		if r := add(commit(n, "-/1", id("g0"))); len(r) > 0 {
			t.Fatalf("commit %d of the delegate: %v", n, r[0].Err)
		}
	}
	extra := commit(1000, "-/1", id("g0"))
	if r := add(extra); len(r) != 1 || r[0].Reason != access.Full || sennit.CodeOf(r[0].Err) != sennit.OverQuota {
		t.Fatalf("the delegate's half has no end: %+v", r)
	}
	if r := add(commit(1001, "me/1", id("g0"), extra.ID), extra); len(r) > 0 {
		t.Fatalf("what the owner names is refused: %v", r[0].Err)
	}
	n += 2
	for ; n < access.MaxRules/each; n++ {
		if r := add(commit(2000+n, "me/1", id("g0"))); len(r) > 0 && n < access.MaxRules/each-1 {
			t.Fatalf("the owner has no room for commit %d: %v", n, r[0].Err)
		}
	}
	if r := add(commit(3000, "me/1", id("g0"))); len(r) != 1 || r[0].Reason != access.Full {
		t.Fatalf("there is no end: %+v", r)
	}
	if got := len(a.Rules("")); got > access.MaxRules {
		t.Fatalf("%d rules; at most %d are allowed", got, access.MaxRules)
	}
}

// Strangers whom only a rule for any lets in can fill their own room, not that
// of somebody whom a rule names.
func TestStrangersLeaveRoomForWhomARuleNames(t *testing.T) {
	if testing.Short() {
		t.Skip("it checks 16,384 identities, which takes a second, and ten with the race detector")
	}
	a := genesis(t, grantOp(wire.Grant{Who: who("any"), May: sennit.Read}), grantOp(wire.Grant{Who: who("bob"), May: sennit.Read}))
	crowd := make([]access.Evidence, access.MaxStrangers+1)
	for i := range crowd {
		crowd[i].Inception = newPerson("crowd").inception
		binary.BigEndian.PutUint32(crowd[i].Inception.Nonce[12:], uint32(i))
	}
	a, out := a.With(nil, crowd)
	if len(out.Spaces) != access.MaxStrangers || len(out.Refused) != 1 || out.Refused[0].Reason != access.Full || sennit.CodeOf(out.Refused[0].Err) != sennit.OverQuota {
		t.Fatalf("%d strangers are taken, %d refused", len(out.Spaces), len(out.Refused))
	}
	bob := newPerson("bob")
	a, out = a.With(nil, []access.Evidence{{Inception: bob.inception, Events: events{bob.add(0, nil, "bob/1")}}})
	if len(out.Refused) > 0 || !a.Proven(principal("bob/1")) {
		t.Fatalf("there is no room for bob: %+v", out)
	}
}

// Ancestry in a big DAG with branches and merges is that of a walk through it.
func TestAncestryOfManyCommits(t *testing.T) {
	const n, every = 12_000, 150
	rnd := rand.New(rand.NewPCG(4, 4))
	a := genesis(t)
	commits := make([]access.Commit, n)
	for i := range commits {
		c := access.Commit{ID: number(i), Author: principal("me/1"), Heads: hashes("g0"), Ops: []wire.Op{{Kind: 63}}}
		for range min(i, 1+rnd.IntN(3)) {
			c.Heads = append(c.Heads, number(max(0, i-1-rnd.IntN(30)*rnd.IntN(30))))
		}
		if i%every == 0 {
			c.Ops = []wire.Op{grantOp(wire.Grant{Who: wire.Who{Subject: wire.SubjectDevice, Key: number(i)}, May: sennit.Write})}
		}
		commits[i] = c
	}
	rnd.Shuffle(n, func(i, j int) { commits[i], commits[j] = commits[j], commits[i] })
	whole, out := a.With(commits, nil)
	if len(out.Refused) > 0 || whole.Len() != n+1 {
		t.Fatalf("%d refused", len(out.Refused))
	}
	slices.SortFunc(commits, func(x, y access.Commit) int {
		return int(binary.BigEndian.Uint32(x.ID[4:])) - int(binary.BigEndian.Uint32(y.ID[4:]))
	})
	pieces := a
	for batch := range slices.Chunk(commits, 1000) {
		pieces, _ = pieces.With(batch, nil)
	}
	if pieces.Digest() != whole.Digest() {
		t.Fatal("batches change the digest")
	}
	for range 40 {
		from := rnd.IntN(n)
		past := make([]bool, n)
		past[from] = true
		for i := from; i >= 0; i-- {
			for _, h := range commits[i].Heads {
				if past[i] && h != id("g0") {
					past[binary.BigEndian.Uint32(h[4:])] = true
				}
			}
		}
		for i := 0; i < n; i += every {
			c := access.Claim{Author: sennit.Principal{Device: sennit.Device(number(i))}, Auth: []sennit.Hash{number(from)}, Kind: sennit.KindPut}
			for _, a := range []*access.Authority{whole, pieces} {
				if got := a.Judge(c) == access.Valid; got != past[i] {
					t.Fatalf("commit %d is an ancestor of %d: %v, want %v", i, from, got, past[i])
				}
			}
		}
	}
}

// With more heads than a commit can name, the first ones to be named are those
// that carry the author's own rights.
func TestMoreHeadsThanACommitCanName(t *testing.T) {
	a := genesis(t)
	var commits []access.Commit
	for i := range 200 {
		g := wire.Grant{Who: who("-/1"), May: sennit.Write, Prefix: sennit.Path(fmt.Sprint("p", i))}
		if i%20 == 0 {
			g.May |= sennit.Grant
		}
		commits = append(commits, access.Commit{ID: number(i), Author: principal("me/1"), Heads: hashes("g0"), Ops: []wire.Op{grantOp(g)}})
	}
	a, _ = a.With(commits, nil)
	if len(a.Heads()) != 200 || !slices.IsSortedFunc(a.Heads(), compareHashes) {
		t.Fatalf("%d heads", len(a.Heads()))
	}
	for _, author := range []string{"me/1", "-/1"} {
		cited := a.Cite(principal(author))
		if len(cited) != wire.MaxAuth || !slices.IsSortedFunc(cited, compareHashes) || len(slices.Compact(slices.Clone(cited))) != len(cited) {
			t.Fatalf("%s cites %d", author, len(cited))
		}
		for i := 0; i < 200; i += 20 {
			if author == "-/1" && !slices.Contains(cited, number(i)) {
				t.Errorf("the delegate does not cite its right in commit %d", i)
			}
		}
	}
	next, _ := a.With([]access.Commit{{ID: id("next"), Author: principal("-/1"), Heads: a.Cite(principal("-/1")),
		Ops: []wire.Op{grantOp(wire.Grant{Prefix: "p180/x", Who: who("bob"), May: sennit.Write})}}}, nil)
	if got := len(next.Heads()); got != 200-64+1 {
		t.Errorf("%d heads after citing 64 of 200", got)
	}
	if r := next.Rules("p180/x"); len(r) != 2 || r[1].Gives != sennit.Write {
		t.Errorf("rules %+v", r)
	}

	changes := func(names ...string) (cs []sennit.Change) {
		for _, n := range names {
			cs = append(cs, sennit.Change{Kind: sennit.KindPut, Path: sennit.Path(n)})
		}
		return cs
	}
	auth, err := a.Relies(principal("-/1"), changes("p7", "p120", "p55/x"))
	if err != nil || len(auth) != wire.MaxDataAuth || !slices.IsSortedFunc(auth, compareHashes) {
		t.Fatalf("relies on %v: %v", auth, err)
	}
	for _, i := range []int{7, 120, 55} {
		if !slices.Contains(auth, number(i)) {
			t.Errorf("commit %d is not relied on", i)
		}
	}
	if _, err = a.Relies(principal("-/1"), changes("p1", "p2", "p3", "p4", "p5")); sennit.CodeOf(err) != sennit.Conflict || sennit.HintOf(err) == "" {
		t.Errorf("five heads are needed: %v", err)
	}
	if _, err = a.Relies(principal("-/1"), changes("p1", "q")); sennit.CodeOf(err) != sennit.Denied {
		t.Errorf("one change is void: %v", err)
	}
	if auth, err = a.Relies(principal("me/1"), changes("p1", "p2", "p3", "p4", "p5")); err != nil || len(auth) != wire.MaxDataAuth {
		t.Errorf("the owner relies on %v: %v", auth, err)
	}
}

func compareHashes(x, y sennit.Hash) int { return strings.Compare(string(x[:]), string(y[:])) }

// Two histories that begin the same way share structure and nothing else.
func TestVersionsDontDisturbEachOther(t *testing.T) {
	base := genesis(t)
	grow := func(a *access.Authority, who wire.Who, from, n int) *access.Authority {
		for i := from; i < from+n; i++ {
			a, _ = a.With([]access.Commit{{ID: number(i), Author: principal("me/1"), Heads: a.Heads(),
				Ops: []wire.Op{grantOp(wire.Grant{Who: who, Prefix: sennit.Path(fmt.Sprint("p", i)), May: sennit.Write, Seal: i%2 == 0})}}}, nil)
		}
		return a
	}
	base = grow(base, who("any"), 0, 5)
	digest := base.Digest()
	// So few that a slice with room to spare would still be the same one.
	left := grow(base, who("any"), 100, 2)
	right := grow(base, who("any"), 200, 2)
	for name, test := range map[string]struct {
		a     *access.Authority
		first int
		rules int
	}{"base": {base, 0, 5}, "left": {left, 100, 7}, "right": {right, 200, 7}} {
		rules := test.a.Rules("")
		if len(rules) != test.rules || test.a.Has(number(100)) != (name == "left") || test.a.Has(number(200)) != (name == "right") {
			t.Errorf("%s: %d rules", name, len(rules))
		}
		for _, r := range rules {
			if n := int(binary.BigEndian.Uint32(r.ID.Commit[4:])); n >= 5 && (n < test.first || n >= test.first+2) {
				t.Errorf("%s has rule of commit %d", name, n)
			}
		}
	}
	for name, test := range map[string]struct {
		a    *access.Authority
		auth int
	}{"left": {left, 101}, "right": {right, 201}} {
		c := access.Claim{Author: principal("-/1"), Auth: []sennit.Hash{number(test.auth)}, Kind: sennit.KindPut, Path: sennit.Path(fmt.Sprint("p", test.auth))}
		if test.a.Judge(c) != access.Valid {
			t.Errorf("%s: its own last rule doesn't count", name)
		}
	}
	if base.Digest() != digest || left.Digest() == right.Digest() {
		t.Error("digests")
	}
}
