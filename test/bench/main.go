// Command bench measures what a durable put costs, in process, on the disk
// below a directory: of a Sennit node, and in the same run of Redis and of
// NATS JetStream, beside what one write and fdatasync costs there.
//
// Owns: the load, and what is said about it.
// Promises: every put that counts was acknowledged as durable by a system that
// was asked to sync always, and the last ones are read back; a failed put
// fails the run. It leaves nothing behind, and it is never a test: no figure
// makes it fail.
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
)

// options is what the flags say.
type options struct {
	length time.Duration // of one measurement
	rounds int
	dir    string
	only   []string // nil: all
	json   bool
}

func main() {
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
	seconds := f.Float64("seconds", 2, "length of one measurement, up to 60")
	only := f.String("only", "", "comma-separated names of what to measure: sennit, redis, nats; empty means all")
	f.IntVar(&o.rounds, "rounds", 5, "how often each is measured, up to 100; the median is shown")
	f.StringVar(&o.dir, "dir", ".", "directory on the disk to measure; a new one is made in it and removed")
	f.BoolVar(&o.json, "json", false, "print JSON instead of a table")
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
	}
	o.length = time.Duration(*seconds * float64(time.Second))
	if *only == "" {
		return o, nil
	}
	o.only = strings.Split(*only, ",")
	for _, name := range o.only {
		if !slices.ContainsFunc(systems(), func(s system) bool { return s.name == name }) {
			return o, fmt.Errorf("%w: -only: %q is none of sennit, redis, nats", errUsage, name)
		}
	}
	return o, nil
}

// system is something whose durable puts can be measured.
type system struct {
	name  string
	start func(ctx context.Context, dir string, writers int) (*running, error)
}

func systems() []system {
	return []system{{"sennit", startSennit}, {"redis", startRedis}, {"nats", startNATS}}
}

// running is a system that was started on an empty directory.
type running struct {
	version string
	// put returns when the value is durable. It is called by many writers, by
	// each with its own number, counted from 0.
	put  func(ctx context.Context, writer int, key string, value []byte) error
	get  func(ctx context.Context, key string) ([]byte, error)
	stop func() error
}

// errMissing is wrapped by a system that is not installed.
var errMissing = errors.New("not measured")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "sennit-bench-")
	if err != nil {
		return fmt.Errorf("make a directory to measure in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("find the directory to measure in: %w", err)
	}
	r := newReport(o, dir)
	if r.Machine.inMemory() {
		fmt.Fprintf(stderr, "bench: %s is on %s: nothing is durable there, and the figures say nothing about a disk; give -dir\n", o.dir, r.Machine.FS)
	}
	load := newLoad()
	for round := range o.rounds {
		chosen := slices.DeleteFunc(systems(), func(s system) bool {
			return o.only != nil && !slices.Contains(o.only, s.name) || r.Skipped[s.name] != ""
		})
		// Whoever comes first in one round comes last in the next, so that what
		// one leaves to the disk doesn't always hit the same.
		for i := range chosen {
			s := chosen[(i+round)%len(chosen)]
			fmt.Fprintf(stderr, "round %d of %d: %s\n", round+1, o.rounds, s.name)
			if err := r.measure(ctx, s, load, o.length, filepath.Join(dir, s.name)); errors.Is(err, errMissing) {
				r.Skipped[s.name] = err.Error()
				fmt.Fprintf(stderr, "\n*** SKIPPED: %v ***\n\n", err)
			} else if err != nil {
				return fmt.Errorf("measure %s: %w", s.name, err)
			}
		}
	}
	r.summarize()
	if o.json {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	return r.print(stdout)
}
