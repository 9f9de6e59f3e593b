package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// aheads are how many events may be under way to the crowd. With 1, every
// subscriber gets each event by itself: the server can't put two into one write.
func aheads() []int { return []int{1, 16} }

// fan measures how fast events reach a crowd.
func fan(start starter) func(context.Context, *bench, string) ([]point, error) {
	return func(ctx context.Context, b *bench, dir string) (points []point, err error) {
		s, err := b.started(ctx, start, dir)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.proc.stop()) }()
		c, err := gather(s)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.in.close()) }()
		for _, ahead := range aheads() {
			if _, err := c.run(ctx, ahead, b.warm()); err != nil {
				return nil, err
			}
			before, begin := processor(), time.Now()
			events, err := c.run(ctx, ahead, b.length)
			if err != nil {
				return nil, err
			}
			took := time.Since(begin).Seconds()
			p := point{of: "one by one", rate: float64(events*crowdSize) / took, figures: map[string]float64{
				"client cpu %": 100 * (processor() - before).Seconds() / took,
			}}
			if ahead > 1 {
				p.of = fmt.Sprintf("%d ahead", ahead)
			}
			points = append(points, p)
		}
		for i, n := range c.heard[:crowdSize] {
			if n != c.sent {
				return nil, fmt.Errorf("subscriber %d of %d heard %d events, and %d were put", i, crowdSize, n, c.sent)
			}
		}
		return points, nil
	}
}

// crowd is subscribers, and one connection more over which events are put. One
// thread reads all.
type crowd struct {
	talk   dialect
	in     *plugs
	putter plug
	room   []byte
	answer []byte // the beginning of an answer to the putter
	heard  []int  // events, of each subscriber
	total  int    // events that were heard
	sent   int
	acked  int
}

// gather has a crowd subscribe.
func gather(s *host) (_ *crowd, err error) {
	c := &crowd{talk: s.talk, room: make([]byte, 64<<10), heard: make([]int, crowdSize)}
	if c.in, err = newPlugs(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.in.close())
		}
	}()
	for range crowdSize {
		p, err := c.in.add(s.addr)
		if err == nil {
			err = p.say([]byte(s.talk.join))
		}
		if err == nil {
			err = p.hear(s.talk.joined)
		}
		if err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
	}
	if c.putter, err = c.in.add(s.addr); err != nil {
		return nil, err
	}
	if s.talk.greet != "" {
		if err := c.putter.say([]byte(s.talk.greet)); err != nil {
			return nil, err
		}
		if err := c.putter.hear(s.talk.greeted); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// run puts events for a while, each when the last was acknowledged and the crowd
// isn't too far behind, and ends when all were heard. It tells how many.
func (c *crowd) run(ctx context.Context, ahead int, length time.Duration) (int, error) {
	before := c.sent
	for end := time.Now().Add(length); ; {
		more := time.Now().Before(end)
		if more && c.acked == c.sent && c.total >= (c.sent+1-ahead)*crowdSize {
			if err := c.putter.say(c.talk.put(c.sent)); err != nil {
				return 0, fmt.Errorf("put an event: %w", err)
			}
			c.sent++
		}
		if !more && c.acked == c.sent && c.total == c.sent*crowdSize {
			return c.sent - before, nil
		}
		if err := c.in.next(ctx, c.hear); err != nil {
			return 0, fmt.Errorf("%d of %d events were acknowledged, and heard %d times: %w", c.acked, c.sent, c.total, err)
		}
	}
}

// hear reads what came to one of the crowd, or to the putter.
func (c *crowd) hear(place int) error {
	n, err := c.in.all[place].read(c.room)
	if err != nil {
		return err
	}
	if place < len(c.heard) {
		events := bytes.Count(c.room[:n], []byte{c.talk.mark})
		c.heard[place] += events
		c.total += events
		return nil
	}
	c.answer = append(c.answer, c.room[:n]...)
	done, _, err := c.talk.answer(c.answer)
	if err != nil {
		return err
	}
	if done > 0 {
		c.acked++
		c.answer = append(c.answer[:0], c.answer[done:]...)
	}
	return nil
}
