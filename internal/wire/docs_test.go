package wire_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

const docsDir = "../../docs/formats"

// docBlock is one fenced block of a page: "```kind name", lines, "```".
type docBlock struct {
	where, kind, name string
	lines             []string
}

func docBlocks(t *testing.T) (blocks []docBlock) {
	t.Helper()
	pages, err := filepath.Glob(docsDir + "/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages in %s: %v", docsDir, err)
	}
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		var open *docBlock
		for i, line := range strings.Split(string(b), "\n") {
			switch fence, ok := strings.CutPrefix(line, "```"); {
			case ok && open == nil:
				kind, name, _ := strings.Cut(fence, " ")
				open = &docBlock{where: fmt.Sprintf("%s:%d", filepath.Base(page), i+1), kind: kind, name: name}
			case ok:
				blocks = append(blocks, *open)
				open = nil
			case open != nil:
				open.lines = append(open.lines, line)
			}
		}
		if open != nil {
			t.Errorf("%s: the block is never closed", open.where)
		}
	}
	return blocks
}

// TestDocsShowTheVectors checks every example of the pages, byte by byte and
// claim by claim. Blocks of any other sort are refused, so that no example
// goes unchecked.
func TestDocsShowTheVectors(t *testing.T) {
	set := readVectors(t)
	shown := map[string]bool{}
	for _, b := range docBlocks(t) {
		t.Run(b.where, func(t *testing.T) {
			switch b.kind {
			case "vector":
				v := findVector(t, set, b.name)
				checkVectorBlock(t, b, v)
				shown[v.Kind] = true
			case "text":
				if v := findVector(t, set, b.name); strings.Join(b.lines, "\n") != v.Text {
					t.Errorf("it isn't the text of %s", b.name)
				}
			case "tree":
				checkTreeBlock(t, b, set)
			case "next-key":
				checkNextKeyBlock(t, b, set)
			case "uvarint", "zigzag":
				checkIntegerBlock(t, b)
			case "document": // package document checks it
			default:
				t.Errorf("a block of sort %q is not checked by anything", b.kind)
			}
		})
	}
	for _, f := range formats() {
		if !shown[f.name] {
			t.Errorf("no page shows a record of kind %s", f.name)
		}
	}
}

