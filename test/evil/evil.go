// Package evil is peers that lie: what a node can meet whose owner changed its
// program. A [Liar] stands between a real replicator and its connections and
// makes of the messages whatever suits it.
//
// Owns: the lies, and when which one is told.
// Promises: what a liar does is drawn from one seed. Each lie is counted when
// it goes out. A liar has no key but its own.
// Must not know: who listens, or what anybody makes of it.
package evil

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
)

// Bounds of what a liar remembers and makes up.
const (
	maxHeard   = 64 // messages that it may repeat
	maxLogs    = 64 // logs whose authors it may pretend to be
	maxHellos  = 16
	maxWritten = 32 // commits that it makes up; they stay for ever
	maxCuts    = 64 // logs that revocations cut
	maxRoots   = 16 // blobs whose names it may misuse
)

// tolerance is how long after a lie that must end a session a peer may still
// be heard: what it sent before is under way.
const tolerance = 3 * time.Minute

// Config says who lies and to whom it reports. Fail may be nil.
type Config struct {
	Seed     uint64
	First    int              // the lie that its first connection tells: an index into [Lies]
	Identity *keys.Identity   // of the node that lies
	Spaces   []sennit.Space   // of everybody: it knows whom it meets
	Now      func() time.Time // its node's clock
	Count    func(lie Lie)    // called for each lie that goes out
	// Fail is called when a peer goes on with a session that a lie must end.
	Fail func(format string, args ...any)
}

// Liar is a lying peer. Several connections may use it at once.
type Liar struct {
	c Config

	mu      sync.Mutex // guards what follows
	rng     *rand.Rand
	conns   int
	settled bool
	logs    []wire.Log // of others
	hellos  []*wire.Hello
	heard   []wire.Frame // in any of its sessions
	written int          // commits that it made up
	forks   map[sennit.Space]*forgery
	splits  map[sennit.Space]*forgery
	rules   map[sennit.Space]*forgery
	lives   []*wire.Live // of others
	roots   []sennit.Blob
	cuts    map[sennit.Hash][]wire.Cut
	streams int // of blobs

	rewritten map[sennit.Space]*rewriting
}

// New makes a liar.
func New(c Config) *Liar {
	if c.Fail == nil {
		c.Fail = func(string, ...any) {}
	}
	return &Liar{
		c: c, rng: rand.New(rand.NewPCG(c.Seed, 'l')),
		forks: map[sennit.Space]*forgery{}, splits: map[sennit.Space]*forgery{}, rules: map[sennit.Space]*forgery{},
		cuts: map[sennit.Hash][]wire.Cut{}, rewritten: map[sennit.Space]*rewriting{},
	}
}

// Settle ends the lies that add something to a space, so that those who must
// agree in the end can. All others go on.
func (l *Liar) Settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settled = true
}

// Wrap makes a connection lie. Some connections don't, or not at first, so
// that peers have something to lose.
func (l *Liar) Wrap(c replicate.Conn) replicate.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	host := c.Host()
	e := &conn{
		Conn: c, l: l, rng: rand.New(rand.NewPCG(l.rng.Uint64(), 'c')), side: int(host[31]) & 1,
		tags: map[wire.Tag]sennit.Space{}, open: map[wire.Tag]*wire.Open{},
	}
	e.rate = []float64{0, 0.02, 0.1, 0.3, 0.8}[e.rng.IntN(5)]
	all := sessionLies()
	e.lies = append(e.lies, all[(l.c.First+l.conns*11)%len(all)]) // 11 and their number have no common divisor
	for range e.rng.IntN(3) {
		e.lies = append(e.lies, all[e.rng.IntN(len(all))])
	}
	l.conns++
	return e
}

// conn is a connection on which lies are told. Its sender and its receiver are
// two goroutines.
type conn struct {
	replicate.Conn
	l    *Liar
	rate float64 // lies a message
	lies []Lie
	side int // which of two stories this peer is told

	// Of the sender.
	rng    *rand.Rand
	number uint64
	mine   *wire.Hello
	open   map[wire.Tag]*wire.Open // last sent
	sent   []wire.Frame

	mu     sync.Mutex // guards what follows
	theirs *wire.Hello
	tags   map[wire.Tag]sennit.Space
	deaf   bool
	fatal  Lie       // that must end the session
	since  time.Time // when it was told
}

