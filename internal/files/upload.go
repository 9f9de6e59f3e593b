package files

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"lukechampine.com/blake3"

	"github.com/sennit/sennit"
)

// How much is under way at once. It bounds what contents are held: what the
// readers read, a batch that is being made, and those that are being written.
const (
	readers   = 4
	writers   = 3
	batchOps  = 1000
	batchSize = 900_000 // bytes of values, paths and types
	opFrame   = 64      // bytes for the rest of a change, with room
)

// upload is one value to be made like its file, or to be deleted.
type upload struct {
	name string
	path sennit.Path
	del  bool
	cond sennit.Version // that the value has; "": there is none
	have *value         // what there is. nil: nothing
}

// uploaded is what came of an upload.
type uploaded struct {
	upload
	content content        // of the file
	stat    stat           // of the file, from before it was read
	seen    time.Time      // when it was read
	version sennit.Version // that the value has now
	same    bool           // nothing was to be done
	err     error          // why it was not done
}

// uploader makes values like files.
type uploader struct {
	bus   sennit.Bus
	root  string
	disk  *disk
	quiet time.Duration
	meter *meter
}

// loaded is an upload whose change is ready to be written.
type loaded struct {
	uploaded
	change sennit.Change
}

// size is how much room a change takes in a batch.
func (l *loaded) size() int {
	return len(l.change.Value.Data) + len(l.change.Value.Type) + len(l.path) + opFrame
}

