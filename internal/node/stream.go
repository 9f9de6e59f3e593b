package node

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/hub"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about streams: how a chunk is merged, and how their bytes are
// read.

// append merges one valid chunk. It reports whether that changed what the path
// shows.
func (m *merging) append(op *wire.Op, pos store.Pos) (shows bool, err error) {
	t, sp := m.t, m.sp
	body, err := wire.DecodeAppend(op.Body)
	if err != nil {
		return false, unreadable(op.Path, err)
	}
	at, err := t.stamp(pos)
	if err != nil {
		return false, err
	}
	now, cover, err := t.slots(sp, op.Path)
	if err != nil || tree.Decide(tree.Append, at, &now, cover).Fate != tree.Live {
		return false, err
	}
	if known, err := t.b.HasMany(sp.num, op.Path, tree.Append, pos); known || err != nil {
		return false, err
	}
	l := t.through()
	before, showed, err := l.shows(sp, op.Path)
	if err != nil {
		return false, err
	}
	s, some, err := t.b.Stream(sp.num, op.Path)
	if err != nil {
		return false, err
	}
	newest, err := l.newer(pos, s.Newest)
	if err != nil {
		return false, err
	}
	if newest {
		s.Newest = pos
	}
	s.Chunks, s.Bytes, s.Mix = s.Chunks+1, s.Bytes+uint64(len(body.Data)), s.Mix^mixed(m.ls.ID, pos)
	t.b.SetMany(sp.num, op.Path, tree.Append, pos, uint64(len(body.Data)))
	t.b.SetStream(sp.num, op.Path, s)
	t.many(sp)
	m.changed = true
	if showed && !before.stream {
		if shows, err = l.newer(s.Newest, before.newest); !shows || err != nil {
			return false, err
		}
		// What was told is another facet. Who resumes from before this can't
		// be told by its chunk alone.
		m.late = true
		return true, m.tellShown(l, op.Path, shown{newest: s.Newest, stream: true})
	}
	between := some && !newest
	m.between = m.between || between
	return true, m.tellChunk(op, &body, between)
}

// tellChunk tells watchers that a stream has grown.
func (m *merging) tellChunk(op *wire.Op, body *wire.Append, between bool) error {
	if m.quiet {
		return nil
	}
	if m.version == "" {
		m.version = version(m.c.Log, m.c.Seq)
	}
	u := chunkUpdate(m.sp, m.ls.author, m.version, m.c.Clock, op.Path, body, between)
	m.t.events = append(m.t.events, hub.Event[*sennit.Update]{Space: m.sp.id, Path: op.Path, Data: u})
	return nil
}

func chunkUpdate(sp *space, author sennit.Principal, v sennit.Version, clock uint64, p sennit.Path, body *wire.Append, between bool) *sennit.Update {
	return &sennit.Update{Kind: sennit.Appended, Space: sp.id, Late: between, Node: sennit.Node{
		Path: p, Author: author, Version: v, Time: clockTime(clock), Value: sennit.Value{Type: body.Type, Data: body.Data},
	}}
}

// shrink takes a chunk that isn't live any more out of what its stream comes to.
// It is never the newest, unless none is left.
func (t *txn) shrink(sp *space, d entry) error {
	s, ok, err := t.b.Stream(sp.num, d.path)
	if !ok || err != nil {
		return err
	}
	at, err := t.stamp(d.pos)
	if err != nil {
		return err
	}
	s.Chunks, s.Bytes, s.Mix = s.Chunks-1, s.Bytes-d.bytes, s.Mix^mixed(at.Log, d.pos)
	t.b.SetStream(sp.num, d.path, s)
	return nil
}

// stream makes the value of a stream.
func (l lens) stream(sp *space, n *sennit.Node) error {
	s, ok, err := l.Stream(sp.num, n.Path)
	if err != nil {
		return err
	}
	if !ok {
		return unreadable(n.Path, errors.New("its stream is missing"))
	}
	if s.Chunks > 1 {
		n.Version = of(n.Version, s.Mix)
	}
	c, err := l.content(sp, n.Path, s.Bytes)
	if err != nil {
		return err
	}
	defer c.Close()
	if n.Value.Type, err = c.mediaType(); err != nil {
		return err
	}
	if s.Bytes > sennit.MaxInline {
		n.Value.Stream = s.Bytes
		return nil
	}
	n.Value.Data = make([]byte, s.Bytes)
	if k, err := c.ReadAt(context.Background(), n.Value.Data, 0); k < len(n.Value.Data) {
		return err
	}
	return nil
}

// streamContent reads a stream's bytes, wherever they are asked for: it walks
// the list of chunks from where it is, or from the nearer end. Reading on costs
// what is read; going elsewhere costs the chunks between.
type streamContent struct {
	l      lens
	path   sennit.Path
	size   uint64 // of what is read: all, or what was there at a version
	all    uint64 // of what the chunks come to
	chunks *store.Chunks

	// One clock's chunks, in order. Those of several logs lie as the store
	// numbers logs, which isn't the order of ops.
	moment []chunk
	begin  uint64 // offset of the first of them
	end    uint64 // behind the last

	body  []byte // of the chunk read last
	begun uint64 // its offset
}

type chunk struct {
	pos   store.Pos
	at    tree.Stamp
	bytes uint64
}

func (l lens) content(sp *space, p sennit.Path, size uint64) (*streamContent, error) {
	chunks, err := l.Chunks(sp.num, p)
	if err != nil {
		return nil, err
	}
	return &streamContent{l: l, path: p, size: size, all: size, chunks: chunks}, nil
}

