package bustest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"lukechampine.com/blake3"

	"github.com/sennit/sennit"
)

// Model is a Bus made of one mutex, some maps and a log that only grows: as
// plain as the contract allows, so that doors can be tested without an engine
// and engines against it. It keeps nothing on disk, forgets nothing, and gets
// slow when it holds much.
//
// Used as a Bus it is its owner's. [Model.Friend] and [Model.Limited] give
// other callers' views of the same state.
type Model struct {
	view
	world *world
}

// Memory makes an empty Model.
func Memory() *Model {
	w := &world{
		spaces: map[sennit.Space]map[sennit.Path]fact{}, counts: map[place]int64{}, streams: map[place]sennit.Value{},
		names: map[string]sennit.Space{},
		wake:  make(chan struct{}),
		epoch: uint64(time.Now().UnixNano()),
	}
	return &Model{view: w.person("me"), world: w}
}

// Friend is another person's bus over the same state. The model's owner knows
// that person's space as @name, follows it, and may read all of it.
func (m *Model) Friend(name string) sennit.Bus {
	m.world.mu.Lock()
	defer m.world.mu.Unlock()
	v := m.world.person(name)
	m.world.names["@"+name] = v.me
	m.world.follows = append(m.world.follows, v.me)
	return v
}

// Limited is the owner's bus for a caller who may do only so much, at and
// under the prefixes. Without prefixes that holds everywhere.
func (m *Model) Limited(prefixes []sennit.Addr, may sennit.Rights) sennit.Bus {
	v := m.view
	v.may = may
	v.prefixes = slices.Clone(prefixes)
	return v
}

// Space is the space that the owner calls "me".
func (m *Model) Space() sennit.Space { return m.me }

// Watches tells how many watches are open.
func (m *Model) Watches() int {
	m.world.mu.Lock()
	defer m.world.mu.Unlock()
	return m.world.open
}

// Restore starts a new epoch, as a node does when its data directory was
// rebuilt: the cursors that were given mean nothing any more.
func (m *Model) Restore() {
	m.world.mu.Lock()
	defer m.world.mu.Unlock()
	m.world.epoch++
	m.world.wakeAll()
}

// Stop makes every watch fail with [sennit.Gone], as when a node stops.
func (m *Model) Stop() {
	m.world.mu.Lock()
	defer m.world.mu.Unlock()
	m.world.stopped = true
	m.world.wakeAll()
}

// world is the state that all views share.
type world struct {
	mu      sync.Mutex
	spaces  map[sennit.Space]map[sennit.Path]fact // the newest put or del at each path
	counts  map[place]int64                       // what was added at each path, which a put leaves as it is
	streams map[place]sennit.Value                // what was appended, likewise
	log     []fact                                // all there was, in order of arrival
	past    []fact                                // and what each path showed then
	names   map[string]sennit.Space               // petnames, with the "@"
	follows []sennit.Space
	mail    []sennit.Update // live messages, in order
	wake    chan struct{}   // closed, and replaced, when something happened
	open    int             // watches
	commits uint64          // so far
	epoch   uint64
	stopped bool
}

// place is a path of a space.
type place struct {
	space sennit.Space
	path  sennit.Path
}

// fact is an op that was accepted.
type fact struct {
	space  sennit.Space
	node   sennit.Node
	kind   sennit.Kind
	deep   bool
	stream bool   // of a path's newest: what it shows is a stream
	at     int    // its index in the log
	commit uint64 // the number of its commit, 1 for the first
}

func (w *world) person(name string) view {
	me := sennit.Space(sha256.Sum256([]byte("space of " + name)))
	w.spaces[me] = map[sennit.Path]fact{}
	return view{world: w, me: me, device: sennit.Device(sha256.Sum256([]byte("device of " + name))), may: sennit.AllRights}
}

func (w *world) wakeAll() {
	close(w.wake)
	w.wake = make(chan struct{})
}

func (w *world) cursor() sennit.Cursor {
	return sennit.Cursor{Epoch: w.epoch, N: w.commits}
}

// view is the Bus of one caller.
type view struct {
	world    *world
	me       sennit.Space
	device   sennit.Device
	may      sennit.Rights
	prefixes []sennit.Addr // none: everywhere
}

var errNothing = sennit.Errorf(sennit.NotFound, "nothing is there")

// resolve tells which space a root names. The world is locked.
func (v view) resolve(root string) (sennit.Space, error) {
	s, known := v.world.names[root]
	if root == "me" {
		s, known = v.me, true
	} else if id, err := sennit.ParseSpace(root); err == nil {
		s, known = id, v.world.spaces[id] != nil
	}
	if !known {
		return s, errNothing
	}
	return s, nil
}

