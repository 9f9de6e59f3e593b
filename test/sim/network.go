package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
)

// How a connection ends that no side closed.
var (
	errClosed = errors.New("sim: the connection is closed")
	errReset  = errors.New("sim: the connection was reset")
	errDown   = errors.New("sim: nobody answers there")
)

// window is how many messages may be under way in one direction of a
// connection; a sender waits beyond.
const window = 128

// cable is what connects two machines, in both directions.
type cable struct {
	delay, jitter time.Duration

	// Probabilities for each message.
	lose, repeat, swap, flip float64

	cut  bool // nothing passes
	hold bool // while cut: messages wait for the cut to end, instead of getting lost
}

// network carries messages between machines in memory. What becomes of a
// message is decided by its connection's own random numbers, in the order in
// which the messages were sent.
type network struct {
	count func(fault string)

	mu     sync.Mutex // guards what follows
	rng    *rand.Rand
	at     map[replicate.Host]*run // who is up
	cables map[[2]replicate.Host]*cable
	conns  map[*conn]struct{} // one for each connection: the side that dialed
	calm   bool               // no more faults
}

func newNetwork(seed uint64, count func(string)) *network {
	return &network{
		count: count, rng: rand.New(rand.NewPCG(seed, 'n')), at: map[replicate.Host]*run{},
		cables: map[[2]replicate.Host]*cable{}, conns: map[*conn]struct{}{},
	}
}

func pair(a, b replicate.Host) [2]replicate.Host {
	if slices.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	return [2]replicate.Host{a, b}
}

// cable tells the cable between two machines; n.mu is held.
func (n *network) cable(a, b replicate.Host) *cable {
	w := n.cables[pair(a, b)]
	if w == nil {
		w = &cable{delay: 5 * time.Millisecond}
		n.cables[pair(a, b)] = w
	}
	return w
}

// conn is one side's end of a connection.
type conn struct {
	n     *network
	owner *run // whose end it is
	to    replicate.Host
	other *conn
	link  *link // shared by both ends
	blobs bool  // it carries blobs, and no session

	in   pipe          // what comes
	done chan struct{} // closed when this end can't be used any more
	once sync.Once
}

// link is what both ends share.
type link struct {
	w       *cable
	faulted atomic.Bool // a message was lost, repeated, swapped or altered on it
}

// pipe is one direction of a connection.
type pipe struct {
	mu    sync.Mutex // guards what follows
	rng   *rand.Rand
	last  time.Time // when the newest message is due
	count int       // messages under way, or not taken yet
	ready [][]byte  // nil: the end
	held  [][]byte  // during a cut
	err   error     // once all that is ready was taken

	// What its reader was told that the other side follows, and was not so: by
	// opens that were altered on their way.
	altered map[wire.Tag]prefix.Set

	bell chan struct{} // has one token when something changed for the reader
	room chan struct{} // the same for the writer
}

func (p *pipe) init(seed uint64) {
	p.rng = rand.New(rand.NewPCG(seed, 'p'))
	p.bell, p.room = make(chan struct{}, 1), make(chan struct{}, 1)
}

