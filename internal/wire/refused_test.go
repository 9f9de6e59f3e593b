package wire_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// refusal is an encoding that must be refused, beside one that differs from it
// in the point at issue only and must be accepted.
type refusal struct {
	name   string
	format string
	good   []byte
	bad    []byte
	code   sennit.Code
	why    string // part of the message: it must be refused for the right reason
}

func TestRefusals(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range refusals() {
		t.Run(c.format+"/"+c.name, func(t *testing.T) {
			if seen[c.format+c.name] {
				t.Fatal("two cases have this name")
			}
			seen[c.format+c.name] = true
			f := formatOf(t, c.format)
			if _, err := f.decode(c.good); err != nil {
				t.Errorf("what should be accepted is refused: %v\n%x", err, head(c.good))
			}
			judge(t, f, c.good)
			_, err := f.decode(c.bad)
			if sennit.CodeOf(err) != c.code || !strings.Contains(fmt.Sprint(err), c.why) {
				t.Errorf("got code %q, %v\nwant code %q, %q\n%x", sennit.CodeOf(err), err, c.code, c.why, head(c.bad))
			}
			judge(t, f, c.bad)
		})
	}
}

func refusals() (all []refusal) {
	all = append(all, opRefusals()...)
	all = append(all, pathRefusals()...)
	all = append(all, bodyRefusals()...)
	all = append(all, authorityRefusals()...)
	all = append(all, identityRefusals()...)
	all = append(all, headerRefusals()...)
	all = append(all, runRefusals()...)
	all = append(all, storedRefusals()...)
	all = append(all, messageRefusals()...)
	all = append(all, blobRefusals()...)
	return append(all, statementRefusals()...)
}

// raw concatenates bytes (as int), integers (as uint64, encoded as uvarints),
// strings and byte slices: encodings that the package would never write.
func raw(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case uint64:
			b = binary.AppendUvarint(b, p)
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		case [32]byte:
			b = append(b, p[:]...)
		default:
			panic(fmt.Sprintf("raw: %T", p))
		}
	}
	return b
}

func h32(n byte) [32]byte { return [32]byte{0: n, 31: n} }

func rep(b any, n int) []byte { return bytes.Repeat(raw(b), n) }

// rawOp is an op of any parts.
func rawOp(kind int, path string, parents, body []byte) []byte {
	return raw(kind, uint64(len(path)), path, parents, uint64(len(body)), body, "saltsalt")
}

var none = []byte{0} // the empty list

