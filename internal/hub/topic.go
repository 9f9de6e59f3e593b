package hub

import (
	"math/bits"
	"sync/atomic"
)

// link is one batch in a topic's list. The last link of a list is empty: the
// next batch goes there. That way nobody needs to hold on to events in order to
// find what comes after them.
type link[T any] struct {
	pos  uint64                  // how many events the topic had before
	page *page[T]                // set before next
	next atomic.Pointer[link[T]] // nil while the link is empty
}

// page is the events of one batch that concern one topic. It does not change
// once it is linked. Topics may share it.
type page[T any] struct {
	first  uint64   // number of the first event in the hub's order
	index  []uint32 // numbers of all, less first; nil if they are 0, 1, 2...
	events []Event[T]
}

// solo is a page of one event, in one piece of memory.
type solo[T any] struct {
	page[T]
	one [1]Event[T]
}

// seq is the number of the event at i.
func (p *page[T]) seq(i int) uint64 {
	if p.index == nil {
		return p.first + uint64(i)
	}
	return p.first + uint64(p.index[i])
}

// add puts in the next of count events.
func (p *page[T]) add(e *Event[T], seq uint64, count int) {
	n := len(p.events)
	if p.index == nil && seq != p.first+uint64(n) {
		p.index = make([]uint32, n, count)
		for i := range p.index {
			p.index[i] = uint32(i)
		}
	}
	if p.index != nil {
		p.index = append(p.index, uint32(seq-p.first))
	}
	p.events = append(p.events, *e)
}

// topic is what several subscribers of the same [Topic] share.
type topic[T any] struct {
	tail atomic.Pointer[link[T]] // the end of the list after the newest batch

	first row[T]                     // the first 64 seats
	halls atomic.Pointer[[]*hall[T]] // further seats, 4096 each
	node  *node[T]                   // where it hangs
	exact bool                       // and how
	seats int                        // guarded by the hub's mu

	// What follows belongs to the publisher.
	end    *link[T]
	page   *page[T] // what the topic gets in this batch
	count  int      // and how many events that will be
	credit uint64   // rows to look through for laggards, times Ring
	swept  int      // the row to look through next
}

// row is up to 64 seats, and which of them belong to somebody who sleeps.
type row[T any] struct {
	parked atomic.Uint64
	seats  atomic.Pointer[[]*seat[T]] // replaced, never changed; may hold nil
	taken  uint64                     // which seats have an owner; guarded by the hub's mu
}

// hall is up to 64 rows, and which of them to look at for sleepers. A topic
// keeps its halls, 17 KiB each, until its last subscriber leaves.
type hall[T any] struct {
	parked atomic.Uint64
	rows   [64]atomic.Pointer[row[T]]
	full   uint64 // which rows have no free seat; guarded by the hub's mu

	// seen is about where in the list each seat is, modulo 2^32: at most a
	// quarter of a ring off while somebody reads there. Looking for laggards
	// among 100,000 seats by visiting them would miss the cache 100,000 times;
	// these lie in a row. The first row of a topic does without.
	seen [64 * 64]atomic.Uint32
}

// seat is the place of one subscriber at one topic.
type seat[T any] struct {
	next  atomic.Pointer[link[T]] // what to take next; nil if the publisher cut it off
	topic *topic[T]
	sub   *Sub[T]
	row   *row[T]
	hall  *hall[T] // nil in the first row
	index uint8    // in the row
	line  uint8    // of the row in the hall

	// What follows belongs to the reader.
	off   int    // how many events of next it has taken
	noted uint64 // what seen says
}

func newTopic[T any](n *node[T], exact bool) *topic[T] {
	t := &topic[T]{node: n, exact: exact, end: &link[T]{}}
	t.tail.Store(t.end)
	return t
}

// settle ends a batch: its page is linked, new subscribers start after it, and
// laggards lose hold of what they can't have any more. Each row is looked at
// once in ring events.
func (t *topic[T]) settle(ring uint64) {
	l, n := t.end, uint64(t.count)
	t.end = &link[T]{pos: l.pos + n}
	l.page = t.page
	l.next.Store(t.end)
	t.tail.Store(t.end)
	t.page, t.count = nil, 0

	rows := 1
	halls := t.halls.Load()
	if halls != nil {
		rows += 64 * len(*halls)
	}
	t.credit += n * uint64(rows)
	for range min(t.credit/ring, uint64(rows)) {
		if t.swept %= rows; t.swept == 0 {
			t.first.cut(t.end.pos, ring)
		} else {
			(*halls)[(t.swept-1)/64].cut((t.swept-1)%64, t.end.pos, ring)
		}
		t.swept++
	}
	t.credit %= ring
}

// cut takes their place in the list from seats that are more than ring events
// behind its end.
func (r *row[T]) cut(end, ring uint64) {
	if seats := r.seats.Load(); seats != nil {
		for _, s := range *seats {
			s.cut(end, ring)
		}
	}
}

// cut is the same for one row of a hall.
func (h *hall[T]) cut(line int, end, ring uint64) {
	r := h.rows[line].Load()
	if r == nil {
		return
	}
	seen := h.seen[line*64:][:64]
	for i := range seen {
		if uint32(end)-seen[i].Load() <= uint32(ring) {
			continue
		}
		if seats := *r.seats.Load(); i >= len(seats) || seats[i].cut(end, ring) {
			seen[i].Store(uint32(end)) // nothing to see here for another ring
		}
	}
}

