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
func (c *channel) begin() error {
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
	o, err := c.holding(scope, since)
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
func (c *channel) open(scope []sennit.Path, since sennit.Cursor) error {
	o, err := c.holding(scope, since)
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
func (c *channel) holding(scope []sennit.Path, since sennit.Cursor) (*wire.Open, error) {
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
	switch t, err := c.s.n.Trie(c.space); {
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
func (c *channel) renew() error {
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
	if err := c.open(scope, sennit.Cursor{Epoch: mine.Since.Epoch, N: up}); err != nil {
		return err
	}
	c.s.mu.Lock()
	theirs := c.theirs
	c.s.mu.Unlock()
	if theirs == nil || theirs.Authority != mine.Authority || theirs.Authority == a.Digest() {
		return nil
	}
	// Both sides agreed: the peer lacks what is new here, and won't ask for it.
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
		if err := c.begin(); err != nil {
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

// startPump decides from where the peer gets what arrives here.
func (c *channel) startPump(o *wire.Open, first bool) error {
	s := c.s
	sizes, err := s.n.Logs(c.space)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, size := range sizes {
		i, ok := slices.BinarySearchFunc(o.Sizes, [8]byte(id[:8]), func(l wire.LogSize, id [8]byte) int { return bytes.Compare(l.Log[:], id[:]) })
		if ok && first {
			c.feed.Known[id] = min(o.Sizes[i].Size, size)
		}
	}
	if !first {
		return nil
	}
	c.pumping = true
	switch {
	case o.Since.Epoch == s.n.Epoch():
		c.at = min(o.Since.N, c.mine.At.N)
	case o.Ops == 0:
		c.at = 0
	default:
		c.at = c.mine.At.N // the comparison finds the rest
	}
	return nil
}

// lacking is the authority commits and evidence that the peer lacks, in as many
// messages as it takes. A commit comes after those that it names. Evidence comes
// last, with what it is evidence for; a commit that needs it to be accepted is
// sent again, since the peer says that it lacks it.
func (c *channel) lacking(o *wire.Open) (frames []wire.Frame, err error) {
	s := c.s
	has, err := s.n.Ancestry(c.space, o.Heads)
	if err != nil {
		return nil, err
	}
	batch, err := s.n.Feed(c.space, nil).Authority(frameBytes, func(id sennit.Hash) bool { return has[id] })
	if err != nil {
		return nil, err
	}
	logs := map[sennit.Hash]wire.Log{}
	for _, l := range batch.Logs {
		logs[l.ID()] = l
	}
	f, size := &wire.AuthorityFrame{Tag: c.tag}, 0
	room := func(n int) {
		if size += n; size > n && (size > 2*frameBytes || len(f.Runs)+len(f.Evidence) == maxRunsSent) {
			frames = append(frames, f)
			f, size = &wire.AuthorityFrame{Tag: c.tag}, n
		}
	}
	for _, run := range batch.Runs {
		room(len(run.Append(nil)))
		if l, ok := logs[run.Log]; ok {
			f.Logs = append(f.Logs, l)
			delete(logs, run.Log)
		}
		f.Runs = append(f.Runs, run)
	}
	if a := s.n.Authority(c.space); a != nil {
		for _, e := range a.Evidence() {
			e := &wire.Evidence{Inception: e.Inception, Events: e.Events}
			room(len(e.Append(nil)))
			f.Evidence = append(f.Evidence, e)
		}
	}
	return append(frames, f), nil
}

// maxRunsSent bounds the runs and evidence of one message: half of what is
// taken, so that no other limit of theirs is met first.
const maxRunsSent = wire.MaxFrameRuns / 2

// authority takes authority commits and evidence, and says what came of it.
func (c *channel) authority(ctx context.Context, f *wire.AuthorityFrame) error {
	in := c.s.in
	known := map[sennit.Hash]bool{} // checking evidence costs several signatures; mostly it is here already
	if a := c.s.n.Authority(c.space); a != nil {
		for _, e := range a.Evidence() {
			known[(&wire.Evidence{Inception: e.Inception, Events: e.Events}).Key()] = true
		}
	}
	for _, e := range f.Evidence {
		if known[e.Key()] {
			continue
		}
		if err := in.Evidence(ctx, c.space, e); err != nil {
			return err
		}
	}
	for _, l := range f.Logs {
		if l.Space != c.space || l.Class != wire.Authority {
			return sennit.Errorf(sennit.BadInput, "a log of another space or class")
		}
		if err := in.Log(l); err != nil {
			return err
		}
	}
	for _, run := range f.Runs {
		if err := in.Run(ctx, run); err != nil {
			return err
		}
	}
	if _, err := in.Wait(ctx); err != nil && sennit.CodeOf(err) == sennit.Gone {
		return err
	}
	c.s.proved()
	return c.renew()
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

// need takes that the peer is behind what it was taken to have of a log.
func (c *channel) need(f *wire.Need) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.needs == nil {
		c.needs = map[sennit.Hash]uint64{}
	}
	if len(c.needs) < wire.MaxFrameLogs {
		c.needs[f.Log] = f.Size
	}
	c.synced, c.next = false, time.Now().Add(time.Second)
	c.s.wake()
}

func (c *channel) ack(f *wire.Ack) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.behind = max(c.behind-1, 0)
	c.acked = max(c.acked, min(f.N, c.at))
	c.settle()
	c.mended()
	c.s.wake()
}

// settle notes that the peer has all that was read for it, once nothing is
// under way: what was not sent came from it, or isn't for it; s.mu is held.
func (c *channel) settle() {
	if c.behind == 0 {
		c.acked = c.at
	}
}

// pump sends the peer one message of what arrived here, or of what a
// comparison found missing there. Writer only.
func (c *channel) pump(put func(wire.Frame) error) (bool, error) {
	s := c.s
	s.mu.Lock()
	if !c.pumping || c.behind >= unacked {
		s.mu.Unlock()
		return false, nil
	}
	if len(s.out) > 0 {
		s.mu.Unlock()
		return true, nil // it may be authority, which has to come first: without it these ops are refused
	}
	push, at, caught := c.push, c.at, c.caught && !c.poked
	c.poked = c.poked && len(c.push) > 0
	c.push = node.Picks{}
	var wants []wire.WantItem
	if len(push) == 0 {
		wants, c.wants = c.wants, nil
	}
	feed, needs, overdue := c.feed, c.needs, c.untold()
	c.needs = nil
	s.mu.Unlock()
	if err := c.correct(feed, needs); err != nil {
		return false, err
	}

	f := &wire.Ops{Tag: c.tag}
	if len(push) > 0 {
		batch, err := feed.Ops(push, frameBytes)
		if err != nil {
			return false, err
		}
		f.Batch = wire.Batch{Logs: batch.Logs, Runs: batch.Runs}
		s.mu.Lock()
		c.push.Add(push) // what is left
		c.behind++
		s.mu.Unlock()
		return true, c.put(put, f)
	}
	if len(wants) > 0 {
		n := min(len(wants), wire.MaxItems)
		s.mu.Lock()
		c.wants, c.asked = append(wants[n:], c.wants...), true
		s.mu.Unlock()
		return true, put(&wire.Want{Tag: c.tag, Items: wants[:n]})
	}
	events, lagged := c.sub.Take(nil, 1<<20)
	if caught && len(events) == 0 && !lagged && !overdue {
		return false, nil
	}
	batch, err := feed.After(at, frameBytes, c.skip)
	if err != nil {
		return false, err
	}
	f.Batch = wire.Batch{Logs: batch.Logs, Runs: batch.Runs}
	f.Up, f.Caught = batch.N, batch.N >= batch.Last
	s.mu.Lock()
	c.at = batch.N
	more := len(batch.Runs) > 0 || !c.caught || c.untold()
	c.caught = f.Caught
	if more {
		c.behind++ // at once with c.at: what is being sent is not acknowledged
	} else {
		c.settle()
	}
	s.mu.Unlock()
	if !more {
		return !f.Caught, nil
	}
	return true, c.put(put, f)
}

// correct notes what the peer has of logs, if they are logs of this space.
func (c *channel) correct(feed *node.Feed, needs map[sennit.Hash]uint64) error {
	if len(needs) == 0 {
		return nil
	}
	sizes, err := c.s.n.Logs(c.space)
	if err != nil {
		return err
	}
	for log, size := range needs {
		if have, ok := sizes[log]; ok {
			feed.Known[log] = min(size, have)
		}
	}
	return nil
}

// tellEvery is how often the peer is told how far this store got when there is
// nothing to send: otherwise it would be sent again, next time, what it sent.
const tellEvery = time.Second

// untold reports whether that is due; s.mu is held.
func (c *channel) untold() bool { return c.at > c.told && time.Since(c.toldAt) >= tellEvery }

func (c *channel) put(put func(wire.Frame) error, f *wire.Ops) error {
	c.s.mu.Lock()
	if f.Up > 0 {
		c.told, c.toldAt = f.Up, time.Now()
	}
	c.s.mu.Unlock()
	return put(f)
}

// skip reports whether a commit came from the peer.
func (c *channel) skip(id sennit.Hash) bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.seen[id]
}

// came notes that a commit came from the peer.
func (c *channel) came(id sennit.Hash) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if len(c.seen) >= maxSeen {
		clear(c.seen)
	}
	c.seen[id] = true
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
