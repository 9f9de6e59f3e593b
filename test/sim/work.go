package sim

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"lukechampine.com/blake3"

	"github.com/sennit/sennit"
)

// This file is about those who use nodes: writers and watchers.

// write is what somebody wrote, and a node acknowledged.
type write struct {
	m       *machine
	space   sennit.Space
	changes []sennit.Change
	at      place
}

// text is a value as it is compared: a blob is its name, as its bytes may come
// later.
func text(v sennit.Value) string {
	if v.Blob != nil {
		return fmt.Sprintf("blob %s of %d bytes", v.Blob.Root, v.Blob.Size)
	}
	return string(v.Data)
}

// parseVersion takes a version apart.
func parseVersion(v sennit.Version) (place, error) {
	log, seq, _ := strings.Cut(string(v), "-")
	id, err := sennit.ParseSpace(log)
	if err != nil {
		return place{}, err
	}
	seq, _, _ = strings.Cut(seq, ".")
	n, err := strconv.ParseUint(seq, 10, 64)
	return place{sennit.Hash(id), n}, err
}

// write does one piece of work.
func (w *world) write(x work) {
	rng := rand.New(rand.NewPCG(x.seed, 'w'))
	tag := fmt.Sprintf("%s-%x", w.machines[x.by].name, x.seed)
	switch x.kind {
	case burst:
	case blobValue:
		w.putBlob(x, rng)
		return
	default:
		w.commit(x, changes(rng, x, tag))
		return
	}
	var wg sync.WaitGroup
	for i := range 3 + rng.IntN(20) {
		x := x
		x.kind = onePut
		c := changes(rng, x, fmt.Sprint(tag, "-", i))
		wg.Go(func() { w.commit(x, c) })
	}
	wg.Wait()
}

// counter begins the names of counters, at which nothing else is written.
const counter = "count-"

// counts reports whether a path is that of a counter.
func counts(p sennit.Path) bool { return strings.HasPrefix(p.Base(), counter) }

// stream begins the names of streams, likewise.
const stream = "stream-"

func streams(p sennit.Path) bool { return strings.HasPrefix(p.Base(), stream) }

// unordered is a stream's chunks, each of which ends in a space, in an order
// that doesn't depend on theirs.
func unordered(value string) string {
	chunks := strings.SplitAfter(value, " ")
	slices.Sort(chunks)
	return strings.Join(chunks, "")
}

// changes makes up what is written.
func changes(rng *rand.Rand, x work, tag string) []sennit.Change {
	value := func(i, size int) sennit.Value {
		data := fmt.Appendf(nil, "%s/%d ", tag, i)
		for len(data) < size {
			data = append(data, byte(rng.Uint32()))
		}
		return sennit.Value{Type: "text/plain", Data: data}
	}
	put := func(i, size int) sennit.Change {
		return sennit.Change{Kind: sennit.KindPut, Path: x.under.Join(somePath(rng)), Value: value(i, size)}
	}
	count := func() sennit.Change {
		return sennit.Change{Kind: sennit.KindAdd, Path: x.under.Join(someDir(rng)).Join(sennit.Path(fmt.Sprint(counter, rng.IntN(3)))), Delta: rng.Int64N(20) - 5}
	}
	grow := func(i int) sennit.Change {
		return sennit.Change{Kind: sennit.KindAppend, Path: x.under.Join(someDir(rng)).Join(sennit.Path(fmt.Sprint(stream, rng.IntN(2)))), Value: value(i, 0)}
	}
	switch x.kind {
	case oneAppend:
		return []sennit.Change{grow(0)}
	case oneAdd:
		return []sennit.Change{count()}
	case oneDel:
		return []sennit.Change{{Kind: sennit.KindDel, Path: x.under.Join(somePath(rng))}}
	case deepDel:
		return []sennit.Change{{Kind: sennit.KindDel, Path: x.under.Join(someDir(rng)), Deep: true}}
	case several:
		var all []sennit.Change
		for i := range 2 + rng.IntN(20) {
			switch rng.IntN(8) {
			case 0:
				all = append(all, sennit.Change{Kind: sennit.KindDel, Path: x.under.Join(somePath(rng))})
			case 1:
				all = append(all, sennit.Change{Kind: sennit.KindDel, Path: x.under.Join(someDir(rng)), Deep: true})
			case 2:
				all = append(all, count())
			case 3:
				all = append(all, grow(i))
			default:
				all = append(all, put(i, 0))
			}
		}
		return all
	case manyOps:
		var all []sennit.Change
		for i := range 100 + rng.IntN(300) {
			c := put(i, 0)
			c.Path = x.under.Join(sennit.Path(fmt.Sprintf("many/%03d", rng.IntN(500))))
			all = append(all, c)
		}
		return all
	case bigValues:
		var all []sennit.Change
		for i := range 1 + rng.IntN(8) {
			all = append(all, put(i, 20<<10+rng.IntN(40<<10)))
		}
		return all
	}
	return []sennit.Change{put(0, rng.IntN(200))}
}

