package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// The marks between which the table stands in a file, each on a line of its own.
const (
	markBegin = "<!-- bench -->\n"
	markEnd   = "<!-- /bench -->\n"
)

// print writes a table for each measurement.
func (r *report) print(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s; medians of up to %d rounds of %g s\n%s\n", r.where(), r.Rounds, r.Seconds, r.versions())
	for _, t := range r.Tables {
		fmt.Fprintf(&b, "\n== %s: %s", t.What, t.Title)
		if t.Less {
			b.WriteString("; less is better")
		}
		b.WriteString("\n\n")
		if err := t.print(&b); err != nil {
			return err
		}
		for _, note := range t.Notes {
			fmt.Fprintln(&b, note)
		}
	}
	b.WriteString("\n\"sennit x\" is Sennit's figure by that of the row, the median of such ratios of each round\n")
	for _, why := range r.whys() {
		fmt.Fprintf(&b, "SKIPPED: %s\n", why)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (t *table) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := []string{"", "system", t.Unit, "min", "max"}
	head = append(append(head, t.more...), "sennit x")
	if t.floor != "" {
		head = append(head, "x "+t.floor)
	}
	fmt.Fprintln(w, strings.Join(head, "\t")+"\t")
	for _, r := range t.Rows {
		cells := []string{r.Case, r.System, figure(r.Rate), figure(r.Min), figure(r.Max)}
		for _, name := range t.more {
			f, ok := r.More[name]
			if !ok {
				cells = append(cells, "-")
				continue
			}
			cells = append(cells, figure(f))
		}
		cells = append(cells, ratio(r.Sennit))
		if t.floor != "" {
			cells = append(cells, ratio(r.Floor))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t")+"\t")
	}
	return w.Flush()
}

// where says what was measured on.
func (r *report) where() string {
	return fmt.Sprintf("%s, %d cores, %s, %s, %s, load before it began %s", r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Machine.FS, r.Machine.Go, r.Busy)
}

func (r *report) versions() string {
	var all []string
	for _, name := range systemNames() {
		if v := r.Versions[name]; v != "" {
			all = append(all, name+" "+v)
		}
	}
	return strings.Join(all, "; ")
}

// whys are the reasons for which something wasn't measured, each once.
func (r *report) whys() []string {
	return slices.Compact(slices.Sorted(maps.Values(r.Skipped)))
}

// table is all in one table in Markdown: a line for each case, a column for each
// system that was measured.
func (r *report) table() string {
	names := slices.DeleteFunc(systemNames(), func(name string) bool {
		return !slices.ContainsFunc(r.Tables, func(t *table) bool {
			return slices.ContainsFunc(t.Rows, func(w *row) bool { return w.System == name && t.find("sennit", w.Case) != nil })
		})
	})
	var b strings.Builder
	fmt.Fprintf(&b, "| | %s |\n|---|%s\n", strings.Join(names, " | "), strings.Repeat("---|", len(names)))
	for _, t := range r.Tables {
		for _, of := range t.cases() {
			own := t.find("sennit", of)
			if own == nil {
				continue
			}
			fmt.Fprintf(&b, "| %s, %s: %s", t.What, of, t.Unit)
			if t.Less {
				b.WriteString(", less is better")
			}
			for _, name := range names {
				w := t.find(name, of)
				switch {
				case w == nil:
					b.WriteString(" | ")
				case w == own:
					fmt.Fprintf(&b, " | **%s**", figure(w.Rate))
				default:
					fmt.Fprintf(&b, " | %s (%s)", figure(w.Rate), ratio(w.Sennit))
				}
			}
			b.WriteString(" |\n")
		}
	}
	fmt.Fprintf(&b, "\nIn brackets: how many times that Sennit has, the median of the ratios of each round. Measured on %s: %s.\n%s.\n",
		time.Now().UTC().Format(time.DateOnly), r.where(), r.versions())
	for _, why := range r.whys() {
		fmt.Fprintf(&b, "Skipped: %s.\n", why)
	}
	return b.String()
}

// around is what stands before and after the table in a file.
func around(path string) (before, after string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", "", fmt.Errorf("look where the table goes: %w", err)
	}
	before, rest, ok := strings.Cut(string(text), markBegin)
	_, after, ended := strings.Cut(rest, markEnd)
	if !ok || !ended {
		return "", "", fmt.Errorf("look where the table goes: %s has no lines %q and %q", path, markBegin, markEnd)
	}
	return before, after, nil
}

// insert puts the table between the marks in a file.
func (r *report) insert(path string) error {
	before, after, err := around(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(before+markBegin+r.table()+markEnd+after), 0o644); err != nil {
		return fmt.Errorf("put the table into a file: %w", err)
	}
	return nil
}

// figure has three digits or so, and no more than matter.
func figure(f float64) string {
	switch {
	case f == 0:
		return "0"
	case f < 1:
		return fmt.Sprintf("%.3f", f)
	case f < 100:
		return fmt.Sprintf("%.1f", f)
	}
	digits := fmt.Sprintf("%.0f", f)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func ratio(f float64) string {
	if f == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", f)
}
