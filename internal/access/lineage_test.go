package access_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/wire"
)

type events = []*wire.KeyEvent

// ownerCommit is an authority commit of me's, with these key events.
func ownerCommit(name, author string, heads []string, es ...*wire.KeyEvent) access.Commit {
	me := newPerson("me")
	c := access.Commit{ID: id(name), Author: principal(author), Ops: []wire.Op{keyOp(wire.Key{Inception: &me.inception})}}
	for _, h := range heads {
		c.Heads = append(c.Heads, id(h))
	}
	for _, e := range es {
		c.Ops = append(c.Ops, keyOp(wire.Key{Event: e}))
	}
	return c
}

func TestForksOfKeyEvents(t *testing.T) {
	me := newPerson("me")
	a := me.add(0, nil, "me/1")
	b, c := me.add(0, a, "me/2"), me.add(0, a, "me/3")
	d := me.add(0, c, "me/4")
	rb, rc := me.rotate(0, b), me.rotate(0, d)
	after := me.add(1, rb, "me/5")
	early := me.add(0, nil, "me/6")
	stolen := me.sign(0, b, wire.KeyEvent{Type: wire.Rotate, Keys: me.keys(1)}) // signed with the old key
	for name, test := range map[string]struct {
		chains  []events
		devices string // of 1 to 6
		fork    events
	}{
		"one chain":                              {[]events{{a, b}}, "12", nil},
		"the beginning of a chain adds nothing":  {[]events{{a, b}, {a}}, "12", nil},
		"equals freeze at the last common event": {[]events{{a, b}, {a, c}}, "1", events{b, c}},
		"length decides nothing":                 {[]events{{a, b}, {a, c, d}}, "1", events{b, c}},
		"a rotation beats devices":               {[]events{{a, b, rb}, {a, c, d}}, "12", nil},
		"it may come later":                      {[]events{{a, b, rb, after}, {a, c, d}, {early}}, "125", nil},
		"rival rotations freeze":                 {[]events{{a, b, rb, after}, {a, c, d, rc}}, "1", events{b, c}},
		"the first fork counts":                  {[]events{{a, b}, {a, c}, {early}}, "", events{a, early}},
		"a rotation needs the next key":          {[]events{{a, b, stolen}, {a, c}}, "13", nil},
		"a chain must be whole":                  {[]events{{a}, {c, d}}, "1", nil},
	} {
		t.Run(name, func(t *testing.T) {
			var first sennit.Hash
			for round := range 6 {
				rnd := rand.New(rand.NewPCG(uint64(round), 1))
				var evidence []access.Evidence
				for _, chain := range test.chains {
					evidence = append(evidence, access.Evidence{Inception: me.inception, Events: chain})
				}
				au, _ := deliver(me.space(), nil, evidence, rnd)
				devices := ""
				for i := range 6 {
					if who := fmt.Sprint("me/", i+1); au.Proven(principal(who)) {
						devices += fmt.Sprint(i + 1)
					}
				}
				if devices != test.devices {
					t.Fatalf("devices %s, want %s", devices, test.devices)
				}
				var want []sennit.Hash
				for _, e := range test.fork {
					want = append(want, e.Hash())
				}
				slices.SortFunc(want, func(x, y sennit.Hash) int { return bytes.Compare(x[:], y[:]) })
				var fork []sennit.Hash
				for _, e := range au.Fork() {
					fork = append(fork, e.Hash())
				}
				if !slices.Equal(fork, want) {
					t.Fatalf("fork %v, want %v", fork, want)
				}
				if round == 0 {
					first = au.Digest()
				}
				// What is handed on is enough.
				copied, out := access.New(me.space()).With(nil, au.Evidence())
				if au.Digest() != first || copied.Digest() != first || len(out.Refused) > 0 {
					t.Fatalf("digests differ: %v %v %v (refused %v)", first, au.Digest(), copied.Digest(), out.Refused)
				}
			}
		})
	}
}

