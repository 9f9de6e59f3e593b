package access_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/wire"
	"pgregory.net/rapid"
)

// model says what is true in the simplest way there is: it walks the DAG for
// every question and tries patterns on example paths.
type model struct {
	space   sennit.Space
	commits map[sennit.Hash]access.Commit // members only
	grants  map[sennit.Hash]map[int]wire.Grant
	revokes map[wire.OpRef]wire.Revoke
	ever    map[sennit.Principal]bool
	now     map[sennit.Principal]bool

	// By stratum from which a right was given: what rules give as long as nothing
	// ends, and now.
	always, present map[wire.OpRef]map[int]sennit.Rights
	force           map[wire.OpRef]int // the revocations that count, and their strata
}

func newModel(space sennit.Space, commits []access.Commit, evidence []access.Evidence) *model {
	m := &model{
		space: space, commits: map[sennit.Hash]access.Commit{},
		grants: map[sennit.Hash]map[int]wire.Grant{}, revokes: map[wire.OpRef]wire.Revoke{},
		ever: map[sennit.Principal]bool{}, now: map[sennit.Principal]bool{},
		always: map[wire.OpRef]map[int]sennit.Rights{}, present: map[wire.OpRef]map[int]sennit.Rights{},
		force: map[wire.OpRef]int{},
	}
	seen := map[sennit.Hash]bool{}
	learn := func(e *wire.KeyEvent) {
		if seen[e.Hash()] {
			return
		}
		seen[e.Hash()] = true
		who := sennit.Principal{Space: e.Space, Device: e.Device}
		if e.Type == wire.DeviceAdd {
			m.ever[who], m.now[who] = true, true
		}
	}
	var all []*wire.KeyEvent
	for _, c := range commits {
		m.grants[c.ID] = map[int]wire.Grant{}
		for i, op := range c.Ops {
			if op.Kind == sennit.KindGrant {
				m.grants[c.ID][i], _ = wire.DecodeGrant(op.Body)
			}
			if op.Kind == sennit.KindRevoke {
				m.revokes[wire.OpRef{Commit: c.ID, Index: uint32(i)}], _ = wire.DecodeRevoke(op.Body)
			}
			if k, err := wire.DecodeKey(op.Body); op.Kind == sennit.KindKey && err == nil && k.Event != nil && k.Event.Space == space {
				all = append(all, k.Event)
			}
		}
	}
	for _, ev := range evidence {
		all = append(all, ev.Events...)
	}
	// The worlds of this test have no forks, but a chain of the owner's may
	// lack links: what follows those doesn't count.
	linked := map[sennit.Hash]bool{sennit.Hash(space): true}
	for _, ev := range evidence {
		linked[sennit.Hash(ev.Inception.Space())] = true
	}
	for range all {
		for _, e := range all {
			if linked[e.Prev] {
				linked[e.Hash()] = true
			}
		}
	}
	for _, e := range all {
		if linked[e.Hash()] {
			learn(e)
		}
	}
	for _, e := range all {
		if linked[e.Hash()] && e.Type == wire.DeviceDel {
			m.now[sennit.Principal{Space: e.Space, Device: e.Device}] = false
		}
	}
	for range commits {
		for _, c := range commits {
			if _, in := m.commits[c.ID]; !in && m.mayJoin(c) {
				m.commits[c.ID] = c
				for stratum := range 8 {
					m.give(c, stratum, true)
				}
			}
		}
	}
	for stratum := range 8 { // more than the longest chain of rules in these worlds
		for ref, v := range m.revokes {
			if _, counts := m.force[ref]; !counts && m.founded(ref, v, stratum) {
				m.force[ref] = stratum
			}
		}
		var replaced []wire.OpRef
		for ref, v := range m.revokes {
			for later, w := range m.revokes {
				at, counts := m.force[ref]
				if next, too := m.force[later]; counts && too && at == stratum && next <= at && later.Commit != ref.Commit &&
					m.ancestry([]sennit.Hash{later.Commit})[ref.Commit] && v.Who == w.Who && v.Prefix.Under(w.Prefix) {
					replaced = append(replaced, ref)
				}
			}
		}
		for _, ref := range replaced {
			m.force[ref] = replacedBy
		}
		for _, c := range m.commits {
			m.give(c, stratum, false)
		}
	}
	return m
}

