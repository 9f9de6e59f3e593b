package wire_test

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// tagged are the refusals that all records with a tag and a format version share.
func tagged(format, name string, good []byte) []refusal {
	with := func(tag, version byte) []byte { return append([]byte{tag, version}, good[2:]...) }
	return []refusal{
		{"tag of another record", format, good, with('x', 1), sennit.BadInput, name},
		{"format 0", format, good, with(good[0], 0), sennit.Unsupported, name + " of format 0"},
		{"format 2", format, good, with(good[0], 2), sennit.Unsupported, name + " of format 2"},
		{"nothing after the tag", format, good, good[:1], sennit.BadInput, "ends early"},
		{"more", format, good, raw(good, 0), sennit.BadInput, "left over"},
		{"last byte missing", format, good, good[:len(good)-1], sennit.BadInput, "malformed"},
	}
}

func identityRefusals() []refusal {
	b := sennit.BadInput
	nonce := rep("n", 16)
	keys := func(n int) []byte { return raw(uint64(n), rep(h32(3), n)) }
	set := func(n, m, next, nextM int) []byte { return raw(keys(n), m, keys(next), nextM) }
	incept := func(kind int, set []byte, guardians, threshold int) []byte {
		return raw("I", 1, kind, set, keys(guardians), threshold, nonce)
	}
	good := incept(1, set(2, 2, 2, 1), 3, 2)
	cs := append(tagged("inception", "inception record", good), []refusal{
		{"kind 0", "inception", good, incept(0, set(2, 2, 2, 1), 3, 2), b, "inception record"},
		{"no control keys", "inception", good, incept(1, set(0, 0, 2, 1), 3, 2), b, "threshold"},
		{"threshold 0", "inception", good, incept(1, set(2, 0, 2, 1), 3, 2), b, "threshold"},
		{"threshold 3 of 2", "inception", good, incept(1, set(2, 3, 2, 1), 3, 2), b, "threshold"},
		{"next threshold 0 of 2", "inception", good, incept(1, set(2, 2, 2, 0), 3, 2), b, "threshold"},
		{"next threshold 3 of 2", "inception", good, incept(1, set(2, 2, 2, 3), 3, 2), b, "threshold"},
		{"next threshold 1 of 0", "inception", incept(1, set(1, 1, 0, 0), 0, 0), incept(1, set(1, 1, 0, 1), 0, 0), b, "threshold"},
		{"17 control keys", "inception", incept(1, set(16, 16, 0, 0), 0, 0), incept(1, set(17, 16, 0, 0), 0, 0), b, "over its limit"},
		{"17 next keys", "inception", incept(1, set(1, 1, 16, 16), 0, 0), incept(1, set(1, 1, 17, 16), 0, 0), b, "over its limit"},
		{"17 guardians", "inception", incept(1, set(1, 1, 0, 0), 16, 9), incept(1, set(1, 1, 0, 0), 17, 9), b, "over its limit"},
		{"guardians' threshold 0 of 3", "inception", good, incept(1, set(2, 2, 2, 1), 3, 0), b, "inception record"},
		{"guardians' threshold 4 of 3", "inception", good, incept(1, set(2, 2, 2, 1), 3, 4), b, "inception record"},
		{"guardians' threshold 1 of 0", "inception", incept(1, set(1, 1, 0, 0), 0, 0), incept(1, set(1, 1, 0, 0), 0, 1), b, "inception record"},
		{"more keys than bytes", "inception", good, raw("I", 1, 1, 16, rep(h32(3), 2)), b, "longer than its record"},
	}...)

	sigs := func(keys ...int) []byte {
		enc := raw(uint64(len(keys)))
		for _, k := range keys {
			enc = raw(enc, k, rep("s", 64))
		}
		return enc
	}
	event := func(kind int, rest ...any) []byte {
		return raw("K", 1, h32(1), h32(2), kind, raw(rest...))
	}
	device := func(hpke int, name string) []byte {
		return event(2, h32(5), uint64(hpke), rep("p", hpke), uint64(len(name)), name, rep(0, 8), sigs(0))
	}
	end := event(6, sigs(0, 2))
	cs = append(cs, tagged("key-event", "key event", end)...)
	cs = append(cs, []refusal{
		{"type 0", "key-event", end, event(0, sigs(0)), b, "unknown type"},
		{"type 7", "key-event", end, event(7, sigs(0)), b, "unknown type"},
		{"signatures out of order", "key-event", end, event(6, sigs(2, 0)), b, "out of order"},
		{"a key that signs twice", "key-event", end, event(6, sigs(1, 1)), b, "out of order"},
		{
			"17 signatures", "key-event", event(6, sigs(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)),
			event(6, sigs(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)), b, "over its limit",
		},
		{"more signatures than bytes", "key-event", end, event(6, 9, rep("s", 65)), b, "longer than its record"},
		{"body of another type", "key-event", event(5, h32(4), sigs(0)), event(6, h32(4), sigs(0)), b, "malformed"},
		{"rotation without keys", "key-event", event(1, set(1, 1, 1, 1), sigs(0)), event(1, set(0, 0, 0, 0), sigs(0)), b, "threshold"},
		{"HPKE key of 2049 bytes", "key-event", device(2048, "laptop"), device(2049, "laptop"), b, "over its limit"},
		{"name of 65 bytes", "key-event", device(32, strings.Repeat("n", 64)), device(32, strings.Repeat("n", 65)), b, "over its limit"},
		{"name with an escape", "key-event", device(32, "[31m"), device(32, "\x1b[31m"), b, "text"},
		{"8193 bytes", "key-event", end, raw(end, rep(0, 8193-len(end))), b, "too long"},

		{"neither record", "key", end, raw("C", end[1:]), b, "key event"},
		{"empty", "key", good, nil, b, "ends early"},
		{"inception record of format 2", "key", good, raw("I", 2, good[2:]), sennit.Unsupported, "inception record of format 2"},
		{"key event of format 2", "key", end, raw("K", 2, end[2:]), sennit.Unsupported, "key event of format 2"},
	}...)
	sized := func(b []byte) []byte { return raw(uint64(len(b)), b) }
	evidence := raw(sized(good), 1, sized(end))
	full := raw(sized(good), uint64(4000), rep(raw(uint64(len(end)), end), 4000))
	return append(cs, []refusal{
		{"no record", "evidence", evidence, nil, b, "integer"},
		{"record with more", "evidence", evidence, raw(sized(raw(good, 0)), 1, sized(end)), b, "inception record: bytes left over"},
		{"record of format 2", "evidence", evidence, raw(sized(raw("I", 2, good[2:])), 1, sized(end)), sennit.Unsupported, "inception record of format 2"},
		{"event with more", "evidence", evidence, raw(sized(good), 1, sized(raw(end, 0))), b, "key event: bytes left over"},
		{"event of format 2", "evidence", evidence, raw(sized(good), 1, sized(raw("K", 2, end[2:]))), sennit.Unsupported, "key event of format 2"},
		{"event cut off", "evidence", evidence, evidence[:len(evidence)-1], b, "ends early"},
		{"more events than bytes", "evidence", evidence, raw(sized(good), 5, sized(end)), b, "longer than its record"},
		{"more", "evidence", evidence, raw(evidence, 0), b, "left over"},
		{"over 256 KiB", "evidence", evidence, full, b, "too long"},
	}...)
}

