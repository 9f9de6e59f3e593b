package access

import (
	"crypto/sha256"
	"maps"
	"slices"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/wire"
)

// lineage is the key events of one space: a tree, because whoever holds a
// control key can sign rivals, and the branch of it that counts. A lineage
// doesn't change: hear, tell and keep give new ones.
//
// An event names the hash of the one before, so the chain up to it is fixed,
// and whether it is genuine does not depend on what else is known. Only
// genuine events with all that precede them become links.
type lineage struct {
	space     sennit.Space
	inception *wire.Inception
	links     map[sennit.Hash]*wire.KeyEvent // by hash
	loose     map[sennit.Hash][]*wire.KeyEvent
	bytes     int

	latest *keys.State            // of the run that was linked last
	state  *keys.State            // of the branch that counts
	rivals []*wire.KeyEvent       // where it is frozen between equals, by hash
	ever   map[sennit.Device]bool // added on any branch, and perhaps removed
	digest sennit.Hash
}

func newLineage(space sennit.Space) *lineage {
	l := &lineage{space: space}
	l.settle()
	return l
}

// has reports whether d is the space's device now, or, with ever, whether it
// was one at some time on some branch. The latter never ends, however events
// come in, so it can decide what becomes part of the authority.
func (l *lineage) has(d sennit.Device, ever bool) bool {
	if ever {
		return l.ever[d]
	}
	return l.state != nil && l.state.Device(d)
}

func (l *lineage) clone() *lineage {
	n := *l
	n.links, n.loose = maps.Clone(l.links), maps.Clone(l.loose)
	if n.links == nil {
		n.links = make(map[sennit.Hash]*wire.KeyEvent)
	}
	return &n
}

// interpreted reports whether events of this type become links. The others
// can't be verified or don't do anything yet.
func interpreted(t wire.KeyEventType) bool {
	return t == wire.Rotate || t == wire.DeviceAdd || t == wire.DeviceDel
}

// hear is l with a principal's evidence, all of it or, with an error, none.
// What it holds already costs no verification.
func (l *lineage) hear(ev Evidence) (*lineage, error) {
	n := l.clone()
	if n.inception == nil {
		inc, err := wire.DecodeInception(ev.Inception.Bytes())
		if err != nil {
			return nil, err
		}
		n.inception = &inc
	}
	var base, run []*wire.KeyEvent
	for _, e := range ev.Events {
		if !interpreted(e.Type) {
			break
		}
		if link := l.links[e.Hash()]; link != nil && len(run) == 0 {
			base = append(base, link)
			continue
		}
		own, err := wire.DecodeKeyEvent(e.Bytes()) // e may alias a frame
		if err != nil {
			return nil, err
		}
		run = append(run, own)
	}
	if l.inception != nil && len(run) == 0 {
		return l, nil
	}
	if err := n.link(base, run); err != nil {
		return nil, err
	}
	n.settle()
	return n, nil
}

// tell is l with the inception record and those events that are genuine, from
// anywhere and in any order.
func (l *lineage) tell(inc *wire.Inception, events []*wire.KeyEvent) *lineage {
	n, grew := l.clone(), false
	if n.inception == nil {
		if n.inception = inc; inc == nil || n.link(nil, nil) != nil {
			return l
		}
		grew = true
	}
	pool := make(map[sennit.Hash][]*wire.KeyEvent)
	for _, e := range events {
		pool[e.Prev] = append(pool[e.Prev], e)
	}
	for prev, es := range l.loose {
		pool[prev] = append(pool[prev], es...)
	}
	// Whole runs are tried first: one evaluation instead of one for each event.
	todo := append(slices.Collect(maps.Keys(n.links)), sennit.Hash(l.space))
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		base := n.chain(at)
		for _, e := range pool[at] {
			if n.links[e.Hash()] != nil || !interpreted(e.Type) {
				continue
			}
			run := []*wire.KeyEvent{e}
			for next := pool[e.Hash()]; len(next) > 0 && interpreted(next[0].Type); next = pool[next[0].Hash()] {
				run = append(run, next[0])
			}
			if n.link(base, run) != nil {
				if run = run[:1]; n.link(base, run) != nil {
					continue
				}
			}
			for _, e := range run {
				todo = append(todo, e.Hash())
			}
			grew = true
		}
	}
	if !grew {
		return l
	}
	for prev := range n.loose {
		if n.follows(prev) {
			delete(n.loose, prev) // now a link, or not genuine
		}
	}
	n.settle()
	return n
}

// keep is l with events of a commit that is part of the authority: those whose
// predecessor has yet to come.
func (l *lineage) keep(events []*wire.KeyEvent) *lineage {
	var n *lineage
	for _, e := range events {
		if l.follows(e.Prev) {
			continue
		}
		if n == nil {
			n = l.clone()
		}
		if n.loose == nil {
			n.loose = make(map[sennit.Hash][]*wire.KeyEvent)
		}
		n.loose[e.Prev] = append(slices.Clip(n.loose[e.Prev]), e)
	}
	if n == nil {
		return l
	}
	return n
}

