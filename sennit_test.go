package sennit_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	"pgregory.net/rapid"
)

func digest(t *rapid.T) (h [32]byte) {
	copy(h[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "bytes"))
	return h
}

func TestSpaceHasOneName(t *testing.T) {
	const alphabet = "abcdefghijklmnopqrstuvwxyz234567"
	rapid.Check(t, func(t *rapid.T) {
		s := sennit.Space(digest(t))
		text := s.String()
		if len(text) != 52 || strings.Trim(text, alphabet) != "" {
			t.Fatalf("%q does not fit a DNS label", text)
		}
		if got, err := sennit.ParseSpace(text); err != nil || got != s {
			t.Fatalf("%s parses as %s, %v", text, got, err)
		}
		if got, err := sennit.ParseDevice(text); err != nil || got != sennit.Device(s) || got.String() != text {
			t.Fatalf("%s parses as device %s, %v", text, got, err)
		}
		// Four bits of the last character are not part of the id: of the 16
		// characters that differ in them only one is its name.
		names := 0
		last := strings.IndexByte(alphabet, text[51])
		for stray := range 16 {
			got, err := sennit.ParseSpace(text[:51] + string(alphabet[last&^15|stray]))
			if err == nil {
				names++
				if got != s {
					t.Fatalf("another name gives another space: %s", got)
				}
			}
		}
		if names != 1 {
			t.Fatalf("%d of the texts that decode to %s are accepted", names, s)
		}
	})
}

func TestParseSpaceRefuses(t *testing.T) {
	good := sennit.Space{1, 2, 3}.String()
	for name, text := range map[string]string{
		"empty": "", "upper case": strings.ToUpper(good), "one character short": good[:51], "one character more": good + "a",
		"padding": good + "====", "digit 1": "1" + good[1:], "new line inside": good[:20] + "\n" + good[20:],
		"new line after": good + "\n", "space before": " " + good, "56 characters": good + "aaaa", "not ASCII": "é" + good[2:],
	} {
		if s, err := sennit.ParseSpace(text); sennit.CodeOf(err) != sennit.BadInput || !s.IsZero() {
			t.Errorf("%s: got %v, %v", name, s, err)
		}
		if d, err := sennit.ParseDevice(text); sennit.CodeOf(err) != sennit.BadInput || !d.IsZero() || !strings.Contains(err.Error(), "device") {
			t.Errorf("%s, as a device: got %v, %v", name, d, err)
		}
	}
}

func TestHashIsHex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := sennit.Hash(digest(t))
		if got, err := sennit.ParseHash(h.String()); err != nil || got != h {
			t.Fatalf("%s parses as %s, %v", h, got, err)
		}
		if got, err := sennit.ParseHash(strings.ToUpper(h.String())); err != nil || got != h {
			t.Fatalf("in capitals %s parses as %s, %v", h, got, err)
		}
	})
	good := sennit.Hash{31: 9}.String()
	for _, text := range []string{"", good[:62], good[:63], good + "00", good + "0", "g" + good[1:], " " + good[1:], good[:63] + "\n"} {
		if h, err := sennit.ParseHash(text); sennit.CodeOf(err) != sennit.BadInput || !h.IsZero() {
			t.Errorf("%q: got %s, %v", text, h, err)
		}
	}
}

func TestZeroIsNothing(t *testing.T) {
	if !(sennit.Space{}).IsZero() || !(sennit.Device{}).IsZero() || !(sennit.Hash{}).IsZero() {
		t.Error("the zero value names something")
	}
	one := [32]byte{31: 1}
	if sennit.Space(one).IsZero() || sennit.Device(one).IsZero() || sennit.Hash(one).IsZero() {
		t.Error("a value that isn't zero names nothing")
	}
}

func TestAuthorityKinds(t *testing.T) {
	for k := range 256 {
		if got, want := sennit.Kind(k).Authority(), k >= 32 && k < 64; got != want {
			t.Errorf("kind %d: authority is %t", k, got)
		}
	}
}

func TestRightsAreOneBitEach(t *testing.T) {
	rights := []sennit.Rights{sennit.Read, sennit.Write, sennit.Remove, sennit.Grant, sennit.Mirror}
	var all sennit.Rights
	for i, r := range rights {
		if r != 1<<i {
			t.Errorf("right %d is %d; it is part of the format", i, r)
		}
		all |= r
	}
	if all != sennit.AllRights {
		t.Errorf("AllRights is %d, want %d", sennit.AllRights, all)
	}
}

func FuzzParseSpace(f *testing.F) {
	f.Add(sennit.Space{1}.String())
	f.Add(strings.Repeat("7", 52))
	f.Add(strings.Repeat("a", 51) + "q")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := sennit.ParseSpace(text)
		if err == nil && s.String() != text {
			t.Errorf("%q is accepted for %s", text, s)
		}
		if err != nil && sennit.CodeOf(err) != sennit.BadInput {
			t.Errorf("%q: %v", text, err)
		}
		h, err := sennit.ParseHash(text)
		if err == nil && !bytes.EqualFold([]byte(h.String()), []byte(text)) {
			t.Errorf("%q is accepted for %s", text, h)
		}
	})
}

func TestParseCursor(t *testing.T) {
	for _, c := range []sennit.Cursor{{}, {Epoch: 7, N: 9}, {Epoch: 1<<64 - 1, N: 1<<64 - 1}} {
		if got, err := sennit.ParseCursor(c.String()); err != nil || got != c {
			t.Errorf("%v: %v, %v", c, got, err)
		}
	}
	for _, text := range []string{"", "7", "7-", "-9", "7-9-1", "a-9", "7-b", "+7-9", "7--9", " 7-9", "18446744073709551616-1", strings.Repeat("7", 1000)} {
		if got, err := sennit.ParseCursor(text); sennit.CodeOf(err) != sennit.BadInput || got != (sennit.Cursor{}) || len(err.Error()) > 100 {
			t.Errorf("%.40q: %v, %v", text, got, err)
		}
	}
}
