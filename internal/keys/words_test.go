package keys_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/tyler-smith/go-bip39"
	"github.com/tyler-smith/go-bip39/wordlists"
	"pgregory.net/rapid"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/keys"
)

// derived is the documented derivation.
func derived(t testing.TB, seed []byte, info string) ed25519.PrivateKey {
	t.Helper()
	b, err := hkdf.Key(sha256.New, seed, nil, info, 32)
	if err != nil {
		t.Fatal(err)
	}
	return ed25519.NewKeyFromSeed(b)
}

// Vectors of BIP39, and the keys that stay theirs for ever.
func TestFromWordsVectors(t *testing.T) {
	abandon := strings.Repeat("abandon ", 11) + "about"
	for _, c := range []struct{ words, seed, key string }{
		{abandon, "00000000000000000000000000000000", "48fbd54259a4e8313e48de0aea24b9023ab3594e8fd093a03fcb7ebc7b00b7e1"},
		{"legal winner thank year wave sausage worth useful legal winner thank yellow", "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f", "e9b07ce18214bc43de2a45290805b41bfde60e2d4999a632fcab5018e4c25d44"},
		{"letter advice cage absurd amount doctor acoustic avoid letter advice cage above", "80808080808080808080808080808080", "81c2eb64821b34f5d92f86fc2bbe7e702852105e5bf76a4bb5a59da0ef7a20f9"},
		{strings.Repeat("zoo ", 11) + "wrong", "ffffffffffffffffffffffffffffffff", "4b710c3a98314237d3fe3552221d4b2553f0801b374a4d215a8a2af338c77d9e"},
	} {
		seed, err := hex.DecodeString(c.seed)
		if err != nil {
			t.Fatal(err)
		}
		key, err := keys.FromWords(c.words)
		if err != nil {
			t.Errorf("%s: %v", c.seed, err)
			continue
		}
		if !key.Equal(derived(t, seed, "sennit/1 next control key")) {
			t.Errorf("%s: the key is not the documented one", c.seed)
		}
		if got := hex.EncodeToString(key[32:]); got != c.key {
			t.Errorf("%s: public key %s, want %s", c.seed, got, c.key)
		}
	}
}

func TestFromWordsToleratesCaseAndSpace(t *testing.T) {
	want, err := keys.FromWords(strings.Repeat("zoo ", 11) + "wrong")
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{
		strings.Repeat("ZOO ", 11) + "Wrong",
		"\n\t" + strings.Repeat(" zoo\u00a0\r\n", 11) + "wrong  \n",
	} {
		if key, err := keys.FromWords(words); err != nil || !key.Equal(want) {
			t.Errorf("%q: %v", words, err)
		}
	}
}

func TestFromWordsErrors(t *testing.T) {
	eleven := strings.Repeat("abandon ", 11)
	for _, c := range []struct{ words, message string }{
		{"", "there are 0 recovery words; want 12"},
		{"  \n", "there are 0 recovery words; want 12"},
		{eleven, "there are 11 recovery words; want 12"},
		{eleven + "about about", "there are 13 recovery words; want 12"},
		{eleven + "abuot", "recovery word 12 is not in the BIP39 list"},
		{"abandn " + eleven, "recovery word 1 is not in the BIP39 list"},
		{"abandon abandon x\x00y " + strings.Repeat("abandon ", 9), "recovery word 3 is not in the BIP39 list"},
		{"\xff\xfe " + eleven, "recovery word 1 is not in the BIP39 list"},
		{eleven + "aboutt", "recovery word 12 is not in the BIP39 list"},
		{eleven + "zzz", "recovery word 12 is not in the BIP39 list"},
		{eleven + "abandon", "the recovery words don't fit together: their checksum is wrong"},
		{"about " + eleven, "the recovery words don't fit together: their checksum is wrong"},
		{strings.Repeat(" ", 1025), "the recovery words have 1025 bytes; at most 1024 are allowed"},
	} {
		key, err := keys.FromWords(c.words)
		switch {
		case key != nil || sennit.CodeOf(err) != sennit.BadInput || err.Error() != c.message:
			t.Errorf("%.40q: %v, want %q", c.words, err, c.message)
		case sennit.HintOf(err) == "":
			t.Errorf("%.40q: no hint", c.words)
		}
	}
}

// The list is the one that every other program has, in the order on which
// looking words up relies.
func TestWordListIsTheRealOne(t *testing.T) {
	const want = "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"
	sum := sha256.Sum256([]byte(strings.Join(wordlists.English, "\n") + "\n"))
	if got := hex.EncodeToString(sum[:]); got != want {
		t.Errorf("SHA-256 of the list %s, want %s", got, want)
	}
	for i := 1; i < len(wordlists.English); i++ {
		if wordlists.English[i-1] >= wordlists.English[i] {
			t.Errorf("words %d and %d are out of order", i-1, i)
		}
	}
}

// agree compares FromWords with another implementation.
func agree(t interface{ Fatalf(string, ...any) }, words string) {
	key, err := keys.FromWords(words)
	var want []byte
	if normal := strings.Fields(strings.ToLower(words)); len(words) <= 1024 && len(normal) == 12 {
		if seed, berr := bip39.EntropyFromMnemonic(strings.Join(normal, " ")); berr == nil {
			b, _ := hkdf.Key(sha256.New, seed, nil, "sennit/1 next control key", 32)
			want = ed25519.NewKeyFromSeed(b)
		}
	}
	if err == nil != (want != nil) || !bytes.Equal(key, want) {
		t.Fatalf("%q: %v, but another implementation says it is right: %v", words, err, want != nil)
	}
}

func TestFromWordsAgreesWithAnotherImplementation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "seed")
		text, err := bip39.NewMnemonic(seed)
		if err != nil {
			t.Fatal(err)
		}
		if key, err := keys.FromWords(text); err != nil || len(key) != 64 {
			t.Fatalf("%q: %v", text, err)
		}
		agree(t, text)
		words := strings.Fields(text)
		words[rapid.IntRange(0, 11).Draw(t, "at")] = rapid.SampledFrom(wordlists.English).Draw(t, "word")
		agree(t, strings.Join(words, " "))
	})
}

func FuzzFromWords(f *testing.F) {
	f.Add(strings.Repeat("abandon ", 11) + "about")
	f.Add("legal winner thank year wave sausage worth useful legal winner thank yellow")
	f.Add(strings.Repeat("ZOO\u2003", 11) + "wrong")
	f.Add("\xff")
	f.Fuzz(func(t *testing.T, words string) { agree(t, words) })
}

func TestInvitationKeyVector(t *testing.T) {
	const want = "218ea83585ecdf05e1948d8dc78834c892755a8351a2f667e5fbd452b50ff529"
	seed := [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	key := keys.InvitationKey(seed)
	if !key.Equal(derived(t, seed[:], "sennit/1 invitation key")) {
		t.Error("the key is not the documented one")
	}
	if got := hex.EncodeToString(key[32:]); got != want {
		t.Errorf("public key %s, want %s", got, want)
	}
	// An invitation whose seed is that of recovery words must not give the
	// control key away.
	words, err := bip39.NewMnemonic(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	if control, err := keys.FromWords(words); err != nil || control.Equal(key) {
		t.Errorf("the same seed gives the same key for both uses: %v", err)
	}
}
