package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is what the program says, as JSON or as a table.
type report struct {
	Machine   machine           `json:"machine"`
	Seconds   float64           `json:"seconds"` // of one measurement
	Rounds    int               `json:"rounds"`
	Value     [2]int            `json:"value_bytes"`              // smallest and largest
	Fdatasync float64           `json:"fdatasync_p50_us"`         // in place; median of the looks, one before each measurement
	Growing   float64           `json:"fdatasync_growing_p50_us"` // of a file that grows
	Versions  map[string]string `json:"versions"`
	Skipped   map[string]string `json:"skipped"` // why something wasn't measured
	Rows      []*row            `json:"rows"`

	inPlace, growing []float64 // microseconds
}

// row is one system with one number of writers. Ratios are of puts per second,
// medians of those of each round; 0 if the other wasn't measured.
type row struct {
	System  string   `json:"system"`
	Writers int      `json:"writers"`
	Median  sample   `json:"median"` // each figure by itself
	Min     float64  `json:"min_puts_per_s"`
	Max     float64  `json:"max_puts_per_s"`
	Redis   float64  `json:"times_redis"`
	NATS    float64  `json:"times_nats"`
	Disk    float64  `json:"times_fdatasync"` // puts in the time of one fdatasync in place, looked at just before
	Rounds  []sample `json:"rounds"`
}

// writerCounts are how many writers put at once.
func writerCounts() []int { return []int{1, 256} }

func newReport(o options, dir string) *report {
	return &report{
		Machine: look(dir), Seconds: o.length.Seconds(), Rounds: o.rounds, Value: [2]int{minValue, maxValue},
		Versions: map[string]string{}, Skipped: map[string]string{},
	}
}

// row is the one of a system and a number of writers.
func (r *report) row(name string, writers int) *row {
	i := slices.IndexFunc(r.Rows, func(w *row) bool { return w.System == name && w.Writers == writers })
	if i < 0 {
		return nil
	}
	return r.Rows[i]
}

// measure adds one round of one system: for each number of writers a look at
// the disk, then the system on an empty directory.
func (r *report) measure(ctx context.Context, s system, l *load, length time.Duration, dir string) (err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make its directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, writers := range writerCounts() {
		raw, err := lookAtDisk(dir, l)
		if err != nil {
			return err
		}
		at, err := os.MkdirTemp(dir, "")
		if err != nil {
			return fmt.Errorf("make its directory: %w", err)
		}
		is, err := s.start(ctx, at, writers)
		if err != nil {
			return err
		}
		got, err := l.drive(ctx, is, writers, length)
		if err = errors.Join(err, is.stop()); err != nil {
			return err
		}
		got.Fdatasync = micros(raw.inPlace)
		r.inPlace, r.growing = append(r.inPlace, micros(raw.inPlace)), append(r.growing, micros(raw.growing))
		r.Versions[s.name] = is.version
		w := r.row(s.name, writers)
		if w == nil {
			w = &row{System: s.name, Writers: writers}
			r.Rows = append(r.Rows, w)
		}
		w.Rounds = append(w.Rounds, got)
	}
	return nil
}

// summarize works out medians and ratios.
func (r *report) summarize() {
	r.Fdatasync, r.Growing = median(r.inPlace), median(r.growing)
	for _, w := range r.Rows {
		var puts, p50, p99, disk []float64
		for _, s := range w.Rounds {
			puts, p50, p99 = append(puts, s.Puts), append(p50, s.P50), append(p99, s.P99)
			disk = append(disk, s.Puts*s.Fdatasync/1e6)
		}
		w.Median = sample{median(puts), median(p50), median(p99), r.Fdatasync}
		w.Min, w.Max = slices.Min(puts), slices.Max(puts)
		w.Disk = median(disk)
	}
	for _, w := range r.Rows {
		w.Redis = w.times(r.row("redis", w.Writers))
		w.NATS = w.times(r.row("nats", w.Writers))
	}
	names := systems()
	slices.SortStableFunc(r.Rows, func(a, b *row) int {
		place := func(w *row) int { return slices.IndexFunc(names, func(s system) bool { return s.name == w.System }) }
		if a.Writers != b.Writers {
			return a.Writers - b.Writers
		}
		return place(a) - place(b)
	})
}

// times is the median of the ratios of each round: a disk that is slow for a
// while is so for all in a round.
func (w *row) times(other *row) float64 {
	if other == nil {
		return 0
	}
	var ratios []float64
	for i := range min(len(w.Rounds), len(other.Rounds)) {
		ratios = append(ratios, w.Rounds[i].Puts/other.Rounds[i].Puts)
	}
	return median(ratios)
}

func (r *report) print(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "durable puts of %d-%d B; median of %d rounds of %g s\n", r.Value[0], r.Value[1], r.Rounds, r.Seconds)
	fmt.Fprintf(&b, "%s, %d cores, %s, %s, %s", r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Machine.FS, r.Machine.Go)
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, "; %s %s", name, r.Versions[name])
	}
	fmt.Fprintf(&b, "\nfdatasync p50 %.0f us in place (%.0f/s), %.0f us of a file that grows\n\n", r.Fdatasync, 1e6/r.Fdatasync, r.Growing)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "writers\tsystem\tputs/s\tmin\tmax\tp50 us\tp99 us\tx redis\tx nats\tx fdatasync\t")
	for _, w := range r.Rows {
		fmt.Fprintf(t, "%d\t%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%s\t%s\t%s\t\n", w.Writers, w.System,
			w.Median.Puts, w.Min, w.Max, w.Median.P50, w.Median.P99, ratio(w.Redis), ratio(w.NATS), ratio(w.Disk))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(r.Skipped)) {
		fmt.Fprintf(&b, "SKIPPED: %s\n", r.Skipped[name])
	}
	b.WriteString("\nratios are of puts/s, medians of those of each round; the last is to one fdatasync in place after the other, just before\n")
	_, err := io.WriteString(out, b.String())
	return err
}

func ratio(f float64) string {
	if f == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", f)
}
