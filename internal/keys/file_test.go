package keys_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/keys"
)

var files = []string{"control", "device", "host", "hpke", "identity", "words"}

// fileOn is a key file in a disk in memory.
func fileOn(d *memDisk, name string) *inode { return d.at(place + "/keys/" + name) }

func createOn(t testing.TB, seed byte) (*memDisk, *keys.Identity) {
	t.Helper()
	d := newMemDisk()
	id, err := keys.CreateOn(d, place, options(seed))
	if err != nil {
		t.Fatal(err)
	}
	return d, id
}

// loadWithWords is Load and what is left for Words.
func loadWithWords(d *memDisk) (*keys.Identity, error) {
	id, err := keys.LoadOn(d, place)
	if err == nil {
		_, err = id.Words()
	}
	return id, err
}

func TestDamagedFilesAreFound(t *testing.T) {
	other, _ := createOn(t, 2)
	pair := func(name string) []byte { return fileOn(other, name).data }
	for _, name := range files {
		d, id := createOn(t, 1)
		n := fileOn(d, name)
		good := n.data
		check := func(what string, data []byte, codes ...sennit.Code) {
			t.Helper()
			n.data = data
			_, err := loadWithWords(d)
			switch {
			case !slices.Contains(codes, sennit.CodeOf(err)):
				t.Errorf("%s %s: %v (%s), want %v", name, what, err, sennit.CodeOf(err), codes)
			case !strings.Contains(err.Error(), place+"/keys/"+name) && what != "of another identity":
				t.Errorf("%s %s: %v does not name the file", name, what, err)
			case sennit.HintOf(err) == "":
				t.Errorf("%s %s: %v has no hint", name, what, err)
			}
			n.data = good
		}
		step := 1 + len(good)/60
		for i := 0; i < len(good)-1; i += step {
			check(fmt.Sprint("cut to ", i), good[:i], sennit.Internal)
		}
		if name != "words" {
			check("without its last line feed", good[:len(good)-1], sennit.Internal)
			check("with a byte more", append(slices.Clone(good), 'x'), sennit.Internal)
			check("with a line feed more", append(slices.Clone(good), '\n'), sennit.Internal)
			check("with the line ends of Windows", bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")), sennit.Internal)
			for i := 0; i < len(good); i += step {
				bad := slices.Clone(good)
				bad[i] ^= 4
				check(fmt.Sprint("with byte ", i, " altered"), bad, sennit.Internal, sennit.Unsupported)
			}
			_, rest, _ := bytes.Cut(good, []byte("\n"))
			check("of a newer version", append([]byte("sennit "+name+" 2\n"), rest...), sennit.Unsupported)
			check("of no record", keys.EncodeFile(name), sennit.Internal)
			check("of an empty record", keys.EncodeFile(name, nil), sennit.Internal)
			check("with a short record", keys.EncodeFile(name, make([]byte, 31)), sennit.Internal)
			check("with two records", keys.EncodeFile(name, make([]byte, 32), make([]byte, 32)), sennit.Internal)
		}
		if name != "host" { // the host key belongs to nothing else
			check("of another identity", pair(name), sennit.Internal)
		}
		for _, wrong := range files {
			if wrong != name {
				check("with "+wrong+" in its place", fileOn(d, wrong).data, sennit.Internal)
			}
		}
		check("of just too many bytes", bytes.Repeat([]byte("x"), 1<<20+1), sennit.TooLarge)
		d.read = 0
		check("of far too many bytes", make([]byte, 8<<20), sennit.TooLarge)
		if d.read > 2<<20 {
			t.Errorf("%s: %d bytes were read of a file that is too large", name, d.read)
		}

		n.mode = fs.ModeNamedPipe | 0o600
		check("a pipe", good, sennit.Internal)
		n.mode = 0o600

		if got, err := loadWithWords(d); err != nil || !same(got, id) {
			t.Errorf("%s put back: %v", name, err)
		}
		delete(d.at(place+"/keys").entries, name)
		_, err := loadWithWords(d)
		if want := map[bool]sennit.Code{true: sennit.NotFound, false: sennit.Internal}[name == "words"]; sennit.CodeOf(err) != want || sennit.HintOf(err) == "" {
			t.Errorf("%s missing: %v, want %s", name, err, want)
		}
	}
}

// A node whose words are damaged starts; only showing them fails.
func TestDamagedWordsDontStopANode(t *testing.T) {
	d, id := createOn(t, 1)
	fileOn(d, "words").data = []byte("abandon\n")
	got, err := keys.LoadOn(d, place)
	if err != nil || !same(got, id) {
		t.Fatal(err)
	}
	if _, err := got.Words(); sennit.CodeOf(err) != sennit.Internal {
		t.Errorf("%v, want internal", err)
	}
}

// Errors about key files get logged: they show nothing of what is in them.
func TestErrorsShowNothingOfTheFiles(t *testing.T) {
	d, _ := createOn(t, 1)
	for _, name := range files {
		n := fileOn(d, name)
		good := n.data
		n.data = bytes.ReplaceAll(good, []byte("\n"), []byte("!\n"))
		_, err := loadWithWords(d)
		if err == nil {
			t.Fatalf("%s: no error", name)
		}
		for _, word := range strings.Fields(string(good)) {
			if len(word) > 8 && strings.Contains(err.Error()+sennit.HintOf(err), word) {
				t.Errorf("%s: %v shows %q", name, err, word)
			}
		}
		n.data = good
	}
}

func FuzzDecodeFile(f *testing.F) {
	d, _ := createOn(f, 1)
	for _, name := range files {
		f.Add(name, fileOn(d, name).data)
	}
	f.Add("device", []byte("sennit device 2\nAAAA\n0000000000000000\n"))
	f.Add("device", keys.EncodeFile("device", nil, nil))
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		records, err := keys.DecodeFile(name, b)
		if err == nil && !bytes.Equal(keys.EncodeFile(name, records...), b) {
			t.Errorf("%q does not encode to itself", b)
		}
		if err != nil && records != nil {
			t.Errorf("records with an error: %v", err)
		}
	})
}

// FuzzLoad puts any records into the files, under a check that is right, so
// that what lies behind the check is reached, and any bytes into the words.
func FuzzLoad(f *testing.F) {
	d, id := createOn(f, 1)
	good := make(map[string][]byte)
	for _, name := range files {
		good[name] = fileOn(d, name).data
	}
	for i, name := range files[:5] {
		records, err := keys.DecodeFile(name, good[name])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(i), records[0], []byte(nil))
		f.Add(byte(i), records[0], records[len(records)-1])
	}
	f.Add(byte(5), good["words"], []byte(nil))
	f.Fuzz(func(t *testing.T, which byte, first, second []byte) {
		name := files[int(which)%len(files)]
		n := fileOn(d, name)
		switch {
		case name == "words":
			n.data = first
		case len(second) == 0:
			n.data = keys.EncodeFile(name, first)
		default:
			n.data = keys.EncodeFile(name, first, second)
		}
		got, err := loadWithWords(d)
		n.data = good[name]
		if err == nil && (got.Principal() != id.Principal() || name != "host" && !same(got, id)) {
			t.Errorf("%s: another identity", name)
		}
		if err != nil && sennit.HintOf(err) == "" {
			t.Errorf("%s: %v has no hint", name, err)
		}
	})
}
