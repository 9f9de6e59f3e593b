package httpdoor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sennit/sennit"
)

// This file is about Braid's multiplexing, version 1.0: the answers to several
// subscriptions share one connection. A browser opens six connections to an
// origin and no more, so that without it six subscriptions leave none to load a
// page with. It is done as the client braid-http 1.3.80 wants it.

const (
	multiplexVersion = "1.0"
	multiplexPath    = "/.well-known/multiplexer/"
	maxMultiplexName = 64

	// A multiplexed subscription has a goroutine, and takes about 15 KiB.
	maxMultiplexers = 1024
	maxThrough      = 1024 // subscriptions through one multiplexer
	maxThroughAll   = 8192 // through all of them

	// Of these, strangers have half. A client with a token makes its multiplexer
	// as a stranger, because that has no token.
	ofStrangers = 2
)

// What clients look for.
const (
	statusThrough  = 293 // the answer comes through the multiplexer
	badMultiplexer = "Bad-Multiplexer"
	errorMux       = "Multiplexer already exists"
	errorRequest   = "Request already multiplexed"
)

// multiplexers are those of a door. Who knows the name of one may have answers
// sent there: clients make up random names.
type multiplexers struct {
	mu      sync.Mutex // guards what follows
	all     map[string]*multiplexer
	through [2]int // subscriptions through all of them: of those who said who they are, and of strangers
	made    [2]int // multiplexers, likewise
}

// kind is 1 for strangers, and 0 for others.
func kind(c Caller) int {
	if c.Via == Anonymous {
		return 1
	}
	return 0
}

// room reports whether there is room for one more of a kind.
func room(n [2]int, kind, most int) bool {
	return n[0]+n[1] < most && (kind == 0 || n[1] < most/ofStrangers)
}

// multiplexer is the answer to a POST that stays, in which the answers to other
// requests are sent.
type multiplexer struct {
	ctx   context.Context // ends with it
	end   context.CancelFunc
	limit time.Duration // for one write

	// One goes out after the other. A client that doesn't read holds up what comes
	// through here, and nothing else.
	encoding sync.Mutex // before writing
	writing  sync.Mutex
	w        http.ResponseWriter
	rc       *http.ResponseController

	requests map[string]*through // by name; guarded by mu of the multiplexers
	work     sync.WaitGroup
}

// through is a request whose answer goes through a multiplexer.
type through struct{ end context.CancelFunc }

// multiplexName splits what follows multiplexPath: a multiplexer's name and that of
// a request, which may be missing.
func multiplexName(rest string) (name, request string, ok bool) {
	name, request, more := strings.Cut(rest, "/")
	ok = isMultiplexName(name) && (!more || isMultiplexName(request))
	return name, request, ok
}

func isMultiplexName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= maxMultiplexName
}

// multiplex answers requests to multiplexPath: it makes a multiplexer, or ends a
// request that goes through one.
func (d *Door) multiplex(w http.ResponseWriter, r *http.Request, c Caller, t target) {
	name, request, ok := multiplexName(t.multiplex)
	method := http.MethodPost
	if request != "" {
		method = http.MethodDelete
	}
	var err error
	switch v := r.Header["Multiplex-Version"]; {
	case r.Method != method:
		d.refuse(w, r, c, method)
		return
	case !ok:
		err = sennit.Errorf(sennit.BadInput, "a multiplexer is named with 1 to %d letters, digits, - and _, and so is a request", maxMultiplexName)
	case len(v) != 1 || v[0] != multiplexVersion:
		err = sennit.Errorf(sennit.BadInput, "Multiplex-Version is %.40q; here it is %s", v, multiplexVersion)
	case t.query != "":
		err = t.none()
	case r.ContentLength != 0:
		err = sennit.Errorf(sennit.BadInput, "a request for a multiplexer has no body")
	case request != "":
		err = d.cancel(w, name, request)
	default:
		err = d.carry(w, r, c, name)
	}
	if err != nil {
		d.fail(w, r, c, err)
	}
}

