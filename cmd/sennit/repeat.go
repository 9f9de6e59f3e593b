package main

import (
	"bufio"
	"bytes"
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/sennit/sennit"
)

const (
	pollEvery = time.Second            // for what the node doesn't tell the changes of
	settle    = 200 * time.Millisecond // in which changes are taken together
)

// waiter waits until a list may have changed.
type waiter interface {
	wait(ctx context.Context) error
	close()
}

// watchable gives a list the flag --watch. begin makes what it waits for
// between two looks, before the first; nil is to look once a second.
func (a *app) watchable(cmd *cobra.Command, begin func(ctx context.Context, args []string) (waiter, error)) *cobra.Command {
	if begin == nil {
		begin = func(context.Context, []string) (waiter, error) { return poll{}, nil }
	}
	once := cmd.RunE
	cmd.Flags().BoolVar(&a.watching, "watch", false, "print it again whenever it changes, until interrupted; with --json a line each time")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !a.watching {
			return once(cmd, args)
		}
		w, err := begin(cmd.Context(), args)
		if err != nil {
			return err
		}
		defer w.close()
		return a.repeat(cmd.Context(), w, func() error { return once(cmd, args) })
	}
	return cmd
}

// repeat prints what a look gives whenever that is another than before. A node
// that stops may come back, so only the first look has to succeed.
func (a *app) repeat(ctx context.Context, w waiter, look func() error) error {
	var shown *looked
	away := false
	for {
		now, err := a.look(look)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case shown != nil && sennit.CodeOf(err) == sennit.Unreachable:
			if !away {
				a.note("the node doesn't answer; it is asked again")
			}
			away = true
			if err := (poll{}).wait(ctx); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		away = false
		if shown == nil || !now.same(shown) {
			if err := a.show(now, shown == nil); err != nil {
				return err
			}
			shown = now
		}
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
}

// looked is what a look gave: results, and what is said beside them.
type looked struct{ out, err bytes.Buffer }

func (l *looked) same(o *looked) bool {
	return bytes.Equal(l.out.Bytes(), o.out.Bytes()) && bytes.Equal(l.err.Bytes(), o.err.Bytes())
}

// look keeps what is printed.
func (a *app) look(look func() error) (*looked, error) {
	out, errs := a.out, a.err
	defer func() { a.out, a.err = out, errs }()
	l := new(looked)
	a.out, a.err = bufio.NewWriter(&l.out), &l.err
	if err := look(); err != nil {
		return nil, err
	}
	return l, a.out.Flush()
}

// show prints a state: in the place of the one before for somebody who looks,
// else after an empty line.
func (a *app) show(l *looked, first bool) error {
	switch {
	case a.json:
	case a.seen:
		_, _ = a.out.WriteString("\x1b[H\x1b[2J") // it remembers an error
	case !first:
		_ = a.out.WriteByte('\n')
	}
	_, _ = a.out.Write(l.out.Bytes())
	if err := a.out.Flush(); err != nil {
		return sennit.Errorf(sennit.Internal, "write the result: %w", err)
	}
	_, _ = a.err.Write(l.err.Bytes()) // nothing is left to tell it to
	return nil
}

// poll waits a little.
type poll struct{}

func (poll) wait(ctx context.Context) error { return sleep(ctx, pollEvery) }
func (poll) close()                         {}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// changes waits for changes of what is under a path.
type changes struct {
	sennit.Watch
	done func()
}

// changesUnder watches what is under a path. What is there already is of no
// interest, and comes as little as can be.
func (a *app) changesUnder(ctx context.Context, at sennit.Addr) (waiter, error) {
	c, err := a.client(ctx)
	if err != nil {
		return nil, err
	}
	w, err := c.Watch(ctx, []sennit.Pattern{{Root: at.Root, Path: string(at.Path)}}, sennit.WatchOptions{Newest: 1})
	if err != nil {
		c.Close()
		return nil, err
	}
	return &changes{w, c.Close}, nil
}

func (c *changes) wait(ctx context.Context) error {
	if _, err := c.Next(ctx); err != nil {
		return err
	}
	return sleep(ctx, settle)
}

func (c *changes) close() {
	_ = c.Close() // it ends with the program
	c.done()
}
