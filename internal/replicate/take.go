package replicate

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about taking ops from the peer.

// maxAstray bounds the messages with ops of which this side takes no part.
// After it narrowed what it takes, as many may be under way: the peer sent them
// before it heard of that, and no more before they were acknowledged.
const maxAstray = 2 * unacked

// ops takes data commits.
func (c *channel) ops(ctx context.Context, f *wire.Ops) error {
	if err := c.owe(); err != nil {
		return err
	}
	in, strays := c.s.in, false
	for _, l := range f.Logs {
		if l.Space != c.space || l.Class != wire.Data {
			return sennit.Errorf(sennit.BadInput, "a log of another space or class")
		}
		if err := in.Log(l); err != nil {
			return err
		}
	}
	in.OnGenuine = c.came
	for _, run := range f.Runs {
		if !c.takes(run) {
			strays = true
			continue
		}
		var behind *node.Behind
		switch err := in.Run(ctx, run); {
		case errors.As(err, &behind):
			c.refused()
			if err := c.s.send(&wire.Need{Tag: c.tag, Log: run.Log, Size: behind.Size}); err != nil {
				return err
			}
		case sennit.CodeOf(err) == sennit.Denied || sennit.CodeOf(err) == sennit.OverQuota:
			c.refused() // an op without a right ends no session
		case err != nil:
			return err
		}
	}
	if strays {
		if err := c.astray(); err != nil {
			return err
		}
	}
	return in.Mark(ctx, func(err error) {
		if err != nil {
			c.s.fail(err) // what can't be acknowledged would hold the session up for ever
			return
		}
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if c.s.added > 0 {
			c.s.added, c.news = 0, time.Now()
		}
		if f.Up > c.up && !c.holes {
			c.up = f.Up
		}
		if c.done = c.done || f.Caught; len(f.Runs) > 0 {
			c.asked = false
			c.mended()
		}
		c.s.post(&wire.Ack{Tag: c.tag, N: f.Up})
	})
}

// owe notes that a message is to be acknowledged. Who sends more of them than
// may wait for that fills queues.
func (c *channel) owe() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.owed++; c.owed > unacked {
		return sennit.Errorf(sennit.BadInput, "more than %d messages with ops that were not acknowledged", unacked)
	}
	return nil
}

// refused notes that something of the peer's was not taken: what it sends is
// not remembered as received until a comparison finds both sides equal.
func (c *channel) refused() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.holes = true
}

// takes reports whether all ops of a run belong to what this side takes. Of a run
// that holds others nothing is taken: the peer knows what this side takes.
func (c *channel) takes(run *wire.Run) bool {
	c.s.mu.Lock()
	interest := c.interest
	c.s.mu.Unlock()
	if interest.Has("") {
		return true
	}
	for i := range run.Items {
		for _, part := range run.Items[i].Parts {
			if slices.ContainsFunc(part.Ops, func(op wire.Op) bool { return !interest.Concerns(op.Path, deletes(&op)) }) {
				return false
			}
		}
	}
	return true
}

// deletes reports whether an op deletes all that is under its path.
func deletes(op *wire.Op) bool {
	return op.Kind == sennit.KindDel && len(op.Body) > 0 && op.Body[0] == 1
}

// astray notes a message with ops that this side doesn't take.
func (c *channel) astray() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.holes = true
	if c.strays++; c.strays > maxAstray {
		return sennit.Errorf(sennit.BadInput, "more than %d messages with ops outside what this node follows", maxAstray)
	}
	return nil
}
