package replicate

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/wire"
)

// This file is what a node knows of who holds which space: hosts that its user
// chose, hosts with which it was in step, and hosts of which others told.
// docs/decisions/sources.md says why it is so.

// Bounds of what is learnt of hosts.
const (
	maxSources  = 16                  // of one space; those that the user chose are among them
	maxTries    = 3                   // at a host for which nobody but its teller speaks
	maxFalse    = 8                   // such hosts that a teller may name in vain, until it is not believed
	disbelief   = 24 * time.Hour      // for so long
	rejection   = time.Hour           // for which nobody's word counts for a host that was tried in vain
	tellAge     = 7 * 24 * time.Hour  // since a host was in step, for others to be told of it
	forgetAge   = 30 * 24 * time.Hour // since then, to be forgotten
	maxTellers  = 1024
	maxRejected = 1024
)

// Source is a host that holds a space, as far as this node knows.
type Source struct {
	Host   Host
	Addrs  []string  // where it can be reached: at most 8 that were learnt, beside the chosen ones
	Chosen bool      // by the user or with an invitation; else it was learnt
	Teller Host      // who told of it; zero if nobody had to
	Good   time.Time // when both last held the same of the space; zero: never

	said  time.Time // when that was so for the teller, it says
	open  bool      // others may be told of it
	tries int       // in vain, since it was last good
	met   time.Time // when this node last turned to it or was in touch with it, by a steady clock
}

// book is who holds what. The replicator's lock guards it.
type book struct {
	self     Host
	pages    map[sennit.Space]*page // of what this node keeps
	gone     []sennit.Space         // whose records are to be removed
	tellers  map[Host]*teller
	rejected map[Host]time.Time // until when
	news     uint64             // counts what may change what others are told
}

// page is who holds one space.
type page struct {
	chosen  []node.Host // in the user's order
	sources map[Host]*Source
	changed bool      // since it was saved
	saved   time.Time // when its record was last written
	stale   bool      // only times changed

	look    time.Time // when to look at one more of them, by a steady clock; zero: not planned
	looking Host      // at which this node looked last
}

// teller is what became of the hosts that somebody told of.
type teller struct {
	vain  int
	until time.Time // it is not believed before
}

func newBook(self Host) *book {
	return &book{self: self, pages: map[sennit.Space]*page{}, tellers: map[Host]*teller{}, rejected: map[Host]time.Time{}}
}

// keep has the book be about what this node follows now, and its own space.
func (b *book) keep(own sennit.Space, follows []node.Follow, now time.Time) {
	kept := map[sennit.Space]bool{own: true}
	b.page(own)
	for _, f := range follows {
		kept[f.Space] = true
		p := b.page(f.Space)
		p.chosen = f.Hosts
		for _, s := range p.sources {
			s.Chosen = false
		}
		for _, h := range f.Hosts {
			host, ok := parseHost(h.Key)
			if !ok || host == b.self {
				continue
			}
			if p.sources[host] == nil {
				p.sources[host] = &Source{Host: host}
			}
			p.sources[host].Chosen, p.sources[host].Teller = true, Host{}
		}
	}
	for id, p := range b.pages {
		if !kept[id] {
			delete(b.pages, id)
			b.gone = append(b.gone, id)
			continue
		}
		for host, s := range p.sources {
			last := s.Good
			if last.IsZero() {
				last = s.said
			}
			if !s.Chosen && now.Sub(last) > forgetAge {
				delete(p.sources, host)
				p.changed = true
			}
		}
		b.trim(p)
	}
}

func (b *book) page(id sennit.Space) *page {
	p := b.pages[id]
	if p == nil {
		p = &page{sources: map[Host]*Source{}}
		b.pages[id] = p
	}
	return p
}

// knows reports whether a host is known to hold a space, or said to.
func (b *book) knows(id sennit.Space, host Host) bool {
	p := b.pages[id]
	return p != nil && p.sources[host] != nil
}

// good notes that a host held the same of a space as this node, at some time.
// It told where it can be reached: nowhere, if others are not to be told.
func (b *book) good(id sennit.Space, host Host, own []string, at time.Time) {
	p := b.pages[id]
	if p == nil {
		return
	}
	s := p.sources[host]
	if s == nil {
		if len(own) == 0 {
			return // it dialled this node, and can't be dialled
		}
		s = &Source{Host: host}
		p.sources[host] = s
		p.changed = true
	}
	if t := b.tellers[s.Teller]; t != nil && s.Good.IsZero() {
		t.vain = max(t.vain-1, 0)
	}
	p.changed = p.changed || s.Good.IsZero()
	if s.open && at.Sub(s.Good) > tellAge {
		b.news++
	}
	if at.After(s.Good) {
		s.Good, p.stale = at, true
	}
	s.tries = 0
	if open := len(own) > 0; open != s.open || open && !slices.Equal(own, s.Addrs) {
		s.open, p.changed = open, true
		if open {
			s.Addrs = own
		}
		b.news++
	}
	b.trim(p)
}

