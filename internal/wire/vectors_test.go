package wire_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// vectorFile is where the vectors live: what another implementation tests
// against. Write it again with "go test ./internal/wire -run TestVectors -update".
const vectorFile = "testdata/vectors.json"

var update = flag.Bool("update", false, "write "+vectorFile+" again")

// vectorSet is the content of the file. docs/formats/README.md describes it.
type vectorSet struct {
	About   []string        `json:"about"`
	Format  int             `json:"format"`
	Keys    []vectorKey     `json:"keys"`
	Records []*vector       `json:"records"`
	Trees   []vectorTree    `json:"trees"`
	Refused []vectorRefusal `json:"refused"`
}

type vectorKey struct {
	Name   string `json:"name"`
	Seed   string `json:"seed"`
	Public string `json:"public"`
}

type vector struct {
	Name   string          `json:"name"`
	Kind   string          `json:"kind"`
	Fields json.RawMessage `json:"fields"`
	Hex    string          `json:"hex,omitempty"`
	Text   string          `json:"text,omitempty"` // of a link, instead of Hex
	Hash   string          `json:"hash,omitempty"`
	Signed []vectorSig     `json:"signed,omitempty"`
}

type vectorSig struct {
	Domain    string `json:"domain"`
	Message   string `json:"message"`
	Key       string `json:"key"`
	Signature string `json:"signature"`
}

type vectorTree struct {
	Leaves []string      `json:"leaves"`
	Head   string        `json:"head"`
	Proofs [][]string    `json:"proofs"` // of each leaf
	Ranges []vectorRange `json:"ranges"`
}

type vectorRange struct {
	Begin int      `json:"begin"`
	End   int      `json:"end"`
	Nodes []string `json:"nodes"`
}

type vectorRefusal struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	Hex  string `json:"hex"`
	Code string `json:"code"`
}

