package bustest

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/sennit/sennit"
)

// modelWatch is a watch of the Model. The world's log is its queue, so that
// neither waits for the other: it reads on where it stopped reading.
type modelWatch struct {
	view     view
	patterns []selector
	o        sennit.WatchOptions
	done     chan struct{} // closed by Close

	// The world's mutex guards what follows.
	pending []sennit.Update // what is left of the snapshot
	at      int             // of the log: this much was told
	sent    int             // of the mail: this much was told, or isn't wanted
	asleep  bool            // a goroutine waits to call Wake
	epoch   uint64          // in which it was told
	closed  bool
}

// selector is a pattern whose root is resolved; without a space it is for
// every space that is followed.
type selector struct {
	space  sennit.Space
	follow bool
	p      sennit.Pattern
}

// Watch is [sennit.Bus.Watch].
func (v view) Watch(_ context.Context, patterns []sennit.Pattern, o sennit.WatchOptions) (sennit.Watch, error) {
	if len(patterns) == 0 {
		return nil, sennit.Errorf(sennit.BadInput, "a watch without a pattern")
	}
	if o.Newest < 0 || o.Queue < 0 {
		return nil, sennit.Errorf(sennit.BadInput, "a watch of the newest %d with a queue of %d bytes", o.Newest, o.Queue)
	}
	v.world.mu.Lock()
	defer v.world.mu.Unlock()
	w := &modelWatch{view: v, o: o, done: make(chan struct{})}
	for _, p := range patterns {
		if p.Root == sennit.Follows {
			first, rest, _ := strings.Cut(p.Path, "/")
			if first != "*" {
				return nil, sennit.Errorf(sennit.BadInput, "the pattern %s/%s names no followed space", p.Root, p.Path)
			}
			w.patterns = append(w.patterns, selector{follow: true, p: sennit.Pattern{Path: rest, Exact: p.Exact}})
			continue
		}
		s, err := v.resolve(p.Root)
		if err != nil {
			return nil, err
		}
		w.patterns = append(w.patterns, selector{space: s, p: p})
	}
	w.epoch, w.sent = v.world.epoch, len(v.world.mail)
	switch from := o.Since; {
	case from == sennit.Cursor{}:
		w.snapshot()
	case from.Epoch != v.world.epoch || from.N > v.world.commits:
		w.reset()
	default:
		w.at = sort.Search(len(v.world.log), func(i int) bool { return v.world.log[i].commit > from.N })
	}
	v.world.open++
	return w, nil
}

// snapshot queues all that is there now.
func (w *modelWatch) snapshot() {
	var facts []fact
	for s, state := range w.view.world.spaces {
		for p, f := range state {
			if f.kind == sennit.KindPut && w.view.can(sennit.Read, s, p) && w.selects(s, p) {
				facts = append(facts, f)
			}
		}
	}
	slices.SortFunc(facts, func(a, b fact) int {
		if w.o.Newest > 0 {
			return cmp.Compare(b.at, a.at)
		}
		return cmp.Or(strings.Compare(string(a.space[:]), string(b.space[:])), a.node.Path.Compare(b.node.Path))
	})
	if w.o.Newest > 0 {
		facts = facts[:min(w.o.Newest, len(facts))]
	}
	for _, f := range facts {
		// Without a cursor: nobody can go on from the middle of a snapshot.
		w.pending = append(w.pending, sennit.Update{Kind: sennit.Set, Space: f.space, Node: f.shown()})
	}
	w.pending = append(w.pending, sennit.Update{Kind: sennit.Live, Cursor: w.view.world.cursor()})
	w.at = len(w.view.world.log)
}

// reset takes back what was told, and queues a snapshot.
func (w *modelWatch) reset() {
	w.epoch = w.view.world.epoch
	w.pending = []sennit.Update{{Kind: sennit.Reset}}
	w.snapshot()
}

// Next is [sennit.Watch.Next].
func (w *modelWatch) Next(ctx context.Context) ([]sennit.Update, error) {
	for {
		updates, wake, err := w.take()
		if err != nil || len(updates) > 0 {
			return updates, err
		}
		if err := ctx.Err(); err != nil {
			w.sleep(wake)
			return nil, err
		}
		select {
		case <-ctx.Done():
			w.sleep(wake)
			return nil, ctx.Err()
		case <-w.done:
		case <-wake:
		}
	}
}

