package keys_test

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"testing"

	"filippo.io/edwards25519"
	"pgregory.net/rapid"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/wire"
)

// keySet is control keys with the threshold that they sign by.
type keySet struct {
	keys      []ed25519.PrivateKey
	threshold int
}

func newSet(name string, n, threshold int) keySet {
	s := keySet{threshold: threshold}
	for i := range n {
		s.keys = append(s.keys, keyOf(fmt.Sprint(name, i)))
	}
	return s
}

// record is the set as a record, committed to the next one.
func (s keySet) record(next keySet) wire.Keys {
	k := wire.Keys{Threshold: uint8(s.threshold), NextThreshold: uint8(next.threshold)}
	for _, c := range s.keys {
		k.Control = append(k.Control, pubOf(c))
	}
	for _, c := range next.keys {
		k.Next = append(k.Next, wire.NextKey(pubOf(c)))
	}
	return k
}

// sign adds the signatures of the first n keys.
func (s keySet) sign(e *wire.KeyEvent, n int) *wire.KeyEvent {
	for i := range n {
		e.Sigs = append(e.Sigs, wire.KeySig{Key: uint8(i), Sig: keys.Sign(s.keys[i], keys.DomainKeyEvent, e.Signed())})
	}
	return e
}

func inception(now, next keySet) wire.Inception {
	return wire.Inception{Kind: wire.Person, Keys: now.record(next), Nonce: [16]byte{1}}
}

// chain makes events one after the other.
type chain struct {
	inc    wire.Inception
	set    keySet
	events []*wire.KeyEvent
}

func newChain(now, next keySet) *chain { return &chain{inc: inception(now, next), set: now} }

// event is the next event, not signed.
func (c *chain) event(typ wire.KeyEventType) *wire.KeyEvent {
	e := &wire.KeyEvent{Space: c.inc.Space(), Prev: sennit.Hash(c.inc.Space()), Type: typ}
	if n := len(c.events); n > 0 {
		e.Prev = c.events[n-1].Hash()
	}
	return e
}

func device(name string) sennit.Device { return sennit.Device(pubOf(keyOf("device " + name))) }

func (c *chain) adding(name string) *wire.KeyEvent {
	e := c.event(wire.DeviceAdd)
	e.Device, e.Name, e.HPKE, e.Added = device(name), name, []byte("sealed to "+name), 1
	return e
}

func (c *chain) removing(name string) *wire.KeyEvent {
	e := c.event(wire.DeviceDel)
	e.Device = device(name)
	return e
}

func (c *chain) rotating(to, next keySet) *wire.KeyEvent {
	e := c.event(wire.Rotate)
	e.Keys = to.record(next)
	return e
}

// push appends an event with signatures by as many keys as are needed.
func (c *chain) push(e *wire.KeyEvent) { c.events = append(c.events, c.set.sign(e, c.set.threshold)) }

func (c *chain) rotate(to, next keySet) {
	e := c.rotating(to, next)
	c.set = to
	c.push(e)
}

