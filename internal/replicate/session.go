package replicate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/wire"
)

// Bounds of a session.
const (
	frameBytes  = 256 << 10 // bytes of ops in one message, about
	maxOutbox   = 64        // messages that may wait to be sent; the reader waits beyond
	maxChannels = 4096      // spaces in one session
	unacked     = 32        // messages with ops that may be unacknowledged in a space
)

// session is one conversation with a peer. Two goroutines serve it: the reader
// handles messages, in order, and never sends; the writer sends what the
// reader left in the outbox, and what arrives in the spaces that are open.
type session struct {
	r      *Replicator
	n      *node.Node
	conn   Conn
	dialed bool // this side began it
	extra  bool // only to see whether the peer has what nobody else brings
	since  time.Time
	began  time.Time // the same, by a steady clock
	nonce  [16]byte
	in     *node.Intake // of the reader
	kick   chan struct{}
	broken chan error // has room for one: why the session can't go on

	mu        sync.Mutex // guards what follows
	drained   *sync.Cond // the outbox has room again
	out       []wire.Frame
	join      *joining         // set while an invitation is being used
	hello     *wire.Hello      // theirs
	greeted   time.Time        // when it came, with a monotonic part
	chosen    bool             // this node follows somebody through this host
	who       sennit.Principal // theirs, once proved
	interests map[[8]byte]bool // theirs
	channels  map[wire.Tag]*channel
	told      map[sennit.Space]*wire.Sources // by the peer, of what this node keeps or holds
	toldAt    map[sennit.Space]time.Time     // when it last did
	asked     bool
	heard     time.Time // of the last message
	probing   bool      // the peer is asked whether it is there
	err       error
	recheck   bool      // follows or authority changed
	budget    budget    // of the peer's live messages
	dropped   uint64    // of them, because they were over it
	added     int       // ops that came and were new here, and that no channel took note of
	lookAgain time.Time // when to look whether there is room for the peer; zero: now, or never
	unheard   bool      // an open of the peer's was not taken, for want of room

	guest bool // it is served, and this node doesn't follow it; guarded by r.mu
}

// serve runs a session until it ends.
func (r *Replicator) serve(ctx context.Context, conn Conn, dialed, extra bool, join *joining) error {
	s := &session{
		dialed: dialed, extra: extra,
		r: r, n: r.n, conn: conn, since: r.cfg.Now(), began: time.Now(), heard: time.Now(), in: r.n.Intake(), join: join,
		kick: make(chan struct{}, 1), broken: make(chan error, 1), interests: map[[8]byte]bool{}, channels: map[wire.Tag]*channel{},
		told: map[sennit.Space]*wire.Sources{}, toldAt: map[sennit.Space]time.Time{},
	}
	s.drained, s.budget = sync.NewCond(&s.mu), newBudget(s.began)
	s.in.OnDone = s.taken
	rand.Read(s.nonce[:])
	if !r.enter(s) {
		return errors.Join(sennit.Errorf(sennit.Conflict, "there is a session with this host already"), conn.Close())
	}
	defer r.leave(s)
	sub := r.n.Subscribe(sennit.Space{}, func() {
		s.mu.Lock()
		s.recheck = true
		s.mu.Unlock()
		s.wake()
	})
	defer sub.Close()
	g, ctx := errgroup.WithContext(ctx)
	read := make(chan struct{})
	g.Go(func() error {
		err := s.write(ctx, sub)
		// What the peer said before it hung up, such as why, is still to be heard.
		timer := time.NewTimer(lastWords)
		defer timer.Stop()
		select {
		case <-read:
		case <-timer.C:
		case <-ctx.Done():
		}
		return err
	})
	g.Go(func() error {
		defer close(read)
		return s.read(ctx)
	})
	g.Go(func() error { // whatever ends the session ends both
		var err error
		select {
		case <-ctx.Done():
		case err = <-s.broken:
		}
		s.mu.Lock()
		s.err = cmp.Or(s.err, err, ctx.Err())
		s.drained.Broadcast()
		s.mu.Unlock()
		return errors.Join(err, conn.Close())
	})
	err := g.Wait()
	if j := s.joined(); j != nil {
		j.finish(err)
	}
	s.close()
	return err
}

