package httpdoor

import (
	"bytes"
	"context"
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
	aww, err := speaksAWW(r.Header)
	if err != nil {
		return err
	}
	if !aww && r.Header["Parents"] != nil {
		return d.since(w, r, c, t)
	}
	var n sennit.Node
	var content sennit.Content
	if aww {
		n, content, err = d.openAWW(w, r, c, t)
	} else {
		n, content, err = d.openAt(r, c, t)
	}
	if err != nil {
		return err
	}
	defer content.Close()
	h := w.Header()
	tag := ""
	if v := string(n.Version); simple(v) {
		tag = `"` + v + `"`
		if h["Etag"] = []string{tag}; !aww {
			h["Version"] = h["Etag"]
		}
	}
	if author := d.authorOf(n.Author); author != nil {
		h["Author"] = author
	}
	if !n.Time.IsZero() {
		h.Set("Time", n.Time.UTC().Format(time.RFC3339Nano))
	}
	h["Cache-Control"] = d.fixed.cache
	if known, ok := matches(r.Header["If-None-Match"], tag); ok && tag != "" {
		h["Etag"] = []string{known}
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", typeOf(n.Value))
	h["Content-Security-Policy"] = d.fixed.policy
	describe(h, n.Value)
	if r.Header["Range"] == nil && r.Header["If-Match"] == nil && r.Header["If-Range"] == nil && n.Value.Size() == uint64(len(n.Value.Data)) {
		h.Set("Content-Length", strconv.Itoa(len(n.Value.Data)))
		tellDigest(w, r, n.Value.Data)
		w.WriteHeader(http.StatusOK)
		if r.Method != http.MethodHead {
			w.Write(n.Value.Data)
		}
		return nil
	}
	w = uncompressed(w)
	// As long as bytes flow, an answer may take as long as it takes.
	http.ServeContent(patient{w, http.NewResponseController(w), d.cfg.Limits.Write}, r, "", time.Time{}, &seeker{ctx: r.Context(), content: content, size: int64(n.Value.Size())})
	return nil
}

// openAt opens what is there or, if a GET names one, a version of it.
func (d *Door) openAt(r *http.Request, c Caller, t target) (sennit.Node, sennit.Content, error) {
	switch at, err := versionAsked(r); {
	case err != nil:
		return sennit.Node{}, nil, err
	case at == "":
		return d.cfg.Bus(c).Open(r.Context(), t.addr)
	default:
		return d.cfg.Bus(c).At(r.Context(), t.addr, at)
	}
}

// versionAsked is the version that a GET names, "" if it is for what is there
// now.
func versionAsked(r *http.Request) (sennit.Version, error) {
	fields := r.Header["Version"]
	switch {
	case fields == nil:
		return "", nil
	case len(fields) == 1 && len(fields[0]) > 2 && fields[0][0] == '"' && fields[0][len(fields[0])-1] == '"' && simple(fields[0][1:len(fields[0])-1]):
		return sennit.Version(fields[0][1 : len(fields[0])-1]), nil
	}
	return "", sennit.Hint(sennit.Errorf(sennit.BadInput, "the header Version names no version"), `name one, in quotes: Version: "VERSION"`)
}

// describe tells what a value is that doesn't ride in an update or a listing.
func describe(h http.Header, v sennit.Value) {
	switch {
	case v.Blob != nil:
		h.Set("Blob", v.Blob.Root.String()+" "+strconv.FormatUint(v.Blob.Size, 10))
	case v.Stream > 0:
		h.Set("Stream", strconv.FormatUint(v.Stream, 10))
	}
}

// patient is a writer to which each write may take as long as the limit says.
type patient struct {
	http.ResponseWriter
	rc    *http.ResponseController
	limit time.Duration
}

func (p patient) Write(b []byte) (int, error) {
	_ = p.rc.SetWriteDeadline(time.Now().Add(p.limit)) // a writer that knows no deadlines needs none
	return p.ResponseWriter.Write(b)
}

// seeker reads a value's content as package http wants to.
type seeker struct {
	ctx     context.Context // of the request that it is made for
	content sennit.Content
	size    int64
	at      int64
}

func (s *seeker) Read(p []byte) (int, error) {
	if s.at >= s.size {
		return 0, io.EOF
	}
	n, err := s.content.ReadAt(s.ctx, p, s.at)
	if s.at += int64(n); n > 0 {
		err = nil // if there is one, it comes again
	}
	return n, err
}

func (s *seeker) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.at
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return 0, sennit.Errorf(sennit.BadInput, "byte %d of a value", offset)
	}
	s.at = offset
	return offset, nil
}

