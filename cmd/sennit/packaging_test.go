package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	main "github.com/sennit/sennit/cmd/sennit"
)

// units is the service units, by what systemd-analyze needs to know of them.
var units = map[string]string{"--system": "sennit.service", "--user": "user/sennit.service"}

var starts = regexp.MustCompile(`(?m)^ExecStart=/usr/bin/sennit (.*)$`)

func TestServiceUnitsRunWhatThereIs(t *testing.T) {
	for _, name := range units {
		b, err := os.ReadFile(filepath.Join("..", "..", "packaging", name))
		if err != nil {
			t.Fatal(err)
		}
		m := starts.FindSubmatch(b)
		if m == nil {
			t.Fatalf("%s doesn't start sennit", name)
		}
		cmd, rest, err := main.Root().Find(strings.Fields(string(m[1])))
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err != nil || cmd.Name() != "up" {
			t.Errorf("%s runs %s: %v", name, m[1], err)
		}
	}
}

func TestServiceUnitsMakeSenseToSystemd(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("SKIPPED, SO NOT TESTED: what systemd says of the service units, because there is no systemd-analyze here")
	}
	program, err := os.Executable() // it looks whether what is started is there
	if err != nil {
		t.Fatal(err)
	}
	for who, name := range units {
		b, err := os.ReadFile(filepath.Join("..", "..", "packaging", name))
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		path := filepath.Join(dir, "sennit.service")
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(b), "/usr/bin/sennit", program)), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("systemd-analyze", who, "--man=no", "verify", path)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
