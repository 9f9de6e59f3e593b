package node_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/wire"
)

// at reads a path at a version, with all its bytes.
func (m *machine) at(p sennit.Path, v sennit.Version) (sennit.Node, string, error) {
	n, c, err := m.Bus(m.Owner()).At(context.Background(), sennit.Addr{Root: "me", Path: p}, v)
	if err != nil {
		return n, "", err
	}
	defer c.Close()
	text := make([]byte, n.Value.Size())
	if len(text) > 0 {
		_, err = c.ReadAt(context.Background(), text, 0)
	}
	return n, string(text), err
}

// until is what there was when only ops up to one had come.
func (r *reference) until(last refOp) *reference {
	was := *r
	was.ops = slices.DeleteFunc(slices.Clone(r.ops), func(o refOp) bool { return o.class == wire.Data && last.at.Before(o.at) })
	was.settle()
	return &was
}

// TestAVersionIsWhatWasShown holds reading a version against the definition:
// whatever two devices did, and in whichever order it came, a version shows what
// was live among the ops up to it, or is said to be gone, which it may be only
// after a collection. Never is it something else.
func TestAVersionIsWhatWasShown(t *testing.T) {
	var shown, gone int
	rapid.Check(t, func(rt *rapid.T) {
		m, newLog, rules := spared(rt, t)
		defer m.stop()
		space := m.Self().Space
		spare := newLog(1)
		auth := []sennit.Hash{rules.commits[len(rules.commits)-1].ID}
		paths := []sennit.Path{"a", "a/b"}
		ref := &reference{space: space, latest: 1 << 47}
		ref.add(rules)
		learn := func() {
			for _, l := range m.own(rt, space) {
				ref.add(l)
			}
		}
		learn()
		type told struct {
			path  sennit.Path
			v     sennit.Version
			value string
		}
		var reads []told
		delivered, collected, last := 0, false, uint64(0)
		for step := range rapid.IntRange(1, 25).Draw(rt, "steps") {
			p := rapid.SampledFrom(paths).Draw(rt, "path")
			text := strings.Repeat(fmt.Sprint("text ", step, "\n"), rapid.SampledFrom([]int{1, 2, 8000}).Draw(rt, "size"))
			kind := rapid.SampledFrom([]sennit.Kind{sennit.KindPut, sennit.KindAdd, sennit.KindAdd, sennit.KindAppend, sennit.KindAppend, sennit.KindDel}).Draw(rt, "kind")
			deep := kind == sennit.KindDel && rapid.Bool().Draw(rt, "deep")
			text = text[:min(len(text), sennit.MaxInline)]
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0, 1, 2, 3: // here
				c := sennit.Change{Kind: kind, Path: p, Deep: deep}
				switch kind {
				case sennit.KindAdd:
					c.Delta = int64(step + 1)
				case sennit.KindPut, sennit.KindAppend:
					c.Value.Data = []byte(text)
				}
				if _, err := m.Bus(m.Owner()).Write(context.Background(), "me", []sennit.Change{c}); err != nil {
					rt.Fatal(err)
				}
				learn()
			case 4, 5, 6: // at the other device
				last = max(last+1, uint64(time.Now().UnixMilli())<<16+1)
				op := putOp(string(p), text)
				switch kind {
				case sennit.KindAdd:
					since := uint64(0)
					if rapid.Bool().Draw(rt, "since then") && delivered > 0 {
						since = spare.commits[delivered-1].Clock
					}
					op = addOp(string(p), since, int64(step*100))
				case sennit.KindAppend:
					op = chunkOp(string(p), text)
				case sennit.KindDel:
					op = delOp(string(p), deep)
				}
				spare.write(rt, last, auth, op)
			case 7, 8:
				if k := len(spare.commits); k > delivered {
					if err := m.deliver(spare.rec, spare.run(rt, delivered, delivered+1, k, all, allOps)); err != nil {
						rt.Fatalf("deliver: %v", err)
					}
					delivered = k
					part := *spare
					part.commits = spare.commits[:k]
					ref.add(&part)
				}
			case 9:
				if _, err := m.Collect(context.Background(), space, nil); err != nil {
					rt.Fatal(err)
				}
				collected = true
			}
			for _, p := range paths {
				n, c, err := m.Bus(m.Owner()).Open(context.Background(), sennit.Addr{Root: "me", Path: p})
				if err != nil {
					continue
				}
				value := make([]byte, n.Value.Size())
				if _, err := c.ReadAt(context.Background(), value, 0); err != nil {
					rt.Fatal(err)
				}
				c.Close()
				reads = append(reads, told{p, n.Version, string(value)})
			}
		}
		for _, o := range ref.ops {
			for _, p := range paths {
				if o.class != wire.Data || o.op.Path != p && !(o.deep && p.Under(o.op.Path)) {
					continue
				}
				newest, want, ok := ref.until(o).value(p)
				ok = ok && newest.at == o.at
				v := sennit.Version(fmt.Sprintf("%s-%d", sennit.Space(o.at.Log), o.at.Seq))
				n, got, err := m.at(p, v)
				switch {
				case collected && sennit.CodeOf(err) == sennit.Gone:
					gone++
				case !ok && sennit.CodeOf(err) == sennit.NotFound:
				case !ok || err != nil || got != want || n.Author != o.author || !strings.HasPrefix(string(n.Version), string(v)):
					rt.Errorf("%s at %s: %.30q of %s, %v; it showed %.30q, %v", p, v, got, n.Version, err, want, ok)
				default:
					shown++
				}
			}
		}
		// What a read gave is what its version gives, unless something came since
		// that belongs before it, or went.
		for _, x := range reads {
			n, got, err := m.at(x.path, x.v)
			if sennit.CodeOf(err) == sennit.Gone && collected || delivered > 0 && (err != nil && sennit.CodeOf(err) != sennit.Internal || n.Version != x.v) {
				continue
			}
			if err != nil || got != x.value {
				rt.Errorf("%s had version %s and %.30q; at that version it is %.30q, %v", x.path, x.v, x.value, got, err)
			}
		}
	})
	if shown == 0 || gone == 0 {
		t.Errorf("%d versions were shown, %d were gone", shown, gone)
	}
}

