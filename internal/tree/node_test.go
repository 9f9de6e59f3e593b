package tree_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// nibblesOf is the hash of a name as a NodeRef has it.
func nibblesOf(name string) string {
	h := sha256.Sum256([]byte(name))
	var b []byte
	for _, c := range h {
		b = append(b, c>>4, c&15)
	}
	return string(b)
}

// sample is a store with every sort of node.
func sample(t testing.TB) (*memory, []tree.Change) {
	changes := append(leaves("wide", 200), leaves("narrow", 3)...)
	changes = append(changes, tree.Change{Path: "wide/dir/leaf", Names: refs(2, 1)}, tree.Change{Path: "wide", Names: refs(1, 2)})
	store := newMemory()
	if err := tree.Update(store, changes); err != nil {
		t.Fatal(err)
	}
	return store, changes
}

func TestKeysOfASubtreeAreOneRange(t *testing.T) {
	store, _ := sample(t)
	var inside []bool
	for _, k := range slices.Sorted(maps.Keys(store.m)) {
		inside = append(inside, strings.HasPrefix(k, "wide\x00"))
		if k[0] < 0x10 || k[0] == 0xff {
			t.Errorf("the key %q starts with a byte that it must not start with", k)
		}
	}
	if n := len(slices.Compact(inside)); n > 3 {
		t.Errorf("the keys of /wide are not one range: %v", inside)
	}
	if store.m["wide\x00\x10"] == nil || store.m["wide\x00dir\x00\x10"] == nil || store.m["\x10"] == nil {
		t.Errorf("the keys of top nodes are not as documented:\n%s", store.dump())
	}
}

// use does everything that reads the nodes along a few paths.
func use(store *memory, changes []tree.Change) error {
	var errs []error
	for _, c := range changes {
		_, _, err := tree.Find(store, c.Path)
		errs = append(errs, err)
		for n := range 4 {
			_, err := tree.Expand(store, tree.NodeRef{Path: c.Path.Parent(), Nibbles: nibblesOf(c.Path.Base())[:n]})
			errs = append(errs, err)
		}
		c.Names = refs(1, 77)
		errs = append(errs, tree.Update(store, []tree.Change{c}))
	}
	return errors.Join(errs...)
}

func TestMissingNodesAreReported(t *testing.T) {
	whole, changes := sample(t)
	for gone := range whole.m {
		if gone == "\x10" {
			continue // an empty space
		}
		store := newMemory()
		store.m = maps.Clone(whole.m)
		delete(store.m, gone)
		if err := use(store, changes); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", gone)) || sennit.CodeOf(err) != sennit.Internal {
			t.Errorf("without %q: %v", gone, err)
		}
	}
}

// A node that is whole, but not the one that the node above it speaks of.
func TestNodesOfAnotherStateAreReported(t *testing.T) {
	whole, changes := sample(t)
	other, _ := sample(t)
	more := []tree.Change{{Path: "wide/dir/leaf", Names: refs(3, 1)}, {Path: changes[7].Path, Names: refs(2, 1)}, {Path: "narrow/more", Names: refs(1, 1)}}
	if err := tree.Update(other, more); err != nil {
		t.Fatal(err)
	}
	foreign := 0
	for key, value := range other.m {
		if key == "\x10" || bytes.Equal(value, whole.m[key]) {
			continue
		}
		foreign++
		store := newMemory()
		store.m = maps.Clone(whole.m)
		store.m[key] = value
		if err := use(store, changes); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", key)) || sennit.CodeOf(err) != sennit.Internal {
			t.Errorf("with a foreign %q: %v", key, err)
		}
	}
	if foreign < 4 {
		t.Errorf("only %d nodes differ", foreign)
	}
}

// value puts a node's value together.
func value(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case string:
			b = append(b, p...)
		}
	}
	return b
}

