package main_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/sennit/sennit"
	main "github.com/sennit/sennit/cmd/sennit"
)

// This file makes docs/output.md of the types that the program prints with
// --json, and holds them to their schema.

func commandName(c *cobra.Command) string { return strings.TrimPrefix(c.CommandPath(), "sennit ") }

func TestEveryCommandSaysWhatItPrints(t *testing.T) {
	var names []string
	for _, c := range leaves(main.Root()) {
		name := commandName(c)
		names = append(names, name)
		if _, ok := main.Outputs[name]; !ok {
			t.Errorf("what %q prints with --json is not in Outputs", name)
		}
	}
	for name := range main.Outputs {
		if !slices.Contains(names, name) {
			t.Errorf("Outputs has %q, which is no command", name)
		}
	}
}

// snapshot is testdata/schema.json: the members of each output, and what they
// are. A type that ends in a question mark is of a member that may be left out.
type snapshot struct {
	Schema  int                          `json:"schema"`
	Outputs map[string]map[string]string `json:"outputs"`
}

func taken() snapshot {
	all := snapshot{main.Schema, map[string]map[string]string{}}
	add := func(name string, example any) {
		s := shapeOf(reflect.TypeOf(example))
		members := map[string]string{"": s.kindOf()}
		s.flat("", func(path string, m *shape) {
			members[path] = m.kindOf()
			if !m.always {
				members[path] += "?"
			}
		})
		all.Outputs[name] = members
	}
	for name, outputs := range main.Outputs {
		for _, o := range outputs {
			if o.Example != nil {
				add(key(name, &o), o.Example)
			}
		}
	}
	add("error", main.Failure)
	return all
}

// broken is what a program that reads one can't find any more in another.
func broken(old, now map[string]map[string]string) (all []string) {
	for _, name := range slices.Sorted(maps.Keys(old)) {
		for _, path := range slices.Sorted(maps.Keys(old[name])) {
			was, is := old[name][path], now[name][path]
			switch {
			case is == "" && path == "":
				all = append(all, fmt.Sprintf("%s is printed no more", name))
			case is == "" && now[name] != nil:
				all = append(all, fmt.Sprintf("%s: %s is gone", name, path))
			case is != "" && is != strings.TrimSuffix(was, "?") && is != was:
				all = append(all, fmt.Sprintf("%s: %s was %s, and is %s", name, cmp.Or(path, "the value"), was, is))
			}
		}
	}
	return all
}

