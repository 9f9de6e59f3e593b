package replicate

import (
	"context"
	"errors"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about which parts of a space go which way: what a side may read
// and takes. docs/decisions/partial.md says why it is so.

// parts is what of a space goes where between two sides. What a side holds of it
// beyond what it keeps up to date, such as what its user writes elsewhere, is
// sent all the same, but not compared.
type parts struct {
	both prefix.Set // what both may read and keep: it is compared
	out  prefix.Set // what the peer may read and takes
	in   prefix.Set // what this side may read and takes
}

// kept is what a side keeps up to date of what it lets the other read.
func kept(o *wire.Open) prefix.Set { return prefix.Of(o.Scope...).And(o.Interest) }

// divide works out anew what goes where, because one of the opens is new. It
// reports whether the peer has to be told that less came from it than this side
// said; s.mu is held.
func (c *channel) divide() (less bool) {
	if c.theirs == nil {
		return false
	}
	now := parts{
		both: kept(c.mine).And(kept(c.theirs)),
		out:  prefix.Of(c.mine.Scope...).And(c.theirs.Interest),
		in:   prefix.Of(c.theirs.Scope...).And(c.mine.Interest),
	}
	was := c.parts
	c.parts = now
	less = c.reclaim(now.in) && c.mine.Since.N > 0
	if !now.in.Equal(was.in) {
		c.past.anew()
	}
	rules := c.rules
	if c.mine.Authority == c.theirs.Authority {
		rules = c.mine.Authority
	}
	if !now.both.Equal(was.both) || rules != c.rules {
		// What a comparison says that is under way is about something else. By
		// other rules other ops count, and of those that a cut leaves it may have
		// to be proved again that they do.
		c.rules = rules
		c.synced, c.differs, c.again, c.next = false, true, 0, time.Time{}
	}
	if !now.out.Equal(was.out) || c.feed == nil {
		feed := c.s.n.Feed(c.space, filter(now.out))
		if c.feed != nil {
			feed.Known = c.feed.Known
		}
		c.feed = feed
	}
	if c.pumping && (!now.both.Equal(was.both) || !now.out.Equal(was.out)) {
		if !was.out.Covers(now.out) {
			c.gap, c.acked, c.unsure = c.at, 0, true
		}
		c.restart()
	}
	return less
}

// filter is a part of a space, for single ops. Dels of whole subtrees above the
// part concern it as well.
func filter(part prefix.Set) node.Filter {
	if part.Has("") {
		return nil
	}
	return part.Concerns
}

// reclaim makes what is remembered of the peer's arrivals be about a part. If it
// was about less than that, nothing is remembered until a comparison finds both
// sides equal: what was left out must be found. It reports whether that is so;
// s.mu is held.
func (c *channel) reclaim(in prefix.Set) (lost bool) {
	lost = !c.claimed.Covers(in)
	if c.claimed = in; lost {
		c.up, c.holes = 0, c.holes || c.pumping || c.mine != nil && c.mine.Since.N > 0
	}
	return lost
}

// since says up to where this side has what arrived at the peer, if it takes a
// part from now on; s.mu is held.
func (c *channel) since(interest prefix.Set) sennit.Cursor {
	if c.theirs == nil {
		return sennit.Cursor{Epoch: c.mine.Since.Epoch, N: c.up}
	}
	c.reclaim(prefix.Of(c.theirs.Scope...).And(interest))
	if c.holes && !c.both.Covers(c.in) {
		return sennit.Cursor{} // no comparison finds what is missing: the peer is to send it again
	}
	return sennit.Cursor{Epoch: c.theirs.At.Epoch, N: c.up}
}

// restart has the rest sent from the beginning: of what goes to the peer and it
// may lack, what is not compared; s.mu is held.
func (c *channel) restart() {
	c.rest, c.restAt, c.restTo = nil, 0, 0
	if c.gap == 0 || c.both.Covers(c.out) {
		return
	}
	out, both := c.out, c.both
	c.rest = c.s.n.Feed(c.space, func(p sennit.Path, deep bool) bool { return out.Concerns(p, deep) && !both.Has(p) })
	c.rest.Known = c.feed.Known
	c.restTo = c.gap
	c.s.wake()
}

// resting reports whether some of the rest is still to be sent; s.mu is held.
func (c *channel) resting() bool { return c.restAt < c.restTo }

// pumpRest sends the peer one message of the rest. Writer only.
func (c *channel) pumpRest(put func(wire.Frame) error) (bool, error) {
	s := c.s
	s.mu.Lock()
	feed, at, todo := c.rest, c.restAt, c.resting()
	s.mu.Unlock()
	if !todo {
		return false, nil
	}
	// What came from the peer is not left out: it may have come without the ops
	// that lie elsewhere.
	batch, err := feed.After(at, frameBytes, nil)
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	if c.rest == feed { // else it began anew meanwhile
		c.restAt = batch.N
	}
	if len(batch.Runs) > 0 {
		c.behind++
	} else {
		c.settle()
	}
	s.mu.Unlock()
	if len(batch.Runs) == 0 {
		return true, nil
	}
	return true, put(&wire.Ops{Tag: c.tag, Batch: wire.Batch{Logs: batch.Logs, Runs: batch.Runs}})
}

// digest is the digest over a part of a trie, and how many live ops that is.
func digest(t tree.Reader, part prefix.Set) (sennit.Hash, uint64, error) {
	var all []byte
	var ops uint64
	for _, p := range part {
		info, _, err := tree.Find(t, p)
		if err != nil {
			return sennit.Hash{}, 0, err
		}
		if len(part) == 1 {
			return info.Hash, info.Ops, nil
		}
		all = append(all, info.Hash[:]...)
		ops += info.Ops
	}
	return hashOf(all), ops, nil
}

// held tells the digest of a part as it is here, and up to which arrival.
func (c *channel) held(ctx context.Context, part prefix.Set) (d sennit.Hash, ops, at uint64, err error) {
	t, err := c.s.n.Trie(ctx, c.space)
	if err != nil {
		return d, 0, 0, err
	}
	d, ops, err = digest(t, part)
	return d, ops, t.N, errors.Join(err, t.Done())
}
