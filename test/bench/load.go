package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"
)

// The load: small values, as of posts and settings, over keys that each writer
// sets again and again.
const (
	minValue = 100     // bytes of the smallest value
	maxValue = 250     // bytes of the largest value
	keyCount = 100_000 // keys, divided evenly among the writers
	// warmUp is how much of a measurement comes before what counts, as a part of it.
	warmUp = 0.2
	// patience is how much longer than planned a measurement may take.
	patience = time.Minute
)

// load is the bytes that are written. They are random, so that nobody gains by
// compressing them.
type load struct {
	pool []byte
}

func newLoad() *load {
	l := &load{make([]byte, 1<<20)}
	rand.NewChaCha8([32]byte{1}).Read(l.pool)
	return l
}

func (l *load) value(r *rand.Rand) []byte {
	size := minValue + r.IntN(maxValue-minValue+1)
	at := r.IntN(len(l.pool) - size)
	return l.pool[at : at+size : at+size]
}

// sample is one measurement. Times are in microseconds.
type sample struct {
	Puts float64 `json:"puts_per_s"`
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
	// Fdatasync is the disk's median just before, in place.
	Fdatasync float64 `json:"fdatasync_p50_us"`
}

// writer is one of those who put: it puts the next when the last is durable.
type writer struct {
	keys  []string
	took  []time.Duration // of the puts that count
	last  string
	value []byte
	err   error
}

// drive lets some writers put for a while, reads back the last value of each,
// and says how it went.
func (l *load) drive(ctx context.Context, s *running, writers int, length time.Duration) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, length+patience)
	defer cancel()
	all := make([]writer, writers)
	for i := range all {
		all[i].keys = make([]string, keyCount/writers)
		for k := range all[i].keys {
			all[i].keys[k] = fmt.Sprintf("bench/%d/%d", i, k)
		}
	}
	runtime.GC() // what the one before left is not this one's to pay for
	from := time.Now().Add(time.Duration(float64(length) * warmUp))
	to := from.Add(length)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { all[i].run(ctx, i, s, l, from, to) })
	}
	wg.Wait()
	var took []time.Duration
	for i := range all {
		if all[i].err != nil {
			return sample{}, fmt.Errorf("put: %w", all[i].err)
		}
		took = append(took, all[i].took...)
	}
	for i := range all {
		got, err := s.get(ctx, all[i].last)
		if err != nil {
			return sample{}, fmt.Errorf("read back %s: %w", all[i].last, err)
		}
		if !bytes.Equal(got, all[i].value) {
			return sample{}, fmt.Errorf("read back %s: %d bytes, not the %d that were put", all[i].last, len(got), len(all[i].value))
		}
	}
	if len(took) == 0 {
		return sample{}, fmt.Errorf("no put took less than %s", length)
	}
	slices.Sort(took)
	return sample{
		Puts: float64(len(took)) / length.Seconds(),
		P50:  micros(took[len(took)/2]),
		P99:  micros(took[len(took)*99/100]),
	}, nil
}

// run puts until the time is over. The puts that end within it count.
func (w *writer) run(ctx context.Context, number int, s *running, l *load, from, to time.Time) {
	r := rand.New(rand.NewPCG(uint64(number), 2))
	for begin := time.Now(); begin.Before(to); {
		key, value := w.keys[r.IntN(len(w.keys))], l.value(r)
		if w.err = s.put(ctx, number, key, value); w.err != nil {
			return
		}
		w.last, w.value = key, value
		end := time.Now()
		if !end.Before(from) && end.Before(to) {
			w.took = append(w.took, end.Sub(begin))
		}
		begin = end
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// median is the middle of some figures, the upper one of two; 0 of none.
func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}
