// Package replicate moves commits between nodes: one protocol, whether a node
// follows a friend, catches up after a year, or stays in touch.
//
// Owns: sessions with peers, what is asked of whom and when, invitations.
// Promises: what comes in is an ordinary write and what goes out an ordinary
// read: neither has a way around validity or rights. After any loss,
// duplication, reordering or restart, honest nodes that can reach each other
// end with equal digests. A peer's bytes cost bounded memory and never hold up
// another peer.
// Must not know: transports. It is given message streams to peers whose keys
// the transport proved.
//
// docs/formats/replication.md describes the messages. In short: both sides say
// hello; whoever holds a space that the other is interested in, and may read,
// opens it; authority is exchanged first; what arrived since last time follows;
// then digests are compared, and what differs is found by going down the tree
// of digests; then the session stays, and each side sends what arrives.
package replicate

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/prefix"
)

// Times of sessions.
const (
	helloTimeout     = 10 * time.Second // for the first message
	pingEvery        = 15 * time.Second // without a message
	deadAfter        = 45 * time.Second // without a message
	probeTimeout     = 2 * time.Second  // for any message of a peer that dials while it has a session
	atOnce           = 5 * time.Second  // two sessions that begin within so much of each other
	lastWords        = time.Second      // to hear a peer out that no longer listens
	certLife         = 24 * time.Hour   // of host certificates
	minBackoff       = 500 * time.Millisecond
	maxBackoff       = time.Minute
	maxLearntBackoff = time.Hour        // to hosts that nobody chose
	minBusyPause     = 15 * time.Second // until a host is tried again that was too busy
	maxBusyPause     = 5 * time.Minute
	maxAgreed        = 3               // failures that count at most after a session in which both sides came to agree: two seconds
	compareEvery     = 5 * time.Minute // while all seems equal
)

// Host is a peer's transport key.
type Host [32]byte

// Conn is a stream of messages to a peer whose host key the transport proved.
// Send and Recv may be called at the same time, each by one goroutine. A
// message that was sent is not touched afterwards by either side.
type Conn interface {
	Send(ctx context.Context, msg []byte) error
	Recv(ctx context.Context) ([]byte, error)
	Host() Host
	Addr() string // where the peer is, for people
	Close() error
}

// Dialer connects to a peer. Addresses may be empty: the transport may know
// some of its own, from the local network.
type Dialer func(ctx context.Context, host Host, addrs []string) (Conn, error)

// Config is what a replicator needs.
type Config struct {
	Node     *node.Node
	Identity *keys.Identity
	Self     Host            // this node's transport key
	Dial     Dialer          // nil: only inbound sessions
	Addrs    func() []string // where this node can be reached; nil: nowhere
	Hidden   bool            // peers are not to tell others where this node is
	Guests   int             // sessions at most in which it serves those whom it doesn't follow; 0: DefaultGuests
	// Only, unless it is zero, is the one space that is asked for and served, and
	// all hosts of its follow are asked at once. It is for a node that looks
	// something up and ends.
	Only sennit.Space
	Log  *slog.Logger
	Now  func() time.Time // default time.Now
}

// concerns reports whether a space is asked for and served.
func (c *Config) concerns(id sennit.Space) bool { return c.Only.IsZero() || id == c.Only }

// Replicator keeps a node in touch with others.
type Replicator struct {
	cfg Config
	n   *node.Node

	mu       sync.Mutex // guards what follows
	sessions map[Host]*session
	dialing  map[Host]*attempt
	book     *book
	spreadTo uint64        // the book's news that sessions heard of
	changed  chan struct{} // closed and replaced when follows, sessions or what they serve change

	invites sync.Mutex // held while one is redeemed
}

