package swarm_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

func TestABlobArrivesByItself(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		b.join(a)
		ref := a.put("film", bytesOf(1, 5e6))
		b.arrives(ref, 5*time.Second)
		time.Sleep(time.Second)
		if got := b.s.Pending(10); got.Blobs != 0 || got.Bytes != 0 {
			t.Errorf("it has everything and says that it lacks %+v", got)
		}
	})
}

// TestOneThatWasThereBeforeIsFetched: the value was there before
// anybody followed.
func TestOneThatWasThereBeforeIsFetched(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		ref, small := a.put("film", bytesOf(1, 1e6)), a.put("picture", bytesOf(2, 65537))
		b.join(a)
		b.arrives(ref, 5*time.Second)
		b.arrives(small, time.Second)
	})
}

// slow makes each message with data take a while, one at a time.
func (n *net) slow(each time.Duration) {
	n.listen(func(_, _ replicate.Host, msg []byte) [][]byte {
		if typeOf(msg) == wire.FrameBlobData {
			time.Sleep(each)
		}
		return [][]byte{msg}
	})
}

// TestAReaderInTheMiddleIsServedFirst reads from the middle and the end of a
// blob long before all of it can be there.
func TestAReaderInTheMiddleIsServedFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		content := bytesOf(1, 10e6)
		ref := a.put("film", content)
		n.slow(3 * time.Second) // so that slices stay small
		b.join(a)
		b.knows(a.space(), "film")
		_, c, err := b.bus().Open(t.Context(), sennit.Addr{Root: a.space().String(), Path: "film"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, off := range []int64{6_111_111, 9_999_000, 3} {
			buf := make([]byte, 1000)
			begun := time.Now()
			if _, err := c.ReadAt(t.Context(), buf, off); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(buf, content[off:off+1000]) {
				t.Errorf("other bytes at %d", off)
			}
			if took := time.Since(begun); took > 40*time.Second { // what is under way already comes first
				t.Errorf("the bytes at %d took %s", off, took)
			}
		}
		if b.has(ref) {
			t.Error("all of it was there: that says nothing")
		}
	})
}

// TestItGoesOnWhereItWas stops either side again and again.
func TestItGoesOnWhereItWas(t *testing.T) {
	for _, how := range []string{"server stops", "server crashes", "client stops", "client crashes"} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *net) {
				a, b := n.peer(t, "a", crashable), n.peer(t, "b", crashable)
				b.join(a)
				b.follow(a.space(), a)
				var mu sync.Mutex
				moved, enough, stop := 0, 20, make(chan struct{}, 1)
				n.listen(func(_, _ replicate.Host, msg []byte) [][]byte {
					if typeOf(msg) == wire.FrameBlobData {
						time.Sleep(700 * time.Millisecond) // so slow that it is one piece at a time
						mu.Lock()
						if moved++; enough > 0 {
							if enough--; enough == 0 {
								stop <- struct{}{}
							}
						}
						mu.Unlock()
					}
					return [][]byte{msg}
				})
				const pieces, rounds = 100, 4
				ref := a.put("film", bytesOf(3, pieces<<16))
				for i := range rounds {
					<-stop
					if b.has(ref) {
						t.Fatal("it is there already: that says nothing")
					}
					who, crash := a, strings.HasSuffix(how, "crashes")
					if strings.HasPrefix(how, "client") {
						who = b
					}
					if crash {
						who.crash(uint64(i))
					} else {
						who.restart()
					}
					mu.Lock()
					enough = 10 + 2*i
					mu.Unlock()
					a.r.Wake()
					b.r.Wake()
				}
				b.arrives(ref, 10*time.Minute)
				mu.Lock()
				defer mu.Unlock()
				// What was under way when it stopped comes again, and after a crash what was
				// not synced.
				most := pieces + rounds*4
				if how == "client crashes" {
					most += rounds * 16
				}
				if moved > most {
					t.Errorf("%d pieces came of %d", moved, pieces)
				}
			})
		})
	}
}