// cut reports whether nobody reads here: the seat is vacant, or cut off.
func (s *seat[T]) cut(end, ring uint64) bool {
	if s == nil {
		return true
	}
	l := s.next.Load()
	// The reader may be anywhere in its page, so the whole page must be too
	// old. The end itself is never that.
	if l != nil && l.pos < end && end-l.next.Load().pos >= ring {
		s.next.CompareAndSwap(l, nil)
	}
	return l == nil
}

// move sets what to take next. If the publisher cut the seat off meanwhile,
// this undoes it: what was found before may be taken, and whether the rest is
// lost is found out the next time.
func (s *seat[T]) move(l *link[T], off int) {
	s.next.Store(l)
	s.off = off
	if s.hall != nil && l.pos-s.noted > s.sub.hub.ring/4 {
		s.note(l.pos)
	}
}

func (s *seat[T]) note(pos uint64) {
	s.noted = pos
	s.hall.seen[int(s.line)*64+int(s.index)].Store(uint32(pos))
}

// rouse wakes who sleeps at the topic, row by row, until at least limit were
// found. It reports how many, and whether there may be more.
func (t *topic[T]) rouse(limit int) (found int, more bool) {
	if t.first.parked.Load() != 0 {
		if limit <= 0 {
			return 0, true
		}
		found = t.first.rouse()
	}
	halls := t.halls.Load()
	if halls == nil {
		return found, false
	}
	for _, h := range *halls {
		for lines := h.parked.Load(); lines != 0; lines &= lines - 1 {
			if found >= limit {
				return found, true
			}
			// The line is cleared before its row, and marked after it: whoever
			// marks a row in between is found here, or leaves a line to find.
			h.parked.And(^(lines & -lines))
			found += h.rows[bits.TrailingZeros64(lines)].Load().rouse()
		}
	}
	return found, false
}

func (r *row[T]) rouse() int {
	parked := r.parked.Swap(0)
	found := bits.OnesCount64(parked)
	seats := *r.seats.Load()
	for ; parked != 0; parked &= parked - 1 {
		// A seat may have changed hands: then who has it is woken for nothing.
		if i := bits.TrailingZeros64(parked); i < len(seats) && seats[i] != nil {
			seats[i].sub.rouse()
		}
	}
	return found
}

// park marks the seat's owner as asleep, and then looks whether it had better
// not be. It reports whether there is nothing, not even of a batch that isn't
// visible yet.
func (s *seat[T]) park() (quiet bool) {
	mark(&s.row.parked, s.index)
	if s.hall != nil {
		mark(&s.hall.parked, s.line)
	}
	l := s.next.Load()
	return l != nil && l.next.Load() == nil
}

// mark sets a bit. If it is set already there is nothing to do: whoever clears
// it does so later than this look.
func mark(w *atomic.Uint64, bit uint8) {
	if b := uint64(1) << bit; w.Load()&b == 0 {
		w.Or(b)
	}
}

// join gives the subscriber a seat. The caller holds the hub's mu.
func (t *topic[T]) join(s *seat[T]) {
	s.topic = t
	t.seats++
	if !t.first.sit(s) {
		t.expand(s)
	}
	l := t.tail.Load()
	s.next.Store(l)
	if s.hall != nil {
		s.note(l.pos)
	}
}

// expand finds a seat beyond the first row.
func (t *topic[T]) expand(s *seat[T]) {
	var halls []*hall[T]
	if p := t.halls.Load(); p != nil {
		halls = *p
	}
	for _, h := range halls {
		if h.sit(s) {
			return
		}
	}
	h := &hall[T]{}
	h.sit(s)
	more := append(halls[:len(halls):len(halls)], h)
	t.halls.Store(&more)
}

// sit takes a free seat of the hall, if there is one.
func (h *hall[T]) sit(s *seat[T]) bool {
	i := bits.TrailingZeros64(^h.full)
	if i == 64 {
		return false
	}
	r := h.rows[i].Load()
	if r == nil {
		r = &row[T]{}
	}
	s.hall, s.line = h, uint8(i)
	r.sit(s)
	h.rows[i].Store(r)
	if ^r.taken == 0 {
		h.full |= 1 << i
	}
	return true
}

// sit takes a free seat of the row, if there is one.
func (r *row[T]) sit(s *seat[T]) bool {
	at := bits.TrailingZeros64(^r.taken)
	if at == 64 {
		return false
	}
	var old []*seat[T]
	if p := r.seats.Load(); p != nil {
		old = *p
	}
	seats := make([]*seat[T], max(len(old), at+1))
	copy(seats, old)
	seats[at] = s
	s.row, s.index = r, uint8(at)
	r.taken |= 1 << at
	r.seats.Store(&seats)
	return true
}

// leave gives the seat back. The caller holds the hub's mu. The mark of a
// sleeper stays; it does no harm.
func (s *seat[T]) leave() {
	old := *s.row.seats.Load()
	seats := make([]*seat[T], len(old))
	copy(seats, old)
	seats[s.index] = nil
	s.row.seats.Store(&seats)
	s.row.taken &^= 1 << s.index
	if s.hall != nil {
		s.hall.full &^= 1 << s.line
	}
	s.topic.seats--
}
