package main_test

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	main "github.com/sennit/sennit/cmd/sennit"
)

var long = flag.Bool("long", false, "build the package as well")

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

// deb makes a package, not compressed, and tells where it is.
func deb(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(filepath.Join("..", "..", "scripts", "deb"))
	cmd.Env = append(os.Environ(), "DIR="+t.TempDir(), "COMPRESS=none", "VERSION=1.2.3", "SOURCE_DATE_EPOCH=1700000000")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &errs)
	}
	return strings.TrimSpace(string(out))
}

func TestThePackageHasWhatItShould(t *testing.T) {
	if !*long {
		t.Skip("builds the program twice, from nothing where nothing is cached: only with -args -long")
	}
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("SKIPPED, SO NOT TESTED: the package, because there is no dpkg-deb here")
	}
	path := deb(t)
	if base := filepath.Base(path); !strings.HasPrefix(base, "sennit_1.2.3_") {
		t.Errorf("it is called %s", base)
	}
	out, err := exec.Command("dpkg-deb", "--contents", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line) // mode, owner, size, day, time, name
		if len(f) != 6 || f[1] != "root/root" || f[3] != "2023-11-14" {
			t.Errorf("it has %s", line)
			continue
		}
		modes[strings.TrimPrefix(f[5], ".")] = f[0]
	}
	want := []string{
		"/usr/lib/systemd/system/sennit.service", "/usr/lib/systemd/user/sennit.service", "/usr/share/bash-completion/completions/sennit",
		"/usr/share/zsh/vendor-completions/_sennit", "/usr/share/fish/vendor_completions.d/sennit.fish", "/usr/share/doc/sennit/README.md",
		"/usr/share/doc/sennit/copyright", "/usr/share/doc/sennit/licenses.txt.gz", "/usr/share/doc/sennit/docs/commands.md",
	}
	for _, c := range main.Commands(main.Root()) {
		want = append(want, "/usr/share/man/man1/"+strings.ReplaceAll(c.CommandPath(), " ", "-")+".1.gz")
	}
	for _, name := range want {
		if modes[name] != "-rw-r--r--" {
			t.Errorf("%s has the mode %q", name, modes[name])
		}
	}
	if modes["/usr/bin/sennit"] != "-rwxr-xr-x" {
		t.Errorf("the program has the mode %q", modes["/usr/bin/sennit"])
	}
	one, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(deb(t))
	if err != nil || !bytes.Equal(one, other) {
		t.Errorf("a second one differs: %v", err)
	}
}
