package wire_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
	"pgregory.net/rapid"
)

// The generators below make valid values of every record. They lean towards
// small values and towards the ends of what is allowed.

// number is an integer in [lo, hi], often one of the ends.
func number(t *rapid.T, lo, hi uint64) uint64 {
	return rapid.OneOf(rapid.Just(lo), rapid.Just(hi), rapid.Uint64Range(lo, hi),
		rapid.Uint64Range(lo, min(hi, lo+300))).Draw(t, "number")
}

// hash is cheap to draw, sometimes zero, and never repeats by chance.
func hash(t *rapid.T) (h [32]byte) {
	if n := rapid.Uint64().Draw(t, "hash"); n != 0 {
		h = sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
	}
	return h
}

func filled[T [8]byte | [16]byte | [64]byte](t *rapid.T) (v T) {
	h := hash(t)
	b := append(append([]byte{}, h[:]...), h[:]...)
	switch p := any(&v).(type) {
	case *[8]byte:
		copy(p[:], b)
	case *[16]byte:
		copy(p[:], b)
	case *[64]byte:
		copy(p[:], b)
	}
	return v
}

// list draws lo to hi elements.
func list[T any](t *rapid.T, lo, hi int, one func(*rapid.T) T) (l []T) {
	for range number(t, uint64(lo), uint64(hi)) {
		l = append(l, one(t))
	}
	return l
}

// octets is a byte string of at most limit bytes; long ones are monotonous.
func octets(t *rapid.T, lo, limit int) []byte {
	if rapid.IntRange(0, 7).Draw(t, "long") == 7 {
		n := rapid.SampledFrom([]int{limit, limit - 1, max(lo, limit/2)}).Draw(t, "length")
		return bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, n)
	}
	return rapid.SliceOfN(rapid.Byte(), lo, min(limit, 40)).Draw(t, "bytes")
}

func ascii(t *rapid.T, limit int) string {
	b := octets(t, 0, limit)
	for i, c := range b {
		b[i] = 0x20 + c%0x5f
	}
	return string(b)
}

func component(t *rapid.T) string {
	known := rapid.SampledFrom([]string{"a", "posts", ".app", ".acl", "..."})
	free := rapid.StringN(1, 12, 48).Filter(func(s string) bool {
		p, err := sennit.ParsePath("x/" + s)
		return err == nil && p.Depth() == 2
	})
	return rapid.OneOf(known, free, rapid.Just(strings.Repeat("c", sennit.MaxComponent))).Draw(t, "component")
}

func path(t *rapid.T, depth, limit int) sennit.Path {
	c := list(t, 0, depth, component)
	for len(strings.Join(c, "/")) > limit {
		c = c[:len(c)-1]
	}
	return sennit.Path(strings.Join(c, "/"))
}

// plain is a path where data may be written.
func plain(t *rapid.T) sennit.Path {
	p := path(t, sennit.MaxDepth, sennit.MaxPath)
	if p.Reserved() {
		return p[1:]
	}
	return p
}

func pattern(t *rapid.T) string {
	c := list(t, 0, 8, func(t *rapid.T) string {
		return rapid.OneOf(rapid.Just("*"), rapid.Just("{self}"), rapid.Custom(component)).Draw(t, "component")
	})
	for len(strings.Join(c, "/")) > sennit.MaxPath {
		c = c[:len(c)-1]
	}
	return strings.Join(c, "/")
}

func hashT(t *rapid.T) sennit.Hash   { return hash(t) }
func spaceT(t *rapid.T) sennit.Space { return hash(t) }

func principal(t *rapid.T) sennit.Principal {
	return sennit.Principal{Space: hash(t), Device: hash(t)}
}

func ref(t *rapid.T) wire.OpRef {
	return wire.OpRef{Commit: hash(t), Index: uint32(number(t, 0, sennit.MaxOps-1))}
}

func optRef(t *rapid.T) *wire.OpRef {
	if rapid.Bool().Draw(t, "none") {
		return nil
	}
	o := ref(t)
	return &o
}

