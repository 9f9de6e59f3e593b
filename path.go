package sennit

import (
	"cmp"
	"strings"
	"unicode/utf8"
)

// Path is the slash-separated name of a value within a space, in canonical
// form: no leading or trailing slash, at least one byte in each component. The
// empty Path is the root of the space. Make one with [ParsePath]; a conversion
// from a string that did not come from a Path is a bug.
type Path string

// ParsePath checks text and returns its canonical form. A single leading
// slash is allowed and dropped. A trailing slash is refused: it says "subtree",
// which is the caller's to interpret.
//
// Components are valid UTF-8 without control characters (U+0000-U+001F and
// U+007F), not "." or "..", not "*" (which rules and watches use for any one
// component), at most MaxComponent bytes long.
func ParsePath(text string) (Path, error) { return parse(text, false) }

// parse is ParsePath; wild allows "*" as a component.
func parse(text string, wild bool) (Path, error) {
	p := strings.TrimPrefix(text, "/")
	if p == "" || plain(p) {
		return Path(p), nil
	}
	if len(p) > MaxPath {
		return "", Errorf(BadInput, "the path has %d bytes; at most %d are allowed", len(p), MaxPath)
	}
	depth := 0
	for rest, more := p, true; more; {
		var c string
		c, rest, more = strings.Cut(rest, "/")
		if wild && c == "*" {
			c = "any"
		}
		if err := checkComponent(c); err != nil {
			return "", Errorf(BadInput, "the path %.100q is malformed: %v", text, err)
		}
		if depth++; depth > MaxDepth {
			return "", Errorf(BadInput, "the path %.64q... has more than %d components", text, MaxDepth)
		}
	}
	return Path(p), nil
}

// plain reports whether a path is well formed as most are: printable ASCII, and
// no component that starts with a dot or a star. Every op that is read asks.
func plain(p string) bool {
	depth, start := 1, 0
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c == '/':
			if i == start || i-start > MaxComponent {
				return false
			}
			depth, start = depth+1, i+1
		case c < 0x20 || c >= 0x7f || i == start && (c == '.' || c == '*'):
			return false
		}
	}
	return start < len(p) && len(p)-start <= MaxComponent && len(p) <= MaxPath && depth <= MaxDepth
}

// MustPath is [ParsePath] for constants in programs and tests.
func MustPath(text string) Path {
	p, err := ParsePath(text)
	if err != nil {
		panic(err)
	}
	return p
}

func checkComponent(c string) error {
	switch {
	case c == "":
		return Errorf(BadInput, "a component is empty")
	case c == "." || c == "..":
		return Errorf(BadInput, "%q is not allowed as a component", c)
	case c == "*":
		return Errorf(BadInput, "%q stands for any component and can't be one", c)
	case len(c) > MaxComponent:
		return Errorf(BadInput, "a component has %d bytes; at most %d are allowed", len(c), MaxComponent)
	case !utf8.ValidString(c):
		return Errorf(BadInput, "a component is not valid UTF-8")
	}
	for i := 0; i < len(c); i++ {
		if c[i] < 0x20 || c[i] == 0x7f {
			return Errorf(BadInput, "a component holds the control character 0x%02x", c[i])
		}
	}
	return nil
}

// String is the path in canonical form.
func (p Path) String() string { return string(p) }

// Components splits the path. The root has none.
func (p Path) Components() []string {
	if p == "" {
		return nil
	}
	return strings.Split(string(p), "/")
}

// Depth is the number of components.
func (p Path) Depth() int {
	if p == "" {
		return 0
	}
	return strings.Count(string(p), "/") + 1
}

// Parent is the path without its last component. The parent of the root is
// the root.
func (p Path) Parent() Path {
	i := strings.LastIndexByte(string(p), '/')
	return p[:max(i, 0)]
}

// Base is the last component, "" for the root.
func (p Path) Base() string {
	return string(p[strings.LastIndexByte(string(p), '/')+1:])
}

// First is the first component, "" for the root.
func (p Path) First() string {
	c, _, _ := strings.Cut(string(p), "/")
	return c
}

// Join appends a path.
func (p Path) Join(q Path) Path {
	switch {
	case p == "":
		return q
	case q == "":
		return p
	}
	return p + "/" + q
}

