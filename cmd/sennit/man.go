package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/daemon"
)

// This file makes man pages of what the commands say of themselves, in the
// macros of man(7). Cobra can do that too, but by way of Markdown and with two
// more modules, and it knows no exit codes.

// exits is what the exit codes mean ([sennit.Code.Exit]).
var exits = []struct {
	Code    int
	Meaning string
}{
	{0, "done"},
	{1, "failure"},
	{2, "wrong use, bad input"},
	{3, "not found, or not for you to know of"},
	{4, "denied; an invitation that was used, expired or was revoked"},
	{5, "node not reachable"},
	{6, "conflict"},
	{7, "timeout"},
	{8, "partly done"},
	{9, "over quota"},
	{130, "interrupted"},
}

// ownExits says which commands the table is not for.
const ownExits = "`sennit status --check` and `sennit doctor` have exit codes of their own, which their help tells."

// page is what man --json prints, pages what it prints with --dir.
type page struct {
	Name string `json:"name"` // file name, such as sennit-get.1
	Page string `json:"page"` // in the macros of man(7)
}

type pages struct {
	Pages []string `json:"pages"` // file names in the directory
}

func (a *app) man() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "man [COMMAND]...", Short: "print a man page, or write them all",
		Long: `Prints the page of a command, or that of sennit, for man -l and its kin. With --dir
it writes sennit.1 and one page for each command, such as sennit-get.1, into a
directory, and prints their names. The same program writes the same pages.`,
		Example: "  sennit man\n  sennit man invite new\n  sennit man get | man -l -\n  sennit man --dir man1",
		RunE: func(cmd *cobra.Command, args []string) error {
			if dir != "" {
				if len(args) > 0 {
					return usageError{fmt.Errorf("--dir writes the pages of all commands; leave %q out", args[0])}
				}
				return a.writeMan(cmd.Root(), dir)
			}
			of, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 || !documented(of) {
				return sennit.Hint(sennit.Errorf(sennit.NotFound, "there is no command %q", strings.Join(args, " ")), "see: sennit --help")
			}
			if a.json {
				return a.print(page{manName(of), manPage(of)})
			}
			_, err = a.out.WriteString(manPage(of))
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "write all pages into this `DIR`")
	return cmd
}

func (a *app) writeMan(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return sennit.Errorf(sennit.BadInput, "make the directory: %w", err)
	}
	names := []string{}
	for _, c := range commands(root) {
		name := manName(c)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(manPage(c)), 0o644); err != nil {
			return sennit.Errorf(sennit.BadInput, "write a page: %w", err)
		}
		names = append(names, name)
	}
	if a.json {
		return a.print(pages{names})
	}
	for _, name := range names {
		a.line("%s", name)
	}
	return nil
}

// documented reports whether a command is one that people are told of.
func documented(c *cobra.Command) bool {
	return !c.HasParent() || c.IsAvailableCommand() && c.Name() != "help"
}

// commands is a command and those below it that people are told of, in their order.
func commands(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, below := range c.Commands() {
		if documented(below) {
			all = append(all, commands(below)...)
		}
	}
	return all
}

// manName is the file name of a command's page.
func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1" }

// option describes a flag: how it is written, what stands for its value ("" if
// it takes none), and what it does.
func option(f *pflag.Flag) (names, value, usage string) {
	names = "--" + f.Name
	if f.Shorthand != "" {
		names = "-" + f.Shorthand + ", " + names
	}
	value, usage = pflag.UnquoteUsage(f)
	if !slices.Contains([]string{"", "0", "0s", "false", "[]"}, f.DefValue) {
		usage += " (default " + f.DefValue + ")"
	}
	return names, value, usage
}

// manPage is the page of a command.
func manPage(c *cobra.Command) string {
	name := strings.TrimSuffix(manName(c), ".1")
	p := new(roff)
	p.macro("TH", strings.ToUpper(name), "1", built(), "sennit "+daemon.Version(), "Sennit")
	p.WriteString(".ad l\n") // lines with a long word can't be stretched
	p.macro("SH", "NAME")
	p.line(escape(name) + ` \- ` + escape(c.Short))

	p.macro("SH", "SYNOPSIS")
	use := strings.TrimSuffix(strings.TrimPrefix(c.UseLine(), c.CommandPath()), " [flags]")
	if c.HasAvailableSubCommands() {
		use = " COMMAND"
	}
	p.line(bold(c.CommandPath()) + " [" + italic("OPTION") + "]..." + slots(use))

	p.macro("SH", "DESCRIPTION")
	p.text(about(c))
	if c.HasAvailableSubCommands() {
		p.macro("SH", "COMMANDS")
		for _, below := range commands(c)[1:] {
			if !below.HasAvailableSubCommands() {
				p.item(bold(below.CommandPath()), below.Short)
			}
		}
	}

	p.macro("SH", "OPTIONS")
	c.InitDefaultHelpFlag()
	var flags []*pflag.Flag
	add := func(f *pflag.Flag) { flags = append(flags, f) }
	c.NonInheritedFlags().VisitAll(add)
	c.InheritedFlags().VisitAll(add)
	for _, f := range flags {
		names, value, usage := option(f)
		if names = bold(names); value != "" {
			names += " " + italic(value)
		}
		p.item(names, usage)
	}
	if c.Example != "" {
		p.macro("SH", "EXAMPLES")
		p.verbatim(strings.Split(c.Example, "\n"))
	}

	p.macro("SH", "EXIT STATUS")
	for _, e := range exits {
		p.item(bold(strconv.Itoa(e.Code)), e.Meaning)
	}
	p.text(ownExits)

	p.macro("SH", "ENVIRONMENT")
	for _, f := range flags {
		if name := variable.FindString(f.Usage); name != "" {
			p.item(bold(name), "goes for --"+f.Name+" where that isn't said")
		}
	}
	p.item(bold("XDG_DATA_HOME"), "holds the data directory where nothing else is said, if this is an absolute path; else $HOME/.local/share does")

	p.macro("SH", "FILES")
	p.item(italic("$XDG_DATA_HOME/sennit"), "the data directory")
	if !c.HasParent() || c.Name() == "up" {
		for _, f := range [][2]string{
			{"keys/", "the identity; who has a copy of it can write in its name"},
			{"store/", "what was written, and what else the node knows"},
			{"blobs/", "values of more than 64 KiB"},
			{"config.toml", "settings: see sennit config"},
			{"ports", "the port at which peers know this node"},
			{"lock", "which process runs on the directory"},
			{"sock", "the unix socket of the node that runs"},
		} {
			p.item(italic("$XDG_DATA_HOME/sennit/"+f[0]), f[1])
		}
	}
	if also := related(c); len(also) > 0 {
		p.macro("SH", "SEE ALSO")
		p.line(strings.Join(also, ", "))
	}
	return p.String()
}

