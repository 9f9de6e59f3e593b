package replicate

import (
	"context"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about proofs that a device signed two histories of a log: each
// goes to every peer that may read something of the space, once a session.
// docs/decisions/forks.md says why.

// maxForksHeard bounds the proofs of a space that are checked in a session: as
// many as a node keeps, and as many again that are made meanwhile.
const maxForksHeard = 2 * node.MaxForks

// fork takes a proof. One that proves nothing ends the session, because every
// honest peer checks what it hands on. One about a device that isn't known here
// is dropped, unchecked: the peer may know more, or be a liar with many keys.
func (c *channel) fork(ctx context.Context, f *wire.ForkFrame) error {
	if f.Proof.Log.Space != c.space {
		return sennit.Errorf(sennit.BadInput, "a fork proof of another space")
	}
	c.s.mu.Lock()
	c.accusals++
	over := c.accusals > maxForksHeard
	if !over {
		c.proved[f.Proof.Log.ID()] = true
	}
	c.s.mu.Unlock()
	if over {
		return nil
	}
	err := c.s.in.Fork(ctx, f.Proof)
	switch sennit.CodeOf(err) {
	case sennit.Denied, sennit.OverQuota:
		return nil
	}
	return err
}

// tellForks sends the peer a proof that it wasn't sent, and reports whether there
// may be more to do. It waits until both sides judge by the same authority:
// before that the peer may not know the device. Writer only.
func (c *channel) tellForks(put func(wire.Frame) error) (bool, error) {
	all := c.s.n.Forks(c.space)
	if len(all) == 0 || c.forks == &all[0] {
		return false, nil // a list with another proof is another list
	}
	s := c.s
	s.mu.Lock()
	ready := c.pumping && len(s.out) == 0 && len(c.mine.Scope) > 0 && c.theirs.Authority == c.mine.Authority
	var next *node.Fork
	for i := range all {
		if ready && !c.proved[all[i].Log] {
			next = &all[i]
			c.proved[next.Log] = true
			break
		}
	}
	s.mu.Unlock()
	switch {
	case next != nil:
		return true, put(&wire.ForkFrame{Tag: c.tag, Proof: next.Proof})
	case ready:
		c.forks = &all[0]
	}
	return false, nil
}