// give notes what the rules of a commit give from a stratum on.
func (m *model) give(c access.Commit, stratum int, ever bool) {
	levels := m.present
	if ever {
		levels = m.always
	}
	for i, g := range m.grants[c.ID] {
		ref := wire.OpRef{Commit: c.ID, Index: uint32(i)}
		if levels[ref] == nil {
			levels[ref] = map[int]sennit.Rights{}
		}
		may, over := sennit.Rights(0), sennit.Rights(0)
		m.rulesFor(c.Author, m.ancestry(c.Heads), ever, func(by *wire.OpRef, r wire.Grant, at int, gives sennit.Rights) {
			if at >= stratum {
				return
			}
			spared := func(who wire.Who, prefix sennit.Path, where string) bool {
				return ever || m.spared(c, by, r, at, true, func(v sennit.Path) bool {
					return touches(wire.Grant{Prefix: prefix, Where: where, Who: who}, v)
				})
			}
			if selects(r, c.Author.Space, example(g)) && spared(g.Who, g.Prefix, g.Where) {
				may |= gives
			}
			if selects(r, c.Author.Space, components(string(g.Prefix))) && spared(g.Who, g.Prefix, "") {
				over |= gives
			}
		})
		if may&sennit.Grant == 0 {
			continue
		}
		may &= g.May
		if g.Who.Subject == wire.SubjectAny {
			may &^= sennit.Grant
		}
		if g.Seal && over&sennit.Grant != 0 {
			may |= seals
		}
		for at, known := range levels[ref] {
			if at < stratum {
				may &^= known
			}
		}
		if may != 0 {
			levels[ref][stratum] = may
		}
	}
}

// touches reports whether a grant covers something at, above or under a path.
func touches(g wire.Grant, p sennit.Path) bool {
	have, want := example(g), components(string(p))
	where := components(g.Where)
	for i := range min(len(have), len(want)) {
		k := i - g.Prefix.Depth()
		wild := k >= 0 && (where[k] == "*" || where[k] == "{self}" && g.Who.Subject != wire.SubjectSpace)
		if have[i] != want[i] && !wild {
			return false
		}
	}
	return true
}

// founded reports whether the author of a revocation had the right to it from
// rights below a stratum.
func (m *model) founded(ref wire.OpRef, v wire.Revoke, stratum int) (founded bool) {
	c, ok := m.commits[ref.Commit]
	if !ok {
		return false
	}
	m.rulesFor(c.Author, m.ancestry(c.Heads), false, func(by *wire.OpRef, r wire.Grant, at int, gives sennit.Rights) {
		founded = founded || gives&sennit.Grant != 0 && at < stratum && selects(r, c.Author.Space, components(string(v.Prefix))) &&
			m.spared(c, by, r, at, false, func(p sennit.Path) bool { return touches(wire.Grant{Prefix: v.Prefix}, p) })
	})
	return founded
}

// spared reports whether no revocation takes from an authority commit what it
// uses of a rule of a stratum. own says that those of its author count as well.
func (m *model) spared(c access.Commit, by *wire.OpRef, r wire.Grant, at int, own bool, touches func(sennit.Path) bool) bool {
	past := m.ancestry(c.Heads)
	for ref, v := range m.bearing(c.Author, by, r, at, own) {
		if ref.Commit == c.ID || !touches(v.Prefix) {
			continue
		}
		below := false
		for _, cut := range v.Cuts {
			if last, ok := m.commits[cut.Last]; cut.Log == c.Log && c.Seq <= cut.Seq {
				below = c.ID == cut.Last && c.Seq == cut.Seq || c.Seq < cut.Seq && ok && m.ancestry([]sennit.Hash{last.ID})[c.ID]
			}
		}
		if past[ref.Commit] || !below {
			return false
		}
	}
	return true
}

