package replicate_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
)

// lets has an owner let others do something at and under a prefix.
func (p *peer) lets(may sennit.Rights, at sennit.Path, others ...*peer) {
	p.t.Helper()
	ctx, space := context.Background(), p.n.Self().Space
	var grants []wire.Grant
	for _, o := range others {
		grants = append(grants, wire.Grant{Prefix: at, May: may, Who: wire.Who{Subject: wire.SubjectSpace, Key: o.id.Space()}})
	}
	if _, err := p.n.Allow(ctx, p.n.Owner(), space, grants); err != nil {
		p.t.Fatal(err)
	}
	in := p.n.Intake()
	for _, o := range others {
		if err := in.Evidence(ctx, space, &wire.Evidence{Inception: o.id.Inception(), Events: o.id.Events()}); err != nil {
			p.t.Fatal(err)
		}
	}
	if _, err := in.Wait(ctx); err != nil {
		p.t.Fatal(err)
	}
}

// follows has a peer follow parts of a space through a host.
func (p *peer) follows(space sennit.Space, via *peer, parts ...sennit.Path) {
	p.t.Helper()
	if err := p.n.EditFollow(context.Background(), space, func(f *node.Follow) {
		f.Mode, f.Prefixes = "live", parts
		if via != nil {
			f.Hosts = []node.Host{via.at()}
		}
	}); err != nil {
		p.t.Fatal(err)
	}
}

// agree waits until peers have the same digests of some parts of a space.
func agree(t *testing.T, space sennit.Space, part prefix.Set, peers ...*peer) {
	t.Helper()
	why := ""
	for begun := time.Now(); time.Since(begun) < 20*time.Minute; time.Sleep(20 * time.Millisecond) {
		if why = disagree(space, part, peers); why == "" {
			return
		}
	}
	t.Fatalf("no agreement: %s", why)
}

func disagree(space sennit.Space, part prefix.Set, peers []*peer) string {
	for _, p := range part {
		var want sennit.Digest
		for i, x := range peers {
			d, err := x.bus().Digest(context.Background(), sennit.Addr{Root: space.String(), Path: p})
			if err != nil {
				return fmt.Sprintf("peer %d, %q: %v", i, p, err)
			}
			if i == 0 {
				want = d
			}
			if d.Hash != want.Hash {
				return fmt.Sprintf("%q: %d live ops at peer 0, %d at peer %d", p, want.Ops, d.Ops, i)
			}
		}
	}
	return ""
}

// values is what a peer shows of a space.
func (p *peer) values(space sennit.Space) map[sennit.Path]string {
	p.t.Helper()
	all := map[sennit.Path]string{}
	var look func(at sennit.Path)
	look = func(at sennit.Path) {
		a := sennit.Addr{Root: space.String(), Path: at}
		if n, err := p.bus().Get(context.Background(), a); err == nil {
			all[at] = string(n.Value.Data)
		}
		entries, _, err := p.bus().List(context.Background(), a, sennit.Listing{})
		if err != nil && sennit.CodeOf(err) != sennit.NotFound {
			p.t.Fatal(err)
		}
		for _, e := range entries {
			look(at.Join(sennit.Path(e.Name)))
		}
	}
	look("")
	return all
}

// heldOp is an op that a peer holds.
type heldOp struct {
	path sennit.Path
	deep bool
	by   sennit.Space
}

