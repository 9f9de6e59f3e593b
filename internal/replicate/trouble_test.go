package replicate_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/bubble"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
)

// inBubble runs a test in virtual time.
func inBubble(t *testing.T, f func(t *testing.T, n *net)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) { f(t, newNet()) })
}

// listen gives every message to hear, which says what arrives instead.
func (n *net) listen(hear func(from, to replicate.Host, msg []byte) [][]byte) { n.tap.Store(&hear) }

func typeOf(msg []byte) wire.FrameType { return wire.FrameType(msg[0]) }

// friends makes a and b follow each other.
func friends(t *testing.T, a, b *peer) {
	t.Helper()
	if err := b.join(a.invite()); err != nil {
		t.Fatal(err)
	}
	same(t, a.n.Self().Space, a, b)
	same(t, b.n.Self().Space, a, b)
}

// TestRestartInTheMiddleOfAFirstSync stops either side after some messages
// with ops, and starts it again on the same store.
func TestRestartInTheMiddleOfAFirstSync(t *testing.T) {
	moments := []int{1, 2, 4}
	if testing.Short() {
		moments = moments[1:2]
	}
	for _, after := range moments {
		for _, who := range []string{"the writer", "the reader"} {
			t.Run(fmt.Sprintf("%s after %d", who, after), func(t *testing.T) {
				inBubble(t, func(t *testing.T, n *net) {
					a, b := n.peer(t, "a"), n.peer(t, "b")
					a.fill(8000, 100)
					var mu sync.Mutex
					seen, reached := 0, make(chan struct{})
					n.listen(func(from, _ replicate.Host, msg []byte) [][]byte {
						mu.Lock()
						defer mu.Unlock()
						if from == a.host && typeOf(msg) == wire.FrameOps && len(msg) > 10_000 {
							if seen++; seen == after {
								close(reached)
							}
						}
						return [][]byte{msg}
					})
					if err := b.join(a.invite()); err != nil {
						t.Fatal(err)
					}
					<-reached
					if who == "the writer" {
						a.restart()
					} else {
						b.restart()
					}
					same(t, a.n.Self().Space, a, b)
				})
			})
		}
	}
}

// TestBothSidesDialAtOnce ends a session and makes both sides dial before either
// is reached: one session stays, and both agree which.
func TestBothSidesDialAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		friends(t, a, b)
		n.delay.Store(int64(50 * time.Millisecond))
		var mu sync.Mutex
		hellos, lose := 0, false
		n.listen(func(_, _ replicate.Host, msg []byte) [][]byte {
			mu.Lock()
			defer mu.Unlock()
			if typeOf(msg) == wire.FrameHello {
				hellos++
			}
			if lose && typeOf(msg) == wire.FrameOps {
				lose = false
				return nil
			}
			return [][]byte{msg}
		})
		const rounds = 10
		for i := range rounds {
			time.Sleep(200 * time.Millisecond) // what is lost in a session that another takes the place of ends nothing
			mu.Lock()
			lose = true
			mu.Unlock()
			a.put(fmt.Sprintf("posts/%d", i), "from a")
			b.put(fmt.Sprintf("posts/%d", i), "from b")
			for tries := 0; len(a.r.Peers())+len(b.r.Peers()) > 0; tries++ {
				if time.Sleep(time.Millisecond); tries > 60_000 {
					t.Fatal("the loss ended no session")
				}
			}
			a.r.Wake()
			b.r.Wake()
			same(t, a.n.Self().Space, a, b)
			same(t, b.n.Self().Space, a, b)
			if len(a.r.Peers()) != 1 || len(b.r.Peers()) != 1 {
				t.Fatalf("%d and %d sessions", len(a.r.Peers()), len(b.r.Peers()))
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if hellos <= 5*rounds/2 { // each session that stays has two, one that goes at most two
			t.Errorf("%d hellos in %d rounds: the sides didn't dial at once", hellos, rounds)
		}
	})
}

