package replicate

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/hub"
	"github.com/sennit/sennit/internal/wire"
)

// write sends until the session ends: messages of the outbox first, then one
// message of each open space in turn.
func (s *session) write(ctx context.Context, sub *hub.Sub[*sennit.Update]) error {
	var number uint64
	put := func(f wire.Frame) error {
		sctx, cancel := context.WithTimeout(ctx, deadAfter)
		defer cancel()
		err := s.conn.Send(sctx, wire.AppendFrame(nil, number, f))
		number++
		return err
	}
	hello, err := s.greeting()
	if err != nil {
		return err
	}
	if err := put(hello); err != nil {
		return err
	}
	told := wantedSet(hello)
	timer := time.NewTimer(pingEvery)
	defer timer.Stop()
	sent := time.Now()
	for {
		busy, err := s.turn(ctx, put, sub, told)
		if err != nil {
			return err
		}
		if busy {
			sent = time.Now()
			if err := ctx.Err(); err != nil {
				return err
			}
			continue
		}
		timer.Reset(min(s.due(), time.Until(sent.Add(pingEvery))))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.kick:
		case <-timer.C:
			if time.Since(sent) >= pingEvery {
				if err := put(&wire.Ping{}); err != nil {
					return err
				}
				sent = time.Now()
			}
		}
	}
}

func wantedSet(h *wire.Hello) map[[8]byte]bool {
	set := map[[8]byte]bool{}
	for _, i := range h.Interests {
		set[i] = true
	}
	return set
}

// turn does what there is to do once, and reports whether it did anything.
func (s *session) turn(ctx context.Context, put func(wire.Frame) error, sub *hub.Sub[*sennit.Update], told map[[8]byte]bool) (busy bool, err error) {
	s.mu.Lock()
	if !s.lookAgain.IsZero() && !time.Now().Before(s.lookAgain) {
		s.recheck = true
	}
	out, recheck := s.out, s.recheck && s.hello != nil
	s.out = nil
	if recheck {
		s.recheck = false
	}
	s.drained.Broadcast()
	s.mu.Unlock()
	for _, f := range out {
		if err := put(f); err != nil {
			return true, err
		}
		switch f := f.(type) {
		case *wire.Problem:
			return true, sennit.Errorf(f.Code, "refused the peer: %s", f.Message)
		case *wire.Ack:
			if c := s.channel(f.Tag); c != nil {
				s.mu.Lock()
				c.owed--
				s.mu.Unlock()
			}
		}
	}
	if recheck {
		drain(sub)
		if err := s.interest(put, told); err != nil {
			return true, err
		}
		if err := s.match(ctx); err != nil {
			return true, err
		}
	}
	busy = len(out) > 0 || recheck
	for _, c := range s.open() {
		did, err := c.pump(put)
		if err == nil && !did {
			did, err = c.drive(ctx, put)
		}
		if err == nil && !did {
			did, err = c.tellSources(put)
		}
		said, told := false, false
		if err == nil {
			said, err = c.say(put)
		}
		if err == nil {
			told, err = c.tellForks(put)
		}
		answered, asked := false, false
		if err == nil {
			answered, err = c.tellPast(ctx, put)
		}
		if err == nil {
			asked, err = c.seekPast(put)
		}
		if err != nil {
			return true, err
		}
		busy = busy || did || said || told || answered || asked
	}
	return busy, nil
}

// interest tells the peer of spaces that this node follows since the hello.
func (s *session) interest(put func(wire.Frame) error, told map[[8]byte]bool) error {
	spaces, err := s.wanted()
	if err != nil {
		return err
	}
	var more [][8]byte
	for _, f := range spaces {
		if i := salted(s.nonce, f.Space); !told[i] && len(told) < wire.MaxInterests {
			told[i] = true
			more = append(more, i)
		}
	}
	if len(more) == 0 {
		return nil
	}
	slices.SortFunc(more, func(a, b [8]byte) int { return bytes.Compare(a[:], b[:]) })
	return put(&wire.Interest{Interests: more})
}

// due is when something is to be done that nothing will wake the writer for.
func (s *session) due() time.Duration {
	wait := time.Hour
	s.mu.Lock()
	if !s.lookAgain.IsZero() {
		wait = time.Until(s.lookAgain)
	}
	s.mu.Unlock()
	for _, c := range s.open() {
		s.mu.Lock()
		// Only for what can be done then: a peer that doesn't answer is nothing to wake up for.
		if c.pumping && c.behind < unacked && c.at > c.told && !c.resting() {
			wait = min(wait, time.Until(c.toldAt.Add(tellEvery)))
		}
		if c.ready() {
			wait = min(wait, time.Until(c.next))
		}
		if c.tellsSources() {
			wait = min(wait, time.Until(c.toldSources.Add(tellSourcesEvery)))
		}
		if a := &c.past; a.full && !a.over && a.asked == nil && c.mayAsk() {
			wait = min(wait, time.Until(a.resumes))
		}
		if c.past.asks != nil && c.behind == 0 {
			wait = min(wait, time.Until(c.past.rests))
		}
		if !c.comparing.IsZero() {
			wait = min(wait, time.Until(c.comparing.Add(deadAfter)))
		}
		s.mu.Unlock()
	}
	return max(wait, time.Millisecond)
}

// median is the middle of some times, the lower one of two.
func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[(len(all)-1)/2]
}

// drain takes all that there is: a subscriber is woken again only after it
// found nothing.
func drain(sub *hub.Sub[*sennit.Update]) {
	for {
		if events, lagged := sub.Take(nil, 1<<20); len(events) == 0 && !lagged {
			return
		}
	}
}
