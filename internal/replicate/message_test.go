package replicate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
)

// ear is a watch for live messages in one space.
type ear struct {
	t *testing.T
	w sennit.Watch
}

func (p *peer) listens(t *testing.T, space sennit.Space) *ear {
	t.Helper()
	w, err := p.bus().Watch(context.Background(), []sennit.Pattern{{Root: space.String()}}, sennit.WatchOptions{Messages: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return &ear{t, w}
}

// heard is what came until all is quiet: "path text", in order.
func (e *ear) heard() (all []string) {
	e.t.Helper()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		updates, err := e.w.Next(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return all
		}
		if err != nil {
			e.t.Fatal(err)
		}
		for _, u := range updates {
			if u.Kind == sennit.Message {
				all = append(all, fmt.Sprintf("%s %s", u.Node.Path, u.Node.Value.Data))
			}
		}
	}
}

func (e *ear) wants(want ...string) {
	e.t.Helper()
	if got := e.heard(); !slices.Equal(got, want) {
		e.t.Errorf("heard %q, want %q", got, want)
	}
}

func (p *peer) send(space sennit.Space, path sennit.Path, text string) {
	p.t.Helper()
	at := sennit.Addr{Root: space.String(), Path: path}
	if err := p.bus().Send(context.Background(), at, sennit.Value{Data: []byte(text)}, 0); err != nil {
		p.t.Fatal(err)
	}
}

// lives counts live messages on their way, by sender and receiver.
type lives struct {
	mu   sync.Mutex
	sent map[[2]replicate.Host]int
}

func (l *lives) on(n *net) {
	l.sent = map[[2]replicate.Host]int{}
	n.listen(func(from, to replicate.Host, msg []byte) [][]byte {
		if typeOf(msg) == wire.FrameLive {
			l.mu.Lock()
			l.sent[[2]replicate.Host{from, to}]++
			l.mu.Unlock()
		}
		return [][]byte{msg}
	})
}

func (l *lives) between(from, to *peer) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent[[2]replicate.Host{from.host, to.host}]
}

// TestALiveMessageGoesThroughOthers: what one end of a line sends is heard at
// the other, once, and comes back to nobody.
func TestALiveMessageGoesThroughOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		var l lives
		l.on(n)
		a, b, c, d := n.peer(t, "a"), n.peer(t, "b"), n.peer(t, "c"), n.peer(t, "d")
		space := a.n.Self().Space
		a.put("doc", "text")
		a.lets(sennit.Read|sennit.Write, "", b, c)
		a.lets(sennit.Read, "posts", d)
		b.follows(space, a)
		c.follows(space, b)
		d.follows(space, b)
		time.Sleep(10 * time.Second)
		here, middle, there := a.listens(t, space), b.listens(t, space), c.listens(t, space)
		side := d.listens(t, space)

		a.send(space, "doc", "from a")
		a.send(space, "posts/1", "from a")
		for _, e := range []*ear{here, middle, there} {
			e.wants("doc from a", "posts/1 from a")
		}
		side.wants("posts/1 from a") // what it may read, and nothing else
		c.send(space, "doc", "from c")
		for _, e := range []*ear{here, middle, there} {
			e.wants("doc from c")
		}
		for _, x := range []struct {
			from, to *peer
			want     int
		}{{a, b, 2}, {b, a, 1}, {b, c, 2}, {c, b, 1}, {b, d, 1}, {d, b, 0}} {
			if got := l.between(x.from, x.to); got != x.want {
				t.Errorf("%x sent %d live messages to %x, want %d", x.from.host[:2], got, x.to.host[:2], x.want)
			}
		}

		// Who may not write can't send, and who takes less gets less.
		err := d.bus().Send(context.Background(), sennit.Addr{Root: space.String(), Path: "posts/1"}, sennit.Value{}, 0)
		if sennit.CodeOf(err) != sennit.Denied {
			t.Errorf("a message without the right to write: %v", err)
		}
		c.follows(space, b, "posts")
		time.Sleep(10 * time.Second)
		a.send(space, "doc", "again")
		a.send(space, "posts/2", "again")
		there.wants("posts/2 again")
		if l.between(b, c) != 3 {
			t.Error("a message went to who doesn't take it")
		}

		// Nobody keeps any: who comes later hears nothing.
		c.listens(t, space).wants()
		b.stop()
		a.send(space, "posts/3", "lost")
		b.start()
		time.Sleep(10 * time.Second)
		there.wants()
	})
}

