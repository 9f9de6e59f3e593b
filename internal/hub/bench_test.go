package hub_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/hub"
)

// fill subscribes to n different paths, one subscriber each.
func fill(h *hub.Hub[*int], n int) []*hub.Sub[*int] {
	subs := make([]*hub.Sub[*int], n)
	for i := range subs {
		subs[i] = h.Subscribe([]hub.Topic{{Space: space(1), Path: fmt.Sprintf("users/u%07d/inbox", i)}}, nil)
	}
	return subs
}

// BenchmarkPublishUnwatched is an event that nobody asked for, on a hub with so
// many subscribers of other paths.
func BenchmarkPublishUnwatched(b *testing.B) {
	for _, n := range []int{0, 1, 100_000} {
		for _, path := range []sennit.Path{"users/nobody/inbox/1", "elsewhere"} {
			b.Run(fmt.Sprintf("subs=%d/%s", n, path), func(b *testing.B) {
				h := hub.New[*int](hub.Config{})
				fill(h, n)
				batch := []hub.Event[*int]{{N: 1, Space: space(1), Path: path}}
				b.ReportAllocs()
				for b.Loop() {
					h.Publish(batch)
				}
			})
		}
	}
}

// batch is n events at one path.
func batch(n int, path sennit.Path) []hub.Event[*int] {
	events := make([]hub.Event[*int], n)
	for i := range events {
		events[i] = hub.Event[*int]{N: uint64(i), Space: space(1), Path: path}
	}
	return events
}

// sweep lets all take everything and reports how many events they took.
func sweep(subs []*hub.Sub[*int], room []hub.Event[*int]) (took int) {
	for _, s := range subs {
		got, _ := s.Take(room[:0], cap(room))
		took += len(got)
	}
	return took
}

// BenchmarkShared is one topic and so many subscribers of it: batches of 100
// events, which one worker sweeps to all of them. None of them sleeps.
func BenchmarkShared(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprintf("subs=%d", n), func(b *testing.B) {
			h := hub.New[*int](hub.Config{})
			subs := make([]*hub.Sub[*int], n)
			for i := range subs {
				subs[i] = h.Subscribe([]hub.Topic{{Space: space(1), Path: "posts"}}, nil)
			}
			events := batch(100, "posts/2026/07/28")
			room := make([]hub.Event[*int], 0, 128)
			var publishing, taking time.Duration
			var published, taken int
			b.ReportAllocs()
			for b.Loop() {
				t0 := time.Now()
				h.Publish(events)
				t1 := time.Now()
				taken += sweep(subs, room)
				taking += time.Since(t1)
				publishing += t1.Sub(t0)
				published += len(events)
			}
			if taken != published*n {
				b.Fatalf("%d deliveries of %d events to %d subscribers", taken, published, n)
			}
			b.ReportMetric(float64(publishing.Nanoseconds())/float64(published), "ns/event")
			b.ReportMetric(float64(taking.Nanoseconds())/float64(taken), "ns/delivery")
			b.ReportMetric(float64(taken)/(taking+publishing).Seconds()/1e6, "Mdeliveries/s")
		})
	}
}

// BenchmarkApart is 100,000 subscribers of different paths, and events for
// 1,000 of them at a time, who take them.
func BenchmarkApart(b *testing.B) {
	h := hub.New[*int](hub.Config{})
	subs := fill(h, 100_000)
	var publishing, taking time.Duration
	var published, taken int
	room := make([]hub.Event[*int], 0, 16)
	events := batch(1000, "")
	b.ReportAllocs()
	for b.Loop() {
		mine := make([]*hub.Sub[*int], len(events))
		for i := range events {
			u := (published + i*7919) % len(subs)
			events[i].Path = sennit.Path(fmt.Sprintf("users/u%07d/inbox/x", u))
			mine[i] = subs[u]
		}
		t0 := time.Now()
		h.Publish(events)
		t1 := time.Now()
		taken += sweep(mine, room)
		taking += time.Since(t1)
		publishing += t1.Sub(t0)
		published += len(events)
	}
	if taken != published {
		b.Fatalf("%d deliveries of %d events", taken, published)
	}
	b.ReportMetric(float64(publishing.Nanoseconds())/float64(published), "ns/event")
	b.ReportMetric(float64(taking.Nanoseconds())/float64(taken), "ns/delivery")
}

