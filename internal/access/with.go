package access

import (
	"bytes"
	"maps"
	"slices"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// Reason says why something was not taken.
type Reason uint8

// The reasons.
const (
	Waiting    Reason = iota + 1 // commits that it names aren't here: try again when they are
	Unproven                     // its author's evidence isn't here: try again when it is
	Unentitled                   // its author had no right to grant: final
	Malformed                    // final
	Full                         // a bound is reached
	Uncovered                    // evidence of somebody whom no rule names: try again when one does
)

// Refusal is something that was not taken. Who wants it to count one day keeps
// it, and offers it again.
type Refusal struct {
	Commit  sennit.Hash   // zero if it is evidence
	Space   sennit.Space  // whose evidence it is; of a commit, whose is missing
	Reason  Reason        // what to do about it
	Missing []sennit.Hash // Waiting: what it names and isn't here
	Err     error         // the same in words, with a code
}

// Outcome says what [Authority.With] did, and which verdicts it changed:
// verdicts stand but for [Held] ones that named what was added, those about
// the data of Spaces, with Rules those about anybody's but the owner's, and with
// Cuts those about whoever is or was [Authority.Revoked].
type Outcome struct {
	Added   []sennit.Hash  // commits that are new in the authority, none before its ancestors
	Refused []Refusal      // in the order in which they were offered, commits first
	Spaces  []sennit.Space // whose devices are known anew or changed
	Rules   bool           // rules that counted count no more, or count again
	Cuts    bool           // other revocations are in force
}

// With is a with commits and evidence, or a itself if they bring nothing new.
// Any order will do, and so will things that it has already. What it takes
// stays; what is refused it forgets.
//
// It takes a commit if it has all that the commit names, and if the author is
// the owner or had, in the commit's ancestry, the right to grant something.
// The author must be proven, by evidence or by the key ops of any commit that
// is offered (so a space's first commit can carry the event that adds its own
// device); only an author who names no space can hold that right as a mere
// device. It is enough that the device was added once: a commit that others
// may have named does not go away when its device does. Whether its rules
// count is another matter.
//
// It takes evidence of the owner and of whomever a rule names. It keeps no
// reference to what it is given.
//
// A genuine or forged key event costs as many signature checks as its chain is
// long, and a chain that is offered whole costs no more than its last event;
// the rest is linear in what is offered, but for a table of subjects that is
// copied when there is a new rule. Who offers things must pay for that
// elsewhere.
func (a *Authority) With(commits []Commit, evidence []Evidence) (*Authority, Outcome) {
	next := *a
	next.rules, next.seals = slices.Clip(a.rules), slices.Clip(a.seals) // whoever else starts from a appends elsewhere
	next.revokes = slices.Clip(a.revokes)
	s := &step{
		Authority: &next,
		was:       a,
		offered:   make(map[sennit.Hash]bool),
		waiting:   make(map[sennit.Hash][]*draft),
		unproven:  make(map[sennit.Space][]*draft),
		claims:    make(map[sennit.Space][]*claimed),
		devices:   make(map[sennit.Device][]sennit.Space),
	}
	s.read(commits)
	s.hear(evidence)
	for len(s.ready) > 0 {
		d := s.ready[len(s.ready)-1]
		s.ready = s.ready[:len(s.ready)-1]
		s.admit(d)
	}
	return s.end()
}

// step is an authority that is being made from another one.
type step struct {
	*Authority
	was *Authority
	out Outcome

	offered  map[sennit.Hash]bool
	drafts   []*draft
	ready    []*draft                  // what they name is here
	waiting  map[sennit.Hash][]*draft  // by what they name
	unproven map[sennit.Space][]*draft // by their author's space
	pulled   map[sennit.Hash]bool      // see room
	leaves   map[*entry]bool           // the tips, once a commit is added
	ours     map[subject]bool          // lists in by that this step made

	heard   []*claimed
	claims  map[sennit.Space][]*claimed      // what no rule made due yet
	devices map[sennit.Device][]sennit.Space // who says that it is theirs
}

// draft is a commit that was offered.
type draft struct {
	*Commit
	missing int // heads that aren't here
	grants  []indexed
	revokes []*revocation
	inc     *wire.Inception
	events  []*wire.KeyEvent
	bytes   int
	done    bool
	refusal Refusal
}

type indexed struct {
	index uint32
	grant wire.Grant
}

func refuse(reason Reason, code sennit.Code, format string, args ...any) Refusal {
	return Refusal{Reason: reason, Err: sennit.Errorf(code, format, args...)}
}

// read takes in what is offered and the key events in it.
func (s *step) read(commits []Commit) {
	for i := range commits {
		c := &commits[i]
		if s.offered[c.ID] || s.Has(c.ID) {
			continue
		}
		s.offered[c.ID] = true
		d := &draft{Commit: c}
		s.drafts = append(s.drafts, d)
		if err := d.decode(s.space); err != nil {
			d.done, d.refusal = true, Refusal{Reason: Malformed, Err: err}
			continue
		}
		named := make(map[sennit.Hash]bool)
		for _, h := range c.Heads {
			if !named[h] && !s.Has(h) {
				s.waiting[h] = append(s.waiting[h], d)
				d.missing++
			}
			named[h] = true
		}
		if d.missing == 0 {
			s.ready = append(s.ready, d)
		}
	}
}

func (d *draft) decode(space sennit.Space) error {
	fail := func(format string, args ...any) error { return sennit.Errorf(sennit.BadInput, format, args...) }
	if len(d.Heads) > wire.MaxAuth || len(d.Ops) == 0 || len(d.Ops) > sennit.MaxOps {
		return fail("an authority commit names %d others and has %d ops", len(d.Heads), len(d.Ops))
	}
	for i := range d.Ops {
		op := &d.Ops[i]
		if d.bytes += len(op.Body); d.bytes > MaxSize {
			return sennit.Errorf(sennit.TooLarge, "an authority commit has more than %d bytes", MaxSize)
		}
		var err error
		switch op.Kind {
		case sennit.KindKey:
			var k wire.Key
			k, err = wire.DecodeKey(bytes.Clone(op.Body)) // what is kept of it must not alias a frame
			switch {
			case err != nil:
			case k.Inception != nil && k.Inception.Space() == space:
				d.inc = k.Inception
			case k.Event != nil && k.Event.Space == space:
				d.events = append(d.events, k.Event)
			}
		case sennit.KindGrant:
			var g wire.Grant
			g, err = wire.DecodeGrant(op.Body)
			d.grants = append(d.grants, indexed{uint32(i), g})
		case sennit.KindRevoke:
			var v wire.Revoke
			v, err = wire.DecodeRevoke(op.Body)
			d.revokes = append(d.revokes, &revocation{id: wire.OpRef{Commit: d.ID, Index: uint32(i)}, Revoke: v})
		case sennit.KindMember:
			_, err = wire.DecodeMember(op.Body)
		default:
			if !op.Kind.Authority() {
				err = fail("an op of kind %d in an authority commit", op.Kind)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// admit makes a commit part of the authority if its author was entitled to
// write it. All that it names is here.
func (s *step) admit(d *draft) {
	var past, near *set
	for _, h := range d.Heads {
		e, _ := s.commits.get(h)
		past, near = past.union(e.past).add(e.n), e.past
	}
	st := s.standing(d.Author, true)
	have := s.had(st, past)
	if !st.owner {
		if st.liar || !entitled(have) || !st.proven && !d.Author.Space.IsZero() {
			proven := st
			proven.proven = true
			if !st.liar && !entitled(s.had(proven, past)) {
				d.done, d.refusal = true, refuse(Unentitled, sennit.Denied,
					"authority commit %v: its author %v has no right to grant", d.ID, d.Author.Space)
				return
			}
			s.unproven[d.Author.Space] = append(s.unproven[d.Author.Space], d)
			return
		}
	}
	d.done = true
	cost := usage{1, len(d.grants) + len(d.revokes), d.bytes, past.beyond(near)}
	if !s.room(d, st, cost) {
		d.refusal = refuse(Full, sennit.OverQuota, "there is no room for authority commit %v", d.ID)
		return
	}
	e := &entry{d.ID, d.Log, d.Seq, d.Author, uint32(s.commits.n), past}
	s.commits = s.commits.put(d.ID, sennit.Hash{}, e)
	s.out.Added = append(s.out.Added, d.ID)
	s.owner = s.owner.keep(d.events)
	if s.leaves == nil {
		s.leaves = make(map[*entry]bool)
		for _, t := range s.tips {
			s.leaves[t] = true
		}
	}
	for _, h := range d.Heads {
		head, _ := s.commits.get(h)
		delete(s.leaves, head)
	}
	s.leaves[e] = true
	for _, g := range d.grants {
		s.rule(&rule{
			id: wire.OpRef{Commit: d.ID, Index: g.index}, n: len(s.rules), in: e,
			grant: g.grant, scope: newScope(pattern(&g.grant)),
			ever: st.given(have, &g.grant, func(*reach, string) bool { return false }),
		})
	}
	for _, v := range d.revokes {
		v.in, v.by = e, st
		s.revokes = append(s.revokes, v)
	}
	for _, w := range s.waiting[d.ID] {
		if w.missing--; w.missing == 0 {
			s.ready = append(s.ready, w)
		}
	}
	delete(s.waiting, d.ID)
}

// rule adds a rule, and the evidence that it makes due.
func (s *step) rule(r *rule) {
	s.rules = append(s.rules, r)
	may := all(r.ever)
	if may&sealing != 0 {
		s.seals = append(s.seals, r)
	}
	if may&sennit.AllRights == 0 {
		return
	}
	if s.ours == nil {
		s.ours = make(map[subject]bool)
		if s.by = maps.Clone(s.by); s.by == nil {
			s.by = make(map[subject][]*rule)
		}
	}
	who := subject{r.grant.Who.Subject, r.grant.Who.Key}
	if !s.ours[who] {
		s.ours[who], s.by[who] = true, slices.Clip(s.by[who])
	}
	s.by[who] = append(s.by[who], r)
	switch who.kind {
	case wire.SubjectAny:
		for _, c := range s.heard {
			if !c.done {
				s.prove(c.refusal.Space)
			}
		}
	case wire.SubjectSpace:
		s.prove(who.key)
	case wire.SubjectDevice:
		for _, space := range s.devices[who.key] {
			s.prove(space)
		}
	}
}

func (s *step) end() (*Authority, Outcome) {
	for _, d := range s.drafts {
		if !d.done && d.missing > 0 {
			d.refusal = refuse(Waiting, sennit.NotFound, "authority commit %v names commits that are not here", d.ID)
			for _, h := range d.Heads {
				if !s.Has(h) && !slices.Contains(d.refusal.Missing, h) {
					d.refusal.Missing = append(d.refusal.Missing, h)
				}
			}
		} else if !d.done {
			d.refusal = refuse(Unproven, sennit.NotFound, "authority commit %v: nothing here proves that its device belongs to %v", d.ID, d.Author.Space)
			d.refusal.Space = d.Author.Space
		}
		if d.refusal.Reason != 0 {
			d.refusal.Commit = d.ID
			s.out.Refused = append(s.out.Refused, d.refusal)
		}
	}
	for _, c := range s.heard {
		if !c.done {
			c.refusal.Reason = Uncovered
			c.refusal.Err = sennit.Errorf(sennit.Denied, "no rule names %v", c.refusal.Space)
		}
		if c.refusal.Reason != 0 {
			s.out.Refused = append(s.out.Refused, c.refusal)
		}
	}
	if len(s.out.Added) == 0 && len(s.out.Spaces) == 0 {
		return s.was, s.out
	}
	if s.leaves != nil {
		s.tips = slices.SortedFunc(maps.Keys(s.leaves), func(x, y *entry) int { return compare(x.id, y.id) })
	}
	if len(s.revokes) > 0 || len(s.out.Spaces) > 0 || len(s.rules) > len(s.was.rules) {
		s.weigh()
	}
	for _, r := range s.was.rules {
		s.out.Rules = s.out.Rules || !slices.Equal(s.gives(r), s.was.gives(r))
	}
	s.out.Cuts = !s.ends.same(s.was.ends)
	s.digest = s.sum()
	return s.Authority, s.out
}