// someDir is a directory that many paths are in.
func someDir(rng *rand.Rand) sennit.Path {
	return []sennit.Path{"a", "b", "b/c", "a/b", "d", "a/b/c", "wall"}[rng.IntN(7)]
}

// somePath is one of some hundred paths, so that writers meet.
func somePath(rng *rand.Rand) sennit.Path {
	leaf := sennit.Path(fmt.Sprintf("k%d", rng.IntN(10)))
	switch rng.IntN(5) {
	case 0:
		return leaf
	case 1:
		return someDir(rng) // a directory can have a value
	}
	return someDir(rng).Join(leaf)
}

// commit writes to the node of a machine, and notes what it acknowledges.
func (w *world) commit(x work, changes []sennit.Change) {
	m := w.machines[x.by]
	r := m.up()
	if r == nil || r.r.Ahead() > maxAhead {
		return
	}
	space := w.machines[x.in].id.Space()
	w.acknowledge(x, r, changes, func(ctx context.Context) (sennit.Version, error) {
		return r.bus().Write(ctx, space.String(), changes)
	})
}

// putBlob puts a value that is too big for an op.
func (w *world) putBlob(x work, rng *rand.Rand) {
	r := w.machines[x.by].up()
	if r == nil || r.r.Ahead() > maxAhead {
		return
	}
	content := make([]byte, sennit.MaxInline+1+rng.IntN(200<<10))
	rand.NewChaCha8([32]byte{byte(x.seed), byte(x.seed >> 8), byte(x.seed >> 16), byte(x.seed >> 24)}).Read(content)
	c := sennit.Change{Kind: sennit.KindPut, Path: x.under.Join(somePath(rng))}
	c.Value.Blob = &sennit.Blob{Root: blake3.Sum256(content), Size: uint64(len(content))}
	space := w.machines[x.in].id.Space()
	w.acknowledge(x, r, []sennit.Change{c}, func(ctx context.Context) (sennit.Version, error) {
		return r.bus().Put(ctx, sennit.Addr{Root: space.String(), Path: c.Path}, "", bytes.NewReader(content), nil)
	})
}

// acknowledge has something written, and notes what its node acknowledges.
func (w *world) acknowledge(x work, r *run, changes []sennit.Change, do func(context.Context) (sennit.Version, error)) {
	m, space := r.m, w.machines[x.in].id.Space()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	version, err := do(ctx)
	if r.dead.Load() {
		return
	}
	switch sennit.CodeOf(err) {
	case "":
	case sennit.Denied, sennit.NotFound: // it doesn't know yet that it may
		if x.in == x.by {
			w.fail("%s may not write to its own space: %v", m.name, err)
		}
		return
	case sennit.Gone, sennit.ReadOnly:
		return
	default:
		w.fail("%s can't write: %v", m.name, err)
		return
	}
	if x.forbidden {
		w.fail("%s wrote to %s without a right", m.name, changes[0].Path)
		return
	}
	at, err := parseVersion(version)
	if err != nil {
		w.fail("%s calls a version %q: %v", m.name, version, err)
		return
	}
	if !r.show(at) {
		return // the power went before anybody heard
	}
	w.mu.Lock()
	w.acked = append(w.acked, write{m, space, changes, at})
	w.mu.Unlock()
	w.readBack(r, space, changes)
}

// readBack reads what was just written, or what came after it.
func (w *world) readBack(r *run, space sennit.Space, changes []sennit.Change) {
	for _, c := range changes[:min(len(changes), 3)] {
		got, err := r.bus().Get(context.Background(), sennit.Addr{Root: space.String(), Path: c.Path})
		switch code := sennit.CodeOf(err); {
		case code == sennit.NotFound || code == sennit.Gone:
		case err != nil:
			w.fail("%s can't read %s: %v", r.m.name, c.Path, err)
		default:
			w.saw(r, &got)
		}
	}
}

// saw notes that somebody was shown a value.
func (w *world) saw(r *run, n *sennit.Node) {
	at, err := parseVersion(n.Version)
	if err != nil {
		w.fail("%s shows a version %q: %v", r.m.name, n.Version, err)
		return
	}
	r.show(at)
}

// watchKey names a watch: it outlives the runs of its machine.
type watchKey struct {
	m     *machine
	space sennit.Space
}

// state is what a watcher has made of what it was told.
type state struct {
	mu     sync.Mutex // guards what follows
	values map[sennit.Path]string
	mixed  map[sennit.Path]bool // of a tail: streams that a chunk came late to
	cursor sennit.Cursor
	tail   bool
	whole  bool            // the snapshot was complete
	told   map[telling]int // of a tail: how often each value was told since it began
}

// telling is a value that a watch tells.
type telling struct {
	at   place
	path sennit.Path
}