// take returns what there is to tell, or what to wait for.
func (w *modelWatch) take() ([]sennit.Update, <-chan struct{}, error) {
	world := w.view.world
	world.mu.Lock()
	defer world.mu.Unlock()
	switch {
	case w.closed:
		return nil, nil, sennit.Errorf(sennit.Gone, "the watch is closed")
	case world.stopped:
		return nil, nil, sennit.Errorf(sennit.Gone, "the node stops")
	case w.epoch != world.epoch:
		w.reset()
	}
	updates := w.pending
	w.pending = nil
	for _, f := range world.log[w.at:] {
		updates = w.tell(updates, f)
	}
	w.at = len(world.log)
	for _, u := range world.mail[w.sent:] {
		if w.o.Messages && time.Now().Before(u.Until) && w.selects(u.Space, u.Node.Path) && w.view.can(sennit.Read, u.Space, u.Node.Path) {
			updates = append(updates, u)
		}
	}
	w.sent = len(world.mail)
	return updates, world.wake, nil
}

// sleep has Wake called when there may be something.
func (w *modelWatch) sleep(wake <-chan struct{}) {
	world := w.view.world
	world.mu.Lock()
	defer world.mu.Unlock()
	if w.o.Wake == nil || w.asleep || w.closed {
		return
	}
	w.asleep = true
	go func() {
		select {
		case <-wake:
		case <-w.done:
		}
		world.mu.Lock()
		w.asleep = false
		world.mu.Unlock()
		w.o.Wake()
	}()
}

// tell appends what the watcher learns of f. Unless the watch is a tail, it
// takes back what f makes void, so that only the latest is left.
func (w *modelWatch) tell(updates []sennit.Update, f fact) []sennit.Update {
	u := sennit.Update{Kind: sennit.Set, Space: f.space, Deep: f.deep, Node: f.shown(),
		Cursor: sennit.Cursor{Epoch: w.epoch, N: f.commit}}
	switch f.kind {
	case sennit.KindDel:
		u.Kind = sennit.Deleted
	case sennit.KindAppend:
		u.Kind = sennit.Appended
	}
	for _, path := range w.seen(f) {
		u.Node.Path = path
		if !w.o.Tail && u.Kind != sennit.Appended {
			updates = slices.DeleteFunc(updates, func(old sennit.Update) bool {
				return old.Space == u.Space && (old.Kind == sennit.Set || old.Kind == sennit.Appended || old.Kind == sennit.Deleted && old.Cursor != u.Cursor) &&
					(old.Node.Path == path && (!old.Deep || u.Deep) || u.Deep && old.Node.Path.Under(path))
			})
		}
		updates = append(updates, u)
	}
	return updates
}

// seen is where the watcher learns of f. A deep delete concerns what lies
// below it as well, and a caller who may see only that learns of it there.
func (w *modelWatch) seen(f fact) []sennit.Path {
	p := f.node.Path
	if w.selects(f.space, p) || f.deep && w.selectsBelow(f.space, p) {
		if w.view.can(sennit.Read, f.space, p) {
			return []sennit.Path{p}
		}
		var at []sennit.Path
		for _, a := range w.view.prefixes {
			if s, err := w.view.resolve(a.Root); f.deep && err == nil && s == f.space && a.Path.Under(p) && w.view.can(sennit.Read, s, a.Path) {
				at = append(at, a.Path)
			}
		}
		return at
	}
	return nil
}

func (w *modelWatch) matchers(s sennit.Space) func(func(sennit.Pattern) bool) {
	return func(yield func(sennit.Pattern) bool) {
		for _, sel := range w.patterns {
			if (sel.space == s || sel.follow && slices.Contains(w.view.world.follows, s)) && !yield(sel.p) {
				return
			}
		}
	}
}

func (w *modelWatch) selects(s sennit.Space, p sennit.Path) bool {
	for pattern := range w.matchers(s) {
		if pattern.Match(p) {
			return true
		}
	}
	return false
}

// selectsBelow reports whether something that lies under p might match.
func (w *modelWatch) selectsBelow(s sennit.Space, p sennit.Path) bool {
	for pattern := range w.matchers(s) {
		// The first components of the pattern, as many as p has, are a
		// pattern for what p lies under.
		parts := strings.Split(pattern.Path, "/")
		if n := p.Depth(); n == 0 || n < len(parts) &&
			(sennit.Pattern{Path: strings.Join(parts[:n], "/"), Exact: true}).Match(p) {
			return true
		}
	}
	return false
}

// Close is [sennit.Watch.Close].
func (w *modelWatch) Close() error {
	w.view.world.mu.Lock()
	defer w.view.world.mu.Unlock()
	if !w.closed {
		w.closed = true
		w.view.world.open--
		close(w.done)
	}
	return nil
}
