package sim

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/replicate"
)

// patience is how long nodes may take to agree once all is well. It is longer
// than all pauses of a session: a dead connection is noticed after 45 s, a host
// is dialed again after 90 s at most, clocks are 8 minutes apart.
const patience = 40 * time.Minute

// replica is that a node follows parts of a space, and what it may read of them.
type replica struct {
	m     *machine
	of    *machine
	keeps prefix.Set // what it follows
	scope prefix.Set // of that, what it may read
	ended bool       // it may read nothing any more
}

// check waits until all agree, and looks at everything that must hold then.
func (w *world) check() {
	for _, m := range w.machines {
		w.commit(work{by: slices.Index(w.machines, m), in: slices.Index(w.machines, m)},
			[]sennit.Change{{Kind: sennit.KindPut, Path: "final", Value: sennit.Value{Data: []byte(m.name)}}})
	}
	agreed := w.agree("")
	for i, m := range w.machines {
		if i%2 == int(w.c.Seed%2) {
			w.collect(m)
		}
	}
	// What a collection does changes nothing of that; but somebody who was cut
	// off from the others until now may come with more.
	if agreed && w.agree(" after a collection") {
		w.listen()
	}
	// Whoever lies may come with another branch of a log at any time. What follows
	// compares what doesn't change meanwhile.
	w.silence()
	if agreed {
		w.agree(" when nobody lies any more")
	}
	time.Sleep(time.Minute) // watches are told, sessions rest
	models := map[sennit.Space]*model{}
	for _, m := range w.machines {
		models[m.id.Space()] = newModel(m.id.Space())
	}
	for _, m := range w.machines {
		r := m.up()
		if m.liar != nil || r == nil {
			continue
		}
		for _, id := range r.n.Spaces() {
			if models[id] == nil {
				w.fail("%s holds something of space %s, which nobody has", m.name, id)
			} else if err := models[id].add(r.n); err != nil {
				w.fail("%s holds what is not genuine: %v", m.name, err)
			}
		}
		w.strangers(r)
		w.impostors(r)
		w.verify(r)
		if w.plan.undo == 0 && !m.wasSetBack() {
			w.wronglyDropped(r)
		}
	}
	for _, m := range models {
		w.ops += len(m.ops)
	}
	w.everKept(models)
	w.kept(models)
	for _, x := range w.replicas() {
		if x.of.liar == nil {
			w.right(x, models[x.of.id.Space()])
		}
	}
	w.spread(models) // last: it may wait, and meanwhile ops may come that no model has
}

// silence ends all who lie.
func (w *world) silence() {
	for _, m := range w.machines {
		if m.liar != nil {
			m.orders <- order{last: true}
		}
	}
}

// agree waits until all agree.
func (w *world) agree(when string) bool {
	for begun, wait := time.Now(), time.Second; ; wait = min(wait*2, 20*time.Second) {
		time.Sleep(wait)
		why := w.differs()
		if why == "" {
			return true
		}
		if time.Since(begun) > patience {
			w.fail("no agreement%s after %s: %s", when, patience, why)
			w.tellSessions()
			return false
		}
	}
}

// tellSessions says who is in touch with whom about what, for people.
func (w *world) tellSessions() {
	for _, m := range w.machines {
		r := m.up()
		if r == nil {
			continue
		}
		for _, p := range r.r.Peers() {
			text := ""
			for _, s := range p.Spaces {
				text += fmt.Sprintf(" %s synced=%v acked=%d", w.owner(s.Space), s.Synced, s.Acked)
			}
			w.c.Log("%s: session with %s (proved %v) since %s:%s", m.name, w.owner(p.Principal.Space), !p.Principal.Space.IsZero(), p.Since, text)
		}
		for _, f := range w.replicas() {
			if f.m == m {
				w.c.Log("%s follows %s, reads %q", m.name, f.of.name, f.scope)
			}
		}
	}
}

