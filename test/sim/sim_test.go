package sim_test

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/sennit/sennit/internal/bubble"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/test/evil"
	"github.com/sennit/sennit/test/sim"
)

// Flags of the test, after -args.
var (
	seeds = flag.Int("seeds", 20, "how many seeds to run")
	first = flag.Uint64("first", 1, "the first of them")
	seed  = flag.Uint64("seed", 0, "run this one seed, here and aloud")
)

// seedTimeout is how long one seed may take by the clock on the wall.
const seedTimeout = 2 * time.Minute

// TestSimulation runs many seeds, each in a process of its own: one that
// panics or hangs doesn't take the others with it.
func TestSimulation(t *testing.T) {
	if *seed != 0 {
		one(t, *seed)
		return
	}
	ctx := t.Context()
	if end, ok := t.Deadline(); ok { // what was found by then is to be heard
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-20*time.Second))
		defer cancel()
	}
	todo := make(chan uint64)
	var mu sync.Mutex
	passed, failed := 0, map[uint64]string{}
	total := map[string]int{}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for s := range todo {
				begun := time.Now()
				out, ok := spawn(ctx, s)
				mu.Lock()
				if ok {
					passed++
				} else {
					failed[s] = out
				}
				add(total, out)
				if took := time.Since(begun).Seconds(); testing.Verbose() && (took > 10 || !ok) {
					fmt.Printf("seed %d: passed %v, %.0f s\n", s, ok, took)
				}
				mu.Unlock()
			}
		})
	}
	for i := range *seeds {
		todo <- *first + uint64(i)
	}
	close(todo)
	wg.Wait()
	for _, s := range slices.Sorted(maps.Keys(failed)) {
		t.Errorf("seed %d failed; run it again with: go test ./test/sim -count=1 -run TestSimulation -v -args -seed=%d\n%s", s, s, failed[s])
	}
	for _, lie := range evil.Lies() {
		if *seeds >= 100 && total[sim.LiesTold+string(lie)] == 0 {
			t.Errorf("nobody told this lie: %s", lie)
		}
	}
	fmt.Println("injected:", show(total))
	fmt.Printf("%d passed, %d failed\n", passed, len(failed))
}

// spawn runs one seed in a process of its own.
func spawn(ctx context.Context, seed uint64) (out string, ok bool) {
	if ctx.Err() != nil {
		return "there was no time left for it: give the test a longer -timeout", false
	}
	ctx, cancel := context.WithTimeout(ctx, seedTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestSimulation$", "-test.v", fmt.Sprint("-seed=", seed))
	// One at a time is more alike from run to run, and no slower: seeds run side by side.
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // so that it says where it hangs
	cmd.WaitDelay = 10 * time.Second
	b, err := cmd.CombinedOutput()
	if err != nil && len(b) > 20_000 {
		b = append(b[:10_000:10_000], b[len(b)-10_000:]...)
	}
	return string(bytes.TrimSpace(b)), err == nil
}

// injectedLine starts the line in which a run says what was injected.
const injectedLine = "injected: "

func add(total map[string]int, out string) {
	for line := range strings.Lines(out) {
		_, rest, ok := strings.Cut(line, injectedLine)
		if !ok {
			continue
		}
		for _, part := range strings.Split(strings.TrimSpace(rest), ", ") {
			var n int
			if count, kind, ok := strings.Cut(part, " "); ok {
				if _, err := fmt.Sscan(count, &n); err == nil {
					total[kind] += n
				}
			}
		}
	}
}

func show(counts map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprint(counts[k], " ", k))
	}
	return strings.Join(parts, ", ")
}

// one runs one seed in this process.
func one(t *testing.T, seed uint64) {
	cryptotest.SetGlobalRandom(t, seed)
	c := sim.Config{Seed: seed, Identities: identities(t, seed)}
	if os.Getenv("DEBUG") != "" {
		c.Loud = os.Getenv("DEBUG") == "2"
		c.Log = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	}
	begun := time.Now()
	bubble.Test(t, func(t *testing.T) {
		r := sim.Run(c)
		for _, f := range r.Failures {
			t.Error(f)
		}
		t.Logf("seed %d: %d nodes, %d of them lie; %d writes, %d ops, %d blobs, %d replicas compared, %s of their time",
			seed, r.Nodes, r.Liars, r.Writes, r.Ops, r.Blobs, r.Checked, cmp.Or(r.Virtual.Round(time.Second), 0))
		t.Log(injectedLine + show(r.Injected))
	})
	t.Log("took ", time.Since(begun).Round(time.Millisecond))
}

func identities(t *testing.T, seed uint64) (all []*keys.Identity) {
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	for i := range sim.MaxNodes {
		id, err := keys.Create(t.TempDir(), keys.Options{DeviceName: fmt.Sprint("n", i), Now: time.Now(), Rand: source})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, id)
	}
	return all
}
