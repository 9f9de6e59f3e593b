package blob

import (
	"context"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"
)

// syncEvery is the default of Config.SyncEvery. Writing as much takes a disk long
// enough that the sync adds little.
const syncEvery = 1024

// pushEvery is how many pieces are written before the disk is made to begin
// with them.
const pushEvery = 64

// partial is a blob that is partly here. A piece counts when it and all nodes
// above it were written. The file that says so to the next process is written
// when the data was synced, so that it needs no proof afterwards.
type partial struct {
	ref sennit.Blob

	// For whoever has the claim.
	users    int      // fetches that are open
	file     vfs.File // nil if nobody writes
	pushes   bool     // the file system can write back a part of the file
	unsynced uint64   // pieces written and not synced
	durable  ranges   // what the file says

	mu      sync.Mutex // guards what follows, which only changes under the claim, but for wants
	have    ranges
	whole   bool
	gone    bool
	wants   map[uint64]int // readers that wait, by piece
	changed chan struct{}  // closed and replaced when anything but wants changes
}

func newPartial(ref sennit.Blob, have ranges) *partial {
	return &partial{ref: ref, have: have, durable: slices.Clone(have), wants: map[uint64]int{}, changed: make(chan struct{})}
}

// change changes what mu guards, and wakes readers.
func (p *partial) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

// await waits until a piece is here.
func (p *partial) await(ctx context.Context, i uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wants[i]++
	defer func() {
		if p.wants[i]--; p.wants[i] == 0 {
			delete(p.wants, i)
		}
	}()
	for !p.have.covers(Range{i, i + 1}) {
		if p.gone {
			return sennit.Errorf(sennit.Gone, "blob %s was removed before piece %d was here", p.ref.Root, i)
		}
		if err := p.wait(ctx); err != nil {
			return sennit.Errorf(sennit.CodeOf(err), "wait for piece %d of blob %s: %w", i, p.ref.Root, err)
		}
	}
	return nil
}

// wait waits for a change without holding mu, which the caller holds.
func (p *partial) wait(ctx context.Context) error {
	changed := p.changed
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *partial) covers(r Range) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.have.covers(r)
}

// ranges is what is here now.
func (p *partial) ranges() ranges {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.have)
}

// held is the bytes that the blob takes on disk, give or take a piece.
func (p *partial) held() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return min(p.have.count()*stride, fileLen(p.ref))
}

// settled is what is known of a blob that is partly here, nil for others. If
// its removal failed halfway, it ends that. The caller has the claim.
func (s *Store) settled(ref sennit.Blob) (*partial, error) {
	p := s.partial(ref)
	if p == nil || !p.gone {
		return p, nil
	}
	return nil, s.drop(p)
}

// drop removes a partial blob. If it fails it can be tried again. The caller
// has the claim.
func (s *Store) drop(p *partial) error {
	p.closeFile()
	path := s.path(fileName(p.ref))
	if err := s.remove(path); err != nil {
		return err
	}
	p.change(func() { p.gone = true })
	// The data must be gone for good before the file that says which of it
	// counts: data without that file would pass for whole.
	if err := s.syncDir(); err != nil {
		return err
	}
	// If this isn't durable Open does it again.
	if err := s.remove(path + haveSuffix); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.partials, p.ref)
	s.mu.Unlock()
	return nil
}

// closeFile closes the file, of which nothing counts that wasn't synced. The
// caller has the claim.
func (p *partial) closeFile() {
	if p.file != nil {
		_ = p.file.Close()
		p.file = nil
	}
}

// fill writes the pieces of a slice that was checked, and makes the blob whole
// if nothing is missing then. The caller has the claim.
func (s *Store) fill(p *partial, want Range, slice []byte) error {
	switch {
	case p.gone:
		return sennit.Errorf(sennit.Gone, "blob %s was removed", p.ref.Root)
	case p.whole:
		return nil
	}
	if err := s.openFile(p); err != nil {
		return err
	}
	slice = slice[sizeLen:]
	before := p.unsynced
	err := walk(pieces(p.ref), want, func(r Range) error {
		n := nodeSize(p.ref, r)
		b := slice[:n]
		slice = slice[n:]
		if p.have.meets(r) { // a piece beneath brought the node
			return nil
		}
		off := pieceAt(r.First)
		if r.len() > 1 {
			off = nodeAt(r)
		}
		if r.len() == 1 {
			p.unsynced++
		}
		_, err := p.file.WriteAt(b, off)
		return err
	})
	if err != nil {
		return failed(err, "write pieces %d to %d of blob %s", want.First, want.End-1, p.ref.Root)
	}
	p.change(func() { p.have = p.have.add(want) })
	switch {
	case p.have.covers(pieces(p.ref)):
		return s.complete(p)
	case p.unsynced >= s.syncEvery:
		return s.checkpoint(p)
	case p.unsynced/pushEvery > before/pushEvery:
		return s.push(p, pieceAt(want.End))
	}
	return nil
}

func (s *Store) openFile(p *partial) (err error) {
	if p.file != nil {
		return nil
	}
	if p.file, err = s.fs.OpenReadWrite(s.path(fileName(p.ref)), vfs.WriteCategoryUnspecified); err != nil {
		return failed(err, "open blob %s", p.ref.Root)
	}
	p.pushes = true
	return nil
}

// push makes the disk begin with what was written, so that syncing it finds
// most of it done. It waits for what was pushed before.
func (s *Store) push(p *partial, end int64) error {
	if !p.pushes {
		return nil
	}
	all, err := p.file.SyncTo(end)
	p.pushes = !all // where it syncs everything it helps nothing
	if err != nil {
		p.distrust()
		return failed(err, "write back blob %s", p.ref.Root)
	}
	return nil
}

// sync syncs the data. If that fails nobody can tell what is on disk, so that
// only what was durable before counts.
func (s *Store) sync(p *partial) error {
	err := s.openFile(p)
	if err == nil {
		if err = p.file.Sync(); err != nil {
			err = failed(err, "sync blob %s", p.ref.Root)
		}
	}
	if err != nil {
		p.distrust()
	}
	return err
}

// distrust forgets what was not durable before.
func (p *partial) distrust() {
	p.closeFile()
	p.unsynced = 0
	p.change(func() { p.have = slices.Clone(p.durable) })
}

// checkpoint makes the pieces that are here durable. The caller has the claim.
func (s *Store) checkpoint(p *partial) error {
	if err := s.sync(p); err != nil {
		return err
	}
	if err := s.writeHave(p.ref, p.have); err != nil {
		return err
	}
	if err := s.syncDir(); err != nil {
		return err
	}
	p.durable, p.unsynced = slices.Clone(p.have), 0
	return nil
}

// complete makes a blob whole of which all pieces are here. The caller has the
// claim.
func (s *Store) complete(p *partial) error {
	if err := s.sync(p); err != nil {
		return err
	}
	p.closeFile()
	if err := s.remove(s.path(fileName(p.ref) + haveSuffix)); err != nil {
		return err
	}
	if err := s.syncDir(); err != nil {
		return err
	}
	p.unsynced = 0
	s.mu.Lock()
	delete(s.partials, p.ref)
	s.bytes += fileLen(p.ref)
	s.mu.Unlock()
	p.change(func() { p.whole = true })
	return nil
}