// TestSeveralSources fetches from three who have it at once.
func TestSeveralSources(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b, c, d := n.peer(t, "a"), n.peer(t, "b"), n.peer(t, "c"), n.peer(t, "d")
		peers := []*peer{b, c, d}
		for _, p := range peers {
			p.join(a)
		}
		ref := a.put("film", bytesOf(1, 4e6))
		b.arrives(ref, time.Minute)
		c.arrives(ref, time.Minute)
		d.arrives(ref, time.Minute)
		e := n.peer(t, "e")
		var mu sync.Mutex
		came := map[replicate.Host]int{}
		n.listen(func(from, to replicate.Host, msg []byte) [][]byte {
			if typeOf(msg) == wire.FrameBlobData && to == e.host {
				time.Sleep(200 * time.Millisecond)
				mu.Lock()
				came[from]++
				mu.Unlock()
			}
			return [][]byte{msg}
		})
		for _, p := range []*peer{b, c} { // sessions first, the space last
			e.join(p)
		}
		a.allow(e, "", sennit.Read)
		e.join(a)
		e.arrives(ref, time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if len(came) < 2 {
			t.Errorf("slices came from %d peers", len(came))
		}
	})
}

// TestWhoMayNotReadGetsNothing: a peer that may read a part of a space asks for
// a blob elsewhere in it, and for one that isn't there.
func TestWhoMayNotReadGetsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		secret, open := a.put("secret/film", bytesOf(1, 1e6)), a.put("open/film", bytesOf(2, 1e6))
		a.allow(b, "open", sennit.Read)
		in := a.n.Intake()
		if err := in.Evidence(t.Context(), a.space(), evidence(b)); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.follow(a.space(), a)
		b.arrives(open, 10*time.Second)
		ask := func(w wire.BlobWant) string {
			c, err := n.dial(b, a.host, true, func(to *peer, c *pipe) { to.run(func(ctx context.Context) { to.s.Serve(ctx, c) }) })
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Send(t.Context(), wire.AppendBlobFrame(nil, 0, &w)); err != nil {
				t.Fatal(err)
			}
			msg, err := c.Recv(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			synctest.Wait() // its place is free again
			return string(msg)
		}
		nothing := string(wire.AppendBlobFrame(nil, 0, &wire.BlobReject{}))
		made := sennit.Blob{Root: sennit.Hash{1}, Size: 1e6}
		for _, count := range []uint32{0, 1} {
			for name, w := range map[string]wire.BlobWant{
				"one that it may not read":          {Space: a.space(), Path: "secret/film", Blob: secret},
				"the same under a path it may read": {Space: a.space(), Path: "open/film", Blob: secret},
				"the same under no path":            {Space: a.space(), Path: "open/none", Blob: secret},
				"in another space":                  {Space: b.space(), Path: "open/film", Blob: secret},
				"in a space that isn't there":       {Space: sennit.Space{9}, Path: "open/film", Blob: open},
				"one that isn't there":              {Space: a.space(), Path: "secret/film", Blob: made},
				"of another size":                   {Space: a.space(), Path: "open/film", Blob: sennit.Blob{Root: open.Root, Size: open.Size + 1}},
			} {
				w.Count = count
				if got := ask(w); got != nothing {
					t.Errorf("%s, %d pieces: it gets %.20q", name, count, got)
				}
			}
			if got := ask(wire.BlobWant{Space: a.space(), Path: "open/film", Blob: open, Count: count}); got == nothing {
				t.Errorf("what it may read is refused with %d pieces", count)
			}
		}
		if n := b.blobs.Usage(); n > 1.1e6 {
			t.Errorf("%d bytes came", n)
		}
	})
}

func evidence(p *peer) *wire.Evidence {
	return &wire.Evidence{Inception: p.id.Inception(), Events: p.id.Events()}
}

