package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/wire"
)

// View is the store at one moment: everything that was durable, nothing else.
// Pebble shows a batch to readers before its log is synced; reading through
// views keeps what could still be lost from leaving the process.
type View struct {
	N uint64 // arrivals up to here
	reads
	snap *pebble.Snapshot
	refs atomic.Int32
}

// reads are the reads that a view and an open batch have in common. What a
// batch reads includes what it holds.
type reads struct {
	r    pebble.Reader
	gate *gate // nil for a batch
}

// iter makes an iterator, which done closes.
func (v reads) iter(o *pebble.IterOptions) (*pebble.Iterator, error) {
	if err := v.gate.enter(); err != nil {
		return nil, err
	}
	it, err := v.r.NewIter(o)
	if err != nil {
		v.gate.leave()
		return nil, readError(err)
	}
	return it, nil
}

func (v reads) done(it *pebble.Iterator) {
	_ = it.Close() // what went wrong its Error told
	v.gate.leave()
}

func newView(s *Store, n uint64) *View {
	snap := s.db.NewSnapshot()
	s.gate.keep(snap)
	v := &View{N: n, reads: reads{snap, s.gate}, snap: snap}
	v.refs.Store(1)
	return v
}

// View takes the present view. Release it soon: while it is held, nothing
// that it can see is removed from disk. It fails with Gone after Close.
func (s *Store) View() (*View, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.view == nil {
		return nil, sennit.Errorf(sennit.Gone, "the node has stopped")
	}
	s.view.refs.Add(1)
	return s.view, nil
}

// Release gives the view back.
func (v *View) Release() {
	if v.refs.Add(-1) == 0 {
		_ = v.gate.release(v.snap) // it never fails
	}
}

// get reads a key; nil without error if there is none. The value is a copy.
func (v reads) get(k []byte) ([]byte, error) {
	if err := v.gate.enter(); err != nil {
		return nil, err
	}
	defer v.gate.leave()
	val, closer, err := v.r.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, readError(err)
	}
	out := append(make([]byte, 0, len(val)), val...)
	return out, closer.Close()
}

// scan calls f for every key with a prefix, in order. Key and value are valid
// during the call.
func (v reads) scan(prefix []byte, f func(k, v []byte) error) error {
	return v.scanRange(prefix, after(prefix), f)
}

