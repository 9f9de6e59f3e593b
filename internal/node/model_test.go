package node_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/bubble"
	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// scene is one space with its owner, some people, and three nodes.
type scene struct {
	t       failer
	choices *choices
	owner   *person
	space   sennit.Space
	spare   ed25519.PrivateKey // the owner's second device
	people  []*person
	nodes   []*machine
	rules   []*log // of authority
	data    []*log
	refs    reference
	heads   []sennit.Hash // all authority commits, oldest first
	watches []*watcher    // of each node
	drops   bool          // nodes collect what is superseded at once, and nobody loses a right, which would bring it back
	bursts  []*log        // in which one path was written many times: more than a collection leaves
	ties    bool          // clocks are few, and newer than what nodes write: most ops are the newest, and many equally
	fetched map[sennit.Hash]*log
	base    time.Time
}

var paths = []string{"a", "b", "a/b", "a/b/c", "a/c", "a b", "a-b/c", "b/a", "á/ü"}

func newScene(t failer, tb testing.TB, c *choices) *scene {
	id := newIdentity(tb, "owner")
	s := &scene{t: t, choices: c, owner: id.person, space: id.Space(), spare: secret("spare"), fetched: map[sennit.Hash]*log{}, base: time.Now()}
	s.refs.space = s.space
	s.ties, s.drops = s.coin(), s.coin()
	undo := time.Duration(0)
	if s.drops {
		undo = 1
	}
	for i, name := range []string{"owner", "left", "right"} {
		s.nodes = append(s.nodes, boot(t, &machine{id: newIdentity(tb, name), fs: vfs.NewMem(), undo: undo}))
		if i > 0 {
			s.people = append(s.people, s.nodes[i].id.person)
		}
	}
	for _, name := range []string{"ana", "ben"} {
		p := newPerson(name)
		p.add(secret(name + " 1"))
		p.add(secret(name + " 2"))
		s.people = append(s.people, p)
	}
	s.fetch()
	for _, m := range s.nodes[:1] { // the others don't know the space yet
		s.watches = append(s.watches, &watcher{m: m, tail: s.coin(), caller: node.Caller{Principal: m.Self()}})
	}
	// The second device's first commit adds it.
	l := newLog(s.space, s.space, s.spare, wire.Authority, 0)
	s.rules = append(s.rules, l)
	s.authorize(l, eventOp(s.owner.add(s.spare)))
	return s
}

func (s *scene) close() {
	for _, w := range s.watches {
		w.close()
	}
	for _, m := range s.nodes {
		if err := m.stop(); err != nil {
			panic(err)
		}
	}
}

// fetch takes note of what the nodes wrote themselves.
func (s *scene) fetch() {
	for _, m := range s.nodes {
		for _, l := range m.own(s.t, s.space) {
			have := s.fetched[l.rec.ID()]
			if have == nil {
				have = &log{rec: l.rec, nodes: map[commit.Place]sennit.Hash{}}
				s.fetched[l.rec.ID()] = have
				if l.rec.Class == wire.Data {
					s.data = append(s.data, have)
				} else {
					s.rules = append(s.rules, have)
				}
			}
			for _, c := range l.commits {
				if c.Seq <= uint64(len(have.commits)) {
					continue
				}
				have.adopt(c)
				if l.rec.Class == wire.Authority {
					s.heads = append(s.heads, c.ID)
				}
			}
		}
	}
}

// authorize writes an authority commit that descends from all others.
func (s *scene) authorize(l *log, ops ...wire.Op) {
	heads := slices.Clone(s.heads)
	if len(heads) > 8 {
		heads = heads[len(heads)-8:]
	}
	c := l.write(s.t, uint64(time.Now().UnixMilli())<<16, heads, ops...)
	s.heads = append(s.heads, c.ID)
}

func (s *scene) auth() []sennit.Hash {
	n := s.between(1, 2)
	var auth []sennit.Hash
	for range n {
		h := s.heads[s.between(0, len(s.heads)-1)]
		if !slices.Contains(auth, h) {
			auth = append(auth, h)
		}
	}
	return auth
}

