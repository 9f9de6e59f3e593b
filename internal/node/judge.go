package node

import (
	"cmp"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/hub"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about verdicts that change: an op that was void or held may
// count when rules or key events arrive or its clock is due, and one that
// counted may be void when a device turns out to be removed.

// enforce puts new authority in force. If ops that were applied don't count any
// more, the space is folded anew.
func (t *txn) enforce(sp *space, next *access.Authority, out access.Outcome) error {
	was := sp.rules
	sp.rules = next
	t.turn(sp)
	t.events = append(t.events, hub.Event[*sennit.Update]{
		N: t.n.arrivals, Path: sennit.Path(authorityTopic + "/" + sp.id.String()),
	})
	if err := t.accuseKnown(sp, was); err != nil {
		return err
	}
	for _, l := range t.n.st.Logs(sp.num) {
		// What counted still does, unless rules count no more, the author isn't
		// proven any more, or was revoked.
		who := author(l.Rec)
		revoked := out.Cuts && next.Revoked(who)
		if l.Rec.Class != wire.Data || !out.Rules && !revoked && (!was.Proven(who) || next.Proven(who)) {
			continue
		}
		if flips, err := t.flips(l, was, next); err != nil {
			return err
		} else if flips {
			return t.refold(sp)
		}
	}
	return nil
}

// flips reports whether an op of a log counted before and doesn't now.
func (t *txn) flips(l *store.Log, before, now *access.Authority) (flips bool, err error) {
	was, is := newTrial(before, t.loaded, l, t.b.Branches(l.ID)), newTrial(now, t.loaded, l, t.b.Branches(l.ID))
	err = t.loaded.Commits(l.Num, 1, func(seq uint64, c *wire.Stored) error {
		err := t.loaded.Ops(l.Num, seq, func(_ uint32, raw []byte) error {
			op, err := wire.DecodeOp(raw)
			if err != nil {
				return err
			}
			counted, err := was.counts(seq, c, &op)
			if !counted || err != nil {
				return err
			}
			counts, err := is.counts(seq, c, &op)
			if !counts && err == nil {
				flips, err = true, store.ErrStop
			}
			return err
		})
		if err == nil && flips {
			err = store.ErrStop
		}
		return err
	})
	return flips, err
}

// trial judges the ops of one log as they are stored, one after the other.
type trial struct {
	log      *store.Log
	by       sennit.Principal
	court    *access.Court
	links    *linker // nil if no revocation bears on the author
	branches []*store.Log
}

func newTrial(a *access.Authority, v *store.View, l *store.Log, branches []*store.Log) *trial {
	x := &trial{log: l, by: author(l.Rec), court: a.Court(), branches: branches}
	if a.Revoked(x.by) {
		x.links = newLinker(a.Space(), linkView{v})
	}
	return x
}

// counts asks whether an op of a commit of the log counts.
func (x *trial) counts(seq uint64, c *wire.Stored, op *wire.Op) (ok bool, err error) {
	q := claim(x.by, x.log.ID, seq, c.ID, c.Auth, op)
	if x.links != nil {
		q.Link = x.links.link(x.branches, seq, c.ID, &err)
	}
	return x.court.Judge(q) == access.Valid, err
}

// place is where a commit is stored, and what is known of it.
type place struct {
	log uint32
	seq uint64
	before
}

// refold empties a space's index, and judges and merges all of its commits
// anew. Watches start over. It takes memory in proportion to the space's index,
// about 200 bytes for each op.
func (t *txn) refold(sp *space) error {
	var all []place
	err := t.b.Arrivals(sp.num, 0, func(a store.Arrival) error {
		if l := t.log(a.Log); l != nil && l.Rec.Class == wire.Data && a.Seq > 0 {
			all = append(all, place{a.Log, a.Seq, before{arrived: true, quiet: true}})
		}
		return nil
	})
	if err == nil {
		err = t.b.Waiting(sp.num, func(log uint32, seq uint64, w store.Wait) error {
			if !w.Arrived {
				all = append(all, place{log, seq, before{waited: true}})
			}
			return nil
		})
	}
	if err != nil {
		return err
	}
	order := func(a, b place) int { return cmp.Or(cmp.Compare(a.log, b.log), cmp.Compare(a.seq, b.seq)) }
	slices.SortFunc(all, order)
	all = slices.CompactFunc(all, func(a, b place) bool { return order(a, b) == 0 })

	t.b.ClearIndex(sp.num)
	newest := sp.state.Clock
	sp.state.Clock, sp.state.Deep, sp.state.Many = 0, false, false
	sp.state.Folds++
	sp.waiting, sp.held = 0, time.Time{}
	if err := t.again(sp, all); err != nil {
		return err
	}
	sp.state.Clock = max(sp.state.Clock, newest)
	t.restart(sp)
	return nil
}

// rejudge applies what waited and counts now, of one log or, if that is zero, of
// the space.
func (t *txn) rejudge(sp *space, log sennit.Hash) error {
	if sp.waiting == 0 {
		return nil
	}
	var waiting []place
	if err := t.b.Waiting(sp.num, func(num uint32, seq uint64, w store.Wait) error {
		if l := t.log(num); !log.IsZero() && (l == nil || l.ID != log) {
			return nil
		}
		waiting = append(waiting, place{num, seq, before{Wait: w, waits: true, arrived: w.Arrived}})
		return nil
	}); err != nil {
		return err
	}
	if log.IsZero() {
		sp.held = time.Time{}
	}
	return t.again(sp, waiting)
}

// again judges stored commits once more.
func (t *txn) again(sp *space, places []place) error {
	for _, p := range places {
		l := t.log(p.log)
		if l == nil {
			return sennit.Hint(sennit.Errorf(sennit.Internal, "a commit of an unknown log %d in space %s", p.log, sp.id), "run: sennit doctor --verify")
		}
		c, err := stored(t.b, l, p.seq)
		if err != nil {
			return err
		}
		if c == nil {
			continue // it was dropped, and so is what was to be said about it
		}
		ls, err := t.n.logState(t.loaded, l)
		if err != nil {
			return err
		}
		size := 0
		c.Each(func(_ uint32, op *wire.Op) { size += len(op.Bytes()) })
		t.keep(sp)
		if err := t.merge(sp, ls, c, size, p.before, false); err != nil {
			return err
		}
	}
	return nil
}

// nextHeld tells when the first held commit is due, zero if none is held.
func (n *Node) nextHeld() (next time.Time) {
	n.spaces.Range(func(_, v any) bool {
		if at := v.(*space).held; !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
		return true
	})
	return next
}

// rejudgeHeld queues another look at the commits whose clocks are due.
func (n *Node) rejudgeHeld() {
	var due []*request
	n.spaces.Range(func(id, v any) bool {
		if at := v.(*space).held; !at.IsZero() && !at.After(n.cfg.Now()) {
			due = append(due, &request{space: id.(sennit.Space), rejudge: true, done: make(chan result, 1)})
		}
		return true
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queue = append(n.queue, due...)
}
