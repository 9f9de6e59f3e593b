package httpdoor

import (
	"bytes"
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/docbus"
	"github.com/sennit/sennit/internal/document"
	"github.com/sennit/sennit/internal/patch"
)

const (
	patchesType = "application/http-patches"
	maxTries    = 16      // to patch a value that others write at the same time
	maxHead     = 8 << 10 // bytes of the headers of one patch
)

// ranges reports whether a request is about parts of a value.
func ranges(h http.Header) bool {
	return h["Content-Range"] != nil || h["Patches"] != nil || strings.HasPrefix(h.Get("Content-Type"), patchesType)
}

// patches reads the patches of a request: one with Content-Range, or several with
// Patches or the type application/http-patches.
func patches(w http.ResponseWriter, r *http.Request, limit int64) ([]patch.Patch, error) {
	if e := r.Header["Content-Encoding"]; e != nil {
		return nil, status(http.StatusUnsupportedMediaType, sennit.Errorf(sennit.Unsupported, "bodies with a Content-Encoding are not taken"))
	}
	count, several, err := countPatches(r.Header)
	if err != nil {
		return nil, err
	}
	rng := r.Header["Content-Range"]
	switch {
	case len(rng) > 1 || several && rng != nil:
		return nil, sennit.Errorf(sennit.BadInput, "more than one Content-Range, or one with Patches")
	case !several && rng == nil:
		return nil, sennit.Hint(sennit.Errorf(sennit.BadInput, "the request doesn't say how many patches it has"), "say so with Patches: N")
	}
	var one patch.Patch
	if !several {
		if one, err = patch.Parse(rng[0]); err != nil {
			return nil, err
		}
	}
	body, err := readBody(w, r, limit)
	if err != nil {
		return nil, err
	}
	if !several {
		one.Content = body
		return []patch.Patch{one}, nil
	}
	return splitPatches(body, count)
}

// countPatches tells how many patches a body has, if it has several, or says so.
func countPatches(h http.Header) (n int, several bool, err error) {
	fields := h["Patches"]
	if typ := h.Get("Content-Type"); strings.HasPrefix(typ, patchesType) {
		_, params, err := mime.ParseMediaType(typ)
		if err != nil {
			return 0, false, sennit.Errorf(sennit.BadInput, "%.150q is not a media type", typ)
		}
		if count, ok := params["count"]; ok {
			fields = append(slices.Clone(fields), count)
		}
	}
	if len(fields) == 0 {
		return 0, false, nil
	}
	for _, f := range fields {
		k, err := strconv.ParseUint(f, 10, 16)
		if err != nil || k > patch.MaxPatches || several && int(k) != n {
			return 0, false, sennit.Errorf(sennit.BadInput, "Patches is %.60q; want how many there are, at most %d", fields, patch.MaxPatches)
		}
		n, several = int(k), true
	}
	return n, several, nil
}

// splitPatches reads patches that follow each other, each with headers of its
// own: Content-Length and Content-Range.
func splitPatches(body []byte, count int) ([]patch.Patch, error) {
	all := make([]patch.Patch, 0, count)
	for range count {
		body = bytes.TrimLeft(body, "\r\n")
		size, rng, rest, err := patchHead(body)
		if err != nil {
			return nil, sennit.Errorf(sennit.BadInput, "patch %d of %d: %w", len(all)+1, count, err)
		}
		p, err := patch.Parse(rng)
		if err != nil {
			return nil, sennit.Errorf(sennit.BadInput, "patch %d of %d: %w", len(all)+1, count, err)
		}
		if size > uint64(len(rest)) {
			return nil, sennit.Errorf(sennit.BadInput, "patch %d of %d ends early: %d bytes of %d are there", len(all)+1, count, len(rest), size)
		}
		p.Content, body = rest[:size], rest[size:]
		all = append(all, p)
	}
	if rest := bytes.TrimLeft(body, "\r\n"); len(rest) > 0 {
		return nil, sennit.Errorf(sennit.BadInput, "%d bytes follow the last of %d patches", len(rest), count)
	}
	return all, nil
}

