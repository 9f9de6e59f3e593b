package files

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"lukechampine.com/blake3"

	"github.com/sennit/sennit"
)

// download is one file to be made like its value.
type download struct {
	name string
	path sennit.Path
	was  *stat    // the file that is there; nil: none
	has  *content // what it holds, if that is known
	have value    // what the value is, as far as is known
}

// downloaded is what came of a download.
type downloaded struct {
	download
	value value // that the file was made like
	stat  stat  // of the file
	seen  time.Time
	same  bool  // nothing was to be done
	err   error // why it was not done
}

// downloader makes files like values.
type downloader struct {
	bus   sennit.Bus
	root  string
	disk  *disk
	meter *meter
}

// fetchers is how many values are read at once.
const fetchers = 8

// run does downloads, and calls done for each from the caller's goroutine. It
// fails with what would be in the way of all, and then stops.
func (w *downloader) run(ctx context.Context, all []download, done func(downloaded)) error {
	group, ctx := errgroup.WithContext(ctx)
	todo, results := make(chan download), make(chan downloaded)
	group.Go(func() error {
		defer close(todo)
		for _, one := range all {
			if err := send(ctx, todo, one); err != nil {
				return err
			}
		}
		return nil
	})
	var fetching sync.WaitGroup
	for range fetchers {
		fetching.Add(1)
		group.Go(func() error {
			defer fetching.Done()
			buf := make([]byte, chunk)
			for one := range todo {
				r := downloaded{download: one, seen: time.Now()}
				if r.err = w.fetch(ctx, &r, buf); stops(ctx, r.err) && sennit.CodeOf(r.err) != sennit.NotFound {
					return r.err
				}
				if err := send(ctx, results, r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		fetching.Wait()
		close(results)
		return nil
	})
	collect(results, w.meter, done)
	return group.Wait()
}

// fetch makes a file like its value, unless it is already.
func (w *downloader) fetch(ctx context.Context, r *downloaded, buf []byte) error {
	if r.was != nil && r.has == nil && !r.have.unread && uint64(r.was.size) == r.have.size {
		c, now, err := w.disk.hash(ctx, r.name, 0)
		if err != nil {
			return err
		}
		r.has, r.was = &c, &now
	}
	if r.has != nil && !r.have.unread && r.has.hash == r.have.hash {
		return w.onlyMode(r)
	}
	return readValue(ctx, w.bus, sennit.Addr{Root: w.root, Path: r.path}, func(n sennit.Node, from io.Reader) error {
		r.value = valueOf(n)
		unread := r.value.unread
		hasher := blake3.New(len(r.value.hash), nil)
		var err error
		r.stat, err = w.disk.place(r.name, r.value.exec, r.was, func(to io.Writer) error {
			size, err := io.CopyBuffer(onlyWriter{to}, onlyReader{io.TeeReader(from, io.MultiWriter(hasher, counter{w.meter}))}, buf)
			if err != nil {
				return err
			}
			var hash sennit.Hash
			if hasher.Sum(hash[:0]); unread {
				r.value.hash, r.value.unread = hash, false
			}
			// The file gets its name only if this is what the node said it has.
			if r.value.hash != hash || r.value.size != uint64(size) {
				return sennit.Errorf(sennit.BadInput, "the node sends other bytes than those of the value")
			}
			return nil
		})
		return err
	})
}

// onlyMode makes a file that has the value's bytes a program, or none.
func (w *downloader) onlyMode(r *downloaded) error {
	r.value, r.stat, r.same = r.have, *r.was, true
	w.meter.bytes.Add(r.have.size)
	if !keepsMode || r.has.exec == r.have.exec {
		return nil
	}
	var err error
	r.same = false
	r.stat, err = w.disk.chmod(r.name, r.have.exec, *r.was)
	return err
}

// onlyWriter hides the methods of a writer that would go around a buffer.
type onlyWriter struct{ io.Writer }

// counter counts what is written to it.
type counter struct{ *meter }

func (c counter) Write(b []byte) (int, error) {
	c.bytes.Add(uint64(len(b)))
	return len(b), nil
}

// refusal is why a file could not be made, or "" if its value is gone.
func refusal(err error) string {
	switch {
	case sennit.CodeOf(err) == sennit.NotFound:
		return ""
	case sennit.CodeOf(err) == sennit.Conflict:
		return "the value changes while it is read"
	case errors.Is(err, errStale):
		return "the file changed at the same time"
	}
	return why(err)
}
