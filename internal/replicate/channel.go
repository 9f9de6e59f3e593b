package replicate

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/hub"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// maxSeen bounds the commits that are remembered as come from the peer, so
// that they aren't sent back. Forgetting one costs sending it for nothing.
const maxSeen = 1 << 16

// maxRounds bounds how often authority is exchanged without agreement, and how
// often a comparison is followed by another at once.
const maxRounds = 8

// channel is one space in a session.
type channel struct {
	s       *session
	space   sennit.Space
	tag     wire.Tag
	driving bool // this side begins comparisons
	deaf    bool // this node doesn't follow the space: it gives and takes nothing; guarded by s.mu

	// Of the writer, but that others may replace the feed; guarded by s.mu. The
	// feed's Known is the writer's alone.
	feed *node.Feed
	sub  *hub.Sub[*sennit.Update]

	// Guarded by s.mu.
	mine   *wire.Open // last sent
	theirs *wire.Open // last received
	rounds int        // of authority exchange without agreement

	pumping bool       // the peer gets what arrives
	at      uint64     // up to which it was sent
	caught  bool       // and that was all
	told    uint64     // up to which it was told that it got everything
	toldAt  time.Time  // when
	poked   bool       // something may have arrived that no event tells: authority
	behind  int        // messages with ops that aren't acknowledged
	acked   uint64     // up to which they are
	push    node.Picks // ops that a comparison found missing there

	needs map[sennit.Hash]uint64 // what the peer says it has of logs, for the feed; at most wire.MaxFrameLogs
	owed  int                    // messages with ops that this side did not acknowledge

	wants []wire.WantItem // what to ask for, after what is pushed
	asked bool            // it was asked for, and nothing came yet

	up    uint64 // everything that arrived there up to here is durable here
	saved uint64
	holes bool // something of theirs was refused: up stands still
	done  bool // they sent all there was
	seen  map[sennit.Hash]bool

	synced    bool      // equal when last compared
	comparing time.Time // when a comparison was begun that is not answered; zero if none is
	differs   bool      // something differed in this comparison
	again     int       // comparisons in a row that found a difference
	next      time.Time // when to compare again
}

func newChannel(s *session, space sennit.Space) *channel {
	self, host := s.r.cfg.Self, s.conn.Host()
	return &channel{
		s: s, space: space, driving: bytes.Compare(self[:], host[:]) < 0,
		seen: map[sennit.Hash]bool{}, push: node.Picks{},
	}
}

func (c *channel) now() uint64 { return uint64(c.s.r.cfg.Now().UnixMilli()) }

// reach is the prefixes that the peer may read, none if it may read nothing.
func (c *channel) reach() []sennit.Path {
	a := c.s.n.Authority(c.space)
	if a == nil {
		return nil
	}
	c.s.mu.Lock()
	who := c.s.who
	c.s.mu.Unlock()
	scope := a.Readable(who, c.now())
	return scope[:min(len(scope), wire.MaxScope)]
}

// filter is what the peer may read, for single ops. Dels of whole subtrees
// above what it may read concern it as well.
func (c *channel) filter(scope []sennit.Path) node.Filter {
	if len(scope) == 1 && scope[0] == "" {
		return nil
	}
	return func(p sennit.Path, deep bool) bool {
		return slices.ContainsFunc(scope, func(q sennit.Path) bool { return p.Under(q) || deep && q.Under(p) })
	}
}

// begin opens the space from this side, unless the other goroutine of the
// session did meanwhile.
func (c *channel) begin(ctx context.Context) error {
	s := c.s
	wanted, err := s.wanted()
	if err != nil {
		return err
	}
	c.deaf = !slices.Contains(wanted, c.space)
	s.mu.Lock()
	c.tag = s.tag(c.space)
	s.mu.Unlock()
	scope := c.reach()
	c.feed = s.n.Feed(c.space, c.filter(scope))
	since := s.r.shortcut(s.conn.Host(), c.space)
	c.up, c.saved = since.N, since.N
	o, err := c.holding(ctx, scope, since)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.channels[c.tag] != nil || len(s.channels) >= maxChannels {
		return nil
	}
	c.sub = s.n.Subscribe(c.space, s.wake)
	c.mine = o
	s.channels[c.tag] = c
	s.post(o)
	return nil
}