func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// dial connects a run to a machine that is up, for a session or for blobs.
func (n *network) dial(ctx context.Context, from *run, to replicate.Host, blobs bool) (*conn, error) {
	n.mu.Lock()
	w := n.cable(from.m.host, to)
	trip := 2*w.delay + rand0(n.rng, w.jitter)
	n.mu.Unlock()
	select {
	case <-time.After(trip):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	peer := n.at[to]
	switch {
	case w.cut:
		n.mu.Unlock()
		<-ctx.Done() // nothing comes back
		return nil, ctx.Err()
	case peer == nil || peer == from || from.dead.Load() || n.at[from.m.host] != from:
		n.mu.Unlock()
		return nil, errDown
	}
	l := &link{w: w}
	a := &conn{n: n, owner: from, to: to, link: l, blobs: blobs, done: make(chan struct{})}
	b := &conn{n: n, owner: peer, to: from.m.host, link: l, blobs: blobs, done: make(chan struct{})}
	a.other, b.other = b, a
	a.in.init(n.rng.Uint64())
	b.in.init(n.rng.Uint64())
	n.conns[a] = struct{}{}
	n.mu.Unlock()
	if !peer.accept(b) {
		a.end(errDown)
		b.end(errDown)
		return nil, errDown
	}
	return a, nil
}

// Host implements replicate.Conn.
func (c *conn) Host() replicate.Host { return c.to }

// Addr implements replicate.Conn.
func (c *conn) Addr() string { return "sim" }

// Send implements replicate.Conn.
func (c *conn) Send(ctx context.Context, msg []byte) error {
	p := &c.other.in
	for {
		p.mu.Lock()
		if p.count < window {
			break
		}
		p.mu.Unlock()
		select {
		case <-p.room:
		case <-c.done:
			return c.why()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.mu.Unlock()
	if c.ended() {
		return c.why()
	}
	if !c.owner.says(c, msg) {
		return nil // the power is off: nothing leaves
	}
	if c.blobs {
		msg = slices.Clone(msg) // its sender uses it again
	}
	c.pass(msg)
	return nil
}

// pass puts a message on its way, or whatever becomes of it.
func (c *conn) pass(msg []byte) {
	c.n.mu.Lock()
	w, calm := *c.link.w, c.n.calm
	c.n.mu.Unlock()
	p := &c.other.in
	p.mu.Lock()
	defer p.mu.Unlock()
	if calm {
		w.lose, w.repeat, w.swap, w.flip = 0, 0, 0, 0
	}
	copies := 1
	switch x := p.rng.Float64(); {
	case x < w.lose:
		c.fault("lost")
		copies = 0
	case x < w.lose+w.repeat:
		c.fault("repeated")
		copies = 2
	case x < w.lose+w.repeat+w.swap:
		c.fault("reordered")
		p.count++
		// It overtakes nothing and is overtaken by whatever comes in the next moments.
		c.deliver(msg, w.delay+rand0(p.rng, w.jitter)+50*time.Millisecond+rand0(p.rng, time.Second))
		return
	case x < w.lose+w.repeat+w.swap+w.flip && len(msg) > 0:
		c.fault("corrupted")
		msg = slices.Clone(msg)
		for range 1 + p.rng.IntN(3) {
			msg[p.rng.IntN(len(msg))] ^= 1 << p.rng.IntN(8)
		}
		p.mistake(msg)
		// Transports authenticate: sooner or later they notice.
		time.AfterFunc(rand0(p.rng, 20*time.Second), func() { c.reset(errReset) })
	}
	for range copies {
		due := time.Now().Add(w.delay + rand0(p.rng, w.jitter))
		if !due.After(p.last) {
			due = p.last.Add(time.Nanosecond)
		}
		p.last = due
		p.count++
		c.deliver(msg, time.Until(due))
	}
}

// mistake notes what the reader of an altered message may believe of its
// sender, until the connection is reset; p.mu is held.
func (p *pipe) mistake(msg []byte) {
	_, f, err := wire.DecodeFrame(msg)
	o, ok := f.(*wire.Open)
	if err != nil || !ok {
		return
	}
	if p.altered == nil {
		p.altered = map[wire.Tag]prefix.Set{}
	}
	p.altered[o.Tag] = prefix.Of(slices.Concat(p.altered[o.Tag], o.Interest)...)
}

func (c *conn) fault(kind string) {
	c.link.faulted.Store(true)
	c.n.count(kind)
}

// deliver hands a message to the other end after a while.
func (c *conn) deliver(msg []byte, after time.Duration) {
	time.AfterFunc(after, func() {
		c.n.mu.Lock()
		cut, hold := c.link.w.cut, c.link.w.hold
		c.n.mu.Unlock()
		p := &c.other.in
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case cut && !hold:
			p.count--
			c.fault("lost in a partition")
		case cut || len(p.held) > 0:
			p.held = append(p.held, msg)
		default:
			p.ready = append(p.ready, msg)
			ring(p.bell)
		}
	})
}

// thaw delivers what a cut held up.
func (c *conn) thaw() {
	for _, end := range []*conn{c, c.other} {
		p := &end.in
		p.mu.Lock()
		p.ready = append(p.ready, p.held...)
		p.held = nil
		ring(p.bell)
		p.mu.Unlock()
	}
}

// Recv implements replicate.Conn.
func (c *conn) Recv(ctx context.Context) ([]byte, error) {
	p := &c.in
	for {
		p.mu.Lock()
		if len(p.ready) > 0 {
			msg := p.ready[0]
			p.ready = p.ready[1:]
			if p.count--; p.count < window/2 {
				ring(p.room)
			}
			p.mu.Unlock()
			return msg, nil
		}
		p.mu.Unlock()
		select {
		case <-p.bell:
		case <-c.done:
			return nil, c.why()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close implements replicate.Conn. The other side notices when what is under
// way has arrived.
func (c *conn) Close() error {
	c.end(errClosed)
	c.n.mu.Lock()
	delete(c.n.conns, c)
	delete(c.n.conns, c.other)
	cut, trip := c.link.w.cut, c.link.w.delay+c.link.w.jitter
	c.n.mu.Unlock()
	if cut || c.owner.dead.Load() {
		return nil // nobody tells
	}
	p := &c.other.in
	p.mu.Lock()
	wait := max(trip, time.Until(p.last)) + time.Microsecond
	p.mu.Unlock()
	time.AfterFunc(wait, func() { c.other.end(errClosed) })
	return nil
}

// reset ends a connection for both sides at once.
func (c *conn) reset(why error) {
	c.n.mu.Lock()
	delete(c.n.conns, c)
	delete(c.n.conns, c.other)
	c.n.mu.Unlock()
	c.end(why)
	c.other.end(why)
}

func (c *conn) end(why error) {
	c.once.Do(func() {
		c.in.mu.Lock()
		c.in.err = why
		c.in.mu.Unlock()
		close(c.done)
	})
}

func (c *conn) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *conn) why() error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return c.in.err
}
