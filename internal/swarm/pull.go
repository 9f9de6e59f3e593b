package swarm

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/replicate"
)

// Bounds of fetching without being asked.
const (
	maxPulls   = 4       // blobs at a time
	maxLine    = 1024    // blobs of one space that wait
	maxResting = 1 << 16 // blobs of which it is remembered that nobody had them
	minRest    = 5 * time.Second
	maxRest    = 10 * time.Minute
	fullRest   = 10 * time.Second       // before a full disk is looked at again
	minScan    = 100 * time.Millisecond // between two looks at what is missing, and
	scanShare  = 10                     // so many times what the last one took
	maxScan    = time.Minute            // while something waits: values are deleted without a word
)

// item is a blob that is missing, and where it is the value in followed spaces.
type item struct {
	blob  sennit.Blob
	wants []node.Want        // at most maxPaths
	stop  context.CancelFunc // while it is fetched
}

// spaces lists the spaces in which the blob is a value.
func (it *item) spaces() (all []sennit.Space) {
	for _, w := range it.wants {
		if !slices.Contains(all, w.Space) {
			all = append(all, w.Space)
		}
	}
	return all
}

// rest is that nobody had a blob.
type rest struct {
	times int
	until time.Time
	err   error
}

// pull fetches what followed spaces name. The smallest blobs come first: so
// most values are here soonest, and who wants a large one now reads it.
type pull struct {
	mu      sync.Mutex // guards what follows
	line    []*item    // smallest first
	unlined int        // blobs that found no place there
	unsized uint64     // their bytes
	follows map[sennit.Space][]sennit.Path
	own     sennit.Space            // for which there is no budget
	held    map[sennit.Space]uint64 // bytes of blobs that are here
	running map[sennit.Blob]*item
	resting map[sennit.Blob]*rest
	holders map[sennit.Space]map[replicate.Host]replicate.Holding
	full    error
	budget  uint64
}

// pulled is what came of fetching an item.
type pulled struct {
	it  *item
	err error
}

// run fetches until the context ends.
func (p *pull) run(ctx context.Context, s *Swarm) error {
	p.mu.Lock()
	p.own, p.budget, p.running = s.n.Self().Space, s.cfg.Budget, map[sennit.Blob]*item{}
	p.mu.Unlock()
	var wg sync.WaitGroup
	defer wg.Wait()
	ended := make(chan pulled, maxPulls)
	dirty := true              // more may be missing than is known
	var named <-chan struct{}  // closed when that becomes so
	var least, stale time.Time // when to look for what is missing: not before, and by when
	for ctx.Err() == nil {
		sessions := s.cfg.Sessions.Changed() // before anything is read
		err := p.follow(s, &dirty)
		if now := time.Now(); err == nil && (dirty && !now.Before(least) || p.waits() && !now.Before(stale)) {
			named, err = p.scan(ctx, s)
			took := time.Since(now)
			least = time.Now().Add(max(minScan, scanShare*took))
			stale = time.Now().Add(max(maxScan, scanShare*took))
			dirty = false
		}
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("look for blobs that are missing", "err", err)
			dirty, least = true, time.Now().Add(maxScan)
		}
		p.meet(s)
		wait := p.start(s.cfg.Full, func(it *item) {
			var fetching context.Context
			fetching, it.stop = context.WithCancel(ctx)
			wg.Go(func() {
				defer it.stop()
				ended <- pulled{it, s.fetch(fetching, it.wants, 0)}
			})
		})
		switch {
		case dirty:
			wait = min(wait, time.Until(least))
		case p.waits():
			wait = min(wait, time.Until(stale))
		}
		timer := time.NewTimer(max(wait, 0))
		select {
		case <-named:
			named, dirty = nil, true
		case <-sessions:
		case r := <-ended:
			dirty = p.end(r) || dirty
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// waits reports whether anything is missing.
func (p *pull) waits() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.line) > 0 || p.unlined > 0
}

