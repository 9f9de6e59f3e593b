package client

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/sennit/sennit"
)

const (
	beat         = 20 * time.Second           // between heartbeats, as asked of the node
	quiet        = beat*12/10 + 3*time.Second // without a byte for so long, a connection counts as broken
	minBackoff   = 50 * time.Millisecond      // before the first attempt to connect again, at most
	maxBackoff   = 5 * time.Second            // before later ones, each of which waits twice as long
	defaultQueue = 1 << 20                    // as of a Bus
	maxTarget    = 24 << 10                   // bytes of a request's path and query
)

// Watch watches values and subtrees. At most 64 patterns, and 24 KiB of them,
// go into one watch.
//
// ctx is for the first connection. Later ones are made until Close: when the
// connection breaks, the watch connects again and goes on behind the last
// commit that it saw in full, so its reader notices nothing but a pause. If it
// broke within a snapshot, or if the node lost its history, the reader gets
// [sennit.Reset] and then a snapshot. Next fails with what the node says if it
// does not want the watch any more.
//
// o.Queue bounds the bytes held here for a slow reader, besides the newest
// commit. While the reader doesn't read, the node holds back.
func (c *Client) Watch(ctx context.Context, patterns []sennit.Pattern, o sennit.WatchOptions) (sennit.Watch, error) {
	target, err := subscription(patterns, o)
	if err != nil {
		return nil, err
	}
	w := &watch{
		client: c, target: target, room: cmp.Or(o.Queue, defaultQueue) / 4,
		updates: make(chan []sennit.Update), done: make(chan struct{}),
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	w.stop = stop
	linked := context.AfterFunc(ctx, stop)
	first, err := w.connect(running, o.Since)
	if !linked() { // ctx ended meanwhile, and the connection with it
		if err == nil {
			first.close()
		}
		err = sennit.Errorf(sennit.CodeOf(ctx.Err()), "asking the node at %s: %w", c.where, ctx.Err())
	}
	if err != nil {
		stop()
		return nil, err
	}
	w.wg.Go(func() {
		defer close(w.done)
		f := follower{watch: w, cursor: o.Since}
		w.err = f.run(running, first)
	})
	return w, nil
}

// subscription makes the path and query that ask for a watch.
func subscription(patterns []sennit.Pattern, o sennit.WatchOptions) (url.URL, error) {
	if len(patterns) == 0 {
		return url.URL{}, sennit.Errorf(sennit.BadInput, "a watch without a pattern")
	}
	if o.Wake != nil {
		return url.URL{}, sennit.Errorf(sennit.Unsupported, "a watch over HTTP has a goroutine of its own, and wakes nobody")
	}
	if o.Newest < 0 || o.Queue < 0 {
		return url.URL{}, sennit.Errorf(sennit.BadInput, "a watch of the newest %d, with a queue of %d bytes", o.Newest, o.Queue)
	}
	q := url.Values{}
	if o.Tail {
		q.Set("tail", "")
	}
	if o.Messages {
		q.Set("messages", "")
	}
	if o.Newest > 0 {
		q.Set("newest", strconv.Itoa(o.Newest))
	}
	if patterns[0].Exact {
		q.Set("exact", "")
	}
	for _, p := range patterns[1:] {
		u, err := locate(p.Root, p.Path, !p.Exact)
		if err != nil {
			return u, err
		}
		q.Add("also", u.Path)
	}
	u, err := locate(patterns[0].Root, patterns[0].Path, true)
	if err != nil {
		return u, err
	}
	u.RawQuery = q.Encode()
	if n := len(u.RequestURI()); n > maxTarget {
		return u, sennit.Errorf(sennit.BadInput, "the patterns of a watch have %d bytes; at most %d are allowed", n, maxTarget)
	}
	return u, nil
}

// watch is a watch over connections that come and go.
type watch struct {
	client  *Client
	target  url.URL
	room    int                  // bytes of updates that are gathered before they are handed over
	updates chan []sennit.Update // not buffered: what waits, waits at the follower
	stop    context.CancelFunc
	done    chan struct{} // closed when the follower has ended
	err     error         // why it ended; set before done is closed
	wg      sync.WaitGroup
}

// Next is [sennit.Watch.Next].
func (w *watch) Next(ctx context.Context) ([]sennit.Update, error) {
	select {
	case u := <-w.updates:
		return u, nil
	case <-w.done:
		return nil, w.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close is [sennit.Watch.Close].
func (w *watch) Close() error {
	w.stop()
	w.wg.Wait()
	return nil
}

// conn is one connection of a watch. It ends itself when nothing comes.
type conn struct {
	body  io.ReadCloser
	alarm *time.Timer
	stop  context.CancelFunc
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.body.Read(b)
	if n > 0 {
		c.alarm.Reset(quiet)
	}
	return n, err
}

func (c *conn) close() {
	c.alarm.Stop()
	c.stop()
	c.body.Close()
}

// connect asks for the subscription, from a cursor on unless it is zero.
func (w *watch) connect(ctx context.Context, since sennit.Cursor) (*conn, error) {
	header := http.Header{"Subscribe": {"?1"}, "Heartbeats": {strconv.Itoa(int(beat / time.Second))}}
	if since != (sennit.Cursor{}) {
		header.Set("Since", since.String())
	}
	own, stop := context.WithCancel(ctx)
	alarm := time.AfterFunc(quiet, stop)
	resp, err := w.client.do(own, http.MethodGet, w.target, header, nil)
	if err == nil && resp.StatusCode != 209 {
		err = w.client.stranger(resp)
		resp.Body.Close()
	}
	if err != nil {
		alarm.Stop()
		if own.Err() != nil && ctx.Err() == nil {
			err = sennit.Errorf(sennit.Unreachable, "the node at %s does not answer", w.client.where)
		}
		stop()
		return nil, err
	}
	return &conn{resp.Body, alarm, stop}, nil
}

// follower reads what the node sends, and knows where to go on.
type follower struct {
	watch  *watch
	cursor sennit.Cursor // to go on from; zero: from the beginning, with a snapshot
	live   bool          // what comes are changes, no part of a snapshot
	told   bool          // the reader got something that another snapshot would repeat
	marked bool          // the reader got the Live marker

	commit []sennit.Update // changes that wait for the last of their commit
	batch  []sennit.Update // what the reader gets next
	size   int             // bytes of commit and batch, roughly
}

// run follows until ctx ends, or the node refuses. Either is an error.
func (f *follower) run(ctx context.Context, c *conn) error {
	backoff := minBackoff
	for {
		if c != nil {
			began := time.Now()
			got, err := f.read(ctx, c)
			c.close()
			if ctx.Err() == nil && errors.Is(err, errMalformed) {
				return err
			}
			if got || time.Since(began) > maxBackoff {
				backoff = minBackoff
			}
		}
		// Whatever else it was, the connection is gone. All the watches of a
		// node that comes back should not come at the same moment.
		select {
		case <-time.After(rand.N(backoff)):
		case <-ctx.Done():
			return sennit.Errorf(sennit.Gone, "the watch is closed")
		}
		backoff = min(2*backoff, maxBackoff)

		var err error
		c, err = f.watch.connect(ctx, f.cursor)
		if sennit.CodeOf(err) == sennit.Gone && f.cursor != (sennit.Cursor{}) {
			f.cursor = sennit.Cursor{} // its history is gone: begin again
			f.told = true
			continue
		}
		if err != nil && !passing(err) && ctx.Err() == nil {
			return err
		}
	}
}

// passing reports whether to ask again might help.
func passing(err error) bool {
	switch sennit.CodeOf(err) {
	case sennit.BadInput, sennit.NotFound, sennit.Denied, sennit.Expired, sennit.TooLarge, sennit.Unsupported:
		return false
	}
	return true
}

// read reads one connection to its end, and reports whether anything came.
func (f *follower) read(ctx context.Context, c *conn) (got bool, err error) {
	f.live = f.cursor != sennit.Cursor{}
	f.commit = nil // of the last connection, and incomplete
	if !f.live && f.told {
		f.reset()
	}
	p := newParser(c)
	for {
		b, err := p.next()
		if err == nil {
			got = true
			err = f.take(&b)
		}
		if len(f.batch) > 0 && (err != nil || !p.buffered() || f.size >= f.watch.room) {
			if err := f.hand(ctx, c); err != nil {
				return got, err
			}
		}
		if err != nil {
			return got, err
		}
	}
}

// hand gives the batch to the reader. For as long as that takes, it is not
// the node that is quiet.
func (f *follower) hand(ctx context.Context, c *conn) error {
	c.alarm.Stop()
	defer c.alarm.Reset(quiet)
	select {
	case f.watch.updates <- f.batch:
		f.batch, f.size = nil, 0
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reset tells the reader that what it got is void.
func (f *follower) reset() {
	f.batch = append(f.batch, sennit.Update{Kind: sennit.Reset})
	f.cursor, f.live, f.told, f.marked, f.commit = sennit.Cursor{}, false, false, false, nil
}

// maxHeld bounds what waits for the last change of its commit. A node that
// sends more sends no commit.
const maxHeld = sennit.MaxCommit + sennit.MaxOps*updateBytes

// updateBytes is what an update takes besides its path and value, roughly.
const updateBytes = 256

// take does what a block says.
func (f *follower) take(b *block) error {
	u := &b.update
	if b.status == 205 {
		f.reset()
		return nil
	}
	if u.Kind == sennit.Message { // no part of any commit
		f.batch, f.size = append(f.batch, *u), f.size+updateBytes+len(u.Node.Path)+len(u.Node.Value.Data)
		return nil
	}
	if u.Kind != 0 {
		f.size += updateBytes + len(u.Node.Path) + len(u.Node.Value.Data)
		if !f.live {
			f.batch, f.told = append(f.batch, *u), true
		} else if f.commit = append(f.commit, *u); b.located {
			for i := range f.commit {
				f.commit[i].Cursor = u.Cursor
			}
			f.batch, f.commit, f.cursor, f.told = append(f.batch, f.commit...), nil, u.Cursor, true
		} else if f.size > maxHeld+f.watch.room {
			return malformed("a commit without an end")
		}
	}
	if b.live {
		f.live = true
		if b.located {
			f.cursor = u.Cursor
		}
		if !f.marked {
			f.batch = append(f.batch, sennit.Update{Kind: sennit.Live, Cursor: f.cursor})
			f.marked, f.told = true, true
		}
	}
	return nil
}
