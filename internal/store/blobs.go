package store

import (
	"encoding/binary"
	"slices"

	"github.com/sennit/sennit"
)

// This file is about which puts name blobs. An entry says that some did; those
// who care look whether one still counts.

func blobKey(dst []byte, ref sennit.Blob) []byte {
	return binary.BigEndian.AppendUint64(append(append(dst, keyBlob), ref.Root[:]...), ref.Size)
}

const blobKeyLen = 1 + 32 + 8

// NameBlob notes that a put at a path names a blob.
func (b *Batch) NameBlob(ref sennit.Blob, space uint32, p sennit.Path) {
	b.buf = binary.BigEndian.AppendUint32(blobKey(b.buf[:0], ref), space)
	b.set(append(b.buf, p...), nil)
}

// UnnameBlob notes that none at the path does any more.
func (b *Batch) UnnameBlob(ref sennit.Blob, space uint32, p sennit.Path) {
	b.buf = binary.BigEndian.AppendUint32(blobKey(b.buf[:0], ref), space)
	b.del(append(b.buf, p...))
}

// BlobName is a path where a put names a blob.
type BlobName struct {
	Blob  sennit.Blob
	Space uint32
	Path  sennit.Path
}

// NamesBlob reports whether some put at a path names a blob.
func (v reads) NamesBlob(n BlobName) (bool, error) {
	key := binary.BigEndian.AppendUint32(blobKey(nil, n.Blob), n.Space)
	b, err := v.get(append(key, n.Path...))
	return b != nil, err
}

// BlobNames calls f for the paths that name a blob.
func (v reads) BlobNames(ref sennit.Blob, f func(BlobName) error) error {
	return v.blobNames(blobKey(nil, ref), f)
}

// AllBlobNames calls f for all paths that name blobs, blob by blob.
func (v reads) AllBlobNames(f func(BlobName) error) error { return v.blobNames([]byte{keyBlob}, f) }

func (v reads) blobNames(prefix []byte, f func(BlobName) error) error {
	return v.scan(prefix, func(k, _ []byte) error {
		if len(k) < blobKeyLen+4 {
			return damaged(k)
		}
		n := BlobName{Space: binary.BigEndian.Uint32(k[blobKeyLen:])}
		copy(n.Blob.Root[:], k[1:])
		n.Blob.Size = binary.BigEndian.Uint64(k[33:])
		p, err := sennit.ParsePath(string(slices.Clone(k[blobKeyLen+4:])))
		if err != nil {
			return damaged(k)
		}
		n.Path = p
		return f(n)
	})
}

// SpaceByNum tells which space has a number.
func (s *Store) SpaceByNum(num uint32) (id sennit.Space, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if int(num) >= len(s.names) {
		return id, false
	}
	return s.names[num], true
}
