package access_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/wire"
)

// What seed and principal worked out: most of what these tests would cost.
var seeds, principals sync.Map

// seed is the key that a name stands for.
func seed(name string) ed25519.PrivateKey {
	if k, ok := seeds.Load(name); ok {
		return k.(ed25519.PrivateKey)
	}
	h := sha256.Sum256([]byte(name))
	k := ed25519.NewKeyFromSeed(h[:])
	seeds.Store(name, k)
	return k
}

func public(name string) [32]byte { return [32]byte(seed(name).Public().(ed25519.PublicKey)) }

// id is the commit id that a name stands for. Package access takes ids as
// they are: that they are hashes is for others to check.
func id(name string) sennit.Hash { return sha256.Sum256([]byte("commit " + name)) }

// person is somebody with control keys and devices, all derived from a name.
type person struct {
	name      string
	inception wire.Inception
	era       int // control keys in force
}

func newPerson(name string) *person {
	p := &person{name: name}
	p.inception = wire.Inception{Kind: wire.Person, Keys: p.keys(0)}
	copy(p.inception.Nonce[:], name)
	return p
}

// keys is the control key of an era and the commitment to the next one.
func (p *person) keys(era int) wire.Keys {
	return wire.Keys{
		Control: [][32]byte{public(fmt.Sprint(p.name, " control ", era))}, Threshold: 1,
		Next: []sennit.Hash{wire.NextKey(public(fmt.Sprint(p.name, " control ", era+1)))}, NextThreshold: 1,
	}
}

func (p *person) space() sennit.Space { return p.inception.Space() }

// device is the device that "name/number" stands for.
func device(text string) sennit.Device { return public("device " + text) }

// sign makes an event that follows another one, signed with the control key
// of an era.
func (p *person) sign(era int, prev *wire.KeyEvent, e wire.KeyEvent) *wire.KeyEvent {
	e.Space, e.Prev = p.space(), sennit.Hash(p.space())
	if prev != nil {
		e.Prev = prev.Hash()
	}
	e.Sigs = []wire.KeySig{{Key: 0, Sig: keys.Sign(seed(fmt.Sprint(p.name, " control ", era)), keys.DomainKeyEvent, e.Signed())}}
	return &e
}

func (p *person) add(era int, prev *wire.KeyEvent, dev string) *wire.KeyEvent {
	return p.sign(era, prev, wire.KeyEvent{Type: wire.DeviceAdd, Device: device(dev), HPKE: []byte("hpke"), Name: "laptop"})
}

func (p *person) remove(era int, prev *wire.KeyEvent, dev string) *wire.KeyEvent {
	return p.sign(era, prev, wire.KeyEvent{Type: wire.DeviceDel, Device: device(dev), Target: id("root of cuts")})
}

func (p *person) rotate(era int, prev *wire.KeyEvent) *wire.KeyEvent {
	return p.sign(era+1, prev, wire.KeyEvent{Type: wire.Rotate, Keys: p.keys(era + 1)})
}

// principal is "name/number", a device of a person, or "-/number", a device
// that names no space.
func principal(text string) sennit.Principal {
	if p, ok := principals.Load(text); ok {
		return p.(sennit.Principal)
	}
	p := sennit.Principal{Device: device(text)}
	if name, _, _ := strings.Cut(text, "/"); name != "-" {
		p.Space = newPerson(name).space()
	}
	principals.Store(text, p)
	return p
}

func keyOp(k wire.Key) wire.Op { return wire.Op{Kind: sennit.KindKey, Body: k.Append(nil)} }
func grantOp(g wire.Grant) wire.Op {
	return wire.Op{Kind: sennit.KindGrant, Body: g.Append(nil)}
}

var rightNames = map[string]sennit.Rights{
	"r": sennit.Read, "w": sennit.Write, "d": sennit.Remove, "g": sennit.Grant, "m": sennit.Mirror,
}

func rights(text string) (r sennit.Rights) {
	for _, c := range strings.Trim(text, "-") {
		r |= rightNames[string(c)]
	}
	return r
}

func rightsText(r sennit.Rights) (text string) {
	for _, c := range []string{"r", "w", "d", "g", "m"} {
		if r&rightNames[c] != 0 {
			text += c
		}
	}
	return text
}

