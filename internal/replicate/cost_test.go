package replicate_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sennit/sennit"
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

// TestFirstSyncCarriesLittleBesideTheValues: 100,000 values of 100 to 250
// bytes reach an empty peer in at most 26 MB.
func TestFirstSyncCarriesLittleBesideTheValues(t *testing.T) {
	count := 100_000
	if testing.Short() {
		count = 10_000
	}
	n := newNet()
	a, b := n.peer(t, "a"), n.peer(t, "b")
	values := a.fill(count, 1000)
	before := n.bytes.Load()
	begun := time.Now()
	if err := b.join(a.invite()); err != nil {
		t.Fatal(err)
	}
	same(t, a.n.Self().Space, a, b)
	took, bytes := time.Since(begun), n.bytes.Load()-before
	t.Logf("%d values of %d bytes: %d bytes sent, %v", count, values, bytes, took)
	if per := float64(bytes) / float64(count); per > 260 {
		t.Errorf("%.0f bytes a value; at most 260 are wanted", per)
	}
}

// TestEqualPeersSayLittle: two nodes that hold the same find that out with
// less than 1 KB in both directions together, after one message each way.
func TestEqualPeersSayLittle(t *testing.T) {
	n := newNet()
	a, b := n.peer(t, "a"), n.peer(t, "b")
	a.fill(2000, 1000)
	if err := b.join(a.invite()); err != nil {
		t.Fatal(err)
	}
	same(t, a.n.Self().Space, a, b)
	n.quiet()
	b.stop()
	bytes, turns := n.bytes.Load(), n.turns.Load()
	b.start()
	same(t, a.n.Self().Space, a, b)
	n.quiet()
	t.Logf("%d bytes in %d messages, for two spaces", n.bytes.Load()-bytes, n.turns.Load()-turns)
}

// TestScatteredChangesCostLittle: ten changed values among 100,000 cost at
// most 4 KB beside the ops, and two round trips after the digests differed,
// even where nothing is remembered of an earlier session.
func TestScatteredChangesCostLittle(t *testing.T) {
	count := 100_000
	if testing.Short() {
		count = 20_000
	}
	n := newNet()
	a, b := n.peer(t, "a"), n.peer(t, "b")
	a.fill(count, 1000)
	if err := b.join(a.invite()); err != nil {
		t.Fatal(err)
	}
	same(t, a.n.Self().Space, a, b)
	n.quiet()
	b.stop()
	for i := range 10 {
		a.put(fmt.Sprintf("data/%06d", i*count/10+7), "changed")
	}
	if err := b.forget(a); err != nil {
		t.Fatal(err)
	}
	bytes, turns := n.bytes.Load(), n.turns.Load()
	b.start()
	same(t, a.n.Self().Space, a, b)
	t.Logf("%d bytes in %d messages", n.bytes.Load()-bytes, n.turns.Load()-turns)
	n.quiet()
	t.Logf("%d bytes in %d messages until all is quiet", n.bytes.Load()-bytes, n.turns.Load()-turns)
}