// TestWhatSeveralCountedIsNotGuessed: where it can't be known that nothing of a
// counter is missing, only the version that names the whole set is given.
func TestWhatSeveralCountedIsNotGuessed(t *testing.T) {
	m, newLog, rules := spared(t, t)
	defer m.stop()
	auth := []sennit.Hash{rules.commits[len(rules.commits)-1].ID}
	spare := newLog(1)
	now := uint64(time.Now().UnixMilli()) << 16
	spare.write(t, now, auth, addOp("n", 0, 5))
	spare.write(t, now+1, auth, addOp("n", 0, 6))
	if err := m.deliver(spare.rec, spare.whole(t)); err != nil {
		t.Fatal(err)
	}
	bus := m.Bus(m.Owner())
	plain, err := bus.Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindAdd, Path: "n", Delta: 10}})
	if err != nil {
		t.Fatal(err)
	}
	n, err := bus.Get(t.Context(), sennit.Addr{Root: "me", Path: "n"})
	if err != nil || string(n.Value.Data) != "16" {
		t.Fatalf("counted to %s, %v", n.Value.Data, err)
	}
	check := func(v sennit.Version, want string, code sennit.Code) {
		t.Helper()
		if _, got, err := m.at("n", v); got != want || sennit.CodeOf(err) != code {
			t.Errorf("at %s the counter is %q, %v; want %q, %q", v, got, err, want, code)
		}
	}
	// What the other device counted before is dropped, but covered by what is
	// older than the version: nothing can be missing.
	collect(t, m.Node)
	check(plain, "16", "")
	check(n.Version, "16", "")
	check(n.Version[:len(n.Version)-1]+"g", "", sennit.Gone)
	// Then it counts on, behind a commit of which nothing is left.
	later := uint64(time.Now().Add(time.Second).UnixMilli()) << 16
	spare.write(t, later, auth, putOp("hot", "1"))
	spare.write(t, later+1, auth, putOp("hot", "2"))
	spare.write(t, later+2, auth, addOp("n", 0, 7))
	if err := m.deliver(spare.rec, spare.run(t, 2, 3, len(spare.commits), all, allOps)); err != nil {
		t.Fatal(err)
	}
	check(plain, "16", "")
	collect(t, m.Node)
	check(n.Version, "", sennit.Gone) // 6 was covered, and dropped
	if list, err := m.History(t.Context(), sennit.Addr{Root: "me", Path: "n"}, 9); err != nil || len(list) == 0 {
		t.Errorf("history: %d, %v", len(list), err)
	}
	check(sennit.Version(fmt.Sprintf("%s-%d", sennit.Space(spare.rec.ID()), len(spare.commits))), "17", "")
}