// rawHeader is a header of any parts.
func rawHeader(seq uint64, auth int, count uint64) []byte {
	return raw("C", 1, h32(1), h32(2), seq, h32(3), rep(0, 8), uint64(auth), rep(h32(4), auth), count, h32(5))
}

func headerRefusals() []refusal {
	b := sennit.BadInput
	log := func(class int) []byte { return raw("L", 1, h32(1), h32(2), h32(3), class, rep("n", 16)) }
	good := rawHeader(9, 1, 2)
	cs := append(tagged("log", "log record", log(1)), tagged("header", "header", good)...)
	cs = append(cs, []refusal{
		{"class 0", "log", log(2), log(0), b, "log record"},
		{"class 3", "log", log(2), log(3), b, "log record"},

		{"seq 0", "header", good, rawHeader(0, 1, 2), b, "header"},
		{"seq over 2^48", "header", rawHeader(wire.MaxSeq, 1, 2), rawHeader(wire.MaxSeq+1, 1, 2), b, "over its limit"},
		{"no ops", "header", good, rawHeader(9, 1, 0), b, "header"},
		{"4097 ops", "header", rawHeader(9, 1, sennit.MaxOps), rawHeader(9, 1, sennit.MaxOps+1), b, "over its limit"},
		{"65 auth", "header", rawHeader(9, 64, 2), rawHeader(9, 65, 2), b, "over its limit"},
		{"too long", "header", good, raw(good, rep(0, wire.MaxHeaderLen)), b, "too long"},

		{"seq 0", "id-proof", raw(1, 1, none), raw(0, 1, none), b, "id proof"},
		{"seq beyond the tree", "id-proof", raw(8, 8, none), raw(9, 8, none), b, "id proof"},
		{"size over 2^48", "id-proof", raw(1, uint64(wire.MaxSeq), none), raw(1, uint64(wire.MaxSeq+1), none), b, "over its limit"},
		{"65 nodes", "id-proof", raw(1, 1, 64, rep(h32(1), 64)), raw(1, 1, 65, rep(h32(1), 65)), b, "over its limit"},
		{"more nodes than bytes", "id-proof", raw(1, 1, 1, h32(1)), raw(1, 1, 2, h32(1)), b, "longer than its record"},
		{"more", "id-proof", raw(1, 1, none), raw(1, 1, none, 0), b, "left over"},
	}...)

	sig := rep("s", 64)
	signed := func(header []byte) []byte { return raw(uint64(len(header)), header, sig) }
	fork := func(a, b uint64, other ...any) []byte {
		return raw(log(1), signed(rawHeader(a, 1, 2)), signed(rawHeader(b, 1, 2)), raw(other...))
	}
	later := raw(1, h32(6), 3, 8, none)
	even, uneven := fork(9, 9, 0), fork(3, 9, later)
	future := raw("C", 2, rawHeader(9, 1, 2)[2:])
	return append(cs, []refusal{
		{"first header later", "fork-proof", uneven, fork(9, 3, later), b, "fork proof"},
		{"other for one seq", "fork-proof", even, fork(9, 9, later), b, "fork proof"},
		{"no other for two seqs", "fork-proof", uneven, fork(3, 9, 0), b, "fork proof"},
		{"flag 2", "fork-proof", uneven, fork(3, 9, 2, later[1:]), b, "flag"},
		{"other without a proof", "fork-proof", uneven, fork(3, 9, 1, h32(6)), b, "integer"},
		{"log of a later format", "fork-proof", even, raw("L", 2, even[2:]), sennit.Unsupported, "log record of format 2"},
		{
			"header of a later format", "fork-proof", even,
			raw(log(1), signed(future), signed(rawHeader(9, 1, 2)), 0), sennit.Unsupported, "header of format 2",
		},
		{
			"header with more", "fork-proof", even,
			raw(log(1), signed(rawHeader(9, 1, 2)), signed(raw(rawHeader(9, 1, 2), 0)), 0), b, "header: bytes left over",
		},
		{"header too long", "fork-proof", even, raw(log(1), signed(rep(0, wire.MaxHeaderLen+1))), b, "over its limit"},
		{"more", "fork-proof", even, raw(even, 0), b, "left over"},
		{"last byte missing", "fork-proof", even, even[:len(even)-1], b, "ends early"},
	}...)
}

