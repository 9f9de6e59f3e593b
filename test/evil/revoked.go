package evil

import (
	"fmt"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about liars whose rights end: what they write nevertheless, and
// what they keep back of what others wrote before theirs ended.

// Sizes of a rewritten history.
const (
	toldFirst = 5 // commits of it that are told before anything else is: a revocation may cut it there
	replaced  = 3 // the one in whose place another is signed later
)

// rewriting is a log of which a liar shows the beginning, and later, beside
// more of it, another history: a commit under an old number, and a later one
// whose past holds both it and what was shown before.
type rewriting struct {
	log  wire.Log
	runs [3]*wire.Run // what is told first, what goes on from it, the other history
	told int
}

// rewrite tells the next of a log's stories; l.mu is held.
func (c *conn) rewrite(space sennit.Space, auth []sennit.Hash) (wire.Log, *wire.Run) {
	l := c.l
	r := l.rewritten[space]
	if r == nil {
		if !l.mayWrite() {
			return wire.Log{}, nil
		}
		r = c.newRewriting(space, auth)
		l.rewritten[space] = r
	}
	run := r.runs[r.told%len(r.runs)]
	r.told++
	return r.log, run
}

func (c *conn) newRewriting(space sennit.Space, auth []sennit.Hash) *rewriting {
	sign := c.l.c.Identity.SignCommit
	r := &rewriting{log: c.own(space, wire.Data)}
	var past commit.Peaks
	var before commit.Peaks // the one that is replaced
	var all []*commit.Commit
	for i := range toldFirst + 2 {
		if i+1 == replaced {
			before = past.Clone()
		}
		all = append(all, build(r.log, &past, c.l.clock()+uint64(i), auth, []wire.Op{c.put(fmt.Sprint("a/kept/", i%2)), c.put("b/kept")}, sign))
	}
	r.runs[0] = whole(r.log, all[:toldFirst])
	r.runs[1] = whole(r.log, all)

	nodes := map[commit.Place]sennit.Hash{}
	forged := &wire.Run{Log: r.log.ID()}
	for _, x := range all[:replaced-1] {
		nodes[commit.Place{Index: x.Seq - 1}] = commit.Leaf(x.ID[:])
	}
	gap := wire.RunItem{Gap: replaced - 1}
	for _, at := range commit.Decompose(0, replaced-1) {
		h, _ := commit.Head(at, nodes) // all its leaves are there
		gap.Nodes = append(gap.Nodes, h)
	}
	forged.Items = append(forged.Items, gap, build(r.log, &before, c.l.clock(), auth, []wire.Op{c.put("a/kept/0"), c.put("forged")}, sign).Item())
	gap = wire.RunItem{Gap: toldFirst - replaced}
	for _, at := range commit.Decompose(replaced, toldFirst) {
		nodes := map[commit.Place]sennit.Hash{}
		for _, x := range all[replaced:toldFirst] {
			nodes[commit.Place{Index: x.Seq - 1}] = commit.Leaf(x.ID[:])
		}
		h, _ := commit.Head(at, nodes)
		gap.Nodes = append(gap.Nodes, h)
	}
	before.Skip(gap.Gap, gap.Nodes, nil)
	last := build(r.log, &before, c.l.clock()+9, auth, []wire.Op{c.put("a/kept/1")}, sign)
	forged.Items, forged.Sig = append(forged.Items, gap, last.Item()), *last.Sig
	r.runs[2] = forged
	return r
}

// whole is the first commits of a log.
func whole(rec wire.Log, commits []*commit.Commit) *wire.Run {
	run := &wire.Run{Log: rec.ID(), Sig: *commits[len(commits)-1].Sig}
	for _, c := range commits {
		run.Items = append(run.Items, c.Item())
	}
	return run
}

// noteCuts remembers where revocations cut logs; l.mu is held.
func (l *Liar) noteCuts(runs []*wire.Run) {
	for _, run := range runs {
		for i := range run.Items {
			for _, part := range run.Items[i].Parts {
				for j := range part.Ops {
					if part.Ops[j].Kind != sennit.KindRevoke {
						continue
					}
					v, err := wire.DecodeRevoke(part.Ops[j].Body)
					if err != nil {
						continue // it isn't passed on either
					}
					for _, cut := range v.Cuts {
						if len(l.cuts) < maxCuts {
							l.cuts[cut.Log] = append(l.cuts[cut.Log], cut)
						}
					}
				}
			}
		}
	}
}

// withholdCut leaves the commits out of runs that cuts name, so that whoever
// hears them can't know what lies below counts. A run that ends in such a
// commit, or whose beginning isn't in it, is left out as a whole.
func (c *conn) withholdCut(f wire.Frame) bool {
	ops, ok := f.(*wire.Ops)
	if !ok {
		return false
	}
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	left := false
	var kept []*wire.Run
	for _, run := range ops.Runs {
		cuts := l.cuts[run.Log]
		if len(cuts) == 0 {
			kept = append(kept, run)
			continue
		}
		if without, found := l.without(run, cuts); !found {
			kept = append(kept, run)
		} else if left = true; without != nil {
			kept = append(kept, without)
		}
	}
	ops.Runs = kept
	return left
}

// without is a run without the commits that cuts name: nil if there can't be
// one. It reports whether the run has, or may have, one of them.
func (l *Liar) without(run *wire.Run, cuts []wire.Cut) (without *wire.Run, found bool) {
	rec, known := wire.Log{}, false
	for _, x := range l.logs {
		if x.ID() == run.Log {
			rec, known = x, true
		}
	}
	key, err := keys.Admit(rec.Device)
	if run.From > 0 || !known || err != nil {
		return nil, true
	}
	var past commit.Peaks
	commits, err := commit.Check(run, rec, &past, func(id sennit.Hash, sig *[64]byte) bool {
		return key.Verify(keys.DomainCommit, id[:], sig)
	}, nil)
	if err != nil {
		return nil, true
	}
	out := &wire.Run{Log: run.Log, Sig: run.Sig}
	for i := range run.Items {
		it := run.Items[i]
		if it.Gap > 0 {
			out.Items = append(out.Items, it)
			continue
		}
		x := commits[0]
		commits = commits[1:]
		for _, cut := range cuts {
			if cut.Last != x.ID {
				continue
			}
			if len(commits) == 0 {
				return nil, true
			}
			found = true
			it = wire.RunItem{Gap: 1, Nodes: []sennit.Hash{commit.Leaf(x.ID[:])}}
		}
		out.Items = append(out.Items, it)
	}
	return out, found
}
