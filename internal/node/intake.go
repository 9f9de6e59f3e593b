package node

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

// intakeBytes bounds what one peer's runs may take while they wait to be
// written; the session waits beyond.
const intakeBytes = 2 << 20

// maxEnds bounds the runs of one log that others may continue before they are
// stored.
const maxEnds = 4

// maxDoubts bounds how often one peer may be wrong about a log's history.
const maxDoubts = 1024

// maxIntakeLogs bounds the logs that one peer can have under way.
const maxIntakeLogs = 4096

// Intake takes commits from one peer. It checks them on the caller's
// goroutine, before anything is stored, and hands them to the committer, with
// a bounded number of bytes under way. It belongs to one goroutine.
type Intake struct {
	// OnDone, if set, is told what became of each run and evidence, in order.
	// It is called on the committer's goroutine and must not block.
	OnDone func(added int, err error)

	// OnGenuine, if set, is told the id of each commit of a genuine run before
	// the run is queued.
	OnGenuine func(id sennit.Hash)

	n      *Node
	logs   map[sennit.Hash]*intakeLog
	doubts int // how often the peer was asked to prove a run from the log's beginning
	room   *semaphore.Weighted

	mu    sync.Mutex           // guards what follows
	added int                  // since the last Wait
	err   error                // the first since the last Wait
	lost  map[sennit.Hash]bool // logs of which a run was refused: what was to continue it can't
}

type intakeLog struct {
	rec   wire.Log
	key   keys.Admitted
	ends  []commit.Peaks    // where runs led to, the last one first
	under *access.Authority // rules that let its principal write
}

// checkedRun is a run that is genuine.
type checkedRun struct {
	rec     wire.Log
	id      sennit.Hash // of the log
	before  commit.Peaks
	commits []*commit.Commit
	nodes   []treeNode
	after   commit.Peaks
	looks   bool // there are ops among its own that add to what there is
}

type treeNode struct {
	at   commit.Place
	hash sennit.Hash
}

// Intake begins to take commits from a peer.
func (n *Node) Intake() *Intake {
	return &Intake{n: n, logs: map[sennit.Hash]*intakeLog{}, lost: map[sennit.Hash]bool{}, room: semaphore.NewWeighted(intakeBytes)}
}

// Log introduces a log that the peer is about to send commits of. Logs are
// taken only of principals whom some rule of the space lets write.
func (in *Intake) Log(rec wire.Log) error {
	id := rec.ID()
	if in.logs[id] != nil {
		return nil
	}
	if len(in.logs) >= maxIntakeLogs {
		return sennit.Errorf(sennit.OverQuota, "more than %d logs in one session", maxIntakeLogs)
	}
	key, err := in.n.keys.get(rec.Device)
	if err != nil {
		return err
	}
	in.logs[id] = &intakeLog{rec: rec, key: key}
	return nil
}

// Behind says that a run starts behind what is here of its log.
type Behind struct {
	Log  sennit.Hash
	Size uint64 // where the sender may start: commits of the log that are here, or 0
}

func (b *Behind) Error() string { return "the run starts behind what is here of its log" }

// Run checks a run and queues it. It fails with *Behind if the sender must
// start earlier, with BadInput if the run is not genuine, with Denied if the
// log's principal has no business in the space. What becomes of the commits
// Wait tells.
func (in *Intake) Run(ctx context.Context, run *wire.Run) error {
	il := in.logs[run.Log]
	if il == nil {
		l := in.n.st.Log(run.Log)
		if l == nil {
			return sennit.Errorf(sennit.BadInput, "a run of a log that was not introduced")
		}
		if err := in.Log(l.Rec); err != nil {
			return err
		}
		il = in.logs[run.Log]
	}
	if err := in.welcome(il); err != nil {
		return err
	}
	if in.broken(run.Log) {
		il.ends = nil
	}
	checked, err := in.check(il, run)
	if err != nil {
		return err
	}
	il.reached(checked)
	if in.OnGenuine != nil {
		for _, c := range checked.commits {
			in.OnGenuine(c.ID)
		}
	}
	r := &request{space: il.rec.Space, run: checked}
	for _, c := range checked.commits {
		c.Each(func(_ uint32, op *wire.Op) { r.size += len(op.Bytes()) })
	}
	return in.push(ctx, r)
}

// check checks a run against the tree that it says it continues: that of an
// earlier run, or of what is here of the log.
func (in *Intake) check(il *intakeLog, run *wire.Run) (*checkedRun, error) {
	if run.From == 0 {
		checked, _, err := il.check(run, commit.Peaks{})
		return checked, err
	}
	var forged error
	for _, end := range il.ends {
		if end.Size != run.From {
			continue
		}
		checked, maybe, err := il.check(run, end)
		if !maybe {
			return checked, err
		}
		forged = err
	}
	v, err := in.n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	behind := &Behind{Log: run.Log}
	for i, l := range in.n.st.Branches(run.Log) {
		size, err := v.Size(l.Num)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			behind.Size = size
		}
		if size < run.From {
			continue
		}
		past, ok, err := v.Peaks(l.Num, run.From)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		checked, maybe, err := il.check(run, past)
		if !maybe {
			return checked, err
		}
		forged = err
	}
	switch {
	case forged == nil:
		return nil, behind
	case in.doubts == maxDoubts:
		return nil, forged
	}
	// It may be of a branch of a forked log that isn't here. Then it can be
	// proved from the log's beginning.
	in.doubts++
	return nil, &Behind{Log: run.Log}
}