// Close frees what reading holds.
func (c *streamContent) Close() error { return c.chunks.Close() }

// ReadAt reads like [io.ReaderAt].
func (c *streamContent) ReadAt(ctx context.Context, p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, sennit.Errorf(sennit.BadInput, "reading from byte %d on", off)
	}
	for n < len(p) && uint64(off)+uint64(n) < c.size {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		k, err := c.read(p[n:], uint64(off)+uint64(n))
		if err != nil {
			return n, err
		}
		n += k
	}
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}

// read reads some bytes of one chunk. There is a byte at off.
func (c *streamContent) read(p []byte, off uint64) (int, error) {
	if off < c.begun || off-c.begun >= uint64(len(c.body)) {
		if err := c.seek(off); err != nil {
			return 0, err
		}
		at := c.begin
		i := 0
		for at+c.moment[i].bytes <= off {
			at += c.moment[i].bytes
			i++
		}
		body, err := c.l.chunk(c.path, c.moment[i].pos)
		if err != nil {
			return 0, err
		}
		if uint64(len(body.Data)) != c.moment[i].bytes {
			return 0, unreadable(c.path, errors.New("a chunk isn't as long as the index says"))
		}
		c.body, c.begun = body.Data, at
	}
	return copy(p, c.body[off-c.begun:]), nil
}

// mediaType is the type of the stream's first chunk.
func (c *streamContent) mediaType() (string, error) {
	if err := c.seek(0); err != nil {
		return "", err
	}
	body, err := c.l.chunk(c.path, c.moment[0].pos)
	return body.Type, err
}

// seek goes to the moment with the byte at off.
func (c *streamContent) seek(off uint64) error {
	for c.moment == nil || off < c.begin || off >= c.end {
		var ok bool
		var err error
		switch {
		case c.moment == nil || off < c.begin && off < c.begin-off, off >= c.end && c.all-off < off-c.end:
			ok, err = c.enter(off)
		case off < c.begin:
			ok, err = c.back()
		default:
			ok, err = c.forth()
		}
		if err != nil {
			return err
		}
		if !ok {
			return unreadable(c.path, errors.New("it has less than the index says"))
		}
	}
	return nil
}

// enter begins at the end that is nearer to off. The list is left standing at
// the moment's last chunk.
func (c *streamContent) enter(off uint64) (ok bool, err error) {
	if off <= c.all/2 {
		if ok, err = c.chunks.First(); !ok || err != nil {
			return false, err
		}
		c.end = 0
		return c.gather()
	}
	if ok, err = c.chunks.Last(); !ok || err != nil {
		return false, err
	}
	c.begin = c.all
	return c.gatherBack()
}

func (c *streamContent) forth() (ok bool, err error) {
	if ok, err = c.chunks.Next(); !ok || err != nil {
		return false, err
	}
	return c.gather()
}

func (c *streamContent) back() (ok bool, err error) {
	for range c.moment {
		if ok, err = c.chunks.Prev(); err != nil {
			return false, err
		}
	}
	if !ok {
		return false, nil
	}
	return c.gatherBack()
}

// gather takes in the moment that begins where the list stands.
func (c *streamContent) gather() (bool, error) {
	c.begin, c.moment = c.end, c.moment[:0]
	for ok := true; ok && (len(c.moment) == 0 || c.chunks.Pos.Clock == c.moment[0].pos.Clock); {
		if err := c.take(); err != nil {
			return false, err
		}
		var err error
		if ok, err = c.chunks.Next(); err != nil {
			return false, err
		}
	}
	_, err := c.chunks.Prev()
	return true, errors.Join(err, c.arrange())
}

// gatherBack takes in the moment that ends where the list stands.
func (c *streamContent) gatherBack() (bool, error) {
	end := c.begin
	c.moment = c.moment[:0]
	for ok := true; ok && (len(c.moment) == 0 || c.chunks.Pos.Clock == c.moment[0].pos.Clock); {
		if err := c.take(); err != nil {
			return false, err
		}
		var err error
		if ok, err = c.chunks.Prev(); err != nil {
			return false, err
		}
	}
	for range c.moment {
		if _, err := c.chunks.Next(); err != nil {
			return false, err
		}
	}
	for _, k := range c.moment {
		c.begin -= k.bytes
	}
	err := c.arrange()
	if err == nil && c.end != end {
		err = unreadable(c.path, errors.New("its chunks don't add up"))
	}
	return true, err
}

func (c *streamContent) take() error {
	at, err := c.l.stamp(c.chunks.Pos)
	c.moment = append(c.moment, chunk{c.chunks.Pos, at, c.chunks.Bytes})
	return err
}

// arrange brings a moment's chunks in order, and says where it ends.
func (c *streamContent) arrange() error {
	slices.SortFunc(c.moment, func(a, b chunk) int { return a.at.Compare(b.at) })
	c.end = c.begin
	for _, k := range c.moment {
		c.end += k.bytes
	}
	return nil
}

// chunk reads a live chunk.
func (l lens) chunk(p sennit.Path, pos store.Pos) (wire.Append, error) {
	op, err := l.op(p, pos)
	if err != nil {
		return wire.Append{}, err
	}
	body, err := wire.DecodeAppend(op.Body)
	if err != nil {
		err = unreadable(p, err)
	}
	return body, err
}
