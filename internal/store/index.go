package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/tree"
)

// In a key, a slot is a byte from 1: see pathKey.
const (
	firstSlot = byte(tree.Put) + 1
	lastSlot  = byte(tree.Other) + 1
)

// slotOf reads a slot's byte.
func slotOf(b byte) (s tree.Slot, ok bool) { return tree.Slot(b - 1), b >= firstSlot && b <= lastSlot }

// Pos is where an op is, and when it was written. In the index it takes
// 12 to 20 bytes.
type Pos struct {
	Clock uint64
	Log   uint32
	Seq   uint64
	Index uint32
	Since uint64 // of an add; it is in the key
}

func (p Pos) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(dst, p.Clock), p.Log)
	return binary.AppendUvarint(binary.AppendUvarint(dst, p.Seq), uint64(p.Index))
}

func decodePos(b []byte) (p Pos, ok bool) {
	p, n := readPos(b)
	return p, n > 0 && n == len(b)
}

// readPos reads a position at the beginning of b, and tells how long it is; 0
// if there is none.
func readPos(b []byte) (p Pos, size int) {
	if len(b) < 14 {
		return p, 0
	}
	p.Clock, p.Log = binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:])
	seq, n := binary.Uvarint(b[12:])
	if n <= 0 {
		return p, 0
	}
	index, m := binary.Uvarint(b[12+n:])
	p.Seq, p.Index = seq, uint32(index)
	if m <= 0 || index >= sennit.MaxOps {
		return p, 0
	}
	return p, 12 + n + m
}

// since takes what the key of an op in a slot holds beyond the slot. It reports
// whether that is as it should be.
func (p *Pos) since(slot tree.Slot, rest []byte) bool {
	if slot != tree.Add {
		return true
	}
	if len(rest) != 12 || binary.BigEndian.Uint32(rest) != p.Log {
		return false
	}
	p.Since = binary.BigEndian.Uint64(rest[4:])
	return true
}

// slotKey is the key of a slot's op. Slots that hold many have keys of their own.
func slotKey(dst []byte, space uint32, p sennit.Path, slot tree.Slot, pos Pos) []byte {
	dst = append(pathKey(dst, space, p), byte(slot)+1)
	if slot == tree.Add {
		dst = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(dst, pos.Log), pos.Since)
	}
	return dst
}

// At reads one slot of a path. It is not for tree.Add and slots that hold many.
func (v reads) At(space uint32, p sennit.Path, slot tree.Slot) (pos Pos, ok bool, err error) {
	return v.at(slotKey(make([]byte, 0, 128), space, p, slot, Pos{}))
}

// Total reads the live add of a log since a clock.
func (v reads) Total(space uint32, p sennit.Path, log uint32, since uint64) (pos Pos, ok bool, err error) {
	pos, ok, err = v.at(slotKey(make([]byte, 0, 128), space, p, tree.Add, Pos{Log: log, Since: since}))
	pos.Since = since
	return pos, ok, err
}

func (v reads) at(k []byte) (pos Pos, ok bool, err error) {
	if err := v.gate.enter(); err != nil {
		return Pos{}, false, err
	}
	defer v.gate.leave()
	val, closer, err := v.r.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return Pos{}, false, nil
	}
	if err != nil {
		return Pos{}, false, readError(err)
	}
	pos, ok = decodePos(val)
	if !ok {
		err = damaged(k)
	}
	if cerr := closer.Close(); err == nil && cerr != nil {
		err = readError(cerr)
	}
	return pos, ok, err
}

// Here calls f for the live ops of one path, in order of slot. Of slots that
// hold many it gives the newest op of a stream, and nothing else: see [reads.Many].
func (v reads) Here(space uint32, p sennit.Path, f func(tree.Slot, Pos) error) error {
	from := pathKey(nil, space, p)
	it, err := v.iter(&pebble.IterOptions{LowerBound: from, UpperBound: append(from[:len(from):len(from)], lastSlot+1)})
	if err != nil {
		return err
	}
	defer v.done(it)
	// Each is looked for instead of stepping there: behind a key that was written
	// often lie all its old values, which a step goes through.
	var next []byte
	for valid := it.First(); valid; valid = it.SeekGE(next) {
		val, err := it.ValueAndErr()
		if err != nil {
			return readError(err)
		}
		slot, pos, ok := decodeEntry(it.Key()[len(from):], val)
		if !ok {
			return damaged(it.Key())
		}
		next = append(append(next[:0], it.Key()...), 0)
		if err := f(slot, pos); err != nil {
			if errors.Is(err, ErrStop) {
				return nil
			}
			return err
		}
	}
	if err := it.Error(); err != nil {
		return readError(err)
	}
	return nil
}

// Under calls f for the live ops at p and everywhere under it, in order of
// path (depth first, by component), then slot; of slots that hold many only
// what Here does.
func (v reads) Under(space uint32, p sennit.Path, f func(sennit.Path, tree.Slot, Pos) error) error {
	from := pathKey(nil, space, p)
	return v.slots(from, after(from), f)
}

// UnderAfter is Under from just behind the path last.
func (v reads) UnderAfter(space uint32, p, last sennit.Path, f func(sennit.Path, tree.Slot, Pos) error) error {
	from := append(pathKey(nil, space, last), lastSlot+1)
	return v.slots(from, after(pathKey(nil, space, p)), f)
}