// check checks a run. maybe says that it may be genuine nevertheless: its
// signature is not for what follows from this past.
func (il *intakeLog) check(run *wire.Run, past commit.Peaks) (checked *checkedRun, maybe bool, err error) {
	checked = &checkedRun{rec: il.rec, id: run.Log, before: past, after: past.Clone()}
	verify := func(id sennit.Hash, sig *[64]byte) bool {
		maybe = !il.key.Verify(keys.DomainCommit, id[:], sig)
		return !maybe
	}
	checked.commits, err = commit.Check(run, il.rec, &checked.after, verify, func(at commit.Place, h sennit.Hash) {
		checked.nodes = append(checked.nodes, treeNode{at, h})
	})
	for _, c := range checked.commits {
		c.Each(func(_ uint32, op *wire.Op) {
			checked.looks = checked.looks || op.Kind == sennit.KindAdd || op.Kind == sennit.KindAppend
		})
	}
	return checked, maybe, err
}

// reached remembers the tree that a run led to, for what continues it: it may
// not be stored yet.
func (il *intakeLog) reached(run *checkedRun) {
	i := slices.IndexFunc(il.ends, func(end commit.Peaks) bool { return same(&end, &run.before) })
	switch {
	case i >= 0:
		il.ends = slices.Delete(il.ends, i, i+1)
	case len(il.ends) == maxEnds:
		il.ends = il.ends[:maxEnds-1]
	}
	il.ends = slices.Insert(il.ends, 0, run.after)
}

// broken reports whether a run of a log was refused since it was last asked.
func (in *Intake) broken(log sennit.Hash) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	lost := in.lost[log]
	delete(in.lost, log)
	return lost
}

// welcome asks whether some rule lets a log's principal write anything in its
// space. Logs of others are not taken, so strangers can fill nothing.
func (in *Intake) welcome(il *intakeLog) error {
	if il.rec.Class == wire.Authority {
		return nil // judged commit by commit, and bounded
	}
	a := in.n.Authority(il.rec.Space)
	if a != nil && il.under != a && mayWrite(a, il.rec) {
		il.under = a
	}
	if a == nil || il.under != a {
		return sennit.Errorf(sennit.Denied, "nothing lets %s write to space %s", il.rec.Principal, il.rec.Space)
	}
	return nil
}

// mayWrite reports whether somebody is the owner's device or is named by a
// rule that lets write.
func mayWrite(a *access.Authority, l wire.Log) bool {
	if l.Principal == l.Space {
		return a.Proven(sennit.Principal{Space: l.Principal, Device: l.Device})
	}
	for _, r := range a.Rules("") {
		if r.Gives&(sennit.Write|sennit.Remove) == 0 {
			continue
		}
		switch who := r.Grant.Who; who.Subject {
		case wire.SubjectAny:
			return true
		case wire.SubjectSpace:
			if who.Key == l.Principal {
				return true
			}
		case wire.SubjectDevice:
			if who.Key == l.Device {
				return true
			}
		}
	}
	return false
}

// Evidence queues other principals' key events for a space.
func (in *Intake) Evidence(ctx context.Context, space sennit.Space, e *wire.Evidence) error {
	if _, err := keys.Evaluate(e.Inception, e.Events); err != nil {
		return err
	}
	return in.push(ctx, &request{
		space: space, evidence: []access.Evidence{{Inception: e.Inception, Events: e.Events}},
	})
}

// push queues a request, and waits while too much is under way.
func (in *Intake) push(ctx context.Context, r *request) error {
	weight := min(int64(r.size)+512, intakeBytes)
	if err := in.room.Acquire(ctx, weight); err != nil {
		return err
	}
	r.then = func(res result) {
		in.mu.Lock()
		in.added += res.new
		if in.err == nil {
			in.err = res.err
		}
		if res.err != nil && r.run != nil {
			in.lost[r.run.id] = true
		}
		in.mu.Unlock()
		if in.OnDone != nil {
			in.OnDone(res.new, res.err)
		}
		in.room.Release(weight) // the last thing: Wait waits for it
	}
	if err := in.n.enqueue(ctx, r); err != nil {
		in.room.Release(weight)
		return err
	}
	return nil
}

// Mark calls then when everything that was queued before is durable or
// refused, or with why nothing can be stored. It is called on the committer's
// goroutine and must not block.
func (in *Intake) Mark(ctx context.Context, then func(err error)) error {
	return in.n.enqueue(ctx, &request{
		do:   func(*store.Batch) error { return nil },
		then: func(res result) { then(res.err) },
	})
}

// Wait waits until everything that was queued is durable or refused. It tells
// how many ops were new here since the last Wait, and the first error.
func (in *Intake) Wait(ctx context.Context) (added int, err error) {
	if err := in.room.Acquire(ctx, intakeBytes); err != nil {
		return 0, err
	}
	in.room.Release(intakeBytes)
	in.mu.Lock()
	defer in.mu.Unlock()
	added, err = in.added, in.err
	in.added, in.err = 0, nil
	return added, err
}
