// Package blob keeps values that are too big for an op, as files, and checks
// every piece of them against the hash that names them.
//
// Owns: the layout of blobs on disk, the tree over their pieces, and the slices
// in which pieces travel with their proof (docs/formats/blobs.md).
// Promises: what Finish returned, and what a fetch calls done, is on disk whole
// and survives power failure. No byte is handed out, sent or taken in that does
// not verify. What somebody claims about a blob, its size above all, costs no
// memory and no disk until pieces prove it. Nothing is removed unless asked.
// Must not know: nodes, peers, spaces, paths, rights, or which blobs are worth
// their room.
//
// A blob's name is its BLAKE3 hash (O'Connor, Aumasson, Neves, Wilcox-O'Hearn,
// "BLAKE3: one function, fast everywhere", 2020), which is the root of a binary
// tree over chunks of 1 KiB. The tree is kept down to pieces of 64 KiB. As it
// is that of the hash itself, any piece can be proven to somebody who knows
// nothing but the name and the size.
package blob

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"
)

// Config says where the blobs are.
type Config struct {
	Dir string // a directory for them alone, used by one Store at a time; made if it isn't there
	FS  vfs.FS // nil: the operating system's
	// SyncEvery is how many pieces a fetch takes in before it syncs them: what a
	// crash may cost it. 0: 1,024, which is 64 MiB.
	SyncEvery uint64
}

// Store keeps blobs in a directory. Its methods are safe for concurrent use.
type Store struct {
	dir       string
	fs        vfs.FS
	syncEvery uint64

	mu       sync.Mutex // guards what follows
	temps    uint64     // temporary files made so far
	bytes    uint64     // on disk, in whole blobs
	partials map[sennit.Blob]*partial
	claims   map[sennit.Blob]chan struct{} // closed when the claim is released
}

// Open opens the blobs in a directory. It removes what interrupted writers left
// and takes up fetches where they were. It lists the directory and reads one
// small file for every blob that is partly here, and nothing of the others.
func Open(c Config) (*Store, error) {
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.SyncEvery == 0 {
		c.SyncEvery = syncEvery
	}
	s := &Store{
		dir:       c.Dir,
		fs:        c.FS,
		syncEvery: c.SyncEvery,
		partials:  map[sennit.Blob]*partial{},
		claims:    map[sennit.Blob]chan struct{}{},
	}
	if err := s.makeDir(); err != nil {
		return nil, err
	}
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, failed(err, "list the blobs in %s", s.dir)
	}
	data := map[sennit.Blob]bool{}
	var having []sennit.Blob
	for _, name := range names {
		stem, have := strings.CutSuffix(name, haveSuffix)
		ref, ok := parseName(stem)
		switch {
		case strings.HasSuffix(name, tempSuffix):
			if err := s.remove(s.path(name)); err != nil {
				return nil, err
			}
		case ok && have:
			having = append(having, ref)
		case ok:
			data[ref] = true
			s.bytes += fileLen(ref)
		}
	}
	for _, ref := range having {
		if !data[ref] { // Begin or Remove was interrupted
			if err := s.remove(s.path(fileName(ref) + haveSuffix)); err != nil {
				return nil, err
			}
			continue
		}
		have, err := s.readHave(ref)
		if err != nil {
			return nil, err
		}
		s.bytes -= fileLen(ref)
		s.partials[ref] = newPartial(ref, have)
	}
	return s, nil
}

// Has reports whether a blob is here, whole. It waits for changes to the blob
// that are under way.
func (s *Store) Has(ctx context.Context, ref sennit.Blob) (bool, error) {
	if err := checkRef(ref); err != nil {
		return false, err
	}
	if err := s.claim(ctx, ref); err != nil {
		return false, err
	}
	defer s.release(ref)
	_, whole := s.look(ref)
	return whole && s.partial(ref) == nil, nil
}

// look tells whether the file of a blob is there, and whether it is as long as
// that of a whole blob. The caller has the claim.
func (s *Store) look(ref sennit.Blob) (there, whole bool) {
	info, err := s.fs.Stat(s.path(fileName(ref)))
	return err == nil, err == nil && uint64(info.Size()) == fileLen(ref)
}

