package replicate

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/hub"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/prefix"
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

	// Of the writer, but that others may replace the feeds; guarded by s.mu. What
	// the feeds know of logs is the writer's alone.
	feed *node.Feed
	rest *node.Feed
	sub  *hub.Sub[*sennit.Update]
	mail *hub.Sub[*node.Message]

	// Guarded by s.mu.
	interest prefix.Set // what this node keeps of the space: nothing, if it doesn't follow it
	parts
	strays int // messages with ops of which this node takes no part, since it said so

	mine   *wire.Open  // last sent
	theirs *wire.Open  // last received
	rounds int         // of authority exchange without agreement
	rules  sennit.Hash // the authority on which both sides agreed last

	pumping bool       // the peer gets what arrives
	at      uint64     // up to which it was sent
	caught  bool       // and that was all
	told    uint64     // up to which it was told that it got everything
	toldAt  time.Time  // when
	poked   bool       // something may have arrived that no event tells: authority
	behind  int        // messages with ops that aren't acknowledged
	acked   uint64     // up to which they are
	unsure  bool       // what the peer has of what both keep no comparison told yet, so it acknowledges nothing
	push    node.Picks // ops that a comparison found missing there
	gap     uint64     // up to which the peer may lack what is not compared
	restAt  uint64     // up to which the rest was sent
	restTo  uint64     // up to which it is to be

	needs map[sennit.Hash]uint64 // what the peer says it has of logs, for the feed; at most wire.MaxFrameLogs
	owed  int                    // messages with ops that this side did not acknowledge

	past  asking
	wants []wire.WantItem // what to ask for, after what is pushed
	asked bool            // it was asked for, and nothing came yet

	up      uint64     // everything that arrived there up to here is durable here
	claimed prefix.Set // of this part
	saved   uint64
	holes   bool // something of theirs was refused: up stands still
	done    bool // they sent all there was
	seen    map[sennit.Hash]bool

	proved   map[sennit.Hash]bool // logs that the peer has a proof of that they forked; at most maxForksHeard of the peer's
	forks    *node.Fork           // the first of the list of which the peer has all; writer only
	accusals int                  // fork proofs that the peer sent and that had to be checked

	synced    bool      // equal when last compared
	agreed    time.Time // when it was last known to be so; zero: never
	comparing time.Time // when a comparison was begun that is not answered; zero if none is
	differs   bool      // something differed in this comparison
	news      time.Time // when something last came that was new here; zero: never
	again     int       // comparisons in a row that found a difference
	next      time.Time // when to compare again

	untoldSources bool          // the peer may not know who else holds the space
	toldSources   time.Time     // when it was told
	sources       *wire.Sources // what; of the writer
}

