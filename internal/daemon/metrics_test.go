package daemon_test

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryFigureIsDocumented compares what /metrics tells with the table in
// docs/operations.md.
func TestEveryFigureIsDocumented(t *testing.T) {
	n := node(t)
	if err := n.set("a", "1"); err != nil {
		t.Fatal(err)
	}
	if err := n.ask("GET", "nonsense", nil, nil); err == nil {
		t.Error("there is nonsense")
	}
	body, err := n.client().Stream(t.Context(), "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	told, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	figures := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (sennit_\w+) `).FindAllStringSubmatch(string(told), -1) {
		figures[m[1]] = true
		if !strings.Contains(string(doc), "| `"+m[1]+"` |") {
			t.Errorf("%s is not documented", m[1])
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(sennit_\\w+)` \\|").FindAllStringSubmatch(string(doc), -1) {
		if !figures[m[1]] {
			t.Errorf("%s is documented, and isn't told", m[1])
		}
	}
	if strings.Contains(string(told), n.ready.Space) || strings.Contains(string(told), n.ready.Device) {
		t.Error("a key is told")
	}
}
