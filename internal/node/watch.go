package node

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/hub"
	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/store"
)

// Sizes of what one call of Next gives, about: a commit's changes are never
// parted.
const (
	watchBatch = 512       // updates
	watchBytes = 256 << 10 // bytes of values
)

// Bounds of a watch.
const (
	maxPatterns = 256
	maxNewest   = 1 << 16
)

// followsTopic is where the hub tells that a space is followed now: a path of
// no space.
const followsTopic = "follows"

// authorityTopic is where the hub tells that a space's authority changed.
const authorityTopic = "authority"

var errClosed = sennit.Errorf(sennit.Gone, "the watch is closed")

// errReset says that what was sent is void: the watch starts over.
var errReset = errors.New("the space was folded anew")

// watch is one caller's watch. It is a small machine that Next drives: first
// the sources (the present state of each pattern, or what came after the
// cursor), then the marker, then what the hub brings. Nothing runs between
// calls, so a reader that stays away costs nothing and holds nobody up.
type watch struct {
	b    *view
	o    sennit.WatchOptions
	pats []pattern

	mu     sync.Mutex // guards what follows
	busy   bool       // Next runs; it alone touches what comes after these
	closed bool
	sub    *hub.Sub[*sennit.Update]
	mail   *hub.Sub[*Message] // nil if messages are not wanted
	sent   []*Message         // taken, but not put out yet

	rouse   chan struct{} // has a token when sub, mail or Close may have something new; nil without mail
	quiet   bool          // the last look at sub and mail found nothing
	view    *store.View   // while there are sources
	sources []source
	out     []sennit.Update
	whole   int // so many of out are of commits of which all was told
	size    int
	at      uint64           // arrivals up to here were given, or are in out or sources
	base    uint64           // cursor of what sources give: where a reader that stops amid them goes on
	live    bool             // the marker was given
	spans   []sennit.Pattern // patterns of @follows, without the "*"
	sights  map[*space]sight // what a caller who may not read everything can read
}

// pattern is a pattern of one space.
type pattern struct {
	sp *space
	sennit.Pattern
}

// fixed is the part of a pattern before its first "*".
func (p pattern) fixed() sennit.Path {
	head, _, _ := strings.Cut(p.Path+"/", "*")
	return sennit.Path(strings.TrimRight(head, "/"))
}

// meets reports whether the pattern selects something at or under a path.
func (p pattern) meets(q sennit.Path) bool {
	want, have := sennit.Path(p.Path).Components(), q.Components()
	for i := range min(len(want), len(have)) {
		if want[i] != "*" && want[i] != have[i] {
			return false
		}
	}
	return len(have) <= len(want) || !p.Exact
}

// source gives some updates into out and reports whether it has more.
type source func(w *watch) (more bool, err error)

// Watch implements [sennit.Bus].
func (b *view) Watch(_ context.Context, patterns []sennit.Pattern, o sennit.WatchOptions) (sennit.Watch, error) {
	switch {
	case len(patterns) == 0 || len(patterns) > maxPatterns:
		return nil, sennit.Errorf(sennit.BadInput, "a watch of %d patterns; 1 to %d are allowed", len(patterns), maxPatterns)
	case o.Newest < 0 || o.Newest > maxNewest:
		return nil, sennit.Errorf(sennit.BadInput, "a watch of the newest %d; at most %d are given", o.Newest, maxNewest)
	case o.Queue < 0:
		return nil, sennit.Errorf(sennit.BadInput, "a watch with a queue of %d bytes", o.Queue)
	}
	w := &watch{b: b, o: o}
	if o.Messages {
		w.rouse = make(chan struct{}, 1)
	}
	for _, p := range patterns {
		if err := w.resolve(p); err != nil {
			return nil, err
		}
	}
	v, err := w.join()
	if err != nil {
		_ = w.Close()
		return nil, err
	}
	w.view, w.at = v, v.N
	since, epoch := o.Since, b.n.st.Epoch()
	turned, err := w.turned(since.N)
	if err != nil {
		_ = w.Close()
		return nil, err
	}
	switch {
	case since == sennit.Cursor{}:
		w.sources = w.snapshot(w.pats)
	case since.Epoch == epoch && since.N <= v.N && !turned:
		// There is no snapshot to be complete: what follows are changes.
		w.base, w.live = since.N, true
		w.out = []sennit.Update{{Kind: sennit.Live, Cursor: since}}
		w.sources = w.changes(w.pats, since.N)
	default:
		w.reset()
	}
	return w, nil
}

