package node

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// space is what the engine keeps in memory of a space that the store knows.
type space struct {
	id    sennit.Space
	num   uint32
	auth  atomic.Pointer[access.Authority] // that is durable
	many  atomic.Bool                      // some path may hold more than its slots Put, Del and Deep
	forks atomic.Pointer[[]Fork]           // that are durable

	// Of the committer.
	rules   *access.Authority // with what is being committed
	state   store.SpaceState
	proofs  []Fork    // with what is being committed; each change makes another list
	waiting int       // bytes of commits that wait
	held    time.Time // when the first held commit's clock is due; zero if none is

	digests    chan struct{} // holds a token while somebody brings the trie up to date; others wait as long as their context lets them
	collecting sync.Mutex    // held by whoever collects
}

// newSpace makes a space that the store knows by a number.
func newSpace(id sennit.Space, num uint32) *space {
	return &space{id: id, num: num, digests: make(chan struct{}, 1)}
}

// authority tells who may do what, for everybody but the committer.
func (sp *space) authority() *access.Authority { return sp.auth.Load() }

// space tells a space that the node holds something of, nil if there is none.
func (n *Node) space(id sennit.Space) *space {
	if sp, ok := n.spaces.Load(id); ok {
		return sp.(*space)
	}
	return nil
}

// Spaces lists the spaces of which this node holds something.
func (n *Node) Spaces() []sennit.Space {
	var ids []sennit.Space
	n.spaces.Range(func(id, _ any) bool {
		ids = append(ids, id.(sennit.Space))
		return true
	})
	return ids
}

// Authority tells who may do what in a space, nil if the node holds nothing of it.
func (n *Node) Authority(id sennit.Space) *access.Authority {
	if sp := n.space(id); sp != nil {
		return sp.authority()
	}
	return nil
}

// load brings a space's authority and state into memory.
func (n *Node) load(v *store.View, id sennit.Space) error {
	num, _ := n.st.Space(id)
	sp := newSpace(id, num)
	var err error
	if sp.state, err = v.SpaceState(num); err != nil {
		return err
	}
	sp.many.Store(sp.state.Many)
	var commits []access.Commit
	for _, l := range n.st.Logs(num) {
		if l.Rec.Class != wire.Authority {
			continue
		}
		if err := v.Commits(l.Num, 1, func(seq uint64, c *wire.Stored) error {
			ac := access.Commit{
				ID: c.ID, Log: l.ID, Seq: seq, Heads: c.Auth,
				Author: author(l.Rec),
			}
			err := v.Ops(l.Num, seq, func(_ uint32, b []byte) error {
				op, err := wire.DecodeOp(b)
				ac.Ops = append(ac.Ops, op)
				return err
			})
			commits = append(commits, ac)
			return err
		}); err != nil {
			return err
		}
	}
	var evidence []access.Evidence
	if err := v.Evidence(num, func(b []byte) error {
		e, err := wire.DecodeEvidence(b)
		if err != nil {
			return sennit.Hint(sennit.Errorf(sennit.Internal, "key events in the store are damaged: %w", err), "run: sennit doctor --verify")
		}
		evidence = append(evidence, access.Evidence{Inception: e.Inception, Events: e.Events})
		return nil
	}); err != nil {
		return err
	}
	sp.rules, _ = access.New(id).With(commits, evidence)
	sp.auth.Store(sp.rules)
	if err := sp.loadForks(v); err != nil {
		return err
	}
	err = v.Waiting(num, func(_ uint32, _ uint64, w store.Wait) error {
		sp.waiting += int(w.Size)
		sp.held = n.cfg.Now() // whatever waits is looked at again soon
		return nil
	})
	n.spaces.Store(id, sp)
	return err
}

// logState is what the committer keeps in memory of a log.
type logState struct {
	*store.Log
	peaks  commit.Peaks
	author sennit.Principal

	court *access.Court // under the rules of
	of    *access.Authority
}

// under is a court for claims of this log under some rules.
func (ls *logState) under(a *access.Authority) *access.Court {
	if ls.of != a {
		ls.of, ls.court = a, a.Court()
	}
	return ls.court
}

func claim(author sennit.Principal, log sennit.Hash, seq uint64, id sennit.Hash, auth []sennit.Hash, op *wire.Op) access.Claim {
	return access.Claim{Author: author, Log: log, Seq: seq, Commit: id, Auth: auth, Kind: op.Kind, Path: op.Path, Deep: deep(op)}
}