// TestLiveMessagesGoRoundNoCircle: among peers that all know each other every
// message is heard once, and crosses each connection at most once each way.
func TestLiveMessagesGoRoundNoCircle(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		var l lives
		l.on(n)
		a, b, c := n.peer(t, "a"), n.peer(t, "b"), n.peer(t, "c")
		friends(t, a, b)
		friends(t, b, c)
		friends(t, c, a)
		space := a.n.Self().Space
		a.lets(sennit.Read|sennit.Write, "", b, c)
		b.follows(space, a)
		c.follows(space, b)
		time.Sleep(20 * time.Second)
		ears := []*ear{a.listens(t, space), b.listens(t, space), c.listens(t, space)}
		const count = 50
		var want []string
		for i := range count {
			c.send(space, "doc", fmt.Sprint(i))
			want = append(want, fmt.Sprint("doc ", i))
		}
		for _, e := range ears {
			e.wants(want...)
		}
		for _, x := range [][2]*peer{{a, b}, {b, a}, {a, c}, {c, a}, {b, c}, {c, b}} {
			if got := l.between(x[0], x[1]); got > count || x[1] == c && got > 0 {
				t.Errorf("%d of %d messages crossed one connection", got, count)
			}
		}
	})
}

// liveTimes gives every live message of a peer to change, and sends what that
// makes of it, as often as it says, with numbers that fit.
func liveTimes(t *testing.T, n *net, of *peer, change func(*wire.Live) int) {
	more := map[replicate.Host]uint64{}
	n.listen(func(from, to replicate.Host, msg []byte) (out [][]byte) {
		if from != of.host {
			return [][]byte{msg}
		}
		number, f, err := wire.DecodeFrame(slices.Clone(msg))
		if err != nil {
			t.Error(err)
			return nil
		}
		times := 1
		if _, ok := f.(*wire.Hello); ok {
			more[to] = 0
		}
		if live, ok := f.(*wire.Live); ok {
			times = change(live)
		}
		for i := range times {
			out = append(out, wire.AppendFrame(nil, number+more[to]+uint64(i), f))
		}
		more[to] += uint64(times) - 1
		return out
	})
}

// TestLiesAboutLiveMessages: a message that was altered ends the session, one
// that is repeated is heard once, and many are no more than is taken.
func TestLiesAboutLiveMessages(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*wire.Live) int
		want   []string
		ends   bool
	}{
		"repeated":      {func(*wire.Live) int { return 5 }, []string{"doc one"}, false},
		"other bytes":   {func(l *wire.Live) int { l.Message.Body = []byte("two"); return 1 }, nil, true},
		"other author":  {func(l *wire.Live) int { l.Message.Author.Device[0] ^= 1; return 1 }, nil, false}, // who may not write there
		"other path":    {func(l *wire.Live) int { l.Message.Path = "doc2"; return 1 }, nil, true},
		"other space":   {func(l *wire.Live) int { l.Message.Space[0] ^= 1; return 1 }, nil, true},
		"later":         {func(l *wire.Live) int { l.Message.Clock += 1 << 16; return 1 }, nil, true},
		"far ahead":     {func(l *wire.Live) int { l.Message.Clock += 61_000 << 16; return 1 }, nil, false},
		"long ago":      {func(l *wire.Live) int { l.Message.Clock -= 31_000 << 16; return 1 }, nil, false},
		"lasts longer":  {func(l *wire.Live) int { l.Message.Expires++; return 1 }, nil, true},
		"another's tag": {func(l *wire.Live) int { l.Tag[0] ^= 1; return 1 }, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *net) {
				a, b := n.peer(t, "a"), n.peer(t, "b")
				space := a.n.Self().Space
				a.put("doc", "text")
				a.lets(sennit.Read, "", b)
				liveTimes(t, n, a, c.change)
				b.follows(space, a)
				time.Sleep(10 * time.Second)
				began := b.r.Peers()[0].Since
				e := b.listens(t, space)
				a.send(space, "doc", "one")
				e.wants(c.want...)
				time.Sleep(10 * time.Second)
				if again := b.r.Peers()[0].Since; again.Equal(began) == c.ends {
					t.Errorf("the session of %v is now that of %v", began, again)
				}
			})
		})
	}
}