// ops is the ops of a space that a peer holds, live or not.
func (p *peer) ops(space sennit.Space) (all []heldOp) {
	p.t.Helper()
	batch, err := p.n.Feed(space, nil).After(0, 1<<30, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	by := map[sennit.Hash]sennit.Space{}
	for _, l := range batch.Logs {
		by[l.ID()] = l.Principal
	}
	for _, run := range batch.Runs {
		for _, it := range run.Items {
			for _, part := range it.Parts {
				for _, op := range part.Ops {
					all = append(all, heldOp{op.Path, op.Kind == sennit.KindDel && op.Body[0] == 1, by[run.Log]})
				}
			}
		}
	}
	return all
}

func (p *peer) write(root string, changes ...sennit.Change) {
	p.t.Helper()
	if _, err := p.bus().Write(context.Background(), root, changes); err != nil {
		p.t.Fatal(err)
	}
}

func put(path sennit.Path, value string) sennit.Change {
	return sennit.Change{Kind: sennit.KindPut, Path: path, Value: sennit.Value{Data: []byte(value)}}
}

// TestAFollowOfAPartTakesThatPart: of a commit across the space only what lies
// in the part leaves the source; more when more is followed, and no more when less is.
func TestAFollowOfAPartTakesThatPart(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		space := a.n.Self().Space
		a.lets(sennit.Read, "", b)
		var h heard
		h.from(n, a.host)
		round := func(name string, secret string) {
			a.write("me", put(sennit.Path("posts/"+name), "public"), put(sennit.Path("photos/"+name), secret), put(sennit.Path("postscript/"+name), canary))
		}
		round("1", canary)
		b.follows(space, a, "posts")
		agree(t, space, prefix.Set{"posts"}, a, b)
		round("2", canary)
		agree(t, space, prefix.Set{"posts"}, a, b)
		a.write("me", sennit.Change{Kind: sennit.KindDel, Path: "posts", Deep: true})
		round("3", canary)
		b.restart()
		agree(t, space, prefix.Set{"posts"}, a, b)
		time.Sleep(11 * time.Minute) // so that they compare again
		if found := h.canaries(); len(found) > 0 {
			t.Errorf("what the follower doesn't take is in %v", found)
		}
		if got := b.values(space); !maps.Equal(got, map[sennit.Path]string{"posts/3": "public"}) {
			t.Errorf("the follower holds %v", got)
		}
		_, err := b.bus().Digest(t.Context(), sennit.Addr{Root: space.String()})
		if sennit.CodeOf(err) != sennit.Unsupported || !strings.Contains(err.Error(), "follows only /"+space.String()+"/posts") {
			t.Errorf("a digest of more than is here: %v", err)
		}
		if saved, err := a.r.Saved(space); saved != 0 || err != nil {
			t.Errorf("%d peers are said to hold everything (%v)", saved, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if a.r.Synced(ctx, space) || !b.r.Synced(ctx, space) {
			t.Error("the part is said to be all, or not to be all that is followed")
		}

		b.follows(space, nil, "photos", "posts") // what was left out until now has to come
		begun := time.Now()
		agree(t, space, prefix.Set{"photos", "posts"}, a, b)
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("it took %v until more that is followed was there", took)
		}
		b.follows(space, nil, "photos")
		time.Sleep(time.Second)
		round("4", "shown")
		agree(t, space, prefix.Set{"photos"}, a, b)
		got := b.values(space)
		if got["posts/3"] != "public" || got["posts/4"] != "" || got["photos/4"] != "shown" {
			t.Errorf("after it follows less, the follower holds %v", got)
		}
		b.follows(space, nil)
		agree(t, space, prefix.All(), a, b)
		time.Sleep(5 * time.Second) // until a comparison has told so
		if saved, err := a.r.Saved(space); saved != 1 || err != nil {
			t.Errorf("%d peers are said to hold everything (%v)", saved, err)
		}
	})
}

// TestADeletionAboveAPartReachesIt whichever way the two sides learn of it.
func TestADeletionAboveAPartReachesIt(t *testing.T) {
	for _, way := range []string{"live", "later", "compared"} {
		for _, at := range []sennit.Path{"", "posts", "posts/2026"} {
			t.Run(fmt.Sprintf("%s %q", way, at), func(t *testing.T) {
				inBubble(t, func(t *testing.T, n *net) {
					a, b := n.peer(t, "a"), n.peer(t, "b")
					space, part := a.n.Self().Space, prefix.Set{"posts/2026/may"}
					a.lets(sennit.Read, "", b)
					a.put("posts/2026/may/1", "one")
					a.put("posts/2025/x", "other")
					b.follows(space, a, part...)
					agree(t, space, part, a, b)
					if way != "live" {
						n.quiet()
						b.stop()
					}
					a.write("me", sennit.Change{Kind: sennit.KindDel, Path: at, Deep: true})
					if way == "compared" {
						if err := b.forget(a); err != nil {
							t.Fatal(err)
						}
					}
					if way != "live" {
						b.start()
					}
					agree(t, space, part, a, b)
					if got := b.values(space); len(got) > 0 {
						t.Errorf("the follower still shows %v", got)
					}
				})
			})
		}
	}
}

// TestWhatIsWrittenOutsideTheOwnPartIsNotLost: somebody who follows one part and
// writes to another brings that to the owner, even if both forgot of each other
// what they had, and no comparison looks there.
func TestWhatIsWrittenOutsideTheOwnPartIsNotLost(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		space := a.n.Self().Space
		a.lets(sennit.Read|sennit.Write, "", b)
		a.put("posts/1", "one")
		b.follows(space, a, "posts")
		agree(t, space, prefix.Set{"posts"}, a, b)
		n.quiet()
		a.stop()
		b.write(space.String(), put("inbox/1", "a letter"))
		b.put("own", "more arrives")
		b.stop()
		if err := a.forgetOf(b, space); err != nil {
			t.Fatal(err)
		}
		a.start()
		b.start()
		for begun := time.Now(); a.values(space)["inbox/1"] != "a letter"; time.Sleep(time.Second) {
			if time.Since(begun) > time.Minute {
				t.Fatal("the letter never arrives")
			}
		}
		time.Sleep(5 * time.Second)
		if saved, err := b.r.Saved(space); saved != 1 || err != nil {
			t.Errorf("%d peers are said to hold everything (%v)", saved, err)
		}
	})
}

