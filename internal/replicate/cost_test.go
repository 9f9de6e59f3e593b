package replicate_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
)

// fill writes n values of 100 to 250 bytes in commits of the given size.
func (p *peer) fill(n, batch int) (bytes int) {
	p.t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < n; i += batch {
		var changes []sennit.Change
		for j := i; j < min(i+batch, n); j++ {
			data := make([]byte, 100+rng.IntN(151))
			for k := range data {
				data[k] = byte(rng.Uint32())
			}
			bytes += len(data)
			changes = append(changes, sennit.Change{Kind: sennit.KindPut, Path: sennit.Path(fmt.Sprintf("data/%06d", j)), Value: sennit.Value{Data: data}})
		}
		if _, err := p.bus().Write(context.Background(), "me", changes); err != nil {
			p.t.Fatal(err)
		}
	}
	return bytes
}

// quiet waits until nothing was sent for a while.
func (n *net) quiet() {
	for last := int64(-1); ; time.Sleep(50 * time.Millisecond) {
		if now := n.turns.Load(); now == last {
			return
		} else {
			last = now
		}
	}
}

// restart stops a peer and starts it on the same store.
func (p *peer) restart() { p.stop(); p.start() }

// acked reports whether the peer has confirmed all that there is of a space:
// checked, and durable there.
func (p *peer) acked(space sennit.Space) bool {
	last, err := p.n.LastArrival(space)
	for _, other := range p.r.Peers() {
		for _, sp := range other.Spaces {
			if err == nil && sp.Space == space && sp.Acked >= last {
				return true
			}
		}
	}
	return false
}

// firstSync brings count values of 100 to 250 bytes, which the space's owner
// wrote a thousand at a time, to an empty peer. It tells how long it took until
// all of them were there, checked and durable, and until both knew that they
// hold the same.
func firstSync(t testing.TB, count int) (there, equal time.Duration, values int, sent int64) {
	n := newNet()
	a, b := n.peer(t, "a"), n.peer(t, "b")
	values = a.fill(count, 1000)
	space := a.n.Self().Space
	if _, err := a.bus().Digest(context.Background(), sennit.Addr{Root: "me"}); err != nil {
		t.Fatal(err)
	}
	link := a.invite()
	before, begun := n.bytes.Load(), time.Now()
	joined := make(chan error, 1)
	go func() { joined <- b.join(link) }()
	for ; !a.acked(space); time.Sleep(time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatal("the values don't arrive")
		}
	}
	there = time.Since(begun)
	if err := <-joined; err != nil {
		t.Fatal(err)
	}
	same(t, space, a, b)
	return there, time.Since(begun), values, n.bytes.Load() - before
}

// TestFirstSyncCarriesLittleBesideTheValues: 100,000 values of 100 to 250
// bytes reach an empty peer in at most 26 MB.
func TestFirstSyncCarriesLittleBesideTheValues(t *testing.T) {
	count := 100_000
	if testing.Short() {
		count = 10_000
	}
	there, equal, values, sent := firstSync(t, count)
	t.Logf("%d values of %d bytes: %d bytes sent; there after %v, equal after %v", count, values, sent, there, equal)
	if per := float64(sent) / float64(count); per > 260 {
		t.Errorf("%.0f bytes a value; at most 260 are wanted", per)
	}
}

// BenchmarkFirstSync is the time until 100,000 values of 100 to 250 bytes are
// at an empty peer, over connections and disks of memory.
func BenchmarkFirstSync(b *testing.B) {
	var there, equal time.Duration
	for b.Loop() {
		x, y, _, _ := firstSync(b, 100_000)
		there, equal = there+x, equal+y
	}
	b.ReportMetric(there.Seconds()/float64(b.N), "s-there")
	b.ReportMetric(equal.Seconds()/float64(b.N), "s-equal")
}

// said is one message on its way.
type said struct {
	from  replicate.Host
	kind  string
	tag   wire.Tag
	bytes int
	items int // of a comparison
}