// run does uploads, and calls done for each from the caller's goroutine. It
// fails with what would be in the way of all, and then stops.
func (u *uploader) run(ctx context.Context, all []upload, done func(uploaded)) error {
	group, ctx := errgroup.WithContext(ctx)
	todo, ready, batches, results := make(chan upload), make(chan loaded), make(chan []loaded), make(chan uploaded)
	emit := func(r uploaded) error { return send(ctx, results, r) }
	group.Go(func() error {
		defer close(todo)
		for _, one := range all {
			if err := send(ctx, todo, one); err != nil {
				return err
			}
		}
		return nil
	})
	var reading, writing sync.WaitGroup
	for range readers {
		reading.Add(1)
		group.Go(func() error {
			defer reading.Done()
			for one := range todo {
				if err := u.load(ctx, one, ready, emit); err != nil {
					return err
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		reading.Wait()
		close(ready)
		return nil
	})
	group.Go(func() error {
		defer close(batches)
		return batch(ctx, ready, batches)
	})
	for range writers {
		writing.Add(1)
		group.Go(func() error {
			defer writing.Done()
			for b := range batches {
				if err := u.write(ctx, b, emit); err != nil {
					return err
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		writing.Wait()
		close(results)
		return nil
	})
	collect(results, u.meter, done)
	return group.Wait()
}

// send sends, unless the context ends first.
func send[T any](ctx context.Context, to chan<- T, v T) error {
	select {
	case to <- v:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// collect hands on results until there are no more, and tells the progress.
func collect[T any](results <-chan T, m *meter, done func(T)) {
	ticker := time.NewTicker(tell)
	defer ticker.Stop()
	for n := 0; ; {
		select {
		case r, ok := <-results:
			if !ok {
				m.say(n)
				return
			}
			n++
			done(r)
		case <-ticker.C:
			m.say(n)
		}
	}
}

// batch gathers changes into commits.
func batch(ctx context.Context, ready <-chan loaded, batches chan<- []loaded) error {
	var b []loaded
	size := 0
	for l := range ready {
		if len(b) == batchOps || size+l.size() > batchSize {
			if err := send(ctx, batches, b); err != nil {
				return err
			}
			b, size = nil, 0
		}
		b, size = append(b, l), size+l.size()
	}
	if len(b) == 0 {
		return nil
	}
	return send(ctx, batches, b)
}

// load reads a file. A small one becomes part of a batch; a large one is put by
// itself.
func (u *uploader) load(ctx context.Context, one upload, ready chan<- loaded, emit func(uploaded) error) error {
	l := loaded{uploaded: uploaded{upload: one, seen: time.Now()}}
	if one.del {
		l.change = sennit.Change{Kind: sennit.KindDel, Path: one.path, If: &one.cond}
		return send(ctx, ready, l)
	}
	var err error
	for try := 0; ; try++ {
		small, failed := u.read(ctx, &l)
		if err = failed; err == nil && small && !l.same {
			return send(ctx, ready, l)
		}
		// Somebody is writing it. Who can't come back later looks again.
		if !errors.Is(err, errBusy) || u.quiet > 0 || try == tries {
			break
		}
	}
	if stops(ctx, err) {
		return err
	}
	l.err = err
	return emit(l.uploaded)
}

// stops reports whether an error is one that whatever comes next would have.
func stops(ctx context.Context, err error) bool {
	if err == nil {
		return false
	}
	var path *fs.PathError
	var link *os.LinkError
	if ctx.Err() != nil || grave(err) {
		return true
	}
	if errors.As(err, &path) || errors.As(err, &link) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, errBusy) || errors.Is(err, errStale) || errors.As(err, new(inTheWay)) {
		return false
	}
	switch sennit.CodeOf(err) {
	case sennit.Conflict, sennit.BadInput, sennit.TooLarge, sennit.Unsupported:
		return false
	}
	return true
}

// read reads a file, and tells whether it is a small one that is to be written.
func (u *uploader) read(ctx context.Context, l *loaded) (small bool, err error) {
	r, err := u.disk.open(ctx, l.name, u.quiet)
	if err != nil {
		return false, err
	}
	defer r.Close()
	l.stat, l.content.exec, l.content.size = r.was, r.was.exec, uint64(r.was.size)
	if !keepsMode && l.have != nil {
		l.content.exec = l.have.exec
	}
	if r.was.size > sennit.MaxInline {
		return false, u.readLarge(ctx, l, r)
	}
	r.meter = &u.meter.bytes
	data := make([]byte, r.was.size)
	if _, err := io.ReadFull(r, data); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			err = errBusy
		}
		return false, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil { // it ends where it should, or fails
		return false, err
	}
	l.content.hash = blake3.Sum256(data)
	if l.same, err = u.equal(ctx, l); err != nil || l.same {
		return false, err
	}
	l.change = sennit.Change{
		Kind: sennit.KindPut, Path: l.path, If: &l.cond,
		Value: sennit.Value{Type: typeOf(l.name, l.content.exec, data), Data: data},
	}
	return true, nil
}

// equal reports whether the value holds what the file does.
func (u *uploader) equal(ctx context.Context, l *loaded) (bool, error) {
	if l.have == nil || l.have.size != l.content.size && !l.have.unread || l.have.exec != l.content.exec {
		return false, nil
	}
	have := *l.have
	if have.unread {
		var err error
		if have, err = hashValue(ctx, u.bus, sennit.Addr{Root: u.root, Path: l.path}); err != nil {
			if sennit.CodeOf(err) == sennit.NotFound {
				return false, nil
			}
			return false, err
		}
	}
	l.version = have.version
	return have.content == l.content, nil
}

// readLarge puts a large file, unless the value has its bytes already.
func (u *uploader) readLarge(ctx context.Context, l *loaded, r *reading) error {
	if l.have != nil && (l.have.unread || l.have.size == l.content.size) {
		var err error
		if l.content.hash, _, err = hashOf(r); err != nil {
			return err
		}
		if l.same, err = u.equal(ctx, l); err != nil || l.same {
			u.meter.bytes.Add(l.content.size)
			return err
		}
		if _, err := r.f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		r.n = 0
	}
	r.meter = &u.meter.bytes
	beginning := make([]byte, sennit.MaxInline)
	n, err := r.f.ReadAt(beginning, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	hasher := blake3.New(len(l.content.hash), nil)
	typ := typeOf(l.name, l.content.exec, beginning[:n])
	l.version, err = u.bus.Put(ctx, sennit.Addr{Root: u.root, Path: l.path}, typ, io.TeeReader(r, hasher), &l.cond)
	hasher.Sum(l.content.hash[:0])
	return err
}

// write writes a batch. If the node refuses it for what is in it, it is taken
// apart until that is found.
func (u *uploader) write(ctx context.Context, b []loaded, emit func(uploaded) error) error {
	changes := make([]sennit.Change, len(b))
	for i := range b {
		changes[i] = b[i].change
	}
	version, err := u.bus.Write(ctx, u.root, changes)
	switch {
	case stops(ctx, err):
		return err
	case err != nil && len(b) > 1:
		if err := u.write(ctx, b[:len(b)/2], emit); err != nil {
			return err
		}
		return u.write(ctx, b[len(b)/2:], emit)
	}
	for i := range b {
		b[i].version, b[i].err = version, err
		if err := emit(b[i].uploaded); err != nil {
			return err
		}
	}
	return nil
}