// turned reports whether what the caller sees may have changed since arrival n
// otherwise than by what arrived.
func (w *watch) turned(n uint64) (bool, error) {
	for sp := range w.sights {
		if state, err := w.view.SpaceState(sp.num); err != nil || state.Turned > n {
			return true, err
		}
	}
	return false, nil
}

// resolve finds the spaces of a pattern. A space of which the caller may read
// nothing is as one that isn't here.
func (w *watch) resolve(p sennit.Pattern) error {
	if p.Root != sennit.Follows {
		id, err := w.b.n.Resolve(p.Root)
		if err != nil {
			return err
		}
		sp := w.b.n.space(id)
		if sp == nil || !w.b.n.any(w.b.c, sp) {
			return w.b.unknown(sennit.Addr{Root: p.Root, Path: sennit.Path(p.Path)})
		}
		w.pats = append(w.pats, pattern{sp, p})
		return nil
	}
	_, rest, _ := strings.Cut(p.Path, "/")
	w.spans = append(w.spans, sennit.Pattern{Path: rest, Exact: p.Exact})
	return nil
}

// followed adds the patterns of spaces that are followed and weren't. It
// reports whether there are any.
func (w *watch) followed() (more bool, err error) {
	if w.spans == nil {
		return false, nil
	}
	follows, err := w.b.n.Follows()
	if err != nil {
		return false, err
	}
	old := len(w.pats)
	for _, f := range follows {
		sp := w.b.n.space(f.Space)
		if sp == nil {
			continue
		}
		for _, span := range w.spans {
			span.Root = f.Space.String()
			if p := (pattern{sp, span}); !slices.Contains(w.pats[:old], p) {
				w.pats = append(w.pats, p)
			}
		}
	}
	return len(w.pats) > old, nil
}

// join subscribes to all patterns, and takes the view that goes with that: what
// it doesn't have yet will be heard.
func (w *watch) join() (*store.View, error) {
	for more := true; more; {
		w.subscribe()
		var err error
		if more, err = w.followed(); err != nil {
			return nil, err
		}
	}
	return w.b.n.st.View()
}

func (w *watch) subscribe() {
	topics := make([]hub.Topic, 0, len(w.pats)+1)
	var limited []*space
	for _, p := range w.pats {
		topics = append(topics, hub.Topic{Space: p.sp.id, Path: p.Path, Exact: p.Exact})
		if !w.b.owns(p.sp) && !slices.Contains(limited, p.sp) {
			limited = append(limited, p.sp)
			topics = append(topics, hub.Topic{Path: authorityTopic + "/" + p.sp.id.String()})
		}
	}
	if w.spans != nil {
		topics = append(topics, hub.Topic{Path: followsTopic})
	}
	var wake func()
	var mail *hub.Sub[*Message]
	if w.rouse != nil || w.o.Wake != nil {
		wake = w.wake
	}
	if w.rouse != nil {
		mail = w.b.n.mail.hub.Subscribe(topics, wake)
	}
	sub := w.b.n.hub.Subscribe(topics, wake)
	for _, sp := range limited { // now, since what changes from now on is heard
		if _, ok := w.sights[sp]; !ok {
			if w.sights == nil {
				w.sights = map[*space]sight{}
			}
			w.sights[sp] = w.b.n.sees(w.b.c, sp)
		}
	}
	w.mu.Lock()
	old, oldMail := w.sub, w.mail
	w.sub, w.mail = sub, mail
	if w.closed {
		old, oldMail = sub, mail
	}
	w.mu.Unlock()
	if old != nil {
		old.Close()
	}
	if oldMail != nil {
		oldMail.Close()
	}
}

// wake lets a Next that waits look again, or has it called.
func (w *watch) wake() {
	select {
	case w.rouse <- struct{}{}:
	default: // also without a channel
	}
	if w.o.Wake != nil {
		w.o.Wake()
	}
}

