package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/client"
)

const writers = 16

// TestNoAcknowledgedWriteIsLostToAKill kills a node at random moments while
// sixteen write to it, and a friend's node follows.
func TestNoAcknowledgedWriteIsLostToAKill(t *testing.T) {
	kills := 3
	if *long {
		kills = 20
	}
	a, b := start(t), start(t)
	befriend(t, a, b)
	for _, n := range []*node{a, b} {
		n.do("id", "words") // nothing is left for the doctor to remark
	}
	c := a.client()
	acked := map[sennit.Path]string{}
	newest := map[sennit.Path]int{}
	for round := range kills {
		gen := generate(t, a, c, fmt.Sprintf("gen/%d", round))
		log := write(t, c, a, round)
		generated := gen()
		a.up()
		for _, w := range log {
			for _, path := range w.done {
				acked[path] = value(path)
			}
			newest[w.counter] = max(newest[w.counter], w.count)
		}
		values := snapshot(t, c, "me")
		for path, want := range acked {
			if values[path] != want {
				t.Fatalf("after kill %d: %s is %q; %q was acknowledged", round+1, path, values[path], want)
			}
		}
		for path, want := range newest {
			if got, err := strconv.Atoi(values[path]); err != nil && want > 0 || got < want {
				t.Fatalf("after kill %d: %s is %q; %d was acknowledged", round+1, path, values[path], want)
			}
		}
		have := 0
		for path := range values {
			if path.Under(sennit.Path(fmt.Sprintf("gen/%d", round))) {
				have++
			}
		}
		if have < generated {
			t.Fatalf("after kill %d: %d values of the generator are there; %d were acknowledged", round+1, have, generated)
		}
	}
	same(t, a, b)
	for _, n := range []*node{a, b} {
		if out := n.do("doctor", "--verify"); out != "all is well" {
			t.Errorf("doctor --verify: %s", out)
		}
	}
	if one, two := snapshot(t, a.client(), "me"), snapshot(t, b.client(), "@a"); len(one) != len(two) || len(one) < len(acked) {
		t.Errorf("a has %d values, b %d of them", len(one), len(two))
	}
	t.Logf("%d kills, %d values acknowledged one by one: all are there, on both nodes", kills, len(acked))
}

// generate lets the program's own generator write under a path until the node
// dies, and then tells how many values were acknowledged. It returns when the
// first is there: a generator that never reached the node writes nothing.
func generate(t *testing.T, n *node, c *client.Client, under string) func() int {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd := exec.Command(path, "--data", n.dir, "gen", under, "--n", "10000000", "--writers", strconv.Itoa(writers), "--json")
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the generator writes", func() bool {
		entries, _, err := c.List(t.Context(), sennit.Addr{Root: "me", Path: sennit.Path(under)}, sennit.Listing{Limit: 1})
		return err == nil && len(entries) > 0
	})
	return func() int {
		err := cmd.Wait()
		var done struct{ Ops int }
		if jerr := json.Unmarshal([]byte(out.String()), &done); jerr != nil || cmd.ProcessState.ExitCode() != sennit.Unreachable.Exit() {
			t.Fatalf("gen: %v, %q", err, out.String())
		}
		return done.Ops
	}
}

// written is what one writer knows to be done.
type written struct {
	done    []sennit.Path
	counter sennit.Path // holds a number that only grows
	count   int
}

func value(p sennit.Path) string { return "the value of " + string(p) }

// write writes until the node is killed, at a random moment.
func write(t *testing.T, c *client.Client, n *node, round int) []written {
	t.Helper()
	log := make([]written, writers)
	first := make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	for i := range log {
		w := &log[i]
		w.counter = sennit.Path(fmt.Sprintf("counter/%d", i))
		wg.Go(func() {
			defer once.Do(func() { close(first) }) // if not even one was done
			for k := 0; ; k++ {
				path := sennit.Path(fmt.Sprintf("exact/%d/%d/%d", round, i, k))
				count := round*1_000_000 + k
				if _, err := c.Write(context.Background(), "me", []sennit.Change{
					put(path, value(path)), put(w.counter, strconv.Itoa(count)),
				}); err != nil {
					if code := sennit.CodeOf(err); code != sennit.Unreachable {
						t.Errorf("a write to a node that was killed: %v (%s)", err, code)
					}
					return
				}
				w.done, w.count = append(w.done, path), count
				once.Do(func() { close(first) })
			}
		})
	}
	<-first
	<-time.After(rand.N(400 * time.Millisecond)) // the moment is what is tried out
	n.kill()
	wg.Wait()
	return log
}

func put(p sennit.Path, text string) sennit.Change {
	return sennit.Change{Kind: sennit.KindPut, Path: p, Value: sennit.Value{Type: "text/plain", Data: []byte(text)}}
}

// snapshot reads all values of a space.
func snapshot(t *testing.T, c *client.Client, root string) map[sennit.Path]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	w, err := c.Watch(ctx, []sennit.Pattern{{Root: root}}, sennit.WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	values := map[sennit.Path]string{}
	for {
		updates, err := w.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range updates {
			switch u.Kind {
			case sennit.Set:
				values[u.Node.Path] = string(u.Node.Value.Data)
			case sennit.Live:
				return values
			}
		}
	}
}