// follow learns what is followed, and notes whether that changed.
func (p *pull) follow(s *Swarm, changed *bool) error {
	all, err := s.n.Follows()
	if err != nil {
		return err
	}
	follows := map[sennit.Space][]sennit.Path{}
	for _, f := range all {
		follows[f.Space] = f.Prefixes
	}
	follows[p.own] = nil
	p.mu.Lock()
	defer p.mu.Unlock()
	*changed = *changed || !maps.EqualFunc(p.follows, follows, slices.Equal[[]sennit.Path])
	p.follows = follows
	return nil
}

// meet learns who holds what is followed. What nobody had is tried again when
// somebody else comes.
func (p *pull) meet(s *Swarm) {
	holders := map[sennit.Space]map[replicate.Host]replicate.Holding{}
	p.mu.Lock()
	for _, it := range p.line {
		for _, w := range it.wants {
			holders[w.Space] = nil
		}
	}
	p.mu.Unlock()
	for id := range holders {
		holders[id] = s.cfg.Sessions.Holders(id)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh := map[sennit.Space]bool{}
	for id, hosts := range holders {
		for host, h := range hosts {
			old, ok := p.holders[id][host]
			fresh[id] = fresh[id] || !ok || old.Session != h.Session || !slices.Equal(old.Scope, h.Scope)
		}
	}
	p.holders = holders
	for _, it := range p.line {
		if r := p.resting[it.blob]; r != nil && slices.ContainsFunc(it.spaces(), func(id sennit.Space) bool { return fresh[id] }) {
			r.times, r.until = 0, time.Time{}
		}
	}
}

// start begins to fetch what can be fetched, and tells when to look again.
func (p *pull) start(full func() error, begin func(*item)) (wait time.Duration) {
	wait = time.Hour
	p.mu.Lock()
	none := len(p.line) == 0
	p.mu.Unlock()
	if none {
		return wait
	}
	err := full()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full = err; err != nil {
		return fullRest
	}
	now := time.Now()
	for _, it := range p.line {
		if len(p.running) >= maxPulls {
			break // the end of one of them wakes
		}
		r := p.resting[it.blob]
		switch {
		case p.running[it.blob] != nil, !p.room(it), !p.served(it):
		case r != nil && now.Before(r.until):
			wait = min(wait, r.until.Sub(now))
		default:
			p.running[it.blob] = it
			begin(it)
		}
	}
	return wait
}

// room reports whether a blob is within the budget of a space in which it is a
// value; p.mu is held.
func (p *pull) room(it *item) bool {
	for _, id := range it.spaces() {
		sum := p.held[id] + it.blob.Size
		for _, o := range p.running {
			if o != it && slices.Contains(o.spaces(), id) {
				sum += o.blob.Size
			}
		}
		if id == p.own || it.blob.Size <= p.budget && sum <= p.budget {
			return true
		}
	}
	return false
}

// served reports whether somebody says that they serve the blob; p.mu is held.
func (p *pull) served(it *item) bool {
	for _, w := range it.wants {
		for _, h := range p.holders[w.Space] {
			if slices.ContainsFunc(h.Scope, w.Path.Under) {
				return true
			}
		}
	}
	return false
}

// end takes what came of fetching an item. It reports whether nothing wants the
// blob any more, so that what is here of it can go.
func (p *pull) end(r pulled) (unwanted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wanted := slices.ContainsFunc(p.line, func(it *item) bool { return it.blob == r.it.blob })
	delete(p.running, r.it.blob)
	switch sennit.CodeOf(r.err) {
	case "":
		delete(p.resting, r.it.blob)
		p.line = slices.DeleteFunc(p.line, func(it *item) bool { return it.blob == r.it.blob })
		for _, id := range r.it.spaces() {
			p.held[id] += r.it.blob.Size
		}
		return false
	case sennit.ReadOnly:
		return false // start looks whether the disk is full
	}
	if !wanted {
		return true
	}
	old := p.resting[r.it.blob]
	if old == nil {
		if len(p.resting) >= maxResting {
			return false
		}
		old = &rest{}
		p.resting[r.it.blob] = old
	}
	pause := min(minRest<<min(old.times, 10), maxRest)
	old.times++
	old.until, old.err = time.Now().Add(pause), r.err
	return false
}