func value(t *rapid.T, limit int) sennit.Value {
	v := sennit.Value{Type: ascii(t, sennit.MaxType)}
	if rapid.Bool().Draw(t, "blob") {
		v.Blob = &sennit.Blob{Root: hash(t), Size: number(t, sennit.MaxInline+1, 1<<62)}
	} else {
		v.Data = octets(t, 0, limit)
	}
	return v
}

func put(t *rapid.T) wire.Put { return wire.Put{Value: value(t, sennit.MaxInline)} }

func del(t *rapid.T) wire.Del { return wire.Del{Deep: rapid.Bool().Draw(t, "deep")} }

func add(t *rapid.T) wire.Add {
	return wire.Add{Since: number(t, 0, 1<<64-1), Total: int64(number(t, 0, 1<<64-1))}
}

func chunk(t *rapid.T) wire.Append {
	return wire.Append{Type: ascii(t, sennit.MaxType), Data: octets(t, 1, sennit.MaxInline)}
}

func text(t *rapid.T) wire.Text {
	return wire.Text{
		Agent: octets(t, 0, 64), Prev: optRef(t), First: number(t, 0, 1<<53),
		Runs: list(t, 1, 20, func(t *rapid.T) wire.TextRun {
			run := wire.TextRun{Pos: number(t, 0, 1<<53), Deleted: number(t, 0, 1<<53)}
			run.Inserted = []byte(rapid.StringN(0, 10, 40).Draw(t, "inserted"))
			if run.Deleted == 0 && len(run.Inserted) == 0 {
				run.Inserted = []byte("é")
			}
			return run
		}),
	}
}

func snap(t *rapid.T) wire.Snap {
	return wire.Snap{Prev: optRef(t), Covers: list(t, 1, wire.MaxParents, ref), Value: value(t, 1024)}
}

func who(t *rapid.T, hi wire.Subject) wire.Who {
	w := wire.Who{Subject: wire.Subject(number(t, uint64(wire.SubjectAny), uint64(hi)))}
	switch w.Subject {
	case wire.SubjectSpace, wire.SubjectDevice, wire.SubjectBoard:
		w.Key = hash(t)
	case wire.SubjectGroup:
		w.Group = group(t)
	case wire.SubjectOp:
		w.Op = ref(t)
	}
	return w
}

func group(t *rapid.T) string {
	c := component(t)
	for len(c) > wire.MaxGroup {
		c = c[:wire.MaxGroup]
	}
	return strings.ToValidUTF8(c, "")
}

func grant(t *rapid.T) wire.Grant {
	g := wire.Grant{
		Prefix: plain(t), Who: who(t, wire.SubjectBoard), May: sennit.Rights(number(t, 0, uint64(sennit.AllRights))),
		Seal: rapid.Bool().Draw(t, "seal"), Where: pattern(t), Until: number(t, 0, 1<<64-1), Limit: number(t, 0, 1<<62),
	}
	if g.May == 0 {
		g.Seal = true
	}
	return g
}

func revoke(t *rapid.T) wire.Revoke {
	v := wire.Revoke{Who: who(t, wire.SubjectOp), Prefix: path(t, 4, 100)}
	v.Cuts = list(t, 0, 12, func(t *rapid.T) wire.Cut {
		return wire.Cut{Log: hash(t), Seq: number(t, 1, wire.MaxSeq), Last: hash(t)}
	})
	byLog := func(a, b wire.Cut) int { return bytes.Compare(a.Log[:], b.Log[:]) }
	slices.SortFunc(v.Cuts, byLog)
	v.Cuts = slices.CompactFunc(v.Cuts, func(a, b wire.Cut) bool { return byLog(a, b) == 0 })
	return v
}

func member(t *rapid.T) wire.Member { return wire.Member{Group: group(t), Space: hash(t)} }

func controlKeys(t *rapid.T) wire.Keys {
	k := wire.Keys{Control: list(t, 1, wire.MaxControl, hash), Next: list(t, 0, wire.MaxControl, hashT)}
	k.Threshold = uint8(number(t, 1, uint64(len(k.Control))))
	if len(k.Next) > 0 {
		k.NextThreshold = uint8(number(t, 1, uint64(len(k.Next))))
	}
	return k
}