// ledger notes what is said from now on. Its result tells what was.
func (n *net) ledger() func() []said {
	var mu sync.Mutex
	var all []said
	n.tap.Store(new(func(from, _ replicate.Host, msg []byte) [][]byte {
		s := said{from: from, bytes: len(msg)}
		if _, f, err := wire.DecodeFrame(msg); err == nil {
			s.kind, s.tag = strings.TrimPrefix(fmt.Sprintf("%T", f), "*wire."), wire.TagOf(f)
			if f, ok := f.(*wire.Compare); ok {
				s.items = len(f.Items)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, s)
		return [][]byte{msg}
	}))
	return func() []said {
		n.tap.Store(nil)
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// about is what was said about the space of which most was said: the bytes
// beside ops, and the round trips until a comparison had found what differs. The
// sides may compare once more, when that is mended, to see that they are equal.
func about(all []said) (bytes, trips int, kinds []string) {
	sum := map[wire.Tag]int{}
	most := wire.Tag{}
	for _, s := range all {
		if s.tag == (wire.Tag{}) {
			continue
		}
		if sum[s.tag] += s.bytes; sum[s.tag] > sum[most] {
			most = s.tag
		}
	}
	var last replicate.Host
	turns, found := 0, false
	for _, s := range all {
		if s.tag != most {
			continue
		}
		kinds = append(kinds, fmt.Sprintf("%s %d", s.kind, s.bytes))
		if s.kind != "Ops" {
			bytes += s.bytes
		}
		if s.kind == "Compare" && s.from != last && !found {
			last = s.from
			turns++
		}
		found = found || s.kind == "Compare" && s.items == 0
	}
	return bytes, turns / 2, kinds
}

// TestEqualPeersSayLittle: two nodes that hold the same find that out with
// less than 1 KB in both directions together, after one message each way.
func TestEqualPeersSayLittle(t *testing.T) {
	inBubble(t, equalPeers)
}

func equalPeers(t *testing.T, n *net) {
	a, b := n.peer(t, "a"), n.peer(t, "b")
	a.fill(2000, 1000)
	if err := b.join(a.invite()); err != nil {
		t.Fatal(err)
	}
	same(t, a.n.Self().Space, a, b)
	n.quiet()
	b.stop()
	stop := n.ledger()
	b.start()
	same(t, a.n.Self().Space, a, b)
	n.quiet()
	bytes, trips, kinds := about(stop())
	t.Logf("%d bytes, %d round trips of comparing: %v", bytes, trips, kinds)
	if bytes >= 1024 || trips > 0 {
		t.Errorf("equal peers say %d bytes in %d round trips of comparing", bytes, trips)
	}
}

// TestScatteredChangesCostLittle: ten changed values among 100,000 cost at
// most 4 KB beside the ops, and two round trips after the digests differed,
// even where nothing is remembered of an earlier session.
func TestScatteredChangesCostLittle(t *testing.T) {
	inBubble(t, scattered)
}

func scattered(t *testing.T, n *net) {
	count := 100_000
	if testing.Short() {
		count = 10_000
	}
	bytes, trips, kinds := differences(t, n, count, 10)
	t.Logf("%d bytes beside the ops, %d round trips of comparing: %v", bytes, trips, kinds)
	if bytes > 4096 || trips > 2 {
		t.Errorf("ten scattered changes cost %d bytes beside the ops and %d round trips", bytes, trips)
	}
}

// differences is what is said beside ops when some values of a large directory
// changed while two peers were apart, and nothing is remembered of before.
func differences(t testing.TB, n *net, count, changed int) (bytes, trips int, kinds []string) {
	a, b := n.peer(t, "a"), n.peer(t, "b")
	a.fill(count, 1000)
	if err := b.join(a.invite()); err != nil {
		t.Fatal(err)
	}
	same(t, a.n.Self().Space, a, b)
	n.quiet()
	b.stop()
	for i := range changed {
		a.put(fmt.Sprintf("data/%06d", i*count/changed+7), "changed")
	}
	if err := b.forget(a); err != nil {
		t.Fatal(err)
	}
	stop := n.ledger()
	b.start()
	same(t, a.n.Self().Space, a, b)
	n.quiet()
	return about(stop())
}

// BenchmarkOneDifference is what it costs to find the one value that differs in
// a directory: at most 4 KB and two round trips, however many there are.
func BenchmarkOneDifference(b *testing.B) {
	for _, count := range []int{10_000, 1_000_000} {
		b.Run(strconv.Itoa(count), func(b *testing.B) {
			var bytes, trips int
			for b.Loop() {
				n := newNet()
				bytes, trips, _ = differences(b, n, count, 1)
			}
			b.ReportMetric(float64(bytes), "bytes-said")
			b.ReportMetric(float64(trips), "round-trips")
			if bytes > 4096 || trips > 2 {
				b.Errorf("one difference among %d cost %d bytes and %d round trips", count, bytes, trips)
			}
		})
	}
}

// TestMoreAuthorityThanFitsIntoAMessage: a space's rules and keys are bounded by
// nothing but what its owner writes.
func TestMoreAuthorityThanFitsIntoAMessage(t *testing.T) {
	n := newNet()
	a, b := n.peer(t, "a"), n.peer(t, "b")
	for i := range 30 {
		grants := make([]wire.Grant, 450)
		for j := range grants {
			grants[j] = wire.Grant{Who: wire.Who{Subject: wire.SubjectAny}, May: sennit.Read, Prefix: sennit.Path(fmt.Sprintf("%d/%d/%s", i, j, strings.Repeat("x", 200)))}
		}
		if _, err := a.n.Allow(context.Background(), a.n.Owner(), a.n.Self().Space, grants); err != nil {
			t.Fatal(err)
		}
	}
	a.put("hello", "world") // counts only where all of them are
	if err := b.join(a.invite()); err != nil {
		t.Fatal(err)
	}
	same(t, a.n.Self().Space, a, b)
}
