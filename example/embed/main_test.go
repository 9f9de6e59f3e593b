package main_test

import (
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	main "github.com/sennit/sennit/example/embed"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hello": main.Program})
}

func TestTheNodeInsideTellsWhatWasSet(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // the second time on what the first one left
		out, err := exec.Command("hello", "-data", dir).Output()
		if err != nil || string(out) != "notes/hello hello, world\n" {
			t.Fatalf("it printed %q, %v", out, err)
		}
	}
}
