// Package access turns rules into verdicts: given what is known of a space's
// authority (keys, grants) it says whether a data op counts, who may read
// what, and which authority commits are part of it at all.
//
// Owns: the meaning of authority commits and of evidence about principals.
// Promises: pure: no clock, lock, I/O, context or goroutine. What an
// [Authority] says is a function of the set of commits and evidence that it
// took, never of the order or the batches in which they came. Nothing counts
// that no chain of grants from the owner covers. An Authority never changes,
// so any number of goroutines may ask it.
// Must not know: how commits are made, signed, stored or sent; what data means.
//
// # What counts
//
// The owner is whoever writes for the space itself from a device that the
// space's key events name. Key events carry their own signatures, so they
// count from wherever they come, and an owner's commit need not descend from
// the event that added its device.
//
// Anybody else needs a rule. A rule counts for a commit only if it is in the
// ancestry of the authority commits that the commit names. The causal past of
// a commit never changes, and so two nodes that hold that past agree, whatever
// else they hold. A rule counts at all only so far as its author had the right
// to give it: the owner may give anything; others need, in the ancestry of
// their own commit, [sennit.Grant] over everything that the rule covers, and
// give of the other rights only those that they have over all of it. What goes
// beyond is dropped, the rest of the rule stands. So every right leads to the
// owner by ancestry. One rule must cover the whole for each right: names are
// unlimited, so several narrower ones together never do.
//
// Whom a rule names:
//
//   - A space: its devices, as its own key events ([Evidence]) prove them.
//   - A device: that key, whatever space it says it writes for; nothing needs
//     to prove that. [Authority.Proven] says whether the space may be shown as
//     the author. Only a claim to be this space's owner must be true.
//   - Any: everybody may read. What is written under a space's name must be
//     proved by that space's key events, otherwise anybody could write in
//     anybody's name; a device that names no space may write. The right to
//     grant can't be given to any: authority is never collected, and bounded,
//     so a stranger could fill it for good.
//   - "{self}" in a pattern is the author's space, and needs that same proof.
//
// A rule covers its prefix, or what its pattern selects beneath it, and
// everything under that. Writing needs [sennit.Write]; deleting [sennit.Remove],
// with or without Write; deleting a subtree Remove over all of it. Ops of kinds
// that aren't known need Write. Nobody writes data in the reserved places.
//
// # What ends
//
// Until and seal end reading and admission ([Authority.May], [Authority.Sight],
// [Authority.Readable]), and never change a verdict. A verdict can't depend on
// a clock, and a writer who names only what came before a seal could not be
// held to it: ending a right to write is what revocations are for. A seal
// needs Grant over its whole prefix, stops whatever was given at shorter
// prefixes, whoever gave it, and does not end with its rule's until.
//
// A revocation ends what a space, a device, everybody or one grant has under a
// prefix. It takes from a commit the rights that it uses if its author knew of
// the revocation, which the commit's ancestry shows, or if the commit lies
// beyond the revocation's cut: the last commit of each log that is still
// accepted. A log that isn't listed is accepted nowhere. A number isn't enough
// to be at or below a cut: the commit must be in the past of the one that the
// cut names, otherwise somebody who was removed could write a new one under an
// old number. Until that is shown ([Claim]) the verdict is [Held].
//
// Who may revoke what follows from strata. The owner's ops are of stratum 0;
// an op that uses rights which stratum k gave is of stratum k+1, the lowest that
// gives all it needs. A revocation needs Grant over its prefix, and ends what
// its own stratum and later ones give: whoever is junior to its author, and
// never an equal. The owner, and whoever revokes themselves, can end what they
// have themselves. Revocations of one stratum don't end each other, so two that
// cross both count. A grant whose author knew of a revocation survives it. A later revocation
// of the same by the same or a senior stratum takes its place, if it is of the same prefix
// or a shorter one: so a cut can be raised, to let in what honestly came late.
//
// A device that its space removed proves nothing any more: its data is void,
// and so are the rules that it gave, but for what rules let it do that name the
// device itself. Its authority commits stay, as links of the ancestry of others.
//
// Members, grants to groups and boards, revocations of what they have, and limits
// are checked for form, kept as part of the commits that carry them, handed on,
// and not interpreted.
package access

import (
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/wire"
)

// Commit is an authority commit whose id, signature, class and space were
// checked, and whose ops are all here. Log and Seq say where it stands among
// its author's: that is what the cuts of revocations speak of.
type Commit struct {
	ID     sennit.Hash
	Log    sennit.Hash
	Seq    uint64
	Author sennit.Principal
	Heads  []sennit.Hash // the authority commits that it names in its auth
	Ops    []wire.Op
}

// Evidence is what proves the devices of a principal: its inception record and
// a chain of its key events from the first on. A principal whose events forked
// has one for each branch. It certifies itself, so it may come from anybody.
type Evidence struct {
	Inception wire.Inception
	Events    []*wire.KeyEvent
}

// Authority is all that is known about who may do what in one space.
type Authority struct {
	space   sennit.Space
	commits trie[*entry]
	tips    []*entry // that no other names, by id
	rules   []*rule  // in an order in which ancestors come first
	by      map[subject][]*rule
	seals   []*rule
	revokes []*revocation // whether they count or not
	live    [][]level     // what each rule gives now; nil: what it ever gave
	ends    *ends         // the revocations that count; nil if none does
	owner   *lineage
	others  trie[*lineage]
	digest  sennit.Hash

	used    usage // by all
	foreign usage // by others than the owner
	kept    int   // bytes of others' evidence
}

// entry is a commit that is part of the authority. Its n is its place in the
// order of arrival here, which only past refers to.
type entry struct {
	id     sennit.Hash
	log    sennit.Hash
	seq    uint64
	author sennit.Principal
	n      uint32
	past   *set // its ancestors
}

