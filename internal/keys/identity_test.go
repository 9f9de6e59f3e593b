package keys_test

import (
	"bytes"
	"crypto/hpke"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/wire"
)

var added = time.UnixMilli(1_700_000_000_123)

// options makes the same identity for the same seed.
func options(seed byte) keys.Options {
	return keys.Options{DeviceName: "laptop", Now: added, Rand: rand.NewChaCha8([32]byte{seed})}
}

func create(t testing.TB, dir string) *keys.Identity {
	t.Helper()
	id, err := keys.Create(dir, options(1))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestCreateMakesAWholeIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "node")
	made := create(t, dir)
	id, err := keys.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !same(made, id) {
		t.Error("what was loaded is not what was made")
	}

	inc := id.Inception()
	if inc.Kind != wire.Person || inc.Space() != id.Space() || inc.Nonce == ([16]byte{}) {
		t.Errorf("inception %v", inc)
	}
	if k := inc.Keys; len(k.Control) != 1 || k.Threshold != 1 || len(k.Next) != 1 || k.NextThreshold != 1 {
		t.Errorf("control keys %v", k)
	}
	state, err := keys.Evaluate(inc, id.Events())
	if err != nil {
		t.Fatal(err)
	}
	device := state.Devices()[0]
	if len(state.Devices()) != 1 || device.Device != id.Device() || device.Name != "laptop" || device.Added != 1_700_000_000_123 {
		t.Errorf("devices %v", state.Devices())
	}
	if id.Principal() != (sennit.Principal{Space: id.Space(), Device: id.Device()}) {
		t.Error("the principal is another one")
	}

	a := admit(t, id.Device())
	sig := id.SignCommit(sennit.Hash{1})
	if msg := (sennit.Hash{1}); !a.Verify(keys.DomainCommit, msg[:], &sig) {
		t.Error("the commit's signature is wrong")
	}
	live := &wire.LiveMessage{Space: id.Space(), Path: "here", Author: id.Principal()}
	if sig := id.SignLive(live); !a.Verify(keys.DomainLive, live.Bytes(), &sig) {
		t.Error("the live message's signature is wrong")
	}
	cert := &wire.HostCert{Author: id.Principal(), Host: pubOf(id.Host()), Until: 1}
	if sig := id.SignHost(cert); !a.Verify(keys.DomainHost, cert.Bytes(), &sig) {
		t.Error("the host certificate's signature is wrong")
	}
	admit(t, cert.Host)

	to, err := hpke.MLKEM768X25519().NewPublicKey(device.HPKE)
	if err != nil {
		t.Fatal(err)
	}
	box, err := hpke.Seal(to, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), nil, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if open, err := hpke.Open(id.HPKE(), hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), nil, box); err != nil || string(open) != "secret" {
		t.Errorf("what is sealed to the device can't be opened: %v", err)
	}

	words, err := id.Words()
	if err != nil {
		t.Fatal(err)
	}
	next, err := keys.FromWords(words)
	if err != nil || wire.NextKey(pubOf(next)) != inc.Keys.Next[0] {
		t.Errorf("the words don't give the next control key: %v", err)
	}
	if err := id.ForgetWords(); err != nil {
		t.Fatal(err)
	}
	if _, err := id.Words(); sennit.CodeOf(err) != sennit.NotFound || sennit.HintOf(err) == "" {
		t.Errorf("forgotten words: %v, want not-found", err)
	}
	if _, err := keys.Load(dir); err != nil {
		t.Errorf("without words: %v", err)
	}
}

// The words turn over the control key, as their owner would after a theft.
func TestRecoveryWordsRotate(t *testing.T) {
	id := create(t, t.TempDir())
	words, err := id.Words()
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.FromWords(strings.ToUpper(words))
	if err != nil {
		t.Fatal(err)
	}
	e := &wire.KeyEvent{
		Space: id.Space(), Prev: id.Events()[0].Hash(), Type: wire.Rotate,
		Keys: wire.Keys{Control: [][32]byte{pubOf(key)}, Threshold: 1},
	}
	e.Sigs = []wire.KeySig{{Sig: keys.Sign(key, keys.DomainKeyEvent, e.Signed())}}
	s, err := keys.Evaluate(id.Inception(), append(id.Events(), e))
	if err != nil || s.Control().Control[0] != pubOf(key) {
		t.Errorf("the words don't rotate: %v", err)
	}
}