func (s *scene) op(i int) wire.Op {
	p := oneOf(s, paths)
	switch s.between(0, 11) {
	case 0, 1:
		return delOp(p, false)
	case 2:
		return delOp(p, true)
	case 3:
		return wire.Op{Kind: sennit.KindAppend, Path: sennit.Path(p), Body: wire.Append{Data: fmt.Append(nil, "<", i, s.between(0, 9), ">")}.Append(nil)}
	case 4, 5:
		return s.add(p)
	case 6:
		return wire.Op{Kind: 99, Path: sennit.Path(p), Body: []byte("?")}
	}
	o := putOp(p, fmt.Sprint("v", i, s.between(0, 99)))
	return o
}

// add states some total, since some time that may or may not be that of a
// deletion.
func (s *scene) add(p string) wire.Op {
	total := oneOf(s, []int64{0, 1, 7, -3, 1 << 62, math.MaxInt64, math.MinInt64})
	base := s.base.UnixMilli()
	if s.ties {
		base = s.base.Add(node.MaxAhead - time.Minute).UnixMilli()
	}
	since := oneOf(s, []uint64{0, 0, uint64(base) << 16, uint64(base)<<16 | 1, uint64(base+3) << 16, uint64(base+1000) << 16})
	return addOp(p, since, total)
}

// write has a device that is no node's write by hand.
func (s *scene) write() {
	var l *log
	own := slices.DeleteFunc(slices.Clone(s.data), func(l *log) bool { return l.key == nil || slices.Contains(s.bursts, l) })
	if i := s.between(-1, len(own)-1); i >= 0 {
		l = own[i]
	} else {
		who := oneOf(s, []string{"spare", "ana 1", "ana 2", "ben 1"})
		principal := s.space
		switch who {
		case "ana 1", "ana 2":
			principal = s.people[2].space()
		case "ben 1":
			principal = s.people[3].space()
		}
		l = newLog(s.space, principal, secret(who), wire.Data, byte(len(s.data)+1))
		s.data = append(s.data, l)
	}
	base := s.base
	if s.coin() {
		base = time.Now()
	}
	clock := uint64(base.UnixMilli()+int64(oneOf(s, []int{-3, -2, 0, 1, 3, 3, 3})))<<16 | uint64(s.between(0, 1))
	if s.ties {
		clock = uint64(s.base.Add(node.MaxAhead-time.Minute).UnixMilli())<<16 | uint64(s.between(0, 2))
	}
	if s.between(0, 11) == 0 {
		clock += uint64(20*time.Minute/time.Millisecond) << 16
	}
	var ops []wire.Op
	for i := range s.between(1, 4) {
		ops = append(ops, s.op(i))
	}
	l.write(s.t, clock, s.auth(), ops...)
}

// burst has a device write one path again and again.
func (s *scene) burst() {
	l := newLog(s.space, s.people[2].space(), secret("ana 1"), wire.Data, byte(len(s.data)+1))
	s.data, s.bursts = append(s.data, l), append(s.bursts, l)
	p, auth, adds := oneOf(s, paths), s.auth(), s.between(0, 3) == 0
	for i := range s.between(18, 24) {
		o := putOp(p, fmt.Sprint("burst ", i))
		if adds {
			o = addOp(p, 0, int64(i))
		}
		l.write(s.t, uint64(s.base.UnixMilli()+int64(i))<<16, auth, o)
	}
}

// revoke takes rights back, perhaps but for some of what was written with them.
// In the logs of bursts a cut lies no further back than what collections leave.
func (s *scene) revoke() {
	if s.drops {
		return
	}
	if s.nodes[0].Self().Space == s.space && s.coin() {
		who := wire.Who{Subject: wire.SubjectSpace, Key: s.people[s.between(0, 3)].space()}
		m := s.nodes[0]
		if _, err := m.Revoke(context.Background(), m.Owner(), s.space, []node.Revocation{{Who: who, Prefix: sennit.Path(oneOf(s, []string{"", "a"})), Void: s.between(0, 3) == 0}}); err != nil {
			s.t.Fatalf("revoke: %v", err)
		}
		s.fetch()
		return
	}
	v := wire.Revoke{Prefix: sennit.Path(oneOf(s, []string{"", "", "a", "a/b", "b"}))}
	switch s.between(0, 5) {
	case 0:
		v.Who = wire.Who{Subject: wire.SubjectAny}
	case 1:
		v.Who = wire.Who{Subject: wire.SubjectDevice, Key: public(s.spare)}
	case 2:
		v.Who = wire.Who{Subject: wire.SubjectDevice, Key: public(secret(oneOf(s, []string{"ana 1", "ana 1", "ben 1"})))}
	default:
		v.Who = wire.Who{Subject: wire.SubjectSpace, Key: s.people[oneOf(s, []int{2, 2, 3})].space()}
	}
	for _, l := range append(slices.Clone(s.data), s.rules...) {
		id, n := l.rec.ID(), len(l.commits)
		if n == 0 || slices.ContainsFunc(v.Cuts, func(c wire.Cut) bool { return c.Log == id }) || s.between(0, 7) == 0 {
			continue
		}
		last := l.commits[s.between(max(0, n-8), n-1)]
		v.Cuts = append(v.Cuts, wire.Cut{Log: id, Seq: last.Seq, Last: last.ID})
	}
	slices.SortFunc(v.Cuts, func(a, b wire.Cut) int { return bytes.Compare(a.Log[:], b.Log[:]) })
	i := slices.IndexFunc(s.rules, func(l *log) bool { return l.key != nil })
	s.authorize(s.rules[i], wire.Op{Kind: sennit.KindRevoke, Body: v.Append(nil)})
}

