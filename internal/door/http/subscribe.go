package httpdoor

import (
	"cmp"
	"context"
	"crypto/sha256"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sennit/sennit"
)

const (
	maxPatterns   = 64          // of one subscription
	minBeat       = time.Second // the shortest interval of heartbeats
	maxBeat       = time.Hour   // the longest
	sendBytes     = 64 << 10    // encoded updates that are gathered before a write
	statusSub     = 209         // what Braid answers to a subscription
	statusUnknown = 309         // and if it is asked for what came after a version that isn't known
	httpHistory   = "application/http-history"
)

// subscribes reports whether a GET asks for a subscription.
func subscribes(h http.Header) bool {
	v, there := h["Subscribe"]
	return there && !(len(v) == 1 && (v[0] == "?0" || v[0] == "false"))
}

// subscription is what a client wants to watch, and how.
type subscription struct {
	echo     string // its Subscribe header
	patterns []sennit.Pattern
	o        sennit.WatchOptions
	single   bool // one value, in the form that any Braid client reads
	parents  []sennit.Version
	aww      bool   // its versions are points in time
	seen     string // then: the newest that the client has
	beat     time.Duration
}

func (d *Door) parseSubscription(r *http.Request, t target) (s subscription, err error) {
	h := r.Header
	switch v := h["Subscribe"]; {
	case len(v) == 1 && (v[0] == "" || v[0] == "?1" || v[0] == "true"):
		s.echo = v[0]
	default:
		return s, sennit.Errorf(sennit.BadInput, "the Subscribe header is %.60q; want ?1, true or nothing", v)
	}
	switch {
	case r.ContentLength != 0:
		// While a body is on its way, net/http does not see a client go.
		return s, sennit.Errorf(sennit.BadInput, "a subscription has no body")
	case h["Version"] != nil:
		return s, sennit.Errorf(sennit.BadInput, "a subscription with Version makes no sense: it begins with what is there now")
	}
	if s.aww, err = speaksAWW(h); err != nil {
		return s, err
	}
	if s.aww {
		s.seen, err = points(h["Parents"])
	} else {
		s.parents, err = versions(h["Parents"])
	}
	if err != nil {
		return s, err
	}
	if v := h["Heartbeats"]; v != nil {
		if s.beat, err = parseBeat(v); err != nil {
			return s, err
		}
	}
	switch v := h["Since"]; len(v) {
	case 0:
	case 1:
		if s.o.Since, err = sennit.ParseCursor(v[0]); err != nil {
			return s, err
		}
	default:
		return s, sennit.Errorf(sennit.BadInput, "more than one Since")
	}
	q, err := parseQuery(t.query)
	if err != nil {
		return s, err
	}
	exact, err := q.flag("exact")
	if err != nil {
		return s, err
	}
	if s.o.Tail, err = q.flag("tail"); err != nil {
		return s, err
	}
	if s.o.Newest, err = q.count("newest"); err != nil {
		return s, err
	}
	if s.o.Messages, err = q.flag("messages"); err != nil {
		return s, err
	}
	also := q.all("also")
	if err := q.done(); err != nil {
		return s, err
	}
	first := t.pattern
	first.Exact = first.Exact || exact
	s.patterns = append(s.patterns, first)
	if len(also) >= maxPatterns {
		return s, sennit.Errorf(sennit.BadInput, "%d patterns in one subscription; at most %d are allowed", len(also)+1, maxPatterns)
	}
	for _, text := range also {
		path, slash := strings.CutSuffix(text, "/")
		if len(path) < 2 || path[0] != '/' || strings.Contains(text, "//") {
			return s, sennit.Errorf(sennit.BadInput, "the pattern %.100q is malformed", text)
		}
		p, err := sennit.ParsePattern(path, !slash)
		if err != nil {
			return s, err
		}
		s.patterns = append(s.patterns, p)
	}
	s.single = !t.slash && !t.wild && len(also) == 0
	if s.single && (exact || s.o.Newest > 0) {
		return s, sennit.Errorf(sennit.BadInput, "exact and newest are for subtrees: end the path with a slash")
	}
	s.o.Queue = d.cfg.Limits.Queue
	return s, nil
}

