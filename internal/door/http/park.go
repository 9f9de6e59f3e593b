package httpdoor

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sennit/sennit"
)

// probe is how often a connection that is parked is looked at, whether its
// client is still there.
const probe = 30 * time.Second

// lot is where the connections of subscribers are parked. A parked one has no
// goroutine, no buffers and nothing of net/http: it is taken over from that when
// its headers are out. When its watch has something, it is put into a queue, which
// a few workers serve: they ask the watch, encode, and write what the socket
// takes at once. What it doesn't take is left to a goroutine of that connection,
// until its client has read it: who is slow holds up nobody else.
type lot struct {
	d    *Door
	life context.Context // ends when no more are taken in
	end  context.CancelFunc
	work sync.WaitGroup // workers, and goroutines of those who are slow

	enough int // workers, if none of them is held up: what they do takes a processor

	mu      sync.Mutex // guards what follows, and what parked says
	all     *parked    // a list of all, linked by prev and next
	ready   queue
	workers int
	served  uint64      // how many were taken out of the queue
	relief  *time.Timer // looks whether the workers are held up; nil while it isn't set
	over    bool
}

// A watch that goes on from the store may keep a worker for long. If nobody was
// served for reliefAfter although somebody waits, one more worker comes, up to maxWorkers.
const (
	reliefAfter = 5 * time.Millisecond
	maxWorkers  = 64
)

// maxSlow bounds the subscribers who take less than they are sent, each of whom
// may hold a batch of a watch. Further ones are cut off, and can resume.
const maxSlow = 256

func newLot(ctx context.Context, d *Door) *lot {
	l := &lot{d: d, enough: runtime.GOMAXPROCS(0)}
	l.life, l.end = context.WithCancel(ctx)
	return l
}

// state says who has a parked connection.
type state uint8

const (
	taken  state = iota // somebody serves it, who alone touches the connection and the watch
	queued              // it is in the queue
	idle                // nobody: what wakes it puts it into the queue
)

// parked is a subscriber whose connection was taken over.
type parked struct {
	lot   *lot
	conn  net.Conn
	raw   syscall.RawConn
	watch sennit.Watch
	told  told
	beat  time.Duration
	check func() bool // whether its client may still watch; nil: for as long as it likes
	wrote time.Time   // when it was last written to
	alarm *time.Timer // nil before it is parked
	rings atomic.Bool // the alarm went off

	// Guarded by the lot's mu.
	state      state
	again      bool // it was woken while it was taken
	listed     bool
	waits      bool // a goroutine writes, and waits for the client to read
	prev, next *parked
	behind     *parked // in the queue
}

// queue is a queue of parked connections.
type queue struct{ first, last *parked }

func (q *queue) push(p *parked) {
	if q.first == nil {
		q.first = p
	} else {
		q.last.behind = p
	}
	q.last = p
}

func (q *queue) pop() *parked {
	p := q.first
	if p != nil {
		if q.first, p.behind = p.behind, nil; q.first == nil {
			q.last = nil
		}
	}
	return p
}

// place is a place for the subscription that a request asks for, nil if it can't
// be parked.
func (l *lot) place(r *http.Request) *parked {
	sock, ok := r.Context().Value(sockKey{}).(syscall.Conn)
	if l == nil || !ok || !canPark || !r.ProtoAtLeast(1, 1) {
		return nil
	}
	raw, err := sock.SyscallConn()
	if err != nil {
		return nil
	}
	return &parked{lot: l, raw: raw}
}

// park takes a connection over and sends the head of the answer, and a first
// part of the body. If it reports false, net/http still has the connection, and
// nothing was sent.
func (p *parked) park(w http.ResponseWriter, first []byte) bool {
	l := p.lot
	l.mu.Lock()
	over := l.over
	if !over {
		l.work.Add(1)
	}
	l.mu.Unlock()
	if over {
		return false
	}
	defer l.work.Done()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return false
	}
	p.conn = conn
	head := appendHead(nil, w.Header())
	if len(first) > 0 {
		head = appendChunk(head, first)
	}
	l.mu.Lock()
	if p.next = l.all; p.next != nil {
		p.next.prev = p
	}
	l.all, p.listed, p.waits = p, true, true
	l.mu.Unlock()
	l.d.stats.subscribers.Add(1)
	_ = conn.SetReadDeadline(time.Time{}) // a socket has deadlines
	p.alarm = time.AfterFunc(min(p.beat, probe), func() {
		p.rings.Store(true)
		p.wake()
	})
	if p.put(head) {
		p.rest(true)
	}
	return true
}

