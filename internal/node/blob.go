package node

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/blob"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about values that are too big for an op: how their bytes come
// in, and who may have them. The bytes are with package blob.

// Want is a blob, and a path of which it is the value.
type Want struct {
	Space sennit.Space
	Path  sennit.Path
	Blob  sennit.Blob
}

// nobody is the error where a blob can't be had.
func nobody(w Want) error {
	return sennit.Hint(sennit.Errorf(sennit.Unreachable, "the bytes of /%s/%s are not here, and nobody who has them can be reached", w.Space, w.Path),
		"try again when a node that follows the space is running")
}

// blobs is what the engine knows of blobs besides the store.
type blobs struct {
	mu       sync.Mutex
	pins     map[sennit.Blob]int // that must stay, whether or not anything names them
	takingIn int                 // blobs that are about to be known: any may be one of them
	removing chan struct{}       // closed when the blob is gone that is being removed; nil if none is
	changed  chan struct{}       // closed and replaced when a put names one
}

// arriving says that a blob is about to be kept of which nobody knows yet which
// one it is: until arrived is called none is removed.
func (b *blobs) arriving() (arrived func()) {
	b.mu.Lock()
	b.takingIn++
	for b.removing != nil {
		removing := b.removing
		b.mu.Unlock()
		<-removing
		b.mu.Lock()
	}
	b.mu.Unlock()
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.takingIn--
	}
}

// remove begins to remove a blob, if nobody needs it. done must be called when
// it is gone.
func (b *blobs) remove(ref sennit.Blob) (done func(), ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pins[ref] > 0 || b.takingIn > 0 || b.removing != nil {
		return nil, false
	}
	b.removing = make(chan struct{})
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		close(b.removing)
		b.removing = nil
	}, true
}

func (b *blobs) touch() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
}

// pin keeps a blob until it is called off.
func (b *blobs) pin(ref sennit.Blob) (unpin func()) {
	b.mu.Lock()
	b.pins[ref]++
	b.mu.Unlock()
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.pins[ref]--; b.pins[ref] == 0 {
			delete(b.pins, ref)
		}
	})
}

// fullEvery is how many bytes are taken in before it is asked again whether
// there is room for more.
const fullEvery = 16 << 20

// takeIn keeps the bytes of a value. A blob stays until unpin, and then as long
// as something names it.
func (n *Node) takeIn(ctx context.Context, from io.Reader) (v sennit.Value, unpin func(), err error) {
	if n.cfg.Blobs == nil {
		v.Data, err = io.ReadAll(io.LimitReader(from, sennit.MaxInline+1))
		if err == nil && len(v.Data) > sennit.MaxInline {
			err = sennit.Errorf(sennit.TooLarge, "the value has more than %d bytes, and this node keeps no larger ones", sennit.MaxInline)
		}
		return v, func() {}, err
	}
	w := n.cfg.Blobs.Create()
	defer w.Abort()
	buf := make([]byte, 256<<10)
	for left := 0; err == nil; {
		if left <= 0 {
			if err = n.cfg.Full(); err != nil {
				break
			}
			left = fullEvery
		}
		if err = ctx.Err(); err != nil {
			err = sennit.Errorf(sennit.CodeOf(err), "the value was not taken in: %w", err)
			break
		}
		var k int
		k, err = from.Read(buf)
		left -= k
		if _, werr := w.Write(buf[:k]); werr != nil {
			err = werr
		}
	}
	if !errors.Is(err, io.EOF) {
		return v, nil, err
	}
	defer n.blobs.arriving()()
	if v, err = w.Finish(ctx); err != nil || v.Blob == nil {
		return v, func() {}, err
	}
	return v, n.blobs.pin(*v.Blob), nil
}

// blobContent reads a blob that may not be here yet.
type blobContent struct {
	r     *blob.Reader
	unpin func()

	// Of one that is not here.
	stop    context.CancelFunc
	fetched chan struct{} // closed when fetching has ended
	err     error         // why; set before
}

