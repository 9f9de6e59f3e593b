package replicate_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
)

// changed is a link with something in it changed, and the right check.
func changed(t *testing.T, text string, change func(*wire.Link)) string {
	t.Helper()
	l, err := wire.ParseLink(text)
	if err != nil {
		t.Fatal(err)
	}
	change(l)
	if text, err = l.Text(); err != nil {
		t.Fatal(err)
	}
	return text
}

// strangers checks that neither follows the other, nor lets it read.
func strangers(t *testing.T, a, b *peer) {
	t.Helper()
	for _, pair := range [][2]*peer{{a, b}, {b, a}} {
		p, other := pair[0], pair[1].n.Self()
		follows, err := p.n.Follows()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range follows {
			if f.Space == other.Space {
				t.Error("an invitation that is no good made a node follow")
			}
		}
		if reach := p.n.Authority(p.n.Self().Space).Readable(other, uint64(time.Now().UnixMilli())); len(reach) > 0 {
			t.Errorf("an invitation that is no good lets its user read %q", reach)
		}
	}
}

func TestInvitationsThatAreNoGood(t *testing.T) {
	later := func(l *wire.Link) { l.Until += 1 << 20 }
	for name, c := range map[string]struct {
		code  sennit.Code
		says  string
		spoil func(t *testing.T, a, c *peer, link string) string
	}{
		"used by somebody else": {sennit.Expired, "used already", func(t *testing.T, _, c *peer, link string) string {
			if err := c.join(link); err != nil {
				t.Fatal(err)
			}
			return link
		}},
		"expired": {sennit.Expired, "expired on", func(_ *testing.T, _, _ *peer, link string) string {
			time.Sleep(2 * time.Hour)
			return link
		}},
		"expired, with a later date written in": {sennit.Expired, "expired on", func(t *testing.T, _, _ *peer, link string) string {
			time.Sleep(2 * time.Hour)
			return changed(t, link, later)
		}},
		"revoked": {sennit.Expired, "revoked", func(t *testing.T, a, _ *peer, link string) string {
			all, err := a.r.Invites()
			if err != nil || len(all) != 1 {
				t.Fatal(all, err)
			}
			if err := a.r.RevokeInvite(context.Background(), all[0].ID); err != nil {
				t.Fatal(err)
			}
			return link
		}},
		"of another seed": {sennit.Expired, "never made here", func(t *testing.T, _, _ *peer, link string) string {
			return changed(t, link, func(l *wire.Link) { l.Seed[3]++ })
		}},
		"one character altered": {sennit.BadInput, "altered", func(_ *testing.T, _, _ *peer, link string) string {
			i, c := len(link)/2, "A"
			if link[i] == 'A' {
				c = "B"
			}
			return link[:i] + c + link[i+1:]
		}},
		"cut off": {sennit.BadInput, "not a whole invitation", func(_ *testing.T, _, _ *peer, link string) string {
			return link[:len(link)-5]
		}},
		"for somebody else's node": {sennit.Denied, "not for this node", func(t *testing.T, _, c *peer, link string) string {
			return changed(t, link, func(l *wire.Link) { l.Host = c.host })
		}},
		"of somebody else's space": {sennit.Denied, "not for this node", func(t *testing.T, _, c *peer, link string) string {
			return changed(t, link, func(l *wire.Link) { l.Space = c.n.Self().Space })
		}},
		"from a node that is down": {sennit.Unreachable, "can't be reached", func(_ *testing.T, a, _ *peer, link string) string {
			a.net.mu.Lock()
			defer a.net.mu.Unlock()
			delete(a.net.peers, a.host)
			return link
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *net) {
				a, b, other := n.peer(t, "a"), n.peer(t, "b"), n.peer(t, "c")
				err := b.join(c.spoil(t, a, other, a.invite()))
				if sennit.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) || sennit.HintOf(err) == "" {
					t.Errorf("got %q, %v (hint %q); want %q, %q and a hint", sennit.CodeOf(err), err, sennit.HintOf(err), c.code, c.says)
				}
				strangers(t, a, b)
				strangers(t, other, b)
			})
		})
	}
}

func TestOwnInvitationIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a := n.peer(t, "a")
		if err := a.join(a.invite()); sennit.CodeOf(err) != sennit.BadInput || sennit.HintOf(err) == "" {
			t.Errorf("got %v", err)
		}
	})
}

// TestInvitationOutlivesALostAnswer: the inviter counted the use and agreed,
// but its answer got lost. Whoever used it may use it again, even when it has
// run out by then, and that is no second use; nobody else may.
func TestInvitationOutlivesALostAnswer(t *testing.T) {
	for name, wait := range map[string]time.Duration{"at once": 0, "after it ran out": 2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *net) {
				a, b, c := n.peer(t, "a"), n.peer(t, "b"), n.peer(t, "c")
				link := a.invite()
				var mu sync.Mutex
				lost := false
				n.listen(func(_, _ replicate.Host, msg []byte) [][]byte {
					mu.Lock()
					defer mu.Unlock()
					if !lost && typeOf(msg) == wire.FrameWelcome {
						lost = true
						return nil
					}
					return [][]byte{msg}
				})
				if err := b.join(link); err != nil {
					t.Fatalf("a lost answer is asked for again: %v", err)
				}
				time.Sleep(wait)
				if wait > 0 {
					link = changed(t, link, func(l *wire.Link) { l.Until += 1 << 20 })
				}
				if err := b.join(link); err != nil {
					t.Fatalf("used again by the same space: %v", err)
				}
				a.put("posts/1", "welcome")
				same(t, a.n.Self().Space, a, b)
				same(t, b.n.Self().Space, a, b)
				all, err := a.r.Invites()
				if err != nil || len(all) != 1 || all[0].Used != 1 || len(all[0].By) != 1 {
					t.Errorf("invitations are now %+v, %v", all, err)
				}
				if err := c.join(link); sennit.CodeOf(err) != sennit.Expired {
					t.Errorf("used by somebody else as well: %v", err)
				}
				strangers(t, a, c)
			})
		})
	}
}

// TestInvitationLetsInAsManyAsItSays counts uses across restarts.
func TestInvitationLetsInAsManyAsItSays(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a := n.peer(t, "a")
		_, link, err := a.r.NewInvite(context.Background(), replicate.Invite{Uses: 2, Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []sennit.Code{"", "", sennit.Expired} {
			if err := n.peer(t, "guest").join(link); sennit.CodeOf(err) != want {
				t.Errorf("guest %d: %v", i, err)
			}
			a.restart()
		}
	})
}

func TestInvitationsHaveLimits(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a := n.peer(t, "a")
		for name, in := range map[string]replicate.Invite{
			"no use":        {Uses: 0, Expires: time.Now().Add(time.Hour)},
			"too many uses": {Uses: replicate.MaxUses + 1, Expires: time.Now().Add(time.Hour)},
			"past":          {Uses: 1, Expires: time.Now().Add(-time.Hour)},
			"too short":     {Uses: 1, Expires: time.Now().Add(59 * time.Second)},
			"too long":      {Uses: 1, Expires: time.Now().Add(replicate.MaxInviteLife + time.Second)},
		} {
			if _, _, err := a.r.NewInvite(context.Background(), in); sennit.CodeOf(err) != sennit.BadInput {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := a.r.RevokeInvite(context.Background(), "00"); sennit.CodeOf(err) != sennit.NotFound {
			t.Errorf("revoking what was never made: %v", err)
		}
	})
}
