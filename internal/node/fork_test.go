package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// apart reports whether two histories of one log differ.
func apart(a, b *log) bool {
	n := min(len(a.commits), len(b.commits))
	return a.rec == b.rec && !slices.EqualFunc(a.commits[:n], b.commits[:n], func(a, b *commit.Commit) bool { return a.ID == b.ID })
}

// proofs holds the proofs that a node keeps against the histories that were
// signed: none accuses an honest device, each is genuine, and there is one where
// the node holds what shows a fork.
func proofs(t failer, m *machine, space sennit.Space, logs []*log) {
	t.Helper()
	have, of := map[sennit.Hash]bool{}, map[sennit.Device]int{}
	for _, f := range m.Forks(space) {
		rec := f.Proof.Log
		key, err := keys.Admit(rec.Device)
		if err != nil {
			t.Fatalf("a proof about a key that isn't sound: %v", err)
		}
		if err := commit.CheckFork(f.Proof, func(id sennit.Hash, sig *[64]byte) bool { return key.Verify(keys.DomainCommit, id[:], sig) }); err != nil {
			t.Fatalf("a proof that proves nothing is kept: %v", err)
		}
		if rec.Space != space || rec.ID() != f.Log || have[f.Log] {
			t.Fatalf("a proof of log %s of space %s is kept as one of log %s", rec.ID(), rec.Space, f.Log)
		}
		if !slices.ContainsFunc(logs, func(a *log) bool {
			return a.rec == rec && slices.ContainsFunc(logs, func(b *log) bool { return apart(a, b) })
		}) {
			t.Fatalf("log %s is said to have forked, and its device is honest", f.Log)
		}
		have[f.Log] = true
		of[rec.Device]++
	}
	for _, rec := range m.shown(t, space) {
		if !have[rec.ID()] && of[rec.Device] < node.MaxForksOf {
			t.Fatalf("no proof that log %s forked", rec.ID())
		}
	}
}

// shown is the logs of known devices of which a node holds what shows that they
// forked: a signed commit, another one at its seq in another branch, a signed one
// there that isn't earlier, and the ids of all that came before both.
func (m *machine) shown(t failer, space sennit.Space) (forked []wire.Log) {
	t.Helper()
	a := m.Authority(space)
	if a == nil {
		return nil
	}
	v, err := m.st.View()
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	defer v.Release()
	num, _ := m.st.Space(space)
	commits := func(l *store.Log) (all map[uint64]*wire.Stored, known uint64) {
		all = map[uint64]*wire.Stored{}
		if err := v.Commits(l.Num, 1, func(seq uint64, rec *wire.Stored) error {
			all[seq] = rec
			return nil
		}); err != nil {
			t.Fatalf("commits: %v", err)
		}
		for {
			leaf, err := v.Node(l.Num, commit.Place{Index: known})
			if err != nil {
				t.Fatalf("node: %v", err)
			}
			if leaf.IsZero() {
				return all, known
			}
			known++
		}
	}
	shows := func(x, y *store.Log) bool {
		xs, knownX := commits(x)
		ys, knownY := commits(y)
		for seq, a := range xs {
			if a.Sig == nil || ys[seq] == nil || ys[seq].ID == a.ID || knownX < seq {
				continue
			}
			for later, b := range ys {
				if b.Sig != nil && later >= seq && later <= knownY {
					return true
				}
			}
		}
		return false
	}
	logs := m.st.Logs(num)
	for _, x := range logs {
		for _, y := range logs {
			if x != y && x.ID == y.ID && a.Names(sennit.Principal{Space: x.Rec.Principal, Device: x.Rec.Device}) && shows(x, y) {
				forked = append(forked, x.Rec)
			}
		}
	}
	return forked
}

// TestForksAreProved has a device sign two histories of a log, of any shape, and
// another log of which commits come in pieces. They are delivered in any order
// and in parts.
func TestForksAreProved(t *testing.T) {
	newIdentity(t, "owner")
	rapid.Check(t, func(rt *rapid.T) {
		c := newChoices(rapid.Uint64().Draw(rt, "seed"), rapid.IntRange(40, 300).Draw(rt, "choices"))
		if err := inBubble(t, func(f failer) { forksAreProved(f, t, c) }); err != nil {
			rt.Fatal(err)
		}
	})
}

// TestVerifyTakesALogThatCameInPieces: verify once said that such a log can't be
// taken, where it had forked.
func TestVerifyTakesALogThatCameInPieces(t *testing.T) {
	newIdentity(t, "owner")
	if err := inBubble(t, func(f failer) { forksAreProved(f, t, newChoices(0x1e, 102)) }); err != nil {
		t.Error(err)
	}
}

