package store

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/tree"
)

// This file is about slots in which many ops can be live at one path: those of
// streams, and of kinds that aren't interpreted. They are listed apart from the
// rest of the index, oldest first, so that whoever goes through paths doesn't
// meet each of them. Of a stream the index proper says what it comes to.

// Stream is what the chunks of a stream come to.
type Stream struct {
	Newest Pos
	Chunks uint64
	Bytes  uint64
	Mix    uint64 // tells sets of chunks apart; the engine's
}

func (s Stream) append(dst []byte) []byte {
	dst = binary.AppendUvarint(binary.AppendUvarint(s.Newest.append(dst), s.Chunks), s.Bytes)
	return binary.BigEndian.AppendUint64(dst, s.Mix)
}

func decodeStream(b []byte) (s Stream, ok bool) {
	var n int
	if s.Newest, n = readPos(b); n == 0 {
		return s, false
	}
	b = b[n:]
	for _, v := range []*uint64{&s.Chunks, &s.Bytes} {
		if *v, n = binary.Uvarint(b); n <= 0 {
			return s, false
		}
		b = b[n:]
	}
	if len(b) != 8 || s.Chunks == 0 {
		return s, false
	}
	s.Mix = binary.BigEndian.Uint64(b)
	return s, true
}

// Stream tells what the chunks of a path's stream come to. ok is false if it
// has none.
func (v reads) Stream(space uint32, p sennit.Path) (s Stream, ok bool, err error) {
	k := slotKey(make([]byte, 0, 128), space, p, tree.Append, Pos{})
	b, err := v.get(k)
	if b == nil || err != nil {
		return s, false, err
	}
	if s, ok = decodeStream(b); !ok {
		err = damaged(k)
	}
	return s, ok, err
}

// SetStream says what the chunks of a path's stream come to; none clears it.
func (b *Batch) SetStream(space uint32, p sennit.Path, s Stream) {
	b.buf = slotKey(b.buf[:0], space, p, tree.Append, Pos{})
	if s.Chunks == 0 {
		b.del(b.buf)
		return
	}
	at := len(b.buf)
	b.buf = s.append(b.buf)
	b.set(b.buf[:at], b.buf[at:])
}

// manyKey is the key of an op in a slot that holds many.
func manyKey(dst []byte, space uint32, p sennit.Path, slot tree.Slot, pos Pos) []byte {
	dst = append(pathKeyIn(dst, keyMany, space, p), byte(slot)+1)
	dst = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(dst, pos.Clock), pos.Log)
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint64(dst, pos.Seq), uint16(pos.Index))
}

// decodeMany reads what follows the path in such a key, and its value.
func decodeMany(key, val []byte) (slot tree.Slot, pos Pos, bytes uint64, ok bool) {
	if len(key) != 23 {
		return 0, pos, 0, false
	}
	slot, ok = slotOf(key[0])
	pos = Pos{
		Clock: binary.BigEndian.Uint64(key[1:]), Log: binary.BigEndian.Uint32(key[9:]),
		Seq: binary.BigEndian.Uint64(key[13:]), Index: uint32(binary.BigEndian.Uint16(key[21:])),
	}
	bytes, n := binary.Uvarint(val)
	return slot, pos, bytes, ok && slot.Many() && n > 0 && n == len(val)
}

// SetMany makes an op live in a slot that holds many. bytes is what it adds to
// a stream.
func (b *Batch) SetMany(space uint32, p sennit.Path, slot tree.Slot, pos Pos, bytes uint64) {
	b.buf = manyKey(b.buf[:0], space, p, slot, pos)
	at := len(b.buf)
	b.buf = binary.AppendUvarint(b.buf, bytes)
	b.set(b.buf[:at], b.buf[at:])
}

// DropMany makes an op not live any more in a slot that holds many.
func (b *Batch) DropMany(space uint32, p sennit.Path, slot tree.Slot, pos Pos) {
	b.buf = manyKey(b.buf[:0], space, p, slot, pos)
	b.del(b.buf)
}

