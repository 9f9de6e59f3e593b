package httpdoor

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sennit/sennit"
)

// encoder writes updates in the framing of Braid, into a buffer. One serves many
// subscribers, one after the other: who has nothing to be told holds none.
type encoder struct {
	b []byte

	// The texts of the newest space and author: mostly the next ones too.
	space      sennit.Space
	spaceText  string
	author     sennit.Principal
	authorText []byte
}

// told is what a subscriber knows: how the next update is to be told.
type told struct {
	live   bool    // what follows are changes, no part of a snapshot
	single *single // set for the form of one value
	aww    bool    // versions are points in time
}

// some appends what the client gets of the next updates, as much as is sent at
// once, and returns the rest.
func (e *encoder) some(t *told, updates []sennit.Update) (rest []sennit.Update) {
	for i := range updates {
		e.append(t, updates, i)
		if len(e.b) >= sendBytes {
			return updates[i+1:]
		}
	}
	return nil
}

// append appends what the client gets of updates[i].
func (e *encoder) append(t *told, updates []sennit.Update, i int) {
	u := &updates[i]
	// The changes of a commit may share a cursor. Only the last says it:
	// whoever saw just some of them must not go on behind them all.
	last := i+1 == len(updates) || updates[i+1].Cursor != u.Cursor
	if t.single != nil {
		e.appendSingle(t, u, last)
		return
	}
	switch u.Kind { // there may be kinds yet to come
	case sennit.Set, sennit.Deleted, sennit.Appended:
		e.block(t, u, t.live && last, false)
	case sennit.Message:
		e.block(t, u, false, false)
	case sennit.Live:
		t.live = true
		e.b = appendCursorLine(append(e.b, "HTTP 200 OK\r\nLive: ?1\r\n"...), u.Cursor)
		e.b = append(e.b, "Content-Length: 0\r\n\r\n\r\n"...)
	case sennit.Reset:
		t.live = false
		e.b = append(e.b, "HTTP 205 Reset Content\r\nContent-Length: 0\r\n\r\n\r\n"...)
	}
}

// single is the state of a subscription to one value. A plain Braid client
// takes every block for the value, so there are no blocks that only mark
// something: the marks ride on the snapshot, which is one block.
type single struct {
	path sennit.Path
	now  *sennit.Update // in a snapshot: what is there, nil if nothing is known to be

	shown sennit.Node // by the last snapshot, until describe has told of it
}

// describe sets the header that tells of what type it is that is there now.
func (v *single) describe(h http.Header) {
	if v.shown.Version != "" {
		h.Set("Repr-Type", typeOf(v.shown.Value))
	}
	v.shown = sennit.Node{} // not to be held while nothing happens
}

func (e *encoder) appendSingle(t *told, u *sennit.Update, last bool) {
	v := t.single
	switch u.Kind {
	case sennit.Set, sennit.Deleted:
		now := *u
		now.Node.Path, now.Deep = v.path, false // it may have been a delete further up
		if t.live {
			e.block(t, &now, last, false)
			return
		}
		v.now = &now
	case sennit.Appended:
		e.block(t, u, last, false)
	case sennit.Message:
		e.block(t, u, false, false)
	case sennit.Reset:
		t.live, v.now = false, nil
	case sennit.Live:
		if !t.live {
			t.live = true
			if v.now == nil {
				v.now = new(sennit.Update)
			}
			v.now.Cursor = u.Cursor
			e.block(t, v.now, true, true)
			v.shown = sennit.Node{}
			if v.now.Kind == sennit.Set {
				v.shown = v.now.Node
			}
			v.now = nil
		}
	}
}

// block appends one update: what is set or sent, or that something is gone.
func (e *encoder) block(t *told, u *sennit.Update, cursor, live bool) {
	b := e.b
	defer func() { e.b = b }()
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
		b = append(b, e.spaceOf(u.Space)...)
		if n.Path != "" {
			b = appendEscaped(append(b, '/'), string(n.Path))
		}
		if u.Deep {
			b = append(b, '/')
		}
		b = append(b, "\r\n"...)
	}
	v := string(n.Version)
	if t.aww && v != "" {
		v = wallclock(n)
	}
	if simple(v) {
		b = append(append(append(b, `Version: "`...), v...), "\"\r\n"...)
	}
	if author := e.authorOf(n.Author); len(author) > 0 {
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
		b = append(b, "Content-Length: 0\r\n\r\n\r\n"...)
		return
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
	b = append(b, "\r\n"...)
}

func appendCursorLine(b []byte, c sennit.Cursor) []byte {
	return append(c.Append(append(b, "Cursor: "...)), "\r\n"...)
}

func (e *encoder) spaceOf(space sennit.Space) string {
	if e.space != space || e.spaceText == "" {
		e.space, e.spaceText = space, space.String()
	}
	return e.spaceText
}

func (e *encoder) authorOf(p sennit.Principal) []byte {
	if e.author != p {
		e.author, e.authorText = p, appendAuthor(e.authorText[:0], p)
	}
	return e.authorText
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

// encoders lends encoders.
type encoders struct{ pool sync.Pool }

func (p *encoders) get() *encoder {
	if e, ok := p.pool.Get().(*encoder); ok {
		return e
	}
	return new(encoder)
}

func (p *encoders) put(e *encoder) {
	if cap(e.b) > keepBuffer {
		e.b = nil
	}
	p.pool.Put(e)
}
