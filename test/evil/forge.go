package evil

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about commits and records that a liar makes up.

// forgery is what a liar made up once, in two versions. Each peer is shown one.
type forgery struct {
	log  wire.Log
	runs [2]*wire.Run
}

// invent makes up something about a space: commits, rules, evidence, requests.
func (c *conn) invent(lie Lie, o *wire.Open) (f wire.Frame, fatal bool) {
	space, ok := c.space(o.Tag)
	if !ok {
		return nil, false
	}
	switch lie {
	case FalseWant:
		w := &wire.Want{Tag: o.Tag, Items: []wire.WantItem{{All: true}}}
		for range c.rng.IntN(100) {
			w.Items = append(w.Items, wire.WantItem{Path: somePath(c.rng), Nibbles: c.nibbles(), All: true})
		}
		return w, false
	case FalseNeed:
		log := c.hash()
		if rec, ok := c.someLog(space); ok && c.rng.IntN(4) > 0 {
			log = rec.ID()
		}
		return &wire.Need{Tag: o.Tag, Log: log, Size: c.rng.Uint64N(1 << (1 + c.rng.IntN(40)))}, false
	case ForgedEvidence:
		e := c.evidence()
		return &wire.AuthorityFrame{Tag: o.Tag, Evidence: []*wire.Evidence{e}}, false
	}
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	made := wire.Frame(nil)
	switch lie {
	case ForgedMessage:
		made = c.forgedMessage(o.Tag, space)
	case OldMessage:
		made = c.oldMessage(o.Tag, space)
	}
	if made != nil {
		return made, false
	}
	if len(o.Heads) == 0 {
		return nil, false
	}
	heads := o.Heads[:min(len(o.Heads), wire.MaxDataAuth)]
	switch lie {
	case ForgedAuthor:
		for _, rec := range l.logs {
			if rec.Space == space {
				rec.Class, rec.Nonce = wire.Data, c.nonce()
				return c.ops(o.Tag, rec, c.run(rec, l.c.Identity.SignCommit, l.clock(), heads, c.put("a/forged"))), false
			}
		}
		return nil, false
	case Stranger:
		seed := c.hash()
		key := ed25519.NewKeyFromSeed(seed[:])
		rec := wire.Log{Space: space, Principal: sennit.Space(c.hash()), Device: sennit.Device(key.Public().(ed25519.PublicKey)), Class: wire.Data}
		sign := func(id sennit.Hash) [64]byte { return keys.Sign(key, keys.DomainCommit, id[:]) }
		return c.ops(o.Tag, rec, c.run(rec, sign, l.clock(), heads, c.put("a/strange"))), false
	case ForgedRule:
		if space == l.c.Identity.Space() {
			return nil, false // there it may
		}
		rec := c.own(space, wire.Authority)
		g := wire.Grant{May: sennit.AllRights, Who: wire.Who{Subject: wire.SubjectSpace, Key: l.c.Identity.Space()}}
		op := wire.Op{Kind: sennit.KindGrant, Body: g.Append(nil)}
		return &wire.AuthorityFrame{Tag: o.Tag, Batch: wire.Batch{
			Logs: []wire.Log{rec}, Runs: []*wire.Run{c.run(rec, l.c.Identity.SignCommit, l.clock(), o.Heads[:min(len(o.Heads), wire.MaxAuth)], op)},
		}}, false
	case TwoFaced:
		if space != l.c.Identity.Space() {
			return nil, false
		}
		if f := c.twoFaced(o); f != nil {
			return f, false
		}
		return nil, false
	}
	if lie == Rewritten {
		if rec, run := c.rewrite(space, heads); run != nil {
			return c.ops(o.Tag, rec, run), false
		}
		return nil, false
	}
	if made := c.genuine(lie, space, heads); made != nil {
		return c.ops(o.Tag, made.log, made.runs[c.side]), false
	}
	return nil, false
}

