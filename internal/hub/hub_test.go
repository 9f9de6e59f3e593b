package hub_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/synctest"
	"weak"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/bubble"
	"github.com/sennit/sennit/internal/hub"
)

func TestConfigIsChecked(t *testing.T) {
	for _, test := range []struct {
		ring int
		good bool
	}{{-1, false}, {0, true}, {1, true}, {hub.MaxRing, true}, {hub.MaxRing + 1, false}} {
		c := hub.Config{Ring: test.ring}
		err := c.Check()
		if (err == nil) != test.good || err != nil && sennit.CodeOf(err) != sennit.BadInput {
			t.Errorf("a ring of %d: %v", test.ring, err)
		}
		func() {
			defer func() {
				if (recover() == nil) != test.good {
					t.Errorf("New with a ring of %d: want a panic: %v", test.ring, !test.good)
				}
			}()
			hub.New[int](c)
		}()
	}
}

// one is an event at a path of space 1.
func one(n uint64, path sennit.Path) []hub.Event[int] {
	return []hub.Event[int]{{N: n, Space: space(1), Path: path}}
}

func all(exact ...string) (topics []hub.Topic) {
	if len(exact) == 0 {
		return []hub.Topic{{Space: space(1)}}
	}
	for _, path := range exact {
		topics = append(topics, hub.Topic{Space: space(1), Path: path, Exact: true})
	}
	return topics
}

func TestALaggingSubscriberRestartsAtTheNewest(t *testing.T) {
	h := hub.New[int](hub.Config{Ring: 4})
	s := h.Subscribe(all(), nil)
	for n := range uint64(5) {
		h.Publish(one(n, "a"))
	}
	if got, lagged := s.Take(nil, 10); len(got) != 0 || !lagged {
		t.Fatalf("five events behind a ring of four: took %v, lagged = %v", got, lagged)
	}
	h.Publish(one(5, "a"))
	if got, lagged := s.Take(nil, 10); len(got) != 1 || got[0].N != 5 || lagged {
		t.Fatalf("after the lag: took %v, lagged = %v", got, lagged)
	}
}

func TestLagIsCountedInEvents(t *testing.T) {
	h := hub.New[int](hub.Config{Ring: 4})
	s := h.Subscribe(all(), nil)
	batch := func(n int) {
		var events []hub.Event[int]
		for range n {
			events = append(events, one(1, "a")...)
		}
		h.Publish(events)
	}
	for _, step := range []struct {
		publish, max, took int
		lagged             bool
	}{
		{3, 1, 1, false}, // in the middle of a batch
		{2, 2, 2, false}, // 4 behind
		{2, 9, 4, false}, // 4 behind, again
		{3, 2, 2, false},
		{4, 9, 0, true}, // 5 behind
		{3, 9, 3, false},
		{5, 9, 0, true}, // longer than the ring
		{0, 9, 0, false},
	} {
		batch(step.publish)
		if got, lagged := s.Take(nil, step.max); len(got) != step.took || lagged != step.lagged {
			t.Fatalf("%+v: took %d, lagged = %v", step, len(got), lagged)
		}
	}
}

func TestWait(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := hub.New[int](hub.Config{})
		s := h.Subscribe(all("a", "b"), nil)
		ctx, cancel := context.WithCancel(context.Background())
		results := make(chan error, 1)
		wait := func() {
			go func() { results <- s.Wait(ctx) }()
			synctest.Wait()
		}
		ended := func() bool { synctest.Wait(); return len(results) == 1 }

		wait()
		h.Publish(one(1, "c"))
		if ended() {
			t.Fatal("Wait ended without an event")
		}
		h.Publish(one(2, "b"))
		if !ended() || <-results != nil {
			t.Fatal("Wait did not end with an event")
		}
		if got, _ := s.Take(nil, 10); len(got) != 1 {
			t.Fatalf("took %v", got)
		}
		h.Publish(one(3, "a"))
		if wait(); !ended() || <-results != nil {
			t.Fatal("Wait did not notice what was there already")
		}
		s.Take(nil, 10)
		s.Take(nil, 10) // sleeps already
		wait()
		h.Publish(one(4, "a"))
		if !ended() || <-results != nil {
			t.Fatal("Wait after a Take that found nothing did not end with an event")
		}
		s.Take(nil, 10)

		wait()
		cancel()
		if !ended() {
			t.Fatal("Wait outlived its context")
		}
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Fatalf("Wait: %v", err)
		}
		ctx = context.Background()
		wait()
		s.Close()
		if !ended() {
			t.Fatal("Wait outlived Close")
		}
		if err := <-results; sennit.CodeOf(err) != sennit.Gone {
			t.Fatalf("Wait: %v", err)
		}
	})
}