// put answers PUT of a value.
func (d *Door) put(w http.ResponseWriter, r *http.Request, c Caller, t target) error {
	if err := t.none(); err != nil {
		return err
	}
	cond, err := condition(r)
	if err != nil {
		return err
	}
	typ, err := contentType(r.Header)
	if err != nil {
		return err
	}
	said, err := claims(r.Header, reprDigest)
	if err != nil {
		return err
	}
	var v sennit.Version
	inline := r.ContentLength >= 0 && r.ContentLength <= sennit.MaxInline
	put := func(cond *sennit.Version) (err error) {
		v, err = d.stream(w, r, c, t, typ, cond, said)
		return err
	}
	if inline {
		data, err := readBody(w, r, sennit.MaxInline)
		if err == nil {
			err = said.check(data)
		}
		if err != nil {
			return err
		}
		put = func(cond *sennit.Version) (err error) {
			change := sennit.Change{Kind: sennit.KindPut, Path: t.addr.Path, Value: sennit.Value{Type: typ, Data: data}, If: cond}
			v, err = d.cfg.Bus(c).Write(r.Context(), t.addr.Root, []sennit.Change{change})
			return err
		}
	}
	switch aww, err := speaksAWW(r.Header); {
	case err != nil:
		return err
	case aww && cond != nil:
		return sennit.Errorf(sennit.BadInput, "of the merge type aww the version decides, and no other condition")
	case aww:
		return d.putAWW(w, r, c, t, !inline, put)
	}
	if err := put(cond); err != nil {
		return err
	}
	if simple(string(v)) {
		w.Header().Set("Etag", `"`+string(v)+`"`)
	}
	written(w, v)
	return nil
}

// stream puts a value that is large, or doesn't say how large it is.
func (d *Door) stream(w http.ResponseWriter, r *http.Request, c Caller, t target, typ string, cond *sennit.Version, said integrity) (sennit.Version, error) {
	if r.ContentLength > d.cfg.Limits.Value {
		return "", tooLarge(w, d.cfg.Limits.Value)
	}
	more, err := claims(r.Header, contentDigest)
	if err != nil {
		return "", err
	}
	body := &flowing{r: http.MaxBytesReader(w, r.Body, d.cfg.Limits.Value), rc: http.NewResponseController(w), limit: d.cfg.Limits.Read}
	in := append(said, more...).reader(body)
	v, err := d.cfg.Bus(c).Put(r.Context(), t.addr, typ, in, cond)
	if err != nil {
		w.Header().Set("Connection", "close") // what is left of the body is not worth reading
	}
	var max *http.MaxBytesError
	switch {
	case errors.As(err, &max):
		return "", tooLarge(w, d.cfg.Limits.Value)
	case in.err != nil:
		return "", in.err
	case body.err != nil && body.err != io.EOF:
		return "", sennit.Errorf(sennit.BadInput, "the body ended early: %w", body.err)
	}
	return v, err
}

// flowing is a body that may take as long as it takes, if it keeps coming.
type flowing struct {
	r     io.Reader
	rc    *http.ResponseController
	limit time.Duration
	err   error
}

func (f *flowing) Read(p []byte) (n int, err error) {
	_ = f.rc.SetReadDeadline(time.Now().Add(f.limit)) // a connection that knows no deadlines needs none
	n, f.err = f.r.Read(p)
	return n, f.err
}

