package node_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// This file is a world to test engines in: people with devices that write by
// hand, nodes on file systems in memory, and by definition, slowly, what each
// node must show once it has everything.

// failer is what helpers need of a *testing.T or a *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func secret(name string) ed25519.PrivateKey {
	h := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(h[:])
}

// person is somebody whose control key the test has.
type person struct {
	control   ed25519.PrivateKey
	inception wire.Inception
	events    []*wire.KeyEvent
}

func newPerson(name string) *person {
	p := &person{control: secret(name + " control")}
	next := secret(name + " next")
	p.inception = wire.Inception{Kind: wire.Person, Keys: wire.Keys{
		Control: [][32]byte{[32]byte(p.control.Public().(ed25519.PublicKey))}, Threshold: 1,
		Next: []sennit.Hash{wire.NextKey([32]byte(next.Public().(ed25519.PublicKey)))}, NextThreshold: 1,
	}}
	copy(p.inception.Nonce[:], name)
	return p
}

func (p *person) space() sennit.Space { return p.inception.Space() }

// event adds a key event.
func (p *person) event(e wire.KeyEvent) *wire.KeyEvent {
	e.Space, e.Prev = p.space(), sennit.Hash(p.space())
	if n := len(p.events); n > 0 {
		e.Prev = p.events[n-1].Hash()
	}
	e.Sigs = []wire.KeySig{{Sig: keys.Sign(p.control, keys.DomainKeyEvent, e.Signed())}}
	p.events = append(p.events, &e)
	return &e
}

func (p *person) add(dev ed25519.PrivateKey) *wire.KeyEvent {
	return p.event(wire.KeyEvent{Type: wire.DeviceAdd, Device: public(dev), HPKE: []byte("hpke"), Name: "device"})
}

func (p *person) remove(dev ed25519.PrivateKey) *wire.KeyEvent {
	return p.event(wire.KeyEvent{Type: wire.DeviceDel, Device: public(dev)})
}

func (p *person) evidence() *wire.Evidence {
	return &wire.Evidence{Inception: p.inception, Events: slices.Clone(p.events)}
}

func public(k ed25519.PrivateKey) sennit.Device {
	return sennit.Device(k.Public().(ed25519.PublicKey))
}

// identity is a node's identity whose control key the test has.
type identity struct {
	*keys.Identity
	person *person
}

var identities sync.Map // making one takes longer than most tests

func newIdentity(t testing.TB, name string) identity {
	if id, ok := identities.Load(name); ok {
		id := id.(identity)
		return identity{id.Identity, &person{id.person.control, id.person.inception, slices.Clone(id.person.events)}}
	}
	seed := sha256.Sum256([]byte("identity " + name))
	id, err := keys.Create(t.TempDir(), keys.Options{DeviceName: name, Now: time.Unix(1_700_000_000, 0), Rand: rand.NewChaCha8(seed)})
	if err != nil {
		t.Fatal(err)
	}
	var control [32]byte
	rand.NewChaCha8(seed).Read(control[:]) // what comes first
	p := &person{ed25519.NewKeyFromSeed(control[:]), id.Inception(), id.Events()}
	if p.inception.Keys.Control[0] != [32]byte(p.control.Public().(ed25519.PublicKey)) {
		t.Fatal("the control key is made of other bytes")
	}
	identities.Store(name, identity{id, p})
	return newIdentity(t, name)
}

// log is a log that a test writes by hand. A fork of it is another log with
// the same record.
type log struct {
	rec     wire.Log
	key     ed25519.PrivateKey
	peaks   commit.Peaks
	nodes   map[commit.Place]sennit.Hash
	commits []*commit.Commit
}

func newLog(space, principal sennit.Space, dev ed25519.PrivateKey, class wire.Class, nonce byte) *log {
	l := &log{key: dev, nodes: map[commit.Place]sennit.Hash{}}
	l.rec = wire.Log{Space: space, Principal: principal, Device: public(dev), Class: class}
	l.rec.Nonce[0] = nonce
	return l
}