// watched is a node that knows a second device of its owner.
func watched(t failer, tb testing.TB, c *choices) (*scene, *machine) {
	t.Helper()
	id := newIdentity(tb, "owner")
	m := boot(t, &machine{id: id, fs: vfs.NewMem()})
	s := &scene{t: t, choices: c, owner: id.person, space: id.Space(), spare: secret("spare"), base: time.Now()}
	s.heads = []sennit.Hash{m.own(t, s.space)[0].commits[0].ID}
	l := newLog(s.space, s.space, s.spare, wire.Authority, 0)
	s.authorize(l, eventOp(s.owner.add(s.spare)))
	if err := m.deliver(l.rec, l.whole(t)); err != nil {
		t.Fatalf("deliver rules: %v", err)
	}
	return s, m
}

func forksAreProved(t failer, tb testing.TB, c *choices) {
	s, m := watched(t, tb, c)
	defer func() { m.stop() }()
	class := wire.Data
	if s.between(0, 3) == 0 {
		class = wire.Authority
	}
	write := func(l *log, n int) {
		for range n {
			op := putOp(oneOf(s, paths), fmt.Sprint(s.between(0, 1)))
			if l.rec.Class == wire.Authority {
				op = grantOp(wire.Grant{Who: wire.Who{Subject: wire.SubjectAny}, May: sennit.Read, Prefix: sennit.Path(oneOf(s, paths))})
			}
			l.write(t, uint64(s.base.UnixMilli()+int64(s.between(0, 2)))<<16, s.heads, op)
		}
	}
	x := newLog(s.space, s.space, s.spare, class, 1)
	write(x, s.between(0, 6))
	y := x.fork(s.between(0, len(x.commits)))
	write(x, s.between(0, 6))
	write(y, s.between(1, 6))
	honest := newLog(s.space, s.space, s.spare, wire.Data, 2)
	write(honest, s.between(2, 12))
	logs := []*log{x, y, honest}
	for len(c.list) > 8 {
		l := oneOf(s, logs)
		if len(l.commits) == 0 {
			continue
		}
		last := s.between(1, len(l.commits))
		first := s.between(1, last)
		from := 0
		if s.coin() {
			from = s.between(0, first-1)
		}
		left := uint16(s.between(0, 1<<16-1))
		s.tolerate(m.deliver(l.rec, l.run(t, from, first, last, func(seq int) bool { return left>>(seq%16)&1 == 0 }, allOps)))
		proofs(t, m, s.space, logs)
	}
	for _, l := range logs {
		for seq := 1; seq <= len(l.commits); seq++ { // each under a signature of its own, so that nothing is lacking
			if err := m.deliver(l.rec, l.run(t, 0, 1, seq, all, allOps)); err != nil {
				t.Fatalf("deliver: %v", err)
			}
		}
	}
	proofs(t, m, s.space, logs)
	before := m.Forks(s.space)
	if apart(x, y) != (len(before) == 1) {
		t.Fatalf("%d proofs, and that the histories differ is %v", len(before), apart(x, y))
	}
	m.whole(t, "the node")
	if err := m.stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	boot(t, m)
	after := m.Forks(s.space)
	if len(after) != len(before) || len(after) == 1 && (!bytes.Equal(after[0].Proof.Append(nil), before[0].Proof.Append(nil)) || !after[0].Found.Equal(before[0].Found)) {
		t.Fatalf("after a restart the proofs are %v, before %v", after, before)
	}
}

// accusation makes a proof by hand: both histories go on after the same commits.
func accusation(t failer, s *scene, key, nonce byte, clock uint64) *wire.ForkProof {
	t.Helper()
	dev := secret(fmt.Sprint("device ", key))
	x := newLog(s.space, s.space, dev, wire.Data, nonce)
	y := x.fork(0)
	a, b := x.write(t, clock, s.heads, putOp("a", "one")), y.write(t, clock, s.heads, putOp("a", "other"))
	return &wire.ForkProof{Log: x.rec, A: a.Header(s.space), B: b.Header(s.space), SigA: *a.Sig, SigB: *b.Sig}
}