func (v reads) scanRange(from, to []byte, f func(k, v []byte) error) error {
	it, err := v.iter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return err
	}
	defer v.done(it)
	for it.First(); it.Valid(); it.Next() {
		val, err := it.ValueAndErr()
		if err != nil {
			return readError(err)
		}
		if err := f(it.Key(), val); err != nil {
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

// ErrStop, returned by a function that a scan calls, ends the scan.
var ErrStop = errors.New("stop")

// Local reads a value of the node's own state, nil if there is none.
func (v reads) Local(name string) ([]byte, error) {
	return v.get(append([]byte{keyLocal}, name...))
}

// Locals calls f for the node's own values whose names start with prefix.
func (v reads) Locals(prefix string, f func(name string, value []byte) error) error {
	return v.scan(append([]byte{keyLocal}, prefix...), func(k, val []byte) error {
		return f(string(k[1:]), append([]byte(nil), val...))
	})
}

// Commit reads a commit, nil if it isn't here.
func (v reads) Commit(log uint32, seq uint64) (*wire.Stored, error) {
	k := commitKey(make([]byte, 0, 16), log, seq)
	b, err := v.get(k)
	if b == nil || err != nil {
		return nil, err
	}
	c, err := wire.DecodeStored(b)
	if err != nil {
		return nil, damaged(k)
	}
	return c, nil
}

// IDs calls f with the id of each of some commits, which must be sorted by log,
// then seq. What isn't here is left out.
func (v reads) IDs(places []Place, f func(i int, id sennit.Hash) error) error {
	it, err := v.iter(&pebble.IterOptions{LowerBound: []byte{keyCommit}, UpperBound: []byte{keyCommit + 1}})
	if err != nil {
		return err
	}
	defer v.done(it)
	var k []byte
	var id sennit.Hash
	here := false
	for i, p := range places {
		if i == 0 || p != places[i-1] {
			k = commitKey(k[:0], p.Log, p.Seq)
			if here = it.SeekGE(k) && bytes.Equal(it.Key(), k); here {
				val, err := it.ValueAndErr()
				if err != nil {
					return readError(err)
				}
				if id, here = wire.StoredID(val); !here {
					return damaged(k)
				}
			}
		}
		if !here {
			continue
		}
		if err := f(i, id); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return readError(err)
	}
	return nil
}

// Place is where a commit is stored.
type Place struct {
	Log uint32
	Seq uint64
}

// Commits calls f for the commits of a log from seq on, in order.
func (v reads) Commits(log uint32, seq uint64, f func(seq uint64, c *wire.Stored) error) error {
	return v.scanRange(commitKey(nil, log, seq), after(key(keyCommit, log)), func(k, val []byte) error {
		c, err := wire.DecodeStored(append([]byte(nil), val...))
		if err != nil || len(k) != 13 {
			return damaged(k)
		}
		return f(binary.BigEndian.Uint64(k[5:]), c)
	})
}

// Size is the number of commits that a log is known to have: the seq of the
// newest that is here.
func (v reads) Size(log uint32) (uint64, error) {
	it, err := v.iter(&pebble.IterOptions{LowerBound: key(keyCommit, log), UpperBound: after(key(keyCommit, log))})
	if err != nil {
		return 0, err
	}
	defer v.done(it)
	if !it.Last() {
		return 0, it.Error()
	}
	if len(it.Key()) != 13 {
		return 0, damaged(it.Key())
	}
	return binary.BigEndian.Uint64(it.Key()[5:]), nil
}

// NextCommit finds the first commit of a log from seq on.
func (v reads) NextCommit(log uint32, seq uint64) (next uint64, ok bool, err error) {
	it, err := v.iter(&pebble.IterOptions{LowerBound: commitKey(nil, log, seq), UpperBound: after(key(keyCommit, log))})
	if err != nil {
		return 0, false, err
	}
	defer v.done(it)
	if !it.First() {
		return 0, false, it.Error()
	}
	if len(it.Key()) != 13 {
		return 0, false, damaged(it.Key())
	}
	return binary.BigEndian.Uint64(it.Key()[5:]), true, nil
}

// Op reads an op, nil if it isn't here.
func (v reads) Op(log uint32, seq uint64, index uint32) ([]byte, error) {
	return v.get(opKey(make([]byte, 0, 16), log, seq, index))
}

// Ops calls f for the ops of a commit that are here, in order. The bytes are
// a copy.
func (v reads) Ops(log uint32, seq uint64, f func(index uint32, op []byte) error) error {
	return v.OpRange(log, seq, seq, func(_ uint64, index uint32, op []byte) error { return f(index, op) })
}

// opsRoom is how many bytes of ops are kept together in memory: whoever keeps
// one of them keeps all.
const opsRoom = 4 << 10

// OpRange calls f for the ops of the commits first to last, in order. The
// bytes are a copy.
func (v reads) OpRange(log uint32, first, last uint64, f func(seq uint64, index uint32, op []byte) error) error {
	from, to := opKey(nil, log, first, 0), opKey(nil, log, last+1, 0)
	var room []byte // for several copies
	return v.scanRange(from, to, func(k, val []byte) error {
		if len(k) != 15 {
			return damaged(k)
		}
		if len(val) > cap(room)-len(room) {
			room = make([]byte, 0, max(opsRoom, len(val)))
		}
		at := len(room)
		room = append(room, val...)
		return f(binary.BigEndian.Uint64(k[5:]), uint32(binary.BigEndian.Uint16(k[13:])), room[at:len(room):len(room)])
	})
}

// leaf reads the leaf of a log's id tree that stands for a commit, if that is
// here.
func (v reads) leaf(log uint32, seq uint64) (h sennit.Hash, ok bool, err error) {
	if err := v.gate.enter(); err != nil {
		return h, false, err
	}
	defer v.gate.leave()
	k := commitKey(make([]byte, 0, 16), log, seq)
	val, closer, err := v.r.Get(k)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return h, false, nil
	case err != nil:
		return h, false, readError(err)
	}
	id, ok := wire.StoredID(val)
	if err := closer.Close(); err != nil || !ok {
		return h, false, damaged(k)
	}
	return commit.Leaf(id[:]), true, nil
}

// Node reads a node of a log's id tree: from the commit where it is a leaf
// that is here, from the tree otherwise.
//
// A node that can't be told is zero: what came of the log came in pieces, and
// the pieces were proved by other nodes.
func (v reads) Node(log uint32, at commit.Place) (sennit.Hash, error) {
	if at.Level == 0 {
		if leaf, ok, err := v.leaf(log, at.Index+1); ok || err != nil {
			return leaf, err
		}
	}
	k := nodeKey(make([]byte, 0, 16), log, at)
	b, err := v.get(k)
	if b == nil || err != nil {
		return sennit.Hash{}, err
	}
	if len(b) != 32 {
		return sennit.Hash{}, damaged(k)
	}
	return sennit.Hash(b), nil
}

// Nodes reads what stands for a range of a log's commits: the nodes of its
// decomposition. ok is false if they can't be told.
func (v reads) Nodes(log uint32, begin, end uint64) (nodes []sennit.Hash, ok bool, err error) {
	for _, at := range commit.Decompose(begin, end) {
		h, err := v.Node(log, at)
		if err != nil || h.IsZero() {
			return nil, false, err
		}
		nodes = append(nodes, h)
	}
	return nodes, true, nil
}

// Peaks reads the tree of a log's first size commits. ok is false if it can't
// be told; it can wherever a commit that is here is the last.
func (v reads) Peaks(log uint32, size uint64) (p commit.Peaks, ok bool, err error) {
	p.Size = size
	p.Nodes, ok, err = v.Nodes(log, 0, size)
	return p, ok, err
}

// Arrival is a commit that came to this node, from wherever. One that counted
// only in part at first arrives again when more of it does.
type Arrival struct {
	N   uint64
	Log uint32
	Seq uint64

	// Mask has a bit for each op that changed a value when the commit arrived,
	// from the lowest bit of the first byte on; nil stands for all. The others
	// didn't count, or were covered, or covered nothing.
	Mask []byte
	// Late says that a deletion among them left newer values alive: it was not
	// of everything under its path.
	Late bool
	// Between says that a chunk among them came to lie before others of its
	// stream.
	Between bool
	// Beaten has a bit, as Mask has, for each put that was older than what this
	// node itself had written there; nil stands for none.
	Beaten []byte
}

// Changed reports whether the op with an index changed a value.
func (a *Arrival) Changed(index uint32) bool { return a.Mask == nil || has(a.Mask, index) }

// Lost reports whether the op with an index is among the beaten.
func (a *Arrival) Lost(index uint32) bool { return has(a.Beaten, index) }

func has(mask []byte, index uint32) bool {
	return int(index/8) < len(mask) && mask[index/8]>>(index%8)&1 == 1
}

func (a *Arrival) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(dst, a.Log), a.Seq)
	flags := byte(0)
	if a.Mask != nil {
		flags |= 1
	}
	if a.Late {
		flags |= 2
	}
	if a.Between {
		flags |= 4
	}
	if a.Beaten != nil { // which none is that changed anything: there is a mask
		flags |= 8
	}
	if flags != 0 {
		dst = append(append(append(dst, flags), a.Mask...), a.Beaten...)
	}
	return dst
}