// post answers POST to a path: of ?add=N, the counter there grows by N; of
// ?append, the stream there grows by the body.
func (d *Door) post(w http.ResponseWriter, r *http.Request, c Caller, t target) error {
	life, live, err := t.life()
	if err != nil {
		return err
	}
	if live {
		return d.send(w, r, c, t, life)
	}
	change, err := t.grows()
	if err != nil {
		return err
	}
	if err := checkHeaders(r, reprDigest); err != nil {
		return err
	}
	if change.If, err = condition(r); err != nil {
		return err
	}
	switch change.Kind {
	case sennit.KindAdd:
		if body, err := readBody(w, r, 1); len(body) > 0 || sennit.CodeOf(err) == sennit.TooLarge {
			return sennit.Errorf(sennit.BadInput, "what a counter grows by stands in the address; there is no body")
		} else if err != nil {
			return err
		}
	default:
		if change.Value.Type, err = contentType(r.Header); err != nil {
			return err
		}
		if change.Value.Data, err = readBody(w, r, sennit.MaxInline); err != nil {
			return err
		}
	}
	v, err := d.cfg.Bus(c).Write(r.Context(), t.addr.Root, []sennit.Change{change})
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
	cond, err := condition(r)
	if err != nil {
		return err
	}
	if err := checkHeaders(r, reprDigest); err != nil {
		return err
	}
	if cond != nil && t.slash {
		return sennit.Errorf(sennit.Unsupported, "a subtree has no version that a condition could name")
	}
	change := sennit.Change{Kind: sennit.KindDel, Path: t.addr.Path, Deep: t.slash, If: cond}
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

// condition reads the condition of a write: If-Match with one version, or
// "If-None-Match: *", which says that nothing may be there.
func condition(r *http.Request) (*sennit.Version, error) {
	if err := checkHeaders(r, "If-Unmodified-Since", "If-Modified-Since", "If-Range"); err != nil {
		return nil, err
	}
	match, none := r.Header["If-Match"], r.Header["If-None-Match"]
	if len(match) == 1 {
		match = []string{plainTag(match[0])}
	}
	switch {
	case match == nil && none == nil:
		return nil, nil
	case match == nil && len(none) == 1 && none[0] == "*":
		return new(sennit.Version), nil
	case none == nil && len(match) == 1 && len(match[0]) > 2 && match[0][0] == '"' && match[0][len(match[0])-1] == '"' && simple(match[0][1:len(match[0])-1]):
		v := sennit.Version(match[0][1 : len(match[0])-1])
		return &v, nil
	}
	return nil, sennit.Hint(sennit.Errorf(sennit.Unsupported, "a write takes one condition, and not this one"),
		`If-Match: "VERSION" as the ETag of an answer has it, or If-None-Match: * for a value that isn't there yet`)
}

// checkConditions refuses any condition, and other headers.
func checkConditions(r *http.Request, others ...string) error {
	if err := checkHeaders(r, others...); err != nil {
		return err
	}
	return checkHeaders(r, "If-Match", "If-None-Match", "If-Unmodified-Since", "If-Modified-Since", "If-Range")
}

// checkHeaders refuses what would change the meaning of a write and isn't done
// here. To pass over it would be to write what the client did not ask for.
func checkHeaders(r *http.Request, conditions ...string) error {
	for _, name := range conditions {
		if r.Header[name] != nil {
			return sennit.Errorf(sennit.Unsupported, "a write with %s is not done here", name)
		}
	}
	for _, name := range []string{"Content-Range", "Patches"} {
		if r.Header[name] != nil && r.Method != http.MethodPut && r.Method != http.MethodPatch {
			return sennit.Errorf(sennit.BadInput, "%s is of no use here; parts of a value are written with PUT or PATCH", name)
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

// matches reports whether a field of a condition names the tag, also as that of a
// compressed answer, and as which.
func matches(fields []string, tag string) (as string, ok bool) {
	for _, f := range fields {
		for one := range strings.SplitSeq(f, ",") {
			one = strings.TrimSpace(one)
			one = strings.TrimPrefix(one, "W/")
			switch {
			case one == "*":
				return tag, true
			case plainTag(one) == tag:
				return one, true
			}
		}
	}
	return "", false
}

func tooLarge(w http.ResponseWriter, limit int64) error {
	w.Header().Set("Connection", "close")
	return sennit.Errorf(sennit.TooLarge, "the body has more than %d bytes, which is the most that is taken here", limit)
}

// readBody reads a request's body, all of it or none. A body that says that it
// is too large is refused before it is sent; one that does not say is read no
// further than the limit. Up to sennit.MaxInline bytes are set aside as announced;
// for more, memory is taken as bytes arrive.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, tooLarge(w, limit)
	}
	said, err := claims(r.Header, contentDigest)
	if err != nil {
		return nil, err
	}
	if r.ContentLength == 0 {
		return nil, said.check(nil)
	}
	body := http.MaxBytesReader(w, r.Body, limit)
	var data []byte
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
		return nil, tooLarge(w, limit)
	case err != nil:
		w.Header().Set("Connection", "close")
		return nil, sennit.Errorf(sennit.BadInput, "the body ended early: %w", err)
	}
	return data, said.check(data)
}