func runRefusals() []refusal {
	b := sennit.BadInput
	sig := rep("s", 64)
	clock := rep(0, 8)
	op := rawOp(2, "a", none, []byte{0})
	one := raw(1, 2, uint64(len(op)), op)     // the parts of a commit of one op
	auth := raw(1, 1, h32(7))                 // a list of one
	first := raw(0, clock, auth, one)         // a commit
	next := raw(0, clock, 0, one)             // with the same auth
	again := raw(0, clock, auth, one)         // with the same auth, said again
	other := raw(0, clock, 1, 1, h32(8), one) // with another
	gap := raw(5, 2, h32(1), h32(2))          // five commits left out
	commit := func(parts ...any) []byte { return raw(0, clock, auth, raw(parts...)) }
	run := func(items ...[]byte) []byte {
		enc := raw(h32(1), 9, uint64(len(items)))
		for _, it := range items {
			enc = append(enc, it...)
		}
		return append(enc, sig...)
	}
	from := func(n uint64) []byte { return raw(h32(1), n, 1, first, sig) }
	long := make([][]byte, wire.MaxRun+1)
	for i := range long {
		if long[i] = raw(0, clock, 0, 1, 3, none); i == 0 {
			long[i] = raw(0, clock, auth, 1, 3, none)
		}
	}
	good := run(first, next, gap, other)
	of := func(op []byte) []byte { return commit(1, 2, uint64(len(op)), op) }
	skip := func(n uint64) []byte { return raw(n<<1|1, 1, h32(3)) }
	ops := func(n int) []byte { return raw(uint64(n)<<1, rep(raw(uint64(len(op)), op), n)) }
	return []refusal{
		{"no items", "run", good, run(), b, "no commit at its end"},
		{"gap at the end", "run", good, run(first, gap), b, "no commit at its end"},
		{"only a gap", "run", good, run(gap), b, "no commit at its end"},
		{"two gaps in a row", "run", run(gap, first), run(gap, gap, first), b, "two gaps"},
		{"first commit without auth", "run", run(first), run(next), b, "no auth"},
		{"first commit without auth after a gap", "run", run(gap, first), run(gap, next), b, "no auth"},
		{"auth said twice", "run", run(first, other), run(first, again), b, "auth said twice"},
		{"auth said twice across a gap", "run", run(first, gap, next), run(first, gap, again), b, "auth said twice"},
		{"empty auth said twice", "run", run(raw(0, clock, 1, none, one), next), run(raw(0, clock, 1, none, one), raw(0, clock, 1, none, one)), b, "auth said twice"},
		{"auth flag 2", "run", run(first, next), run(first, raw(0, clock, 2, one)), b, "flag"},
		{"65 auth", "run", run(raw(0, clock, 1, 64, rep(h32(7), 64), one)), run(raw(0, clock, 1, 65, rep(h32(7), 65), one)), b, "over its limit"},
		{"gap with 129 nodes", "run", run(raw(5, uint64(128), rep(h32(1), 128)), first), run(raw(5, uint64(129), rep(h32(1), 129)), first), b, "over its limit"},
		{"gap over 2^48", "run", raw(h32(1), 0, 2, uint64(wire.MaxSeq-1), none, first, sig), raw(h32(1), 0, 2, uint64(wire.MaxSeq+1), none, first, sig), b, "over its limit"},
		{"gap to beyond 2^48", "run", raw(h32(1), 0, 2, uint64(wire.MaxSeq-1), none, first, sig), raw(h32(1), 0, 2, uint64(wire.MaxSeq), none, first, sig), b, "too long"},
		{"place beyond 2^48", "run", from(wire.MaxSeq - 1), from(wire.MaxSeq), b, "too long"},
		{"from over 2^48", "run", from(wire.MaxSeq - 1), from(wire.MaxSeq + 1), b, "over its limit"},
		{"16385 items", "run", run(long[:wire.MaxRun]...), run(long...), b, "over its limit"},
		{"more items than bytes", "run", good, raw(h32(1), 9, uint64(1000), first, sig), b, "longer than its record"},
		{"signature too short", "run", good, good[:len(good)-1], b, "ends early"},
		{"more", "run", good, raw(good, 0), b, "left over"},

		{"commit of no ops", "run", run(commit(one)), run(commit(0)), b, "no ops"},
		{"commit of 4097 ops", "run", run(commit(uint64(4096), skip(4096))), run(commit(uint64(4097), skip(4096))), b, "over its limit"},
		{"part of 4097 ops", "run", run(commit(uint64(4096), skip(4096))), run(commit(uint64(4096), skip(4097))), b, "over its limit"},
		{"part of no ops", "run", run(commit(1, skip(1))), run(commit(1, 0, skip(1))), b, "parts"},
		{"part that leaves out nothing", "run", run(commit(1, ops(1))), run(commit(1, 1, none, ops(1))), b, "parts"},
		{"more ops than the commit has", "run", run(commit(2, ops(2))), run(commit(1, ops(2))), b, "parts"},
		{"fewer ops than the commit has", "run", run(commit(2, ops(1), skip(1))), run(commit(3, ops(1), skip(1))), b, "malformed"},
		{"two parts of ops in a row", "run", run(commit(2, ops(2))), run(commit(2, ops(1), ops(1))), b, "parts"},
		{"two parts left out in a row", "run", run(commit(2, skip(2))), run(commit(2, skip(1), skip(1))), b, "parts"},
		{"part with 65 nodes", "run", run(commit(1, 3, 64, rep(h32(1), 64))), run(commit(1, 3, 65, rep(h32(1), 65))), b, "over its limit"},
		{"more ops than bytes", "run", run(commit(one)), run(commit(uint64(4096), uint64(4096<<1), uint64(len(op)), op)), b, "more ops than bytes"},
		{"empty op", "run", run(commit(one)), run(of(nil), first), b, "ends early"},
		{"op in a reserved place", "run", run(commit(one)), run(of(rawOp(2, ".id", none, []byte{0}))), b, "reserved place"},
		{
			"op of a later format", "run", run(commit(one)),
			run(of(rawOp(32, "", none, raw("K", 2, h32(1), h32(2), 6, 0)))), sennit.Unsupported, "format 2",
		},
		{"op longer than its limit", "run", run(commit(one)), run(of(rep(0, sennit.MaxOp+1))), b, "over its limit"},
	}
}

