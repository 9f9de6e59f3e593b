package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// report is what the program says, as JSON or as tables.
type report struct {
	Machine  machine           `json:"machine"`
	Busy     string            `json:"load"`    // how busy the machine was before it began
	Seconds  float64           `json:"seconds"` // of one measurement
	Rounds   int               `json:"rounds"`
	Versions map[string]string `json:"versions"`
	Skipped  map[string]string `json:"skipped"` // why something wasn't measured
	Tables   []*table          `json:"tables"`

	bench *bench
}

// table is one measurement.
type table struct {
	What  string   `json:"what"`
	Title string   `json:"title"`
	Unit  string   `json:"unit"`
	Less  bool     `json:"less_is_better,omitempty"`
	Rows  []*row   `json:"rows"`
	Notes []string `json:"notes,omitempty"`

	more  []string
	floor string
}

// row is one system in one case. Ratios are medians of those of each round: what
// slows the machine or its disk for a while does so for all in a round. They are
// 0 if the other wasn't measured.
type row struct {
	System string             `json:"system"`
	Case   string             `json:"case"`
	Rate   float64            `json:"median"`
	Min    float64            `json:"min"`
	Max    float64            `json:"max"`
	More   map[string]float64 `json:"more,omitempty"` // medians, each figure by itself
	Sennit float64            `json:"sennit_times"`   // how many times as much Sennit has
	Floor  float64            `json:"times_floor,omitempty"`
	Rounds []sample           `json:"rounds"`
}

// sample is one round of a row.
type sample struct {
	Round int                `json:"round"`
	Rate  float64            `json:"rate"`
	More  map[string]float64 `json:"more,omitempty"`
}

func newReport(o options, m machine, b *bench) *report {
	return &report{Machine: m, Busy: busy(), Seconds: o.length.Seconds(), Rounds: o.rounds, Versions: b.versions, Skipped: map[string]string{}, bench: b}
}

// measure runs all rounds of one measurement.
func (r *report) measure(ctx context.Context, m measurement) error {
	t := &table{What: m.name, Title: m.title, Unit: m.unit, Less: m.less, more: m.more, floor: m.floor}
	r.Tables = append(r.Tables, t)
	rounds := r.Rounds
	if m.most > 0 {
		rounds = min(rounds, m.most)
	}
	for round := range rounds {
		// Whoever comes first in one round comes last in the next, so that what
		// one leaves to the disk doesn't always hit the same.
		chosen := r.bench.chosen(m, r.Skipped)
		for i := range chosen {
			s := chosen[(i+round)%len(chosen)]
			fmt.Fprintf(r.bench.stderr, "%s, round %d of %d: %s\n", m.name, round+1, rounds, s.name)
			points, err := r.once(ctx, s)
			if errors.Is(err, errMissing) {
				r.Skipped[m.name+" "+s.name] = err.Error()
				fmt.Fprintf(r.bench.stderr, "\n*** SKIPPED: %v ***\n\n", err)
			} else if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			for _, p := range points {
				w := t.row(s.name, p.of)
				w.Rounds = append(w.Rounds, sample{round, p.rate, p.figures})
			}
		}
	}
	t.Notes, r.bench.notes = r.bench.notes, nil
	return nil
}

// once measures a system in a directory of its own.
func (r *report) once(ctx context.Context, s system) (_ []point, err error) {
	dir := filepath.Join(r.bench.base, s.name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make its directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return s.measure(ctx, r.bench, dir)
}

// row is the one of a system and a case, made if there is none.
func (t *table) row(system, of string) *row {
	w := t.find(system, of)
	if w == nil {
		w = &row{System: system, Case: of}
		t.Rows = append(t.Rows, w)
	}
	return w
}

func (t *table) find(system, of string) *row {
	i := slices.IndexFunc(t.Rows, func(w *row) bool { return w.System == system && w.Case == of })
	if i < 0 {
		return nil
	}
	return t.Rows[i]
}

// summarize works out medians and ratios.
func (r *report) summarize() {
	for _, t := range r.Tables {
		for _, w := range t.Rows {
			w.summarize()
		}
		for _, w := range t.Rows {
			if w.System != "sennit" {
				w.Sennit = t.find("sennit", w.Case).times(w)
			}
			if w.System != t.floor {
				w.Floor = w.times(t.find(t.floor, w.Case))
			}
		}
		t.sort()
	}
}

func (w *row) summarize() {
	var rates []float64
	more := map[string][]float64{}
	for _, s := range w.Rounds {
		rates = append(rates, s.Rate)
		for name, f := range s.More {
			more[name] = append(more[name], f)
		}
	}
	w.Rate, w.Min, w.Max = median(rates), slices.Min(rates), slices.Max(rates)
	w.More = map[string]float64{}
	for name, all := range more {
		w.More[name] = median(all)
	}
}

// times is the median of the ratios of each round in which both were measured.
func (w *row) times(other *row) float64 {
	if w == nil || other == nil {
		return 0
	}
	var ratios []float64
	for _, a := range w.Rounds {
		for _, b := range other.Rounds {
			if a.Round == b.Round && b.Rate != 0 {
				ratios = append(ratios, a.Rate/b.Rate)
			}
		}
	}
	return median(ratios)
}

// sort puts the rows of a case together, in the order in which cases came first,
// and the systems into their own.
func (t *table) sort() {
	cases, names := t.cases(), systemNames()
	slices.SortStableFunc(t.Rows, func(a, b *row) int {
		if a.Case != b.Case {
			return slices.Index(cases, a.Case) - slices.Index(cases, b.Case)
		}
		return slices.Index(names, a.System) - slices.Index(names, b.System)
	})
}

func (t *table) cases() []string {
	var cases []string
	for _, w := range t.Rows {
		if !slices.Contains(cases, w.Case) {
			cases = append(cases, w.Case)
		}
	}
	return cases
}
