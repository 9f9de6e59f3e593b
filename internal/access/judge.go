package access

import (
	"slices"
	"strings"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// Verdict is what becomes of a data op.
type Verdict uint8

// The verdicts.
const (
	Valid Verdict = iota + 1 // it counts
	Void                     // it doesn't; new evidence may change that
	Held                     // an authority commit that it names isn't here, or a link to a cut, so nobody can say
)

// Claim is a data op that asks to count. Log, Seq and Commit say where it
// stands among its author's, as in [Commit].
type Claim struct {
	Author sennit.Principal // as its log says; the signature was checked
	Log    sennit.Hash
	Seq    uint64
	Commit sennit.Hash
	Link   func(wire.Cut) Link // whether it is in the past of a later commit of its log; nil: unknown. Asked only where a revocation matters
	Auth   []sennit.Hash       // the authority commits that its commit names, 1 to wire.MaxDataAuth
	Kind   sennit.Kind
	Path   sennit.Path
	Deep   bool // of a del
}

// Court judges claims one after the other. It keeps what it found out about
// the last author and auth, so a run of claims that share them costs little
// more than comparing paths. It is for one goroutine; claims are not kept.
type Court struct {
	a      *Authority
	author sennit.Principal
	auth   [wire.MaxDataAuth]sennit.Hash
	n      int // of auth; 0: nothing was judged yet

	fixed Verdict // on everything, if not 0
	owner bool    // whom no revocation bears on
	me    string
	reach []reach
}

// Court is a court under these rules.
func (a *Authority) Court() *Court { return &Court{a: a} }

// Judge judges one claim. For many, a [Court] is faster.
func (a *Authority) Judge(c Claim) Verdict {
	court := Court{a: a}
	return court.Judge(c)
}

// Judge judges a claim. The verdict depends on the claim, on the ancestry of
// what it names, on revocations and what is known of links to their cuts, and on
// the key events of principals, and on nothing else.
func (t *Court) Judge(c Claim) Verdict {
	if len(c.Auth) != t.n || c.Author != t.author || !slices.Equal(c.Auth, t.auth[:t.n]) || t.n == 0 {
		if len(c.Auth) == 0 || len(c.Auth) > wire.MaxDataAuth {
			return Void
		}
		t.turn(c.Author, c.Auth)
	}
	if t.fixed != 0 {
		return t.fixed
	}
	need := sennit.Write
	switch {
	case c.Kind == 0 || c.Kind.Authority() || c.Path.Reserved():
		return Void
	case t.owner:
		return Valid
	case c.Kind == sennit.KindDel:
		// A rule covers whole subtrees: who may delete here may delete beneath.
		need = sennit.Remove
	}
	verdict := Void
	for i := range t.reach {
		if r := &t.reach[i]; r.may&need != 0 && r.covers(t.me, string(c.Path)) {
			switch r.left(&c) {
			case Linked:
				return Valid
			case Unknown:
				verdict = Held
			}
		}
	}
	return verdict
}

// left says whether revocations leave a claim what it uses of the reach.
func (r *reach) left(c *Claim) Link {
	left := Linked
	if len(r.ends) == 0 {
		return left
	}
	u := use{c.Log, c.Seq, c.Commit, c.Link}
	for _, e := range r.ends {
		if !c.Path.Under(e.Prefix) && !(c.Kind == sennit.KindDel && c.Deep && e.Prefix.Under(c.Path)) {
			continue
		}
		switch e.takes(&u) {
		case Apart:
			return Apart
		case Unknown:
			left = Unknown
		}
	}
	return left
}

// turn prepares for claims of one author who names one auth.
func (t *Court) turn(author sennit.Principal, auth []sennit.Hash) {
	t.author, t.n = author, copy(t.auth[:], auth)
	t.fixed, t.owner, t.reach = 0, false, t.reach[:0]
	var named [wire.MaxDataAuth]*entry
	for i, h := range auth {
		e, ok := t.a.commits.get(h)
		if !ok {
			t.fixed = Held
			return
		}
		named[i] = e
	}
	st := t.a.standing(author, false)
	if t.owner = st.owner && t.a.ends == nil; t.owner {
		return
	}
	if author.Device.IsZero() {
		t.fixed = Void
		return
	}
	t.me = st.me()
	saw := func(e *entry) bool {
		return slices.ContainsFunc(named[:t.n], func(n *entry) bool { return n.sees(e.n) })
	}
	t.a.each(st, func(r reach) {
		if r.may &= sennit.Write | sennit.Remove; r.may == 0 || r.rule != nil && !saw(r.rule.in) {
			return
		}
		t.a.ends.on(&r, author, func(v *revocation) bool {
			r.ends = append(r.ends, end{v, saw(v.in)})
			return true
		})
		t.reach = append(t.reach, r)
		t.owner = t.owner || r.rule == nil && len(r.ends) == 0
	})
	if len(t.reach) == 0 {
		t.fixed = Void
	}
}

// May reports whether somebody has every one of some rights at a path now, in
// milliseconds since 1970: what a door or a peer asks before it shows or
// admits something. Rules that ran out or were cut off by a seal don't count.
// Nobody, not even the owner, has Write or Remove in the reserved places:
// what is done there is a matter of Grant at the prefix in question.
func (a *Authority) May(who sennit.Principal, rights sennit.Rights, p sennit.Path, now uint64) bool {
	if rights == 0 || rights&^sennit.AllRights != 0 || rights&(sennit.Write|sennit.Remove) != 0 && p.Reserved() {
		return false
	}
	st := a.standing(who, false)
	if st.owner && a.ends == nil {
		return true
	}
	me, sealed := st.me(), a.sealed(p)
	a.each(st, func(r reach) {
		if rights&r.may != 0 && r.lasts(now, sealed) && r.covers(me, string(p)) && !a.ends.gone(&r, who, p) {
			rights &^= r.may
		}
	})
	return rights == 0
}

// lasts reports whether the rule has not run out and is not given at a prefix
// shorter than what is sealed.
func (r *reach) lasts(now uint64, sealed int) bool {
	return r.rule == nil || (r.rule.grant.Until == 0 || now < r.rule.grant.Until) && len(r.rule.grant.Prefix) >= sealed
}

// sealing reports whether the seal of a rule counts.
func (a *Authority) sealing(r *rule) bool {
	return slices.ContainsFunc(a.gives(r), func(l level) bool { return l.may&sealing != 0 && !a.ends.lifted(r, l.stratum) })
}

// sealed is the length of the longest sealed prefix of p. Rules given at
// shorter ones don't count at p.
func (a *Authority) sealed(p sennit.Path) (length int) {
	for _, r := range a.seals {
		if p.Under(r.grant.Prefix) && a.sealing(r) {
			length = max(length, len(r.grant.Prefix))
		}
	}
	return length
}

// Sight is how much of a subtree somebody may read.
type Sight uint8

// The sights.
const (
	None Sight = iota // nothing at the path or under it
	Some              // perhaps some of it: look at the children, and ask May about the value at the path
	All               // the value at the path and everything under it
)

// Sight says how much of what is at and under a path somebody may read now, in
// milliseconds since 1970. It is how a tree is walked on somebody's behalf:
// None is left out, All is taken whole, Some is opened. All and None are
// certain.
func (a *Authority) Sight(who sennit.Principal, p sennit.Path, now uint64) Sight {
	st := a.standing(who, false)
	if st.owner && a.ends == nil {
		return All
	}
	sight := None
	me, sealed, holes := st.me(), a.sealed(p), a.holes(p)
	a.each(st, func(r reach) {
		switch {
		case r.may&sennit.Read == 0 || !r.lasts(now, sealed) || a.ends.gone(&r, who, p):
		case r.covers(me, string(p)) && (r.rule == nil || !holes) && !a.ends.beneath(&r, who, p):
			sight = All
		case meet(r.pattern, me, string(p)):
			sight = max(sight, Some)
		}
	})
	return sight
}

// holes reports whether something under p is sealed.
func (a *Authority) holes(p sennit.Path) bool {
	return slices.ContainsFunc(a.seals, func(r *rule) bool {
		return r.grant.Prefix != p && r.grant.Prefix.Under(p) && a.sealing(r)
	})
}

// Readable is the prefixes under which somebody may read everything now, in
// milliseconds since 1970: sorted, none under another. There is more that they
// may read if a pattern with "*" lets them, or if something under a prefix is
// sealed: neither can be said in prefixes, and both are left out. Sight finds
// them.
func (a *Authority) Readable(who sennit.Principal, now uint64) []sennit.Path {
	st := a.standing(who, false)
	if st.owner && a.ends == nil {
		return []sennit.Path{""}
	}
	found := make(map[sennit.Path]bool)
	me := st.me()
	a.each(st, func(r reach) {
		p, ok := r.whole(me)
		if ok && r.may&sennit.Read != 0 && r.lasts(now, a.sealed(p)) && (r.rule == nil || !a.holes(p)) &&
			!a.ends.gone(&r, who, p) && !a.ends.beneath(&r, who, p) {
			found[p] = true
		}
	})
	var ps []sennit.Path
	for p := range found {
		above := p
		for above != "" && (above == p || !found[above]) {
			above = above.Parent()
		}
		if above == p || !found[above] {
			ps = append(ps, p)
		}
	}
	slices.Sort(ps)
	return ps
}

// whole is the path that a scope is about, unless it is about several.
func (s scope) whole(me string) (sennit.Path, bool) {
	if slices.Contains(strings.Split(s.pattern, "/"), "*") {
		return "", false
	}
	p, err := sennit.ParsePath(strings.ReplaceAll(s.pattern, self, me))
	return p, err == nil // a pattern can be longer than any path
}
