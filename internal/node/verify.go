package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

// Finding is something that is wrong, and what to do about it.
type Finding struct{ What, Where, Do string }

// Bounds of a verification.
const (
	maxFindings = 100     // that are reported of one space
	verifyBytes = 1 << 20 // bytes of ops that are checked at once
)

const (
	doRestore = "keep a copy of the data directory, and restore it from a backup"
	doRefetch = "remove the file; it is fetched again from a node that has it"
	doRebuild = "keep a copy of the data directory and report this: what was signed is whole, what is derived from it is not"
)

// Verify checks everything that the store holds of its spaces, without relying
// on what is derived: it takes each commit with its ops out of the store,
// checks ids, trees and signatures as if a stranger had sent them, and lets an
// empty engine beside this one judge and merge them. Then both must hold the
// same index and digests. Nothing is changed or repaired.
//
// It needs as much room on disk as the store for as long as it works, and
// about 100 bytes of memory for each commit of the largest space. The node may
// run meanwhile. progress is told how many commits were checked. It fails,
// beside what it found, if it could not look at everything.
func (n *Node) Verify(ctx context.Context, progress func(done, total uint64)) (found []Finding, err error) {
	st, drop, err := n.st.Scratch()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	cfg := n.cfg
	cfg.Store = st
	twin, err := open(cfg)
	if err != nil {
		return nil, err
	}
	ids := n.Spaces()
	slices.SortFunc(ids, func(a, b sennit.Space) int { return bytes.Compare(a[:], b[:]) })
	total, done := uint64(0), uint64(0)
	for _, id := range ids {
		k, err := n.commits(id)
		if err != nil {
			return nil, err
		}
		total += k
	}
	for _, id := range ids {
		var x *check
		// Held commits may come due between looks at one and the other, so
		// what is found is looked for once more.
		for first := true; first || x.again(); first = false {
			was := done
			x = &check{n: n, twin: twin, sp: n.space(id), last: !first, step: func(commits int) {
				done += uint64(commits)
				total = max(total, done)
				progress(done, total)
			}}
			if err := x.space(ctx); err != nil {
				return append(found, x.found...), err
			}
			if x.again() {
				done = was
			}
		}
		found = append(found, x.found...)
	}
	blobs, err := n.verifyBlobs(ctx)
	return append(found, blobs...), err
}

// verifyBlobs reads the blobs that are here and that values name, and checks
// them.
func (n *Node) verifyBlobs(ctx context.Context) (found []Finding, err error) {
	if n.cfg.Blobs == nil {
		return nil, nil
	}
	v, err := n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	var last sennit.Blob
	err = v.AllBlobNames(func(name store.BlobName) error {
		if name.Blob == last || len(found) == maxFindings {
			return ctx.Err()
		}
		last = name.Blob
		switch err := n.cfg.Blobs.Verify(ctx, name.Blob); sennit.CodeOf(err) {
		case "", sennit.NotFound:
			return nil
		case sennit.Internal:
			id, _ := n.st.SpaceByNum(name.Space)
			found = append(found, Finding{What: err.Error(), Where: fmt.Sprintf("/%s/%s", id, name.Path), Do: doRefetch})
			return nil
		default:
			return err
		}
	})
	return found, err
}

// commits counts the commits of a space.
func (n *Node) commits(id sennit.Space) (total uint64, err error) {
	v, err := n.st.View()
	if err != nil {
		return 0, err
	}
	defer v.Release()
	num, _ := n.st.Space(id)
	for _, l := range n.st.Logs(num) {
		size, err := v.Size(l.Num)
		if err != nil {
			return 0, err
		}
		total += size
	}
	return total, nil
}

// check is the verification of one space.
type check struct {
	n, twin *Node
	sp      *space
	step    func(commits int)
	last    bool // what is found counts
	found   []Finding

	v        *store.View // of n
	evidence []access.Evidence
	past     map[uint32]commit.Peaks // of each log, as far as it was read
}

// again reports whether the space should be looked at once more.
func (x *check) again() bool { return !x.last && len(x.found) > 0 }

func (x *check) find(do, where, format string, args ...any) {
	if len(x.found) < maxFindings {
		x.found = append(x.found, Finding{What: fmt.Sprintf(format, args...), Where: where, Do: do})
	}
}

