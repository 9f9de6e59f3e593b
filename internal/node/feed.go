package node

import (
	"maps"
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// Filter says which ops of a space a reader gets; nil means all. deep says
// that the op deletes all that is under its path.
type Filter func(p sennit.Path, deep bool) bool

// Feed reads what arrived in one space, as runs for one reader. It belongs to
// one goroutine.
type Feed struct {
	n     *Node
	space sennit.Space
	may   Filter
	Known map[sennit.Hash]uint64 // commits of each log that the reader has the tree of
}

// Feed begins to read a space for a reader.
func (n *Node) Feed(space sennit.Space, may Filter) *Feed {
	return &Feed{n: n, space: space, may: may, Known: map[sennit.Hash]uint64{}}
}

// Batch is some of what arrived.
type Batch struct {
	Logs []wire.Log // of runs whose log the reader isn't known to have
	Runs []*wire.Run
	N    uint64 // everything that arrived up to here has been read
	Last uint64 // the newest arrival when this was read: more is there if it is larger
	Ops  int
}

// After reads what arrived after n, up to about limit bytes of ops. skip says
// of a commit that the reader has it.
func (f *Feed) After(n uint64, limit int, skip func(commit sennit.Hash) bool) (*Batch, error) {
	v, err := f.n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	out := &Batch{N: n, Last: v.N}
	num, ok := f.n.st.Space(f.space)
	if !ok {
		out.N = v.N
		return out, nil
	}
	b := runBuilder{f: f, v: v, out: out}
	full := false
	err = v.Arrivals(num, min(n, v.N), func(a store.Arrival) error {
		if b.bytes >= limit {
			full = true
			return store.ErrStop
		}
		if err := b.add(a.Log, a.Seq, skip); err != nil {
			return err
		}
		out.N = a.N
		return nil
	})
	if err == nil {
		err = b.flush()
	}
	if !full {
		out.N = v.N
	}
	return out, err
}

// Picks names some ops of some commits: by log and seq, their indices.
type Picks map[uint32]map[uint64][]uint32

// Add adds more of them.
func (p Picks) Add(more Picks) {
	for log, commits := range more {
		if p[log] == nil {
			p[log] = commits
			continue
		}
		for seq, ops := range commits {
			ops = append(p[log][seq], ops...)
			slices.Sort(ops)
			p[log][seq] = slices.Compact(ops)
		}
	}
}

// Ops reads some ops of the space, with proofs that stand for the rest of their
// commits, up to about limit bytes. What it read it takes out of picks.
func (f *Feed) Ops(picks Picks, limit int) (*Batch, error) {
	v, err := f.n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	out := &Batch{}
	b := runBuilder{f: f, v: v, out: out}
	for _, log := range slices.Sorted(maps.Keys(picks)) {
		for _, seq := range slices.Sorted(maps.Keys(picks[log])) {
			if b.bytes >= limit {
				return out, b.flush()
			}
			b.only = picks[log][seq]
			if err := b.add(log, seq, nil); err != nil {
				return nil, err
			}
			delete(picks[log], seq)
		}
		delete(picks, log)
	}
	return out, b.flush()
}

// Authority reads all authority commits of the space but those that known
// says the reader has, in runs of at most about limit bytes. They are few, and
// never collected.
func (f *Feed) Authority(limit int, known func(id sennit.Hash) bool) (*Batch, error) {
	v, err := f.n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	out := &Batch{}
	num, ok := f.n.st.Space(f.space)
	if !ok {
		return out, nil
	}
	// In order of arrival, so that a commit comes after those that it names.
	b := runBuilder{f: f, v: v, out: out, class: wire.Authority}
	err = v.Arrivals(num, 0, func(a store.Arrival) error {
		if l := f.n.st.LogByNum(a.Log); l == nil || l.Rec.Class != wire.Authority {
			return nil
		}
		if b.bytes >= limit && b.sig != nil {
			if err := b.flush(); err != nil {
				return err
			}
			b.bytes = 0
		}
		return b.add(a.Log, a.Seq, known)
	})
	if err == nil {
		err = b.flush()
	}
	return out, err
}

// runBuilder gathers commits into runs: consecutive commits of one log share a
// run, what lies between is stood for by tree hashes.
type runBuilder struct {
	f     *Feed
	v     *store.View
	out   *Batch
	class wire.Class // Authority: only such; otherwise only data
	only  []uint32   // ops of the next commit that are wanted, sorted; nil: all
	links *linker
	plain bool // commits are given as they are stored: in their own branch, also those without ops, and nothing beside them
	bytes int

	log  *store.Log
	run  *wire.Run
	next uint64     // seq that the run continues with
	cuts []wire.Cut // of the log, those that the run didn't reach yet
	sig  *[64]byte
}

// add puts a commit into a run, or leaves it out if the reader may not see any
// of it or has it.
func (b *runBuilder) add(num uint32, seq uint64, skip func(sennit.Hash) bool) error {
	l := b.f.n.st.LogByNum(num)
	if l == nil || (l.Rec.Class == wire.Authority) != (b.class == wire.Authority) {
		return nil
	}
	c, err := stored(b.v, l, seq)
	if err != nil || c == nil {
		return err
	}
	if skip != nil && skip(c.ID) {
		if b.run == nil || b.log != l {
			return nil
		}
		// The reader has it; the run can't go on without a gap, so end it.
		return b.flush()
	}
	parts, visible, err := b.parts(l, c)
	if err != nil || !visible {
		return err
	}
	branches, err := b.branches(l, c)
	if err != nil {
		return err
	}
	for _, in := range branches {
		if err := b.reach(in, seq); err != nil {
			return err
		}
		b.push(c, parts)
	}
	return nil
}

// branches is those of a log in which a commit is proved: where it is stored,
// and others that it is part of and that alone show that it came before a cut.
func (b *runBuilder) branches(l *store.Log, c *commit.Commit) ([]*store.Log, error) {
	all := []*store.Log{l}
	if b.plain || !b.f.n.st.Forked(l.ID) {
		return all, nil
	}
	if b.links == nil {
		b.links = newLinker(b.f.space, linkView{b.v})
	}
	for _, cut := range b.f.cuts(l) {
		if cut.Seq < c.Seq {
			continue
		}
		for i, in := range slices.Concat(all, b.f.n.st.Branches(l.ID)) {
			ok, err := b.links.linked([]*store.Log{in}, c.Seq, c.ID, cut)
			if err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
			if i >= len(all) {
				all = append(all, in)
			}
			break
		}
	}
	return all, nil
}

// cuts is those of a log of data that revocations name.
func (f *Feed) cuts(l *store.Log) []wire.Cut {
	a := f.n.Authority(f.space)
	if a == nil || l.Rec.Class != wire.Data {
		return nil
	}
	return a.Cuts(l.ID)
}

// reach makes the run go up to a commit: the one under way, or a new one.
func (b *runBuilder) reach(l *store.Log, seq uint64) error {
	// A run has room for a gap and a commit, and the same again to end it.
	if b.run != nil && (b.log != l || seq < b.next || len(b.run.Items)+4 > wire.MaxRun) {
		if err := b.flush(); err != nil {
			return err
		}
	}
	for b.run == nil || b.next < seq {
		if b.run == nil {
			b.start(l, seq)
			continue
		}
		if err := b.mark(seq); err != nil {
			return err
		}
		if b.next == seq {
			break
		}
		ok, err := b.gap(seq)
		switch {
		case err != nil:
			return err
		case ok:
		case len(b.run.Items) > 0:
			err = b.flush()
		case b.run.From > 0:
			// It came in pieces, and how this one is linked to what the reader
			// has isn't known: only how it is linked to the beginning.
			b.run.From, b.next = 0, 1
		default:
			err = b.damaged()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *runBuilder) damaged() error {
	return sennit.Hint(sennit.Errorf(sennit.Internal, "log %s lacks nodes or signatures from commit %d on", b.log.ID, b.next), "run: sennit doctor --verify")
}

// start begins a run at what the reader is known to have of the log.
func (b *runBuilder) start(l *store.Log, seq uint64) {
	known, ok := b.f.Known[l.ID]
	if !ok {
		b.out.Logs = append(b.out.Logs, l.Rec)
	}
	if known >= seq || b.f.n.st.Log(l.ID) != l {
		known = 0 // older than what the reader has, or of another branch: proved from the beginning
	}
	b.log, b.run, b.next = l, &wire.Run{Log: l.ID, From: known}, known+1
	if b.cuts = nil; !b.plain {
		b.cuts = b.f.cuts(l)
	}
}

// mark puts the commits that cuts name and that come before one into the run,
// without their ops: who gets what lies below a cut needs them to know that it
// counts.
func (b *runBuilder) mark(before uint64) error {
	for len(b.cuts) > 0 && b.cuts[0].Seq < before && len(b.run.Items)+4 <= wire.MaxRun {
		cut := b.cuts[0]
		b.cuts = b.cuts[1:]
		if cut.Seq < b.next || len(b.run.Items) == 0 {
			continue // nothing in the run lies below it
		}
		c, err := stored(b.v, b.log, cut.Seq)
		if err != nil {
			return err
		}
		if c == nil || c.ID != cut.Last {
			continue
		}
		if cut.Seq > b.next {
			if ok, err := b.gap(cut.Seq); err != nil {
				return err
			} else if !ok {
				continue // they came in pieces
			}
		}
		parts, err := c.Pick(func(uint32, *wire.Op) bool { return false })
		if err != nil {
			return err
		}
		b.push(c, parts)
	}
	return nil
}

// gap leaves out what comes before a commit. It reports whether it could: what
// stands for it must be known.
func (b *runBuilder) gap(seq uint64) (bool, error) {
	nodes, ok, err := b.v.Nodes(b.log.Num, b.next-1, seq-1)
	if ok {
		b.run.Items = append(b.run.Items, wire.RunItem{Gap: seq - b.next, Nodes: nodes})
		b.next = seq
	}
	return ok, err
}

func (b *runBuilder) push(c *commit.Commit, parts []wire.Part) {
	b.run.Items = append(b.run.Items, wire.RunItem{Clock: c.Clock, Auth: c.Auth, Count: c.Count, Parts: parts})
	b.next++
	b.sig = c.Sig
	b.bytes += 64
	for _, p := range parts {
		b.out.Ops += len(p.Ops)
		for i := range p.Ops {
			b.bytes += len(p.Ops[i].Bytes())
		}
	}
}

// flush ends the run under a signature: its last commit's, or that of the next
// signed commit of the log, which is sent without its ops.
func (b *runBuilder) flush() error {
	if b.run == nil {
		return nil
	}
	if err := b.mark(wire.MaxSeq + 1); err != nil {
		return err
	}
	for b.sig == nil {
		if err := b.vouch(); err != nil {
			return err
		}
	}
	b.run.Sig = *b.sig
	b.out.Runs = append(b.out.Runs, b.run)
	if b.f.n.st.Log(b.log.ID) == b.log {
		b.f.Known[b.log.ID] = max(b.f.Known[b.log.ID], b.next-1)
	}
	b.run, b.sig = nil, nil
	return nil
}

// vouch adds the next signed commit that the run can reach.
func (b *runBuilder) vouch() error {
	found := false
	err := b.v.Commits(b.log.Num, b.next, func(seq uint64, rec *wire.Stored) error {
		if rec.Sig == nil {
			return nil
		}
		if seq > b.next {
			if ok, err := b.gap(seq); !ok || err != nil {
				return err // it came in another piece: a later one vouches
			}
		}
		found = true
		return store.ErrStop
	})
	if err == nil && !found {
		err = b.damaged()
	}
	if err != nil {
		return err
	}
	c, err := stored(b.v, b.log, b.next)
	if err != nil {
		return err
	}
	parts := c.Parts
	if b.class != wire.Authority {
		if parts, err = c.Pick(func(uint32, *wire.Op) bool { return false }); err != nil {
			return err
		}
	}
	b.push(c, parts)
	return nil
}

// parts is the ops of a commit that the reader may see, and what stands for
// the others.
func (b *runBuilder) parts(l *store.Log, c *commit.Commit) (parts []wire.Part, visible bool, err error) {
	see := func(i uint32, op *wire.Op) bool {
		if b.only != nil {
			if _, wanted := slices.BinarySearch(b.only, i); !wanted {
				return false
			}
		}
		return b.f.may == nil || l.Rec.Class == wire.Authority || b.f.may(op.Path, deep(op))
	}
	seen := 0
	c.Each(func(i uint32, op *wire.Op) {
		if see(i, op) {
			seen++
		}
	})
	switch {
	case seen == c.Ops():
		return c.Parts, seen > 0 || b.plain, nil
	case seen == 0:
		return nil, false, nil
	}
	parts, err = c.Pick(see)
	return parts, true, err
}

// Live tells the live ops at some paths of a space.
func (n *Node) Live(id sennit.Space, paths []sennit.Path) (Picks, error) {
	v, err := n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	num, ok := n.st.Space(id)
	if !ok {
		return nil, nil
	}
	store.SortPaths(paths)
	picks := Picks{}
	err = v.Each(num, paths, func(_ int, _ tree.Slot, pos store.Pos) error {
		if picks[pos.Log] == nil {
			picks[pos.Log] = map[uint64][]uint32{}
		}
		picks[pos.Log][pos.Seq] = append(picks[pos.Log][pos.Seq], pos.Index)
		return nil
	})
	for _, commits := range picks {
		for seq, ops := range commits {
			slices.Sort(ops)
			commits[seq] = slices.Compact(ops)
		}
	}
	return picks, err
}

// lookForNewest bounds the ops that are looked at to find the newest values.
const lookForNewest = 1 << 14

// Newest tells the puts that came last of those that still show and that a reader
// gets, at most count of them. It looks at what came in the last lookForNewest
// ops, so it may find fewer.
func (n *Node) Newest(id sennit.Space, may Filter, count int) (Picks, error) {
	v, err := n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	num, ok := n.st.Space(id)
	if !ok {
		return nil, nil
	}
	picks, looked := Picks{}, 0
	return picks, v.ArrivalsBack(num, func(a store.Arrival) error {
		if l := n.st.LogByNum(a.Log); a.Seq == 0 || l == nil || l.Rec.Class != wire.Data {
			return nil
		}
		var ops []uint32
		if err := v.Ops(a.Log, a.Seq, func(i uint32, raw []byte) error {
			looked++
			p, ok := wire.PathOf(raw)
			if !ok || raw[0] != byte(sennit.KindPut) || may != nil && !may(sennit.Path(p), false) {
				return nil
			}
			pos, ok, err := v.At(num, sennit.Path(p), tree.Put)
			if ok && pos.Log == a.Log && pos.Seq == a.Seq && pos.Index == i {
				ops = append(ops, i)
			}
			return err
		}); err != nil {
			return err
		}
		ops = ops[max(0, len(ops)-count):]
		if count -= len(ops); len(ops) > 0 {
			picks.Add(Picks{a.Log: {a.Seq: ops}})
		}
		if count == 0 || looked >= lookForNewest {
			return store.ErrStop
		}
		return nil
	})
}

// Logs tells the logs of a space and how many commits of each are here.
func (n *Node) Logs(id sennit.Space) (map[sennit.Hash]uint64, error) {
	v, err := n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	num, ok := n.st.Space(id)
	if !ok {
		return nil, nil
	}
	sizes := map[sennit.Hash]uint64{}
	for _, l := range n.st.Logs(num) {
		if n.st.Log(l.ID) != l {
			continue // another branch
		}
		if sizes[l.ID], err = v.Size(l.Num); err != nil {
			return nil, err
		}
	}
	return sizes, nil
}

// LastArrival is the number of the newest arrival in a space, 0 if there is
// none.
func (n *Node) LastArrival(id sennit.Space) (uint64, error) {
	v, err := n.st.View()
	if err != nil {
		return 0, err
	}
	defer v.Release()
	num, ok := n.st.Space(id)
	if !ok {
		return 0, nil
	}
	return v.LastArrival(num)
}

// Ancestry lists the authority commits that somebody has whose heads are given:
// those that are here, and all that they descend from.
func (n *Node) Ancestry(id sennit.Space, heads []sennit.Hash) (map[sennit.Hash]bool, error) {
	v, err := n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	num, ok := n.st.Space(id)
	if !ok {
		return nil, nil
	}
	named := map[sennit.Hash][]sennit.Hash{}
	for _, l := range n.st.Logs(num) {
		if l.Rec.Class != wire.Authority {
			continue
		}
		if err := v.Commits(l.Num, 1, func(_ uint64, c *wire.Stored) error {
			named[c.ID] = c.Auth
			return nil
		}); err != nil {
			return nil, err
		}
	}
	has := map[sennit.Hash]bool{}
	for todo := slices.Clone(heads); len(todo) > 0; {
		h := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if auth, ok := named[h]; ok && !has[h] {
			has[h] = true
			todo = append(todo, auth...)
		}
	}
	return has, nil
}
