package docbus

import (
	"context"
	"iter"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/document"
)

// Put makes the document that of a JSON text, by one commit of what differs; if
// nothing does, it writes nothing and the version is "". What shows the same
// stays as it is, be it a put, a counter or a stream; what doesn't is put, and
// so is newer than what was added or appended there.
//
// cond says which digest the subtree must have (see [sennit.Bus]'s Digest),
// or, if it is zero, that nothing may be there; nil: whatever is there. Then
// each value that is written is written only if it is still as it was in that
// state. Another value may change before the writing is done; that change
// stays.
//
// Put fails as [document.Diff] does; with Conflict if the condition does not
// hold; with Denied if a reserved place would be written to; with TooLarge if
// what is there takes more than Room, or the difference is more than one
// commit holds ([sennit.MaxOps], [sennit.MaxCommit]); otherwise as the bus does.
func (d Doc) Put(ctx context.Context, doc []byte, cond *sennit.Hash) (sennit.Version, error) {
	s := sight{doc: d, ctx: ctx, cond: cond}
	var seen []document.Leaf
	for leaf, err := range s.leaves(d.At.Path) {
		if err != nil {
			return "", err
		}
		seen = append(seen, leaf)
	}
	changes, err := document.Diff(d.At.Path, seen, doc)
	if err != nil {
		return "", err
	}
	return s.write(changes)
}

// Patch does a JSON merge patch (RFC 7396) to the document, as Put does a
// whole one, with the same conditions and the same errors, and those of
// [document.Patch]. It reads what the patch names, each part from a snapshot
// of its own.
func (d Doc) Patch(ctx context.Context, patch []byte, cond *sennit.Hash) (sennit.Version, error) {
	s := sight{doc: d, ctx: ctx, cond: cond}
	changes, err := document.Patch(d.At.Path, s.leaves, patch)
	if err != nil {
		return "", err
	}
	return s.write(changes)
}

// sight is what one writing sees of a document.
type sight struct {
	doc      Doc
	ctx      context.Context // of the call that it is made for
	cond     *sennit.Hash
	any      bool // something is there
	used     int  // of the room
	versions map[sennit.Path]sennit.Version
}

// leaves gives the leaves at and under a path, and keeps account of them.
func (s *sight) leaves(under sennit.Path) iter.Seq2[document.Leaf, error] {
	return func(yield func(document.Leaf, error) bool) {
		if under.Reserved() {
			yield(document.Leaf{}, reserved(under))
			return
		}
		for n, err := range s.doc.nodes(s.ctx, under) {
			if err == nil {
				err = s.note(&n)
			}
			if err != nil {
				yield(document.Leaf{}, err)
				return
			}
			if !yield(document.Leaf{Path: n.Path, Value: n.Value}, nil) {
				return
			}
		}
	}
}

func (s *sight) note(n *sennit.Node) error {
	s.any = true
	if s.used += len(n.Path) + len(n.Value.Data) + overhead; s.used > s.doc.Room {
		return sennit.Hint(sennit.Errorf(sennit.TooLarge, "what is at %s takes more than %d bytes, which is the most that can be compared at once", s.doc.At, s.doc.Room),
			"patch it, or write a member of it as a document of its own")
	}
	if s.cond != nil {
		if s.versions == nil {
			s.versions = map[sennit.Path]sennit.Version{}
		}
		s.versions[n.Path] = n.Version
	}
	return nil
}

// write writes changes if the condition holds.
func (s *sight) write(changes []sennit.Change) (sennit.Version, error) {
	for i := range changes {
		if p := changes[i].Path; p.Reserved() { // a bus refuses it too, but may say that a right is missing
			return "", reserved(p)
		}
	}
	if err := s.check(); err != nil {
		return "", err
	}
	if len(changes) == 0 {
		return "", nil
	}
	if s.cond != nil {
		for i := range changes {
			seen := s.versions[changes[i].Path]
			changes[i].If = &seen
		}
	}
	v, err := s.doc.Bus.Write(s.ctx, s.doc.At.Root, changes)
	if sennit.CodeOf(err) == sennit.TooLarge {
		err = sennit.Hint(err, "write it in parts: an object within it can be written as a document of its own; deleting a whole subtree is one change")
	}
	return v, err
}

// check fails if the condition doesn't hold. It asks for the digest after the
// leaves were read: what is overwritten does not come back, so if this is the
// state that the caller means, it is the one that was read.
func (s *sight) check() error {
	holds := s.cond == nil
	switch {
	case holds:
	case s.cond.IsZero():
		holds = !s.any
	default:
		g, err := s.doc.Bus.Digest(s.ctx, s.doc.At)
		if err != nil {
			return err
		}
		holds = g.Hash == *s.cond
	}
	if !holds {
		return sennit.Hint(sennit.Errorf(sennit.Conflict, "the document at %s is not what it is said to be", s.doc.At), "read it again")
	}
	return nil
}

func reserved(p sennit.Path) error {
	return sennit.Hint(sennit.Errorf(sennit.Denied, "%.100q is where a space keeps its own business; no document reaches there", p),
		"keys, rules and groups have commands of their own")
}
