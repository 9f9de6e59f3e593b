package node

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"strconv"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about what a path shows. The register, the counter and the stream
// at one path are facets of their own: who sets it doesn't change what was
// counted. A read shows the newest of them.

// counterType is the media type of a counter's value: a JSON number.
const counterType = "application/json"

// lens is a state of the store to look at: a view, or what a batch makes of it.
type lens struct {
	reader
	log   func(num uint32) *store.Log
	stamp func(store.Pos) (tree.Stamp, error)
}

func (n *Node) through(v *store.View) lens {
	return lens{v, n.st.LogByNum, func(p store.Pos) (tree.Stamp, error) { return n.stamp(v, p) }}
}

// through looks at what the batch makes of the store. The batch must be
// readable.
func (t *txn) through() lens {
	return lens{t.b, t.log, t.stamp}
}

// log tells the log with a number, nil if there is none. It knows those that the
// batch adds.
func (t *txn) log(num uint32) *store.Log {
	if ls := t.n.logs[num]; ls != nil {
		return ls.Log
	}
	return t.n.st.LogByNum(num)
}

// shown is what a path shows: a value that was set, a counter, or a stream.
type shown struct {
	newest store.Pos   // op that changed it last
	adds   []store.Pos // of a counter
	stream bool
}

// facets gathers what a path may show from the live ops there.
type facets struct {
	put      store.Pos // seq 0: none
	adds     []store.Pos
	added    store.Pos // newest of adds
	appended store.Pos // newest chunk of the stream
}

// take adds a live op.
func (f *facets) take(l lens, s tree.Slot, pos store.Pos) error {
	switch s {
	case tree.Put:
		f.put = pos
	case tree.Add:
		newer, err := l.newer(pos, f.added)
		if newer {
			f.added = pos
		}
		f.adds = append(f.adds, pos)
		return err
	case tree.Append:
		f.appended = pos
	}
	return nil
}

// show tells what the path shows, if anything.
func (f *facets) show(l lens) (s shown, ok bool, err error) {
	s.newest = f.put
	counts, err := l.newer(f.added, s.newest)
	if counts {
		s = shown{newest: f.added, adds: f.adds}
	}
	if err != nil {
		return s, false, err
	}
	grows, err := l.newer(f.appended, s.newest)
	if grows {
		s = shown{newest: f.appended, stream: true}
	}
	return s, s.newest.Seq > 0, err
}

// newer reports whether the op at a is newer than that at b. The zero Pos is
// none.
func (l lens) newer(a, b store.Pos) (bool, error) {
	if a.Seq == 0 || b.Seq == 0 || a.Clock != b.Clock {
		return a.Seq > 0 && (b.Seq == 0 || a.Clock > b.Clock), nil
	}
	x, err := l.stamp(a)
	if err != nil {
		return false, err
	}
	y, err := l.stamp(b)
	return y.Before(x), err
}

// shows tells what a path shows, if anything.
func (l lens) shows(sp *space, p sennit.Path) (s shown, ok bool, err error) {
	if !sp.many.Load() {
		s.newest, ok, err = l.At(sp.num, p, tree.Put)
		return s, ok, err
	}
	var f facets
	if err := l.Here(sp.num, p, func(slot tree.Slot, pos store.Pos) error { return f.take(l, slot, pos) }); err != nil {
		return s, false, err
	}
	return f.show(l)
}

// each calls f for every path at or under root that shows something, in order
// of path; with after, only for those behind that path.
func (l lens) each(sp *space, root sennit.Path, after *sennit.Path, f func(sennit.Path, shown) error) error {
	var at sennit.Path
	var have facets
	flush := func() error {
		s, ok, err := have.show(l)
		if have = (facets{}); !ok || err != nil {
			return err
		}
		return f(at, s)
	}
	var stopped error // by f
	visit := func(p sennit.Path, s tree.Slot, pos store.Pos) error {
		if p != at {
			stopped = flush()
			at = p
		}
		return cmp.Or(stopped, have.take(l, s, pos))
	}
	var err error
	if after != nil {
		err = l.UnderAfter(sp.num, root, *after, visit)
	} else {
		err = l.Under(sp.num, root, visit)
	}
	if err == nil && stopped == nil {
		err = flush()
	}
	if errors.Is(err, store.ErrStop) {
		return nil
	}
	return err
}