// wait waits until there may be something new.
func (w *watch) wait(ctx context.Context) error {
	if !w.quiet { // only who found nothing is woken
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.rouse == nil {
		return w.sub.Wait(ctx)
	}
	select {
	case <-w.rouse:
	case <-ctx.Done():
		return ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errClosed
	}
	return nil
}

// Next implements [sennit.Watch].
func (w *watch) Next(ctx context.Context) ([]sennit.Update, error) {
	w.mu.Lock()
	closed := w.closed
	w.busy = !closed
	w.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.busy = false; w.closed {
			w.free()
		}
	}()
	for {
		if err := w.b.n.gone(); err != nil {
			return nil, err
		}
		if err := w.fill(); err != nil {
			return nil, err
		}
		if len(w.out) > 0 {
			out := w.out
			w.out, w.size = nil, 0
			return out, nil
		}
		if w.view != nil {
			continue // events had it go on from the store
		}
		if err := w.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// fill puts what there is into out, without waiting.
func (w *watch) fill() error {
	for len(w.sources) > 0 && !w.full() {
		more, err := w.sources[0](w)
		if errors.Is(err, errReset) {
			w.reset()
			continue
		}
		if err != nil {
			return err
		}
		if !more {
			w.sources = w.sources[1:]
		}
	}
	if len(w.sources) > 0 {
		return nil
	}
	w.sources = nil // with what the last one held
	if w.view != nil {
		w.view.Release()
		w.view = nil
		if k := len(w.out); k > 0 && w.live && !w.o.Tail && w.out[k-1].Kind != sennit.Message {
			w.out[k-1].Cursor = w.cursor(w.at) // who has all of the present state has all up to here
		}
	}
	if !w.live {
		w.live = true
		w.out = append(w.out, sennit.Update{Kind: sennit.Live, Cursor: w.cursor(w.at)})
	}
	if w.full() {
		return nil
	}
	err := w.events()
	if errors.Is(err, errReset) {
		return w.again(true)
	}
	return err
}

// reset starts the watch over with a snapshot of what its view shows.
func (w *watch) reset() {
	w.out, w.size = []sennit.Update{{Kind: sennit.Reset}}, 0
	w.base, w.live = 0, false
	w.sources = w.snapshot(w.pats)
}

func (w *watch) full() bool { return len(w.out) >= watchBatch || w.size >= watchBytes }

// cursor is the cursor behind arrival n, none for 0.
func (w *watch) cursor(n uint64) sennit.Cursor {
	if n == 0 {
		return sennit.Cursor{}
	}
	return sennit.Cursor{Epoch: w.b.n.st.Epoch(), N: n}
}

// add puts an update into out if the caller may see it.
func (w *watch) add(sp *space, u *sennit.Update, n uint64) {
	if !w.b.n.may(w.b.c, sp, sennit.Read, u.Node.Path) {
		return
	}
	w.out = append(w.out, *u)
	w.out[len(w.out)-1].Cursor = w.cursor(n)
	w.size += len(u.Node.Value.Data) + len(u.Node.Path) + 128
}

// tell adds an update. Of a deletion of more than is watched, or than the
// caller may read, it tells only what that means there: what was deleted above
// is not this watch's business.
func (w *watch) tell(sp *space, u *sennit.Update, n uint64) error {
	if !u.Deep {
		w.add(sp, u, n)
		return nil
	}
	var paths []sennit.Path
	for _, p := range w.pats {
		if p.sp != sp || !p.meets(u.Node.Path) {
			continue
		}
		if at := p.fixed(); at.Under(u.Node.Path) {
			paths = append(paths, at)
		} else {
			paths = append(paths, u.Node.Path)
		}
	}
	if sight, limited := w.sights[sp]; limited {
		var err error
		if paths, err = sight.narrow(paths); err != nil {
			return err
		}
	}
	for _, p := range prefix.Of(paths...) {
		c := *u
		c.Node.Path = p
		w.add(sp, &c, n)
	}
	return nil
}

// events takes all that was published since. The hub gives a commit's events
// all or none, so that no cursor lies inside a commit: each update has the
// cursor behind its commit, and Next returns all of them.
func (w *watch) events() error {
	w.whole = len(w.out)
	silent := w.collect() // first: what was written before a message was sent is among the events then
	events, lagged := w.sub.Take(nil, math.MaxInt)
	w.quiet = silent && len(events) == 0 && !lagged
	if lagged {
		return w.again(false)
	}
	for i := range events {
		e := &events[i]
		switch sp := w.b.n.space(e.Space); {
		case e.Space.IsZero():
			if err := w.note(e.Path); err != nil || len(w.sources) > 0 {
				return err // what else was taken comes from the sources
			}
		case e.N <= w.at || sp == nil || e.Data.Kind == 0:
			continue // the sources had it, or it only wakes
		case e.Data.Kind == sennit.Reset:
			return errReset
		case e.Data.Late && !w.o.Tail:
			return w.again(false) // where the bytes belong only the store can tell
		default:
			if err := w.tell(sp, e.Data, e.N); err != nil {
				return err
			}
			if i+1 == len(events) || events[i+1].N > e.N {
				w.at, w.whole = e.N, len(w.out)
			}
		}
	}
	if !w.o.Tail {
		w.coalesce()
	}
	w.hand()
	return nil
}

// coalesce drops updates that a later one of the same path makes pointless.
func (w *watch) coalesce() {
	type at struct {
		space sennit.Space
		path  sennit.Path
	}
	newest := map[at]bool{}
	drop := 0
	for i := len(w.out) - 1; i >= 0; i-- {
		u := &w.out[i]
		if u.Kind != sennit.Set && u.Kind != sennit.Deleted && u.Kind != sennit.Appended {
			continue
		}
		k := at{u.Space, u.Node.Path}
		if newest[k] && !u.Deep {
			u.Kind = 0
			drop++
		}
		newest[k] = newest[k] || u.Kind != sennit.Appended // which needs what was before
	}
	if drop > 0 {
		w.out = slices.DeleteFunc(w.out, func(u sennit.Update) bool { return u.Kind == 0 })
	}
}

// note takes in what happened outside any space: a space is followed, or what
// the caller may read has changed.
func (w *watch) note(topic sennit.Path) error {
	id, err := sennit.ParseSpace(topic.Base())
	if err != nil {
		return nil // it only wakes
	}
	sp := w.b.n.space(id)
	if sp == nil {
		return nil
	}
	if topic.First() == authorityTopic {
		if was, limited := w.sights[sp]; limited {
			if w.sights[sp] = w.b.n.sees(w.b.c, sp); !was.same(w.sights[sp]) {
				return errReset
			}
		}
		return nil
	}
	if slices.ContainsFunc(w.pats, func(p pattern) bool { return p.sp == sp && p.Root == id.String() }) {
		return nil // it was followed before, or isn't any more: what was shown stays
	}
	return w.again(false)
}

// again goes on from the store, after the hub lost events or a space is
// followed: with what changed under the patterns that there were and all that
// is under new ones, or from the beginning.
func (w *watch) again(reset bool) error {
	old, seen := w.pats, maps.Clone(w.sights)
	v, err := w.join()
	if err != nil {
		return err
	}
	w.view, w.base, w.at = v, w.at, v.N
	w.out = w.out[:w.whole] // a commit that was begun comes from the store, whole
	for sp, was := range seen {
		w.sights[sp] = w.b.n.sees(w.b.c, sp)
		reset = reset || !was.same(w.sights[sp])
	}
	if reset {
		w.reset()
	} else {
		w.sources = append(w.changes(old, w.base), w.snapshot(w.pats[len(old):])...)
	}
	return nil
}

// Close implements [sennit.Watch]. If Next is running, it ends, and frees what
// the watch holds.
func (w *watch) Close() error {
	w.mu.Lock()
	w.closed = true
	sub, mail := w.sub, w.mail
	if !w.busy {
		w.free()
	}
	w.mu.Unlock()
	if sub != nil {
		sub.Close()
	}
	if mail != nil {
		mail.Close()
		w.wake()
	}
	return nil
}

func (w *watch) free() {
	if w.view != nil {
		w.view.Release()
	}
	w.view, w.sources, w.out, w.sent = nil, nil, nil, nil
}

// Subscribe calls wake when something arrives in a space, or, for the zero
// space, when the node's follows, or the authority or fork proofs of any space, change. It must
// not block; Take on the result must be called before it is called again.
func (n *Node) Subscribe(space sennit.Space, wake func()) *hub.Sub[*sennit.Update] {
	return n.hub.Subscribe([]hub.Topic{{Space: space}}, wake)
}
