package replicate_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
)

// soon waits until something is so.
func soon(t *testing.T, within time.Duration, what string, so func() bool) {
	t.Helper()
	for begun := time.Now(); !so(); time.Sleep(100 * time.Millisecond) {
		if time.Since(begun) > within {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// knows reports whether a peer knows that another holds a space: it was in step with it.
func (p *peer) knows(space sennit.Space, other *peer) bool {
	for _, s := range p.sources(space) {
		if s.Host == other.host && len(s.Addrs) > 0 {
			return true
		}
	}
	return false
}

// sources is the hosts of which a peer knows that they hold a space, or heard so.
func (p *peer) sources(space sennit.Space) []replicate.Source {
	p.t.Helper()
	all, err := p.r.Sources()
	if err != nil {
		p.t.Fatal(err)
	}
	return all[space]
}

// TestFollowersServeEachOther: the owner goes away, and those who knew only the
// owner go on. Somebody who follows later, through one of them, learns of the rest.
func TestFollowersServeEachOther(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		owner, b, c, d := n.open(t, "owner", 0), n.open(t, "b", 0), n.open(t, "c", 0), n.open(t, "d", 0)
		space := owner.n.Self().Space
		owner.put("posts/1", "before")
		owner.lets(sennit.Read, "", b, c, d)
		owner.lets(sennit.Read|sennit.Write, "wall", c)
		b.follows(space, owner)
		c.follows(space, owner)
		agree(t, space, prefix.All(), owner, b, c)
		soon(t, 3*time.Minute, "b and c know of each other", func() bool { return b.knows(space, c) && c.knows(space, b) })

		owner.stop()
		c.write(space.String(), put("wall/1", "while the owner is away"))
		agree(t, space, prefix.All(), b, c)

		d.follows(space, b)
		agree(t, space, prefix.All(), b, c, d)
		soon(t, 5*time.Minute, "d knows all others", func() bool { return d.knows(space, owner) && d.knows(space, c) })

		// What was learnt is kept, and whoever is back is served.
		b.restart()
		b.follows(space, owner)
		if !b.knows(space, c) {
			t.Error("a restart forgets who holds what")
		}
		owner.start()
		owner.put("posts/2", "after")
		agree(t, space, prefix.All(), owner, b, c, d)
		for _, p := range []*peer{b, c, d} {
			if got := p.values(space)["wall/1"]; got != "while the owner is away" {
				t.Errorf("wall/1 is %q", got)
			}
		}

		if err := d.n.Unfollow(t.Context(), space); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if all := d.sources(space); len(all) > 0 {
			t.Errorf("of a space that isn't followed any more it knows %d hosts", len(all))
		}
		d.restart()
		if all := d.sources(space); len(all) > 0 {
			t.Errorf("after a restart it knows %d hosts of it", len(all))
		}
	})
}

// TestFewSessionsPerSpace: however many hold a space, each follower keeps few
// sessions of its own accord, and the host that was chosen is among them.
func TestFewSessionsPerSpace(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		owner := n.open(t, "owner", 0)
		space := owner.n.Self().Space
		var all []*peer
		for i := range 8 {
			all = append(all, n.open(t, fmt.Sprint("f", i), 0))
		}
		owner.lets(sennit.Read, "", all...)
		owner.put("posts/1", "a post")
		for _, p := range all {
			p.follows(space, owner)
		}
		agree(t, space, prefix.All(), append([]*peer{owner}, all...)...)
		time.Sleep(20 * time.Minute)
		for i, p := range all {
			began, chosen := 0, false
			for _, s := range p.r.Peers() {
				n.mu.Lock()
				mine := n.dialled[[2]replicate.Host{p.host, s.Host}]
				n.mu.Unlock()
				began += min(mine, 1)
				chosen = chosen || s.Host == owner.host
			}
			if began > 3 || !chosen || len(p.r.Peers()) < 2 {
				t.Errorf("follower %d began %d of its %d sessions, one with the owner: %v", i, began, len(p.r.Peers()), chosen)
			}
		}
	})
}

// TestAHiddenNodeIsNotTold: others learn of the owner and of who is open, and
// nobody learns where a node is that doesn't want it.
func TestAHiddenNodeIsNotTold(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		owner, b := n.open(t, "owner", 0), n.open(t, "b", 0)
		hidden := n.peerWith(t, "hidden", replicate.Config{Hidden: true, Addrs: func() []string { return []string{"/ip4/192.0.2.200/tcp/1"} }})
		space := owner.n.Self().Space
		owner.lets(sennit.Read, "", b, hidden)
		owner.put("posts/1", "a post")
		b.follows(space, owner)
		hidden.follows(space, owner)
		soon(t, 5*time.Minute, "the hidden one knows b", func() bool { return hidden.knows(space, b) })
		time.Sleep(10 * time.Minute)
		for _, p := range []*peer{owner, b} {
			if p.knows(space, hidden) {
				t.Error("somebody knows where the hidden node is")
			}
		}

		// Who wants to be hidden from now on is not told of any more.
		b.stop()
		b.cfg.Hidden = true
		b.start()
		time.Sleep(10 * time.Minute)
		late := n.open(t, "late", 0)
		owner.lets(sennit.Read, "", late)
		late.follows(space, owner)
		agree(t, space, prefix.All(), owner, b, late)
		time.Sleep(10 * time.Minute)
		if late.knows(space, b) {
			t.Error("somebody learnt where a node is that is hidden now")
		}
	})
}