// about is what a command says of itself.
func about(c *cobra.Command) string {
	if c.Long != "" {
		return c.Long
	}
	return strings.ToUpper(c.Short[:1]) + c.Short[1:] + "."
}

// mention finds what may be a command within a text.
var mention = regexp.MustCompile(`\bsennit ([a-z]+)(?:\s([a-z]+))?`)

// related is the pages to see as well, in order: that of sennit, those beside
// and below the command, and those that its text names.
func related(c *cobra.Command) []string {
	also := []*cobra.Command{}
	if c.HasParent() {
		also = append(also, c.Root())
		if c.Parent().HasParent() {
			also = append(also, c.Parent())
			also = append(also, c.Parent().Commands()...)
		}
	}
	also = append(also, commands(c)[1:]...)
	for _, m := range mention.FindAllStringSubmatch(c.Long, -1) {
		if other, _, err := c.Root().Find(m[1:]); err == nil {
			also = append(also, other)
		} else if other, _, err := c.Root().Find(m[1:2]); err == nil {
			also = append(also, other)
		}
	}
	var names []string
	for _, other := range also {
		name := bold(strings.TrimSuffix(manName(other), ".1")) + "(1)"
		if other != c && documented(other) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// built is the day of the program's commit, "" if that isn't known: never the
// present one, so that the same source makes the same page.
func built() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
			return t.UTC().Format(time.DateOnly)
		}
	}
	return ""
}

// roff is a page as it is written.
type roff struct {
	strings.Builder
	heading bool // was written last
}

// line writes a line of text that is escaped already.
func (p *roff) line(text string) {
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text // it is no macro
	}
	p.heading = false
	p.WriteString(text + "\n")
}

func (p *roff) macro(name string, args ...string) {
	p.heading = name == "SH"
	p.WriteString("." + name)
	for _, arg := range args {
		p.WriteString(` "` + escape(arg) + `"`)
	}
	p.WriteString("\n")
}

// item writes a term, which is escaped already, and what is to be said of it.
func (p *roff) item(term, text string) {
	p.macro("TP")
	p.line(term)
	p.line(marked(text))
}

// text writes paragraphs. Lines with columns stay as they are.
func (p *roff) text(text string) {
	for _, paragraph := range strings.Split(text, "\n\n") {
		lines := strings.Split(paragraph, "\n")
		if strings.Contains(paragraph, "   ") {
			p.verbatim(lines)
			continue
		}
		p.paragraph()
		for _, l := range lines {
			p.line(marked(l))
		}
	}
}

// paragraph begins one. The first below a heading needs no macro.
func (p *roff) paragraph() {
	if !p.heading {
		p.macro("PP")
	}
}

func (p *roff) verbatim(lines []string) {
	p.paragraph()
	p.macro("nf")
	for _, l := range lines {
		p.line(escape(l))
	}
	p.macro("fi")
}

var (
	variable = regexp.MustCompile(`SENNIT_[A-Z]+`)
	slot     = regexp.MustCompile(`[A-Z]+`)
	literal  = regexp.MustCompile("`[^`]+`|--[a-z][a-z-]*")
)

// marked is text with what is to be typed as it stands in bold.
func marked(text string) string {
	return replaceAll(literal, text, func(s string) string { return bold(strings.Trim(s, "`")) })
}

// slots is a usage line with what stands for something else in italics.
func slots(text string) string { return replaceAll(slot, text, italic) }

// replaceAll escapes a text but for what matches, which it gives to f.
func replaceAll(match *regexp.Regexp, text string, f func(string) string) string {
	var b strings.Builder
	end := 0
	for _, at := range match.FindAllStringIndex(text, -1) {
		b.WriteString(escape(text[end:at[0]]) + f(text[at[0]:at[1]]))
		end = at[1]
	}
	return b.String() + escape(text[end:])
}

func bold(text string) string   { return `\fB` + escape(text) + `\fR` }
func italic(text string) string { return `\fI` + escape(text) + `\fR` }

// escaper keeps what is typed what it is: roff would make typographic
// characters of some.
var escaper = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`)

func escape(text string) string {
	var b strings.Builder
	for _, r := range escaper.Replace(text) {
		if r > '~' {
			fmt.Fprintf(&b, `\[u%04X]`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
