package files

import (
	"path"
	"strings"

	"github.com/sennit/sennit"
)

// Names of the files that are this package's own business. They are never
// carried.
const (
	stateName  = ".sennit-sync" // what both sides were when they last agreed
	lockSuffix = ".lock"        // of the file that keeps a second sync away
	tempPrefix = ".sennit-tmp-" // of a file that isn't whole yet
)

// ours reports whether a file's last component is this package's own business.
func ours(base string) bool {
	return strings.HasPrefix(base, stateName) || strings.HasPrefix(base, tempPrefix)
}

// passing reports whether a name is one under which editors and offices keep
// something for a moment, beside the file that is edited. A sync leaves such
// files, and directories, alone. docs/files.md lists them.
func passing(base string) bool {
	for _, pattern := range [...]string{
		".#*", "#*#", "*~", ".*.sw?", "4913", ".*.kate-swp", ".goutputstream-*", ".~lock.*#", "~$*",
	} {
		if ok, err := path.Match(pattern, base); ok && err == nil {
			return true
		}
	}
	return ours(base)
}

// anyPassing reports whether a component of a name is passing.
func anyPassing(name string) bool {
	for rest, more := name, true; more; {
		var c string
		if c, rest, more = strings.Cut(rest, "/"); passing(c) {
			return true
		}
	}
	return false
}

// pathOf is where the value of a file is: the path of the directory, and the
// file's name in it.
func pathOf(at sennit.Path, name string) (sennit.Path, error) {
	if at != "" {
		name = string(at) + "/" + name
	}
	p, err := sennit.ParsePath(name)
	if err == nil && p.Reserved() {
		err = sennit.Errorf(sennit.BadInput, "%s is the space's own business", p.First())
	}
	return p, err
}

// nameOf is the name of the file for the value at a path under at, which isn't
// at itself.
func nameOf(at, p sennit.Path) string { return strings.TrimPrefix(string(p[len(at):]), "/") }

// names is a set of names, of directories as well as files.
type names map[string]bool

// covers reports whether a name, or a directory that it is in, is in the set.
func (n names) covers(name string) bool {
	for i, c := range name {
		if c == '/' && n[name[:i]] {
			return true
		}
	}
	return n[name]
}

// addParents adds the directories that a name is in.
func (n names) addParents(name string) {
	for dir := path.Dir(name); dir != "." && !n[dir]; dir = path.Dir(dir) {
		n[dir] = true
	}
}
