package httpdoor

import (
	"cmp"
	"context"
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

// Bounds of one answer, whatever was asked for.
const (
	defaultList = 1000   // entries, if it wasn't asked for any number
	maxList     = 10_000 // entries
	maxDepth    = 64
)

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
	depth, err := q.count("depth")
	if err != nil {
		return err
	}
	if err := q.done(); err != nil {
		return err
	}
	if depth > 1 && after != "" {
		if _, err := sennit.ParsePath(after); err != nil {
			return err
		}
	}
	l := lister{bus: d.cfg.Bus(c), room: min(cmp.Or(limit, defaultList), maxList), entries: []entry{}}
	more, err := l.list(r.Context(), t.addr, "", after, min(max(depth, 1), maxDepth))
	if err != nil {
		return err
	}
	if more && len(l.entries) > 0 {
		next := url.Values{"after": {l.entries[len(l.entries)-1].Name}}
		for name, n := range map[string]int{"limit": limit, "depth": depth} {
			if n > 0 {
				next.Set(name, strconv.Itoa(n))
			}
		}
		to := appendEscaped([]byte("<"), t.addr.String())
		w.Header().Set("Link", string(to)+"/?"+next.Encode()+`>; rel="next"`)
	}
	return answer(w, r, listType, l.entries)
}

// lister lists children, and theirs, down to a depth.
type lister struct {
	bus     sennit.Bus
	room    int // for so many entries more
	entries []entry
}

// list lists what is under an address, whose children's names begin with a prefix.
// It begins behind what after names, relative to the address. It reports whether
// there is more than there was room for.
func (l *lister) list(ctx context.Context, a sennit.Addr, prefix, after string, depth int) (more bool, err error) {
	under := func(name, after string) (bool, error) {
		child := a
		child.Path = a.Path.Join(sennit.Path(name))
		return l.list(ctx, child, prefix+name+"/", after, depth-1)
	}
	at, rest, _ := strings.Cut(after, "/")
	if at != "" && depth > 1 {
		if more, err := under(at, rest); more || err != nil && sennit.CodeOf(err) != sennit.NotFound {
			return more, err
		}
	}
	for more = true; more; {
		var entries []sennit.Entry
		if l.room == 0 {
			entries, _, err = l.bus.List(ctx, a, sennit.Listing{After: at, Limit: 1})
			return len(entries) > 0, err
		}
		if entries, more, err = l.bus.List(ctx, a, sennit.Listing{After: at, Limit: l.room}); err != nil {
			return false, err
		}
		for _, e := range entries {
			if l.room == 0 {
				return true, nil
			}
			l.room--
			at = e.Name
			e.Name = prefix + e.Name
			l.entries = append(l.entries, entry(e))
			if e.Dir && depth > 1 {
				// What it holds may be gone, or nothing for this reader.
				if more, err := under(at, ""); more || err != nil && sennit.CodeOf(err) != sennit.NotFound {
					return more, err
				}
			}
		}
		more = more && len(entries) > 0
	}
	return false, nil
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