// Under reports whether p is q or lies below it.
func (p Path) Under(q Path) bool {
	return q == "" || p == q || len(p) > len(q) && p[len(q)] == '/' && p[:len(q)] == q
}

// Compare is the order of paths: a directory before what it holds, names by
// their bytes. It is not that of the texts: "a/b" comes before "a b", because
// "a" does.
func (p Path) Compare(q Path) int {
	for i := range min(len(p), len(q)) {
		if x, y := p[i], q[i]; x != y {
			// Nothing in a component sorts before its end.
			switch {
			case x == '/':
				return -1
			case y == '/':
				return 1
			}
			return cmp.Compare(x, y)
		}
	}
	return cmp.Compare(len(p), len(q))
}

// Reserved reports whether the path lies where a space keeps its own
// business: keys, rules, groups, sealing and boards. Plain writes there are
// refused.
func (p Path) Reserved() bool {
	switch p.First() {
	case ".id", ".acl", ".group", ".key", ".board":
		return true
	}
	return false
}

// Addr is an absolute name as people write it: a root and a path within it.
// The root is "me", "@petname", a space id, or "_node" for the node's own
// state. Only a node can tell which space a root is.
type Addr struct {
	Root string
	Path Path
}

// ParseAddr parses "/root/path". Without a leading slash the root is "me".
func ParseAddr(text string) (Addr, error) { return parseAddr(text, false) }

func parseAddr(text string, wild bool) (Addr, error) {
	if !strings.HasPrefix(text, "/") {
		p, err := parse(text, wild)
		return Addr{"me", p}, err
	}
	root, rest, _ := strings.Cut(text[1:], "/")
	if err := checkRoot(root); err != nil {
		return Addr{}, err
	}
	if strings.HasPrefix(rest, "/") {
		return Addr{}, Errorf(BadInput, "the path %.100q is malformed: a component is empty", text)
	}
	p, err := parse(rest, wild)
	return Addr{root, p}, err
}

func checkRoot(root string) error {
	switch {
	case root == "me" || root == "_node":
		return nil
	case strings.HasPrefix(root, "@"):
		if err := checkComponent(root[1:]); err != nil {
			return Errorf(BadInput, "%.100q is not a petname: %v", root, err)
		}
		return nil
	}
	if _, err := ParseSpace(root); err != nil {
		return Hint(Errorf(BadInput, "%.100q names no space", root),
			"start an absolute path with /me, /@name, /_node or a space id of 52 characters")
	}
	return nil
}

// String is the address in the form that ParseAddr reads.
func (a Addr) String() string {
	if a.Path == "" {
		return "/" + a.Root
	}
	return "/" + a.Root + "/" + string(a.Path)
}

// Pattern selects what to watch: a root, and a path in which the component
// "*" stands for any one component. The root "@follows" with a path that
// starts with "*" stands for every space that the node follows.
type Pattern struct {
	Root  string
	Path  string // canonical; components may be "*"
	Exact bool   // only the value at the path, not what is under it
}

// Follows is the root of patterns that span every followed space.
const Follows = "@follows"

// ParsePattern parses "/root/path" with "*" components. It selects the
// subtree, unless exact is set; a trailing slash says the same.
func ParsePattern(text string, exact bool) (Pattern, error) {
	trimmed := strings.TrimSuffix(text, "/")
	if strings.HasSuffix(trimmed, "/") {
		return Pattern{}, Errorf(BadInput, "the pattern %.100q is malformed: a component is empty", text)
	}
	a, err := parseAddr(trimmed, true)
	if err != nil {
		return Pattern{}, err
	}
	if a.Root == Follows && a.Path.First() != "*" {
		return Pattern{}, Hint(Errorf(BadInput, "the pattern %.100q names no followed space", text),
			"write /@follows/*/path to watch a path of everybody that this node follows")
	}
	return Pattern{Root: a.Root, Path: string(a.Path), Exact: exact}, nil
}

// Match reports whether the pattern's path selects p.
func (t Pattern) Match(p Path) bool {
	want, have := t.Path, string(p)
	for want != "" {
		var w, h string
		if have == "" {
			return false
		}
		w, want, _ = strings.Cut(want, "/")
		h, have, _ = strings.Cut(have, "/")
		if w != "*" && w != h {
			return false
		}
	}
	return !t.Exact || have == ""
}