// lasting tells how to find out whether a caller may still be served: a token may
// be revoked or expire long before a subscription ends. nil: it isn't asked.
func (d *Door) lasting(r *http.Request, c Caller) func() bool {
	if c.Via != ByToken {
		return nil
	}
	_, token, _ := bearer(r) // it was good a moment ago
	hash := sha256.Sum256([]byte(token))
	return func() bool {
		_, ok := d.cfg.Tokens.Lookup(context.Background(), hash)
		return ok
	}
}

// parseBeat reads a Heartbeats header, "20" or "20s", and brings it within
// what is done here.
func parseBeat(v []string) (time.Duration, error) {
	if len(v) == 1 && len(v[0]) <= 16 {
		f, err := strconv.ParseFloat(strings.TrimSuffix(v[0], "s"), 64)
		if err == nil && f > 0 {
			return time.Duration(max(minBeat.Seconds(), min(f, maxBeat.Seconds())) * float64(time.Second)), nil
		}
	}
	return 0, sennit.Errorf(sennit.BadInput, "the Heartbeats header is %.60q; want a number of seconds", v)
}

// subscribe answers a GET with Subscribe: it stays, and sends what changes.
func (d *Door) subscribe(w http.ResponseWriter, r *http.Request, c Caller, t target) error {
	s, err := d.parseSubscription(r, t)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	lot, _ := ctx.Value(lotKey{}).(*lot)
	if lot != nil {
		defer context.AfterFunc(lot.life, cancel)()
	}
	p := lot.place(r)
	if p != nil {
		s.o.Wake = p.wake
	}
	watch, err := d.cfg.Bus(c).Watch(ctx, s.patterns, s.o)
	if sennit.CodeOf(err) == sennit.Unsupported && p != nil {
		p, s.o.Wake = nil, nil
		watch, err = d.cfg.Bus(c).Watch(ctx, s.patterns, s.o)
	}
	if err != nil {
		return err
	}
	parked := false
	defer func() {
		if !parked {
			watch.Close()
		}
	}()

	told := told{live: s.o.Since != (sennit.Cursor{}), aww: s.aww}
	if s.single {
		told.single = &single{path: t.addr.Path}
	}
	h := w.Header()
	var first encoder
	if s.single && !told.live {
		// The headers say what is there now, so they wait for it. The
		// snapshot of one value is not long in coming.
		for !told.live {
			updates, err := watch.Next(ctx)
			if err != nil {
				return err
			}
			for i := range updates {
				first.append(&told, updates, i)
			}
		}
		switch now := &told.single.shown; {
		case s.aww:
			if s.seen != "" && now.Version != "" && !newer(wallclock(now), s.seen) {
				first.b = nil // it has that, or newer
			}
			tellAWW(h, "Current-Version", now)
		default:
			if len(s.parents) == 1 && s.parents[0] == now.Version && now.Version != "" {
				first.b = nil // it has that
			}
			tellVersion(h, "Current-Version", now.Version)
		}
		told.single.describe(h)
	}
	h.Set("Subscribe", s.echo)
	h.Set("Accept-Subscribe", "true")
	h.Set("Content-Type", httpHistory)
	h.Set("Cache-Control", "no-cache, no-transform, no-store")
	h.Set("X-Accel-Buffering", "no")
	if s.beat > 0 {
		h.Set("Heartbeats", strconv.FormatFloat(s.beat.Seconds(), 'f', -1, 64)+"s")
	}
	beat := cmp.Or(s.beat, d.cfg.Limits.Idle)
	if p != nil {
		p.watch, p.told, p.beat, p.check = watch, told, beat, d.lasting(r, c)
		if parked = p.park(w, first.b); parked {
			return nil
		}
	}
	d.stats.subscribers.Add(1)
	defer d.stats.subscribers.Add(-1)
	w.WriteHeader(statusSub)
	st := &stream{check: d.lasting(r, c), w: w, rc: http.NewResponseController(w), limit: d.cfg.Limits.Write, encoders: &d.encoders, told: told}
	_ = st.rc.SetReadDeadline(time.Time{}) // the request is here, and its client may stay for long
	if st.send(first.b) == nil {
		// A client that went away is noticed at once, unless it sent more
		// than its request; then a write fails in the end.
		st.run(ctx, watch, beat)
		_ = st.rc.SetWriteDeadline(time.Now().Add(st.limit)) // for the end of the answer
	}
	return nil
}