// fork has a device lose its newest commits and go on.
func (s *scene) fork() {
	own := slices.DeleteFunc(slices.Clone(s.data), func(l *log) bool { return l.key == nil || len(l.commits) < 2 })
	if len(own) == 0 {
		return
	}
	l := oneOf(s, own)
	f := l.fork(s.between(0, len(l.commits)-1))
	s.data = append(s.data, f)
	f.write(s.t, uint64(s.base.UnixMilli())<<16, s.auth(), s.op(9))
}

// rule makes a rule, or changes keys.
func (s *scene) rule() {
	least := 0
	if s.drops {
		least = 2
	}
	switch s.between(least, 7) {
	case 0: // a person's device goes
		p := s.people[2]
		if len(p.events) == 2 {
			p.remove(secret("ana 2"))
		}
		return
	case 1: // the owner's spare device goes
		if len(s.owner.events) == 2 && s.coin() {
			e := s.owner.remove(s.spare)
			s.authorize(s.rules[len(s.rules)-1], eventOp(e))
		}
		return
	}
	who := wire.Who{Subject: wire.SubjectAny}
	switch i := s.between(0, 5); i {
	case 0:
		who = wire.Who{Subject: wire.SubjectDevice, Key: public(secret("ben 1"))}
	case 1:
	default:
		who = wire.Who{Subject: wire.SubjectSpace, Key: s.people[i-2].space()}
	}
	g := wire.Grant{
		Who: who, May: oneOf(s, []sennit.Rights{sennit.Write, sennit.Write | sennit.Remove, sennit.Read | sennit.Write | sennit.Remove | sennit.Grant}),
		Prefix: sennit.Path(oneOf(s, []string{"", "a", "b", "a/b"})),
	}
	i := slices.IndexFunc(s.rules, func(l *log) bool { return l.key != nil })
	s.authorize(s.rules[i], grantOp(g))
}

// local has a node write.
func (s *scene) local() {
	m := oneOf(s, s.nodes)
	var changes []sennit.Change
	for i := range s.between(1, 3) {
		c := sennit.Change{Kind: sennit.KindPut, Path: sennit.Path(oneOf(s, paths)), Value: sennit.Value{Data: fmt.Append(nil, "local", i)}}
		if s.between(0, 2) == 0 {
			c.Kind, c.Deep, c.Value = sennit.KindDel, s.coin(), sennit.Value{}
		} else if s.between(0, 2) == 0 {
			c.Kind, c.Delta, c.Value = sennit.KindAdd, int64(s.between(-2, 5)), sennit.Value{}
		} else if s.between(0, 2) == 0 {
			c.Kind, c.Value.Data = sennit.KindAppend, fmt.Append(nil, "<local", i, ">")
		}
		changes = append(changes, c)
	}
	_, err := m.Bus(m.Owner()).Write(context.Background(), s.space.String(), changes)
	if err != nil && sennit.CodeOf(err) != sennit.NotFound && sennit.CodeOf(err) != sennit.Denied {
		s.t.Fatalf("write: %v", err)
	}
	s.fetch()
}