// watch starts watchers of all that a run's node follows.
func (w *world) watch(r *run) {
	r.spawn(func(ctx context.Context) {
		running := map[sennit.Space]bool{}
		for {
			spaces := []sennit.Space{r.m.id.Space()}
			follows, err := r.n.Follows()
			if err != nil && !r.dead.Load() && ctx.Err() == nil {
				w.fail("%s can't tell whom it follows: %v", r.m.name, err)
			}
			for _, f := range follows {
				spaces = append(spaces, f.Space)
			}
			for _, id := range spaces {
				if !running[id] {
					running[id] = true
					r.spawn(func(ctx context.Context) { w.watchSpace(ctx, r, id) })
				}
			}
			select {
			case <-time.After(5 * time.Second):
			case <-ctx.Done():
				return
			}
		}
	})
}

// watchSpace watches one space until the run stops.
func (w *world) watchSpace(ctx context.Context, r *run, space sennit.Space) {
	w.mu.Lock()
	s := w.states[watchKey{r.m, space}]
	if s == nil {
		s = &state{values: map[sennit.Path]string{}, mixed: map[sennit.Path]bool{}, tail: len(w.states)%2 == 0, told: map[telling]int{}}
		w.states[watchKey{r.m, space}] = s
	}
	w.mu.Unlock()
	if r.m.wasSetBack() {
		s.restart()
	}
	for ctx.Err() == nil {
		err := w.follow1(ctx, r, space, s)
		switch code := sennit.CodeOf(err); {
		case ctx.Err() != nil || r.dead.Load() || code == sennit.Gone:
			return
		case code != sennit.NotFound:
			w.fail("%s: a watch ended: %v", r.m.name, err)
			return
		}
		s.restart()
		select {
		case <-time.After(5 * time.Second):
		case <-ctx.Done():
		}
	}
}

func (s *state) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.values)
	clear(s.mixed)
	s.cursor, s.whole = sennit.Cursor{}, false
}

func (w *world) follow1(ctx context.Context, r *run, space sennit.Space, s *state) error {
	s.mu.Lock()
	if !s.whole {
		s.clear()
		s.cursor = sennit.Cursor{}
	}
	o := sennit.WatchOptions{Since: s.cursor, Tail: s.tail, Messages: true}
	s.mu.Unlock()
	watch, err := r.bus().Watch(ctx, []sennit.Pattern{{Root: space.String()}}, o)
	if err != nil {
		return err
	}
	defer watch.Close()
	for {
		updates, err := watch.Next(ctx)
		if err != nil {
			return err
		}
		if !w.shown(r, updates) {
			return errDown // the power is off: nobody heard of it
		}
		s.mu.Lock()
		for i := range updates {
			w.told(r, s, &updates[i])
		}
		s.mu.Unlock()
	}
}

// clear forgets what a watch told, because it begins anew.
func (s *state) clear() {
	clear(s.values)
	clear(s.mixed)
	clear(s.told)
}

// shown notes that somebody sees updates: all or, if the power is off, none.
func (w *world) shown(r *run, updates []sennit.Update) bool {
	for i := range updates {
		u := &updates[i]
		if u.Node.Version == "" {
			continue
		}
		at, err := parseVersion(u.Node.Version)
		if err != nil {
			w.fail("%s: a watch tells a version %q: %v", r.m.name, u.Node.Version, err)
		} else if !r.show(at) {
			return false
		}
	}
	return !r.dead.Load()
}

// told takes one update of a watch; s.mu is held.
func (w *world) told(r *run, s *state, u *sennit.Update) {
	switch u.Kind {
	case sennit.Set:
		s.values[u.Node.Path] = text(u.Node.Value)
		delete(s.mixed, u.Node.Path)
		if at, err := parseVersion(u.Node.Version); err == nil && s.tail {
			s.told[telling{at, u.Node.Path}]++
		}
	case sennit.Appended:
		s.values[u.Node.Path] += string(u.Node.Value.Data)
		s.mixed[u.Node.Path] = s.mixed[u.Node.Path] || u.Late
	case sennit.Deleted:
		delete(s.values, u.Node.Path)
		delete(s.mixed, u.Node.Path)
		if u.Deep {
			maps.DeleteFunc(s.values, func(p sennit.Path, _ string) bool { return p.Under(u.Node.Path) })
			maps.DeleteFunc(s.mixed, func(p sennit.Path, _ bool) bool { return p.Under(u.Node.Path) })
		}
	case sennit.Reset:
		s.clear()
		s.cursor, s.whole = sennit.Cursor{}, false
	case sennit.Live:
		s.whole = true
	case sennit.Message:
		w.hear(r, u)
	}
	if u.Cursor != (sennit.Cursor{}) {
		if s.whole && u.Cursor.Epoch == s.cursor.Epoch && u.Cursor.N < s.cursor.N {
			w.fail("%s: a watch goes back from arrival %d to %d", r.m.name, s.cursor.N, u.Cursor.N)
		}
		s.cursor = u.Cursor
	}
}
