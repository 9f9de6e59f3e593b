package node

import (
	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/store"
)

// This file is about branches of a log: which one a run is of, and what of it
// isn't here.

// arriving is a commit that brings something.
type arriving struct {
	*commit.Commit
	ls  *logState
	had *commit.Commit // what is here of it, nil if nothing is
}

// unstored is the number of a log that has none yet.
const unstored = ^uint32(0)

// branch finds the branch of a log that a run continues or repeats. If there
// is none it makes one, which is not stored yet: then the log is new, or its
// device signed several histories, which count all the same.
func (t *txn) branch(run *checkedRun) (*logState, error) {
	for _, l := range t.b.Branches(run.id) {
		ls, err := t.n.logState(t.loaded, l)
		if err != nil {
			return nil, err
		}
		if ok, err := t.continues(ls, run); ok || err != nil {
			return ls, err
		}
	}
	if run.before.Size > 0 {
		return nil, sennit.Errorf(sennit.Conflict, "log %s: the commits before %d, which come first, aren't here", run.id, run.before.Size+1)
	}
	return newLogState(&store.Log{Num: unstored, ID: run.id, Rec: run.rec}), nil
}

// continues reports whether a run is of the same history as what is here of a
// log, as far as can be told: it agrees about the past, and about everything
// that both of them hold.
func (t *txn) continues(ls *logState, run *checkedRun) (bool, error) {
	size := ls.peaks.Size
	if same(&ls.peaks, &run.before) {
		return true, nil
	}
	if !t.reading || run.before.Size > size {
		return false, nil
	}
	before, ok, err := t.b.Peaks(ls.Num, run.before.Size)
	if err != nil || !ok || !same(&before, &run.before) {
		return false, err
	}
	agrees := func(at commit.Place, want sennit.Hash) (bool, error) {
		if (at.Index+1)<<at.Level > size {
			return true, nil
		}
		have, err := t.b.Node(ls.Num, at)
		return have.IsZero() || have == want, err
	}
	for _, c := range run.commits {
		if ok, err := agrees(commit.Place{Index: c.Seq - 1}, commit.Leaf(c.ID[:])); !ok || err != nil {
			return false, err
		}
	}
	for _, node := range run.nodes {
		if ok, err := agrees(node.at, node.hash); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// missing picks the commits of a run that bring something that isn't stored.
// Where ops are here, and others come, it puts them together. shared are those
// that branches of the log have in common and that are stored with another one.
func (t *txn) missing(ls *logState, run *checkedRun) (fresh []arriving, shared []*commit.Commit, err error) {
	fresh = make([]arriving, 0, len(run.commits))
	branches := []*logState{ls}
	if t.forked || t.n.st.Forked(run.id) || ls.Num == unstored && len(t.b.Branches(run.id)) > 0 {
		for _, l := range t.b.Branches(run.id) {
			other, err := t.n.logState(t.loaded, l)
			if err != nil {
				return nil, nil, err
			}
			if other != ls {
				branches = append(branches, other)
			}
		}
	}
	for _, c := range run.commits {
		f := arriving{Commit: c, ls: ls}
		for _, at := range branches {
			if c.Seq > at.peaks.Size || at.Num == unstored {
				continue
			}
			have, err := stored(t.b, at.Log, c.Seq)
			if err != nil {
				return nil, nil, err
			}
			if have != nil && have.ID == c.ID && (f.had == nil || have.Ops() > f.had.Ops()) {
				f.ls, f.had = at, have
			}
		}
		if f.ls != ls {
			shared = append(shared, c)
		}
		if f.had != nil {
			all, more, err := commit.Union(f.had, c)
			if err != nil {
				return nil, nil, err
			}
			if !more {
				continue
			}
			f.Commit = all
		}
		fresh = append(fresh, f)
	}
	return fresh, shared, nil
}
