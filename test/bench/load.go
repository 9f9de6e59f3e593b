package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
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
	// fillers is how many put at once what is read later.
	fillers = 256
	// fillBatch is how many values are put at once into what takes several.
	fillBatch = 500
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

// of is the value of a key that is put only once.
func (l *load) of(key int) []byte { return l.value(rand.New(rand.NewPCG(uint64(key), 3))) }

// opener starts a system whose values are put and got in this process.
type opener func(ctx context.Context, dir string, how how) (*running, error)

// how says what a store is started for.
type how struct {
	workers int
	durable bool // if not, what is put needn't survive a crash
}

// running is a store that was started on an empty directory.
type running struct {
	name, version string
	// put returns when the value is durable. It is called by many writers, by
	// each with its own number, counted from 0.
	put func(ctx context.Context, writer int, key string, value []byte) error
	get func(ctx context.Context, reader int, key string) ([]byte, error)
	// many puts several values at once; nil if that is no better than put.
	many func(ctx context.Context, keys []string, values [][]byte) error
	stop func() error
}

// workerCounts are how many put or get at once.
func workerCounts() []int { return []int{1, 256} }

// puts measures durable puts: of each number of writers on a store of its own.
func puts(start opener) func(context.Context, *bench, string) ([]point, error) {
	return func(ctx context.Context, b *bench, dir string) (points []point, err error) {
		for _, writers := range workerCounts() {
			raw, err := lookAtDisk(dir, b.load)
			if err != nil {
				return nil, err
			}
			at, err := os.MkdirTemp(dir, "")
			if err != nil {
				return nil, fmt.Errorf("make its directory: %w", err)
			}
			p, err := b.drive(ctx, start, at, writers)
			if err != nil {
				return nil, err
			}
			p.figures["x fdatasync"] = p.rate * raw.inPlace.Seconds()
			points = append(points, p)
		}
		return points, nil
	}
}

// worker is one of those who put or get: the next when the last is done.
type worker struct {
	took  []time.Duration // of those that count
	last  string          // the key that was put last
	value []byte
	err   error
}

// drive lets some writers put for a while, reads back the last value of each,
// and says how it went.
func (b *bench) drive(ctx context.Context, start opener, dir string, writers int) (p point, err error) {
	s, err := start(ctx, dir, how{writers, true})
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	b.versions[s.name] = s.version
	keys := make([][]string, writers)
	for i := range keys {
		keys[i] = make([]string, keyCount/writers)
		for k := range keys[i] {
			keys[i][k] = fmt.Sprintf("bench/%d/%d", i, k)
		}
	}
	all, p, err := b.work(ctx, "put", writers, func(ctx context.Context, i int, w *worker, r *rand.Rand) error {
		w.last, w.value = keys[i][r.IntN(len(keys[i]))], b.load.value(r)
		return s.put(ctx, i, w.last, w.value)
	})
	if err != nil {
		return p, err
	}
	for i := range all {
		got, err := s.get(ctx, i, all[i].last)
		if err != nil {
			return p, fmt.Errorf("read back %s: %w", all[i].last, err)
		}
		if !bytes.Equal(got, all[i].value) {
			return p, fmt.Errorf("read back %s: %d bytes, not the %d that were put", all[i].last, len(got), len(all[i].value))
		}
	}
	p.of = counted(writers, "writer")
	return p, nil
}

// work has workers do the same thing again and again for a while. What ends
// within the time counts.
func (b *bench) work(ctx context.Context, what string, workers int, do func(ctx context.Context, i int, w *worker, r *rand.Rand) error) ([]worker, point, error) {
	ctx, cancel := context.WithTimeout(ctx, b.length+patience)
	defer cancel()
	all := make([]worker, workers)
	runtime.GC() // what the one before left is not this one's to pay for
	from := time.Now().Add(b.warm())
	to := from.Add(b.length)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			w, r := &all[i], rand.New(rand.NewPCG(uint64(i), 2))
			for begin := time.Now(); begin.Before(to); {
				if w.err = do(ctx, i, w, r); w.err != nil {
					return
				}
				end := time.Now()
				if !end.Before(from) && end.Before(to) {
					w.took = append(w.took, end.Sub(begin))
				}
				begin = end
			}
		})
	}
	wg.Wait()
	var took []time.Duration
	for i := range all {
		if all[i].err != nil {
			return nil, point{}, fmt.Errorf("%s: %w", what, all[i].err)
		}
		took = append(took, all[i].took...)
	}
	return all, timed(took, b.length), nil
}

// timed makes a sample of how long each thing took that was done in a time. On a
// disk that is busy with others that may be none.
func timed(took []time.Duration, length time.Duration) point {
	if len(took) == 0 {
		return point{figures: map[string]float64{}}
	}
	slices.Sort(took)
	return point{rate: float64(len(took)) / length.Seconds(), figures: map[string]float64{
		"p50 us": micros(took[len(took)/2]), "p99 us": micros(took[len(took)*99/100]),
	}}
}

// gets measures gets of values that were put before.
func gets(start opener) func(context.Context, *bench, string) ([]point, error) {
	return func(ctx context.Context, b *bench, dir string) (points []point, err error) {
		s, err := start(ctx, filepath.Join(dir, "store"), how{fillers, false})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		b.versions[s.name] = s.version
		keys, values := make([]string, keyCount), make([][]byte, keyCount)
		for i := range keys {
			keys[i], values[i] = fmt.Sprintf("bench/%d", i), b.load.of(i)
		}
		if err := s.fill(ctx, keys, values); err != nil {
			return nil, fmt.Errorf("fill the store: %w", err)
		}
		for _, readers := range workerCounts() {
			_, p, err := b.work(ctx, "get", readers, func(ctx context.Context, i int, _ *worker, r *rand.Rand) error {
				k := r.IntN(len(keys))
				got, err := s.get(ctx, i, keys[k])
				if err == nil && !bytes.Equal(got, values[k]) {
					return fmt.Errorf("%s has %d bytes, not the %d that were put", keys[k], len(got), len(values[k]))
				}
				return err
			})
			if err != nil {
				return nil, err
			}
			p.of = counted(readers, "reader")
			points = append(points, p)
		}
		return points, nil
	}
}

// fill puts values, several at once where that is possible.
func (s *running) fill(ctx context.Context, keys []string, values [][]byte) error {
	if s.many != nil {
		for i := 0; i < len(keys); i += fillBatch {
			end := min(i+fillBatch, len(keys))
			if err := s.many(ctx, keys[i:end], values[i:end]); err != nil {
				return err
			}
		}
		return nil
	}
	var wg sync.WaitGroup
	errs := make([]error, fillers)
	for w := range fillers {
		wg.Go(func() {
			for i := w; i < len(keys) && errs[w] == nil; i += fillers {
				errs[w] = s.put(ctx, w, keys[i], values[i])
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// counted is a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// median is the middle of some figures, the upper one of two; 0 of none.
func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}