// A device on a branch that lost writes nothing that counts, but its authority
// commits stay: an honest device may have named them before the fork was known.
func TestCommitsOfALosingBranchStayMembers(t *testing.T) {
	me := newPerson("me")
	a := me.add(0, nil, "me/1")
	thief := me.add(0, a, "me/9")
	rotated := me.rotate(0, a)
	commits := []access.Commit{
		ownerCommit("g0", "me/1", nil, a),
		ownerCommit("t1", "me/9", []string{"g0"}, thief),
		ownerCommit("g1", "me/1", []string{"t1"}),
		ownerCommit("g2", "me/1", []string{"g0"}, rotated),
	}
	for round := range 10 {
		au, reasons := deliver(me.space(), commits, nil, rand.New(rand.NewPCG(uint64(round), 2)))
		if len(reasons) > 0 || au.Len() != 4 {
			t.Fatalf("round %d: refused %v", round, reasons)
		}
		if v := au.Judge(claim("me/9", "put", "a", "t1")); v != access.Void {
			t.Fatalf("the thief's data is %d", v)
		}
		if v := au.Judge(claim("me/1", "put", "a", "t1")); v != access.Valid {
			t.Fatalf("the owner's data is %d", v)
		}
	}
}

// A copy of a key event with a wrong signature has the same hash as the good
// one, and must not stand in its way.
func TestBadCopiesOfKeyEvents(t *testing.T) {
	me := newPerson("me")
	a := me.add(0, nil, "me/1")
	b := me.add(0, a, "me/2")
	c := me.add(0, b, "me/3")
	bad := *b
	bad.Sigs = []wire.KeySig{{Key: 0, Sig: [64]byte{1}}}
	commits := []access.Commit{
		ownerCommit("g0", "me/1", nil, a),
		ownerCommit("g1", "me/1", []string{"g0"}, &bad),
		ownerCommit("g2", "me/1", []string{"g0"}, c),
		ownerCommit("g3", "me/1", []string{"g0"}, b),
	}
	for round := range 20 {
		au, reasons := deliver(me.space(), commits, nil, rand.New(rand.NewPCG(uint64(round), 3)))
		if len(reasons) > 0 || !au.Proven(principal("me/3")) {
			t.Fatalf("round %d: refused %v; the third device is proven: %v", round, reasons, au.Proven(principal("me/3")))
		}
	}
	au, _ := access.New(me.space()).With(commits[:2], nil)
	if au.Proven(principal("me/2")) {
		t.Fatal("a wrong signature proves a device")
	}
	next, out := au.With(nil, []access.Evidence{{Inception: me.inception, Events: events{a, &bad}}})
	if next != au || len(out.Refused) != 1 || out.Refused[0].Reason != access.Malformed {
		t.Fatalf("evidence with a wrong signature: %+v", out)
	}
	if next, _ = au.With(nil, []access.Evidence{{Inception: me.inception, Events: events{a, b}}}); !next.Proven(principal("me/2")) {
		t.Fatal("the good copy is not taken after the bad one")
	}
}

// Whoever steals the control key can sign rivals without end. A rotation ends
// it whatever the thief has filled.
func TestARotationGetsInAmongAnyNumberOfRivals(t *testing.T) {
	me := newPerson("me")
	a := me.add(0, nil, "me/1")
	au, _ := access.New(me.space()).With([]access.Commit{ownerCommit("g0", "me/1", nil, a)}, nil)
	full := false
	for i := range access.MaxLineage + 20 {
		rival := me.add(0, a, fmt.Sprint("me/", 100+i))
		next, out := au.With(nil, []access.Evidence{{Inception: me.inception, Events: events{a, rival}}})
		if len(out.Refused) > 0 {
			full = out.Refused[0].Reason == access.Full
		}
		au = next
	}
	if !full || len(au.Fork()) == 0 || len(au.Evidence()) >= access.MaxLineage {
		t.Fatalf("the rivals: refused %v, %d frozen, %d chains", full, len(au.Fork()), len(au.Evidence()))
	}
	own := me.rotate(0, a)
	last := me.add(1, own, "me/2")
	au, out := au.With([]access.Commit{ownerCommit("g1", "me/1", []string{"g0"}, own, last)}, nil)
	if len(out.Refused) > 0 || !au.Proven(principal("me/1")) || !au.Proven(principal("me/2")) || len(au.Fork()) > 0 {
		t.Fatalf("the rotation did not end it: %+v, fork of %d", out, len(au.Fork()))
	}
}