// authority is authority commits as package access wants them.
func authority(fresh []arriving) []access.Commit {
	all := make([]access.Commit, len(fresh))
	for i, f := range fresh {
		all[i] = access.Commit{ID: f.ID, Log: f.Log, Seq: f.Seq, Author: f.ls.author, Heads: f.Auth, Ops: f.Parts[0].Ops}
	}
	return all
}

// logState loads a log's state, or tells it from memory. Committer only.
func (n *Node) logState(v *store.View, l *store.Log) (*logState, error) {
	if ls := n.logs[l.Num]; ls != nil {
		return ls, nil
	}
	ls := newLogState(l)
	size, err := v.Size(l.Num)
	if err != nil {
		return nil, err
	}
	peaks, ok, err := v.Peaks(l.Num, size)
	if err == nil && !ok {
		err = sennit.Hint(sennit.Errorf(sennit.Internal, "the tree of log %s is damaged", l.ID), "run: sennit doctor --verify")
	}
	if err != nil {
		return nil, err
	}
	ls.peaks = peaks
	n.logs[l.Num] = ls
	return ls, nil
}

// author is who writes a log.
func author(l wire.Log) sennit.Principal {
	return sennit.Principal{Space: l.Principal, Device: l.Device}
}

func newLogState(l *store.Log) *logState {
	return &logState{Log: l, author: author(l.Rec)}
}

// reader reads commits and the index: a view, or a batch with what it holds.
type reader interface {
	Commit(log uint32, seq uint64) (*wire.Stored, error)
	Op(log uint32, seq uint64, index uint32) ([]byte, error)
	Ops(log uint32, seq uint64, f func(index uint32, op []byte) error) error
	At(space uint32, p sennit.Path, slot tree.Slot) (store.Pos, bool, error)
	Here(space uint32, p sennit.Path, f func(tree.Slot, store.Pos) error) error
	Stream(space uint32, p sennit.Path) (store.Stream, bool, error)
	Chunks(space uint32, p sennit.Path) (*store.Chunks, error)
	Under(space uint32, p sennit.Path, f func(sennit.Path, tree.Slot, store.Pos) error) error
	UnderAfter(space uint32, p, last sennit.Path, f func(sennit.Path, tree.Slot, store.Pos) error) error
}

// stamp places an op of the index in the order of all ops. The index doesn't
// say the commit's id, which matters only between the branches of one log.
func (n *Node) stamp(r reader, p store.Pos) (tree.Stamp, error) {
	at := tree.Stamp{Clock: p.Clock, Seq: p.Seq, Index: p.Index}
	l := n.st.LogByNum(p.Log)
	if l == nil {
		return at, sennit.Hint(sennit.Errorf(sennit.Internal, "the index names log %d, which isn't here", p.Log), "run: sennit doctor --verify")
	}
	at.Log = l.ID
	if n.st.Forked(l.ID) {
		c, err := r.Commit(p.Log, p.Seq)
		if err != nil || c == nil {
			return at, err
		}
		at.Commit = c.ID
	}
	return at, nil
}

// stored reads a commit back, nil if it isn't here.
func stored(r reader, l *store.Log, seq uint64) (*commit.Commit, error) {
	rec, err := r.Commit(l.Num, seq)
	if err != nil || rec == nil {
		return nil, err
	}
	var ops []wire.Op
	if err := r.Ops(l.Num, seq, func(i uint32, raw []byte) error {
		op, err := wire.DecodeOp(raw)
		if err != nil {
			return sennit.Errorf(sennit.Internal, "op %d of commit %d of log %s is damaged: %w", i, seq, l.ID, err)
		}
		ops = append(ops, op)
		return nil
	}); err != nil {
		return nil, err
	}
	return commit.Restore(l.ID, seq, rec, ops)
}

// admitted remembers the device keys that were found sound.
type admitted struct {
	mu   sync.Mutex
	keys map[sennit.Device]keys.Admitted
}

// maxAdmitted bounds the keys remembered: 16,384 keys are about 2 MB. When
// full it is emptied: admission costs as much as a verification, once.
const maxAdmitted = 1 << 14

func (a *admitted) get(d sennit.Device) (keys.Admitted, error) {
	a.mu.Lock()
	k, ok := a.keys[d]
	a.mu.Unlock()
	if ok {
		return k, nil
	}
	k, err := keys.Admit(d)
	if err != nil {
		return keys.Admitted{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keys == nil || len(a.keys) >= maxAdmitted {
		a.keys = map[sennit.Device]keys.Admitted{}
	}
	a.keys[d] = k
	return k, nil
}
