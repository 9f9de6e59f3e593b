package keys

import (
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// unfinished starts the names of directories in which an identity is made.
const unfinished = folder + ".new-"

// keyFile is a key file that is to be written.
type keyFile struct {
	name string
	text []byte
}

// Options says how to make an identity.
type Options struct {
	DeviceName string    // for the owner's list of devices: at most wire.MaxName bytes of printable ASCII, may be empty
	Now        time.Time // when the device was added; required
	Rand       io.Reader // where all randomness comes from; nil means the system's
}

// Create makes the identity of a new data directory: a person's space with one
// control key, one next control key that recovery words are the seed of, and
// one device. It makes the directory if need be and returns when all of it is
// durable.
//
// The key files are written aside, read back, and moved into place at once. So
// a crash leaves no identity, and Create can be called again, or a whole one,
// and Create fails with Conflict. Of two programs that create at the same time
// one gets Conflict. What a crash leaves aside is never used and goes with the
// next success. After any other error too there may be a whole identity (the
// last sync failed): Load tells.
func Create(dir string, o Options) (*Identity, error) { return create(system{}, dir, o) }

func create(d disk, dir string, o Options) (*Identity, error) {
	dir = filepath.Clean(dir)
	home := filepath.Join(dir, folder)
	if err := vacant(d, home); err != nil {
		return nil, err
	}
	files, err := generate(o)
	if err != nil {
		return nil, err
	}
	if err := makeDir(d, dir); err != nil {
		return nil, err
	}
	aside, err := d.MkdirTemp(dir, unfinished+"*")
	if err != nil {
		return nil, diskError("make a directory for keys", err)
	}
	id, err := fill(d, aside, files)
	if err == nil {
		if err = d.Rename(aside, home); err != nil {
			err = diskError("put the keys in place", err)
		}
	}
	if err != nil {
		removeDir(d, aside)
		// Another program may have been faster, and removed what this one wrote.
		if verr := vacant(d, home); sennit.CodeOf(verr) == sennit.Conflict {
			return nil, verr
		}
		return nil, err
	}
	if err := d.SyncDir(dir); err != nil {
		return nil, diskError("put the keys in place", err)
	}
	sweep(d, dir)
	id.home = home
	return id, nil
}

// vacant fails with Conflict if there is anything where the keys would go. An
// empty directory too: somebody may have put it there for a reason.
func vacant(d disk, home string) error {
	_, names, err := look(d, home)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(names) == 0:
		return sennit.Hint(sennit.Errorf(sennit.Conflict, "%s is in the way: it is an empty directory", home), "remove it")
	}
	return sennit.Hint(sennit.Errorf(sennit.Conflict, "%s holds an identity already", home), "use it, or take another data directory")
}

// CheckName refuses what can't name a device.
func CheckName(name string) error {
	if len(name) > wire.MaxName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
		return sennit.Errorf(sennit.BadInput, "%.80q can't name a device: want at most %d printable ASCII characters", name, wire.MaxName)
	}
	return nil
}