// bearing is the revocations in force that bear on somebody's use of a rule.
func (m *model) bearing(who sennit.Principal, by *wire.OpRef, r wire.Grant, at int, own bool) map[wire.OpRef]wire.Revoke {
	all := map[wire.OpRef]wire.Revoke{}
	for ref, stratum := range m.force {
		v, author := m.revokes[ref], m.commits[ref.Commit].Author
		of := author.Space == who.Space && (!who.Space.IsZero() || author.Device == who.Device)
		if of && !own || stratum > at && !(of && stratum == at+1) {
			continue
		}
		if by != nil && m.ancestry([]sennit.Hash{by.Commit})[ref.Commit] {
			continue
		}
		switch v.Who.Subject {
		case wire.SubjectSpace:
			if who.Space != sennit.Space(v.Who.Key) {
				continue
			}
		case wire.SubjectDevice:
			if who.Device != v.Who.Key {
				continue
			}
		case wire.SubjectAny:
			if by == nil || r.Who.Subject != wire.SubjectAny {
				continue
			}
		case wire.SubjectOp:
			if by == nil || *by != v.Who.Op {
				continue
			}
		}
		all[ref] = v
	}
	return all
}

func (m *model) mayJoin(c access.Commit) bool {
	for _, h := range c.Heads {
		if _, ok := m.commits[h]; !ok {
			return false
		}
	}
	if c.Author.Space == m.space {
		return m.ever[c.Author]
	}
	if !c.Author.Space.IsZero() && !m.ever[c.Author] {
		return false
	}
	found := false
	m.rulesFor(c.Author, m.ancestry(c.Heads), true, func(_ *wire.OpRef, _ wire.Grant, _ int, may sennit.Rights) {
		found = found || may&sennit.Grant != 0
	})
	return found
}

func (m *model) ancestry(ids []sennit.Hash) map[sennit.Hash]bool {
	past := map[sennit.Hash]bool{}
	for todo := slices.Clone(ids); len(todo) > 0; {
		h := todo[0]
		todo = todo[1:]
		if !past[h] {
			past[h] = true
			todo = append(todo, m.commits[h].Heads...)
		}
	}
	return past
}

// rulesFor calls f for every grant in past that names who, with each stratum at
// which it gives something, and for being the owner.
func (m *model) rulesFor(who sennit.Principal, past map[sennit.Hash]bool, ever bool, f func(by *wire.OpRef, g wire.Grant, at int, may sennit.Rights)) {
	levels, known := m.present, m.now
	if ever {
		levels, known = m.always, m.ever
	}
	proven := known[who]
	if who.Space == m.space {
		if !proven {
			return // nobody else may use that name
		}
		f(nil, wire.Grant{}, -1, sennit.AllRights)
	}
	for h := range past {
		for i, g := range m.grants[h] {
			ref := wire.OpRef{Commit: h, Index: uint32(i)}
			if strings.Contains("/"+g.Where+"/", "/{self}/") && (!proven || who.Space == m.space) {
				continue
			}
			for at, may := range levels[ref] {
				switch {
				case g.Who.Subject == wire.SubjectAny:
					if !proven && !who.Space.IsZero() {
						may &= sennit.Read | sennit.Mirror
					}
					f(&ref, g, at, may)
				case g.Who.Subject == wire.SubjectSpace && proven && who.Space == g.Who.Key && who.Space != m.space:
					f(&ref, g, at, may)
				case g.Who.Subject == wire.SubjectDevice && who.Device == g.Who.Key:
					f(&ref, g, at, may)
				}
			}
		}
	}
}

const seals = sennit.Rights(1 << 6)

// replacedBy is the stratum of revocations whose place another one takes: it
// never bears on anything.
const replacedBy = 1 << 20