func opRefusals() []refusal {
	body := map[int][]byte{1: raw(0, 0, "v"), 2: {0}, 3: {0, 0, 0, 0, 0, 0, 0, 0, 2}, 4: raw(0, "x"), 5: raw(0, 0, 0, 1, 0, 1, 0), 6: raw(0, 1, h32(1), 0, 0, 0)}
	good := rawOp(1, "a", none, body[1])
	big := func(n int) []byte { return rawOp(1, "a", none, raw(0, 0, rep("x", n))) }
	unknown := func(n int) []byte { return rawOp(200, "a", none, rep("x", n)) }
	parents := func(n int) []byte { return raw(uint64(n), rep(raw(h32(1), 0), n)) }
	cs := []refusal{
		{"empty", "op", good, nil, sennit.BadInput, "ends early"},
		{"kind 0", "op", good, rawOp(0, "a", none, body[1]), sennit.BadInput, "kind 0"},
		{"length in two bytes", "op", good, raw(1, 0x81, 0, "a", 0, 3, body[1], "saltsalt"), sennit.BadInput, "integer"},
		{"length in three bytes", "op", good, raw(1, 0x81, 0x80, 0, "a", 0, 3, body[1], "saltsalt"), sennit.BadInput, "integer"},
		{"length of 65 bits", "op", good, raw(1, rep(0xff, 9), 2, "a", 0, 3, body[1], "saltsalt"), sennit.BadInput, "integer"},
		{"length of 64 bits", "op", good, raw(1, rep(0xff, 9), 1, "a", 0, 3, body[1], "saltsalt"), sennit.BadInput, "over its limit"},
		{"length that never ends", "op", good, raw(1, rep(0x80, 40)), sennit.BadInput, "integer"},
		{"bytes left over", "op", good, raw(good, 0), sennit.BadInput, "left over"},
		{"salt too short", "op", good, good[:len(good)-1], sennit.BadInput, "ends early"},
		{"body longer than the op", "op", good, raw(1, 1, "a", 0, 60, body[1], "saltsalt"), sennit.BadInput, "ends early"},
		{"parent count without parents", "op", rawOp(5, "a", parents(1), body[5]), rawOp(5, "a", []byte{9}, body[5]), sennit.BadInput, "longer than its record"},
		{"65 parents", "op", rawOp(5, "a", parents(64), body[5]), rawOp(5, "a", parents(65), body[5]), sennit.BadInput, "over its limit"},
		{
			"parent with index 4096", "op", rawOp(5, "a", raw(1, h32(1), uint64(4095)), body[5]),
			rawOp(5, "a", raw(1, h32(1), uint64(4096)), body[5]), sennit.BadInput, "over its limit",
		},
		{"member op with a path", "op", rawOp(35, "", none, raw(1, "g", h32(1))), rawOp(35, "a", none, raw(1, "g", h32(1))), sennit.BadInput, "it has a path"},
		{"unknown authority op with a path", "op", rawOp(63, "", none, nil), rawOp(63, "a", none, nil), sennit.BadInput, "it has a path"},
		{"unknown authority op with parents", "op", rawOp(63, "", none, nil), rawOp(63, "", parents(1), nil), sennit.BadInput, "parents"},
		{"member op with parents", "op", rawOp(35, "", none, raw(1, "g", h32(1))), rawOp(35, "", parents(1), raw(1, "g", h32(1))), sennit.BadInput, "parents"},
		{"value over 64 KiB", "op", big(sennit.MaxInline), big(sennit.MaxInline + 1), sennit.BadInput, "more than 64 KiB inline"},
		{"op over its limit", "op", unknown(sennit.MaxOp - 15), unknown(sennit.MaxOp - 14), sennit.TooLarge, "67585 bytes; at most 67584"},
		{"empty append", "op", rawOp(4, "a", none, body[4]), rawOp(4, "a", none, raw(0)), sennit.BadInput, "1 byte to 64 KiB"},
		{
			"append over 64 KiB", "op", rawOp(4, "a", none, raw(0, rep("x", sennit.MaxInline))),
			rawOp(4, "a", none, raw(0, rep("x", sennit.MaxInline+1))), sennit.BadInput, "1 byte to 64 KiB",
		},
	}
	for kind, name := range map[int]string{1: "put", 2: "del", 3: "add", 4: "append", 6: "snap"} {
		cs = append(cs,
			refusal{name + " with parents", "op", rawOp(kind, "a", none, body[kind]), rawOp(kind, "a", parents(1), body[kind]), sennit.BadInput, "parents"})
	}
	for _, place := range []string{".id", ".acl", ".group", ".key", ".board"} {
		for kind, name := range map[int]string{1: "put", 2: "del", 5: "text", 200: "unknown"} {
			cs = append(cs, refusal{
				name + " in " + place, "op", rawOp(kind, place+"s", none, body[kind]),
				rawOp(kind, place+"/x", none, body[kind]), sennit.BadInput, "reserved place",
			})
		}
		cs = append(cs, refusal{"put at " + place, "op", good, rawOp(1, place, none, body[1]), sennit.BadInput, "reserved place"})
	}
	// The body of every kind that is known is checked with its op.
	for kind, bad := range map[int][]byte{
		1: raw(2, 0), 2: {2}, 3: {0, 0x82, 0}, 4: raw(3, "x"), 5: {0, 0, 0, 0}, 6: raw(0, 0, 0, 0),
		32: raw("X", 1), 33: {}, 34: raw(1, 0, 1), 35: raw(1, "*", h32(1)),
	} {
		path := "a"
		if kind >= 32 {
			path = ""
		}
		cs = append(cs, refusal{fmt.Sprintf("kind %d with a bad body", kind), "op", good, rawOp(kind, path, none, bad), sennit.BadInput, "malformed"})
	}
	future := raw("K", 2, h32(1), h32(2), 6, 0)
	cs = append(cs, refusal{
		"key event of a later format", "op", rawOp(32, "", none, raw("K", 1, h32(1), h32(2), 6, 0)),
		rawOp(32, "", none, future), sennit.Unsupported, "key event of format 2",
	})
	slices.SortFunc(cs, func(a, b refusal) int { return strings.Compare(a.name, b.name) })
	return cs
}