// enter registers a session. Where both sides dialed at once, both keep the
// session that the host with the lower key began; otherwise the newer one
// wins, because the older one's peer has given it up, or because there are two
// machines with one key, which then take turns.
func (r *Replicator) enter(s *session) bool {
	host := s.conn.Host()
	r.mu.Lock()
	old := r.sessions[host]
	lower := bytes.Compare(r.cfg.Self[:], host[:]) < 0
	if host == r.cfg.Self || old != nil && old.dialed != s.dialed && old.dialed == lower && s.began.Sub(old.began) < atOnce {
		r.mu.Unlock()
		if old != nil {
			old.probe()
		}
		return false
	}
	r.sessions[host] = s
	r.mu.Unlock()
	if old != nil {
		old.conn.Close()
	}
	r.touch()
	return true
}

// probe ends the session soon if nobody is there any more: a peer that was
// killed and dials again need not wait until this side notices by itself. One
// probe is under way at a time, however often it dials.
func (s *session) probe() {
	asked := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.probing {
		return
	}
	s.probing = true
	s.post(&wire.Ping{})
	time.AfterFunc(probeTimeout, func() {
		s.mu.Lock()
		alive := !s.heard.Before(asked)
		s.probing = false
		s.mu.Unlock()
		if !alive {
			s.conn.Close()
		}
	})
}

func (r *Replicator) leave(s *session) {
	s.mu.Lock()
	agreed := false
	for _, c := range s.channels {
		agreed = agreed || c.synced
	}
	s.mu.Unlock()
	last := s.look()
	r.mu.Lock()
	r.note(last)
	if a := r.dialing[s.conn.Host()]; a != nil {
		a.agreed = agreed
	}
	if r.sessions[s.conn.Host()] == s {
		delete(r.sessions, s.conn.Host())
	}
	r.mu.Unlock()
	r.touch()
}

// taken notes what became of something that the peer sent. If the engine did not
// take it, nothing that the peer sent is remembered as received until a comparison
// finds both sides equal.
func (s *session) taken(added int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.added += added; err == nil {
		return
	}
	for _, c := range s.channels {
		c.holes = true
	}
}

// close remembers how far the session got.
func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, c := range s.open() {
		c.close(ctx)
	}
}

func (s *session) open() []*channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*channel, 0, len(s.channels))
	for _, c := range s.channels {
		all = append(all, c)
	}
	return all
}

func (s *session) peer() Peer {
	s.mu.Lock()
	p := Peer{Host: s.conn.Host(), Principal: s.who, Addr: s.conn.Addr(), Since: s.since, Dropped: s.dropped}
	for _, c := range s.channels {
		p.Spaces = append(p.Spaces, PeerSpace{
			Space: c.space, Synced: c.synced && c.caught, Whole: c.both.Covers(c.in), Acked: c.acked, Gets: c.out,
		})
	}
	if s.hello != nil {
		p.Skew = s.skew()
	}
	s.mu.Unlock()
	slices.SortFunc(p.Spaces, func(a, b PeerSpace) int { return bytes.Compare(a.Space[:], b.Space[:]) })
	return p
}

// fail ends the session from a callback, which must not wait.
func (s *session) fail(err error) {
	select {
	case s.broken <- err:
	default: // it ends already
	}
}

func (s *session) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// send leaves a message for the writer. It waits while the outbox is full: a
// peer that asks and doesn't listen stops being heard.
func (s *session) send(f wire.Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.out) >= maxOutbox && s.err == nil {
		s.drained.Wait()
	}
	s.out = append(s.out, f)
	s.wake()
	return s.err
}

// post is send for callbacks, which must not wait; s.mu is held. What it posts
// is bounded by what is under way otherwise.
func (s *session) post(f wire.Frame) {
	s.out = append(s.out, f)
	s.wake()
}

// read handles messages until the session ends.
func (s *session) read(ctx context.Context) error {
	for number := uint64(0); ; number++ {
		timeout := deadAfter
		if number == 0 {
			timeout = helloTimeout
		}
		rctx, cancel := context.WithTimeout(ctx, timeout)
		msg, err := s.conn.Recv(rctx)
		cancel()
		if err != nil {
			return err
		}
		got, f, err := wire.DecodeFrame(msg)
		if err != nil {
			return err
		}
		if got != number {
			return sennit.Errorf(sennit.BadInput, "message %d came instead of message %d", got, number)
		}
		if _, ok := f.(*wire.Hello); ok != (number == 0) {
			return sennit.Errorf(sennit.BadInput, "a session begins with one hello")
		}
		s.mu.Lock()
		s.heard = time.Now()
		s.mu.Unlock()
		if err := s.handle(ctx, f); err != nil {
			return err
		}
	}
}

