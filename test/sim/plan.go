package sim

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sennit/sennit"
)

// span is how long there is trouble and work, before all is healed.
const span = 4 * time.Minute

// year is how far a very wrong clock is off.
const year = 365 * 24 * time.Hour

// plan is everything that is decided before a run begins.
type plan struct {
	seed  uint64
	nodes []nodePlan
	edges []edge
	work  []work
	woes  []woe

	undo        time.Duration // after which nodes drop what was overwritten; 0: what they do by themselves
	collections []collection
	endings     []ending
	postings    []posting
}

type nodePlan struct {
	skew time.Duration
	lies bool
	seed uint64 // of a liar
}

// edge is that somebody follows somebody's space.
type edge struct {
	by, of int
	via    int // whose host it reaches for
	reads  sennit.Path
	may    sennit.Rights // what else it may, at writes
	writes sennit.Path
	at     time.Duration
	invite bool          // by an invitation: then it reads all, and is followed in turn
	keeps  []sennit.Path // what it follows of the space: nothing said is everything
	turns  []turn
}

// turn is that somebody follows more of a space, or less, from some time on.
type turn struct {
	at    time.Duration
	keeps []sennit.Path
}

// work is one thing that somebody writes.
type work struct {
	at        time.Duration
	by, in    int // whose space
	under     sennit.Path
	kind      workKind
	seed      uint64
	forbidden bool // nothing lets by write there
}

type workKind int

const (
	onePut workKind = iota
	oneAdd
	oneAppend
	oneDel
	deepDel
	several
	burst
	manyOps
	bigValues
	blobValue // too big for an op
)

// woe is something that goes wrong.
type woe struct {
	at, lasts time.Duration
	kind      woeKind
	node      int
	some      []int // a partition's one side
	hold      bool  // messages wait for a partition's end; else they get lost
	quiet     bool  // peers hear nothing of a crash
	keep      int   // percent of what was not synced that reaches the disk
	syncs     int   // after which the power goes
}

type woeKind int

const (
	power   woeKind = iota // the power goes during a sync
	kill                   // the process is killed, at any moment
	restart                // a clean stop
	parts                  // a partition
	resets                 // connections are reset
	setBack                // the disk is replaced by an older image of it
	wipe                   // the disk is replaced by an empty one
	full                   // the disk is full for a while
)

// rng is random numbers of the plan for one purpose.
func (p *plan) rng(purpose string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(purpose))
	return rand.New(rand.NewPCG(p.seed, h.Sum64()))
}

func newPlan(seed uint64, honest bool) *plan {
	p := &plan{seed: seed}
	rng := p.rng("nodes")
	n := 3 + min(rng.IntN(MaxNodes-2), rng.IntN(MaxNodes-2)) // more often few: they take less time
	p.nodes = make([]nodePlan, n)
	for i := range p.nodes {
		if rng.IntN(3) == 0 {
			p.nodes[i].skew = rand0(rng, 8*time.Minute) - 4*time.Minute
		}
	}
	if rng.IntN(3) == 0 {
		p.nodes[rng.IntN(n)].skew = []time.Duration{year, -year}[rng.IntN(2)]
	}
	if !honest {
		for _, i := range rng.Perm(n)[:p.liars(p.rng("liars"), n)] {
			p.nodes[i].lies, p.nodes[i].seed = true, rng.Uint64()
		}
	}
	p.follow(p.rng("follows"))
	p.part(p.rng("parts"))
	p.write(p.rng("work"))
	p.enlarge(p.rng("blobs"))
	p.worry(p.rng("woes"))
	p.forget(p.rng("collections"))
	p.end(p.rng("endings"))
	p.post(p.rng("messages"))
	return p
}

// liars is how many lie: a quarter, or all but two or three.
func (p *plan) liars(rng *rand.Rand, n int) int {
	if n > 4 && rng.IntN(8) == 0 {
		return min(n-2, n*9/10)
	}
	return (n + 1) / 4
}

// follow decides who follows whom.
func (p *plan) follow(rng *rand.Rand) {
	n := len(p.nodes)
	for of := range n {
		others := slices.DeleteFunc(rng.Perm(n), func(by int) bool { return by == of })
		others = others[:min(len(others), 2+rng.IntN(3))]
		for i, by := range others {
			e := p.edge(rng, by, of)
			// Some know only another follower, and learn of the rest from it.
			if i > 0 && rng.IntN(3) == 0 && !e.invite && !p.nodes[others[0]].lies {
				e.via = others[0]
			}
			p.edges = append(p.edges, e)
		}
	}
	// Who follows a liar's space finds out what it withheld from somebody else
	// who does: they must be in touch.
	for of := range n {
		if !p.nodes[of].lies {
			continue
		}
		last := -1
		for _, e := range p.edges {
			if e.of != of || p.nodes[e.by].lies {
				continue
			}
			if last >= 0 {
				p.edges = append(p.edges, edge{by: e.by, of: last, via: last})
			}
			last = e.by
		}
	}
}

