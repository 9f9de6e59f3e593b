package sim

import (
	"context"
	"errors"
	"log/slog"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/replicate"
)

// ear hears what a run's parts log, and knows what they must not say.
type ear struct {
	r     *run
	attrs []slog.Attr
}

// Enabled implements slog.Handler.
func (*ear) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs implements slog.Handler.
func (e *ear) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &ear{e.r, append(e.attrs[:len(e.attrs):len(e.attrs)], attrs...)}
}

// WithGroup implements slog.Handler.
func (e *ear) WithGroup(string) slog.Handler { return e }

// Handle implements slog.Handler.
func (e *ear) Handle(_ context.Context, rec slog.Record) error {
	if rec.Message == "session ended" {
		e.sessionEnded(rec)
	} else {
		e.r.m.w.c.Log("%s: %s %v", e.r.m.name, rec.Message, attrs(rec))
	}
	if rec.Level >= slog.LevelError && !e.r.dead.Load() {
		e.r.m.w.fail("%s: %s %v", e.r.m.name, rec.Message, attrs(rec))
	}
	return nil
}

// sessionEnded hears of the end of a session that this side dialed.
func (e *ear) sessionEnded(rec slog.Record) {
	var err error
	var host string
	for _, a := range attrs(rec) {
		if x, ok := a.Value.Any().(error); ok {
			err = x
		} else if a.Key == "host" {
			host = a.Value.String()
		}
	}
	e.r.mu.Lock()
	var last *conn
	for h, c := range e.r.dialed {
		if replicate.HostText(h) == host {
			last = c
		}
	}
	e.r.mu.Unlock()
	if last != nil {
		e.r.m.w.ended(e.r, last, err)
	}
}

func attrs(rec slog.Record) (all []slog.Attr) {
	rec.Attrs(func(a slog.Attr) bool {
		all = append(all, a)
		return true
	})
	return all
}

// ended looks at why a session ended: an honest peer's bytes must not end one,
// unless something was done to them on their way.
func (w *world) ended(r *run, c *conn, err error) {
	w.c.Log("%s: session with %s ended: %v", r.m.name, w.nameOf(c), err)
	if r.m.liar == nil && c.other.owner.m.liar != nil && sennit.CodeOf(err) == sennit.BadInput {
		w.count("session ended on a lie")
	}
	if err == nil || r.dead.Load() || c.link.faulted.Load() || r.m.liar != nil || c.other.owner.m.liar != nil {
		return
	}
	switch code := sennit.CodeOf(err); {
	case errors.Is(err, errClosed), errors.Is(err, errReset), errors.Is(err, errDown):
	case code == sennit.Interrupted, code == sennit.Timeout, code == sennit.Gone, code == sennit.ReadOnly:
	case code == sennit.Conflict: // both sides dialed at once
	default:
		w.fail("%s ended a session with %s: %v", r.m.name, w.nameOf(c), err)
	}
}

func (w *world) nameOf(c *conn) string { return c.other.owner.m.name }