// BenchmarkWake is one event for so many subscribers who all sleep: the
// publisher's time, with a wake that does next to nothing, and with one that
// readies a goroutine in Wait.
func BenchmarkWake(b *testing.B) {
	for _, n := range []int{1, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("subs=%d", n), func(b *testing.B) {
			h := hub.New[*int](hub.Config{})
			woken := 0
			subs := make([]*hub.Sub[*int], n)
			for i := range subs {
				subs[i] = h.Subscribe([]hub.Topic{{Space: space(1), Path: "posts"}}, func() { woken++ })
			}
			room := make([]hub.Event[*int], 0, 16)
			events := batch(1, "posts/1")
			sweep(subs, room)
			var publishing time.Duration
			for b.Loop() {
				t0 := time.Now()
				h.Publish(events)
				publishing += time.Since(t0)
				sweep(subs, room)
				sweep(subs, room) // finds nothing, and sleeps
			}
			if woken != b.N*n {
				b.Fatalf("%d wakes of %d sleepers, %d times", woken, n, b.N)
			}
			b.ReportMetric(float64(publishing.Nanoseconds())/float64(b.N)/1e3, "us/publish")
			b.ReportMetric(float64(publishing.Nanoseconds())/float64(woken), "ns/wake")
		})
	}
}

// BenchmarkSubscribe is one subscription of its own path, opened and closed, on
// a hub with so many others.
func BenchmarkSubscribe(b *testing.B) {
	for _, n := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("subs=%d", n), func(b *testing.B) {
			h := hub.New[*int](hub.Config{})
			fill(h, n)
			b.ReportAllocs()
			for b.Loop() {
				h.Subscribe([]hub.Topic{{Space: space(1), Path: "users/me/inbox"}}, nil).Close()
			}
		})
	}
}

// BenchmarkWakeGoroutines is one event for so many goroutines that all sleep on
// a channel of their own: the publisher's time for readying them, alone and with
// a helper.
func BenchmarkWakeGoroutines(b *testing.B) {
	for _, test := range []struct {
		n      int
		helped bool
	}{{100, false}, {100, true}, {10_000, false}, {10_000, true}} {
		n := test.n
		b.Run(fmt.Sprintf("subs=%d,helped=%v", n, test.helped), func(b *testing.B) {
			h := hub.New[*int](hub.Config{})
			var asleep, ended sync.WaitGroup
			asleep.Add(n)
			stop := make(chan struct{})
			for range n {
				ended.Go(func() {
					ready := make(chan struct{}, 1)
					s := h.Subscribe([]hub.Topic{{Space: space(1), Path: "posts"}}, func() { ready <- struct{}{} })
					defer s.Close()
					var room [16]hub.Event[*int]
					for took := 1; ; took = 0 {
						for got, _ := s.Take(room[:0], len(room)); len(got) > 0; got, _ = s.Take(room[:0], len(room)) {
							took += len(got)
						}
						if took > 0 { // else it was woken for nothing
							asleep.Done()
						}
						select {
						case <-ready:
						case <-stop:
							return
						}
					}
				})
			}
			ctx, dismiss := context.WithCancel(b.Context())
			if test.helped {
				ended.Go(func() { h.Run(ctx) })
			}
			events := batch(1, "posts/1")
			var publishing time.Duration
			asleep.Wait()
			for b.Loop() {
				asleep.Add(n)
				t0 := time.Now()
				h.Publish(events)
				publishing += time.Since(t0)
				asleep.Wait()
			}
			close(stop)
			dismiss()
			ended.Wait()
			b.ReportMetric(float64(publishing.Nanoseconds())/float64(b.N)/1e3, "us/publish")
			b.ReportMetric(float64(publishing.Nanoseconds())/float64(b.N)/float64(n), "ns/wake")
		})
	}
}

// BenchmarkManyTopics is one subscriber of so many topics: it is woken for an
// event of one of them, takes it, finds nothing more, and sleeps.
func BenchmarkManyTopics(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("topics=%d", n), func(b *testing.B) {
			h := hub.New[*int](hub.Config{})
			topics := make([]hub.Topic, n)
			for i := range topics {
				topics[i] = hub.Topic{Space: sennit.Space{1, byte(i), byte(i >> 8)}, Path: "posts"}
			}
			s := []*hub.Sub[*int]{h.Subscribe(topics, nil)}
			room := make([]hub.Event[*int], 0, 16)
			events := batch(1, "posts/1")
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				events[0].Space = topics[i%n].Space
				h.Publish(events)
				if sweep(s, room) != 1 || sweep(s, room) != 0 {
					b.Fatal("there should be one event")
				}
			}
		})
	}
}

// BenchmarkDeepDelete is one deep delete above 100,000 topics, with one
// subscriber each, who take it: the publisher's time.
func BenchmarkDeepDelete(b *testing.B) {
	h := hub.New[*int](hub.Config{})
	subs := fill(h, 100_000)
	room := make([]hub.Event[*int], 0, 16)
	events := batch(1, "users")
	events[0].Deep = true
	var publishing time.Duration
	sweep(subs, room)
	for b.Loop() {
		t0 := time.Now()
		h.Publish(events)
		publishing += time.Since(t0)
		if got := sweep(subs, room) + sweep(subs, room); got != len(subs) {
			b.Fatalf("%d deliveries", got)
		}
	}
	b.ReportMetric(float64(publishing.Milliseconds())/float64(b.N), "ms/publish")
}
