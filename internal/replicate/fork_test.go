package replicate_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
)

// signedOnce is the commit of a log that has one and that is written by hand.
func signedOnce(t *testing.T, rec wire.Log, auth []sennit.Hash, path, value string, sign func(sennit.Hash) [64]byte) *commit.Commit {
	t.Helper()
	op := wire.Op{Kind: sennit.KindPut, Path: sennit.MustPath(path), Body: wire.Put{Value: sennit.Value{Data: []byte(value)}}.Append(nil)}
	var none commit.Peaks
	c, err := commit.Build(rec.Space, rec.ID(), &none, uint64(time.Now().UnixMilli())<<16, auth, []wire.Op{op}, sign, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fork has the device of a peer sign two histories of a log of its space, which
// another peer is given.
func (p *peer) fork(t *testing.T, at *peer, nonce byte) wire.Log {
	t.Helper()
	self := p.n.Self()
	rec := wire.Log{Space: self.Space, Principal: self.Space, Device: self.Device, Class: wire.Data, Nonce: [16]byte{nonce}}
	in := at.n.Intake()
	if err := in.Log(rec); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"one", "other"} {
		c := signedOnce(t, rec, p.n.Authority(self.Space).Heads()[:1], "secret/forked", value, p.id.SignCommit)
		if err := in.Run(context.Background(), &wire.Run{Log: rec.ID(), Items: []wire.RunItem{c.Item()}, Sig: *c.Sig}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := in.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(at.n.Forks(self.Space)) == 0 {
		t.Fatal("who holds both histories made no proof")
	}
	return rec
}

// accusals counts fork proofs on their way, by sender and receiver, and may
// change them.
type accusals struct {
	mu     sync.Mutex
	sent   map[[2]replicate.Host]int
	hellos map[[2]replicate.Host]int
	change func(from, to replicate.Host, f *wire.ForkFrame)
}

func (a *accusals) on(n *net) {
	a.sent, a.hellos = map[[2]replicate.Host]int{}, map[[2]replicate.Host]int{}
	n.listen(func(from, to replicate.Host, msg []byte) [][]byte {
		a.mu.Lock()
		defer a.mu.Unlock()
		switch typeOf(msg) {
		case wire.FrameHello:
			a.hellos[[2]replicate.Host{from, to}]++
		case wire.FrameFork:
			a.sent[[2]replicate.Host{from, to}]++
			if a.change != nil {
				number, f, err := wire.DecodeFrame(slices.Clone(msg))
				if err != nil {
					return [][]byte{msg}
				}
				a.change(from, to, f.(*wire.ForkFrame))
				msg = wire.AppendFrame(nil, number, f)
			}
		}
		return [][]byte{msg}
	})
}

func (a *accusals) between(from, to *peer) (proofs, hellos int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := [2]replicate.Host{from.host, to.host}
	return a.sent[at], a.hellos[at]
}

// TestAForkProofGoesThroughOthers: who holds neither history learns of the fork
// from who learnt of it, once in a session, and still knows after a restart.
func TestAForkProofGoesThroughOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		var x accusals
		x.on(n)
		a, b, c, d, stranger := n.peer(t, "a"), n.peer(t, "b"), n.peer(t, "c"), n.peer(t, "d"), n.peer(t, "stranger")
		space := a.n.Self().Space
		a.put("posts/1", "text")
		a.lets(sennit.Read, "", b)
		a.lets(sennit.Read, "posts", c, d)
		b.follows(space, a)
		c.follows(space, b)
		d.follows(space, c)
		stranger.follows(space, c)
		a.fork(t, a, 1) // before anybody is there
		time.Sleep(20 * time.Second)
		a.fork(t, a, 2)
		time.Sleep(20 * time.Second)
		for i, p := range []*peer{a, b, c, d} {
			if got := len(p.n.Forks(space)); got != 2 {
				t.Errorf("peer %d has %d proofs", i, got)
			}
		}
		if _, err := c.bus().Get(context.Background(), sennit.Addr{Root: space.String(), Path: "secret/forked"}); sennit.CodeOf(err) != sennit.NotFound {
			t.Errorf("the third in the line has what was signed: %v", err)
		}
		for _, hop := range []struct{ from, to *peer }{{b, c}, {c, d}} {
			if there, _ := x.between(hop.from, hop.to); there != 2 {
				t.Errorf("%d proofs were sent down the line, want 2", there)
			}
			if back, _ := x.between(hop.to, hop.from); back != 0 {
				t.Errorf("%d proofs came back", back)
			}
		}
		if sent, _ := x.between(c, stranger); sent > 0 || len(stranger.n.Forks(space)) > 0 {
			t.Errorf("%d proofs went to who may read nothing", sent)
		}
		want := c.n.Forks(space)[0].Proof.Append(nil)
		c.stop()
		c.start()
		time.Sleep(2 * time.Minute)
		if all := c.n.Forks(space); len(all) != 2 || !bytes.Equal(all[0].Proof.Append(nil), want) {
			t.Errorf("after a restart it has %d proofs, or others", len(all))
		}
		sent, hellos := x.between(b, c)
		if back, _ := x.between(c, b); sent > 2*hellos || back > 2*hellos {
			t.Errorf("%d and %d proofs in %d sessions", sent, back, hellos)
		}
	})
}

