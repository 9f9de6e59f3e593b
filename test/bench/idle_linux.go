package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

const (
	// spareFiles is how many files a process may need beside its sockets.
	spareFiles = 500
	// idleFirst are those who come before memory is looked at: what the first
	// ones take is there for all.
	idleFirst = 100
)

// idle measures what a server's memory grows by with subscribers to whom
// nothing happens.
func idle(start starter) func(context.Context, *bench, string) ([]point, error) {
	return func(ctx context.Context, b *bench, dir string) (_ []point, err error) {
		var limit syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			return nil, fmt.Errorf("look how many files may be open: %w", err)
		}
		count := min(idleCount, int(min(limit.Cur, 1<<30))-spareFiles)
		if count < 2*idleFirst {
			return nil, fmt.Errorf("only %d files may be open: raise ulimit -n", limit.Cur)
		}
		s, err := b.started(ctx, start, dir)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.proc.stop()) }()
		var all []plug
		defer func() {
			for _, p := range all {
				err = errors.Join(err, p.close())
			}
		}()
		join := func(until int) error {
			for len(all) < until {
				if err := ctx.Err(); err != nil {
					return err
				}
				p, err := connect(s.addr)
				if err != nil {
					return err
				}
				all = append(all, p)
				if err := p.say([]byte(s.talk.join)); err != nil {
					return err
				}
				if err := p.hear(s.talk.joined); err != nil {
					return fmt.Errorf("subscriber %d: %w", len(all), err)
				}
			}
			return nil
		}
		if err := join(idleFirst); err != nil {
			return nil, err
		}
		before, err := s.proc.memory("VmRSS")
		if err != nil {
			return nil, err
		}
		if err := join(count); err != nil {
			return nil, err
		}
		after, err := s.proc.memory("VmRSS")
		if err != nil {
			return nil, err
		}
		return []point{{of: counted(count, "subscriber"), rate: (after - before) / float64(count-idleFirst) / 1000}}, nil
	}
}
