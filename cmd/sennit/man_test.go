package main_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/sennit/sennit"
	main "github.com/sennit/sennit/cmd/sennit"
)

// pages writes the man pages, and tells where.
func pages(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "man1")
	var errs bytes.Buffer
	if code := main.Main(t.Context(), []string{"man", "--dir", dir}, strings.NewReader(""), new(bytes.Buffer), &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	return dir
}

func TestEveryCommandHasAManPageWithItsFlags(t *testing.T) {
	dir := pages(t)
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	commands := main.Commands(main.Root())
	overview := read("sennit.1")
	for _, c := range commands {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-")
		page := read(name + ".1")
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"} {
			if !strings.Contains(page, "\n.SH \""+section+"\"\n") {
				t.Errorf("%s has no section %s", name, section)
			}
		}
		has := func(f *pflag.Flag) {
			if !strings.Contains(page, `\-\-`+strings.ReplaceAll(f.Name, "-", `\-`)+`\fR`) {
				t.Errorf("%s doesn't have --%s", name, f.Name)
			}
		}
		c.NonInheritedFlags().VisitAll(has)
		c.InheritedFlags().VisitAll(has)
		if !strings.Contains(overview, strings.ReplaceAll(name, "-", `\-`)+`\fR(1)`) && name != "sennit" {
			t.Errorf("sennit(1) doesn't name %s(1)", name)
		}
	}
	all, err := os.ReadDir(dir)
	if err != nil || len(all) != len(commands) {
		t.Errorf("%d pages of %d commands: %v", len(all), len(commands), err)
	}
}

func TestManPagesAreTheSameEachTime(t *testing.T) {
	a, b := pages(t), pages(t)
	all, err := os.ReadDir(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		one, err := os.ReadFile(filepath.Join(a, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		other, err := os.ReadFile(filepath.Join(b, e.Name()))
		if err != nil || !bytes.Equal(one, other) {
			t.Errorf("%s differs: %v", e.Name(), err)
		}
	}
}

func TestManPagesRenderWithoutWarnings(t *testing.T) {
	var render []string
	for _, tool := range [][]string{{"mandoc", "-T", "lint", "-W", "warning"}, {"groff", "-man", "-T", "utf8", "-ww", "-z"}, {"man", "--warnings", "-l"}} {
		if _, err := exec.LookPath(tool[0]); err == nil {
			render = tool
			break
		}
	}
	if render == nil {
		t.Skip("SKIPPED, SO NOT TESTED: how man pages render, because there is no mandoc, groff or man here")
	}
	all, err := filepath.Glob(filepath.Join(pages(t), "*.1"))
	if err != nil || len(all) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	for _, path := range all {
		cmd := exec.Command(render[0], append(slices.Clone(render[1:]), path)...)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = nil, &said
		if render[0] == "mandoc" {
			cmd.Stdout = &said // it complains there
		}
		err := cmd.Run()
		var wrong []string
		for line := range strings.Lines(said.String()) {
			if !strings.Contains(line, "missing date") { // a program that was built by a test has none
				wrong = append(wrong, line)
			}
		}
		if render[0] != "mandoc" && err != nil || len(wrong) > 0 { // mandoc fails for the date too
			t.Errorf("%s: %v\n%s", filepath.Base(path), err, wrong)
		}
	}
}

func TestExitCodesAreDescribed(t *testing.T) {
	described := map[int]bool{}
	for _, e := range main.Exits {
		described[e.Code] = true
	}
	for _, c := range []sennit.Code{
		"", sennit.Internal, sennit.BadInput, sennit.NotFound, sennit.Denied, sennit.Expired, sennit.Unreachable, sennit.Conflict, sennit.Timeout,
		sennit.Partly, sennit.OverQuota, sennit.TooLarge, sennit.ReadOnly, sennit.Gone, sennit.Unsupported, sennit.Interrupted,
	} {
		if !described[c.Exit()] {
			t.Errorf("nothing says what exit code %d is", c.Exit())
		}
	}
}
