package wire_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// signer is a key pair that anybody can make again from its name.
type signer struct {
	name string
	seed [32]byte
}

func newSigner(name string) signer {
	return signer{name, sha256.Sum256([]byte("sennit vectors: " + name))}
}

func (s signer) public() [32]byte {
	return [32]byte(ed25519.NewKeyFromSeed(s.seed[:]).Public().(ed25519.PublicKey))
}

func (s signer) sign(domain string, message []byte) [64]byte {
	return [64]byte(ed25519.Sign(ed25519.NewKeyFromSeed(s.seed[:]), signedBytes(domain, message)))
}

// signedBytes is what an Ed25519 signature of a domain covers.
func signedBytes(domain string, message []byte) []byte {
	return raw("sennit/1 ", domain, 0, message)
}

// The tree of RFC 6962 section 2.1, written down as the RFC defines it.

func leafHash(data []byte) sennit.Hash { return sha256.Sum256(raw(0, data)) }

func treeHead(leaves []sennit.Hash) sennit.Hash {
	switch len(leaves) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leaves[0]
	}
	k := split(len(leaves))
	l, r := treeHead(leaves[:k]), treeHead(leaves[k:])
	return sha256.Sum256(raw(1, l[:], r[:]))
}

// split is the largest power of two smaller than n.
func split(n int) int {
	k := 1
	for k*2 < n {
		k *= 2
	}
	return k
}

// inclusion is the audit path of RFC 6962 section 2.1.1.
func inclusion(m int, leaves []sennit.Hash) []sennit.Hash {
	if len(leaves) == 1 {
		return nil
	}
	if k := split(len(leaves)); m < k {
		return append(inclusion(m, leaves[:k]), treeHead(leaves[k:]))
	} else {
		return append(inclusion(m-k, leaves[k:]), treeHead(leaves[:k]))
	}
}

// rangeNodes stands for the leaves [begin, end): the heads of the largest
// aligned subtrees, from left to right.
func rangeNodes(begin, end int, leaves []sennit.Hash) (nodes []sennit.Hash) {
	for begin < end {
		size := 1
		for begin%(size*2) == 0 && begin+size*2 <= end {
			size *= 2
		}
		nodes = append(nodes, treeHead(leaves[begin:begin+size]))
		begin += size
	}
	return nodes
}

// rfcLeaves and rfcHeads are the leaves and tree heads that implementations of
// RFC 6962 commonly test against: heads of the first 0 to 8 leaves.
func rfcLeaves() (leaves [][]byte) {
	for _, s := range []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"} {
		b, _ := hex.DecodeString(s)
		leaves = append(leaves, b)
	}
	return leaves
}

