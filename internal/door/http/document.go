package httpdoor

import (
	"mime"
	"net/http"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/docbus"
	"github.com/sennit/sennit/internal/document"
)

const (
	patchType   = "application/merge-patch+json"   // RFC 7396
	acceptPatch = patchType + ", " + document.JSON // what PATCH takes
	maxDocument = 4 * sennit.MaxCommit             // bytes of a document or a patch that is written
	maxSeen     = 4                                // what is there may take so many times as much, to be compared
	noDocument  = "a document has the type " + document.JSON + ", and a patch of one the type " + patchType
)

// getDocument answers GET and HEAD of a subtree as a document.
func (d *Door) getDocument(w http.ResponseWriter, r *http.Request, c Caller, t target) error {
	if r.Header["Version"] != nil || r.Header["Parents"] != nil {
		return sennit.Errorf(sennit.Unsupported, "older versions of a document are not served")
	}
	ctx := r.Context()
	doc := docbus.Doc{Bus: d.cfg.Bus(c), At: t.addr}
	// The state comes first: with a tag that is older than what it goes with,
	// somebody reads or is refused once too often, but overwrites nothing.
	g, err := doc.Bus.Digest(ctx, t.addr)
	if err != nil {
		return err
	}
	tag := `"` + g.Hash.String() + `"`
	if _, ok := matches(r.Header["If-Match"], tag); !ok && r.Header["If-Match"] != nil {
		return sennit.Errorf(sennit.Conflict, "the document at %s has changed", t.addr)
	}
	h := w.Header()
	begin := func(status int) {
		h.Set("Etag", tag)
		h["Cache-Control"] = d.fixed.cache
		if status == http.StatusOK {
			h.Set("Content-Type", document.JSON)
			h["Content-Security-Policy"] = d.fixed.policy
		}
		w.WriteHeader(status)
	}
	known, same := matches(r.Header["If-None-Match"], tag)
	if same || r.Method == http.MethodHead {
		if err := doc.Exists(ctx); err != nil {
			return err
		}
		if same {
			tag = known
			begin(http.StatusNotModified)
		} else {
			begin(http.StatusOK)
		}
		return nil
	}
	out := &late{w: patient{w, http.NewResponseController(w), d.cfg.Limits.Write}, begin: func() { begin(http.StatusOK) }}
	if err = doc.Read(ctx, out); err == nil {
		_, err = out.Write([]byte("\n"))
	}
	switch {
	case err == nil:
		return nil
	case !out.begun:
		return err
	}
	// A part of the document is on its way as if it were the whole. Only an
	// answer that breaks off says that it isn't.
	panic(http.ErrAbortHandler)
}

// late is an answer that begins with its first bytes, so that until then there
// can be another.
type late struct {
	w     patient
	begin func()
	begun bool
}

func (l *late) Write(b []byte) (int, error) {
	if !l.begun {
		l.begun = true
		l.begin()
	}
	return l.w.Write(b)
}

// putDocument answers PUT of a document, and PATCH of one.
func (d *Door) putDocument(w http.ResponseWriter, r *http.Request, c Caller, t target) error {
	if err := t.none(); err != nil {
		return err
	}
	if err := checkHeaders(r, "Version", "Parents"); err != nil {
		return err
	}
	cond, err := documentCondition(r)
	if err != nil {
		return err
	}
	typ, err := contentType(r.Header)
	if err != nil {
		return err
	}
	typ, _, err = mime.ParseMediaType(typ)
	patches := r.Method == http.MethodPatch
	if err != nil || typ != document.JSON && !(patches && typ == patchType) {
		if h := w.Header(); patches {
			h.Set("Accept-Patch", acceptPatch)
		} else {
			h.Set("Accept", document.JSON)
		}
		return status(http.StatusUnsupportedMediaType, sennit.Hint(sennit.Errorf(sennit.Unsupported, noDocument), "say so with Content-Type"))
	}
	limit := int64(maxDocument)
	if c.Via == Anonymous {
		limit = sennit.MaxInline // of strangers there may be many
	}
	body, err := readBody(w, r, limit)
	if err != nil {
		return err
	}
	if !patches { // that of a patched document isn't that of any one text
		said, err := claims(r.Header, reprDigest)
		if err == nil {
			err = said.check(body)
		}
		if err != nil {
			return err
		}
	} else if err := checkHeaders(r, reprDigest); err != nil {
		return err
	}
	doc := docbus.Doc{Bus: d.cfg.Bus(c), At: t.addr, Room: int(maxSeen * limit)}
	do := doc.Put
	if patches {
		do = doc.Patch
	}
	v, err := do(r.Context(), body, cond)
	if err != nil {
		return err
	}
	written(w, v)
	return nil
}

// documentCondition reads the condition of a document's writing: If-Match with
// the tag that a reading gave, or "If-None-Match: *".
func documentCondition(r *http.Request) (*sennit.Hash, error) {
	v, err := condition(r)
	switch {
	case err != nil || v == nil:
		return nil, err
	case *v == "":
		return new(sennit.Hash), nil
	}
	state, err := sennit.ParseHash(string(*v))
	if err != nil {
		return nil, sennit.Hint(sennit.Errorf(sennit.Conflict, "no state of a document has the tag %.80q", *v), "read it again")
	}
	return &state, nil
}
