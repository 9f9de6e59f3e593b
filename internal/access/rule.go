package access

import (
	"slices"
	"strings"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// rule is a grant and what counts of it.
type rule struct {
	id    wire.OpRef
	n     int // its place among the rules
	in    *entry
	grant wire.Grant
	ever  []level // what it gives as long as nothing ends
	scope
}

// level is what a grant gives from a stratum on: what somebody gives whose own
// right to it is of the stratum before. The owner's grants are of stratum 0.
type level struct {
	stratum int
	may     sennit.Rights // that no lower stratum gives
}

// all is what the levels give together.
func all(levels []level) (may sennit.Rights) {
	for _, l := range levels {
		may |= l.may
	}
	return may
}

// scope is what a rule covers: a path or a pattern.
type scope struct {
	pattern string // see pattern
	head    int    // bytes of it before its first "*" or self, with the slash; all of it if it has none
	self    bool   // self occurs in it
}

// reach is what one level of a rule lets somebody do, and where. The owner's is
// everything everywhere, of no rule.
type reach struct {
	scope
	level
	rule *rule
	ends []end // the revocations that bear on it
}

// root is the stratum of what the owner has.
const root = -1

// sealing is a bit beside the rights in what a rule gives: its seal counts.
const sealing = sennit.Rights(1 << 7)

// subject is whom a rule names, as rules are looked up.
type subject struct {
	kind wire.Subject
	key  [32]byte
}

// self stands for "{self}" in a pattern. No path has a control character, so
// a component that is spelled "{self}" in a prefix or a path is never it.
const self = "\x00"

// pattern is what a grant covers, as one slash-separated text: a component
// "*" stands for any, self for the author's space.
func pattern(g *wire.Grant) string {
	if g.Where == "" {
		return string(g.Prefix)
	}
	where := strings.Split(g.Where, "/")
	for i, c := range where {
		switch {
		case c != "{self}":
		case g.Who.Subject == wire.SubjectSpace:
			where[i] = sennit.Space(g.Who.Key).String()
		default:
			where[i] = self
		}
	}
	w := strings.Join(where, "/")
	if g.Prefix == "" {
		return w
	}
	return string(g.Prefix) + "/" + w
}

func newScope(pattern string) scope {
	at := 0
	for c := range strings.SplitSeq(pattern, "/") {
		if c == "*" || c == self {
			return scope{pattern, at, strings.Contains(pattern, self)}
		}
		at += len(c) + 1
	}
	return scope{pattern: pattern, head: len(pattern)}
}

// covers is cover with s as p. Most scopes are paths, and most patterns differ
// in what precedes their first "*", so it looks at that first.
func (s scope) covers(me, q string) bool {
	if s.head == len(s.pattern) {
		return sennit.Path(q).Under(sennit.Path(s.pattern))
	}
	return strings.HasPrefix(q, s.pattern[:s.head]) && cover(s.pattern, me, q)
}

// cover reports whether everything that q is about lies at or under something
// that p selects; me stands for self in p. q is a path, or a pattern whose
// self may be anybody.
func cover(p, me, q string) bool {
	for p != "" {
		if q == "" {
			return false
		}
		var c, d string
		c, p, _ = strings.Cut(p, "/")
		d, q, _ = strings.Cut(q, "/")
		if c == self {
			c = me
		}
		if c != d && c != "*" {
			return false
		}
	}
	return true
}

// meet reports whether p selects something at, under or above the path q.
func meet(p, me, q string) bool {
	for p != "" && q != "" {
		var c, d string
		c, p, _ = strings.Cut(p, "/")
		d, q, _ = strings.Cut(q, "/")
		if c == self {
			c = me
		}
		if c != d && c != "*" {
			return false
		}
	}
	return true
}

// standing is what can be said about who somebody is.
type standing struct {
	who    sennit.Principal
	owner  bool
	proven bool // of another space than the owner's
	liar   bool // it says it is the owner, and isn't known to be
	ever   bool // it is enough that this was so once, see lineage.has
}

func (a *Authority) standing(who sennit.Principal, ever bool) standing {
	st := standing{who: who, ever: ever}
	if who.Space == a.space {
		st.owner = a.owner.has(who.Device, ever)
		st.liar = !st.owner
	} else if l, ok := a.others.get(sennit.Hash(who.Space)); ok {
		st.proven = l.has(who.Device, ever)
	}
	return st
}

// me is the text that stands for self.
func (st standing) me() string {
	if !st.proven {
		return ""
	}
	return st.who.Space.String()
}

// gives is what a rule gives now.
func (a *Authority) gives(r *rule) []level {
	if a.live == nil {
		return r.ever
	}
	return a.live[r.n]
}

// each calls f with what everything gives somebody: being the owner, and every
// level of every rule that names them. What revocations take of it f must ask.
func (a *Authority) each(st standing, f func(r reach)) {
	if st.liar {
		return
	}
	if st.owner {
		f(reach{level: level{root, sennit.AllRights}})
	}
	every := func(list []*rule, mask sennit.Rights) {
		for _, r := range list {
			if !st.proven && r.self {
				continue
			}
			levels := r.ever
			if !st.ever {
				levels = a.gives(r)
			}
			for _, l := range levels {
				if l.may &= mask; l.may != 0 {
					f(reach{scope: r.scope, level: l, rule: r})
				}
			}
		}
	}
	// What is written under a name that isn't proved must not count, but
	// anybody who wants to read could as well have given no name.
	mask := sennit.AllRights
	if !st.proven && !st.owner && !st.who.Space.IsZero() {
		mask = sennit.Read | sennit.Mirror
	}
	every(a.by[subject{kind: wire.SubjectAny}], mask)
	if st.proven {
		every(a.by[subject{wire.SubjectSpace, st.who.Space}], sennit.AllRights)
	}
	if !st.who.Device.IsZero() {
		every(a.by[subject{wire.SubjectDevice, st.who.Device}], sennit.AllRights)
	}
}

// had is what somebody had when they wrote an authority commit that descends
// from what is in past.
func (a *Authority) had(st standing, past *set) (have []reach) {
	a.each(st, func(r reach) {
		if r.rule == nil || past.has(r.rule.in.n) {
			have = append(have, r)
		}
	})
	return have
}

// entitled reports whether one of these is a right to grant.
func entitled(have []reach) bool {
	return slices.ContainsFunc(have, func(r reach) bool { return r.may&sennit.Grant != 0 })
}

// given is what counts of a grant by somebody who had these rights, but for
// what taken says of some of them, over all that a pattern selects.
func (st standing) given(have []reach, g *wire.Grant, taken func(r *reach, want string) bool) (levels []level) {
	want, over, me := pattern(g), string(g.Prefix), st.me()
	mask := g.May
	switch g.Who.Subject {
	case wire.SubjectSpace, wire.SubjectDevice:
	case wire.SubjectAny:
		mask &^= sennit.Grant
	default:
		mask = 0 // groups and boards are not interpreted
	}
	type right struct {
		stratum    int
		give, seal sennit.Rights
	}
	var rights []right
	for i := range have {
		r := &have[i]
		if r.stratum >= MaxStrata {
			continue
		}
		n := right{stratum: r.stratum + 1}
		if r.covers(me, want) && !taken(r, want) {
			n.give = r.may
		}
		if g.Seal && r.covers(me, over) && !taken(r, over) {
			n.seal = r.may & sennit.Grant
		}
		if n.give|n.seal != 0 {
			rights = append(rights, n)
		}
	}
	slices.SortFunc(rights, func(a, b right) int { return a.stratum - b.stratum })
	var sum right
	var known sennit.Rights
	for i, n := range rights {
		sum.give |= n.give
		sum.seal |= n.seal
		if i+1 < len(rights) && rights[i+1].stratum == n.stratum || sum.give&sennit.Grant == 0 {
			continue
		}
		may := sum.give & mask
		if sum.seal != 0 {
			may |= sealing
		}
		if may &^= known; may != 0 {
			levels = append(levels, level{n.stratum, may})
			known |= may
		}
	}
	return levels
}
