package commit_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/wire"
)

// author is a device with one log.
type author struct {
	key     ed25519.PrivateKey
	log     wire.Log
	peaks   commit.Peaks
	nodes   map[commit.Place]sennit.Hash
	commits []*commit.Commit
}

func newAuthor(name string, class wire.Class) *author {
	seed := sha256.Sum256([]byte(name))
	a := &author{key: ed25519.NewKeyFromSeed(seed[:]), nodes: map[commit.Place]sennit.Hash{}}
	a.log = wire.Log{Space: sha256.Sum256([]byte("space")), Principal: sha256.Sum256([]byte("me")), Class: class}
	copy(a.log.Device[:], a.key.Public().(ed25519.PublicKey))
	return a
}

func (a *author) sign(id sennit.Hash) [64]byte { return [64]byte(ed25519.Sign(a.key, id[:])) }

func (a *author) verify(id sennit.Hash, sig *[64]byte) bool {
	return ed25519.Verify(a.key.Public().(ed25519.PublicKey), id[:], sig[:])
}

func (a *author) see(at commit.Place, h sennit.Hash) { a.nodes[at] = h }

func (a *author) build(clock uint64, auth []sennit.Hash, ops ...wire.Op) (*commit.Commit, error) {
	c, err := commit.Build(a.log.Space, a.log.ID(), &a.peaks, clock, auth, ops, a.sign, a.see)
	if err == nil {
		a.nodes[commit.Place{Index: c.Seq - 1}] = commit.Leaf(c.ID[:])
		a.commits = append(a.commits, c)
	}
	return c, err
}