// gives is what counts of a grant.
func (m *model) gives(ref wire.OpRef) (may sennit.Rights) {
	for _, rights := range m.present[ref] {
		may |= rights
	}
	return may
}

// example is a path that a grant covers for somebody, and that no other grant
// covers unless it covers all of it: its components occur nowhere else.
func example(g wire.Grant) []string {
	p := components(string(g.Prefix))
	for i, c := range components(g.Where) {
		switch {
		case c == "*":
			c = fmt.Sprint("unheard of ", i)
		case c == "{self}" && g.Who.Subject == wire.SubjectSpace:
			c = sennit.Space(g.Who.Key).String()
		case c == "{self}":
			c = fmt.Sprint("unheard of space ", i)
		}
		p = append(p, c)
	}
	return p
}

func components(p string) []string {
	if p == "" {
		return nil
	}
	return strings.Split(p, "/")
}

// selects reports whether a grant covers a path for an author.
func selects(g wire.Grant, me sennit.Space, p []string) bool {
	prefix, where := components(string(g.Prefix)), components(g.Where)
	if len(p) < len(prefix)+len(where) || !slices.Equal(p[:len(prefix)], prefix) {
		return false
	}
	for i, c := range where {
		if have := p[len(prefix)+i]; c != "*" && c != have && (c != "{self}" || have != me.String()) || c == "{self}" && have != me.String() {
			return false
		}
	}
	return true
}

func (m *model) judge(c access.Claim) access.Verdict {
	if len(c.Auth) < 1 || len(c.Auth) > 4 {
		return access.Void
	}
	for _, h := range c.Auth {
		if _, ok := m.commits[h]; !ok {
			return access.Held
		}
	}
	need := sennit.Write
	if c.Kind == sennit.KindDel {
		need = sennit.Remove
	}
	verdict, past := access.Void, m.ancestry(c.Auth)
	m.rulesFor(c.Author, past, false, func(by *wire.OpRef, g wire.Grant, at int, may sennit.Rights) {
		if may&need == 0 || !selects(g, c.Author.Space, components(string(c.Path))) {
			return
		}
		left := access.Valid
		for ref, v := range m.bearing(c.Author, by, g, at, true) {
			if !c.Path.Under(v.Prefix) && !(c.Deep && c.Kind == sennit.KindDel && v.Prefix.Under(c.Path)) {
				continue
			}
			link := access.Apart
			for _, cut := range v.Cuts {
				if cut.Log == c.Log && c.Seq < cut.Seq {
					link = c.Link(cut)
				} else if cut.Log == c.Log && c.Seq == cut.Seq && c.Commit == cut.Last {
					link = access.Linked
				}
			}
			switch {
			case past[ref.Commit] || link == access.Apart:
				left = access.Void
			case link == access.Unknown && left == access.Valid:
				left = access.Held
			}
		}
		if verdict == access.Void || left == access.Valid {
			verdict = left
		}
	})
	return verdict
}

func (m *model) may(who sennit.Principal, right sennit.Rights, p sennit.Path, now uint64) bool {
	every := map[sennit.Hash]bool{}
	sealed := -1
	for h := range m.commits {
		every[h] = true
		for i, g := range m.grants[h] {
			ref := wire.OpRef{Commit: h, Index: uint32(i)}
			for at, may := range m.present[ref] {
				if may&seals != 0 && p.Under(g.Prefix) && !m.lifted(ref, g, at) {
					sealed = max(sealed, g.Prefix.Depth())
				}
			}
		}
	}
	ok := false
	m.rulesFor(who, every, false, func(by *wire.OpRef, g wire.Grant, at int, may sennit.Rights) {
		for _, v := range m.bearing(who, by, g, at, true) {
			if p.Under(v.Prefix) {
				return
			}
		}
		ok = ok || may&right != 0 && (g.Until == 0 || now < g.Until) && (by == nil || g.Prefix.Depth() >= sealed) &&
			selects(g, who.Space, components(string(p)))
	})
	return ok
}

