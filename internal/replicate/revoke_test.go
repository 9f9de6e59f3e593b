package replicate_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/wire"
)

// TestALateRevocationReachesACopyOfAPart: the commit that the cut names lies
// outside of the part that a follower has. It keeps what counts, and loses what
// was written beyond the cut while its author didn't know.
func TestALateRevocationReachesACopyOfAPart(t *testing.T) {
	for name, restarts := range map[string]bool{"in touch": false, "apart": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *net) {
				a, b, c := n.peer(t, "a"), n.peer(t, "b"), n.peer(t, "c")
				space := a.n.Self().Space
				a.lets(sennit.Read|sennit.Write, "", b, c)
				c.follows(space, a)
				b.follows(space, a, "posts")
				a.write("me", put("posts/0", "by the owner"))
				c.comes(space, "posts/0", "by the owner")
				for _, p := range []sennit.Path{"posts/1", "photos/1", "posts/0", "photos/2"} {
					c.write(space.String(), put(p, "by a guest"))
				}
				agree(t, space, prefix.Set{"posts"}, a, b, c)
				time.Sleep(time.Minute) // all has been compared, and won't be soon again by itself

				if restarts {
					b.stop()
				}
				c.stop()
				who := wire.Who{Subject: wire.SubjectSpace, Key: c.id.Space()}
				if _, err := a.n.Revoke(context.Background(), a.n.Owner(), space, []node.Revocation{{Who: who}}); err != nil {
					t.Fatal(err)
				}
				if restarts {
					b.start()
				}
				want := map[sennit.Path]string{"posts/0": "by a guest", "posts/1": "by a guest"}
				b.learns(space, a)
				b.shows(space, want)
				agree(t, space, prefix.Set{"posts"}, a, b)
				time.Sleep(time.Second)

				// The guest may not read any more, so it never learns of that; others do.
				c.start()
				c.write(space.String(), put("posts/2", "too late"))
				b.follows(space, c, "posts")
				time.Sleep(time.Minute)
				agree(t, space, prefix.Set{"posts"}, a, b)
				if got := b.values(space); !maps.Equal(got, want) {
					t.Errorf("beyond the cut %v came, want %v", got, want)
				}

				// What the guest wrote goes after all, and what it covered is back.
				if _, err := a.n.Revoke(context.Background(), a.n.Owner(), space, []node.Revocation{{Who: who, Void: true}}); err != nil {
					t.Fatal(err)
				}
				b.follows(space, a, "posts")
				b.learns(space, a)
				b.shows(space, map[sennit.Path]string{"posts/0": "by the owner"})
				agree(t, space, prefix.Set{"posts"}, a, b)
			})
		})
	}
}

// learns waits until a peer judges a space by what another knows of its rules.
func (p *peer) learns(space sennit.Space, from *peer) {
	p.t.Helper()
	for begun := time.Now(); p.n.Authority(space).Digest() != from.n.Authority(space).Digest(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > time.Minute {
			p.t.Fatal("the rules didn't come within a minute")
		}
	}
}

// shows waits until a peer shows these values: what is cut off counts again when
// it is proved that it lies before the cut.
func (p *peer) shows(space sennit.Space, want map[sennit.Path]string) {
	p.t.Helper()
	for begun := time.Now(); !maps.Equal(p.values(space), want); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			p.t.Fatalf("it shows %v, want %v", p.values(space), want)
		}
	}
}
