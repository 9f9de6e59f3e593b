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
	a.do("set", "films/sea", "@"+path, "--type", "video/mp4")
	status := func() (s daemon.Status) {
		b.json(&s, "status")
		return s
	}
	eventually(t, "some of it is there", func() bool { return status().Blobs.Held > 0 })
	b.kill()
	b.up()
	begun := time.Now()
	eventually(t, "all of it is there", func() bool {
		s := status()
		return s.Blobs.Held >= uint64(size) && s.Blobs.Missing == 0
	})
	t.Logf("%d MB came within %s", size/1e6, time.Since(begun).Round(time.Millisecond))
	a.stop()
	program, err := program()
	if err != nil {
		t.Fatal(err)
	}
	got := sha256.New()
	get := exec.Command(program, "--data", b.dir, "get", "/@a/films/sea")
	get.Stdout = got
	if err := get.Run(); err != nil {
		t.Fatal(err)
	}
	if string(got.Sum(nil)) != string(sum.Sum(nil)) {
		t.Error("other bytes arrived")
	}
}
