package httpdoor_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestBraidClient runs the Braid client that is in use, from npm, against the
// door. The client, not the drafts, says what works.
func TestBraidClient(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the Braid client is fetched by npm, which is not for short runs")
	}
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED, SO NOT TESTED: Braid subscriptions with the real client, because there is no %s here", tool)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	run := func(name string, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", ".", "braid-http@1.3.80"); err != nil {
		t.Skipf("SKIPPED, SO NOT TESTED: Braid subscriptions with the real client, because npm can't fetch it: %v\n%s", err, out)
	}
	script, err := os.ReadFile(filepath.Join("testdata", "braid.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "braid.mjs"), script, 0o644); err != nil {
		t.Fatal(err)
	}
	h := open(t, nil)
	out, err := run("node", "braid.mjs", "http://"+h.addr, tok)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Log(out)
	if got := h.text(t, "doc"); got != "again" {
		t.Errorf("the client left %q", got)
	}
}
