package tree_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/tree"
	"pgregory.net/rapid"
)

// Each case is a line that says what it shows, then ops, then what reads show.
// An op is a kind, a path and clock.log.seq.index.commit (all 1 if left out),
// for an add since=N if it isn't since the beginning; marked if it is dead.
// Cases run in every order of their ops.
const mergeCases = `
the newest put wins
	put /a 1   dead
	put /a 3
	put /a 2   dead
	shows /a 3

puts at different paths don't meet
	put /a 1
	put /a/b 2
	put / 3
	shows /a 1
	shows /a/b 2
	shows / 3

a del deletes an older put
	put /a 1   dead
	del /a 2
	shows /a nothing

a later put survives a del and does not remove it
	del /a 1
	put /a 2
	shows /a 2

a put keeps no del alive that a newer del replaces
	del /a 1   dead
	put /a 2   dead
	del /a 3
	shows /a nothing

a del deletes the value only
	put /a/b 1
	del /a 2
	shows /a/b 1

a deep del deletes the value and everything beneath
	put /a 1       dead
	put /a/b 1.2   dead
	add /a/b/c 1.3 dead
	put /ab 1.4
	deep /a 2
	shows /a nothing
	shows /a/b nothing
	shows /ab 1.4

a deep del of the root deletes everything
	put / 1      dead
	put /a/b 1.2 dead
	del /c 1.3   dead
	deep / 2
	shows / nothing
	shows /a/b nothing

what is newer than a deep del above survives it
	put /a/b 3
	deep /a 2
	put /a/c 1 dead
	shows /a/b 3
	shows /a/c nothing

a del is not covered by a newer put, nor by a value del above
	del /a/b 1
	put /a/b 2
	del /a 3
	shows /a/b 2

a newer deep del at the path covers a del, an older one does not
	deep /a 1   dead
	del /a 2    dead
	deep /a 3
	del /a 4
	shows /a nothing

a value del does not cover a deep del
	deep /a 1
	del /a 2
	shows /a nothing

a wider newer deep del covers a narrower one
	deep /a/b 1 dead
	deep /a 2
	shows /a/b nothing

a wider older deep del covers no newer one
	deep /a/b 2
	deep /a 1
	shows /a/b nothing

a dead deep del's work is done by the one that covers it
	put /a/b/c 1 dead
	deep /a/b 2  dead
	deep /a 3
	shows /a/b/c nothing

other ops are all live
	append /a 1
	append /a 2
	append /a 3
	text /a 4
	snap /a 5
	kind99 /a 6
	shows /a nothing

other ops and puts don't cover each other
	append /a 1
	put /a 2
	append /a 3
	shows /a 2

an add covers older ones of its log
	add /a 1 dead
	add /a 3
	add /a 2 dead
	shows /a nothing

each log has a total of its own
	add /a 1.1 dead
	add /a 2.2 dead
	add /a 3.1
	add /a 4.2

adds and puts don't cover each other
	add /a 1
	put /a 2
	add /a/b 1
	shows /a 2

a del covers totals that were begun before it, though they are newer
	add /a 1 dead
	del /a 2
	add /a 3 dead
	add /a 4.2 since=1 dead
	add /a 5.3 since=2

a deep del above does so as well
	add /a/b/c 3 dead
	add /a/b/c 4 since=2
	add /a/b/c 5.2 since=1 dead
	deep /a 2

totals since different dels are different totals
	add /a 5 since=4
	add /a 6 since=3 dead
	add /a 7 since=3

what was deleted before does not matter to a total begun later
	del /a 2
	add /a 3 since=7

a del covers older other ops at its path
	add /a 1       dead
	kind99 /a 1.2  dead
	append /a/b 1.3
	del /a 2
	text /a 3
	shows /a nothing

a deep del covers older other ops at its path and beneath
	add /a 1       dead
	kind99 /a 1.2  dead
	append /a/b 1.3 dead
	deep /a 2
	text /a/b 3
	shows /a nothing

a deep del covers an older del at its path
	del /a 1 dead
	deep /a 2
	shows /a nothing

a late deep del finds what is older and leaves what is newer
	put /a/b 1   dead
	del /a/b 1.2 dead
	add /a/b 1.3 dead
	put /a/c 3.4
	del /a/c 3.2
	add /a/c 3.3 since=3
	deep /a 2
	shows /a/b nothing
	shows /a/c 3.4

equal clocks: the log decides
	put /a 1.1 dead
	put /a 1.2
	shows /a 1.2

equal clocks, one log: the seq decides
	put /a 1.1.2
	put /a 1.1.1 dead
	shows /a 1.1.2

one commit: the index decides
	put /a 1.1.1.1 dead
	del /a 1.1.1.2
	put /a 1.1.1.3
	shows /a 1.1.1.3

the index comes before the commit id in the branches of a fork
	put /a 1.1.1.1.9 dead
	put /a 1.1.1.2.3
	shows /a 1.1.1.2.3

a forked log: the commit id decides
	put /a 1.1.1.1.4 dead
	put /a 1.1.1.1.5
	shows /a 1.1.1.1.5
`