// name has a rule name a device.
func name(t failer, s *scene, m *machine, key byte, nonce byte) {
	t.Helper()
	l := newLog(s.space, s.space, s.spare, wire.Authority, nonce)
	s.authorize(l, grantOp(wire.Grant{Who: wire.Who{Subject: wire.SubjectDevice, Key: public(secret(fmt.Sprint("device ", key)))}, May: sennit.Write}))
	if err := m.deliver(l.rec, l.whole(t)); err != nil {
		t.Fatalf("name a device: %v", err)
	}
}

// TestProofsFromPeers: nothing is kept of strangers, of what proves nothing, or
// beyond what there is room for.
func TestProofsFromPeers(t *testing.T) {
	newIdentity(t, "owner")
	if err := inBubble(t, func(f failer) {
		s, m := watched(f, t, newChoices(1, 10))
		defer func() { m.stop() }()
		give := func(p *wire.ForkProof) error {
			in := m.Intake()
			if err := in.Fork(context.Background(), p); err != nil {
				return err
			}
			_, err := in.Wait(context.Background())
			return err
		}
		guest := func(p *wire.ForkProof) *wire.ForkProof { // who doesn't say that it is the owner
			l := newLog(s.space, sennit.Space{}, secret("device 1"), wire.Data, p.Log.Nonce[0])
			y := l.fork(0)
			a, b := l.write(f, p.A.Clock, s.heads, putOp("a", "one")), y.write(f, p.B.Clock, s.heads, putOp("a", "other"))
			return &wire.ForkProof{Log: l.rec, A: a.Header(s.space), B: b.Header(s.space), SigA: *a.Sig, SigB: *b.Sig}
		}
		one := guest(accusation(f, s, 1, 1, 100))
		if err := give(one); sennit.CodeOf(err) != sennit.Denied || len(m.Forks(s.space)) > 0 {
			f.Fatalf("a proof about a stranger: %v", err)
		}
		name(f, s, m, 1, 10)
		for what, alter := range map[string]func(p *wire.ForkProof){
			"a wrong signature": func(p *wire.ForkProof) { p.SigB[5] ^= 1 },
			"the same twice":    func(p *wire.ForkProof) { p.B, p.SigB = p.A, p.SigA },
			"another log":       func(p *wire.ForkProof) { p.Log.Nonce[3]++ },
		} {
			bad := *one
			if alter(&bad); sennit.CodeOf(give(&bad)) != sennit.BadInput || len(m.Forks(s.space)) > 0 {
				f.Fatalf("%s: %v", what, give(&bad))
			}
		}
		liar := accusation(f, s, 1, 1, 100)
		if err := give(liar); sennit.CodeOf(err) != sennit.Denied || len(m.Forks(s.space)) > 0 {
			f.Fatalf("a proof about somebody who says that it is the owner: %v", err)
		}
		for range 2 {
			if err := give(one); err != nil || len(m.Forks(s.space)) != 1 {
				f.Fatalf("a good proof: %v, %d are kept", err, len(m.Forks(s.space)))
			}
		}
		first, second, gate := m.Intake(), m.Intake(), make(chan struct{})
		if err := first.Mark(context.Background(), func(error) { <-gate }); err != nil {
			f.Fatalf("hold the committer: %v", err)
		}
		for _, in := range []*node.Intake{first, second} { // both find that there is none yet
			if err := in.Fork(context.Background(), guest(accusation(f, s, 1, 20, 90))); err != nil {
				f.Fatalf("one of two sessions: %v", err)
			}
		}
		close(gate)
		for _, in := range []*node.Intake{first, second} {
			if _, err := in.Wait(context.Background()); err != nil || len(m.Forks(s.space)) != 2 {
				f.Fatalf("one of two sessions: %v, %d proofs are kept", err, len(m.Forks(s.space)))
			}
		}
		// The newest of a device are kept, in whatever order they come.
		clocks := func() (all []uint64) {
			for _, p := range m.Forks(s.space) {
				all = append(all, p.Proof.B.Clock)
			}
			slices.Sort(all)
			return all
		}
		for i, clock := range []uint64{107, 103, 101, 105, 102, 106, 104, 108} {
			if err := give(guest(accusation(f, s, 1, byte(2+i), clock))); err != nil {
				f.Fatalf("proof %d: %v", i, err)
			}
		}
		want := []uint64{101, 102, 103, 104, 105, 106, 107, 108}
		if !slices.Equal(clocks(), want) {
			f.Fatalf("proofs of %v are kept, want %v", clocks(), want)
		}
		if err := give(one); sennit.CodeOf(err) != sennit.OverQuota || !slices.Equal(clocks(), want) {
			f.Fatalf("a proof that went: %v; now %v are kept", err, clocks())
		}
		if err := m.stop(); err != nil {
			f.Fatalf("stop: %v", err)
		}
		if boot(f, m); !slices.Equal(clocks(), want) {
			f.Fatalf("after a restart proofs of %v are kept, want %v", clocks(), want)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// TestProofsAreMadeOnceTheDeviceIsKnown: what came of a stranger is kept, as any
// may write; when a rule names the device, what it signed is looked through.
func TestProofsAreMadeOnceTheDeviceIsKnown(t *testing.T) {
	newIdentity(t, "owner")
	if err := inBubble(t, func(f failer) {
		s, m := watched(f, t, newChoices(1, 10))
		defer func() { m.stop() }()
		rule := newLog(s.space, s.space, s.spare, wire.Authority, 9)
		s.authorize(rule, grantOp(wire.Grant{Who: wire.Who{Subject: wire.SubjectAny}, May: sennit.Write}))
		if err := m.deliver(rule.rec, rule.whole(f)); err != nil {
			f.Fatalf("rule: %v", err)
		}
		x := newLog(s.space, sennit.Space{}, secret("device 1"), wire.Data, 1)
		clock := uint64(s.base.UnixMilli()) << 16
		for i := range 4 {
			x.write(f, clock, s.heads[len(s.heads)-1:], putOp("a", fmt.Sprint(i)))
		}
		y := x.fork(1)
		y.write(f, clock, s.heads[len(s.heads)-1:], putOp("a", "other"))
		for _, l := range []*log{x, y} {
			if err := m.deliver(l.rec, l.whole(f)); err != nil {
				f.Fatalf("deliver: %v", err)
			}
		}
		if len(m.Forks(s.space)) > 0 {
			f.Fatalf("a proof about a stranger is kept")
		}
		name(f, s, m, 1, 10)
		proofs(f, m, s.space, []*log{x, y})
		if len(m.Forks(s.space)) != 1 {
			f.Fatalf("no proof was made when the device became known")
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// TestAProofAboutAnOwnLogEndsIt: what was written elsewhere isn't here, and the
// log doesn't go on all the same.
func TestAProofAboutAnOwnLogEndsIt(t *testing.T) {
	newIdentity(t, "owner")
	if err := inBubble(t, func(f failer) {
		s, m := watched(f, t, newChoices(1, 10))
		defer func() { m.stop() }()
		put := func() sennit.Version {
			v, err := m.Bus(m.Owner()).Write(context.Background(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: "a"}})
			if err != nil {
				f.Fatalf("write: %v", err)
			}
			return v
		}
		first := put()
		own := m.own(f, s.space)
		l := own[slices.IndexFunc(own, func(l *log) bool { return l.rec.Class == wire.Data })]
		var none commit.Peaks
		c, err := commit.Build(s.space, l.rec.ID(), &none, 1, s.heads[:1], []wire.Op{putOp("a", "elsewhere")}, m.id.SignCommit, nil)
		if err != nil {
			f.Fatalf("build: %v", err)
		}
		mine := l.commits[0]
		past := commit.Peaks{}
		if err := mine.Complete(s.space, &past); err != nil {
			f.Fatalf("complete: %v", err)
		}
		p := &wire.ForkProof{Log: l.rec, A: mine.Header(s.space), B: c.Header(s.space), SigA: *mine.Sig, SigB: *c.Sig}
		in := m.Intake()
		if err := in.Fork(context.Background(), p); err != nil {
			f.Fatalf("fork: %v", err)
		}
		if _, err := in.Wait(context.Background()); err != nil {
			f.Fatalf("fork: %v", err)
		}
		if _, inUse, err := m.Copied(); err != nil || !inUse.Equal(time.UnixMilli(time.Now().UnixMilli())) {
			f.Fatalf("it was found at %v that a copy is in use, %v", inUse, err)
		}
		log := func(v sennit.Version) string { return strings.Split(string(v), "-")[0] }
		if second := put(); log(second) == log(first) {
			f.Fatalf("after %s, %s was written to the same log", first, second)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// TestVerifyFindsProofsThatProveNothing puts proofs into a store behind a
// node's back.
func TestVerifyFindsProofsThatProveNothing(t *testing.T) {
	newIdentity(t, "owner")
	if err := inBubble(t, func(f failer) {
		s, m := watched(f, t, newChoices(1, 10))
		defer func() { m.stop() }()
		num, _ := m.st.Space(s.space)
		good := accusation(f, s, 1, 1, 100)
		forged := *good
		forged.SigA[0] ^= 1
		for _, test := range []struct {
			at   sennit.Hash
			p    *wire.ForkProof
			want string
		}{
			{good.Log.ID(), good, ""},
			{good.Log.ID(), &forged, "proves nothing"},
			{sennit.Hash{1}, good, "about another log"},
		} {
			b := m.st.Batch()
			b.PutFork(num, test.at, 1, test.p.Append(nil))
			if err := b.Sync(); err != nil {
				f.Fatalf("sync: %v", err)
			}
			found, err := m.Verify(context.Background(), func(uint64, uint64) {})
			if text := fmt.Sprintf("%q", found); err != nil || (test.want == "") != (len(found) == 0) || !strings.Contains(text, test.want) {
				f.Fatalf("it found %s, %v; want %q", text, err, test.want)
			}
			b = m.st.Batch()
			b.DropFork(num, test.at)
			if err := b.Sync(); err != nil {
				f.Fatalf("sync: %v", err)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// TestBothBranchesOfANewLogComeInOneGroup: what they have in common counts once.
func TestBothBranchesOfANewLogComeInOneGroup(t *testing.T) {
	newIdentity(t, "owner")
	if err := inBubble(t, func(f failer) {
		m, newLog, rules := spared(f, t)
		defer func() { m.stop() }()
		together := grouped(f, m)
		auth := []sennit.Hash{rules.commits[0].ID}
		now := uint64(m.clock().UnixMilli()) << 16
		a := newLog(1)
		a.write(f, now, auth, chunkOp("s", "common,"))
		b := a.fork(1)
		a.write(f, now+1, auth, chunkOp("s", "left,"))
		b.write(f, now+2, auth, chunkOp("s", "right,"))
		together(a.rec, a.whole(f), b.whole(f))
		n, err := m.Bus(m.Owner()).Get(context.Background(), sennit.Addr{Root: "me", Path: "s"})
		if err != nil || string(n.Value.Data) != "common,left,right," {
			f.Fatalf("the stream is %q, %v", n.Value.Data, err)
		}
		if _, err := m.Trie(context.Background(), m.Self().Space); err != nil {
			f.Fatalf("digests: %v", err)
		}
		m.whole(f, "the node")
	}); err != nil {
		t.Fatal(err)
	}
}

// TestABranchIsToldFromTheBeginning: to a reader who has another branch a log is
// told so that each message can be taken by itself, however small they are.
func TestABranchIsToldFromTheBeginning(t *testing.T) {
	newIdentity(t, "owner")
	if err := inBubble(t, func(f failer) {
		m, newLog, rules := spared(f, t)
		defer func() { m.stop() }()
		auth := []sennit.Hash{rules.commits[0].ID}
		now := uint64(m.clock().UnixMilli()) << 16
		a := newLog(1)
		for i := range 11 {
			a.write(f, now+uint64(i), auth, chunkOp("s", fmt.Sprint(i, ",")))
		}
		b := a.fork(7)
		b.write(f, now+20, auth, chunkOp("s", "b,"))
		other := boot(f, &machine{id: newIdentity(t, "left"), fs: vfs.NewMem()})
		defer other.stop()
		relay(f, m, other, m.Self().Space, how{limit: 1 << 20}) // the rules
		if err := errors.Join(m.deliver(b.rec, b.whole(f)), other.deliver(a.rec, a.whole(f))); err != nil {
			f.Fatalf("a branch each: %v", err)
		}
		var paths []sennit.Path
		for _, c := range append(a.commits, b.commits...) {
			paths = append(paths, tree.Moment("s", c.Clock))
		}
		slices.Sort(paths)
		for _, pushed := range [][]sennit.Path{slices.Compact(paths), nil} {
			relay(f, m, other, m.Self().Space, how{limit: 100, pushed: pushed})
			relay(f, other, m, m.Self().Space, how{limit: 100, pushed: pushed})
			if one, two := m.index(f, m.Self().Space), other.index(f, m.Self().Space); one != two {
				f.Fatalf("one has%s\nthe other%s", one, two)
			}
		}
		n, err := m.Bus(m.Owner()).Get(context.Background(), sennit.Addr{Root: "me", Path: "s"})
		if want := "0,1,2,3,4,5,6,7,8,9,10,b,"; err != nil || string(n.Value.Data) != want {
			f.Fatalf("the stream is %q, %v", n.Value.Data, err)
		}
		m.whole(f, "one")
		other.whole(f, "the other")
	}); err != nil {
		t.Fatal(err)
	}
}