// follows reports whether an event that names prev can be checked.
func (l *lineage) follows(prev sennit.Hash) bool {
	return l.inception != nil && (prev == sennit.Hash(l.space) || l.links[prev] != nil)
}

// link adds a run of events that follows a chain of links, if all are genuine.
func (l *lineage) link(base, run []*wire.KeyEvent) error {
	state, err := keys.Evaluate(*l.inception, slices.Concat(base, run))
	if err != nil {
		return err
	}
	l.latest = state
	before := maps.Clone(l.links)
	for _, e := range run {
		l.links[e.Hash()] = e
	}
	if len(l.links) <= MaxLineage {
		return nil
	}
	// Somebody makes branches. Those that lost matter only for which commits
	// are part of the authority, so they go when room is needed: a rotation
	// that ends it must always get in.
	l.settle()
	l.shed()
	if len(l.links) > MaxLineage {
		l.links = before
		return sennit.Errorf(sennit.OverQuota, "the space has more than %d key events on rival branches", MaxLineage)
	}
	return nil
}

// shed drops the branches that lost.
func (l *lineage) shed() {
	keep := make(map[sennit.Hash]bool)
	for _, e := range l.chain(l.state.Head()) {
		keep[e.Hash()] = true
	}
	for h := range l.links {
		if slices.ContainsFunc(l.chain(h), func(e *wire.KeyEvent) bool { return slices.Contains(l.rivals, e) }) {
			keep[h] = true
		}
	}
	maps.DeleteFunc(l.links, func(h sennit.Hash, _ *wire.KeyEvent) bool { return !keep[h] })
}

// chain is the events up to the one of that hash, the first one first.
func (l *lineage) chain(h sennit.Hash) []*wire.KeyEvent {
	var es []*wire.KeyEvent
	for e := l.links[h]; e != nil; e = l.links[e.Prev] {
		es = append(es, e)
	}
	slices.Reverse(es)
	return es
}

// settle works out everything that follows from the links. At a fork the
// branch wins that holds what the others don't: a rotation, which a thief of
// the live control keys can't make. Between equals it ends before the fork.
func (l *lineage) settle() {
	next := make(map[sennit.Hash][]sennit.Hash)
	hashes := slices.SortedFunc(maps.Keys(l.links), compare)
	l.ever, l.bytes, l.rivals = make(map[sennit.Device]bool), 0, nil
	for _, h := range hashes {
		e := l.links[h]
		next[e.Prev] = append(next[e.Prev], h)
		l.bytes += len(e.Bytes())
		if e.Type == wire.DeviceAdd {
			l.ever[e.Device] = true
		}
	}
	b := []byte{2, 0}
	if l.inception != nil {
		b[1] = 1
		l.bytes += len(l.inception.Bytes())
	}
	for _, h := range hashes {
		b = append(b, h[:]...)
	}
	if l.digest = sha256.Sum256(b); l.inception == nil {
		return
	}

	var rotates func(h sennit.Hash) bool
	rotates = func(h sennit.Hash) bool {
		return l.links[h].Type == wire.Rotate || slices.ContainsFunc(next[h], rotates)
	}
	at := sennit.Hash(l.space)
	for len(next[at]) > 0 {
		best := next[at]
		if len(best) > 1 {
			if strong := slices.DeleteFunc(slices.Clone(best), func(h sennit.Hash) bool { return !rotates(h) }); len(strong) > 0 {
				best = strong
			}
		}
		if len(best) > 1 {
			for _, h := range best {
				l.rivals = append(l.rivals, l.links[h])
			}
			break
		}
		at = best[0]
	}
	// A head stands for its whole chain, so an evaluation need not be repeated.
	switch {
	case l.state != nil && l.state.Head() == at:
	case l.latest != nil && l.latest.Head() == at:
		l.state = l.latest
	default:
		l.state, _ = keys.Evaluate(*l.inception, l.chain(at)) // can't fail: the beginning of a chain that passed
	}
	l.latest = nil
}

// chains appends l as evidence: one for each end of a branch, by hash.
func (l *lineage) chains(all []Evidence) []Evidence {
	if l.inception == nil {
		return all
	}
	inner := make(map[sennit.Hash]bool)
	for _, e := range l.links {
		inner[e.Prev] = true
	}
	for _, h := range slices.SortedFunc(maps.Keys(l.links), compare) {
		if !inner[h] {
			all = append(all, Evidence{*l.inception, l.chain(h)})
		}
	}
	if len(l.links) == 0 {
		all = append(all, Evidence{Inception: *l.inception})
	}
	return all
}