// Each calls f for every blob that is here, in no order, with the bytes that it
// takes on disk and whether it is whole, until f fails. Blobs that come or go
// meanwhile may be missed. f may call the store.
func (s *Store) Each(f func(ref sennit.Blob, bytes uint64, whole bool) error) error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return failed(err, "list the blobs in %s", s.dir)
	}
	for _, name := range names {
		ref, ok := parseName(name)
		if !ok {
			continue
		}
		// A fetch is in the map before its file is in the directory, so what the
		// listing shows and the map lacks is whole.
		bytes, p := fileLen(ref), s.partial(ref)
		if p != nil {
			bytes = p.held()
		}
		if err := f(ref, bytes, p == nil); err != nil {
			return err
		}
	}
	return nil
}

// Usage is the bytes that all blobs take on disk, partial ones included.
func (s *Store) Usage() uint64 {
	s.mu.Lock()
	sum, partials := s.bytes, make([]*partial, 0, len(s.partials))
	for _, p := range s.partials {
		partials = append(partials, p)
	}
	s.mu.Unlock()
	for _, p := range partials {
		sum += p.held()
	}
	return sum
}

// Remove removes a blob, whole or partial. A [Reader] that has it open goes on
// with the pieces that were here, and gets [sennit.Gone] for others; a [Fetch]
// that isn't done gets Gone from then on. Where the system doesn't remove open files (Windows),
// Remove fails while a Reader has it open. It fails with [sennit.NotFound] if
// the blob isn't here.
func (s *Store) Remove(ctx context.Context, ref sennit.Blob) error {
	if err := checkRef(ref); err != nil {
		return err
	}
	if err := s.claim(ctx, ref); err != nil {
		return err
	}
	defer s.release(ref)
	if p := s.partial(ref); p != nil {
		return s.drop(p)
	}
	if there, _ := s.look(ref); !there {
		return notFound(ref)
	}
	if err := s.remove(s.path(fileName(ref))); err != nil {
		return err
	}
	s.mu.Lock()
	s.bytes -= fileLen(ref)
	s.mu.Unlock()
	return s.syncDir()
}

// RemovePartial removes a blob that is partly here and that nobody fetches. It
// does nothing to others: whoever is about to make it whole is not disturbed.
// Readers are as for [Store.Remove].
func (s *Store) RemovePartial(ctx context.Context, ref sennit.Blob) error {
	if err := checkRef(ref); err != nil {
		return err
	}
	if err := s.claim(ctx, ref); err != nil {
		return err
	}
	defer s.release(ref)
	if p := s.partial(ref); p != nil && p.users == 0 {
		return s.drop(p)
	}
	return nil
}

// claim waits until nobody else changes a blob's files, and keeps others from
// it until release.
func (s *Store) claim(ctx context.Context, ref sennit.Blob) error {
	for {
		s.mu.Lock()
		busy := s.claims[ref]
		if busy == nil {
			s.claims[ref] = make(chan struct{})
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return sennit.Errorf(sennit.CodeOf(ctx.Err()), "wait for a change of blob %s: %w", ref.Root, ctx.Err())
		}
	}
}

func (s *Store) release(ref sennit.Blob) {
	s.mu.Lock()
	busy := s.claims[ref]
	delete(s.claims, ref)
	s.mu.Unlock()
	close(busy)
}

// partial is what is known of a blob that is partly here, nil for others.
func (s *Store) partial(ref sennit.Blob) *partial {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.partials[ref]
}

// checkRef refuses what can't name a blob.
func checkRef(ref sennit.Blob) error {
	if ref.Size <= sennit.MaxInline || ref.Size > MaxSize {
		return sennit.Errorf(sennit.BadInput, "a blob has more than %d bytes and at most %d, not %d", sennit.MaxInline, uint64(MaxSize), ref.Size)
	}
	return nil
}

func notFound(ref sennit.Blob) error {
	return sennit.Errorf(sennit.NotFound, "blob %s of %d bytes is not here", ref.Root, ref.Size)
}

// fileName is the name of a blob's file: root, "-", size.
func fileName(ref sennit.Blob) string {
	return ref.Root.String() + "-" + strconv.FormatUint(ref.Size, 10)
}

// parseName reads what fileName gives, and nothing else.
func parseName(name string) (ref sennit.Blob, ok bool) {
	root, size, _ := strings.Cut(name, "-")
	h, err := sennit.ParseHash(root)
	if err != nil {
		return sennit.Blob{}, false
	}
	n, err := strconv.ParseUint(size, 10, 64)
	ref = sennit.Blob{Root: h, Size: n}
	return ref, err == nil && checkRef(ref) == nil && fileName(ref) == name
}