// script is a small language for signed DAGs and what is asked of them. One
// line is one statement:
//
//	NAME WHO [HEAD,...] | OP; OP; ...     an authority commit
//	evidence NAME [: OP; OP; ...]          all key events of that person so far and these
//	WHO put|del|deep|KIND PATH @ AUTH,... [at SEQ COMMIT] -> valid|void|held
//	may WHO RIGHTS PATH [NOW] -> yes|no
//	sight WHO PATH -> none|some|all
//	readable WHO -> PATH ...
//	cite WHO -> NAME,...
//	relies WHO put|del PATH -> NAME,...|denied
//	rules PREFIX -> NAME#INDEX:RIGHTS ...
//	member NAME -> yes|waiting|unproven|unentitled|malformed
//	proven WHO -> yes|no
//	revoked WHO -> yes|no
//
// WHO is person/device; the person "me" owns the space; "-" is nobody; "." is
// the root. Each person's key events follow one another in the order of the
// script. The ops of a commit are
//
//	incept | add DEVICE | remove DEVICE | rotate [NAME/]
//	grant RIGHTS PREFIX WHO [where PATTERN] [until N] [seal]   (WHO: a person, person/device, any)
//	revoke WHO|NAME#INDEX PREFIX [CUT ...]
//	member | unknown                                           (what is kept and not interpreted)
//
// A CUT is WHO:SEQ:COMMIT in somebody's data log, or !WHO:SEQ:NAME in that of
// their authority commits. Data commits whose names begin with the same letter
// are of one history of their log; of those that begin with "?" nothing is known.
type script struct {
	t        testing.TB
	people   map[string]*person
	last     map[string]*wire.KeyEvent
	events   map[string][]*wire.KeyEvent
	commits  []access.Commit
	evidence []access.Evidence
	names    map[sennit.Hash]string
	asks     []string
}

const owner = "me"

func parse(t testing.TB, text string) *script {
	s := &script{
		t: t, people: map[string]*person{}, last: map[string]*wire.KeyEvent{},
		events: map[string][]*wire.KeyEvent{}, names: map[sennit.Hash]string{},
	}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#!")
		words := strings.Fields(line)
		head, ops, isCommit := strings.Cut(line, "|")
		switch {
		case len(words) == 0:
		case isCommit:
			s.commit(strings.Fields(head), ops)
		case words[0] == "evidence":
			p := s.person(words[1])
			if _, ops, ok := strings.Cut(line, ":"); ok {
				for text := range strings.SplitSeq(ops, ";") {
					s.op(strings.Fields(text))
				}
			}
			s.evidence = append(s.evidence, access.Evidence{Inception: p.inception, Events: slices.Clone(s.events[p.name])})
		case strings.Contains(line, "->"):
			s.asks = append(s.asks, strings.Join(words, " "))
		default:
			t.Fatalf("script: what is %q?", line)
		}
	}
	return s
}

func (s *script) person(name string) *person {
	if s.people[name] == nil {
		s.people[name] = newPerson(name)
	}
	return s.people[name]
}

func (s *script) commit(head []string, ops string) {
	c := access.Commit{ID: id(head[0]), Log: rulesOf(head[1]), Seq: 1, Author: principal(head[1])}
	for _, d := range s.commits {
		if d.Log == c.Log {
			c.Seq++
		}
	}
	s.names[c.ID] = head[0]
	if len(head) > 2 {
		for name := range strings.SplitSeq(head[2], ",") {
			c.Heads = append(c.Heads, id(name))
		}
	}
	for text := range strings.SplitSeq(ops, ";") {
		c.Ops = append(c.Ops, s.op(strings.Fields(text)))
	}
	s.commits = append(s.commits, c)
}

func (s *script) op(words []string) wire.Op {
	of := owner
	if len(words) > 1 && strings.Contains(words[1], "/") {
		of, _, _ = strings.Cut(words[1], "/")
	}
	p := s.person(of)
	event := func(e *wire.KeyEvent) wire.Op {
		s.last[p.name], s.events[p.name] = e, append(s.events[p.name], e)
		return keyOp(wire.Key{Event: e})
	}
	switch words[0] {
	case "incept":
		return keyOp(wire.Key{Inception: &p.inception})
	case "add":
		return event(p.add(p.era, s.last[of], words[1]))
	case "remove":
		return event(p.remove(p.era, s.last[of], words[1]))
	case "rotate":
		p.era++
		return event(p.rotate(p.era-1, s.last[of]))
	case "grant":
		g := wire.Grant{May: rights(words[1]), Prefix: path(words[2]), Who: who(words[3])}
		for rest := words[4:]; len(rest) > 0; rest = rest[1:] {
			switch rest[0] {
			case "seal":
				g.Seal = true
				continue
			case "where":
				g.Where = rest[1]
			case "until":
				g.Until, _ = strconv.ParseUint(rest[1], 10, 64)
			default:
				s.t.Fatalf("script: what is %q?", rest[0])
			}
			rest = rest[1:]
		}
		return grantOp(g)
	case "revoke":
		v := wire.Revoke{Prefix: path(words[2]), Who: who(words[1])}
		for _, cut := range words[3:] {
			at := strings.Split(cut, ":")
			c := wire.Cut{Log: dataOf(at[0]), Last: id(at[2])}
			if of, ok := strings.CutPrefix(at[0], "!"); ok {
				c.Log = rulesOf(of)
			}
			c.Seq, _ = strconv.ParseUint(at[1], 10, 64)
			s.names[c.Last] = at[2]
			v.Cuts = append(v.Cuts, c)
		}
		return revokeOp(v)
	case "member":
		return wire.Op{Kind: sennit.KindMember, Body: wire.Member{Group: "friends"}.Append(nil)}
	case "unknown":
		return wire.Op{Kind: 63, Body: []byte("from the future")}
	}
	s.t.Fatalf("script: what is %q?", words)
	return wire.Op{}
}

