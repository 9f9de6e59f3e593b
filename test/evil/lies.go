package evil

import (
	"bytes"
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/wire"
)

// Lie names a kind of lie.
type Lie string

// The lies.
const (
	ForgedSignature  Lie = "forged signature"   // a run that its log's device did not sign
	AlteredOp        Lie = "altered op"         // what an op does, or to what
	AlteredHeader    Lie = "altered header"     // a commit's clock or place
	ForgedAuthor     Lie = "forged author"      // a log of somebody else, signed with the liar's key
	Stranger         Lie = "stranger"           // a log of somebody whom nobody knows
	ForgedRule       Lie = "forged rule"        // a grant by somebody who may not
	ForgedEvidence   Lie = "forged evidence"    // another's key events, altered
	StolenHello      Lie = "stolen hello"       // another's certificate
	ForgedDigest     Lie = "forged digest"      // it says that it holds what it doesn't, or hasn't what it has
	ForgedComparison Lie = "forged comparison"  // it compares wrongly
	FalseWant        Lie = "false want"         // it asks for everything
	FalseNeed        Lie = "false need"         // it claims to be behind, or ahead
	FalseAck         Lie = "false ack"          // it has what it was never sent
	Withheld         Lie = "withheld message"   // it never goes out
	WithheldCommits  Lie = "withheld commits"   // but for these it is up to date, it says
	Replay           Lie = "replayed message"   // of this session
	ForeignReplay    Lie = "replay of another"  // of another session
	Flood            Lie = "flood"              // of whatever costs its receiver most
	Garbage          Lie = "garbage"            // bytes that mean nothing
	WrongNumber      Lie = "wrong number"       // a message that isn't the next
	Deaf             Lie = "deaf"               // it doesn't listen any more
	VoidOp           Lie = "op without a right" // or with one: whoever hears it has to know
	Fork             Lie = "fork"               // two histories of one log
	Split            Lie = "split commit"       // each peer gets other ops of it
	Backdated        Lie = "backdated"          // a clock of long ago
	Ahead            Lie = "from the future"    // a clock that no honest one will ever reach
	TwoFaced         Lie = "two-faced rules"    // different rules for its own space, to different peers
	FalseSources     Lie = "false sources"      // who holds a space: hosts that there aren't, or that don't
	Rewritten        Lie = "rewritten history"  // beyond where a revocation may cut it, and below, under old numbers
	WithheldCut      Lie = "withheld cut"       // the commit that a revocation names, without which nobody knows what it leaves
	FalseBlob        Lie = "false blob"         // a root that nobody has, or a size that isn't its own
	ForgedMessage    Lie = "forged message"     // a live message that its author didn't send
	OldMessage       Lie = "old message"        // a live message that was sent before
	MessageFlood     Lie = "flood of messages"  // more live messages than anybody takes
)

// Lies lists all lies.
func Lies() []Lie {
	all := sessionLies()
	for _, b := range BlobLies() {
		all = append(all, b.Lie)
	}
	return all
}

// sessionLies lists the lies that are told in sessions.
func sessionLies() []Lie {
	return []Lie{
		ForgedSignature, AlteredOp, AlteredHeader, ForgedAuthor, Stranger, ForgedRule, ForgedEvidence, StolenHello, ForgedDigest,
		ForgedComparison, FalseWant, FalseNeed, FalseAck, Withheld, WithheldCommits, Replay, ForeignReplay, Flood, Garbage,
		WrongNumber, Deaf, VoidOp, Fork, Split, Backdated, Ahead, TwoFaced, FalseSources, Rewritten, WithheldCut, FalseBlob, ForgedMessage,
		OldMessage, MessageFlood,
	}
}

