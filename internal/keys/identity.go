package keys

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hpke"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// folder is where a data directory keeps its key files.
const folder = "keys"

// Identity is a node's key material: a space, and the keys of one of its
// devices. It doesn't change and is safe for concurrent use. However it is
// printed, logged or marshalled, it shows its public ids only.
//
// The control key is not in here: it signs key events and nothing else, so it
// is read to be checked, and dropped.
type Identity struct {
	inception wire.Inception
	events    []*wire.KeyEvent
	space     sennit.Space
	device    sennit.Device
	next      []sennit.Hash // commitments to the next control keys

	// A function, into which fmt can't look. It follows a pointer, methods or
	// not, when a verb such as %s meets it in an unexported field.
	secret func() *secret

	disk disk
	home string // the directory of the key files
}

type secret struct {
	device, host ed25519.PrivateKey
	hpke         hpke.PrivateKey
}

// Load reads the identity of a data directory and checks it: every file whole
// and readable by its owner only, the key events valid, and the keys those
// that the events name. It changes nothing.
//
// It fails with NotFound if there is no identity, Denied if others may read
// the files, Unsupported if a newer program wrote them, and Internal if one is
// damaged or missing.
func Load(dir string) (*Identity, error) { return load(system{}, dir) }

func load(d disk, dir string) (*Identity, error) {
	id, err := read(d, filepath.Join(dir, folder))
	if err != nil {
		return nil, err
	}
	// If Create was killed just before its last sync, a power loss could still
	// take away what was just read, and its place in the world with it. A disk
	// that is read-only or not ours can't be synced and need not be.
	_ = d.SyncDir(dir)
	return id, nil
}

// read is Load, of any directory with key files.
func read(d disk, home string) (*Identity, error) {
	mode, names, err := look(d, home)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(names) == 0 {
		return nil, sennit.Hint(sennit.Errorf(sennit.NotFound, "%s holds no identity", home), "run: sennit init")
	}
	if err != nil {
		return nil, err
	}
	if err := private(home, mode, 0o700); err != nil {
		return nil, err
	}
	id := &Identity{disk: d, home: home}
	state, err := id.loadEvents()
	if err != nil {
		return nil, err
	}
	if err := id.loadKeys(state); err != nil {
		return nil, err
	}
	// What the words are worth is checked when they are shown: a node whose
	// words are lost must still start.
	words := filepath.Join(home, fileWords)
	if info, err := d.Stat(words); err == nil {
		if err := private(words, info.Mode(), 0o600); err != nil {
			return nil, err
		}
	}
	return id, nil
}

func (id *Identity) loadEvents() (*State, error) {
	path := filepath.Join(id.home, fileIdentity)
	b, err := readFile(id.disk, path)
	if err != nil {
		return nil, err
	}
	records, err := decodeFile(fileIdentity, b)
	if err != nil {
		return nil, damaged(path, err)
	}
	if len(records) == 0 {
		return nil, damaged(path, sennit.Errorf(sennit.Internal, "it holds no inception record"))
	}
	id.inception, err = wire.DecodeInception(records[0])
	if err != nil {
		return nil, damaged(path, err)
	}
	id.space = id.inception.Space()
	for _, r := range records[1:] {
		e, err := wire.DecodeKeyEvent(r)
		if err != nil {
			return nil, damaged(path, err)
		}
		id.events = append(id.events, e)
	}
	state, err := Evaluate(id.inception, id.events)
	if err != nil {
		return nil, damaged(path, err)
	}
	id.next = state.Control().Next
	return state, nil
}

func (id *Identity) loadKeys(state *State) error {
	foreign := func(name string) error {
		return damaged(filepath.Join(id.home, name), sennit.Errorf(sennit.Internal, "it is not the key of this identity"))
	}
	var seeds [4][]byte
	for i, name := range []string{fileControl, fileDevice, fileHPKE, fileHost} {
		seed, err := readSeed(id.disk, filepath.Join(id.home, name))
		if err != nil {
			return err
		}
		seeds[i] = seed
	}
	control := public(ed25519.NewKeyFromSeed(seeds[0]))
	if !slices.Contains(state.Control().Control, control) {
		return foreign(fileControl)
	}
	sec := &secret{device: ed25519.NewKeyFromSeed(seeds[1]), host: ed25519.NewKeyFromSeed(seeds[3])}
	id.device = public(sec.device)
	at := slices.IndexFunc(state.Devices(), func(e *wire.KeyEvent) bool { return e.Device == id.device })
	if at < 0 {
		return foreign(fileDevice)
	}
	var err error
	if sec.hpke, err = hpke.MLKEM768X25519().NewPrivateKey(seeds[2]); err != nil {
		return damaged(filepath.Join(id.home, fileHPKE), err)
	}
	if !bytes.Equal(sec.hpke.PublicKey().Bytes(), state.Devices()[at].HPKE) {
		return foreign(fileHPKE)
	}
	id.secret = func() *secret { return sec }
	return nil
}