// patchHead reads the headers of one patch.
func patchHead(body []byte) (size uint64, rng string, rest []byte, err error) {
	var sized, ranged bool
	for head := 0; ; {
		line, after, ok := bytes.Cut(body, []byte("\n"))
		if head += len(line); !ok || head > maxHead {
			return 0, "", nil, sennit.Errorf(sennit.BadInput, "its headers don't end")
		}
		body = after
		if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
			break
		}
		name, value, ok := strings.Cut(string(line), ":")
		if value = strings.Trim(value, " \t"); !ok {
			return 0, "", nil, sennit.Errorf(sennit.BadInput, "%.60q is no header", line)
		}
		twice := false
		switch textproto.CanonicalMIMEHeaderKey(name) {
		case "Content-Length":
			twice, sized = sized, true
			if size, err = strconv.ParseUint(value, 10, 32); err != nil {
				return 0, "", nil, sennit.Errorf(sennit.BadInput, "its Content-Length is %.40q", value)
			}
		case "Content-Range":
			twice, ranged = ranged, true
			rng = value
		}
		if twice {
			return 0, "", nil, sennit.Errorf(sennit.BadInput, "it has two headers %s", name)
		}
	}
	if !sized || !ranged {
		return 0, "", nil, sennit.Errorf(sennit.BadInput, "it lacks Content-Length or Content-Range")
	}
	return size, rng, body, nil
}

// versions reads a Version or Parents header of Braid: strings of JSON with
// commas between them.
func versions(fields []string) ([]sennit.Version, error) {
	all := []sennit.Version{}
	if len(fields) > 1 || len(fields) == 1 && json.Unmarshal([]byte("["+fields[0]+"]"), &all) != nil {
		return nil, sennit.Hint(sennit.Errorf(sennit.BadInput, "%.100q are no versions", fields), `versions are in quotes, with commas between them`)
	}
	return all, nil
}

// base is the version that patches are for: that of If-Match, or of Parents. nil:
// whatever is there.
func base(r *http.Request) (*sennit.Version, error) {
	cond, err := condition(r)
	if err != nil {
		return nil, err
	}
	parents, err := versions(r.Header["Parents"])
	switch {
	case err != nil:
		return nil, err
	case len(parents) > 1 || len(parents) == 1 && cond != nil && *cond != parents[0]:
		return nil, sennit.Errorf(sennit.Conflict, "patches are for one version, not for several")
	case len(parents) == 1:
		cond = &parents[0]
	}
	if cond != nil && *cond == "" {
		return nil, sennit.Errorf(sennit.BadInput, "a patch of a value that isn't there")
	}
	return cond, nil
}

// patchValue answers PUT and PATCH of parts of a value, or of a document.
func (d *Door) patchValue(w http.ResponseWriter, r *http.Request, c Caller, t target) error {
	if err := t.none(); err != nil {
		return err
	}
	if _, err := versions(r.Header["Version"]); err != nil { // it gets one of this node's
		return err
	}
	said, err := claims(r.Header, reprDigest)
	if err != nil {
		return err
	}
	var do func(context.Context, sennit.Bus, target, []patch.Patch) (sennit.Version, error)
	limit := int64(sennit.MaxInline)
	if t.slash {
		if err := checkHeaders(r, reprDigest); err != nil {
			return err
		}
		state, err := documentCondition(r)
		if err != nil {
			return err
		}
		if r.Header["Parents"] != nil {
			return sennit.Errorf(sennit.Unsupported, "a document has no version that Parents could name; use If-Match")
		}
		if c.Via != Anonymous {
			limit = maxDocument
		}
		do = func(ctx context.Context, bus sennit.Bus, t target, all []patch.Patch) (sennit.Version, error) {
			return patchDocument(ctx, docbus.Doc{Bus: bus, At: t.addr, Room: int(maxSeen * limit)}, int(limit), all, state)
		}
	} else {
		on, err := base(r)
		if err != nil {
			return err
		}
		do = func(ctx context.Context, bus sennit.Bus, t target, all []patch.Patch) (sennit.Version, error) {
			return patchOne(ctx, bus, t.addr, all, on, said)
		}
	}
	all, err := patches(w, r, limit)
	if err != nil {
		return err
	}
	v, err := do(r.Context(), d.cfg.Bus(c), t, all)
	if err != nil {
		return err
	}
	if !t.slash && simple(string(v)) {
		w.Header().Set("Etag", `"`+string(v)+`"`)
	}
	written(w, v)
	return nil
}