// message is what goes out.
type message struct {
	frame  wire.Frame
	skip   uint64              // added to its number
	damage func([]byte) []byte // of its encoding; nil: none
}

// Send implements replicate.Conn.
func (c *conn) Send(ctx context.Context, msg []byte) error {
	_, f, err := wire.DecodeFrame(slices.Clone(msg))
	if err != nil {
		return err
	}
	c.learn(f)
	for _, m := range c.twist(f) {
		b := wire.AppendFrame(nil, c.number+m.skip, m.frame)
		if m.damage != nil {
			b = m.damage(b)
		}
		c.number++
		if err := c.Conn.Send(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// twist makes of a message what goes out instead.
func (c *conn) twist(f wire.Frame) []message {
	honest := []message{{frame: f}}
	_, first := f.(*wire.Hello)
	if c.rng.Float64() >= c.rate && !(first && slices.Contains(c.lies, StolenHello)) {
		return honest
	}
	lie := c.lies[c.rng.IntN(len(c.lies))]
	if first != (lie == StolenHello) {
		return honest // who says nothing that begins a session lies to nobody
	}
	out, fatal := c.tell(lie, f)
	if out == nil {
		return honest // there was nothing to lie about
	}
	c.l.c.Count(lie)
	if fatal {
		c.mu.Lock()
		if c.fatal == "" {
			c.fatal, c.since = lie, time.Now()
		}
		c.mu.Unlock()
	}
	return out
}

// learn notes what this side says.
func (c *conn) learn(f wire.Frame) {
	switch f := f.(type) {
	case *wire.Hello:
		c.mine = f
	case *wire.Open:
		c.open[f.Tag] = f
	}
	if c.sent = append(c.sent, f); len(c.sent) > maxHeard {
		c.sent = c.sent[1:]
	}
}

// Recv implements replicate.Conn.
func (c *conn) Recv(ctx context.Context) ([]byte, error) {
	c.mu.Lock()
	deaf := c.deaf
	c.mu.Unlock()
	if deaf {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	msg, err := c.Conn.Recv(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	if c.fatal != "" && time.Since(c.since) > tolerance {
		c.l.c.Fail("a session goes on %s after a lie that must end it: %s", time.Since(c.since).Round(time.Second), c.fatal)
		c.fatal = ""
	}
	c.mu.Unlock()
	if _, f, err := wire.DecodeFrame(slices.Clone(msg)); err == nil {
		c.hear(f)
	}
	return msg, nil
}

// hear notes what a peer says.
func (c *conn) hear(f wire.Frame) {
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	keep := func(logs []wire.Log) {
		for _, rec := range logs {
			if rec.Principal != l.c.Identity.Space() && len(l.logs) < maxLogs && !slices.Contains(l.logs, rec) {
				l.logs = append(l.logs, rec)
			}
		}
	}
	switch f := f.(type) {
	case *wire.Hello:
		c.mu.Lock()
		c.theirs = f
		c.mu.Unlock()
		if len(l.hellos) < maxHellos {
			l.hellos = append(l.hellos, f)
		}
	case *wire.AuthorityFrame:
		keep(f.Logs)
		l.noteCuts(f.Runs)
	case *wire.Ops:
		keep(f.Logs)
		l.noteBlobs(f.Runs)
	case *wire.Live:
		if l.lives = append(l.lives, f); len(l.lives) > maxHeard {
			l.lives = l.lives[1:]
		}
	}
	if l.heard = append(l.heard, f); len(l.heard) > maxHeard {
		l.heard = l.heard[1:]
	}
}

// space tells which space a tag stands for.
func (c *conn) space(t wire.Tag) (sennit.Space, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.theirs == nil || c.mine == nil {
		return sennit.Space{}, false
	}
	if len(c.tags) == 0 {
		for _, id := range c.l.c.Spaces {
			c.tags[tagOf(c.mine.Nonce, c.theirs.Nonce, id)] = id
		}
	}
	id, ok := c.tags[t]
	return id, ok
}