// can reports whether the caller may do that at a path. The world is locked.
func (v view) can(right sennit.Rights, s sennit.Space, p sennit.Path) bool {
	if v.may&right == 0 || s != v.me && right != sennit.Read {
		return false
	}
	for _, a := range v.prefixes {
		if at, err := v.resolve(a.Root); err == nil && at == s && p.Under(a.Path) {
			return true
		}
	}
	return len(v.prefixes) == 0
}

// Get is [sennit.Bus.Get].
func (v view) Get(_ context.Context, a sennit.Addr) (sennit.Node, error) {
	v.world.mu.Lock()
	defer v.world.mu.Unlock()
	s, err := v.resolve(a.Root)
	if err != nil {
		return sennit.Node{}, err
	}
	f, ok := v.world.spaces[s][a.Path]
	if !ok || f.kind != sennit.KindPut || !v.can(sennit.Read, s, a.Path) {
		return sennit.Node{}, errNothing
	}
	return f.shown(), nil
}

// shown is the fact's node as readers get it: without the bytes, if there are
// many.
func (f *fact) shown() sennit.Node {
	n := f.node
	if size := uint64(len(n.Value.Data)); size <= sennit.MaxInline {
		return n
	} else if n.Value.Data = nil; f.stream {
		n.Value.Stream = size
	} else {
		n.Value.Blob = &sennit.Blob{Root: blake3.Sum256(f.node.Value.Data), Size: size}
	}
	return n
}

// Open is [sennit.Bus.Open].
func (v view) Open(ctx context.Context, a sennit.Addr) (sennit.Node, sennit.Content, error) {
	n, err := v.Get(ctx, a)
	if err != nil {
		return n, nil, err
	}
	v.world.mu.Lock()
	defer v.world.mu.Unlock()
	s, err := v.resolve(a.Root)
	if err != nil {
		return n, nil, err
	}
	f := v.world.spaces[s][a.Path]
	return f.shown(), content(f.node.Value.Data), nil
}

// At is [sennit.Bus.At]. The model forgets nothing.
func (v view) At(_ context.Context, a sennit.Addr, at sennit.Version) (sennit.Node, sennit.Content, error) {
	v.world.mu.Lock()
	defer v.world.mu.Unlock()
	s, err := v.resolve(a.Root)
	if err != nil {
		return sennit.Node{}, nil, err
	}
	if !v.can(sennit.Read, s, a.Path) {
		return sennit.Node{}, nil, errNothing
	}
	for _, f := range slices.Backward(v.world.past) {
		commit, _, _ := strings.Cut(string(f.node.Version), ".")
		if f.space != s || at != f.node.Version && string(at) != commit || a.Path != f.node.Path && !(f.deep && a.Path.Under(f.node.Path)) {
			continue
		}
		if f.kind != sennit.KindPut {
			break
		}
		return f.shown(), content(f.node.Value.Data), nil
	}
	return sennit.Node{}, nil, errNothing
}

type content []byte

func (c content) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	return bytes.NewReader(c).ReadAt(p, off)
}

func (content) Close() error { return nil }

// Put is [sennit.Bus.Put].
func (v view) Put(_ context.Context, a sennit.Addr, typ string, from io.Reader, cond *sennit.Version) (sennit.Version, error) {
	data, err := io.ReadAll(from)
	if err != nil {
		return "", err
	}
	change := sennit.Change{Kind: sennit.KindPut, Path: a.Path, Value: sennit.Value{Type: typ}, If: cond}
	if err := checkCommit([]sennit.Change{change}); err != nil {
		return "", err
	}
	if strings.ContainsFunc(typ, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", sennit.Errorf(sennit.BadInput, "%q is not a media type", typ)
	}
	change.Value.Data = data
	return v.commit(a.Root, []sennit.Change{change})
}

// List is [sennit.Bus.List].
func (v view) List(_ context.Context, a sennit.Addr, o sennit.Listing) ([]sennit.Entry, bool, error) {
	if o.Limit < 0 {
		return nil, false, sennit.Errorf(sennit.BadInput, "the limit %d is negative", o.Limit)
	}
	v.world.mu.Lock()
	defer v.world.mu.Unlock()
	s, err := v.resolve(a.Root)
	if err != nil {
		return nil, false, err
	}
	children := map[string]sennit.Entry{}
	for p, f := range v.world.spaces[s] {
		if f.kind != sennit.KindPut || p == a.Path || !p.Under(a.Path) || !v.can(sennit.Read, s, p) {
			continue
		}
		name, below, _ := strings.Cut(strings.TrimPrefix(string(p)[len(a.Path):], "/"), "/")
		e := children[name]
		e.Name, e.Value, e.Dir = name, e.Value || below == "", e.Dir || below != ""
		children[name] = e
	}
	if len(children) == 0 && (a.Path != "" || !v.can(sennit.Read, s, "")) {
		return nil, false, errNothing
	}
	var entries []sennit.Entry
	for _, name := range slices.Sorted(maps.Keys(children)) {
		if name > o.After {
			entries = append(entries, children[name])
		}
	}
	limit := cmp.Or(o.Limit, 1000)
	return entries[:min(limit, len(entries))], len(entries) > limit, nil
}

