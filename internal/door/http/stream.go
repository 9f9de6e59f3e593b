package httpdoor

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sennit/sennit"
)

// stream is the answer to a subscription: updates in the framing of Braid.
type stream struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	limit   time.Duration // for one write
	buffers *buffers

	live   bool    // what follows are changes, no part of a snapshot
	single *single // set for the form of one value

	// The texts of the newest space and author: mostly the next ones too.
	space      sennit.Space
	spaceText  string
	author     sennit.Principal
	authorText []byte
}

// run sends updates until the client is gone, the watch fails or ctx ends. A
// reader that is slow only slows this stream: the watch merges or waits, and a
// write that takes longer than the limit ends the stream. The client can go on
// from the newest cursor that it saw.
func (s *stream) run(ctx context.Context, watch sennit.Watch, beat time.Duration) {
	// One context serves until its alarm goes off; a new one for each wait
	// would be most of what an update costs.
	wait, wake := context.WithCancel(ctx)
	alarm := time.AfterFunc(beat, wake)
	defer func() {
		alarm.Stop()
		wake()
	}()
	for {
		updates, err := watch.Next(wait)
		switch {
		case err == nil:
			err = s.updates(updates)
			alarm.Reset(beat)
		case wait.Err() != nil && ctx.Err() == nil:
			err = s.send(heartbeat)
			wait, wake = context.WithCancel(ctx)
			alarm = time.AfterFunc(beat, wake)
		}
		if err != nil {
			return
		}
	}
}

var heartbeat = []byte("\r\n")