// fork is a log with the same first commits, as a device that lost the others
// would go on.
func (l *log) fork(size int) *log {
	f := &log{rec: l.rec, key: l.key, nodes: map[commit.Place]sennit.Hash{}}
	for _, c := range l.commits[:size] {
		f.adopt(c)
	}
	return f
}

func (l *log) adopt(c *commit.Commit) {
	leaf := commit.Leaf(c.ID[:])
	l.nodes[commit.Place{Index: c.Seq - 1}] = leaf
	l.peaks.Append(leaf, func(at commit.Place, h sennit.Hash) { l.nodes[at] = h })
	l.commits = append(l.commits, c)
}

func (l *log) write(t failer, clock uint64, auth []sennit.Hash, ops ...wire.Op) *commit.Commit {
	t.Helper()
	peaks := l.peaks.Clone()
	c, err := commit.Build(l.rec.Space, l.rec.ID(), &peaks, clock, auth, ops,
		func(id sennit.Hash) [64]byte { return keys.Sign(l.key, keys.DomainCommit, id[:]) }, nil)
	if err != nil {
		t.Fatalf("write by hand: %v", err)
	}
	l.adopt(c)
	return c
}

// run carries commits first to last, counted from 1, of those that keep
// selects, of each the ops that sees selects. The last is always kept.
func (l *log) run(t failer, from, first, last int, keep func(seq int) bool, sees func(seq int, op uint32) bool) *wire.Run {
	t.Helper()
	run := &wire.Run{Log: l.rec.ID(), From: uint64(from), Sig: *l.commits[last-1].Sig}
	next := from + 1
	for seq := first; seq <= last; seq++ {
		if seq < last && !keep(seq) {
			continue
		}
		if seq > next {
			it := wire.RunItem{Gap: uint64(seq - next)}
			for _, at := range commit.Decompose(uint64(next-1), uint64(seq-1)) {
				h, ok := commit.Head(at, l.nodes)
				if !ok {
					t.Fatalf("no node at %+v", at)
				}
				it.Nodes = append(it.Nodes, h)
			}
			run.Items = append(run.Items, it)
		}
		c := l.commits[seq-1]
		parts, err := c.Pick(func(i uint32, _ *wire.Op) bool { return sees(seq, i) })
		if err != nil {
			t.Fatalf("pick ops: %v", err)
		}
		run.Items = append(run.Items, wire.RunItem{Clock: c.Clock, Auth: c.Auth, Count: c.Count, Parts: parts})
		next = seq + 1
	}
	got, err := wire.DecodeRun(run.Append(nil))
	if err != nil {
		t.Fatalf("a run of the test's own: %v", err)
	}
	return got
}

func all(int) bool            { return true }
func allOps(int, uint32) bool { return true }

func (l *log) whole(t failer) *wire.Run { return l.run(t, 0, 1, len(l.commits), all, allOps) }

func putOp(path, value string) wire.Op {
	return wire.Op{Kind: sennit.KindPut, Path: sennit.MustPath(path), Body: wire.Put{Value: sennit.Value{Data: []byte(value)}}.Append(nil)}
}

func delOp(path string, deep bool) wire.Op {
	return wire.Op{Kind: sennit.KindDel, Path: sennit.MustPath(path), Body: wire.Del{Deep: deep}.Append(nil)}
}

func addOp(path string, since uint64, total int64) wire.Op {
	return wire.Op{Kind: sennit.KindAdd, Path: sennit.MustPath(path), Body: wire.Add{Since: since, Total: total}.Append(nil)}
}

func grantOp(g wire.Grant) wire.Op { return wire.Op{Kind: sennit.KindGrant, Body: g.Append(nil)} }
func eventOp(e *wire.KeyEvent) wire.Op {
	return wire.Op{Kind: sennit.KindKey, Body: wire.Key{Event: e}.Append(nil)}
}

