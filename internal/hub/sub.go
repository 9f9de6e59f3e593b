package hub

import (
	"context"
	"sync/atomic"

	"github.com/sennit/sennit"
)

// Sub is one subscriber. Take and Wait are for one goroutine at a time; Close is
// for any.
//
// # How it sleeps
//
// A subscriber that finds nothing
//
//	S1 sets parked,
//	S2 marks each of its seats as parked at the topic,
//	S3 looks again at each seat that it marked, and clears parked if there is
//	   something after all.
//
// The publisher
//
//	P1 links the events to their topics and raises the hub's done,
//	P2 takes the marks at the topics, clearing them,
//	P3 wakes whoever it found and whose parked it could change from set to clear.
//
// No event is slept through. All steps are atomic operations, and those have one
// order that everybody agrees on. If S3 does not see an event, it came before
// P1, so S1 and S2 came before P2. Then P2 finds the mark, unless another P2
// took it since S2; but the P3 that follows that one comes after S1 and finds
// parked set. Either way somebody clears parked and wakes.
//
// It does not matter who does P2 and P3, as long as it is after P1: so the
// publisher may leave them to [Hub.Run]. Nor does a mark that is left from an
// earlier sleep, or from the seat's last owner: it only wakes for nothing.
//
// Nobody is woken twice: a wake needs parked to go from set to clear, and only
// a Take or Wait that finds nothing sets it.
type Sub[T any] struct {
	hub    *Hub[T]
	wake   func()
	seats  []seat[T]
	alone  [1]seat[T]  // seats, if there is one topic
	heads  []head[T]   // room for merging
	parked atomic.Bool // asleep, and nobody has called wake yet
	closed atomic.Bool
	signal atomic.Pointer[chan struct{}] // for Wait, made by the first one
}