// outside is an error of patches: a range that names nothing isn't a path at
// which nothing is.
func outside(err error) error {
	if sennit.CodeOf(err) == sennit.NotFound {
		return status(http.StatusRequestedRangeNotSatisfiable, sennit.Errorf(sennit.BadInput, "%w", err))
	}
	return err
}

// patchOne patches one value. Unless it is for a version, it is done again if
// somebody wrote the value meanwhile.
func patchOne(ctx context.Context, bus sennit.Bus, a sennit.Addr, all []patch.Patch, on *sennit.Version, said integrity) (sennit.Version, error) {
	for try := 1; ; try++ {
		n, err := bus.Get(ctx, a)
		switch {
		case err != nil:
			return "", err
		case on != nil && n.Version != *on:
			return "", sennit.Hint(sennit.Errorf(sennit.Conflict, "the value at %s isn't of the version %.100q any more", a, *on), "read it again")
		case n.Value.Blob != nil || n.Value.Stream > 0:
			return "", sennit.Hint(sennit.Errorf(sennit.TooLarge, "only values of at most %d bytes are patched", sennit.MaxInline), "put the whole")
		}
		for _, p := range all {
			if p.Unit == "json" && !isJSON(n.Value.Type) || p.Unit == "text" && !strings.HasPrefix(n.Value.Type, "text/") {
				return "", sennit.Errorf(sennit.BadInput, "a value of the type %.100q has no ranges of %s", typeOf(n.Value), p.Unit)
			}
		}
		data, err := patch.Apply(n.Value.Data, all)
		if err != nil {
			return "", outside(err)
		}
		if err := said.check(data); err != nil {
			return "", err
		}
		if len(data) > sennit.MaxInline {
			return "", sennit.Errorf(sennit.TooLarge, "with the patches the value has %d bytes; at most %d are kept", len(data), sennit.MaxInline)
		}
		change := sennit.Change{Kind: sennit.KindPut, Path: a.Path, Value: sennit.Value{Type: n.Value.Type, Data: data}, If: &n.Version}
		v, err := bus.Write(ctx, a.Root, []sennit.Change{change})
		if sennit.CodeOf(err) != sennit.Conflict || on != nil || try == maxTries {
			return v, err
		}
	}
}

func isJSON(typ string) bool {
	main, _, err := mime.ParseMediaType(typ)
	return err == nil && (main == document.JSON || strings.HasSuffix(main, "+json"))
}

// patchDocument patches a subtree as a document.
func patchDocument(ctx context.Context, doc docbus.Doc, limit int, all []patch.Patch, on *sennit.Hash) (sennit.Version, error) {
	for _, p := range all {
		if p.Unit != "json" {
			return "", sennit.Errorf(sennit.BadInput, "a document has no ranges of %s", p.Unit)
		}
	}
	for try := 1; ; try++ {
		g, err := doc.Bus.Digest(ctx, doc.At)
		if err != nil {
			return "", err
		}
		if on != nil && g.Hash != *on {
			return "", sennit.Hint(sennit.Errorf(sennit.Conflict, "the document at %s has changed", doc.At), "read it again")
		}
		out := &bounded{room: limit}
		if err := doc.Read(ctx, out); err != nil {
			return "", err
		}
		body, err := patch.Apply(out.b, all)
		if err != nil {
			return "", outside(err)
		}
		v, err := doc.Put(ctx, body, &g.Hash)
		if sennit.CodeOf(err) != sennit.Conflict || on != nil || try == maxTries {
			return v, err
		}
	}
}

// bounded takes so many bytes.
type bounded struct {
	b    []byte
	room int
}

func (w *bounded) Write(p []byte) (int, error) {
	if len(p) > w.room-len(w.b) {
		return 0, sennit.Hint(sennit.Errorf(sennit.TooLarge, "a document of more than %d bytes isn't patched by ranges", w.room), "patch a part of it: its parts have paths")
	}
	w.b = append(w.b, p...)
	return len(p), nil
}