// genuine writes what is signed as it should be, and is a lie nevertheless. What it
// tells the peers on both sides it tells all its life. l.mu is held.
func (c *conn) genuine(lie Lie, space sennit.Space, heads []sennit.Hash) *forgery {
	l := c.l
	switch lie {
	case Fork:
		if l.forks[space] == nil && l.mayWrite() {
			rec := c.own(space, wire.Data)
			f := &forgery{log: rec}
			for side := range f.runs {
				f.runs[side] = c.history(rec, 1+side, heads)
			}
			l.forks[space] = f
		}
		return l.forks[space]
	case Split:
		if l.splits[space] == nil && l.mayWrite() {
			rec := c.own(space, wire.Data)
			f := &forgery{log: rec}
			ops := []wire.Op{c.put("a/split"), c.put("split"), c.put("b/c/split"), c.put("wall/split"), c.put("split/2")}
			for side := range f.runs {
				f.runs[side] = c.sparse(rec, l.clock(), heads, ops, func(i uint32) bool { return int(i)%2 == side })
			}
			l.splits[space] = f
		}
		return l.splits[space]
	case FalseBlob:
		if !l.mayWrite() {
			return nil
		}
		rec, ref, salt := c.own(space, wire.Data), c.falseBlob(), c.salt()
		op := wire.Op{Kind: sennit.KindPut, Path: somePath(c.rng).Join("blob"), Body: wire.Put{Value: sennit.Value{Blob: &ref}}.Append(nil), Salt: salt}
		run := c.run(rec, l.c.Identity.SignCommit, l.clock(), heads, op)
		return &forgery{log: rec, runs: [2]*wire.Run{run, run}}
	case VoidOp, Backdated, Ahead:
		if !l.mayWrite() {
			return nil
		}
		clock := l.clock()
		switch lie {
		case Backdated:
			clock = 1 << 16
		case Ahead:
			clock += 10 * 365 * 24 * 3600 * 1000 << 16
		}
		rec := c.own(space, wire.Data)
		del := wire.Op{Kind: sennit.KindDel, Path: "", Body: wire.Del{Deep: true}.Append(nil), Salt: c.salt()}
		run := c.run(rec, l.c.Identity.SignCommit, clock, heads, c.put("forbidden/lie"), c.put(string(somePath(c.rng))), del)
		return &forgery{log: rec, runs: [2]*wire.Run{run, run}}
	}
	return nil
}

// twoFaced makes rules for the liar's own space, which it may, but others for
// each side. l.mu is held.
func (c *conn) twoFaced(o *wire.Open) *wire.AuthorityFrame {
	l, space := c.l, c.l.c.Identity.Space()
	if l.rules[space] == nil && l.mayWrite() {
		f := &forgery{log: c.own(space, wire.Authority)}
		heads := o.Heads[:min(len(o.Heads), wire.MaxAuth)]
		for side := range f.runs {
			g := wire.Grant{Prefix: sennit.Path(fmt.Sprint("face", side)), May: sennit.Read, Who: wire.Who{Subject: wire.SubjectAny}}
			op := wire.Op{Kind: sennit.KindGrant, Body: g.Append(nil), Salt: c.salt()}
			f.runs[side] = c.run(f.log, l.c.Identity.SignCommit, l.clock(), heads, op)
		}
		l.rules[space] = f
	}
	f := l.rules[space]
	if f == nil {
		return nil
	}
	return &wire.AuthorityFrame{Tag: o.Tag, Batch: wire.Batch{Logs: []wire.Log{f.log}, Runs: []*wire.Run{f.runs[c.side]}}}
}

// mayWrite counts a commit that stays, unless there are enough; l.mu is held.
func (l *Liar) mayWrite() bool {
	if l.settled || l.written >= maxWritten {
		return false
	}
	l.written++
	return true
}

// clock is the logical clock of now.
func (l *Liar) clock() uint64 { return uint64(l.c.Now().UnixMilli()) << 16 }

// own is a new log of the liar's.
func (c *conn) own(space sennit.Space, class wire.Class) wire.Log {
	id := c.l.c.Identity
	return wire.Log{Space: space, Principal: id.Space(), Device: id.Device(), Class: class, Nonce: c.nonce()}
}

type signer func(id sennit.Hash) [64]byte

// run is the first commit of a log.
func (c *conn) run(rec wire.Log, sign signer, clock uint64, auth []sennit.Hash, ops ...wire.Op) *wire.Run {
	var past commit.Peaks
	made := build(rec, &past, clock, auth, ops, sign)
	return &wire.Run{Log: rec.ID(), Items: []wire.RunItem{made.Item()}, Sig: *made.Sig}
}

// history is the first commits of a log, under one signature.
func (c *conn) history(rec wire.Log, commits int, auth []sennit.Hash) *wire.Run {
	run := &wire.Run{Log: rec.ID()}
	var past commit.Peaks
	for i := range commits {
		ops := []wire.Op{c.put("a/fork"), c.put(fmt.Sprint("fork/", i))}
		made := build(rec, &past, c.l.clock()+uint64(c.rng.IntN(3)), auth, ops, c.l.c.Identity.SignCommit)
		run.Items, run.Sig = append(run.Items, made.Item()), *made.Sig
	}
	return run
}