func (c *chain) evaluate(t testing.TB) *keys.State {
	t.Helper()
	s, err := keys.Evaluate(c.inc, c.events)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func present(s *keys.State) []sennit.Device {
	var ds []sennit.Device
	for _, e := range s.Devices() {
		ds = append(ds, e.Device)
	}
	return ds
}

func TestEvaluateFollowsDevicesAndKeys(t *testing.T) {
	a, b, c := newSet("a", 1, 1), newSet("b", 2, 2), newSet("c", 1, 1)
	ch := newChain(a, b)
	if s := ch.evaluate(t); s.Space() != ch.inc.Space() || s.Head() != sennit.Hash(ch.inc.Space()) || len(s.Devices()) != 0 {
		t.Errorf("without events: head %s, %d devices", s.Head(), len(s.Devices()))
	}
	ch.push(ch.adding("one"))
	ch.push(ch.adding("two"))
	ch.rotate(b, c)
	ch.push(ch.removing("one"))
	ch.push(ch.adding("three"))
	s := ch.evaluate(t)

	if want := []sennit.Device{device("two"), device("three")}; !slices.Equal(present(s), want) {
		t.Errorf("devices %v, want %v", present(s), want)
	}
	for name, want := range map[string]bool{"one": false, "two": true, "three": true, "four": false} {
		if s.Device(device(name)) != want {
			t.Errorf("device %s present: %v, want %v", name, !want, want)
		}
		k, ok := s.Key(device(name))
		if known := name != "four"; ok != known || known && k.Key() != [32]byte(device(name)) {
			t.Errorf("key of device %s: %v, known: %v", name, k, ok)
		}
	}
	if got := s.Devices()[1]; got.Name != "three" || string(got.HPKE) != "sealed to three" {
		t.Errorf("the device is %q with %q", got.Name, got.HPKE)
	}
	if got := s.Control(); !slices.Equal(got.Control, b.record(c).Control) || got.Threshold != 2 || !slices.Equal(got.Next, b.record(c).Next) {
		t.Errorf("control keys %v", got)
	}
	if s.Head() != ch.events[4].Hash() || s.Frozen() != nil {
		t.Errorf("head %s, frozen by %v", s.Head(), s.Frozen())
	}
}

// mixed is a device key with a component of small order.
func mixed(t testing.TB) sennit.Device {
	p, err := new(edwards25519.Point).SetBytes(keyOf("mixed")[32:])
	if err != nil {
		t.Fatal(err)
	}
	return sennit.Device(p.Add(p, torsion(t)[1]).Bytes())
}

func TestEvaluateRefuses(t *testing.T) {
	a, b, c := newSet("a", 2, 2), newSet("b", 2, 2), newSet("c", 1, 1)
	thief := newSet("thief", 2, 2)
	for _, x := range []struct {
		name, message string
		next          func(c *chain) *wire.KeyEvent // after device+ "one"
	}{
		{"nothing", "it is missing", func(c *chain) *wire.KeyEvent { return nil }},
		{"another space", "another space", func(c *chain) *wire.KeyEvent {
			e := c.adding("two")
			e.Space[0]++
			return a.sign(e, 2)
		}},
		{"not the one before", "does not follow", func(c *chain) *wire.KeyEvent {
			e := c.adding("two")
			e.Prev = sennit.Hash(c.inc.Space())
			return a.sign(e, 2)
		}},
		{"no signature", "0 signatures; 2 are needed", func(c *chain) *wire.KeyEvent { return c.adding("two") }},
		{"one signature of two", "1 signatures; 2 are needed", func(c *chain) *wire.KeyEvent { return a.sign(c.adding("two"), 1) }},
		{"the same key twice", "signatures out of order", func(c *chain) *wire.KeyEvent {
			e := a.sign(c.adding("two"), 1)
			e.Sigs = append(e.Sigs, e.Sigs[0])
			return e
		}},
		{"a key that is none", "names key 3 of 2", func(c *chain) *wire.KeyEvent {
			e := a.sign(c.adding("two"), 2)
			e.Sigs = append(e.Sigs, wire.KeySig{Key: 2})
			return e
		}},
		{"others' signatures", "is wrong", func(c *chain) *wire.KeyEvent { return thief.sign(c.adding("two"), 2) }},
		{"one bad signature too many", "is wrong", func(c *chain) *wire.KeyEvent {
			e := a.sign(c.adding("two"), 2)
			e.Sigs[1].Sig[0]++
			return e
		}},
		{"a signature for something else", "is wrong", func(c *chain) *wire.KeyEvent {
			e := a.sign(c.adding("two"), 2)
			e.Sigs[1].Sig = keys.Sign(a.keys[1], keys.DomainCommit, e.Signed())
			return e
		}},
		{"changed after signing", "is wrong", func(c *chain) *wire.KeyEvent {
			e := a.sign(c.adding("two"), 2)
			e.Name = "three"
			return e
		}},
		{"the next keys too early", "is wrong", func(c *chain) *wire.KeyEvent { return b.sign(c.adding("two"), 2) }},
		{"a device twice", "was added before", func(c *chain) *wire.KeyEvent { return a.sign(c.adding("one"), 2) }},
		{"a device key of mixed order", "component of small order", func(c *chain) *wire.KeyEvent {
			e := c.adding("two")
			e.Device = mixed(t)
			return a.sign(e, 2)
		}},
		{"a device key of small order", "order is small", func(c *chain) *wire.KeyEvent {
			e := c.adding("two")
			e.Device = sennit.Device{0: 1}
			return a.sign(e, 2)
		}},
		{"a device's name that is not text", "malformed text", func(c *chain) *wire.KeyEvent {
			e := c.adding("two")
			e.Name = "\n"
			return a.sign(e, 2)
		}},
		{"a device that isn't there", "has no device", func(c *chain) *wire.KeyEvent { return a.sign(c.removing("two"), 2) }},
		{"removal without a signature", "0 signatures", func(c *chain) *wire.KeyEvent { return c.removing("one") }},
		{"rotation to other keys", "was not committed to", func(c *chain) *wire.KeyEvent { return thief.sign(c.rotating(thief, b), 2) }},
		{"rotation by the old keys", "is wrong", func(c *chain) *wire.KeyEvent { return a.sign(c.rotating(b, newSet("c", 1, 1)), 2) }},
		{"rotation with a key of one's own beside", "was not committed to", func(c *chain) *wire.KeyEvent {
			both := keySet{append(slices.Clone(b.keys), thief.keys[0]), 2}
			return both.sign(c.rotating(both, b), 3)
		}},
		{"rotation by fewer than were promised", "1 signatures; 2 are needed", func(ch *chain) *wire.KeyEvent {
			few := keySet{b.keys[:1], 1}
			return few.sign(ch.rotating(few, c), 1)
		}},
		{"rotation to the same key twice", "stands there twice", func(ch *chain) *wire.KeyEvent {
			twice := keySet{[]ed25519.PrivateKey{b.keys[0], b.keys[0]}, 2}
			return twice.sign(ch.rotating(twice, c), 2)
		}},
		{"rotation with an impossible threshold", "malformed threshold", func(ch *chain) *wire.KeyEvent {
			e := ch.rotating(b, c)
			e.Keys.Threshold = 3
			return b.sign(e, 2)
		}},
		{"an unknown type", "unknown type", func(c *chain) *wire.KeyEvent { return a.sign(c.event(99), 2) }},
		{"recovery without guardians", "no guardians", func(c *chain) *wire.KeyEvent {
			e := c.event(wire.Recover)
			e.Keys = thief.record(b)
			return thief.sign(e, 2)
		}},
		{"a forged cancel", "is wrong", func(c *chain) *wire.KeyEvent { return thief.sign(c.event(wire.Cancel), 2) }},
		{"a forged tombstone", "is wrong", func(c *chain) *wire.KeyEvent { return thief.sign(c.event(wire.Tombstone), 2) }},
		{"a tombstone without signatures", "0 signatures", func(c *chain) *wire.KeyEvent { return c.event(wire.Tombstone) }},
	} {
		ch := newChain(a, b)
		ch.push(ch.adding("one"))
		s, err := keys.Evaluate(ch.inc, append(ch.events, x.next(ch)))
		if s != nil || sennit.CodeOf(err) != sennit.BadInput || !strings.Contains(err.Error(), "key event 2: ") || !strings.Contains(err.Error(), x.message) {
			t.Errorf("%s: %v, want bad-input with %q", x.name, err, x.message)
		}
	}
}

func TestEvaluateRefusesBadInceptions(t *testing.T) {
	a, b := newSet("a", 1, 1), newSet("b", 1, 1)
	for _, x := range []struct {
		message string
		change  func(i *wire.Inception)
	}{
		{"order is small", func(i *wire.Inception) { i.Keys.Control[0] = [32]byte{0: 1} }},
		{"component of small order", func(i *wire.Inception) { i.Keys.Control[0] = [32]byte(mixed(t)) }},
		{"stands there twice", func(i *wire.Inception) { i.Keys.Control = append(i.Keys.Control, i.Keys.Control[0]) }},
		{"malformed threshold", func(i *wire.Inception) { i.Keys.Threshold = 0 }},
		{"malformed threshold", func(i *wire.Inception) { i.Keys.Threshold = 2 }},
		{"malformed", func(i *wire.Inception) { i.Keys.Control = make([][32]byte, 17) }},
		{"malformed", func(i *wire.Inception) { i.Kind = 0 }},
	} {
		inc := inception(a, b)
		x.change(&inc)
		if s, err := keys.Evaluate(inc, nil); s != nil || sennit.CodeOf(err) != sennit.BadInput || !strings.Contains(err.Error(), x.message) {
			t.Errorf("%v, want bad-input with %q", err, x.message)
		}
	}
}

func TestEvaluateNeedsCommitmentsToRotate(t *testing.T) {
	a, b := newSet("a", 1, 1), newSet("b", 1, 1)
	ch := newChain(a, keySet{})
	ch.rotate(b, a)
	if _, err := keys.Evaluate(ch.inc, ch.events); sennit.CodeOf(err) != sennit.BadInput || !strings.Contains(err.Error(), "committed to no next ones") {
		t.Errorf("%v, want bad-input", err)
	}
}

// As many new keys sign as were promised, and as many as will be needed from
// now on.
func TestRotationNeedsBothThresholds(t *testing.T) {
	a, c := newSet("a", 1, 1), newSet("c", 1, 1)
	for _, x := range []struct{ promised, threshold, signers, need int }{
		{1, 2, 1, 2}, {1, 2, 2, 2}, {2, 1, 1, 2}, {2, 1, 2, 2}, {1, 1, 1, 1}, {3, 2, 2, 3},
	} {
		b := newSet("b", 3, x.promised)
		ch := newChain(a, b)
		b.threshold = x.threshold
		e := b.sign(ch.rotating(b, c), x.signers)
		if _, err := keys.Evaluate(ch.inc, []*wire.KeyEvent{e}); (err == nil) != (x.signers >= x.need) {
			t.Errorf("%d of 3 promised, %d from now on, %d signed: %v", x.promised, x.threshold, x.signers, err)
		}
	}
}

// A thief of the control key can add a device. The owner rotates, which the
// thief can't, and removes it; the stolen key is worth nothing then.
func TestRotationEndsATheft(t *testing.T) {
	a, b, c := newSet("a", 1, 1), newSet("b", 1, 1), newSet("c", 1, 1)
	ch := newChain(a, b)
	ch.push(ch.adding("own"))
	ch.push(ch.adding("rogue"))
	ch.rotate(b, c)
	ch.push(ch.removing("rogue"))
	if s := ch.evaluate(t); s.Device(device("rogue")) || !s.Device(device("own")) {
		t.Error("the rogue device is still there")
	}
	for _, e := range []*wire.KeyEvent{ch.adding("rogue again"), ch.adding("rogue")} {
		if _, err := keys.Evaluate(ch.inc, append(ch.events, a.sign(e, 1))); err == nil {
			t.Error("the stolen key still works")
		}
	}
	ch.push(ch.adding("rogue"))
	if _, err := keys.Evaluate(ch.inc, ch.events); err == nil || !strings.Contains(err.Error(), "added before") {
		t.Errorf("a removed device came back: %v", err)
	}
}

// Signatures over the threshold are allowed and all must be good; a threshold
// below the number of keys is met by any of them.
func TestAnyKeysMeetAThreshold(t *testing.T) {
	a := newSet("a", 3, 2)
	for _, by := range [][]int{{0, 1}, {0, 2}, {1, 2}, {0, 1, 2}} {
		ch := newChain(a, newSet("b", 1, 1))
		e := ch.adding("one")
		for _, i := range by {
			e.Sigs = append(e.Sigs, wire.KeySig{Key: uint8(i), Sig: keys.Sign(a.keys[i], keys.DomainKeyEvent, e.Signed())})
		}
		if _, err := keys.Evaluate(ch.inc, []*wire.KeyEvent{e}); err != nil {
			t.Errorf("signed by %v: %v", by, err)
		}
	}
}

func TestUninterpretedEventsFreezeTheState(t *testing.T) {
	a, b := newSet("a", 1, 1), newSet("b", 1, 1)
	guardians := []sennit.Space{{1}, {2}, {3}}
	for _, typ := range []wire.KeyEventType{wire.Recover, wire.Cancel, wire.Tombstone} {
		ch := newChain(a, b)
		ch.inc.Guardians, ch.inc.GuardianThreshold = guardians, 2
		ch.push(ch.adding("one"))
		head := ch.events[0].Hash()
		e := ch.event(typ)
		if typ == wire.Recover {
			e.Keys = b.record(a)
			e.Sigs = []wire.KeySig{{Key: 0}, {Key: 2}} // the guardians' keys are not known here
		} else {
			a.sign(e, 1)
		}
		ch.events = append(ch.events, e)
		ch.push(ch.adding("two"))
		s := ch.evaluate(t)
		if s.Frozen() != e || s.Head() != head || !s.Device(device("one")) || s.Device(device("two")) {
			t.Errorf("type %d: frozen by %v at %s with devices %v", typ, s.Frozen(), s.Head(), present(s))
		}
	}

	ch := newChain(a, b)
	ch.inc.Guardians, ch.inc.GuardianThreshold = guardians, 2
	for message, sigs := range map[string][]wire.KeySig{
		"1 signatures; 2 are needed": {{Key: 0}},
		"names key 4 of 3":           {{Key: 0}, {Key: 3}},
	} {
		e := ch.event(wire.Recover)
		e.Keys, e.Sigs = b.record(a), sigs
		if _, err := keys.Evaluate(ch.inc, []*wire.KeyEvent{e}); sennit.CodeOf(err) != sennit.BadInput || !strings.Contains(err.Error(), message) {
			t.Errorf("%v, want bad-input with %q", err, message)
		}
	}
}

func TestEvaluateBounds(t *testing.T) {
	a, b := newSet("a", 1, 1), newSet("b", 1, 1)
	ch := newChain(a, b)
	for i := range keys.MaxDevices {
		ch.push(ch.adding(fmt.Sprint(i)))
	}
	if got := len(ch.evaluate(t).Devices()); got != 64 {
		t.Errorf("%d devices, want 64", got)
	}
	over := ch.set.sign(ch.adding("one too many"), 1)
	if _, err := keys.Evaluate(ch.inc, append(ch.events, over)); sennit.CodeOf(err) != sennit.TooLarge {
		t.Errorf("65 devices: %v, want too-large", err)
	}
	for i := 0; len(ch.events) < keys.MaxEvents; i++ {
		ch.push(ch.removing(fmt.Sprint(i)))
		ch.push(ch.adding(fmt.Sprint(i + keys.MaxDevices)))
	}
	if len(ch.events) != 256 || len(ch.evaluate(t).Devices()) != 64 {
		t.Errorf("%d events, %d devices", len(ch.events), len(ch.evaluate(t).Devices()))
	}
	ch.push(ch.removing("100"))
	if _, err := keys.Evaluate(ch.inc, ch.events); sennit.CodeOf(err) != sennit.TooLarge {
		t.Errorf("257 events: %v, want too-large", err)
	}
}

// Evaluate against a model that keeps sets and knows which events it spoiled.
func TestEvaluateAgreesWithAModel(t *testing.T) {
	bad := mixed(t)
	rapid.Check(t, func(t *rapid.T) {
		drawSet := func(name string) keySet {
			n := rapid.IntRange(1, 3).Draw(t, "keys")
			return newSet(name, n, rapid.IntRange(1, n).Draw(t, "threshold"))
		}
		next := drawSet("next 0 ")
		ch := newChain(drawSet("first"), next)
		have, ever := []sennit.Device(nil), map[sennit.Device]bool{}
		for i := range rapid.IntRange(0, 8).Draw(t, "events") {
			name := fmt.Sprint(rapid.IntRange(0, 4).Draw(t, "device"))
			d := device(name)
			by, need := ch.set, ch.set.threshold
			var e *wire.KeyEvent
			good := true
			switch rapid.SampledFrom([]string{"add", "add", "remove", "rotate"}).Draw(t, "what") {
			case "add":
				e = ch.adding(name)
				if rapid.IntRange(0, 9).Draw(t, "mixed") == 0 {
					e.Device, good = bad, false
				} else if good = !ever[d]; good {
					ever[d] = true
					have = append(have, d)
				}
			case "remove":
				e = ch.removing(name)
				if good = slices.Contains(have, d); good {
					have = slices.DeleteFunc(slices.Clone(have), func(x sennit.Device) bool { return x == d })
				}
			case "rotate":
				after := drawSet(fmt.Sprint("next ", i+1, " "))
				by, need = next, next.threshold
				if rapid.IntRange(0, 9).Draw(t, "foreign") == 0 {
					by, good = newSet("thief", len(by.keys), by.threshold), false
				}
				e = ch.rotating(by, after)
				ch.set, next = by, after
			}
			switch rapid.IntRange(0, 19).Draw(t, "fault") {
			case 0:
				e.Prev[5]++
				by.sign(e, need)
				good = false
			case 1:
				e.Space[5]++
				by.sign(e, need)
				good = false
			case 2:
				by.sign(e, need-1)
				good = false
			case 3:
				by.sign(e, need)
				e.Sigs[need-1].Sig[rapid.IntRange(0, 63).Draw(t, "byte")] ^= 1
				good = false
			case 4:
				newSet("thief", len(by.keys), by.threshold).sign(e, need)
				good = false
			default:
				by.sign(e, rapid.IntRange(need, len(by.keys)).Draw(t, "signers"))
			}
			ch.events = append(ch.events, e)
			s, err := keys.Evaluate(ch.inc, ch.events)
			if (err == nil) != good {
				t.Fatalf("event %d: %v, but the model says it is good: %v", i+1, err, good)
			}
			if !good {
				return
			}
			if !slices.Equal(present(s), have) || s.Head() != e.Hash() || !slices.Equal(s.Control().Control, ch.set.record(next).Control) {
				t.Fatalf("event %d: the state is not the model's", i+1)
			}
			for d := range ever {
				if _, ok := s.Key(d); !ok || s.Device(d) != slices.Contains(have, d) {
					t.Fatalf("event %d: device %s", i+1, d)
				}
			}
		}
	})
}

func BenchmarkEvaluate(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprint("devices=", n), func(b *testing.B) {
			ch := newChain(newSet("a", 1, 1), newSet("b", 1, 1))
			for i := range n {
				e := ch.adding(fmt.Sprint(i))
				e.HPKE = make([]byte, 1216)
				ch.push(e)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := keys.Evaluate(ch.inc, ch.events); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("worst", func(b *testing.B) {
		sets := []keySet{newSet("a", 16, 16), newSet("b", 16, 16)}
		ch := newChain(sets[0], sets[1])
		for i := range keys.MaxEvents {
			ch.rotate(sets[(i+1)%2], sets[i%2])
		}
		for b.Loop() {
			if _, err := keys.Evaluate(ch.inc, ch.events); err != nil {
				b.Fatal(err)
			}
		}
	})
}
