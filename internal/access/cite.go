package access

import (
	"slices"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// Cite is what a new authority commit of somebody's names: all heads. If there
// are more than wire.MaxAuth, it is first of all heads that carry what the author
// wrote last and the author's rights to grant, without which nobody would take
// the commit, then the first others by id; the next commits name the rest. It is
// sorted by id.
func (a *Authority) Cite(who sennit.Principal) []sennit.Hash {
	if len(a.tips) <= wire.MaxAuth {
		return a.Heads()
	}
	var needs [][]*entry
	st := a.standing(who, false)
	if !st.owner {
		a.each(st, func(r reach) {
			if r.may&sennit.Grant != 0 {
				needs = append(needs, []*entry{r.rule.in})
			}
		})
	}
	// A cut of a log is understood only if each of its commits descends from the
	// one before.
	var mine *entry
	a.commits.each(func(e *entry) {
		if e.author == who && (mine == nil || mine.n < e.n) {
			mine = e
		}
	})
	if mine != nil {
		needs = slices.Insert(needs, 0, []*entry{mine})
	}
	cited, _ := a.choose(needs, wire.MaxAuth)
	for _, t := range a.tips {
		if len(cited) < wire.MaxAuth && !slices.Contains(cited, t) {
			cited = append(cited, t)
		}
	}
	return sorted(cited)
}

// Relies is what a new data commit of somebody's names, so that all its
// changes are valid: 1 to wire.MaxDataAuth heads, sorted by id. If there are
// more heads it is those that carry what the changes need, then those that
// came last.
//
// It fails with Denied if a change would be void, and with Conflict if the
// rules that the changes need are spread over too many heads: each part of
// them can then be written in a commit of its own, and the next authority
// commit ends it. It asks for validity only; [Authority.May] asks for more.
func (a *Authority) Relies(who sennit.Principal, changes []sennit.Change) ([]sennit.Hash, error) {
	st := a.standing(who, false)
	if len(a.tips) == 0 || who.Device.IsZero() {
		return nil, sennit.Errorf(sennit.Denied, "nothing is known here that lets %v write", who.Space)
	}
	var needs [][]*entry
	for _, c := range changes {
		need := sennit.Write
		if c.Kind == sennit.KindDel {
			need = sennit.Remove
		}
		var by []*entry
		me, owner := st.me(), false
		a.each(st, func(r reach) {
			switch {
			case r.may&need == 0 || !r.covers(me, string(c.Path)) || a.ends.gone(&r, who, c.Path),
				c.Kind == sennit.KindDel && c.Deep && a.ends.beneath(&r, who, c.Path):
			case r.rule == nil:
				owner = true
			default:
				by = append(by, r.rule.in)
			}
		})
		if !owner {
			needs = append(needs, by)
		}
		if c.Kind == 0 || c.Kind.Authority() || c.Path.Reserved() || !owner && len(by) == 0 {
			return nil, sennit.Errorf(sennit.Denied, "no rule lets %v change %q", who.Space, c.Path)
		}
	}
	chosen, ok := a.choose(needs, wire.MaxDataAuth)
	if !ok {
		return nil, sennit.Hint(
			sennit.Errorf(sennit.Conflict, "the changes need rules from more than %d heads", wire.MaxDataAuth),
			"write fewer paths at once")
	}
	last := slices.SortedFunc(slices.Values(a.tips), func(x, y *entry) int { return int(y.n) - int(x.n) })
	for _, t := range last {
		if len(chosen) < wire.MaxDataAuth && !slices.Contains(chosen, t) {
			chosen = append(chosen, t)
		}
	}
	return sorted(chosen), nil
}

// choose picks at most limit tips, so that for every need one of them is or
// descends from one of the commits that would meet it. It takes the first tip
// that meets a need that the ones before don't; that can take more tips than
// the best choice, and it says so if the limit is too low for it.
func (a *Authority) choose(needs [][]*entry, limit int) (chosen []*entry, ok bool) {
	ok = true
	for _, by := range needs {
		meets := func(t *entry) bool {
			return slices.ContainsFunc(by, func(e *entry) bool { return t.sees(e.n) })
		}
		if slices.ContainsFunc(chosen, meets) {
			continue
		}
		i := slices.IndexFunc(a.tips, meets)
		if i < 0 || len(chosen) == limit {
			ok = false
			continue
		}
		chosen = append(chosen, a.tips[i])
	}
	return chosen, ok
}

func sorted(es []*entry) []sennit.Hash {
	hs := ids(es)
	slices.SortFunc(hs, compare)
	return hs
}
