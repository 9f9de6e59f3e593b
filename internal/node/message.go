package node

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/hub"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about live messages: presence, cursors and the like. They pass
// through memory only, and by themselves: a commit doesn't wait for them, nor
// they for a commit. docs/decisions/messages.md says why it is so.

// Bounds of live messages.
const (
	mailRing  = 256  // messages of one topic that a reader may be behind before it loses them
	mailQueue = 1024 // messages that wait to be handed out; beyond, the oldest goes

	// Of how many paths of how many devices it is known what came last. Who
	// sends to more of them at once is heard again within two minutes.
	maxHeard       = 1 << 16 // in all spaces; each takes about 200 bytes
	maxHeardSpace  = 1 << 12 // in one space
	maxHeardDevice = 1 << 8  // of one device in one space
)

// Message is a genuine live message, by somebody who may send it. It is not to
// be changed.
type Message struct {
	*wire.LiveMessage
	Sig  [64]byte
	From any // who brought it, as [Node.Hear] was told; nil: this node sent it
}

// mail is the live messages that are on their way through this node.
type mail struct {
	hub  *hub.Hub[*Message]
	wake chan struct{} // has one token when queue isn't empty

	mu     sync.Mutex // guards what follows
	queue  []*Message
	clock  uint64 // of the newest message of this node
	heard  map[sennit.Hash]heard
	shares map[share]int // of heard
	swept  uint64        // when heard was last looked through, in milliseconds since 1970
}

// heard is the newest message of a device at a path.
type heard struct {
	clock uint64
	share share
}

// share is what has a bounded part of what is remembered: a device in a space,
// or, with the zero device, a space.
type share struct {
	space  sennit.Space
	device sennit.Device
}

func newMail() mail {
	return mail{
		hub: hub.New[*Message](hub.Config{Ring: mailRing}), wake: make(chan struct{}, 1),
		heard: map[sennit.Hash]heard{}, shares: map[share]int{},
	}
}

// milliseconds is a time as clocks have it in their upper 48 bits.
func milliseconds(t time.Time) uint64 { return uint64(t.UnixMilli()) }

// until is when a message is void, in milliseconds since 1970.
func until(m *wire.LiveMessage) uint64 { return m.Clock>>16 + m.Expires }

// heardAt names an author at a path.
func heardAt(m *wire.LiveMessage) sennit.Hash {
	b := make([]byte, 0, 3*32+len(m.Path))
	b = append(append(append(b, m.Space[:]...), m.Author.Space[:]...), m.Author.Device[:]...)
	return sha256.Sum256(append(b, m.Path...))
}

// Send implements [sennit.Bus].
func (b *view) Send(_ context.Context, a sennit.Addr, v sennit.Value, life time.Duration) error {
	n := b.n
	id, err := n.Resolve(a.Root)
	if err != nil {
		return err
	}
	sp := n.space(id)
	if err := b.check(sp, id, &sennit.Change{Kind: sennit.KindPut, Path: a.Path, Value: v}); err != nil {
		return err
	}
	if life == 0 {
		life = sennit.MessageLife
	}
	switch {
	case v.Blob != nil || v.Stream > 0 || len(v.Data) > sennit.MaxMessage:
		return sennit.Hint(sennit.Errorf(sennit.TooLarge, "the message has %d bytes; at most %d are allowed", v.Size(), sennit.MaxMessage), "put a value, and send that it is there")
	case life < time.Millisecond || life > sennit.MaxMessageLife:
		return sennit.Errorf(sennit.BadInput, "a message that counts for %v; 1ms to %v are allowed", life, sennit.MaxMessageLife)
	case !sp.authority().May(n.self, sennit.Write, a.Path, milliseconds(n.cfg.Now())):
		return sennit.Errorf(sennit.Denied, "this node may not send messages to %s", sennit.Addr{Root: id.String(), Path: a.Path})
	}
	if err := n.cfg.Ahead(); err != nil {
		return err // others would drop it
	}
	if err := n.gone(); err != nil {
		return err
	}
	m := &wire.LiveMessage{
		Space: id, Path: a.Path, Author: n.self, Clock: n.mail.tick(n.cfg.Now()), Expires: uint64(life.Milliseconds()),
		Type: v.Type, Body: append([]byte(nil), v.Data...),
	}
	_, err = n.post(&Message{LiveMessage: m, Sig: n.cfg.Identity.SignLive(m)})
	return err
}

// tick is the clock of a new message of this node.
func (b *mail) tick(now time.Time) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clock = max(milliseconds(now)<<16, b.clock+1)
	return b.clock
}

