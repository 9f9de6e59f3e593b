package replicate

import (
	"bytes"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/wire"
)

// startPump decides from where the peer gets what arrives here.
func (c *channel) startPump(o *wire.Open, first bool) error {
	s := c.s
	sizes, err := s.n.Logs(c.space)
	if err != nil {
		return err
	}
	s.mu.Lock()
	out := c.out
	s.mu.Unlock()
	var newest node.Picks
	if first && o.Ops == 0 && o.Newest > 0 {
		// They come again with the rest, which is in order of arrival.
		if newest, err = s.n.Newest(c.space, filter(out), int(o.Newest)); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.push.Add(newest)
	for id, size := range sizes {
		i, ok := slices.BinarySearchFunc(o.Sizes, [8]byte(id[:8]), func(l wire.LogSize, id [8]byte) int { return bytes.Compare(l.Log[:], id[:]) })
		if ok && first {
			c.feed.Known[id] = min(o.Sizes[i].Size, size)
		}
	}
	if !first {
		if o.Since.Epoch != s.n.Epoch() {
			c.gap = c.at
			c.restart()
		}
		return nil
	}
	c.pumping = true
	switch {
	case o.Since.Epoch == s.n.Epoch():
		c.at = min(o.Since.N, c.mine.At.N)
	case o.Ops == 0:
		c.at = 0
	default:
		c.at = c.mine.At.N // the comparison finds what both sides keep
		c.gap, c.unsure = c.at, true
		c.restart()
	}
	return nil
}

// pump sends the peer one message of what arrived here, or of what a
// comparison found missing there. Writer only.
func (c *channel) pump(put func(wire.Frame) error) (bool, error) {
	s := c.s
	s.mu.Lock()
	if !c.pumping || c.behind >= unacked {
		s.mu.Unlock()
		return false, nil
	}
	if len(s.out) > 0 {
		s.mu.Unlock()
		return true, nil // it may be authority, which has to come first: without it these ops are refused
	}
	push, at, caught := c.push, c.at, c.caught && !c.poked
	c.poked = c.poked && len(c.push) > 0
	c.push = node.Picks{} // even if it is empty: the reader adds to what is there
	var wants []wire.WantItem
	if len(push) == 0 {
		wants, c.wants = c.wants, nil
	}
	feed, needs, overdue := c.feed, c.needs, c.untold()
	c.needs = nil
	s.mu.Unlock()
	if err := c.correct(feed, needs); err != nil {
		return false, err
	}

	f := &wire.Ops{Tag: c.tag}
	if len(push) > 0 {
		batch, err := feed.Ops(push, frameBytes)
		if err != nil {
			return false, err
		}
		f.Batch = wire.Batch{Logs: batch.Logs, Runs: batch.Runs}
		s.mu.Lock()
		c.push.Add(push) // what is left
		c.behind++
		s.mu.Unlock()
		return true, c.put(put, f)
	}
	if len(wants) > 0 {
		n := min(len(wants), wire.MaxItems)
		s.mu.Lock()
		c.wants, c.asked = append(wants[n:], c.wants...), true
		s.mu.Unlock()
		return true, put(&wire.Want{Tag: c.tag, Items: wants[:n]})
	}
	events, lagged := c.sub.Take(nil, 1<<20)
	if caught && len(events) == 0 && !lagged && !overdue {
		return c.pumpRest(put)
	}
	batch, err := feed.After(at, frameBytes, c.skip)
	if err != nil {
		return false, err
	}
	f.Batch = wire.Batch{Logs: batch.Logs, Runs: batch.Runs}
	f.Up, f.Caught = batch.N, batch.N >= batch.Last
	s.mu.Lock()
	if c.feed != feed {
		batch.N, f.Caught = at, false // what goes to the peer changed meanwhile: it is read again
	}
	if c.feed != feed || c.resting() {
		f.Up = 0
	}
	c.at = batch.N
	more := len(batch.Runs) > 0 || !c.caught || c.untold()
	c.caught = f.Caught
	if more {
		c.behind++ // at once with c.at: what is being sent is not acknowledged
	} else {
		c.settle()
	}
	s.mu.Unlock()
	if !more {
		return !f.Caught, nil
	}
	return true, c.put(put, f)
}

// correct notes what the peer has of logs, if they are logs of this space.
func (c *channel) correct(feed *node.Feed, needs map[sennit.Hash]uint64) error {
	if len(needs) == 0 {
		return nil
	}
	sizes, err := c.s.n.Logs(c.space)
	if err != nil {
		return err
	}
	for log, size := range needs {
		if have, ok := sizes[log]; ok {
			feed.Behind(log, min(size, have))
		}
	}
	return nil
}

// tellEvery is how often the peer is told how far this store got when there is
// nothing to send: otherwise it would be sent again, next time, what it sent.
const tellEvery = time.Second

// untold reports whether that is due; s.mu is held.
func (c *channel) untold() bool {
	return c.at > c.told && !c.resting() && time.Since(c.toldAt) >= tellEvery
}

func (c *channel) put(put func(wire.Frame) error, f *wire.Ops) error {
	c.s.mu.Lock()
	if f.Up > 0 {
		c.told, c.toldAt = f.Up, time.Now()
	}
	c.s.mu.Unlock()
	return put(f)
}

// skip reports whether a commit came from the peer.
func (c *channel) skip(id sennit.Hash) bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.seen[id]
}

// came notes that a commit came from the peer.
func (c *channel) came(id sennit.Hash) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if len(c.seen) >= maxSeen {
		clear(c.seen)
	}
	c.seen[id] = true
}

// need takes that the peer is behind what it was taken to have of a log.
func (c *channel) need(f *wire.Need) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.needs == nil {
		c.needs = map[sennit.Hash]uint64{}
	}
	if len(c.needs) < wire.MaxFrameLogs {
		c.needs[f.Log] = f.Size
	}
	c.synced, c.next = false, time.Now().Add(time.Second)
	c.s.wake()
}

func (c *channel) ack(f *wire.Ack) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.behind = max(c.behind-1, 0)
	if !c.unsure && !c.resting() {
		c.acked = max(c.acked, min(f.N, c.at))
	}
	c.settle()
	c.mended()
	c.s.wake()
}

// settle notes that the peer has all that was read for it, once nothing is
// under way: what was not sent came from it, or isn't for it; s.mu is held.
func (c *channel) settle() {
	if c.behind == 0 && !c.resting() && !c.unsure {
		c.acked = c.at
	}
}