// node is the value that a path shows.
func (l lens) node(sp *space, p sennit.Path, s shown) (sennit.Node, error) {
	log := l.log(s.newest.Log)
	if log == nil {
		return sennit.Node{}, unreadable(p, errors.New("its log is missing"))
	}
	n := sennit.Node{
		Path: p, Version: version(log.ID, s.newest.Seq), Time: clockTime(s.newest.Clock),
		Author: author(log.Rec),
	}
	switch {
	case s.stream:
		return n, l.stream(sp, &n)
	case s.adds != nil:
		return n, l.counter(&n, s)
	}
	op, err := l.op(p, s.newest)
	if err != nil {
		return n, err
	}
	put, err := wire.DecodePut(op.Body)
	if n.Value = put.Value; err != nil {
		err = unreadable(p, err)
	}
	return n, err
}

// counter makes the value of a counter.
func (l lens) counter(n *sennit.Node, s shown) error {
	var sum int64
	var large *big.Int // once the sum exceeds 64 bits
	mix := uint64(0)
	for _, pos := range s.adds {
		log := l.log(pos.Log)
		if log == nil {
			return unreadable(n.Path, errors.New("its log is missing"))
		}
		mix ^= mixed(log.ID, pos)
		total, err := l.total(n.Path, pos)
		if err != nil {
			return err
		}
		if more := sum + total; large == nil && (more > sum) == (total > 0) {
			sum = more
			continue
		}
		if large == nil {
			large = big.NewInt(sum)
		}
		large.Add(large, big.NewInt(total))
	}
	n.Value = sennit.Value{Type: counterType, Data: strconv.AppendInt(nil, sum, 10)}
	if large != nil {
		n.Value.Data = large.Append(nil, 10)
	}
	if len(s.adds) > 1 {
		n.Version = of(n.Version, mix)
	}
	return nil
}

// mixed is an op's part in what tells sets of ops apart: they are added up
// without carry, so that one can come and go by itself.
func mixed(log sennit.Hash, pos store.Pos) uint64 {
	var b [52]byte
	copy(b[:], log[:])
	binary.BigEndian.PutUint64(b[32:], pos.Clock) // tells branches of a log apart
	binary.BigEndian.PutUint64(b[40:], pos.Seq)
	binary.BigEndian.PutUint32(b[48:], pos.Index)
	h := sha256.Sum256(b[:])
	return binary.BigEndian.Uint64(h[:])
}

// of is the version of a value that several ops make.
func of(newest sennit.Version, mix uint64) sennit.Version {
	return newest + sennit.Version(fmt.Sprintf(".%016x", mix))
}

// op reads a live op.
func (l lens) op(p sennit.Path, pos store.Pos) (wire.Op, error) {
	raw, err := l.Op(pos.Log, pos.Seq, pos.Index)
	if err != nil {
		return wire.Op{}, err
	}
	if raw == nil {
		return wire.Op{}, unreadable(p, errors.New("it is missing"))
	}
	op, err := wire.DecodeOp(raw)
	if err != nil {
		err = unreadable(p, err)
	}
	return op, err
}

// total reads what an add states.
func (l lens) total(p sennit.Path, pos store.Pos) (int64, error) {
	op, err := l.op(p, pos)
	if err != nil {
		return 0, err
	}
	add, err := wire.DecodeAdd(op.Body)
	if err != nil {
		err = unreadable(p, err)
	}
	return add.Total, err
}