// Write is [sennit.Bus.Write].
func (v view) Write(_ context.Context, root string, changes []sennit.Change) (sennit.Version, error) {
	if err := checkCommit(changes); err != nil {
		v.world.mu.Lock()
		defer v.world.mu.Unlock()
		if _, unknown := v.resolve(root); unknown != nil {
			err = unknown
		}
		return "", err
	}
	return v.commit(root, changes)
}

// commit does changes that are well formed.
func (v view) commit(root string, changes []sennit.Change) (sennit.Version, error) {
	v.world.mu.Lock()
	defer v.world.mu.Unlock()
	s, err := v.resolve(root)
	if err != nil {
		return "", err
	}
	for _, c := range changes {
		right := sennit.Write
		if c.Kind == sennit.KindDel {
			right = sennit.Remove
		}
		switch {
		case v.can(right, s, c.Path):
		case v.can(sennit.Read, s, c.Path):
			return "", sennit.Errorf(sennit.Denied, "you may read %s, but not change it", c.Path)
		default:
			return "", errNothing
		}
		if c.If == nil {
			continue
		}
		now := sennit.Version("")
		if f := v.world.spaces[s][c.Path]; f.kind == sennit.KindPut {
			now = f.node.Version
		}
		if !v.can(sennit.Read, s, c.Path) {
			return "", sennit.Errorf(sennit.Denied, "you may not read %s", c.Path)
		}
		if now != *c.If {
			return "", sennit.Errorf(sennit.Conflict, "%s has version %q", c.Path, now)
		}
	}
	v.world.commits++
	version := sennit.Version(fmt.Sprintf("%s-%d", v.device.String()[:16], v.world.commits))
	now := time.Now()
	for _, c := range changes {
		f := fact{space: s, kind: c.Kind, deep: c.Deep && c.Kind == sennit.KindDel, at: len(v.world.log), commit: v.world.commits,
			node: sennit.Node{Path: c.Path, Author: sennit.Principal{Space: v.me, Device: v.device}, Version: version, Time: now}}
		state, counts, streams := v.world.spaces[s], v.world.counts, v.world.streams
		told := f
		switch {
		case c.Kind == sennit.KindPut:
			f.node.Value = sennit.Value{Type: c.Value.Type, Data: slices.Clone(c.Value.Data)}
		case c.Kind == sennit.KindAdd: // the path shows the new sum, as if it was put
			at := place{s, c.Path}
			counts[at] += c.Delta
			f.kind = sennit.KindPut
			f.node.Value = sennit.Value{Type: "application/json", Data: strconv.AppendInt(nil, counts[at], 10)}
		case c.Kind == sennit.KindAppend: // the path shows the longer stream; a watch is told by how much it grew
			at := place{s, c.Path}
			before, was := streams[at], state[c.Path]
			if before.Data == nil {
				before.Type = c.Value.Type
			}
			before.Data = append(slices.Clone(before.Data), c.Value.Data...)
			streams[at] = before
			f.kind, f.stream, f.node.Value = sennit.KindPut, true, before
			// Each longer stream has a name of its own, as if it was one op more.
			f.node.Version += sennit.Version(fmt.Sprintf(".%016x", len(before.Data)))
			if was.kind != sennit.KindPut || was.stream {
				told.node.Value = sennit.Value{Type: c.Value.Type, Data: slices.Clone(c.Value.Data)}
			}
		default:
			delete(counts, place{s, c.Path})
			delete(streams, place{s, c.Path})
		}
		if f.deep {
			maps.DeleteFunc(state, func(p sennit.Path, _ fact) bool { return p.Under(c.Path) })
			maps.DeleteFunc(counts, func(at place, _ int64) bool { return at.space == s && at.path.Under(c.Path) })
			maps.DeleteFunc(streams, func(at place, _ sennit.Value) bool { return at.space == s && at.path.Under(c.Path) })
		}
		if state[c.Path] = f; told.node.Value.Data == nil {
			told = f
		}
		v.world.log, v.world.past = append(v.world.log, told), append(v.world.past, f)
	}
	v.world.wakeAll()
	return version, nil
}