// lifted reports whether a grant itself was revoked, wherever it holds.
func (m *model) lifted(by wire.OpRef, g wire.Grant, at int) bool {
	for ref, stratum := range m.force {
		if v := m.revokes[ref]; v.Who.Subject == wire.SubjectOp && v.Who.Op == by && stratum <= at && g.Prefix.Under(v.Prefix) {
			return true
		}
	}
	return false
}

// world is a random history.
type world struct {
	space    sennit.Space
	commits  []access.Commit
	evidence []access.Evidence
	claims   []access.Claim
}

var (
	authors = []string{"me/1", "me/2", "me/3", "me/9", "bob/1", "bob/2", "bob/9", "cat/1", "dan/1", "eve/1", "-/1"}
	writers = append([]string{"bob/1", "cat/1", "bob/1", "cat/1", "me/1", "bob/2", "me/2", "eve/1", "-/1", "bob/1", "cat/1"}, authors...)
	paths   = []string{".", "a", "a/b", "a/b/@bob", "a/@bob", "a/x/@cat", "a/@cat/y", "c", "c/d/e", "b/a"}
	wheres  = []string{"", "", "", "", "", "*", "{self}", "*/{self}", "b", "x/{self}"}
	mays    = []sennit.Rights{15, 31, 11, 14, 13, 12, 9, 8, 1, 2, 3, 4, 6, 7, 16, 31} // rapid likes the first
	whos    = []string{"bob", "bob", "bob", "cat", "cat", "cat", "dan", "any", "eve/1", "-/1", "bob/1", "me/9"}
)

// history holds the key events of the people in the random worlds.
type history struct {
	people map[string]*person
	events map[string][]*wire.KeyEvent
}

func newHistory() *history {
	h := &history{map[string]*person{}, map[string][]*wire.KeyEvent{}}
	for _, line := range []string{
		"me +me/1 +me/2 rotate -me/2 +me/3", "bob +bob/1 +bob/2 -bob/1", "cat +cat/1", "dan +dan/1", "fay +fay/1",
	} {
		words := strings.Fields(line)
		p, era := newPerson(words[0]), 0
		var last *wire.KeyEvent
		for _, w := range words[1:] {
			switch w[0] {
			case '+':
				last = p.add(era, last, w[1:])
			case '-':
				last = p.remove(era, last, w[1:])
			default:
				last = p.rotate(era, last)
				era++
			}
			h.events[p.name] = append(h.events[p.name], last)
		}
		h.people[p.name] = p
	}
	return h
}

