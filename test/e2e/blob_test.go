package e2e_test

import (
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sennit/sennit/internal/daemon"
)

// Goals of a value of 1 GB: MB/s in, across and out, and MB of memory.
const (
	goalSpeed = 200
	goalPeak  = 150
)

// TestALargeValueTravels puts a value of 8 MB on one node, of 1 GB in the long
// run. It arrives at a follower by itself, which is killed meanwhile, and can be
// read there when the first node is down.
func TestALargeValueTravels(t *testing.T) {
	size := int64(8e6)
	if *long {
		size = 1e9
	}
	a, b := start(t), start(t)
	befriend(t, a, b)
	path := filepath.Join(t.TempDir(), "film")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(rand.NewChaCha8([32]byte{1}), size)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	// speed tells how fast something was, and has it be fast enough.
	speed := func(what string, bytes int64, begun time.Time) {
		took := time.Since(begun)
		got := float64(bytes) / 1e6 / took.Seconds()
		t.Logf("%s: %d MB in %s, %.0f MB/s", what, bytes/1e6, took.Round(time.Millisecond), got)
		if *long && got < goalSpeed {
			t.Errorf("%s: %.0f MB/s; the goal is %d", what, got, goalSpeed)
		}
	}
	memory := func(n *node) {
		got := peak(t, n) / 1e6
		t.Logf("most memory: %d MB", got)
		if *long && got >= goalPeak {
			t.Errorf("%d MB of memory; the goal is less than %d", got, goalPeak)
		}
	}
	begun := time.Now()
	a.do("set", "films/sea", "@"+path, "--type", "video/mp4")
	speed("in", size, begun)
	c := b.client()
	blobs := func() daemon.Blobs {
		var s daemon.Status
		if err := c.Do(t.Context(), "GET", "/_node/status", nil, &s); err != nil {
			t.Fatal(err)
		}
		return s.Blobs
	}
	eventually(t, "some of it is there", func() bool { return blobs().Held > 0 })
	b.kill()
	b.up()
	begun = time.Now()
	left := max(size-int64(blobs().Held), 0)
	eventually(t, "all of it is there", func() bool {
		s := blobs()
		return s.Held >= uint64(size) && s.Missing == 0
	})
	speed("across", left, begun)
	memory(a)
	a.stop()
	program, err := program()
	if err != nil {
		t.Fatal(err)
	}
	got := sha256.New()
	get := exec.Command(program, "--data", b.dir, "get", "/@a/films/sea")
	get.Stdout = got
	begun = time.Now()
	if err := get.Run(); err != nil {
		t.Fatal(err)
	}
	speed("out", size, begun)
	memory(b)
	if string(got.Sum(nil)) != string(sum.Sum(nil)) {
		t.Error("other bytes arrived")
	}
}
