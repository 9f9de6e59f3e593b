package replicate

import (
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/wire"
)

// This file is about live messages. They go to every peer that may read their
// path and takes it, but the one that brought them; who passes them on as well
// as who reads them drops what it has seen. docs/decisions/messages.md says why.

// Bounds of live messages in a session.
const (
	messageRate  = 256 // that are taken in a second, in the long run; more are dropped and counted
	messageBurst = 512 // that are taken at once
	messagesOnce = 64  // that are sent in a turn, between messages with ops
)

// budget is what a peer may send before it is dropped: a bucket that fills
// with time (RFC 2697 calls it a token bucket).
type budget struct {
	left float64
	at   time.Time
}

func newBudget(now time.Time) budget { return budget{messageBurst, now} }

// spend takes one, false if there is none left.
func (b *budget) spend(now time.Time) bool {
	b.left = min(b.left+now.Sub(b.at).Seconds()*messageRate, messageBurst)
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// hear takes a live message. One that isn't genuine ends the session, because
// every honest peer checks what it passes on. Others may be dropped: the peer may not know
// yet what this side takes, or who may write.
func (c *channel) hear(f *wire.Live) error {
	s := c.s
	if f.Message.Space != c.space {
		return sennit.Errorf(sennit.BadInput, "a live message of another space")
	}
	s.mu.Lock()
	within, takes := s.budget.spend(time.Now()), c.interest.Has(f.Message.Path)
	if !within {
		s.dropped++
	}
	s.mu.Unlock()
	if !within || !takes {
		return nil
	}
	_, err := s.n.Hear(f.Message, &f.Sig, s)
	switch sennit.CodeOf(err) {
	case sennit.NotFound, sennit.Denied, sennit.OverQuota:
		return nil
	}
	return err
}

// say sends the peer some of the live messages that are for it, and reports
// whether there may be more to do. If the peer is slower than they come, the
// subscription loses them. Writer only.
func (c *channel) say(put func(wire.Frame) error) (bool, error) {
	s := c.s
	s.mu.Lock()
	waits, open, out, who := len(s.out) > 0, c.pumping, c.out, s.who
	s.mu.Unlock()
	if waits {
		return true, nil // it may be authority, by which the peer is to judge them
	}
	events, lagged := c.mail.Take(nil, messagesOnce)
	for _, e := range events {
		m := e.Data
		if !open || m.From == s || m.Author == who || !out.Has(m.Path) || !s.n.MayHear(who, m) {
			continue
		}
		if err := put(&wire.Live{Tag: c.tag, Sig: m.Sig, Message: m.LiveMessage}); err != nil {
			return true, err
		}
	}
	return len(events) > 0 || lagged, nil
}