// New makes a replicator.
func New(c Config) (*Replicator, error) {
	if c.Node == nil || c.Identity == nil || c.Log == nil {
		return nil, errors.New("replicate: Node, Identity and Log are required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Addrs == nil {
		c.Addrs = func() []string { return nil }
	}
	if c.Guests == 0 {
		c.Guests = DefaultGuests
	}
	b := newBook(c.Self)
	return &Replicator{
		cfg: c, n: c.Node, sessions: map[Host]*session{}, dialing: map[Host]*attempt{}, book: b,
		changed: make(chan struct{}),
	}, b.load(c.Node)
}

// Run keeps sessions to the hosts of all follows, reconnecting with growing
// pauses, until the context ends.
func (r *Replicator) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	sub := r.n.Subscribe(sennit.Space{}, r.touch)
	defer sub.Close()
	for ctx.Err() == nil {
		r.mu.Lock()
		changed := r.changed // before anything is read: what changes from now on is heard
		r.mu.Unlock()
		drain(sub)
		begun := time.Now()
		wait := r.dialDue(ctx, &wg)
		rest := min(20*time.Since(begun), time.Second) // where much is followed that takes a while, and much changes at once
		select {
		case <-time.After(rest):
		case <-ctx.Done():
		}
		timer := time.NewTimer(max(wait-rest, 0))
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// touch says that follows or sessions changed.
func (r *Replicator) touch() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
}

// Wake forgets the pauses before reconnecting: something changed in the
// network, such as a host that was found nearby.
func (r *Replicator) Wake() {
	r.mu.Lock()
	for _, a := range r.dialing {
		a.next, a.failures = time.Time{}, 0
	}
	r.mu.Unlock()
	r.touch()
}

// Serve runs a session that a peer began, until it ends.
func (r *Replicator) Serve(ctx context.Context, conn Conn) error {
	return r.serve(ctx, conn, false, false, nil)
}

// Peer is a session as it is listed.
type Peer struct {
	Host      Host
	Principal sennit.Principal // zero if it hasn't proved who it is
	Addr      string
	Since     time.Time
	Skew      time.Duration // how far its clock is ahead of ours
	Dropped   uint64        // live messages that it sent faster than they are taken
	Spaces    []PeerSpace
}

// Principal tells who a host proved to be in its session, false if there is no
// session in which it did.
func (r *Replicator) Principal(host Host) (sennit.Principal, bool) {
	r.mu.Lock()
	s := r.sessions[host]
	r.mu.Unlock()
	if s == nil {
		return sennit.Principal{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.who, !s.who.Space.IsZero()
}

// Holding is what a host says that it serves to this node of a space.
type Holding struct {
	Session [16]byte // in which it says so: another one may know more
	Scope   []sennit.Path
}

// Holders tells which hosts have a session now in which they opened a space,
// and what each of them serves of it.
func (r *Replicator) Holders(space sennit.Space) map[Host]Holding {
	r.mu.Lock()
	sessions := maps.Clone(r.sessions)
	r.mu.Unlock()
	holders := map[Host]Holding{}
	for host, s := range sessions {
		s.mu.Lock()
		for _, c := range s.channels {
			if c.space == space && c.theirs != nil {
				holders[host] = Holding{s.nonce, c.theirs.Scope}
			}
		}
		s.mu.Unlock()
	}
	return holders
}

// Changed gives a channel that is closed when what [Replicator.Holders] tells
// may have changed.
func (r *Replicator) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// PeerSpace is a space that is replicated with a peer.
type PeerSpace struct {
	Space  sennit.Space
	Synced bool       // digests of what both keep were equal when last compared, and nothing is under way
	Whole  bool       // what both keep is all that this node may read and follows of it
	Gets   prefix.Set // what goes to the peer: what it may read and follows
	Acked  uint64     // of that, everything that arrived here up to this number is durable there
}

// Peers lists the sessions.
func (r *Replicator) Peers() []Peer {
	r.mu.Lock()
	var all []*session
	for _, s := range r.sessions {
		all = append(all, s)
	}
	r.mu.Unlock()
	peers := make([]Peer, 0, len(all))
	for _, s := range all {
		peers = append(peers, s.peer())
	}
	return peers
}

// Saved tells how many peers are known to hold everything of a space that this
// node holds. Who may read or follows a part only isn't counted.
func (r *Replicator) Saved(space sennit.Space) (int, error) {
	last, err := r.n.LastArrival(space)
	if err != nil {
		return 0, err
	}
	count := 0
	for _, p := range r.Peers() {
		for _, sp := range p.Spaces {
			if sp.Space == space && sp.Acked >= last && sp.Gets.Has("") {
				count++
			}
		}
	}
	return count, nil
}

// Synced waits until this node holds all that it follows of a space and may read,
// as some peer has it that keeps all that as well. It reports whether that came
// before the context ended.
func (r *Replicator) Synced(ctx context.Context, space sennit.Space) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, p := range r.Peers() {
			for _, sp := range p.Spaces {
				if sp.Space == space && sp.Synced && sp.Whole {
					return true
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

// Failure tells why a host can't be reached, nil if it can or wasn't tried.
func (r *Replicator) Failure(host Host) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.dialing[host]; a != nil && r.sessions[host] == nil {
		return a.err
	}
	return nil
}

// Ahead tells how far this clock is ahead of most peers' clocks: more than half
// of them are at least so far behind it. Only hosts through which this node
// follows somebody count, so that no stranger says what time it is. It is zero
// without such peers.
func (r *Replicator) Ahead() time.Duration {
	r.mu.Lock()
	sessions := slices.Collect(maps.Values(r.sessions))
	r.mu.Unlock()
	var all []time.Duration
	for _, s := range sessions {
		s.mu.Lock()
		if s.hello != nil && s.chosen {
			all = append(all, -s.skew())
		}
		s.mu.Unlock()
	}
	return median(all)
}

// skew is how far the peer's clock is ahead of this node's; s.mu is held, and
// the peer has said hello. What its clock showed goes on by a steady clock, so
// that it is noticed when this node's own clock is set.
func (s *session) skew() time.Duration {
	theirs := time.UnixMilli(int64(s.hello.Clock)).Add(time.Since(s.greeted))
	return theirs.Sub(s.r.cfg.Now())
}

func hostText(h Host) string { return sennit.Device(h).String() }

func parseHost(text string) (Host, bool) {
	d, err := sennit.ParseDevice(text)
	return Host(d), err == nil
}

// HostText is a host as follows record it.
func HostText(h Host) string { return hostText(h) }

// shortcut is what is remembered between sessions: this node has everything of
// a part of a space that arrived at a peer's store up to N.
type shortcut struct {
	Epoch    uint64     `json:"epoch"`
	N        uint64     `json:"n"`
	Prefixes prefix.Set `json:"prefixes"`
}

func shortcutKey(host Host, space sennit.Space) string {
	return "sync/" + hostText(host) + "/" + space.String()
}

func (r *Replicator) shortcut(host Host, space sennit.Space) (sennit.Cursor, prefix.Set) {
	b, err := r.n.Local(shortcutKey(host, space))
	var s shortcut
	if err != nil || b == nil || json.Unmarshal(b, &s) != nil {
		return sennit.Cursor{}, nil
	}
	return sennit.Cursor{Epoch: s.Epoch, N: s.N}, s.Prefixes
}

func (r *Replicator) saveShortcut(ctx context.Context, host Host, space sennit.Space, c sennit.Cursor, of prefix.Set) error {
	b, err := json.Marshal(shortcut{c.Epoch, c.N, of})
	if err != nil {
		return err
	}
	return r.n.SetLocal(ctx, map[string][]byte{shortcutKey(host, space): b})
}
