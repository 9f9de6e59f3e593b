package wire_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
	"pgregory.net/rapid"
)

// message is a message between nodes with its number.
type message struct {
	Number uint64
	Frame  wire.Frame
}

func (m message) encode() []byte { return wire.AppendFrame(nil, m.Number, m.Frame) }

func decodeMessage(b []byte) (message, error) {
	number, f, err := wire.DecodeFrame(b)
	return message{number, f}, err
}

// kindOfMessage is one type of message: its name and a generator.
type kindOfMessage struct {
	name string
	gen  func(*rapid.T) message
}

func messages() []kindOfMessage {
	of := func(name string, gen func(*rapid.T) wire.Frame) kindOfMessage {
		return kindOfMessage{name, func(t *rapid.T) message { return message{number(t, 0, 1<<62), gen(t)} }}
	}
	return []kindOfMessage{
		of("hello", hello), of("interest", interest), of("open", open), of("authority", authorityFrame),
		of("ops", opsFrame), of("compare", compare), of("want", want), of("need", need), of("ack", ack),
		of("ping", ping), of("ask", func(*rapid.T) wire.Frame { return &wire.Ask{} }),
		of("evidence", func(t *rapid.T) wire.Frame { return &wire.EvidenceFrame{Evidence: *evidence(t)} }),
		of("redeem", redeemFrame),
		of("welcome", func(t *rapid.T) wire.Frame { return &wire.Welcome{Evidence: *evidence(t)} }),
		of("problem", problem), of("addrs", addrsFrame), of("live", liveFrame), of("sources", sourcesFrame),
		of("fork", func(t *rapid.T) wire.Frame { return &wire.ForkFrame{Tag: tag(t), Proof: forkProof(t)} }),
		of("past", past), of("held", heldFrame),
	}
}

func eight(t *rapid.T) [8]byte { return filled[[8]byte](t) }
func tag(t *rapid.T) wire.Tag  { return eight(t) }

