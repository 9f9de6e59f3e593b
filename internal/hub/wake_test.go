package hub_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/bubble"
	"github.com/sennit/sennit/internal/hub"
)

// sleepers is subscribers of a path who count how often they are woken. Before
// each first wake, first is called, if there is one.
type sleepers struct {
	subs  []*hub.Sub[int]
	woken []atomic.Int32
	first atomic.Pointer[func()]
}

func sleep(h *hub.Hub[int], n int, path string) *sleepers {
	s := &sleepers{subs: make([]*hub.Sub[int], n), woken: make([]atomic.Int32, n)}
	for i := range s.subs {
		s.subs[i] = h.Subscribe(all(path), func() {
			s.woken[i].Add(1)
			if f := s.first.Swap(nil); f != nil {
				(*f)()
			}
		})
	}
	s.again()
	return s
}

// again lets all take what there is and fall asleep.
func (s *sleepers) again() {
	for _, sub := range s.subs {
		for got, _ := sub.Take(nil, 100); len(got) > 0; got, _ = sub.Take(nil, 100) {
		}
	}
}

func (s *sleepers) check(t *testing.T, each int32) {
	t.Helper()
	for i := range s.woken {
		if got := s.woken[i].Load(); got != each {
			t.Fatalf("subscriber %d of %d was woken %d times, want %d", i, len(s.subs), got, each)
		}
	}
}

// help runs a helper until stop.
func help(h *hub.Hub[int]) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		<-done
	}
}

func TestACrowdIsWoken(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := hub.New[int](hub.Config{})
		s := sleep(h, 5000, "a")
		s.check(t, 0)
		h.Publish(one(1, "a"))
		s.check(t, 1)
		h.Publish(one(2, "a"))
		s.check(t, 1) // they have not asked again

		s.again()
		stop := help(h)
		h.Publish(one(3, "a"))
		synctest.Wait()
		s.check(t, 2)

		stop()
		s.again()
		h.Publish(one(4, "a"))
		s.check(t, 3)
	})
}

// TestASleeperWhoIsLateIsWokenTheNextTime: while the publisher wakes the first
// of a row, the last of it goes to sleep.
func TestASleeperWhoIsLateIsWokenTheNextTime(t *testing.T) {
	h := hub.New[int](hub.Config{})
	s := sleep(h, 100, "a")
	late := s.subs[99]
	meanwhile := func() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			late.Take(nil, 10)
			late.Take(nil, 10)
		}()
		<-done
	}
	h.Publish(one(1, "a"))
	for i, sub := range s.subs[:99] {
		if sub.Take(nil, 10); i >= 64 {
			sub.Take(nil, 10) // asleep: those of the second row, but the last
		}
	}
	s.first.Store(&meanwhile)
	h.Publish(one(2, "a"))
	before := s.woken[99].Load()
	h.Publish(one(3, "a"))
	if got := s.woken[99].Load(); got != before+1 {
		t.Errorf("woken %d times, want %d", got, before+1)
	}
}

// TestAHelperThatIsStuckHoldsNobodyUp: when its backlog is full, the publisher
// wakes everybody itself.
func TestAHelperThatIsStuckHoldsNobodyUp(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := hub.New[int](hub.Config{})
		stop := help(h)
		stuck := make(chan struct{})
		block := func() { <-stuck }
		var crowds []*sleepers
		for i := range 30 {
			crowds = append(crowds, sleep(h, 1000, fmt.Sprint(i)))
		}
		publish := func(i int) {
			h.Publish(one(uint64(i), sennit.Path(fmt.Sprint(i))))
			synctest.Wait()
		}
		// The helper gets stuck with the first crowd: the first of those whom
		// the publisher leaves to it blocks.
		var count atomic.Int32
		slow := h.Subscribe(all("0"), func() { count.Add(1); block() })
		slow.Take(nil, 1)
		for i := range crowds {
			publish(i)
		}
		if count.Load() != 1 {
			t.Fatal("the helper did not get stuck")
		}
		crowds[29].check(t, 1)
		close(stuck)
		synctest.Wait()
		for _, c := range crowds {
			c.check(t, 1)
		}
		stop()
	})
}