func public(key ed25519.PrivateKey) [32]byte { return [32]byte(key[32:]) }

// Space is the identity's space.
func (id *Identity) Space() sennit.Space { return id.space }

// Device is the public half of the key that signs for this installation.
func (id *Identity) Device() sennit.Device { return id.device }

// Principal is the space through this device.
func (id *Identity) Principal() sennit.Principal {
	return sennit.Principal{Space: id.space, Device: id.device}
}

// Inception is the record that the space's id certifies. It is not to be changed.
func (id *Identity) Inception() wire.Inception { return id.inception }

// Events is the chain of key events from the inception to the one that added
// this device. They are not to be changed.
func (id *Identity) Events() []*wire.KeyEvent { return slices.Clone(id.events) }

// SignCommit signs a commit's id with the device's key.
func (id *Identity) SignCommit(commit sennit.Hash) [64]byte {
	return Sign(id.secret().device, DomainCommit, commit[:])
}

// SignLive signs a live message with the device's key. It holds only if the
// message names this identity's principal as its author.
func (id *Identity) SignLive(m *wire.LiveMessage) [64]byte {
	return Sign(id.secret().device, DomainLive, m.Bytes())
}

// SignHost signs a host certificate with the device's key. It holds only if
// the certificate names this identity's principal as its author.
func (id *Identity) SignHost(c *wire.HostCert) [64]byte {
	return Sign(id.secret().device, DomainHost, c.Bytes())
}

// Host is the key that the transport proves. It is a secret, for the transport
// alone.
func (id *Identity) Host() ed25519.PrivateKey { return id.secret().host }

// HPKE is the key that opens what was sealed to this device (RFC 9180 with the
// KEM MLKEM768-X25519). It is a secret, for sealing alone.
func (id *Identity) HPKE() hpke.PrivateKey { return id.secret().hpke }

// Words is the recovery words, 12 of them with single spaces, while they are
// kept: whoever has shown them to their owner calls ForgetWords. They must not
// be logged or sent.
//
// It fails with NotFound when they were forgotten, and Internal if the file is
// damaged or the words are not those of this identity.
func (id *Identity) Words() (string, error) {
	path := filepath.Join(id.home, fileWords)
	b, err := readFile(id.disk, path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", sennit.Hint(sennit.Errorf(sennit.NotFound, "the recovery words were shown and are no longer kept"),
			"use the copy that was written down then")
	}
	if err != nil {
		return "", err
	}
	key, err := FromWords(string(b))
	if err != nil {
		return "", damaged(path, err)
	}
	if !slices.Contains(id.next, wire.NextKey(public(key))) {
		return "", damaged(path, sennit.Errorf(sennit.Internal, "the words are not those of this identity"))
	}
	return string(bytes.TrimSpace(b)), nil
}

// ForgetWords removes the file with the recovery words, durably. It is safe to
// call twice. The medium may keep the bytes until it reuses their place.
func (id *Identity) ForgetWords() error {
	err := id.disk.Remove(filepath.Join(id.home, fileWords))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskError("forget the recovery words", err)
	}
	if err := id.disk.SyncDir(id.home); err != nil {
		return diskError("forget the recovery words", err)
	}
	return nil
}

// String names the identity by its public ids. This and the methods below have
// value receivers so that they hold for copies too.
func (id Identity) String() string {
	return "identity " + id.space.String() + " device " + id.device.String()
}

// GoString is String: %#v must not show more.
func (id Identity) GoString() string { return id.String() }

// LogValue is what a log shows.
func (id Identity) LogValue() slog.Value {
	return slog.GroupValue(slog.String("space", id.space.String()), slog.String("device", id.device.String()))
}

// MarshalJSON gives the public ids.
func (id Identity) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"space": id.space.String(), "device": id.device.String()})
}
