package replicate

import (
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about sending newcomers to others when this node serves as many
// as it can.

// DefaultGuests is how many sessions a node has in which it serves those whom it
// doesn't follow, if its configuration says nothing: two thirds of the
// connections that package peer keeps.
const DefaultGuests = 64

const (
	referPatience = 2 * time.Second // for a newcomer to show an invitation
	maxReferred   = 64              // spaces of which a newcomer is told who else holds them
)

// admitted reports whether this side serves the peer. Devices of its own space,
// those whom it follows or turned to, and those that it serves already are always
// admitted. keeps is what this node follows, by space.
func (s *session) admitted(keeps map[sennit.Space]prefix.Set) bool {
	s.mu.Lock()
	_, friend := keeps[s.who.Space]
	friend = friend && !s.who.Space.IsZero() || s.dialed || s.chosen || s.join != nil
	s.mu.Unlock()
	r := s.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if friend || s.guest {
		return true
	}
	guests := 0
	for _, o := range r.sessions {
		if o.guest {
			guests++
		}
	}
	s.guest = guests < r.cfg.Guests
	return s.guest
}

// refer ends the session with a newcomer whom this node can't serve, and tells
// it who else holds what it wants. Writer only.
func (s *session) refer(spaces []sennit.Space) {
	s.mu.Lock()
	s.lookAgain = time.Time{}
	left := referPatience - time.Since(s.greeted)
	if len(spaces) > 0 && left > 0 {
		s.lookAgain = time.Now().Add(left)
	}
	s.mu.Unlock()
	if len(spaces) == 0 || left > 0 {
		return
	}
	var frames []wire.Frame
	for _, id := range spaces[:min(len(spaces), maxReferred)] {
		if f := s.r.telling(s.tag(id), id, s.conn.Host()); len(f.Others) > 0 {
			frames = append(frames, f)
		}
	}
	frames = append(frames, &wire.Problem{Code: sennit.OverQuota, Message: "this node serves as many as it can; try those that it told of, and come again later"})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range frames {
		s.post(f)
	}
}

// referred notes that a host to which this node turned is too busy.
func (s *session) referred() {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if a := s.r.dialing[s.conn.Host()]; a != nil && s.dialed {
		a.busy = true
	}
}