func findVector(t *testing.T, set *vectorSet, name string) *vector {
	t.Helper()
	for _, v := range set.Records {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("no vector is called %q", name)
	return nil
}

// cut splits "bytes  claim".
func cut(t *testing.T, line string) (b []byte, digits, claim string) {
	t.Helper()
	digits, claim, ok := strings.Cut(line, "  ")
	if !ok {
		t.Fatalf("%q says nothing about its bytes", line)
	}
	return unhex(t, digits), digits, strings.TrimSpace(claim)
}

func checkVectorBlock(t *testing.T, b docBlock, v *vector) {
	var all []byte
	unfinished := ""
	for _, line := range b.lines {
		if claim, ok := strings.CutPrefix(line, "-> "); ok {
			checkClaim(t, v, "", claim)
			continue
		}
		raw, digits, claim := cut(t, line)
		all = append(all, raw...)
		digits, unfinished = unfinished+digits, ""
		switch {
		case claim == "...":
			unfinished = digits
		case strings.HasPrefix(claim, ";"):
		default:
			checkClaim(t, v, digits, claim)
		}
	}
	want := v.bytes(t)
	if v.Text != "" {
		var err error
		if want, err = base64.RawURLEncoding.DecodeString(strings.TrimPrefix(v.Text, wire.LinkScheme)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(all, want) || unfinished != "" {
		t.Errorf("the bytes are not those of %s:\n%x\n%x", v.Name, all, want)
	}
}

// checkClaim checks "name = value", or "name" alone: then the bytes are its value.
func checkClaim(t *testing.T, v *vector, digits, claim string) {
	t.Helper()
	name, want, ok := strings.Cut(claim, " = ")
	if !ok {
		want = digits
	}
	got, ok := lookUp(t, v, name)
	if !ok && (want == "0" || want == "false") { // what is zero is left out of the vectors
		return
	}
	if got != want {
		t.Errorf("%s is %q in the vector, the page says %q", name, got, want)
	}
}

// lookUp finds a field like "items[1].auth[0]".
func lookUp(t *testing.T, v *vector, name string) (string, bool) {
	t.Helper()
	whole, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var at any
	for _, source := range [][]byte{v.Fields, whole} {
		d := json.NewDecoder(bytes.NewReader(source))
		d.UseNumber()
		if err := d.Decode(&at); err != nil {
			t.Fatal(err)
		}
		for _, step := range strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune(".[]", r) }) {
			switch m := at.(type) {
			case map[string]any:
				at = m[step]
			case []any:
				if i, err := strconv.Atoi(step); err == nil && i < len(m) {
					at = m[i]
				} else {
					at = nil
				}
			default:
				at = nil
			}
		}
		if at != nil {
			return fmt.Sprint(at), true
		}
	}
	return "", false
}

// checkTreeBlock checks lines "head", "range A B" and "proof I", each with a hash.
func checkTreeBlock(t *testing.T, b docBlock, set *vectorSet) {
	said := map[string][]string{}
	for _, line := range b.lines {
		what, hash, _ := strings.Cut(line, "  ")
		said[what] = append(said[what], hash)
	}
	for _, tree := range set.Trees {
		if strconv.Itoa(len(tree.Leaves)) != b.name {
			continue
		}
		known := map[string][]string{"head": {tree.Head}}
		for i, p := range tree.Proofs {
			known[fmt.Sprintf("proof %d", i)] = p
		}
		for _, r := range tree.Ranges {
			known[fmt.Sprintf("range %d %d", r.Begin, r.End)] = r.Nodes
		}
		for what, hashes := range said {
			if strings.Join(hashes, " ") != strings.Join(known[what], " ") {
				t.Errorf("%s of the tree is %q, the page says %q", what, known[what], hashes)
			}
		}
		return
	}
	t.Errorf("no tree has %s leaves", b.name)
}

func checkNextKeyBlock(t *testing.T, b docBlock, set *vectorSet) {
	for _, k := range set.Keys {
		if k.Name != b.name {
			continue
		}
		public, _, _ := cut(t, b.lines[0])
		hash, _, _ := cut(t, b.lines[1])
		if hex.EncodeToString(public) != k.Public || sennit.Hash(hash) != wire.NextKey([32]byte(public)) || len(b.lines) != 2 {
			t.Error("that isn't the key and its commitment")
		}
		return
	}
	t.Errorf("no key is called %q", b.name)
}

func checkIntegerBlock(t *testing.T, b docBlock) {
	for _, line := range b.lines {
		got, _, claim := cut(t, line)
		n, err := strconv.ParseInt(claim, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		want := binary.AppendUvarint(nil, uint64(n))
		if b.kind == "zigzag" {
			want = binary.AppendVarint(nil, n)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d is %x, the page says %x", n, want, got)
		}
	}
}

func TestDocsGiveTheLimits(t *testing.T) {
	limits := map[string]uint64{
		"MaxPath": sennit.MaxPath, "MaxDepth": sennit.MaxDepth, "MaxComponent": sennit.MaxComponent, "MaxType": sennit.MaxType,
		"MaxInline": sennit.MaxInline, "MaxOp": sennit.MaxOp, "MaxOps": sennit.MaxOps, "MaxCommit": sennit.MaxCommit,
		"MaxParents": wire.MaxParents, "MaxCuts": wire.MaxCuts, "MaxGroup": wire.MaxGroup, "MaxControl": wire.MaxControl,
		"MaxGuardians": wire.MaxGuardians, "MaxHPKE": wire.MaxHPKE, "MaxName": wire.MaxName, "MaxKeyEvent": wire.MaxKeyEvent,
		"MaxEvidence": wire.MaxEvidence, "MaxSeq": wire.MaxSeq, "MaxAuth": wire.MaxAuth, "MaxDataAuth": wire.MaxDataAuth, "MaxHeaderLen": wire.MaxHeaderLen,
		"MaxRun": wire.MaxRun, "MaxLive": wire.MaxLive, "MaxLiveExpiry": wire.MaxLiveExpiry, "MaxLink": wire.MaxLink,
		"MaxLinkAddrs": wire.MaxLinkAddrs, "MaxLinkAddr": wire.MaxLinkAddr,
	}
	page, err := os.ReadFile(docsDir + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `(Max[A-Za-z]+)` \\| ([0-9]+) \\|").FindAllStringSubmatch(string(page), -1)
	for _, row := range rows {
		if want, ok := limits[row[1]]; !ok || row[2] != strconv.FormatUint(want, 10) {
			t.Errorf("the page says that %s is %s; it is %d", row[1], row[2], want)
		}
		delete(limits, row[1])
	}
	for name := range limits {
		t.Errorf("the page doesn't mention %s", name)
	}
	// A limit of a record that is added to the package must be added above. What
	// bounds messages between nodes (frame.go) is no part of these pages.
	for _, name := range []string{
		"authority.go", "codec.go", "header.go", "identity.go", "op.go", "run.go", "statement.go", "../../sennit.go",
	} {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^(?:\t|const )(Max[A-Za-z]+) += `).FindAllStringSubmatch(string(src), -1) {
			if !strings.Contains(string(page), "`"+m[1]+"`") {
				t.Errorf("%s has the limit %s, which the page doesn't mention", name, m[1])
			}
		}
	}
}

func TestDocsLinksLeadSomewhere(t *testing.T) {
	anchors := map[string]bool{}
	texts := map[string]string{}
	pages, err := filepath.Glob(docsDir + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(page)
		texts[name], anchors[name] = string(b), true
		for _, h := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(string(b), -1) {
			anchors[name+"#"+strings.ReplaceAll(strings.ToLower(h[1]), " ", "-")] = true
		}
	}
	for name, text := range texts {
		for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(text, -1) {
			to := m[1]
			if strings.HasPrefix(to, "#") {
				to = name + to
			}
			if _, err := os.Stat(filepath.Join(docsDir, to)); !anchors[to] && (err != nil || strings.Contains(to, "#")) {
				t.Errorf("%s: the link to %s leads nowhere", name, m[1])
			}
		}
	}
}