// sees reports whether commit n is e or an ancestor of it.
func (e *entry) sees(n uint32) bool { return e.n == n || e.past.has(n) }

// New is the authority of a space of which nothing is known: nobody may do
// anything, not even the owner, whose keys have yet to come.
func New(space sennit.Space) *Authority {
	a := &Authority{space: space, owner: newLineage(space)}
	a.digest = a.sum()
	return a
}

// Space is the space that it is about.
func (a *Authority) Space() sennit.Space { return a.space }

// Has reports whether the commit is part of it.
func (a *Authority) Has(id sennit.Hash) bool {
	_, ok := a.commits.get(id)
	return ok
}

// Len is the number of commits.
func (a *Authority) Len() int { return a.commits.n }

// Heads is the commits that no other one names, by id. Two nodes with the same
// heads have the same commits. [Authority.Cite] chooses those that a new
// commit names.
func (a *Authority) Heads() []sennit.Hash { return ids(a.tips) }

func ids(es []*entry) []sennit.Hash {
	hs := make([]sennit.Hash, len(es))
	for i, e := range es {
		hs[i] = e.id
	}
	return hs
}

// Digest names what this authority knows: its commits and the evidence that it
// keeps. Two nodes with equal digests give equal verdicts on every claim. Two
// that hold different things have different digests, even where it happens
// that no verdict differs yet.
//
//	'A' 1 | space hash | commits hash | owner hash | principals hash
//
// commits and principals are the roots of 16-ary tries by id, zero if there is
// nothing: leaf 0x00 | id | mark hash, zero for commits; node 0x01 | for each
// child its nibble u8 and its hash. owner and a principal's mark are the
// SHA-256 of 0x02 | inception known u8 | the hashes of its key events, sorted.
func (a *Authority) Digest() sennit.Hash { return a.digest }

func (a *Authority) sum() sennit.Hash {
	b := append(make([]byte, 0, 2+4*32), 'A', wire.Format)
	b = append(b, a.space[:]...)
	for _, h := range []sennit.Hash{a.commits.digest(), a.owner.digest, a.others.digest()} {
		b = append(b, h[:]...)
	}
	return sha256.Sum256(b)
}

// Keys is what the owner's key events say, nil while the inception record is
// not here. Where they forked it is the branch that counts: one with a
// rotation beats one without; between equals nothing after the last common
// event counts, and [Authority.Fork] tells.
func (a *Authority) Keys() *keys.State { return a.owner.state }

// Fork is the rival events at which the owner's key events split into branches
// of equal standing, by hash; none if they didn't. They stay frozen there
// until a rotation decides. A branch is never chosen by its hash, which an
// attacker could grind.
func (a *Authority) Fork() []*wire.KeyEvent { return slices.Clone(a.owner.rivals) }

// Proven reports whether the key events that are here prove that the device
// belongs to the space, so that it may be shown as the author.
func (a *Authority) Proven(who sennit.Principal) bool {
	st := a.standing(who, false)
	return st.owner || st.proven
}

// Names reports whether a device is known here: the key events that are here
// made it the device of its space, now or once, or a rule names it. What it says
// of its space must be true if that is this one.
func (a *Authority) Names(who sennit.Principal) bool {
	st := a.standing(who, true)
	return st.owner || st.proven || !st.liar && len(a.by[subject{wire.SubjectDevice, who.Device}]) > 0
}

// Evidence is all that is kept about principals, the owner first and the
// others by space: what another node needs beside the commits. It is not to be
// changed.
func (a *Authority) Evidence() []Evidence {
	all := a.owner.chains(nil)
	a.others.each(func(l *lineage) { all = l.chains(all) })
	return all
}

// Rule is a grant as it is listed.
type Rule struct {
	ID     wire.OpRef
	Author sennit.Principal
	Grant  wire.Grant
	Gives  sennit.Rights // what counts of Grant.May: not what its author couldn't give; nothing for groups and boards
	Seals  bool          // grants at shorter prefixes end here
	Ended  bool          // it was revoked for whoever it names, everywhere; what it allowed before may still count
}

// Rules lists the rules that bear on what is at and under a prefix: given
// there, above it or beneath it. They are sorted by prefix, then by id.
func (a *Authority) Rules(prefix sennit.Path) []Rule {
	var list []Rule
	for _, r := range a.rules {
		if p := r.grant.Prefix; p.Under(prefix) || prefix.Under(p) {
			gives := all(a.gives(r))
			list = append(list, Rule{r.id, r.in.author, r.grant, gives &^ sealing, gives&sealing != 0, a.ended(r)})
		}
	}
	slices.SortFunc(list, func(x, y Rule) int {
		if c := strings.Compare(string(x.Grant.Prefix), string(y.Grant.Prefix)); c != 0 {
			return c
		}
		if c := compare(x.ID.Commit, y.ID.Commit); c != 0 {
			return c
		}
		return int(x.ID.Index) - int(y.ID.Index)
	})
	return list
}

func compare(x, y sennit.Hash) int { return strings.Compare(string(x[:]), string(y[:])) }

// ended reports whether nothing that a rule gives can be used any more.
func (a *Authority) ended(r *rule) bool {
	who := sennit.Principal{}
	switch r.grant.Who.Subject {
	case wire.SubjectSpace:
		who.Space = r.grant.Who.Key
	case wire.SubjectDevice:
		who.Device = r.grant.Who.Key
	}
	return len(a.gives(r)) > 0 && !slices.ContainsFunc(a.gives(r), func(l level) bool {
		return !a.ends.gone(&reach{scope: r.scope, level: l, rule: r}, who, r.grant.Prefix)
	})
}