// sparse is the first commit of a log with only some of its ops.
func (c *conn) sparse(rec wire.Log, clock uint64, auth []sennit.Hash, ops []wire.Op, keep func(uint32) bool) *wire.Run {
	var past commit.Peaks
	made := build(rec, &past, clock, auth, slices.Clone(ops), c.l.c.Identity.SignCommit)
	item := made.Item()
	var err error
	if item.Parts, err = made.Pick(func(i uint32, _ *wire.Op) bool { return keep(i) }); err != nil {
		panic("evil: " + err.Error()) // all ops are here
	}
	return &wire.Run{Log: rec.ID(), Items: []wire.RunItem{item}, Sig: *made.Sig}
}

func build(rec wire.Log, past *commit.Peaks, clock uint64, auth []sennit.Hash, ops []wire.Op, sign signer) *commit.Commit {
	made, err := commit.Build(rec.Space, rec.ID(), past, clock, auth, ops, sign, nil)
	if err != nil {
		panic("evil: " + err.Error()) // a few short ops are no commit that can't be built
	}
	return made
}

func (c *conn) ops(tag wire.Tag, rec wire.Log, run *wire.Run) *wire.Ops {
	return &wire.Ops{Tag: tag, Batch: wire.Batch{Logs: []wire.Log{rec}, Runs: []*wire.Run{run}}}
}

// put is a put of a value that nobody else puts.
func (c *conn) put(p string) wire.Op {
	h := c.hash()
	v := sennit.Value{Type: "text/plain", Data: fmt.Appendf(nil, "a liar's %x", h[:4])}
	return wire.Op{Kind: sennit.KindPut, Path: sennit.Path(p), Body: wire.Put{Value: v}.Append(nil), Salt: [8]byte(h[8:])}
}

// evidence is the liar's own evidence with an altered signature.
func (c *conn) evidence() *wire.Evidence {
	id := c.l.c.Identity
	e := &wire.Evidence{Inception: id.Inception()}
	for _, ev := range id.Events() {
		forged := *ev
		forged.Sigs = slices.Clone(ev.Sigs)
		forged.Sigs[0].Sig[c.rng.IntN(64)] ^= 1 << c.rng.IntN(8)
		e.Events = append(e.Events, &forged)
	}
	return e
}

// someLog is another's log in a space.
func (c *conn) someLog(space sennit.Space) (wire.Log, bool) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	for _, rec := range c.l.logs {
		if rec.Space == space {
			return rec, true
		}
	}
	return wire.Log{}, false
}

// someOpen is one of the spaces that are open, nil if none is.
func (c *conn) someOpen() *wire.Open {
	if len(c.open) == 0 {
		return nil
	}
	tags := slices.SortedFunc(maps.Keys(c.open), func(a, b wire.Tag) int { return bytes.Compare(a[:], b[:]) })
	return c.open[tags[c.rng.IntN(len(tags))]]
}

// foreign is what was said in some session about a space that is open here, as
// if it were said now.
func (c *conn) foreign() wire.Frame {
	o := c.someOpen()
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if o == nil || len(c.l.heard) == 0 {
		return nil
	}
	// What was heard is shared: its copy gets the tag.
	switch f := c.l.heard[c.rng.IntN(len(c.l.heard))].(type) {
	case *wire.Open:
		x := *f
		x.Tag = o.Tag
		return &x
	case *wire.AuthorityFrame:
		x := *f
		x.Tag = o.Tag
		return &x
	case *wire.Ops:
		x := *f
		x.Tag = o.Tag
		return &x
	case *wire.Compare:
		x := *f
		x.Tag = o.Tag
		return &x
	case *wire.Want:
		x := *f
		x.Tag = o.Tag
		return &x
	case *wire.Hello, *wire.Problem:
		return nil
	default:
		return f
	}
}

// tagOf is the tag of a space in a session between two nonces.
func tagOf(a, b [16]byte, space sennit.Space) wire.Tag {
	if bytes.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	h := sha256.Sum256(slices.Concat([]byte("tag"), a[:], b[:], space[:]))
	return wire.Tag(h[:8])
}

func somePath(rng *rand.Rand) sennit.Path {
	return []sennit.Path{"", "a", "b/c", "wall", "a/b", "a/b/c/k1", "k3", "d/k2", "many", "nowhere/at/all"}[rng.IntN(10)]
}

// hash is 32 random bytes.
func (c *conn) hash() (h sennit.Hash) {
	for i := 0; i < len(h); i += 8 {
		binary.BigEndian.PutUint64(h[i:], c.rng.Uint64())
	}
	return h
}

func (c *conn) nonce() [16]byte {
	h := c.hash()
	return [16]byte(h[:16])
}

func (c *conn) salt() [8]byte {
	h := c.hash()
	return [8]byte(h[:8])
}

func (c *conn) nibbles() string {
	b := make([]byte, c.rng.IntN(12))
	for i := range b {
		b[i] = byte(c.rng.IntN(16))
	}
	return string(b)
}