// put writes, and waits for the client to read, for as long as the limit says. If
// it reports false the subscription has ended.
func (p *parked) put(b []byte) bool {
	l := p.lot
	_ = p.conn.SetWriteDeadline(time.Now().Add(l.d.cfg.Limits.Write))
	if l.life.Err() != nil { // close may have come before the deadline
		p.leave()
		return false
	}
	if _, err := p.conn.Write(b); err != nil {
		p.leave()
		return false
	}
	_ = p.conn.SetWriteDeadline(time.Time{})
	p.wrote = time.Now()
	return true
}

// appendHead appends the head of the answer to a subscription.
func appendHead(b []byte, h http.Header) []byte {
	out := bytes.NewBuffer(append(b, "HTTP/1.1 209 "+statusText(statusSub)+"\r\n"...))
	h["Date"] = []string{time.Now().UTC().Format(http.TimeFormat)}
	h["Transfer-Encoding"] = []string{"chunked"}
	h["Connection"] = []string{"close"} // it serves no other request
	_ = h.Write(out)                    // a buffer takes everything
	out.WriteString("\r\n")
	return out.Bytes()
}

// appendChunk appends a chunk of the body (RFC 9112, section 7.1).
func appendChunk(b, data []byte) []byte {
	b = append(strconv.AppendInt(b, int64(len(data)), 16), "\r\n"...)
	return append(append(b, data...), "\r\n"...)
}

// wake has a connection looked at. It doesn't block.
func (p *parked) wake() {
	l := p.lot
	l.mu.Lock()
	defer l.mu.Unlock()
	switch p.state {
	case idle:
		l.enqueue(p)
	case taken:
		p.again = true
	}
}

// enqueue queues a connection and sees to it that somebody serves it; l.mu is
// held.
func (l *lot) enqueue(p *parked) {
	p.state = queued
	l.ready.push(p)
	switch {
	case l.workers < l.enough:
		l.workers++
		l.work.Go(l.serve)
	case l.relief == nil && l.workers < maxWorkers:
		served := l.served
		l.relief = time.AfterFunc(reliefAfter, func() { l.relieve(served) })
	}
}

// relieve adds a worker if the others are held up.
func (l *lot) relieve(served uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.relief = nil
	if l.ready.first == nil || l.workers == 0 || l.workers >= maxWorkers {
		return
	}
	if l.served == served {
		l.workers++
		l.work.Go(l.serve)
	}
	served = l.served
	l.relief = time.AfterFunc(reliefAfter, func() { l.relieve(served) })
}

// serve serves connections until none is queued.
func (l *lot) serve() {
	e := l.d.encoders.get()
	defer l.d.encoders.put(e)
	out := newAttempt()
	for {
		l.mu.Lock()
		p := l.ready.pop()
		if p == nil {
			l.workers--
			l.mu.Unlock()
			return
		}
		p.state, p.again = taken, false
		l.served++
		over := l.over
		l.mu.Unlock()
		if over {
			p.end()
		} else {
			p.guard(func() { p.serve(e, out) })
		}
	}
}

// guard has a bug end one subscription, as net/http does with a request.
func (p *parked) guard(f func()) {
	defer p.lot.d.rescue("a subscription failed", p.leave)
	f()
}

// rescue is deferred: it keeps a panic from ending the process.
func (d *Door) rescue(what string, then func()) {
	if x := recover(); x != nil {
		d.cfg.Log.Error(what, "panic", x, "stack", string(debug.Stack()))
		then()
	}
}

// close ends all subscriptions, and takes no more in.
func (l *lot) close() {
	l.end()
	l.mu.Lock()
	l.over = true
	for p := l.all; p != nil; p = p.next {
		if p.state == idle {
			l.enqueue(p)
		}
		if p.waits {
			_ = p.conn.SetWriteDeadline(time.Unix(1, 0)) // who is slow isn't waited for
		}
	}
	l.mu.Unlock()
	l.work.Wait()
}

// rest gives a connection back, to whatever wakes it, or to the end of the queue
// if there may be more.
func (p *parked) rest(more bool) {
	l := p.lot
	l.mu.Lock()
	defer l.mu.Unlock()
	p.waits = false
	if more || p.again || l.over {
		l.enqueue(p)
	} else {
		p.state = idle
	}
}

