package hub_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/hub"
)

// concerns is the naive statement of which events a topic matches.
func concerns(t hub.Topic, e hub.Event[int]) bool {
	if t.Space != e.Space {
		return false
	}
	want, have := sennit.Path(t.Path).Components(), e.Path.Components()
	if e.Deep && len(want) > len(have) {
		want = want[:len(have)] // something under the deleted path could match
	} else if len(want) > len(have) || t.Exact && len(want) != len(have) {
		return false
	}
	for i, w := range want {
		if w != "*" && w != have[i] {
			return false
		}
	}
	return true
}

// watcher is a subscriber and what a naive list says about it.
type watcher struct {
	sub    *hub.Sub[int]
	topics []hub.Topic
	pos    int // events of the list that it is done with
	wakes  int // so many times was it woken
	due    int // and so many times it should have been
	asleep bool
}

func (w *watcher) matches(e hub.Event[int]) bool {
	return slices.ContainsFunc(w.topics, func(t hub.Topic) bool { return concerns(t, e) })
}

// expect says what a Take must give, and moves on.
func (w *watcher) expect(list []hub.Event[int], max, ring int) (events []hub.Event[int], lagged bool) {
	for _, t := range w.topics {
		behind := 0
		for _, e := range list[w.pos:] {
			if concerns(t, e) {
				behind++
			}
		}
		if behind > ring {
			w.pos = len(list)
			return nil, true
		}
	}
	for w.pos < len(list) && len(events) < max {
		if e := list[w.pos]; w.matches(e) {
			events = append(events, e)
		}
		w.pos++
	}
	w.asleep = len(events) == 0
	return events, false
}

func space(i int) sennit.Space { return sennit.Space{byte(i)} }

func genPath(t *rapid.T, label string, names []string) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(names), 0, 4).Draw(t, label), "/")
}

func genTopic(t *rapid.T) hub.Topic {
	return hub.Topic{
		Space: space(rapid.IntRange(0, 1).Draw(t, "space")),
		Path:  genPath(t, "topic", []string{"a", "b", "aa", "*"}),
		Exact: rapid.Bool().Draw(t, "exact"),
	}
}

// TestHubAgreesWithANaiveList drives a hub and a plain list with the same
// random steps: who gets what, in which order, who lagged, and who is woken.
func TestHubAgreesWithANaiveList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ring := rapid.IntRange(1, 12).Draw(t, "ring")
		h := hub.New[int](hub.Config{Ring: ring})
		var list []hub.Event[int]
		var all []*watcher
		var n uint64

		pick := func(t *rapid.T) *watcher {
			if len(all) == 0 {
				t.Skip("nobody is there")
			}
			return all[rapid.IntRange(0, len(all)-1).Draw(t, "who")]
		}
		take := func(t *rapid.T, w *watcher, max int) {
			prefix := []hub.Event[int]{{N: 1 << 40}}
			got, lagged := w.sub.Take(prefix, max)
			want, lost := w.expect(list, max, ring)
			if lagged != lost {
				t.Fatalf("lagged = %v, want %v", lagged, lost)
			}
			if got[0] != prefix[0] || !slices.Equal(got[1:], want) {
				t.Fatalf("%v took\n%v, want\n%v", w.topics, got[1:], want)
			}
		}

		t.Repeat(map[string]func(*rapid.T){
			"subscribe": func(t *rapid.T) {
				w := &watcher{pos: len(list)}
				w.topics = rapid.SliceOfN(rapid.Custom(genTopic), 0, 5).Draw(t, "topics")
				w.sub = h.Subscribe(w.topics, func() { w.wakes++ })
				all = append(all, w)
			},
			"publish": func(t *rapid.T) {
				var batch []hub.Event[int]
				for range rapid.IntRange(0, 8).Draw(t, "events") {
					n += uint64(rapid.IntRange(0, 1).Draw(t, "step"))
					batch = append(batch, hub.Event[int]{
						N:     n,
						Space: space(rapid.IntRange(0, 1).Draw(t, "space")),
						Path:  sennit.Path(genPath(t, "path", []string{"a", "b", "aa", "c"})),
						Deep:  rapid.IntRange(0, 3).Draw(t, "deep") == 0,
						Data:  len(list) + len(batch),
					})
				}
				for _, w := range all {
					if w.asleep && slices.ContainsFunc(batch, w.matches) {
						w.asleep = false
						w.due++
					}
				}
				list = append(list, batch...)
				h.Publish(batch)
				clear(batch) // the hub must have kept its own copy
			},
			"take": func(t *rapid.T) {
				take(t, pick(t), rapid.IntRange(1, 6).Draw(t, "max"))
			},
			"take all": func(t *rapid.T) {
				w := pick(t)
				for !w.asleep {
					take(t, w, rapid.IntRange(1, 20).Draw(t, "max"))
				}
			},
			"take none": func(t *rapid.T) {
				if got, lagged := pick(t).sub.Take(nil, 0); got != nil || lagged {
					t.Fatalf("took %v, %v", got, lagged)
				}
			},
			"close": func(t *rapid.T) {
				w := pick(t)
				w.sub.Close()
				w.sub.Close()
				if got, lagged := w.sub.Take(nil, 1); got != nil || lagged {
					t.Fatalf("took %v, %v after Close", got, lagged)
				}
				all = slices.DeleteFunc(all, func(x *watcher) bool { return x == w })
			},
			"": func(t *rapid.T) {
				for _, w := range all {
					if w.wakes != w.due {
						t.Fatalf("%v was woken %d times, want %d", w.topics, w.wakes, w.due)
					}
				}
			},
		})
		for _, w := range all {
			take(t, w, 1<<20)
		}
	})
}

