// Package docbus reads and writes the JSON documents of a bus: the one place
// where package document meets a [sennit.Bus], so that every door can offer
// them.
//
// Owns: which leaves a reading or a writing of a document sees, the conditions
// of a writing, and the bounds of what it reads.
// Promises: a document is read from one snapshot, in bounded memory. A writing
// is one commit of what differs, or none if nothing does. What a writing may
// hold in memory is bounded by whoever asks for it. The reserved places of a
// space are in no document.
// Must not know: how JSON and leaves correspond, doors, engines.
package docbus

import (
	"context"
	"io"
	"iter"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/document"
)

// Doc is the document at and under an address, as one caller sees it. It holds
// nothing: a Doc is made for each call.
type Doc struct {
	Bus sennit.Bus
	At  sennit.Addr

	// Room is how many bytes of leaves one writing may read, their paths
	// included: those of the whole document for Put, those that the patch
	// names for Patch.
	Room int
}

// Read writes the document as one JSON text, in pieces of about 32 KiB, all of
// the same snapshot. It fails with NotFound, before anything is written, if
// nothing is there that the caller may read; with Conflict, perhaps after a
// part was written, if what the caller may read changes meanwhile; otherwise
// as the bus does and as w does.
func (d Doc) Read(ctx context.Context, w io.Writer) error {
	return document.Compose(w, d.At.Path, func(yield func(document.Leaf, error) bool) {
		for n, err := range d.nodes(ctx, d.At.Path) {
			if !yield(document.Leaf{Path: n.Path, Value: n.Value}, err) {
				return
			}
		}
	})
}

// Exists fails as Read does where there is no document.
func (d Doc) Exists(ctx context.Context) error {
	for _, err := range d.nodes(ctx, d.At.Path) {
		return err
	}
	return sennit.Errorf(sennit.NotFound, "there is no document at %s", d.At)
}

// overhead is what a leaf takes in memory beside its path and its bytes, about.
const overhead = 128

// nodes gives what is at and under a path, in order of path: a snapshot, but
// for the reserved places. An error ends it.
func (d Doc) nodes(ctx context.Context, under sennit.Path) iter.Seq2[sennit.Node, error] {
	return func(yield func(sennit.Node, error) bool) {
		// Only a tail gives the snapshot whole. Another watch leaves out of it
		// what has changed since, because the change comes after it.
		w, err := d.Bus.Watch(ctx, []sennit.Pattern{{Root: d.At.Root, Path: string(under)}}, sennit.WatchOptions{Tail: true})
		if err != nil {
			yield(sennit.Node{}, err)
			return
		}
		defer w.Close()
		for {
			updates, err := w.Next(ctx)
			if err != nil {
				yield(sennit.Node{}, err)
				return
			}
			for i := range updates {
				switch u := &updates[i]; {
				case u.Kind == sennit.Live:
					return
				case u.Kind != sennit.Set:
					yield(sennit.Node{}, sennit.Hint(sennit.Errorf(sennit.Conflict, "what may be read of %s changed while it was read", d.At), "try again"))
					return
				case !u.Node.Path.Reserved() && !yield(u.Node, nil):
					return
				}
			}
		}
	}
}
