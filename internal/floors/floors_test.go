// Package floors_test keeps the house in order: which package may use which,
// that every package says what it is for, and that documents name only files
// that are there.
package floors_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sennit/sennit"

// floors says on which floor each package lives. A package uses only packages
// of lower floors.
var floors = map[string]int{
	"":                   0,
	"internal/bubble":    1,
	"internal/document":  1,
	"internal/patch":     1,
	"internal/prefix":    1,
	"internal/wire":      1,
	"internal/keys":      2,
	"internal/docbus":    2,
	"internal/hub":       2,
	"internal/blob":      2,
	"internal/files":     2,
	"internal/commit":    3,
	"internal/tree":      3,
	"internal/access":    3,
	"client":             3,
	"bustest":            3,
	"web":                3,
	"internal/store":     4,
	"internal/node":      5,
	"internal/door/http": 6,
	"internal/peer":      6,
	"internal/replicate": 6,
	"internal/swarm":     7,
	"internal/daemon":    8,
	"cmd/sennit":         9,
	"embed":              9,
	"example/embed":      10,
	"example/lines":      10,
	// Tests of the whole may use anything below the command.
	"internal/floors": 9,
	"test/sim":        9,
	"test/evil":       8,
	"test/e2e":        10,
}

// files walks the module and calls f for every file whose name matches. It stats every
// file, so that a cached result is not taken for a present one.
func files(t *testing.T, match string, f func(path string)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() && rel != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "node_modules" ||
			rel != "." && exists(filepath.Join(path, "go.mod"))) {
			return fs.SkipDir
		}
		if ok, _ := filepath.Match(match, d.Name()); ok && !d.IsDir() {
			if _, err := os.Stat(path); err != nil {
				return err
			}
			f(filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestPackagesUseOnlyLowerFloors(t *testing.T) {
	for floor := range floors {
		if floor != "" && !exists(filepath.Join("..", "..", floor)) && floor != "web" && !strings.HasPrefix(floor, "test/") {
			t.Errorf("the floor plan names %s, which is gone", floor)
		}
	}
	documented := map[string]bool{}
	files(t, "*.go", func(path string) {
		dir := strings.TrimSuffix(filepath.ToSlash(filepath.Dir(path)), ".")
		floor, ok := floors[dir]
		if !ok {
			t.Errorf("%s: the package is not in the floor plan", path)
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", path), nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			t.Error(err)
			return
		}
		test := strings.HasSuffix(path, "_test.go")
		if file.Doc != nil && !test {
			documented[dir] = true
		}
		for _, im := range file.Imports {
			name, _ := strconv.Unquote(im.Path.Value)
			rest, ours := strings.CutPrefix(name, module)
			if !ours {
				continue
			}
			rest = strings.TrimPrefix(rest, "/")
			if at, ok := floors[rest]; !ok {
				t.Errorf("%s imports %s, which is not in the floor plan", path, name)
			} else if at >= floor && !test && rest != dir {
				t.Errorf("%s (floor %d) imports %s (floor %d)", path, floor, name, at)
			}
		}
	})
	for dir := range floors {
		if exists(filepath.Join("..", "..", dir)) && !documented[dir] && hasGo(t, dir) {
			t.Errorf("package %s has no package comment", module+"/"+dir)
		}
	}
}

func hasGo(t *testing.T, dir string) bool {
	t.Helper()
	all, err := filepath.Glob(filepath.Join("..", "..", dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(all, func(p string) bool { return !strings.HasSuffix(p, "_test.go") })
}

// named finds what looks like a path of this project in a document.
var named = regexp.MustCompile("`((?:internal|cmd|docs|test|web|client|bustest|scripts|example)/[A-Za-z0-9_./-]+)`")

func TestDocumentsNameFilesThatExist(t *testing.T) {
	files(t, "*.md", func(path string) {
		b, err := os.ReadFile(filepath.Join("..", "..", path))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(b), -1) {
			if !exists(filepath.Join("..", "..", m[1])) {
				t.Errorf("%s names %s, which is gone", path, m[1])
			}
		}
	})
}

// TestNoInitFunctions: nothing happens behind a caller's back when a package is
// imported.
func TestNoInitFunctions(t *testing.T) {
	files(t, "*.go", func(path string) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", path), nil, 0)
		if err != nil {
			t.Error(err)
			return
		}
		for _, d := range file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function", path)
			}
		}
	})
}
