package swarm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/replicate"
)

// Bounds of fetching one blob.
const (
	maxSources = 4  // peers that are asked at a time
	maxPaths   = 8  // paths at which a blob is asked for
	maxBusy    = 60 // times that a peer may say that it is busy
	maxReasons = 8  // peers whose answers an error tells
)

// job brings one blob, for however many want it.
type job struct {
	s    *Swarm
	blob sennit.Blob
	stop context.CancelFunc
	done chan struct{} // closed when it has ended
	err  error         // why; set before
	news chan struct{} // has one token when somebody joined

	users int // guarded by s.mu

	mu      sync.Mutex // guards what follows
	wants   []node.Want
	patient time.Time // how long it waits when there is nobody to ask
}

// fetch brings a blob that is the value at some paths. If nobody can be asked
// it waits for as long as it has patience.
func (s *Swarm) fetch(ctx context.Context, wants []node.Want, patience time.Duration) error {
	j, err := s.join(wants, time.Now().Add(patience))
	if err != nil {
		return err
	}
	defer s.leave(j)
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return sennit.Errorf(sennit.CodeOf(ctx.Err()), "fetch blob %s: %w", j.blob.Root, ctx.Err())
	}
}

// join takes part in the job of a blob, and begins it if there is none.
func (s *Swarm) join(wants []node.Want, patient time.Time) (*job, error) {
	ref := wants[0].Blob
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil, sennit.Errorf(sennit.Gone, "the node is stopping")
	}
	if j := s.jobs[ref]; j != nil {
		j.users++
		j.want(wants, patient)
		return j, nil
	}
	j := &job{s: s, blob: ref, users: 1, done: make(chan struct{}), news: make(chan struct{}, 1)}
	j.want(wants, patient)
	ctx, stop := context.WithCancel(s.life)
	j.stop = stop
	s.jobs[ref] = j
	s.work.Go(func() { j.run(ctx) })
	return j, nil
}

// leave ends a job that nobody waits for any more.
func (s *Swarm) leave(j *job) {
	s.mu.Lock()
	j.users--
	last := j.users == 0
	if last {
		s.forget(j)
	}
	s.mu.Unlock()
	if last {
		j.stop()
		<-j.done
	}
}

// forget lets the next who want the blob begin anew; s.mu is held.
func (s *Swarm) forget(j *job) {
	if s.jobs[j.blob] == j {
		delete(s.jobs, j.blob)
	}
}

// want adds paths at which the blob can be asked for.
func (j *job) want(wants []node.Want, patient time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, w := range wants {
		if len(j.wants) < maxPaths && !slices.Contains(j.wants, w) {
			j.wants = append(j.wants, w)
		}
	}
	if patient.After(j.patient) {
		j.patient = patient
	}
	select {
	case j.news <- struct{}{}:
	default:
	}
}

func (j *job) run(ctx context.Context) {
	err := j.bring(ctx)
	j.stop()
	j.s.mu.Lock()
	j.s.forget(j)
	j.s.mu.Unlock()
	j.err = err
	close(j.done)
}

// state is what a job knows of a peer.
type state struct {
	running bool
	over    bool        // it isn't asked again
	gone    bool        // it holds the space no more; if it comes back it may say something else
	again   time.Time   // when it can be asked
	busy    int         // how often it was
	wants   []node.Want // what it was asked for
	err     error       // what it said last
}

// report is what came of asking a peer.
type report struct {
	host replicate.Host
	err  error // nil: the blob is whole
}

// bringing is the state of a job that runs: of its goroutine, but for what
// sources share.
type bringing struct {
	*job
	peers map[replicate.Host]*state

	// Shared with sources.
	found chan struct{} // has a token when somebody has some of it
	begun chan struct{} // closed when plan is set
	plan  *schedule
	ended chan report
}

// bring asks peers until the blob is whole or nobody is left to ask.
func (j *job) bring(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	b := &bringing{
		job: j, peers: map[replicate.Host]*state{},
		found: make(chan struct{}, 1), begun: make(chan struct{}), ended: make(chan report, maxSources),
	}
	var wg sync.WaitGroup
	defer func() {
		cancel()
		wg.Wait()
		if b.plan != nil {
			err = errors.Join(err, b.plan.f.Close())
		}
	}()
	for {
		changed := j.s.cfg.Sessions.Changed() // before anything is read
		wait := b.recruit(func(src *source) {
			wg.Go(func() { b.ended <- report{src.host, src.run(ctx)} })
		})
		if wait <= 0 {
			return b.nobody()
		}
		timer := time.NewTimer(wait)
		select {
		case <-b.found:
			err = b.begin(ctx)
		case r := <-b.ended:
			err = b.end(r)
		case <-j.news:
			b.anew()
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			err = sennit.Errorf(sennit.Gone, "fetching blob %s was given up", j.blob.Root)
		}
		timer.Stop()
		if err != nil || b.plan != nil && b.plan.f.Done() {
			return err
		}
	}
}

