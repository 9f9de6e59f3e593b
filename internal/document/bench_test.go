package document_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sennit/sennit/internal/document"
)

// thousand is an object of 1,000 members, strings and numbers, as a document
// and as leaves.
func thousand(b *testing.B) (string, []document.Leaf) {
	var doc strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&doc, `,"field%04d":`, i)
		if i%2 == 0 {
			fmt.Fprintf(&doc, `"the text of field %d"`, i)
		} else {
			fmt.Fprintf(&doc, "%d", i)
		}
	}
	text := "{" + doc.String()[1:] + "}"
	return text, state{}.apply(diff(b, at, nil, text)).leaves(at)
}

func BenchmarkCompose1000(b *testing.B) {
	doc, leaves := thousand(b)
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if err := document.Compose(io.Discard, at, seq(leaves)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDiff1000(b *testing.B) {
	doc, leaves := thousand(b)
	for i, doc := range []string{doc, strings.Replace(doc, `field 500"`, `field 501"`, 1)} {
		b.Run([]string{"unchanged", "one"}[i], func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				if changes, err := document.Diff(at, leaves, []byte(doc)); err != nil || len(changes) != i {
					b.Fatal(changes, err)
				}
			}
		})
	}
}

func BenchmarkDiffNew1000(b *testing.B) {
	doc, _ := thousand(b)
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if changes, err := document.Diff(at, nil, []byte(doc)); err != nil || len(changes) != 1000 {
			b.Fatal(len(changes), err)
		}
	}
}
