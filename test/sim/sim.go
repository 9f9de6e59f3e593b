// Package sim runs whole communities of nodes in one process, on a clock, a
// network and disks of its own, and looks whether what must hold holds.
//
// Owns: the plan of a run, which one seed decides (who there is, who follows
// whom, who writes what, and what goes wrong); the network, the disks and the
// clocks; what is checked.
// Promises: engines, stores and replicators are the real ones. Nothing is
// lost, delayed, altered or switched off but what a run counts as injected.
// Must not know: how an engine or a session works inside.
//
// A run belongs into a testing/synctest bubble: its time is the bubble's. The
// seed decides everything but the order in which goroutines run that are due
// at the same instant, so a failing seed fails again mostly, not always.
package sim

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/test/evil"
)

// MaxNodes is how many nodes a run has at most, and how many identities it needs.
const MaxNodes = 12

// Config is what a run needs.
type Config struct {
	Seed       uint64
	Identities []*keys.Identity                 // MaxNodes of them, each used once
	Honest     bool                             // nobody lies
	Log        func(format string, args ...any) // what happens, for people; nil: nowhere
	Loud       bool                             // every message as well
}

// Report says how a run went.
type Report struct {
	Nodes, Liars int
	Injected     map[string]int // by kind of fault
	Writes       int            // that were acknowledged
	Ops          int            // that the spaces hold, live or not
	Checked      int            // pairs of replica and space that were compared
	Blobs        int            // large values that were acknowledged and still count
	Virtual      time.Duration
	Failures     []string // none if all is well
}

// LiesTold comes before the name of a lie where lies are counted.
const LiesTold = "lie: "

// maxFailures bounds what is reported of one run.
const maxFailures = 20

// world is one run.
type world struct {
	c        Config
	began    time.Time
	plan     *plan
	net      *network
	machines []*machine
	ending   chan struct{} // closed when no more is written

	writers sync.WaitGroup
	ops     int // see Report
	checked int // see Report
	blobs   int // see Report

	mu       sync.Mutex // guards what follows
	injected map[string]int
	failures []string
	acked    []write
	states   map[watchKey]*state
	posted   map[string]posted // live messages, by what they say
	over     bool              // everything is being stopped
}

// Run runs one simulation. It must be called in a synctest bubble.
func Run(c Config) *Report {
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	w := &world{
		c: c, began: time.Now(), plan: newPlan(c.Seed, c.Honest), injected: map[string]int{}, ending: make(chan struct{}),
		states: map[watchKey]*state{}, posted: map[string]posted{},
	}
	w.net = newNetwork(c.Seed, w.count)
	var hosts []replicate.Host
	var spaces []sennit.Space
	for i := range w.plan.nodes {
		spaces = append(spaces, c.Identities[i].Space())
	}
	for i := range w.plan.nodes {
		m := newMachine(w, i, c.Identities[i])
		if n := &w.plan.nodes[i]; n.lies {
			m.liar = evil.New(evil.Config{
				Seed: n.seed, First: int(c.Seed%1000) * 5, Identity: m.id, Spaces: spaces, Now: m.now,
				Count: func(lie evil.Lie) { w.count(LiesTold + string(lie)) }, Fail: w.fail,
			})
		}
		m.skew.Store(int64(w.plan.nodes[i].skew))
		w.machines = append(w.machines, m)
		hosts = append(hosts, m.host)
	}
	w.net.lay(w.plan.rng("cables"), hosts)
	var lives sync.WaitGroup
	for _, m := range w.machines {
		lives.Go(m.live)
	}
	w.trouble()
	close(w.ending)
	w.writers.Wait()
	w.heal()
	w.check()
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	for _, m := range w.machines {
		m.orders <- order{last: true}
	}
	lives.Wait()
	return w.report()
}

func (w *world) report() *Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &Report{
		Nodes: len(w.machines), Injected: w.injected, Writes: len(w.acked), Failures: w.failures, Virtual: time.Since(w.began),
	}
	for _, n := range w.plan.nodes {
		if n.lies {
			r.Liars++
		}
	}
	r.Ops, r.Checked, r.Blobs = w.ops, w.checked, w.blobs
	return r
}

func (w *world) count(fault string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.injected[fault]++
}

// fail notes something that must not happen.
func (w *world) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.c.Log("FAIL after %s: %s", time.Since(w.began), text)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.failures) < maxFailures && !slices.Contains(w.failures, text) {
		w.failures = append(w.failures, text)
	}
}
