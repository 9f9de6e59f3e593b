package bustest

import (
	"fmt"
	"maps"
	"strconv"
	"testing"

	"github.com/sennit/sennit"
	"pgregory.net/rapid"
)

// random runs random programs against the bus and against a map, with
// watchers that resume now and then. Names are few, so that paths meet.
func random(t *testing.T, bus sennit.Bus) {
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		base := sennit.Path(fmt.Sprintf("r%d", round))
		model, counts, streams := fold{}, map[sennit.Path]int64{}, fold{}
		name := rapid.SampledFrom([]string{"a", "b", "a.", "c"})
		path := rapid.Custom(func(rt *rapid.T) sennit.Path {
			p := base
			for _, n := range rapid.SliceOfN(name, 0, 3).Draw(rt, "names") {
				p = p.Join(sennit.Path(n))
			}
			return p
		})
		change := rapid.Custom(func(rt *rapid.T) sennit.Change {
			p := path.Draw(rt, "path")
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0, 1:
				return deleting(string(p), false)
			case 2:
				return deleting(string(p), true)
			case 3, 4:
				return adding(string(p), rapid.Int64Range(-9, 9).Draw(rt, "delta"))
			case 5, 6:
				return appending(string(p), rapid.SampledFrom([]string{"x", "yz"}).Draw(rt, "chunk"))
			}
			return putting(string(p), rapid.SampledFrom([]string{"", "1", "2", "3"}).Draw(rt, "value"))
		})
		watchers := []*watcher{{tail: true}, {}, {path: base.Join("a")}}
		for _, w := range watchers {
			if w.path == "" {
				w.path = base
			}
			w.open(rt, bus)
		}
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			if rapid.IntRange(0, 3).Draw(rt, "resume") == 0 {
				w := rapid.SampledFrom(watchers).Draw(rt, "watcher")
				w.readTo(rt, model)
				w.r.watch.Close()
				w.open(rt, bus)
			}
			changes := rapid.SliceOfN(change, 1, 5).Draw(rt, "changes")
			write(rt, bus, changes...)
			for _, c := range changes {
				switch c.Kind {
				case sennit.KindPut:
					model[c.Path] = string(c.Value.Data)
				case sennit.KindAdd:
					counts[c.Path] += c.Delta
					model[c.Path] = strconv.FormatInt(counts[c.Path], 10)
				case sennit.KindAppend:
					streams[c.Path] += string(c.Value.Data)
					model[c.Path] = streams[c.Path]
				default:
					maps.DeleteFunc(counts, func(p sennit.Path, _ int64) bool { return p == c.Path || c.Deep && p.Under(c.Path) })
					for _, f := range []fold{model, streams} {
						f.apply(sennit.Update{Kind: sennit.Deleted, Deep: c.Deep, Node: sennit.Node{Path: c.Path}})
					}
				}
			}
		}
		if err := state(rt, bus, base).diff(model); err != nil {
			rt.Fatalf("the bus: %v", err)
		}
		for _, w := range watchers {
			w.readTo(rt, model)
			w.r.watch.Close()
		}
	})
}

// watcher follows a subtree by a watch that it may close and resume.
type watcher struct {
	path   sennit.Path
	tail   bool
	r      *reader
	have   fold
	cursor sennit.Cursor
}

func (w *watcher) open(t tb, bus sennit.Bus) {
	o := sennit.WatchOptions{Tail: w.tail, Since: w.cursor}
	if w.cursor == (sennit.Cursor{}) {
		w.have = fold{}
	}
	ws, err := bus.Watch(t.Context(), []sennit.Pattern{subtree(string(w.path))}, o)
	if err != nil {
		t.Fatalf("watching %s: %v", w.path, err)
	}
	w.r = &reader{t: t, watch: ws}
	if w.cursor == (sennit.Cursor{}) {
		for live := false; !live; {
			u := w.r.next()
			w.have.apply(u)
			if live = u.Kind == sennit.Live; live {
				w.cursor = u.Cursor
			}
		}
	}
}

// readTo reads until the watcher has what the model says.
func (w *watcher) readTo(t tb, model fold) {
	want := fold{}
	for p, s := range model {
		if p.Under(w.path) {
			want[p] = s
		}
	}
	for w.have.diff(want) != nil || !w.r.whole() {
		u := w.r.change()
		w.have.apply(u)
		w.cursor = u.Cursor
	}
}