// TestLiveMessagesOutsideWhatIsFollowed: a peer that sends more than this side
// takes is not heard beyond that.
func TestLiveMessagesOutsideWhatIsFollowed(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		space := a.n.Self().Space
		a.put("doc", "text")
		a.lets(sennit.Read, "", b)
		came := 0
		n.listen(func(from, _ replicate.Host, msg []byte) [][]byte {
			number, f, err := wire.DecodeFrame(slices.Clone(msg))
			if err != nil {
				t.Error(err)
			}
			switch f := f.(type) {
			case *wire.Live:
				came++
			case *wire.Open:
				if from == b.host { // a is told that b takes everything
					f.Interest = prefix.All()
					return [][]byte{wire.AppendFrame(nil, number, f)}
				}
			}
			return [][]byte{msg}
		})
		b.follows(space, a, "posts")
		time.Sleep(10 * time.Second)
		e := b.listens(t, space)
		a.send(space, "doc", "one")
		a.send(space, "posts/1", "two")
		e.wants("posts/1 two")
		if came != 2 {
			t.Errorf("%d messages were on their way, want 2", came)
		}
	})
}

// TestAFloodOfLiveMessages holds up nothing, and is heard only in part.
func TestAFloodOfLiveMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		space := a.n.Self().Space
		a.put("doc", "text")
		a.lets(sennit.Read, "", b)
		const count = 2000
		var flood atomic.Bool
		flood.Store(true)
		more := uint64(0)
		n.listen(func(from, _ replicate.Host, msg []byte) (out [][]byte) {
			number, f, err := wire.DecodeFrame(slices.Clone(msg))
			if err != nil || from != a.host {
				return [][]byte{msg}
			}
			out = append(out, wire.AppendFrame(nil, number+more, f))
			live, ok := f.(*wire.Live)
			for ; ok && flood.Load() && len(out) < count; more++ { // genuine ones, all of them new
				live.Message.Clock++
				live.Sig = a.id.SignLive(live.Message)
				out = append(out, wire.AppendFrame(nil, number+more+1, live))
			}
			return out
		})
		b.follows(space, a)
		time.Sleep(10 * time.Second)
		e := b.listens(t, space)
		heard := make(chan int)
		go func() { heard <- len(e.heard()) }()
		a.send(space, "doc", "one")
		a.put("doc", "after")
		same(t, space, a, b)
		if got := <-heard; got == 0 || got > 600 {
			t.Errorf("%d of %d messages at once were heard", got, count)
		}
		if p := b.r.Peers()[0]; p.Dropped < count-600 {
			t.Errorf("%d of %d messages at once were dropped", p.Dropped, count)
		}
		flood.Store(false)
		// What the peer sends later is heard again.
		time.Sleep(10 * time.Second)
		a.send(space, "doc", "two")
		e.wants("doc two")
	})
}

// TestLiveMessagesEndWithTheRightToRead, even if nothing else tells the session
// that it ended.
func TestLiveMessagesEndWithTheRightToRead(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		var l lives
		l.on(n)
		a, b := n.peer(t, "a"), n.peer(t, "b")
		space := a.n.Self().Space
		a.put("doc", "text")
		a.lets(sennit.Read, "doc", b)
		if _, err := a.n.Allow(context.Background(), a.n.Owner(), space, []wire.Grant{{
			Prefix: "news", May: sennit.Read, Until: uint64(time.Now().Add(time.Minute).UnixMilli()),
			Who: wire.Who{Subject: wire.SubjectSpace, Key: b.id.Space()},
		}}); err != nil {
			t.Fatal(err)
		}
		b.follows(space, a)
		time.Sleep(10 * time.Second)
		e := b.listens(t, space)
		a.send(space, "news", "one")
		e.wants("news one")
		time.Sleep(time.Minute)
		a.send(space, "news", "two")
		a.send(space, "doc", "three")
		e.wants("doc three")
		if got := l.between(a, b); got != 2 {
			t.Errorf("%d messages went to the peer, want 2", got)
		}
	})
}

// TestASlowPeerLosesLiveMessages, and nothing else, when more are sent than
// wait for it.
func TestASlowPeerLosesLiveMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		space := a.n.Self().Space
		a.put("doc", "text")
		a.lets(sennit.Read, "", b)
		n.listen(func(from, _ replicate.Host, msg []byte) [][]byte {
			if from == a.host && typeOf(msg) == wire.FrameLive {
				time.Sleep(100 * time.Millisecond)
			}
			return [][]byte{msg}
		})
		b.follows(space, a)
		time.Sleep(10 * time.Second)
		e := b.listens(t, space)
		for i := range 1500 {
			a.send(space, "doc", strings.Repeat("x", i))
			time.Sleep(time.Millisecond)
		}
		a.put("doc", "after")
		same(t, space, a, b)
		if got := len(e.heard()); got == 0 || got > 1000 {
			t.Errorf("%d of 1500 messages were heard by a peer to which ten a second go", got)
		}
	})
}