func TestIdentitiesDiffer(t *testing.T) {
	seen := make(map[string]bool)
	for _, random := range []io.Reader{nil, nil, options(1).Rand, options(2).Rand} {
		id, err := keys.CreateOn(newMemDisk(), place, keys.Options{Now: added, Rand: random})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range [][32]byte{id.Space(), id.Device(), pubOf(id.Host()), id.Inception().Keys.Control[0]} {
			seen[string(k[:])] = true
		}
	}
	if len(seen) != 16 {
		t.Errorf("%d different keys and ids, want 16", len(seen))
	}
}

func TestCreateRefusesBadOptions(t *testing.T) {
	zeros := iotest{func(b []byte) (int, error) { clear(b); return len(b), nil }}
	broken := iotest{func(b []byte) (int, error) { return 0, io.ErrUnexpectedEOF }}
	for _, c := range []struct {
		name    string
		options keys.Options
		code    sennit.Code
		message string
	}{
		{"no time", keys.Options{}, sennit.BadInput, "before 1970"},
		{"long name", keys.Options{Now: added, DeviceName: strings.Repeat("x", 65)}, sennit.BadInput, "can't name a device"},
		{"control character", keys.Options{Now: added, DeviceName: "a\nb"}, sennit.BadInput, "can't name a device"},
		{"not ASCII", keys.Options{Now: added, DeviceName: "né"}, sennit.BadInput, "can't name a device"},
		{"not UTF-8", keys.Options{Now: added, DeviceName: "\xff"}, sennit.BadInput, "can't name a device"},
		{"a source that repeats itself", keys.Options{Now: added, Rand: zeros}, sennit.Internal, "repeats itself"},
		{"a source that fails", keys.Options{Now: added, Rand: broken}, sennit.Internal, "random bytes"},
	} {
		dir := filepath.Join(t.TempDir(), "node")
		id, err := keys.Create(dir, c.options)
		if id != nil || sennit.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: %v, want %s with %q", c.name, err, c.code, c.message)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: something was written", c.name)
		}
	}
	for _, name := range []string{"", strings.Repeat("x", 64), "Ana's laptop ~"} {
		if _, err := keys.Create(t.TempDir(), keys.Options{Now: added, DeviceName: name}); err != nil {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

// iotest is a reader made of a function.
type iotest struct{ read func(b []byte) (int, error) }

func (r iotest) Read(b []byte) (int, error) { return r.read(b) }

func TestLoadOfNothing(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if _, err := keys.Load(dir); sennit.CodeOf(err) != sennit.NotFound || sennit.HintOf(err) != "run: sennit init" {
			t.Errorf("%v with hint %q, want not-found", err, sennit.HintOf(err))
		}
		if _, err := keys.Create(dir, options(1)); err != nil {
			t.Errorf("Create there: %v", err)
		}
	}
}

// An empty directory may be the place where another disk is mounted later.
func TestCreateLeavesAnEmptyDirectoryAlone(t *testing.T) {
	dir := t.TempDir()
	home := filepath.Join(dir, "keys")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Load(dir); sennit.CodeOf(err) != sennit.NotFound {
		t.Errorf("%v, want not-found", err)
	}
	if _, err := keys.Create(dir, options(1)); sennit.CodeOf(err) != sennit.Conflict || sennit.HintOf(err) != "remove it" {
		t.Errorf("%v with hint %q, want conflict", err, sennit.HintOf(err))
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v was left: %v", entries, err)
	}
}

func TestAFileInTheWay(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "keys")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{dir, file, filepath.Join(file, "below")} {
		if _, err := keys.Load(place); err == nil {
			t.Errorf("%s was loaded", place)
		}
		_, err := keys.Create(place, options(1))
		if err == nil || runtime.GOOS != "windows" && sennit.CodeOf(err) != sennit.Conflict {
			t.Errorf("Create in %s: %v, want conflict", place, err)
		}
	}
}

