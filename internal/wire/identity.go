package wire

import (
	"encoding/binary"

	"github.com/sennit/sennit"
)

// Bounds of identities.
const (
	MaxControl   = 16      // control keys of a space
	MaxGuardians = 16      // guardians of a space
	MaxHPKE      = 2048    // bytes of a device's HPKE public key
	MaxName      = 64      // bytes of a device's name
	MaxKeyEvent  = 8 << 10 // bytes of an encoded key event with its signatures
)

// SpaceKind says what a space is for.
type SpaceKind uint8

// The kinds of space.
const (
	Person    SpaceKind = 1
	Group     SpaceKind = 2
	Board     SpaceKind = 3
	Publisher SpaceKind = 4
)

// Keys is a set of control keys with a threshold, and the commitment to the
// next set: hashes of keys that nobody has seen yet (pre-rotation).
type Keys struct {
	Control       [][32]byte    // Ed25519 public keys
	Threshold     uint8         // how many must sign
	Next          []sennit.Hash // [NextKey] of each next control key
	NextThreshold uint8
}

// NextKey is the commitment to a control key: SHA-256('N' 1 | key).
func NextKey(key [32]byte) sennit.Hash {
	return sum(append([]byte{tagNextKey, Format}, key[:]...))
}

func (k Keys) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(k.Control)))
	for _, c := range k.Control {
		dst = append(dst, c[:]...)
	}
	dst = append(dst, k.Threshold)
	return append(appendHashes(dst, k.Next), k.NextThreshold)
}

func (r *reader) keys() (k Keys) {
	for range r.count(MaxControl, 32) {
		k.Control = append(k.Control, r.hash())
	}
	k.Threshold = r.u8()
	k.Next = r.hashes(MaxControl)
	k.NextThreshold = r.u8()
	if k.Threshold == 0 || int(k.Threshold) > len(k.Control) || int(k.NextThreshold) > len(k.Next) ||
		k.NextThreshold == 0 != (len(k.Next) == 0) {
		r.fail("threshold")
	}
	return k
}

// Inception is the record whose SHA-256 is a space's id.
//
//	'I' 1 | kind u8 | control keys list | threshold u8 | next commitments list | threshold u8 |
//	guardians list of spaces | threshold u8 | nonce 16 bytes
type Inception struct {
	Kind              SpaceKind
	Keys              Keys
	Guardians         []sennit.Space
	GuardianThreshold uint8
	Nonce             [16]byte // random: the same keys can begin several spaces
}

// Bytes is the record's encoding.
func (i Inception) Bytes() []byte {
	dst := i.Keys.append([]byte{tagInception, Format, byte(i.Kind)})
	dst = binary.AppendUvarint(dst, uint64(len(i.Guardians)))
	for _, g := range i.Guardians {
		dst = append(dst, g[:]...)
	}
	return append(append(dst, i.GuardianThreshold), i.Nonce[:]...)
}

// Space is the id that the record certifies.
func (i Inception) Space() sennit.Space { return sennit.Space(sum(i.Bytes())) }

// DecodeInception decodes an inception record.
func DecodeInception(b []byte) (Inception, error) {
	r := reader{b: b}
	var i Inception
	r.tag(tagInception, "inception record")
	i.Kind = SpaceKind(r.u8())
	i.Keys = r.keys()
	for range r.count(MaxGuardians, 32) {
		i.Guardians = append(i.Guardians, sennit.Space(r.hash()))
	}
	i.GuardianThreshold = r.u8()
	copy(i.Nonce[:], r.take(16))
	if i.Kind == 0 || int(i.GuardianThreshold) > len(i.Guardians) || i.GuardianThreshold == 0 != (len(i.Guardians) == 0) {
		r.fail("inception record")
	}
	return i, r.end("inception record")
}

// KeyEventType says what a key event does.
type KeyEventType uint8

// The key events after inception.
const (
	Rotate    KeyEventType = 1 // new control keys, which the last ones committed to
	DeviceAdd KeyEventType = 2
	DeviceDel KeyEventType = 3
	Recover   KeyEventType = 4 // new control keys, by guardians
	Cancel    KeyEventType = 5 // stops a recovery that is under way
	Tombstone KeyEventType = 6 // the space ends
)

// KeyEvent changes a space's keys or devices. Events form a chain: each names
// the hash of the one before, the first the space's id. Whose commit carries
// an event is irrelevant: it holds its own signatures.
//
//	'K' 1 | space hash | prev hash | type u8 | body by type | signatures list of (key u8, 64 bytes)
//
//	rotate, recover: keys as in the inception record
//	device+: device key | HPKE key bytes | name text | added u64 (milliseconds since 1970)
//	device-: device key | salted Merkle root over (space, cuts) hash
//	cancel: hash of the recovery
//	tombstone: nothing
//
// The signed part is everything before the signatures; its SHA-256 is the
// event's hash. A signature's key is an index into the control keys that the
// event needs: the new ones for rotate, the guardians for recover (whose own
// keys then sign), the present ones otherwise.
type KeyEvent struct {
	Space  sennit.Space
	Prev   sennit.Hash
	Type   KeyEventType
	Keys   Keys          // rotate, recover
	Device sennit.Device // device+, device-
	HPKE   []byte        // device+
	Name   string        // device+
	Added  uint64        // device+
	Target sennit.Hash   // device-: root of the cuts; cancel: the recovery
	Sigs   []KeySig
}