// Subscribe adds a subscriber of some topics. No event that is published after
// it returns is missed. Whoever takes a snapshot of the store after Subscribe
// returned, and drops the events that the snapshot has, sees everything once.
//
// wake may be nil. Otherwise it is called when a subscriber that had found
// nothing may find something: at most once after each Take or Wait that found
// nothing. It must neither block nor call into the hub. It runs on the
// publisher's goroutine, whose time it takes, or on that of [Hub.Run]. It can be
// called for nothing, and once more while Close runs and shortly after.
//
// Each Take looks at every topic of its subscriber, and does so twice when it
// finds nothing. That is nothing for ten, some microseconds for a hundred, and
// a fifth of a millisecond for 10,000.
func (h *Hub[T]) Subscribe(topics []Topic, wake func()) *Sub[T] {
	s := &Sub[T]{hub: h, wake: wake}
	if s.seats = s.alone[:]; len(topics) != 1 {
		s.seats = make([]seat[T], len(topics))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, want := range topics {
		n := h.reach(want)
		at := n.at(want.Exact)
		t := at.Load()
		if t == nil {
			t = newTopic(n, want.Exact)
			at.Store(t)
		}
		s.seats[i].sub = s
		t.join(&s.seats[i])
	}
	return s
}

// Close ends the subscription and frees what it holds. Take finds nothing from
// then on, and Wait fails. It is safe to call twice.
func (s *Sub[T]) Close() {
	if s.closed.Swap(true) {
		return
	}
	h := s.hub
	h.mu.Lock()
	for i := range s.seats {
		seat := &s.seats[i]
		seat.leave()
		if t := seat.topic; t.seats == 0 {
			t.node.at(t.exact).Store(nil)
			h.prune(t.node)
		}
	}
	h.mu.Unlock()
	s.release()
	if s.parked.CompareAndSwap(true, false) {
		s.ring()
	}
}

// release lets go of the events. Whoever holds on to one, holds on to all that
// come after it, and nobody cuts off a subscriber that has no seat.
func (s *Sub[T]) release() {
	for i := range s.seats {
		s.seats[i].next.Store(nil)
	}
}

// rouse wakes the subscriber if it sleeps.
func (s *Sub[T]) rouse() {
	if !s.parked.Load() || !s.parked.CompareAndSwap(true, false) {
		return
	}
	s.ring()
	if s.wake != nil {
		s.wake()
	}
}

// ring ends a Wait.
func (s *Sub[T]) ring() {
	c := s.signal.Load()
	if c == nil {
		return
	}
	select {
	case *c <- struct{}{}:
	default: // it has yet to notice the last one
	}
}

// Take appends to dst what there is, at most max events (none if max is not
// positive), in order of arrival, and returns the longer slice. It never
// blocks. If it finds nothing, wake is called when there is something; if it
// finds something, it is to be called again before going to sleep.
//
// lagged means that events were lost, because the subscriber was more than Ring
// events behind at one of its topics. Then nothing was appended, and the next
// Take starts with what is published from now on.
func (s *Sub[T]) Take(dst []Event[T], max int) (events []Event[T], lagged bool) {
	if max <= 0 || s.closed.Load() {
		return dst, false
	}
	s.wakeUp()
	n := len(dst)
	for {
		dst, lagged = s.take(dst, max)
		if s.closed.Load() {
			s.release() // take may have undone that of Close
			return dst[:n], false
		}
		if lagged || len(dst) > n || !s.park() {
			return dst, lagged
		}
	}
}

func (s *Sub[T]) wakeUp() {
	if s.parked.Load() {
		s.parked.Store(false)
	}
}

// park falls asleep. It reports whether that failed because there is something.
func (s *Sub[T]) park() bool {
	s.parked.Store(true)
	quiet := true
	for i := range s.seats {
		quiet = s.seats[i].park() && quiet
	}
	if quiet || !s.pending() {
		return false
	}
	s.parked.Store(false)
	return true
}

// pending reports whether take would find anything.
func (s *Sub[T]) pending() bool {
	done := s.hub.done.Load()
	for i := range s.seats {
		if l := s.seats[i].next.Load(); l == nil || l.ready(done) {
			return true
		}
	}
	return false
}

// take is Take without falling asleep.
func (s *Sub[T]) take(dst []Event[T], max int) ([]Event[T], bool) {
	done := s.hub.done.Load()
	ok := s.gather(done)
	switch {
	case !ok:
		s.restart()
	case len(s.heads) == 1:
		dst = s.heads[0].drain(dst, max, done)
	case len(s.heads) > 1:
		dst = s.merge(dst, max, done)
	}
	clear(s.heads) // they must not keep events alive
	return dst, !ok
}

// gather sets heads to the seats at which there is something. It fails if
// anything was lost at any.
func (s *Sub[T]) gather(done uint64) (ok bool) {
	s.heads = s.heads[:0]
	for i := range s.seats {
		seat := &s.seats[i]
		l := seat.next.Load()
		if l != nil && !l.ready(done) {
			continue
		}
		if l == nil || seat.topic.tail.Load().pos-l.pos-uint64(seat.off) > s.hub.ring {
			return false
		}
		s.heads = append(s.heads, head[T]{seat, l, seat.off})
	}
	return true
}

// ready reports whether there are events in the link that may be taken.
func (l *link[T]) ready(done uint64) bool {
	return l.next.Load() != nil && l.page.first <= done
}

// restart gives up all that was not taken.
func (s *Sub[T]) restart() {
	for i := range s.seats {
		s.seats[i].move(s.seats[i].topic.tail.Load(), 0)
	}
}

// head is the next event to take at a seat.
type head[T any] struct {
	seat *seat[T]
	link *link[T]
	off  int
}

func (x *head[T]) seq() uint64 { return x.link.page.seq(x.off) }

// drain takes from one topic alone.
func (x head[T]) drain(dst []Event[T], max int, done uint64) []Event[T] {
	l, off := x.link, x.off
	for max > 0 && l.ready(done) {
		events := l.page.events[off:]
		if len(events) > max {
			dst = append(dst, events[:max]...)
			off += max
			break
		}
		dst = append(dst, events...)
		max -= len(events)
		l, off = l.next.Load(), 0
	}
	x.seat.move(l, off)
	return dst
}

// merge takes from several topics in order of arrival. An event that is in
// several of them has the same number in each, and they all have it if one has.
func (s *Sub[T]) merge(dst []Event[T], max int, done uint64) []Event[T] {
	h := s.heads
	for i := len(h)/2 - 1; i >= 0; i-- {
		sift(h, i)
	}
	last := uint64(0)
	for len(h) > 0 {
		x := &h[0]
		if seq := x.seq(); seq != last {
			if max == 0 {
				break
			}
			max--
			last = seq
			dst = append(dst, x.link.page.events[x.off])
		}
		if x.off++; x.off == len(x.link.page.events) {
			x.link, x.off = x.link.next.Load(), 0
			if !x.link.ready(done) {
				x.seat.move(x.link, 0)
				*x = h[len(h)-1]
				h = h[:len(h)-1]
			}
		}
		sift(h, 0)
	}
	for _, x := range h {
		x.seat.move(x.link, x.off)
	}
	return dst
}

// sift restores the heap by seq below i.
func sift[T any](h []head[T], i int) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h[c+1].seq() < h[c].seq() {
			c++
		}
		if h[i].seq() <= h[c].seq() {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}

// Wait blocks until Take has something. It fails with the context's error, and
// with [sennit.Gone] when the subscription is closed. It calls for the same
// wake as a Take that found nothing.
func (s *Sub[T]) Wait(ctx context.Context) error {
	s.wakeUp()
	c := s.signal.Load()
	if c == nil {
		made := make(chan struct{}, 1)
		c = &made
		s.signal.Store(c)
	}
	for {
		something := s.pending() || s.park()
		// Close sets closed before it looks at parked, so it either is seen
		// here, or finds a sleeper to wake.
		if s.closed.Load() {
			return sennit.Errorf(sennit.Gone, "the subscription is closed")
		}
		if something {
			return nil
		}
		select {
		case <-*c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