// TestABusyOwner serves three of ten followers, and sends the others to those.
// All get everything; the owner's friends, whom it follows, are served in any case.
func TestABusyOwner(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		const guests = 3
		owner, friend := n.open(t, "owner", guests), n.open(t, "friend", 0)
		space := owner.n.Self().Space
		var all []*peer
		for i := range 10 {
			all = append(all, n.open(t, fmt.Sprint("f", i), 0))
		}
		anybody := wire.Grant{May: sennit.Read, Who: wire.Who{Subject: wire.SubjectAny}} // so newcomers with an invitation look like all others
		if _, err := owner.n.Allow(t.Context(), owner.n.Owner(), space, []wire.Grant{anybody}); err != nil {
			t.Fatal(err)
		}
		owner.put("posts/1", "a post")
		most := func() {
			t.Helper()
			served := 0
			for _, p := range owner.r.Peers() {
				if len(p.Spaces) > 0 && p.Host != friend.host {
					served++
				}
			}
			if served > guests {
				t.Errorf("the owner serves %d guests", served)
			}
		}
		for _, p := range all {
			p.follows(space, owner)
		}
		for range 120 {
			time.Sleep(5 * time.Second)
			most()
		}
		n.mu.Lock()
		for _, p := range all {
			if dials := n.dialled[[2]replicate.Host{p.host, owner.host}]; dials > 10 {
				t.Errorf("somebody turned to the busy owner %d times in ten minutes", dials)
			}
		}
		n.mu.Unlock()
		agree(t, space, prefix.All(), append([]*peer{owner}, all...)...)
		n.listen(func(_, _ replicate.Host, msg []byte) [][]byte {
			if typeOf(msg) == wire.FrameRedeem {
				time.Sleep(time.Second) // an invitation is seen only after the hello
			}
			return [][]byte{msg}
		})
		friend.follows(space, owner)
		agree(t, space, prefix.All(), owner, friend) // from others
		friends(t, owner, friend)
		most()

		owner.put("posts/2", "another")
		agree(t, space, prefix.All(), append([]*peer{owner, friend}, all...)...)

		// The three leave, and others take their places.
		var gone []*peer
		for _, p := range all {
			for _, s := range owner.r.Peers() {
				if s.Host == p.host && len(s.Spaces) > 0 {
					gone = append(gone, p)
				}
			}
		}
		for _, p := range gone {
			p.stop()
		}
		if len(gone) != guests {
			t.Fatalf("the owner served %d guests", len(gone))
		}
		owner.put("posts/3", "a third")
		agree(t, space, prefix.All(), append([]*peer{owner, friend}, slices.DeleteFunc(all, func(p *peer) bool { return slices.Contains(gone, p) })...)...)
		most()
	})
}

