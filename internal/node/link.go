package node

import (
	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about links: whether a commit is in the past of another one of
// its log, which verdicts depend on where somebody's rights were revoked. What
// shows it is the log's tree of ids. It always has the leaves of commits that
// are here; so the commit that a cut names is never dropped (see dropWhole), and
// travels with those below it (see runBuilder.mark).

// nodes is where the nodes of logs' trees can be read.
type nodes interface {
	Node(log uint32, at commit.Place) (sennit.Hash, error)
}

// linked says whether a commit is in the past of the one that a cut names,
// which may be in any of the log's branches.
func linked(r nodes, branches []*store.Log, seq uint64, id sennit.Hash, cut wire.Cut) (access.Link, error) {
	for _, l := range branches {
		last, err := r.Node(l.Num, commit.Place{Index: cut.Seq - 1})
		if err != nil {
			return access.Unknown, err
		}
		if last != commit.Leaf(cut.Last[:]) {
			continue
		}
		switch here, err := r.Node(l.Num, commit.Place{Index: seq - 1}); {
		case err != nil || here.IsZero():
			return access.Unknown, err
		case here == commit.Leaf(id[:]):
			return access.Linked, nil
		}
		return access.Apart, nil
	}
	return access.Unknown, nil
}

// Node is a node of a log's tree: one that is stored, or one of the run that is
// being taken.
func (t *txn) Node(log uint32, at commit.Place) (sennit.Hash, error) {
	if t.taking != nil && t.into.Num == log {
		for _, c := range t.taking.commits {
			if at.Level == 0 && c.Seq == at.Index+1 {
				return commit.Leaf(c.ID[:]), nil
			}
		}
		for _, n := range t.taking.nodes {
			if n.at == at {
				return n.hash, nil
			}
		}
	}
	if log == unstored {
		return sennit.Hash{}, nil
	}
	return t.b.Node(log, at)
}

// branches is those of a log, with the one that a run begins.
func (t *txn) branches(id sennit.Hash) []*store.Log {
	all := t.b.Branches(id)
	if t.taking != nil && t.taking.id == id && t.into.Num == unstored {
		all = append(all[:len(all):len(all)], t.into.Log)
	}
	return all
}

// valid asks whether an op of a commit of a log counts.
func (t *txn) valid(sp *space, ls *logState, c *commit.Commit, op *wire.Op) (bool, error) {
	q := claim(ls.author, c.Log, c.Seq, c.ID, c.Auth, op)
	var failed error
	if sp.rules.Revoked(ls.author) {
		q.Link = func(cut wire.Cut) access.Link {
			link, err := linked(t, t.branches(c.Log), c.Seq, c.ID, cut)
			if err != nil {
				failed = err
			}
			return link
		}
	}
	return ls.under(sp.rules).Judge(q) == access.Valid, failed
}

// links reports whether a run that is being taken shows what was not known:
// which commits of its log are in the past of one that a cut names. Then those
// that waited for it are judged again.
func (t *txn) links(sp *space, ls *logState, run *checkedRun) (bool, error) {
	if !sp.rules.Revoked(ls.author) {
		return false, nil
	}
	for _, cut := range sp.rules.Cuts(run.id) {
		if cut.Seq <= run.before.Size {
			continue
		}
		at := commit.Place{Index: cut.Seq - 1}
		now, err := t.Node(ls.Num, at)
		if err != nil || now != commit.Leaf(cut.Last[:]) {
			return false, err
		}
		before := sennit.Hash{}
		if ls.Num != unstored {
			before, err = t.b.Node(ls.Num, at)
		}
		// In a log that forked, what is below the cut may be known by another branch.
		if err != nil || before != now || len(t.branches(run.id)) > 1 {
			return true, err
		}
	}
	return false, nil
}