func (x *check) where() string { return "space " + x.sp.id.String() }

// damage turns an error that says that the store is damaged into a finding.
// Others end the verification.
func (x *check) damage(where string, err error) error {
	if err == nil || sennit.CodeOf(err) != sennit.Internal {
		return err
	}
	x.find(doRestore, where, "%v", err)
	return nil
}

func (x *check) space(ctx context.Context) error {
	trie, err := x.freeze(ctx)
	if err != nil {
		return x.damage(x.where(), err)
	}
	defer func() {
		_ = trie.Done() // it was only read
		x.v.Release()
	}()
	x.past = map[uint32]commit.Peaks{}
	err = x.v.Evidence(x.sp.num, func(b []byte) error {
		e, err := wire.DecodeEvidence(b)
		if err == nil {
			_, err = keys.Evaluate(e.Inception, e.Events)
		}
		if err != nil {
			x.find(doRestore, x.where(), "key events are not genuine: %v", err)
			return nil
		}
		x.evidence = append(x.evidence, access.Evidence{Inception: e.Inception, Events: e.Events})
		return nil
	})
	if err = x.damage(x.where(), err); err != nil {
		return err
	}
	if err = x.damage(x.where(), x.forks()); err != nil {
		return err
	}
	if err := x.authority(ctx); err != nil {
		return err
	}
	for _, l := range x.n.st.Logs(x.sp.num) {
		if l.Rec.Class == wire.Authority {
			continue
		}
		if err := x.data(ctx, l); err != nil {
			return err
		}
	}
	// What waited for something has all that there is now.
	if err := x.give(&request{rejudge: true}); err != nil {
		return err
	}
	return x.compare(ctx, trie)
}

// freeze takes the view that is checked, and the digests that go with it.
func (x *check) freeze(ctx context.Context) (trie *Trie, err error) {
	for {
		if trie, err = x.n.Trie(ctx, x.sp.id); err != nil {
			return nil, err
		}
		if x.v, err = x.n.st.View(); err != nil {
			return nil, errors.Join(err, trie.Done())
		}
		last, err := x.v.LastArrival(x.sp.num)
		if err == nil && last <= trie.N {
			return trie, nil
		}
		x.v.Release()
		if err = errors.Join(err, trie.Done()); err != nil {
			return nil, err
		}
	}
}

// forks checks the proofs that logs of the space forked.
func (x *check) forks() error {
	return x.v.Forks(x.sp.num, func(log sennit.Hash, _ uint64, b []byte) error {
		p, err := wire.DecodeForkProof(b)
		if err == nil {
			err = x.n.genuine(p)
		}
		switch {
		case err != nil:
			x.find(doRestore, x.where(), "the proof that log %s forked proves nothing: %v", log, err)
		case p.Log.ID() != log || p.Log.Space != x.sp.id:
			x.find(doRestore, x.where(), "the proof that log %s forked is about another log", log)
		}
		return nil
	})
}

// authority reads the authority commits in order of arrival, in which each
// comes after those that it names.
func (x *check) authority(ctx context.Context) error {
	var b *runBuilder
	drain := func() error {
		if b == nil {
			return nil
		}
		err := b.flush()
		if err == nil {
			err = x.runs(ctx, b.log, b.out)
		}
		b = nil
		return err
	}
	err := x.v.Arrivals(x.sp.num, 0, func(a store.Arrival) error {
		l := x.n.st.LogByNum(a.Log)
		if a.Seq == 0 || l == nil || l.Rec.Class != wire.Authority {
			return nil // where watches start over there is no commit
		}
		if b != nil && b.log != l {
			if err := drain(); err != nil {
				return err
			}
		}
		if b == nil {
			b = x.builder(l)
		}
		if err := b.add(l.Num, a.Seq, nil); err != nil || b.sig == nil {
			return err
		}
		return drain() // so that none waits for one that comes later
	})
	if err == nil {
		err = drain()
	}
	return x.damage(x.where(), err)
}