func pathRefusals() (cs []refusal) {
	at := func(path string) []byte { return rawOp(2, path, none, []byte{0}) }
	deep := strings.Repeat("/x", 31)
	for _, c := range []struct{ name, good, bad string }{
		{"path that starts with a slash", "a", "/a"},
		{"path of a slash", "", "/"},
		{"path that ends with a slash", "a/b", "a/"},
		{"path with an empty component", "a/x/b", "a//b"},
		{"path component .", "a/.b", "a/."},
		{"path component ..", "a/...", "a/../b"},
		{"path component *", "a/**", "a/*"},
		{"path with NUL", "a b", "a\x00b"},
		{"path with U+001F", "a\u0080b", "a\x1fb"},
		{"path with a new line", "a b", "a\nb"},
		{"path with U+007F", "a~b", "a\x7fb"},
		{"path not UTF-8", "ÿ", "\xff"},
		{"path cut within a character", "é", "\xc3"},
		{"path with a surrogate", "\ud7ff", "\xed\xa0\x80"},
		{"path with an overlong form", "A", "\xc1\x81"},
		{"path with a component of 256 bytes", strings.Repeat("c", 255), strings.Repeat("c", 256)},
		{"path of 33 components", "x" + deep, "xx/x" + deep},
	} {
		cs = append(cs, refusal{c.name, "op", at(c.good), at(c.bad), sennit.BadInput, "malformed path"})
	}
	long := strings.Repeat(strings.Repeat("c", 255)+"/", 4) + "c" // 1,025 bytes
	return append(cs, refusal{"path of 1025 bytes", "op", at(long[1:]), at(long), sennit.BadInput, "over its limit"})
}

