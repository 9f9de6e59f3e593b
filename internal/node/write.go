package node

import (
	"errors"
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

// request is one thing that waits to be written: ops of this node, a checked
// run of a peer, or a function that writes to the batch.
type request struct {
	space sennit.Space
	class wire.Class
	ops   []wire.Op     // of this node; in one commit
	adds  []adding      // those of them whose bodies are made when all before them is known
	looks bool          // what there is has to be read, for ops of kinds that add to it
	conds []condition   // what must hold for them to be written
	auth  []sennit.Hash // what they rely on (data)

	run      *checkedRun
	evidence []access.Evidence // joins the space's before anything is judged
	do       func(*store.Batch) error
	reads    bool            // do reads the batch
	follow   func(*Follow)   // changes how the space is followed
	rejudge  bool            // the commits of the space that wait
	drop     *drop           // what a collection removes
	fork     *wire.ForkProof // that is genuine

	size int
	done chan result  // has room for one; or
	then func(result) // is called by the committer and must not block
}

// condition is a version that a path's value must have; "" if there may be none.
type condition struct {
	path    sennit.Path
	version sennit.Version
}

// finish tells whoever asked what became of the request.
func (r *request) finish(res result) {
	if r.then != nil {
		r.then(res)
		return
	}
	r.done <- res
}

// alone reports whether a request needs a group commit of its own: it may
// change verdicts, or it reads what it changes, for which all that came before
// must be in the store.
func (r *request) alone() bool {
	return r.rejudge || r.reads || r.drop != nil || r.follow != nil || r.class == wire.Authority || len(r.evidence) > 0 || r.run != nil && r.run.rec.Class == wire.Authority
}

type result struct {
	version sennit.Version
	n       uint64 // arrivals when it was done
	new     int    // ops that were new here
	err     error
}

// append is the only write path. Local writes and peers' commits go the same
// way, in this order: validity (access), durable append (store), merge (tree
// and index), publish (hub). It fails only if the store does; what is wrong
// with one request fails that request alone.
func (n *Node) append(reqs []*request) error {
	if err := n.cfg.Full(); err != nil {
		for _, r := range reqs {
			r.finish(result{err: err})
		}
		return nil
	}
	t, err := n.transaction(reqs)
	if err != nil {
		for _, r := range reqs {
			r.finish(result{err: err})
		}
		return err
	}
	results := make([]result, len(reqs))
	for i := 0; i < len(reqs); {
		if k := sameCommit(reqs[i:]); k > 0 {
			n.local(t, reqs[i:i+k], results[i:i+k])
			i += k
			continue
		}
		results[i] = n.other(t, reqs[i])
		i++
	}
	if err := t.finish(results); err != nil {
		for _, r := range reqs {
			r.finish(result{err: err})
		}
		return err
	}
	n.hub.Publish(t.events)
	if t.blobs {
		n.blobs.touch()
	}
	for i, r := range reqs {
		results[i].n = n.arrivals
		r.finish(results[i])
	}
	return nil
}

// finish makes the batch durable, and then known to everybody. If the store
// could not be read meanwhile, what is in memory may be ahead of it, and
// nothing more may be written.
func (t *txn) finish(results []result) error {
	t.loaded.Release()
	for sp := range t.touched {
		t.b.SetSpaceState(sp.num, sp.state)
	}
	for _, r := range results {
		if sennit.CodeOf(r.err) == sennit.Internal {
			return errors.Join(sennit.Errorf(sennit.Internal, "the node can't write any more: %w", r.err), t.b.Drop())
		}
	}
	if err := t.b.Sync(); err != nil {
		return sennit.Errorf(sennit.ReadOnly, "the node can't write any more: %w", err)
	}
	for sp := range t.touched {
		sp.auth.Store(sp.rules)
		sp.tellForks()
		t.n.spaces.Store(sp.id, sp)
	}
	return nil
}

// sameCommit is how many requests at the head of the queue go into one commit:
// local writes to one space that rely on the same authority. One with conditions
// begins a commit, so that all before it is there to be looked at.
func sameCommit(reqs []*request) int {
	first, ops, size := reqs[0], 0, 0
	for i, r := range reqs {
		ops, size = ops+len(r.ops), size+r.size
		if len(r.ops) == 0 || i > 0 && (r.space != first.space || r.class != first.class || r.class == wire.Authority ||
			len(r.evidence) > 0 || len(r.conds) > 0 || ops > sennit.MaxOps || size > sennit.MaxCommit || !slices.Equal(r.auth, first.auth)) {
			return i
		}
	}
	return len(reqs)
}

// local builds one commit of this node's own ops and applies it.
func (n *Node) local(t *txn, reqs []*request, results []result) {
	c, err := t.own(reqs, results)
	for i := range results {
		switch {
		case results[i].err != nil:
		case err != nil:
			results[i].err = err
		default:
			results[i] = result{version: version(c.Log, c.Seq), new: len(reqs[i].ops)}
		}
	}
}

// own makes the commit of some requests, without those that it gives an error
// in results.
func (t *txn) own(reqs []*request, results []result) (*commit.Commit, error) {
	n, first := t.n, reqs[0]
	if err := n.cfg.Ahead(); err != nil {
		return nil, err
	}
	sp := t.space(first.space)
	if err := t.evidence(sp, first.evidence); err != nil {
		return nil, err
	}
	auth := first.auth
	if first.class == wire.Authority {
		auth = sp.rules.Cite(n.self)
	}
	ls, err := t.ownLog(sp, first.class)
	if err != nil {
		return nil, err
	}
	clock := max(uint64(t.now.UnixMilli())<<16, sp.state.Clock+1)
	var counts *counting
	if slices.ContainsFunc(reqs, func(r *request) bool { return len(r.adds) > 0 }) {
		counts = &counting{t: t, sp: sp, log: ls.Num, clock: clock}
	}
	var ops []wire.Op
	for i, r := range reqs {
		err := t.allowed(sp, ls, auth, r)
		if err == nil && len(r.conds) > 0 {
			err = t.meets(sp, r.conds)
		}
		if err == nil && counts != nil {
			err = counts.make(r)
		}
		if err != nil {
			results[i].err = err
		} else if ops == nil {
			ops = r.ops[:len(r.ops):len(r.ops)]
		} else {
			ops = append(ops, r.ops...)
		}
	}
	if ops == nil {
		return nil, nil
	}
	// A commit is part of its log's tree only once nothing can be said against it.
	peaks, nodes := ls.peaks.Clone(), t.nodes[:0]
	c, err := commit.Build(sp.id, ls.ID, &peaks, clock, auth, ops,
		func(id sennit.Hash) [64]byte { return n.cfg.Identity.SignCommit(id) },
		func(at commit.Place, h sennit.Hash) { nodes = append(nodes, treeNode{at, h}) })
	if err != nil {
		return nil, err
	}
	if first.class == wire.Authority {
		err = t.authority(sp, []arriving{{c, ls, nil}})
	} else {
		err = t.data(sp, arriving{c, ls, nil}, true)
	}
	if err != nil {
		return nil, err
	}
	t.grow(ls, peaks, nodes)
	t.nodes = nodes
	return c, nil
}

// allowed asks whether own ops would count, so that no void one is written.
func (t *txn) allowed(sp *space, ls *logState, auth []sennit.Hash, r *request) error {
	if r.class == wire.Authority {
		return nil // the commit is judged as a whole, before it is stored
	}
	next := commit.Commit{Log: ls.ID, Seq: ls.peaks.Size + 1, Auth: auth}
	for i := range r.ops {
		if ok, err := t.valid(sp, ls, &next, &r.ops[i]); err != nil {
			return err
		} else if !ok {
			return sennit.Errorf(sennit.Denied, "this node may not do that at %s in space %s", r.ops[i].Path, sp.id)
		}
	}
	return nil
}

// meets says whether conditions hold.
func (t *txn) meets(sp *space, conds []condition) error {
	l := t.through()
	for _, c := range conds {
		s, ok, err := l.shows(sp, c.path)
		if err != nil {
			return err
		}
		now := sennit.Version("")
		if ok {
			n, err := l.node(sp, c.path, s)
			if err != nil {
				return err
			}
			now = n.Version
		}
		if now == c.version {
			continue
		}
		what := "it has version " + string(now)
		if !ok {
			what = "there is no value"
		}
		return sennit.Hint(sennit.Errorf(sennit.Conflict, "/%s is not as it was: %s", c.path, what), "read it again, and decide anew")
	}
	return nil
}

// other does what isn't an own write.
func (n *Node) other(t *txn, r *request) (res result) {
	switch {
	case r.do != nil:
		res.err = r.do(t.b)
		return res
	case r.follow != nil:
		res.err = t.editFollow(r.space, r.follow)
		return res
	}
	sp := t.space(r.space)
	err := t.evidence(sp, r.evidence)
	if err == nil && r.rejudge {
		err = t.rejudge(sp, sennit.Hash{})
	}
	if err == nil && r.drop != nil {
		err = t.drop(sp, r.drop)
	}
	if err == nil && r.fork != nil {
		t.keepFork(sp, r.fork)
	}
	if err == nil && r.run != nil {
		res.new, err = t.take(sp, r.run)
	}
	res.err = err
	return res
}