// updates sends a batch.
func (s *stream) updates(updates []sennit.Update) error {
	buf := s.buffers.get()
	defer s.buffers.put(buf)
	b := (*buf)[:0]
	defer func() { *buf = b[:0] }()
	for i := range updates {
		b = s.append(b, updates, i)
		if len(b) >= sendBytes && i+1 < len(updates) {
			if err := s.send(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	if len(b) == 0 {
		return nil
	}
	return s.send(b)
}

// send writes and flushes within the limit.
func (s *stream) send(b []byte) error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(s.limit)) // a writer that knows no deadlines needs none
	if len(b) > 0 {
		if _, err := s.w.Write(b); err != nil {
			return err
		}
	}
	return s.rc.Flush()
}

// append appends what the client gets of updates[i].
func (s *stream) append(b []byte, updates []sennit.Update, i int) []byte {
	u := &updates[i]
	// The changes of a commit may share a cursor. Only the last says it:
	// whoever saw just some of them must not go on behind them all.
	last := i+1 == len(updates) || updates[i+1].Cursor != u.Cursor
	if s.single != nil {
		return s.appendSingle(b, u, last)
	}
	switch u.Kind {
	case sennit.Set, sennit.Deleted, sennit.Appended:
		return s.block(b, u, s.live && last, false)
	case sennit.Message:
		return s.block(b, u, false, false)
	case sennit.Live:
		s.live = true
		b = append(b, "HTTP 200 OK\r\nLive: ?1\r\n"...)
		b = appendCursorLine(b, u.Cursor)
		return append(b, "Content-Length: 0\r\n\r\n\r\n"...)
	case sennit.Reset:
		s.live = false
		return append(b, "HTTP 205 Reset Content\r\nContent-Length: 0\r\n\r\n\r\n"...)
	}
	return b // kinds yet to come
}

// single is the state of a subscription to one value. A plain Braid client
// takes every block for the value, so there are no blocks that only mark
// something: the marks ride on the snapshot, which is one block.
type single struct {
	path sennit.Path
	now  sennit.Update // in a snapshot: what is there; Kind is Set if anything is
}

// describe sets the headers that tell what is there now.
func (v *single) describe(h http.Header) {
	version := ""
	if n := &v.now.Node; v.now.Kind == sennit.Set {
		h.Set("Repr-Type", typeOf(n.Value))
		if simple(string(n.Version)) {
			version = `"` + string(n.Version) + `"`
		}
	}
	h.Set("Current-Version", version)
}

func (s *stream) appendSingle(b []byte, u *sennit.Update, last bool) []byte {
	v := s.single
	switch u.Kind {
	case sennit.Set, sennit.Deleted:
		now := *u
		now.Node.Path, now.Deep = v.path, false // it may have been a delete further up
		if s.live {
			return s.block(b, &now, last, false)
		}
		v.now = now
	case sennit.Appended:
		return s.block(b, u, last, false)
	case sennit.Message:
		return s.block(b, u, false, false)
	case sennit.Reset:
		s.live, v.now = false, sennit.Update{}
	case sennit.Live:
		if !s.live {
			s.live = true
			v.now.Cursor = u.Cursor
			b = s.block(b, &v.now, true, true)
			v.now.Node.Value.Data = nil // not to be held while nothing happens
		}
	}
	return b
}

// block appends one update: what is set or sent, or that something is gone.
func (s *stream) block(b []byte, u *sennit.Update, cursor, live bool) []byte {
	switch u.Kind {
	case sennit.Set, sennit.Appended:
		b = append(b, "HTTP 200 OK\r\n"...)
	case sennit.Message:
		b = append(b, "HTTP 202 Accepted\r\n"...)
	default:
		b = append(b, "HTTP 404 Not Found\r\n"...)
	}
	n := &u.Node
	if !u.Space.IsZero() {
		b = append(b, "Content-Location: /"...)
		b = append(b, s.spaceOf(u.Space)...)
		if n.Path != "" {
			b = appendEscaped(append(b, '/'), string(n.Path))
		}
		if u.Deep {
			b = append(b, '/')
		}
		b = append(b, "\r\n"...)
	}
	if v := string(n.Version); simple(v) {
		b = append(append(append(b, `Version: "`...), v...), "\"\r\n"...)
	}
	if author := s.authorOf(n.Author); len(author) > 0 {
		b = append(append(append(b, "Author: "...), author...), "\r\n"...)
	}
	if !n.Time.IsZero() {
		b = n.Time.UTC().AppendFormat(append(b, "Time: "...), time.RFC3339Nano)
		b = append(b, "\r\n"...)
	}
	if live {
		b = append(b, "Live: ?1\r\n"...)
	}
	if cursor {
		b = appendCursorLine(b, u.Cursor)
	}
	switch u.Kind {
	case sennit.Set:
		b = append(append(append(b, "Content-Type: "...), typeOf(n.Value)...), "\r\n"...)
	case sennit.Message:
		b = u.Until.UTC().AppendFormat(append(b, "Until: "...), time.RFC3339Nano)
		b = append(append(append(b, "\r\nContent-Type: "...), typeOf(n.Value)...), "\r\n"...)
	case sennit.Appended:
		// A patch that replaces nothing, at the end.
		b = append(b, "Content-Range: bytes [-0:-0]\r\n"...)
		if n.Value.Type != "" {
			b = append(append(append(b, "Content-Type: "...), typeOf(n.Value)...), "\r\n"...)
		}
		if u.Late {
			b = append(b, "Late: ?1\r\n"...)
		}
	default:
		return append(b, "Content-Length: 0\r\n\r\n\r\n"...)
	}
	if blob := n.Value.Blob; blob != nil {
		b = append(append(append(b, "Blob: "...), blob.Root.String()...), ' ')
		b = append(strconv.AppendUint(b, blob.Size, 10), "\r\n"...)
	}
	if n.Value.Stream > 0 {
		b = append(strconv.AppendUint(append(b, "Stream: "...), n.Value.Stream, 10), "\r\n"...)
	}
	b = strconv.AppendInt(append(b, "Content-Length: "...), int64(len(n.Value.Data)), 10)
	b = append(append(b, "\r\n\r\n"...), n.Value.Data...)
	return append(b, "\r\n"...)
}

func appendCursorLine(b []byte, c sennit.Cursor) []byte {
	return append(c.Append(append(b, "Cursor: "...)), "\r\n"...)
}

func (s *stream) spaceOf(space sennit.Space) string {
	if s.space != space || s.spaceText == "" {
		s.space, s.spaceText = space, space.String()
	}
	return s.spaceText
}

func (s *stream) authorOf(p sennit.Principal) []byte {
	if s.author != p {
		s.author, s.authorText = p, appendAuthor(s.authorText[:0], p)
	}
	return s.authorText
}

// appendAuthor appends an author: space and device. Nobody is nothing.
func appendAuthor(b []byte, p sennit.Principal) []byte {
	if p == (sennit.Principal{}) {
		return b
	}
	return append(append(append(b, p.Space.String()...), ' '), p.Device.String()...)
}

// keepBuffer is the largest buffer that is kept: one with a value in it that
// is as large as values get, but not one with a commit's worth of them.
const keepBuffer = 4 * sendBytes

// buffers lends the room for encoding, so that a subscriber to whom nothing
// happens holds none.
type buffers struct{ pool sync.Pool }

func (p *buffers) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	return new([]byte)
}

func (p *buffers) put(b *[]byte) {
	if cap(*b) <= keepBuffer {
		p.pool.Put(b)
	}
}
