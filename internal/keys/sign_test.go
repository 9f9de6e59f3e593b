package keys_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"filippo.io/edwards25519"
	"pgregory.net/rapid"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/keys"
)

var domains = []keys.Domain{
	keys.DomainCommit, keys.DomainKeyEvent, keys.DomainLive, keys.DomainHost, keys.DomainRedeem,
}

// keyOf is a key whose seed is the name.
func keyOf(name string) ed25519.PrivateKey {
	var seed [32]byte
	copy(seed[:], name)
	return ed25519.NewKeyFromSeed(seed[:])
}

func pubOf(key ed25519.PrivateKey) [32]byte { return [32]byte(key.Public().(ed25519.PublicKey)) }

func admit(t testing.TB, pub [32]byte) keys.Admitted {
	t.Helper()
	a, err := keys.Admit(pub)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func wide(t testing.TB, b []byte) *edwards25519.Scalar {
	t.Helper()
	s, err := edwards25519.NewScalar().SetUniformBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// order is the order L of the prime-order subgroup, little-endian (RFC 8032
// section 5.1).
var order = [32]byte{
	0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
	31: 0x10,
}

// timesOrder is L*p, by doubling and adding, which no reduction can spoil.
func timesOrder(p *edwards25519.Point) *edwards25519.Point {
	q := edwards25519.NewIdentityPoint()
	for i := 255; i >= 0; i-- {
		q.Add(q, q)
		if order[i/8]>>(i%8)&1 == 1 {
			q.Add(q, p)
		}
	}
	return q
}

// torsion is the 8 points of small order, starting with the identity.
func torsion(t testing.TB) []*edwards25519.Point {
	t.Helper()
	four := func(p *edwards25519.Point) *edwards25519.Point {
		q := new(edwards25519.Point).Add(p, p)
		return q.Add(q, q)
	}
	// L times a point of the whole group has an order that divides 8; half of
	// them have order 8.
	for y := byte(2); y < 100; y++ {
		p, err := new(edwards25519.Point).SetBytes([]byte{0: y, 31: 0})
		if err != nil {
			continue
		}
		g := timesOrder(p)
		if four(g).Equal(edwards25519.NewIdentityPoint()) == 1 {
			continue
		}
		points := []*edwards25519.Point{edwards25519.NewIdentityPoint()}
		for len(points) < 8 {
			points = append(points, new(edwards25519.Point).Add(points[len(points)-1], g))
		}
		if last := new(edwards25519.Point).Add(points[7], g); last.Equal(points[0]) != 1 {
			t.Fatal("the point found is not of order 8")
		}
		return points
	}
	t.Fatal("no point of order 8 found")
	return nil
}

// wantRefused also looks at the reason: the checks overlap (each encoding that
// is not canonical happens to be of small or mixed order), and each must work.
func wantRefused(t *testing.T, pub [32]byte, why string) {
	t.Helper()
	a, err := keys.Admit(pub)
	if sennit.CodeOf(err) != sennit.BadInput || !strings.Contains(err.Error(), why) || a != (keys.Admitted{}) {
		t.Errorf("%x: %v, want bad-input because of %q", pub, err, why)
	}
}

func TestAdmitRefusesPointsOfSmallOrder(t *testing.T) {
	seen := make(map[[32]byte]bool)
	for _, p := range torsion(t) {
		pub := [32]byte(p.Bytes())
		seen[pub] = true
		wantRefused(t, pub, "order is small")
	}
	if len(seen) != 8 {
		t.Errorf("%d different points, want 8", len(seen))
	}
}

// Every 32 bytes that stand for a y of at least p, and both signs of the two
// points whose x is 0.
func TestAdmitRefusesEncodingsThatAreNotCanonical(t *testing.T) {
	var odd [][32]byte
	for y := range 19 { // p = 2^255 - 19
		b := [32]byte{0: 0xed + byte(y), 31: 0x7f}
		for i := 1; i < 31; i++ {
			b[i] = 0xff
		}
		odd = append(odd, b)
		b[31] |= 0x80
		odd = append(odd, b)
	}
	odd = append(odd, [32]byte{0: 1, 31: 0x80}) // (0, 1) with the sign set
	minusOne := odd[0]
	minusOne[0], minusOne[31] = 0xec, 0xff // (0, -1) with the sign set
	odd = append(odd, minusOne)

	onCurve := 0
	for _, pub := range odd {
		why := "not a point"
		if _, err := new(edwards25519.Point).SetBytes(pub[:]); err == nil {
			onCurve++
			why = "canonical"
		}
		wantRefused(t, pub, why)
	}
	// Without points that lax decoders accept the test would show nothing.
	if onCurve != 26 {
		t.Errorf("%d of the encodings are points, want 26", onCurve)
	}
}

func TestAdmitRefusesKeysWithAComponentOfSmallOrder(t *testing.T) {
	for n := range 8 {
		pub := pubOf(keyOf(fmt.Sprint("signer", n)))
		p, err := new(edwards25519.Point).SetBytes(pub[:])
		if err != nil {
			t.Fatal(err)
		}
		for i, small := range torsion(t) {
			mixed := [32]byte(new(edwards25519.Point).Add(p, small).Bytes())
			if i == 0 {
				admit(t, mixed)
			} else {
				wantRefused(t, mixed, "component of small order")
			}
		}
	}
}

func TestAdmitRefusesWhatIsNoPoint(t *testing.T) {
	refused := 0
	for y := byte(2); y < 50; y++ {
		pub := [32]byte{0: y}
		if _, err := new(edwards25519.Point).SetBytes(pub[:]); err != nil {
			refused++
			wantRefused(t, pub, "not a point")
		}
	}
	if refused == 0 {
		t.Error("all of them were points")
	}
}

// Admission agrees with multiplication by the group's order, done naively.
func TestAdmitAgreesWithTheDefinition(t *testing.T) {
	small := torsion(t)
	rapid.Check(t, func(t *rapid.T) {
		var wideBytes [64]byte
		copy(wideBytes[:], rapid.SliceOfN(rapid.Byte(), 64, 64).Draw(t, "scalar"))
		s, err := edwards25519.NewScalar().SetUniformBytes(wideBytes[:])
		if err != nil {
			t.Fatal(err)
		}
		p := new(edwards25519.Point).ScalarBaseMult(s)
		p.Add(p, small[rapid.IntRange(0, 7).Draw(t, "torsion")])
		identity := edwards25519.NewIdentityPoint()
		want := p.Equal(identity) != 1 && timesOrder(p).Equal(identity) == 1
		a, err := keys.Admit([32]byte(p.Bytes()))
		if (err == nil) != want {
			t.Fatalf("admitted: %v, want %v", err == nil, want)
		}
		if err == nil && a.Key() != [32]byte(p.Bytes()) {
			t.Fatal("another key was admitted")
		}
	})
}

// The key 01 00.. is the identity. Its signature (R = identity, S = 0) holds
// for any message, as far as crypto/ed25519 is concerned.
func TestConstantSignatureOfTheIdentityKeyIsOutOfReach(t *testing.T) {
	pub, sig := [32]byte{0: 1}, [64]byte{0: 1}
	for _, msg := range []string{"", "pay", "anything"} {
		if !ed25519.Verify(pub[:], []byte(msg), sig[:]) {
			t.Fatal("crypto/ed25519 refuses the constant signature: admission need not")
		}
	}
	if _, err := keys.Admit(pub); err == nil {
		t.Error("the identity was admitted")
	}
}

// The zero Admitted is what a caller has who forgot to admit. All zero is
// also the encoding of a point of order 4, under which one message in four has
// a forged signature.
func TestZeroAdmittedVerifiesNothing(t *testing.T) {
	var none keys.Admitted
	sig, forged := [64]byte{0: 1}, 0
	for n := range 64 {
		msg := fmt.Append(nil, n)
		if ed25519.Verify(make([]byte, 32), signedBytes(keys.DomainCommit, msg), sig[:]) {
			forged++
		}
		if none.Verify(keys.DomainCommit, msg, &sig) {
			t.Fatal("the zero Admitted verified a forgery")
		}
	}
	if forged == 0 {
		t.Error("no forgery among the messages: the test shows nothing")
	}
}

// signedBytes pins what is signed.
func signedBytes(d keys.Domain, msg []byte) []byte {
	return append([]byte("sennit/1 "+string(d)+"\x00"), msg...)
}

func TestSignaturesCoverTheDomain(t *testing.T) {
	names := map[keys.Domain]string{
		keys.DomainCommit: "commit", keys.DomainKeyEvent: "key-event", keys.DomainLive: "live",
		keys.DomainHost: "host", keys.DomainRedeem: "redeem",
	}
	if len(names) != len(domains) {
		t.Fatal("two domains are the same")
	}
	key := keyOf("signer")
	a := admit(t, pubOf(key))
	for _, n := range []int{0, 1, 32, 235, 255, 256, 257, 5000} {
		msg := bytes.Repeat([]byte{0, 7}, n)[:n]
		for _, d := range domains {
			if string(d) != names[d] {
				t.Errorf("the domain %q is not %q", d, names[d])
			}
			sig := keys.Sign(key, d, msg)
			if !ed25519.Verify(key.Public().(ed25519.PublicKey), signedBytes(d, msg), sig[:]) {
				t.Errorf("%s, %d bytes: the signature is not over the documented bytes", d, n)
			}
			for _, other := range domains {
				if got := a.Verify(other, msg, &sig); got != (other == d) {
					t.Errorf("%d bytes signed for %s verify for %s: %v", n, d, other, got)
				}
			}
			// Neither do a domain's bytes pass for the message's.
			for _, other := range domains {
				if other != d && a.Verify(other, signedBytes(d, msg), &sig) {
					t.Errorf("what was signed for %s passes for %s", d, other)
				}
			}
			if bare := ed25519.Sign(key, msg); a.Verify(d, msg, (*[64]byte)(bare)) {
				t.Errorf("a signature without a domain passes for %s", d)
			}
		}
	}
}

func TestVerifyRefusesEveryFlippedBit(t *testing.T) {
	key, other := keyOf("signer"), keyOf("another")
	a, b := admit(t, pubOf(key)), admit(t, pubOf(other))
	msg := []byte("a commit's id of thirty-two byte")
	sig := keys.Sign(key, keys.DomainCommit, msg)
	if !a.Verify(keys.DomainCommit, msg, &sig) {
		t.Fatal("a good signature is refused")
	}
	if b.Verify(keys.DomainCommit, msg, &sig) {
		t.Error("another key verifies it")
	}
	for i := range 8 * len(sig) {
		bad := sig
		bad[i/8] ^= 1 << (i % 8)
		if a.Verify(keys.DomainCommit, msg, &bad) {
			t.Errorf("bit %d of the signature may be flipped", i)
		}
	}
	for i := range 8 * len(msg) {
		bad := bytes.Clone(msg)
		bad[i/8] ^= 1 << (i % 8)
		if a.Verify(keys.DomainCommit, bad, &sig) {
			t.Errorf("bit %d of the message may be flipped", i)
		}
	}
	if zero := new([64]byte); a.Verify(keys.DomainCommit, msg, zero) {
		t.Error("the zero signature verifies")
	}
}

// S and S+L give the same point; only the smaller one counts, so nobody can
// make a second signature from a first.
func TestVerifyRefusesMalleatedSignatures(t *testing.T) {
	key := keyOf("signer")
	a := admit(t, pubOf(key))
	tried := 0
	for n := range 32 {
		msg := fmt.Append(nil, n)
		sig := keys.Sign(key, keys.DomainCommit, msg)
		carry := 0
		for i := range 32 {
			v := int(sig[32+i]) + int(order[i]) + carry
			sig[32+i], carry = byte(v), v>>8
		}
		if carry == 0 {
			tried++
			if a.Verify(keys.DomainCommit, msg, &sig) {
				t.Fatal("a signature with S >= L verifies")
			}
		}
	}
	if tried == 0 {
		t.Error("no S+L fitted: the test shows nothing")
	}
}

// The owner of a key can make signatures that a cofactored (batch) check
// accepts and a cofactorless one refuses. The verdict here must be the latter,
// always: half of the nodes on either side would fork the state.
func TestVerifyRefusesWhatOnlyBatchesAccept(t *testing.T) {
	key := keyOf("signer")
	a := admit(t, pubOf(key))
	h := sha512.Sum512(key.Seed())
	secret, err := edwards25519.NewScalar().SetBytesWithClamping(h[:32])
	if err != nil {
		t.Fatal(err)
	}
	point, err := new(edwards25519.Point).SetBytes(key[32:])
	if err != nil {
		t.Fatal(err)
	}
	msg := []byte("message")
	nonce := wide(t, bytes.Repeat([]byte{7}, 64))
	for i, small := range torsion(t) {
		r := new(edwards25519.Point).ScalarBaseMult(nonce)
		r.Add(r, small)
		hram := sha512.Sum512(append(append(r.Bytes(), key[32:]...), signedBytes(keys.DomainCommit, msg)...))
		k := wide(t, hram[:])
		s := edwards25519.NewScalar().MultiplyAdd(k, secret, nonce)
		sig := [64]byte(append(r.Bytes(), s.Bytes()...))

		// 8(sB - kA - R) = 0: what a batch would check.
		diff := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(edwards25519.NewScalar().Negate(k), point, s)
		diff.Subtract(diff, r)
		if diff.MultByCofactor(diff).Equal(edwards25519.NewIdentityPoint()) != 1 {
			t.Fatalf("multiple %d: a batch would refuse it: the test shows nothing", i)
		}
		if got := a.Verify(keys.DomainCommit, msg, &sig); got != (i == 0) {
			t.Errorf("R with multiple %d of the point of order 8 verifies: %v", i, got)
		}
	}
}

// R is compared as bytes, so a second encoding of it is another signature, and
// refused. (0, 1) is R for S = k*a, with the nonce 0.
func TestVerifyRefusesRThatIsNotCanonical(t *testing.T) {
	key := keyOf("signer")
	a := admit(t, pubOf(key))
	h := sha512.Sum512(key.Seed())
	secret, err := edwards25519.NewScalar().SetBytesWithClamping(h[:32])
	if err != nil {
		t.Fatal(err)
	}
	pPlusOne := [32]byte{0: 0xee, 31: 0x7f}
	for i := 1; i < 31; i++ {
		pPlusOne[i] = 0xff
	}
	for r, want := range map[[32]byte]bool{{0: 1}: true, {0: 1, 31: 0x80}: false, pPlusOne: false} {
		hram := sha512.Sum512(append(append(r[:], key[32:]...), signedBytes(keys.DomainCommit, nil)...))
		s := edwards25519.NewScalar().Multiply(wide(t, hram[:]), secret)
		sig := [64]byte(append(r[:], s.Bytes()...))
		if got := a.Verify(keys.DomainCommit, nil, &sig); got != want {
			t.Errorf("R = %x verifies: %v, want %v", r, got, want)
		}
	}
}

// What is signed is forever: a change here breaks every signature there is.
func TestSignatureVector(t *testing.T) {
	const want = "3eea3a116c05801494951fcf5bc8666e4725e78cd32c7cfc5c9922457c8ddf12" +
		"70964f5b8fc7053800947c79c62499a9a9336af7c47aaa7f53d405fbdb113207"
	sig := keys.Sign(keyOf("vector"), keys.DomainCommit, make([]byte, 32))
	if got := hex.EncodeToString(sig[:]); got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
}

func TestSigningAllocatesNothing(t *testing.T) {
	key := keyOf("signer")
	pub := pubOf(key)
	a := admit(t, pub)
	msg := make([]byte, 106)
	sig := keys.Sign(key, keys.DomainHost, msg)
	for name, f := range map[string]func(){
		"sign":   func() { keys.Sign(key, keys.DomainHost, msg) },
		"verify": func() { a.Verify(keys.DomainHost, msg, &sig) },
		"admit":  func() { _, _ = keys.Admit(pub) },
	} {
		if n := testing.AllocsPerRun(20, f); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}

func FuzzAdmit(f *testing.F) {
	for _, p := range torsion(f) {
		f.Add(p.Bytes())
	}
	f.Add([]byte(keyOf("signer").Public().(ed25519.PublicKey)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var pub [32]byte
		copy(pub[:], b)
		a, err := keys.Admit(pub)
		p, perr := new(edwards25519.Point).SetBytes(pub[:])
		identity := edwards25519.NewIdentityPoint()
		sound := perr == nil && bytes.Equal(p.Bytes(), pub[:]) && p.Equal(identity) != 1 && timesOrder(p).Equal(identity) == 1
		if sound != (err == nil) || sound && a.Key() != pub {
			t.Errorf("%x: %v, sound: %v", pub, err, sound)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	key, id := keyOf("signer"), make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		keys.Sign(key, keys.DomainCommit, id)
	}
}

func BenchmarkVerify(b *testing.B) {
	key, id := keyOf("signer"), make([]byte, 32)
	a, sig := admit(b, pubOf(key)), keys.Sign(key, keys.DomainCommit, id)
	b.ReportAllocs()
	for b.Loop() {
		if !a.Verify(keys.DomainCommit, id, &sig) {
			b.Fatal("refused")
		}
	}
}

func BenchmarkAdmit(b *testing.B) {
	pub := pubOf(keyOf("signer"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keys.Admit(pub); err != nil {
			b.Fatal(err)
		}
	}
}
