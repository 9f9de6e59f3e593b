package access

import (
	"slices"
	"strings"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// rule is a grant and what counts of it.
type rule struct {
	id     wire.OpRef
	n      int // its place among the rules
	in     *entry
	author sennit.Principal
	grant  wire.Grant
	may    sennit.Rights
	scope
}

// scope is what a rule covers: a path or a pattern.
type scope struct {
	pattern string // see pattern
	head    int    // bytes of it before its first "*" or self, with the slash; all of it if it has none
	self    bool   // self occurs in it
}

// reach is what a rule lets somebody do, and where.
type reach struct {
	scope
	may sennit.Rights
}

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
func (a *Authority) gives(r *rule) sennit.Rights {
	if a.live == nil {
		return r.may
	}
	return a.live[r.n]
}

// each calls f with every rule that names somebody, and what it gives them.
func (a *Authority) each(st standing, f func(r *rule, may sennit.Rights)) {
	if st.liar {
		return
	}
	all := func(list []*rule, mask sennit.Rights) {
		for _, r := range list {
			may := r.may
			if !st.ever {
				may = a.gives(r)
			}
			if may &= mask; may != 0 && (st.proven || !r.self) {
				f(r, may)
			}
		}
	}
	// What is written under a name that isn't proved must not count, but
	// anybody who wants to read could as well have given no name.
	mask := sennit.AllRights
	if !st.proven && !st.who.Space.IsZero() {
		mask = sennit.Read | sennit.Mirror
	}
	all(a.by[subject{kind: wire.SubjectAny}], mask)
	if st.proven {
		all(a.by[subject{wire.SubjectSpace, st.who.Space}], sennit.AllRights)
	}
	if !st.who.Device.IsZero() {
		all(a.by[subject{wire.SubjectDevice, st.who.Device}], sennit.AllRights)
	}
}

// had is what somebody who isn't the owner could do when they knew what is in past.
func (a *Authority) had(st standing, past *set) (have []reach) {
	a.each(st, func(r *rule, may sennit.Rights) {
		if past.has(r.in.n) {
			have = append(have, reach{r.scope, may})
		}
	})
	return have
}

// entitled reports whether one of these is a right to grant.
func entitled(have []reach) bool {
	return slices.ContainsFunc(have, func(r reach) bool { return r.may&sennit.Grant != 0 })
}

// given is what counts of a grant by somebody who had these rights.
func (st standing) given(have []reach, g *wire.Grant) sennit.Rights {
	var may, seal sennit.Rights
	switch {
	case st.liar:
		return 0
	case st.owner:
		may, seal = sennit.AllRights, sennit.Grant
	default:
		me, want := st.me(), pattern(g)
		for _, r := range have {
			if r.covers(me, want) {
				may |= r.may
			}
			if g.Seal && r.covers(me, string(g.Prefix)) {
				seal |= r.may
			}
		}
	}
	if may&sennit.Grant == 0 {
		return 0
	}
	may &= g.May
	switch g.Who.Subject {
	case wire.SubjectSpace, wire.SubjectDevice:
	case wire.SubjectAny:
		may &^= sennit.Grant
	default:
		may = 0 // groups and boards are not interpreted
	}
	if g.Seal && seal&sennit.Grant != 0 {
		may |= sealing
	}
	return may
}