// TestAPeerThatWasKilledIsBackSoon: the other side doesn't know that the session
// is dead, and must not hold on to it until it would notice by itself.
func TestAPeerThatWasKilledIsBackSoon(t *testing.T) {
	pairs := 4 // the host with the lower key is one or the other
	if testing.Short() {
		pairs = 1
	}
	for range pairs {
		inBubble(t, func(t *testing.T, n *net) {
			a, b := n.peer(t, "a"), n.peer(t, "b")
			friends(t, a, b)
			for i, killed := range []*peer{a, b, a, b} {
				n.dying.Store(killed)
				killed.stop()
				n.dying.Store(nil)
				killed.start()
				begun := time.Now()
				killed.put("back", fmt.Sprint(i))
				same(t, killed.n.Self().Space, a, b)
				if took := time.Since(begun); took > 15*time.Second {
					t.Errorf("it took %v until they were in step again", took)
				}
			}
		})
	}
}

// TestAfterUnfollowNothingMoreComes: what is here stays as it is.
func TestAfterUnfollowNothingMoreComes(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		a.put("posts/1", "before")
		friends(t, a, b)
		ctx, space := context.Background(), a.n.Self().Space
		if err := b.n.Unfollow(ctx, space); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // what is on its way in the same moment may still come
		a.put("posts/2", "after")
		time.Sleep(time.Minute)
		at := func(path string) error {
			_, err := b.bus().Get(ctx, sennit.Addr{Root: space.String(), Path: sennit.MustPath(path)})
			return err
		}
		if err := at("posts/1"); err != nil {
			t.Errorf("what was here is gone: %v", err)
		}
		if err := at("posts/2"); sennit.CodeOf(err) != sennit.NotFound {
			t.Errorf("what was written after the unfollow came all the same: %v", err)
		}
	})
}

// canary is in values and names that must not leave a node.
const canary = "c4n4ry-in-the-coal-mine"

// heard keeps what a host sends.
type heard struct {
	mu   sync.Mutex
	msgs [][]byte
}

func (h *heard) from(n *net, host replicate.Host) {
	n.listen(func(from, _ replicate.Host, msg []byte) [][]byte {
		h.mu.Lock()
		defer h.mu.Unlock()
		if from == host {
			h.msgs = append(h.msgs, msg)
		}
		return [][]byte{msg}
	})
}

func (h *heard) types() (all []wire.FrameType) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.msgs {
		all = append(all, typeOf(m))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (h *heard) canaries() (all []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.msgs {
		if bytes.Contains(m, []byte(canary)) {
			all = append(all, fmt.Sprintf("message %d of type %d", m[1], m[0]))
		}
	}
	return all
}

// TestAReaderOfAPrefixGetsThatPrefixOnly: of what lies elsewhere neither values
// nor names leave, in a first sync, live, or by comparing.
func TestAReaderOfAPrefixGetsThatPrefixOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		ctx := context.Background()
		write := func(round string) {
			t.Helper()
			var changes []sennit.Change
			for i := range 50 {
				for _, path := range []string{"posts/%s-%d", canary + "/%s-%d", "postscript/" + canary + "%s%d"} {
					value := "public"
					if strings.Contains(path, canary) {
						value = canary
					}
					changes = append(changes, sennit.Change{
						Kind: sennit.KindPut, Path: sennit.MustPath(fmt.Sprintf(path, round, i)), Value: sennit.Value{Data: []byte(value)},
					})
				}
			}
			if _, err := a.bus().Write(ctx, "me", changes); err != nil {
				t.Fatal(err)
			}
		}
		write("first")
		var h heard
		h.from(n, a.host)
		_, link, err := a.r.NewInvite(ctx, replicate.Invite{Uses: 1, Expires: time.Now().Add(time.Hour), Reads: "posts"})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.join(link); err != nil {
			t.Fatal(err)
		}
		space := a.n.Self().Space
		wait := func(round string) {
			t.Helper()
			addr := sennit.Addr{Root: space.String(), Path: sennit.MustPath(fmt.Sprintf("posts/%s-49", round))}
			for range 1000 {
				if v, err := b.bus().Get(ctx, addr); err == nil && string(v.Value.Data) == "public" {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Fatalf("what may be read of %q doesn't come", round)
		}
		wait("first")
		write("live")
		wait("live")
		n.quiet()
		b.stop()
		write("apart")
		if err := b.forget(a); err != nil { // so that they have to compare
			t.Fatal(err)
		}
		b.start()
		wait("apart")
		time.Sleep(10 * time.Minute) // so that they compare again
		if found := h.canaries(); len(found) > 0 {
			t.Errorf("what the reader may not know is in %v", found)
		}
		if !slices.Contains(h.types(), wire.FrameOpen) || !slices.Contains(h.types(), wire.FrameOps) {
			t.Error("nothing was replicated")
		}
		for _, path := range []string{canary + "/first-1", "postscript/" + canary + "live1"} {
			if _, err := b.bus().Get(ctx, sennit.Addr{Root: space.String(), Path: sennit.MustPath(path)}); err == nil {
				t.Errorf("the reader got %s", path)
			}
		}
	})
}

