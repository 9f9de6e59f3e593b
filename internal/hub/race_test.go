package hub_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/hub"
)

// script is what the publisher of this test does.
func script(events int) []hub.Event[int] {
	r := rand.New(rand.NewPCG(1, 1))
	const names = "abc"
	list := make([]hub.Event[int], events)
	for n := range list {
		path := fmt.Sprintf("%c/%c", names[r.IntN(3)], names[r.IntN(3)])
		list[n] = hub.Event[int]{N: uint64(n), Space: space(r.IntN(2)), Path: sennit.Path(path), Deep: r.IntN(8) == 0, Data: n}
	}
	return list
}

// theEnd marks the last event.
const theEnd = -1

func randomTopics(r *rand.Rand) (topics []hub.Topic) {
	paths := []string{"", "a", "b", "*/a", "a/*", "a/b", "b/c", "*/*", "a/b/c"}
	for range 1 + r.IntN(4) {
		topics = append(topics, hub.Topic{Space: space(r.IntN(2)), Path: paths[r.IntN(len(paths))], Exact: r.IntN(3) == 0})
	}
	return topics
}

// TestNothingIsMissedOrSeenTwice runs one publisher beside many goroutines that
// subscribe, take, sleep and close. As an engine would, each notes how far the
// store is after it subscribed, and from there on demands every event that it
// asked for, in order, unless it is told that it lagged.
func TestNothingIsMissedOrSeenTwice(t *testing.T) {
	const events, watchers = 15_000, 16
	list := script(events)
	for _, ring := range []int{20, 1 << 17} {
		t.Run(fmt.Sprintf("ring=%d", ring), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			h := hub.New[int](hub.Config{Ring: ring})
			var stored atomic.Uint64 // newest event that is durable
			var lags, takes, turns atomic.Int64
			stop := make(chan struct{})
			var running, helping sync.WaitGroup
			helper, dismiss := context.WithCancel(ctx)
			helping.Go(func() { h.Run(helper) })

			watch := func(r *rand.Rand) (ended bool) {
				topics := randomTopics(r)
				ready := make(chan struct{}, 1)
				var wake func()
				if r.IntN(2) == 0 {
					wake = func() {
						select {
						case ready <- struct{}{}:
						default:
						}
					}
				}
				s := h.Subscribe(topics, wake)
				defer s.Close()
				matches := (&watcher{topics: topics}).matches
				turns.Add(1)
				seen := stored.Load()
				var room [64]hub.Event[int]
				for quit := seen + r.Uint64N(events/8); seen < quit; {
					got, lagged := s.Take(room[:0], 1+r.IntN(len(room)))
					if lagged {
						// The rest of it is in the store.
						lags.Add(1)
						seen = stored.Load()
						continue
					}
					for _, e := range got {
						takes.Add(1)
						if e.N <= seen {
							continue // the snapshot has it
						}
						if !matches(e) {
							t.Errorf("%v: took %v, which it didn't ask for", topics, e)
							return true
						}
						for seen++; seen < e.N; seen++ {
							if x := list[seen]; matches(x) {
								t.Errorf("%v: missed %v before %v", topics, x, e)
								return true
							}
						}
						if e.Data == theEnd {
							return true
						}
						if want := list[e.N]; e != want {
							t.Errorf("took %v, want %v", e, want)
							return true
						}
					}
					if len(got) > 0 {
						continue
					}
					// Whoever found nothing and sees no stop sleeps until the
					// event that is published after stop.
					select {
					case <-stop:
						return true
					default:
					}
					switch {
					case wake == nil:
						if err := s.Wait(ctx); err != nil {
							t.Errorf("%v: slept through the end after %d: %v", topics, seen, err)
							return true
						}
					default:
						select {
						case <-ready:
						case <-ctx.Done():
							t.Errorf("%v: was not woken after %d", topics, seen)
							return true
						}
					}
				}
				return ctx.Err() != nil
			}
			for i := range watchers {
				running.Go(func() {
					r := rand.New(rand.NewPCG(uint64(i), 2))
					for !watch(r) {
						select {
						case <-stop:
							return
						default:
						}
					}
				})
			}
			r := rand.New(rand.NewPCG(3, 3))
			for rest := list[1:]; len(rest) > 0; {
				batch := rest[:min(1+r.IntN(8), len(rest))]
				rest = rest[len(batch):]
				stored.Store(batch[len(batch)-1].N)
				h.Publish(batch)
				if r.IntN(4) == 0 {
					runtime.Gosched() // so that watchers get to sleep
				}
			}
			close(stop)
			// Everybody is interested in the end of both spaces.
			last := stored.Add(1)
			h.Publish([]hub.Event[int]{
				{N: last, Space: space(0), Deep: true, Data: theEnd},
				{N: last, Space: space(1), Deep: true, Data: theEnd},
			})
			running.Wait()
			dismiss()
			helping.Wait()
			t.Logf("%d subscriptions took %d events and lagged %d times", turns.Load(), takes.Load(), lags.Load())
			if (lags.Load() > 0) != (ring == 20) {
				t.Errorf("%d lags with a ring of %d", lags.Load(), ring)
			}
		})
	}
}

// TestNobodySleepsThroughAnEvent publishes two events, and mostly the next ones
// only when everybody has taken them: subscribers look and go to sleep all the
// time just while they are to be woken. One missed wake stops everything, and an
// event that is seen before an earlier one of another topic is noticed. Helpers
// come and go.
func TestNobodySleepsThroughAnEvent(t *testing.T) {
	for _, test := range []struct{ subs, topics, rounds int }{
		{1, 2, 10_000}, {3, 3, 5_000}, {400, 2, 100},
		{1, 500, 2_000}, // takes long to fall asleep
	} {
		t.Run(fmt.Sprintf("subs=%d,topics=%d", test.subs, test.topics), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			h := hub.New[int](hub.Config{})
			taken := make(chan struct{}, 2*test.subs*test.rounds)
			var running sync.WaitGroup
			topics := make([]hub.Topic, test.topics)
			for i := range topics {
				topics[i].Path = fmt.Sprint(i)
			}
			for range test.subs {
				s := h.Subscribe(topics, nil)
				running.Go(func() {
					defer s.Close()
					for next := uint64(1); next <= uint64(2*test.rounds); {
						got, lagged := s.Take(nil, 10)
						if lagged {
							t.Error("lagged")
						}
						for _, e := range got {
							if e.N != next {
								t.Errorf("took %d, want %d", e.N, next)
							}
							next = e.N + 1
							taken <- struct{}{}
						}
						if len(got) > 0 {
							continue
						}
						if err := s.Wait(ctx); err != nil {
							t.Errorf("waiting for %d: %v", next, err)
							return
						}
					}
				})
			}
			var helping sync.WaitGroup
			dismiss := func() {}
			due := 0
			for n := range test.rounds {
				if n%20 == 0 {
					dismiss()
					var helper context.Context
					helper, dismiss = context.WithCancel(ctx)
					helping.Go(func() { h.Run(helper) })
				}
				at := func(i int) sennit.Path { return sennit.Path(topics[i%test.topics].Path) }
				h.Publish([]hub.Event[int]{
					{N: uint64(2*n + 1), Path: at(n * 7)},
					{N: uint64(2*n + 2), Path: at(n*7 + test.topics/2)},
				})
				for due += 2 * test.subs; n%3 != 0 && due > 0; due-- {
					select {
					case <-taken:
					case <-ctx.Done():
						due = 0
					}
				}
			}
			running.Wait()
			dismiss()
			helping.Wait()
		})
	}
}