// TestAHelperLeavesNobodyAsleep: it is told to stop with work in its backlog.
func TestAHelperLeavesNobodyAsleep(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := hub.New[int](hub.Config{})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		synctest.Wait()
		var crowds []*sleepers
		for i := range 10 {
			crowds = append(crowds, sleep(h, 1000, fmt.Sprint(i)))
		}
		stuck := make(chan struct{})
		slow := h.Subscribe(all("0"), func() { <-stuck })
		slow.Take(nil, 1)
		for i := range crowds {
			h.Publish(one(uint64(i), sennit.Path(fmt.Sprint(i))))
			synctest.Wait()
		}
		cancel()
		close(stuck)
		if err := <-done; err != nil {
			t.Fatalf("Run: %v", err)
		}
		for _, c := range crowds {
			c.check(t, 1)
		}
	})
}

// TestAHelperMayStopWhileThePublisherCountsOnIt: it is gone by the time when
// the publisher leaves it something.
func TestAHelperMayStopWhileThePublisherCountsOnIt(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := hub.New[int](hub.Config{})
		s := sleep(h, 5000, "a")
		stop := help(h)
		s.first.Store(&stop)
		h.Publish(one(1, "a"))
		s.check(t, 1)
	})
}

func TestAClosedSubscriberIsGarbage(t *testing.T) {
	h := hub.New[int](hub.Config{})
	s := sleep(h, 200, "a")
	for _, i := range []int{3, 150} {
		gone := weak.Make(s.subs[i])
		s.subs[i].Close()
		s.subs[i] = nil
		runtime.GC()
		if gone.Value() != nil {
			t.Errorf("subscriber %d of a topic lives on", i)
		}
	}
	h.Publish(one(1, "a"))
	if s.woken[3].Load() != 0 || s.woken[4].Load() != 1 || s.woken[150].Load() != 0 || s.woken[199].Load() != 1 {
		t.Error("the wrong ones were woken")
	}
}

func TestAClosedSubscriberKeepsNoEvents(t *testing.T) {
	h := hub.New[*[64]byte](hub.Config{})
	stay := h.Subscribe(all(), nil)
	defer stay.Close()
	closed := h.Subscribe(all("a", "b"), nil)
	publish := func() weak.Pointer[[64]byte] {
		data := new([64]byte)
		h.Publish([]hub.Event[*[64]byte]{{N: 1, Space: space(1), Path: "a", Data: data}})
		stay.Take(nil, 10)
		return weak.Make(data)
	}
	before := publish()
	closed.Close()
	after := publish()
	runtime.GC()
	if before.Value() != nil || after.Value() != nil {
		t.Error("events live on")
	}
	runtime.KeepAlive(closed)
}

// TestATakeThatCloseOvertakesKeepsNoEvents closes subscribers while they take.
func TestATakeThatCloseOvertakesKeepsNoEvents(t *testing.T) {
	h := hub.New[*[64]byte](hub.Config{})
	paths := make([]string, 100)
	batch := make([]hub.Event[*[64]byte], len(paths))
	for i := range paths {
		paths[i] = fmt.Sprint(i)
		batch[i] = hub.Event[*[64]byte]{N: 1, Space: space(1), Path: sennit.Path(paths[i])}
	}
	stay := h.Subscribe(all(paths...), nil)
	var closed []*hub.Sub[*[64]byte]
	for range 200 {
		s := h.Subscribe(all(paths...), nil)
		h.Publish(batch)
		var taking sync.WaitGroup
		taking.Go(func() { s.Take(nil, 1000) })
		runtime.Gosched()
		s.Close()
		taking.Wait()
		closed = append(closed, s)
		stay.Take(nil, 1000)
	}
	var after []weak.Pointer[[64]byte]
	for i := range batch {
		batch[i].Data = new([64]byte)
		after = append(after, weak.Make(batch[i].Data))
	}
	h.Publish(batch)
	stay.Take(nil, 1000)
	clear(batch)
	runtime.GC()
	for i, w := range after {
		if w.Value() != nil {
			t.Errorf("the event at %d lives on", i)
		}
	}
	runtime.KeepAlive(closed)
	runtime.KeepAlive(stay)
}

// TestCloseEndsAWaitThatJustBegins closes subscribers at the moment when they
// fall asleep.
func TestCloseEndsAWaitThatJustBegins(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	h := hub.New[int](hub.Config{})
	topics := make([]hub.Topic, 20)
	for i := range topics {
		topics[i].Path = fmt.Sprint(i)
	}
	for i := range 3000 {
		s := h.Subscribe(topics[:i%2*len(topics)], nil)
		done := make(chan error, 1)
		go func() { done <- s.Wait(ctx) }()
		runtime.Gosched()
		s.Close()
		if err := <-done; sennit.CodeOf(err) != sennit.Gone {
			t.Fatalf("Wait: %v", err)
		}
	}
}
