package node

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about collection: dropping ops that nothing shows any more, so
// that the disk holds what is live and little else. docs/decisions/collection.md
// says what is kept and why.

// What is kept of ops that something newer covers: beyond the undo window
// nothing, and within it
const (
	undoWindow = 30 * 24 * time.Hour // by default
	undoNewest = 16                  // so many of each path and log,
)

// undoAges: and of those before, the newest that is at least so old.
var undoAges = [...]time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour, 7 * 24 * time.Hour}

// Sizes of a collection.
const (
	collectOps    = 1 << 19          // ops that are looked at together; it takes some 60 bytes of memory for each
	dropCommits   = 4096             // commits that are dropped in one group commit
	dropSparse    = 128              // of which so many have to be read and written again
	collectFloor  = 20_000           // ops of a space below which it isn't collected by itself
	collectEvery  = 10 * time.Minute // between looks whether there is anything to collect
	blobsEvery    = 6 * time.Hour    // between looks at every blob
	collectGrowth = 2                // a space is collected when it holds so many times what was left the last time
)

// Collected is what a collection did.
type Collected struct {
	Seen    uint64 // ops that were looked at
	Dropped uint64 // of them
	Commits uint64 // that went away whole
}

// Collect drops what is superseded and too old to be wanted back in a space. It
// works beside readers and writers. Of a space that is kept in full it drops
// nothing. progress may be nil; it is told how many of
// the ops were looked at.
func (n *Node) Collect(ctx context.Context, id sennit.Space, progress func(done, total uint64)) (Collected, error) {
	sp := n.space(id)
	if sp == nil {
		return Collected{}, sennit.Errorf(sennit.NotFound, "this node holds nothing of space %s", id)
	}
	full, err := n.KeepsAll(id)
	if n.cfg.Undo < 0 || full || err != nil {
		return Collected{}, err
	}
	sp.collecting.Lock()
	defer sp.collecting.Unlock()
	// Digests are worked out from what arrived, some of which goes now.
	t, err := n.Trie(ctx, id)
	if err == nil {
		err = t.Done()
	}
	if err != nil {
		return Collected{}, err
	}
	v, err := n.st.View()
	if err != nil {
		return Collected{}, err
	}
	defer v.Release()
	c := &collector{n: n, sp: sp, v: v, now: n.cfg.Now(), seed: maphash.MakeSeed(), progress: progress, gone: map[uint32]seqs{}}
	if c.state, err = v.SpaceState(sp.num); err == nil {
		err = c.run(ctx)
	}
	return c.Collected, err
}

// collector is one collection of one space.
type collector struct {
	Collected
	n        *Node
	sp       *space
	v        *store.View
	state    store.SpaceState // when it began
	now      time.Time
	seed     maphash.Seed
	progress func(done, total uint64)
	total    uint64

	waiting map[store.Place]bool
	gone    map[uint32]seqs // of each log: commits that went away whole
}

// part is a stretch of a log.
type part struct {
	log     *store.Log
	first   uint64
	last    uint64
	ops     uint64
	commits uint64
	newest  uint64 // commit of the log
}

func (c *collector) run(ctx context.Context) error {
	c.waiting = map[store.Place]bool{}
	if err := c.v.Waiting(c.sp.num, func(log uint32, seq uint64, _ store.Wait) error {
		c.waiting[store.Place{Log: log, Seq: seq}] = true
		return nil
	}); err != nil {
		return err
	}
	parts, err := c.parts(ctx)
	if err != nil {
		return err
	}
	for len(parts) > 0 {
		k, ops := 1, parts[0].ops
		for k < len(parts) && ops+parts[k].ops <= collectOps {
			ops += parts[k].ops
			k++
		}
		if err := c.group(ctx, parts[:k]); err != nil {
			return err
		}
		parts = parts[k:]
	}
	for num := range c.gone {
		if err := c.prune(ctx, c.n.st.LogByNum(num)); err != nil {
			return err
		}
	}
	if err := c.arrivals(ctx); err != nil {
		return err
	}
	return c.submit(ctx, &drop{ended: true, kept: c.Seen - c.Dropped})
}

