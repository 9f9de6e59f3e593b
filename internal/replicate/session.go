package replicate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/keys"
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
	since  time.Time
	nonce  [16]byte
	in     *node.Intake // of the reader
	kick   chan struct{}
	broken chan error // has room for one: why the session can't go on

	mu        sync.Mutex // guards what follows
	drained   *sync.Cond // the outbox has room again
	out       []wire.Frame
	join      *joining         // set while an invitation is being used
	hello     *wire.Hello      // theirs
	who       sennit.Principal // theirs, once proved
	interests map[[8]byte]bool // theirs
	channels  map[wire.Tag]*channel
	asked     bool
	heard     time.Time // of the last message
	err       error
	recheck   bool // follows or authority changed
}

// serve runs a session until it ends.
func (r *Replicator) serve(ctx context.Context, conn Conn, dialed bool, join *joining) error {
	s := &session{dialed: dialed,
		r: r, n: r.n, conn: conn, since: r.cfg.Now(), heard: time.Now(), in: r.n.Intake(), join: join,
		kick: make(chan struct{}, 1), broken: make(chan error, 1), interests: map[[8]byte]bool{}, channels: map[wire.Tag]*channel{},
	}
	s.drained = sync.NewCond(&s.mu)
	s.in.OnDone = s.refused
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
// wins, because the older one's peer has given it up.
func (r *Replicator) enter(s *session) bool {
	host := s.conn.Host()
	r.mu.Lock()
	old := r.sessions[host]
	lower := bytes.Compare(r.cfg.Self[:], host[:]) < 0
	if host == r.cfg.Self || old != nil && old.dialed != s.dialed && old.dialed == lower {
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
// killed and dials again need not wait until this side notices by itself.
func (s *session) probe() {
	asked := time.Now()
	s.mu.Lock()
	s.post(&wire.Ping{})
	s.mu.Unlock()
	time.AfterFunc(probeTimeout, func() {
		s.mu.Lock()
		alive := !s.heard.Before(asked)
		s.mu.Unlock()
		if !alive {
			s.conn.Close()
		}
	})
}

func (r *Replicator) leave(s *session) {
	r.mu.Lock()
	if r.sessions[s.conn.Host()] == s {
		delete(r.sessions, s.conn.Host())
		delete(r.clocks, s.conn.Host())
	}
	r.mu.Unlock()
	r.touch()
}

// refused notes that the engine did not take something: nothing that the peer
// sent is remembered as received until a comparison finds both sides equal.
func (s *session) refused(_ int, err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
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
	p := Peer{Host: s.conn.Host(), Principal: s.who, Addr: s.conn.Addr(), Since: s.since}
	for _, c := range s.channels {
		p.Spaces = append(p.Spaces, PeerSpace{c.space, c.synced && c.caught, c.acked})
	}
	s.mu.Unlock()
	s.r.mu.Lock()
	if c, ok := s.r.clocks[p.Host]; ok {
		p.Skew = s.r.skew(c)
	}
	s.r.mu.Unlock()
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
	case *wire.Open:
		return s.opened(ctx, f)
	}
	c := s.channel(tagOf(f))
	if c == nil {
		return sennit.Errorf(sennit.BadInput, "a message about a space that isn't open")
	}
	switch f := f.(type) {
	case *wire.AuthorityFrame:
		return c.authority(ctx, f)
	case *wire.Ops:
		return c.ops(ctx, f)
	case *wire.Compare:
		return c.compare(f)
	case *wire.Want:
		return c.want(ctx, f)
	case *wire.Need:
		c.need(f)
	case *wire.Ack:
		c.ack(f)
	}
	return nil
}

func tagOf(f wire.Frame) wire.Tag {
	switch f := f.(type) {
	case *wire.AuthorityFrame:
		return f.Tag
	case *wire.Ops:
		return f.Tag
	case *wire.Compare:
		return f.Tag
	case *wire.Want:
		return f.Tag
	case *wire.Need:
		return f.Tag
	case *wire.Ack:
		return f.Tag
	}
	return wire.Tag{}
}

func (s *session) channel(t wire.Tag) *channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.channels[t]
}

// salted is what an interest is sent as.
func salted(nonce [16]byte, space sennit.Space) [8]byte {
	h := sha256.Sum256(append(nonce[:], space[:]...))
	return [8]byte(h[:8])
}

// tag is a space's tag in this session, once both nonces are known.
func (s *session) tag(space sennit.Space) wire.Tag {
	a, b := s.nonce, s.hello.Nonce
	if bytes.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	h := sha256.Sum256(slices.Concat([]byte("tag"), a[:], b[:], space[:]))
	return wire.Tag(h[:8])
}

// wanted is the spaces that this node wants to hear of.
func (s *session) wanted() ([]sennit.Space, error) {
	follows, err := s.n.Follows()
	spaces := []sennit.Space{s.n.Self().Space}
	for _, f := range follows {
		spaces = append(spaces, f.Space)
	}
	return spaces, err
}

// greeting is this side's hello.
func (s *session) greeting() (*wire.Hello, error) {
	now := s.r.cfg.Now()
	h := &wire.Hello{Version: wire.Protocol, Nonce: s.nonce, Clock: uint64(now.UnixMilli())}
	h.Cert = wire.HostCert{Author: s.n.Self(), Host: s.r.cfg.Self, Until: uint64(now.Add(certLife).UnixMilli())}
	h.Sig = s.r.cfg.Identity.SignHost(&h.Cert)
	spaces, err := s.wanted()
	if err != nil {
		return nil, err
	}
	if len(spaces) > wire.MaxInterests {
		spaces = spaces[:wire.MaxInterests]
	}
	for _, id := range spaces {
		h.Interests = append(h.Interests, salted(s.nonce, id))
	}
	for len(h.Interests)&3 != 0 { // how many there are is nobody's business
		var pad [8]byte
		rand.Read(pad[:])
		h.Interests = append(h.Interests, pad)
	}
	slices.SortFunc(h.Interests, func(a, b [8]byte) int { return bytes.Compare(a[:], b[:]) })
	h.Interests = slices.Compact(h.Interests)
	return h, nil
}

// greet takes the peer's hello.
func (s *session) greet(h *wire.Hello) error {
	h.Cert.Host = s.conn.Host()
	key, err := keys.Admit(h.Cert.Author.Device)
	if err != nil {
		return err
	}
	if !key.Verify(keys.DomainHost, h.Cert.Bytes(), &h.Sig) {
		return sennit.Errorf(sennit.BadInput, "the peer's certificate is for another host, or its signature is wrong")
	}
	s.r.mu.Lock()
	s.r.clocks[s.conn.Host()] = reading{int64(h.Clock), time.Now()}
	s.r.mu.Unlock()
	s.mu.Lock()
	s.hello = h
	for _, i := range h.Interests {
		s.interests[i] = true
	}
	s.recheck = true
	join := s.join
	s.mu.Unlock()
	s.proved()
	s.wake()
	if join != nil {
		return s.knock(join)
	}
	return nil
}

// proved looks whether what this node holds proves that the peer's device
// belongs to its space. If not it asks, once.
func (s *session) proved() {
	s.mu.Lock()
	h, known := s.hello, !s.who.Space.IsZero()
	s.mu.Unlock()
	if h == nil || known || !s.lasting(h) {
		return
	}
	claim := h.Cert.Author
	for _, id := range append([]sennit.Space{claim.Space}, s.n.Spaces()...) {
		if a := s.n.Authority(id); a != nil && a.Proven(claim) {
			s.mu.Lock()
			s.who = claim
			s.mu.Unlock()
			return
		}
	}
	s.mu.Lock()
	if !s.asked {
		s.asked = true
		s.post(&wire.Ask{})
	}
	s.mu.Unlock()
}

// lasting reports whether the peer's certificate is good now. One that isn't
// makes the peer anybody, and doesn't end the session: then the clocks differ,
// by more than a day, and each side learns that from the other's hello.
func (s *session) lasting(h *wire.Hello) bool {
	left := time.UnixMilli(int64(h.Cert.Until)).Sub(s.r.cfg.Now())
	return left >= 0 && left <= 2*certLife
}

// identify takes the evidence that was asked for.
func (s *session) identify(e *wire.Evidence) error {
	state, err := keys.Evaluate(e.Inception, e.Events)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	claim := s.hello.Cert.Author
	if state.Space() != claim.Space || !state.Device(claim.Device) {
		return sennit.Errorf(sennit.BadInput, "the peer's evidence is not for its own device")
	}
	if !s.lasting(s.hello) {
		return nil
	}
	s.who, s.recheck = claim, true
	s.wake()
	return nil
}

// reachable notes where the peer says that it can be reached, in the follows of
// its space.
func (s *session) reachable(ctx context.Context, f *wire.Addrs) error {
	s.mu.Lock()
	who := s.who
	s.mu.Unlock()
	if who.Space.IsZero() {
		return nil
	}
	host := hostText(s.conn.Host())
	return s.n.EditFollow(ctx, who.Space, func(fo *node.Follow) bool {
		if fo.Mode == "" || fo.Host == host && slices.Equal(fo.Addrs, f.Addrs) {
			return false
		}
		fo.Host, fo.Addrs = host, f.Addrs
		return true
	})
}

// match opens the spaces that the peer is interested in and may read, and
// renews those whose authority changed.
func (s *session) match() error {
	wanted, err := s.wanted()
	if err != nil {
		return err
	}
	s.proved()
	s.mu.Lock()
	if s.hello == nil {
		s.mu.Unlock()
		return nil
	}
	nonce, interests := s.hello.Nonce, s.interests
	var known []*channel
	for _, c := range s.channels {
		c.poked, c.deaf = true, !slices.Contains(wanted, c.space)
		known = append(known, c)
	}
	var fresh []sennit.Space
	for _, id := range s.n.Spaces() {
		if s.channels[s.tag(id)] == nil && interests[salted(nonce, id)] {
			fresh = append(fresh, id)
		}
	}
	s.mu.Unlock()
	for _, c := range known {
		if err := c.renew(); err != nil {
			return err
		}
	}
	for _, id := range fresh {
		c := newChannel(s, id)
		if len(c.reach()) == 0 {
			continue // not for this peer's eyes: it isn't told that this node holds it
		}
		if err := c.begin(); err != nil {
			return err
		}
	}
	return nil
}