// TestAPeerWithoutRightsLearnsNothing: it follows a space that the other node
// holds, and gets the same messages as from a node that doesn't hold it.
func TestAPeerWithoutRightsLearnsNothing(t *testing.T) {
	talk := func(t *testing.T, holds bool) (said []string) {
		inBubble(t, func(t *testing.T, n *net) {
			a, b, owner := n.peer(t, "a"), n.peer(t, "b"), n.peer(t, "owner")
			ctx, space := context.Background(), owner.n.Self().Space
			owner.put("posts/1", canary)
			if holds {
				friends(t, owner, a)
			}
			var h heard
			n.listen(func(from, to replicate.Host, msg []byte) [][]byte {
				h.mu.Lock()
				defer h.mu.Unlock()
				if from == a.host && to == b.host {
					h.msgs = append(h.msgs, msg)
				}
				return [][]byte{msg}
			})
			if err := b.n.EditFollow(ctx, space, func(f *node.Follow) {
				f.Hosts, f.Mode, f.Prefixes = []node.Host{a.at()}, "live", []sennit.Path{""}
			}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Second)
			if len(b.r.Peers()) != 1 {
				t.Fatalf("%d sessions", len(b.r.Peers()))
			}
			if found := h.canaries(); len(found) > 0 {
				t.Errorf("the canary is in %v", found)
			}
			if _, err := b.bus().Get(ctx, sennit.Addr{Root: space.String(), Path: "posts/1"}); sennit.CodeOf(err) != sennit.NotFound {
				t.Errorf("a peer without rights reads: %v", err)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			for _, m := range h.msgs {
				said = append(said, fmt.Sprintf("type %d, %d bytes", m[0], len(m)))
			}
			slices.Sort(said)
		})
		return said
	}
	with, without := talk(t, true), talk(t, false)
	if len(with) < 2 || !slices.Equal(with, without) {
		t.Errorf("a node that holds the space says %q, one that doesn't %q", with, without)
	}
}

// TestFaultsOfATransportEndTheSessionOnly loses, repeats or reorders one
// message. The session ends, and the next one finds what is missing.
func TestFaultsOfATransportEndTheSessionOnly(t *testing.T) {
	moments := []int{0, 1, 2, 3, 5, 8}
	if testing.Short() {
		moments = []int{0, 2, 5}
	}
	for _, fault := range []string{"lost", "repeated", "reordered"} {
		for _, at := range moments {
			t.Run(fmt.Sprintf("%s %d", fault, at), func(t *testing.T) {
				inBubble(t, func(t *testing.T, n *net) {
					a, b := n.peer(t, "a"), n.peer(t, "b")
					friends(t, a, b)
					b.stop()
					a.fill(3000, 100)
					var mu sync.Mutex
					count, hellos, done := 0, 0, false
					var held []byte
					n.listen(func(from, _ replicate.Host, msg []byte) [][]byte {
						mu.Lock()
						defer mu.Unlock()
						if from != a.host {
							return [][]byte{msg}
						}
						if typeOf(msg) == wire.FrameHello {
							hellos++
						}
						if held != nil {
							all := [][]byte{msg, held}
							held = nil
							return all
						}
						if count++; done || count <= at {
							return [][]byte{msg}
						}
						done = true
						switch fault {
						case "lost":
							return nil
						case "repeated":
							return [][]byte{msg, msg}
						}
						held = bytes.Clone(msg)
						return nil
					})
					b.start()
					b.put("posts/1", "hello")
					same(t, a.n.Self().Space, a, b)
					same(t, b.n.Self().Space, a, b)
					mu.Lock()
					defer mu.Unlock()
					if !done || hellos < 2 {
						t.Errorf("the fault happened: %t; sessions: %d, want another one after it", done, hellos)
					}
				})
			})
		}
	}
}

// TestACertificateThatRanOutProvesNothing: clocks that differ by more than a
// day end no session, and make each side take the other for anybody.
func TestACertificateThatRanOutProvesNothing(t *testing.T) {
	for skew, trusted := range map[time.Duration]bool{
		0: true, 23 * time.Hour: true, -23 * time.Hour: true, 25 * time.Hour: false, -25 * time.Hour: false, 365 * 24 * time.Hour: false, -365 * 24 * time.Hour: false,
	} {
		t.Run(skew.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *net) {
				a, b := n.peer(t, "a"), n.peer(t, "b")
				friends(t, a, b)
				b.stop()
				b.skew = skew
				b.start()
				time.Sleep(10 * time.Second)
				for p, other := range map[*peer]*peer{a: b, b: a} {
					peers := p.r.Peers()
					if len(peers) != 1 {
						t.Fatalf("%d sessions", len(peers))
					}
					if known := peers[0].Principal.Space == other.n.Self().Space; known != trusted {
						t.Errorf("the other side is known to be who it is: %v", known)
					}
				}
				if ahead := b.r.Ahead(); (ahead - skew).Abs() > time.Minute {
					t.Errorf("it learns that it is ahead by %v", ahead)
				}
			})
		})
	}
}