func TestWhatKeysDoesNotInterpretEndsTheChain(t *testing.T) {
	me := newPerson("me")
	a := me.add(0, nil, "me/1")
	grave := me.sign(0, a, wire.KeyEvent{Type: wire.Tombstone})
	below := me.add(0, grave, "me/2")
	au, out := access.New(me.space()).With([]access.Commit{ownerCommit("g0", "me/1", nil, a, grave, below)}, []access.Evidence{
		{Inception: me.inception, Events: events{a, grave, below}},
	})
	if len(out.Refused) > 0 || au.Len() != 1 || !au.Proven(principal("me/1")) || au.Proven(principal("me/2")) {
		t.Fatalf("outcome %+v", out)
	}
}

func TestEvidenceIsKeptOnlyForWhomARuleNames(t *testing.T) {
	me, bob, cat := newPerson("me"), newPerson("bob"), newPerson("cat")
	proof := func(p *person, devs ...string) access.Evidence {
		ev := access.Evidence{Inception: p.inception}
		var last *wire.KeyEvent
		for _, d := range devs {
			last = p.add(0, last, d)
			ev.Events = append(ev.Events, last)
		}
		return ev
	}
	base, _ := access.New(me.space()).With([]access.Commit{ownerCommit("g0", "me/1", nil, me.add(0, nil, "me/1"))}, nil)
	grant := func(who wire.Who) access.Commit {
		return access.Commit{ID: id(fmt.Sprint(who)), Author: principal("me/1"), Heads: hashes("g0"),
			Ops: []wire.Op{grantOp(wire.Grant{Who: who, May: sennit.Read})}}
	}
	both := []access.Evidence{proof(bob, "bob/1", "bob/2"), proof(cat, "cat/1")}
	if next, out := base.With(nil, both); next != base || len(out.Refused) != 2 || out.Refused[0].Reason != access.Uncovered {
		t.Fatalf("nobody is named: %+v", out)
	}
	for _, test := range []struct {
		who      string
		bob, cat bool
	}{{"bob", true, false}, {"bob/2", true, false}, {"any", true, true}, {"dan", false, false}} {
		next, out := base.With([]access.Commit{grant(who(test.who))}, both)
		if next.Proven(principal("bob/1")) != test.bob || next.Proven(principal("cat/1")) != test.cat {
			t.Errorf("%s is named: %+v", test.who, out)
		}
		if want := 1 + map[bool]int{true: 1}[test.bob] + map[bool]int{true: 1}[test.cat]; len(next.Evidence()) != want {
			t.Errorf("%s is named: %d pieces of evidence, want %d", test.who, len(next.Evidence()), want)
		}
	}
	named, _ := base.With([]access.Commit{grant(who("bob"))}, nil)
	for _, ev := range []access.Evidence{
		{Inception: bob.inception, Events: proof(cat, "cat/1").Events},
		{Inception: bob.inception, Events: events{nil}},
		{Inception: bob.inception, Events: proof(bob, "bob/1", "bob/2").Events[1:]},
		{Inception: bob.inception, Events: events{{Type: wire.DeviceAdd, Name: "\x00"}}},
	} {
		next, out := named.With(nil, []access.Evidence{ev})
		if next != named || len(out.Refused) != 1 || out.Refused[0].Reason != access.Malformed || out.Refused[0].Space != bob.space() {
			t.Errorf("evidence %v is taken: %+v", ev.Events, out)
		}
	}
}

// When the device of somebody who gave rules is removed, others lose what it
// gave them, and the outcome says that more must be judged again than the data
// of that somebody.
func TestRemovingADelegatesDeviceIsTold(t *testing.T) {
	bob, cat := newPerson("bob"), newPerson("cat")
	b1 := bob.add(0, nil, "bob/1")
	b2 := bob.add(0, b1, "bob/2")
	gone := bob.remove(0, b2, "bob/1")
	a := genesis(t, grantOp(wire.Grant{Who: who("bob"), May: sennit.AllRights}))
	a, _ = a.With([]access.Commit{{ID: id("b"), Author: principal("bob/1"), Heads: hashes("g0"),
		Ops: []wire.Op{grantOp(wire.Grant{Who: who("cat"), Prefix: "a", May: sennit.Write})}}}, []access.Evidence{
		{Inception: bob.inception, Events: events{b1}}, {Inception: cat.inception, Events: events{cat.add(0, nil, "cat/1")}},
	})
	c := claim("cat/1", "put", "a", "b")
	if a.Judge(c) != access.Valid {
		t.Fatal("what the delegate gave doesn't count")
	}
	for _, test := range []struct {
		chain   events
		rules   bool
		verdict access.Verdict
	}{{events{b1, b2}, false, access.Valid}, {events{b1, b2, gone}, true, access.Void}} {
		next, out := a.With(nil, []access.Evidence{{Inception: bob.inception, Events: test.chain}})
		if out.Rules != test.rules || !slices.Equal(out.Spaces, []sennit.Space{bob.space()}) || next.Judge(c) != test.verdict {
			t.Errorf("%d events: outcome %+v, verdict %d", len(test.chain), out, next.Judge(c))
		}
		a = next
	}
}

