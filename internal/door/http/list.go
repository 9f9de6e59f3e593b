package httpdoor

import (
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sennit/sennit"
)

// The media types of what is not a value.
const (
	listType   = "application/vnd.sennit.list+json"
	digestType = "application/vnd.sennit.digest+json"
	commitType = "application/vnd.sennit.commit"
)

// maxList bounds the entries of one answer, whatever limit was asked for.
const maxList = 10_000

// entry is one child in a listing.
type entry struct {
	Name  string `json:"name"`
	Value bool   `json:"value"`
	Dir   bool   `json:"dir"`
}

// list answers GET and HEAD of a subtree: the children, or the digest.
func (d *Door) list(w http.ResponseWriter, r *http.Request, c Caller, t target) error {
	q, err := parseQuery(t.query)
	if err != nil {
		return err
	}
	digest, err := q.flag("digest")
	if err != nil {
		return err
	}
	if digest {
		return d.digest(w, r, c, t, q)
	}
	after, err := q.text("after")
	if err != nil {
		return err
	}
	limit, err := q.count("limit")
	if err != nil {
		return err
	}
	if err := q.done(); err != nil {
		return err
	}
	if !accepts(r.Header["Accept"], listType) {
		return status(http.StatusNotAcceptable, sennit.Hint(
			sennit.Errorf(sennit.Unsupported, "a subtree comes only as a listing, %s", listType), "ask for that type, or for any"))
	}
	entries, more, err := d.cfg.Bus(c).List(r.Context(), t.addr, sennit.Listing{After: after, Limit: min(limit, maxList)})
	if err != nil {
		return err
	}
	out := make([]entry, len(entries))
	for i, e := range entries {
		out[i] = entry(e)
	}
	if more && len(entries) > 0 {
		next := url.Values{"after": {entries[len(entries)-1].Name}}
		if limit > 0 {
			next.Set("limit", strconv.Itoa(limit))
		}
		to := appendEscaped([]byte("<"), t.addr.String())
		w.Header().Set("Link", string(to)+"/?"+next.Encode()+`>; rel="next"`)
	}
	return answer(w, r, listType, out)
}

// digest answers GET and HEAD of a subtree's digest.
func (d *Door) digest(w http.ResponseWriter, r *http.Request, c Caller, t target, q query) error {
	if err := q.done(); err != nil {
		return err
	}
	g, err := d.cfg.Bus(c).Digest(r.Context(), t.addr)
	if err != nil {
		return err
	}
	return answer(w, r, digestType, struct {
		Hash   string `json:"hash"`
		Ops    uint64 `json:"ops"`
		Cursor string `json:"cursor"`
	}{g.Hash.String(), g.Ops, g.Cursor.String()})
}

// answer sends v as JSON.
func answer(w http.ResponseWriter, r *http.Request, typ string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", typ)
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		w.Write(append(body, '\n'))
	}
	return nil
}

// accepts reports whether Accept fields allow a media type (RFC 9110 section
// 12.5.1, without the precedence of ranges: any range that allows it will do).
func accepts(fields []string, typ string) bool {
	if strings.Join(fields, "") == "" {
		return true
	}
	main, _, _ := strings.Cut(typ, "/")
	for _, f := range fields {
		for one := range strings.SplitSeq(f, ",") {
			rng, params, err := mime.ParseMediaType(one)
			if err != nil {
				continue
			}
			if q, err := strconv.ParseFloat(params["q"], 64); err == nil && q == 0 {
				continue
			}
			if rng == "*/*" || rng == main+"/*" || rng == typ {
				return true
			}
		}
	}
	return false
}