// ascending sorts what compares as bytes, and drops what is there twice.
func ascending[T any](all []T, key func(T) string) []T {
	slices.SortFunc(all, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	return slices.CompactFunc(all, func(a, b T) bool { return key(a) == key(b) })
}

func interests(t *rapid.T) [][8]byte {
	return ascending(list(t, 0, 40, eight), func(i [8]byte) string { return string(i[:]) })
}

func hello(t *rapid.T) wire.Frame {
	return &wire.Hello{
		Version: wire.Protocol, Nonce: filled[[16]byte](t), Clock: number(t, 0, 1<<64-1), Sig: filled[[64]byte](t),
		Cert: wire.HostCert{Author: principal(t), Until: number(t, 0, 1<<64-1)}, Interests: interests(t),
	}
}

func interest(t *rapid.T) wire.Frame { return &wire.Interest{Interests: interests(t)} }

func cursor(t *rapid.T) sennit.Cursor {
	return sennit.Cursor{Epoch: number(t, 0, 1<<64-1), N: number(t, 0, 1<<62)}
}

func shortPath(t *rapid.T) sennit.Path { return path(t, 4, 300) }

func prefixes(t *rapid.T) []sennit.Path {
	return ascending(list(t, 0, 12, shortPath), func(p sennit.Path) string { return string(p) })
}

// apart leaves out the prefixes that are under others.
func apart(all []sennit.Path) (some []sennit.Path) {
	for _, p := range all {
		if !slices.ContainsFunc(some, p.Under) {
			some = append(some, p)
		}
	}
	return some
}

func open(t *rapid.T) wire.Frame {
	return &wire.Open{
		Tag: tag(t), Authority: hash(t), Digest: hash(t), Ops: number(t, 0, 1<<62), At: cursor(t), Since: cursor(t), Newest: number(t, 0, wire.MaxNewest),
		Heads: ascending(list(t, 0, 20, hashT), func(h sennit.Hash) string { return string(h[:]) }),
		Scope: prefixes(t), Interest: apart(prefixes(t)),
		Sizes: ascending(list(t, 0, 40, func(t *rapid.T) wire.LogSize {
			return wire.LogSize{Log: eight(t), Size: number(t, 0, wire.MaxSeq)}
		}), func(s wire.LogSize) string { return string(s.Log[:]) }),
	}
}

func batch(t *rapid.T) wire.Batch {
	return wire.Batch{Logs: list(t, 0, 4, log), Runs: list(t, 0, 2, func(t *rapid.T) *wire.Run { return bareRun(run(t)) })}
}

func authorityFrame(t *rapid.T) wire.Frame {
	return &wire.AuthorityFrame{Tag: tag(t), Batch: batch(t), Evidence: list(t, 0, 3, evidence)}
}

func opsFrame(t *rapid.T) wire.Frame {
	return &wire.Ops{Tag: tag(t), Up: number(t, 0, 1<<62), Caught: rapid.Bool().Draw(t, "caught"), Batch: batch(t)}
}

func nibbles(t *rapid.T) string {
	b := octets(t, 0, 64)
	for i := range b {
		b[i] &= 15
	}
	return string(b)
}

func prints(t *rapid.T, lo int) [][5]byte {
	all := list(t, lo, 40, func(t *rapid.T) [5]byte { h := hash(t); return [5]byte(h[:5]) })
	return ascending(all, func(p [5]byte) string { return string(p[:]) })
}

func item(t *rapid.T) wire.Item {
	it := wire.Item{Path: shortPath(t), Nibbles: nibbles(t), Kind: uint8(number(t, wire.ItemChildren, wire.ItemBucket))}
	if h := hash(t); it.Nibbles == "" && it.Kind != wire.ItemList {
		it.Own = [5]byte(h[:5])
	}
	switch it.Kind {
	case wire.ItemList, wire.ItemBucket:
		it.Prints = prints(t, 0)
		for range it.Prints {
			if h := hash(t); it.Kind == wire.ItemBucket {
				it.Kids = append(it.Kids, [4]byte(h[:4]))
			}
		}
	default:
		most := map[uint8]uint64{wire.ItemChildren: 15, wire.ItemGrandchildren: 255}[it.Kind]
		it.Nodes = map[uint8][4]byte{}
		for range number(t, 1, 20) {
			h := hash(t)
			it.Nodes[uint8(number(t, 0, most))] = [4]byte(h[:4])
		}
	}
	return it
}

func compare(t *rapid.T) wire.Frame {
	return &wire.Compare{
		Tag: tag(t), Basis: eight(t), At: number(t, 0, 1<<62), Differs: rapid.Bool().Draw(t, "differs"),
		Items: list(t, 0, 8, item),
	}
}

func want(t *rapid.T) wire.Frame {
	return &wire.Want{Tag: tag(t), Items: list(t, 0, 8, func(t *rapid.T) wire.WantItem {
		it := wire.WantItem{Path: shortPath(t), Nibbles: nibbles(t), All: rapid.Bool().Draw(t, "all")}
		if !it.All {
			it.Prints = prints(t, 1)
		}
		return it
	})}
}

func liveFrame(t *rapid.T) wire.Frame {
	return &wire.Live{Tag: tag(t), Sig: filled[[64]byte](t), Message: liveMessage(t)}
}

func need(t *rapid.T) wire.Frame {
	return &wire.Need{Tag: tag(t), Log: hash(t), Size: number(t, 0, wire.MaxSeq)}
}

func ack(t *rapid.T) wire.Frame  { return &wire.Ack{Tag: tag(t), N: number(t, 0, 1<<62)} }
func ping(t *rapid.T) wire.Frame { return &wire.Ping{Answer: rapid.Bool().Draw(t, "answer")} }

func redeemFrame(t *rapid.T) wire.Frame {
	return &wire.RedeemFrame{Redeem: redeem(t), Sig: filled[[64]byte](t), Evidence: *evidence(t)}
}

func problem(t *rapid.T) wire.Frame {
	code := ascii(t, 32)
	if code == "" {
		code = string(sennit.Denied)
	}
	return &wire.Problem{Code: sennit.Code(code), Message: ascii(t, 508) + "é"}
}

func addrsFrame(t *rapid.T) wire.Frame {
	return &wire.Addrs{Addrs: list(t, 0, 8, func(t *rapid.T) string { return ascii(t, 256) })}
}

func sourcesFrame(t *rapid.T) wire.Frame {
	addrs := func(least int) []string {
		return list(t, least, wire.MaxSourceAddrs, func(t *rapid.T) string { return ascii(t, 256) })
	}
	others := list(t, 0, wire.MaxSources, func(t *rapid.T) wire.Source {
		return wire.Source{Host: hash(t), Age: number(t, 0, wire.MaxSourceAge), Addrs: addrs(1)}
	})
	return &wire.Sources{Tag: tag(t), Own: addrs(0), Others: ascending(others, func(s wire.Source) string { return string(s.Host[:]) })}
}

func stretch(t *rapid.T) wire.Stretch {
	level := rapid.Uint8Range(0, wire.MaxLevel).Draw(t, "level")
	return wire.Stretch{Log: hash(t), Level: level, Index: number(t, 0, (wire.MaxSeq-1)>>(4*level))}
}

func opSet(t *rapid.T, first, last uint64) wire.OpSet {
	ops := rapid.SliceOfN(rapid.Byte(), 0, 511).Draw(t, "ops")
	return wire.OpSet{Seq: number(t, first, last), ID: eight(t), Ops: append(ops, rapid.ByteRange(1, 255).Draw(t, "last"))}
}

func past(t *rapid.T) wire.Frame {
	p := &wire.Past{Tag: tag(t), Logs: rapid.Bool().Draw(t, "logs")}
	if p.Logs {
		p.After = hash(t)
	}
	p.Stretches = list(t, 0, 8, stretch)
	p.Wants = list(t, 0, 8, func(t *rapid.T) wire.WantedOps { return wire.WantedOps{Log: hash(t), OpSet: opSet(t, 1, wire.MaxSeq)} })
	return p
}

func heldFrame(t *rapid.T) wire.Frame {
	logs := list(t, 0, 8, func(t *rapid.T) wire.HeldLog {
		s := stretch(t)
		s.Index = 0
		return wire.HeldLog{Stretch: s, Print: eight(t)}
	})
	return &wire.Held{
		Tag: tag(t), More: rapid.Bool().Draw(t, "more"), Logs: ascending(logs, func(l wire.HeldLog) string { return string(l.Log[:]) }),
		Stretches: list(t, 0, 8, func(t *rapid.T) wire.HeldStretch {
			s := wire.HeldStretch{Stretch: stretch(t)}
			if s.Level > 0 && rapid.Bool().Draw(t, "parts") {
				s.Parts = map[uint8][8]byte{rapid.Uint8Range(0, 15).Draw(t, "part"): eight(t)}
				s.Parts[rapid.Uint8Range(0, 15).Draw(t, "part")] = eight(t)
				return s
			}
			first, last := s.Bounds()
			sets := list(t, 0, 8, func(t *rapid.T) wire.OpSet { return opSet(t, first, last) })
			s.Commits = ascending(sets, func(o wire.OpSet) string { return string(binary.BigEndian.AppendUint64(nil, o.Seq)) + string(o.ID[:]) })
			return s
		}),
	}
}

// TestWordsOfAProblemAreMadeFit checks that whatever an error says, the
// message about it is one that the other side takes.
func TestWordsOfAProblemAreMadeFit(t *testing.T) {
	for words, want := range map[string]string{
		"a\x1b[31m\nb\x7f":              "a [31m b ",
		"\xff":                          "\ufffd",
		strings.Repeat("é", 300):        strings.Repeat("é", 256),
		"x" + strings.Repeat("é", 300):  "x" + strings.Repeat("é", 255),
		strings.Repeat("\xff\x00", 300): strings.Repeat("\ufffd ", 128),
	} {
		b := wire.AppendFrame(nil, 0, &wire.Problem{Code: sennit.Denied, Message: words})
		_, f, err := wire.DecodeFrame(b)
		if err != nil {
			t.Errorf("%.20q: %v", words, err)
			continue
		}
		if p := f.(*wire.Problem); p.Message != want {
			t.Errorf("%.20q became %q", words, p.Message)
		}
	}
}

// TestDenseMessagesAllocateInProportion fills each list of a message with its
// shortest elements.
func TestDenseMessagesAllocateInProportion(t *testing.T) {
	f := formatOf(t, "message-compare")
	short := map[string][]byte{
		"empty lists":        raw(0, 0, 3, 0),
		"empty buckets":      raw(0, 0, 4, rep(0, 5), 0),
		"one child":          raw(0, 1, 1, 1, 1, 0, "prnt"),
		"all children":       raw(0, 1, 1, 1, 0xff, 0xff, rep("prnt", 16)),
		"one grandchild":     raw(0, 1, 1, 2, 1, rep(0, 31), "prnt"),
		"nine grandchildren": raw(0, 1, 1, 2, 0xff, 1, rep(0, 30), rep("prnt", 9)),
	}
	for name, one := range short {
		b := raw(6, 0, rep(0, 16), 0, 0, uint64(wire.MaxItems), rep(one, wire.MaxItems))
		if !judge(t, f, b) {
			t.Errorf("%s: refused", name)
		}
	}
	all := raw(6, 0, rep(0, 16), 0, 0, uint64(256), rep(raw(0, 1, 1, 2, rep(0xff, 32), rep("prnt", 256)), 256))
	if !judge(t, f, all) {
		t.Error("as many fingerprints as are allowed: refused")
	}
	if judge(t, f, append(bytes.Replace(all, []byte{0, 0, 0x80, 2}, []byte{0, 0, 0x81, 2}, 1), raw(0, 0, 3, 1, "print")...)) {
		t.Error("one fingerprint too many is accepted")
	}
	if !judge(t, f, raw(7, 0, rep(0, 8), uint64(wire.MaxItems), rep(raw(0, 0, 1, 0), wire.MaxItems))) {
		t.Error("as many wants as are allowed: refused")
	}
	tiny := (&wire.Evidence{Inception: wire.Inception{Kind: 1, Keys: wire.Keys{Control: [][32]byte{{}}, Threshold: 1}}}).Append(nil)
	one := append([]byte{byte(len(tiny))}, tiny...)
	if !judge(t, f, raw(4, 0, rep(0, 8), 0, 0, uint64(500), rep(one, 500))) {
		t.Error("the shortest evidence, many times: refused")
	}
}

func messageRefusals() (cs []refusal) {
	b := sennit.BadInput
	add := func(kind, name string, good, bad []byte, code sennit.Code, why string) {
		cs = append(cs, refusal{name, "message-" + kind, good, bad, code, why})
	}
	tag8 := rep("t", 8)
	hello := func(version uint64, interests []byte) []byte {
		return raw(1, 0, version, rep("n", 16), rep(0, 8), h32(1), h32(2), rep(0, 8), rep("s", 64), interests)
	}
	two := func(a, z string) []byte { return raw(2, rep(a, 8), rep(z, 8)) }
	add("hello", "later version", hello(1, none), hello(2, none), sennit.Unsupported, "speaks version 2")
	add("hello", "interests out of order", hello(1, two("a", "b")), hello(1, two("b", "a")), b, "interests out of order")
	add("hello", "type 0", hello(1, none), raw(0, hello(1, none)[1:]), b, "unknown type")
	add("hello", "type 22", hello(1, none), raw(22, hello(1, none)[1:]), b, "unknown type")
	add("interest", "twice the same", raw(2, 1, two("a", "b")), raw(2, 1, two("a", "a")), b, "interests out of order")
	add("interest", "number over 2^62", raw(2, uint64(1<<62), none), raw(2, uint64(1<<62+1), none), b, "over its limit")
	many := func(n int) []byte {
		l := raw(uint64(n))
		for i := range n {
			l = append(l, 0, 0, 0, 0, 0, 0, byte(i>>8), byte(i))
		}
		return raw(2, 1, l)
	}
	add("interest", "4097 interests", many(wire.MaxInterests), many(wire.MaxInterests+1), b, "over its limit")
	open3 := func(heads, scope, interest, sizes []byte) []byte {
		return raw(3, 1, tag8, h32(1), heads, scope, interest, h32(2), 5, rep(0, 8), 1, rep(0, 8), 1, 0, sizes)
	}
	open := func(heads, scope, sizes []byte) []byte { return open3(heads, scope, none, sizes) }
	add("open", "heads out of order", open(raw(2, h32(1), h32(2)), none, none), open(raw(2, h32(2), h32(1)), none, none), b, "heads out of order")
	add("open", "scope out of order", open(none, raw(2, 0, 1, "a"), none), open(none, raw(2, 1, "a", 0), none), b, "scope out of order")
	add("open", "scope twice the same", open(none, raw(2, 1, "a", 1, "b"), none), open(none, raw(2, 1, "a", 1, "a"), none), b, "scope out of order")
	add("open", "bad path", open(none, raw(1, 1, "a"), none), open(none, raw(1, 1, "/"), none), b, "path")
	wants := func(interest []byte) []byte { return open3(none, none, interest, none) }
	add("open", "interest out of order", wants(raw(2, 1, "a", 1, "b")), wants(raw(2, 1, "b", 1, "a")), b, "interest out of order")
	add("open", "interest twice the same", wants(raw(2, 1, "a", 1, "b")), wants(raw(2, 1, "a", 1, "a")), b, "interest out of order")
	add("open", "interest in everything and more", wants(raw(1, 0)), wants(raw(2, 0, 1, "a")), b, "an interest under another")
	add("open", "interest under another", wants(raw(3, 1, "a", 3, "a-b", 3, "b/c")), wants(raw(3, 1, "a", 3, "a-b", 3, "a/c")), b, "an interest under another")
	lots := func(n int) []byte {
		l := raw(uint64(n))
		for i := range n {
			l = append(l, 2, 'a'+byte(i/26), 'a'+byte(i%26))
		}
		return l
	}
	add("open", "257 interests", wants(lots(wire.MaxScope)), wants(lots(wire.MaxScope+1)), b, "over its limit")
	sizes := func(a, z string) []byte { return raw(2, rep(a, 8), 1, rep(z, 8), 1) }
	add("open", "sizes out of order", open(none, none, sizes("a", "b")), open(none, none, sizes("b", "a")), b, "sizes out of order")
	add("open", "a log twice", open(none, none, sizes("a", "b")), open(none, none, sizes("a", "a")), b, "sizes out of order")
	auth := func(evidence []byte) []byte { return raw(4, 1, tag8, 0, 0, evidence) }
	one := (&wire.Evidence{Inception: wire.Inception{Kind: 1, Keys: wire.Keys{Control: [][32]byte{{}}, Threshold: 1}}}).Append(nil)
	add("authority", "damaged evidence", auth(raw(1, uint64(len(one)), one)), auth(raw(1, uint64(len(one)), one[:3], 0, one[4:])), b, "inception")
	ops := func(logs, runs []byte) []byte { return raw(5, 1, tag8, 0, 0, logs, runs) }
	rec := (&wire.Log{Class: wire.Data}).Bytes()
	add("ops", "log of no class", ops(raw(1, rec), none), ops(raw(1, rec[:98], 9, rec[99:]), none), b, "log record")
	run := runOf(1, 1).Append(nil)
	add("ops", "run without its end", ops(none, raw(1, uint64(len(run)), run)), ops(none, raw(1, uint64(len(run)-1), run[:len(run)-1])), b, "ends early")
	comp := func(items ...any) []byte { return raw(6, 1, tag8, tag8, 0, 0, len(items), raw(items...)) }
	child := raw(0, 1, 3, 1, 1, 0, "prnt")
	add("compare", "no bits", comp(child), comp(raw(0, 1, 3, 1, 0, 0)), b, "bitmap")
	add("compare", "more bits than fingerprints", comp(child), comp(raw(0, 1, 3, 1, 3, 0, "prnt")), b, "bitmap")
	add("compare", "nibble 16", comp(child), comp(raw(0, 1, 16, 1, 1, 0, "prnt")), b, "nibble")
	add("compare", "65 nibbles", comp(raw(0, 64, rep(3, 64), 3, 0)), comp(raw(0, 65, rep(3, 65), 3, 0)), b, "over its limit")
	add("compare", "kind 5", comp(child), comp(raw(0, 1, 3, 5, 0)), b, "unknown kind")
	add("compare", "list out of order", comp(raw(0, 0, 3, 2, "aaaaa", "bbbbb")), comp(raw(0, 0, 3, 2, "bbbbb", "aaaaa")), b, "fingerprints out of order")
	add("compare", "bucket out of order", comp(raw(0, 1, 3, 4, 2, "aaaaa", "bbbbb", "1111", "2222")),
		comp(raw(0, 1, 3, 4, 2, "bbbbb", "aaaaa", "1111", "2222")), b, "fingerprints out of order")
	add("compare", "bucket without its prints", comp(raw(0, 1, 3, 4, 1, "aaaaa", "1111")), comp(raw(0, 1, 3, 4, 1, "aaaaa")), b, "ends early")
	want := func(item []byte) []byte { return raw(7, 1, tag8, 1, item) }
	add("want", "all and some", want(raw(0, 0, 1, 0)), want(raw(0, 0, 1, 1, "print")), b, "want")
	add("want", "nothing", want(raw(0, 0, 0, 1, "print")), want(raw(0, 0, 0, 0)), b, "want")
	add("need", "size over 2^48", raw(8, 1, tag8, h32(1), uint64(wire.MaxSeq)), raw(8, 1, tag8, h32(1), uint64(wire.MaxSeq+1)), b, "over its limit")
	add("ack", "tag too short", raw(9, 1, tag8, 1), raw(9, 1, rep("t", 7)), b, "ends early")
	live := func(m wire.LiveMessage) []byte { return raw(17, 1, tag8, rep("s", 64), m.Bytes()) }
	said := wire.LiveMessage{Path: "doc", Type: "t", Body: []byte("b")}
	add("live", "cut off", live(said), live(said)[:len(live(said))-1], b, "ends early")
	add("live", "more", live(said), append(live(said), 0), b, "left over")
	add("live", "reserved", live(said), live(wire.LiveMessage{Path: ".acl/x"}), b, "reserved")
	add("live", "too long", live(wire.LiveMessage{Body: make([]byte, wire.MaxLive)}), live(wire.LiveMessage{Body: make([]byte, wire.MaxLive+1)}), b, "over its limit")
	add("live", "lasts too long", live(wire.LiveMessage{Expires: wire.MaxLiveExpiry}), live(wire.LiveMessage{Expires: wire.MaxLiveExpiry + 1}), b, "over its limit")
	header := rawHeader(9, 1, 2)
	signed := raw(uint64(len(header)), header, rep("s", 64))
	fork := func(proof ...any) []byte { return raw(19, 1, tag8, raw(proof...)) }
	add("fork", "cut off", fork(rec, signed, signed, 0), fork(rec, signed, signed), b, "ends early")
	add("fork", "more", fork(rec, signed, signed, 0), fork(rec, signed, signed, 0, 0), b, "left over")
	add("fork", "header cut off", fork(rec, signed, signed, 0), fork(rec, raw(uint64(len(header)-1), header[1:], rep("s", 64)), signed, 0), b, "header")
	add("fork", "no proof", fork(rec, signed, signed, 0), fork(), b, "ends early")
	add("ping", "flag 2", raw(10, 1, 1), raw(10, 1, 2), b, "flag")
	add("ask", "more", raw(11, 1), raw(11, 1, 0), b, "left over")
	add("evidence", "cut off", raw(12, 1, one), raw(12, 1, one[:len(one)-1]), b, "malformed")
	add("evidence", "too long", raw(12, 1, long(0)), raw(12, 1, long(1)), b, "evidence: too long")
	add("welcome", "cut off", raw(14, 1, one), raw(14, 1, one[:len(one)-1]), b, "malformed")
	re := (&wire.Redeem{}).Bytes()
	add("redeem", "wrong tag", raw(13, 1, re, rep("s", 64), one), raw(13, 1, "H", re[1:], rep("s", 64), one), b, "redeem")
	prob := func(code, words string) []byte { return raw(15, 1, len(code), code, len(words), words) }
	add("problem", "no code", prob("denied", "no"), prob("", "no"), b, "problem")
	add("problem", "control character", prob("denied", "é"), prob("denied", "\x1b[2J"), b, "problem")
	add("problem", "not UTF-8", prob("denied", "\u00e9"), prob("denied", "\xe9"), b, "problem")
	add("problem", "code over 32 bytes", prob(strings.Repeat("c", 32), ""), prob(strings.Repeat("c", 33), ""), b, "over its limit")
	addr := func(n int) []byte { return raw(16, 1, uint64(n), rep(raw(1, "a"), n)) }
	add("addrs", "nine", addr(8), addr(9), b, "over its limit")
	add("addrs", "not printable", addr(1), raw(16, 1, 1, 1, 7), b, "text")
	source := func(host byte) []byte { return raw(h32(host), 0, 1, 1, "a") }
	of := func(own int, others ...[]byte) []byte {
		return raw(18, 1, tag8, own, rep(raw(1, "a"), own), len(others), bytes.Join(others, nil))
	}
	var hosts [][]byte
	for i := range wire.MaxSources + 1 {
		hosts = append(hosts, source(byte(i)))
	}
	add("sources", "five own addresses", of(4), of(5), b, "over its limit")
	add("sources", "seventeen", of(0, hosts[:wire.MaxSources]...), of(0, hosts...), b, "over its limit")
	add("sources", "unsorted", of(0, source(1), source(2)), of(0, source(2), source(1)), b, "out of order")
	add("sources", "twice", of(0, source(1), source(2)), of(0, source(1), source(1)), b, "out of order")
	add("sources", "no address", of(0, source(1)), of(0, raw(h32(1), 0, 0, "aa")), b, "without an address")
	add("sources", "older than a month", of(0, source(1)), of(0, raw(h32(1), uint64(wire.MaxSourceAge+1), 1, 1, "a")), b, "over its limit")
	add("sources", "cut off", of(0, source(1)), of(0, source(1)[:34]), b, "longer than its record")
	set := func(seq uint64, ops ...any) []byte { return raw(seq, rep("i", 8), len(ops), raw(ops...)) }
	span := func(level, index uint64) []byte { return raw(h32(1), int(level), index) }
	asks := func(stretches, wants []byte) []byte { return raw(20, 1, tag8, 0, stretches, wants) }
	add("past", "a stretch longer than a log", asks(raw(1, span(12, 0)), none), asks(raw(1, span(13, 0)), none), b, "longer than a log")
	add("past", "a stretch behind the end", asks(raw(1, span(11, 15)), none), asks(raw(1, span(11, 16)), none), b, "over its limit")
	add("past", "no ops", asks(none, raw(1, h32(1), set(1, 1))), asks(none, raw(1, h32(1), set(1), 0)), b, "set of no ops")
	add("past", "ops that end in zero", asks(none, raw(1, h32(1), set(1, 1))), asks(none, raw(1, h32(1), set(1, 1, 0))), b, "set of no ops")
	add("past", "seq 0", asks(none, raw(1, h32(1), set(1, 1))), asks(none, raw(1, h32(1), set(0, 1))), b, "set of no ops")
	add("past", "too many stretches", asks(raw(uint64(256), rep(span(0, 0), 256)), none), asks(raw(uint64(257), rep(span(0, 0), 257)), none), b, "over its limit")
	holds := func(logs, stretches []byte) []byte { return raw(21, 1, tag8, 0, logs, stretches) }
	root := func(log byte, index int) []byte { return raw(h32(log), 1, index, rep("p", 8)) }
	add("held", "logs out of order", holds(raw(2, root(1, 0), root(2, 0)), none), holds(raw(2, root(2, 0), root(1, 0)), none), b, "logs out of order")
	add("held", "a log from its middle on", holds(raw(1, root(1, 0)), none), holds(raw(1, root(1, 1)), none), b, "logs out of order")
	add("held", "no kind", holds(none, raw(1, span(1, 0), 2, 0)), holds(none, raw(1, span(1, 0), 3, 0)), b, "no kind")
	add("held", "no parts", holds(none, raw(1, span(1, 0), 1, 1, 0, rep("p", 8))), holds(none, raw(1, span(1, 0), 1, 0, 0)), b, "without parts")
	add("held", "parts of one commit", holds(none, raw(1, span(1, 0), 1, 1, 0, rep("p", 8))), holds(none, raw(1, span(0, 0), 1, 1, 0, rep("p", 8))), b, "without parts")
	add("held", "a commit elsewhere", holds(none, raw(1, span(1, 0), 2, 1, set(16, 1))), holds(none, raw(1, span(1, 0), 2, 1, set(17, 1))), b, "outside its stretch")
	add("held", "commits out of order", holds(none, raw(1, span(1, 0), 2, 2, set(1, 1), set(2, 1))), holds(none, raw(1, span(1, 0), 2, 2, set(1, 1), set(1, 1))), b, "commits out of order")
	return cs
}

// long is evidence of the most bytes that are allowed, and some more.
func long(more int) []byte {
	e := &wire.Evidence{Inception: wire.Inception{Kind: 1, Keys: wire.Keys{Control: [][32]byte{{}}, Threshold: 1}}}
	event := func(hpke int) *wire.KeyEvent {
		return &wire.KeyEvent{Type: wire.DeviceAdd, HPKE: make([]byte, hpke)}
	}
	for len(e.Append(nil)) < wire.MaxEvidence-2700 {
		e.Events = append(e.Events, event(1000))
	}
	e.Events = append(e.Events, event(1000), event(300))
	left := wire.MaxEvidence - len(e.Append(nil)) + more
	e.Events[len(e.Events)-1] = event(300 + left)
	return e.Append(nil)
}

func TestMessagesHaveALimit(t *testing.T) {
	if _, _, err := wire.DecodeFrame(make([]byte, wire.MaxFrame+1)); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a message over the limit: %v", err)
	}
}