// deliver hands a node something, maybe what it has, maybe only parts, maybe
// before it can be of use.
func (s *scene) deliver() {
	m := oneOf(s, s.nodes)
	switch s.between(0, 3) {
	case 0:
		s.evidence(m)
	case 1:
		l := oneOf(s, s.rules)
		if len(l.commits) == 0 {
			return
		}
		last := s.between(1, len(l.commits))
		s.tolerate(m.deliver(l.rec, l.run(s.t, 0, 1, last, all, allOps)))
	default:
		if len(s.data) == 0 {
			return
		}
		l := oneOf(s, s.data)
		var runs []*wire.Run
		for range s.between(1, 2) {
			last := s.between(1, len(l.commits))
			first := s.between(1, last)
			from := 0
			if s.coin() {
				from = s.between(0, first-1)
			}
			left, gone := uint16(s.between(0, 1<<16-1)), uint16(s.between(0, 1<<16-1))
			if s.coin() {
				left, gone = 0, 0
			}
			runs = append(runs, l.run(s.t, from, first, last,
				func(seq int) bool { return left>>(seq%16)&1 == 0 },
				func(seq int, i uint32) bool { return gone>>((seq+int(i))%16)&1 == 0 }))
		}
		s.tolerate(m.deliver(l.rec, runs...))
	}
}

// tolerate accepts what may go wrong while things come in any order.
func (s *scene) tolerate(err error) {
	s.t.Helper()
	var behind *node.Behind
	switch code := sennit.CodeOf(err); {
	case errors.As(err, &behind), code == "", code == sennit.Denied, code == sennit.Conflict:
	default:
		s.t.Fatalf("deliver: %v (%s)", err, code)
	}
}

func (s *scene) evidence(m *machine) {
	in := m.Intake()
	for _, p := range append([]*person{s.owner}, s.people...) {
		if err := in.Evidence(context.Background(), s.space, p.evidence()); err != nil {
			s.t.Fatalf("evidence: %v", err)
		}
	}
	if _, err := in.Wait(context.Background()); err != nil {
		s.t.Fatalf("evidence: %v", err)
	}
}

// restart stops a node and starts it again.
func (s *scene) restart() {
	m := oneOf(s, s.nodes)
	for _, w := range s.watches {
		if w.m == m {
			w.close() // and go on at the cursor when there is something to read
		}
	}
	if err := m.stop(); err != nil {
		s.t.Fatalf("stop: %v", err)
	}
	boot(s.t, m)
}

// collect has a node drop what is superseded.
func (s *scene) collect() {
	m := oneOf(s, s.nodes)
	if m.Authority(s.space) == nil {
		return
	}
	if _, err := m.Collect(context.Background(), s.space, nil); err != nil {
		s.t.Fatalf("collect: %v", err)
	}
	if s.between(0, 3) == 0 {
		m.whole(s.t, "a node that collected")
	}
}

// read has a watcher read what there is, or go away until it reads again.
func (s *scene) read() {
	for _, m := range s.nodes[1:] {
		if m.Authority(s.space) != nil && !slices.ContainsFunc(s.watches, func(w *watcher) bool { return w.m == m }) {
			who := sennit.Principal{Space: s.space, Device: s.nodes[0].Self().Device}
			s.watches = append(s.watches, &watcher{m: m, tail: s.coin(), caller: node.Caller{Principal: who}})
		}
	}
	w := oneOf(s, s.watches)
	if s.between(0, 2) == 0 {
		w.close()
		return
	}
	w.read(s.t, s.space)
}

// watcher keeps the state that a watch tells.
type watcher struct {
	m      *machine
	tail   bool
	caller node.Caller
	w      sennit.Watch
	cursor sennit.Cursor
	state  map[sennit.Path]string
	mixed  map[sennit.Path]bool // streams that some chunk came late to
}

func (w *watcher) close() {
	if w.w != nil {
		w.w.Close()
		w.w = nil
	}
}

// read takes in what there is.
func (w *watcher) read(t failer, space sennit.Space) {
	t.Helper()
	if w.w == nil {
		if w.cursor == (sennit.Cursor{}) {
			w.state, w.mixed = map[sennit.Path]string{}, map[sennit.Path]bool{} // a snapshot begins
		}
		var err error
		w.w, err = w.m.Bus(w.caller).Watch(context.Background(), []sennit.Pattern{{Root: space.String()}}, sennit.WatchOptions{Since: w.cursor, Tail: w.tail})
		if sennit.CodeOf(err) == sennit.NotFound {
			return // it doesn't know yet who may read
		}
		if err != nil {
			t.Fatalf("watch: %v", err)
		}
	}
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		updates, err := w.w.Next(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return
		}
		if err != nil {
			t.Fatalf("next: %v", err)
		}
		for _, u := range updates {
			switch u.Kind {
			case sennit.Set:
				w.state[u.Node.Path] = string(u.Node.Value.Data)
				delete(w.mixed, u.Node.Path)
			case sennit.Appended:
				if u.Late && !w.tail {
					t.Fatalf("a watch of the present state is told that a chunk came late")
				}
				w.state[u.Node.Path] += string(u.Node.Value.Data)
				w.mixed[u.Node.Path] = w.mixed[u.Node.Path] || u.Late
			case sennit.Deleted:
				for p := range w.state {
					if p == u.Node.Path || u.Deep && p.Under(u.Node.Path) {
						delete(w.state, p)
						delete(w.mixed, p)
					}
				}
			case sennit.Reset:
				clear(w.state)
				clear(w.mixed)
			}
			w.cursor = u.Cursor
		}
	}
}