// HasMany reports whether an op is live in a slot that holds many.
func (v reads) HasMany(space uint32, p sennit.Path, slot tree.Slot, pos Pos) (bool, error) {
	b, err := v.get(manyKey(make([]byte, 0, 128), space, p, slot, pos))
	return b != nil, err
}

// Many calls f for the live ops of a path in slots that hold many, by slot,
// oldest clock first.
func (v reads) Many(space uint32, p sennit.Path, f func(s tree.Slot, pos Pos, bytes uint64) error) error {
	from := pathKeyIn(nil, keyMany, space, p)
	to := append(from[:len(from):len(from)], lastSlot+1)
	return v.many(from, to, func(_ sennit.Path, s tree.Slot, pos Pos, bytes uint64) error { return f(s, pos, bytes) })
}

// ManyUnder calls f for the live ops in slots that hold many, at p and
// everywhere under it.
func (v reads) ManyUnder(space uint32, p sennit.Path, f func(q sennit.Path, s tree.Slot, pos Pos, bytes uint64) error) error {
	from := pathKeyIn(nil, keyMany, space, p)
	return v.many(from, after(from), f)
}

// moment calls f for those of a path that have a clock.
func (v reads) moment(space uint32, p sennit.Path, clock uint64, f func(tree.Slot, Pos) error) error {
	for s := tree.Append; s <= tree.Other; s++ {
		from := binary.BigEndian.AppendUint64(append(pathKeyIn(nil, keyMany, space, p), byte(s)+1), clock)
		err := v.many(from, after(from), func(_ sennit.Path, s tree.Slot, pos Pos, _ uint64) error { return f(s, pos) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (v reads) many(from, to []byte, f func(p sennit.Path, s tree.Slot, pos Pos, bytes uint64) error) error {
	return v.scanRange(from, to, func(k, val []byte) error {
		p, rest, ok := splitPathKey(k)
		if !ok {
			return damaged(k)
		}
		slot, pos, bytes, ok := decodeMany(rest, val)
		if !ok {
			return damaged(k)
		}
		return f(p, slot, pos, bytes)
	})
}

// Chunks goes through the chunks of one stream, by clock, either way.
type Chunks struct {
	Pos   Pos
	Bytes uint64

	gate   *gate
	it     *pebble.Iterator
	prefix int
}

// Chunks begins to go through a path's stream. Close it.
func (v reads) Chunks(space uint32, p sennit.Path) (*Chunks, error) {
	from := append(pathKeyIn(nil, keyMany, space, p), byte(tree.Append)+1)
	it, err := v.iter(&pebble.IterOptions{LowerBound: from, UpperBound: after(from)})
	if err != nil {
		return nil, err
	}
	defer v.gate.leave() // it may be kept for long
	v.gate.keep(it)
	return &Chunks{gate: v.gate, it: it, prefix: len(from) - 1}, nil
}

// First, Last, Next and Prev move to a chunk and report whether there is one.

func (c *Chunks) First() (bool, error) { return c.read(c.it.First) }
func (c *Chunks) Last() (bool, error)  { return c.read(c.it.Last) }
func (c *Chunks) Next() (bool, error)  { return c.read(c.it.Next) }
func (c *Chunks) Prev() (bool, error)  { return c.read(c.it.Prev) }

func (c *Chunks) read(move func() bool) (bool, error) {
	if err := c.gate.enter(); err != nil {
		return false, err
	}
	defer c.gate.leave()
	if !move() {
		if err := c.it.Error(); err != nil {
			return false, readError(err)
		}
		return false, nil
	}
	val, err := c.it.ValueAndErr()
	if err != nil {
		return false, readError(err)
	}
	var ok bool
	if _, c.Pos, c.Bytes, ok = decodeMany(c.it.Key()[c.prefix:], val); !ok {
		return false, damaged(c.it.Key())
	}
	return true, nil
}

// Close ends it.
func (c *Chunks) Close() error { return c.gate.release(c.it) }
