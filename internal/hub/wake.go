package hub

import (
	"context"
	"math"
)

// To wake 10,000 goroutines takes several milliseconds, and they start to
// compete with the publisher at once. So a publisher that has a helper wakes
// only the first few itself, which keeps the latency of the common case, and
// leaves the rest to it.
const (
	inline  = 256 // sleepers that the publisher wakes for one batch, if there is a helper
	backlog = 16  // batches whose sleepers may wait for a helper
)

// Run helps the publisher to wake subscribers until ctx ends, and returns nil.
// Without it the publisher wakes them all before Publish returns. If it falls 16
// batches behind, the publisher does as if it weren't there.
func (h *Hub[T]) Run(ctx context.Context) error {
	h.helpers.Add(1)
	for {
		select {
		case topics := <-h.rest:
			rouse(topics, math.MaxInt)
		case <-ctx.Done():
			// What is left over after this was sent later than the helper was
			// signed off, and then its sender sees that.
			h.helpers.Add(-1)
			h.wakeRest()
			return nil
		}
	}
}

// rouse wakes who sleeps at a topic that got something.
func (h *Hub[T]) rouse() {
	if h.helpers.Load() == 0 {
		rouse(h.touched, math.MaxInt)
		return
	}
	left := rouse(h.touched, inline)
	if left == nil {
		return
	}
	select {
	case h.rest <- left:
		h.touched = nil
		if h.helpers.Load() == 0 {
			h.wakeRest()
		}
	default:
		rouse(left, math.MaxInt)
	}
}

// wakeRest does what is left to helpers.
func (h *Hub[T]) wakeRest() {
	for {
		select {
		case topics := <-h.rest:
			rouse(topics, math.MaxInt)
		default:
			return
		}
	}
}

// rouse wakes who sleeps at the topics until about limit were woken. It returns
// the topics that it didn't finish.
func rouse[T any](topics []*topic[T], limit int) []*topic[T] {
	for i, t := range topics {
		found, more := t.rouse(limit)
		if more {
			return topics[i:]
		}
		limit -= found
	}
	return nil
}
