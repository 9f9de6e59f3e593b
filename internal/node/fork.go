package node

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/hub"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about proofs that a device signed two histories of one log. All
// branches of a log count; a proof only tells people. A log whose commits came in
// pieces may have several branches here although nothing forked, so the branches
// alone accuse nobody: see docs/decisions/forks.md.

// Bounds of fork proofs.
const (
	MaxForks   = 512 // that are kept of a space
	MaxForksOf = 8   // that are kept of a device in a space: those with the newest later headers
)

// forksTopic is where the hub tells that a proof was kept.
const forksTopic = "forks"

// Fork is a proof that a device signed two histories of one log.
type Fork struct {
	Log   sennit.Hash
	Proof *wire.ForkProof
	Found time.Time // when it was made here, or came
}

// device is who signed both histories.
func (f *Fork) device() sennit.Device { return f.Proof.Log.Device }

// older reports whether a proof goes before another one does, if not all of a device
// can be kept. Everybody must drop the same ones: what one drops and another
// hands on would come again for ever.
func (f *Fork) older(g *Fork) bool {
	if f.Proof.B.Clock != g.Proof.B.Clock {
		return f.Proof.B.Clock < g.Proof.B.Clock
	}
	return bytes.Compare(f.Log[:], g.Log[:]) < 0
}

// Forks lists the proofs that are kept of a space, by log: at most one of each,
// [MaxForksOf] of a device, [MaxForks] in all. The list doesn't change; when
// there is another proof there is another list.
func (n *Node) Forks(id sennit.Space) []Fork {
	if sp := n.space(id); sp != nil {
		if all := sp.forks.Load(); all != nil {
			return *all
		}
	}
	return nil
}

// loadForks brings a space's proofs into memory.
func (sp *space) loadForks(v *store.View) error {
	err := v.Forks(sp.num, func(log sennit.Hash, found uint64, b []byte) error {
		p, err := wire.DecodeForkProof(b)
		if err != nil {
			return sennit.Hint(sennit.Errorf(sennit.Internal, "a fork proof in the store is damaged: %w", err), "run: sennit doctor --verify")
		}
		sp.proofs = append(sp.proofs, Fork{log, p, time.UnixMilli(int64(found))})
		return nil
	})
	sp.tellForks()
	return err
}

// tellForks shows everybody the proofs that are durable now.
func (sp *space) tellForks() {
	all := sp.proofs
	sp.forks.Store(&all)
}

// genuine reports whether a proof proves what it says.
func (n *Node) genuine(p *wire.ForkProof) error {
	key, err := n.keys.get(p.Log.Device)
	if err != nil {
		return err
	}
	return commit.CheckFork(p, func(id sennit.Hash, sig *[64]byte) bool { return key.Verify(keys.DomainCommit, id[:], sig) })
}

// Fork checks a proof and queues it to be kept. It fails with Denied if nothing
// in the space names the device, so strangers fill nothing, with OverQuota if as
// much is kept that this one would not be, and with BadInput if it proves nothing.
func (in *Intake) Fork(ctx context.Context, p *wire.ForkProof) error {
	a, f := in.n.Authority(p.Log.Space), Fork{Log: p.Log.ID(), Proof: p}
	if a == nil || !a.Names(author(p.Log)) {
		return sennit.Errorf(sennit.Denied, "a fork proof of a device that nothing in space %s names", p.Log.Space)
	}
	all := in.n.Forks(p.Log.Space)
	if slices.ContainsFunc(all, func(g Fork) bool { return g.Log == f.Log }) {
		return nil
	}
	if _, ok := room(all, &f); !ok {
		return sennit.Errorf(sennit.OverQuota, "no more fork proofs of device %s are kept", p.Log.Device)
	}
	if err := in.n.genuine(p); err != nil {
		return err
	}
	return in.push(ctx, &request{space: p.Log.Space, fork: p, size: len(p.Append(nil))})
}

// room says whether there is room for another proof, and which one has to go for
// it: its index, -1 if none has to.
func room(all []Fork, f *Fork) (out int, ok bool) {
	out, of := -1, 0
	for i := range all {
		if all[i].device() != f.device() {
			continue
		}
		if of++; out < 0 || all[i].older(&all[out]) {
			out = i
		}
	}
	if of >= MaxForksOf {
		return out, all[out].older(f)
	}
	return -1, len(all) < MaxForks
}

// keepFork stores a proof that is genuine and whose device is known, if there is
// room and none of its log, and has the sessions hand it on.
func (t *txn) keepFork(sp *space, p *wire.ForkProof) {
	f := Fork{p.Log.ID(), p, time.UnixMilli(t.now.UnixMilli())}
	if sp.forked(f.Log) {
		return
	}
	out, ok := room(sp.proofs, &f)
	if !ok {
		return
	}
	t.keep(sp)
	all := slices.Clone(sp.proofs)
	if out >= 0 {
		t.b.DropFork(sp.num, all[out].Log)
		all = slices.Delete(all, out, out+1)
	}
	at, _ := slices.BinarySearchFunc(all, f.Log, func(g Fork, log sennit.Hash) int { return bytes.Compare(g.Log[:], log[:]) })
	sp.proofs = slices.Insert(all, at, f)
	t.b.PutFork(sp.num, f.Log, uint64(f.Found.UnixMilli()), p.Append(nil))
	t.events = append(t.events, hub.Event[*sennit.Update]{
		N: t.n.arrivals, Path: sennit.Path(forksTopic + "/" + sp.id.String()),
	})
	if at := (ownLog{sp.id, p.Log.Class}); t.n.own[at] != nil && t.n.own[at].ID == f.Log {
		// What was written elsewhere isn't here yet, and is known all the same.
		t.copied(true)
		delete(t.n.own, at)
	}
}