func newChannel(s *session, space sennit.Space) *channel {
	self, host := s.r.cfg.Self, s.conn.Host()
	return &channel{
		s: s, space: space, driving: bytes.Compare(self[:], host[:]) < 0,
		seen: map[sennit.Hash]bool{}, push: node.Picks{}, untoldSources: true, proved: map[sennit.Hash]bool{},
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

// begin opens the space from this side, unless the other goroutine of the
// session did meanwhile.
func (c *channel) begin(ctx context.Context) error {
	s := c.s
	interest, err := s.n.Keeps(c.space)
	if err != nil {
		return err
	}
	s.mu.Lock()
	c.interest, c.tag = interest, s.tag(c.space)
	s.mu.Unlock()
	if err := c.keepsAll(); err != nil {
		return err
	}
	var since sennit.Cursor
	since, c.claimed = s.r.shortcut(s.conn.Host(), c.space)
	c.up, c.saved = since.N, since.N
	if a := s.n.Authority(c.space); a != nil {
		c.reclaim(prefix.Of(a.Readable(s.n.Self(), c.now())...).And(interest))
		if since.N = c.up; c.up == 0 {
			since = sennit.Cursor{} // else all would come again, and not what differs
		}
	}
	o, err := c.holding(ctx, c.reach(), interest, since)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.channels[c.tag] != nil || len(s.channels) >= maxChannels {
		return nil
	}
	c.sub, c.mail = s.n.Subscribe(c.space, s.wake), s.n.Messages(c.space, s.wake)
	c.mine = o
	s.channels[c.tag] = c
	s.post(o)
	return nil
}

// open says what this side holds and takes.
func (c *channel) open(ctx context.Context) error {
	scope := c.reach()
	c.s.mu.Lock()
	interest := c.interest
	since := c.since(interest)
	c.s.mu.Unlock()
	o, err := c.holding(ctx, scope, interest, since)
	if err != nil {
		return err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if !interest.Equal(c.mine.Interest) {
		c.strays = 0
	}
	c.mine = o
	c.divide()
	c.s.post(o)
	return nil
}

// holding works out what this side holds of what it keeps.
func (c *channel) holding(ctx context.Context, scope []sennit.Path, interest prefix.Set, since sennit.Cursor) (*wire.Open, error) {
	a := c.s.n.Authority(c.space)
	follow, err := c.s.n.Follow(c.space)
	if err != nil {
		return nil, err
	}
	o := &wire.Open{Tag: c.tag, Scope: scope, Interest: interest, Since: since, Newest: uint64(follow.Newest)}
	if a != nil {
		o.Authority, o.Heads = a.Digest(), a.Heads()
		o.Heads = o.Heads[:min(len(o.Heads), wire.MaxHeads)]
	}
	at, err := c.s.n.Arrivals()
	if err != nil {
		return nil, err
	}
	o.At = sennit.Cursor{Epoch: c.s.n.Epoch(), N: at}
	switch d, ops, n, err := c.held(ctx, kept(o)); {
	case sennit.CodeOf(err) == sennit.NotFound: // followed, but nothing of it is here yet
	case err != nil:
		return nil, err
	default:
		o.At.N, o.Digest, o.Ops = n, d, ops
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

// renew opens the space again if what the peer may read, what this side takes,
// or the authority that everything is judged by, changed since it was opened.
// What either side was not shown so far is found by comparing.
func (c *channel) renew(ctx context.Context) error {
	scope, a := c.reach(), c.s.n.Authority(c.space)
	var authority sennit.Hash
	if a != nil {
		authority = a.Digest()
	}
	c.s.mu.Lock()
	mine, interest := c.mine, c.interest
	c.s.mu.Unlock()
	if mine == nil || authority == mine.Authority && slices.Equal(scope, mine.Scope) && interest.Equal(mine.Interest) {
		return nil
	}
	if err := c.open(ctx); err != nil {
		return err
	}
	c.s.mu.Lock()
	theirs := c.theirs
	c.s.mu.Unlock()
	if theirs == nil || theirs.Authority != mine.Authority || theirs.Authority == authority {
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
		id, ok, err := s.spaceOf(o.Tag)
		if err != nil || !ok {
			return err
		}
		c = newChannel(s, id)
		wanted, err := s.wanted()
		if err != nil {
			return err
		}
		if len(o.Interest) > 0 && len(c.reach()) > 0 && !s.admitted(keeping(wanted)) {
			s.mu.Lock()
			s.unheard, s.recheck = true, true // the writer tells it where to go
			s.mu.Unlock()
			s.wake()
			return nil
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

func (c *channel) opened(ctx context.Context, o *wire.Open) error {
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
		c.up, c.saved, c.claimed = 0, 0, prefix.All() // what was remembered is about another store
	}
	less := c.divide()
	agree := mine.Authority == o.Authority
	if agree {
		c.rounds = 0
	} else {
		c.rounds++
	}
	rounds := c.rounds
	if !first && agree {
		c.past.anew()
	}
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
	if less {
		if err := c.open(ctx); err != nil {
			return err
		}
	}
	if both := kept(o); agree && mine.Digest == o.Digest && both.Equal(kept(mine)) {
		s.mu.Lock()
		same := c.both.Equal(both)
		if same {
			c.equal(o.At.N)
		}
		s.mu.Unlock()
		if same && c.driving { // the peer may have said what it holds before it agreed
			if err := s.send(&wire.Compare{Tag: c.tag, Basis: wire.BasisOf(o.Authority, both), At: mine.At.N}); err != nil {
				return err
			}
		}
	}
	s.wake()
	return nil
}

// equal notes that both sides hold the same of what both keep; s.mu is held. If
// the peer said at which arrival it held that, and keeps all that this side
// takes, all that had arrived there by then is here.
func (c *channel) equal(at uint64) {
	if c.agreed.IsZero() {
		defer c.s.r.touch() // the peer has shown that it holds the space
	}
	c.agreed = time.Now()
	c.synced, c.comparing, c.again, c.unsure = true, time.Time{}, 0, false
	c.next = time.Now().Add(compareEvery)
	c.settle()
	if c.both.Covers(c.in) {
		c.up, c.holes = max(c.up, at), false
	}
}

// close remembers how far the peer's store is known, for the next session.
func (c *channel) close(ctx context.Context) {
	c.sub.Close()
	c.mail.Close()
	s := c.s
	s.mu.Lock()
	theirs, up, saved, claimed := c.theirs, c.up, c.saved, c.claimed
	s.mu.Unlock()
	if theirs == nil || up == saved {
		return
	}
	at := sennit.Cursor{Epoch: theirs.At.Epoch, N: up}
	if err := s.r.saveShortcut(ctx, s.conn.Host(), c.space, at, claimed); err != nil {
		s.r.cfg.Log.Debug("remember how far a peer was followed", "err", err)
	}
}
