package access

import (
	"slices"
	"strings"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about revocations: what they take of what rules give.

// Link says what is known of whether one commit of a log is in the past of
// another.
type Link uint8

// The links.
const (
	Unknown Link = iota // nothing here shows it, or the contrary
	Linked              // it is, or they are the same
	Apart               // it isn't: the device signed two histories
)

// revocation is a revoke op and what counts of it.
type revocation struct {
	id      wire.OpRef
	in      *entry
	by      standing // as of what was last worked out
	stratum int      // the lowest that gave its author the right to it
	wire.Revoke
}

// end is a revocation that bears on somebody's use of a reach.
type end struct {
	*revocation
	seen bool // whoever uses it knew of the revocation
}

// use is a commit in which somebody uses a right.
type use struct {
	log  sennit.Hash
	seq  uint64
	id   sennit.Hash
	link func(wire.Cut) Link // whether the commit is in the past of the one that a cut names; nil: unknown
}

// accepts says whether a commit lies at or below the cut.
func (v *revocation) accepts(u *use) Link {
	i, ok := slices.BinarySearchFunc(v.Cuts, u.log, func(c wire.Cut, log sennit.Hash) int { return compare(c.Log, log) })
	switch {
	case !ok || u.seq > v.Cuts[i].Seq:
		return Apart
	case u.seq < v.Cuts[i].Seq && u.link == nil:
		return Unknown
	case u.seq < v.Cuts[i].Seq:
		return u.link(v.Cuts[i])
	case u.id != v.Cuts[i].Last:
		return Apart
	}
	return Linked
}

// takes reports whether the end takes a right from a use of it, or may.
func (e end) takes(u *use) Link {
	if e.seen {
		return Apart
	}
	return e.accepts(u)
}

// bears reports whether a revocation can end what somebody uses of a reach. It
// ends what is given from its own stratum on, so that equals can't remove each
// other; somebody's of themselves ends what they have as well. It doesn't end
// what was given by somebody who knew of it.
func (v *revocation) bears(r *reach, who sennit.Principal) bool {
	at := r.stratum
	if v.of(who) {
		at++
	}
	return v.stratum <= at && (r.rule == nil || !r.rule.in.sees(v.in.n))
}

// of reports whether somebody is who wrote the revocation.
func (v *revocation) of(who sennit.Principal) bool {
	if who.Space.IsZero() {
		return v.by.who == who
	}
	return v.by.who.Space == who.Space
}

// replaces reports whether v takes the place of an earlier revocation, so that
// its cuts count and those of the other don't.
func (v *revocation) replaces(w *revocation) bool {
	return v.in.past.has(w.in.n) && v.stratum <= w.stratum && v.Who == w.Who && w.Prefix.Under(v.Prefix)
}

// ends is the revocations in force, by whom they are about.
type ends struct {
	all []*revocation
	by  map[subject][]*revocation
	ops map[wire.OpRef][]*revocation
}

func newEnds(all []*revocation) *ends {
	if len(all) == 0 {
		return nil
	}
	es := &ends{all, make(map[subject][]*revocation), make(map[wire.OpRef][]*revocation)}
	for _, v := range all {
		if v.Who.Subject == wire.SubjectOp {
			es.ops[v.Who.Op] = append(es.ops[v.Who.Op], v)
		} else {
			at := subject{v.Who.Subject, v.Who.Key}
			es.by[at] = append(es.by[at], v)
		}
	}
	return es
}

// on calls f with the revocations that bear on somebody's use of a reach, until
// it returns false.
func (es *ends) on(r *reach, who sennit.Principal, f func(v *revocation) bool) {
	if es == nil {
		return
	}
	lists := [...][]*revocation{
		es.by[subject{wire.SubjectSpace, who.Space}], es.by[subject{wire.SubjectDevice, who.Device}], nil, nil,
	}
	if r.rule != nil {
		lists[2] = es.ops[r.rule.id]
		if r.rule.grant.Who.Subject == wire.SubjectAny {
			lists[3] = es.by[subject{kind: wire.SubjectAny}]
		}
	}
	for _, list := range lists {
		for _, v := range list {
			if v.bears(r, who) && !f(v) {
				return
			}
		}
	}
}

// gone reports whether somebody has no use of a reach any more at a path.
func (es *ends) gone(r *reach, who sennit.Principal, p sennit.Path) (gone bool) {
	es.on(r, who, func(v *revocation) bool {
		gone = p.Under(v.Prefix)
		return !gone
	})
	return gone
}

// beneath reports whether somebody has no use of a reach any more at some path
// under p.
func (es *ends) beneath(r *reach, who sennit.Principal, p sennit.Path) (some bool) {
	es.on(r, who, func(v *revocation) bool {
		some = v.Prefix.Under(p)
		return !some
	})
	return some
}

// lifted reports whether a rule's own op was revoked, everywhere that it is about.
func (es *ends) lifted(r *rule, stratum int) bool {
	return es != nil && slices.ContainsFunc(es.ops[r.id], func(v *revocation) bool {
		return v.stratum <= stratum && r.grant.Prefix.Under(v.Prefix)
	})
}

// Cuts is the last commits of a log that revocations accept: whoever hands on
// commits of that log up to one of them hands on, with them, what links them to
// it. They are sorted by place, and none is told twice.
func (a *Authority) Cuts(log sennit.Hash) (cuts []wire.Cut) {
	for _, v := range a.revokes {
		i, ok := slices.BinarySearchFunc(v.Cuts, log, func(c wire.Cut, log sennit.Hash) int { return compare(c.Log, log) })
		if ok && !slices.Contains(cuts, v.Cuts[i]) {
			cuts = append(cuts, v.Cuts[i])
		}
	}
	slices.SortFunc(cuts, func(x, y wire.Cut) int {
		if x.Seq != y.Seq {
			return int(int64(x.Seq) - int64(y.Seq))
		}
		return compare(x.Last, y.Last)
	})
	return cuts
}

// Revoked reports whether revocations may bear on what somebody wrote, so that
// a verdict about it needs links. Those of a grant, or of what everybody has, take
// nothing from who writes as the owner.
func (a *Authority) Revoked(who sennit.Principal) bool {
	es := a.ends
	return es != nil && (who.Space != a.space && (len(es.ops) > 0 || len(es.by[subject{kind: wire.SubjectAny}]) > 0) ||
		len(es.by[subject{wire.SubjectSpace, who.Space}]) > 0 || len(es.by[subject{wire.SubjectDevice, who.Device}]) > 0)
}

// weigh works out what rules give and which revocations are in force. Unless
// there is a revocation, or a device was removed that gave some, rules give
// what they ever gave, and need no list.
//
// It goes stratum by stratum. What counts of an op of one stratum depends on
// the rights of lower ones and on revocations up to its own, so that one pass
// over each is enough, whatever names what.
func (s *step) weigh() {
	check := s.rules
	if s.live == nil && len(s.out.Spaces) == 0 {
		check = s.rules[len(s.was.rules):]
	}
	s.live, s.ends = nil, nil
	if len(s.revokes) == 0 && !s.removed(check) {
		return
	}
	s.live = make([][]level, len(s.rules))
	waiting := make([]*revocation, len(s.revokes))
	for i, v := range s.revokes { // which the authority before has as well
		own := *v
		own.by = s.standing(v.by.who, false)
		waiting[i] = &own
	}
	var force []*revocation
	for stratum := 0; stratum <= MaxStrata; stratum++ {
		waiting = slices.DeleteFunc(waiting, func(v *revocation) bool {
			if !s.founded(v, stratum) {
				return false
			}
			v.stratum = stratum
			force = append(force, v)
			return true
		})
		force = slices.DeleteFunc(force, func(w *revocation) bool {
			return slices.ContainsFunc(force, func(v *revocation) bool { return v.replaces(w) })
		})
		s.ends = newEnds(force)
		if !s.give(stratum) && stratum > 0 {
			return
		}
	}
}

// removed reports whether somebody who gave one of some rules isn't known any
// more to be who they said they were.
func (s *step) removed(rules []*rule) bool {
	return slices.ContainsFunc(rules, func(r *rule) bool {
		st := s.standing(r.in.author, false)
		return !st.owner && !st.proven && !r.in.author.Space.IsZero()
	})
}

// founded reports whether the author of a revocation had the right to grant
// over all of its prefix, from rights below a stratum. Nobody loses the right to
// revoke by a revocation of their own.
func (s *step) founded(v *revocation, stratum int) (founded bool) {
	want := string(v.Prefix)
	s.each(v.by, func(r reach) {
		if r.may&sennit.Grant == 0 || r.stratum >= stratum || r.rule != nil && !v.in.past.has(r.rule.in.n) {
			return
		}
		founded = founded || r.covers(v.by.me(), want) && !s.taken(&r, v.in, want, false)
	})
	return founded
}

// give works out what rules give at a stratum. It reports whether some give more.
func (s *step) give(stratum int) (more bool) {
	var st standing
	var have []reach
	for i, r := range s.rules {
		if i == 0 || s.rules[i-1].in != r.in {
			st = s.standing(r.in.author, false)
			have = slices.DeleteFunc(s.had(st, r.in.past), func(r reach) bool { return r.stratum >= stratum })
		}
		levels := st.given(have, &r.grant, func(by *reach, want string) bool { return s.taken(by, r.in, want, true) })
		more = more || len(levels) > len(s.live[i])
		s.live[i] = levels
	}
	return more
}

// taken reports whether revocations take from an authority commit what it uses
// of a reach over all that a pattern selects. Those links are plain to see:
// whoever writes authority names what they wrote before.
func (s *step) taken(r *reach, in *entry, want string, own bool) (taken bool) {
	if s.ends == nil {
		return false
	}
	want = strings.ReplaceAll(want, self, "*") // it may be anybody
	u := use{log: in.log, seq: in.seq, id: in.id, link: func(c wire.Cut) Link {
		if last, ok := s.commits.get(c.Last); ok && last.sees(in.n) {
			return Linked
		}
		return Apart
	}}
	s.ends.on(r, in.author, func(v *revocation) bool {
		taken = v.in != in && (own || !v.of(in.author)) && meet(want, "", string(v.Prefix)) &&
			end{v, in.past.has(v.in.n)}.takes(&u) != Linked
		return !taken
	})
	return taken
}

// same reports whether the same revocations are in force, in the same strata.
func (es *ends) same(other *ends) bool {
	if es == nil || other == nil {
		return es == other
	}
	in := make(map[wire.OpRef]int, len(es.all))
	for _, v := range es.all {
		in[v.id] = v.stratum
	}
	return len(es.all) == len(other.all) && !slices.ContainsFunc(other.all, func(v *revocation) bool {
		stratum, ok := in[v.id]
		return !ok || stratum != v.stratum
	})
}