// TestALyingTeller: what it tells costs its hearer a few dials in vain, however
// much and often it tells, and nothing else suffers from it.
func TestALyingTeller(t *testing.T) {
	lies := map[string]func(n *net, t *testing.T) func(i uint64) []wire.Source{
		"hosts that there aren't": func(*net, *testing.T) func(uint64) []wire.Source {
			return func(i uint64) (all []wire.Source) {
				for j := range byte(wire.MaxSources) {
					s := wire.Source{Host: [32]byte{0: j, 1: 'x'}, Addrs: []string{"/ip4/203.0.113.1/tcp/1", "nonsense"}}
					binary.BigEndian.PutUint64(s.Host[8:], i)
					all = append(all, s)
				}
				return all
			}
		},
		"a host without the space": func(n *net, t *testing.T) func(uint64) []wire.Source {
			stranger := n.open(t, "stranger", 0)
			return func(uint64) []wire.Source { return []wire.Source{{Host: stranger.host, Addrs: stranger.at().Addrs}} }
		},
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *net) {
				owner, victim, liar := n.open(t, "owner", 0), n.open(t, "victim", 0), n.open(t, "liar", 0)
				space := owner.n.Self().Space
				owner.lets(sennit.Read, "", victim, liar)
				owner.put("posts/1", "a post")
				lies := lie(n, t)
				told := tellLies(n, liar, victim, lies)
				victim.follows(space, owner)
				liar.follows(space, owner)
				agree(t, space, prefix.All(), owner, victim, liar)
				soon(t, 3*time.Minute, "the victim knows the liar", func() bool { return victim.knows(space, liar) })
				owner.stop()
				for begun := time.Now(); time.Since(begun) < 4*time.Hour; time.Sleep(20 * time.Second) {
					if got := len(victim.sources(space)); got > wire.MaxSources {
						t.Fatalf("it remembers %d hosts", got)
					}
				}
				soon(t, 2*time.Minute, "no session without use", func() bool {
					return !slices.ContainsFunc(victim.r.Peers(), func(p replicate.Peer) bool { return p.Host != liar.host })
				})
				vain := 0
				n.mu.Lock()
				for pair, dials := range n.dialled {
					if pair[0] == victim.host && pair[1] != owner.host && pair[1] != liar.host {
						vain += dials
					}
				}
				n.mu.Unlock()
				if most := 3 * wire.MaxSources; vain == 0 || vain > most {
					t.Errorf("%d dials in vain, want 1 to %d", vain, most)
				}
				if told.Load() < 500 {
					t.Errorf("only %d lies", told.Load())
				}
				owner.start()
				owner.put("posts/2", "another")
				agree(t, space, prefix.All(), owner, victim)
			})
		})
	}
}

// tellLies has a peer tell another lies of who holds what, beside each of its
// messages. It counts them.
func tellLies(n *net, liar, victim *peer, lie func(i uint64) []wire.Source) *atomic.Uint64 {
	told := new(atomic.Uint64)
	var mu sync.Mutex // guards what follows: a new session may begin before the last one has ended
	var number uint64
	var tag wire.Tag
	n.listen(func(from, to replicate.Host, msg []byte) (out [][]byte) {
		if from != liar.host || to != victim.host {
			return [][]byte{msg}
		}
		_, f, err := wire.DecodeFrame(slices.Clone(msg))
		if err != nil {
			liar.t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		switch f := f.(type) {
		case *wire.Hello:
			number, tag = 0, wire.Tag{}
		case *wire.Ack:
			tag = f.Tag
		case *wire.Sources:
			f.Others, tag = nil, f.Tag
		}
		out = append(out, wire.AppendFrame(nil, number, f))
		number++
		if tag != (wire.Tag{}) {
			own := liar.at().Addrs
			out = append(out, wire.AppendFrame(nil, number, &wire.Sources{Tag: tag, Own: own, Others: lie(told.Add(1))}))
			number++
		}
		return out
	})
	return told
}

// TestFollowersOfEachOtherLookAround: three who follow all of a space turned to
// one who has a part of it, and have the rest from each other: that is as many
// sources as they want, and all agree. They find the owner all the same when they
// are told of it, and have no more sessions for that.
func TestFollowersOfEachOtherLookAround(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		owner, part := n.open(t, "owner", 0), n.open(t, "part", 0)
		owner.stop()
		owner.cfg.Hidden = true
		owner.start()
		all := []*peer{n.open(t, "b", 0), n.open(t, "c", 0), n.open(t, "d", 0)}
		space := owner.n.Self().Space
		owner.put("a/1", "in the part")
		owner.lets(sennit.Read, "", append(all, part)...)
		part.follows(space, owner, "a")
		agree(t, space, prefix.Of("a"), owner, part)
		for _, p := range all {
			p.follows(space, part)
		}
		soon(t, 10*time.Minute, "all have sources enough", func() bool {
			return !slices.ContainsFunc(all, func(p *peer) bool { return len(p.r.Peers()) < 3 })
		})
		agree(t, space, prefix.Of("a"), append(all, part)...)

		owner.stop()
		owner.cfg.Hidden = false
		owner.start()
		soon(t, 10*time.Minute, "all were told of the owner", func() bool {
			return !slices.ContainsFunc(all, func(p *peer) bool {
				return !slices.ContainsFunc(p.sources(space), func(s replicate.Source) bool { return s.Host == owner.host })
			})
		})
		owner.put("b/1", "elsewhere")
		soon(t, 30*time.Minute, "all have what lies elsewhere", func() bool { return disagree(space, prefix.All(), append(all, owner)) == "" })

		n.mu.Lock()
		clear(n.dialled)
		n.mu.Unlock()
		time.Sleep(2 * time.Hour)
		for i, p := range all {
			dials := 0
			n.mu.Lock()
			for pair, times := range n.dialled {
				if pair[0] == p.host {
					dials += times
				}
			}
			n.mu.Unlock()
			if dials > 50 { // at most one in two and a half minutes
				t.Errorf("%d dialled %d times in two quiet hours", i, dials)
			}
		}
	})
}
