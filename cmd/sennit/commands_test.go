package main_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	main "github.com/sennit/sennit/cmd/sennit"
)

var update = flag.Bool("update", false, "write the documents anew that are made from the program")

// intro is what the page says of all commands together.
const intro = `# Commands

This page is made from the program's own help by ` + "`go test ./cmd/sennit -run Documentation -update`" + `.

A path without a leading slash is in your own space: ` + "`notes/a` is `/me/notes/a`" + `. ` + "`/@bob/notes/a`" + ` is in the space of
somebody whom this node calls bob, and ` + "`/SPACE/notes/a`" + ` in the space with that id.

The result goes to standard output; hints, warnings and progress go to standard error. With ` + "`--json`" + ` both are JSON:
[output.md](output.md) tells what each command prints then, and what may change. No command asks questions.

`

// page is docs/commands.md.
func page(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(intro)
	b.WriteString("| exit code | meaning |\n|---|---|\n")
	for _, e := range main.Exits {
		fmt.Fprintf(&b, "| %d | %s |\n", e.Code, e.Meaning)
	}
	fmt.Fprintf(&b, "\n%s\n\nThese flags go with every command:\n\n", main.OwnExits)
	flags(&b, root.PersistentFlags())
	for _, c := range leaves(root) {
		fmt.Fprintf(&b, "\n## %s\n\n", strings.TrimSpace(strings.TrimSuffix(c.UseLine(), "[flags]")))
		fmt.Fprintf(&b, "%s\n", main.About(c))
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```sh\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
		}
		if own := c.NonInheritedFlags(); own.HasAvailableFlags() {
			b.WriteString("\n")
			flags(&b, own)
		}
	}
	return b.String()
}

func flags(b *strings.Builder, set *pflag.FlagSet) {
	b.WriteString("| flag | |\n|---|---|\n")
	set.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		name, value, usage := main.Option(f)
		if value != "" {
			name += " " + value
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", name, strings.ReplaceAll(usage, "|", `\|`))
	})
}

// leaves is the commands that do something, in their order.
func leaves(c *cobra.Command) (all []*cobra.Command) {
	if !c.HasAvailableSubCommands() {
		return []*cobra.Command{c}
	}
	for _, below := range c.Commands() {
		if below.IsAvailableCommand() && below.Name() != "help" {
			all = append(all, leaves(below)...)
		}
	}
	return all
}

func TestTheDocumentationIsThatOfTheProgram(t *testing.T) {
	matches(t, filepath.Join("..", "..", "docs", "commands.md"), page(main.Root()))
}

// matches fails the test if a file that is made from the program is not as it
// would be made now; with -update it makes it.
func matches(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is out of date; run: go test ./cmd/sennit -run Documentation -update", path)
	}
}

// TestEveryCommandThatIsShownIsRunByAScript: an example that doesn't work is
// worse than none.
func TestEveryCommandThatIsShownIsRunByAScript(t *testing.T) {
	run := scripted(t)
	for _, c := range leaves(main.Root()) {
		if c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if !ran(run, strings.TrimSpace(line)) {
				t.Errorf("no script runs: %s", strings.TrimSpace(line))
			}
		}
	}
	// What documents show stands for what scripts have: a link that somebody
	// got, and the door of the node that they started.
	stands := strings.NewReplacer("join LINK", "join $LINK", "http://127.0.0.1:7700/", "$a_http/", `"Authorization: Bearer $TOKEN" --data`, "'Authorization: Bearer '$TOKEN --data",
		`"Authorization: Bearer $TOKEN" 'http://127.0.0.1:7700/me/polls/pizza?add=1'`, "'Authorization: Bearer '$TOKEN $a_http/me/polls/pizza?add=1")
	shown := 0
	for name, lines := range documents(t) {
		for _, line := range lines {
			shown++
			if !ran(run, stands.Replace(line)) {
				t.Errorf("%s: no script runs: %s", name, line)
			}
		}
	}
	for line := range strings.Lines(main.Root().Long) {
		if _, command, ok := strings.Cut(line, ":   "); ok {
			shown++
			if !ran(run, strings.TrimSpace(command)) {
				t.Errorf("the help of sennit: no script runs: %s", command)
			}
		}
	}
	if shown < 10 {
		t.Errorf("only %d commands were found in documents", shown)
	}
}

// scripted is the commands that scripts run and that must succeed.
func scripted(t *testing.T) (run []string) {
	t.Helper()
	scripts, err := filepath.Glob(filepath.Join("testdata", "script", "*.txt"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range scripts {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(string(b), "\n-- ")
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if command, ok := strings.CutPrefix(line, "exec "); ok {
				run = append(run, command)
			}
			if rest, ok := strings.CutPrefix(line, "until '"); ok {
				_, command, _ := strings.Cut(rest, "' ")
				run = append(run, command)
			}
		}
	}
	return run
}

// documents is the commands of this program, and of curl, that stand in blocks
// of code, by document.
func documents(t *testing.T) map[string][]string {
	t.Helper()
	root := filepath.Join("..", "..")
	names := []string{"README.md", "ARCHITECTURE.md"}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			var name string
			if name, err = filepath.Rel(root, path); err == nil {
				names = append(names, name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		code := false
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSpace(line)
			switch command, _, _ := strings.Cut(line, "  #"); {
			case strings.HasPrefix(line, "```"):
				code = !code
			case code && (strings.HasPrefix(line, "sennit ") || strings.HasPrefix(line, "curl ") || strings.Contains(line, "| sennit ")):
				all[name] = append(all[name], strings.TrimSpace(command))
			}
		}
	}
	return all
}

// ran reports whether an example is among the commands: alone, or within those
// of a shell.
func ran(run []string, example string) bool {
	for _, command := range run {
		if command == example || strings.HasPrefix(command, example+" &") {
			return true
		}
		shell, ok := strings.CutPrefix(command, "sh -c '")
		shell = strings.ReplaceAll(shell, "''", "'") // a quote within quotes
		for _, end := range []string{"'", " & ", " >"} {
			if ok && strings.HasPrefix(shell, example+end) {
				return true
			}
		}
	}
	return false
}