// bytes is the encoding, or the text of a link.
func (v *vector) bytes(t *testing.T) []byte {
	if v.Text != "" {
		return []byte(v.Text)
	}
	return unhex(t, v.Hex)
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readVectors(t *testing.T) *vectorSet {
	t.Helper()
	b, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	set := new(vectorSet)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(set); err != nil {
		t.Fatal(err)
	}
	return set
}

func TestVectorsAreUpToDate(t *testing.T) {
	want, err := json.MarshalIndent(makeVectors(t), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(vectorFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s isn't what the package writes now. If the format was meant to change, its version must change, and -update writes the file again", vectorFile)
	}
}

// TestVectors checks each vector as another implementation would: from the file alone.
func TestVectors(t *testing.T) {
	set := readVectors(t)
	for _, v := range set.Records {
		t.Run(v.Name, func(t *testing.T) {
			f := formatOf(t, v.Kind)
			b := v.bytes(t)
			got, err := f.decode(b)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := f.encode(got); err != nil || !bytes.Equal(again, b) {
				t.Errorf("it encodes to %x, %v", again, err)
			}
			var have, want bytes.Buffer
			if json.Compact(&have, readable(got)) != nil || json.Compact(&want, v.Fields) != nil || have.String() != want.String() {
				t.Errorf("its fields are\n%s, the file has\n%s", &have, &want)
			}
			if hash := hashOf(got, b); hash != v.Hash {
				t.Errorf("its hash is %q, the file has %q", hash, v.Hash)
			}
			for _, s := range v.Signed {
				if !ed25519.Verify(unhex(t, s.Key), signedBytes(s.Domain, unhex(t, s.Message)), unhex(t, s.Signature)) {
					t.Errorf("the signature of domain %s by %s is wrong", s.Domain, s.Key)
				}
			}
		})
	}
	for _, c := range set.Refused {
		if _, err := formatOf(t, c.Kind).decode(unhex(t, c.Hex)); string(sennit.CodeOf(err)) != c.Code {
			t.Errorf("refused %s %q: got %v, want code %s", c.Kind, c.Name, err, c.Code)
		}
	}
	for _, tree := range set.Trees {
		checkTree(t, tree)
	}
	for _, k := range set.Keys {
		public := ed25519.NewKeyFromSeed(unhex(t, k.Seed)).Public().(ed25519.PublicKey)
		if hex.EncodeToString(public) != k.Public {
			t.Errorf("key %s: its public half is %x", k.Name, public)
		}
	}
}

// hashOf computes the hash that names a record from its bytes, and checks that
// the package agrees. It is "" where nothing goes by a hash.
func hashOf(v any, b []byte) string {
	var claimed sennit.Hash
	switch v := v.(type) {
	case wire.Inception:
		claimed = sennit.Hash(v.Space())
	case wire.Log:
		claimed = v.ID()
	case *wire.Header:
		claimed = v.ID()
	case *wire.KeyEvent:
		claimed = v.Hash()
		b = b[:len(b)-1-65*len(v.Sigs)]
	case *wire.Evidence:
		claimed = v.Key()
		space := sha256.Sum256(v.Inception.Bytes())
		b = raw("E", 1, space[:])
		for _, e := range v.Events {
			h := sha256.Sum256(e.Signed())
			b = append(b, h[:]...)
		}
	default:
		return ""
	}
	if sha256.Sum256(b) != claimed {
		return "not the SHA-256 of its bytes"
	}
	return claimed.String()
}

func checkTree(t *testing.T, tree vectorTree) {
	t.Helper()
	var leaves []sennit.Hash
	for _, l := range tree.Leaves {
		leaves = append(leaves, leafHash(unhex(t, l)))
	}
	if head := treeHead(leaves); head.String() != tree.Head || len(tree.Proofs) != len(leaves) {
		t.Errorf("tree of %d leaves: its head is %s", len(leaves), head)
	}
	for i, p := range tree.Proofs {
		// Verified as RFC 9162 section 2.1.3.2 does, which shares nothing with
		// how the proof was made.
		node, at, last := leaves[i], i, len(leaves)-1
		for _, s := range p {
			sibling := unhex(t, s)
			if at%2 == 1 || at == last {
				node = sha256.Sum256(raw(1, sibling, node[:]))
				for at%2 == 0 && at != 0 {
					at, last = at/2, last/2
				}
			} else {
				node = sha256.Sum256(raw(1, node[:], sibling))
			}
			at, last = at/2, last/2
		}
		if node.String() != tree.Head || last != 0 {
			t.Errorf("tree of %d leaves: the proof of leaf %d gives %s", len(leaves), i, node)
		}
	}
	for _, r := range tree.Ranges {
		if got := strings.Join(hexes(rangeNodes(r.Begin, r.End, leaves)), " "); got != strings.Join(r.Nodes, " ") {
			t.Errorf("tree of %d leaves: leaves %d to %d are stood for by %s", len(leaves), r.Begin, r.End, got)
		}
	}
}

func hexes(hs []sennit.Hash) []string {
	s := make([]string, len(hs)) // not nil: the file has [] for none
	for i, h := range hs {
		s[i] = h.String()
	}
	return s
}

func TestVectorsCoverEverything(t *testing.T) {
	kinds, ops, names := map[string]bool{}, map[sennit.Kind]bool{}, map[string]bool{}
	set := readVectors(t)
	for _, v := range set.Records {
		if names[v.Name] {
			t.Errorf("two vectors are called %s", v.Name)
		}
		names[v.Name], kinds[v.Kind] = true, true
		if v.Kind == "op" {
			op, err := wire.DecodeOp(v.bytes(t))
			if err != nil {
				t.Fatal(err)
			}
			ops[op.Kind] = true
		}
	}
	refused := map[string]bool{}
	for _, c := range set.Refused {
		refused[c.Kind] = true
	}
	for _, f := range formats() {
		if !kinds[f.name] || !refused[f.name] {
			t.Errorf("%s: a vector: %t, a refused one: %t", f.name, kinds[f.name], refused[f.name])
		}
	}
	for _, k := range []sennit.Kind{
		sennit.KindPut, sennit.KindDel, sennit.KindAdd, sennit.KindAppend, sennit.KindText, sennit.KindSnap,
		sennit.KindKey, sennit.KindGrant, sennit.KindRevoke, sennit.KindMember,
	} {
		if !ops[k] {
			t.Errorf("no vector is an op of kind %d", k)
		}
	}
}