// replicas lists who follows what, among the honest.
func (w *world) replicas() (all []replica) {
	for _, m := range w.machines {
		r := m.up()
		if r == nil || m.liar != nil {
			continue
		}
		all = append(all, replica{m, m, prefix.All(), prefix.All(), false})
		follows, err := r.n.Follows()
		if err != nil {
			w.fail("%s can't tell whom it follows: %v", m.name, err)
		}
		for _, f := range follows {
			for _, of := range w.machines {
				o := of.up()
				if of.id.Space() != f.Space || o == nil {
					continue
				}
				scope := o.n.Authority(f.Space).Readable(m.id.Principal(), uint64(of.now().UnixMilli()))
				all = append(all, replica{m, of, f.Prefixes, f.Prefixes.And(scope), len(scope) == 0})
			}
		}
	}
	return all
}

// differs tells the first place where two honest nodes don't agree, "" if there
// is none.
func (w *world) differs() string {
	w.checked = 0
	for _, x := range w.replicas() {
		if x.of.liar != nil || x.m == x.of || x.ended {
			continue
		}
		if why := w.compare(x.m, x.of, x.of.id.Space(), x.scope); why != "" {
			return why
		}
		w.checked++
	}
	return w.amongThemselves()
}

// compare tells where two nodes don't agree about a space.
func (w *world) compare(a, b *machine, space sennit.Space, scope prefix.Set) string {
	ra, rb := a.up(), b.up()
	if ra == nil || rb == nil {
		return a.name + " or " + b.name + " is down"
	}
	if x, y := ra.n.Authority(space), rb.n.Authority(space); x == nil || y == nil {
		return fmt.Sprintf("%s or %s holds nothing of %s", a.name, b.name, w.owner(space))
	} else if x.Digest() != y.Digest() {
		return fmt.Sprintf("%s and %s hold different authority of %s: %d and %d commits, %d and %d chains of key events",
			a.name, b.name, w.owner(space), x.Len(), y.Len(), len(x.Evidence()), len(y.Evidence()))
	}
	for _, p := range scope {
		at := sennit.Addr{Root: space.String(), Path: p}
		x, err := ra.bus().Digest(context.Background(), at)
		y, err2 := rb.bus().Digest(context.Background(), at)
		if err := cmp.Or(err, err2); err != nil {
			return fmt.Sprintf("%s or %s has no digest of %s/%s: %v", a.name, b.name, w.owner(space), p, err)
		}
		if x.Hash != y.Hash || x.Ops != y.Ops {
			return fmt.Sprintf("%s and %s differ about %s/%s: %d and %d live ops", a.name, b.name, w.owner(space), p, x.Ops, y.Ops)
		}
	}
	return ""
}

// amongThemselves compares what honest nodes that are in touch have of the
// spaces of liars: whatever a liar told each of them, they must agree about
// what they may show each other.
func (w *world) amongThemselves() string {
	all := w.replicas()
	for i, x := range all {
		for _, y := range all[:i] {
			if x.of != y.of || x.of.liar == nil || !w.touch(x.m, y.m) {
				continue
			}
			space := x.of.id.Space()
			a, b := x.m.up().n.Authority(space), y.m.up().n.Authority(space)
			if a == nil || b == nil {
				continue
			}
			mine, theirs := a.Readable(y.m.id.Principal(), uint64(x.m.now().UnixMilli())), b.Readable(x.m.id.Principal(), uint64(y.m.now().UnixMilli()))
			if len(mine) == 0 && len(theirs) == 0 {
				continue // neither knows that the other may read it
			}
			both := prefix.Of(mine...).And(prefix.Of(theirs...)).And(x.keeps).And(y.keeps)
			if why := w.compare(x.m, y.m, space, both); why != "" {
				return why
			}
			w.checked++
		}
	}
	return ""
}

