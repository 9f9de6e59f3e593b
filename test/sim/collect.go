package sim

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/sennit/sennit"
)

// This file is about collections: what nodes drop, and that nobody sees it.

// collection is that a machine drops what is superseded.
type collection struct {
	at time.Duration
	by int
}

// forget decides for how long what was overwritten is kept, and who collects
// when. Either nothing ends that might be wanted back, or all is kept that a
// revocation can bring back; then no clock is so wrong that a month seems over.
func (p *plan) forget(rng *rand.Rand) {
	if rng.IntN(2) == 0 {
		p.undo = time.Second + rand0(rng, time.Minute)
	} else {
		for i := range p.nodes {
			if skew := p.nodes[i].skew; skew == year || skew == -year {
				p.nodes[i].skew = skew / (365 * 24 * 60 / 4) // 4 minutes
			}
		}
	}
	for i := range p.nodes {
		for range rng.IntN(4) {
			p.collections = append(p.collections, collection{span/8 + rand0(rng, span), i})
		}
	}
}

// collect has a machine drop what is superseded in all spaces, if it is up.
func (w *world) collect(m *machine) {
	r, done := m.up(), make(chan struct{})
	if r == nil || !r.spawn(func(ctx context.Context) {
		defer close(done)
		for _, id := range r.n.Spaces() {
			if err := m.remember(r, id); err != nil {
				w.fail("%s holds what is not genuine: %v", m.name, err)
				return
			}
			was, werr := shown(r, id)
			got, err := r.n.Collect(ctx, id, nil)
			is, ierr := shown(r, id)
			if ctx.Err() != nil || r.dead.Load() {
				return
			}
			if werr == nil && ierr == nil && was.at == is.at && was.rules == is.rules && was.hash != is.hash {
				w.fail("a collection at %s changed what lives in %s", m.name, w.owner(id))
			}
			w.count("collection")
			if got.Dropped > 0 {
				w.count("collection that dropped something")
			}
			switch sennit.CodeOf(err) {
			case "":
				if err := m.miss(r, id); err != nil {
					w.fail("%s holds what is not genuine: %v", m.name, err)
				}
			case sennit.Gone, sennit.ReadOnly, sennit.Conflict: // rules changed meanwhile
			default:
				w.fail("%s can't collect: %v", m.name, err)
			}
		}
	}) {
		return
	}
	<-done
}

// standing is what a node has of a space, and by what it came to that.
type standing struct {
	at          uint64 // arrivals
	rules, hash sennit.Hash
}

// shown is what a node has of a space now: if nothing arrives and no rules change
// before it is asked for again, it must be the same.
func shown(r *run, id sennit.Space) (s standing, err error) {
	for {
		if s.at, err = r.n.LastArrival(id); err != nil {
			return s, err
		}
		if a := r.n.Authority(id); a != nil {
			s.rules = a.Digest()
		}
		d, err := r.bus().Digest(context.Background(), sennit.Addr{Root: id.String()})
		if err != nil {
			return s, err
		}
		s.hash = d.Hash
		if at, err := r.n.LastArrival(id); err != nil || at == s.at {
			return s, err
		}
	}
}

// remember notes what a machine has of a space that may be dropped.
func (m *machine) remember(r *run, id sennit.Space) error {
	has := newModel(id)
	if err := has.add(r.n); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.dead.Load() {
		return nil // it may have lost it again
	}
	if m.had[id] == nil {
		m.had[id] = newModel(id)
	}
	m.had[id].join(has)
	for at := range has.at {
		m.gone[at] = true // until it is known
	}
	return nil
}

// miss notes what a collection left, so that it can't be gone from now on.
func (m *machine) miss(r *run, id sennit.Space) error {
	has := newModel(id)
	if err := has.add(r.n); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for at := range has.at {
		delete(m.gone, at)
	}
	return nil
}

// newestKept is how many dead versions of each path and log a collection leaves.
const newestKept = 16

// everKept joins what collections dropped to what there is, as far as it must come
// back once something shows that it counts.
func (w *world) everKept(models map[sennit.Space]*model) {
	for _, m := range w.machines {
		if m.liar != nil {
			continue
		}
		m.mu.Lock()
		for id, had := range m.had {
			models[id].join(had)
		}
		m.mu.Unlock()
	}
	if w.plan.undo != 0 {
		return // nothing that is dead can count again
	}
	for _, m := range models {
		m.giveUp(w.began.Add(-time.Hour))
	}
}

// giveUp forgets what nobody has and nobody must have: what was dropped because
// there are enough newer versions, or is said to be from long before.
func (m *model) giveUp(before time.Time) {
	for id, o := range m.ops {
		if !m.held[id] && (o.clock>>16 < uint64(before.UnixMilli()) || m.newer(o) >= newestKept) {
			delete(m.ops, id)
		}
	}
}

// newer counts the ops at the path of one that its log has after it.
func (m *model) newer(o *op) (n int) {
	for _, x := range m.ops {
		if x.at.log == o.at.log && x.path == o.path && (x.at.seq > o.at.seq || x.at.seq == o.at.seq && x.id.index > o.id.index) {
			n++
		}
	}
	return n
}

// wronglyDropped looks for what a machine had, hasn't any more, and must have.
func (w *world) wronglyDropped(r *run) {
	m := r.m
	m.mu.Lock()
	had := m.had
	m.mu.Unlock()
	for id, all := range had {
		has := newModel(id)
		if err := has.add(r.n); err != nil {
			w.fail("%s holds what is not genuine: %v", m.name, err)
			return
		}
		all.join(has)
		for op, o := range all.ops {
			if has.ops[op] == nil && o.clock>>16 >= uint64(w.began.Add(-time.Hour).UnixMilli()) && all.newer(o) < newestKept {
				w.fail("%s dropped commit %d of log %s, /%s, though only %d newer ones are there", m.name, o.at.seq, o.at.log, o.path, all.newer(o))
			}
		}
	}
}
