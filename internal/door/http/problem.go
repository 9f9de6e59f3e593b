package httpdoor

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/sennit/sennit"
)

// statusError is an error with a status that its code alone does not give.
type statusError struct {
	status int
	error
}

func (e *statusError) Unwrap() error { return e.error }

// namedError is an error that clients of others know by its text.
type namedError struct {
	name string
	error
}

func (e *namedError) Unwrap() error { return e.error }

func named(name string, err error) error { return &namedError{name, err} }

func status(s int, err error) error { return &statusError{s, err} }

// Problem is the body of an answer that says no (RFC 9457), of the type
// application/problem+json.
type Problem struct {
	Type   string      `json:"type"` // always "about:blank": the code says more
	Title  string      `json:"title"`
	Status int         `json:"status"`
	Detail string      `json:"detail"`
	Code   sennit.Code `json:"code"`
	Hint   string      `json:"hint,omitempty"`
	Error  string      `json:"error,omitempty"` // what Braid's clients look for
}

// statusText names a status, also those that are Braid's own.
func statusText(status int) string {
	switch status {
	case statusSub:
		return "Subscription"
	case statusUnknown:
		return "Version Unknown Here"
	case statusDigest:
		return "Digest Mismatch"
	}
	return http.StatusText(status)
}

// Fail answers a request to a mounted handler with an error, in the form that
// all refusals have.
func (d *Door) Fail(w http.ResponseWriter, r *http.Request, err error) {
	d.fail(w, r, CallerOf(r.Context()), err)
}

// conditional reports whether a request asks for a version.
func conditional(r *http.Request) bool {
	return r.Header["If-Match"] != nil || r.Header["If-None-Match"] != nil
}

// Unhurried gives a mounted handler its request's body and its answer without
// the limits for the whole of them: each may take as long as it takes, if it
// keeps coming.
func (d *Door) Unhurried(w http.ResponseWriter, r *http.Request) (io.Reader, http.ResponseWriter) {
	rc := http.NewResponseController(w)
	return &flowing{r: r.Body, rc: rc, limit: d.cfg.Limits.Read}, patient{w, rc, d.cfg.Limits.Write}
}

// fail answers with an error.
func (d *Door) fail(w http.ResponseWriter, r *http.Request, c Caller, err error) {
	code := sennit.CodeOf(err)
	p := Problem{Type: "about:blank", Status: code.Status(), Code: code, Detail: err.Error(), Hint: sennit.HintOf(err)}
	h := w.Header()
	var s *statusError
	var n *namedError
	switch {
	case errors.As(err, &s):
		p.Status = s.status
	case code == sennit.Internal:
		d.cfg.Log.LogAttrs(r.Context(), slog.LevelError, "a request failed", slog.String("method", r.Method), slog.Any("error", err))
		if !c.Owner() {
			p.Detail, p.Hint = "something is wrong inside the node", ""
		}
	case code == sennit.NotFound && !c.Owner():
		// Whether it isn't there or isn't for this caller, the answer is the
		// same, even if a Bus should word the two differently.
		p.Detail, p.Hint = "nothing is here", ""
	case code == sennit.Conflict && conditional(r):
		p.Status = http.StatusPreconditionFailed
	case errors.As(err, &n):
		p.Error = n.name
	case code == sennit.OverQuota:
		h.Set("Retry-After", "1")
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="sennit"`)
	}
	p.Title = statusText(p.Status)
	if p.Status >= 400 && p.Status < len(d.stats.refused) {
		d.stats.refused[p.Status].Add(1)
	}
	body, merr := json.Marshal(p)
	if merr != nil { // a struct of strings and a number
		body = nil
	}
	for _, name := range []string{"ETag", "Version", "Content-Disposition", "Link"} {
		h.Del(name)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

// refuse answers a method that is not allowed.
func (d *Door) refuse(w http.ResponseWriter, r *http.Request, c Caller, allow string) {
	w.Header().Set("Allow", allow)
	d.fail(w, r, c, status(http.StatusMethodNotAllowed,
		sennit.Errorf(sennit.BadInput, "%.20q can't be done here; allowed: %s", r.Method, allow)))
}