func (h *history) draw(t *rapid.T) world {
	me := h.people["me"]
	w := world{space: me.space()}
	events := h.events["me"][:rapid.IntRange(1, len(h.events["me"])).Draw(t, "owner's events")]
	for _, name := range []string{"bob", "cat", "dan", "fay"} {
		if rapid.IntRange(0, 4).Draw(t, "lacks evidence") < 4 {
			all := h.events[name]
			n := len(all) - min(len(all), rapid.IntRange(0, 4).Draw(t, name))
			w.evidence = append(w.evidence, access.Evidence{Inception: h.people[name].inception, Events: all[:n]})
		}
	}
	if rapid.Bool().Draw(t, "owner's evidence") {
		w.evidence = append(w.evidence, access.Evidence{Inception: me.inception, Events: events})
	}
	var members []sennit.Hash
	n := rapid.IntRange(6, 16).Draw(t, "commits")
	for i := range n {
		c := access.Commit{ID: id(fmt.Sprint("c", i)), Author: principal("me/1")}
		if i == 0 {
			c.Ops = append(c.Ops, keyOp(wire.Key{Inception: &me.inception}), keyOp(wire.Key{Event: events[0]}))
		} else {
			if i > 1 {
				c.Author = principal(rapid.SampledFrom(writers).Draw(t, "author"))
			}
			for range rapid.SampledFrom([]int{1, 2, 2, 3, 1, 0}).Draw(t, "heads") {
				back := rapid.IntRange(0, 4).Draw(t, "head")
				if rapid.IntRange(0, 15).Draw(t, "any") == 15 {
					c.Heads = append(c.Heads, id(fmt.Sprint("c", max(0, i-1-back)))) // perhaps no member
				} else {
					c.Heads = append(c.Heads, members[max(0, len(members)-1-back)])
				}
			}
		}
		for range rapid.SampledFrom([]int{3, 1, 2}).Draw(t, "ops") {
			switch kind := rapid.IntRange(0, 8).Draw(t, "kind"); {
			case kind == 5:
				c.Ops = append(c.Ops, keyOp(wire.Key{Event: rapid.SampledFrom(events).Draw(t, "event")}))
				continue
			case kind > 5 && i > 1:
				c.Ops = append(c.Ops, revokeOp(drawRevoke(t, w.commits)))
				continue
			}
			g := wire.Grant{
				Prefix: path(rapid.SampledFrom([]string{".", ".", "a", "a", "a/b", "c"}).Draw(t, "prefix")),
				Where:  rapid.SampledFrom(wheres).Draw(t, "where"),
				Who:    who(rapid.SampledFrom(whos).Draw(t, "who")),
				May:    rapid.SampledFrom(mays).Draw(t, "may"),
				Seal:   rapid.IntRange(0, 6).Draw(t, "seal") == 6,
				Until:  uint64(rapid.SampledFrom([]int{0, 0, 0, 100}).Draw(t, "until")),
			}
			if i < 2 || rapid.Bool().Draw(t, "delegates") {
				g.May |= sennit.Grant
			}
			c.Ops = append(c.Ops, grantOp(g))
		}
		for _, d := range w.commits {
			if d.Author == c.Author {
				c.Seq = max(c.Seq, d.Seq)
			}
		}
		c.Seq++
		c.Log = rulesLog(c.Author)
		w.commits = append(w.commits, c)
		if _, ok := newModel(w.space, w.commits, w.evidence).commits[c.ID]; ok {
			members = append(members, c.ID)
		}
	}
	var auths [4][]sennit.Hash
	for i := range auths {
		for range rapid.IntRange(1, 3).Draw(t, "auths") {
			auths[i] = append(auths[i], id(fmt.Sprint("c", rapid.IntRange(0, n-1).Draw(t, "auth"))))
		}
	}
	for _, author := range authors {
		for _, auth := range auths {
			for _, p := range paths {
				for _, kind := range []sennit.Kind{sennit.KindPut, sennit.KindDel} {
					seq := uint64(len(w.claims)%4 + 1)
					history := histories[len(w.claims)/4%len(histories)]
					w.claims = append(w.claims, access.Claim{
						Author: principal(author), Auth: auth, Kind: kind, Path: path(p), Deep: true,
						Log: dataOf(author), Seq: seq, Commit: id(fmt.Sprint(author, history, seq)), Link: link(author, history, seq),
					})
				}
			}
		}
	}
	return w
}

// histories is what is true of each author's data log: it forked, and of some of
// its commits nothing is known.
var histories = []string{"h", "h", "h", "k", "?"}

// link says what is known of a commit's place before those that cuts name.
func link(author, history string, seq uint64) func(wire.Cut) access.Link {
	return func(cut wire.Cut) access.Link {
		switch {
		case history == "?":
			return access.Unknown
		case cut.Last == id(fmt.Sprint(author, history, cut.Seq)) && seq < cut.Seq:
			return access.Linked
		}
		return access.Apart
	}
}

// rulesLog is the log of a principal's authority commits.
func rulesLog(who sennit.Principal) sennit.Hash { return id(fmt.Sprintf("log of %x", who.Device)) }

