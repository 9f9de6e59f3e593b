//go:build linux

package e2e_test

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What a node may cost.
const (
	newGoal  = 150 * time.Millisecond // from exec to ready, on a new directory
	fullGoal = 500 * time.Millisecond // and with a million ops
	idleGoal = 0.5                    // percent of one processor
	sizeGoal = 60 << 20               // bytes that are resident
)

func TestANodeIsReadySoon(t *testing.T) {
	var took []time.Duration
	for range 5 {
		begun := time.Now()
		n := start(t)
		took = append(took, time.Since(begun))
		n.stop()
	}
	slices.Sort(took)
	t.Logf("ready on a new directory: median %v of %v", took[2].Round(time.Millisecond), took)
	if goal := slack(newGoal); took[2] > goal {
		t.Errorf("it takes %v to be ready; at most %v will do", took[2], goal)
	}

	n, ops := start(t), 20_000
	if *long {
		ops = 1_000_000
	}
	n.do("gen", "data", "--n", strconv.Itoa(ops), "--batch", "1000", "--writers", "4")
	for _, end := range []struct {
		how string
		end func()
	}{{"a clean stop", n.stop}, {"a kill", n.kill}} {
		took = nil
		for range 3 {
			end.end()
			begun := time.Now()
			n.up()
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		t.Logf("ready with %d ops after %s: median %v of %v", ops, end.how, took[1].Round(time.Millisecond), took)
		if goal := slack(fullGoal); took[1] > goal {
			t.Errorf("it takes %v to be ready after %s; at most %v will do", took[1], end.how, goal)
		}
	}
	if got := len(snapshot(t, n.client(), "me")); got != ops {
		t.Errorf("%d values are there, of %d", got, ops)
	}
}

func TestAnIdleNodeCostsNextToNothing(t *testing.T) {
	a, b := start(t), start(t)
	befriend(t, a, b)
	a.do("gen", "data", "--n", "10000", "--batch", "1000")
	same(t, a, b)
	watched := time.Second
	if *long {
		watched = 20 * time.Second
	}
	begun, used := time.Now(), processor(t, b)
	<-time.After(watched) // what is measured is that nothing happens
	percent := 100 * (processor(t, b) - used).Seconds() / time.Since(begun).Seconds()
	size := resident(t, b)
	t.Logf("a node that follows one peer: %.2f %% of a processor over %v, %.1f MB resident", percent, watched, float64(size)/(1<<20))
	if *long && percent > idleGoal {
		t.Errorf("an idle node takes %.2f %% of a processor; at most %.1f will do", percent, idleGoal)
	}
	if *long && size > sizeGoal {
		t.Errorf("an idle node has %d bytes resident; at most %d will do", size, sizeGoal)
	}
}

// processor is the processor time that a node took so far (proc(5): fields 14
// and 15, in ticks of 10 ms).
func processor(t *testing.T, n *node) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.ready.PID))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] {
		k, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += k
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// resident is the memory that a node has, in bytes, and peak the most that it
// had (proc(5)).
func resident(t *testing.T, n *node) int { t.Helper(); return memory(t, n, "VmRSS:") }
func peak(t *testing.T, n *node) int     { t.Helper(); return memory(t, n, "VmHWM:") }

func memory(t *testing.T, n *node, line string) int {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", n.ready.PID))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), line); ok {
			k, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return k << 10
		}
	}
	t.Fatalf("no %s", line)
	return 0
}