func revokeOp(v wire.Revoke) wire.Op {
	slices.SortFunc(v.Cuts, func(a, b wire.Cut) int { return strings.Compare(string(a.Log[:]), string(b.Log[:])) })
	return wire.Op{Kind: sennit.KindRevoke, Body: v.Append(nil)}
}

// rulesOf is the log of somebody's authority commits, dataOf that of their data.
func rulesOf(text string) sennit.Hash { return id("log of " + text) }
func dataOf(text string) sennit.Hash  { return id("data of " + text) }

func who(text string) wire.Who {
	op, index, isOp := strings.Cut(text, "#")
	switch {
	case isOp:
		n, _ := strconv.ParseUint(index, 10, 32)
		return wire.Who{Subject: wire.SubjectOp, Op: wire.OpRef{Commit: id(op), Index: uint32(n)}}
	case text == "any":
		return wire.Who{Subject: wire.SubjectAny}
	case strings.HasPrefix(text, "group:"):
		return wire.Who{Subject: wire.SubjectGroup, Group: text[len("group:"):]}
	case strings.Contains(text, "/"):
		return wire.Who{Subject: wire.SubjectDevice, Key: device(text)}
	}
	return wire.Who{Subject: wire.SubjectSpace, Key: newPerson(text).space()}
}

func path(text string) sennit.Path {
	if text == "." {
		return ""
	}
	var cs []string
	for c := range strings.SplitSeq(text, "/") { // @name stands for somebody's space
		if strings.HasPrefix(c, "@") {
			c = principal(c[1:] + "/1").Space.String()
		}
		cs = append(cs, c)
	}
	return sennit.Path(strings.Join(cs, "/"))
}

// expand replaces @name by their space in the words of an answer.
func expand(want string) string {
	words := strings.Fields(want)
	for i, w := range words {
		if strings.Contains(w, "@") {
			words[i] = string(path(w))
		}
	}
	if strings.Contains(want, "#") {
		slices.Sort(words)
	}
	return strings.Join(words, " ")
}

func hashes(names string) (hs []sennit.Hash) {
	for name := range strings.SplitSeq(names, ",") {
		hs = append(hs, id(name))
	}
	return hs
}