// TestAStrangersClockIsNoClock: only hosts through which this node follows
// somebody tell it that its own clock is wrong, since it stops writing then.
func TestAStrangersClockIsNoClock(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, friend, stranger := n.peer(t, "a"), n.peer(t, "friend"), n.peer(t, "stranger")
		friends(t, a, friend)
		stranger.stop()
		stranger.skew = -time.Hour
		stranger.start()
		if err := stranger.n.EditFollow(t.Context(), a.n.Self().Space, func(f *node.Follow) {
			f.Hosts, f.Mode = []node.Host{a.at()}, "live"
		}); err != nil {
			t.Fatal(err)
		}
		ahead := func(want time.Duration) {
			t.Helper()
			for tries := 0; len(a.r.Peers()) != 2; tries++ {
				if time.Sleep(time.Second); tries > 300 {
					t.Fatalf("%d sessions", len(a.r.Peers()))
				}
			}
			time.Sleep(time.Second) // for the hellos
			if got := a.r.Ahead(); (got - want).Abs() > time.Minute {
				t.Errorf("ahead by %v, want %v", got, want)
			}
		}
		ahead(0)
		friend.stop()
		friend.skew = -2 * time.Hour
		friend.start()
		ahead(2 * time.Hour)
	})
}

// TestRulesThatComeWhileDigestsAreCompared: a rule that is made at the moment
// when the peer asks for a comparison reaches it nevertheless.
func TestRulesThatComeWhileDigestsAreCompared(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		friends(t, a, b)
		rules := 0
		n.tap.Store(new(func(_, to replicate.Host, msg []byte) [][]byte {
			_, f, err := wire.DecodeFrame(msg)
			if c, ok := f.(*wire.Compare); err == nil && ok && len(c.Items) > 0 && rules < 40 {
				rules++
				p := a
				if to == b.host {
					p = b
				}
				g := wire.Grant{Who: wire.Who{Subject: wire.SubjectAny}, May: sennit.Read, Prefix: sennit.Path(fmt.Sprint("open/", rules))}
				if _, err := p.n.Allow(context.Background(), p.n.Owner(), p.n.Self().Space, []wire.Grant{g}); err != nil {
					t.Error(err)
				}
			}
			return [][]byte{msg}
		}))
		for i := range 20 {
			time.Sleep(6 * time.Minute) // digests are compared meanwhile
			for _, p := range []*peer{a, b} {
				space := p.n.Self().Space
				if a.n.Authority(space).Digest() != b.n.Authority(space).Digest() {
					t.Fatalf("round %d: they judge by different rules", i)
				}
			}
		}
		if rules == 0 {
			t.Error("nothing was compared")
		}
	})
}
