package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/bubble"
	"github.com/sennit/sennit/internal/wire"
)

func chunkOp(path, data string) wire.Op {
	return wire.Op{Kind: sennit.KindAppend, Path: sennit.MustPath(path), Body: wire.Append{Data: []byte(data)}.Append(nil)}
}

// TestALateChunkDoesNotSplitItsCommit: a watch of the present state looks again
// where a chunk lands before others. What it told of the same commit until then
// it takes back, so that no cursor stands for half of it.
func TestALateChunkDoesNotSplitItsCommit(t *testing.T) {
	newIdentity(t, "owner")
	bubble.Test(t, func(t *testing.T) {
		m, newLog, rules := spared(t, t)
		defer m.stop()
		bus := m.Bus(m.Owner())
		before := uint64(time.Now().UnixMilli()) << 16
		time.Sleep(time.Second)
		if _, err := bus.Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindAppend, Path: "s", Value: sennit.Value{Data: []byte("b")}}}); err != nil {
			t.Fatal(err)
		}
		w, err := bus.Watch(t.Context(), []sennit.Pattern{{Root: "me"}}, sennit.WatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := w.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		l := newLog(1)
		l.write(t, before, []sennit.Hash{rules.commits[0].ID}, putOp("x", "1"), chunkOp("s", "a"))
		if err := m.deliver(l.rec, l.whole(t)); err != nil {
			t.Fatal(err)
		}
		have := map[sennit.Path]string{}
		last := sennit.Cursor{}
		for have["x"] != "1" || have["s"] != "ab" {
			updates, err := w.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range updates {
				if u.Kind != sennit.Set {
					continue
				}
				if u.Cursor.N < last.N {
					t.Errorf("a cursor goes back from %d to %d", last.N, u.Cursor.N)
				}
				last = u.Cursor
				have[u.Node.Path] = string(u.Node.Value.Data)
			}
			if (have["x"] == "1") != (have["s"] == "ab") && last.N == updates[len(updates)-1].Cursor.N {
				t.Logf("told %v so far", have)
			}
		}
	})
}

// TestAStreamIsReadAnywhere reads streams of chunks of several logs, many of
// them of one clock, at random places.
func TestAStreamIsReadAnywhere(t *testing.T) {
	newIdentity(t, "owner")
	rapid.Check(t, func(rt *rapid.T) {
		m, newLog, rules := spared(rt, t)
		defer func() { m.stop() }()
		logs := []*log{newLog(1), newLog(2), newLog(3)}
		now := uint64(time.Now().UnixMilli()) << 16
		r := &reference{space: m.Self().Space}
		for i := range rapid.IntRange(1, 40).Draw(rt, "commits") {
			l := rapid.SampledFrom(logs).Draw(rt, "log")
			var ops []wire.Op
			for range rapid.IntRange(1, 3).Draw(rt, "chunks") {
				ops = append(ops, chunkOp("s", fmt.Sprintf("<%d:%0*d>", i, rapid.IntRange(1, 9).Draw(rt, "size"), 0)))
			}
			l.write(rt, now-rapid.Uint64Range(0, 4).Draw(rt, "clock"), []sennit.Hash{rules.commits[0].ID}, ops...)
		}
		for _, l := range logs {
			if len(l.commits) > 0 {
				if err := m.deliver(l.rec, l.whole(rt)); err != nil {
					rt.Fatal(err)
				}
				r.add(l)
			}
		}
		r.live = map[sennit.Path][]refOp{"s": r.ops}
		_, want, _ := r.value("s")
		got, c, err := m.Bus(m.Owner()).Open(context.Background(), sennit.Addr{Root: "me", Path: "s"})
		if err != nil || string(got.Value.Data) != want {
			rt.Fatalf("it is %q, %v; want %q", got.Value.Data, err, want)
		}
		defer c.Close()
		v, err := m.Content("s")
		if err != nil {
			rt.Fatal(err)
		}
		defer v.Close()
		for range 20 {
			off := rapid.IntRange(0, len(want)+2).Draw(rt, "off")
			p := make([]byte, rapid.IntRange(0, 30).Draw(rt, "bytes"))
			k, err := v.ReadAt(context.Background(), p, int64(off))
			left := want[min(off, len(want)):]
			if k != min(len(p), len(left)) || !bytes.Equal(p[:k], []byte(left[:k])) || errors.Is(err, io.EOF) != (len(p) > len(left)) {
				rt.Fatalf("%d bytes from %d on: %q, %v; want %q", len(p), off, p[:k], err, left[:min(len(p), len(left))])
			}
		}
	})
}

// BenchmarkStream reads one byte in the middle of a stream of 100,000 chunks,
// and appends one more to it.
func BenchmarkStream(b *testing.B) {
	m := boot(b, &machine{id: newIdentity(b, "owner"), fs: vfs.NewMem()})
	defer m.stop()
	bus := m.Bus(m.Owner())
	grow := func(n int) {
		changes := make([]sennit.Change, n)
		for i := range changes {
			changes[i] = sennit.Change{Kind: sennit.KindAppend, Path: "log", Value: sennit.Value{Data: []byte("one more line of a log that has many\n")}}
		}
		if _, err := bus.Write(context.Background(), "me", changes); err != nil {
			b.Fatal(err)
		}
	}
	const chunks = 100_000
	for range chunks / 4000 {
		grow(4000)
	}
	b.Run("middle", func(b *testing.B) {
		for b.Loop() {
			_, c, err := bus.Open(context.Background(), sennit.Addr{Root: "me", Path: "log"})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := c.ReadAt(context.Background(), make([]byte, 1), chunks*37/2); err != nil {
				b.Fatal(err)
			}
			if err := c.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			grow(1)
		}
	})
}
