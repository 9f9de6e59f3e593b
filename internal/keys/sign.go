// Package keys holds a node's key material and decides which public keys and
// signatures count.
//
// Owns: signing and verifying with a domain, the admission of public keys, the
// key files of a data directory, recovery words, and what a space's key events
// say.
// Promises: no signature is checked against a key that was not admitted; a data
// directory gets one identity, whole or not at all; printing an [Identity]
// shows no secret; whatever a file, a person or a peer hands in gives an error,
// never a panic.
// Must not know: clocks, stores, peers, rules, or what a commit says.
package keys

import (
	"crypto/ed25519"

	"filippo.io/edwards25519"

	"github.com/sennit/sennit"
)

// Domain says what a signature is for. The signed bytes are
//
//	"sennit/1 " | domain | 0x00 | message
//
// so a signature made for one purpose never passes for another. No domain
// contains a zero byte, which makes the split unambiguous.
type Domain string

// The domains.
const (
	DomainCommit   Domain = "commit"    // a commit's id
	DomainKeyEvent Domain = "key-event" // the signed part of a key event
	DomainLive     Domain = "live"      // a live message
	DomainHost     Domain = "host"      // a host certificate
	DomainRedeem   Domain = "redeem"    // the use of an invitation
)

// shortMessage is the room for signed bytes on the stack: commits, host
// certificates and redeem statements fit. Longer messages cost one allocation.
const shortMessage = 256

func appendSigned(dst []byte, domain Domain, msg []byte) []byte {
	dst = append(append(dst, "sennit/1 "...), domain...)
	return append(append(dst, 0), msg...)
}

// Sign signs a message for one purpose (Ed25519, RFC 8032 section 5.1.6). The
// key must have been made by crypto/ed25519; one of another length panics.
func Sign(key ed25519.PrivateKey, domain Domain, msg []byte) [64]byte {
	var buf [shortMessage]byte
	return [64]byte(ed25519.Sign(key, appendSigned(buf[:0], domain, msg)))
}

// Admitted is a public key that [Admit] found sound. It is the only thing
// here that verifies, so a key can't be used before it was checked. It is
// small, comparable and safe to keep: callers that meet the same key often
// should, because admission costs nearly as much as a verification.
//
// The zero Admitted verifies nothing.
type Admitted struct{ key [32]byte }

// Key is the public key.
func (a Admitted) Key() [32]byte { return a.key }

// Admit checks an Ed25519 public key. It accepts only the canonical encoding
// of a point of the prime-order subgroup other than the identity, which is
// what every honest key is. It fails with BadInput otherwise.
//
// crypto/ed25519 asks only for a point on the curve, and that is not enough:
//   - under a key of small order one constant signature holds for any message;
//   - a point with a component of small order has signatures whose verdict
//     depends on the implementation;
//   - a second encoding of a point would be a second name for one signer.
//
// See Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs" (2020).
func Admit(pub [32]byte) (Admitted, error) {
	refuse := func(why string) (Admitted, error) {
		return Admitted{}, sennit.Errorf(sennit.BadInput, "the public key %s is refused: %s", sennit.Device(pub), why)
	}
	p, err := new(edwards25519.Point).SetBytes(pub[:])
	if err != nil {
		return refuse("it is not a point on the curve")
	}
	if [32]byte(p.Bytes()) != pub {
		return refuse("it is not in canonical form")
	}
	identity := edwards25519.NewIdentityPoint()
	if new(edwards25519.Point).MultByCofactor(p).Equal(identity) == 1 {
		return refuse("its order is small")
	}
	// With L the subgroup's order, L*p is the identity exactly for the points
	// of the subgroup. A Scalar is reduced modulo L, hence (L-1)*p + p. All of
	// it is public, so variable time is fine.
	one, _ := new(edwards25519.Scalar).SetCanonicalBytes([]byte{0: 1, 31: 0}) // 1 is canonical
	minusOne, zero := new(edwards25519.Scalar).Negate(one), new(edwards25519.Scalar)
	q := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(minusOne, p, zero)
	if q.Add(q, p).Equal(identity) != 1 {
		return refuse("it has a component of small order")
	}
	return Admitted{pub}, nil
}

// Verify reports whether sig is the key's signature of msg for one purpose.
//
// There is one rule, that of crypto/ed25519: S < L, and the encoding of
// [S]B - [k]A equals R byte for byte (cofactorless, RFC 8032 section 5.1.7).
// The verdict is a function of the bytes alone, so all replicas agree. It
// stays that way only while nobody mixes in batch verification: that checks
// the equation times the cofactor and accepts signatures that are refused
// here. Runs of commits save checks by hashing instead, not by batching.
func (a Admitted) Verify(domain Domain, msg []byte, sig *[64]byte) bool {
	if a == (Admitted{}) {
		return false // all zero is the encoding of a point of order 4
	}
	var buf [shortMessage]byte
	return ed25519.Verify(a.key[:], appendSigned(buf[:0], domain, msg), sig[:])
}