// part decides who follows which parts of a space, and when that changes.
func (p *plan) part(rng *rand.Rand) {
	some := func() (keeps []sennit.Path) {
		for range rng.IntN(3) {
			keeps = append(keeps, []sennit.Path{"a", "b", "b/c", "a/b", "wall", "d", "many", "final", "a/b/k1"}[rng.IntN(9)])
		}
		return keeps // none: everything
	}
	for i := range p.edges {
		e := &p.edges[i]
		if rng.IntN(2) == 0 {
			e.keeps = some()
		}
		for range rng.IntN(3) * rng.IntN(2) {
			e.turns = append(e.turns, turn{e.at + rand0(rng, span), some()})
		}
	}
}

func (p *plan) edge(rng *rand.Rand, by, of int) edge {
	e := edge{by: by, of: of, via: of, at: rand0(rng, span/4)}
	if rng.IntN(4) == 0 {
		e.at = rand0(rng, span)
	}
	switch rng.IntN(8) {
	case 0:
		e.reads = "a"
	case 1:
		e.reads = "b/c"
	case 2:
		// An invitation is used in a session, and one with a liar may never come about.
		if e.invite = !p.nodes[by].lies && !p.nodes[of].lies; e.invite {
			return e
		}
	}
	switch rng.IntN(5) {
	case 0:
		e.may, e.writes = sennit.Write, "wall"
	case 1:
		e.may, e.writes = sennit.Write|sennit.Remove, "a"
	case 2:
		e.may, e.writes = sennit.Write|sennit.Remove, ""
	}
	return e
}

// write decides who writes what.
func (p *plan) write(rng *rand.Rand) {
	for i := range p.nodes {
		var places []edge
		for _, e := range p.edges {
			if e.by == i && e.may != 0 {
				places = append(places, e)
			}
		}
		for range 6 + rng.IntN(25) {
			w := work{at: rand0(rng, span), by: i, in: i, seed: rng.Uint64(), kind: someKind(rng)}
			if len(places) > 0 && rng.IntN(2) == 0 {
				e := places[rng.IntN(len(places))]
				w.in, w.under = e.of, e.writes
				if e.may&sennit.Remove == 0 && (w.kind == oneDel || w.kind == deepDel || w.kind == several) {
					w.kind = onePut
				}
			}
			p.work = append(p.work, w)
		}
		for _, e := range p.edges {
			if e.by == i && !e.invite && e.writes != "" && rng.IntN(3) == 0 {
				p.work = append(p.work, work{
					at: rand0(rng, span), by: i, in: e.of, under: sennit.Path(fmt.Sprintf("forbidden/%d", i)), seed: rng.Uint64(), forbidden: true,
				})
			}
		}
	}
}

// enlarge decides who writes values that are too big for an op.
func (p *plan) enlarge(rng *rand.Rand) {
	for range 2 + rng.IntN(5) {
		w := work{at: rand0(rng, span), by: rng.IntN(len(p.nodes)), kind: blobValue, seed: rng.Uint64()}
		w.in = w.by
		for _, e := range p.edges {
			if e.by == w.by && e.may != 0 && rng.IntN(3) == 0 {
				w.in, w.under = e.of, e.writes
				break
			}
		}
		p.work = append(p.work, w)
	}
}

func someKind(rng *rand.Rand) workKind {
	switch x := rng.IntN(100); {
	case x < 38:
		return onePut
	case x < 46:
		return oneAdd
	case x < 54:
		return oneAppend
	case x < 62:
		return oneDel
	case x < 70:
		return deepDel
	case x < 85:
		return several
	case x < 94:
		return burst
	case x < 98:
		return manyOps
	}
	return bigValues
}

// worry decides what goes wrong.
func (p *plan) worry(rng *rand.Rand) {
	n := len(p.nodes)
	down := func() time.Duration { return time.Second + rand0(rng, 40*time.Second) }
	for i := range n {
		for range rng.IntN(4) {
			x := woe{
				at: rand0(rng, span), lasts: down(), node: i, quiet: rng.IntN(2) == 0,
				kind: []woeKind{power, power, power, kill, restart, restart}[rng.IntN(6)], syncs: 1 + rng.IntN(6),
			}
			if x.kind == kill {
				x.keep = 100
			} else {
				x.keep = rng.IntN(101)
			}
			p.woes = append(p.woes, x)
		}
	}
	for range 1 + rng.IntN(4) {
		x := woe{at: rand0(rng, span), lasts: 5*time.Second + rand0(rng, 80*time.Second), kind: parts, hold: rng.IntN(2) == 0}
		x.some = rng.Perm(n)[:1+rng.IntN(n/2)]
		p.woes = append(p.woes, x)
	}
	for range rng.IntN(3) {
		p.woes = append(p.woes, woe{at: rand0(rng, span), lasts: down(), kind: full, node: rng.IntN(n)})
	}
	for range rng.IntN(6) {
		p.woes = append(p.woes, woe{at: rand0(rng, span), kind: resets})
	}
	if rng.IntN(4) == 0 {
		p.woes = append(p.woes, woe{at: span/3 + rand0(rng, span/2), lasts: down(), kind: setBack, node: rng.IntN(n)})
	}
	if rng.IntN(6) == 0 {
		p.woes = append(p.woes, woe{at: span/3 + rand0(rng, span/2), lasts: down(), kind: wipe, node: rng.IntN(n)})
	}
}
