package sim

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sennit/sennit/internal/replicate"
)

// This file is about what the plan does to the network while a simulation runs.

// lay gives each pair of machines a cable: most are good, some are bad.
func (n *network) lay(rng *rand.Rand, hosts []replicate.Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range hosts {
		for j := range i {
			w := n.cable(hosts[i], hosts[j])
			w.delay = time.Millisecond + rand0(rng, 80*time.Millisecond)
			w.jitter = rand0(rng, 30*time.Millisecond)
			if rng.IntN(5) < 2 {
				bad := 0.02 * rng.Float64()
				w.lose, w.repeat, w.swap, w.flip = bad*rng.Float64(), bad*rng.Float64(), bad*rng.Float64(), bad*rng.Float64()
			}
		}
	}
}

// part cuts every cable between some machines and the others. Either what is
// sent meanwhile arrives late, or never.
func (n *network) part(some []replicate.Host, hold bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for ends, w := range n.cables {
		if slices.Contains(some, ends[0]) != slices.Contains(some, ends[1]) {
			w.cut, w.hold = true, hold
		}
	}
}

// join mends all cuts.
func (n *network) join() {
	n.mu.Lock()
	for _, w := range n.cables {
		w.cut = false
	}
	conns := n.all()
	n.mu.Unlock()
	for _, c := range conns {
		c.thaw()
	}
}

// all lists the connections in the order in which they were made; n.mu is held.
func (n *network) all() []*conn {
	var all []*conn
	for c := range n.conns {
		all = append(all, c)
	}
	return all
}

// resetSome resets each connection with a probability.
func (n *network) resetSome(rng *rand.Rand, share float64) {
	n.mu.Lock()
	conns := n.all()
	n.mu.Unlock()
	for _, c := range conns {
		if rng.Float64() < share {
			n.count("reset")
			c.reset(errReset)
		}
	}
}

// settle ends all faults: cuts are mended, and messages arrive whole, once and
// in order. What went wrong before still has to be noticed by the sessions.
func (n *network) settle() {
	n.join()
	n.mu.Lock()
	n.calm = true
	n.mu.Unlock()
}

// up makes a machine reachable.
func (n *network) up(r *run) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at[r.m.host] = r
}

// down makes it unreachable. If quiet, its peers hear nothing of it.
func (n *network) down(r *run, quiet bool) {
	n.mu.Lock()
	if n.at[r.m.host] == r {
		delete(n.at, r.m.host)
	}
	conns := n.all()
	n.mu.Unlock()
	for _, c := range conns {
		for _, end := range []*conn{c, c.other} {
			if end.owner != r {
				continue
			}
			if !quiet {
				end.other.end(errReset)
			}
			end.end(errReset)
		}
	}
}
