package httpdoor

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sennit/sennit"
)

// plainType is the media type of a value without one.
const plainType = "application/octet-stream"

// get answers GET and HEAD of a value.
func (d *Door) get(w http.ResponseWriter, r *http.Request, c Caller, t target) error {
	if err := t.none(); err != nil {
		return err
	}
	if r.Header["Version"] != nil || r.Header["Parents"] != nil {
		return sennit.Errorf(sennit.Unsupported, "older versions of a value are not served")
	}
	n, err := d.cfg.Bus(c).Get(r.Context(), t.addr)
	if err != nil {
		return err
	}
	if n.Value.Blob != nil {
		return sennit.Errorf(sennit.Unsupported, "the value at %s has %d bytes, and values that big are not served", t.addr, n.Value.Blob.Size)
	}
	h := w.Header()
	tag := ""
	if v := string(n.Version); simple(v) {
		tag = `"` + v + `"`
		h["Etag"] = []string{tag}
		h["Version"] = h["Etag"]
	}
	if author := d.authorOf(n.Author); author != nil {
		h["Author"] = author
	}
	if !n.Time.IsZero() {
		h.Set("Time", n.Time.UTC().Format(time.RFC3339Nano))
	}
	h["Cache-Control"] = d.fixed.cache
	if tag != "" && matches(r.Header["If-None-Match"], tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", typeOf(n.Value))
	h["Content-Security-Policy"] = d.fixed.policy
	h.Set("Content-Length", strconv.Itoa(len(n.Value.Data)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		w.Write(n.Value.Data)
	}
	return nil
}

// put answers PUT of a value.
func (d *Door) put(w http.ResponseWriter, r *http.Request, c Caller, t target) error {
	if err := t.none(); err != nil {
		return err
	}
	if err := checkConditions(r); err != nil {
		return err
	}
	typ, err := contentType(r.Header)
	if err != nil {
		return err
	}
	data, err := readBody(w, r, d.cfg.Limits.Body)
	if err != nil {
		return err
	}
	change := sennit.Change{Kind: sennit.KindPut, Path: t.addr.Path, Value: sennit.Value{Type: typ, Data: data}}
	v, err := d.cfg.Bus(c).Write(r.Context(), t.addr.Root, []sennit.Change{change})
	if err != nil {
		return err
	}
	if simple(string(v)) {
		w.Header().Set("Etag", `"`+string(v)+`"`)
	}
	written(w, v)
	return nil
}

// add answers POST of ?add=N to a path: the counter there grows by N.
func (d *Door) add(w http.ResponseWriter, r *http.Request, c Caller, t target) error {
	delta, err := t.adds()
	if err != nil {
		return err
	}
	if err := checkConditions(r); err != nil {
		return err
	}
	if body, err := readBody(w, r, 1); len(body) > 0 || sennit.CodeOf(err) == sennit.TooLarge {
		return sennit.Errorf(sennit.BadInput, "what a counter grows by stands in the address; there is no body")
	} else if err != nil {
		return err
	}
	v, err := d.cfg.Bus(c).Write(r.Context(), t.addr.Root, []sennit.Change{{Kind: sennit.KindAdd, Path: t.addr.Path, Delta: delta}})
	if err != nil {
		return err
	}
	written(w, v)
	return nil
}

// remove answers DELETE: of a value or, with a slash at the end, of a subtree.
func (d *Door) remove(w http.ResponseWriter, r *http.Request, c Caller, t target) error {
	if err := t.none(); err != nil {
		return err
	}
	if err := checkConditions(r); err != nil {
		return err
	}
	change := sennit.Change{Kind: sennit.KindDel, Path: t.addr.Path, Deep: t.slash}
	v, err := d.cfg.Bus(c).Write(r.Context(), t.addr.Root, []sennit.Change{change})
	if err != nil {
		return err
	}
	written(w, v)
	return nil
}

// written says that a write is done.
func written(w http.ResponseWriter, v sennit.Version) {
	if simple(string(v)) {
		w.Header().Set("Version", `"`+string(v)+`"`)
	}
	w.WriteHeader(http.StatusNoContent)
}

// checkConditions refuses what would change the meaning of a write and isn't
// done here. To pass over it would be to write what the client did not ask for.
func checkConditions(r *http.Request) error {
	for _, name := range []string{"If-Match", "If-None-Match", "If-Unmodified-Since", "If-Modified-Since", "If-Range"} {
		if r.Header[name] != nil {
			return sennit.Errorf(sennit.Unsupported, "a write with %s is not done here", name)
		}
	}
	for _, name := range []string{"Content-Range", "Patches"} {
		if r.Header[name] != nil {
			return sennit.Errorf(sennit.BadInput, "a part of a value, with %s, can't be written; put the whole", name)
		}
	}
	if e := r.Header["Content-Encoding"]; e != nil && (len(e) != 1 || !strings.EqualFold(e[0], "identity")) {
		return status(http.StatusUnsupportedMediaType, sennit.Errorf(sennit.Unsupported, "bodies with a Content-Encoding are not taken"))
	}
	return nil
}

// contentType is the media type that a request gives its body, "" if none.
func contentType(h http.Header) (string, error) {
	switch v := h["Content-Type"]; {
	case len(v) == 0:
		return "", nil
	case len(v) > 1:
		return "", sennit.Errorf(sennit.BadInput, "more than one Content-Type")
	case !isType(v[0]):
		return "", sennit.Errorf(sennit.BadInput, "%.150q is not a media type of at most %d bytes", v[0], sennit.MaxType)
	default:
		return v[0], nil
	}
}

// isType reports whether s can be a media type: type/subtype, perhaps with
// parameters, nothing that would end a header line.
func isType(s string) bool {
	slash := strings.IndexByte(s, '/')
	return slash > 0 && slash < len(s)-1 && len(s) <= sennit.MaxType && printable(s)
}

func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// typeOf is a value's media type as a header can have it. Types come from
// other nodes too, which may write what they like.
func typeOf(v sennit.Value) string {
	if !isType(v.Type) {
		return plainType
	}
	return v.Type
}

// simple reports whether a version can stand between quotes in a header.
// Those that nodes make can; another is left out.
func simple(v string) bool {
	return v != "" && printable(v) && !strings.ContainsAny(v, `"\ `)
}

// matches reports whether an If-None-Match field names the tag.
func matches(fields []string, tag string) bool {
	for _, f := range fields {
		for one := range strings.SplitSeq(f, ",") {
			one = strings.TrimSpace(one)
			if one == "*" || strings.TrimPrefix(one, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// readBody reads a request's body, all of it or none. A body that says that it
// is too large is refused before it is sent; one that does not say is read no
// further than the limit. Up to sennit.MaxInline bytes are set aside as announced;
// for more, memory is taken as bytes arrive.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	tooLarge := func() error {
		w.Header().Set("Connection", "close")
		return sennit.Errorf(sennit.TooLarge, "the body has more than %d bytes, which is the most that is taken here", limit)
	}
	if r.ContentLength > limit {
		return nil, tooLarge()
	}
	if r.ContentLength == 0 {
		return nil, nil
	}
	body := http.MaxBytesReader(w, r.Body, limit)
	var data []byte
	var err error
	if n := r.ContentLength; n > 0 && n <= sennit.MaxInline {
		data = make([]byte, n)
		_, err = io.ReadFull(body, data)
	} else {
		var b bytes.Buffer
		_, err = b.ReadFrom(body)
		data = b.Bytes()
	}
	var max *http.MaxBytesError
	switch {
	case errors.As(err, &max):
		return nil, tooLarge()
	case err != nil:
		w.Header().Set("Connection", "close")
		return nil, sennit.Errorf(sennit.BadInput, "the body ended early: %w", err)
	}
	return data, nil
}