func inception(t *rapid.T) wire.Inception {
	i := wire.Inception{
		Kind: wire.SpaceKind(number(t, 1, 255)), Keys: controlKeys(t),
		Guardians: list(t, 0, wire.MaxGuardians, spaceT), Nonce: filled[[16]byte](t),
	}
	if len(i.Guardians) > 0 {
		i.GuardianThreshold = uint8(number(t, 1, uint64(len(i.Guardians))))
	}
	return i
}

func keyEvent(t *rapid.T) *wire.KeyEvent {
	e := &wire.KeyEvent{Space: hash(t), Prev: hash(t)}
	e.Type = wire.KeyEventType(number(t, uint64(wire.Rotate), uint64(wire.Tombstone)))
	switch e.Type {
	case wire.Rotate, wire.Recover:
		e.Keys = controlKeys(t)
	case wire.DeviceAdd:
		e.Device, e.HPKE, e.Name, e.Added = hash(t), octets(t, 0, wire.MaxHPKE), ascii(t, wire.MaxName), number(t, 0, 1<<64-1)
	case wire.DeviceDel:
		e.Device, e.Target = hash(t), hash(t)
	case wire.Cancel:
		e.Target = hash(t)
	}
	step := number(t, 1, 15)
	for i := range number(t, 0, wire.MaxControl) {
		e.Sigs = append(e.Sigs, wire.KeySig{Key: uint8(i * step), Sig: filled[[64]byte](t)})
	}
	return e
}

func key(t *rapid.T) wire.Key {
	if rapid.Bool().Draw(t, "inception") {
		i := inception(t)
		return wire.Key{Inception: &i}
	}
	return wire.Key{Event: keyEvent(t)}
}

func evidence(t *rapid.T) *wire.Evidence {
	return &wire.Evidence{Inception: inception(t), Events: list(t, 0, 4, keyEvent)}
}

// body makes the body of an op of a kind that is known; others have any bytes.
func body(t *rapid.T, k sennit.Kind) []byte {
	switch k {
	case sennit.KindPut:
		return put(t).Append(nil)
	case sennit.KindDel:
		return del(t).Append(nil)
	case sennit.KindAdd:
		return add(t).Append(nil)
	case sennit.KindAppend:
		return chunk(t).Append(nil)
	case sennit.KindText:
		return text(t).Append(nil)
	case sennit.KindSnap:
		return snap(t).Append(nil)
	case sennit.KindKey:
		return key(t).Append(nil)
	case sennit.KindGrant:
		return grant(t).Append(nil)
	case sennit.KindRevoke:
		return revoke(t).Append(nil)
	case sennit.KindMember:
		return member(t).Append(nil)
	}
	return octets(t, 0, 2048)
}

func op(t *rapid.T) wire.Op {
	known := rapid.SampledFrom([]uint64{1, 2, 3, 4, 5, 6, 32, 33, 34, 35})
	any := rapid.Custom(func(t *rapid.T) uint64 { return number(t, 1, 255) })
	o := wire.Op{Kind: sennit.Kind(rapid.OneOf(known, known, any).Draw(t, "kind")), Salt: filled[[8]byte](t)}
	o.Body = body(t, o.Kind)
	if !o.Kind.Authority() {
		o.Path = plain(t)
		if o.Kind == sennit.KindText || o.Kind > sennit.KindSnap {
			o.Parents = list(t, 0, 6, ref)
		}
	}
	return o
}

func log(t *rapid.T) wire.Log {
	return wire.Log{
		Space: hash(t), Principal: hash(t), Device: hash(t),
		Class: wire.Class(number(t, uint64(wire.Data), uint64(wire.Authority))), Nonce: filled[[16]byte](t),
	}
}

func header(t *rapid.T) *wire.Header {
	return &wire.Header{
		Space: hash(t), Log: hash(t), Seq: number(t, 1, wire.MaxSeq), Past: hash(t), Clock: number(t, 0, 1<<64-1),
		Auth: list(t, 0, wire.MaxAuth, hashT), Count: uint32(number(t, 1, sennit.MaxOps)), Root: hash(t),
	}
}