// TestTwoPartsMakeAWhole: a third who can reach only two followers of different
// parts, each of which has ops of the same commits, gets both parts from them.
func TestTwoPartsMakeAWhole(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b, c, d := n.peer(t, "a"), n.peer(t, "b"), n.peer(t, "c"), n.peer(t, "d")
		space := a.n.Self().Space
		a.lets(sennit.Read, "", b, c, d)
		b.follows(space, a, "posts")
		c.follows(space, a, "photos", "posts/0")
		for i := range 20 {
			a.write("me", put(sennit.Path(fmt.Sprint("posts/", i)), "post"), put(sennit.Path(fmt.Sprint("photos/", i)), "photo"), put("notes", "note"))
		}
		a.write("me", sennit.Change{Kind: sennit.KindDel, Path: "photos/3"}, put("posts/3", "new"))
		agree(t, space, prefix.Set{"posts"}, a, b)
		agree(t, space, prefix.Set{"photos"}, a, c)
		digests := map[sennit.Path]sennit.Hash{}
		for _, part := range []sennit.Path{"posts", "photos"} {
			digest, err := a.bus().Digest(t.Context(), sennit.Addr{Root: space.String(), Path: part})
			if err != nil {
				t.Fatal(err)
			}
			digests[part] = digest.Hash
		}
		a.stop()
		d.follows(space, b, "photos", "posts")
		agree(t, space, prefix.Set{"posts"}, b, d)
		d.follows(space, c, "photos", "posts")
		agree(t, space, prefix.Set{"photos"}, c, d)
		for part, want := range digests {
			digest, err := d.bus().Digest(t.Context(), sennit.Addr{Root: space.String(), Path: part})
			if err != nil || digest.Hash != want {
				t.Errorf("%s: %v, %v", part, digest, err)
			}
		}
		if found, err := d.n.Verify(t.Context(), func(uint64, uint64) {}); err != nil || len(found) > 0 {
			t.Errorf("its store: %v, %v", found, err)
		}
	})
}

// TestALiarWhoSendsMoreThanIsFollowed gets nothing of it stored, and when it
// goes on, the session ends.
func TestALiarWhoSendsMoreThanIsFollowed(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		space := a.n.Self().Space
		a.lets(sennit.Read, "", b)
		// What b says it takes is altered on its way, so that a sends everything.
		hellos := 0
		n.listen(func(from, _ replicate.Host, msg []byte) [][]byte {
			if from != b.host {
				return [][]byte{msg}
			}
			number, f, err := wire.DecodeFrame(slices.Clone(msg))
			if err != nil {
				t.Error(err)
				return nil
			}
			switch o := f.(type) {
			case *wire.Hello:
				hellos++
			case *wire.Open:
				o.Interest = prefix.All()
				return [][]byte{wire.AppendFrame(nil, number, o)}
			}
			return [][]byte{msg}
		})
		b.follows(space, a, "posts")
		for i := range 100 {
			a.put(fmt.Sprint("photos/", i), "photo")
			time.Sleep(100 * time.Millisecond)
		}
		a.put("posts/1", "post")
		time.Sleep(time.Minute)
		for _, op := range b.ops(space) {
			if !(prefix.Set{"posts"}).Concerns(op.path, op.deep) {
				t.Errorf("%s was stored", op.path)
			}
		}
		if hellos < 2 {
			t.Error("a peer that goes on sending what nobody asked for loses no session")
		}
	})
}

// TestPartsOverTime has an owner, writers and followers of parts live through
// random histories: they write, follow more or less, lose connections, restart
// and collect. In the end everybody holds of what it follows what a map holds to
// which the same was done.
func TestPartsOverTime(t *testing.T) {
	seeds := uint64(8)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *net) { newHistory(t, n, seed).run() })
		})
	}
}

// history is one random history.
type history struct {
	t     *testing.T
	rng   *rand.Rand
	space sennit.Space
	peers []*peer // the owner first
	via   []int   // through whom each follows
	parts []prefix.Set
	ever  []prefix.Set // all that each followed at any time
	want  map[sennit.Path]string
}

