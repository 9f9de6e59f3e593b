package wire_test

import (
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// makeVectors makes all vectors; nothing in them is random.
func makeVectors(t *testing.T) *vectorSet {
	w := newWorld()
	set := &vectorSet{
		About: []string{
			"Test vectors of the formats that docs/formats describes.",
			"Bytes are hex, 64-bit integers are decimal strings, fields that are zero or empty are left out.",
			"The seed of a key is the SHA-256 of \"sennit vectors: \" and its name.",
		},
		Format: wire.Format,
	}
	for _, s := range w.signers {
		public := s.public()
		set.Keys = append(set.Keys, vectorKey{s.name, hex.EncodeToString(s.seed[:]), hex.EncodeToString(public[:])})
	}
	set.add(t, w.bodies()...)
	set.add(t, w.ops()...)
	set.add(t, w.identities()...)
	set.add(t, w.commits()...)
	set.add(t, w.statements()...)
	set.add(t, w.messages()...)
	set.add(t, w.blobMessages()...)
	for n := range 9 {
		set.Trees = append(set.Trees, makeTree(rfcLeaves()[:n]))
	}
	for _, c := range refusals() {
		if len(c.bad) <= 600 {
			set.Refused = append(set.Refused, vectorRefusal{c.name, c.format, hex.EncodeToString(c.bad), string(c.code)})
		}
	}
	return set
}

// example is a vector before it is encoded.
type example struct {
	kind, name string
	value      any
	signed     []vectorSig
}

func (set *vectorSet) add(t *testing.T, es ...example) {
	for _, e := range es {
		b, err := formatOf(t, e.kind).encode(e.value)
		if err != nil {
			t.Fatal(err)
		}
		v := &vector{Name: e.kind + "/" + e.name, Kind: e.kind, Fields: readable(e.value), Hash: hashOf(e.value, b), Signed: e.signed}
		if e.kind == "link" {
			v.Text = string(b)
		} else {
			v.Hex = hex.EncodeToString(b)
		}
		set.Records = append(set.Records, v)
	}
}

func sigOf(s signer, domain string, message []byte) vectorSig {
	key, sig := s.public(), s.sign(domain, message)
	return vectorSig{domain, hex.EncodeToString(message), hex.EncodeToString(key[:]), hex.EncodeToString(sig[:])}
}

func makeTree(data [][]byte) vectorTree {
	tree := vectorTree{Leaves: []string{}, Proofs: [][]string{}, Ranges: []vectorRange{}}
	var leaves []sennit.Hash
	for _, d := range data {
		tree.Leaves = append(tree.Leaves, hex.EncodeToString(d))
		leaves = append(leaves, leafHash(d))
	}
	tree.Head = treeHead(leaves).String()
	for i := range leaves {
		tree.Proofs = append(tree.Proofs, hexes(inclusion(i, leaves)))
	}
	for begin := range leaves {
		for end := begin + 1; end <= len(leaves); end++ {
			if len(leaves) == 7 { // one tree with all its ranges is enough
				tree.Ranges = append(tree.Ranges, vectorRange{begin, end, hexes(rangeNodes(begin, end, leaves))})
			}
		}
	}
	return tree
}

func (w *world) bodies() []example {
	commit := w.data[1].id()
	rev := w.revocation()
	return []example{
		{"put", "inline", wire.Put{Value: sennit.Value{Type: "text/plain", Data: []byte("hello")}}, nil},
		{"put", "untyped-empty", wire.Put{}, nil},
		{"put", "blob", wire.Put{Value: sennit.Value{Type: "video/mp4", Blob: &sennit.Blob{Root: h32(0xb3), Size: 5_000_000_000}}}, nil},
		{"del", "value", wire.Del{}, nil},
		{"del", "deep", wire.Del{Deep: true}, nil},
		{"add", "first", wire.Add{Total: 300}, nil},
		{"add", "negative", wire.Add{Since: 1782907200000 << 16, Total: -3}, nil},
		{"add", "least", wire.Add{Total: -1 << 63}, nil},
		{"append", "first", wire.Append{Type: "text/plain", Data: []byte("one line\n")}, nil},
		{"append", "more", wire.Append{Data: []byte("one more line\n")}, nil},
		{"text", "typing", wire.Text{Agent: []byte("ana-1"), Runs: []wire.TextRun{{Inserted: []byte("Grüße, 世界 🌍")}}}, nil},
		{"text", "editing", wire.Text{
			Agent: []byte("ana-1"), Prev: &wire.OpRef{Commit: commit, Index: 1}, First: 11,
			Runs: []wire.TextRun{{Pos: 7, Deleted: 2, Inserted: []byte("all")}, {Pos: 11, Deleted: 1}},
		}, nil},
		{"snap", "first", wire.Snap{Covers: []wire.OpRef{{Commit: commit, Index: 0}, {Commit: w.data[2].id(), Index: 1}}, Value: sennit.Value{Data: []byte("state")}}, nil},
		{"snap", "blob", wire.Snap{
			Prev: &wire.OpRef{Commit: commit, Index: 4095}, Covers: []wire.OpRef{{Commit: w.data[2].id()}},
			Value: sennit.Value{Blob: &sennit.Blob{Root: h32(0xb4), Size: 65537}},
		}, nil},
		{"grant", "read", wire.Grant{Prefix: "chirp", Who: wire.Who{Subject: wire.SubjectSpace, Key: w.ben.Space()}, May: sennit.Read}, nil},
		{"grant", "likes", wire.Grant{
			Prefix: "chirp", Who: wire.Who{Subject: wire.SubjectAny}, May: sennit.Write | sennit.Remove, Where: "posts/*/likes/{self}",
			Until: 1798761600000, Limit: 4096,
		}, nil},
		{"grant", "seal", wire.Grant{Prefix: "diary", Who: wire.Who{Subject: wire.SubjectDevice, Key: w.laptop.public()}, Seal: true}, nil},
		{"grant", "group", wire.Grant{Prefix: "", Who: wire.Who{Subject: wire.SubjectGroup, Group: "family"}, May: sennit.AllRights}, nil},
		{"grant", "board", wire.Grant{Prefix: "club", Who: wire.Who{Subject: wire.SubjectBoard, Key: h32(0xb0)}, May: sennit.Read | sennit.Mirror}, nil},
		{"revoke", "principal", rev, nil},
		{"revoke", "grant", wire.Revoke{Who: wire.Who{Subject: wire.SubjectOp, Op: wire.OpRef{Commit: w.rules[1].id()}}}, nil},
		{"member", "ben", wire.Member{Group: "family", Space: w.ben.Space()}, nil},
		{"key", "inception", wire.Key{Inception: &w.ben}, nil},
		{"key", "event", wire.Key{Event: w.events[0]}, nil},
	}
}

// revocation takes Ben's rights back, but for what two of his logs wrote.
func (w *world) revocation() wire.Revoke {
	return wire.Revoke{
		Who: wire.Who{Subject: wire.SubjectSpace, Key: w.ben.Space()}, Prefix: "chirp",
		Cuts: []wire.Cut{{Log: h32(1), Seq: 41, Last: h32(0xc1)}, {Log: h32(2), Seq: 1000, Last: h32(0xc2)}},
	}
}

func (w *world) ops() (es []example) {
	for i, b := range w.bodies() {
		kind := map[string]sennit.Kind{
			"put": sennit.KindPut, "del": sennit.KindDel, "add": sennit.KindAdd, "append": sennit.KindAppend, "text": sennit.KindText, "snap": sennit.KindSnap,
			"key": sennit.KindKey, "grant": sennit.KindGrant, "revoke": sennit.KindRevoke, "member": sennit.KindMember,
		}[b.kind]
		path := map[string]string{"put": "notes/today", "del": "notes/today", "add": "polls/1/votes", "append": "journal", "text": "doc", "snap": "doc"}[b.kind]
		op := dataOp(kind, path, b.value.(appender).Append(nil), uint64(i))
		if b.name == "editing" { // it merges an op of another commit and one of its own
			op.Parents = []wire.OpRef{{Commit: w.data[1].id(), Index: 1}, {Index: 3}}
		}
		es = append(es, example{"op", b.kind + "-" + b.name, op, nil})
	}
	return append(es,
		example{"op", "at-the-root", textPut("", "the root's own value", 91), nil},
		example{"op", "unknown-data", wire.Op{
			Kind: 100, Path: "x/ü", Parents: []wire.OpRef{{Commit: w.data[0].id(), Index: 0}}, Body: []byte("of a later version"), Salt: salt(92),
		}, nil},
		example{"op", "unknown-authority", wire.Op{Kind: 60, Body: []byte("of a later version"), Salt: salt(93)}, nil})
}

func (w *world) identities() []example {
	es := []example{
		{"inception", "person", w.ben, nil},
		{"inception", "guardians", w.ana, nil},
		{"inception", "board", wire.Inception{
			Kind: wire.Board, Keys: wire.Keys{Control: [][32]byte{newSigner("ben control 1").public()}, Threshold: 1}, Nonce: nonce("board"),
		}, nil},
	}
	for i, name := range []string{"device-add", "rotate", "device-del", "recover", "cancel", "tombstone"} {
		var sigs []vectorSig
		for _, s := range w.eventSigners[i] {
			hash := w.events[i].Hash()
			sigs = append(sigs, sigOf(s, "key-event", hash[:]))
		}
		es = append(es, example{"key-event", name, w.events[i], sigs})
	}
	return append(es,
		example{"evidence", "no-events", &wire.Evidence{Inception: w.ben}, nil},
		example{"evidence", "two-events", &wire.Evidence{Inception: w.ana, Events: w.events[:2]}, nil})
}

func (w *world) commits() []example {
	es := []example{{"log", "data", w.dataLog, nil}, {"log", "authority", w.authLog, nil}}
	commitSig := func(c *commit) vectorSig {
		id := c.id()
		return sigOf(w.laptop, "commit", id[:])
	}
	sign := func(c *commit) (sig [64]byte) {
		id := c.id()
		return w.laptop.sign("commit", id[:])
	}
	signed := func(cs ...*commit) (sigs []vectorSig) {
		for _, c := range cs {
			sigs = append(sigs, commitSig(c))
		}
		return sigs
	}
	for i := range w.rules {
		es = append(es, example{"header", fmt.Sprintf("authority-%d", i+1), &w.rules[i].header, signed(&w.rules[i])})
	}
	for i := range w.data {
		es = append(es, example{"header", fmt.Sprintf("data-%d", i+1), &w.data[i].header, signed(&w.data[i])})
	}
	ids := idLeaves(w.data)
	item := func(c *commit, parts ...wire.Part) wire.RunItem {
		if parts == nil {
			parts = []wire.Part{{Ops: c.ops}}
		}
		return wire.RunItem{Clock: c.header.Clock, Auth: c.header.Auth, Count: c.header.Count, Parts: parts}
	}
	fourth, last := &w.data[3], &w.data[6]
	ops := fourth.leaves()
	sparse := item(fourth,
		wire.Part{Skip: 1, Nodes: rangeNodes(0, 1, ops)}, wire.Part{Ops: fourth.ops[1:2]}, wire.Part{Skip: 3, Nodes: rangeNodes(2, 5, ops)})
	log := w.dataLog.ID()
	fork := next(w.data[:2], w.dataLog, noon(301), w.data[2].header.Auth, textPut("chirp/posts/z", "another story", 200))
	id3, sig := w.data[2].id(), sign(&w.data[2])
	third := &wire.Stored{Clock: w.data[2].header.Clock, ID: id3, Auth: w.data[2].header.Auth, Count: 2}
	full := *third
	full.Sig = &sig
	gone := &wire.Stored{Clock: fourth.header.Clock, ID: fourth.id(), Auth: fourth.header.Auth, Count: 5, Gone: []wire.Gone{
		{First: 0, N: 1, Nodes: rangeNodes(0, 1, ops)}, {First: 2, N: 3, Nodes: rangeNodes(2, 5, ops)},
	}}
	proof := wire.IDProof{Seq: 3, Size: 6, Nodes: inclusion(2, ids[:6])}
	return append(es,
		example{"run", "one", &wire.Run{Log: log, Items: []wire.RunItem{item(&w.data[0])}, Sig: sign(&w.data[0])}, signed(&w.data[0])},
		example{"run", "three", &wire.Run{
			Log: log, From: 1, Items: []wire.RunItem{item(&w.data[1]), item(&w.data[2]), item(&w.data[3])}, Sig: sign(&w.data[3]),
		}, signed(&w.data[3])},
		example{"run", "sparse", &wire.Run{Log: log, Items: []wire.RunItem{
			{Gap: 3, Nodes: rangeNodes(0, 3, ids)}, sparse, {Gap: 2, Nodes: rangeNodes(4, 6, ids)}, item(last),
		}, Sig: sign(last)}, signed(last)},
		example{"id-proof", "3-of-6", proof, nil},
		example{"id-proof", "1-of-1", wire.IDProof{Seq: 1, Size: 1}, nil},
		example{"fork-proof", "same-seq", &wire.ForkProof{
			Log: w.dataLog, A: &w.data[2].header, B: &fork.header, SigA: sign(&w.data[2]), SigB: sign(&fork),
		}, signed(&w.data[2], &fork)},
		example{"fork-proof", "later", &wire.ForkProof{
			Log: w.dataLog, A: &fork.header, B: &last.header, SigA: sign(&fork), SigB: sign(last), Other: id3, Proof: proof,
		}, signed(&fork, last)},
		example{"stored", "signed", &full, nil},
		example{"stored", "unsigned", third, nil},
		example{"stored", "sparse", gone, nil})
}

func (w *world) statements() []example {
	ana, ben := w.ana.Space(), w.ben.Space()
	me := sennit.Principal{Space: ana, Device: w.laptop.public()}
	live := w.live()
	cert := wire.HostCert{Author: me, Host: w.host.public(), Until: 1783512000000}
	redeem := wire.Redeem{Invitation: w.invitation.public(), Inviter: ana, Invitee: sennit.Principal{Space: ben, Device: w.phone.public()}}
	seed := nonce("link")
	return []example{
		{"live-message", "cursor", live, []vectorSig{sigOf(w.laptop, "live", live.Bytes())}},
		{"live-message", "empty", &wire.LiveMessage{Space: ana, Author: me, Clock: noon(5001)}, nil},
		{"host-certificate", "ana", cert, []vectorSig{sigOf(w.laptop, "host", cert.Bytes())}},
		{"redeem", "ben", redeem, []vectorSig{sigOf(w.invitation, "redeem", redeem.Bytes())}},
		{"link", "short", &wire.Link{Space: ana, Host: w.host.public(), Seed: seed, Until: 29715120}, nil},
		{"link", "addresses", &wire.Link{
			Space: ana, Host: w.host.public(), Seed: seed, Until: 29715120, Open: "chirp",
			Addrs: [][]byte{unhexed("047f000001910223fa"), unhexed("0429000000000000000000000000000000010623fa")},
		}, nil},
	}
}

// live is a live message: where the cursor of Ana's laptop stands.
func (w *world) live() *wire.LiveMessage {
	return &wire.LiveMessage{
		Space: w.ana.Space(), Path: "doc", Author: sennit.Principal{Space: w.ana.Space(), Device: w.laptop.public()},
		Clock: noon(5000), Expires: 10_000, Type: "application/json", Body: []byte(`{"cursor":12}`),
	}
}

func unhexed(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}