// parts cuts the logs into stretches of at most collectOps ops.
func (c *collector) parts(ctx context.Context) (parts []part, err error) {
	for _, l := range c.n.st.Logs(c.sp.num) {
		if l.Rec.Class != wire.Data {
			continue
		}
		newest, err := c.v.Size(l.Num)
		if err != nil {
			return nil, err
		}
		p := part{log: l, newest: newest}
		err = c.v.Commits(l.Num, 1, func(seq uint64, rec *wire.Stored) error {
			ops := uint64(present(rec))
			if p.commits > 0 && (p.ops+ops > collectOps || p.commits >= collectOps) {
				parts = append(parts, p)
				p = part{log: l, newest: newest}
			}
			if p.commits == 0 {
				p.first = seq
			}
			p.last, p.ops, p.commits = seq, p.ops+ops, p.commits+1
			c.total += ops
			return ctx.Err()
		})
		if err != nil {
			return nil, err
		}
		if p.commits > 0 {
			parts = append(parts, p)
		}
	}
	return parts, nil
}

// at names an op of a log: its commit, then its place there.
type at uint64

func atOf(seq uint64, index uint32) at { return at(seq<<12 | uint64(index)) }
func (a at) seq() uint64               { return uint64(a) >> 12 }
func (a at) index() uint32             { return uint32(a & (sennit.MaxOps - 1)) }

// group looks at some stretches, and drops from them.
func (c *collector) group(ctx context.Context, parts []part) error {
	type stretch struct {
		first, last uint64 // of the parts of one log, which follow each other
		live        []at
	}
	logs := map[uint32]*stretch{}
	for _, p := range parts {
		if s := logs[p.log.Num]; s != nil {
			s.last = p.last
		} else {
			logs[p.log.Num] = &stretch{first: p.first, last: p.last}
		}
	}
	if err := c.v.Index(c.sp.num, func(pos store.Pos) error {
		if s := logs[pos.Log]; s != nil && pos.Seq >= s.first && pos.Seq <= s.last {
			s.live = append(s.live, atOf(pos.Seq, pos.Index))
		}
		return nil
	}); err != nil {
		return err
	}
	for _, s := range logs {
		slices.Sort(s.live)
	}
	for _, p := range parts {
		if err := c.part(ctx, p, logs[p.log.Num].live); err != nil {
			return err
		}
		if c.Seen += p.ops; c.progress != nil {
			c.progress(c.Seen, c.total)
		}
	}
	return ctx.Err()
}

// kept is a commit as it is here.
type kept struct {
	seq   uint64
	clock uint64
	ops   uint32
}

// dead is an op that something newer covers.
type dead struct {
	path uint64 // hash of it
	at   at
	when int64 // milliseconds since 1970
}

func (c *collector) part(ctx context.Context, p part, live []at) error {
	commits := make([]kept, 0, p.commits)
	err := c.v.Commits(p.log.Num, p.first, func(seq uint64, rec *wire.Stored) error {
		if seq > p.last {
			return store.ErrStop
		}
		commits = append(commits, kept{seq, rec.Clock, present(rec)})
		return nil
	})
	if err != nil {
		return err
	}
	var all []dead
	k := 0
	err = c.v.OpRange(p.log.Num, p.first, p.last, func(seq uint64, index uint32, raw []byte) error {
		here := atOf(seq, index)
		for len(live) > 0 && live[0] < here {
			live = live[1:]
		}
		if len(live) > 0 && live[0] == here || c.waiting[store.Place{Log: p.log.Num, Seq: seq}] {
			return nil
		}
		for k < len(commits) && commits[k].seq < seq {
			k++
		}
		if k == len(commits) || commits[k].seq != seq {
			return nil // it came after the view
		}
		path, ok := wire.PathOf(raw)
		if !ok {
			return sennit.Hint(sennit.Errorf(sennit.Internal, "an op of commit %d of log %s can't be read", seq, p.log.ID), "run: sennit doctor --verify")
		}
		all = append(all, dead{maphash.Bytes(c.seed, path), here, clockTime(commits[k].clock).UnixMilli()})
		return nil
	})
	if err != nil {
		return err
	}
	doomed := c.thin(all)
	return c.remove(ctx, p, commits, doomed)
}