// machine is a node with its disk.
type machine struct {
	*node.Node
	id   identity
	fs   vfs.FS
	dir  string // of the store, "store" if empty
	st   *store.Store
	now  func() time.Time
	full func() error
	undo time.Duration
	stop func() error // ends Run cleanly
}

// clock is the time as the machine has it.
func (m *machine) clock() time.Time {
	if m.now != nil {
		return m.now()
	}
	return time.Now()
}

func boot(t failer, m *machine) *machine {
	t.Helper()
	var err error
	if m.st, err = store.Open(store.Config{Dir: cmp.Or(m.dir, "store"), FS: m.fs}); err != nil {
		t.Fatalf("open the store: %v", err)
	}
	m.Node, err = node.New(node.Config{Store: m.st, Identity: m.id.Identity, Log: slog.New(slog.DiscardHandler), Now: m.now, Full: m.full, Undo: m.undo})
	if err != nil {
		t.Fatalf("open the node: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	m.stop = sync.OnceValue(func() error {
		cancel()
		return errors.Join(<-done, m.st.Close())
	})
	return m
}

// deliver hands a run to a node and waits for what becomes of it.
func (m *machine) deliver(rec wire.Log, runs ...*wire.Run) error {
	in := m.Intake()
	if err := in.Log(rec); err != nil {
		return err
	}
	var failed error
	for _, run := range runs {
		if err := in.Run(context.Background(), run); err != nil && failed == nil {
			failed = err
		}
	}
	_, err := in.Wait(context.Background())
	return cmp.Or(failed, err)
}

// how says how a node is told what another one has.
type how struct {
	limit  int                    // bytes in a batch, at least 1
	filter node.Filter            // what the reader may see
	skip   func(sennit.Hash) bool // what it has
	known  bool                   // it says how much of each log it has
	pushed []sennit.Path          // only what is live there; nil for all that arrived
}

// relay brings a node what another one gives it.
func relay(t failer, from, to *machine, space sennit.Space, how how) {
	t.Helper()
	ctx := context.Background()
	if from.Authority(space) == nil {
		return
	}
	f := from.Feed(space, how.filter)
	if how.known {
		mine, err := from.Logs(space)
		if err != nil {
			t.Fatalf("logs: %v", err)
		}
		theirs, err := to.Logs(space)
		if err != nil {
			t.Fatalf("logs: %v", err)
		}
		for id, n := range theirs {
			f.Known[id] = min(n, mine[id])
		}
	}
	in := to.Intake()
	again := false // something has to be sent in another way
	take := func(b *node.Batch) {
		for _, rec := range b.Logs {
			if err := in.Log(rec); err != nil {
				t.Fatalf("relay a log: %v", err)
			}
		}
		for _, run := range b.Runs {
			run, err := wire.DecodeRun(run.Append(nil))
			if err != nil {
				t.Fatalf("relay a run that can't be read: %v", err)
			}
			var behind *node.Behind
			if err := in.Run(ctx, run); errors.As(err, &behind) {
				// As a session does: start where the reader says.
				f.Behind(run.Log, behind.Size)
				again = true
			} else if err != nil && sennit.CodeOf(err) != sennit.Denied {
				t.Fatalf("relay a run: %v", err)
			}
		}
		_, err := in.Wait(ctx)
		if sennit.CodeOf(err) == sennit.Conflict { // the next session would be told so
			again = true
			for _, run := range b.Runs {
				f.Behind(run.Log, 0)
			}
		}
		if err != nil && sennit.CodeOf(err) != sennit.Denied && sennit.CodeOf(err) != sennit.Conflict {
			t.Fatalf("relay: %v", err)
		}
	}
	for range 3 { // commits may need evidence, evidence may need commits
		if a := to.Authority(space); a != nil && a.Digest() == from.Authority(space).Digest() {
			break
		}
		b, err := from.Feed(space, nil).Authority(how.limit, nil)
		if err != nil {
			t.Fatalf("feed authority: %v", err)
		}
		take(b)
		for _, e := range from.Authority(space).Evidence() {
			if err := in.Evidence(ctx, space, &wire.Evidence{Inception: e.Inception, Events: e.Events}); err != nil {
				t.Fatalf("relay evidence: %v", err)
			}
		}
		if _, err := in.Wait(ctx); err != nil {
			t.Fatalf("relay evidence: %v", err)
		}
	}
	for round := 0; ; round++ {
		if again = false; round > 8 {
			t.Fatalf("relay: it never ends")
		}
		if how.pushed != nil {
			picks, err := from.Live(space, slices.Clone(how.pushed))
			if err != nil {
				t.Fatalf("live ops: %v", err)
			}
			for len(picks) > 0 {
				b, err := f.Ops(picks, how.limit)
				if err != nil {
					t.Fatalf("feed some: %v", err)
				}
				take(b)
			}
			if !again {
				return
			}
			continue
		}
		for n := uint64(0); ; {
			b, err := f.After(n, how.limit, how.skip)
			if err != nil {
				t.Fatalf("feed from %d on: %v", n, err)
			}
			take(b)
			if n = b.N; n >= b.Last {
				break
			}
		}
		if !again {
			return
		}
	}
}