func storedRefusals() []refusal {
	b := sennit.BadInput
	stored := func(signed []byte, count uint64, gone ...any) []byte {
		return raw(rep(0, 8), h32(1), 1, h32(2), signed, count, raw(gone...))
	}
	two := stored(none, 9, 2, 0, 3, none, 5, 4, 1, h32(3))
	sig := raw(1, rep("s", 64))
	return []refusal{
		{"no ops", "stored", stored(none, 1, 0), stored(none, 0, 0), b, "stored commit"},
		{"4097 ops", "stored", stored(none, 4096, 0), stored(none, 4097, 0), b, "over its limit"},
		{"gone that names nothing", "stored", two, stored(none, 9, 2, 0, 3, none, 5, 0, none), b, "stored commit"},
		{"gone beyond the commit", "stored", two, stored(none, 9, 1, 5, 5, none), b, "stored commit"},
		{"gone out of order", "stored", two, stored(none, 9, 2, 5, 4, none, 0, 3, none), b, "stored commit"},
		{"gone that overlap", "stored", two, stored(none, 9, 2, 0, 3, none, 2, 4, none), b, "stored commit"},
		{"gone that touch", "stored", two, stored(none, 9, 2, 0, 3, none, 3, 4, none), b, "stored commit"},
		{"more gone than bytes", "stored", two, stored(none, 9, uint64(4000)), b, "longer than its record"},
		{"gone with 65 nodes", "stored", stored(none, 9, 1, 0, 3, 64, rep(h32(1), 64)), stored(none, 9, 1, 0, 3, 65, rep(h32(1), 65)), b, "over its limit"},
		{"signed flag 2", "stored", stored(sig, 9, 0), stored(raw(2, sig[1:]), 9, 0), b, "flag"},
		{"signature too short", "stored", stored(sig, 9, 0), stored(sig[:64], 9, 0), b, "malformed"},
		{"more", "stored", two, raw(two, 0), b, "left over"},
	}
}