// tell tells a lie instead of a message, or beside it. It gives nothing if
// there is nothing to lie about. fatal says that whoever hears it must end the
// session.
func (c *conn) tell(lie Lie, f wire.Frame) (out []message, fatal bool) {
	and := func(more ...wire.Frame) []message {
		out := []message{{frame: f}}
		for _, m := range more {
			out = append(out, message{frame: m})
		}
		return out
	}
	instead := func(ok bool) []message {
		if !ok {
			return nil
		}
		return []message{{frame: f}}
	}
	switch lie {
	case ForgedSignature:
		return instead(c.alterSignature(f)), false
	case AlteredOp:
		return instead(c.alterOp(f)), false
	case AlteredHeader:
		return instead(c.alterHeader(f)), false
	case StolenHello:
		return instead(c.steal(f)), true
	case ForgedDigest:
		return instead(c.alterOpen(f)), false
	case ForgedComparison:
		return instead(c.alterCompare(f)), false
	case FalseAck:
		if a, ok := f.(*wire.Ack); ok {
			a.N = c.rng.Uint64N(1 << 40)
			return instead(true), false
		}
	case Withheld:
		return []message{}, false
	case WithheldCommits:
		if ops, ok := f.(*wire.Ops); ok && len(ops.Runs) > 0 {
			ops.Runs, ops.Up, ops.Caught = nil, ops.Up+c.rng.Uint64N(3), true
			return instead(true), false
		}
	case Replay:
		if again := c.sent[c.rng.IntN(len(c.sent))]; c.number > 0 {
			if _, hello := again.(*wire.Hello); !hello {
				return and(again), false
			}
		}
	case ForeignReplay:
		if other := c.foreign(); other != nil {
			return and(other), false
		}
	case Garbage:
		return []message{{frame: f, damage: c.garble}}, true
	case WrongNumber:
		return []message{{frame: f, skip: 1 + c.rng.Uint64N(3)}}, true
	case Deaf:
		c.mu.Lock()
		c.deaf = true
		c.mu.Unlock()
		return and(), false
	case FalseSources:
		if o := c.someOpen(); o != nil {
			return and(c.falseSources(o.Tag)), false
		}
	case WithheldCut:
		return instead(c.withholdCut(f)), false
	case MessageFlood:
		if o := c.someOpen(); o != nil {
			if space, ok := c.space(o.Tag); ok {
				return and(c.messages(o.Tag, space)...), false
			}
		}
	case Flood:
		if flood := c.flood(); flood != nil {
			return and(flood...), false
		}
	default:
		o := c.someOpen()
		if o == nil {
			return nil, false
		}
		if more, fatal := c.invent(lie, o); more != nil {
			return and(more), fatal
		}
	}
	return nil, false
}

// runs is the runs that a message carries.
func runs(f wire.Frame) []*wire.Run {
	switch f := f.(type) {
	case *wire.Ops:
		return f.Runs
	case *wire.AuthorityFrame:
		return f.Runs
	}
	return nil
}

// alterSignature alters the signature of a run.
func (c *conn) alterSignature(f wire.Frame) bool {
	all := runs(f)
	if len(all) == 0 {
		return false
	}
	run := all[c.rng.IntN(len(all))]
	run.Sig[c.rng.IntN(len(run.Sig))] ^= 1 << c.rng.IntN(8)
	return true
}

// alterOp alters an op and leaves everything else, its signature too.
func (c *conn) alterOp(f wire.Frame) bool {
	for _, run := range runs(f) {
		for i := range run.Items {
			for _, part := range run.Items[i].Parts {
				for j := range part.Ops {
					if op := &part.Ops[j]; op.Kind == sennit.KindPut {
						part.Ops[j] = wire.Op{Kind: op.Kind, Path: op.Path, Salt: op.Salt, Body: wire.Put{Value: sennit.Value{Data: []byte("a lie")}}.Append(nil)}
						return true
					}
				}
			}
		}
	}
	return false
}

// alterHeader alters what a commit's header says: when, or after what.
func (c *conn) alterHeader(f wire.Frame) bool {
	for _, run := range runs(f) {
		if c.rng.IntN(2) == 0 {
			run.From += 1 + c.rng.Uint64N(3)
			return true
		}
		for i := range run.Items {
			if run.Items[i].Gap == 0 {
				run.Items[i].Clock++
				return true
			}
		}
	}
	return false
}

// steal says hello with another's certificate.
func (c *conn) steal(f wire.Frame) bool {
	h, ok := f.(*wire.Hello)
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if !ok || len(c.l.hellos) == 0 {
		return false
	}
	other := c.l.hellos[c.rng.IntN(len(c.l.hellos))]
	if c.rng.IntN(2) == 0 {
		h.Cert, h.Sig = other.Cert, other.Sig
	} else {
		h.Cert.Author = other.Cert.Author
		h.Sig = c.l.c.Identity.SignHost(&h.Cert)
	}
	return true
}