// cancel ends a request that goes through a multiplexer.
func (d *Door) cancel(w http.ResponseWriter, name, request string) error {
	x := &d.multiplexers
	x.mu.Lock()
	m := x.all[name]
	var t *through
	if m != nil {
		t = m.requests[request]
		delete(m.requests, request)
	}
	x.mu.Unlock()
	switch {
	case m == nil:
		w.Header().Set(badMultiplexer, name)
		return sennit.Errorf(sennit.NotFound, "there is no multiplexer %s", name)
	case t == nil:
		w.Header().Set("Bad-Request", request)
		return sennit.Errorf(sennit.NotFound, "no request %s goes through the multiplexer %s", request, name)
	}
	t.end()
	w.Header().Set("Multiplex-Version", multiplexVersion)
	w.WriteHeader(http.StatusOK)
	return nil
}

// carry is a multiplexer, until its client goes.
func (d *Door) carry(w http.ResponseWriter, r *http.Request, c Caller, name string) error {
	m := &multiplexer{limit: d.cfg.Limits.Write, w: w, rc: http.NewResponseController(w), requests: map[string]*through{}}
	m.ctx, m.end = context.WithCancel(r.Context())
	defer m.end()
	if lot, ok := r.Context().Value(lotKey{}).(*lot); ok {
		defer context.AfterFunc(lot.life, m.end)()
	}
	h := w.Header()
	h.Set("Multiplex-Version", multiplexVersion)
	h.Set("Incremental", "?1")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")

	m.writing.Lock() // nothing goes through before the head is out
	if err := d.multiplexers.add(name, m, kind(c)); err != nil {
		m.writing.Unlock()
		return err
	}
	defer func() {
		d.multiplexers.remove(name, kind(c))
		m.end()
		m.work.Wait()
	}()
	_ = m.rc.SetReadDeadline(time.Time{}) // the request is here, and its client may stay for long
	w.WriteHeader(http.StatusOK)
	err := m.flush(heartbeat)
	m.writing.Unlock()

	beat := time.NewTicker(d.cfg.Limits.Idle)
	defer beat.Stop()
	for err == nil {
		select {
		case <-beat.C:
			err = m.send(heartbeat)
		case <-m.ctx.Done():
			err = m.ctx.Err()
		}
	}
	return nil
}

func (x *multiplexers) add(name string, m *multiplexer, kind int) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.all[name] != nil:
		return named(errorMux, sennit.Errorf(sennit.Conflict, "there is a multiplexer %s", name))
	case !room(x.made, kind, maxMultiplexers):
		return sennit.Hint(sennit.Errorf(sennit.OverQuota, "there are as many multiplexers as may be"), "subscribe without")
	case x.all == nil:
		x.all = map[string]*multiplexer{}
	}
	x.all[name] = m
	x.made[kind]++
	return nil
}

func (x *multiplexers) remove(name string, kind int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.all, name)
	x.made[kind]--
}

// send sends bytes, all or none. If that fails the multiplexer ends.
func (m *multiplexer) send(parts ...[]byte) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	return m.flush(parts...)
}

// flush is send; writing is held.
func (m *multiplexer) flush(parts ...[]byte) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	_ = m.rc.SetWriteDeadline(time.Now().Add(m.limit)) // a writer that knows no deadlines needs none
	var err error
	for _, b := range parts {
		if err == nil {
			_, err = m.w.Write(b)
		}
	}
	if err == nil {
		err = m.rc.Flush()
	}
	if err != nil {
		m.end()
	}
	return err
}

