package node

import (
	"context"
	"errors"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about reading a version: what a path showed when the op that
// made the version was the newest there.
//
// What was set is read from its commit, at once. Of a stream that wasn't deleted
// since, the list of chunks is walked back to the version. Only a counter, and a
// stream that was deleted, have to be put together from all ops that are held of
// the space, because what is dead is in no index; one such reading goes on at a
// time.

// maxChunks is how many chunks a deleted stream may have to be read at a
// version: the places of all are in memory.
const maxChunks = 1 << 18

// At implements [sennit.Bus].
func (b *view) At(ctx context.Context, a sennit.Addr, at sennit.Version) (sennit.Node, sennit.Content, error) {
	sp, v, err := b.open(a)
	if err != nil {
		return sennit.Node{}, nil, err
	}
	m := &moment{b: b, a: a, sp: sp, v: v, asked: at}
	c, err := m.read(ctx)
	if err != nil {
		v.Release()
		return sennit.Node{}, nil, err
	}
	switch c.(type) {
	case *streamContent, *pieces:
		return m.node, &held{c, v}, nil
	}
	v.Release()
	return m.node, c, nil
}

// parseVersion reads a version. What follows the commit isn't read: it can only
// be compared.
func parseVersion(v sennit.Version) (log sennit.Hash, seq uint64, ok bool) {
	commit, _, _ := strings.Cut(string(v), ".")
	id, number, _ := strings.Cut(commit, "-")
	space, err := sennit.ParseSpace(id)
	if err != nil {
		return log, 0, false
	}
	seq, err = strconv.ParseUint(number, 10, 64)
	return sennit.Hash(space), seq, err == nil && version(sennit.Hash(space), seq) == sennit.Version(commit)
}

// moment is one reading of a version.
type moment struct {
	b     *view
	a     sennit.Addr
	sp    *space
	v     *store.View
	asked sennit.Version

	log  *store.Log
	op   wire.Op    // that made the version
	pos  store.Pos  // of it
	at   tree.Stamp // of it
	node sennit.Node
}

// read finds what the path showed.
func (m *moment) read(ctx context.Context) (sennit.Content, error) {
	if err := m.find(); err != nil {
		return nil, err
	}
	m.node = sennit.Node{
		Path: m.a.Path, Version: version(m.log.ID, m.pos.Seq), Time: clockTime(m.pos.Clock),
		Author: author(m.log.Rec),
	}
	switch m.op.Kind {
	case sennit.KindAdd:
		return m.counter(ctx)
	case sennit.KindAppend:
		return m.stream(ctx)
	case sennit.KindDel:
		return nil, sennit.Errorf(sennit.NotFound, "nothing was at %s at version %s: it deleted what was there", m.a, m.asked)
	}
	put, err := wire.DecodePut(m.op.Body)
	switch m.node.Value = put.Value; {
	case err != nil:
		return nil, unreadable(m.a.Path, err)
	case m.asked != m.node.Version:
		return nil, m.never()
	case put.Value.Blob != nil:
		return m.b.n.openBlob(ctx, Want{m.sp.id, m.a.Path, *put.Value.Blob})
	}
	return inline(put.Value.Data), nil
}

func (m *moment) never() error {
	return sennit.Hint(sennit.Errorf(sennit.NotFound, "%s never had the version %.100q, as far as this node knows", m.a, m.asked),
		"list the versions that are held with: sennit history --json")
}

// gone says that a version was there, and that what it takes to show it isn't
// held any more.
func (m *moment) gone() error {
	return sennit.Hint(sennit.Errorf(sennit.Gone, "what %s showed at version %s is not held here any more", m.a, m.asked),
		"what is overwritten is held for 30 days, and not all of it; a node that follows the space with --mode full may have it")
}

// find finds the op that made the version: the last one of its commit that
// counts and concerns the path.
func (m *moment) find() error {
	n := m.b.n
	log, seq, ok := parseVersion(m.asked)
	if !ok {
		return m.never()
	}
	branches, dropped := n.st.Branches(log), false
	for _, l := range branches {
		if l.Space != m.sp.num || l.Rec.Class != wire.Data {
			continue
		}
		rec, err := m.v.Commit(l.Num, seq)
		if err != nil {
			return err
		}
		if rec == nil {
			size, err := m.v.Size(l.Num)
			if err != nil {
				return err
			}
			dropped = dropped || seq > 0 && seq <= size
			continue
		}
		dropped = dropped || len(rec.Gone) > 0
		x := newTrial(m.sp.authority(), m.v, l, branches)
		if err := m.v.Ops(l.Num, seq, func(index uint32, raw []byte) error {
			op, err := wire.DecodeOp(raw)
			if err != nil {
				return unreadable(m.a.Path, err)
			}
			slot := tree.SlotOf(op.Kind, deep(&op))
			if slot == tree.Other || op.Path != m.a.Path && !(slot == tree.Deep && m.a.Path.Under(op.Path)) {
				return nil
			}
			if counts, err := x.counts(seq, rec, &op); err != nil || !counts || n.early(rec.Clock) {
				return err
			}
			m.log, m.op = l, op
			m.pos = store.Pos{Clock: rec.Clock, Log: l.Num, Seq: seq, Index: index}
			m.at = tree.Stamp{Clock: rec.Clock, Log: l.ID, Seq: seq, Index: index, Commit: rec.ID}
			return nil
		}); err != nil || m.log != nil {
			return err
		}
	}
	if dropped {
		return m.gone()
	}
	return m.never()
}

// made finishes the version of a value that several ops made. What was asked
// for may leave out what tells their set from others; if it doesn't, it must be
// that set. sure says that none of them can have been dropped.
func (m *moment) made(ops uint64, mix uint64, sure bool) error {
	commit := m.node.Version
	if ops > 1 {
		m.node.Version = of(commit, mix)
	}
	if m.asked == m.node.Version && ops > 1 || m.asked == commit && sure {
		return nil
	}
	return m.gone()
}

// counter adds up what every log had counted.
func (m *moment) counter(ctx context.Context) (sennit.Content, error) {
	g, err := m.gather(ctx)
	if err != nil {
		return nil, err
	}
	sum, mix, mine := new(big.Int), uint64(0), false
	for _, x := range g.adds {
		log := m.b.n.st.LogByNum(x.pos.Log)
		mine = mine || x.at == m.at
		mix ^= mixed(log.ID, x.pos)
		sum.Add(sum, big.NewInt(x.total))
	}
	if !mine { // it was begun before a deletion that it didn't know of
		return nil, sennit.Errorf(sennit.NotFound, "the version %s counted for nothing at %s: it was deleted before", m.asked, m.a)
	}
	m.node.Value = sennit.Value{Type: counterType, Data: sum.Append(nil, 10)}
	if err := m.made(uint64(len(g.adds)), mix, g.sure); err != nil {
		return nil, err
	}
	return inline(m.node.Value.Data), nil
}

// stream reads the stream up to the chunk that made the version.
func (m *moment) stream(ctx context.Context) (sennit.Content, error) {
	l := m.b.n.through(m.v)
	live, err := m.v.HasMany(m.sp.num, m.a.Path, tree.Append, m.pos)
	if err != nil {
		return nil, err
	}
	var c sennit.Content
	if live {
		c, err = m.live(ctx, l)
	} else {
		c, err = m.deleted(ctx, l)
	}
	if err != nil {
		return nil, err
	}
	size := m.node.Value.Stream
	if size > sennit.MaxInline {
		return c, nil
	}
	m.node.Value.Stream, m.node.Value.Data = 0, make([]byte, size)
	if k, err := c.ReadAt(ctx, m.node.Value.Data, 0); k < int(size) {
		return nil, errors.Join(err, c.Close())
	}
	return inline(m.node.Value.Data), c.Close()
}

// live is a stream of which every chunk is still there: what came since is taken
// off its end.
func (m *moment) live(ctx context.Context, l lens) (sennit.Content, error) {
	s, _, err := l.Stream(m.sp.num, m.a.Path)
	if err != nil {
		return nil, err
	}
	c, err := l.content(m.sp, m.a.Path, s.Bytes)
	if err != nil {
		return nil, err
	}
	if err := m.takeBack(ctx, l, c, &s); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.size, m.node.Value.Stream = s.Bytes, s.Bytes
	return c, nil
}

// takeBack takes what came after the moment off what a stream comes to.
func (m *moment) takeBack(ctx context.Context, l lens, c *streamContent, s *store.Stream) error {
	for ok, err := c.chunks.Last(); ; ok, err = c.chunks.Prev() {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if !ok || c.chunks.Pos.Clock < m.at.Clock {
			break
		}
		at, err := l.stamp(c.chunks.Pos)
		if err != nil {
			return err
		}
		if m.at.Before(at) {
			s.Chunks, s.Bytes, s.Mix = s.Chunks-1, s.Bytes-c.chunks.Bytes, s.Mix^mixed(at.Log, c.chunks.Pos)
		}
	}
	err := m.made(s.Chunks, s.Mix, true)
	if err == nil {
		m.node.Value.Type, err = c.mediaType()
	}
	return err
}

// deleted is a stream that was deleted since.
func (m *moment) deleted(ctx context.Context, l lens) (sennit.Content, error) {
	g, err := m.gather(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(g.chunks, func(a, b chunk) int { return a.at.Compare(b.at) })
	mix, mine := uint64(0), false
	c := &pieces{l: l, path: m.a.Path, chunks: g.chunks}
	for _, k := range g.chunks {
		mine = mine || k.at == m.at
		mix ^= mixed(k.at.Log, k.pos)
		c.ends = append(c.ends, m.node.Value.Stream+k.bytes)
		m.node.Value.Stream += k.bytes
	}
	if !mine { // it came after a deletion that is newer
		return nil, m.gone()
	}
	if err := m.made(uint64(len(g.chunks)), mix, g.sure); err != nil {
		return nil, err
	}
	first, err := l.chunk(m.a.Path, g.chunks[0].pos)
	if err != nil {
		return nil, err
	}
	m.node.Value.Type = first.Type
	return c, nil
}
