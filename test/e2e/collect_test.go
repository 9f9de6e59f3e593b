//go:build linux

package e2e_test

import (
	"context"
	"io/fs"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sennit/sennit"
)

// TestOverwritingTakesNoRoom writes one value over and over, a million times in
// the long series, each with a commit of its own. After a collection nearly
// nothing is left of that: on the disk, and for a follower who comes then.
func TestOverwritingTakesNoRoom(t *testing.T) {
	puts, room := int64(20_000), int64(500e3)
	if *long {
		puts, room = 1_000_000, 20e6
	}
	a, b := start(t), start(t)
	c := a.client()
	begun := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for n := next.Add(1); n <= puts && !t.Failed(); n = next.Add(1) {
				if _, err := c.Write(context.Background(), "me", []sennit.Change{put("key", "value "+strconv.FormatInt(n, 10))}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wrote := time.Since(begun)
	shown := a.do("get", "key")
	a.do("id", "words") // nothing is left for the doctor to remark
	before := size(t, a.dir)
	begun = time.Now()
	a.do("collect")
	collected, after := time.Since(begun), size(t, a.dir)
	if after > room {
		t.Errorf("%d puts of one value take %d bytes after a collection, at most %d are wanted; before it they took %d", puts, after, room, before)
	}
	if out := a.do("doctor", "--verify"); out != "all is well" {
		t.Errorf("doctor --verify: %s", out)
	}
	if again := a.do("get", "key"); again != shown {
		t.Errorf("the value is %q, it was %q", again, shown)
	}
	sent := len(a.do("ops")) // what a follower gets is as much
	if sent > 20_000 {
		t.Errorf("a new follower gets %d bytes of ops", sent)
	}
	befriend(t, a, b)
	eventually(t, "the value is at the follower", func() bool {
		out, _, _ := b.try("get", "/@a/key")
		return out == shown || out == shown+"\n"
	})
	same(t, a, b)
	t.Logf("%d puts in %v; collected in %v: from %.1f to %.1f MB; a new follower gets %d bytes of ops", puts,
		wrote.Round(time.Millisecond), collected.Round(time.Millisecond), float64(before)/1e6, float64(after)/1e6, sent)
}

// size is the bytes of all files in a directory.
func size(t *testing.T, dir string) (sum int64) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return sum
}