func bodyRefusals() []refusal {
	inline, blob := raw(0, 1, "t", "data"), raw(1, 1, "t", h32(1), uint64(65537))
	text := raw(2, "ag", 0, 0, 1, 7, 0, 3, "abc")
	snap := raw(0, 1, h32(1), 0, 0, 0, "doc")
	add := raw("since at", 4)
	b := sennit.BadInput
	return []refusal{
		{"unknown form", "put", inline, raw(2, 1, "t", "data"), b, "unknown form"},
		{"type with a control character", "put", inline, raw(0, 1, "\n", "data"), b, "text"},
		{"type beyond ASCII", "put", inline, raw(0, 2, "é", "data"), b, "text"},
		{"type of 128 bytes", "put", raw(0, 127, rep("t", 127)), raw(0, uint64(128), rep("t", 128)), b, "over its limit"},
		{"blob that fits its op", "put", blob, raw(1, 1, "t", h32(1), uint64(65536)), b, "would fit its op"},
		{"blob of no bytes", "put", blob, raw(1, 1, "t", h32(1), 0), b, "would fit its op"},
		{"blob over 2^62 bytes", "put", raw(1, 0, h32(1), uint64(1<<62)), raw(1, 0, h32(1), uint64(1<<62+1)), b, "over its limit"},
		{"blob with more", "put", blob, raw(blob, 0), b, "left over"},
		{"blob without a size", "put", blob, raw(1, 1, "t", h32(1)), b, "integer"},
		{"no form", "put", inline, nil, b, "ends early"},

		{"flag 2", "del", []byte{1}, []byte{2}, b, "flag"},
		{"empty", "del", []byte{0}, nil, b, "ends early"},
		{"more", "del", []byte{0}, []byte{0, 0}, b, "left over"},

		{"since of seven bytes", "add", add, raw("since a"), b, "ends early"},
		{"total in two bytes", "add", add, raw("since at", 0x84, 0), b, "integer"},
		{"total of 65 bits", "add", raw("since at", rep(0xff, 9), 1), raw("since at", rep(0xff, 9), 2), b, "integer"},
		{"no total", "add", add, raw("since at"), b, "integer"},
		{"more", "add", add, raw(add, 0), b, "left over"},

		{"nothing", "append", raw(0, "x"), nil, b, "integer"},
		{"only a type", "append", raw(1, "tx"), raw(1, "t"), b, "1 byte to 64 KiB"},
		{"type of 128 bytes", "append", raw(127, rep("t", 127), "x"), raw(uint64(128), rep("t", 128), "x"), b, "over its limit"},
		{"type that is not text", "append", raw(1, "tx"), raw(1, "\x00x"), b, "text"},
		{"over 64 KiB", "append", raw(0, rep("x", sennit.MaxInline)), raw(0, rep("x", sennit.MaxInline+1)), b, "1 byte to 64 KiB"},

		{"no runs", "text", text, raw(2, "ag", 0, 0, 0), b, "no runs"},
		{"run that does nothing", "text", text, raw(2, "ag", 0, 0, 1, 7, 0, 0), b, "text run"},
		{"insertion that is not UTF-8", "text", text, raw(2, "ag", 0, 0, 1, 7, 0, 3, "ab\xff"), b, "text run"},
		{"insertion that ends within a character", "text", text, raw(2, "ag", 0, 0, 1, 7, 0, 3, "ab\xc3"), b, "text run"},
		{"agent of 65 bytes", "text", raw(64, rep("a", 64), 0, 0, 1, 0, 1, 0), raw(65, rep("a", 65), 0, 0, 1, 0, 1, 0), b, "over its limit"},
		{"first event over 2^53", "text", raw(0, 0, uint64(1<<53), 1, 0, 1, 0), raw(0, 0, uint64(1<<53+1), 1, 0, 1, 0), b, "over its limit"},
		{"position over 2^53", "text", raw(0, 0, 0, 1, uint64(1<<53), 1, 0), raw(0, 0, 0, 1, uint64(1<<53+1), 1, 0), b, "over its limit"},
		{"more runs than bytes", "text", text, raw(2, "ag", 0, 0, uint64(60000), 7, 0, 3, "abc"), b, "longer than its record"},
		{"more", "text", text, raw(text, 0), b, "left over"},

		{"covers nothing", "snap", snap, raw(0, 0, 0, 0, "doc"), b, "covers nothing"},
		{"covers 65 ops", "snap", raw(0, 64, rep(raw(h32(1), 0), 64), 0, 0), raw(0, 65, rep(raw(h32(1), 0), 65), 0, 0), b, "over its limit"},
		{"no value", "snap", snap, raw(0, 1, h32(1), 0), b, "ends early"},
		{"value of an unknown form", "snap", snap, raw(0, 1, h32(1), 0, 7, 0, "doc"), b, "unknown form"},
		{"prev flag 2", "snap", snap, raw(2, 1, h32(1), 0, 0, 0, "doc"), b, "flag"},
	}
}

