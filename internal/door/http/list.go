package httpdoor

import (
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/document"
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

// list answers GET and HEAD of a subtree: the children, the digest, or all of
// it as a document.
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
	w.Header().Add("Vary", "Accept")
	switch prefers(r.Header["Accept"], listType, document.JSON) {
	case document.JSON:
		if err := q.done(); err != nil {
			return err
		}
		return d.getDocument(w, r, c, t)
	case "":
		return status(http.StatusNotAcceptable, sennit.Hint(
			sennit.Errorf(sennit.Unsupported, "a subtree comes as a listing, %s, or as a document, %s", listType, document.JSON), "ask for one of these types, or for any"))
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

// prefers picks the type that Accept fields like best (RFC 9110 section
// 12.5.1), "" if they allow none. Of two that they like the same, one that is
// named goes before one that a range allows, and then the first.
func prefers(fields []string, types ...string) (best string) {
	quality, named := 0.0, false
	for _, typ := range types {
		if q, n := accepts(fields, typ); q > quality || q > 0 && q == quality && n && !named {
			best, quality, named = typ, q, n
		}
	}
	return best
}

// accepts tells the quality that Accept fields give a media type, which is that
// of the narrowest range that has it, and whether that names the type itself.
func accepts(fields []string, typ string) (quality float64, named bool) {
	if strings.Join(fields, "") == "" {
		return 1, false
	}
	main, _, _ := strings.Cut(typ, "/")
	narrowest := 0
	for _, f := range fields {
		for one := range strings.SplitSeq(f, ",") {
			rng, params, err := mime.ParseMediaType(one)
			width := slices.Index([]string{"*/*", main + "/*", typ}, rng) + 1
			if err != nil || width == 0 || width < narrowest {
				continue
			}
			q := 1.0
			if text, ok := params["q"]; ok {
				if q, err = strconv.ParseFloat(text, 64); err != nil || !(q >= 0 && q <= 1) {
					continue
				}
			}
			if width > narrowest || q > quality {
				quality = q
			}
			narrowest = width
		}
	}
	return quality, narrowest == 3
}