// has tells whether a commit is at a node, with all its ops.
func (m *machine) has(t failer, space sennit.Space) func(sennit.Hash) bool {
	t.Helper()
	v, err := m.st.View()
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	defer v.Release()
	whole := map[sennit.Hash]bool{}
	num, _ := m.st.Space(space)
	for _, l := range m.st.Logs(num) {
		if err := v.Commits(l.Num, 1, func(_ uint64, rec *wire.Stored) error {
			whole[rec.ID] = len(rec.Gone) == 0
			return nil
		}); err != nil {
			t.Fatalf("commits: %v", err)
		}
	}
	return func(id sennit.Hash) bool { return whole[id] }
}

// reference is what there is of a space anywhere, and what follows from it.
type reference struct {
	space    sennit.Space
	rules    *access.Authority
	ops      []refOp
	live     map[sennit.Path][]refOp
	versions map[sennit.Path]sennit.Version // of values that several ops make, as the first node says
	latest   uint64                         // the latest wall clock that an op may have
	logs     []*log
	commits  []access.Commit
	evidence []access.Evidence
}

type refOp struct {
	at     tree.Stamp
	op     wire.Op
	deep   bool
	author sennit.Principal
	auth   []sennit.Hash
	class  wire.Class
}

// add adds what a log holds, each commit once.
func (r *reference) add(l *log) {
	r.logs = append(r.logs, l)
	for _, c := range l.commits {
		if slices.ContainsFunc(r.ops, func(o refOp) bool { return o.at.Commit == c.ID }) {
			continue
		}
		author := sennit.Principal{Space: l.rec.Principal, Device: l.rec.Device}
		if l.rec.Class == wire.Authority {
			r.commits = append(r.commits, access.Commit{ID: c.ID, Log: c.Log, Seq: c.Seq, Author: author, Heads: c.Auth, Ops: c.Parts[0].Ops})
		}
		c.Each(func(i uint32, op *wire.Op) {
			r.ops = append(r.ops, refOp{
				at: tree.Stamp{Clock: c.Clock, Log: c.Log, Seq: c.Seq, Index: i, Commit: c.ID},
				op: *op, author: author, auth: c.Auth, class: l.rec.Class,
				deep: op.Kind == sennit.KindDel && op.Body[0] == 1,
			})
		})
	}
}