func checkCommit(changes []sennit.Change) error {
	size := 0
	for _, c := range changes {
		p, err := sennit.ParsePath(string(c.Path))
		switch {
		case err != nil:
			return err
		case p != c.Path:
			return sennit.Errorf(sennit.BadInput, "the path %q is not canonical", c.Path)
		case c.Kind < sennit.KindPut || c.Kind > sennit.KindAppend:
			return sennit.Errorf(sennit.Unsupported, "ops of kind %d are not for writing", c.Kind)
		case c.Path.Reserved():
			return sennit.Errorf(sennit.Denied, "%s is reserved", c.Path)
		case c.Kind != sennit.KindDel && c.Path == "":
			return sennit.Errorf(sennit.BadInput, "the root of a space holds no value")
		case c.Value.Blob != nil:
			return sennit.Errorf(sennit.Unsupported, "the model keeps no blobs")
		case len(c.Value.Data) > sennit.MaxInline:
			return sennit.Errorf(sennit.TooLarge, "the value has %d bytes; at most %d are allowed", len(c.Value.Data), sennit.MaxInline)
		case c.Kind == sennit.KindAppend && len(c.Value.Data) == 0:
			return sennit.Errorf(sennit.BadInput, "nothing is to be appended")
		case len(c.Value.Type) > sennit.MaxType || !utf8.ValidString(c.Value.Type):
			return sennit.Errorf(sennit.BadInput, "the media type is malformed or has more than %d bytes", sennit.MaxType)
		}
		size += len(c.Path) + len(c.Value.Type) + len(c.Value.Data) + 16
	}
	switch {
	case len(changes) == 0:
		return sennit.Errorf(sennit.BadInput, "a commit without changes")
	case len(changes) > sennit.MaxOps:
		return sennit.Errorf(sennit.TooLarge, "a commit with %d changes; at most %d are allowed", len(changes), sennit.MaxOps)
	case size > sennit.MaxCommit:
		return sennit.Errorf(sennit.TooLarge, "a commit of %d bytes; at most %d are allowed", size, sennit.MaxCommit)
	}
	return nil
}

// Send is [sennit.Bus.Send].
func (v view) Send(_ context.Context, a sennit.Addr, val sennit.Value, life time.Duration) error {
	v.world.mu.Lock()
	defer v.world.mu.Unlock()
	s, err := v.resolve(a.Root)
	if err != nil {
		return err
	}
	life = cmp.Or(life, sennit.MessageLife)
	may, sees := v.can(sennit.Write, s, a.Path), v.can(sennit.Read, s, a.Path)
	err = checkCommit([]sennit.Change{{Kind: sennit.KindPut, Path: a.Path, Value: val}})
	switch {
	case !may && !sees:
		return errNothing
	case !may:
		return sennit.Errorf(sennit.Denied, "you may read %s, but send nothing there", a.Path)
	case err != nil:
		return err
	case strings.ContainsFunc(val.Type, func(r rune) bool { return r < ' ' || r > '~' }):
		return sennit.Errorf(sennit.BadInput, "%q is not a media type", val.Type)
	case len(val.Data) > sennit.MaxMessage:
		return sennit.Errorf(sennit.TooLarge, "a message of %d bytes", len(val.Data))
	case life < time.Millisecond || life > sennit.MaxMessageLife:
		return sennit.Errorf(sennit.BadInput, "a message that counts for %v", life)
	}
	now := time.Now()
	val.Data = slices.Clone(val.Data)
	v.world.mail = append(v.world.mail, sennit.Update{Kind: sennit.Message, Space: s, Until: now.Add(life), Node: sennit.Node{
		Path: a.Path, Value: val, Author: sennit.Principal{Space: v.me, Device: v.device}, Time: now,
	}})
	v.world.wakeAll()
	return nil
}

// Digest is [sennit.Bus.Digest]: a hash over the sorted ops that are live.
// What is absent has the zero hash.
func (v view) Digest(_ context.Context, a sennit.Addr) (sennit.Digest, error) {
	v.world.mu.Lock()
	defer v.world.mu.Unlock()
	s, err := v.resolve(a.Root)
	if err != nil {
		return sennit.Digest{}, err
	}
	d := sennit.Digest{Cursor: v.world.cursor()}
	state := v.world.spaces[s]
	h := sha256.New()
	for _, p := range slices.Sorted(maps.Keys(state)) {
		if f := state[p]; p.Under(a.Path) && v.can(sennit.Read, s, p) {
			d.Ops++
			fmt.Fprintf(h, "%q %d %v %q %q ", p, f.kind, f.deep, f.node.Version, f.node.Value.Type)
			h.Write(binary.AppendUvarint(nil, uint64(len(f.node.Value.Data))))
			h.Write(f.node.Value.Data)
		}
	}
	if d.Ops > 0 {
		h.Sum(d.Hash[:0])
	}
	return d, nil
}
