package node

import (
	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about links: whether a commit is in the past of another one of
// its log, on which verdicts depend where somebody's rights were revoked. What
// shows it is the log's tree of ids. It has all that is needed of commits that
// are here; so the commit that a cut names is never dropped (see dropWhole), and
// travels with those below it (see runBuilder.mark).

// linker knows what it found out about links. What is certain stays so.
type linker struct {
	space sennit.Space
	r     linkReader
	pasts map[pastOf]*commit.Past
}

// linkReader reads commits and the nodes of logs' trees.
type linkReader interface {
	Node(log uint32, at commit.Place) (sennit.Hash, error)
	at(l *store.Log, seq uint64) (*commit.Commit, error) // nil if it isn't here
}

// pastOf names what came before a commit in a branch of its log.
type pastOf struct {
	branch uint32
	last   sennit.Hash
}

func newLinker(space sennit.Space, r linkReader) *linker {
	return &linker{space, r, map[pastOf]*commit.Past{}}
}

// linked reports whether it is certain that a commit is in the past of the one
// that a cut names, by one of the log's branches.
func (k *linker) linked(branches []*store.Log, seq uint64, id sennit.Hash, cut wire.Cut) (bool, error) {
	for _, l := range branches {
		past, err := k.past(l, cut)
		if past == nil || err != nil {
			if err != nil {
				return false, err
			}
			continue
		}
		if ok, err := past.Holds(seq, id); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// past is what came before the commit that a cut names, nil if that isn't in
// the branch, or what came before it can't be told.
func (k *linker) past(l *store.Log, cut wire.Cut) (*commit.Past, error) {
	at := pastOf{l.Num, cut.Last}
	if p := k.pasts[at]; p != nil {
		return p, nil
	}
	c, err := k.r.at(l, cut.Seq)
	if err != nil || c == nil || c.ID != cut.Last {
		return nil, err
	}
	peaks := commit.Peaks{Size: cut.Seq - 1}
	for _, at := range commit.Decompose(0, peaks.Size) {
		h, err := k.r.Node(l.Num, at)
		if err != nil || h.IsZero() {
			return nil, err
		}
		peaks.Nodes = append(peaks.Nodes, h)
	}
	p := commit.NewPast(c, k.space, peaks, func(at commit.Place) (sennit.Hash, error) { return k.r.Node(l.Num, at) })
	if p != nil && l.Num != unstored {
		k.pasts[at] = p
	}
	return p, nil
}

// link is what a verdict asks about a commit. An error is kept in failed.
func (k *linker) link(branches []*store.Log, seq uint64, id sennit.Hash, failed *error) func(wire.Cut) access.Link {
	return func(cut wire.Cut) access.Link {
		ok, err := k.linked(branches, seq, id, cut)
		if err != nil {
			*failed = err
		}
		if ok {
			return access.Linked
		}
		return access.Unknown
	}
}

// linkView reads links from a view.
type linkView struct{ *store.View }

func (v linkView) at(l *store.Log, seq uint64) (*commit.Commit, error) { return stored(v, l, seq) }

// linkTxn reads links from a group commit under way: what is stored, and what
// is being taken.
type linkTxn struct{ *txn }

func (t linkTxn) Node(log uint32, at commit.Place) (sennit.Hash, error) {
	if t.taking != nil && t.into.Num == log {
		if t.brings == nil {
			t.brings = make(map[commit.Place]sennit.Hash, len(t.taking.nodes)+len(t.taking.commits))
			for _, n := range t.taking.nodes {
				t.brings[n.at] = n.hash
			}
			for _, c := range t.taking.commits {
				t.brings[commit.Place{Index: c.Seq - 1}] = commit.Leaf(c.ID[:])
			}
		}
		if h, ok := t.brings[at]; ok {
			return h, nil
		}
	}
	if log == unstored {
		return sennit.Hash{}, nil
	}
	return t.b.Node(log, at)
}

func (t linkTxn) at(l *store.Log, seq uint64) (*commit.Commit, error) {
	if t.taking != nil && t.into.Num == l.Num {
		for _, c := range t.taking.commits {
			if c.Seq == seq {
				return c, nil
			}
		}
	}
	if l.Num == unstored {
		return nil, nil
	}
	return stored(t.b, l, seq)
}

// branches is those of a log, with the one that a run begins.
func (t *txn) branches(id sennit.Hash) []*store.Log {
	all := t.b.Branches(id)
	if t.taking != nil && t.taking.id == id && t.into.Num == unstored {
		all = append(all[:len(all):len(all)], t.into.Log)
	}
	return all
}

// linker is the group commit's for a space.
func (t *txn) linker(sp *space) *linker {
	if t.links == nil {
		t.links = map[sennit.Space]*linker{}
	}
	if t.links[sp.id] == nil {
		t.links[sp.id] = newLinker(sp.id, linkTxn{t})
	}
	return t.links[sp.id]
}

// valid asks whether an op of a commit of a log counts.
func (t *txn) valid(sp *space, ls *logState, c *commit.Commit, op *wire.Op) (ok bool, err error) {
	q := claim(ls.author, c.Log, c.Seq, c.ID, c.Auth, op)
	if sp.rules.Revoked(ls.author) {
		q.Link = t.linker(sp).link(t.branches(c.Log), c.Seq, c.ID, &err)
	}
	return ls.under(sp.rules).Judge(q) == access.Valid, err
}

// showsLinks reports whether a run that is being taken may show links: it has the
// commit that a cut names. first says that the commit wasn't here.
func (t *txn) showsLinks(sp *space, ls *logState, run *checkedRun) (shows, first bool, err error) {
	if !sp.rules.Revoked(ls.author) {
		return false, false, nil
	}
	for _, cut := range sp.rules.Cuts(run.id) {
		for _, c := range run.commits {
			if c.ID != cut.Last {
				continue
			}
			shows = true
			if ls.Num == unstored {
				first = true
			} else if have, err := t.b.Commit(ls.Num, cut.Seq); err != nil || have == nil {
				return true, true, err
			}
		}
	}
	return shows, first, nil
}

// rejudgeRun applies what of a run waited and counts now.
func (t *txn) rejudgeRun(sp *space, run *checkedRun) error {
	var waiting []place
	for _, l := range t.b.Branches(run.id) {
		for _, c := range run.commits {
			w, waits, err := t.b.WaitOf(sp.num, l.Num, c.Seq)
			if err != nil {
				return err
			}
			if waits {
				waiting = append(waiting, place{l.Num, c.Seq, before{Wait: w, waits: true, arrived: w.Arrived}})
			}
		}
	}
	return t.again(sp, waiting)
}