func drawRevoke(t *rapid.T, commits []access.Commit) wire.Revoke {
	v := wire.Revoke{
		Prefix: path(rapid.SampledFrom([]string{".", ".", "a", "a/b", "a/x", "c"}).Draw(t, "revoked prefix")),
		Who:    who(rapid.SampledFrom(append([]string{"me/1", "me/2", "cat/1"}, whos...)).Draw(t, "revoked")),
	}
	if rapid.IntRange(0, 4).Draw(t, "revokes an op") == 4 {
		c := rapid.SampledFrom(commits).Draw(t, "revoked in")
		v.Who = wire.Who{Subject: wire.SubjectOp, Op: wire.OpRef{Commit: c.ID, Index: rapid.Uint32Range(0, 2).Draw(t, "revoked op")}}
	}
	listed := map[sennit.Hash]bool{}
	for range rapid.SampledFrom([]int{4, 3, 2, 0}).Draw(t, "cuts") {
		author := rapid.SampledFrom([]string{"bob/1", "cat/1", "me/1", "bob/2", "me/2", "dan/1", "-/1", "eve/1"}).Draw(t, "cut")
		seq := rapid.Uint64Range(1, 4).Draw(t, "cut at")
		cut := wire.Cut{Log: dataOf(author), Seq: seq, Last: id(fmt.Sprint(author, rapid.SampledFrom(histories).Draw(t, "cut in"), seq))}
		if rapid.Bool().Draw(t, "of rules") {
			last := rapid.SampledFrom(commits).Draw(t, "last")
			cut = wire.Cut{Log: last.Log, Seq: last.Seq, Last: last.ID}
		}
		if !listed[cut.Log] {
			listed[cut.Log] = true
			v.Cuts = append(v.Cuts, cut)
		}
	}
	return v
}

// judge is the verdict on every claim, by a court and one by one.
func (w world) judge(t *rapid.T, a *access.Authority) []access.Verdict {
	vs := make([]access.Verdict, len(w.claims))
	court := a.Court()
	for i, c := range w.claims {
		vs[i] = court.Judge(c)
		if i%7 == 0 && vs[i] != a.Judge(c) {
			t.Fatalf("claim %d: a court says %d, alone it is %d", i, vs[i], a.Judge(c))
		}
	}
	return vs
}

func (w world) name(h sennit.Hash) string {
	return fmt.Sprint("c", slices.IndexFunc(w.commits, func(c access.Commit) bool { return c.ID == h }))
}

