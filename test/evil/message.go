package evil

import (
	"fmt"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/wire"
)

// This file is about lies in live messages.

// forgedMessage is a live message that its author didn't send: somebody else's,
// altered, or one in another's name.
func (c *conn) forgedMessage(t wire.Tag, space sennit.Space) wire.Frame {
	l := c.l
	if old := l.liveOf(space, c.rng.IntN(maxHeard)); old != nil && c.rng.IntN(2) == 0 {
		m := *old.Message
		m.Clock, m.Body = l.clock(), []byte("a lie")
		return &wire.Live{Tag: t, Sig: old.Sig, Message: &m}
	}
	for _, rec := range l.logs {
		if rec.Space == space {
			m := c.message(space, somePath(c.rng))
			m.Author = sennit.Principal{Space: rec.Principal, Device: rec.Device}
			return &wire.Live{Tag: t, Sig: l.c.Identity.SignLive(m), Message: m}
		}
	}
	return nil
}

// oldMessage is one that was heard before.
func (c *conn) oldMessage(t wire.Tag, space sennit.Space) wire.Frame {
	if old := c.l.liveOf(space, c.rng.IntN(maxHeard)); old != nil {
		return &wire.Live{Tag: t, Sig: old.Sig, Message: old.Message}
	}
	return nil
}

// messages is many of the liar's own, to a few paths or to ever new ones.
func (c *conn) messages(t wire.Tag, space sennit.Space) (all []wire.Frame) {
	few := c.rng.IntN(2) == 0
	for i := range 100 + c.rng.IntN(900) {
		p := somePath(c.rng)
		if !few {
			p = p.Join(sennit.Path(fmt.Sprint("flood/", c.rng.IntN(1<<20))))
		}
		m := c.message(space, p)
		m.Clock += uint64(i)
		all = append(all, &wire.Live{Tag: t, Sig: c.l.c.Identity.SignLive(m), Message: m})
	}
	return all
}

// message is a live message of the liar's.
func (c *conn) message(space sennit.Space, p sennit.Path) *wire.LiveMessage {
	return &wire.LiveMessage{
		Space: space, Path: p, Author: c.l.c.Identity.Principal(), Clock: c.l.clock(), Expires: 1 + c.rng.Uint64N(wire.MaxLiveExpiry), Body: []byte("a liar's"),
	}
}

// liveOf is one of the live messages of a space that were heard; l.mu is held.
func (l *Liar) liveOf(space sennit.Space, n int) *wire.Live {
	for i := range l.lives {
		if x := l.lives[(i+n)%len(l.lives)]; x.Message.Space == space {
			return x
		}
	}
	return nil
}
