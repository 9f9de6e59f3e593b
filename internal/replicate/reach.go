package replicate

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
)

// This file is about reaching for hosts.

// How many sessions with hosts that hold a space a node has of its own accord.
// The host that was chosen first is always among those that are tried.
const (
	enoughSources = 2 // that bring all of it up to date: what one withholds is found by the other
	mostSources   = 3 // whatever they bring
)

// When a node that has as many looks at one host more: those that it has may
// have the space from each other, or withhold something together.
const (
	lookEvery = 5 * time.Minute
	lookAgain = 30 * time.Second // after one that can't be reached
)

// jitter is a pause of about d: those who begin at once don't go on at once.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// attempt is the state of reaching one host.
type attempt struct {
	failures int
	turned   int  // how often in a row it was too busy
	agreed   bool // in the last session both sides held the same of some space
	busy     bool // the last session ended because it was
	next     time.Time
	running  bool
	err      error
}

// dialDue starts the attempts that are due, and tells when to look again.
func (r *Replicator) dialDue(ctx context.Context, wg *sync.WaitGroup) (wait time.Duration) {
	wait = time.Hour
	follows, err := r.n.Follows()
	if err != nil {
		r.cfg.Log.Error("read follows", "err", err)
		return time.Minute
	}
	views := map[Host]view{}
	for _, v := range r.learn(ctx, follows) {
		views[v.s.conn.Host()] = v
	}
	if r.cfg.Dial == nil {
		return wait
	}
	r.mu.Lock()
	wanted := map[Host]bool{} // false: only learnt
	for _, f := range follows {
		wait = min(wait, r.dialFor(ctx, wg, f, views, wanted))
	}
	for host, a := range r.dialing {
		if _, ok := wanted[host]; !ok && !a.running && r.sessions[host] == nil {
			delete(r.dialing, host)
		}
	}
	useless, look := r.useless(views, wanted)
	r.mu.Unlock()
	for _, s := range useless {
		s.conn.Close()
	}
	return min(wait, look)
}

// dialFor starts the attempts that are due for one follow; r.mu is held.
func (r *Replicator) dialFor(ctx context.Context, wg *sync.WaitGroup, f node.Follow, views map[Host]view, wanted map[Host]bool) (wait time.Duration) {
	wait = time.Hour
	now := r.cfg.Now()
	list, page := r.book.list(f.Space), r.book.page(f.Space)
	serving, trying := 0, 0
	for _, src := range list {
		wanted[src.Host] = wanted[src.Host] || src.Chosen
		switch s, a := r.sessions[src.Host], r.dialing[src.Host]; {
		case s != nil:
			page.sources[src.Host].met = time.Now()
			gives, whole := views[src.Host].brings(f.Space)
			if gives || s.fresh() {
				trying++
			}
			if whole || s.fresh() {
				serving++
			}
		case a != nil && a.running:
			trying++
			serving++
		}
	}
	for i, src := range list {
		preferred := i == 0 && src.Chosen
		if !preferred && r.cfg.Only.IsZero() && (serving >= enoughSources || trying >= mostSources) {
			return min(wait, r.lookAround(ctx, wg, page, list))
		}
		a := r.free(src.Host)
		switch {
		case a == nil:
		case a.next.After(now):
			wait = min(wait, a.next.Sub(now))
		default:
			serving++
			trying++
			r.begin(ctx, wg, page, src, a, false)
		}
	}
	return wait
}

// free is the attempt at a host that there is no session with, nil if one is
// under way; r.mu is held.
func (r *Replicator) free(host Host) *attempt {
	a := r.dialing[host]
	if r.sessions[host] != nil || a != nil && a.running {
		return nil
	}
	if a == nil {
		a = new(attempt)
		r.dialing[host] = a
	}
	return a
}

// begin starts an attempt; r.mu is held.
func (r *Replicator) begin(ctx context.Context, wg *sync.WaitGroup, p *page, src Source, a *attempt, extra bool) {
	a.running = true
	p.sources[src.Host].met = time.Now()
	wg.Go(func() { r.reach(ctx, src, a, extra) })
}

// lookAround turns to one more host of a space now and then, though there are
// sessions enough: to the one that had no turn for longest; r.mu is held.
func (r *Replicator) lookAround(ctx context.Context, wg *sync.WaitGroup, p *page, list []Source) (wait time.Duration) {
	now := time.Now()
	if p.look.IsZero() {
		p.look = now.Add(jitter(lookEvery))
	}
	if now.Before(p.look) {
		return p.look.Sub(now)
	}
	slices.SortStableFunc(list, func(x, y Source) int { return x.met.Compare(y.met) })
	for _, src := range list {
		if a := r.free(src.Host); a != nil && !a.next.After(r.cfg.Now()) {
			p.looking, p.look = src.Host, now.Add(jitter(lookEvery))
			r.begin(ctx, wg, p, src, a, true)
			break
		}
	}
	return max(p.look.Sub(now), lookAgain) // nobody may be free yet
}

