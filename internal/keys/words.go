package keys

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"slices"
	"strings"

	// Only the list: the package above it keeps the list in force in a global
	// that anybody may change, and can't say which word is wrong.
	"github.com/tyler-smith/go-bip39/wordlists"

	"github.com/sennit/sennit"
)

const (
	wordCount = 12      // recovery words
	wordBits  = 11      // bits of a word: its place in the list of 2,048
	maxWords  = 1 << 10 // bytes of text in which recovery words are looked for
)

// What HKDF is told (its info, RFC 5869 section 2.3), one for each use.
const (
	infoNextControl = "sennit/1 next control key"
	infoInvitation  = "sennit/1 invitation key"
)

// derive makes an Ed25519 key from a random seed: its RFC 8032 seed is
// HKDF-SHA256(secret: seed, no salt, info, 32 bytes).
func derive(seed [16]byte, info string) ed25519.PrivateKey {
	b, err := hkdf.Key(sha256.New, seed[:], nil, info, ed25519.SeedSize)
	if err != nil {
		panic("keys: HKDF-SHA256 of 16 bytes to 32 failed: " + err.Error()) // no input can cause it
	}
	return ed25519.NewKeyFromSeed(b)
}

// InvitationKey is the one-time key of an invitation link, from the seed that
// the link carries: HKDF-SHA256 with the info "sennit/1 invitation key". It
// signs redeem statements.
func InvitationKey(seed [16]byte) ed25519.PrivateKey { return derive(seed, infoInvitation) }

// FromWords reads recovery words and returns the control key that they are the
// seed of. The words are 12 English words of BIP39: 128 random bits and 4 bits
// of checksum. Case and white space don't matter. The key is derived by
// HKDF-SHA256 with the info "sennit/1 next control key"; BIP39's own stretching
// is for weak passphrases and adds nothing to 128 random bits.
//
// It fails with BadInput if a word is missing or wrong. The error tells the
// word's position, not the word: errors get logged.
func FromWords(words string) (ed25519.PrivateKey, error) {
	seed, err := parseWords(words)
	if err != nil {
		return nil, err
	}
	return derive(seed, infoNextControl), nil
}

// wordBit tells where bit i of a word's place lies in 17 bytes: words follow
// each other, most significant bit first.
func wordBit(word, i int) (at int, mask byte) {
	bit := word*wordBits + i
	return bit / 8, 0x80 >> (bit % 8)
}

// checksum is the last byte: 4 bits of checksum, then 4 that no word covers.
func checksum(seed [16]byte) byte {
	sum := sha256.Sum256(seed[:])
	return sum[0] & 0xf0
}

func formatWords(seed [16]byte) string {
	bits := append(seed[:], checksum(seed))
	words := make([]string, wordCount)
	for w := range words {
		place := 0
		for i := range wordBits {
			place <<= 1
			if at, mask := wordBit(w, i); bits[at]&mask != 0 {
				place |= 1
			}
		}
		words[w] = wordlists.English[place]
	}
	return strings.Join(words, " ")
}

func parseWords(text string) (seed [16]byte, err error) {
	bad := func(hint, format string, args ...any) ([16]byte, error) {
		return [16]byte{}, sennit.Hint(sennit.Errorf(sennit.BadInput, format, args...), hint)
	}
	if len(text) > maxWords {
		return bad("give the 12 words and nothing else", "the recovery words have %d bytes; at most %d are allowed", len(text), maxWords)
	}
	words := strings.Fields(strings.ToLower(text))
	if len(words) != wordCount {
		return bad("give all the words, in order", "there are %d recovery words; want %d", len(words), wordCount)
	}
	var bits [17]byte
	for w, word := range words {
		place, ok := slices.BinarySearch(wordlists.English, word) // the list is sorted
		if !ok {
			return bad("check its spelling", "recovery word %d is not in the BIP39 list", w+1)
		}
		for i := range wordBits {
			if place>>(wordBits-1-i)&1 == 1 {
				at, mask := wordBit(w, i)
				bits[at] |= mask
			}
		}
	}
	copy(seed[:], bits[:])
	if bits[16] != checksum(seed) {
		return bad("one of them is another word of the list, or two have changed places", "the recovery words don't fit together: their checksum is wrong")
	}
	return seed, nil
}