// Hear takes a live message from a peer, whom from names. It reports whether
// the message is new: one that is void, more than MaxMessageLife ahead of this
// clock, or no newer than what came of its device at its path is dropped without
// an error. It fails with BadInput if the message isn't genuine, which no honest
// peer sends; and, with what a peer may not know better, with NotFound in an
// unknown space, Denied if its author may not write there, OverQuota if too many
// paths are in use, and Gone if the node stopped. It takes what it is given:
// the message is not to be changed afterwards.
func (n *Node) Hear(m *wire.LiveMessage, sig *[64]byte, from any) (fresh bool, err error) {
	now := milliseconds(n.cfg.Now())
	if until(m) <= now || m.Clock>>16 > now+wire.MaxLiveExpiry || !n.mail.newer(m) {
		return false, nil
	}
	sp := n.space(m.Space)
	switch {
	case sp == nil:
		return false, sennit.Errorf(sennit.NotFound, "a message for space %s, of which nothing is here", m.Space)
	case m.Path == "" || !sp.authority().May(m.Author, sennit.Write, m.Path, now):
		return false, sennit.Errorf(sennit.Denied, "a message to %s in space %s by %s, who may not write there", m.Path, m.Space, m.Author.Space)
	}
	key, err := n.keys.get(m.Author.Device)
	if err != nil {
		return false, err
	}
	if !key.Verify(keys.DomainLive, m.Bytes(), sig) {
		return false, sennit.Errorf(sennit.BadInput, "the signature of a live message is wrong")
	}
	if err := n.gone(); err != nil {
		return false, err
	}
	return n.post(&Message{LiveMessage: m, Sig: *sig, From: from})
}

// newer reports whether a message is newer than what came of its device at its
// path. It is asked before the signature is checked, which costs more.
func (b *mail) newer(m *wire.LiveMessage) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.heard[heardAt(m)].clock < m.Clock
}

// post is the one way in. It notes a message as the newest of its device at its
// path, if it is, and queues it.
func (n *Node) post(m *Message) (fresh bool, err error) {
	b, at := &n.mail, heardAt(m.LiveMessage)
	b.mu.Lock()
	defer b.mu.Unlock()
	h, known := b.heard[at]
	if known && h.clock >= m.Clock {
		return false, nil
	}
	if !known {
		h.share = share{m.Space, m.Author.Device}
		if err := b.room(h.share, milliseconds(n.cfg.Now())); err != nil {
			return false, err
		}
		b.shares[h.share]++
		b.shares[share{space: m.Space}]++
	}
	h.clock = m.Clock
	b.heard[at] = h
	if len(b.queue) == mailQueue {
		b.queue = append(b.queue[:0], b.queue[1:]...)
	}
	b.queue = append(b.queue, m)
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return true, nil
}

// room makes sure that one path more can be remembered. What is there stays
// for as long as it may keep an old message out, so that none comes twice;
// when all is in use, it is the new one that has to wait. mu is held.
func (b *mail) room(s share, now uint64) error {
	full := func() bool {
		return len(b.heard) >= maxHeard || b.shares[s] >= maxHeardDevice || b.shares[share{space: s.space}] >= maxHeardSpace
	}
	if !full() {
		return nil
	}
	if now >= b.swept+1000 || now < b.swept { // not for each message of a flood
		b.swept = now
		for at, h := range b.heard {
			if h.clock>>16+wire.MaxLiveExpiry > now {
				continue
			}
			delete(b.heard, at)
			for _, s := range []share{h.share, {space: h.share.space}} {
				if b.shares[s]--; b.shares[s] == 0 {
					delete(b.shares, s)
				}
			}
		}
	}
	if full() {
		return sennit.Hint(sennit.Errorf(sennit.OverQuota, "live messages were sent to too many paths of space %s within a minute", s.space), "send to fewer paths, or wait")
	}
	return nil
}

// deliver hands out messages until the context ends. It is a goroutine of its
// own so that whoever brings one waits for no reader.
func (n *Node) deliver(ctx context.Context) {
	b := &n.mail
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		}
		b.mu.Lock()
		queue := b.queue
		b.queue = nil
		b.mu.Unlock()
		events := make([]hub.Event[*Message], len(queue))
		for i, m := range queue {
			events[i] = hub.Event[*Message]{Space: m.Space, Path: m.Path, Data: m}
		}
		b.hub.Publish(events)
	}
}

// Messages calls wake when a live message comes in a space. It must not block;
// Take on the result must be called before it is called again. Who is more than
// 256 messages behind has lost them.
func (n *Node) Messages(space sennit.Space, wake func()) *hub.Sub[*Message] {
	return n.mail.hub.Subscribe([]hub.Topic{{Space: space}}, wake)
}

// MayHear reports whether somebody may get a message now.
func (n *Node) MayHear(who sennit.Principal, m *Message) bool {
	now := milliseconds(n.cfg.Now())
	a := n.Authority(m.Space)
	return a != nil && until(m.LiveMessage) > now && a.May(who, sennit.Read, m.Path, now)
}

// collect takes what was sent since the last time. It reports whether that was
// nothing, so that the watch is woken when there is something.
func (w *watch) collect() (quiet bool) {
	if w.mail == nil {
		return true
	}
	events, lagged := w.mail.Take(nil, 2*mailRing)
	for _, e := range events {
		w.sent = append(w.sent, e.Data)
	}
	return len(events) == 0 && !lagged
}

// hand puts out what was collected, if it still counts and the caller may read it.
func (w *watch) hand() {
	now := milliseconds(w.b.n.cfg.Now())
	for _, m := range w.sent {
		sp := w.b.n.space(m.Space)
		if sp == nil || until(m.LiveMessage) <= now || !w.b.n.may(w.b.c, sp, sennit.Read, m.Path) {
			continue
		}
		w.out = append(w.out, sennit.Update{
			Kind: sennit.Message, Space: m.Space, Until: time.UnixMilli(int64(until(m.LiveMessage))),
			Node: sennit.Node{Path: m.Path, Value: sennit.Value{Type: m.Type, Data: m.Body}, Author: m.Author, Time: clockTime(m.Clock)},
		})
	}
	w.sent = nil
}
