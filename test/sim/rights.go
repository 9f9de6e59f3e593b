package sim

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about rights that end, while whoever had them goes on writing.

// ending is that an owner takes back what an edge gave.
type ending struct {
	at     time.Duration
	edge   int
	device bool        // of a device, otherwise of a person
	under  sennit.Path // at and under which
	void   bool        // what was written with the rights goes as well
	stays  bool        // they aren't given again
	back   time.Duration
}

// end decides who loses rights, and has them write around that moment, often
// while they can't hear of it.
func (p *plan) end(rng *rand.Rand) {
	if p.undo != 0 {
		return // what a revocation would bring back may be gone
	}
	for i, e := range p.edges {
		if p.nodes[e.of].lies || rng.IntN(5) > 2 || e.may == 0 && rng.IntN(3) > 0 {
			continue
		}
		// Who knows the space from somebody only loses it with them.
		leads := slices.ContainsFunc(p.edges, func(o edge) bool { return o.of == e.of && o.via == e.by })
		x := ending{
			at: e.at + rand0(rng, span-e.at), edge: i, device: rng.IntN(2) == 0, void: rng.IntN(4) == 0,
			stays: !leads && rng.IntN(3) == 0,
		}
		if !leads {
			x.under = []sennit.Path{"", e.writes, e.reads, "b/c", "a/b"}[rng.IntN(5)]
		}
		if rng.IntN(3) == 0 {
			x.back = time.Second + rand0(rng, time.Minute)
		}
		p.endings = append(p.endings, x)
		if rng.IntN(2) == 0 {
			away := woe{at: max(0, x.at-rand0(rng, 5*time.Second)), lasts: 5*time.Second + rand0(rng, 40*time.Second), kind: parts, hold: rng.IntN(2) == 0}
			away.some = []int{[]int{e.of, e.by}[rng.IntN(2)]}
			p.woes = append(p.woes, away)
		}
		if e.may == 0 {
			continue
		}
		for range 3 + rng.IntN(8) {
			w := work{
				at: max(e.at, x.at-10*time.Second+rand0(rng, 30*time.Second)), by: e.by, in: e.of, under: e.writes, seed: rng.Uint64(),
				kind: []workKind{onePut, onePut, onePut, oneAdd, oneAppend, oneDel, deepDel, several}[rng.IntN(8)],
			}
			if e.may&sennit.Remove == 0 && (w.kind == oneDel || w.kind == deepDel || w.kind == several) {
				w.kind = onePut
			}
			p.work = append(p.work, w)
		}
	}
}

// revoke takes back rights, if the owner's node is up.
func (w *world) revoke(x ending) {
	time.Sleep(x.at)
	e := w.plan.edges[x.edge]
	by, of := w.machines[e.by], w.machines[e.of]
	r := of.up()
	if r == nil {
		return
	}
	who := wire.Who{Subject: wire.SubjectSpace, Key: by.id.Space()}
	if x.device {
		who = wire.Who{Subject: wire.SubjectDevice, Key: by.id.Device()}
	}
	_, err := r.n.Revoke(context.Background(), r.n.Owner(), of.id.Space(), []node.Revocation{{Who: who, Prefix: x.under, Void: x.void}})
	switch code := sennit.CodeOf(err); {
	case r.dead.Load():
		return
	case err == nil && x.void:
		w.count("revocation of all that was written")
	case err == nil:
		w.count("revocation")
	case code != sennit.ReadOnly && code != sennit.Gone:
		w.fail("%s can't revoke rights: %v", of.name, err)
	}
	if x.back == 0 || err != nil || x.stays {
		return
	}
	select {
	case <-w.ending:
	case <-time.After(x.back):
		if w.tie(e) == nil {
			w.count("rights given again")
		}
	}
}

// overForGood reports whether an edge's rights ended for good.
func (w *world) overForGood(i int) bool {
	return slices.ContainsFunc(w.plan.endings, func(x ending) bool { return x.edge == i && x.stays })
}

// sight is what a peer may read, as the run that sends to it sees it.
type sight struct {
	is, was prefix.Set
	until   time.Time // what it was may still be on its way
}

// underWay is how long a message may be on its way out that was made before a
// right ended.
const underWay = time.Minute

// scope tells what may be said to a peer of a space; m.mu of the run's machine is held.
func (r *run) scope(peer *machine, space sennit.Space) (is, was prefix.Set) {
	is = prefix.Of(r.n.Authority(space).Readable(peer.id.Principal(), uint64(r.m.now().UnixMilli()))...)
	at := sightOf{peer, space}
	s := r.sights[at]
	if s == nil {
		s = &sight{is: is}
		r.sights[at] = s
	}
	if !s.is.Equal(is) {
		if time.Now().After(s.until) {
			s.was = nil
		}
		s.was, s.until, s.is = prefix.Of(slices.Concat(s.was, s.is)...), time.Now().Add(underWay), is
	}
	if time.Now().Before(s.until) {
		was = s.was
	}
	return is, was
}

// sightOf names whose sight it is, and of what.
type sightOf struct {
	peer  *machine
	space sennit.Space
}