// A frame's buffer is used again when it was handled.
func TestNothingOfWhatIsOfferedIsKept(t *testing.T) {
	me, bob := newPerson("me"), newPerson("bob")
	c := ownerCommit("g0", "me/1", nil, me.add(0, nil, "me/1"))
	c.Ops = append(c.Ops, grantOp(wire.Grant{Who: who("bob"), Prefix: "a", Where: "b/*", May: sennit.AllRights}))
	ev, err := wire.DecodeKeyEvent(bob.add(0, nil, "bob/1").Bytes())
	if err != nil {
		t.Fatal(err)
	}
	proof := access.Evidence{Inception: bob.inception, Events: events{ev}}
	heads := hashes("g0")
	au, _ := access.New(me.space()).With([]access.Commit{c}, []access.Evidence{proof})
	encode := func() (b []byte) {
		for _, ev := range au.Evidence() {
			b = append(append(b, ev.Inception.Bytes()...), ev.Events[0].Bytes()...)
		}
		return b
	}
	digest, before := au.Digest(), encode()
	for _, op := range c.Ops {
		clear(op.Body)
	}
	clear(ev.HPKE)
	ev.Device, ev.Sigs[0], proof.Inception.Keys.Control[0] = sennit.Device{}, wire.KeySig{}, [32]byte{}
	judge := access.Claim{Author: principal("bob/1"), Auth: heads, Kind: sennit.KindPut, Path: "a/b/c"}
	if au.Digest() != digest || !bytes.Equal(encode(), before) || au.Judge(judge) != access.Valid {
		t.Fatal("the authority changed with what it was made from")
	}
	if _, err := keys.Evaluate(au.Evidence()[1].Inception, au.Evidence()[1].Events); err != nil {
		t.Fatal(err)
	}
	if au.Judge(claim("bob/1", "put", "a/b/c", "g0")) != access.Valid {
		t.Fatal("no more valid")
	}
}

// TestWhoIsNamed: a device is known once key events or a rule named it, also when
// it is removed.
func TestWhoIsNamed(t *testing.T) {
	me, bob, cat := newPerson("me"), newPerson("bob"), newPerson("cat")
	mine := me.add(0, nil, "me/1")
	gone := me.remove(0, mine, "me/1")
	bobs := bob.add(0, nil, "bob/1")
	a, _ := access.New(me.space()).With([]access.Commit{
		ownerCommit("g0", "me/1", nil, mine),
		{ID: id("g1"), Author: principal("me/1"), Heads: hashes("g0"), Ops: []wire.Op{
			grantOp(wire.Grant{Who: who("bob"), May: sennit.Read}), grantOp(wire.Grant{Who: who("-/7"), May: sennit.Write}),
		}},
	}, []access.Evidence{
		{Inception: bob.inception, Events: events{bobs, bob.remove(0, bobs, "bob/1")}},
		{Inception: cat.inception, Events: events{cat.add(0, nil, "cat/1")}},
	})
	for text, want := range map[string]bool{"me/1": true, "me/2": false, "bob/1": true, "bob/2": false, "cat/1": false, "-/7": true, "-/8": false} {
		if got := a.Names(principal(text)); got != want {
			t.Errorf("%s is named: %v", text, got)
		}
	}
	if liar := (sennit.Principal{Space: me.space(), Device: device("-/7")}); a.Names(liar) {
		t.Error("a device that a rule names is known as the owner's")
	}
	a, _ = a.With([]access.Commit{ownerCommit("g2", "me/1", []string{"g1"}, gone)}, nil)
	if who := principal("me/1"); a.Proven(who) || !a.Names(who) {
		t.Errorf("a removed device is proven: %v, and named: %v", a.Proven(who), a.Names(who))
	}
}
