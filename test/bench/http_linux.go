package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// clientKeys is how many values each client puts and gets.
const clientKeys = 64

// requests measures PUT and GET over connections that are kept.
func requests(start starter) func(context.Context, *bench, string) ([]point, error) {
	return func(ctx context.Context, b *bench, dir string) (points []point, err error) {
		s, err := b.started(ctx, start, dir)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.proc.stop()) }()
		g := generator{answer: s.talk.answer, room: make([]byte, 64<<10), clients: make([]httpClient, clientCount)}
		if g.in, err = newPlugs(); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, g.in.close()) }()
		for i := range g.clients {
			c := &g.clients[i]
			if c.plug, err = g.in.add(s.addr); err != nil {
				return nil, err
			}
			for k := range clientKeys {
				n := i*clientKeys + k
				value := b.load.of(n)
				c.values = append(c.values, value)
				c.puts = append(c.puts, request("PUT", s.keys(n), s.header+"Content-Type: application/octet-stream\r\n", value))
				c.gets = append(c.gets, request("GET", s.keys(n), s.header, nil))
			}
		}
		for _, of := range []string{"PUT", "GET"} {
			g.check = of == "GET"
			// Every client comes to each of its keys at least once.
			if _, err := g.run(ctx, b.warm(), clientKeys); err != nil {
				return nil, fmt.Errorf("%s: %w", of, err)
			}
			before, begin := processor(), time.Now()
			took, err := g.run(ctx, b.length, 0)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", of, err)
			}
			length := time.Since(begin)
			p := timed(took, length)
			p.of, p.figures["client cpu %"] = of, 100*(processor()-before).Seconds()/length.Seconds()
			points = append(points, p)
		}
		return points, nil
	}
}

// generator is clients who send their next request when the last was answered.
// One thread does it all: two system calls for a request, and hardly more.
type generator struct {
	in      *plugs
	answer  func([]byte) (int, []byte, error)
	room    []byte
	clients []httpClient
	check   bool // they get what was put, and look whether it is that

	took  []time.Duration
	end   time.Time
	least int // requests that each client sends in any case
	busy  int // clients that wait for an answer
}

type httpClient struct {
	plug       plug
	puts, gets [][]byte
	values     [][]byte
	got        []byte // the beginning of an answer
	sent       int
	at         time.Time // when the last request was sent
}

// run sends requests for a while, and tells how long each took.
func (g *generator) run(ctx context.Context, length time.Duration, least int) ([]time.Duration, error) {
	g.took, g.end, g.least = nil, time.Now().Add(length), least
	for i := range g.clients {
		g.clients[i].sent = 0
		if err := g.send(&g.clients[i], time.Now()); err != nil {
			return nil, err
		}
	}
	g.busy = len(g.clients)
	for g.busy > 0 {
		if err := g.in.next(ctx, g.hear); err != nil {
			return nil, err
		}
	}
	return g.took, nil
}

func (g *generator) send(c *httpClient, now time.Time) error {
	all := c.puts
	if g.check {
		all = c.gets
	}
	c.at = now
	c.sent++
	return c.plug.say(all[c.sent%clientKeys])
}

// hear reads an answer, or a part of one, and sends the next request.
func (g *generator) hear(place int) error {
	c := &g.clients[place]
	n, err := c.plug.read(g.room)
	if err != nil {
		return err
	}
	got := g.room[:n]
	if len(c.got) > 0 {
		c.got = append(c.got, got...)
		got = c.got
	}
	done, value, err := g.answer(got)
	switch {
	case err != nil:
		return err
	case done == 0:
		if len(c.got) == 0 {
			c.got = append(c.got, got...)
		}
		return nil
	case done < len(got):
		return fmt.Errorf("more than was asked for: %.200q", got[done:])
	case g.check && !bytes.Equal(value, c.values[c.sent%clientKeys]):
		return fmt.Errorf("a value of %d bytes, not the %d that were put", len(value), len(c.values[c.sent%clientKeys]))
	}
	c.got = c.got[:0]
	now := time.Now()
	g.took = append(g.took, now.Sub(c.at))
	if now.After(g.end) && c.sent >= g.least {
		g.busy--
		return nil
	}
	return g.send(c, now)
}