// TestNobodyHasIt: a reader hears so within seconds.
func TestNobodyHasIt(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		b.join(a)
		huge := sennit.Blob{Root: sennit.Hash{1}, Size: 30 << 30}
		a.claim("made/up", huge)
		lost := sennit.Blob{Root: sennit.Hash{2}, Size: 1 << 20}
		a.claim("lost", lost)
		b.knows(a.space(), "lost")
		for path, ref := range map[sennit.Path]sennit.Blob{"lost": lost, "made/up": huge} {
			w := node.Want{Space: a.space(), Path: path, Blob: ref}
			begun := time.Now()
			err := b.s.Fetch(t.Context(), w)
			if sennit.CodeOf(err) != sennit.Unreachable || !strings.Contains(err.Error(), replicate.HostText(a.host)+" doesn't have them") {
				t.Errorf("with a session: %v", err)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
		}
		time.Sleep(time.Second)
		if why := b.why(lost); why != "nobody has it" {
			t.Errorf("of the lost one it says %q", why)
		}
		if why := b.why(huge); why != "over budget" {
			t.Errorf("of the huge one it says %q", why)
		}
		if u := b.blobs.Usage(); u != 0 {
			t.Errorf("claims take %d bytes on disk", u)
		}
		a.stop()
		time.Sleep(time.Minute)
		begun := time.Now()
		err := b.s.Fetch(t.Context(), node.Want{Space: a.space(), Path: "lost", Blob: lost})
		if sennit.CodeOf(err) != sennit.Unreachable || time.Since(begun) > 5*time.Second || sennit.HintOf(err) == "" {
			t.Errorf("without a session, after %s: %v", time.Since(begun), err)
		}
	})
}

// TestItComesWhenSomebodyHasIt: one that nobody had is fetched once somebody
// has it, after a pause or because a session opens.
func TestItComesWhenSomebodyHasIt(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		b.join(a)
		content := bytesOf(1, 1e6)
		ref := a.put("film", content)
		if err := a.blobs.Remove(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		b.arrivesNot(ref, 20*time.Minute)
		if why := b.why(ref); why != "nobody has it" {
			t.Errorf("it says %q", why)
		}
		w := a.blobs.Create()
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.restart()
		a.r.Wake()
		b.r.Wake()
		b.arrives(ref, 10*time.Second)
	})
}

// arrivesNot waits, and wants a blob not to be there then.
func (p *peer) arrivesNot(ref sennit.Blob, within time.Duration) {
	p.t.Helper()
	time.Sleep(within)
	if p.has(ref) {
		p.t.Fatalf("%s has the blob", p.name)
	}
}

// TestTheBudgetIsKept: the smaller ones come, the others when somebody reads.
func TestTheBudgetIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b", func(p *peer) { p.budget = 3e6 })
		b.join(a)
		large, middle, small := a.put("l", bytesOf(1, 4e6)), a.put("m", bytesOf(2, 2e6)), a.put("s", bytesOf(3, 9e5))
		b.arrives(middle, time.Minute)
		b.arrives(small, time.Minute)
		b.arrivesNot(large, 30*time.Minute)
		more := a.put("m2", bytesOf(4, 1e6))
		b.arrivesNot(more, 30*time.Minute)
		for _, ref := range []sennit.Blob{large, more} {
			if why := b.why(ref); why != "over budget" {
				t.Errorf("it says %q", why)
			}
		}
		if got := b.s.Pending(1); got.Blobs != 2 || got.Bytes != large.Size+more.Size || len(got.Some) != 1 || got.Some[0].Blob != more {
			t.Errorf("pending is %+v", got)
		}
		_, c, err := b.bus().Open(t.Context(), sennit.Addr{Root: a.space().String(), Path: "l"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.ReadAt(t.Context(), make([]byte, 10), 1e6); err != nil {
			t.Fatal(err)
		}
		b.arrives(large, time.Minute)
		mine := b.put("own", bytesOf(5, 5e6)) // no budget for what is its own
		if !b.has(mine) {
			t.Error("its own is gone")
		}
	})
}

// TestOnlyWhatIsFollowedIsFetched: a space that is here, but not followed any
// more, costs nothing; nor does what lies outside the prefixes.
func TestOnlyWhatIsFollowedIsFetched(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		b.join(a)
		err := b.n.EditFollow(t.Context(), a.space(), func(f *node.Follow) { f.Prefixes = []sennit.Path{"in"} })
		if err != nil {
			t.Fatal(err)
		}
		out, in := a.put("out", bytesOf(1, 1e5)), a.put("in/it", bytesOf(2, 1e5))
		b.arrives(in, time.Minute)
		b.arrivesNot(out, 10*time.Minute)
		if err := b.n.Unfollow(t.Context(), a.space()); err != nil {
			t.Fatal(err)
		}
		b.arrivesNot(a.put("in/too", bytesOf(3, 1e5)), 10*time.Minute)
		if got := b.s.Pending(10); got.Blobs != 0 {
			t.Errorf("it says that it waits for %+v", got)
		}
	})
}