func (s *session) handle(ctx context.Context, f wire.Frame) error {
	switch f := f.(type) {
	case *wire.Hello:
		return s.greet(f)
	case *wire.Interest:
		s.mu.Lock()
		for _, i := range f.Interests {
			if len(s.interests) < wire.MaxInterests {
				s.interests[i] = true
			}
		}
		s.recheck = true
		s.mu.Unlock()
		s.wake()
		return nil
	case *wire.Ping:
		if f.Answer {
			return nil
		}
		return s.send(&wire.Ping{Answer: true})
	case *wire.Ask:
		e := s.n.Evidence()
		return s.send(&wire.EvidenceFrame{Evidence: wire.Evidence{Inception: e.Inception, Events: e.Events}})
	case *wire.EvidenceFrame:
		s.mu.Lock()
		wanted := s.asked && s.who.Space.IsZero() // checking costs many signatures
		s.mu.Unlock()
		if !wanted {
			return nil
		}
		return s.identify(&f.Evidence)
	case *wire.RedeemFrame:
		return s.redeem(ctx, f)
	case *wire.Welcome:
		return s.welcome(ctx, f)
	case *wire.Problem:
		return s.problem(f)
	case *wire.Addrs:
		return s.reachable(ctx, f)
	case *wire.Sources:
		return s.sources(f)
	case *wire.Open:
		return s.opened(ctx, f)
	}
	c := s.channel(wire.TagOf(f))
	if c == nil {
		return sennit.Errorf(sennit.BadInput, "a message about a space that isn't open")
	}
	switch f := f.(type) {
	case *wire.AuthorityFrame:
		return c.authority(ctx, f)
	case *wire.Ops:
		return c.ops(ctx, f)
	case *wire.Compare:
		return c.compare(ctx, f)
	case *wire.Want:
		return c.want(ctx, f)
	case *wire.Past:
		return c.tellOf(f)
	case *wire.Held:
		return c.learn(ctx, f)
	case *wire.Need:
		c.need(f)
	case *wire.Ack:
		c.ack(f)
	case *wire.Live:
		return c.hear(f)
	case *wire.ForkFrame:
		return c.fork(ctx, f)
	}
	return nil
}

func (s *session) channel(t wire.Tag) *channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.channels[t]
}

// match opens the spaces that the peer is interested in and may read, and
// renews those whose authority changed.
func (s *session) match(ctx context.Context) error {
	wanted, err := s.wanted()
	if err != nil {
		return err
	}
	keeps := keeping(wanted)
	s.proved()
	s.mu.Lock()
	if s.hello == nil {
		s.mu.Unlock()
		return nil
	}
	nonce, interests, unheard := s.hello.Nonce, s.interests, s.unheard
	var known []*channel
	for _, c := range s.channels {
		c.poked, c.interest = true, keeps[c.space]
		known = append(known, c)
	}
	var fresh []sennit.Space
	for _, id := range s.n.Spaces() {
		if s.channels[s.tag(id)] == nil && interests[salted(nonce, id)] && s.r.cfg.concerns(id) {
			fresh = append(fresh, id)
		}
	}
	s.mu.Unlock()
	for _, c := range known {
		if err := c.keepsAll(); err != nil {
			return err
		}
		if err := c.renew(ctx); err != nil {
			return err
		}
	}
	var refused []sennit.Space
	for _, id := range fresh {
		c := newChannel(s, id)
		if len(c.reach()) == 0 {
			continue // not for this peer's eyes: it isn't told that this node holds it
		}
		switch admitted := s.admitted(keeps); {
		case !admitted:
			refused = append(refused, id)
			continue
		case unheard:
			return sennit.Errorf(sennit.Gone, "there is room for the peer now: it has to begin anew")
		}
		if err := c.begin(ctx); err != nil {
			return err
		}
	}
	s.refer(refused)
	return nil
}