func rfcHeads() []string {
	return []string{
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
}

func TestTreesOfTheVectorsFollowTheRFC(t *testing.T) {
	var leaves []sennit.Hash
	for i, want := range rfcHeads() {
		if got := treeHead(leaves).String(); got != want {
			t.Errorf("head of %d leaves: got %s, want %s", i, got, want)
		}
		if i < len(rfcLeaves()) {
			leaves = append(leaves, leafHash(rfcLeaves()[i]))
		}
	}
}

// world is a small history from which the vectors are taken: Ana, her
// guardians Ben and Cleo, and what Ana's laptop wrote.
type world struct {
	signers                         []signer
	ana, ben, cleo                  wire.Inception
	laptop, phone, host, invitation signer
	events                          []*wire.KeyEvent
	eventSigners                    [][]signer
	authLog, dataLog                wire.Log
	rules, data                     []commit
}

// commit is a whole commit, made by hand.
type commit struct {
	header wire.Header
	ops    []wire.Op
}

func (c *commit) id() sennit.Hash { return c.header.ID() }

func (c *commit) leaves() (leaves []sennit.Hash) {
	for i := range c.ops {
		leaves = append(leaves, leafHash(c.ops[i].Bytes()))
	}
	return leaves
}

// idLeaves are the leaves of the id tree of some commits.
func idLeaves(cs []commit) (leaves []sennit.Hash) {
	for i := range cs {
		id := cs[i].id()
		leaves = append(leaves, leafHash(id[:]))
	}
	return leaves
}

// next is the commit after others of a log.
func next(before []commit, log wire.Log, clock uint64, auth []sennit.Hash, ops ...wire.Op) commit {
	c := commit{ops: ops}
	c.header = wire.Header{
		Space: log.Space, Log: log.ID(), Seq: uint64(len(before)) + 1, Past: treeHead(idLeaves(before)),
		Clock: clock, Auth: auth, Count: uint32(len(ops)), Root: treeHead(c.leaves()),
	}
	return c
}

// noon is a hybrid logical clock: 2026-07-01T12:00:00Z and some milliseconds.
func noon(ms uint64) uint64 { return (1782907200000 + ms) << 16 }

func salt(n uint64) (s [8]byte) {
	binary.BigEndian.PutUint64(s[:], 0x5a175a175a170000+n)
	return s
}

func nonce(name string) [16]byte {
	h := sha256.Sum256([]byte("sennit vectors: nonce of " + name))
	return [16]byte(h[:16])
}

func dataOp(kind sennit.Kind, path string, body []byte, n uint64) wire.Op {
	return wire.Op{Kind: kind, Path: sennit.Path(path), Body: body, Salt: salt(n)}
}

func textPut(path, text string, n uint64) wire.Op {
	return dataOp(sennit.KindPut, path, wire.Put{Value: sennit.Value{Type: "text/plain", Data: []byte(text)}}.Append(nil), n)
}

func newWorld() *world {
	w := new(world)
	with := func(name string) signer {
		s := newSigner(name)
		w.signers = append(w.signers, s)
		return s
	}
	keys := func(threshold int, control []signer, nextThreshold int, next ...signer) wire.Keys {
		k := wire.Keys{Threshold: uint8(threshold), NextThreshold: uint8(nextThreshold)}
		for _, s := range control {
			k.Control = append(k.Control, s.public())
		}
		for _, s := range next {
			k.Next = append(k.Next, wire.NextKey(s.public()))
		}
		return k
	}
	ben, benNext := with("ben control 1"), with("ben control 2")
	cleo, cleoNext := with("cleo control 1"), with("cleo control 2")
	a1, a2 := with("ana control 1"), with("ana control 2")
	b1, b2, b3 := with("ana control 3"), with("ana control 4"), with("ana control 5")
	c1, d1 := with("ana control 6"), with("ana control 7")
	w.laptop, w.phone, w.host, w.invitation = with("ana laptop"), with("ana phone"), with("ana host"), with("invitation")

	w.ben = wire.Inception{Kind: wire.Person, Keys: keys(1, []signer{ben}, 1, benNext), Nonce: nonce("ben")}
	w.cleo = wire.Inception{Kind: wire.Person, Keys: keys(1, []signer{cleo}, 1, cleoNext), Nonce: nonce("cleo")}
	w.ana = wire.Inception{
		Kind: wire.Person, Keys: keys(2, []signer{a1, a2}, 2, b1, b2, b3),
		Guardians: []sennit.Space{w.ben.Space(), w.cleo.Space()}, GuardianThreshold: 2, Nonce: nonce("ana"),
	}
	space := w.ana.Space()

	event := func(e wire.KeyEvent, signers map[int]signer) {
		e.Space, e.Prev = space, sennit.Hash(space)
		if n := len(w.events); n > 0 {
			e.Prev = w.events[n-1].Hash()
		}
		hash, used := e.Hash(), []signer{}
		for i := range wire.MaxControl {
			if s, ok := signers[i]; ok {
				e.Sigs = append(e.Sigs, wire.KeySig{Key: uint8(i), Sig: s.sign("key-event", hash[:])})
				used = append(used, s)
			}
		}
		w.events, w.eventSigners = append(w.events, &e), append(w.eventSigners, used)
	}
	hpke := sha256.Sum256([]byte("sennit vectors: HPKE key of ana laptop"))
	event(wire.KeyEvent{
		Type: wire.DeviceAdd, Device: w.laptop.public(), HPKE: hpke[:], Name: "laptop", Added: 1782907200000,
	}, map[int]signer{0: a1, 1: a2})
	event(wire.KeyEvent{Type: wire.Rotate, Keys: keys(2, []signer{b1, b2, b3}, 1, c1)}, map[int]signer{0: b1, 2: b3})
	event(wire.KeyEvent{
		Type: wire.DeviceDel, Device: w.phone.public(), Target: sha256.Sum256([]byte("sennit vectors: root of cuts")),
	}, map[int]signer{1: b2, 2: b3})
	event(wire.KeyEvent{Type: wire.Recover, Keys: keys(1, []signer{d1}, 0)}, map[int]signer{0: ben, 1: cleo})
	event(wire.KeyEvent{Type: wire.Cancel, Target: w.events[3].Hash()}, map[int]signer{0: b1, 1: b2})
	event(wire.KeyEvent{Type: wire.Tombstone}, map[int]signer{0: b1, 1: b2, 2: b3})

	w.authLog = wire.Log{Space: space, Principal: space, Device: w.laptop.public(), Class: wire.Authority, Nonce: nonce("authority log")}
	w.dataLog = wire.Log{Space: space, Principal: space, Device: w.laptop.public(), Class: wire.Data, Nonce: nonce("data log")}
	w.rules = []commit{next(nil, w.authLog, noon(0), nil,
		dataOp(sennit.KindKey, "", wire.Key{Inception: &w.ana}.Append(nil), 1),
		dataOp(sennit.KindKey, "", wire.Key{Event: w.events[0]}.Append(nil), 2))}
	w.rules = append(w.rules, next(w.rules, w.authLog, noon(50), []sennit.Hash{w.rules[0].id()},
		dataOp(sennit.KindGrant, "", wire.Grant{
			Prefix: "chirp", Who: wire.Who{Subject: wire.SubjectSpace, Key: w.ben.Space()}, May: sennit.Read,
		}.Append(nil), 3)))
	first, both := []sennit.Hash{w.rules[0].id()}, []sennit.Hash{w.rules[0].id(), w.rules[1].id()}
	n := uint64(100)
	for i, count := range []int{1, 3, 2, 5, 1, 1, 4} {
		var ops []wire.Op
		for range count {
			ops = append(ops, textPut("chirp/posts/"+string(rune('a'+n-100)), "post", n))
			n++
		}
		auth := first
		if i >= 2 {
			auth = both
		}
		w.data = append(w.data, next(w.data, w.dataLog, noon(uint64(100*i+100)), auth, ops...))
	}
	return w
}

// pieces computes a tree head from leaves and from nodes that stand for ranges.
type pieces []struct {
	size int
	head sennit.Hash
}

func (p *pieces) push(size int, head sennit.Hash) {
	*p = append(*p, struct {
		size int
		head sennit.Hash
	}{size, head})
	for n := len(*p); n > 1 && (*p)[n-1].size == (*p)[n-2].size; n = len(*p) {
		l, r := (*p)[n-2], (*p)[n-1]
		*p = append((*p)[:n-2], l)
		(*p)[n-2].size, (*p)[n-2].head = l.size+r.size, sha256.Sum256(raw(1, l.head[:], r.head[:]))
	}
}

// skip pushes what stands for the next n leaves.
func (p *pieces) skip(n int, nodes []sennit.Hash) {
	at := 0
	for _, one := range *p {
		at += one.size
	}
	for end := at + n; at < end && len(nodes) > 0; nodes = nodes[1:] {
		size := 1
		for at%(size*2) == 0 && at+size*2 <= end {
			size *= 2
		}
		p.push(size, nodes[0])
		at += size
	}
}

func (p *pieces) head() sennit.Hash {
	if len(*p) == 0 {
		return treeHead(nil)
	}
	head := (*p)[len(*p)-1].head
	for i := len(*p) - 2; i >= 0; i-- {
		head = sha256.Sum256(raw(1, (*p)[i].head[:], head[:]))
	}
	return head
}

// TestRunsOfTheVectorsProveTheirCommits recomputes every header of a run from
// nothing but the run, the log record and the commits before it, the way that
// docs/formats/commits.md says, and compares ids and signature.
func TestRunsOfTheVectorsProveTheirCommits(t *testing.T) {
	w := newWorld()
	set := readVectors(t)
	for _, v := range set.Records {
		if v.Kind != "run" {
			continue
		}
		run, err := wire.DecodeRun(v.bytes(t))
		if err != nil {
			t.Fatal(err)
		}
		var ids pieces
		for i := range run.From {
			id := w.data[i].id()
			ids.push(1, leafHash(id[:]))
		}
		seq, last := run.From, sennit.Hash{}
		for _, it := range run.Items {
			if it.Gap > 0 {
				ids.skip(int(it.Gap), it.Nodes)
				seq += it.Gap
				continue
			}
			seq++
			var ops pieces
			for _, p := range it.Parts {
				ops.skip(int(p.Skip), p.Nodes)
				for i := range p.Ops {
					ops.push(1, leafHash(p.Ops[i].Bytes()))
				}
			}
			h := wire.Header{
				Space: w.dataLog.Space, Log: run.Log, Seq: seq, Past: ids.head(), Clock: it.Clock, Auth: it.Auth,
				Count: it.Count, Root: ops.head(),
			}
			if last = h.ID(); last != w.data[seq-1].id() {
				t.Errorf("%s: commit %d has the id %s", v.Name, seq, last)
			}
			ids.push(1, leafHash(last[:]))
		}
		device := w.laptop.public()
		if !ed25519.Verify(device[:], signedBytes("commit", last[:]), run.Sig[:]) {
			t.Errorf("%s: its signature is wrong", v.Name)
		}
	}
}
