package sim

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
)

// This file carries out a plan.

// trouble runs the time in which things are written and go wrong.
func (w *world) trouble() {
	for _, e := range w.plan.edges {
		w.writers.Go(func() { w.follow(e) })
	}
	for _, x := range w.plan.work {
		w.writers.Go(func() {
			time.Sleep(x.at)
			w.write(x)
		})
	}
	for _, x := range w.plan.collections {
		w.writers.Go(func() {
			time.Sleep(x.at)
			w.collect(w.machines[x.by])
		})
	}
	for _, x := range w.plan.postings {
		w.writers.Go(func() { w.post(x) })
	}
	for _, x := range w.plan.endings {
		w.writers.Go(func() { w.revoke(x) })
	}
	slices.SortFunc(w.plan.woes, func(a, b woe) int { return cmp.Compare(a.at, b.at) })
	for _, x := range w.plan.woes {
		time.Sleep(x.at - time.Since(w.began))
		w.strike(x)
	}
	time.Sleep(span - time.Since(w.began))
}

// strike makes one thing go wrong.
func (w *world) strike(x woe) {
	m := w.machines[x.node]
	r := m.up()
	switch x.kind {
	case parts:
		var some []replicate.Host
		for _, i := range x.some {
			some = append(some, w.machines[i].host)
		}
		w.count("partition")
		w.net.part(some, x.hold)
		time.AfterFunc(x.lasts, w.net.join)
		return
	case resets:
		w.net.resetSome(w.plan.rng("resets"), 0.3)
		return
	}
	if r == nil {
		return
	}
	switch x.kind {
	case full:
		w.count("full disk")
		m.full.Store(true)
		time.AfterFunc(x.lasts, func() { m.full.Store(false) })
	case power:
		m.disk.light(x.syncs, func() {
			w.count("power loss in a sync")
			r.power(m.disk.cut(x.keep), x.lasts, x.quiet)
		})
	case kill:
		w.count("kill")
		r.power(m.disk.cut(x.keep), x.lasts, x.quiet)
	case restart:
		w.count("clean restart")
		m.orders <- order{stop: true, from: r, down: x.lasts}
	case setBack:
		w.count("old disk image")
		old := m.disk.cut(100)
		w.writers.Go(func() {
			time.Sleep(20 * time.Second)
			if r := m.up(); r != nil {
				m.forget()
				r.power(old, x.lasts, x.quiet)
			}
		})
	case wipe:
		w.count("empty disk")
		m.forget()
		m.full.Store(false) // a new disk has room: without any a node can't begin
		r.power(vfs.NewCrashableMem(), x.lasts, x.quiet)
	}
}

// forget notes that what the machine's disk had may be gone.
func (m *machine) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lost = true
	clear(m.had)
	clear(m.gone)
}

// follow makes an edge of the plan true, once both sides are there.
func (w *world) follow(e edge) {
	time.Sleep(e.at)
	for w.tie(e) != nil {
		select {
		case <-w.ending:
			return
		case <-time.After(3 * time.Second):
		}
	}
	for _, x := range e.turns {
		select {
		case <-w.ending:
			return
		case <-time.After(x.at - time.Since(w.began)):
			w.turn(e, x.keeps)
		}
	}
}

// turn has somebody follow other parts of a space, if its node is up.
func (w *world) turn(e edge, keeps []sennit.Path) {
	by, space := w.machines[e.by], w.machines[e.of].id.Space()
	r := by.up()
	if r == nil {
		return
	}
	by.takes(space, keeps)
	err := r.n.EditFollow(context.Background(), space, func(f *node.Follow) {
		if f.Mode != "" {
			f.Prefixes = keeps
		}
	})
	switch code := sennit.CodeOf(err); {
	case err == nil:
		w.count("other parts followed")
	case code != sennit.ReadOnly && code != sennit.Gone && !r.dead.Load():
		w.fail("%s can't follow other parts: %v", by.name, err)
	}
}