func statementRefusals() []refusal {
	b := sennit.BadInput
	live := func(path string, expires uint64, typ string, body int) []byte {
		return raw("V", 1, h32(1), uint64(len(path)), path, h32(2), h32(3), rep(0, 8), expires, uint64(len(typ)), typ, uint64(body), rep("b", body))
	}
	good := live("a/b", 500, "t", 4)
	cs := append(tagged("live-message", "live message", good), []refusal{
		{"in a reserved place", "live-message", good, live(".id/x", 500, "t", 4), b, "reserved place"},
		{"bad path", "live-message", good, live("a//b", 500, "t", 4), b, "path"},
		{"expires after 60001 ms", "live-message", live("a", wire.MaxLiveExpiry, "", 0), live("a", wire.MaxLiveExpiry+1, "", 0), b, "over its limit"},
		{"body of 4097 bytes", "live-message", live("a", 0, "", wire.MaxLive), live("a", 0, "", wire.MaxLive+1), b, "over its limit"},
		{"type with a control character", "live-message", good, live("a/b", 500, "\t", 4), b, "text"},
	}...)
	cert := raw("H", 1, h32(1), h32(2), h32(3), rep(0, 8))
	redeem := raw("R", 1, h32(1), h32(2), h32(3), h32(4))
	cs = append(append(cs, tagged("host-certificate", "host certificate", cert)...), tagged("redeem", "redeem statement", redeem)...)

	text := func(format int, until uint64, addrs []byte, open string) []byte {
		return linkText(raw(format, h32(1), h32(2), rep("s", 16), until, addrs, uint64(len(open)), open))
	}
	addrs := func(n, size int) []byte { return raw(uint64(n), rep(raw(uint64(size), rep("a", size)), n)) }
	link := text(1, 29000000, addrs(1, 8), "chirp")
	edit := func(at int, s string) []byte { return raw(link[:at], s, link[at+len(s):]) }
	// The 100 bytes of this link take 133 1/3 characters: the last holds stray bits.
	stray := linkText(raw(1, h32(1), h32(2), rep("s", 16), 1, addrs(0, 0), 12, "chirp/posts/"[:11]+"x"))
	return append(cs, []refusal{
		{"format 2", "link", link, text(2, 29000000, addrs(1, 8), "chirp"), sennit.Unsupported, "format 2"},
		{"cut off", "link", link, link[:len(link)-4], b, "altered or cut off"},
		{"cut off within a byte", "link", link, link[:len(link)-len(link)%4-3], b, "missing or doesn't belong"},
		{"altered", "link", link, edit(40, "0"), b, "altered or cut off"},
		{"empty", "link", link, nil, b, "doesn't start with"},
		{"scheme only", "link", link, []byte("sennit:"), b, "missing or doesn't belong"},
		{"scheme in capitals", "link", link, edit(0, "Sennit:"), b, "doesn't start with"},
		{"new line inside", "link", link, raw(link[:40], "\n", link[40:]), b, "missing or doesn't belong"},
		{"space inside", "link", link, raw(link[:40], " ", link[40:]), b, "missing or doesn't belong"},
		{"characters of the other base64", "link", link, edit(40, "+"), b, "missing or doesn't belong"},
		{"padding", "link", stray, raw(stray, "=="), b, "missing or doesn't belong"},
		{"stray bits", "link", stray, raw(stray[:len(stray)-1], string(stray[len(stray)-1]+1)), b, "missing or doesn't belong"},
		{"four addresses", "link", text(1, 1, addrs(3, 8), ""), text(1, 1, addrs(4, 8), ""), b, "over its limit"},
		{"address of 129 bytes", "link", text(1, 1, addrs(1, 128), ""), text(1, 1, addrs(1, 129), ""), b, "over its limit"},
		{"until over 2^40", "link", text(1, 1<<40, none, ""), text(1, 1<<40+1, none, ""), b, "over its limit"},
		{"bad path", "link", link, text(1, 1, none, "../x"), b, "path"},
		{"more", "link", link, linkText(raw(1, h32(1), h32(2), rep("s", 16), 1, none, none, 0)), b, "left over"},
		{"too long", "link", text(1, 1, raw(2, 100, rep("a", 100), 29, rep("a", 29)), ""), text(1, 1, raw(2, 100, rep("a", 100), 30, rep("a", 30)), ""), b, "too long"},
	}...)
}