// openBlob opens a blob, and begins to fetch it if it isn't here.
func (n *Node) openBlob(ctx context.Context, w Want) (sennit.Content, error) {
	if n.cfg.Blobs == nil {
		return nil, sennit.Errorf(sennit.Unsupported, "the value at /%s/%s has %d bytes, and this node keeps none so large", w.Space, w.Path, w.Blob.Size)
	}
	c := &blobContent{unpin: n.blobs.pin(w.Blob)}
	here, err := n.cfg.Blobs.Has(ctx, w.Blob)
	if err == nil && !here {
		var f *blob.Fetch
		if f, err = n.cfg.Blobs.Begin(ctx, w.Blob); err == nil {
			fetching, stop := context.WithCancel(context.WithoutCancel(ctx))
			c.stop, c.fetched = stop, make(chan struct{})
			go func() {
				defer close(c.fetched)
				c.err = errors.Join(n.cfg.Fetch(fetching, w), f.Close())
			}()
		}
	}
	if err == nil {
		c.r, err = n.cfg.Blobs.Open(ctx, w.Blob)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// ReadAt reads like [io.ReaderAt]. It waits for bytes that are being fetched.
func (c *blobContent) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if c.fetched == nil {
		return c.r.ReadAt(ctx, p, off)
	}
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-c.fetched:
			if c.err != nil {
				stop()
			}
		case <-waiting.Done():
		}
	}()
	n, err := c.r.ReadAt(waiting, p, off)
	stop()
	<-ended
	if err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
		select {
		case <-c.fetched:
			err = cmp.Or(c.err, err)
		default:
		}
	}
	return n, err
}

// Close ends reading, and fetching on its behalf.
func (c *blobContent) Close() (err error) {
	if c.stop != nil {
		c.stop()
		<-c.fetched
		c.stop = nil
	}
	if c.r != nil {
		err = c.r.Close()
		c.r = nil
	}
	c.unpin()
	return err
}

// Blobs is where the node keeps blobs, nil if it keeps none.
func (n *Node) Blobs() *blob.Store { return n.cfg.Blobs }

// Named calls f for the blobs that values name, blob by blob, and says whether
// each is here whole, until f fails. What changed after the call began closes
// changed.
func (n *Node) Named(ctx context.Context, f func(w Want, here bool) error) (changed <-chan struct{}, err error) {
	n.blobs.mu.Lock()
	changed = n.blobs.changed
	n.blobs.mu.Unlock()
	v, err := n.st.View()
	if err != nil {
		return changed, err
	}
	defer v.Release()
	err = v.AllBlobNames(func(name store.BlobName) error {
		here, err := n.cfg.Blobs.Has(ctx, name.Blob)
		if err != nil {
			return err
		}
		if live, err := n.namesBlob(v, name); !live || err != nil {
			return err
		}
		id, _ := n.st.SpaceByNum(name.Space)
		return f(Want{id, name.Path, name.Blob}, here)
	})
	return changed, err
}

// namesBlob reports whether the value that counts at a path is a blob.
func (n *Node) namesBlob(r reader, name store.BlobName) (bool, error) {
	pos, ok, err := r.At(name.Space, name.Path, tree.Put)
	if !ok || err != nil {
		return false, err
	}
	raw, err := r.Op(pos.Log, pos.Seq, pos.Index)
	if raw == nil || err != nil {
		return false, err
	}
	op, err := wire.DecodeOp(raw)
	if err != nil {
		return false, unreadable(name.Path, err)
	}
	return wire.BlobOf(op.Body) == name.Blob, nil
}

// MayHave reports whether somebody may be given a blob: they may read the path,
// and the value there is that blob, or was it and hasn't been forgotten.
func (n *Node) MayHave(who sennit.Principal, w Want) (bool, error) {
	sp := n.space(w.Space)
	if sp == nil || !n.may(Caller{Principal: who}, sp, sennit.Read, w.Path) {
		return false, nil
	}
	v, err := n.st.View()
	if err != nil {
		return false, err
	}
	defer v.Release()
	return v.NamesBlob(store.BlobName{Blob: w.Blob, Space: sp.num, Path: w.Path})
}

// blobGrace is for how long a blob stays that no value names any more: so long
// it can come back with its value.
const blobGrace = 24 * time.Hour

// unnamedKey begins the names of local state that says since when no value
// names a blob.
const unnamedKey = "unnamed/"

// CollectBlobs removes the blobs that no value has named for a day. It tells how
// many.
func (n *Node) CollectBlobs(ctx context.Context) (removed uint64, err error) {
	if n.cfg.Blobs == nil {
		return 0, nil
	}
	err = n.cfg.Blobs.Each(func(ref sennit.Blob, _ uint64, _ bool) error {
		gone, err := n.collectBlob(ctx, ref)
		if gone {
			removed++
		}
		return cmp.Or(err, ctx.Err())
	})
	if err != nil {
		return removed, err
	}
	return removed, n.forgetNames(ctx)
}

// forgetAtOnce bounds the names of blobs that are forgotten in one batch.
const forgetAtOnce = 1 << 12