// settle works out what is live, by the definition of package tree.
func (r *reference) settle() {
	r.rules, _ = access.New(r.space).With(r.commits, r.evidence)
	var valid []refOp
	for _, o := range r.ops {
		if o.class == wire.Data && o.at.Clock>>16 <= r.latest && r.rules.Judge(access.Claim{
			Author: o.author, Log: o.at.Log, Seq: o.at.Seq, Commit: o.at.Commit, Auth: o.auth, Kind: o.op.Kind, Path: o.op.Path, Deep: o.deep,
			Link: func(cut wire.Cut) access.Link { return r.link(cut, o.at) },
		}) == access.Valid {
			valid = append(valid, o)
		}
	}
	covers := func(a, b refOp) bool { // by the table of package tree
		slotA, slotB := tree.SlotOf(a.op.Kind, a.deep), tree.SlotOf(b.op.Kind, b.deep)
		begun := slotB == tree.Add && (slotA == tree.Del || slotA == tree.Deep) && b.since() < a.at.Clock
		if !b.at.Before(a.at) && !begun {
			return false
		}
		switch slotA {
		case tree.Add:
			return a.op.Path == b.op.Path && slotB == tree.Add && a.at.Log == b.at.Log && a.since() == b.since()
		case tree.Put:
			return a.op.Path == b.op.Path && slotB == tree.Put
		case tree.Del:
			return a.op.Path == b.op.Path && slotB != tree.Deep
		case tree.Deep:
			return b.op.Path.Under(a.op.Path)
		}
		return false
	}
	r.live, r.versions = map[sennit.Path][]refOp{}, nil
	for _, o := range valid {
		if !slices.ContainsFunc(valid, func(a refOp) bool { return covers(a, o) }) {
			r.live[o.op.Path] = append(r.live[o.op.Path], o)
		}
	}
}

// link says whether a commit is in the past of the one that a cut names.
func (r *reference) link(cut wire.Cut, at tree.Stamp) access.Link {
	holds := func(l *log, seq uint64, id sennit.Hash) bool {
		return slices.ContainsFunc(l.commits, func(c *commit.Commit) bool { return c.Seq == seq && c.ID == id })
	}
	for _, l := range r.logs {
		if holds(l, cut.Seq, cut.Last) && l.rec.ID() == cut.Log {
			if holds(l, at.Seq, at.Commit) {
				return access.Linked
			}
			return access.Apart
		}
	}
	return access.Unknown
}

func (o refOp) since() uint64 { return o.add().Since }

func (o refOp) add() wire.Add {
	add, err := wire.DecodeAdd(o.op.Body)
	if err != nil {
		panic(err)
	}
	return add
}

// value is what a path shows: the put that is live there, the sum of the adds,
// or the chunks in order, whichever has the newest op.
func (r *reference) value(p sennit.Path) (newest refOp, value string, ok bool) {
	sum, stream := new(big.Int), ""
	for _, o := range slices.SortedFunc(slices.Values(r.live[p]), func(a, b refOp) int { return a.at.Compare(b.at) }) {
		switch o.op.Kind {
		case sennit.KindAdd:
			sum.Add(sum, big.NewInt(o.add().Total))
		case sennit.KindAppend:
			chunk, err := wire.DecodeAppend(o.op.Body)
			if err != nil {
				panic(err)
			}
			stream += string(chunk.Data)
		}
		if o.op.Kind <= sennit.KindAppend && o.op.Kind != sennit.KindDel {
			newest, ok = o, true
		}
	}
	switch {
	case ok && newest.op.Kind == sennit.KindAdd:
		return newest, sum.String(), true
	case ok && newest.op.Kind == sennit.KindAppend:
		return newest, stream, true
	}
	if ok {
		put, err := wire.DecodePut(newest.op.Body)
		if err != nil {
			panic(err)
		}
		value = string(put.Value.Data)
	}
	return newest, value, ok
}

