package keys

import (
	"slices"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// Bounds of a space's key events. They are part of validity: what exceeds one
// is refused by everybody. With [wire.MaxControl] they bound what a hostile
// space costs to evaluate: less than a second of one core.
const (
	MaxEvents  = 256 // key events of a space
	MaxDevices = 64  // devices of a space at a time
)

// State is what a space's key events say: which keys control it and which
// devices are its own. It does not change, and is safe for concurrent use.
type State struct {
	space   sennit.Space
	head    sennit.Hash
	keys    wire.Keys
	control []Admitted // keys.Control, admitted
	devices []*wire.KeyEvent
	known   map[sennit.Device]installed
	frozen  *wire.KeyEvent
}

// installed is a device that was added. Removed ones stay known.
type installed struct {
	key     Admitted
	present bool
}

// Evaluate works out what a chain of key events says. It is pure: the same
// records give the same verdict everywhere. The records must not be changed
// afterwards.
//
// The inception's control keys must be different and admitted. Each event
// must name the space and the hash of the event before (the first: the
// space's id), and carry signatures, all of them good, by at least a
// threshold of control keys:
//   - device+, device-, cancel, tombstone: of the control keys in force;
//   - rotate: of the new control keys, as many as the new threshold and the
//     previous next threshold ask for. Each new key must be different,
//     admitted, and among the previous commitments.
//
// A device is added once: a key that was removed does not come back. Its
// HPKE key is not looked at: it matters only to those who seal to it. There
// are at most MaxEvents events, and MaxDevices devices at a time.
//
// Recover, cancel and tombstone are not interpreted: evaluation stops there,
// what follows is not looked at, and [State.Frozen] tells. A recover's
// signatures come from guardians, whose keys are not known here, so they are
// counted but not checked: a frozen chain is a claim, and must not displace a
// chain that is not.
//
// It fails with BadInput, or TooLarge where a bound is exceeded; then nothing
// of the chain counts. An event's hash does not cover its signatures, so a
// bad copy of an event says nothing about a good one with the same hash.
func Evaluate(inc wire.Inception, events []*wire.KeyEvent) (*State, error) {
	// Who has a record from elsewhere than the codec gets the codec's checks.
	if _, err := wire.DecodeInception(inc.Bytes()); err != nil {
		return nil, sennit.Errorf(sennit.CodeOf(err), "evaluate key events: %w", err)
	}
	if len(events) > MaxEvents {
		return nil, sennit.Errorf(sennit.TooLarge, "the space has %d key events; at most %d are allowed", len(events), MaxEvents)
	}
	control, err := admitAll(inc.Keys.Control)
	if err != nil {
		return nil, sennit.Errorf(sennit.CodeOf(err), "evaluate an inception record: %w", err)
	}
	space := inc.Space()
	s := &State{
		space: space, head: sennit.Hash(space),
		keys: inc.Keys, control: control,
		known: make(map[sennit.Device]installed),
	}
	for i, e := range events {
		if err := s.apply(inc, e); err != nil {
			return nil, sennit.Errorf(sennit.CodeOf(err), "evaluate key event %d: %w", i+1, err)
		}
		if s.frozen != nil {
			break
		}
	}
	return s, nil
}

func refused(format string, args ...any) error {
	return sennit.Errorf(sennit.BadInput, format, args...)
}

func (s *State) apply(inc wire.Inception, e *wire.KeyEvent) error {
	if e == nil {
		return refused("it is missing")
	}
	if _, err := wire.DecodeKeyEvent(e.Bytes()); err != nil {
		return err
	}
	if e.Space != s.space {
		return refused("it belongs to another space")
	}
	if e.Prev != s.head {
		return refused("it does not follow the event before it")
	}
	switch e.Type {
	case wire.DeviceAdd:
		if err := s.add(e); err != nil {
			return err
		}
	case wire.DeviceDel:
		if err := s.remove(e); err != nil {
			return err
		}
	case wire.Rotate:
		if err := s.rotate(e); err != nil {
			return err
		}
	case wire.Cancel, wire.Tombstone:
		if err := s.signed(e, s.control, s.keys.Threshold); err != nil {
			return err
		}
		s.frozen = e
		return nil
	case wire.Recover:
		if err := guarded(inc, e); err != nil {
			return err
		}
		s.frozen = e
		return nil
	default:
		return refused("type %d is unknown", e.Type)
	}
	s.head = e.Hash()
	return nil
}

func (s *State) add(e *wire.KeyEvent) error {
	if _, ok := s.known[e.Device]; ok {
		return refused("the device %s was added before", e.Device)
	}
	if len(s.devices) == MaxDevices {
		return sennit.Errorf(sennit.TooLarge, "the space has %d devices, which is as many as are allowed", MaxDevices)
	}
	if err := s.signed(e, s.control, s.keys.Threshold); err != nil {
		return err
	}
	device, err := Admit(e.Device)
	if err != nil {
		return err
	}
	s.known[e.Device] = installed{device, true}
	s.devices = append(s.devices, e)
	return nil
}

func (s *State) remove(e *wire.KeyEvent) error {
	d := s.known[e.Device]
	if !d.present {
		return refused("the space has no device %s", e.Device)
	}
	if err := s.signed(e, s.control, s.keys.Threshold); err != nil {
		return err
	}
	d.present = false
	s.known[e.Device] = d
	s.devices = slices.DeleteFunc(s.devices, func(added *wire.KeyEvent) bool { return added.Device == e.Device })
	return nil
}

func (s *State) rotate(e *wire.KeyEvent) error {
	if len(s.keys.Next) == 0 {
		return refused("the space's control keys can't be replaced: it committed to no next ones")
	}
	committed := make(map[sennit.Hash]bool, len(s.keys.Next))
	for _, h := range s.keys.Next {
		committed[h] = true
	}
	for _, k := range e.Keys.Control {
		if !committed[wire.NextKey(k)] {
			return refused("the new control key %s was not committed to", sennit.Device(k))
		}
	}
	control, err := admitAll(e.Keys.Control)
	if err != nil {
		return err
	}
	if err := s.signed(e, control, max(e.Keys.Threshold, s.keys.NextThreshold)); err != nil {
		return err
	}
	s.keys, s.control = e.Keys, control
	return nil
}

// guarded checks of a recover what can be checked without the guardians' keys.
func guarded(inc wire.Inception, e *wire.KeyEvent) error {
	if len(inc.Guardians) == 0 {
		return refused("the space has no guardians who could recover it")
	}
	return counted(e, len(inc.Guardians), inc.GuardianThreshold)
}

// counted checks how many signatures there are and that each names one of so
// many keys. The codec saw to it that none names the same key twice.
func counted(e *wire.KeyEvent, keys int, threshold uint8) error {
	if len(e.Sigs) < int(threshold) {
		return refused("it has %d signatures; %d are needed", len(e.Sigs), threshold)
	}
	for _, sig := range e.Sigs {
		if int(sig.Key) >= keys {
			return refused("a signature names key %d of %d", sig.Key+1, keys)
		}
	}
	return nil
}

func (s *State) signed(e *wire.KeyEvent, by []Admitted, threshold uint8) error {
	if err := counted(e, len(by), threshold); err != nil {
		return err
	}
	msg := e.Signed()
	for i := range e.Sigs {
		if sig := &e.Sigs[i]; !by[sig.Key].Verify(DomainKeyEvent, msg, &sig.Sig) {
			return refused("the signature by control key %s is wrong", sennit.Device(by[sig.Key].key))
		}
	}
	return nil
}

// admitAll admits control keys. A key that stands there twice would count
// twice towards a threshold.
func admitAll(keys [][32]byte) ([]Admitted, error) {
	all := make([]Admitted, len(keys))
	seen := make(map[[32]byte]bool, len(keys))
	for i, k := range keys {
		if seen[k] {
			return nil, refused("the control key %s stands there twice", sennit.Device(k))
		}
		seen[k] = true
		a, err := Admit(k)
		if err != nil {
			return nil, err
		}
		all[i] = a
	}
	return all, nil
}

// Space is the space that the events are about.
func (s *State) Space() sennit.Space { return s.space }

// Head is the hash of the last event that was interpreted, the space's id if
// there is none: what the next event names as the one before.
func (s *State) Head() sennit.Hash { return s.head }

// Control is the control keys in force, with their thresholds and the
// commitments to the next ones. It is not to be changed.
func (s *State) Control() wire.Keys { return s.keys }

// Device reports whether d is a device of the space now.
func (s *State) Device(d sennit.Device) bool { return s.known[d].present }

// Devices is the devices that the space has now, oldest first, each as the
// event that added it. They are not to be changed.
func (s *State) Devices() []*wire.KeyEvent {
	return slices.Clone(s.devices)
}

// Key is the key of a device that the space has, or had once: what a removed
// device signed before its cut still needs verifying.
func (s *State) Key(d sennit.Device) (Admitted, bool) {
	k, ok := s.known[d]
	return k.key, ok
}

// Frozen is the event at which the evaluation stopped because this program
// does not interpret its type, nil if all were interpreted. The rest of the
// state is as it was before that event.
func (s *State) Frozen() *wire.KeyEvent { return s.frozen }