func (v reads) slots(from, to []byte, f func(sennit.Path, tree.Slot, Pos) error) error {
	return v.scanRange(from, to, func(k, val []byte) error {
		p, slot, ok := splitPathKey(k)
		if !ok || len(slot) == 0 {
			return damaged(k)
		}
		which, pos, ok := decodeEntry(slot, val)
		if !ok {
			return damaged(k)
		}
		return f(p, which, pos)
	})
}

// decodeEntry reads an entry of the index. key is what follows the path.
func decodeEntry(key, val []byte) (slot tree.Slot, pos Pos, ok bool) {
	if slot, ok = slotOf(key[0]); !ok {
		return slot, pos, false
	}
	if slot == tree.Append {
		s, ok := decodeStream(val)
		return slot, s.Newest, ok && len(key) == 1
	}
	pos, ok = decodePos(val)
	return slot, pos, ok && pos.since(slot, key[1:])
}

// stepsBeforeSeek is how many keys are stepped over before one is looked for.
const stepsBeforeSeek = 4

// Each calls f for the live ops at each of some paths of the trie of digests,
// which must be in order of their keys: see [SortPaths].
func (v reads) Each(space uint32, paths []sennit.Path, f func(int, tree.Slot, Pos) error) error {
	it, err := v.iter(&pebble.IterOptions{LowerBound: key(keyIndex, space), UpperBound: after(key(keyIndex, space))})
	if err != nil {
		return err
	}
	defer v.done(it)
	var from []byte
	valid := it.First()
	for i, p := range paths {
		if at, clock, ok := tree.OfMoment(p); ok {
			if err := v.moment(space, at, clock, func(s tree.Slot, pos Pos) error { return f(i, s, pos) }); err != nil {
				return err
			}
			continue
		}
		from = pathKey(from[:0], space, p)
		// What is wanted next is mostly near: stepping there costs a tenth of
		// looking for it.
		for near := 0; valid && bytes.Compare(it.Key(), from) < 0; near++ {
			if near == stepsBeforeSeek {
				valid = it.SeekGE(from)
				break
			}
			valid = it.Next()
		}
		for ; valid && bytes.HasPrefix(it.Key(), from); valid = it.Next() {
			if _, ok := slotOf(it.Key()[len(from)]); !ok {
				break // a component: the path's own slots are over
			}
			val, err := it.ValueAndErr()
			if err != nil {
				return readError(err)
			}
			slot, pos, ok := decodeEntry(it.Key()[len(from):], val)
			if !ok {
				return damaged(it.Key())
			}
			if slot.Many() {
				continue // its ops have paths of their own
			}
			if err := f(i, slot, pos); err != nil {
				return err
			}
		}
	}
	if err := it.Error(); err != nil {
		return readError(err)
	}
	return nil
}

// SortPaths sorts paths in the order of their keys.
func SortPaths(paths []sennit.Path) { slices.SortFunc(paths, sennit.Path.Compare) }

// holdsValue reports whether an op in a slot gives its path a value.
func holdsValue(slot byte) bool {
	return slot == byte(tree.Put)+1 || slot == byte(tree.Add)+1 || slot == byte(tree.Append)+1
}

// Children lists the children of p whose names sort after a name: for each,
// whether it holds a value, and whether there is a value beneath it. What holds
// neither isn't listed. The cost grows with the children listed and with the
// ops among them that give no value, not with the values that lie beneath.
func (v reads) Children(space uint32, p sennit.Path, from string, limit int) (entries []sennit.Entry, more bool, err error) {
	base := pathKey(nil, space, p)
	it, err := v.iter(&pebble.IterOptions{LowerBound: base, UpperBound: after(base)})
	if err != nil {
		return nil, false, err
	}
	defer v.done(it)
	seek := append(append([]byte(nil), base...), 0x10) // behind p's own slots
	if from != "" {
		seek = append(append(append([]byte(nil), base...), from...), 0x01)
	}
	for valid := it.SeekGE(seek); valid; {
		rest := it.Key()[len(base):]
		end := bytes.IndexByte(rest, 0)
		if end <= 0 {
			return nil, false, damaged(it.Key())
		}
		e := sennit.Entry{Name: string(rest[:end])}
		child := it.Key()[:len(base)+end+1]
		beneath, behind := append(bytes.Clone(child), lastSlot+1), append(bytes.Clone(child[:len(child)-1]), 0x01)
		for child = beneath[:len(child)]; valid && !e.Dir && bytes.HasPrefix(it.Key(), child); {
			_, slot, ok := splitPathKey(it.Key())
			if !ok || len(slot) == 0 || slot[0] < firstSlot || slot[0] > lastSlot {
				return nil, false, damaged(it.Key())
			}
			switch {
			case !holdsValue(slot[0]):
				valid = it.Next()
			case it.Key()[len(child)] <= lastSlot: // the child's own
				e.Value = true
				valid = it.SeekGE(beneath)
			default:
				e.Dir = true
				valid = it.SeekGE(behind)
			}
		}
		if e.Value || e.Dir {
			if len(entries) == limit {
				return entries, true, nil
			}
			entries = append(entries, e)
		}
	}
	if err := it.Error(); err != nil {
		return nil, false, readError(err)
	}
	return entries, false, nil
}