// TestAFullDiskStopsFetching, and it goes on when there is room.
func TestAFullDiskStopsFetching(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		var mu sync.Mutex
		left := 5 // times that there is room
		b := n.peer(t, "b", func(p *peer) {
			p.full = func() error {
				mu.Lock()
				defer mu.Unlock()
				if left--; left < 0 {
					return sennit.Errorf(sennit.ReadOnly, "the disk is full")
				}
				return nil
			}
		})
		a := n.peer(t, "a")
		b.join(a)
		ref := a.put("film", bytesOf(1, 10e6))
		b.arrivesNot(ref, 10*time.Minute)
		if u := b.blobs.Usage(); u == 0 || u > 6<<20 {
			t.Errorf("%d bytes came", u)
		}
		if why := b.why(ref); why != "the disk is full" {
			t.Errorf("it says %q", why)
		}
		_, c, err := b.bus().Open(t.Context(), sennit.Addr{Root: a.space().String(), Path: "film"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.ReadAt(t.Context(), make([]byte, 1), 9e6); sennit.CodeOf(err) != sennit.ReadOnly {
			t.Errorf("a reader gets %v", err)
		}
		c.Close()
		mu.Lock()
		left = 1e6
		mu.Unlock()
		b.arrives(ref, time.Minute)
	})
}

// TestWhatNothingNamesIsNotKeptInPart: a value is replaced while it is fetched.
func TestWhatNothingNamesIsNotKeptInPart(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b")
		b.join(a)
		n.slow(time.Second)
		ref := a.put("film", bytesOf(1, 9e6))
		for b.blobs.Usage() == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		next := a.put("film", bytesOf(2, 1e5))
		b.arrives(next, time.Minute)
		time.Sleep(5 * time.Minute)
		if err := b.blobs.Each(func(got sennit.Blob, _ uint64, whole bool) error {
			if got == ref {
				t.Errorf("the old one is still there, whole: %v", whole)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// TestAFetchEndsWithItsContext, and with the swarm.
func TestAFetchEndsWithItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b", func(p *peer) { p.budget = 1 })
		b.join(a)
		n.slow(time.Minute)
		w := node.Want{Space: a.space(), Path: "film", Blob: a.put("film", bytesOf(1, 5e6))}
		b.knows(a.space(), "film")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begun := time.Now()
		if err := b.s.Fetch(ctx, w); sennit.CodeOf(err) != sennit.Timeout || time.Since(begun) > 6*time.Second {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
		ended := make(chan error, 1)
		go func() { ended <- b.s.Fetch(t.Context(), w) }()
		time.Sleep(time.Second)
		s := b.s
		b.stop()
		if err := <-ended; sennit.CodeOf(err) != sennit.Gone {
			t.Errorf("when the swarm ends: %v", err)
		}
		if err := s.Fetch(t.Context(), w); sennit.CodeOf(err) != sennit.Gone {
			t.Errorf("after that: %v", err)
		}
	})
}

// TestNamesOfBlobsThatNeverCameAreForgotten: a follower without room for a large
// value that is set over and over remembers only what it is now.
func TestNamesOfBlobsThatNeverCameAreForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, n *net) {
		a, b := n.peer(t, "a"), n.peer(t, "b", func(p *peer) { p.budget = 1 })
		b.join(a)
		var last sennit.Blob
		for i := range 5 {
			last = a.put("film", bytesOf(uint64(i), 1e5))
		}
		time.Sleep(time.Minute)
		if _, err := b.n.CollectBlobs(t.Context()); err != nil {
			t.Fatal(err)
		}
		v, err := b.st.View()
		if err != nil {
			t.Fatal(err)
		}
		defer v.Release()
		var named []sennit.Blob
		if err := v.AllBlobNames(func(name store.BlobName) error {
			named = append(named, name.Blob)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(named) != 1 || named[0] != last {
			t.Errorf("%d blobs are remembered", len(named))
		}
	})
}