// linkText makes a link of any content, with the right check.
func linkText(content []byte) []byte {
	check := sha256.Sum256(content)
	return []byte(wire.LinkScheme + base64.RawURLEncoding.EncodeToString(append(content, check[:4]...)))
}

func TestLinkForgivesSpaceAroundIt(t *testing.T) {
	l := &wire.Link{Host: h32(1), Open: "chirp"}
	text, err := l.Text()
	if err != nil {
		t.Fatal(err)
	}
	got, err := wire.ParseLink(" \t" + text + "\r\n")
	if err != nil || !same(got, l) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestRefusedLinkSaysWhatToDo(t *testing.T) {
	for text, hint := range map[string]string{
		"sennit:abc":                         "copy the link again",
		"http://x":                           "copy the link again",
		string(linkText(raw(2, rep(0, 90)))): "newer version",
	} {
		if _, err := wire.ParseLink(text); !strings.Contains(sennit.HintOf(err), hint) {
			t.Errorf("%s: hint %q, want %q", text, sennit.HintOf(err), hint)
		}
	}
}

func TestLinkThatWouldNotParseIsNotMade(t *testing.T) {
	l := &wire.Link{Open: sennit.Path(strings.Repeat("p", 128))} // 219 bytes in all
	n := 0
	for ; ; n++ {
		l.Open += "p"
		text, err := l.Text()
		if err != nil {
			if sennit.CodeOf(err) != sennit.TooLarge {
				t.Errorf("refused with %v", err)
			}
			break
		}
		if _, err := wire.ParseLink(text); err != nil {
			t.Fatalf("its own link of %d bytes is refused: %v", len(text), err)
		}
	}
	if n == 0 || n > 20 {
		t.Errorf("links were made of %d lengths; the limit is not where it should be", n)
	}
}

// TestLinksThatAreMadeCanBeRead: whatever is asked for.
func TestLinksThatAreMadeCanBeRead(t *testing.T) {
	made := 0
	rapid.Check(t, func(t *rapid.T) {
		l := &wire.Link{
			Until: rapid.Uint64().Draw(t, "until"),
			Addrs: rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 140), 0, 5).Draw(t, "addrs"),
			Open:  sennit.Path(rapid.SampledFrom([]string{"", "a/b", "a//b", "../a", "\xff"}).Draw(t, "open")),
		}
		text, err := l.Text()
		if err != nil {
			return
		}
		made++
		if got, err := wire.ParseLink(text); err != nil || got.Open != l.Open || got.Until != l.Until || len(got.Addrs) != len(l.Addrs) {
			t.Fatalf("%+v became %+v, %v", l, got, err)
		}
	})
	if made == 0 {
		t.Error("none was made")
	}
}