// touch reports whether two machines are in touch for good: one reaches for
// the other.
func (w *world) touch(a, b *machine) bool {
	follows := func(x, y *machine) bool {
		fs, err := x.up().n.Follows()
		return err == nil && slices.ContainsFunc(fs, func(f node.Follow) bool {
			return slices.ContainsFunc(f.Hosts, func(h node.Host) bool { return h.Key == replicate.HostText(y.host) })
		})
	}
	return follows(a, b) || follows(b, a)
}

// kept looks for what was acknowledged: it must be at its author's node, and
// so, because all agree, wherever nothing newer covers it.
func (w *world) kept(models map[sennit.Space]*model) {
	w.mu.Lock()
	acked := slices.Clone(w.acked)
	w.mu.Unlock()
	own := map[*machine]map[sennit.Space]*model{}
	for _, x := range acked {
		if x.m.liar != nil || x.m.wasSetBack() {
			continue
		}
		r := x.m.up()
		if own[x.m] == nil {
			own[x.m] = map[sennit.Space]*model{}
		}
		mine := own[x.m][x.space]
		if mine == nil {
			mine = newModel(x.space)
			if err := mine.add(r.n); err != nil {
				w.fail("%s holds what is not genuine: %v", x.m.name, err)
			}
			x.m.mu.Lock()
			if had := x.m.had[x.space]; had != nil {
				mine.join(had) // whether it might be dropped is looked at elsewhere
			}
			x.m.mu.Unlock()
			own[x.m][x.space] = mine
		}
		for i := range x.changes {
			if !mine.has(x.at, &x.changes[i]) {
				w.fail("%s acknowledged commit %d of log %s, and has lost its change of %s", x.m.name, x.at.seq, x.at.log, x.changes[i].Path)
			}
		}
	}
}

// right compares what a node shows with the naive model of all there is.
func (w *world) right(x replica, m *model) {
	r, o := x.m.up(), x.of.up()
	if r == nil || o == nil {
		return
	}
	rules := o.n.Authority(m.space)
	for _, p := range x.scope {
		live := m.live(rules, p, r.m.now())
		want := values(live)
		d, err := r.bus().Digest(context.Background(), sennit.Addr{Root: m.space.String(), Path: p})
		if err != nil || d.Ops != uint64(len(live)) {
			w.fail("%s counts %d live ops in %s/%s, the model %d (%v)", x.m.name, d.Ops, x.of.name, p, len(live), err)
		}
		got := map[sennit.Path]string{}
		if err := w.read(r, sennit.Addr{Root: m.space.String(), Path: p}, got); err != nil {
			w.fail("%s can't read %s/%s: %v", x.m.name, x.of.name, p, err)
		}
		w.same(fmt.Sprintf("%s reads %s/%s", x.m.name, x.of.name, p), got, want)
		w.mu.Lock()
		s := w.states[watchKey{x.m, m.space}]
		w.mu.Unlock()
		if s == nil {
			w.fail("%s does not watch %s", x.m.name, x.of.name)
			continue
		}
		s.mu.Lock()
		seen := maps.Clone(s.values)
		for q, late := range s.mixed {
			if late && want[q] != "" { // all of it was told, in some order
				seen[q], want[q] = unordered(seen[q]), unordered(want[q])
			}
		}
		w.once(x, s, m)
		s.mu.Unlock()
		maps.DeleteFunc(seen, func(q sennit.Path, _ string) bool { return !q.Under(p) })
		w.same(fmt.Sprintf("a watch (tail %v) at %s of %s/%s", s.tail, x.m.name, x.of.name, p), seen, want)
	}
}

// once looks whether a tail told any value more often than it was put; s.mu is held.
func (w *world) once(x replica, s *state, m *model) {
	for t, times := range s.told {
		if counts(t.path) || streams(t.path) {
			continue // a sum is told as it is now, whichever step is told of; of a stream, what it grew by
		}
		puts := map[opID]bool{} // of a forked log, several commits stand at one place
		for _, o := range m.at[t.at] {
			if o.kind == sennit.KindPut && o.path == t.path {
				puts[o.id] = true
			}
		}
		if times > len(puts) {
			w.fail("a tail at %s of %s told %s %d times in commit %d of log %s, which puts it %d times",
				x.m.name, x.of.name, t.path, times, t.at.seq, t.at.log, len(puts))
		}
	}
}

