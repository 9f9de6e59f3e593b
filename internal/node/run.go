package node

import (
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about runs, as which commits go out: what is in them, and what
// stands for what isn't.

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