// thin picks what is dropped of the ops that something newer covers, all of one
// log, and sorts it.
func (c *collector) thin(all []dead) (doomed []at) {
	slices.SortFunc(all, func(a, b dead) int { return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(b.at, a.at)) })
	for len(all) > 0 {
		k := 1
		for k < len(all) && all[k].path == all[0].path {
			k++
		}
		ages := undoAges[:]
		for i, d := range all[:k] { // newest first
			age := c.now.Sub(time.UnixMilli(d.when))
			steps := 0
			for len(ages) > 0 && age >= ages[0] {
				ages = ages[1:]
				steps++
			}
			if age >= c.n.cfg.Undo || i >= undoNewest && steps == 0 {
				doomed = append(doomed, d.at)
			}
		}
		all = all[k:]
	}
	slices.Sort(doomed)
	return doomed
}

// seqs is a set of commits of a log.
type seqs []uint64

func (s seqs) has(seq uint64) bool { return seq/64 < uint64(len(s)) && s[seq/64]>>(seq%64)&1 == 1 }

// any reports whether some commit from first to last is in the set.
func (s seqs) any(first, last uint64) bool {
	for w := first / 64; w <= last/64 && w < uint64(len(s)); w++ {
		word := s[w]
		if w == first/64 {
			word &= ^uint64(0) << (first % 64)
		}
		if w == last/64 {
			word &= ^uint64(0) >> (63 - last%64)
		}
		if word != 0 {
			return true
		}
	}
	return false
}

func (s seqs) remove(seq uint64) { s[seq/64] &^= 1 << (seq % 64) }

func (s *seqs) add(seq uint64) {
	for uint64(len(*s)) <= seq/64 {
		*s = append(*s, 0)
	}
	(*s)[seq/64] |= 1 << (seq % 64)
}