// forgetNames forgets that puts which don't count any more named blobs that
// aren't here.
func (n *Node) forgetNames(ctx context.Context) error {
	v, err := n.st.View()
	if err != nil {
		return err
	}
	defer v.Release()
	stale := func(name store.BlobName) (bool, error) {
		if here, err := n.cfg.Blobs.Has(ctx, name.Blob); here || err != nil {
			return false, err
		}
		if named, err := n.namesBlob(v, name); named || err != nil {
			return false, err
		}
		id, _ := n.st.SpaceByNum(name.Space)
		full, err := n.KeepsAll(id)
		return !full, err
	}
	var names []store.BlobName
	forget := func() error {
		return n.submit(ctx, &request{done: make(chan result, 1), reads: true, do: func(b *store.Batch) error {
			for _, name := range names {
				named, err := n.namesBlob(b, name)
				if err != nil {
					return err
				}
				if !named {
					b.UnnameBlob(name.Blob, name.Space, name.Path)
				}
			}
			return nil
		}}).err
	}
	if err := v.AllBlobNames(func(name store.BlobName) error {
		gone, err := stale(name)
		if gone {
			names = append(names, name)
		}
		if err == nil && len(names) == forgetAtOnce {
			err, names = forget(), names[:0]
		}
		return cmp.Or(err, ctx.Err())
	}); err != nil || len(names) == 0 {
		return err
	}
	return forget()
}

func (n *Node) collectBlob(ctx context.Context, ref sennit.Blob) (removed bool, err error) {
	v, err := n.st.View()
	if err != nil {
		return false, err
	}
	defer v.Release()
	live := false
	var stale []store.BlobName
	if err := v.BlobNames(ref, func(name store.BlobName) error {
		named, err := n.namesBlob(v, name)
		if err == nil && !named {
			id, _ := n.st.SpaceByNum(name.Space)
			named, err = n.KeepsAll(id) // what named it is held still
		}
		if named {
			live = true
			return cmp.Or(err, store.ErrStop)
		}
		stale = append(stale, name)
		return err
	}); err != nil {
		return false, err
	}
	key := unnamedKey + ref.Root.String() + "-" + strconv.FormatUint(ref.Size, 10)
	since, err := v.Local(key)
	if err != nil {
		return false, err
	}
	now := n.cfg.Now()
	switch {
	case live && since == nil:
		return false, nil
	case live:
		return false, n.SetLocal(ctx, map[string][]byte{key: nil})
	case len(since) != 8:
		return false, n.SetLocal(ctx, map[string][]byte{key: binary.BigEndian.AppendUint64(nil, uint64(now.UnixMilli()))})
	case now.Sub(time.UnixMilli(int64(binary.BigEndian.Uint64(since)))) < blobGrace:
		return false, nil
	}
	done, ok := n.blobs.remove(ref)
	if !ok {
		return false, nil
	}
	defer done()
	// What names it meanwhile comes from a peer, who has it.
	if err := n.cfg.Blobs.Remove(ctx, ref); err != nil && sennit.CodeOf(err) != sennit.NotFound {
		return false, err
	}
	return true, n.submit(ctx, &request{done: make(chan result, 1), reads: true, do: func(b *store.Batch) error {
		for _, name := range stale {
			named, err := n.namesBlob(b, name)
			if err != nil {
				return err
			}
			if !named {
				b.UnnameBlob(name.Blob, name.Space, name.Path)
			}
		}
		b.SetLocal(key, nil)
		return nil
	}}).err
}

// Usage is what values take.
type Usage struct {
	Values uint64
	Bytes  uint64
	Blobs  uint64 // of the bytes, those of values that are blobs
	Here   uint64 // of those, what is here
}

// Usage adds up what the values at and under a path take.
func (n *Node) Usage(ctx context.Context, a sennit.Addr) (u Usage, err error) {
	sp, v, err := (&view{n, n.Owner()}).open(a)
	if err != nil {
		return u, err
	}
	defer v.Release()
	l := n.through(v)
	err = l.each(sp, a.Path, nil, func(p sennit.Path, s shown) error {
		size, ref, err := l.size(sp, p, s)
		if err != nil {
			return err
		}
		u.Values, u.Bytes = u.Values+1, u.Bytes+size
		if ref != nil && n.cfg.Blobs != nil {
			u.Blobs += size
			here, err := n.cfg.Blobs.Has(ctx, *ref)
			if here {
				u.Here += size
			}
			return err
		}
		return ctx.Err()
	})
	if err == nil && u.Values == 0 && a.Path != "" {
		err = absent(a)
	}
	return u, err
}

// size is the bytes of the value that a path shows.
func (l lens) size(sp *space, p sennit.Path, s shown) (uint64, *sennit.Blob, error) {
	if s.stream {
		stream, _, err := l.Stream(sp.num, p)
		return stream.Bytes, nil, err
	}
	n, err := l.node(sp, p, s)
	return n.Value.Size(), n.Value.Blob, err
}