// compare holds what was told against the reference.
func (w *watcher) compare(t failer, r *reference) {
	t.Helper()
	w.read(t, r.space)
	want := map[sennit.Path]string{}
	for p := range r.live {
		if _, value, ok := r.value(p); ok {
			want[p] = value
		}
	}
	for p := range w.mixed {
		if w.mixed[p] { // all chunks, in whatever order
			w.state[p], want[p] = unordered(w.state[p]), unordered(want[p])
		}
	}
	if !maps.Equal(w.state, want) {
		t.Fatalf("a watch (tail: %v) told %v, want %v", w.tail, w.state, want)
	}
}

// unordered is a stream's chunks in an order that doesn't depend on theirs.
func unordered(stream string) string {
	chunks := strings.SplitAfter(stream, ">")
	slices.Sort(chunks)
	return strings.Join(chunks, "")
}

// how picks a way to tell a node everything that matters.
func (s *scene) how(to *machine) how {
	h := how{limit: oneOf(s, []int{1, 200, 1 << 20}), known: s.coin()}
	if s.coin() {
		h.skip = to.has(s.t, s.space)
	}
	if s.between(0, 2) == 0 {
		h.pushed = []sennit.Path{""}
		for _, p := range paths {
			h.pushed = append(h.pushed, sennit.Path(p))
		}
		for _, l := range s.data {
			for _, c := range l.commits {
				c.Each(func(_ uint32, op *wire.Op) { h.pushed = append(h.pushed, tree.Moment(op.Path, c.Clock)) })
			}
		}
	}
	return h
}

// relay has a node tell another one something.
func (s *scene) relay() {
	i := s.between(0, 2)
	from, to := s.nodes[i], s.nodes[(i+s.between(1, 2))%3]
	h := s.how(to)
	if s.coin() {
		prefix := sennit.Path(oneOf(s, []string{"a", "b", "a/b"}))
		h.filter = func(p sennit.Path, deep bool) bool { return p.Under(prefix) || deep && prefix.Under(p) }
	}
	relay(s.t, from, to, s.space, h)
}

// admit tells a node that the second device is the owner's.
func (s *scene) admit(m *machine) {
	for _, l := range s.rules {
		s.tolerate(m.deliver(l.rec, l.whole(s.t)))
	}
}

// settle brings everything to one node, has the nodes tell each other, and
// holds all of them against the reference.
func (s *scene) settle() {
	s.fetch()
	first := oneOf(s, s.nodes)
	for range 3 {
		for _, id := range s.heads { // a commit comes after those that it names
			for _, l := range s.rules {
				if i := slices.IndexFunc(l.commits, func(c *commit.Commit) bool { return c.ID == id }); i >= 0 {
					s.tolerate(first.deliver(l.rec, l.run(s.t, 0, 1, i+1, all, allOps)))
				}
			}
		}
		s.evidence(first)
	}
	for _, l := range s.data {
		if len(l.commits) > 0 {
			s.tolerate(first.deliver(l.rec, l.whole(s.t)))
		}
	}
	for _, p := range append([]*person{s.owner}, s.people...) {
		e := p.evidence()
		s.refs.evidence = append(s.refs.evidence, access.Evidence{Inception: e.Inception, Events: e.Events})
	}
	for _, l := range append(slices.Clone(s.rules), s.data...) {
		s.refs.add(l)
	}
	for _, wait := range []time.Duration{0, time.Hour} {
		time.Sleep(wait) // in the bubble: nothing waits
		synctest.Wait()
		for range 2 {
			for i, from := range s.nodes {
				to := s.nodes[(i+1)%len(s.nodes)]
				relay(s.t, from, to, s.space, s.how(to))
			}
		}
		s.refs.latest = uint64(time.Now().Add(node.MaxAhead).UnixMilli())
		s.refs.settle()
		for i, m := range s.nodes {
			s.refs.compare(s.t, fmt.Sprintf("node %d after %v", i, wait), m)
			proofs(s.t, m, s.space, slices.Concat(s.rules, s.data))
		}
		for _, w := range s.watches {
			w.compare(s.t, &s.refs)
		}
	}
	i := s.between(0, len(s.nodes)-1)
	s.nodes[i].whole(s.t, fmt.Sprint("node ", i))
}

