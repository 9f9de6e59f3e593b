package store

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// Trie is the digest trie of one fold of a space's index: what package tree
// calls Nodes. It is derived, so it is written without waiting for the disk.
// Its keys are those of package tree behind this store's prefix. Each fold has
// a trie of its own, so that whoever still works on the last one's does no harm.
type Trie struct {
	s     *Store
	space uint32
	folds uint32
	b     *pebble.Batch
	r     reads
	snap  *pebble.Snapshot
	key   []byte
}

func trieAt(space, folds uint32) []byte {
	return binary.BigEndian.AppendUint32(key(keyTrieAt, space), folds)
}

// TrieAt tells the arrival up to which a space's trie is up to date.
func (s *Store) TrieAt(space, folds uint32) (uint64, error) {
	k := trieAt(space, folds)
	b, err := reads{s.db, s.gate}.get(k)
	switch {
	case err != nil || b == nil:
		return 0, err
	case len(b) != 8:
		return 0, damaged(k)
	}
	return binary.BigEndian.Uint64(b), nil
}

// EditTrie begins a change of a space's trie. One at a time.
func (s *Store) EditTrie(space, folds uint32) *Trie {
	b := s.db.NewIndexedBatch()
	return &Trie{s: s, space: space, folds: folds, b: b, r: reads{b, s.gate}}
}

// ReadTrie reads a space's trie as it is now. Release it with Done.
func (s *Store) ReadTrie(space, folds uint32) *Trie {
	t := &Trie{s: s, space: space, folds: folds, r: reads{gate: s.gate}}
	if s.gate.enter() == nil { // else its reads say so
		defer s.gate.leave()
		t.snap = s.db.NewSnapshot()
		t.r.r = t.snap
		s.gate.keep(t.snap)
	}
	return t
}

// Done ends reading, or drops a change.
func (t *Trie) Done() error {
	switch {
	case t.snap != nil:
		return t.s.gate.release(t.snap)
	case t.b != nil:
		return t.b.Close()
	}
	return nil
}

// Commit ends a change: the trie is up to date with arrivals up to n.
func (t *Trie) Commit(n uint64) error {
	if err := t.s.gate.enter(); err != nil {
		return errors.Join(err, t.b.Close())
	}
	defer t.s.gate.leave()
	err := t.b.Set(trieAt(t.space, t.folds), binary.BigEndian.AppendUint64(nil, n), nil)
	if err == nil {
		err = t.b.Commit(pebble.NoSync)
	}
	return errors.Join(err, t.b.Close())
}

func (t *Trie) at(k []byte) []byte {
	t.key = binary.BigEndian.AppendUint32(append(t.key[:0], keyTrie), t.space)
	t.key = append(binary.BigEndian.AppendUint32(t.key, t.folds), k...)
	return t.key
}

// Get reads a node, nil if there is none.
func (t *Trie) Get(k []byte) ([]byte, error) { return t.r.get(t.at(k)) }

// Set writes a node.
func (t *Trie) Set(k, v []byte) error { return t.b.Set(t.at(k), v, nil) }

// Delete deletes a node.
func (t *Trie) Delete(k []byte) error { return t.b.Delete(t.at(k), nil) }

// DeleteRange deletes the nodes from start on that are before end.
func (t *Trie) DeleteRange(start, end []byte) error {
	from := append([]byte(nil), t.at(start)...)
	return t.b.DeleteRange(from, t.at(end), nil)
}

// Same reports whether two tries that are read hold the same nodes. They may
// be of different stores.
func (t *Trie) Same(u *Trie) (bool, error) {
	a, err := t.nodes()
	if err != nil {
		return false, err
	}
	defer t.r.done(a)
	b, err := u.nodes()
	if err != nil {
		return false, err
	}
	defer u.r.done(b)
	same := true
	for more, more2 := a.First(), b.First(); same && (more || more2); more, more2 = a.Next(), b.Next() {
		same = more && more2 && bytes.Equal(a.Key()[trieKey:], b.Key()[trieKey:]) && bytes.Equal(a.Value(), b.Value())
	}
	if err := errors.Join(a.Error(), b.Error()); err != nil {
		return false, readError(err)
	}
	return same, nil
}

// trieKey is the length of what comes before a node's own key.
const trieKey = 9

func (t *Trie) nodes() (*pebble.Iterator, error) {
	from := bytes.Clone(t.at(nil))
	it, err := t.r.iter(&pebble.IterOptions{LowerBound: from, UpperBound: after(from)})
	if err != nil {
		return nil, readError(err)
	}
	return it, nil
}
