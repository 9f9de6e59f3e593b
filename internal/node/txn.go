package node

import (
	"crypto/rand"
	"encoding/binary"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/hub"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// txn is one group commit under way.
type txn struct {
	n       *Node
	now     time.Time
	b       *store.Batch
	loaded  *store.View // to load what isn't in memory
	reading bool        // b can be read
	touched map[*space]struct{}
	spaces  map[sennit.Space]*space      // that the store doesn't know yet
	forked  bool                         // a log got another branch
	blobs   bool                         // some put names one
	taking  *checkedRun                  // what is being taken,
	into    *logState                    // the branch that it is part of,
	brings  map[commit.Place]sennit.Hash // and the nodes of the log's tree in it, once they are asked for,
	sets    map[sennit.Path]set          // and the last put in it to each path, likewise
	links   map[sennit.Space]*linker
	nodes   []treeNode // room
	events  []hub.Event[*sennit.Update]
}

// transaction begins a group commit. Ops that are newer than everything in
// their space overwrite without looking, which is the rule, and commits that
// continue a log need no look at what it holds. Only for others must the batch
// be read as well as written.
func (n *Node) transaction(reqs []*request) (*txn, error) {
	t := &txn{n: n, now: n.cfg.Now(), touched: map[*space]struct{}{}}
	var err error
	if t.loaded, err = n.st.View(); err != nil {
		return nil, err
	}
	if t.reading, err = t.mustRead(reqs); err != nil {
		t.loaded.Release()
		return nil, err
	}
	if t.reading {
		t.b = n.st.ReadBatch()
	} else {
		t.b = n.st.Batch()
	}
	return t, nil
}

// mustRead foresees whether the batch will have to be read. It takes every
// request for one that succeeds; if one doesn't, those that build on it don't
// either, so nothing is read for them.
func (t *txn) mustRead(reqs []*request) (bool, error) {
	clocks := map[sennit.Space]uint64{}
	logs := map[sennit.Hash]commit.Peaks{}
	for _, r := range reqs {
		if r.alone() {
			return true, nil
		}
		clock, ok := clocks[r.space]
		if sp := t.n.space(r.space); !ok && sp != nil {
			clock = sp.state.Clock
		}
		if len(r.adds) > 0 || len(r.conds) > 0 || r.looks || r.run != nil && r.run.looks || t.revoked(r) {
			return true, nil // whether or how it is done depends on what there is
		}
		if r.run == nil {
			clocks[r.space] = max(uint64(t.now.UnixMilli())<<16, clock+1)
			continue
		}
		have, ok := logs[r.run.id]
		if l := t.n.st.Log(r.run.id); !ok && l != nil {
			ls, err := t.n.logState(t.loaded, l)
			if err != nil {
				return false, err
			}
			have = ls.peaks
		}
		if !same(&have, &r.run.before) || t.n.st.Forked(r.run.id) {
			return true, nil
		}
		logs[r.run.id] = r.run.after
		for _, c := range r.run.commits {
			if c.Clock <= clock {
				return true, nil
			}
			clock = c.Clock
		}
		clocks[r.space] = clock
	}
	return false, nil
}

// revoked reports whether somebody's rights in the space were revoked on whom
// the request may depend.
func (t *txn) revoked(r *request) bool {
	sp := t.n.space(r.space)
	if sp == nil {
		return false
	}
	who := t.n.self
	if r.run != nil {
		who = sennit.Principal{Space: r.run.rec.Principal, Device: r.run.rec.Device}
	}
	return sp.rules.Revoked(who)
}

func same(a, b *commit.Peaks) bool { return a.Size == b.Size && slices.Equal(a.Nodes, b.Nodes) }

// space tells a space. One of which nothing is stored yet is not kept unless
// something will be: see keep.
func (t *txn) space(id sennit.Space) *space {
	sp := t.n.space(id)
	if sp == nil {
		sp = t.spaces[id]
	}
	if sp == nil {
		sp = newSpace(id, 0)
		sp.rules = access.New(id)
	}
	return sp
}

// keep makes a space known, because something is stored about it.
func (t *txn) keep(sp *space) {
	if t.n.space(sp.id) == nil && t.spaces[sp.id] == nil {
		if t.spaces == nil {
			t.spaces = map[sennit.Space]*space{}
		}
		sp.num = t.b.Space(sp.id)
		t.spaces[sp.id] = sp
	}
	t.touched[sp] = struct{}{}
}

// ownLog tells the log in which this node writes to a space, or begins one.
func (t *txn) ownLog(sp *space, class wire.Class) (*logState, error) {
	at := ownLog{sp.id, class}
	if ls := t.n.own[at]; ls != nil {
		return ls, nil
	}
	rec := wire.Log{Space: sp.id, Principal: t.n.self.Space, Device: t.n.self.Device, Class: class}
	rand.Read(rec.Nonce[:])
	t.keep(sp)
	ls, err := t.n.logState(t.loaded, t.b.Log(rec))
	if err == nil {
		t.n.own[at] = ls
		t.n.wrote[ls.ID] = true
		t.b.SetLocal(wroteKey+ls.ID.String(), []byte{1})
	}
	return ls, err
}

// wroteKey begins the names of local state that say which logs this store began.
const wroteKey = "wrote/"

// grow makes commits part of their log's tree of ids.
func (t *txn) grow(ls *logState, peaks commit.Peaks, nodes []treeNode) {
	for _, node := range nodes {
		t.b.PutNode(ls.Num, node.at, node.hash)
	}
	if peaks.Size > ls.peaks.Size {
		ls.peaks = peaks
	}
}

// take stores the commits of a checked run that aren't here, and merges them:
// all or, if it refuses the run, none. It tells how many ops were new.
func (t *txn) take(sp *space, run *checkedRun) (added int, err error) {
	ls, err := t.branch(run)
	if err != nil {
		return 0, err
	}
	t.taking, t.into = run, ls
	defer func() { t.taking, t.into, t.brings, t.sets = nil, nil, nil, nil }()
	shows, first, err := t.showsLinks(sp, ls, run)
	if err != nil {
		return 0, err
	}
	fresh, shared, err := t.missing(ls, run)
	if err != nil || len(fresh) == 0 && !shows {
		return 0, err
	}
	if err := t.refuse(sp, ls, fresh); err != nil {
		return 0, err
	}
	t.keep(sp)
	if ls.Log.Num == unstored {
		t.forked = t.forked || len(t.b.Branches(run.id)) > 0
		ls.Log = t.b.Branch(run.rec)
		t.n.logs[ls.Num] = ls
	}
	if run.rec.Class == wire.Authority {
		err = t.authority(sp, fresh)
	}
	for _, f := range fresh {
		if run.rec.Class == wire.Data && err == nil {
			err = t.data(sp, f, false)
		}
		added += f.Ops()
		if f.had != nil {
			added -= f.had.Ops()
		}
	}
	if err != nil {
		return 0, err
	}
	for _, c := range shared {
		if c.Sig == nil {
			t.b.PutNode(ls.Num, commit.Place{Index: c.Seq - 1}, commit.Leaf(c.ID[:]))
		} else if err := t.vouch(ls, c); err != nil {
			return 0, err
		}
	}
	t.grow(ls, run.after, run.nodes)
	if err := t.accuse(sp, ls.Log, run); err != nil {
		return 0, err
	}
	switch {
	case first: // it may show of everything in the log that it came before
		err = t.rejudge(sp, run.id)
	case shows:
		err = t.rejudgeRun(sp, run)
	}
	if err != nil {
		return 0, err
	}
	if at := (ownLog{sp.id, run.rec.Class}); t.n.own[at] != nil && t.n.own[at].ID == run.id {
		// Somebody knows more of this node's log than it does: its store is an
		// older copy, or has one that runs elsewhere. The log goes on there; a new
		// one begins here.
		t.copied(ls != t.n.own[at])
		delete(t.n.own, at)
	}
	return added, nil
}

// copied notes that a log of this node was written to elsewhere.
func (t *txn) copied(forked bool) {
	key := olderKey
	if forked {
		key = copiedKey
	}
	t.b.SetLocal(key, binary.BigEndian.AppendUint64(nil, uint64(t.now.UnixMilli())))
}

// Names of local state: when it was found that this store is older than one
// with the same keys was, and that one with the same keys is in use elsewhere.
const (
	olderKey  = "older"
	copiedKey = "copied"
)

// Copied tells when it was last found that a log of this node was continued
// elsewhere, zero if never: from where it stops here, so that this store is an
// older copy; or otherwise than here, so that both are in use.
func (n *Node) Copied() (older, inUse time.Time, err error) {
	for key, at := range map[string]*time.Time{olderKey: &older, copiedKey: &inUse} {
		b, err := n.Local(key)
		if err != nil {
			return older, inUse, err
		}
		if len(b) == 8 {
			*at = time.UnixMilli(int64(binary.BigEndian.Uint64(b)))
		}
	}
	return older, inUse, nil
}

// refuse says why none of the commits of a run can be taken. It is asked
// before the first is stored.
func (t *txn) refuse(sp *space, ls *logState, fresh []arriving) error {
	if ls.Rec.Class == wire.Authority {
		_, out := sp.rules.With(authority(fresh), nil)
		return refusal(out)
	}
	size := 0
	for _, f := range fresh {
		void := t.ahead(f.Commit)
		bytes := 0
		var failed error
		f.Each(func(_ uint32, op *wire.Op) {
			bytes += len(op.Bytes())
			if !void && failed == nil {
				var valid bool
				valid, failed = t.valid(sp, ls, f.Commit, op)
				void = !valid
			}
		})
		if failed != nil {
			return failed
		}
		if void {
			size += bytes
		}
	}
	if size > 0 && sp.waiting+size > waitingRoom {
		return sennit.Errorf(sennit.OverQuota, "%d bytes of ops in space %s can't be applied yet; no more are kept", sp.waiting, sp.id)
	}
	return nil
}

// refusal is why authority commits aren't taken, nil if all are.
func refusal(out access.Outcome) error {
	for _, r := range out.Refused {
		return sennit.Errorf(sennit.Denied, "an authority commit isn't accepted: %w", r.Err)
	}
	return nil
}

// stamp places an op of the index in the order of all ops. It knows logs and
// branches that the batch adds.
func (t *txn) stamp(p store.Pos) (tree.Stamp, error) {
	ls := t.n.logs[p.Log]
	if ls == nil {
		return t.n.stamp(t.b, p)
	}
	at := tree.Stamp{Clock: p.Clock, Log: ls.ID, Seq: p.Seq, Index: p.Index}
	if t.forked || t.n.st.Forked(ls.ID) {
		c, err := t.b.Commit(p.Log, p.Seq)
		if err != nil || c == nil {
			return at, err
		}
		at.Commit = c.ID
	}
	return at, nil
}

// vouch stores a commit without its ops, because its signature vouches for
// others of the branch. The ops are with another branch.
func (t *txn) vouch(ls *logState, c *commit.Commit) error {
	bare := *c
	var err error
	if bare.Parts, err = c.Pick(func(uint32, *wire.Op) bool { return false }); err == nil {
		t.put(ls, &bare)
	}
	return err
}

// put stores a commit and its ops, and tells how many bytes the ops have.
func (t *txn) put(ls *logState, c *commit.Commit) (size int) {
	rec := c.Stored()
	t.b.PutCommit(ls.Num, c.Seq, &rec)
	c.Each(func(i uint32, op *wire.Op) {
		size += len(op.Bytes())
		t.b.PutOp(ls.Num, c.Seq, i, op.Bytes())
	})
	return size
}

// authority stores authority commits and puts in force what they say, or says
// why they don't count.
func (t *txn) authority(sp *space, fresh []arriving) error {
	next, out := sp.rules.With(authority(fresh), nil)
	if err := refusal(out); err != nil {
		return err
	}
	t.keep(sp)
	for _, f := range fresh {
		t.put(f.ls, f.Commit)
		t.arrive(sp, store.Arrival{Log: f.ls.Num, Seq: f.Seq})
	}
	if err := t.enforce(sp, next, out); err != nil {
		return err
	}
	return t.rejudge(sp, sennit.Hash{})
}

// evidence adds other principals' key events to a space. What no rule of the
// space asks for is not taken.
func (t *txn) evidence(sp *space, evidence []access.Evidence) error {
	if len(evidence) == 0 {
		return nil
	}
	next, out := sp.rules.With(nil, evidence)
	if next == sp.rules {
		return nil
	}
	t.keep(sp)
	for _, e := range evidence {
		if !slices.Contains(out.Spaces, e.Inception.Space()) {
			continue
		}
		// It takes the place of its own beginnings.
		rec := wire.Evidence{Inception: e.Inception, Events: e.Events}
		for rec.Events = e.Events[:0]; len(rec.Events) < len(e.Events); rec.Events = e.Events[:len(rec.Events)+1] {
			t.b.DropEvidence(sp.num, rec.Key())
		}
		t.b.PutEvidence(sp.num, rec.Key(), rec.Append(nil))
	}
	if err := t.enforce(sp, next, out); err != nil {
		return err
	}
	return t.rejudge(sp, sennit.Hash{})
}

// arrive numbers a commit that now counts, and the events that it brought.
func (t *txn) arrive(sp *space, a store.Arrival) {
	t.n.arrivals++
	a.N = t.n.arrivals
	t.b.Arrive(sp.num, a)
	for i := len(t.events) - 1; i >= 0 && t.events[i].N == 0; i-- {
		t.events[i].N = t.n.arrivals
	}
}

// turn notes that what somebody sees of a space may change at once, without a
// commit that says so of each value: rules or key events came, or it is followed.
// It has a number of its own, so that a cursor lies before it or behind it.
func (t *txn) turn(sp *space) {
	t.keep(sp)
	t.n.arrivals++
	t.b.Pass(t.n.arrivals)
	sp.state.Turned = t.n.arrivals
}

// restart has the watches of a space start over.
func (t *txn) restart(sp *space) {
	// So that whoever resumes from before learns of it as well.
	t.arrive(sp, store.Arrival{})
	t.events = append(t.events, hub.Event[*sennit.Update]{
		N: t.n.arrivals, Space: sp.id, Deep: true, Data: &sennit.Update{Kind: sennit.Reset, Space: sp.id},
	})
}

// ahead reports whether a commit's clock is too far ahead for it to be applied.
func (t *txn) ahead(c *commit.Commit) bool {
	return c.Clock>>16 > uint64(t.now.Add(MaxAhead).UnixMilli())
}