// hear takes what a teller says of who holds a space. fits tells which addresses
// may be tried.
func (b *book) hear(id sennit.Space, from Host, others []wire.Source, fits func(addr string) bool, now time.Time) {
	p := b.pages[id]
	t := b.tellers[from]
	if p == nil || t != nil && now.Before(t.until) {
		return
	}
	for _, o := range others {
		host := Host(o.Host)
		addrs := slices.DeleteFunc(slices.Clone(o.Addrs), func(a string) bool { return !fits(a) })
		if host == b.self || host == from || len(addrs) == 0 || now.Before(b.rejected[host]) {
			continue
		}
		s := p.sources[host]
		switch {
		case s == nil:
			s = &Source{Host: host, Teller: from, said: now.Add(-time.Duration(o.Age) * time.Second), Addrs: addrs}
			p.sources[host] = s
			p.changed = true
		case s.Chosen || s.tries > 0: // it may have moved; what it said itself is kept
			for _, a := range addrs {
				if !slices.Contains(s.Addrs, a) && len(s.Addrs) < 2*wire.MaxSourceAddrs {
					s.Addrs = append(s.Addrs, a)
					p.changed = true
				}
			}
		}
	}
	b.trim(p)
}

// failed notes that a host was tried in vain. One for which only its teller
// speaks is soon forgotten, and the teller answers for it.
func (b *book) failed(host Host, now time.Time) {
	for _, p := range b.pages {
		s := p.sources[host]
		if s == nil {
			continue
		}
		if s.tries++; !s.hearsay() || s.tries < maxTries {
			continue
		}
		delete(p.sources, host)
		p.changed = true
		room(b.rejected, maxRejected)
		b.rejected[host] = now.Add(rejection)
		b.blame(s.Teller, now)
	}
}

// missed notes that a host at which this node wanted to look can't be reached:
// another one has its turn soon.
func (b *book) missed(host Host) {
	for _, p := range b.pages {
		if p.looking == host {
			p.looking, p.look = Host{}, time.Now().Add(jitter(lookAgain))
		}
	}
}

// hearsay reports whether only its teller speaks for a host.
func (s *Source) hearsay() bool { return !s.Chosen && s.Good.IsZero() }

// blame notes that a teller spoke for a host in vain. If it did so too often, it
// isn't believed any more, nor what it said before.
func (b *book) blame(from Host, now time.Time) {
	t := b.tellers[from]
	if t == nil {
		t = new(teller)
		room(b.tellers, maxTellers)
		b.tellers[from] = t
	}
	if t.vain++; t.vain < maxFalse {
		return
	}
	t.vain, t.until = 0, now.Add(disbelief)
	for _, p := range b.pages {
		for host, s := range p.sources {
			if s.Teller == from && s.hearsay() {
				delete(p.sources, host)
				p.changed = true
			}
		}
	}
}

// room drops some entry of a map that is full.
func room[V any](m map[Host]V, limit int) {
	for k := range m {
		if len(m) < limit {
			return
		}
		delete(m, k)
	}
}

// trim drops the least useful hosts of a page, if there are too many.
func (b *book) trim(p *page) {
	if len(p.sources) <= maxSources {
		return
	}
	all := b.order(p)
	slices.SortStableFunc(all, func(x, y *Source) int {
		return cmp.Or(first(x.Chosen, y.Chosen), y.Good.Compare(x.Good), cmp.Compare(x.tries, y.tries))
	})
	for _, s := range all[maxSources:] {
		if s.Chosen {
			continue
		}
		delete(p.sources, s.Host)
		p.changed = true
	}
}

// first orders what is so before what isn't.
func first(x, y bool) int {
	switch {
	case x == y:
		return 0
	case x:
		return -1
	}
	return 1
}

// list is the hosts of a space in the order in which they are tried.
func (b *book) list(id sennit.Space) (all []Source) {
	p := b.pages[id]
	if p == nil {
		return nil
	}
	for _, s := range b.order(p) {
		c := *s
		c.Addrs = nil
		for _, h := range p.chosen {
			if host, ok := parseHost(h.Key); ok && host == s.Host {
				c.Addrs = slices.Clone(h.Addrs)
			}
		}
		for _, a := range s.Addrs {
			if !slices.Contains(c.Addrs, a) {
				c.Addrs = append(c.Addrs, a)
			}
		}
		all = append(all, c)
	}
	return all
}

// order is what the user chose, in that order, then those that were good once,
// then hearsay; among those the order is this node's own, so that
// not all turn to the same host.
func (b *book) order(p *page) []*Source {
	rank := map[Host]int{}
	for i, h := range p.chosen {
		if host, ok := parseHost(h.Key); ok {
			rank[host] = i
		}
	}
	var all []*Source
	lot := map[Host][32]byte{}
	for host, s := range p.sources {
		all = append(all, s)
		lot[host] = sha256.Sum256(append(b.self[:], host[:]...))
	}
	slices.SortFunc(all, func(x, y *Source) int {
		lx, ly := lot[x.Host], lot[y.Host]
		return cmp.Or(first(x.Chosen, y.Chosen), cmp.Compare(rank[x.Host], rank[y.Host]),
			first(!x.Good.IsZero(), !y.Good.IsZero()), cmp.Compare(x.tries, y.tries), bytes.Compare(lx[:], ly[:]))
	})
	return all
}

// tell is what a peer is told of who else holds a space: hosts that want that,
// and that were in step with this node lately.
func (b *book) tell(id sennit.Space, to Host, now time.Time) (all []wire.Source) {
	p := b.pages[id]
	if p == nil {
		return nil
	}
	for host, s := range p.sources {
		if age := max(now.Sub(s.Good), 0); host != to && s.open && age <= tellAge {
			all = append(all, wire.Source{
				Host: host, Age: uint64(age / time.Second), Addrs: s.Addrs[:min(len(s.Addrs), wire.MaxSourceAddrs)],
			})
		}
	}
	slices.SortFunc(all, func(x, y wire.Source) int { return bytes.Compare(x.Host[:], y.Host[:]) })
	return all
}
