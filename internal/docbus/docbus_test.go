package docbus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/bustest"

	"github.com/sennit/sennit/internal/docbus"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/store"
)

// room is more than any document of these tests takes.
const room = 1 << 20

// engine is the bus of a node's owner.
func engine(t testing.TB) sennit.Bus {
	t.Helper()
	id, err := keys.Create(t.TempDir(), keys.Options{DeviceName: "test", Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(store.Config{Dir: "store", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.New(node.Config{Store: st, Identity: id, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, st.Close()); err != nil {
			t.Error(err)
		}
	})
	return n.Bus(n.Owner())
}

// everywhere runs a test over the model and over the engine.
func everywhere(t *testing.T, test func(t *testing.T, bus sennit.Bus)) {
	t.Run("model", func(t *testing.T) { test(t, bustest.Memory()) })
	t.Run("engine", func(t *testing.T) { test(t, engine(t)) })
}

func doc(bus sennit.Bus, path string) docbus.Doc {
	return docbus.Doc{Bus: bus, At: sennit.Addr{Root: "me", Path: sennit.Path(path)}, Room: room}
}

func read(t testing.TB, d docbus.Doc) string {
	t.Helper()
	var out strings.Builder
	switch err := d.Read(t.Context(), &out); {
	case sennit.CodeOf(err) == sennit.NotFound && out.Len() == 0:
		return ""
	case err != nil:
		t.Fatalf("reading %s: %v", d.At, err)
	}
	return out.String()
}

func write(t testing.TB, bus sennit.Bus, changes ...sennit.Change) {
	t.Helper()
	if _, err := bus.Write(t.Context(), "me", changes); err != nil {
		t.Fatal(err)
	}
}

func put(path, typ, text string) sennit.Change {
	return sennit.Change{Kind: sennit.KindPut, Path: sennit.Path(path), Value: sennit.Value{Type: typ, Data: []byte(text)}}
}

func state(t testing.TB, d docbus.Doc) sennit.Hash {
	t.Helper()
	g, err := d.Bus.Digest(t.Context(), d.At)
	if err != nil {
		t.Fatal(err)
	}
	return g.Hash
}

func TestDocumentsAreReadAndWritten(t *testing.T) {
	everywhere(t, func(t *testing.T, bus sennit.Bus) {
		write(t, bus, put("dx", "text/plain", "beside"))
		d := doc(bus, "d")
		for i, step := range []struct {
			patch       bool
			text, reads string
			changes     bool
		}{
			{false, `{"a":1,"b":{"c":"x"},"a b":[1.0]}`, `{"a":1,"a b":[1.0],"b":{"c":"x"}}`, true},
			{false, ` {"b":{"c":"\u0078"},"a b":[ 1.0 ],"a":1} `, `{"a":1,"a b":[1.0],"b":{"c":"x"}}`, false},
			{true, `{}`, `{"a":1,"a b":[1.0],"b":{"c":"x"}}`, false},
			{true, `{"a":1,"zz":null}`, `{"a":1,"a b":[1.0],"b":{"c":"x"}}`, false},
			{true, `{"a":null,"b":{"d":{"e":null}}}`, `{"a b":[1.0],"b":{"c":"x","d":{}}}`, true},
			{true, `{"b":{"c":null,"d":null}}`, `{"a b":[1.0],"b":{}}`, true},
			{false, `{"a":{"x":1,"y":2}}`, `{"a":{"x":1,"y":2}}`, true},
			{false, `"text"`, `"text"`, true},
			{true, `[1]`, `[1]`, true},
			{false, `{}`, `{}`, true},
		} {
			before, do := state(t, d), d.Put
			if step.patch {
				do = d.Patch
			}
			v, err := do(t.Context(), []byte(step.text), nil)
			if err != nil || (v != "") != step.changes || (state(t, d) != before) != step.changes {
				t.Errorf("step %d: version %q, %v", i, v, err)
			}
			if got := read(t, d); got != step.reads {
				t.Errorf("step %d: it reads %s, want %s", i, got, step.reads)
			}
		}
		if err := d.Exists(t.Context()); err != nil {
			t.Errorf("a document that is there: %v", err)
		}
		if err := doc(bus, "other").Exists(t.Context()); sennit.CodeOf(err) != sennit.NotFound {
			t.Errorf("a document that isn't: %v", err)
		}
		if got := read(t, doc(bus, "other")); got != "" {
			t.Errorf("a document that isn't there reads %s", got)
		}
		if got := read(t, doc(bus, "")); got != `{"d":{},"dx":{"$value":"dx","size":6,"type":"text/plain"}}` {
			t.Errorf("the root reads %s", got)
		}
		if _, _, err := bus.List(t.Context(), sennit.Addr{Root: "me", Path: "dx"}, sennit.Listing{}); sennit.CodeOf(err) != sennit.NotFound {
			t.Errorf("something was written beside: %v", err)
		}
	})
}

// TestOneCommit: whoever watches sees the old document or the new one.
func TestOneCommit(t *testing.T) {
	everywhere(t, func(t *testing.T, bus sennit.Bus) {
		d := doc(bus, "d")
		if _, err := d.Put(t.Context(), []byte(`{"a":1,"b":2,"c":{"d":3}}`), nil); err != nil {
			t.Fatal(err)
		}
		w, err := bus.Watch(t.Context(), []sennit.Pattern{{Root: "me", Path: "d"}}, sennit.WatchOptions{Tail: true})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		for live := false; !live; {
			updates, err := w.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			live = updates[len(updates)-1].Kind == sennit.Live
		}
		v, err := d.Put(t.Context(), []byte(`{"a":1,"b":"two","c":{"e":3}}`), nil)
		if err != nil {
			t.Fatal(err)
		}
		updates, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, u := range updates {
			if u.Node.Version != v {
				t.Errorf("%s has the version %q, not %q", u.Node.Path, u.Node.Version, v)
			}
			got = append(got, fmt.Sprint(u.Kind, " ", u.Node.Path))
		}
		if strings.Join(got, ", ") != "1 d/b, 2 d/c/d, 1 d/c/e" {
			t.Errorf("the commit has %q", got)
		}
	})
}

func TestCountersAndStreams(t *testing.T) {
	everywhere(t, func(t *testing.T, bus sennit.Bus) {
		long := strings.Repeat("x", sennit.MaxInline)
		write(t, bus,
			sennit.Change{Kind: sennit.KindAdd, Path: "d/n", Delta: 41},
			sennit.Change{Kind: sennit.KindAppend, Path: "d/s", Value: sennit.Value{Type: "text/plain; charset=utf-8", Data: []byte("one")}},
			sennit.Change{Kind: sennit.KindAppend, Path: "d/long", Value: sennit.Value{Type: "text/plain; charset=utf-8", Data: []byte(long)}})
		write(t, bus, sennit.Change{Kind: sennit.KindAppend, Path: "d/long", Value: sennit.Value{Data: []byte("y")}})
		d := doc(bus, "d")
		const reads = `{"long":{"$value":"long","size":65537,"type":"text/plain; charset=utf-8"},"n":41,"s":"one"}`
		if got := read(t, d); got != reads {
			t.Fatalf("it reads %s", got)
		}
		if v, err := d.Put(t.Context(), []byte(reads), nil); v != "" || err != nil {
			t.Errorf("the same again: version %q, %v", v, err)
		}
		write(t, bus, sennit.Change{Kind: sennit.KindAdd, Path: "d/n", Delta: 1}) // it is a counter still
		if got := read(t, d); !strings.Contains(got, `"n":42`) {
			t.Errorf("after one more it reads %s", got)
		}
		tag := state(t, d)
		if _, err := d.Patch(t.Context(), []byte(`{"n":7,"s":"two"}`), &tag); err != nil {
			t.Errorf("other values in their places: %v", err)
		}
		if got := read(t, d); got != strings.NewReplacer("41", "7", "one", "two").Replace(reads) {
			t.Errorf("it reads %s", got)
		}
		if _, err := d.Patch(t.Context(), []byte(`{"n":null,"s":null}`), nil); err != nil {
			t.Errorf("deleting them: %v", err)
		}
		if n, err := bus.Get(t.Context(), sennit.Addr{Root: "me", Path: "d/long"}); err != nil || n.Value.Size() != sennit.MaxInline+1 {
			t.Errorf("the long stream has %d bytes now, %v", n.Value.Size(), err)
		}
	})
}

func TestReservedPlacesAreInNoDocument(t *testing.T) {
	everywhere(t, func(t *testing.T, bus sennit.Bus) {
		for path, texts := range map[string][]string{
			"": {
				`{"ok":1,".acl":{"x":1}}`, `{"ok":1,".id":1}`, `{"ok":1,".group":"x"}`, `{"ok":1,".key":{}}`, `{"ok":1,".board":{"a":{"b":{}}}}`,
				`{"ok":1,"\u002eacl":{"x":1}}`,
			},
			".acl": {`{"x":1}`, `1`}, ".key/a": {`1`},
		} {
			for _, text := range texts {
				for name, do := range map[string]func(context.Context, []byte, *sennit.Hash) (sennit.Version, error){"put": doc(bus, path).Put, "patch": doc(bus, path).Patch} {
					if v, err := do(t.Context(), []byte(text), nil); sennit.CodeOf(err) != sennit.Denied || !strings.Contains(err.Error(), "its own business") || sennit.HintOf(err) == "" || v != "" {
						t.Errorf("%s %s at %q: %q, %v", name, text, path, v, err)
					}
				}
			}
		}
		if _, err := doc(bus, "").Patch(t.Context(), []byte(`{".acl":null}`), nil); sennit.CodeOf(err) != sennit.Denied {
			t.Errorf("deleting the rules: %v", err)
		}
		if _, err := doc(bus, "").Put(t.Context(), []byte(`{"a":1,"b":{".acl":2}}`), nil); err != nil {
			t.Errorf("such a name further down: %v", err)
		}
		if _, err := doc(bus, "").Put(t.Context(), []byte(`{"b":{".acl":2}}`), nil); err != nil {
			t.Errorf("replacing the root: %v", err)
		}
		if got := read(t, doc(bus, "")); got != `{"b":{".acl":2}}` {
			t.Errorf("the root reads %s", got)
		}
		if got := read(t, doc(bus, ".acl")); got != "" {
			t.Errorf("the rules read %s", got)
		}
	})
}

func TestWritingsHaveLimits(t *testing.T) {
	everywhere(t, func(t *testing.T, bus sennit.Bus) {
		many := func(n, size int) []byte {
			var b strings.Builder
			for i := range n {
				fmt.Fprintf(&b, `,"%d":"%s"`, i, strings.Repeat("x", size))
			}
			return []byte("{" + b.String()[1:] + "}")
		}
		for name, text := range map[string][]byte{"too many values": many(sennit.MaxOps+1, 0), "too many bytes": many(17, 64_000), "too large a value": many(1, sennit.MaxInline+1)} {
			if v, err := doc(bus, "d").Put(t.Context(), text, nil); sennit.CodeOf(err) != sennit.TooLarge || sennit.HintOf(err) == "" || v != "" {
				t.Errorf("%s: %q, %v, hint %q", name, v, err, sennit.HintOf(err))
			}
		}
		if got := read(t, doc(bus, "d")); got != "" {
			t.Errorf("something was written: %.100s", got)
		}
		if _, err := doc(bus, "d/a").Put(t.Context(), many(sennit.MaxOps, 0), nil); err != nil {
			t.Fatalf("as many values as there can be: %v", err)
		}
		if _, err := doc(bus, "d/b").Put(t.Context(), many(1000, 0), nil); err != nil {
			t.Fatal(err)
		}
		tight, b := doc(bus, "d"), doc(bus, "d/b")
		tight.Room, b.Room = 100_000, 100_000
		for name, do := range map[string]func() (sennit.Version, error){
			"put":       func() (sennit.Version, error) { return b.Put(t.Context(), []byte("1"), nil) },
			"patch all": func() (sennit.Version, error) { return tight.Patch(t.Context(), []byte(`{"b":null}`), nil) },
		} {
			if v, err := do(); sennit.CodeOf(err) != sennit.TooLarge || sennit.HintOf(err) == "" || v != "" {
				t.Errorf("%s in too little room: %q, %v", name, v, err)
			}
		}
		if _, err := tight.Patch(t.Context(), []byte(`{"a":{"17":"y","new":1}}`), nil); err != nil {
			t.Errorf("a patch of a large document: %v", err)
		}
		b.Room = room
		if _, err := b.Put(t.Context(), []byte("1"), nil); err != nil {
			t.Errorf("with more room: %v", err)
		}
		if got := read(t, doc(bus, "d/a/17")) + read(t, doc(bus, "d/a/new")); got != `"y"1` {
			t.Errorf("it left %s", got)
		}
	})
}

// meddler is a bus on which something else happens right after a call.
type meddler struct {
	sennit.Bus
	watched, digested func()
}

func (m *meddler) Watch(ctx context.Context, patterns []sennit.Pattern, o sennit.WatchOptions) (sennit.Watch, error) {
	w, err := m.Bus.Watch(ctx, patterns, o)
	if m.watched != nil {
		m.watched()
	}
	return w, err
}

func (m *meddler) Digest(ctx context.Context, a sennit.Addr) (sennit.Digest, error) {
	d, err := m.Bus.Digest(ctx, a)
	if m.digested != nil {
		m.digested()
	}
	return d, err
}

// open is a bus that shows what is in a reserved place.
type open struct{ sennit.Bus }

func (b open) Watch(ctx context.Context, patterns []sennit.Pattern, o sennit.WatchOptions) (sennit.Watch, error) {
	w, err := b.Bus.Watch(ctx, patterns, o)
	return &openWatch{Watch: w}, err
}

type openWatch struct {
	sennit.Watch
	shown bool
}

func (w *openWatch) Next(ctx context.Context) ([]sennit.Update, error) {
	updates, err := w.Watch.Next(ctx)
	if !w.shown && err == nil {
		w.shown = true
		updates = append([]sennit.Update{{Kind: sennit.Set, Node: sennit.Node{Path: ".acl/x", Value: sennit.Value{Type: "application/json", Data: []byte("1")}}}}, updates...)
	}
	return updates, err
}

func TestReservedPlacesAreLeftOut(t *testing.T) {
	bus := open{bustest.Memory()}
	d := doc(bus, "")
	if err := d.Exists(t.Context()); sennit.CodeOf(err) != sennit.NotFound {
		t.Errorf("nothing else is there: %v", err)
	}
	if _, err := d.Put(t.Context(), []byte(`{"a":1}`), new(sennit.Hash)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Put(t.Context(), []byte(`{"b":1}`), nil); err != nil {
		t.Errorf("it would be deleted: %v", err)
	}
	if got := read(t, d); got != `{"b":1}` {
		t.Errorf("it reads %s", got)
	}
}

// TestWhatChangesWhileItIsReadIsNotMissing: a watch that only tells the latest
// leaves a value out of its snapshot if it changed since.
func TestWhatChangesWhileItIsReadIsNotMissing(t *testing.T) {
	everywhere(t, func(t *testing.T, bus sennit.Bus) {
		if _, err := doc(bus, "d").Put(t.Context(), []byte(`{"a":1,"b":2,"c":3}`), nil); err != nil {
			t.Fatal(err)
		}
		m := &meddler{Bus: bus, watched: func() {
			write(t, bus, put("d/a", "application/json", "10"), sennit.Change{Kind: sennit.KindDel, Path: "d/c"})
		}}
		if got := read(t, doc(m, "d")); got != `{"a":1,"b":2,"c":3}` {
			t.Errorf("it reads %s", got)
		}
		write(t, bus, put("d/a", "application/json", "1"))
		// The other writer's value stays, since this one has in its place what it saw.
		if _, err := doc(m, "d").Put(t.Context(), []byte(`{"a":1,"b":20}`), nil); err != nil {
			t.Fatal(err)
		}
		if got := read(t, doc(bus, "d")); got != `{"a":10,"b":20}` {
			t.Errorf("both have left %s", got)
		}
	})
}

func TestConditions(t *testing.T) {
	everywhere(t, func(t *testing.T, bus sennit.Bus) {
		d, none, other := doc(bus, "d"), sennit.Hash{}, sennit.Hash{1}
		type do = func(context.Context, []byte, *sennit.Hash) (sennit.Version, error)
		refused := func(name string, do do, text string, cond sennit.Hash) {
			t.Helper()
			before := state(t, d)
			if v, err := do(t.Context(), []byte(text), &cond); sennit.CodeOf(err) != sennit.Conflict || v != "" || state(t, d) != before {
				t.Errorf("%s: %q, %v", name, v, err)
			}
		}
		done := func(name string, do do, text string, cond sennit.Hash) {
			t.Helper()
			if _, err := do(t.Context(), []byte(text), &cond); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		refused("a state of nothing", d.Put, `{"a":1}`, other)
		done("nothing is there", d.Put, `{"a":1,"b":{"c":2}}`, none)
		refused("something is there", d.Put, `{"a":1,"b":{"c":2}}`, none)
		refused("something is there to patch", d.Patch, `{"z":2}`, none)
		refused("something is there to patch, and would be gone", d.Patch, `{"a":null,"b":null}`, none)
		first := state(t, d)
		refused("another state", d.Patch, `{"a":2}`, other)
		refused("another state and no change", d.Patch, `{"a":1}`, other)
		done("the state", d.Patch, `{"a":2}`, first)
		refused("the state before", d.Patch, `{"a":3}`, first)

		// What happens between the comparison and the writing counts where both write.
		m := &meddler{Bus: bus}
		d.Bus = m
		for name, c := range map[string]struct {
			meddle sennit.Change
			text   string
		}{
			"what is written":          {put("d/a", "application/json", "7"), `{"a":8}`},
			"what is deleted":          {put("d/b/c", "application/json", "7"), `{"b":{"c":null}}`},
			"what is gone meanwhile":   {sennit.Change{Kind: sennit.KindDel, Path: "d/a"}, `{"a":8}`},
			"what is there meanwhile":  {put("d/new", "application/json", "7"), `{"new":8}`},
			"an object that is passed": {put("d/b/c", "application/json", "7"), `{"b":"flat"}`},
		} {
			for _, patch := range []bool{true, false} {
				m.digested = nil
				if _, err := d.Put(t.Context(), []byte(`{"a":1,"b":{"c":2,"d":3}}`), nil); err != nil {
					t.Fatal(err)
				}
				tag, text, do := state(t, d), c.text, d.Patch
				if !patch {
					do, text = d.Put, map[string]string{
						`{"a":8}`: `{"a":8,"b":{"c":2,"d":3}}`, `{"b":{"c":null}}`: `{"a":1,"b":{"d":3}}`,
						`{"new":8}`: `{"a":1,"b":{"c":2,"d":3},"new":8}`, `{"b":"flat"}`: `{"a":1,"b":"flat"}`,
					}[text]
				}
				m.digested = func() { write(t, bus, c.meddle) }
				if v, err := do(t.Context(), []byte(text), &tag); sennit.CodeOf(err) != sennit.Conflict || v != "" {
					t.Errorf("%s: %q, %v", name, v, err)
				}
				m.digested = nil
				if _, err := d.Put(t.Context(), []byte(`{"a":1,"b":{"c":2,"d":3}}`), nil); err != nil {
					t.Fatal(err)
				}
				m.digested = func() { write(t, bus, put("d/beside", "application/json", "7")) }
				tag = state(t, doc(bus, "d"))
				done(name+", and something beside", do, text, tag)
				if got := read(t, doc(bus, "d/beside")); got != "7" {
					t.Errorf("%s: what was written beside reads %q", name, got)
				}
			}
		}
	})
}

// TestWritersOfDifferentMembersAtOnce: each has written all it did, whatever
// the others do.
func TestWritersOfDifferentMembersAtOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, bus sennit.Bus) {
		const writers, rounds = 4, 10
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				for n := range rounds {
					if _, err := doc(bus, "d").Patch(t.Context(), fmt.Appendf(nil, `{"w%d":{"n":%d}}`, i, n), nil); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if got := read(t, doc(bus, "d")); got != `{"w0":{"n":9},"w1":{"n":9},"w2":{"n":9},"w3":{"n":9}}` {
			t.Errorf("they left %s", got)
		}
	})
}

// TestErrorsOfTheBus: they come through, and no watch is left open.
func TestErrorsOfTheBus(t *testing.T) {
	model := bustest.Memory()
	write(t, model, put("d/a", "application/json", "1"), put("e", "application/json", "1"))
	nobody := docbus.Doc{Bus: model, At: sennit.Addr{Root: "@nobody"}, Room: room}
	readOnly := docbus.Doc{Bus: model.Limited([]sennit.Addr{{Root: "me", Path: "d"}}, sennit.Read), At: sennit.Addr{Root: "me", Path: "d"}, Room: room}
	blind := readOnly
	blind.At.Path = "e"
	for name, c := range map[string]struct {
		do   func() error
		code sennit.Code
	}{
		"read of nobody":       {func() error { return nobody.Read(t.Context(), &strings.Builder{}) }, sennit.NotFound},
		"put to nobody":        {func() error { _, err := nobody.Put(t.Context(), []byte("{}"), nil); return err }, sennit.NotFound},
		"patch of nobody":      {func() error { _, err := nobody.Patch(t.Context(), []byte("{}"), nil); return err }, sennit.NotFound},
		"put by a reader":      {func() error { _, err := readOnly.Put(t.Context(), []byte(`{"a":2}`), nil); return err }, sennit.Denied},
		"patch by a reader":    {func() error { _, err := readOnly.Patch(t.Context(), []byte(`{"a":null}`), nil); return err }, sennit.Denied},
		"the same by a reader": {func() error { _, err := readOnly.Put(t.Context(), []byte(`{"a":1}`), nil); return err }, ""},
		"what can't be read":   {func() error { return blind.Read(t.Context(), &strings.Builder{}) }, sennit.NotFound},
		"what can't be seen":   {func() error { _, err := blind.Put(t.Context(), []byte(`2`), nil); return err }, sennit.NotFound},
		"malformed":            {func() error { _, err := readOnly.Put(t.Context(), []byte(`{`), nil); return err }, sennit.BadInput},
		"malformed patch":      {func() error { _, err := readOnly.Patch(t.Context(), []byte(`{"a":`), nil); return err }, sennit.BadInput},
	} {
		if err := c.do(); sennit.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
	}
	reset := &meddler{Bus: model, watched: model.Restore}
	if err := doc(reset, "d").Read(t.Context(), &strings.Builder{}); sennit.CodeOf(err) != sennit.Conflict {
		t.Errorf("a snapshot that starts over: %v", err)
	}
	if _, err := doc(reset, "d").Put(t.Context(), []byte("{}"), nil); sennit.CodeOf(err) != sennit.Conflict {
		t.Errorf("writing over a snapshot that starts over: %v", err)
	}
	if n := model.Watches(); n != 0 {
		t.Errorf("%d watches are left", n)
	}
	model.Stop()
	if err := doc(model, "d").Exists(t.Context()); sennit.CodeOf(err) != sennit.Gone {
		t.Errorf("a node that stops: %v", err)
	}
}

// BenchmarkPatch changes one member of a document of 1,000.
func BenchmarkPatch(b *testing.B) {
	bus := engine(b)
	d := doc(bus, "d")
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, `,"m%d":"%d"`, i, i)
	}
	whole := "{" + text.String()[1:] + "}"
	if _, err := d.Put(b.Context(), []byte(whole), nil); err != nil {
		b.Fatal(err)
	}
	for name, do := range map[string]func(i int) error{
		"patch": func(i int) error { _, err := d.Patch(b.Context(), fmt.Appendf(nil, `{"m500":%d}`, i), nil); return err },
		"put": func(i int) error {
			_, err := d.Put(b.Context(), []byte(strings.Replace(whole, `"500"`, fmt.Sprint(i), 1)), nil)
			return err
		},
		"read": func(int) error { return d.Read(b.Context(), &strings.Builder{}) },
	} {
		b.Run(name, func(b *testing.B) {
			i := 0
			for b.Loop() {
				i++
				if err := do(i); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