// open says what this side holds.
func (c *channel) open(ctx context.Context, scope []sennit.Path, since sennit.Cursor) error {
	o, err := c.holding(ctx, scope, since)
	if err != nil {
		return err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.mine = o
	c.s.post(o)
	return nil
}

// holding works out what this side holds.
func (c *channel) holding(ctx context.Context, scope []sennit.Path, since sennit.Cursor) (*wire.Open, error) {
	a := c.s.n.Authority(c.space)
	o := &wire.Open{Tag: c.tag, Scope: scope, Since: since}
	if a != nil {
		o.Authority, o.Heads = a.Digest(), a.Heads()
		o.Heads = o.Heads[:min(len(o.Heads), wire.MaxHeads)]
	}
	at, err := c.s.n.Arrivals()
	if err != nil {
		return nil, err
	}
	o.At = sennit.Cursor{Epoch: c.s.n.Epoch(), N: at}
	switch t, err := c.s.n.Trie(ctx, c.space); {
	case sennit.CodeOf(err) == sennit.NotFound: // followed, but nothing of it is here yet
	case err != nil:
		return nil, err
	default:
		o.At.N = t.N
		o.Digest, o.Ops, err = scopeDigest(t, scope)
		if err = errors.Join(err, t.Done()); err != nil {
			return nil, err
		}
	}
	sizes, err := c.s.n.Logs(c.space)
	if err != nil {
		return nil, err
	}
	for id, size := range sizes {
		if len(o.Sizes) < wire.MaxFrameLogs && size > 0 {
			o.Sizes = append(o.Sizes, wire.LogSize{Log: [8]byte(id[:8]), Size: size})
		}
	}
	slices.SortFunc(o.Sizes, func(a, b wire.LogSize) int { return bytes.Compare(a.Log[:], b.Log[:]) })
	// Ids may be made to begin alike. Then one is named, and the peer asks for
	// what it needs of the others.
	o.Sizes = slices.CompactFunc(o.Sizes, func(a, b wire.LogSize) bool { return a.Log == b.Log })
	return o, nil
}

// renew opens the space again if what the peer may read, or the authority that
// everything is judged by, changed since this side opened it.
func (c *channel) renew(ctx context.Context) error {
	scope, a := c.reach(), c.s.n.Authority(c.space)
	c.s.mu.Lock()
	mine, up := c.mine, c.up
	c.s.mu.Unlock()
	if mine == nil || a == nil || a.Digest() == mine.Authority && slices.Equal(scope, mine.Scope) {
		return nil
	}
	if !slices.Equal(scope, mine.Scope) {
		// It may read more, or less. What it was not shown so far is found by
		// comparing.
		feed := c.s.n.Feed(c.space, c.filter(scope))
		c.s.mu.Lock()
		feed.Known, c.feed = c.feed.Known, feed
		c.s.mu.Unlock()
	}
	if err := c.open(ctx, scope, sennit.Cursor{Epoch: mine.Since.Epoch, N: up}); err != nil {
		return err
	}
	c.s.mu.Lock()
	theirs := c.theirs
	c.s.mu.Unlock()
	if theirs == nil || theirs.Authority != mine.Authority || theirs.Authority == a.Digest() {
		return nil
	}
	// Both sides agreed: the peer lacks what is new here, and won't ask for it.
	return c.supply(theirs)
}

// supply sends the authority that the peer lacks, without waiting.
func (c *channel) supply(theirs *wire.Open) error {
	frames, err := c.lacking(theirs)
	if err != nil {
		return err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for _, f := range frames {
		c.s.post(f)
	}
	return nil
}

// opened takes what the peer says that it holds.
func (s *session) opened(ctx context.Context, o *wire.Open) error {
	c := s.channel(o.Tag)
	if c == nil {
		wanted, err := s.wanted()
		if err != nil {
			return err
		}
		for _, id := range append(wanted, s.n.Spaces()...) {
			if s.tag(id) == o.Tag {
				c = newChannel(s, id)
				break
			}
		}
		if c == nil {
			return nil // unfollowed meanwhile
		}
		if err := c.begin(ctx); err != nil {
			return err
		}
		if c = s.channel(o.Tag); c == nil {
			return sennit.Errorf(sennit.OverQuota, "more than %d spaces in one session", maxChannels)
		}
	}
	return c.opened(ctx, o)
}

func (c *channel) opened(_ context.Context, o *wire.Open) error {
	s := c.s
	s.mu.Lock()
	first := c.theirs == nil
	serves := first || !slices.Equal(c.theirs.Scope, o.Scope)
	if !first && c.theirs.At.Epoch != o.At.Epoch {
		s.mu.Unlock()
		return sennit.Errorf(sennit.BadInput, "the peer's store changed within a session")
	}
	c.theirs = o
	mine := c.mine
	if first && mine.Since.Epoch != o.At.Epoch {
		c.up, c.saved = 0, 0 // what was remembered is about another store
	}
	agree := mine.Authority == o.Authority
	if agree {
		c.rounds = 0
	} else {
		c.rounds++
	}
	rounds := c.rounds
	s.mu.Unlock()
	if serves {
		s.r.touch()
	}
	if !agree && rounds <= maxRounds {
		frames, err := c.lacking(o)
		if err != nil {
			return err
		}
		for _, f := range frames {
			if err := s.send(f); err != nil {
				return err
			}
		}
	}
	if err := c.startPump(o, first); err != nil {
		return err
	}
	if agree && mine.Digest == o.Digest && slices.Equal(mine.Scope, o.Scope) {
		s.mu.Lock()
		c.equal(o.At.N)
		s.mu.Unlock()
		if c.driving { // the peer may have said what it holds before it agreed
			if err := s.send(&wire.Compare{Tag: c.tag, Authority: print8(o.Authority), At: mine.At.N}); err != nil {
				return err
			}
		}
	}
	s.wake()
	return nil
}

// equal notes that both sides hold the same; s.mu is held. If the peer said at
// which arrival it held that, all that had arrived there by then is here.
func (c *channel) equal(at uint64) {
	c.synced, c.comparing, c.again, c.holes = true, time.Time{}, 0, false
	c.next = time.Now().Add(compareEvery)
	c.up = max(c.up, at)
}

// ops takes data commits.
func (c *channel) ops(ctx context.Context, f *wire.Ops) error {
	if err := c.owe(); err != nil {
		return err
	}
	if c.shut() {
		return c.s.send(&wire.Ack{Tag: c.tag})
	}
	in := c.s.in
	for _, l := range f.Logs {
		if l.Space != c.space || l.Class != wire.Data {
			return sennit.Errorf(sennit.BadInput, "a log of another space or class")
		}
		if err := in.Log(l); err != nil {
			return err
		}
	}
	in.OnGenuine = c.came
	for _, run := range f.Runs {
		var behind *node.Behind
		switch err := in.Run(ctx, run); {
		case errors.As(err, &behind):
			c.refused()
			if err := c.s.send(&wire.Need{Tag: c.tag, Log: run.Log, Size: behind.Size}); err != nil {
				return err
			}
		case sennit.CodeOf(err) == sennit.Denied || sennit.CodeOf(err) == sennit.OverQuota:
			c.refused() // an op without a right ends no session
		case err != nil:
			return err
		}
	}
	return in.Mark(ctx, func(err error) {
		if err != nil {
			c.s.fail(err) // what can't be acknowledged would hold the session up for ever
			return
		}
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if f.Up > c.up && !c.holes {
			c.up = f.Up
		}
		if c.done = c.done || f.Caught; len(f.Runs) > 0 {
			c.asked = false
			c.mended()
		}
		c.s.post(&wire.Ack{Tag: c.tag, N: f.Up})
	})
}

// owe notes that a message is to be acknowledged. Who sends more of them than
// may wait for that fills queues.
func (c *channel) owe() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.owed++; c.owed > unacked {
		return sennit.Errorf(sennit.BadInput, "more than %d messages with ops that were not acknowledged", unacked)
	}
	return nil
}

// shut reports whether this node takes nothing of the space. What is not taken
// is not remembered as received either.
func (c *channel) shut() bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.holes = c.holes || c.deaf
	return c.deaf
}