func TestNodesThatAreNotCanonicalAreRefused(t *testing.T) {
	hash := strings.Repeat("h", 32)
	// H("b") = 3e..., H("c") = 2e..., H("a") = ca...
	inner := func(bitmap, each int) (parts []any) {
		for range each {
			parts = append(parts, 20, 20, hash)
		}
		return append([]any{0, "T", bitmap >> 8, bitmap & 255}, parts...)
	}
	top, below, root := tree.NodeRef{Path: "d"}, tree.NodeRef{Path: "d", Nibbles: "\x03"}, tree.NodeRef{}
	last := tree.NodeRef{Path: "d", Nibbles: nibblesOf("a")}
	for _, c := range []struct {
		what  string
		ref   tree.NodeRef
		value []byte
		ok    bool
	}{
		{"two children", top, value(0, "B", 2, 1, "c", 2, hash, 1, "b", 2, hash), true},
		{"two children out of order", top, value(0, "B", 2, 1, "b", 2, hash, 1, "c", 2, hash), false},
		{"a child twice", top, value(0, "B", 2, 1, "b", 2, hash, 1, "b", 2, hash), false},
		{"a child of this node", below, value("B", 1, 1, "b", 2, hash), true},
		{"a child of another node", below, value("B", 1, 1, "c", 2, hash), false},
		{"an own part below the top", below, value(0, "B", 1, 1, "b", 2, hash), false},
		{"an own part", top, value(1, hash, "B", 1, 1, "b", 2, hash), true},
		{"a child without a name", top, value(0, "B", 1, 0, 2, hash), false},
		{"a child without ops", top, value(0, "B", 1, 1, "b", 1, hash), false},
		{"no children", top, value(1, hash, "B", 0), false},
		{"no children below the root", tree.NodeRef{Nibbles: "\x01"}, value("B", 0), false},
		{"no children of the root", root, value(1, hash, "B", 0), true},
		{"nothing at the root", root, value(0, "B", 0), false},
		{"an integer in more bytes than it needs", top, value(0x80, 0, "B", 1, 1, "b", 2, hash), false},
		{"a count over the limit", top, value(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, hash, "B", 1, 1, "b", 2, hash), false},
		{"an unknown sort", top, value(0, "C", 1, 1, "b", 2, hash), false},
		{"more children than a bucket may have", top, value(0, "B", 33, 1, "b", 2, hash), false},
		{"two branches", top, value(inner(0x8001, 2)...), true},
		{"a branch too few", top, value(inner(0x8001, 1)...), false},
		{"a branch too many", top, value(inner(0x0001, 2)...), false},
		{"an inner node that should be a bucket", top, value(inner(0x0001, 1)...), false},
		{"no branches", top, value(inner(0, 0)...), false},
		{"a branch without children", top, value(0, "T", 0, 3, 0, 1, hash, 40, 40, hash), false},
		{"a branch with fewer ops than children", top, value(0, "T", 0, 1, 40, 39, hash), false},
		{"a bucket at the last nibble", last, value("B", 1, 1, "a", 2, hash), true},
		{"an inner node at the last nibble", last, value(inner(3, 2)[1:]...), false},
	} {
		_, err := tree.Expand(one(c.value), c.ref)
		if (err == nil) != c.ok || !c.ok && sennit.CodeOf(err) != sennit.Internal {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// A damaged node gives an error that names its key, or a node whose damage
// can't be seen without comparing hashes; never a panic, and never a store in
// which a later update panics.
func TestDamagedNodes(t *testing.T) {
	whole, changes := sample(t)
	some := append(changes[:3:3], changes[len(changes)-3:]...)
	for key, value := range whole.m {
		if strings.Count(key, "") > 9 && key[len(key)-1] > 1 {
			continue // enough of that sort
		}
		try := func(what string, damaged []byte, must bool) {
			_, err := tree.Expand(one(damaged), refOf(key))
			if must && (err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", key)) || sennit.CodeOf(err) != sennit.Internal) {
				t.Errorf("%q, %s: %v", key, what, err)
			}
		}
		try("a byte more", append(bytes.Clone(value), 0), true)
		try("empty", []byte{}, true)
		for i := range value {
			try("cut short", value[:i], true)
			flipped := bytes.Clone(value)
			flipped[i] ^= 1 << (i % 8)
			try("a bit flipped", flipped, false)
			if i%7 == 0 || i < 10 {
				store := newMemory()
				store.m = maps.Clone(whole.m)
				store.m[key] = flipped
				_ = use(store, some)
			}
		}
	}
}

// refOf is the node that a key stands for.
func refOf(key string) tree.NodeRef {
	dir, nibbles, _ := strings.Cut(key, "\x10")
	return tree.NodeRef{Path: sennit.Path(strings.ReplaceAll(strings.TrimSuffix(dir, "\x00"), "\x00", "/")), Nibbles: nibbles}
}

// one is a store that gives one value for every key.
type one []byte

func (v one) Get([]byte) ([]byte, error) { return v, nil }

// What can be read as a node is written back in the same bytes, and can be
// updated.
func FuzzNode(f *testing.F) {
	store, _ := sample(f)
	for key, value := range store.m {
		f.Add(refOf(key).Nibbles, key == "\x10", value)
	}
	f.Add("", true, []byte("\x01................................B\x00"))
	f.Fuzz(func(t *testing.T, nibbles string, root bool, value []byte) {
		ref := tree.NodeRef{Path: "wide", Nibbles: nibbles}
		if root {
			ref.Path = ""
		}
		e, err := tree.Expand(one(value), ref)
		if err != nil {
			if c := sennit.CodeOf(err); c != sennit.Internal && c != sennit.BadInput {
				t.Fatal(err)
			}
			return
		}
		if len(e.Children) > tree.MaxBucket || len(e.Branches) > 16 || len(e.Children) > 0 && len(e.Branches) > 0 {
			t.Fatalf("no node holds this: %+v", e)
		}
		if ref.Path != "" || nibbles != "" {
			return
		}
		// Change the root's own part: the rest must stay as it is.
		store := newMemory()
		store.m["\x10"] = value
		if err := tree.Update(store, []tree.Change{{Names: refs(1, 3)}}); err != nil {
			t.Fatal(err)
		}
		body := value[1:]
		if e.OwnOps > 0 {
			body = value[len(wire.OpRef{}.Commit)+uvarintLen(e.OwnOps):]
		}
		if got := store.m["\x10"]; !bytes.Equal(got[33:], body) {
			t.Fatalf("%x\nbecame\n%x", body, got[33:])
		}
		// Below it, all is missing; nothing may panic.
		_ = use(store, leaves("n", 3))
	})
}

func uvarintLen(v uint64) (n int) {
	for n = 1; v >= 0x80; n++ {
		v >>= 7
	}
	return n
}

// The digests in testdata/digest.txt are fixed for good: replicas of different
// versions must agree.
func TestDigestVectors(t *testing.T) {
	f, err := os.Open("testdata/digest.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var state names
	checked := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		w := strings.Fields(lines.Text())
		if len(w) == 0 || w[0] == "#" {
			continue
		}
		switch w[0] {
		case "state":
			state = names{}
		case "op":
			var o wire.OpRef
			if o.Commit, err = sennit.ParseHash(w[2]); err != nil {
				t.Fatal(err)
			}
			if _, err = fmt.Sscan(w[3], &o.Index); err != nil {
				t.Fatal(err)
			}
			p := sennit.MustPath(w[1])
			state[p] = append(state[p], o)
			slices.SortFunc(state[p], tree.CompareNames)
		case "digest":
			checked++
			store := newMemory()
			if err := tree.Update(store, state.changes()); err != nil {
				t.Fatal(err)
			}
			p := sennit.MustPath(w[1])
			info, _, err := tree.Find(store, p)
			if err != nil || info.Hash.String() != w[2] || state.digest(p) != info.Hash {
				t.Errorf("/%s has digest %v, %v, want %s; the model says %s", p, info.Hash, err, w[2], state.digest(p))
			}
		default:
			t.Fatalf("unknown line: %s", lines.Text())
		}
	}
	if checked == 0 {
		t.Fatal("no vectors")
	}
}