type mergeCase struct {
	name  string
	ops   []op
	live  map[op]bool
	shows map[sennit.Path]tree.Stamp
}

func parseStamp(t *testing.T, text string) tree.Stamp {
	n := [5]uint64{1, 1, 1, 1, 1}
	for i, field := range strings.Split(text, ".") {
		if _, err := fmt.Sscan(field, &n[i]); err != nil {
			t.Fatalf("%q is not a stamp: %v", text, err)
		}
	}
	return tree.Stamp{
		Clock: n[0], Log: sennit.Hash{byte(n[1])}, Seq: n[2], Index: uint32(n[3]), Commit: sennit.Hash{byte(n[4])},
	}
}

func parseMergeCases(t *testing.T, text string) (cases []mergeCase) {
	kinds := map[string]op{
		"put": {kind: 1}, "del": {kind: 2}, "deep": {kind: 2, deep: true},
		"add": {kind: 3}, "append": {kind: 4}, "text": {kind: 5}, "snap": {kind: 6}, "kind99": {kind: 99},
	}
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		lines := strings.Split(block, "\n")
		c := mergeCase{name: lines[0], live: map[op]bool{}, shows: map[sennit.Path]tree.Stamp{}}
		for _, line := range lines[1:] {
			f := strings.Fields(line)
			path := sennit.MustPath(f[1])
			if f[0] == "shows" {
				c.shows[path] = tree.Stamp{}
				if f[2] != "nothing" {
					c.shows[path] = parseStamp(t, f[2])
				}
				continue
			}
			o, ok := kinds[f[0]]
			if !ok {
				t.Fatalf("unknown op: %s", line)
			}
			o.path, o.at = path, parseStamp(t, f[2])
			dead := false
			for _, mark := range f[3:] {
				since, isSince := strings.CutPrefix(mark, "since=")
				switch {
				case mark == "dead":
					dead = true
				case !isSince:
					t.Fatalf("unknown mark: %s", line)
				default:
					if _, err := fmt.Sscan(since, &o.since); err != nil {
						t.Fatalf("%s: %v", line, err)
					}
				}
			}
			c.ops = append(c.ops, o)
			if !dead {
				c.live[o] = true
			}
		}
		cases = append(cases, c)
	}
	return cases
}

func TestMergeRules(t *testing.T) {
	for _, c := range parseMergeCases(t, mergeCases) {
		t.Run(c.name, func(t *testing.T) {
			if got := liveOf(c.ops); !maps.Equal(got, c.live) {
				t.Fatalf("the model disagrees with the case: %v", got)
			}
			permute(c.ops, func(order []op) {
				r := newReplica()
				for _, o := range order {
					r.apply(o)
				}
				if got, want := r.names(), namesOf(c.live); !equalNames(got, want) {
					t.Fatalf("in the order %v\nlive %v\nwant %v", order, got, want)
				}
				for p, want := range c.shows {
					if got, ok := tree.Shown(r.at(p), r.cover(p)); got != want || ok != !want.IsZero() {
						t.Fatalf("in the order %v\n/%s shows %v, want %v", order, p, got, want)
					}
				}
			})
		})
	}
}

// permute calls f with every order of ops.
func permute(ops []op, f func([]op)) {
	var next func(int)
	next = func(n int) {
		if n == len(ops) {
			f(ops)
			return
		}
		for i := n; i < len(ops); i++ {
			ops[n], ops[i] = ops[i], ops[n]
			next(n + 1)
			ops[n], ops[i] = ops[i], ops[n]
		}
	}
	next(0)
}

func equalNames(a, b names) bool { return maps.EqualFunc(a, b, slices.Equal) }

func TestLiveIsAFunctionOfTheSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ops := drawOps(t, "ops")
		twice := append(slices.Clone(ops), ops...)
		arrival := rapid.Permutation(twice).Draw(t, "arrival")
		r := newReplica()
		for _, o := range arrival {
			r.apply(o)
			if rapid.IntRange(0, 3).Draw(t, "flush") == 0 {
				if err := r.flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := r.flush(); err != nil {
			t.Fatal(err)
		}
		want := namesOf(liveOf(ops))
		if got := r.names(); !equalNames(got, want) {
			t.Fatalf("live %v\nwant %v", got, want)
		}
		for _, o := range append(ops, op{}) {
			info, ok, err := tree.Find(r.nodes, o.path)
			if err != nil || info.Hash != want.digest(o.path) || info.Ops != want.ops(o.path) || ok != (info.Ops > 0) {
				t.Fatalf("/%s has digest %v %v %v, want %s with %d ops", o.path, info, ok, err, want.digest(o.path), want.ops(o.path))
			}
			shown, ok := tree.Shown(r.at(o.path), r.cover(o.path))
			if put := shownOf(ops, o.path); shown != put || ok == put.IsZero() {
				t.Fatalf("/%s shows %v, want %v", o.path, shown, put)
			}
		}
	})
}

// shownOf is the live put at a path.
func shownOf(ops []op, p sennit.Path) (at tree.Stamp) {
	for o := range liveOf(ops) {
		if o.path == p && o.kind == sennit.KindPut {
			at = o.at
		}
	}
	return at
}

func TestDeadOpsCanBeDropped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := drawOps(t, "ops")
		cut := rapid.IntRange(0, len(all)).Draw(t, "cut")
		before, after := all[:cut], all[cut:]
		live := liveOf(before)
		r := newReplica()
		for _, o := range before {
			if live[o] || rapid.Bool().Draw(t, "keep") {
				r.apply(o)
			}
		}
		if got, want := r.names(), namesOf(live); !equalNames(got, want) {
			t.Fatalf("without dead ops: live %v\nwant %v", got, want)
		}
		for _, o := range after {
			r.apply(o)
		}
		if got, want := r.names(), namesOf(liveOf(all)); !equalNames(got, want) {
			t.Fatalf("with what came after: live %v\nwant %v", got, want)
		}
	})
}

// A store that sweeps lazily leaves dead ops in slots beneath a deep del.
func TestDeadOpsInSlotsDoNoHarm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ops := drawOps(t, "ops")
		p := rapid.SampledFrom(append(ops, op{})).Draw(t, "path").path
		var stale tree.Slots // the newest of each sort, dead or not
		var cover tree.Stamp
		for _, o := range ops {
			s := tree.SlotOf(o.kind, o.deep)
			if s <= tree.Deep && o.path == p && newer(o.at, stale[s]) {
				stale[s] = o.at
			}
			if s == tree.Deep && o.path != p && p.Under(o.path) && newer(o.at, cover) {
				cover = o.at
			}
		}
		if got, ok := tree.Shown(&stale, cover); got != shownOf(ops, p) || ok == got.IsZero() {
			t.Fatalf("shows %v, want %v", got, shownOf(ops, p))
		}
		for _, o := range drawOps(t, "next") {
			o.path = p
			want := tree.Dead
			if liveOf(append(slices.Clone(ops), o))[o] {
				want = tree.Live
			}
			if slices.ContainsFunc(ops, func(q op) bool { return q.at == o.at }) {
				continue
			}
			got := tree.Decide(tree.SlotOf(o.kind, o.deep), o.at, &stale, cover).Fate
			if o.kind == sennit.KindAdd {
				var have tree.Stamp
				for _, q := range ops {
					if q.kind == o.kind && q.path == p && q.at.Log == o.at.Log && q.since == o.since && newer(q.at, have) {
						have = q.at
					}
				}
				got = tree.DecideAdd(o.at, o.since, &stale, cover, have)
			}
			if got != want {
				t.Fatalf("%v has fate %v, want %v", o, got, want)
			}
		}
	})
}

func TestStampOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ops := drawOps(t, "ops")
		for _, a := range ops {
			for _, b := range ops {
				c := a.at.Compare(b.at)
				if c > 0 != newer(a.at, b.at) || c < 0 != newer(b.at, a.at) || a.at.Before(b.at) != (c < 0) || c == 0 != (a.at == b.at) {
					t.Fatalf("%v and %v compare as %d", a, b, c)
				}
			}
			if (tree.Stamp{}).Compare(a.at) >= 0 || a.at.IsZero() {
				t.Fatalf("%v is not newer than no op", a)
			}
		}
	})
}

func TestKnownOps(t *testing.T) {
	at := tree.Stamp{Clock: 5, Seq: 1}
	for _, s := range []tree.Slot{tree.Put, tree.Del, tree.Deep} {
		var now tree.Slots
		now[s] = at
		if e := tree.Decide(s, at, &now, tree.Stamp{}); e != (tree.Effect{Fate: tree.Known}) {
			t.Errorf("slot %d: the op that holds it has the effect %+v", s, e)
		}
	}
}