func decodeArrival(k, b []byte) (a Arrival, ok bool) {
	if len(k) != 13 || len(b) < 12 || len(b) > 13+2*sennit.MaxOps/8 {
		return a, false
	}
	a = Arrival{N: binary.BigEndian.Uint64(k[5:]), Log: binary.BigEndian.Uint32(b), Seq: binary.BigEndian.Uint64(b[4:])}
	if len(b) == 12 {
		return a, true
	}
	flags := b[12]
	a.Late, a.Between = flags&2 != 0, flags&4 != 0
	masks := bytes.Clone(b[13:])
	if flags&8 != 0 {
		half := len(masks) / 2
		masks, a.Beaten = masks[:half], masks[half:]
		ok = len(masks) == len(a.Beaten) && flags&1 != 0
	} else {
		ok = len(masks) <= sennit.MaxOps/8
	}
	if flags&1 != 0 {
		a.Mask = masks
	}
	return a, ok && flags != 0 && flags < 16 && (flags&1 != 0) == (len(masks) > 0)
}

// Arrivals calls f for what arrived in a space after n, in order.
func (v reads) Arrivals(space uint32, n uint64, f func(Arrival) error) error {
	if n == math.MaxUint64 {
		return nil
	}
	return v.scanRange(arrivalKey(nil, space, n+1), after(key(keyArrival, space)), func(k, val []byte) error {
		a, ok := decodeArrival(k, val)
		if !ok {
			return damaged(k)
		}
		return f(a)
	})
}

// ArrivalsBack calls f for the arrivals of a space, the newest first, until it
// returns ErrStop.
func (v reads) ArrivalsBack(space uint32, f func(Arrival) error) error {
	it, err := v.iter(&pebble.IterOptions{LowerBound: key(keyArrival, space), UpperBound: after(key(keyArrival, space))})
	if err != nil {
		return err
	}
	defer v.done(it)
	for ok := it.Last(); ok; ok = it.Prev() {
		a, known := decodeArrival(it.Key(), it.Value())
		if !known {
			return damaged(it.Key())
		}
		if err := f(a); err == ErrStop {
			return nil
		} else if err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return readError(err)
	}
	return nil
}