// Any order of delivery, with repetitions and in any batches, ends in the same
// digest and the same verdicts: those of the model, in which nothing is valid
// that no chain of grants from the owner covers.
func TestEveryOrderEndsInTheModelsVerdicts(t *testing.T) {
	h := newHistory()
	rapid.Check(t, func(t *rapid.T) {
		w := h.draw(t)
		m := newModel(w.space, w.commits, w.evidence)
		want := make([]access.Verdict, len(w.claims))
		for i, c := range w.claims {
			want[i] = m.judge(c)
		}
		var first *access.Authority
		for range 3 {
			rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0))
			a, _ := deliver(w.space, w.commits, w.evidence, rnd)
			if first == nil {
				first = a
			}
			if a.Digest() != first.Digest() || !slices.Equal(a.Heads(), first.Heads()) {
				t.Fatalf("orders differ in digest or heads")
			}
			for _, c := range w.commits {
				if _, want := m.commits[c.ID]; a.Has(c.ID) != want {
					t.Fatalf("%s is a member: %v, want %v", w.name(c.ID), a.Has(c.ID), want)
				}
			}
			for i, v := range w.judge(t, a) {
				if v != want[i] {
					t.Fatalf("claim %+v: verdict %d, want %d", w.claims[i], v, want[i])
				}
			}
			for _, r := range a.Rules("") {
				want := m.gives(r.ID)
				if r.Gives != want&^seals || r.Seals != (want&seals != 0) {
					t.Fatalf("rule %s#%d gives %v %v, want %v", w.name(r.ID.Commit), r.ID.Index, r.Gives, r.Seals, want)
				}
			}
		}
		for _, author := range authors {
			who := principal(author)
			readable := first.Readable(who, 100)
			for _, p := range paths {
				p := path(p)
				for right := sennit.Read; right < sennit.AllRights; right <<= 1 {
					if got, want := first.May(who, right, p, 100), m.may(who, right, p, 100); got != want {
						t.Fatalf("may %s %v %q: %v, want %v", author, right, p, got, want)
					}
				}
				sight := first.Sight(who, p, 100)
				under := slices.ContainsFunc(readable, p.Under)
				for _, below := range paths {
					if q := path(below); q.Under(p) && (sight == access.All || under) && !m.may(who, sennit.Read, q, 100) {
						t.Fatalf("%s sees all of %q (%v, readable %q), but may not read %q", author, p, sight, readable, q)
					} else if q.Under(p) && sight == access.None && m.may(who, sennit.Read, q, 100) {
						t.Fatalf("%s sees nothing of %q, but may read %q", author, p, q)
					}
				}
			}
			// What Relies and Cite choose is enough.
			for _, p := range paths {
				auth, err := first.Relies(who, []sennit.Change{{Kind: sennit.KindPut, Path: path(p)}})
				all := access.Claim{Author: who, Auth: auth, Kind: sennit.KindPut, Path: path(p)}
				if err == nil && m.judge(all) != access.Valid {
					t.Fatalf("%s relies on %v for %q, which isn't enough", author, auth, p)
				}
				if all.Auth = first.Heads(); err != nil && len(all.Auth) <= 4 && m.judge(all) == access.Valid {
					t.Fatalf("%s could write %q: %v", author, p, err)
				}
			}
		}
	})
}

// A verdict changes only where the outcome says so, and equal digests mean
// equal verdicts, also on the way.
func TestVerdictsStandUnlessTheOutcomeSaysOtherwise(t *testing.T) {
	h := newHistory()
	rapid.Check(t, func(t *rapid.T) {
		w := h.draw(t)
		byDigest := map[sennit.Hash][]access.Verdict{}
		for range 2 {
			rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0))
			a := access.New(w.space)
			vs := w.judge(t, a)
			for step := range 25 {
				var cs []access.Commit
				var evs []access.Evidence
				if rnd.IntN(3) > 0 {
					cs = []access.Commit{w.commits[rnd.IntN(len(w.commits))], w.commits[rnd.IntN(len(w.commits))]}
				} else if len(w.evidence) > 0 {
					ev := w.evidence[rnd.IntN(len(w.evidence))]
					evs = []access.Evidence{{Inception: ev.Inception, Events: ev.Events[:rnd.IntN(len(ev.Events)+1)]}}
				}
				old, oldDigest := a, a.Digest()
				next, out := a.With(cs, evs)
				if a.Digest() != oldDigest || step%8 == 0 && !slices.Equal(w.judge(t, old), vs) {
					t.Fatalf("With changed what it was called on")
				}
				if (next == a) != (next.Digest() == a.Digest()) || (next == a) != (len(out.Added)+len(out.Spaces) == 0) {
					t.Fatalf("the outcome %+v doesn't fit the digests", out)
				}
				after := w.judge(t, next)
				for i, c := range w.claims {
					cut := out.Cuts && (a.Revoked(c.Author) || next.Revoked(c.Author))
					said := vs[i] == access.Held || slices.Contains(out.Spaces, c.Author.Space) || out.Rules && c.Author.Space != w.space || cut
					if after[i] != vs[i] && !said {
						t.Fatalf("%+v was %d and is %d; the outcome says %+v", c, vs[i], after[i], out)
					}
				}
				if same, ok := byDigest[next.Digest()]; ok && !slices.Equal(same, after) {
					t.Fatalf("equal digests, other verdicts")
				}
				a, vs = next, after
				byDigest[a.Digest()] = vs
			}
		}
	})
}