// oldest is the oldest session that this node began with a host of which it was
// told, nil if all are young. It is given up for another one whenever a chosen
// host is too busy: a few followers who have each other for sources, and nobody
// whom that host serves, would find each other up to date for ever; r.mu is held.
func (r *Replicator) oldest() (s *session) {
	for host, o := range r.sessions {
		if !o.dialed || o.fresh() || s != nil && s.began.Before(o.began) {
			continue
		}
		learnt := false
		for _, p := range r.book.pages {
			src := p.sources[host]
			if src != nil && src.Chosen {
				learnt = false
				break
			}
			learnt = learnt || src != nil
		}
		if learnt {
			s = o
		}
	}
	return s
}

// fresh reports whether a session is so young that nobody can say yet what it brings.
func (s *session) fresh() bool { return time.Since(s.began) < openPatience }

// brings reports whether a session brings some of a space up to date, and all.
func (v view) brings(id sennit.Space) (some, all bool) {
	for _, x := range v.spaces {
		if x.space == id && x.gives {
			return true, x.whole
		}
	}
	return false, false
}

// needed tells which of the sessions that this node began it has use for: of each
// space those that brought something new last, as many as it begins by itself.
// One that looked around and brought something so takes the place of another.
func needed(views map[Host]view, wanted map[Host]bool) map[*session]bool {
	type bringing struct {
		view
		seen
		chosen bool
	}
	bring := map[sennit.Space][]bringing{}
	for host, v := range views {
		for _, x := range v.spaces {
			if v.s.dialed && x.gives && !v.s.fresh() {
				bring[x.space] = append(bring[x.space], bringing{v, x, wanted[host]})
			}
		}
	}
	use := map[*session]bool{}
	for _, all := range bring {
		slices.SortFunc(all, func(x, y bringing) int {
			return cmp.Or(first(x.chosen, y.chosen), y.news.Compare(x.news), x.s.began.Compare(y.s.began))
		})
		serving := 0
		for _, x := range all[:min(len(all), mostSources)] {
			if use[x.s] = true; x.whole {
				serving++
			}
			if serving == enoughSources {
				break
			}
		}
	}
	return use
}

// useless gives the sessions that this node began with hosts of which it was
// told, and that bring nothing that it follows or no more than others do, and
// when to look again; r.mu is held.
func (r *Replicator) useless(views map[Host]view, wanted map[Host]bool) (all []*session, wait time.Duration) {
	wait = time.Hour
	needed := needed(views, wanted)
	for host, v := range views {
		chosen, learnt := wanted[host]
		if !v.s.dialed || chosen && !v.s.extra || !learnt {
			continue
		}
		// One that looks ends when both hold the same and nothing of that was new.
		idle := v.s.extra
		if v.s.fresh() {
			wait = min(wait, openPatience-time.Since(v.s.began)+time.Second)
			continue
		}
		gives := false
		for _, x := range v.spaces {
			gives = gives || x.gives
			idle = idle && x.equal && x.news.IsZero()
		}
		if wait = min(wait, agreePatience/2); !gives || idle || !needed[v.s] {
			all = append(all, v.s)
		}
	}
	return all, wait
}

// reach runs one session to a host, and says when to try again.
func (r *Replicator) reach(ctx context.Context, src Source, a *attempt, extra bool) {
	host := src.Host
	begun := r.cfg.Now()
	dctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	conn, err := r.cfg.Dial(dctx, host, src.Addrs)
	cancel()
	reached := err == nil
	if reached {
		err = r.serve(ctx, conn, true, extra, nil)
	}
	r.mu.Lock()
	if !reached {
		r.book.missed(host)
	}
	a.running, a.err = false, err
	if r.cfg.Now().Sub(begun) > maxBackoff {
		a.failures = 0
	}
	if a.failures++; a.agreed {
		// All is well but that it ended: the peer stopped, or somebody with the
		// same key took its place, as where a data directory was copied.
		a.failures, a.turned = min(a.failures, maxAgreed), 0
	}
	most := maxBackoff
	if !src.Chosen {
		most = maxLearntBackoff
	}
	pause := min(most, minBackoff<<min(a.failures-1, 20))
	switch {
	case a.busy:
		pause = min(maxBusyPause, minBusyPause<<min(a.turned, 10))
		a.failures = 0
		a.turned++
	case ctx.Err() == nil && sennit.CodeOf(err) != sennit.Conflict && !a.agreed:
		r.book.failed(host, r.cfg.Now())
	}
	var stale *session
	if a.busy && !extra {
		stale = r.oldest()
	}
	a.agreed, a.busy = false, false
	a.next = r.cfg.Now().Add(jitter(pause)) // followers of a host that went away don't all come back at once
	r.mu.Unlock()
	if stale != nil {
		stale.conn.Close()
	}
	if err != nil && ctx.Err() == nil {
		r.cfg.Log.Debug("session ended", "host", hostText(host), "err", err)
	}
	r.touch()
}