// LastArrival is the number of a space's newest arrival, 0 if it has none.
func (v reads) LastArrival(space uint32) (uint64, error) {
	it, err := v.iter(&pebble.IterOptions{LowerBound: key(keyArrival, space), UpperBound: after(key(keyArrival, space))})
	if err != nil {
		return 0, err
	}
	defer v.done(it)
	if !it.Last() {
		return 0, it.Error()
	}
	if len(it.Key()) != 13 {
		return 0, damaged(it.Key())
	}
	return binary.BigEndian.Uint64(it.Key()[5:]), nil
}

// Wait is a commit that isn't applied, or not wholly, because ops of it are
// void or held.
type Wait struct {
	Size    uint32 // bytes of its ops
	Arrived bool   // some of it was applied
}

func decodeWait(b []byte) (w Wait, ok bool) {
	if len(b) != 5 || b[4] > 1 {
		return w, false
	}
	return Wait{binary.BigEndian.Uint32(b), b[4] == 1}, true
}

// Waiting calls f for the commits of a space that wait.
func (v reads) Waiting(space uint32, f func(log uint32, seq uint64, w Wait) error) error {
	return v.scan(key(keyWaiting, space), func(k, val []byte) error {
		w, ok := decodeWait(val)
		if len(k) != 17 || !ok {
			return damaged(k)
		}
		return f(binary.BigEndian.Uint32(k[5:]), binary.BigEndian.Uint64(k[9:]), w)
	})
}

// WaitOf tells whether a commit waits.
func (v reads) WaitOf(space, log uint32, seq uint64) (w Wait, waits bool, err error) {
	k := waitingKey(space, log, seq)
	b, err := v.get(k)
	if b == nil || err != nil {
		return w, false, err
	}
	if w, waits = decodeWait(b); !waits {
		err = damaged(k)
	}
	return w, waits, err
}

// SpaceState is what the engine has to know of a space before it writes there.
type SpaceState struct {
	Clock uint64 // of the newest op that was applied
	Deep  bool   // some path may hold a deep del
	Many  bool   // some path may hold ops in slots that hold many
	Torn  bool   // a collection dropped commits and didn't get to forget when they arrived
	Folds uint32 // how often the index was made anew: the trie of digests is that of one fold

	Ops     uint64 // data ops that are stored
	Kept    uint64 // of them, those that the last collection left
	Dropped uint64 // the newest arrival of which a collection dropped something
	Turned  uint64 // the number of the newest change of who may read what, or whether it is followed
}

// SpaceState reads a space's state.
func (v reads) SpaceState(space uint32) (s SpaceState, err error) {
	k := key(keyState, space)
	b, err := v.get(k)
	switch {
	case err != nil || b == nil:
		return s, err
	case len(b) == spaceStateLen-32 || len(b) == spaceStateLen-8: // written before ops were counted, or turns noted
		b = append(b, make([]byte, spaceStateLen-len(b))...)
	case len(b) != spaceStateLen:
		return s, damaged(k)
	}
	u64 := binary.BigEndian.Uint64
	return SpaceState{u64(b), b[8]&1 != 0, b[8]&2 != 0, b[8]&4 != 0, binary.BigEndian.Uint32(b[9:]), u64(b[13:]), u64(b[21:]), u64(b[29:]), u64(b[37:])}, nil
}

const spaceStateLen = 45

func (s SpaceState) append(dst []byte) []byte {
	flags := byte(0)
	if s.Deep {
		flags |= 1
	}
	if s.Many {
		flags |= 2
	}
	if s.Torn {
		flags |= 4
	}
	dst = append(binary.BigEndian.AppendUint64(dst, s.Clock), flags)
	dst = binary.BigEndian.AppendUint32(dst, s.Folds)
	for _, n := range []uint64{s.Ops, s.Kept, s.Dropped, s.Turned} {
		dst = binary.BigEndian.AppendUint64(dst, n)
	}
	return dst
}

// Evidence calls f for each evidence in a space.
func (v reads) Evidence(space uint32, f func(evidence []byte) error) error {
	return v.scan(key(keyProof, space), func(k, val []byte) error {
		if len(k) != 37 {
			return damaged(k)
		}
		return f(append([]byte(nil), val...))
	})
}

// Forks calls f for each proof in a space that a log forked, with when it was
// found, in milliseconds since 1970.
func (v reads) Forks(space uint32, f func(log sennit.Hash, found uint64, proof []byte) error) error {
	return v.scan(key(keyFork, space), func(k, val []byte) error {
		if len(k) != 37 || len(val) < 8 {
			return damaged(k)
		}
		return f(sennit.Hash(k[5:]), binary.BigEndian.Uint64(val), append([]byte(nil), val[8:]...))
	})
}