// TestNodesConverge writes, forks, grants, removes devices, delivers in any
// order and in parts, relays and restarts; in the end every node shows what
// follows from all of it by definition.
func TestNodesConverge(t *testing.T) {
	for _, name := range []string{"owner", "left", "right"} {
		newIdentity(t, name)
	}
	longest := 500
	if testing.Short() {
		longest = 250
	}
	rapid.Check(t, func(rt *rapid.T) {
		c := newChoices(rapid.Uint64().Draw(rt, "seed"), rapid.IntRange(60, longest).Draw(rt, "choices"))
		if err := converge(t, c); err != nil {
			rt.Fatal(err)
		}
	})
}

// TestNodesConvergedNot has scenes in which they once did not, or in which
// verify said so.
func TestNodesConvergedNot(t *testing.T) {
	for _, name := range []string{"owner", "left", "right"} {
		newIdentity(t, name)
	}
	for what, c := range map[string]*choices{
		"one node takes a log for forked that came in pieces":      newChoices(0x28, 307),
		"a late deletion leaves a value that a counter had hidden": newChoices(0x8bb4f, 238),
	} {
		if err := converge(t, c); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// converge plays a scene.
func converge(t *testing.T, c *choices) error {
	return inBubble(t, func(f failer) {
		s := newScene(f, t, c)
		defer s.close()
		actions := []func(){
			s.write, s.write, s.fork, s.rule, s.local, s.deliver, s.deliver, s.restart,
			func() { time.Sleep(time.Second) },
			s.relay, s.relay, s.read, s.read, s.collect, s.burst, s.revoke, s.revoke,
		}
		for len(c.list) > 40 { // the rest decides how it ends
			actions[s.between(0, len(actions)-1)]()
		}
		s.settle()
	})
}

// choices decide what happens in a scene. They are drawn before it begins:
// time is not real while it lasts, which rapid couldn't bear.
type choices struct{ list []uint16 }

func newChoices(seed uint64, n int) *choices {
	from := rand.New(rand.NewPCG(seed, 0))
	c := &choices{make([]uint16, n)}
	for i := range c.list {
		c.list[i] = uint16(from.Uint32())
	}
	return c
}

func (c *choices) next() int {
	if len(c.list) == 0 {
		return 0
	}
	v := c.list[0]
	c.list = c.list[1:]
	return int(v)
}

func (s *scene) between(low, high int) int { return low + s.choices.next()%(high-low+1) }
func (s *scene) coin() bool                { return s.choices.next()%2 == 1 }

func oneOf[T any](s *scene, list []T) T { return list[s.choices.next()%len(list)] }

// failure is how a helper ends a scene.
type failure string

type scenery struct{}

func (scenery) Helper()                           {}
func (scenery) Fatalf(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

// inBubble runs f where time is not real, and says why it failed.
func inBubble(t *testing.T, f func(failer)) (err error) {
	bubble.Test(t, func(*testing.T) {
		defer func() {
			switch p := recover().(type) {
			case nil:
			case failure:
				err = errors.New(string(p))
			default:
				panic(p)
			}
		}()
		f(scenery{})
	})
	return err
}

// TestMergingInAnyOrder delivers many commits with few different clocks to one
// node, in any order, many in one group commit, between writes of its own.
func TestMergingInAnyOrder(t *testing.T) {
	newIdentity(t, "owner")
	rapid.Check(t, func(rt *rapid.T) {
		c := newChoices(rapid.Uint64().Draw(rt, "seed"), rapid.IntRange(20, 400).Draw(rt, "choices"))
		if err := inBubble(t, func(f failer) { mergeInAnyOrder(f, t, c) }); err != nil {
			rt.Fatal(err)
		}
	})
}

func mergeInAnyOrder(t failer, tb testing.TB, c *choices) {
	id := newIdentity(tb, "owner")
	m := boot(t, &machine{id: id, fs: vfs.NewMem()})
	defer m.stop()
	s := &scene{t: t, choices: c, owner: id.person, space: id.Space()}
	rules := m.own(t, s.space)[0]
	s.heads = []sennit.Hash{rules.commits[0].ID}
	l := newLog(s.space, s.space, secret("spare"), wire.Authority, 0)
	s.authorize(l, eventOp(s.owner.add(secret("spare"))))
	if err := m.deliver(l.rec, l.whole(t)); err != nil {
		t.Fatalf("deliver rules: %v", err)
	}
	var logs []*log
	for i := range s.between(1, 4) {
		logs = append(logs, newLog(s.space, s.space, secret("spare"), wire.Data, byte(i)))
	}
	now := uint64(time.Now().UnixMilli()) << 16
	intakes := []*node.Intake{m.Intake(), m.Intake()}
	for len(c.list) > 0 {
		l := oneOf(s, logs)
		switch s.between(0, 5) {
		case 0:
			_, err := m.Bus(m.Owner()).Write(context.Background(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: sennit.Path(oneOf(s, paths))}})
			if err != nil {
				t.Fatalf("write: %v", err)
			}
		case 1, 2:
			var ops []wire.Op
			for i := range s.between(1, 3) {
				ops = append(ops, s.op(i))
			}
			l.write(t, now+uint64(s.between(0, 2)), s.heads[:1], ops...)
		default:
			if len(l.commits) == 0 {
				continue
			}
			in := oneOf(s, intakes)
			if err := in.Log(l.rec); err != nil {
				t.Fatalf("log: %v", err)
			}
			first := s.between(1, len(l.commits))
			from := 0
			if s.coin() {
				from = first - 1
			}
			var behind *node.Behind
			if err := in.Run(context.Background(), l.run(t, from, first, s.between(first, len(l.commits)), all, allOps)); err != nil && !errors.As(err, &behind) {
				t.Fatalf("run: %v", err)
			}
			if s.between(0, 3) == 0 {
				synctest.Wait()
			}
		}
	}
	for _, in := range intakes {
		if _, err := in.Wait(context.Background()); err != nil && sennit.CodeOf(err) != sennit.Conflict {
			t.Fatalf("wait: %v", err)
		}
	}
	r := &reference{space: s.space, latest: uint64(time.Now().Add(node.MaxAhead).UnixMilli())}
	r.evidence = []access.Evidence{{Inception: s.owner.inception, Events: s.owner.events}}
	for _, l := range append(logs, l) {
		if len(l.commits) > 0 {
			if err := m.deliver(l.rec, l.whole(t)); err != nil {
				t.Fatalf("deliver: %v", err)
			}
			r.add(l)
		}
	}
	for _, l := range m.own(t, s.space) {
		r.add(l)
	}
	r.settle()
	r.compare(t, "the node", m)
	m.whole(t, "the node")
}

// TestEveryBranchOfALogIsPlaced: a branch that begins while others are stored
// already takes its place by the order of all ops, also where clocks are equal.
func TestEveryBranchOfALogIsPlaced(t *testing.T) {
	newIdentity(t, "owner")
	newIdentity(t, "left")
	newIdentity(t, "right")
	if err := inBubble(t, func(f failer) {
		s := newScene(f, t, newChoices(1, 60))
		defer s.close()
		m := s.nodes[0]
		s.admit(m)
		clock, auth := uint64(s.base.UnixMilli())<<16, s.heads[len(s.heads)-1:]
		trunk := newLog(s.space, s.space, s.spare, wire.Data, 1)
		trunk.write(f, clock, auth, putOp("a", "first"))
		for i := range 4 {
			l := trunk
			if i > 0 {
				l = trunk.fork(1)
			}
			ops := []wire.Op{addOp("n", 0, int64(100*i))} // of one log, the newest total counts
			// By index, the newest branch is in front.
			for j := range i {
				ops = append(ops, putOp(fmt.Sprint("b/", j), "also"))
			}
			l.write(f, clock, auth, append(ops, putOp("a", fmt.Sprint("branch ", i)))...)
			s.data = append(s.data, l)
			if err := m.deliver(l.rec, l.whole(f)); err != nil {
				f.Fatalf("branch %d: %v", i, err)
			}
		}
		s.settle()
	}); err != nil {
		t.Fatal(err)
	}
}