// version reports whether a value's version is as it should be: the name of
// the newest op's commit, with something behind it that all nodes agree on if
// it is made by several ops.
func (r *reference) version(p sennit.Path, newest refOp, want, got sennit.Version) bool {
	several := 0
	for _, o := range r.live[p] {
		if o.op.Kind == newest.op.Kind {
			several++
		}
	}
	if several == 1 {
		return got == want
	}
	if r.versions == nil {
		r.versions = map[sennit.Path]sennit.Version{}
	}
	if r.versions[p] == "" {
		r.versions[p] = got
	}
	mix, ok := strings.CutPrefix(string(got), string(want)+".")
	return ok && len(mix) == 16 && got == r.versions[p]
}

// trie is the digest trie over all that is live.
func (r *reference) trie(t failer) trieMap {
	var changes []tree.Change
	names := map[sennit.Path][]wire.OpRef{}
	for p, ops := range r.live {
		for _, o := range ops {
			at := p
			if tree.SlotOf(o.op.Kind, o.deep).Many() {
				at = tree.Moment(p, o.at.Clock)
			}
			names[at] = append(names[at], o.at.Name())
		}
	}
	for p, names := range names {
		slices.SortFunc(names, tree.CompareNames)
		changes = append(changes, tree.Change{Path: p, Names: names})
	}
	m := trieMap{}
	if err := tree.Update(m, changes); err != nil {
		t.Fatalf("the reference's digests: %v", err)
	}
	return m
}

// trieMap keeps a trie in memory.
type trieMap map[string][]byte

func (m trieMap) Get(key []byte) ([]byte, error) { return m[string(key)], nil }
func (m trieMap) Set(key, value []byte) error    { m[string(key)] = bytes.Clone(value); return nil }
func (m trieMap) Delete(key []byte) error        { delete(m, string(key)); return nil }
func (m trieMap) DeleteRange(start, end []byte) error {
	maps.DeleteFunc(m, func(k string, _ []byte) bool { return k >= string(start) && k < string(end) })
	return nil
}

// compare holds a node against the reference: every value, every listing,
// every digest, and the rules.
func (r *reference) compare(t failer, name string, m *machine) {
	t.Helper()
	ctx := context.Background()
	a := m.Authority(r.space)
	if a == nil {
		t.Fatalf("%s knows nothing of the space", name)
	}
	if a.Digest() != r.rules.Digest() {
		t.Fatalf("%s has other rules: %d commits and %d pieces of evidence instead of %d and %d",
			name, a.Len(), len(a.Evidence()), r.rules.Len(), len(r.rules.Evidence()))
	}
	bus := m.Bus(node.Caller{Principal: sennit.Principal{Space: r.space, Device: r.device()}})
	root := r.space.String()
	paths := map[sennit.Path]bool{"": true}
	for _, o := range r.ops {
		for p := o.op.Path; p != ""; p = p.Parent() {
			paths[p] = true
		}
	}
	trie := r.trie(t)
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		want, value, ok := r.value(p)
		got, err := bus.Get(ctx, sennit.Addr{Root: root, Path: p})
		switch {
		case !ok && sennit.CodeOf(err) != sennit.NotFound:
			t.Fatalf("%s at /%s: %q, %v; want nothing", name, p, got.Value.Data, err)
		case ok && err != nil:
			t.Fatalf("%s at /%s: %v", name, p, err)
		case ok:
			version := sennit.Version(fmt.Sprintf("%s-%d", sennit.Space(want.at.Log), want.at.Seq))
			if string(got.Value.Data) != value || !r.version(p, want, version, got.Version) || got.Author != want.author ||
				got.Path != p || got.Time.UnixMilli() != int64(want.at.Clock>>16) {
				t.Fatalf("%s at /%s: %q of version %s, want %q of %s", name, p, got.Value.Data, got.Version, value, version)
			}
		}
		var entries []sennit.Entry
		for q := range paths {
			if q == "" || q.Parent() != p {
				continue
			}
			e := sennit.Entry{Name: q.Base()}
			_, _, e.Value = r.value(q)
			for b := range r.live {
				_, _, has := r.value(b)
				e.Dir = e.Dir || has && b != q && b.Under(q)
			}
			if e.Value || e.Dir {
				entries = append(entries, e)
			}
		}
		slices.SortFunc(entries, func(a, b sennit.Entry) int { return cmp.Compare(a.Name, b.Name) })
		list, more, err := bus.List(ctx, sennit.Addr{Root: root, Path: p}, sennit.Listing{})
		if err != nil && (sennit.CodeOf(err) != sennit.NotFound || len(entries) > 0) || more || !slices.Equal(list, entries) {
			t.Fatalf("%s lists /%s as %v, %v; want %v", name, p, list, err, entries)
		}
		info, _, err := tree.Find(trie, p)
		if err != nil {
			t.Fatalf("the reference's digest of /%s: %v", p, err)
		}
		d, err := bus.Digest(ctx, sennit.Addr{Root: root, Path: p})
		if err != nil || d.Hash != info.Hash || d.Ops != info.Ops {
			t.Fatalf("%s has digest %v of %d ops at /%s, %v; want %v of %d\nit has%s\nwant%s", name, d.Hash, d.Ops, p, err, info.Hash, info.Ops,
				m.index(t, r.space), r.index())
		}
	}
}

