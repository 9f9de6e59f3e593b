// Command bench measures what a Sennit node does, and in the same run what
// others do with the same work: durable puts and gets in process, requests and
// subscriptions over TCP, the memory of those that are idle, a sync, and how
// soon a full store is open again.
//
// Owns: the load, and what is said about it.
// Promises: what counts was acknowledged, and what was written is read back:
// every event by every subscriber; what fails, fails the run. It leaves nothing
// behind, neither files nor processes, and it is never a test: no figure makes
// it fail.
// Must not know: how any of them works inside.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Bounds of the flags, so that a typing error doesn't take a day or all memory.
const (
	maxSeconds = 60
	maxRounds  = 100
	maxOps     = 100_000_000
)

// options is what the flags say.
type options struct {
	length   time.Duration // of one measurement
	rounds   int
	dir      string
	what     []string // nil: all
	only     []string // nil: all
	ops      int
	json     bool
	markdown bool
	into     string
}

func main() {
	if name, dir, ok := served(os.Args); ok {
		if err := serve(name, dir, os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "serve %s: %v\n", name, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage")

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	seconds := f.Float64("seconds", 1, "length of one measurement, up to 60")
	what := f.String("what", "", "comma-separated, of "+strings.Join(measurementNames(), ", ")+"; empty means all")
	only := f.String("only", "", "comma-separated names of whom to measure, of "+strings.Join(systemNames(), ", ")+"; empty means all")
	f.IntVar(&o.rounds, "rounds", 5, "how often each is measured, up to 100; the median is shown")
	f.IntVar(&o.ops, "ops", 1_000_000, "how many ops are in the store that is reopened")
	f.StringVar(&o.dir, "dir", ".", "directory on the disk to measure; a new one is made in it and removed")
	f.BoolVar(&o.json, "json", false, "print JSON instead of tables")
	f.BoolVar(&o.markdown, "markdown", false, "print one table in Markdown instead")
	f.StringVar(&o.into, "into", "", "put that table into a file as well, between its marks")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("%w: unexpected argument %q", errUsage, f.Arg(0))
	case !(*seconds >= 0.1 && *seconds <= maxSeconds):
		return o, fmt.Errorf("%w: -seconds must be 0.1 to %d", errUsage, maxSeconds)
	case o.rounds < 1 || o.rounds > maxRounds:
		return o, fmt.Errorf("%w: -rounds must be 1 to %d", errUsage, maxRounds)
	case o.ops < 1 || o.ops > maxOps:
		return o, fmt.Errorf("%w: -ops must be 1 to %d", errUsage, maxOps)
	case o.json && o.markdown:
		return o, fmt.Errorf("%w: -json or -markdown, not both", errUsage)
	}
	o.length = time.Duration(*seconds * float64(time.Second))
	var err error
	if o.what, err = among("-what", *what, measurementNames()); err != nil {
		return o, err
	}
	o.only, err = among("-only", *only, systemNames())
	return o, err
}

// among takes a list of names apart.
func among(name, list string, known []string) ([]string, error) {
	if list == "" {
		return nil, nil
	}
	chosen := strings.Split(list, ",")
	for _, one := range chosen {
		if !slices.Contains(known, one) {
			return nil, fmt.Errorf("%w: %s: %q is none of %s", errUsage, name, one, strings.Join(known, ", "))
		}
	}
	return chosen, nil
}

// errMissing is wrapped by a system that is not installed.
var errMissing = errors.New("not measured")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.into != "" {
		if _, _, err := around(o.into); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp(o.dir, "sennit-bench-")
	if err != nil {
		return fmt.Errorf("make a directory to measure in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("find the directory to measure in: %w", err)
	}
	b := newBench(o, dir, stderr)
	r := newReport(o, look(dir), b)
	if r.Machine.inMemory() {
		fmt.Fprintf(stderr, "bench: %s is on %s: nothing is durable there, and the figures say nothing about a disk; give -dir\n", o.dir, r.Machine.FS)
	}
	for _, m := range measurements() {
		if o.what != nil && !slices.Contains(o.what, m.name) {
			continue
		}
		if err := r.measure(ctx, m); err != nil {
			return fmt.Errorf("measure %s: %w", m.name, err)
		}
	}
	r.summarize()
	if o.into != "" {
		if err := r.insert(o.into); err != nil {
			return err
		}
	}
	switch {
	case o.json:
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		return e.Encode(r)
	case o.markdown:
		_, err = io.WriteString(stdout, r.table())
		return err
	}
	return r.print(stdout)
}