// begin takes the blob up on the disk: not before somebody has some of it, so
// that one that was made up costs nothing.
func (b *bringing) begin(ctx context.Context) error {
	if b.plan != nil {
		return nil
	}
	f, err := b.s.blobs.Begin(ctx, b.blob)
	if err != nil {
		return err
	}
	b.plan = newSchedule(f)
	close(b.begun)
	return nil
}

// recruit has peers asked who weren't, as many as there may be. It tells for how
// long to wait for something to happen: not at all if nobody is asked, and
// nobody will be.
func (b *bringing) recruit(start func(*source)) (wait time.Duration) {
	holders, now, running := b.holders(), time.Now(), 0
	for host, p := range b.peers {
		if p.running {
			running++
		}
		if _, here := holders[host]; !here {
			p.gone = true
		}
	}
	b.mu.Lock()
	wait = b.patient.Sub(now)
	b.mu.Unlock()
	for host, wants := range holders {
		p := b.peers[host]
		if p == nil {
			p = &state{}
			b.peers[host] = p
		}
		if p.gone {
			p.gone, p.over = false, false
		}
		until, why := b.s.shunned(host)
		switch {
		case p.running, p.over:
		case now.Before(until):
			p.err = why
		case now.Before(p.again):
			if d := p.again.Sub(now); wait <= 0 || d < wait {
				wait = d
			}
		case running < maxSources:
			running++
			p.running, p.wants = true, wants
			start(&source{s: b.s, b: b, host: host, wants: wants, size: 1, window: maxWindow})
		}
	}
	if running > 0 && wait <= 0 {
		wait = time.Hour
	}
	return wait
}

// holders tells who says that it serves a path at which the blob is.
func (b *bringing) holders() map[replicate.Host][]node.Want {
	b.mu.Lock()
	wants := slices.Clone(b.wants)
	b.mu.Unlock()
	holders := map[replicate.Host][]node.Want{}
	for _, w := range wants {
		for host, h := range b.s.cfg.Sessions.Holders(w.Space) {
			if slices.ContainsFunc(h.Scope, w.Path.Under) {
				holders[host] = append(holders[host], w)
			}
		}
	}
	return holders
}

// end takes what came of asking a peer. It fails if there is no use in asking
// others.
func (b *bringing) end(r report) error {
	p := b.peers[r.host]
	p.running = false
	if r.err == nil {
		return nil
	}
	p.err = r.err
	var lied *Lied
	var mine *ownError
	switch {
	case errors.As(r.err, &mine):
		return mine.err
	case errors.As(r.err, &lied):
		b.s.shun(lied)
	case errors.Is(r.err, errBusy) && p.busy < maxBusy:
		p.busy++
		p.again = time.Now().Add(askAgain)
	default:
		p.over = true
	}
	return nil
}

// anew lets those be asked again who said no to other paths.
func (b *bringing) anew() {
	holders := b.holders()
	for host, p := range b.peers {
		if !slices.Equal(p.wants, holders[host]) {
			p.over = false
		}
	}
}

// nobody is the error when nobody is left to ask: it says who was asked and what
// they said.
func (b *bringing) nobody() error {
	b.mu.Lock()
	w := b.wants[0]
	b.mu.Unlock()
	var said []string
	var lied *Lied
	for _, host := range slices.SortedFunc(maps.Keys(b.peers), func(x, y replicate.Host) int { return slices.Compare(x[:], y[:]) }) {
		err := b.peers[host].err
		if err == nil {
			continue
		}
		if lied == nil {
			errors.As(err, &lied)
		}
		if len(said) < maxReasons {
			said = append(said, fmt.Sprintf("%s %v", replicate.HostText(host), err))
		}
	}
	const hint = "try again when a node that follows the space is running"
	text := fmt.Sprintf("the bytes of /%s/%s are not here", w.Space, w.Path)
	switch {
	case len(said) == 0:
		return sennit.Hint(sennit.Errorf(sennit.Unreachable, "%s, and there is no session with anybody who holds that space", text), hint)
	case lied != nil:
		return sennit.Hint(sennit.Errorf(sennit.Unreachable, "%s, and nobody who was asked gives them (%s): %w", text, strings.Join(said, "; "), lied), hint)
	}
	return sennit.Hint(sennit.Errorf(sennit.Unreachable, "%s, and nobody who was asked gives them (%s)", text, strings.Join(said, "; ")), hint)
}