// TestASeatCanBeHandedOn: a seat that is handed on with the
// mark of its last owner must work for the new one.
func TestASeatCanBeHandedOn(t *testing.T) {
	h := hub.New[int](hub.Config{})
	stay := h.Subscribe(all("a"), nil) // keeps the topic
	defer stay.Close()
	old := h.Subscribe(all("a"), func() { t.Error("a closed subscriber was woken") })
	old.Take(nil, 1)
	old.Close()
	woken := 0
	s := h.Subscribe(all("a"), func() { woken++ })
	h.Publish(one(1, "a"))
	if woken != 0 {
		t.Error("woken without having slept")
	}
	if got, _ := s.Take(nil, 1); len(got) != 1 {
		t.Errorf("took %v", got)
	}
	s.Take(nil, 1)
	h.Publish(one(2, "a"))
	if woken != 1 {
		t.Errorf("woken %d times, want once", woken)
	}
}

// TestManyPathsComeAndGo grows and shrinks a level of the trie.
func TestManyPathsComeAndGo(t *testing.T) {
	h := hub.New[int](hub.Config{})
	r := rand.New(rand.NewPCG(1, 2))
	subs := make([]*hub.Sub[int], 300)
	path := func(i int) string { return fmt.Sprintf("users/u%d", i) }
	check := func(i, want int) {
		t.Helper()
		for j, s := range subs {
			if s == nil {
				continue
			}
			got, _ := s.Take(nil, 10)
			if i >= 0 && j != i && len(got) > 0 || (i < 0 || i == j) && len(got) != want {
				t.Fatalf("the event was for %d, and %d took %v", i, j, got)
			}
		}
	}
	for step := range 6000 {
		// Waves: most paths are watched, then few, none, and so on.
		i := r.IntN(len(subs))
		switch full := step/1000%2 == 0; {
		case full && subs[i] == nil:
			subs[i] = h.Subscribe(all(path(i)), nil)
		case !full && subs[i] != nil:
			subs[i].Close()
			subs[i] = nil
		}
		if step%10 == 0 {
			i = r.IntN(len(subs))
			h.Publish(one(1, sennit.Path(path(i))))
			check(i, 1)
			h.Publish([]hub.Event[int]{{N: 2, Space: space(1), Path: "users", Deep: true}})
			check(-1, 1)
		}
	}
}

// heap is what is in use after a collection, in bytes.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func TestASubscriberCostsLessThanAKilobyte(t *testing.T) {
	const n = 20_000
	paths := make([]string, n)
	events := make([]hub.Event[int], n)
	for i := range paths {
		paths[i] = fmt.Sprintf("users/u%07d/inbox", i)
		events[i] = one(1, sennit.Path(paths[i]))[0]
	}
	h := hub.New[int](hub.Config{})
	subs := make([]*hub.Sub[int], n)
	var room [4]hub.Event[int]
	before := heap()
	for i := range subs {
		subs[i] = h.Subscribe([]hub.Topic{{Space: space(1), Path: paths[i]}}, func() {})
		subs[i].Take(room[:0], 1)
	}
	fresh := (heap() - before) / n
	h.Publish(events)
	waiting := (heap() - before) / n
	for _, s := range subs {
		if got, _ := s.Take(room[:0], 4); len(got) != 1 {
			t.Fatalf("took %v", got)
		}
	}
	used := (heap() - before) / n
	t.Logf("bytes for one subscriber of a path of its own: %d, with an event waiting %d, after taking it %d", fresh, waiting, used)
	if max(fresh, used, waiting) > 1024 {
		t.Errorf("want at most 1024")
	}
	runtime.KeepAlive(subs)
	runtime.KeepAlive(events)
}