// remove drops ops of one stretch of a log.
func (c *collector) remove(ctx context.Context, p part, commits []kept, doomed []at) error {
	d := &drop{log: p.log, sparse: map[uint64][]uint32{}}
	gone := c.gone[p.log.Num]
	flush := func() error {
		if len(d.whole)+len(d.sparse) == 0 {
			return nil
		}
		err := c.submit(ctx, d)
		for _, w := range d.stayed {
			gone.remove(w.seq)
			c.Commits--
			c.Dropped -= uint64(w.ops)
		}
		d = &drop{log: p.log, sparse: map[uint64][]uint32{}}
		return err
	}
	for _, h := range commits {
		k := 0
		for k < len(doomed) && doomed[k].seq() == h.seq {
			k++
		}
		mine := doomed[:k]
		doomed = doomed[k:]
		switch {
		case k == 0:
			continue
		case k == int(h.ops) && h.seq != p.newest: // which stays, if only to vouch for those before
			d.whole = append(d.whole, whole{h.seq, h.ops})
			gone.add(h.seq)
			c.Commits++
		default:
			for _, a := range mine {
				d.sparse[h.seq] = append(d.sparse[h.seq], a.index())
			}
		}
		c.Dropped += uint64(k)
		if len(d.whole) >= dropCommits || len(d.sparse) >= dropSparse {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	err := flush()
	c.gone[p.log.Num] = gone
	return err
}

// prune removes the nodes of a log's tree that prove nothing about what is
// left: stretches of commits that are gone, now or since earlier, need only the
// heads of the largest subtrees that they hold.
func (c *collector) prune(ctx context.Context, l *store.Log) error {
	if c.n.st.Forked(l.ID) {
		return nil // see dropWhole
	}
	v, err := c.n.st.View()
	if err != nil {
		return err
	}
	defer v.Release()
	gone := c.gone[l.Num]
	d := &drop{log: l}
	begin := uint64(0) // of a stretch: how many commits come before
	err = v.Commits(l.Num, 1, func(seq uint64, _ *wire.Stored) error {
		from, end := begin, seq-1
		if begin = seq; end-from < 2 || !gone.any(from+1, end) {
			return ctx.Err()
		}
		for _, head := range commit.Decompose(from, end) {
			if head.Level > 0 {
				d.heads = append(d.heads, head)
			}
		}
		if len(d.heads) < dropCommits {
			return nil
		}
		err := c.submit(ctx, d)
		d = &drop{log: l}
		return err
	})
	if err != nil || len(d.heads) == 0 {
		return err
	}
	return c.submit(ctx, d)
}

// arrivals forgets when commits arrived that went away, also in a collection that
// didn't come to its end.
func (c *collector) arrivals(ctx context.Context) error {
	if c.Dropped == 0 && !c.state.Torn {
		return nil
	}
	var all []uint64
	flush := func() error {
		err := c.submit(ctx, &drop{arrivals: all})
		all = nil
		return err
	}
	err := c.v.Arrivals(c.sp.num, 0, func(a store.Arrival) error {
		gone := c.gone[a.Log].has(a.Seq)
		if !gone && c.state.Torn && a.Seq > 0 {
			rec, err := c.v.Commit(a.Log, a.Seq)
			if err != nil {
				return err
			}
			gone = rec == nil
		}
		if a.Seq == 0 || !gone {
			return nil
		}
		if all = append(all, a.N); len(all) < dropCommits {
			return nil
		}
		return flush()
	})
	return cmp.Or(err, flush())
}

// submit has the committer drop something.
func (c *collector) submit(ctx context.Context, d *drop) error {
	d.folds = c.state.Folds
	if len(d.whole)+len(d.sparse) > 0 {
		d.last = c.v.N // of what arrived up to here something is gone, for all that anybody knows
	}
	return c.n.submit(ctx, &request{space: c.sp.id, drop: d, done: make(chan result, 1)}).err
}

// errKept says that a space is kept in full from now on.
var errKept = sennit.Errorf(sennit.Conflict, "the space is kept in full now, so the rest was not collected")

// errFolded says that rules changed while a collection was under way: what was
// superseded may be live now.
var errFolded = sennit.Hint(sennit.Errorf(sennit.Conflict, "rules of the space changed meanwhile, so the rest was not collected"), "collect again")

// collectDue collects the spaces of which most is superseded, as far as their
// growth tells, until the context ends.
func (n *Node) collectDue(ctx context.Context) {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for looks := 1; ; looks++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if looks%int(blobsEvery/collectEvery) == 0 {
			if _, err := n.CollectBlobs(ctx); err != nil && ctx.Err() == nil {
				n.cfg.Log.Warn("large values that nothing names could not be removed", "err", err)
			}
		}
		for _, id := range n.Spaces() {
			if err := n.collectGrown(ctx, id); err != nil && ctx.Err() == nil && !errors.Is(err, errFolded) && !errors.Is(err, errKept) {
				n.cfg.Log.Warn("what is superseded could not be collected", "space", id, "err", err)
			}
		}
	}
}

func (n *Node) collectGrown(ctx context.Context, id sennit.Space) error {
	v, err := n.st.View()
	if err != nil {
		return err
	}
	num, _ := n.st.Space(id)
	state, err := v.SpaceState(num)
	v.Release()
	if err != nil || state.Ops < collectFloor+collectGrowth*state.Kept {
		return err
	}
	_, err = n.Collect(ctx, id, nil)
	return err
}
