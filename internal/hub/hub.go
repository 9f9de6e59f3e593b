// Package hub tells watchers inside this process what was committed: a
// publisher hands over events, and every subscriber whose topics they match can
// take them, at its own pace.
//
// Owns: topics, which event concerns which topic, what is kept for whom, and
// when a sleeping subscriber is woken.
// Promises: the publisher takes no lock and waits for nobody. Readers neither. A subscriber gets
// every event published after it subscribed, once, in order of arrival, or
// learns that it lagged. There is no goroutine and no channel per subscriber.
// What every subscriber of a topic has taken is free to be collected.
// Must not know: what an event means, who may see it, where it is stored, or
// how a reader that lagged catches up.
//
// # How it works
//
// A topic keeps its events in a list, linked from old to new. The topic itself
// points only to the end of the list, and each subscriber to the next event
// that it has not taken. So the events of a topic live exactly as long as
// somebody still needs them, an idle topic holds none, and subscribers share
// what they wait for. A circular buffer was the alternative; it keeps its last
// events for good, and with values of 64 KiB, or 100,000 topics, that is what
// would fill the memory.
//
// A list has no end, so two things stand in for the size of a buffer. A reader
// that finds itself more than Ring events behind gives them up and reports that
// it lagged. And the publisher looks through a topic's subscribers, all of them
// once in Ring events, and cuts off who is that far behind: a reader that never
// comes back holds on to at most 2 * Ring events of each of its topics, and to
// the rest of the batch that it stopped in.
//
// Topics hang in a trie, one level for the space and one for each component of
// the path. See trie.go for how it is read while it changes, and sub.go for how
// a subscriber falls asleep without missing anything.
package hub

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/sennit/sennit"
)

// Limits of [Config].
const (
	DefaultRing = 1024
	MaxRing     = 1 << 20
)

// Config says how much a hub keeps.
type Config struct {
	// Ring is how many events of one topic a subscriber may be behind before
	// it lags: 1 to MaxRing, or 0 for DefaultRing. An idle topic costs nothing
	// for a big Ring. A batch with more matching events than Ring makes
	// every subscriber of the topic lag.
	Ring int
}

// Check fails with [sennit.BadInput] if the configuration makes no sense.
func (c Config) Check() error {
	if c.Ring < 0 || c.Ring > MaxRing {
		return sennit.Errorf(sennit.BadInput, "a ring of %d events is not allowed: want 1 to %d, or 0 for %d", c.Ring, MaxRing, DefaultRing)
	}
	return nil
}

// Event is one change that became durable. It must not be changed once it was
// published, nor what Data refers to.
type Event[T any] struct {
	N     uint64 // arrival number of the commit; many events may share one; never decreases
	Space sennit.Space
	Path  sennit.Path
	Deep  bool // a deep delete: concerns topics below Path as well as those above
	Data  T    // what the engine attaches; copied once for every topic that matches
}

// Topic selects events of one space. Path is in canonical form, and a component
// "*" in it stands for any one component. A Path in any other form matches
// nothing but deep deletes above it.
//
// A topic matches the events at its path, and, unless it is Exact, those under
// it; the empty Path is the root, so with Exact unset the whole space. A deep
// delete also matches every topic that could match a path under the delete's.
type Topic struct {
	Space sennit.Space
	Path  string
	Exact bool
}

// Hub connects one publisher with any number of subscribers. Make one with
// [New].
type Hub[T any] struct {
	ring uint64
	seed maphash.Seed
	root *node[T] // its children are the spaces

	// done is the number of the newest event that every topic has. Readers
	// don't look beyond it: that makes a batch visible at once, and keeps
	// a subscriber of several topics from seeing a later event first.
	done atomic.Uint64

	mu sync.Mutex // held to add and remove topics and seats, never by Publish, Take and Wait

	helpers atomic.Int32     // how many Runs there are
	rest    chan []*topic[T] // topics with sleepers that the publisher left to a helper

	// What follows belongs to the publisher.
	last    uint64      // number of the newest event
	at      int         // place in the batch of the event that is being matched
	hits    []hit[T]    // who gets what of this batch, in order of events
	touched []*topic[T] // who gets anything
}

type hit[T any] struct {
	topic *topic[T]
	at    int
}

// New makes a hub. A cfg that fails [Config.Check] is a bug in the program, and
// New panics.
func New[T any](cfg Config) *Hub[T] {
	if err := cfg.Check(); err != nil {
		panic(err)
	}
	if cfg.Ring == 0 {
		cfg.Ring = DefaultRing
	}
	return &Hub[T]{ring: uint64(cfg.Ring), seed: maphash.MakeSeed(), root: &node[T]{}, rest: make(chan []*topic[T], backlog)}
}

// Publish hands out a batch of events, in order of N. When it returns, every
// subscriber that matches can take them, and who slept was woken, or with
// [Hub.Run] soon is. A subscriber finds all of the batch or nothing of it. The
// slice stays the caller's.
//
// One goroutine at a time may call Publish. It never blocks. An event that
// nobody watches costs about 50 ns and allocates nothing; one that is watched,
// 0.1 to 0.4 us and, if it comes alone, a page and one link for each topic. A deep
// delete takes about 1 us for each topic under it.
func (h *Hub[T]) Publish(events []Event[T]) {
	for h.at = range events {
		h.match(&events[h.at])
	}
	first := h.last + 1
	h.last += uint64(len(events))
	if len(h.hits) == 0 {
		return
	}
	h.fill(events, first)
	for _, t := range h.touched {
		t.settle(h.ring)
	}
	h.done.Store(h.last)
	h.rouse()
	h.hits, h.touched = empty(h.hits), empty(h.touched)
}

// give notes that the event at hand concerns a topic.
func (h *Hub[T]) give(t *topic[T]) {
	if t.count == 0 {
		h.touched = append(h.touched, t)
	}
	t.count++
	h.hits = append(h.hits, hit[T]{t, h.at})
}

// fill makes the pages of all topics. Topics that get one event, and the same
// one, share a page: most events come alone, and concern a value's own topic,
// that of the subtree it is in, and that of the space.
func (h *Hub[T]) fill(events []Event[T], first uint64) {
	var one *solo[T]
	for _, x := range h.hits {
		t, e, seq := x.topic, &events[x.at], first+uint64(x.at)
		switch {
		case t.count > 1:
			if t.page == nil {
				t.page = &page[T]{first: seq, events: make([]Event[T], 0, t.count)}
			}
			t.page.add(e, seq, t.count)
			continue
		case one == nil || one.first != seq:
			one = &solo[T]{one: [1]Event[T]{*e}}
			one.first, one.events = seq, one.one[:]
		}
		t.page = &one.page
	}
}

// empty makes room for the next batch. A few big batches, or a deep delete of
// everything, must not cost memory for good.
func empty[E any](s []E) []E {
	if cap(s) > 1<<14 {
		return nil
	}
	clear(s)
	return s[:0]
}