func TestClosedSubscriptionsLeaveNothing(t *testing.T) {
	h := hub.New[int](hub.Config{})
	stay := h.Subscribe([]hub.Topic{{Space: space(1), Path: "shared"}}, nil)
	cycle := func(n int) {
		for i := range n {
			p := fmt.Sprintf("users/u%d/*/inbox", i)
			h.Subscribe([]hub.Topic{
				{Space: space(1), Path: p},
				{Space: space(1), Path: "shared"},
				{Space: sennit.Space{1, byte(i), byte(i >> 8)}, Path: p, Exact: true},
			}, nil).Close()
		}
	}
	crowd := func(n int) {
		subs := make([]*hub.Sub[int], n)
		for i := range subs {
			subs[i] = h.Subscribe([]hub.Topic{
				{Space: space(1), Path: "shared"},
				{Space: space(1), Path: "crowd"},
				{Space: space(1), Path: fmt.Sprintf("crowd/%d", i)},
			}, nil)
			subs[i].Take(nil, 1)
		}
		h.Publish([]hub.Event[int]{{N: 1, Space: space(1), Deep: true}})
		for _, s := range subs {
			s.Close()
		}
	}
	cycle(10)
	before := heap()
	cycle(10_000)
	crowd(1000)
	h.Publish(one(2, "shared"))
	if grown := heap() - before; grown > 100_000 {
		t.Errorf("the heap grew by %d bytes", grown) // the shared topic's seats take a third of that
	}
	if got, lagged := stay.Take(nil, 10); len(got) != 2 || lagged {
		t.Errorf("who stayed took %v, lagged = %v", got, lagged)
	}
	runtime.KeepAlive(h)
}

// TestEventsAreFreed: what everybody has taken is garbage, and who does not
// take holds on to two rings at most, wherever in a crowd it sits.
func TestEventsAreFreed(t *testing.T) {
	type body [64]byte
	const ring = 64
	for _, crowd := range []int{1, 5, 100, 300} {
		h := hub.New[*body](hub.Config{Ring: ring})
		subs := make([]*hub.Sub[*body], crowd)
		for i := range subs {
			subs[i] = h.Subscribe(all("a", "b"), nil)
		}
		var n uint64
		publish := func() weak.Pointer[body] {
			n++
			b := new(body)
			h.Publish([]hub.Event[*body]{{N: n, Space: space(1), Path: sennit.Path("ab"[n%2:][:1]), Data: b}})
			return weak.Make(b)
		}
		alive := func(bodies []weak.Pointer[body]) (n int) {
			runtime.GC()
			for _, b := range bodies {
				if b.Value() != nil {
					n++
				}
			}
			return n
		}
		run := func(rounds int, lazy *hub.Sub[*body]) (bodies []weak.Pointer[body]) {
			var room [1]hub.Event[*body]
			for range rounds {
				bodies = append(bodies, publish())
				for _, s := range subs {
					if s == lazy {
						continue
					}
					if got, lagged := s.Take(room[:0], 1); len(got) != 1 || lagged {
						t.Fatalf("took %d events, lagged = %v", len(got), lagged)
					}
				}
			}
			return bodies
		}
		if got := alive(run(100, nil)); got != 0 {
			t.Errorf("%d subscribers: %d events live that all have taken", crowd, got)
		}
		lazy := subs[crowd-1]
		bodies := run(10*ring, lazy)
		// Two topics, and two rings of each.
		if got := alive(bodies); got > 4*ring {
			t.Errorf("%d subscribers: one that takes nothing keeps %d events alive, want at most %d", crowd, got, 4*ring)
		}
		if _, lagged := lazy.Take(nil, 1); !lagged {
			t.Errorf("%d subscribers: the one that took nothing did not lag", crowd)
		}
		if got := alive(bodies); got != 0 {
			t.Errorf("%d subscribers: %d events live after the lag was noticed", crowd, got)
		}
		if got := run(1, nil); len(got) != 1 {
			t.Errorf("%d subscribers: not all go on", crowd)
		}
	}
}

func TestAllocations(t *testing.T) {
	h := hub.New[int](hub.Config{})
	s := h.Subscribe(all("a"), func() {})
	other := h.Subscribe(all(), nil)
	unwatched := []hub.Event[int]{{N: 1, Space: space(2), Path: "a"}}
	watched := one(1, "a")
	room := make([]hub.Event[int], 0, 8)
	s.Take(room, 1)
	other.Take(room, 1)
	for _, test := range []struct {
		name string
		want float64
		do   func()
	}{
		{"publish unwatched", 0, func() { h.Publish(unwatched) }},
		{"publish for two topics and take", 3, func() { // one page, two links
			h.Publish(watched)
			s.Take(room, 8)
			other.Take(room, 8)
			s.Take(room, 8)
			other.Take(room, 8)
		}},
	} {
		if got := testing.AllocsPerRun(100, test.do); got != test.want {
			t.Errorf("%s: %v allocations, want %v", test.name, got, test.want)
		}
	}
}
