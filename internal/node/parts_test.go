package node_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// This file plays histories among nodes that hold different parts of a space.
// To be quick, the same nodes play many of them, each in a space of its own.

// troupe is an origin, two followers of different parts, and one of both.
type troupe struct {
	nodes []*machine
	parts []prefix.Set // that each node takes
	drops bool         // they collect all that is superseded, and nobody loses a right
	shows int
}

func newTroupe(t failer, tb testing.TB, drops bool) *troupe {
	x := &troupe{drops: drops, parts: []prefix.Set{prefix.All(), prefix.Of("a"), prefix.Of("b"), prefix.Of("a", "b")}}
	undo := node.Config{}.Undo
	if drops {
		undo = 1
	}
	for _, name := range []string{"owner", "left", "right", "third"} {
		x.nodes = append(x.nodes, boot(t, &machine{id: newIdentity(tb, name), fs: vfs.NewMem(), undo: undo}))
	}
	return x
}

func (x *troupe) stop() {
	for _, m := range x.nodes {
		if err := m.stop(); err != nil {
			panic(err)
		}
	}
}

// show is one history.
type show struct {
	scene
	parts []prefix.Set // that each node takes
	sent  map[*log]int // how much of each log the origin was given
}

func (x *troupe) show(t failer, c *choices) *show {
	x.shows++
	w := &show{parts: x.parts, sent: map[*log]int{}}
	name := fmt.Sprint("show ", x.shows)
	owner := newPerson(name)
	w.scene = scene{
		t: t, choices: c, owner: owner, space: owner.space(), spare: secret("spare"), nodes: x.nodes, drops: x.drops,
		fetched: map[sennit.Hash]*log{}, base: x.nodes[0].clock(),
	}
	w.scene.refs.space = w.space
	w.ties = w.coin()
	for _, who := range []string{"cat", "dan", "ana", "ben"} {
		p := newPerson(who)
		p.add(secret(who + " 1"))
		p.add(secret(who + " 2"))
		w.people = append(w.people, p)
	}
	l := newLog(w.space, w.space, w.spare, wire.Authority, 0)
	w.rules = append(w.rules, l)
	everybody := wire.Grant{Who: wire.Who{Subject: wire.SubjectAny}, May: sennit.Write | sennit.Remove}
	w.authorize(l, wire.Op{Kind: sennit.KindKey, Body: wire.Key{Inception: &owner.inception}.Append(nil)}, eventOp(owner.add(w.spare)), grantOp(everybody))
	return w
}

// publish gives the origin some of what was written.
func (w *show) publish(everything bool) {
	m := w.nodes[0]
	if a := m.Authority(w.space); a == nil || everything {
		w.evidence(m)
	}
	for _, id := range w.heads {
		for _, l := range w.rules {
			i := slices.IndexFunc(l.commits, func(c *commit.Commit) bool { return c.ID == id })
			if i >= w.sent[l] && (everything || w.coin()) {
				if w.tolerate(m.deliver(l.rec, l.run(w.t, i, i+1, i+1, all, allOps))); m.Authority(w.space).Has(id) {
					w.sent[l] = i + 1
				}
			}
		}
	}
	for _, l := range w.data {
		n := len(l.commits)
		if !everything {
			n = w.between(w.sent[l], n)
		}
		if n == w.sent[l] {
			continue
		}
		err := m.deliver(l.rec, l.run(w.t, w.sent[l], w.sent[l]+1, n, all, allOps))
		if w.tolerate(err); err != nil { // a branch that begins here
			err = m.deliver(l.rec, l.run(w.t, 0, 1, n, all, allOps))
		}
		if w.tolerate(err); err == nil {
			w.sent[l] = n
		}
	}
}

// pass has a node tell another one what that takes.
func (w *show) pass(i, k int, pushed bool) {
	part := w.parts[i].And(w.parts[k])
	how := how{limit: oneOf(&w.scene, []int{200, 1 << 20}), known: w.coin()}
	if !part.Has("") {
		how.filter = part.Concerns
	}
	if pushed {
		how.pushed = []sennit.Path{""}
		for _, l := range w.data {
			for _, c := range l.commits {
				c.Each(func(_ uint32, op *wire.Op) {
					how.pushed = append(how.pushed, op.Path, tree.Moment(op.Path, c.Clock))
				})
			}
		}
		slices.Sort(how.pushed)
		how.pushed = slices.Compact(how.pushed)
	}
	relay(w.t, w.nodes[i], w.nodes[k], w.space, how)
}

// equal reports whether two nodes have the same digests of what both take.
func (w *show) equal(i, k int) bool {
	for _, p := range w.parts[i].And(w.parts[k]) {
		if w.digest(i, p).Hash != w.digest(k, p).Hash {
			return false
		}
	}
	return w.nodes[i].Authority(w.space).Digest() == w.nodes[k].Authority(w.space).Digest()
}

// digest is what a node has of a part, whoever may read it.
func (w *show) digest(i int, p sennit.Path) tree.Info {
	m := w.nodes[i]
	if m.Authority(w.space) == nil {
		return tree.Info{}
	}
	t, err := m.Trie(context.Background(), w.space)
	if err != nil {
		w.t.Fatalf("digest of %q at node %d: %v", p, i, err)
	}
	info, _, err := tree.Find(t, p)
	if err = errors.Join(err, t.Done()); err != nil {
		w.t.Fatalf("digest of %q at node %d: %v", p, i, err)
	}
	return info
}