// KeySig is one signature of a key event.
type KeySig struct {
	Key uint8
	Sig [64]byte
}

// Signed is the part of the encoding that is hashed and signed.
func (e *KeyEvent) Signed() []byte {
	dst := append([]byte{tagKeyEvent, Format}, e.Space[:]...)
	dst = append(append(dst, e.Prev[:]...), byte(e.Type))
	switch e.Type {
	case Rotate, Recover:
		dst = e.Keys.append(dst)
	case DeviceAdd:
		dst = appendBytes(append(dst, e.Device[:]...), e.HPKE)
		dst = binary.BigEndian.AppendUint64(appendBytes(dst, e.Name), e.Added)
	case DeviceDel:
		dst = append(append(dst, e.Device[:]...), e.Target[:]...)
	case Cancel:
		dst = append(dst, e.Target[:]...)
	}
	return dst
}

// Hash names the event: SHA-256 of its signed part.
func (e *KeyEvent) Hash() sennit.Hash { return sum(e.Signed()) }

// Bytes is the event's encoding.
func (e *KeyEvent) Bytes() []byte {
	dst := binary.AppendUvarint(e.Signed(), uint64(len(e.Sigs)))
	for _, s := range e.Sigs {
		dst = append(append(dst, s.Key), s.Sig[:]...)
	}
	return dst
}

// DecodeKeyEvent decodes a key event.
func DecodeKeyEvent(b []byte) (*KeyEvent, error) {
	if len(b) > MaxKeyEvent {
		return nil, malformed("key event: too long")
	}
	r := reader{b: b}
	e := new(KeyEvent)
	r.tag(tagKeyEvent, "key event")
	e.Space, e.Prev, e.Type = sennit.Space(r.hash()), r.hash(), KeyEventType(r.u8())
	switch e.Type {
	case Rotate, Recover:
		e.Keys = r.keys()
	case DeviceAdd:
		e.Device, e.HPKE, e.Name, e.Added = sennit.Device(r.hash()), r.bytes(MaxHPKE), string(r.text(MaxName)), r.u64()
	case DeviceDel:
		e.Device, e.Target = sennit.Device(r.hash()), r.hash()
	case Cancel:
		e.Target = r.hash()
	case Tombstone:
	default:
		r.fail("key event: unknown type")
	}
	for i := range r.count(MaxControl, 65) {
		s := KeySig{Key: r.u8()}
		copy(s.Sig[:], r.take(64))
		if i > 0 && e.Sigs[i-1].Key >= s.Key {
			r.fail("key event: signatures out of order")
		}
		e.Sigs = append(e.Sigs, s)
	}
	return e, r.end("key event")
}

// Key is the body of a key op: an inception record or a key event.
type Key struct {
	Inception *Inception
	Event     *KeyEvent
}

// Append encodes the body.
func (k Key) Append(dst []byte) []byte {
	if k.Inception != nil {
		return append(dst, k.Inception.Bytes()...)
	}
	return append(dst, k.Event.Bytes()...)
}

// DecodeKey decodes the body of a key op.
func DecodeKey(b []byte) (Key, error) {
	if len(b) > 0 && b[0] == tagInception {
		i, err := DecodeInception(b)
		return Key{Inception: &i}, err
	}
	e, err := DecodeKeyEvent(b)
	return Key{Event: e}, err
}

// MaxEvidence bounds encoded evidence.
const MaxEvidence = 256 << 10

// Evidence is a principal's inception record and key events, which show to
// anybody which devices are its own.
//
//	inception bytes | events list of bytes
type Evidence struct {
	Inception Inception
	Events    []*KeyEvent
}

// Append encodes the evidence.
func (e *Evidence) Append(dst []byte) []byte {
	dst = appendBytes(dst, e.Inception.Bytes())
	dst = binary.AppendUvarint(dst, uint64(len(e.Events)))
	for _, ev := range e.Events {
		dst = appendBytes(dst, ev.Bytes())
	}
	return dst
}

// Key names evidence: SHA-256('E' 1 | space | hash of each event), so that each
// branch of forked key events has its own.
func (e *Evidence) Key() sennit.Hash {
	space := e.Inception.Space()
	b := append([]byte{tagEvidence, Format}, space[:]...)
	for _, ev := range e.Events {
		h := ev.Hash()
		b = append(b, h[:]...)
	}
	return sum(b)
}

// DecodeEvidence decodes evidence. Whether it shows anything is for package
// keys to say.
func DecodeEvidence(b []byte) (*Evidence, error) {
	if len(b) > MaxEvidence {
		return nil, malformed("evidence: too long")
	}
	r := reader{b: b}
	e := r.evidence()
	return e, r.end("evidence")
}

func (r *reader) evidence() *Evidence {
	e := new(Evidence)
	i, err := DecodeInception(r.bytes(MaxKeyEvent))
	if err != nil {
		if r.err == nil {
			r.stop(err)
		}
		return e
	}
	e.Inception = i
	for range r.count(MaxEvidence/64, 64) {
		ev, err := DecodeKeyEvent(r.bytes(MaxKeyEvent))
		if err != nil {
			if r.err == nil {
				r.stop(err)
			}
			return e
		}
		e.Events = append(e.Events, ev)
	}
	return e
}
