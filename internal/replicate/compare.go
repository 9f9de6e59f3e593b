package replicate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/wire"
)

// Sizes by which a comparison chooses how to describe a node. They make 10
// scattered differences in 100,000 values cost 2 round trips and at most 4 KB.
const (
	fewOps     = 32      // up to here, all live ops of a node are listed
	manyKids   = 2048    // from here on, two levels of the trie are described at once; one of 390 children costs less level by level
	maxPush    = 1 << 15 // paths sent because of one comparison; the next one finds the rest
	maxAnswers = 512     // nodes described in one message
)

func hashOf(b []byte) sennit.Hash { return sha256.Sum256(b) }

func print4(h sennit.Hash) [4]byte { return [4]byte(h[:4]) }
func print5(h sennit.Hash) [5]byte { return [5]byte(h[:5]) }

// drive begins a comparison when one is due. Writer only.
func (c *channel) drive(ctx context.Context, put func(wire.Frame) error) (bool, error) {
	s, now := c.s, time.Now()
	s.mu.Lock()
	if now.Sub(c.comparing) >= deadAfter {
		c.comparing = time.Time{} // it got lost
	}
	due := c.ready() && !now.Before(c.next)
	theirs, both, synced, again := c.theirs, c.both, c.synced, c.synced || c.again > 0
	s.mu.Unlock()
	if !due {
		return false, nil
	}
	a := s.n.Authority(c.space)
	t, err := s.n.Trie(ctx, c.space)
	if err != nil {
		return false, err
	}
	defer t.Done()
	mine, _, err := digest(t, both)
	if err != nil {
		return false, err
	}
	f := &wire.Compare{Tag: c.tag, Basis: wire.BasisOf(a.Digest(), both), At: t.N}
	s.mu.Lock()
	if !synced && mine == theirs.Digest && both.Equal(kept(theirs)) && a.Digest() == theirs.Authority && both.Equal(c.both) {
		c.equal(theirs.At.N)
		s.mu.Unlock()
		return true, put(f) // nothing differs
	}
	c.comparing, c.differs, c.asked = now, false, false
	s.mu.Unlock()
	// What was compared before is looked at narrowly: mostly it is equal.
	w := &walk{t: t, narrow: again}
	for _, p := range both {
		if err := w.describe(p, "", 0); err != nil {
			return false, err
		}
	}
	if f.Items = w.items; len(f.Items) == 0 {
		s.mu.Lock()
		c.equal(0) // nothing that both may read and keep
		s.mu.Unlock()
	}
	return true, put(f)
}

// ready reports whether this side may begin a comparison: both have sent what
// they had, and none is under way; s.mu is held.
func (c *channel) ready() bool {
	return c.s.n.Authority(c.space) != nil && c.driving && c.theirs != nil && c.caught && c.behind == 0 && c.done && c.comparing.IsZero()
}

// compare answers what the peer holds in some nodes: with what this side holds
// in those of them that differ, with the ops that the peer lacks, and with a
// request for those that this side lacks. An answer without items ends the
// comparison; it is the only message that isn't answered.
func (c *channel) compare(ctx context.Context, f *wire.Compare) error {
	s := c.s
	s.mu.Lock()
	if c.comparing.IsZero() {
		c.differs = false
	}
	c.differs = c.differs || f.Differs
	if len(f.Items) == 0 {
		// A side that compared another part doesn't know yet what is kept here.
		c.differs = c.differs || c.theirs == nil || f.Basis != wire.BasisOf(c.mine.Authority, c.both) && f.Basis != wire.BasisOf(c.theirs.Authority, c.both)
		c.compared(f.At)
		differs := c.differs
		s.mu.Unlock()
		s.wake()
		if differs {
			return c.giveAbove()
		}
		return nil
	}
	if c.comparing.IsZero() {
		c.comparing = time.Now()
	}
	both := c.both
	s.mu.Unlock()
	if a := s.n.Authority(c.space); a == nil || wire.BasisOf(a.Digest(), both) != f.Basis {
		// Judged by other rules, or of another part, digests say nothing.
		// Authority comes first.
		s.mu.Lock()
		c.differs = true
		s.mu.Unlock()
		if err := c.renewAnyway(ctx); err != nil {
			return err
		}
		return c.answer(f, 0, nil)
	}
	t, err := s.n.Trie(ctx, c.space)
	if err != nil {
		return err
	}
	defer t.Done()
	w := &walk{t: t, part: both, told: map[sennit.Path]bool{}}
	for i := range f.Items {
		if f.Items[i].Nibbles == "" {
			w.told[f.Items[i].Path] = true
		}
	}
	for i := range f.Items {
		if !both.Has(f.Items[i].Path) {
			continue // it asks for more than it may know, or than this side keeps
		}
		if err := w.meet(&f.Items[i]); err != nil {
			return err
		}
	}
	s.mu.Lock()
	c.differs = c.differs || len(w.items)+len(w.wants)+len(w.push) > 0
	if len(c.wants) < maxAnswers { // the next comparison finds the rest
		c.wants = append(c.wants, w.wants...)
	}
	s.mu.Unlock()
	if err := c.give(w.push); err != nil {
		return err
	}
	return c.answer(f, t.N, w.items)
}