// through does a subscription of which the answer goes through a multiplexer, if
// the request asks for that.
func (d *Door) through(w http.ResponseWriter, r *http.Request, c Caller, t target) error {
	asked := r.Header["Multiplex-Through"]
	if asked == nil {
		return d.subscribe(w, r, c, t)
	}
	rest, ok := "", len(asked) == 1
	if ok {
		rest, ok = strings.CutPrefix(asked[0], multiplexPath)
	}
	name, request, well := multiplexName(rest)
	v := r.Header["Multiplex-Version"]
	if !ok || !well || request == "" || len(v) != 1 || v[0] != multiplexVersion {
		return sennit.Errorf(sennit.BadInput, "Multiplex-Through is %.150q and Multiplex-Version %.40q; want %sMULTIPLEXER/REQUEST and %s", asked, v, multiplexPath, multiplexVersion)
	}
	out := &throughWriter{request: request, h: w.Header().Clone()} // with what every answer has
	err := d.multiplexers.join(name, request, kind(c), func(ctx context.Context, m *multiplexer) {
		out.m = m
		defer out.finish()
		defer d.rescue("a subscription failed", m.end)
		inner := r.Clone(ctx)
		inner.Body = http.NoBody
		if err := d.subscribe(out, inner, c, t); err != nil {
			d.fail(out, inner, c, err)
		}
	})
	h := w.Header()
	switch err {
	case nil:
	case errNoMultiplexer:
		h.Set(badMultiplexer, name)
		return status(http.StatusFailedDependency, sennit.Errorf(sennit.NotFound, "there is no multiplexer %s", name))
	default:
		return err
	}
	h.Set("Multiplex-Through", asked[0])
	h.Set("Multiplex-Version", multiplexVersion)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(statusThrough)
	_, _ = io.WriteString(w, "Ok.")
	return nil
}

var errNoMultiplexer = errors.New("no such multiplexer")

// join has something done as a request that goes through a multiplexer.
func (x *multiplexers) join(name, request string, kind int, do func(context.Context, *multiplexer)) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	m := x.all[name]
	switch {
	case m == nil:
		return errNoMultiplexer
	case m.requests[request] != nil:
		return named(errorRequest, sennit.Errorf(sennit.Conflict, "a request %s goes through the multiplexer %s", request, name))
	case len(m.requests) >= maxThrough || !room(x.through, kind, maxThroughAll):
		return sennit.Hint(sennit.Errorf(sennit.OverQuota, "as many requests go through multiplexers as may"), "subscribe without")
	}
	ctx, end := context.WithCancel(m.ctx)
	t := &through{end}
	m.requests[request] = t
	x.through[kind]++
	m.work.Go(func() { // carry doesn't wait yet: it takes m out of all first
		defer func() {
			end()
			x.mu.Lock()
			defer x.mu.Unlock()
			if m.requests[request] == t { // and not the next of that name
				delete(m.requests, request)
			}
			x.through[kind]--
		}()
		if m.send([]byte("start response "+request+"\r\n")) == nil {
			do(ctx, m)
		}
	})
	return nil
}

// throughWriter is the answer to a request that goes through a multiplexer.
type throughWriter struct {
	m       *multiplexer
	request string
	h       http.Header
	begun   bool
	head    []byte // not sent yet
}

// Header implements [http.ResponseWriter].
func (w *throughWriter) Header() http.Header { return w.h }

// WriteHeader implements [http.ResponseWriter].
func (w *throughWriter) WriteHeader(status int) {
	if w.begun {
		return
	}
	w.begun = true
	head := bytes.NewBufferString("HTTP/1.1 " + strconv.Itoa(status) + " " + statusText(status) + "\r\n")
	_ = w.h.Write(head) // a buffer takes everything
	head.WriteString("\r\n")
	w.head = head.Bytes()
}

// Write implements [http.ResponseWriter]. It takes as long as the multiplexer lets it.
func (w *throughWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if len(w.head)+len(b) == 0 {
		return 0, w.m.ctx.Err()
	}
	line := strconv.AppendInt(nil, int64(len(w.head)+len(b)), 10)
	line = append(append(append(line, " bytes for response "...), w.request...), "\r\n"...)
	err := w.m.send(line, w.head, b)
	w.head = nil
	return len(b), err
}

// FlushError is what [http.ResponseController] calls.
func (w *throughWriter) FlushError() error {
	_, err := w.Write(nil)
	return err
}

// encodeLock is taken by a stream from before it encodes what there is until that
// is sent. Whoever waits for a client that doesn't read holds no more than its watch.
func (w *throughWriter) encodeLock() sync.Locker { return &w.m.encoding }

// finish ends the answer.
func (w *throughWriter) finish() {
	w.WriteHeader(http.StatusOK)
	if w.FlushError() == nil {
		_ = w.m.send([]byte("close response " + w.request + "\r\n")) // if it is gone, so is who would read that
	}
}
