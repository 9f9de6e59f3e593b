package peer

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"golang.org/x/net/ipv4"

	"github.com/sennit/sennit"
)

// maxNeighbours is how many hosts of the local network are remembered.
const maxNeighbours = 64

const (
	// lanAsk is how often the network is asked who is there, by whoever comes
	// first: everybody hears the answers, so a question that another host has
	// just put needs no repeating, and traffic grows with the number of hosts,
	// not with its square.
	lanAsk    = time.Minute
	lanSettle = 100 * time.Millisecond // changes within it are told at once
	lanQuiet  = time.Second            // between two answers of one host (RFC 6762 section 6)
	lanRetry  = time.Minute            // after the network was not to be had
	maxIfaces = 16
)

// lanGroup is where multicast DNS is spoken. Only IPv4 is: a link that has
// none at all is rare, and addresses of both kinds are announced.
func lanGroup() *net.UDPAddr { return &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353} }

// lan finds hosts on the local network and lets them find this one. It is a
// small part of RFC 6762 (multicast DNS), in one goroutine and one socket.
type lan struct {
	self    ID
	addrs   func() []string
	changed func() // may be nil
	log     *slog.Logger

	mu   sync.Mutex
	seen map[ID]neighbour // at most maxNeighbours; newcomers are ignored when it is full
}

type neighbour struct {
	addrs []string // without the id; at most maxLANAddrs
	until time.Time
}

// all gives a copy of what is known.
func (l *lan) all() map[ID][]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[ID][]string, len(l.seen))
	for id, n := range l.seen {
		out[id] = slices.Clone(n.addrs)
	}
	return out
}

// of gives the addresses of one host.
func (l *lan) of(id ID) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.seen[id].addrs)
}

// note remembers what was heard, and reports whether that is news.
func (l *lan) note(now time.Time, seen []sighting) (news bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = map[ID]neighbour{}
	}
	for _, s := range seen {
		old, known := l.seen[s.id]
		switch {
		case s.id == l.self:
		case s.ttl == 0:
			delete(l.seen, s.id)
			news = news || known
		case known || len(l.seen) < maxNeighbours:
			l.seen[s.id] = neighbour{addrs: s.addrs, until: now.Add(s.ttl)}
			news = news || !known || !slices.Equal(old.addrs, s.addrs)
		}
	}
	return news
}

// forget drops hosts that were not heard of for too long.
func (l *lan) forget(now time.Time) (news bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, n := range l.seen {
		if now.After(n.until) {
			delete(l.seen, id)
			news = true
		}
	}
	return news
}

// run finds hosts until ctx ends. A machine without a network is not an error:
// it may get one.
func (l *lan) run(ctx context.Context) {
	for {
		err := l.session(ctx)
		if ctx.Err() != nil {
			return
		}
		l.log.Warn("can't look for nodes on the local network; trying again later", "after", lanRetry, "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(lanRetry):
		}
	}
}

// radio is the socket of one session.
type radio struct {
	conn   *ipv4.PacketConn
	joined map[int]net.Interface // by index
}

// tune opens the socket on all interfaces that can multicast.
func tune() (*radio, error) {
	ifaces := multicasters()
	if len(ifaces) == 0 {
		return nil, sennit.Errorf(sennit.Unreachable, "no network interface can multicast")
	}
	// This shares the port with other programs that speak multicast DNS.
	c, err := net.ListenMulticastUDP("udp4", &ifaces[0], lanGroup())
	if err != nil {
		return nil, sennit.Errorf(sennit.Unreachable, "listening for multicast DNS: %w", err)
	}
	r := &radio{conn: ipv4.NewPacketConn(c), joined: map[int]net.Interface{ifaces[0].Index: ifaces[0]}}
	// Other nodes on this machine want to hear us, too. Windows decides that
	// on the receiver's side and may refuse.
	r.conn.SetMulticastLoopback(true)
	r.conn.SetMulticastTTL(255) // RFC 6762 section 11
	r.join(ifaces)
	return r, nil
}

func multicasters() []net.Interface {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	out := slices.DeleteFunc(all, func(i net.Interface) bool {
		const want = net.FlagUp | net.FlagMulticast
		return i.Flags&want != want || i.Flags&(net.FlagLoopback|net.FlagPointToPoint) != 0
	})
	return out[:min(len(out), maxIfaces)]
}

// join listens on interfaces that came up since.
func (r *radio) join(ifaces []net.Interface) {
	now := map[int]net.Interface{}
	for _, i := range ifaces {
		if _, ok := r.joined[i.Index]; ok || r.conn.JoinGroup(&i, lanGroup()) == nil {
			now[i.Index] = i
		}
	}
	r.joined = now
}