// data reads a log's commits.
func (x *check) data(ctx context.Context, l *store.Log) error {
	b := x.builder(l)
	drain := func() error {
		err := b.flush()
		if err == nil {
			err = x.runs(ctx, l, b.out)
		}
		b.out, b.bytes = &Batch{}, 0
		return err
	}
	err := x.v.Commits(l.Num, 1, func(seq uint64, rec *wire.Stored) error {
		if err := b.add(l.Num, seq, nil); err != nil {
			return err
		}
		if b.bytes < verifyBytes || rec.Sig == nil {
			return nil
		}
		return drain()
	})
	if err == nil {
		err = drain()
	}
	return x.damage(fmt.Sprintf("log %s in %s", l.ID, x.where()), err)
}

func (x *check) builder(l *store.Log) *runBuilder {
	f := &Feed{n: x.n, space: x.sp.id, Known: map[sennit.Hash]uint64{}}
	if past, ok := x.past[l.Num]; ok {
		f.Known[l.ID] = past.Size
	}
	return &runBuilder{f: f, v: x.v, out: &Batch{}, class: l.Rec.Class, plain: true}
}

// runs checks runs of a log, and gives them to the other engine.
func (x *check) runs(ctx context.Context, l *store.Log, batch *Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	key, err := x.n.keys.get(l.Rec.Device)
	if err != nil {
		return sennit.Errorf(sennit.Internal, "log %s: %w", l.ID, err)
	}
	il := &intakeLog{rec: l.Rec, key: key}
	for _, run := range batch.Runs {
		where := fmt.Sprintf("log %s from commit %d on, in %s", l.ID, run.From+1, x.where())
		var past commit.Peaks
		if run.From > 0 {
			past = x.past[l.Num]
		}
		checked, _, err := il.check(run, past)
		if err != nil {
			x.find(doRestore, where, "commits are not genuine: %v", err)
			continue
		}
		if err := x.stored(l, key, checked, where); err != nil {
			return err
		}
		if x.past[l.Num].Size < checked.after.Size {
			x.past[l.Num] = checked.after
		}
		err = x.give(&request{run: checked})
		if sennit.CodeOf(err) == sennit.Conflict && run.From > 0 {
			// What came in pieces may be in other branches there. From the log's
			// beginning on it can be proved whatever is there.
			if err = x.whole(ctx, l, checked); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			if sennit.CodeOf(err) == sennit.ReadOnly {
				return err
			}
			x.find(doRestore, where, "commits can't be taken: %v", err)
		}
		x.step(len(checked.commits))
	}
	return nil
}

// whole gives the other engine the commits of a run in one that begins with the
// log.
func (x *check) whole(ctx context.Context, l *store.Log, run *checkedRun) error {
	b := x.builder(l)
	b.f.Known = map[sennit.Hash]uint64{}
	for _, c := range run.commits {
		if err := b.add(l.Num, c.Seq, nil); err != nil {
			return err
		}
	}
	if err := b.flush(); err != nil {
		return err
	}
	return x.runs(ctx, l, b.out)
}

// stored compares ids and tree nodes in the store with what was worked out, and
// checks the signatures that the run didn't need.
func (x *check) stored(l *store.Log, key keys.Admitted, run *checkedRun, where string) error {
	for _, c := range run.commits {
		rec, err := x.v.Commit(l.Num, c.Seq)
		if err != nil {
			return err
		}
		switch {
		case rec == nil || rec.ID != c.ID:
			x.find(doRebuild, where, "commit %d is stored under the id of another one", c.Seq)
		case rec.Sig != nil && !key.Verify(keys.DomainCommit, c.ID[:], rec.Sig):
			x.find(doRestore, where, "commits are not genuine: the signature of commit %d is not of its log's device", c.Seq)
		}
	}
	for _, node := range run.nodes {
		have, err := x.v.Node(l.Num, node.at)
		if err != nil {
			return err
		}
		if !have.IsZero() && have != node.hash {
			x.find(doRebuild, where, "node %d of level %d in the tree of ids is wrong", node.at.Index, node.at.Level)
		}
	}
	return nil
}

// give has the other engine append something.
func (x *check) give(r *request) error {
	r.space, r.evidence, r.done = x.sp.id, x.evidence, make(chan result, 1)
	if sp := x.twin.space(x.sp.id); sp != nil {
		sp.waiting = min(sp.waiting, 1) // it has room for all that this one had
	}
	if err := x.twin.append([]*request{r}); err != nil {
		return err
	}
	return (<-r.done).err
}