// TestForkProofsOfLiars: what proves nothing ends the session and is not kept;
// what is about nobody that is known is dropped.
func TestForkProofsOfLiars(t *testing.T) {
	unknown := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32))
	for _, test := range []struct {
		what string
		lie  func(t *testing.T, a *peer, f *wire.ForkFrame)
		ends bool
	}{
		{"a wrong signature", func(_ *testing.T, _ *peer, f *wire.ForkFrame) { f.Proof.SigA[9] ^= 1 }, true},
		{"the same header twice", func(_ *testing.T, _ *peer, f *wire.ForkFrame) { f.Proof.B, f.Proof.SigB = f.Proof.A, f.Proof.SigA }, true},
		{"another space", func(_ *testing.T, _ *peer, f *wire.ForkFrame) { f.Proof.Log.Space[0] ^= 1 }, true},
		{"a device that nobody knows", func(t *testing.T, a *peer, f *wire.ForkFrame) {
			rec := f.Proof.Log
			rec.Device = sennit.Device(unknown.Public().(ed25519.PublicKey))
			sign := func(id sennit.Hash) [64]byte { return keys.Sign(unknown, keys.DomainCommit, id[:]) }
			one, other := signedOnce(t, rec, f.Proof.A.Auth, "x", "1", sign), signedOnce(t, rec, f.Proof.A.Auth, "x", "2", sign)
			*f.Proof = wire.ForkProof{Log: rec, A: one.Header(rec.Space), B: other.Header(rec.Space), SigA: *one.Sig, SigB: *other.Sig}
		}, false},
	} {
		t.Run(test.what, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *net) {
				var x accusals
				x.on(n)
				a, b, c := n.peer(t, "a"), n.peer(t, "b"), n.peer(t, "c")
				space := a.n.Self().Space
				a.put("posts/1", "text")
				a.lets(sennit.Read, "", b)
				a.lets(sennit.Read, "posts", c)
				b.follows(space, a)
				c.follows(space, b)
				time.Sleep(20 * time.Second)
				x.mu.Lock()
				x.change = func(from, _ replicate.Host, f *wire.ForkFrame) {
					if from == b.host {
						test.lie(t, a, f)
					}
				}
				x.mu.Unlock()
				_, before := x.between(b, c)
				a.fork(t, a, 1)
				time.Sleep(20 * time.Second)
				if sent, after := x.between(b, c); sent == 0 || (after > before) != test.ends {
					t.Errorf("%d proofs were sent, and %d sessions began since", sent, after-before)
				}
				if got := len(c.n.Forks(space)); got > 0 {
					t.Errorf("%d proofs are kept", got)
				}
			})
		})
	}
}

// TestAFloodOfForkProofs: of a device that signs any number of them a bounded number
// is kept, and a session checks a bounded number.
func TestAFloodOfForkProofs(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		var x accusals
		x.on(n)
		a, b := n.peer(t, "a"), n.peer(t, "b")
		space := a.n.Self().Space
		a.put("posts/1", "text")
		a.lets(sennit.Read, "posts", b)
		b.follows(space, a)
		time.Sleep(20 * time.Second)
		for i := range 20 {
			time.Sleep(time.Second)
			a.fork(t, a, byte(i+1))
		}
		time.Sleep(20 * time.Second)
		names := func(p *peer) (all []string) {
			for _, f := range p.n.Forks(space) {
				all = append(all, fmt.Sprint(f.Proof.Log.Nonce[0]))
			}
			slices.Sort(all)
			return all
		}
		if got, want := names(b), []string{"13", "14", "15", "16", "17", "18", "19", "20"}; !slices.Equal(got, want) || !slices.Equal(names(a), want) {
			t.Errorf("%v and %v are kept, want %v", names(a), got, want)
		}
		if sent, _ := x.between(a, b); sent != 20 {
			t.Errorf("%d proofs were sent, want 20", sent)
		}
	})
}