// forked reports whether there is a proof that a log forked.
func (sp *space) forked(log sennit.Hash) bool {
	return slices.ContainsFunc(sp.proofs, func(f Fork) bool { return f.Log == log })
}

// accuse looks whether a run that was taken into a branch of a log shows that
// it forked. A proof needs a signed commit of one branch, and of another one a
// commit with the same seq and a signed one that is not earlier. Each may have
// come last: the run's end is its only commit with a signature of its own, and
// any of them may be at the seq of one that is signed elsewhere.
func (t *txn) accuse(sp *space, l *store.Log, run *checkedRun) error {
	branches := t.b.Branches(run.id)
	if len(branches) < 2 || sp.forked(run.id) || !sp.rules.Names(author(l.Rec)) {
		return nil
	}
	last := run.commits[len(run.commits)-1].Seq
	for _, other := range branches {
		if other.Num == l.Num {
			continue
		}
		if done, err := t.compare(sp, l, last, other); done || err != nil {
			return err
		}
		for _, c := range run.commits {
			if done, err := t.compare(sp, other, c.Seq, l); done || err != nil {
				return err
			}
		}
	}
	return nil
}

// accuseKnown looks through the logs that have several branches and whose
// devices were not named before.
func (t *txn) accuseKnown(sp *space, was *access.Authority) error {
	for _, l := range t.n.st.Logs(sp.num) {
		who := author(l.Rec)
		if !t.n.st.Forked(l.ID) || was.Names(who) || !sp.rules.Names(who) || sp.forked(l.ID) {
			continue
		}
		err := t.loaded.Commits(l.Num, 1, func(seq uint64, rec *wire.Stored) error {
			if rec.Sig == nil {
				return nil
			}
			for _, other := range t.b.Branches(l.ID) {
				if other.Num == l.Num {
					continue
				}
				if done, err := t.compare(sp, l, seq, other); err != nil {
					return err
				} else if done {
					return store.ErrStop
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// compare keeps a proof, if one can be made of the signed commit that one branch
// has at a seq and of what another branch has there and later. It reports whether
// one could, also if there is no room for it.
func (t *txn) compare(sp *space, one *store.Log, seq uint64, other *store.Log) (done bool, err error) {
	a, err := t.b.Commit(one.Num, seq)
	if err != nil || a == nil || a.Sig == nil {
		return false, err
	}
	b, err := t.b.Commit(other.Num, seq)
	if err != nil || b == nil || b.ID == a.ID {
		return false, err
	}
	p := &wire.ForkProof{Log: one.Rec, SigA: *a.Sig}
	if p.A, err = t.header(one, seq); err != nil || p.A == nil {
		return false, err
	}
	if b.Sig != nil {
		p.SigB = *b.Sig
		if p.B, err = t.header(other, seq); err != nil {
			return false, err
		}
	} else {
		p.Other = b.ID
		if err := t.later(p, other); err != nil {
			return false, err
		}
	}
	if p.B == nil {
		return false, nil
	}
	if _, ok := room(sp.proofs, &Fork{Log: one.ID, Proof: p}); !ok {
		return true, nil
	}
	if t.n.genuine(p) != nil {
		return false, nil // the store is damaged; that is for verify to find
	}
	t.keepFork(sp, p)
	return true, nil
}

// later fills in B: the first signed commit of a branch in whose past the commit
// p.Other is at the seq of p.A. Whatever vouched for that one came with what
// shows it, and a collection leaves that.
func (t *txn) later(p *wire.ForkProof, l *store.Log) error {
	return t.b.Commits(l.Num, p.A.Seq+1, func(seq uint64, rec *wire.Stored) (err error) {
		if rec.Sig == nil {
			return nil
		}
		p.Proof, err = commit.Prove(p.A.Seq, seq-1, func(at commit.Place) (sennit.Hash, error) { return t.b.Node(l.Num, at) })
		if err != nil {
			return err
		}
		if p.B, err = t.header(l, seq); err != nil {
			return err
		}
		p.SigB = *rec.Sig
		return store.ErrStop
	})
}

// header is the header of a commit that is here, nil if what is stored of it is
// damaged.
func (t *txn) header(l *store.Log, seq uint64) (*wire.Header, error) {
	c, err := stored(t.b, l, seq)
	if err != nil || c == nil {
		return nil, err
	}
	past, ok, err := t.b.Peaks(l.Num, seq-1)
	if err != nil || !ok || c.Complete(l.Rec.Space, &past) != nil {
		return nil, err
	}
	return c.Header(l.Rec.Space), nil
}