// alterOpen lies about what this side holds.
func (c *conn) alterOpen(f wire.Frame) bool {
	o, ok := f.(*wire.Open)
	if !ok {
		return false
	}
	switch c.rng.IntN(8) {
	case 0:
		o.Digest = c.hash()
	case 1:
		o.Digest, o.Ops, o.Heads, o.Sizes = sennit.Hash{}, 0, nil, []wire.LogSize{}
	case 2:
		o.Authority = c.hash()
	case 3:
		o.At.N += c.rng.Uint64N(1 << 30)
	case 4:
		o.Since = sennit.Cursor{Epoch: o.Since.Epoch, N: c.rng.Uint64N(1 << 30)}
	case 5:
		for i := range o.Sizes {
			o.Sizes[i].Size = c.rng.Uint64N(1 << 20)
		}
	case 7:
		o.Interest = [][]sennit.Path{nil, {""}, {"a"}, {"b/c", "wall"}}[c.rng.IntN(4)]
	case 6:
		o.Scope = nil
		for i := range wire.MaxScope {
			o.Scope = append(o.Scope, sennit.Path([]byte{'a' + byte(i/26), 'a' + byte(i%26)}))
		}
	}
	return true
}

// alterCompare lies in a comparison.
func (c *conn) alterCompare(f wire.Frame) bool {
	cmp, ok := f.(*wire.Compare)
	if !ok {
		return false
	}
	switch c.rng.IntN(3) {
	case 0: // all is equal, and it has more than there is
		cmp.Items, cmp.Differs, cmp.At = nil, false, cmp.At+c.rng.Uint64N(1<<30)
	case 1: // all differs
		cmp.Differs = true
		for i := range cmp.Items {
			it := &cmp.Items[i]
			for at, p := range it.Nodes {
				p[0] ^= 1
				it.Nodes[at] = p
			}
			for j := range it.Kids {
				it.Kids[j][0] ^= 1
			}
		}
	case 2: // there are nodes that there can't be
		for range 64 {
			cmp.Items = append(cmp.Items, wire.Item{
				Path: somePath(c.rng), Nibbles: c.nibbles(), Kind: wire.ItemList, Prints: [][5]byte{{1}, {2}},
			})
		}
	}
	return true
}

// falseSources tells of hosts that don't hold a space, whoever they are.
func (c *conn) falseSources(t wire.Tag) *wire.Sources {
	f := &wire.Sources{Tag: t, Own: []string{"/dns4/nowhere/tcp/1"}}
	hosts := [][32]byte{c.Host()}
	for range c.rng.IntN(wire.MaxSources) {
		hosts = append(hosts, c.hash())
	}
	slices.SortFunc(hosts, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	for _, h := range hosts {
		f.Others = append(f.Others, wire.Source{Host: h, Age: c.rng.Uint64N(wire.MaxSourceAge), Addrs: []string{"/ip4/127.0.0.1/tcp/1", "?"}})
	}
	return f
}

// garble makes bytes of a message that don't decode, whatever it was.
func (c *conn) garble(b []byte) []byte {
	switch c.rng.IntN(4) {
	case 0:
		return append(b, 0)
	case 1:
		return b[:c.rng.IntN(len(b))]
	case 2:
		b[0] = 200
		return b
	}
	return bytes.Repeat([]byte{0xff}, 1+c.rng.IntN(5000))
}

// flood is many messages that each cost their receiver something.
func (c *conn) flood() (all []wire.Frame) {
	o := c.someOpen()
	if o == nil {
		return nil
	}
	n := 50 + c.rng.IntN(200)
	kind := c.rng.IntN(8)
	for i := range n {
		switch kind {
		case 0:
			all = append(all, &wire.Ping{})
		case 1:
			all = append(all, o)
		case 2:
			all = append(all, &wire.Want{Tag: o.Tag, Items: []wire.WantItem{{All: true}}})
		case 3:
			all = append(all, &wire.Need{Tag: o.Tag, Log: c.hash(), Size: uint64(i)})
		case 4:
			all = append(all, &wire.Ops{Tag: o.Tag})
		case 5:
			all = append(all, &wire.Compare{Tag: o.Tag, Basis: wire.BasisOf(o.Authority, o.Scope), Items: []wire.Item{{Kind: wire.ItemList, Prints: [][5]byte{{byte(i)}}}}})
		case 6:
			in := &wire.Interest{}
			for range 200 {
				in.Interests = append(in.Interests, c.salt())
			}
			slices.SortFunc(in.Interests, func(a, b [8]byte) int { return bytes.Compare(a[:], b[:]) })
			all = append(all, in)
		case 7:
			all = append(all, &wire.EvidenceFrame{Evidence: *c.evidence()})
		}
	}
	return all
}