// answer sends the next message of a comparison, which is the last if it has
// no items.
func (c *channel) answer(f *wire.Compare, at uint64, items []wire.Item) error {
	c.s.mu.Lock()
	reply := &wire.Compare{Tag: c.tag, Basis: f.Basis, At: at, Differs: c.differs, Items: items}
	if len(items) == 0 {
		c.compared(f.At)
	}
	c.s.mu.Unlock()
	if err := c.s.send(reply); err != nil || len(items) > 0 || !reply.Differs {
		return err
	}
	return c.giveAbove()
}

// giveAbove sends what lies above the prefixes that were compared, as far as
// the peer may have it: a deletion there may be why they differ, and comparing
// what is under them never finds it.
func (c *channel) giveAbove() error {
	c.s.mu.Lock()
	both := c.both
	c.s.mu.Unlock()
	var above []sennit.Path
	for _, p := range both {
		for p != "" {
			p = p.Parent()
			above = append(above, p)
		}
	}
	if len(above) == 0 {
		return nil
	}
	slices.Sort(above)
	return c.give(slices.Compact(above))
}

// compared ends a comparison, in which the peer's store was at arrival at, and
// plans the next: soon while differences are being mended, with growing pauses;
// s.mu is held.
func (c *channel) compared(at uint64) {
	if c.comparing = (time.Time{}); !c.differs {
		c.equal(at)
		return
	}
	c.synced = false
	c.next = time.Now().Add(min(compareEvery, time.Second<<min(c.again, 8)))
	c.again++
}

// mended notes that ops arrived, here or there: what a comparison found may be
// mended, and the next need not be waited for; s.mu is held.
func (c *channel) mended() {
	if c.asked || len(c.wants) > 0 {
		return // more is to come
	}
	if soon := time.Now().Add(50 * time.Millisecond << min(c.again, 5)); !c.synced && soon.Before(c.next) {
		c.next = soon
	}
}

// give sends the live ops at some paths.
func (c *channel) give(paths []sennit.Path) error {
	picks, err := c.s.n.Live(c.space, paths)
	if err != nil {
		return err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.push.Add(picks)
	c.s.wake()
	return nil
}

// renewAnyway opens the space again, whatever changed, because the peer judges
// by other rules than this side. It sends what the peer lacks as well: where
// that came up between two of its opens, nothing else would.
func (c *channel) renewAnyway(ctx context.Context) error {
	c.s.mu.Lock()
	theirs := c.theirs
	c.s.mu.Unlock()
	if err := c.open(ctx); err != nil || theirs == nil {
		return err
	}
	return c.supply(theirs)
}

// want sends ops that the peer asks for.
func (c *channel) want(ctx context.Context, f *wire.Want) error {
	s := c.s
	// What came just before may supersede what is asked for: then it need not
	// be sent.
	if _, err := s.in.Wait(ctx); err != nil && ctx.Err() != nil {
		return err
	}
	s.mu.Lock()
	out := c.out
	s.mu.Unlock()
	t, err := s.n.Trie(ctx, c.space)
	if err != nil {
		return err
	}
	defer t.Done()
	w := &walk{t: t, part: out}
	for _, it := range f.Items {
		leaves, err := w.leaves(it.Path, it.Nibbles, maxPush)
		if err != nil {
			return err
		}
		for _, l := range leaves {
			if _, ok := slices.BinarySearchFunc(it.Prints, l.print, func(a, b [5]byte) int { return bytes.Compare(a[:], b[:]) }); it.All || ok {
				w.give(l.path)
			}
		}
	}
	return c.give(w.push)
}
