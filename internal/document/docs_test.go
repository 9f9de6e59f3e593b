package document_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/document"
)

const page = "../../docs/formats/documents.md"

var types = map[string]string{"text": document.Text, "json": document.JSON}

// TestDocsExamples does what each example of the page says, line by line.
func TestDocsExamples(t *testing.T) {
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```document\n(.*?)^```$").FindAllStringSubmatch(string(b), -1)
	if len(blocks) < 5 {
		t.Fatalf("the page has %d examples", len(blocks))
	}
	for _, block := range blocks {
		s, due := state{}, []string(nil)
		for line := range strings.Lines(block[1] + "end\n") {
			line = strings.TrimSuffix(line, "\n")
			verb, rest, _ := strings.Cut(line, " ")
			if verb == "put" || verb == "del" {
				i := slices.Index(due, line)
				if i < 0 {
					t.Errorf("%s: expected any of %q", line, due)
					continue
				}
				due = slices.Delete(due, i, i+1)
				continue
			}
			if len(due) > 0 {
				t.Errorf("before %s: these changes aren't shown: %q", line, due)
			}
			var changes []sennit.Change
			switch verb {
			case "leaf":
				f := strings.SplitN(rest, " ", 3)
				typ := f[1]
				if types[typ] != "" {
					typ = types[typ]
				}
				s[at.Join(sennit.MustPath(f[0]))] = sennit.Value{Type: typ, Data: []byte(f[2])}
			case "reads":
				if got := compose(t, at, s); got != rest {
					t.Errorf("it reads %s, not %s", got, rest)
				}
			case "write":
				changes = diff(t, at, s, rest)
			case "patch":
				_, changes, _ = patch(t, s, rest)
			case "end":
			default:
				t.Errorf("%s: the line is not understood", line)
			}
			s, due = s.apply(changes), spelled(changes)
		}
	}
}

// spelled are changes as the page writes them.
func spelled(changes []sennit.Change) (lines []string) {
	for _, c := range changes {
		p := "/" + strings.TrimPrefix(strings.TrimPrefix(string(c.Path), string(at)), "/")
		if c.Kind == sennit.KindDel {
			lines = append(lines, "del "+p)
			continue
		}
		typ := c.Value.Type
		for short, long := range types {
			if typ == long {
				typ = short
			}
		}
		lines = append(lines, fmt.Sprintf("put %s %s %s", p, typ, c.Value.Data))
	}
	return lines
}

// TestDocsNames has the names of the page's table.
func TestDocsNames(t *testing.T) {
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(b), "| name | component |\n|---|---|\n")
	if !ok {
		t.Fatal("the page has no table of names")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	for line := range strings.Lines(table) {
		f := strings.Split(line, "`")
		if len(f) != 5 || document.Escape(f[1]) != f[3] || document.Unescape(f[3]) != f[1] {
			t.Errorf("not so: %s", line)
		}
	}
}