// Of programs that create at the same time one succeeds, and all agree on
// what there is afterwards.
func TestConcurrentCreate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []*keys.Identity
	for i := range 8 {
		wg.Go(func() {
			id, err := keys.Create(dir, options(byte(i)))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won = append(won, id)
			case sennit.CodeOf(err) != sennit.Conflict:
				t.Errorf("%v, want conflict", err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d of 8 made an identity, want 1", len(won))
	}
	id, err := keys.Load(dir)
	if err != nil || !same(id, won[0]) {
		t.Errorf("not the winner's identity is there: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "keys.new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestKeyFilesArePrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no such modes")
	}
	dir := filepath.Join(t.TempDir(), "node")
	id := create(t, dir)
	home := filepath.Join(dir, "keys")
	for _, d := range []string{dir, home} {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v, want mode 0700", d, info.Mode(), err)
		}
	}
	files, err := os.ReadDir(home)
	if err != nil || len(files) != 6 {
		t.Fatalf("%d files, %v; want 6", len(files), err)
	}
	for _, f := range files {
		path := filepath.Join(home, f.Name())
		if info, err := f.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", path, info.Mode(), err)
		}
		for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o700, 0o666} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			_, err := keys.Load(dir)
			if sennit.CodeOf(err) != sennit.Denied || !strings.Contains(err.Error(), path) || sennit.HintOf(err) != fmt.Sprintf("run: chmod 600 %q", path) {
				t.Errorf("%s with mode %o: %v, hint %q", path, mode, err, sennit.HintOf(err))
			}
		}
		if err := os.Chmod(path, 0o400); err != nil {
			t.Fatal(err)
		}
		if got, err := keys.Load(dir); err != nil || !same(got, id) {
			t.Errorf("%s with mode 0400: %v", path, err)
		}
	}
	if err := os.Chmod(home, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Load(dir); sennit.CodeOf(err) != sennit.Denied || sennit.HintOf(err) != fmt.Sprintf("run: chmod 700 %q", home) {
		t.Errorf("the directory with mode 0755: %v, hint %q", err, sennit.HintOf(err))
	}
}

func TestCreateNeedsADiskThatKeepsFilesPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no such modes")
	}
	d := newMemDisk()
	d.loose = true
	_, err := keys.CreateOn(d, place, options(1))
	if sennit.CodeOf(err) != sennit.Denied || !strings.Contains(err.Error(), "file system") || !strings.Contains(sennit.HintOf(err), "another") {
		t.Errorf("%v with hint %q, want denied", err, sennit.HintOf(err))
	}
	if left := d.at(place).entries; len(left) > 0 {
		t.Errorf("%v was left", left)
	}
}

func TestPrintingAnIdentityShowsNoSecret(t *testing.T) {
	dir := t.TempDir()
	id := create(t, dir)
	holder := struct {
		Open   any
		Value  keys.Identity
		hidden keys.Identity
		id     *keys.Identity
	}{id, *id, *id, id}

	var out bytes.Buffer
	for _, v := range []any{id, *id, holder, &holder, []keys.Identity{*id}, map[string]*keys.Identity{"me": id}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%t", "%p"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
		slog.New(slog.NewTextHandler(&out, nil)).Info("identity", "id", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("identity", "id", v)
	}
	shown := out.String()
	if !strings.Contains(shown, id.Space().String()) || !strings.Contains(shown, id.Device().String()) {
		t.Error("the public ids are not shown")
	}
	for _, s := range []string{id.String(), id.GoString(), id.LogValue().String()} {
		if !strings.Contains(s, id.Space().String()) || len(s) > 200 {
			t.Errorf("%q", s)
		}
	}

	secrets := map[string][]byte{}
	for _, name := range []string{"control", "device", "host", "hpke"} {
		b, err := os.ReadFile(filepath.Join(dir, "keys", name))
		if err != nil {
			t.Fatal(err)
		}
		records, err := keys.DecodeFile(name, b)
		if err != nil {
			t.Fatal(err)
		}
		secrets[name] = records[0]
	}
	words, err := id.Words()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(shown, words) {
		t.Error("the recovery words are shown")
	}
	for name, secret := range secrets {
		part := secret[4:20] // part of a secret is too much already
		for _, form := range []string{
			string(part), hex.EncodeToString(part), strings.ToUpper(hex.EncodeToString(part)),
			base64.StdEncoding.EncodeToString(secret[3:18]), base64.URLEncoding.EncodeToString(secret[3:18]),
			strings.Trim(fmt.Sprint(part), "[]"), strings.Trim(fmt.Sprintf("%#v", part), "[]byte{}"),
			strings.Trim(fmt.Sprintf("%x", fmt.Sprint(part)), "[]"), strings.Trim(fmt.Sprintf("%o", part), "[]"),
			strings.Trim(fmt.Sprintf("%b", part), "[]"), strings.Trim(fmt.Sprintf("%U", part), "[]"),
		} {
			if strings.Contains(shown, form) {
				t.Errorf("%s is shown as %.20q...", name, form)
			}
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	root, n := b.TempDir(), 0
	for b.Loop() {
		n++
		if _, err := keys.Create(filepath.Join(root, fmt.Sprint(n)), keys.Options{Now: added}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	dir := b.TempDir()
	create(b, dir)
	for b.Loop() {
		if _, err := keys.Load(dir); err != nil {
			b.Fatal(err)
		}
	}
}