// send sends a packet on every interface. It fails if none takes it.
func (r *radio) send(packet []byte) error {
	err := sennit.Errorf(sennit.Unreachable, "no network interface is left")
	sent := false
	for _, i := range r.joined {
		if e := r.conn.SetMulticastInterface(&i); e != nil {
			err = e
		} else if _, e := r.conn.WriteTo(packet, nil, lanGroup()); e != nil {
			err = e
		} else {
			sent = true
		}
	}
	if sent {
		return nil
	}
	return err
}

// session listens, asks and answers until ctx ends or the network fails.
func (l *lan) session(ctx context.Context) error {
	r, err := tune()
	if err != nil {
		return err
	}
	defer r.conn.Close()
	defer context.AfterFunc(ctx, func() { r.conn.SetReadDeadline(time.Unix(1, 0)) })()
	ask, err := question()
	if err != nil {
		return err
	}
	self := rand.Text() // says nothing, and is new each time

	now := time.Now()
	var due struct{ ask, answer, answerAgain, tell, forget time.Time } // zero: not at all
	due.ask = now.Add(jitter())
	due.answer = due.ask
	due.answerAgain = now.Add(lanQuiet + 2*jitter()) // the first may get lost
	due.forget = now.Add(lanAsk)
	var answered time.Time
	said := l.local()
	packet := make([]byte, maxPacket)
	for {
		next := due.ask
		for _, t := range []time.Time{due.answer, due.answerAgain, due.tell, due.forget} {
			if !t.IsZero() && t.Before(next) {
				next = t
			}
		}
		r.conn.SetReadDeadline(next)
		if ctx.Err() != nil {
			if bye, err := answer(self, said, 0); err == nil && len(said) > 0 {
				r.send(bye) // who doesn't hear it, forgets us later
			}
			return nil
		}
		n, _, src, err := r.conn.ReadFrom(packet)
		now = time.Now()
		switch {
		case err == nil:
			asked, seen := hear(packet[:n], addrOf(src))
			if asked {
				due.ask = now.Add(lanAsk + 10*jitter())
				if due.answer.IsZero() {
					due.answer = later(now, answered.Add(lanQuiet)).Add(jitter())
				}
			}
			if l.note(now, seen) && due.tell.IsZero() {
				due.tell = now.Add(lanSettle)
			}
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return sennit.Errorf(sennit.Unreachable, "listening for multicast DNS: %w", err)
		}
		if reached(&due.answerAgain, now) && due.answer.IsZero() {
			due.answer = now
		}
		if reached(&due.ask, now) {
			due.ask = now.Add(lanAsk + 10*jitter())
			r.join(multicasters())
			if err := r.send(ask); err != nil {
				return err
			}
			// Who heard the question won't ask for a while, and wants to know.
			if due.answer.IsZero() {
				due.answer = later(now, answered.Add(lanQuiet)).Add(jitter())
			}
			if addrs := l.local(); !slices.Equal(addrs, said) {
				said, due.answer = addrs, now
			}
		}
		if reached(&due.answer, now) && len(said) > 0 {
			answered = now
			reply, err := answer(self, said, lanTTL)
			if err != nil {
				return err
			}
			if err := r.send(reply); err != nil {
				return err
			}
		}
		if reached(&due.forget, now) {
			due.forget = now.Add(lanAsk)
			if l.forget(now) && due.tell.IsZero() {
				due.tell = now
			}
		}
		if reached(&due.tell, now) && l.changed != nil {
			l.changed()
		}
	}
}

// reached reports whether the time t has come, and clears it if so.
func reached(t *time.Time, now time.Time) bool {
	if t.IsZero() || now.Before(*t) {
		return false
	}
	*t = time.Time{}
	return true
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// jitter is 20 to 120 ms, so that hosts don't all speak at once (RFC 6762
// section 6).
func jitter() time.Duration {
	return 20*time.Millisecond + mrand.N(100*time.Millisecond)
}

func addrOf(a net.Addr) netip.Addr {
	if u, ok := a.(*net.UDPAddr); ok {
		return u.AddrPort().Addr()
	}
	return netip.Addr{}
}

// local lists the addresses to announce: private ones first. Loopback is of no
// use to others.
func (l *lan) local() []string {
	var private, public []string
	for _, text := range l.addrs() {
		a, err := multiaddr.NewMultiaddr(text)
		switch {
		case err != nil || manet.IsIPLoopback(a):
		case manet.IsPrivateAddr(a):
			private = append(private, text)
		default:
			public = append(public, text)
		}
	}
	all := append(private, public...)
	return all[:min(len(all), maxLANAddrs)]
}