func idProof(t *rapid.T) wire.IDProof {
	p := wire.IDProof{Size: number(t, 1, wire.MaxSeq), Nodes: list(t, 0, 64, hashT)}
	p.Seq = number(t, 1, p.Size)
	return p
}

func forkProof(t *rapid.T) *wire.ForkProof {
	f := &wire.ForkProof{Log: log(t), A: header(t), B: header(t), SigA: filled[[64]byte](t), SigB: filled[[64]byte](t)}
	switch {
	case rapid.Bool().Draw(t, "same seq"):
		f.B.Seq = f.A.Seq
	case f.A.Seq > f.B.Seq:
		f.A, f.B = f.B, f.A
	}
	if f.A.Seq < f.B.Seq {
		f.Other, f.Proof = hash(t), idProof(t)
	}
	return f
}

func run(t *rapid.T) *wire.Run {
	r := &wire.Run{Log: hash(t), Sig: filled[[64]byte](t)}
	var auth []sennit.Hash
	for range number(t, 1, 6) {
		if rapid.IntRange(0, 3).Draw(t, "gap") == 0 {
			r.Items = append(r.Items, wire.RunItem{Gap: number(t, 1, wire.MaxSeq/16), Nodes: list(t, 0, 128, hashT)})
		}
		if auth == nil || rapid.Bool().Draw(t, "new auth") {
			auth = list(t, 0, 5, hashT)
		}
		it := wire.RunItem{Clock: number(t, 0, 1<<64-1), Auth: auth}
		skip := rapid.Bool().Draw(t, "skip first")
		for range number(t, 1, 4) {
			part := wire.Part{}
			if skip {
				part = wire.Part{Skip: uint32(number(t, 1, 1000)), Nodes: list(t, 0, 64, hashT)}
			} else {
				part.Ops = list(t, 1, 3, op)
			}
			skip = !skip
			it.Parts, it.Count = append(it.Parts, part), it.Count+part.Skip+uint32(len(part.Ops))
		}
		r.Items = append(r.Items, it)
	}
	r.From = number(t, 0, wire.MaxSeq/2)
	return r
}

func stored(t *rapid.T) *wire.Stored {
	s := &wire.Stored{Clock: number(t, 0, 1<<64-1), ID: hash(t), Auth: list(t, 0, 5, hashT)}
	if rapid.Bool().Draw(t, "signed") {
		sig := filled[[64]byte](t)
		s.Sig = &sig
	}
	end := uint32(number(t, 0, 20))
	for range number(t, 0, 5) {
		g := wire.Gone{First: end, N: uint32(number(t, 1, 500)), Nodes: list(t, 0, 64, hashT)}
		s.Gone = append(s.Gone, g)
		end = g.First + g.N + uint32(number(t, 1, 30))
	}
	s.Count = uint32(number(t, uint64(end)+1, sennit.MaxOps))
	return s
}

func liveMessage(t *rapid.T) *wire.LiveMessage {
	return &wire.LiveMessage{
		Space: hash(t), Path: plain(t), Author: principal(t), Clock: number(t, 0, 1<<64-1),
		Expires: number(t, 0, wire.MaxLiveExpiry), Type: ascii(t, sennit.MaxType), Body: octets(t, 0, wire.MaxLive),
	}
}

func hostCert(t *rapid.T) wire.HostCert {
	return wire.HostCert{Author: principal(t), Host: hash(t), Until: number(t, 0, 1<<64-1)}
}

func redeem(t *rapid.T) wire.Redeem {
	return wire.Redeem{Invitation: hash(t), Inviter: hash(t), Invitee: principal(t)}
}

// link leaves a few bytes of its limit: both addresses and path are short.
func link(t *rapid.T) *wire.Link {
	return &wire.Link{
		Space: hash(t), Host: hash(t), Seed: filled[[16]byte](t), Until: number(t, 0, 1<<40),
		Addrs: list(t, 0, wire.MaxLinkAddrs, func(t *rapid.T) []byte { return octets(t, 0, 20) }),
		Open:  path(t, 4, 40),
	}
}
