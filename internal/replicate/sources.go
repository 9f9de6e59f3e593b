package replicate

import (
	"context"
	"slices"
	"time"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about what peers tell each other of who holds a space.

// Times of sessions with hosts that were learnt.
const (
	tellSourcesEvery = time.Minute      // what was told is told anew at the earliest
	openPatience     = time.Minute      // for a host to open what it is said to hold
	agreePatience    = 10 * time.Minute // for both to hold the same of it
)

// view is what a session shows of the spaces in it, at one moment.
type view struct {
	s      *session
	spaces []seen
}

type seen struct {
	space   sennit.Space
	gives   bool          // the peer opened it, and brings it up to date or had no time yet to
	whole   bool          // all of it that this node keeps and may read
	equal   bool          // both held the same at some time
	news    time.Time     // when something last came that was new here; zero: never
	agreed  time.Time     // when both last held the same; zero: never, or the peer may not read it
	own     []string      // where the peer says that it can be reached
	sources []wire.Source // of which it told, and which were not taken in yet
}

// look gives what there is to learn from a session.
func (s *session) look() view {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := view{s: s}
	for _, c := range s.channels {
		if c.theirs == nil || len(c.theirs.Interest) == 0 || len(c.in) == 0 {
			continue
		}
		x := seen{space: c.space, whole: c.both.Covers(c.in), news: c.news}
		if c.synced {
			c.agreed = time.Now()
		}
		x.equal = !c.agreed.IsZero()
		x.gives = time.Since(s.began) < agreePatience || time.Since(c.agreed) < agreePatience
		if told := s.told[c.space]; !c.agreed.IsZero() && len(c.mine.Scope) > 0 {
			x.agreed = s.r.cfg.Now().Add(-time.Since(c.agreed))
			if told != nil {
				x.own, x.sources, told.Others = told.Own, told.Others, nil
			}
		}
		v.spaces = append(v.spaces, x)
	}
	return v
}

// learn notes what sessions show, and saves it. It gives the sessions as they
// are now.
func (r *Replicator) learn(ctx context.Context, follows []node.Follow) []view {
	r.mu.Lock()
	var views []view
	sessions := make([]*session, 0, len(r.sessions))
	for _, s := range r.sessions {
		sessions = append(sessions, s)
	}
	r.mu.Unlock()
	for _, s := range sessions {
		views = append(views, s.look())
	}
	r.mu.Lock()
	r.book.keep(r.n.Self().Space, follows, r.cfg.Now())
	for _, v := range views {
		r.note(v)
	}
	records, err := r.book.unsaved(r.cfg.Now())
	r.mu.Unlock()
	if err == nil && len(records) > 0 {
		err = r.n.SetLocal(ctx, records)
	}
	if err != nil && ctx.Err() == nil {
		r.cfg.Log.Debug("remember who holds what", "err", err)
	}
	r.spread()
	return views
}

// note takes in what a session showed; r.mu is held.
func (r *Replicator) note(v view) {
	host, fits := v.s.conn.Host(), v.s.fits()
	for _, x := range v.spaces {
		if x.agreed.IsZero() {
			continue
		}
		r.book.good(x.space, host, slices.DeleteFunc(slices.Clone(x.own), func(a string) bool { return !fits(a) }), x.agreed)
		r.book.hear(x.space, host, x.sources, fits, r.cfg.Now())
	}
}

// spread has all sessions look whether there is news of who holds what.
func (r *Replicator) spread() {
	r.mu.Lock()
	fresh := r.book.news != r.spreadTo
	r.spreadTo = r.book.news
	var sessions []*session
	for _, s := range r.sessions {
		sessions = append(sessions, s)
	}
	r.mu.Unlock()
	if !fresh {
		return
	}
	for _, s := range sessions {
		s.mu.Lock()
		for _, c := range s.channels {
			c.untoldSources = true
		}
		s.mu.Unlock()
		s.wake()
	}
}

// fits tells which addresses may be tried that the peer told. Somebody out in the
// internet has no business with addresses of a local network or this machine.
func (s *session) fits() func(addr string) bool {
	where, err := multiaddr.NewMultiaddr(s.conn.Addr())
	far := err == nil && manet.IsPublicAddr(where)
	return func(addr string) bool {
		a, err := multiaddr.NewMultiaddr(addr)
		return err == nil && (!far || !local(a))
	}
}

// local reports whether an address is an IP address that only means something
// near its host.
func local(a multiaddr.Multiaddr) bool {
	ip, err := manet.ToIP(a)
	return err == nil && (ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified())
}

// sources takes what the peer tells of who holds a space. It counts when both
// hold the same of the space; from a host to which this node turned for it, at
// once: that may be all that it says.
func (s *session) sources(f *wire.Sources) error {
	id, ok, err := s.spaceOf(f.Tag)
	if err != nil || !ok {
		return err
	}
	s.mu.Lock()
	flood := time.Since(s.toldAt[id]) < tellSourcesEvery/2
	if !flood {
		s.toldAt[id] = time.Now()
	}
	s.mu.Unlock()
	if flood {
		return nil // nobody honest has so much news
	}
	r, host := s.r, s.conn.Host()
	r.mu.Lock()
	if s.dialed && r.book.knows(id, host) {
		r.book.hear(id, host, f.Others, s.fits(), r.cfg.Now())
		f.Others = nil
	}
	r.mu.Unlock()
	s.mu.Lock()
	s.told[id] = f
	s.mu.Unlock()
	r.touch()
	return nil
}

// spaceOf tells which space of those that this node keeps or holds has a tag.
func (s *session) spaceOf(t wire.Tag) (sennit.Space, bool, error) {
	if c := s.channel(t); c != nil {
		return c.space, true, nil
	}
	wanted, err := s.wanted()
	if err != nil {
		return sennit.Space{}, false, err
	}
	known := s.n.Spaces()
	for _, f := range wanted {
		known = append(known, f.Space)
	}
	for _, id := range known {
		if s.tag(id) == t && s.r.cfg.concerns(id) {
			return id, true, nil
		}
	}
	return sennit.Space{}, false, nil // unfollowed meanwhile
}

// tellSources tells the peer who else holds a space, if there is news of that.
// Writer only.
func (c *channel) tellSources(put func(wire.Frame) error) (bool, error) {
	s := c.s
	s.mu.Lock()
	due := c.tellsSources() && time.Since(c.toldSources) >= tellSourcesEvery
	if due {
		c.untoldSources, c.toldSources = false, time.Now()
	}
	last := c.sources
	s.mu.Unlock()
	if !due {
		return false, nil
	}
	f := s.r.telling(c.tag, c.space, s.conn.Host())
	same := func(a, b wire.Source) bool { return a.Host == b.Host && slices.Equal(a.Addrs, b.Addrs) }
	if last == nil && len(f.Own)+len(f.Others) == 0 ||
		last != nil && slices.Equal(f.Own, last.Own) && slices.EqualFunc(f.Others, last.Others, same) {
		return false, nil
	}
	c.sources = f
	return true, put(f)
}

// tellsSources reports whether the peer is to be told who holds the space: it
// may read it, takes some of it, and there is news; s.mu is held.
func (c *channel) tellsSources() bool {
	return c.untoldSources && c.synced && len(c.mine.Scope) > 0 && len(c.theirs.Interest) > 0
}

// telling is what a peer is told of a space.
func (r *Replicator) telling(t wire.Tag, id sennit.Space, to Host) *wire.Sources {
	f := &wire.Sources{Tag: t}
	if !r.cfg.Hidden {
		own := r.cfg.Addrs()
		f.Own = own[:min(len(own), wire.MaxSourceAddrs)]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f.Others = r.book.tell(id, to, r.cfg.Now())
	return f
}

// Sources lists the hosts that hold what this node follows, and its own space, as
// far as it knows, in the order in which it turns to them.
func (r *Replicator) Sources() (map[sennit.Space][]Source, error) {
	follows, err := r.n.Follows()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.book.keep(r.n.Self().Space, follows, r.cfg.Now())
	all := map[sennit.Space][]Source{}
	for id := range r.book.pages {
		all[id] = r.book.list(id)
	}
	return all, nil
}