func (s *script) nameAll(hs []sennit.Hash) string {
	var names []string
	for _, h := range hs {
		names = append(names, s.names[h])
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

// deliver offers everything in random batches, some of it twice, and what was
// refused again and again, until nothing more is taken.
func deliver(space sennit.Space, commits []access.Commit, evidence []access.Evidence, rnd *rand.Rand) (*access.Authority, map[sennit.Hash]access.Reason) {
	a := access.New(space)
	commits, evidence = slices.Clone(commits), slices.Clone(evidence)
	rnd.Shuffle(len(commits), func(i, j int) { commits[i], commits[j] = commits[j], commits[i] })
	rnd.Shuffle(len(evidence), func(i, j int) { evidence[i], evidence[j] = evidence[j], evidence[i] })
	for len(commits)+len(evidence) > 0 {
		n, m := rnd.IntN(len(commits)+1), rnd.IntN(len(evidence)+1)
		batch, proofs := commits[:n], evidence[:m]
		if n > 0 && rnd.IntN(2) == 0 {
			batch = append(slices.Clone(batch), batch[rnd.IntN(n)])
		}
		next, out := a.With(batch, proofs)
		var again []access.Commit
		var proofAgain []access.Evidence
		for _, r := range out.Refused {
			for _, c := range batch {
				if c.ID == r.Commit && !slices.ContainsFunc(again, func(d access.Commit) bool { return d.ID == c.ID }) {
					again = append(again, c)
				}
			}
			for _, ev := range proofs {
				if r.Commit.IsZero() && ev.Inception.Space() == r.Space {
					proofAgain = append(proofAgain, ev)
				}
			}
		}
		if next == a && n == len(commits) && m == len(evidence) {
			break
		}
		a = next
		commits, evidence = append(commits[n:len(commits):len(commits)], again...), append(evidence[m:len(evidence):len(evidence)], proofAgain...)
	}
	reasons := make(map[sennit.Hash]access.Reason)
	_, out := a.With(commits, evidence)
	for _, r := range out.Refused {
		if !r.Commit.IsZero() {
			reasons[r.Commit] = r.Reason
		}
	}
	return a, reasons
}

var reasonNames = map[access.Reason]string{
	0: "yes", access.Waiting: "waiting", access.Unproven: "unproven", access.Unentitled: "unentitled",
	access.Malformed: "malformed", access.Full: "full",
}

// ask answers one question of a script.
func (s *script) ask(a *access.Authority, reasons map[sennit.Hash]access.Reason, q string) string {
	w := strings.Fields(q)
	arg := func(i int) string {
		if i < len(w) {
			return w[i]
		}
		return ""
	}
	now, _ := strconv.ParseUint(arg(4), 10, 64)
	switch w[0] {
	case "may":
		return map[bool]string{true: "yes", false: "no"}[a.May(principal(w[1]), rights(w[2]), path(w[3]), now)]
	case "revoked":
		return map[bool]string{true: "yes", false: "no"}[a.Revoked(principal(w[1]))]
	case "proven":
		return map[bool]string{true: "yes", false: "no"}[a.Proven(principal(w[1]))]
	case "sight":
		return map[access.Sight]string{access.None: "none", access.Some: "some", access.All: "all"}[a.Sight(principal(w[1]), path(w[2]), 0)]
	case "readable":
		var ps []string
		for _, p := range a.Readable(principal(w[1]), 0) {
			if p == "" {
				p = "."
			}
			ps = append(ps, string(p))
		}
		return strings.Join(ps, " ")
	case "cite":
		return s.nameAll(a.Cite(principal(w[1])))
	case "relies":
		hs, err := a.Relies(principal(w[1]), []sennit.Change{change(w[2], w[3])})
		if err != nil {
			return string(sennit.CodeOf(err))
		}
		return s.nameAll(hs)
	case "rules":
		var rs []string
		for _, r := range a.Rules(path(w[1])) {
			text := fmt.Sprintf("%s#%d:%s", s.names[r.ID.Commit], r.ID.Index, rightsText(r.Gives))
			if r.Seals {
				text += "+seal"
			}
			if r.Ended {
				text += "+ended"
			}
			rs = append(rs, text)
		}
		slices.Sort(rs) // Rules sorts by prefix and by hash, which says nothing to a reader
		return strings.Join(rs, " ")
	case "member":
		if !a.Has(id(w[1])) && reasons[id(w[1])] == 0 {
			return "lost"
		}
		return reasonNames[reasons[id(w[1])]]
	}
	c := claim(w[0], w[1], w[2], w[4])
	c.Log, c.Seq, c.Commit = dataOf(w[0]), 1, id("somewhere")
	if arg(5) == "at" {
		c.Seq, _ = strconv.ParseUint(w[6], 10, 64)
		c.Commit = id(w[7])
		c.Link = func(cut wire.Cut) access.Link {
			if last := s.names[cut.Last]; w[7][0] == '?' || last[0] == '?' {
				return access.Unknown
			} else if last[0] == w[7][0] {
				return access.Linked
			}
			return access.Apart
		}
	}
	return verdictNames[a.Judge(c)]
}

var verdictNames = map[access.Verdict]string{access.Valid: "valid", access.Void: "void", access.Held: "held"}

func change(verb, p string) sennit.Change {
	kinds := map[string]sennit.Kind{"put": sennit.KindPut, "del": sennit.KindDel, "deep": sennit.KindDel, "key": sennit.KindKey}
	kind, ok := kinds[verb]
	if !ok {
		n, _ := strconv.Atoi(verb)
		kind = sennit.Kind(n)
	}
	return sennit.Change{Kind: kind, Path: path(p), Deep: verb == "deep"}
}

func claim(author, verb, p, auth string) access.Claim {
	c := change(verb, p)
	return access.Claim{Author: principal(author), Auth: hashes(auth), Kind: c.Kind, Path: c.Path, Deep: c.Deep}
}

// run delivers a script in several orders and checks the answers each time.
func (s *script) run() {
	s.t.Helper()
	var first sennit.Hash
	for round := range 8 {
		a, reasons := deliver(s.person(owner).space(), s.commits, s.evidence, rand.New(rand.NewPCG(uint64(round), 0)))
		if round == 0 {
			first = a.Digest()
		} else if a.Digest() != first {
			s.t.Errorf("round %d: another order gives another digest", round)
		}
		for _, line := range s.asks {
			q, want, _ := strings.Cut(line, "->")
			if got := s.ask(a, reasons, q); got != expand(want) {
				s.t.Errorf("round %d: %s: got %s", round, line, got)
			}
		}
		if s.t.Failed() {
			return
		}
	}
}
