// Package document keeps JSON documents as subtrees of a tree, so that two
// people who change different fields of a document change different values,
// and neither undoes what the other did.
//
// Owns: the mapping between JSON and leaves (docs/formats/documents.md), and
// which leaves a new document or a patch has to change.
// Promises: numbers keep their text, strings their characters. What shows the
// same is not touched. Whatever leaves there are, whoever wrote them, they are
// a document. Time and memory are linear in what is read, but for sorting;
// nesting is bounded.
// Must not know: where leaves come from, who may write them, when.
//
// An object is a directory, its members are children. A string is a text leaf;
// a number, a literal or an array is a JSON leaf. [Compose] reads, [Diff]
// writes a document, [Patch] a JSON merge patch.
package document

import (
	"iter"
	"strings"

	"github.com/sennit/sennit"
)

// Media types of the leaves that have a place in a document. A leaf of any
// other type, even one that differs only in its spelling, is shown as a
// reference.
const (
	Text = "text/plain; charset=utf-8" // a string, the text itself
	JSON = "application/json"          // one JSON text
)

// MaxNesting is how deep arrays and objects may nest within one leaf. A
// document may nest by [sennit.MaxDepth] more, since its objects are
// directories.
const MaxNesting = 1000

// Leaf is one value of a tree.
type Leaf struct {
	Path  sennit.Path
	Value sennit.Value
}

// Leaves gives the leaves at a path and under it in order of path: a
// directory's own value, then its children, by the bytes of their names, each
// with all beneath it. Whoever ranges over them may stop early. An error ends
// them.
type Leaves func(under sennit.Path) iter.Seq2[Leaf, error]

// child is the component that follows dir in the path of something beneath it.
func child(dir, below sennit.Path) string {
	c, _, _ := strings.Cut(string(below[start(dir):]), "/")
	return c
}

// start is where the component begins that follows dir in a path.
func start(dir sennit.Path) int { return len(dir) + min(len(dir), 1) }

// fits reports whether a directory can have a child of that name.
func fits(dir sennit.Path, component string) bool {
	return len(component) <= sennit.MaxComponent && len(dir)+1+len(component) <= sennit.MaxPath && dir.Depth() < sennit.MaxDepth
}

// inOrder fails unless next may come after last among the leaves of at.
func inOrder(at, last, next sennit.Path, first bool) error {
	if !next.Under(at) {
		return sennit.Errorf(sennit.Internal, "the leaf at %.100q lies outside the document at %.100q", next, at)
	}
	if !first && last.Compare(next) >= 0 {
		return sennit.Errorf(sennit.Internal, "the leaf at %.100q comes after the one at %.100q", next, last)
	}
	return nil
}