// end ends a subscription in order. The client can go on from the newest cursor
// that it saw.
func (p *parked) end() {
	_, _ = newAttempt().write(p.raw, []byte("0\r\n\r\n")) // if there is room for it
	p.leave()
}

// leave frees all that a subscription holds.
func (p *parked) leave() {
	p.alarm.Stop()
	_ = p.watch.Close()
	_ = p.conn.Close()
	l := p.lot
	l.mu.Lock()
	defer l.mu.Unlock()
	if !p.listed {
		return
	}
	if p.next != nil {
		p.next.prev = p.prev
	}
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		l.all = p.next
	}
	p.prev, p.next, p.listed = nil, nil, false
	l.d.stats.subscribers.Add(-1)
}

// asked is a context that has ended: a watch that is asked with it doesn't wait.
var asked = func() context.Context {
	ctx, end := context.WithCancel(context.Background())
	end()
	return ctx
}()

// batches is how many batches a subscriber gets in a turn, if there are as many.
const batches = 4

// serve sends what there is.
func (p *parked) serve(e *encoder, out *attempt) {
	if p.rings.Swap(false) && !p.ring(out) {
		return
	}
	for range batches {
		updates, err := p.watch.Next(asked)
		switch {
		case errors.Is(err, context.Canceled):
			p.rest(false)
			return
		case err != nil:
			p.end()
			return
		}
		for len(updates) > 0 {
			var chunk []byte
			if chunk, updates = p.encode(e, updates); !p.send(out, chunk, updates) {
				return
			}
		}
	}
	p.rest(true)
}

// send writes some bytes. If it reports false the connection is in other hands.
func (p *parked) send(out *attempt, b []byte, then []sennit.Update) bool {
	if len(b) == 0 {
		return true
	}
	n, err := out.write(p.raw, b)
	if err == nil && n == len(b) {
		p.wrote = time.Now()
		return true
	}
	l, slow := p.lot, &p.lot.d.stats.slow
	l.mu.Lock()
	taken := err == nil && slow.Load() < maxSlow && !l.over
	if taken {
		slow.Add(1)
		p.waits = true
	}
	l.mu.Unlock()
	if !taken {
		p.leave()
		return false
	}
	left := bytes.Clone(b[n:])
	l.work.Go(func() { p.guard(func() { p.finish(left, then) }) })
	return false
}

// finish writes what a socket did not take at once. A write that takes longer
// than the limit ends the subscription.
func (p *parked) finish(left []byte, updates []sennit.Update) {
	l := p.lot
	defer l.d.stats.slow.Add(-1)
	for p.put(left) {
		if len(updates) == 0 {
			p.rest(true)
			return
		}
		e := l.d.encoders.get()
		left, updates = p.encode(e, updates)
		left = bytes.Clone(left)
		l.d.encoders.put(e)
	}
}

// ring looks after a connection when its alarm went off. If it reports false the
// connection is in other hands.
func (p *parked) ring(out *attempt) bool {
	if out.gone(p.raw) {
		p.leave()
		return false
	}
	if p.check != nil && !p.check() {
		p.end()
		return false
	}
	quiet := time.Since(p.wrote)
	if quiet >= p.beat {
		p.alarm.Reset(min(p.beat, probe))
		return p.send(out, chunkedHeartbeat, nil)
	}
	p.alarm.Reset(min(p.beat-quiet, probe))
	return true
}

var chunkedHeartbeat = appendChunk(nil, heartbeat)

// chunkRoom is enough for the head of a chunk.
const chunkRoom = 10

// encode makes a chunk of some updates, and returns it and the rest. The chunk
// is the encoder's.
func (p *parked) encode(e *encoder, updates []sennit.Update) (chunk []byte, rest []sennit.Update) {
	e.b = append(e.b[:0], make([]byte, chunkRoom)...)
	rest = e.some(&p.told, updates)
	size := len(e.b) - chunkRoom
	if size == 0 {
		return nil, rest
	}
	var text [chunkRoom]byte
	head := append(strconv.AppendInt(text[:0], int64(size), 16), "\r\n"...)
	copy(e.b[chunkRoom-len(head):], head)
	e.b = append(e.b, "\r\n"...)
	return e.b[chunkRoom-len(head):], rest
}
