package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sennit/sennit"
)

// This file is about live messages: only what was sent is heard, and none twice.

// posting is that somebody sends some live messages, one after the other.
type posting struct {
	at     time.Duration
	by, in int
	path   sennit.Path
	times  int
}

// posted is a live message that was sent.
type posted struct {
	by    *machine
	space sennit.Space
	path  sennit.Path
}

// post decides who sends live messages.
func (p *plan) post(rng *rand.Rand) {
	for range 2 * len(p.nodes) {
		by := rng.IntN(len(p.nodes))
		x := posting{at: rand0(rng, span), by: by, in: by, path: somePath(rng), times: 1 + rng.IntN(10)}
		for _, e := range p.edges {
			if e.by == by && e.may != 0 && rng.IntN(2) == 0 {
				x.in, x.path = e.of, e.writes.Join(x.path)
				break
			}
		}
		p.postings = append(p.postings, x)
	}
}

// post sends live messages. Whether any arrives is not certain meanwhile.
func (w *world) post(x posting) {
	time.Sleep(x.at)
	for i := range x.times {
		w.say(w.machines[x.by], w.machines[x.in].id.Space(), x.path, fmt.Sprintf("%s says %d of %d at %s", w.machines[x.by].name, i, x.times, x.at))
		time.Sleep(time.Second)
	}
}

// say sends a live message, if the machine is up and may.
func (w *world) say(m *machine, space sennit.Space, p sennit.Path, text string) {
	r := m.up()
	if r == nil {
		return
	}
	w.mu.Lock()
	w.posted[text] = posted{m, space, p}
	w.mu.Unlock()
	err := r.bus().Send(context.Background(), sennit.Addr{Root: space.String(), Path: p}, sennit.Value{Data: []byte(text)}, 0)
	switch code := sennit.CodeOf(err); code {
	case "", sennit.Gone:
	case sennit.Denied, sennit.NotFound: // it doesn't know yet that it may, or not any more
		if space == m.id.Space() {
			w.fail("%s may not send to its own space: %v", m.name, err)
		}
	default:
		w.fail("%s can't send a live message: %v", m.name, err)
	}
}

// hear takes a live message that a watch tells.
func (w *world) hear(r *run, u *sennit.Update) {
	text := string(u.Node.Value.Data)
	var author *machine
	for _, m := range w.machines {
		if m.id.Principal() == u.Node.Author {
			author = m
		}
	}
	if author == nil || author.liar != nil {
		return // what it sends is its own business
	}
	w.mu.Lock()
	x := w.posted[text]
	w.mu.Unlock()
	if x != (posted{author, u.Space, u.Node.Path}) {
		w.fail("%s hears a live message of %s at %s/%s that was never sent: %.40q", r.m.name, author.name, w.owner(u.Space), u.Node.Path, text)
	}
	r.mu.Lock()
	again := r.heard[text]
	r.heard[text] = true
	r.mu.Unlock()
	if again {
		w.fail("%s hears a live message of %s twice: %q", r.m.name, author.name, text)
	}
	if author != r.m {
		w.count("live message heard by another")
	}
}

// listen looks whether the honest hear each other, now that all is well.
func (w *world) listen() {
	type wanted struct {
		at   replica
		path sennit.Path
	}
	var all []wanted
	for _, x := range w.replicas() {
		apart := time.Duration(x.m.skew.Load() - x.of.skew.Load()).Abs() // a message is void by its hearer's clock
		if x.of.liar == nil && x.m != x.of && apart < sennit.MessageLife/2 && len(x.scope) > 0 && w.touch(x.m, x.of) {
			all = append(all, wanted{x, x.scope[0].Join("said")})
		}
	}
	const tries = 5
	for try := range tries {
		text := func(x wanted) string {
			return fmt.Sprintf("%s says to %s at last, try %d", x.at.of.name, x.at.m.name, try)
		}
		for _, x := range all {
			w.say(x.at.of, x.at.of.id.Space(), x.path, text(x))
			time.Sleep(time.Millisecond) // one that is overtaken by the next is dropped
		}
		time.Sleep(10 * time.Second)
		all = slices.DeleteFunc(all, func(x wanted) bool {
			r := x.at.m.up()
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.heard[text(x)]
		})
	}
	for _, x := range all {
		w.fail("%s hears nothing of what %s says at %s, of %d times", x.at.m.name, x.at.of.name, x.path, tries)
	}
}
