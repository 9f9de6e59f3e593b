package store

import (
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// Batch is what becomes durable at once. One is open at a time; it belongs to
// one goroutine.
type Batch struct {
	reads
	s   *Store
	b   *pebble.Batch
	buf []byte // scratch for keys

	spaces []sennit.Space // new in this batch
	logs   []*Log
	n      uint64 // newest arrival, 0 if none
}

// Batch begins a batch that is only written.
func (s *Store) Batch() *Batch {
	return &Batch{s: s, b: s.db.NewBatch(), buf: make([]byte, 0, 1200)}
}

// ReadBatch begins a batch that can be read: it sees the store and what it
// holds itself. Writing to it costs about twice as much.
func (s *Store) ReadBatch() *Batch {
	b := s.db.NewIndexedBatch()
	return &Batch{s: s, b: b, reads: reads{r: b}, buf: make([]byte, 0, 1200)}
}

// Drop forgets the batch.
func (b *Batch) Drop() error { return b.b.Close() }

// Len is the bytes that the batch takes in memory and in the log.
func (b *Batch) Len() int { return b.b.Len() }

// Sync makes the batch durable and shows it to readers. If it fails nothing
// of it is stored.
func (b *Batch) Sync() error {
	if b.n > 0 {
		b.setMeta("arrivals", b.n)
	}
	if err := b.b.Commit(pebble.Sync); err != nil {
		return sennit.Errorf(sennit.Internal, "write to the store: %w", errors.Join(err, b.b.Close()))
	}
	s := b.s
	s.mu.Lock()
	old := s.view
	n := old.N
	if b.n > 0 {
		n = b.n
	}
	s.view = newView(s, n)
	for _, id := range b.spaces {
		s.spaces[id] = uint32(len(s.names))
		s.names = append(s.names, id)
	}
	for _, l := range b.logs {
		s.remember(l)
	}
	s.mu.Unlock()
	old.Release()
	return b.b.Close()
}

// set and del can't fail: a Pebble batch refuses only what is larger than
// 4 GiB, and the engine bounds its batches far below that.
func (b *Batch) set(k, v []byte) {
	if err := b.b.Set(k, v, nil); err != nil {
		panic(err)
	}
}

func (b *Batch) del(k []byte) {
	if err := b.b.Delete(k, nil); err != nil {
		panic(err)
	}
}

func (b *Batch) delRange(from, to []byte) {
	if err := b.b.DeleteRange(from, to, nil); err != nil {
		panic(err)
	}
}

func (b *Batch) setMeta(name string, v uint64) {
	b.set(append(append(b.buf[:0], keyMeta), name...), binary.BigEndian.AppendUint64(nil, v))
}

// SetLocal sets a value of the node's own state; nil removes it.
func (b *Batch) SetLocal(name string, value []byte) {
	k := append(append(b.buf[:0], keyLocal), name...)
	if value == nil {
		b.del(k)
		return
	}
	b.set(k, value)
}

// Space tells the number of a space, and gives it one if it has none.
func (b *Batch) Space(id sennit.Space) uint32 {
	if num, ok := b.s.Space(id); ok {
		return num
	}
	b.s.mu.RLock()
	num := uint32(len(b.s.names))
	b.s.mu.RUnlock()
	for i, have := range b.spaces {
		if have == id {
			return num + uint32(i)
		}
	}
	num += uint32(len(b.spaces))
	b.spaces = append(b.spaces, id)
	b.set(append(append(b.buf[:0], keySpace), id[:]...), binary.BigEndian.AppendUint32(nil, num))
	return num
}

// Log tells the log with a record, and adds it if it isn't known.
func (b *Batch) Log(rec wire.Log) *Log {
	id := rec.ID()
	if l := b.s.Log(id); l != nil {
		return l
	}
	for _, l := range b.logs {
		if l.ID == id {
			return l
		}
	}
	return b.Branch(rec)
}

// Branch adds a log, or another branch of one that is known.
func (b *Batch) Branch(rec wire.Log) *Log {
	b.s.mu.RLock()
	num := uint32(len(b.s.logs) + len(b.logs))
	b.s.mu.RUnlock()
	l := &Log{num, b.Space(rec.Space), rec.ID(), rec}
	b.logs = append(b.logs, l)
	b.set(binary.BigEndian.AppendUint32(append(b.buf[:0], keyLog), num), rec.Bytes())
	return l
}

// Branches lists the branches of a log, with those that the batch adds.
func (b *Batch) Branches(id sennit.Hash) []*Log {
	all := b.s.Branches(id)
	for _, l := range b.logs {
		if l.ID == id {
			all = append(all, l)
		}
	}
	return all
}

// PutCommit stores a commit's record without its ops.
func (b *Batch) PutCommit(log uint32, seq uint64, c *wire.Stored) {
	b.buf = commitKey(b.buf[:0], log, seq)
	at := len(b.buf)
	b.buf = c.Append(b.buf)
	b.set(b.buf[:at], b.buf[at:])
}

// PutOp stores an op.
func (b *Batch) PutOp(log uint32, seq uint64, index uint32, op []byte) {
	b.buf = opKey(b.buf[:0], log, seq, index)
	b.set(b.buf, op)
}

// PutNode stores a node of a log's id tree.
func (b *Batch) PutNode(log uint32, at commit.Place, h sennit.Hash) {
	b.buf = nodeKey(b.buf[:0], log, at)
	b.set(b.buf, h[:])
}

// Arrive notes that a commit arrived. Its number must be the next.
func (b *Batch) Arrive(space uint32, a Arrival) {
	b.n = a.N
	b.buf = arrivalKey(b.buf[:0], space, a.N)
	at := len(b.buf)
	b.buf = a.append(b.buf)
	b.set(b.buf[:at], b.buf[at:])
}

// Pass leaves out a number: nothing arrived, but there is a before and an after.
// It must be the next.
func (b *Batch) Pass(n uint64) { b.n = n }

// SetWaiting says that some ops of a commit are void or held.
func (b *Batch) SetWaiting(space, log uint32, seq uint64, w Wait) {
	v := append(binary.BigEndian.AppendUint32(nil, w.Size), 0)
	if w.Arrived {
		v[4] = 1
	}
	b.set(waitingKey(space, log, seq), v)
}

// ClearWaiting says that a commit is applied wholly.
func (b *Batch) ClearWaiting(space, log uint32, seq uint64) { b.del(waitingKey(space, log, seq)) }

// SetSpaceState stores a space's state.
func (b *Batch) SetSpaceState(space uint32, s SpaceState) {
	b.set(key(keyState, space), s.append(nil))
}

// PutEvidence stores evidence in a space, by its key.
func (b *Batch) PutEvidence(space uint32, evidenceKey sennit.Hash, evidence []byte) {
	b.set(append(key(keyProof, space), evidenceKey[:]...), evidence)
}

// DropEvidence removes evidence.
func (b *Batch) DropEvidence(space uint32, evidenceKey sennit.Hash) {
	b.del(append(key(keyProof, space), evidenceKey[:]...))
}

// PutFork stores the proof that a log forked, and when it was found, in
// milliseconds since 1970.
func (b *Batch) PutFork(space uint32, log sennit.Hash, found uint64, proof []byte) {
	b.set(append(key(keyFork, space), log[:]...), append(binary.BigEndian.AppendUint64(nil, found), proof...))
}

// DropFork removes the proof that a log forked.
func (b *Batch) DropFork(space uint32, log sennit.Hash) {
	b.del(append(key(keyFork, space), log[:]...))
}

// SetSlot makes an op live at a path. It is not for slots that hold many.
func (b *Batch) SetSlot(space uint32, p sennit.Path, slot tree.Slot, pos Pos) {
	b.buf = slotKey(b.buf[:0], space, p, slot, pos)
	at := len(b.buf)
	b.buf = pos.append(b.buf)
	b.set(b.buf[:at], b.buf[at:])
}

// ClearSlot makes an op not live any more. Where a slot holds one op, pos
// doesn't matter.
func (b *Batch) ClearSlot(space uint32, p sennit.Path, slot tree.Slot, pos Pos) {
	b.buf = slotKey(b.buf[:0], space, p, slot, pos)
	b.del(b.buf)
}

// ClearUnder makes every op under a path not live, without reading them. The
// ops at the path itself stay.
func (b *Batch) ClearUnder(space uint32, p sennit.Path) {
	for _, tag := range []byte{keyIndex, keyMany} {
		prefix := pathKeyIn(nil, tag, space, p)
		b.delRange(append(prefix[:len(prefix):len(prefix)], lastSlot+1), after(prefix))
	}
}

// ClearMany makes every op of a path not live that is in a slot in which more
// than one can be, without reading them.
func (b *Batch) ClearMany(space uint32, p sennit.Path) {
	for _, tag := range []byte{keyIndex, keyMany} {
		prefix := pathKeyIn(nil, tag, space, p)
		b.delRange(append(prefix[:len(prefix):len(prefix)], byte(tree.Add)+1), append(prefix[:len(prefix):len(prefix)], lastSlot+1))
	}
}

// ClearIndex drops a space's whole index, what waits, and its tries.
func (b *Batch) ClearIndex(space uint32) {
	for _, tag := range []byte{keyIndex, keyMany, keyWaiting, keyTrie, keyTrieAt} {
		b.delRange(key(tag, space), after(key(tag, space)))
	}
}
