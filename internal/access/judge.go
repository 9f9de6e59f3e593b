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
	Held                     // an authority commit that it names isn't here, so nobody can say
)

// Claim is a data op that asks to count. Log, Seq and Commit say where it
// stands among its author's, as in [Commit]; Deep changes nothing as long as
// every rule covers whole subtrees.
type Claim struct {
	Author sennit.Principal // as its log says; the signature was checked
	Log    sennit.Hash
	Seq    uint64
	Commit sennit.Hash
	Auth   []sennit.Hash // the authority commits that its commit names, 1 to wire.MaxDataAuth
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
	owner bool
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
// what it names, and on the key events of principals, and on nothing else: a
// commit that is added later changes it only where it was Held for want of it.
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
	for i := range t.reach {
		if r := &t.reach[i]; r.may&need != 0 && r.covers(t.me, string(c.Path)) {
			return Valid
		}
	}
	return Void
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
	if t.owner = st.owner; t.owner {
		return
	}
	if author.Device.IsZero() {
		t.fixed = Void
		return
	}
	t.me = st.me()
	t.a.each(st, func(r *rule, may sennit.Rights) {
		if may &= sennit.Write | sennit.Remove; may == 0 {
			return
		}
		for _, e := range named[:t.n] {
			if e.sees(r.in.n) {
				t.reach = append(t.reach, reach{r.scope, may})
				return
			}
		}
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
	if st.owner {
		return true
	}
	me, sealed := st.me(), a.sealed(p)
	a.each(st, func(r *rule, may sennit.Rights) {
		if rights&may != 0 && r.lasts(now) && len(r.grant.Prefix) >= sealed && r.covers(me, string(p)) {
			rights &^= may
		}
	})
	return rights == 0
}

// lasts reports whether the rule has not run out.
func (r *rule) lasts(now uint64) bool { return r.grant.Until == 0 || now < r.grant.Until }

// sealed is the length of the longest sealed prefix of p. Rules given at
// shorter ones don't count at p.
func (a *Authority) sealed(p sennit.Path) (length int) {
	for _, r := range a.seals {
		if a.gives(r)&sealing != 0 && p.Under(r.grant.Prefix) {
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
	if st.owner {
		return All
	}
	sight := None
	me, sealed, holes := st.me(), a.sealed(p), a.holes(p)
	a.each(st, func(r *rule, may sennit.Rights) {
		switch {
		case may&sennit.Read == 0 || !r.lasts(now) || len(r.grant.Prefix) < sealed:
		case r.covers(me, string(p)) && !holes:
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
		return a.gives(r)&sealing != 0 && r.grant.Prefix != p && r.grant.Prefix.Under(p)
	})
}

// Readable is the prefixes under which somebody may read everything now, in
// milliseconds since 1970: sorted, none under another. There is more that they
// may read if a pattern with "*" lets them, or if something under a prefix is
// sealed: neither can be said in prefixes, and both are left out. Sight finds
// them.
func (a *Authority) Readable(who sennit.Principal, now uint64) []sennit.Path {
	st := a.standing(who, false)
	if st.owner {
		return []sennit.Path{""}
	}
	found := make(map[sennit.Path]bool)
	me := st.me()
	a.each(st, func(r *rule, may sennit.Rights) {
		p, ok := r.whole(me)
		if ok && may&sennit.Read != 0 && r.lasts(now) && !a.holes(p) && len(r.grant.Prefix) >= a.sealed(p) {
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

// whole is the path that the rule is about, unless it is about several.
func (r *rule) whole(me string) (sennit.Path, bool) {
	if slices.Contains(strings.Split(r.pattern, "/"), "*") {
		return "", false
	}
	p, err := sennit.ParsePath(strings.ReplaceAll(r.pattern, self, me))
	return p, err == nil // a pattern can be longer than any path
}