// refused notes that something of the peer's was not taken: what it sends is
// not remembered as received until a comparison finds both sides equal.
func (c *channel) refused() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.holes = true
}

// close remembers how far the peer's store is known, for the next session.
func (c *channel) close(ctx context.Context) {
	c.sub.Close()
	s := c.s
	s.mu.Lock()
	theirs, up, saved := c.theirs, c.up, c.saved
	s.mu.Unlock()
	if theirs == nil || up == saved {
		return
	}
	at := sennit.Cursor{Epoch: theirs.At.Epoch, N: up}
	if err := s.r.saveShortcut(ctx, s.conn.Host(), c.space, at); err != nil {
		s.r.cfg.Log.Debug("remember how far a peer was followed", "err", err)
	}
}

// scopeDigest is the digest over some prefixes.
func scopeDigest(t tree.Reader, scope []sennit.Path) (sennit.Hash, uint64, error) {
	var all []byte
	var ops uint64
	for _, p := range scope {
		info, _, err := tree.Find(t, p)
		if err != nil {
			return sennit.Hash{}, 0, err
		}
		if len(scope) == 1 {
			return info.Hash, info.Ops, nil
		}
		all = append(all, info.Hash[:]...)
		ops += info.Ops
	}
	return hashOf(all), ops, nil
}