func newHistory(t *testing.T, n *net, seed uint64) *history {
	h := &history{t: t, rng: rand.New(rand.NewPCG(seed, 'p')), want: map[sennit.Path]string{}}
	for i := range 3 + h.rng.IntN(2) {
		h.peers = append(h.peers, n.peer(t, fmt.Sprint("p", i)))
	}
	h.space = h.peers[0].n.Self().Space
	h.peers[0].lets(sennit.Read|sennit.Write|sennit.Remove, "", h.peers[1:]...)
	h.via = make([]int, len(h.peers))
	for i := range h.peers {
		h.parts, h.ever = append(h.parts, prefix.All()), append(h.ever, prefix.Set{})
		if i > 0 {
			h.via[i] = h.rng.IntN(i)
			h.follow(i)
		}
	}
	return h
}

func (h *history) path() sennit.Path {
	p := sennit.Path("")
	for range h.rng.IntN(4) {
		p = p.Join(sennit.Path([]string{"a", "b", "a-b"}[h.rng.IntN(3)]))
	}
	return p
}

// follow has a peer follow something else.
func (h *history) follow(i int) {
	var some []sennit.Path
	for range 1 + h.rng.IntN(3) {
		p := h.path()
		if p == "" && h.rng.IntN(3) > 0 {
			p = "b"
		}
		some = append(some, p)
	}
	h.parts[i] = prefix.Of(some...)
	h.ever[i] = prefix.Of(slices.Concat(h.ever[i], h.parts[i])...)
	h.peers[i].follows(h.space, h.peers[h.via[i]], h.parts[i]...)
}

func (h *history) run() {
	for range 60 {
		i := h.rng.IntN(len(h.peers))
		p := h.peers[i]
		switch h.rng.IntN(12) {
		case 0:
			if i > 0 {
				h.follow(i)
			}
		case 1:
			p.restart()
		case 2:
			p.stop()
			time.Sleep(time.Duration(h.rng.IntN(3)) * time.Second)
			p.start()
		case 3:
			if _, err := p.n.Collect(context.Background(), h.space, nil); err != nil && sennit.CodeOf(err) != sennit.NotFound {
				h.t.Fatal(err)
			}
		default:
			h.write(i)
		}
		time.Sleep(time.Duration(1+h.rng.IntN(400)) * time.Millisecond)
	}
	h.check()
}

// write does one thing, at a peer that may have heard of the rules or not. Who
// reaches the owner through another doesn't write: that one takes only its own
// parts, and passes no more on.
func (h *history) write(i int) {
	if h.via[i] != 0 {
		i = 0
	}
	var changes []sennit.Change
	for range 1 + h.rng.IntN(4) {
		at := h.path()
		switch h.rng.IntN(8) {
		case 0:
			changes = append(changes, sennit.Change{Kind: sennit.KindDel, Path: at})
		case 1:
			changes = append(changes, sennit.Change{Kind: sennit.KindDel, Path: at, Deep: true})
		default:
			changes = append(changes, put(cmp.Or(at, "a"), fmt.Sprintf("%d-%d", i, h.rng.IntN(1000))))
		}
	}
	_, err := h.peers[i].bus().Write(context.Background(), h.space.String(), changes)
	if code := sennit.CodeOf(err); code == sennit.Denied || code == sennit.NotFound {
		return // it has not heard of the rules yet
	} else if err != nil {
		h.t.Fatal(err)
	}
	for _, c := range changes {
		switch {
		case c.Kind == sennit.KindPut:
			h.want[c.Path] = string(c.Value.Data)
		case c.Deep:
			maps.DeleteFunc(h.want, func(p sennit.Path, _ string) bool { return p.Under(c.Path) })
		default:
			delete(h.want, c.Path)
		}
	}
}

func (h *history) check() {
	owner := h.peers[0]
	for begun := time.Now(); !maps.Equal(owner.values(h.space), h.want); time.Sleep(time.Second) {
		if time.Since(begun) > 20*time.Minute {
			h.t.Fatalf("the owner shows %v, want %v", owner.values(h.space), h.want)
		}
	}
	for i, p := range h.peers[1:] {
		// What a peer follows comes from those between it and the owner, as far as they keep it.
		part := h.parts[i+1]
		for at := h.via[i+1]; at != 0; at = h.via[at] {
			part = part.And(h.parts[at])
		}
		agree(h.t, h.space, part, owner, p)
		shows := p.values(h.space)
		for at, value := range shows {
			if part.Has(at) && h.want[at] != value {
				h.t.Errorf("peer %d shows %q at %q, want %q", i+1, value, at, h.want[at])
			}
		}
		for at, value := range h.want {
			if got := shows[at]; part.Has(at) && got != value {
				h.t.Errorf("peer %d shows %q at %q, want %q", i+1, got, at, value)
			}
		}
		for _, op := range p.ops(h.space) {
			if op.by != p.id.Space() && !h.ever[i+1].Concerns(op.path, op.deep) {
				h.t.Errorf("peer %d holds an op at %q, which it never followed (only %q)", i+1, op.path, h.ever[i+1])
			}
		}
	}
}