func (a *author) must(t testing.TB, clock uint64, auth []sennit.Hash, ops ...wire.Op) *commit.Commit {
	t.Helper()
	c, err := a.build(clock, auth, ops...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// at is the tree of the first size commits.
func (a *author) at(size uint64) commit.Peaks {
	var p commit.Peaks
	for _, c := range a.commits[:size] {
		p.Append(commit.Leaf(c.ID[:]), nil)
	}
	return p
}

// gap stands for the commits from to end-1, counted from 0.
func (a *author) gap(from, end uint64) wire.RunItem {
	it := wire.RunItem{Gap: end - from}
	for _, at := range commit.Decompose(from, end) {
		h, ok := commit.Head(at, a.nodes)
		if !ok {
			panic("a node is missing")
		}
		it.Nodes = append(it.Nodes, h)
	}
	return it
}

// sparse is a commit of which only the ops that keep selects are there.
func sparse(c *commit.Commit, keep func(i int) bool) wire.RunItem {
	it := c.Item()
	ops := it.Parts[0].Ops
	leaves := map[commit.Place]sennit.Hash{}
	for i := range ops {
		leaves[commit.Place{Index: uint64(i)}] = commit.Leaf(ops[i].Bytes())
	}
	it.Parts = nil
	for i := 0; i < len(ops); {
		j := i + 1
		for j < len(ops) && keep(i) == keep(j) {
			j++
		}
		p := wire.Part{Ops: ops[i:j]}
		if !keep(i) {
			p = wire.Part{Skip: uint32(j - i)}
			for _, at := range commit.Decompose(uint64(i), uint64(j)) {
				h, _ := commit.Head(at, leaves)
				p.Nodes = append(p.Nodes, h)
			}
		}
		it.Parts, i = append(it.Parts, p), j
	}
	return it
}

func put(path, value string) wire.Op {
	o := wire.Op{Kind: sennit.KindPut, Path: sennit.Path(path), Body: wire.Put{Value: sennit.Value{Data: []byte(value)}}.Append(nil)}
	copy(o.Salt[:], path+value+"salt....")
	return o
}

func grant(prefix string) wire.Op {
	g := wire.Grant{Prefix: sennit.Path(prefix), Who: wire.Who{Subject: wire.SubjectAny}, May: sennit.Read}
	return wire.Op{Kind: sennit.KindGrant, Body: g.Append(nil)}
}

// redecode sends a run over the wire.
func redecode(t interface{ Fatal(...any) }, run *wire.Run) *wire.Run {
	got, err := wire.DecodeRun(run.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestBuildThenCheck writes random logs and sends random sparse parts of them:
// what arrives is what was written, and the receiver's tree is the writer's.
func TestBuildThenCheck(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := newAuthor("a", wire.Data)
		n := rapid.IntRange(1, 24).Draw(t, "commits")
		for i := range n {
			ops := make([]wire.Op, rapid.IntRange(1, 9).Draw(t, "ops"))
			for j := range ops {
				ops[j] = put(fmt.Sprintf("p/%d/%d", i, j), strings.Repeat("x", rapid.IntRange(0, 600).Draw(t, "size")))
			}
			auth := []sennit.Hash{id(uint64(rapid.IntRange(0, 2).Draw(t, "auth")))}
			if _, err := a.build(rapid.Uint64().Draw(t, "clock"), auth, ops...); err != nil {
				t.Fatal(err)
			}
		}
		from := rapid.IntRange(0, n-1).Draw(t, "from")
		run := &wire.Run{Log: a.log.ID(), From: uint64(from)}
		type sent struct {
			c    *commit.Commit
			keep uint16
		}
		var all []sent
		gap := uint64(0)
		last := rapid.IntRange(from, n-1).Draw(t, "last")
		for i := from; i <= last; i++ {
			c := a.commits[i]
			if i < last && rapid.IntRange(0, 3).Draw(t, "leave out") == 0 {
				gap++
				continue
			}
			if gap > 0 {
				run.Items = append(run.Items, a.gap(c.Seq-1-gap, c.Seq-1))
				gap = 0
			}
			keep := rapid.Uint16().Draw(t, "keep")
			run.Items = append(run.Items, sparse(c, func(i int) bool { return keep>>i&1 == 1 }))
			run.Sig = *c.Sig
			all = append(all, sent{c, keep})
		}
		run = redecode(t, run)

		past := a.at(uint64(from))
		nodes := map[commit.Place]sennit.Hash{}
		got, err := commit.Check(run, a.log, &past, a.verify, func(at commit.Place, h sennit.Hash) { nodes[at] = h })
		if err != nil {
			t.Fatal(err)
		}
		if want := a.at(uint64(last + 1)); !reflect.DeepEqual(past, want) {
			t.Fatal("the receiver's tree is another one")
		}
		for at, h := range nodes {
			if want, ok := commit.Head(at, a.nodes); !ok || h != want {
				t.Fatalf("the node seen at %+v is wrong", at)
			}
		}
		if len(got) != len(all) {
			t.Fatalf("%d commits arrived, want %d", len(got), len(all))
		}
		for i, c := range got {
			want := all[i].c
			if c.ID != want.ID || c.Seq != want.Seq || c.Clock != want.Clock || c.Log != want.Log || c.Root != want.Root ||
				c.Past != want.Past || c.Count != want.Count || !slices.Equal(c.Auth, want.Auth) {
				t.Fatalf("commit %d arrived as %+v, want %+v", i, c, want)
			}
			if last := i == len(got)-1; last != (c.Sig != nil) || last && *c.Sig != *want.Sig {
				t.Fatalf("commit %d of %d: signature %v", i, len(got), c.Sig)
			}
			arrived := map[uint32][]byte{}
			c.Each(func(i uint32, op *wire.Op) { arrived[i] = op.Bytes() })
			kept := 0
			want.Each(func(j uint32, op *wire.Op) {
				if all[i].keep>>j&1 == 1 {
					kept++
					if !bytes.Equal(arrived[j], op.Bytes()) {
						t.Fatalf("op %d of commit %d is wrong", j, i)
					}
				}
			})
			if len(arrived) != kept || c.Whole() != (kept == int(c.Count)) {
				t.Fatalf("%d ops arrived, want %d; whole: %v", len(arrived), kept, c.Whole())
			}
			if !reflect.DeepEqual(c.Header(a.log.Space).ID(), want.ID) {
				t.Fatal("the header has another id")
			}
		}
	})
}

func TestBuildRefuses(t *testing.T) {
	many := make([]wire.Op, sennit.MaxOps+1)
	for i := range many {
		many[i] = put("a", "x")
	}
	big := put("a", strings.Repeat("x", sennit.MaxInline))
	big.Parents = make([]wire.OpRef, 64) // as no codec would make it
	bulk := make([]wire.Op, 17)
	for i := range bulk {
		bulk[i] = put("a", strings.Repeat("x", sennit.MaxInline-100))
	}
	for name, ops := range map[string][]wire.Op{"no ops": nil, "too many ops": many, "an op too big": {big}, "a commit too big": bulk} {
		a := newAuthor("a", wire.Data)
		a.must(t, 1, []sennit.Hash{id(1)}, put("a", "b"))
		before := a.peaks.Root()
		if c, err := a.build(1, []sennit.Hash{id(1)}, ops...); sennit.CodeOf(err) != sennit.TooLarge {
			t.Errorf("%s: got %v, %v", name, c, err)
		}
		if a.peaks.Root() != before || a.peaks.Size != 1 {
			t.Errorf("%s: what was refused is in the tree of ids", name)
		}
	}
	a := newAuthor("a", wire.Data)
	if _, err := a.build(1, []sennit.Hash{id(1)}, many[1:]...); err != nil {
		t.Errorf("%d ops: %v", sennit.MaxOps, err)
	}
}

// sample is a run with everything that a run can have: a gap, whole and sparse
// commits, equal and new auth, a start amid the log.
func sample(t testing.TB) (*author, *wire.Run) {
	a := newAuthor("a", wire.Data)
	for i := range uint64(11) {
		auth := []sennit.Hash{id(i / 4), id(9)}
		a.must(t, 100+i, auth, put(fmt.Sprintf("a/%d", i), "x"), put("b", "y"), put("c", "z"), put("d", ""), put("e", "12"))
	}
	run := &wire.Run{Log: a.log.ID(), From: 2, Sig: *a.commits[10].Sig}
	whole := func(int) bool { return true }
	run.Items = []wire.RunItem{
		sparse(a.commits[2], whole),
		sparse(a.commits[3], func(i int) bool { return i == 1 || i == 4 }),
		a.gap(4, 7),
		sparse(a.commits[7], func(i int) bool { return false }),
		sparse(a.commits[8], whole),
		a.gap(9, 10),
		sparse(a.commits[10], func(i int) bool { return i < 2 }),
	}
	past := a.at(2)
	if _, err := commit.Check(redecode(t, run), a.log, &past, a.verify, nil); err != nil {
		t.Fatalf("the sample itself is refused: %v", err)
	}
	return a, run
}

func TestCheckRefusesEveryAlteredBit(t *testing.T) {
	a, run := sample(t)
	good := run.Append(nil)
	decoded := 0
	for i := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		run, err := wire.DecodeRun(bad)
		if err != nil {
			continue
		}
		decoded++
		if run.Log != a.log.ID() || run.From > 11 {
			continue // the caller looks for the log and its tree, and finds none
		}
		past := a.at(run.From)
		verify := func(id sennit.Hash, sig *[64]byte) bool {
			// No signature for any other id exists: asking would take all day.
			return id == a.commits[10].ID && a.verify(id, sig)
		}
		if _, err := commit.Check(run, a.log, &past, verify, nil); err == nil {
			t.Errorf("bit %d of byte %d of %d can be altered", i%8, i/8, len(good))
		}
	}
	if decoded < len(good) {
		t.Errorf("only %d of %d alterations could be decoded: this tests little", decoded, len(good)*8)
	}
}

// TestCheckRefusesEveryAlteredPart changes what flipping bits can't: pieces go,
// come twice, change places.
func TestCheckRefusesEveryAlteredPart(t *testing.T) {
	a, run := sample(t)
	other := newAuthor("other", wire.Data)
	type alter func(r *wire.Run)
	cases := map[string]alter{
		"no items":         func(r *wire.Run) { r.Items = nil },
		"the end cut off":  func(r *wire.Run) { r.Items = r.Items[:5] },
		"a gap at the end": func(r *wire.Run) { r.Items = append(r.Items, a.gap(10, 11)) },
		"a gap of nothing known at the end": func(r *wire.Run) {
			r.Items = append(r.Items, wire.RunItem{Gap: 1, Nodes: []sennit.Hash{{1}}})
		},
		"only a gap":                      func(r *wire.Run) { r.Items = r.Items[2:3] },
		"a gap that wraps around":         func(r *wire.Run) { r.Items[2].Gap = -r.From - 2; r.Items[2].Nodes = nil },
		"a gap too long for any log":      func(r *wire.Run) { r.Items[2].Gap = wire.MaxSeq },
		"the signature of an earlier":     func(r *wire.Run) { r.Sig = *a.commits[8].Sig },
		"another device's signature":      func(r *wire.Run) { r.Sig = other.sign(a.commits[10].ID) },
		"a commit of no ops":              func(r *wire.Run) { r.Items[4].Count, r.Items[4].Parts = 0, nil },
		"ops beside hashes for them":      func(r *wire.Run) { r.Items[3].Parts[0].Ops = []wire.Op{put("evil", "x")} },
		"ops where hashes should be":      func(r *wire.Run) { r.Items[3].Parts[0] = wire.Part{Ops: a.commits[6].Parts[0].Ops} },
		"no auth":                         func(r *wire.Run) { r.Items[0].Auth = nil },
		"a count without ops":             func(r *wire.Run) { r.Items[4].Count++ },
		"from earlier":                    func(r *wire.Run) { r.From-- },
		"from later":                      func(r *wire.Run) { r.From++ },
		"more ops than a commit can have": func(r *wire.Run) { r.Items[4].Count = sennit.MaxOps + 1 },
	}
	for i := range run.Items {
		if i < len(run.Items)-1 {
			cases[fmt.Sprintf("item %d missing", i)] = func(r *wire.Run) { r.Items = slices.Delete(r.Items, i, i+1) }
			cases[fmt.Sprintf("items %d and the next swapped", i)] = func(r *wire.Run) {
				r.Items[i], r.Items[i+1] = r.Items[i+1], r.Items[i]
			}
		}
		cases[fmt.Sprintf("item %d twice", i)] = func(r *wire.Run) { r.Items = slices.Insert(r.Items, i, r.Items[i]) }
		if run.Items[i].Gap > 0 {
			cases[fmt.Sprintf("gap %d longer", i)] = func(r *wire.Run) { r.Items[i].Gap++ }
			cases[fmt.Sprintf("gap %d shorter", i)] = func(r *wire.Run) { r.Items[i].Gap-- }
			continue
		}
		cases[fmt.Sprintf("clock of %d", i)] = func(r *wire.Run) { r.Items[i].Clock++ }
		cases[fmt.Sprintf("auth of %d reversed", i)] = func(r *wire.Run) { slices.Reverse(r.Items[i].Auth) }
		cases[fmt.Sprintf("auth of %d longer", i)] = func(r *wire.Run) { r.Items[i].Auth = append(r.Items[i].Auth, id(1)) }
		for j := range run.Items[i].Parts {
			cases[fmt.Sprintf("part %d of %d missing", j, i)] = func(r *wire.Run) {
				r.Items[i].Parts = slices.Delete(r.Items[i].Parts, j, j+1)
			}
			for k := range run.Items[i].Parts[j].Ops {
				cases[fmt.Sprintf("op %d, part %d of %d: another", k, j, i)] = func(r *wire.Run) {
					r.Items[i].Parts[j].Ops[k] = put("a", "evil")
				}
				cases[fmt.Sprintf("op %d, part %d of %d: missing", k, j, i)] = func(r *wire.Run) {
					r.Items[i].Parts[j].Ops = slices.Delete(r.Items[i].Parts[j].Ops, k, k+1)
				}
			}
			for k := range run.Items[i].Parts[j].Nodes {
				cases[fmt.Sprintf("node %d, part %d of %d", k, j, i)] = func(r *wire.Run) { r.Items[i].Parts[j].Nodes[k][7] ^= 4 }
			}
		}
	}
	for name, f := range cases {
		_, bad := sample(t)
		bad = redecode(t, bad) // nothing shared with the author
		f(bad)
		past := a.at(2)
		if got, err := commit.Check(bad, a.log, &past, a.verify, nil); err == nil {
			t.Errorf("accepted: %s; %d commits", name, len(got))
		} else if code := sennit.CodeOf(err); code != sennit.BadInput && code != sennit.TooLarge {
			t.Errorf("%s: the code is %q: %v", name, code, err)
		}
	}
	// A tree or log that isn't the run's.
	past := a.at(2)
	past.Nodes[0][0] ^= 1
	if _, err := commit.Check(run, a.log, &past, a.verify, nil); err == nil {
		t.Error("accepted with another past")
	}
	past = a.at(3)
	if _, err := commit.Check(run, a.log, &past, a.verify, nil); err == nil {
		t.Error("accepted with a longer past")
	}
	past = a.at(2)
	if _, err := commit.Check(run, other.log, &past, a.verify, nil); err == nil {
		t.Error("accepted as another log's")
	}
	past = a.at(2)
	if _, err := commit.Check(run, a.log, &past, other.verify, nil); err == nil {
		t.Error("accepted as another device's")
	}
}

func TestCheckHoldsLogsToTheirClass(t *testing.T) {
	one := []sennit.Hash{id(1)}
	cases := map[string]struct {
		class wire.Class
		auth  []sennit.Hash
		ops   []wire.Op
		ok    bool
	}{
		"data":                            {wire.Data, one, []wire.Op{put("a", "b")}, true},
		"data of an unknown kind":         {wire.Data, one, []wire.Op{{Kind: 200, Path: "a", Body: []byte("?")}}, true},
		"data that relies on nothing":     {wire.Data, nil, []wire.Op{put("a", "b")}, false},
		"data that relies on four":        {wire.Data, []sennit.Hash{{1}, {2}, {3}, {4}}, []wire.Op{put("a", "b")}, true},
		"data that relies on five":        {wire.Data, []sennit.Hash{{1}, {2}, {3}, {4}, {5}}, []wire.Op{put("a", "b")}, false},
		"a rule in a log of data":         {wire.Data, one, []wire.Op{put("a", "b"), grant("a")}, false},
		"authority":                       {wire.Authority, one, []wire.Op{grant("a"), grant("b")}, true},
		"authority that names nothing":    {wire.Authority, nil, []wire.Op{grant("a")}, true},
		"authority that names 64":         {wire.Authority, make([]sennit.Hash, 64), []wire.Op{grant("a")}, true},
		"data in a log of authority":      {wire.Authority, one, []wire.Op{grant("a"), put("a", "b")}, false},
		"a del in a log of authority":     {wire.Authority, one, []wire.Op{{Kind: sennit.KindDel, Path: "a", Body: []byte{0}}}, false},
		"an unknown kind among authority": {wire.Authority, one, []wire.Op{{Kind: 200, Path: "a"}}, false},
	}
	for name, c := range cases {
		a := newAuthor("a", c.class)
		made := a.must(t, 1, c.auth, c.ops...)
		run := &wire.Run{Log: a.log.ID(), Items: []wire.RunItem{made.Item()}, Sig: *made.Sig}
		if _, err := commit.Check(run, a.log, &commit.Peaks{}, a.verify, nil); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	a := newAuthor("a", wire.Authority)
	made := a.must(t, 1, nil, grant("a"), grant("b"))
	run := &wire.Run{Log: a.log.ID(), Items: []wire.RunItem{sparse(made, func(i int) bool { return i == 0 })}, Sig: *made.Sig}
	if _, err := commit.Check(run, a.log, &commit.Peaks{}, a.verify, nil); err == nil {
		t.Error("an authority commit may be sparse")
	}
}

// TestCheckRefusesTooMuch signs what no honest program would write.
func TestCheckRefusesTooMuch(t *testing.T) {
	bulk := make([]wire.Op, 17)
	for i := range bulk {
		bulk[i] = put("a", strings.Repeat("x", sennit.MaxInline-100))
	}
	a := newAuthor("a", wire.Data)
	run := &wire.Run{Log: a.log.ID(), Items: []wire.RunItem{{Clock: 1, Auth: []sennit.Hash{id(1)}, Count: 17, Parts: []wire.Part{{Ops: bulk}}}}}
	if _, err := commit.Check(run, a.log, &commit.Peaks{}, func(sennit.Hash, *[64]byte) bool { return true }, nil); sennit.CodeOf(err) != sennit.BadInput {
		t.Errorf("a commit over its limit: %v", err)
	}
}

func TestCheckAsksForOneSignature(t *testing.T) {
	a, run := sample(t)
	asked := 0
	past := a.at(2)
	commits, err := commit.Check(run, a.log, &past, func(id sennit.Hash, sig *[64]byte) bool {
		asked++
		return a.verify(id, sig)
	}, nil)
	if err != nil || asked != 1 || len(commits) != 5 {
		t.Errorf("%d signatures for %d commits, %v", asked, len(commits), err)
	}
}

func FuzzCheck(f *testing.F) {
	a, run := sample(f)
	f.Add(run.Append(nil))
	for i := range a.commits {
		f.Add((&wire.Run{Log: a.log.ID(), From: uint64(i), Items: []wire.RunItem{a.commits[i].Item()}, Sig: *a.commits[i].Sig}).Append(nil))
	}
	whole := &wire.Run{Log: a.log.ID(), Sig: *a.commits[10].Sig}
	for _, c := range a.commits {
		whole.Items = append(whole.Items, c.Item())
	}
	f.Add(whole.Append(nil))
	ids := map[sennit.Hash]*commit.Commit{}
	for _, c := range a.commits {
		ids[c.ID] = c
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		run, err := wire.DecodeRun(b)
		if err != nil {
			return
		}
		run.Log = a.log.ID()
		past := a.at(min(run.From, 11))
		commits, err := commit.Check(run, a.log, &past, a.verify, nil)
		if err != nil {
			return
		}
		// Nobody can forge: what passes is what the author wrote.
		for _, c := range commits {
			want := ids[c.ID]
			if want == nil || want.Seq != c.Seq || want.Clock != c.Clock || !slices.Equal(want.Auth, c.Auth) {
				t.Fatalf("forged: %+v", c)
			}
			c.Each(func(i uint32, op *wire.Op) {
				if !bytes.Equal(op.Bytes(), want.Parts[0].Ops[i].Bytes()) {
					t.Fatalf("forged: op %d of commit %d", i, c.Seq)
				}
			})
		}
	})
}