func (w *world) messages() []example {
	ana, ben := w.ana.Space(), w.ben.Space()
	cert := wire.HostCert{Author: sennit.Principal{Space: ana, Device: w.laptop.public()}, Until: 1782993600000}
	signed := cert
	signed.Host = w.host.public()
	sent := &wire.Hello{
		Version: wire.Protocol, Nonce: nonce("session of ana"), Clock: 1782907200000, Cert: cert,
		Sig: w.laptop.sign("host", signed.Bytes()),
	}
	for _, id := range []sennit.Space{ana, ben} {
		h := sha256.Sum256(append(sent.Nonce[:], id[:]...))
		sent.Interests = append(sent.Interests, [8]byte(h[:8]))
	}
	sent.Interests = ascending(sent.Interests, func(i [8]byte) string { return string(i[:]) })
	spare := nonce("padding")
	n, m := sent.Nonce, nonce("session of ben")
	if bytes.Compare(n[:], m[:]) > 0 {
		n, m = m, n
	}
	h := sha256.Sum256(raw("tag", n[:], m[:], ana[:]))
	tag := wire.Tag(h[:8])
	authority := sha256.Sum256([]byte("sennit vectors: digest of ana's authority"))
	digest := sha256.Sum256([]byte("sennit vectors: digest of chirp"))
	auth, data := w.authLog.ID(), w.dataLog.ID()
	commitOf := func(c *commit) wire.RunItem {
		return wire.RunItem{Clock: c.header.Clock, Auth: c.header.Auth, Count: c.header.Count, Parts: []wire.Part{{Ops: c.ops}}}
	}
	runOf := func(log wire.Log, from int, cs ...commit) *wire.Run {
		r := &wire.Run{Log: log.ID(), From: uint64(from)}
		for i := range cs {
			r.Items = append(r.Items, commitOf(&cs[i]))
		}
		id := cs[len(cs)-1].id()
		r.Sig = w.laptop.sign("commit", id[:])
		return r
	}
	anas := wire.Evidence{Inception: w.ana, Events: w.events[:1]}
	bens := wire.Evidence{Inception: w.ben}
	redeem := wire.Redeem{Invitation: w.invitation.public(), Inviter: ana, Invitee: sennit.Principal{Space: ben, Device: w.phone.public()}}
	own, basis := [5]byte(digest[:5]), wire.BasisOf(authority, []sennit.Path{"chirp"})
	items := []wire.Item{
		{Path: "chirp", Kind: wire.ItemChildren, Nodes: map[uint8][4]byte{2: [4]byte(digest[5:9]), 11: [4]byte(digest[9:13])}},
		{Path: "chirp/posts", Nibbles: "\x02\x0b", Kind: wire.ItemList, Prints: [][5]byte{own}},
		{Path: "chirp/likes", Kind: wire.ItemBucket, Own: own, Prints: [][5]byte{[5]byte(digest[13:18])}, Kids: [][4]byte{[4]byte(digest[18:22])}},
	}
	wide := wire.Item{Path: "chirp/posts", Nibbles: "\x0f", Kind: wire.ItemGrandchildren, Nodes: map[uint8][4]byte{0x12: [4]byte(digest[22:26])}}
	live := w.live()
	twin := next(w.data[:2], w.dataLog, noon(301), w.data[2].header.Auth, textPut("chirp/posts/z", "another story", 200))
	id3, idTwin := w.data[2].id(), twin.id()
	fork := &wire.ForkProof{
		Log: w.dataLog, A: &w.data[2].header, B: &twin.header,
		SigA: w.laptop.sign("commit", id3[:]), SigB: w.laptop.sign("commit", idTwin[:]),
	}
	made := func(name string, number uint64, f wire.Frame, sigs ...vectorSig) example {
		kind, _, _ := strings.Cut(name, "/")
		_, short, _ := strings.Cut(name, "/")
		return example{"message-" + kind, short, message{number, f}, sigs}
	}
	return []example{
		made("hello/ana", 0, sent, sigOf(w.laptop, "host", signed.Bytes())),
		made("interest/one", 9, &wire.Interest{Interests: [][8]byte{[8]byte(spare[:8])}}),
		made("open/chirp", 1, &wire.Open{
			Tag: tag, Authority: authority, Heads: []sennit.Hash{w.rules[1].id()}, Scope: []sennit.Path{"chirp"}, Interest: []sennit.Path{"chirp/likes", "chirp/posts"}, Digest: digest, Ops: 17, Newest: 50,
			At: sennit.Cursor{Epoch: 0x5a175a175a175a17, N: 9}, Since: sennit.Cursor{Epoch: 0x0bea0bea0bea0bea, N: 300},
			Sizes: ascending([]wire.LogSize{{Log: [8]byte(auth[:8]), Size: 2}, {Log: [8]byte(data[:8]), Size: 7}}, func(s wire.LogSize) string { return string(s.Log[:]) }),
		}),
		made("authority/grant", 2, &wire.AuthorityFrame{
			Tag: tag, Batch: wire.Batch{Logs: []wire.Log{w.authLog}, Runs: []*wire.Run{runOf(w.authLog, 1, w.rules[1])}},
			Evidence: []*wire.Evidence{&bens},
		}),
		made("ops/first", 3, &wire.Ops{
			Tag: tag, Up: 9, Caught: true, Batch: wire.Batch{Logs: []wire.Log{w.dataLog}, Runs: []*wire.Run{runOf(w.dataLog, 0, w.data[0])}},
		}),
		made("compare/three", 4, &wire.Compare{Tag: tag, Basis: basis, At: 9, Differs: true, Items: items}),
		made("compare/grandchildren", 4, &wire.Compare{Tag: tag, Basis: basis, At: 9, Items: []wire.Item{wide}}),
		made("compare/end", 5, &wire.Compare{Tag: tag, Basis: basis, At: 9}),
		made("want/two", 5, &wire.Want{Tag: tag, Items: []wire.WantItem{
			{Path: "chirp/posts", Nibbles: "\x02\x0b", Prints: [][5]byte{own}}, {Path: "chirp", Nibbles: "\x0b", All: true},
		}}),
		made("need/data", 6, &wire.Need{Tag: tag, Log: data, Size: 2}),
		made("ack/9", 7, &wire.Ack{Tag: tag, N: 9}),
		made("ping/question", 8, &wire.Ping{}),
		made("ping/answer", 8, &wire.Ping{Answer: true}),
		made("ask/only", 1, &wire.Ask{}),
		made("evidence/ana", 2, &wire.EvidenceFrame{Evidence: anas}),
		made("redeem/ben", 1, &wire.RedeemFrame{Redeem: redeem, Sig: w.invitation.sign("redeem", redeem.Bytes()), Evidence: bens},
			sigOf(w.invitation, "redeem", redeem.Bytes())),
		made("welcome/ana", 1, &wire.Welcome{Evidence: anas}),
		made("problem/expired", 1, &wire.Problem{Code: sennit.Expired, Message: "the invitation was used already"}),
		made("live/cursor", 9, &wire.Live{Tag: tag, Sig: w.laptop.sign("live", live.Bytes()), Message: live}, sigOf(w.laptop, "live", live.Bytes())),
		made("fork/same-seq", 9, &wire.ForkFrame{Tag: tag, Proof: fork},
			sigOf(w.laptop, "commit", id3[:]), sigOf(w.laptop, "commit", idTwin[:])),
		made("past/some", 11, &wire.Past{Tag: tag, Logs: true, Stretches: []wire.Stretch{{Log: w.dataLog.ID(), Level: 1}},
			Wants: []wire.WantedOps{{Log: w.dataLog.ID(), OpSet: wire.OpSet{Seq: 3, ID: [8]byte(id3[:8]), Ops: []byte{3}}}}}),
		made("held/some", 12, &wire.Held{Tag: tag, Logs: []wire.HeldLog{{Stretch: wire.Stretch{Log: w.dataLog.ID(), Level: 1}, Print: [8]byte(digest[:8])}},
			Stretches: []wire.HeldStretch{
				{Stretch: wire.Stretch{Log: w.dataLog.ID(), Level: 2}, Parts: map[uint8][8]byte{0: [8]byte(digest[8:16]), 9: [8]byte(digest[16:24])}},
				{Stretch: wire.Stretch{Log: w.dataLog.ID()}, Commits: []wire.OpSet{{Seq: 1, ID: [8]byte(id3[8:16]), Ops: []byte{1}}}},
			}}),
		made("addrs/one", 2, &wire.Addrs{Addrs: []string{"/ip4/127.0.0.1/udp/4001/quic-v1"}}),
		made("sources/one", 8, &wire.Sources{
			Tag: tag, Own: []string{"/ip4/192.0.2.7/udp/4001/quic-v1"},
			Others: []wire.Source{{Host: w.host.public(), Age: 90, Addrs: []string{"/dns4/node.example/tcp/4001"}}},
		}),
	}
}