// tie makes an edge true, if it can.
func (w *world) tie(e edge) error {
	by, of := w.machines[e.by], w.machines[e.of]
	a, b := of.up(), by.up()
	if a == nil || b == nil {
		return errDown
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	by.takes(of.id.Space(), e.keeps)
	if e.invite && !follows(b, of.id.Space()) {
		of.takes(by.id.Space(), nil)
		_, link, err := a.r.NewInvite(ctx, replicate.Invite{Uses: 1, Expires: of.now().Add(300 * 24 * time.Hour)})
		if err != nil {
			return err
		}
		_, err = b.r.Join(ctx, link, "", e.keeps, func(f func(context.Context)) { b.spawn(f) })
		return err
	}
	space := of.id.Space()
	who := by.id.Principal()
	var grants []wire.Grant
	for _, g := range []wire.Grant{{Prefix: e.reads, May: sennit.Read}, {Prefix: e.writes, May: e.may | sennit.Read}} {
		g.Who = wire.Who{Subject: wire.SubjectSpace, Key: by.id.Space()}
		if e.may == 0 && g.May == sennit.Read && len(grants) > 0 || a.n.Authority(space).May(who, g.May, g.Prefix, 0) {
			continue
		}
		grants = append(grants, g)
	}
	if len(grants) > 0 {
		if _, err := a.n.Allow(ctx, a.n.Owner(), space, grants); err != nil {
			return err
		}
	}
	if !a.n.Authority(space).Proven(who) {
		in := a.n.Intake()
		ev := wire.Evidence{Inception: by.id.Inception(), Events: by.id.Events()}
		if err := in.Evidence(ctx, space, &ev); err != nil {
			return err
		}
		if _, err := in.Wait(ctx); err != nil {
			return err
		}
	}
	return b.n.EditFollow(ctx, space, func(f *node.Follow) {
		f.Mode, f.Prefixes = "live", e.keeps
		f.Prefer(node.Host{Key: replicate.HostText(w.machines[e.via].host)})
	})
}

// heal ends all trouble, and waits until everybody is there.
func (w *world) heal() {
	w.net.settle()
	ahead := false
	for i, m := range w.machines {
		m.disk.light(0, nil)
		m.full.Store(false)
		if m.liar != nil {
			m.liar.Settle()
		}
		if skew := time.Duration(m.skew.Load()); skew > maxAhead || skew < -maxAhead {
			w.count("clock a year wrong")
			ahead = ahead || skew > 0
			m.skew.Store(int64(time.Duration(i) * time.Second))
			w.stop(m, time.Second)
		}
	}
	w.allUp()
	if ahead {
		// What was written in the future is due when the future has come. Nobody
		// runs meanwhile, so it comes at once.
		for _, m := range w.machines {
			w.stop(m, year)
		}
		time.Sleep(year)
		w.allUp()
	}
	for i, e := range w.plan.edges {
		for try := 0; !w.tied(e) && !(w.overForGood(i) && follows(w.machines[e.by].up(), w.machines[e.of].id.Space())); try++ {
			err := w.tie(e)
			if err == nil {
				break
			}
			if try > 100 {
				w.fail("%s can't follow %s: %v", w.machines[e.by].name, w.machines[e.of].name, err)
				break
			}
			time.Sleep(3 * time.Second)
		}
	}
}

// stop stops a machine for a while, if it is up, and waits until it is down.
func (w *world) stop(m *machine, down time.Duration) {
	var ordered *run
	for r := m.up(); r != nil; r = m.up() {
		if r != ordered { // what was ordered before may have brought up another run
			ordered = r
			m.orders <- order{stop: true, from: r, down: down}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// allUp waits until all machines are up.
func (w *world) allUp() {
	for _, m := range w.machines {
		for m.up() == nil {
			time.Sleep(time.Second)
		}
	}
}

// tied reports whether an edge is true.
func (w *world) tied(e edge) bool {
	by, of := w.machines[e.by], w.machines[e.of]
	a, b := of.up(), by.up()
	if a == nil || b == nil {
		return false
	}
	space, who := of.id.Space(), by.id.Principal()
	auth := a.n.Authority(space)
	if !auth.Proven(who) || !auth.May(who, sennit.Read, e.reads, 0) || e.may != 0 && !auth.May(who, e.may, e.writes, 0) {
		return false
	}
	return follows(b, space)
}

// follows reports whether a node follows a space.
func follows(r *run, space sennit.Space) bool {
	all, err := r.n.Follows()
	return err == nil && slices.ContainsFunc(all, func(f node.Follow) bool { return f.Space == space })
}