// generate makes the contents of all key files.
func generate(o Options) ([]keyFile, error) {
	added := o.Now.UnixMilli()
	if added < 0 {
		return nil, sennit.Errorf(sennit.BadInput, "the time %s is before 1970", o.Now.UTC().Format(time.RFC3339))
	}
	if err := CheckName(o.DeviceName); err != nil {
		return nil, err
	}
	random := o.Rand
	if random == nil {
		random = rand.Reader
	}
	var seeds struct {
		Control, Device, HPKE, Host [32]byte
		Words, Nonce                [16]byte
	}
	for _, b := range [][]byte{
		seeds.Control[:], seeds.Device[:], seeds.HPKE[:], seeds.Host[:], seeds.Words[:], seeds.Nonce[:],
	} {
		if _, err := io.ReadFull(random, b); err != nil {
			return nil, sennit.Errorf(sennit.Internal, "read random bytes: %w", err)
		}
	}
	// The host's key is public to everyone who connects. If it were the
	// device's, faces that are to be unlinkable would share a name.
	if seeds.Control == seeds.Device || seeds.Device == seeds.Host || seeds.Control == seeds.Host {
		return nil, sennit.Errorf(sennit.Internal, "the source of random bytes is broken: it repeats itself")
	}
	control := ed25519.NewKeyFromSeed(seeds.Control[:])
	sealed, err := hpke.MLKEM768X25519().NewPrivateKey(seeds.HPKE[:])
	if err != nil {
		return nil, sennit.Errorf(sennit.Internal, "make an HPKE key: %w", err)
	}
	inception := wire.Inception{
		Kind: wire.Person,
		Keys: wire.Keys{
			Control:       [][32]byte{public(control)},
			Threshold:     1,
			Next:          []sennit.Hash{wire.NextKey(public(derive(seeds.Words, infoNextControl)))},
			NextThreshold: 1,
		},
		Nonce: seeds.Nonce,
	}
	space := inception.Space()
	device := &wire.KeyEvent{
		Space: space, Prev: sennit.Hash(space), Type: wire.DeviceAdd,
		Device: public(ed25519.NewKeyFromSeed(seeds.Device[:])),
		HPKE:   sealed.PublicKey().Bytes(),
		Name:   o.DeviceName,
		Added:  uint64(added),
	}
	device.Sigs = []wire.KeySig{{Key: 0, Sig: Sign(control, DomainKeyEvent, device.Signed())}}
	return []keyFile{
		{fileIdentity, encodeFile(fileIdentity, inception.Bytes(), device.Bytes())},
		{fileControl, encodeFile(fileControl, seeds.Control[:])},
		{fileDevice, encodeFile(fileDevice, seeds.Device[:])},
		{fileHPKE, encodeFile(fileHPKE, seeds.HPKE[:])},
		{fileHost, encodeFile(fileHost, seeds.Host[:])},
		{fileWords, []byte(formatWords(seeds.Words) + "\n")},
	}, nil
}

// fill writes the key files into an empty directory, durably, and reads them
// back: what can't be loaded must not be put in place.
func fill(d disk, dir string, files []keyFile) (*Identity, error) {
	for _, f := range files {
		if err := writeFile(d, filepath.Join(dir, f.name), f.text); err != nil {
			return nil, err
		}
	}
	if err := d.SyncDir(dir); err != nil {
		return nil, diskError("write the key files", err)
	}
	id, err := read(d, dir)
	if sennit.CodeOf(err) == sennit.Denied {
		return nil, sennit.Hint(sennit.Errorf(sennit.Denied, "this file system does not keep files private: %w", err),
			"take a data directory on another one")
	}
	if err != nil {
		return nil, err
	}
	_, err = id.Words()
	return id, err
}

// makeDir makes a directory and those above it, durably.
func makeDir(d disk, dir string) error {
	parent := filepath.Dir(dir)
	info, err := d.Stat(dir)
	switch {
	case err == nil && !info.IsDir():
		return inTheWay(dir)
	case err == nil:
		// An attempt that was killed may have made it a moment ago. Who may
		// not read the parent didn't make it there.
		_ = d.SyncDir(parent)
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return diskError("make a data directory", err)
	}
	if parent != dir {
		if err := makeDir(d, parent); err != nil {
			return err
		}
	}
	if err := d.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return diskError("make a data directory", err)
	}
	if err := d.SyncDir(parent); err != nil {
		return diskError("make a data directory", err)
	}
	return nil
}

// removeDir removes a directory and the files in it as far as that goes: what
// stays is never used.
func removeDir(d disk, dir string) {
	names, _ := d.Names(dir)
	for _, name := range names {
		_ = d.Remove(filepath.Join(dir, name))
	}
	_ = d.Remove(dir)
}

// sweep removes what earlier attempts left. It may run only when the keys are
// in place: until then another program may be about to put such a directory
// there.
func sweep(d disk, dir string) {
	names, _ := d.Names(dir)
	for _, name := range names {
		if strings.HasPrefix(name, unfinished) {
			removeDir(d, filepath.Join(dir, name))
		}
	}
}
