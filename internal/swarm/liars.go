package swarm

import (
	"time"

	"github.com/sennit/sennit/internal/replicate"
)

// How long a peer isn't asked that sent what is not right.
const (
	minShun  = time.Minute
	maxShun  = time.Hour
	maxLiars = 1024 // that are remembered
)

// liar is a peer that sent what is not right.
type liar struct {
	times int
	until time.Time
	last  *Lied
}

// shun names a peer, and keeps from asking it for a while: longer each time.
func (s *Swarm) shun(e *Lied) {
	s.mu.Lock()
	l := s.liars[e.Host]
	if l == nil {
		if len(s.liars) >= maxLiars {
			s.pardon()
		}
		l = &liar{}
		s.liars[e.Host] = l
	}
	pause := min(minShun<<min(l.times, 10), maxShun)
	l.times++
	l.until, l.last = time.Now().Add(pause), e
	s.mu.Unlock()
	s.cfg.Log.Warn("a peer sent what is not right", "host", replicate.HostText(e.Host), "err", e.Err, "pause", pause)
}

// pardon forgets the liar whose time is over first; s.mu is held.
func (s *Swarm) pardon() {
	var first replicate.Host
	for host, l := range s.liars {
		if f := s.liars[first]; f == nil || l.until.Before(f.until) {
			first = host
		}
	}
	delete(s.liars, first)
}

// shunned tells until when a peer isn't asked, and why.
func (s *Swarm) shunned(host replicate.Host) (until time.Time, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.liars[host]; l != nil {
		return l.until, l.last
	}
	return time.Time{}, nil
}