// TestDocumentationOfOutputKeepsItsSchema: who reads what is printed relies on
// it until schema says that it is another.
func TestDocumentationOfOutputKeepsItsSchema(t *testing.T) {
	path := filepath.Join("testdata", "schema.json")
	now := taken()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var old snapshot
	if err := json.Unmarshal(b, &old); err != nil {
		t.Fatal(err)
	}
	if now.Schema < old.Schema {
		t.Fatalf("schema is %d, and was %d", now.Schema, old.Schema)
	}
	if lost := broken(old.Outputs, now.Outputs); len(lost) > 0 && now.Schema == old.Schema {
		t.Fatalf("what is printed with --json is not what schema %d says:\n%s\nraise schema in node.go, or take this back", old.Schema, strings.Join(lost, "\n"))
	}
	want, err := json.MarshalIndent(now, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	matches(t, path, string(want)+"\n")
}

func TestBroken(t *testing.T) {
	old := map[string]map[string]string{"du": {"": "object", "path": "string", "here": "integer?"}}
	for name, c := range map[string]struct {
		now  map[string]map[string]string
		want string
	}{
		"nothing":            {old, ""},
		"more":               {map[string]map[string]string{"du": {"": "object", "path": "string", "here": "integer?", "more": "string"}, "ls": {"": "object"}}, ""},
		"always there now":   {map[string]map[string]string{"du": {"": "object", "path": "string", "here": "integer"}}, ""},
		"not always":         {map[string]map[string]string{"du": {"": "object", "path": "string?", "here": "integer?"}}, "du: path was string, and is string?"},
		"renamed":            {map[string]map[string]string{"du": {"": "object", "addr": "string", "here": "integer?"}}, "du: path is gone"},
		"of another type":    {map[string]map[string]string{"du": {"": "object", "path": "string", "here": "number?"}}, "du: here was integer?, and is number?"},
		"many in its place":  {map[string]map[string]string{"du": {"": "array of object", "path": "string", "here": "integer?"}}, "du: the value was object, and is array of object"},
		"no such output now": {map[string]map[string]string{}, "du is printed no more"},
	} {
		if got := strings.Join(broken(old, c.now), "; "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// outputIntro is what the page says of all outputs together.
const outputIntro = `# What commands print with --json

This page is made from the types that the program prints by ` + "`go test ./cmd/sennit -run Documentation -update`" + `. What the
commands do is in [commands.md](commands.md).

The result goes to standard output as JSON in UTF-8: one value, or as many as there are, each in a line of its own. What
comes bit by bit, such as changes that are watched, is there to be read as soon as it happens. Nothing else goes there.

| type | is |
|---|---|
| string, boolean, object | what JSON calls so |
| integer | a number without a fraction, of up to 64 bits: more than the 53 that some languages keep |
| number | a number that may have a fraction |
| time | a string as in RFC 3339, in UTC, with up to nine digits behind the seconds |
| array of ... | an array, which is empty if there is nothing; it is never null |
| any | whatever JSON can say |

Ids of spaces and devices, and transport keys, have 52 letters and digits. Hashes are BLAKE3 with 256 bits, in hex. Versions
and cursors have forms of their own: pass them on as they are. An address is a path with its root, such as ` + "`/me/notes`" + `. Sizes
are in bytes, and lengths of time in seconds. A member that isn't always there is left out where it has nothing to say: where
it would be false, 0 or empty.

## Schema

` + "`sennit version --json`" + ` tells the version of all this as ` + "`schema`" + `; it is %d. Within one version

- a member that is there stays, with its type and its meaning, and one that is always there always is;
- members and commands may be added, and values of a string for which a list stands here, as may codes of errors. Pass over
  those that you don't know;
- the order of members says nothing.

Whatever else changes makes a new version.

## Errors

An error goes to standard error, in its last line.
`

// codes finds the codes of errors and what they mean.
var codes = regexp.MustCompile(`(?m)^\t\w+ +Code = "([a-z-]+)" +// \d+, \d+: (.*)$`)

// outputPage is docs/output.md.
func outputPage(t *testing.T) string {
	t.Helper()
	p := &outputWriter{t: t, parsed: map[string][]*ast.File{}}
	fmt.Fprintf(p, outputIntro, main.Schema)
	p.table(main.Failure)
	source, err := os.ReadFile(filepath.Join("..", "..", "error.go"))
	if err != nil {
		t.Fatal(err)
	}
	p.WriteString("\n| code | exit code | meaning |\n|---|---|---|\n")
	for _, m := range codes.FindAllSubmatch(source, -1) {
		fmt.Fprintf(p, "| `%s` | %d | %s |\n", m[1], sennit.Code(m[1]).Exit(), m[2])
	}
	fmt.Fprintf(p, "\n%s\n", main.OwnExits)
	var silent []string
	for _, c := range leaves(main.Root()) {
		if len(main.Outputs[commandName(c)]) == 0 {
			silent = append(silent, "`"+c.CommandPath()+"`")
		}
	}
	fmt.Fprintf(p, "\n## Nothing\n\nThese print nothing, as their exit code says all: %s.\n", strings.Join(silent, ", "))
	for _, c := range leaves(main.Root()) {
		outputs := main.Outputs[commandName(c)]
		if len(outputs) > 0 {
			fmt.Fprintf(p, "\n## %s\n", c.CommandPath())
		}
		for _, o := range outputs {
			fmt.Fprintf(p, "\n%s\n", strings.TrimSpace(p.lead(c, &o)+" "+o.Says))
			if o.Example != nil {
				p.table(o.Example)
			}
		}
	}
	return p.String()
}

// outputWriter writes the page.
type outputWriter struct {
	strings.Builder
	t      *testing.T
	parsed map[string][]*ast.File // sources of packages
}

// lead says when an output is printed, and how many of what it is.
func (p *outputWriter) lead(c *cobra.Command, o *main.Output) string {
	when := ""
	switch {
	case o.With == "/":
		when = "With a slash at the end of the path: "
	case o.Without == "/":
		when = "Without a slash at the end of the path: "
	case o.With != "":
		when = "With `" + o.With + "`: "
	case o.Without != "":
		when = "Without `" + o.Without + "`: "
	}
	if o.Example == nil {
		return strings.TrimSpace(when)
	}
	what := "an object"
	switch s := shapeOf(reflect.TypeOf(o.Example)); {
	case s.array:
		what = "an array of objects"
	case s.kind == "any":
		what = "any JSON value"
	}
	if o.Lines {
		what += " a line"
	}
	if when == "" {
		what = strings.ToUpper(what[:1]) + what[1:]
	}
	if c.Flags().Lookup("watch") != nil && !o.Lines && o.With == "" {
		what += "; with `--watch`, one a line each time that it is another"
	}
	return when + what + "."
}

// table lists the members of what is printed, and shows an example.
func (p *outputWriter) table(example any) {
	s := shapeOf(reflect.TypeOf(example))
	if len(s.members) > 0 {
		p.WriteString("\n| member | type | always | meaning |\n|---|---|---|---|\n")
	}
	s.flat("", func(path string, m *shape) {
		always := ""
		if m.always {
			always = "yes"
		}
		fmt.Fprintf(p, "| `%s` | %s | %s | %s |\n", path, m.kindOf(), always, strings.ReplaceAll(p.meaning(m), "|", `\|`))
	})
	text, err := json.Marshal(example)
	if err != nil {
		p.t.Fatal(err)
	}
	fmt.Fprintf(p, "\n```json\n%s\n```\n", text)
}

// meaning is the comment behind the field that a member comes from.
func (p *outputWriter) meaning(m *shape) string {
	for _, file := range p.files(m.owner.PkgPath()) {
		for n := range ast.Preorder(file) {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != m.owner.Name() {
				continue
			}
			for _, f := range spec.Type.(*ast.StructType).Fields.List {
				named := slices.ContainsFunc(f.Names, func(name *ast.Ident) bool { return name.Name == m.field })
				if text := strings.TrimSpace(f.Comment.Text()); named && text != "" {
					return text
				}
			}
		}
	}
	p.t.Errorf("%s.%s: a member that is printed has a comment behind it, and its type a name", m.owner, m.field)
	return ""
}

// files parses a package of this module.
func (p *outputWriter) files(pkg string) []*ast.File {
	if all, ok := p.parsed[pkg]; ok {
		return all
	}
	paths, err := filepath.Glob(filepath.Join("..", "..", strings.TrimPrefix(pkg, "github.com/sennit/sennit"), "*.go"))
	if err != nil {
		p.t.Fatal(err)
	}
	var all []*ast.File
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			p.t.Fatal(err)
		}
		all = append(all, file)
	}
	p.parsed[pkg] = all
	return all
}

func TestTheDocumentationOfOutputIsThatOfTheProgram(t *testing.T) {
	matches(t, filepath.Join("..", "..", "docs", "output.md"), outputPage(t))
}