// differences says what nodes that don't agree hold.
func (w *show) differences() (text string) {
	for i := range w.nodes {
		for k := range i {
			if !w.equal(i, k) {
				text += fmt.Sprintf("\nnodes %d and %d", i, k)
			}
		}
		text += fmt.Sprintf("\nnode %d has%s", i, w.nodes[i].index(w.t, w.space))
	}
	return text
}

// end brings everything to the origin, has all tell each other until nothing
// differs, and holds them against what follows from everything by definition.
func (w *show) end() {
	for range 3 {
		w.publish(true)
	}
	for round := 0; ; round++ {
		differ := 0
		for i := range w.nodes {
			for k := range w.nodes {
				if i != k && (w.nodes[k].Authority(w.space) == nil || !w.equal(i, k)) {
					differ++
					w.pass(i, k, true)
				}
			}
		}
		if differ == 0 {
			break
		}
		if round == 4 {
			w.t.Fatalf("they tell each other all they have, and still differ:%s", w.differences())
		}
	}
	for _, p := range append([]*person{w.owner}, w.people...) {
		e := p.evidence()
		w.refs.evidence = append(w.refs.evidence, access.Evidence{Inception: e.Inception, Events: e.Events})
	}
	for _, l := range append(slices.Clone(w.rules), w.data...) {
		w.refs.add(l)
	}
	w.refs.latest = uint64(w.nodes[0].clock().Add(node.MaxAhead).UnixMilli())
	w.refs.settle()
	trie := w.refs.trie(w.t)
	for i, m := range w.nodes {
		if m.Authority(w.space).Digest() != w.refs.rules.Digest() {
			w.t.Fatalf("node %d has other rules", i)
		}
		for _, p := range w.parts[i] {
			want, _, err := tree.Find(trie, p)
			if err != nil {
				w.t.Fatalf("the reference: %v", err)
			}
			if got := w.digest(i, p); got.Hash != want.Hash {
				w.t.Fatalf("node %d has %d live ops under %q, not %d\nit has%s\nof%s", i, got.Ops, p, want.Ops, m.index(w.t, w.space), w.refs.index())
			}
		}
	}
}

// play plays one history.
func (w *show) play() {
	w.publish(true)
	actions := []func(){
		w.write, w.write, w.write, w.fork, w.rule, w.burst, w.revoke,
		func() { w.publish(false) },
		func() { w.publish(false) },
		func() {
			i := w.between(0, len(w.nodes)-1)
			w.pass(i, (i+w.between(1, len(w.nodes)-1))%len(w.nodes), w.coin())
		},
		func() { w.pass(0, w.between(1, 3), w.coin()) },
		func() {
			m := oneOf(&w.scene, w.nodes)
			if m.Authority(w.space) == nil {
				return
			}
			if _, err := m.Collect(context.Background(), w.space, nil); err != nil {
				w.t.Fatalf("collect: %v", err)
			}
		},
	}
	for len(w.choices.list) > 20 {
		actions[w.between(0, len(actions)-1)]()
	}
	w.end()
}

// TestPartsAgree plays 20 histories for each check of rapid, or 2: followers of different parts of a space, told in any order,
// collected at different times, with forks and with revocations that come late,
// agree wherever what they hold overlaps, and lack nothing that a revocation
// brings back.
func TestPartsAgree(t *testing.T) {
	for _, name := range []string{"owner", "left", "right", "third"} {
		newIdentity(t, name)
	}
	checks, err := strconv.Atoi(flag.Lookup("rapid.checks").Value.String())
	if err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		checks /= 10
	}
	for batch := range checks / 5 {
		t.Run(strconv.Itoa(batch), func(t *testing.T) {
			t.Parallel()
			if at, err := playMany(t, uint64(batch)<<32, 100, batch%4 == 3); err != nil {
				t.Errorf("history %d: %v", at, err)
			}
		})
	}
}

// TestHistoriesThatFailed plays again what the long proof has found.
func TestHistoriesThatFailed(t *testing.T) {
	for _, name := range []string{"owner", "left", "right", "third"} {
		newIdentity(t, name)
	}
	for _, found := range []struct {
		what  string
		batch uint64
		shows int
	}{
		{"both branches of a new log in one group: what they share counted twice", 677, 1},
		{"a log told in small pieces to who has another branch: it never ended", 66, 36},
	} {
		t.Run(found.what, func(t *testing.T) {
			if at, err := playMany(t, found.batch<<32, found.shows, found.batch%4 == 3); err != nil {
				t.Errorf("history %d: %v", at, err)
			}
		})
	}
}

func playMany(t *testing.T, seed uint64, shows int, drops bool) (at int, err error) {
	err = inBubble(t, func(f failer) {
		x := newTroupe(f, t, drops)
		defer x.stop()
		for at = range shows {
			x.show(f, newChoices(seed+uint64(at), 40+int(seed+uint64(at)*7)%200)).play()
		}
	})
	return at, err
}