func TestMatching(t *testing.T) {
	tests := []struct {
		topic string // a trailing "!" means exact
		path  string // a trailing "/" means deep
		want  bool
	}{
		{"", "", true},
		{"", "a/b", true},
		{"!", "", true},
		{"!", "a", false},
		{"a", "", false},
		{"a", "a", true},
		{"a", "a/b/c", true},
		{"a", "ab", false},
		{"a", "b", false},
		{"a/b", "a", false},
		{"a/b!", "a/b", true},
		{"a/b!", "a/b/c", false},
		{"*", "", false},
		{"*", "x", true},
		{"*!", "x/y", false},
		{"*/posts", "x/posts/1", true},
		{"*/posts", "x/likes/1", false},
		{"a/*/c!", "a/b/c", true},
		{"a/*/c!", "a/c", false},
		{"a/*/c!", "a/b/b/c", false},
		{"*/*!", "a/b", true},
		{"*/*!", "a", false},
		// A deep delete concerns what is under it as well.
		{"", "a/", true},
		{"a", "a/", true},
		{"a", "a/b/", true},
		{"a/b/c!", "a/", true},
		{"a/b/c", "a/x/", false},
		{"a/*/c!", "a/", true},
		{"a/*/c!", "a/b/", true},
		{"a/*/c!", "a/b/c/d/", false},
		{"a/*/c", "a/b/c/d/", true},
		{"a!", "a/b/", false},
		{"b", "a/", false},
		{"x/y/z", "/", true},
		// What is not in canonical form matches nothing.
		{"/a", "a", false},
		{"a/", "a", false},
		{"a//b", "a/b", false},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s at %s", test.topic, test.path), func(t *testing.T) {
			path, exact := strings.CutSuffix(test.topic, "!")
			h := hub.New[int](hub.Config{})
			sub := h.Subscribe([]hub.Topic{{Space: space(1), Path: path, Exact: exact}}, nil)
			other := h.Subscribe([]hub.Topic{{Space: space(2), Path: path, Exact: exact}}, nil)
			at, deep := strings.CutSuffix(test.path, "/")
			h.Publish([]hub.Event[int]{{N: 1, Space: space(1), Path: sennit.Path(at), Deep: deep}})
			if got, _ := sub.Take(nil, 10); (len(got) == 1) != test.want {
				t.Errorf("took %v, want a match: %v", got, test.want)
			}
			if got, _ := other.Take(nil, 10); len(got) != 0 {
				t.Errorf("another space took %v", got)
			}
		})
	}
}
