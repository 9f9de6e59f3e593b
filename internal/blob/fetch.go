package blob

import (
	"context"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"
)

// Fetch fills a blob with pieces from others. Its methods are safe for
// concurrent use. A blob can have several fetches, which share what is there.
//
// Ask for the last piece first: it proves the size. No slice with the last
// piece verifies if the size isn't true, while others may: so if nobody has a
// slice with it that Put takes, the Blob was made up.
type Fetch struct {
	s      *Store
	part   *partial
	closed bool // guarded by the claim
}

// Begin starts to fetch a blob, or takes it up where it was. It takes no room
// for pieces before they come. If the blob is whole the fetch is done.
func (s *Store) Begin(ctx context.Context, ref sennit.Blob) (*Fetch, error) {
	if err := checkRef(ref); err != nil {
		return nil, err
	}
	if err := s.claim(ctx, ref); err != nil {
		return nil, err
	}
	defer s.release(ref)
	p, err := s.settled(ref)
	if err != nil {
		return nil, err
	}
	switch there, whole := s.look(ref); {
	case p != nil && p.have.covers(pieces(ref)): // but couldn't be made whole so far
		if err := s.complete(p); err != nil {
			return nil, err
		}
	case p == nil && whole:
		p = newPartial(ref, ranges{pieces(ref)})
		p.whole = true
	case p == nil:
		if p, err = s.begin(ref, there); err != nil {
			return nil, err
		}
	}
	p.users++
	return &Fetch{s: s, part: p}, nil
}

// begin makes the files of a partial blob. What is there under its name is
// damaged, and replaced.
func (s *Store) begin(ref sennit.Blob, there bool) (*partial, error) {
	if err := s.writeHave(ref, nil); err != nil {
		return nil, err
	}
	if err := s.syncDir(); err != nil { // data without the other file would pass for whole
		return nil, err
	}
	p := newPartial(ref, nil)
	s.mu.Lock()
	s.partials[ref] = p
	if there {
		s.bytes -= fileLen(ref)
	}
	s.mu.Unlock()
	f, err := s.fs.Create(s.path(fileName(ref)), vfs.WriteCategoryUnspecified)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return nil, failed(err, "begin to fetch blob %s", ref.Root)
	}
	return p, nil
}

// Blob is what f fetches.
func (f *Fetch) Blob() sennit.Blob { return f.part.ref }

// Put takes in the slice of some pieces: what [Reader.Slice] gives. Pieces that
// are here already do no harm. A slice that isn't exactly right changes nothing
// and is [sennit.BadInput]. Put fails with [sennit.ReadOnly] if the disk is
// full, and with [sennit.Gone] if the blob was removed.
//
// After the last missing piece the blob is whole, on disk for good, when Put
// returns. Until then a crash may lose what Config.SyncEvery says; Close
// keeps everything.
func (f *Fetch) Put(ctx context.Context, first uint64, count int, slice []byte) error {
	ref := f.part.ref
	want, err := checkWant(ref, first, count)
	if err != nil {
		return err
	}
	if err := checkSlice(ref, want, slice); err != nil {
		return err
	}
	if err := f.s.claim(ctx, ref); err != nil {
		return err
	}
	defer f.s.release(ref)
	if f.closed {
		return sennit.Errorf(sennit.BadInput, "this fetch of blob %s was closed", ref.Root)
	}
	return f.s.fill(f.part, want, slice)
}

// Missing lists at most limit ranges of missing pieces, in order, of those from
// piece from on.
func (f *Fetch) Missing(from uint64, limit int) []Range {
	f.part.mu.Lock()
	defer f.part.mu.Unlock()
	return f.part.have.gaps(Range{from, pieces(f.part.ref).End}, limit)
}

// Wanted lists the pieces that readers wait for, in order: one for each at
// most. A fetch that brings these first serves them soonest.
func (f *Fetch) Wanted() []uint64 {
	f.part.mu.Lock()
	defer f.part.mu.Unlock()
	return slices.Sorted(maps.Keys(f.part.wants))
}

// Done reports whether the blob is whole, on disk for good.
func (f *Fetch) Done() bool {
	f.part.mu.Lock()
	defer f.part.mu.Unlock()
	return f.part.whole
}

// Close ends the fetch and keeps what was fetched. It waits for a Put that is
// under way. Closing twice does no harm.
func (f *Fetch) Close() error {
	p := f.part
	if err := f.s.claim(context.Background(), p.ref); err != nil {
		return err
	}
	defer f.s.release(p.ref)
	if f.closed {
		return nil
	}
	f.closed = true
	if p.users--; p.users > 0 {
		return nil
	}
	defer p.closeFile()
	if p.unsynced == 0 || p.gone {
		return nil
	}
	return f.s.checkpoint(p)
}
