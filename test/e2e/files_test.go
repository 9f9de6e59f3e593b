package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sourceTree is a directory tree to carry: that of Go's own source in the long
// run, one that is made up otherwise. It has files of no bytes and large ones.
func sourceTree(t *testing.T) string {
	t.Helper()
	if *long {
		root, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(strings.TrimSpace(string(root)), "src")
	}
	dir, random := t.TempDir(), rand.New(rand.NewChaCha8([32]byte{7}))
	for i := range 500 {
		p := filepath.Join(dir, fmt.Sprintf("d%d/e%d/file %d.txt", random.IntN(9), random.IntN(9), i))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, random.IntN(4)*random.IntN(2000))
		if i%100 == 0 {
			b = make([]byte, 300_000+i)
		}
		for j := range b {
			b[j] = byte(random.Uint32())
		}
		if err := os.WriteFile(p, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestASourceTreeTravels imports a tree at one node and exports it at another
// one, which joins meanwhile. Each node is killed three times, with the command
// that talks to it; commands go on when they are run again. In the end there
// is no difference.
func TestASourceTreeTravels(t *testing.T) {
	from, to := sourceTree(t), filepath.Join(t.TempDir(), "out")
	a, b := start(t), start(t)
	befriend(t, a, b)
	begun := time.Now()
	killed := func(n *node, pause time.Duration, args ...string) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			n.try(args...) // whatever comes of it
		}()
		time.Sleep(pause)
		n.kill()
		n.up()
		<-done
	}
	for i := range 3 {
		killed(a, time.Duration(20+100*i)*time.Millisecond, "import", from, "src")
	}
	a.do("import", from, "src")
	imported := time.Since(begun)
	if _, _, exit := b.try("ls", "/@a/src"); exit != 0 && exit != 3 {
		t.Errorf("what is here already can't be listed: exit %d", exit)
	}
	for i := range 3 {
		killed(b, time.Duration(50+200*i)*time.Millisecond, "export", "/@a/src", to)
	}
	eventually(t, "both hold the same", func() bool {
		return a.do("digest", "src") == b.do("digest", "/@a/src")
	})
	b.do("export", "/@a/src", to)
	if out, err := exec.Command("diff", "-r", from, to).CombinedOutput(); err != nil {
		t.Errorf("the trees differ: %v\n%.2000s", err, out)
	}
	t.Logf("in after %s, out after %s", imported.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
}