// whole has a node look at all that it holds.
func (m *machine) whole(t failer, name string) {
	t.Helper()
	found, err := m.Verify(context.Background(), func(uint64, uint64) {})
	if err != nil || len(found) > 0 {
		t.Fatalf("%s: verify: %q, %v", name, found, err)
	}
}

// device is one of the owner's devices: it may read everything.
func (r *reference) device() sennit.Device {
	for _, e := range r.rules.Keys().Devices() {
		return e.Device
	}
	return sennit.Device{}
}

// own is the logs in which a node writes to a space, out of its store: the
// commits that it hasn't dropped.
func (m *machine) own(t failer, space sennit.Space) (logs []*log) {
	t.Helper()
	v, err := m.st.View()
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	defer v.Release()
	num, ok := m.st.Space(space)
	if !ok {
		return nil
	}
	for _, sl := range m.st.Logs(num) {
		if sl.Rec.Device != m.Self().Device {
			continue
		}
		l := &log{rec: sl.Rec, nodes: map[commit.Place]sennit.Hash{}}
		if err := v.Commits(sl.Num, 1, func(seq uint64, rec *wire.Stored) error {
			var ops []wire.Op
			err := v.Ops(sl.Num, seq, func(_ uint32, raw []byte) error {
				op, err := wire.DecodeOp(raw)
				ops = append(ops, op)
				return err
			})
			if err != nil {
				return err
			}
			c, err := commit.Restore(sl.ID, seq, rec, ops)
			if err != nil {
				return err
			}
			if seq == uint64(len(l.commits))+1 {
				l.adopt(c)
			} else { // some before it were dropped
				l.commits = append(l.commits, c)
			}
			return nil
		}); err != nil {
			t.Fatalf("own log: %v", err)
		}
		logs = append(logs, l)
	}
	return logs
}

// index lists what is live at a node, for messages.
func (m *machine) index(t failer, space sennit.Space) (list string) {
	v, err := m.st.View()
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	defer v.Release()
	num, _ := m.st.Space(space)
	if err := v.Under(num, "", func(p sennit.Path, s tree.Slot, pos store.Pos) error {
		list += fmt.Sprintf("\n/%s %d: clock %x log %v seq %d index %d", p, s, pos.Clock, m.st.LogByNum(pos.Log).ID, pos.Seq, pos.Index)
		return nil
	}); err != nil {
		list += err.Error()
	}
	return list
}

func (r *reference) index() (list string) {
	for _, p := range slices.Sorted(maps.Keys(r.live)) {
		for _, o := range r.live[p] {
			list += fmt.Sprintf("\n/%s %d: clock %x log %v seq %d index %d", p, tree.SlotOf(o.op.Kind, o.deep), o.at.Clock, o.at.Log, o.at.Seq, o.at.Index)
		}
	}
	return list
}