func authorityRefusals() []refusal {
	b := sennit.BadInput
	end := raw(rep(0, 8), 0) // no until, no limit
	any := raw(2, "ab", 1, 3, 0, 0, end)
	where := func(w string) []byte { return raw(2, "ab", 1, 3, 0, uint64(len(w)), w, end) }
	group := func(g string) []byte { return raw(2, "ab", 4, uint64(len(g)), g, 3, 0, 0, end) }
	stars := strings.Repeat("*/", 16) + strings.Repeat("c", 255) + "/" + strings.Repeat("c", 255) + "/" + strings.Repeat("c", 255)
	stars += "/" + strings.Repeat("c", 1024-len(stars)-1)
	cut := func(log byte, seq uint64) []byte { return raw(h32(log), seq, h32(9)) }
	revoke := func(n int, cuts ...[]byte) []byte { return raw(2, h32(7), 1, "a", uint64(n), slices.Concat(cuts...)) }
	one := revoke(1, cut(1, 5))
	var many []byte
	for i := range wire.MaxCuts + 1 {
		many = raw(many, [32]byte{byte(i >> 8), byte(i)}, 1, h32(9))
	}
	cs := []refusal{
		{"unknown right", "grant", any, raw(2, "ab", 1, 0x20, 0, 0, end), b, "grant"},
		{"no right and no seal", "grant", raw(2, "ab", 1, 0, 1, 0, end), raw(2, "ab", 1, 0, 0, 0, end), b, "grant"},
		{"seal 2", "grant", any, raw(2, "ab", 1, 3, 2, 0, end), b, "flag"},
		{"to an op", "grant", raw(2, "ab", 2, h32(1), 3, 0, 0, end), raw(2, "ab", 6, h32(1), 0, 3, 0, 0, end), b, "grant"},
		{"subject 0", "grant", any, raw(2, "ab", 0, 3, 0, 0, end), b, "subject"},
		{"subject 7", "grant", any, raw(2, "ab", 7, 3, 0, 0, end), b, "subject"},
		{"in a reserved place", "grant", any, raw(4, ".acl", 1, 3, 0, 0, end), b, "grant"},
		{"prefix with a star", "grant", any, raw(1, "*", 1, 3, 0, 0, end), b, "path"},
		{"where starts with a slash", "grant", where("a"), where("/a"), b, "pattern"},
		{"where ends with a slash", "grant", where("*/b"), where("*/"), b, "pattern"},
		{"where with an empty component", "grant", where("a/*/b"), where("a//b"), b, "pattern"},
		{"where with ..", "grant", where("{self}/..."), where("{self}/.."), b, "pattern"},
		{"where with a control character", "grant", where("*/é"), where("*/\x01"), b, "pattern"},
		{"where of 33 components", "grant", where("*" + strings.Repeat("/*", 31)), where("*" + strings.Repeat("/*", 32)), b, "pattern"},
		{"where of 1025 bytes", "grant", where(stars), where(stars + "c"), b, "over its limit"},
		{"limit over 2^62", "grant", raw(0, 1, 3, 0, 0, rep(0, 8), uint64(1<<62)), raw(0, 1, 3, 0, 0, rep(0, 8), uint64(1<<62+1)), b, "over its limit"},
		{"no limit", "grant", any, any[:len(any)-1], b, "integer"},
		{"more", "grant", any, raw(any, 0), b, "left over"},
		{"group without a name", "grant", group("g"), group(""), b, "group name"},
		{"group name with a slash", "grant", group("a:b"), group("a/b"), b, "group name"},
		{"group name after a slash", "grant", group("a"), group("/a"), b, "group name"},
		{"group name *", "grant", group("**"), group("*"), b, "group name"},
		{"group name of 65 bytes", "grant", group(strings.Repeat("g", 64)), group(strings.Repeat("g", 65)), b, "over its limit"},

		{"cuts out of order", "revoke", revoke(2, cut(1, 5), cut(2, 5)), revoke(2, cut(2, 5), cut(1, 5)), b, "cut"},
		{"cut twice", "revoke", revoke(2, cut(1, 5), cut(2, 5)), revoke(2, cut(1, 5), cut(1, 6)), b, "cut"},
		{"cut at 0", "revoke", one, revoke(1, cut(1, 0)), b, "cut"},
		{"cut over 2^48", "revoke", revoke(1, cut(1, wire.MaxSeq)), revoke(1, cut(1, wire.MaxSeq+1)), b, "over its limit"},
		{"1025 cuts", "revoke", revoke(1024, many[:1024*65]), revoke(1025, many), b, "over its limit"},
		{"more cuts than bytes", "revoke", one, revoke(1000, cut(1, 5)), b, "longer than its record"},
		{"op with index 4096", "revoke", raw(6, h32(1), uint64(4095), 0, 0), raw(6, h32(1), uint64(4096), 0, 0), b, "over its limit"},
		{"subject 9", "revoke", raw(1, 0, 0), raw(9, 0, 0), b, "subject"},
		{"more", "revoke", one, raw(one, 0), b, "left over"},

		{"group without a name", "member", raw(1, "g", h32(1)), raw(0, h32(1)), b, "group name"},
		{"group name ..", "member", raw(3, "...", h32(1)), raw(2, "..", h32(1)), b, "group name"},
		{"short space", "member", raw(1, "g", h32(1)), raw(1, "g", rep(1, 31)), b, "ends early"},
		{"long space", "member", raw(1, "g", h32(1)), raw(1, "g", rep(1, 33)), b, "left over"},
	}
	return cs
}