func (w *world) same(what string, got, want map[sennit.Path]string) {
	for p, v := range want {
		if g, ok := got[p]; !ok {
			w.fail("%s: %s is missing", what, p)
			return
		} else if g != v {
			w.fail("%s: %s is %.30q instead of %.30q", what, p, g, v)
			return
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			w.fail("%s: %s should not be there", what, p)
			return
		}
	}
}

// read reads everything at and under an address.
func (w *world) read(r *run, a sennit.Addr, into map[sennit.Path]string) error {
	switch n, err := r.bus().Get(context.Background(), a); sennit.CodeOf(err) {
	case "":
		into[a.Path] = text(n.Value)
		w.saw(r, &n)
	case sennit.NotFound:
	default:
		return err
	}
	for after := ""; ; {
		entries, more, err := r.bus().List(context.Background(), a, sennit.Listing{After: after, Limit: 100})
		if err != nil {
			if sennit.CodeOf(err) == sennit.NotFound {
				return nil
			}
			return err
		}
		for _, e := range entries {
			after = e.Name
			if err := w.read(r, sennit.Addr{Root: a.Root, Path: a.Path.Join(sennit.Path(e.Name))}, into); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

// verify has the node look over its own store.
func (w *world) verify(r *run) {
	found, err := r.n.Verify(context.Background(), func(uint64, uint64) {})
	if err != nil && sennit.CodeOf(err) != sennit.Unsupported {
		w.fail("%s can't verify its store: %v", r.m.name, err)
	}
	for _, f := range found {
		w.fail("%s: its store is damaged: %+v", r.m.name, f)
	}
}

// impostors looks for peers that passed for somebody else.
func (w *world) impostors(r *run) {
	for _, p := range r.r.Peers() {
		for _, m := range w.machines {
			if m.host == p.Host && !p.Principal.Space.IsZero() && p.Principal != m.id.Principal() {
				w.fail("%s takes %s for %s", r.m.name, m.name, w.owner(p.Principal.Space))
			}
		}
	}
}

// strangers looks for logs of principals that nobody knows.
func (w *world) strangers(r *run) {
	known := map[sennit.Principal]bool{}
	for _, m := range w.machines {
		known[m.id.Principal()] = true
	}
	for num := uint32(0); ; num++ {
		l := r.st.LogByNum(num)
		if l == nil {
			return
		}
		if !known[sennit.Principal{Space: l.Rec.Principal, Device: l.Rec.Device}] {
			w.fail("%s holds a log of a stranger in the space of %s", r.m.name, w.owner(l.Rec.Space))
		}
	}
}

func (w *world) owner(space sennit.Space) string {
	for _, m := range w.machines {
		if m.id.Space() == space {
			return m.name
		}
	}
	return space.String()
}

// audit looks, when a machine starts, for what others saw before it stopped.
func (m *machine) audit(r *run) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lost || len(m.shown) == 0 {
		return nil
	}
	n, err := r.n.Arrivals()
	if err != nil {
		return err
	}
	if said := m.reach[r.n.Epoch()]; said > n {
		m.w.fail("%s told others of arrival %d, and after a restart it has only %d", m.name, said, n)
	}
	v, err := r.st.View()
	if err != nil {
		return err
	}
	defer v.Release()
	for at := range m.shown {
		found := false
		for _, l := range r.st.Branches(at.log) {
			c, err := v.Commit(l.Num, at.seq)
			if err != nil {
				return err
			}
			found = found || c != nil
		}
		if !found && !m.gone[at] {
			m.w.fail("%s showed commit %d of log %s to somebody, and after a restart it is gone", m.name, at.seq, at.log)
		}
	}
	return nil
}

func (m *machine) wasSetBack() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lost
}
