package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sennit/sennit"
)

// The media types of what is not a value.
const (
	listType   = "application/vnd.sennit.list+json"
	digestType = "application/vnd.sennit.digest+json"
	commitType = "application/vnd.sennit.commit"
)

// maxCommitBody is the largest commit, encoded, that a node takes.
const maxCommitBody = 4 * sennit.MaxCommit

// locate makes the path of a request. Everything in it gets escaped when it is
// sent.
func locate(root, path string, slash bool) (url.URL, error) {
	if root == "" || strings.Contains(root, "/") {
		return url.URL{}, sennit.Errorf(sennit.BadInput, "%q names no space", root)
	}
	p := "/" + root
	if path != "" {
		p += "/" + path
	}
	if slash {
		p += "/"
	}
	return url.URL{Path: p}, nil
}

// Get reads the merged value at a path. Of one that has more than
// sennit.MaxInline bytes it gives what it is, but not the bytes.
func (c *Client) Get(ctx context.Context, a sennit.Addr) (sennit.Node, error) {
	n, resp, err := c.get(ctx, a, nil)
	if err != nil {
		return n, err
	}
	defer resp.Body.Close()
	if n.Value.Size() == 0 {
		n.Value.Data, err = c.readBody(resp, maxValue)
	}
	return n, err
}

// get asks for a value, at a version if one is given as in a header. The
// answer's body is its bytes.
func (c *Client) get(ctx context.Context, a sennit.Addr, at []string) (sennit.Node, *http.Response, error) {
	u, err := locate(a.Root, string(a.Path), false)
	if err != nil {
		return sennit.Node{}, nil, err
	}
	var header http.Header
	if at != nil {
		header = http.Header{"Version": at}
	}
	resp, err := c.do(ctx, http.MethodGet, u, header, nil)
	if err != nil {
		return sennit.Node{}, nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return sennit.Node{}, nil, c.stranger(resp)
	}
	n, err := nodeOf(a.Path, resp.Header)
	if err != nil {
		resp.Body.Close()
		return sennit.Node{}, nil, err
	}
	return n, resp, nil
}

// nodeOf reads what the headers of an answer say of a value.
func nodeOf(p sennit.Path, h http.Header) (n sennit.Node, err error) {
	n = sennit.Node{Path: p, Version: versionOf(h.Get("Version"))}
	n.Value.Type = h.Get("Content-Type")
	if v := h.Get("Author"); v != "" {
		if n.Author, err = parseAuthor(v); err != nil {
			return n, err
		}
	}
	if v := h.Get("Time"); v != "" {
		if n.Time, err = parseTime(v); err != nil {
			return n, err
		}
	}
	if v := h.Get("Blob"); v != "" {
		if n.Value.Blob, err = parseBlob(v); err != nil {
			return n, err
		}
	}
	if v := h.Get("Stream"); v != "" {
		if n.Value.Stream, err = strconv.ParseUint(v, 10, 63); err != nil {
			return n, sennit.Errorf(sennit.Unreachable, "%.30q is not the size of a stream", v)
		}
	}
	return n, nil
}

// List lists the children of a path in order of name, and says whether there
// are more. A node gives at most 10,000 at a time, whatever the limit.
func (c *Client) List(ctx context.Context, a sennit.Addr, o sennit.Listing) ([]sennit.Entry, bool, error) {
	u, err := locate(a.Root, string(a.Path), true)
	if err != nil {
		return nil, false, err
	}
	if o.Limit < 0 {
		return nil, false, sennit.Errorf(sennit.BadInput, "the limit %d is negative", o.Limit)
	}
	q := url.Values{}
	if o.After != "" {
		q.Set("after", o.After)
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	u.RawQuery = q.Encode()
	resp, err := c.do(ctx, http.MethodGet, u, http.Header{"Accept": {listType}}, nil)
	if err != nil {
		return nil, false, err
	}
	defer resp.Body.Close()
	if mediaType(resp) != listType {
		return nil, false, c.stranger(resp)
	}
	var got []struct {
		Name  string `json:"name"`
		Value bool   `json:"value"`
		Dir   bool   `json:"dir"`
	}
	if err := c.readJSON(resp, &got); err != nil {
		return nil, false, err
	}
	entries := make([]sennit.Entry, len(got))
	for i, e := range got {
		entries[i] = sennit.Entry(e)
	}
	return entries, strings.Contains(resp.Header.Get("Link"), `rel="next"`), nil
}

// Digest says what state a subtree has.
func (c *Client) Digest(ctx context.Context, a sennit.Addr) (sennit.Digest, error) {
	u, err := locate(a.Root, string(a.Path), true)
	if err != nil {
		return sennit.Digest{}, err
	}
	u.RawQuery = "digest"
	resp, err := c.do(ctx, http.MethodGet, u, nil, nil)
	if err != nil {
		return sennit.Digest{}, err
	}
	defer resp.Body.Close()
	if mediaType(resp) != digestType {
		return sennit.Digest{}, c.stranger(resp)
	}
	var got struct {
		Hash   string `json:"hash"`
		Ops    uint64 `json:"ops"`
		Cursor string `json:"cursor"`
	}
	if err := c.readJSON(resp, &got); err != nil {
		return sennit.Digest{}, err
	}
	d := sennit.Digest{Ops: got.Ops}
	if d.Hash, err = sennit.ParseHash(got.Hash); err != nil {
		return sennit.Digest{}, err
	}
	d.Cursor, err = sennit.ParseCursor(got.Cursor)
	return d, err
}

// Write does all the changes in one commit, or none. If the connection breaks
// before the answer it fails with [sennit.Unreachable], and the changes may
// have been done.
func (c *Client) Write(ctx context.Context, root string, changes []sennit.Change) (sennit.Version, error) {
	for i := range changes {
		if err := writable(&changes[i]); err != nil {
			return "", err
		}
	}
	method, header := http.MethodPost, http.Header{}
	var u url.URL
	var body []byte
	var err error
	if len(changes) != 1 {
		if u, err = locate(root, "", true); err != nil {
			return "", err
		}
		if body, err = encodeCommit(root, changes); err != nil {
			return "", err
		}
		header["Content-Type"] = []string{commitType}
	} else {
		ch := &changes[0]
		if u, err = locate(root, string(ch.Path), ch.Kind == sennit.KindDel && ch.Deep); err != nil {
			return "", err
		}
		switch ch.Kind {
		case sennit.KindDel:
			method = http.MethodDelete
		case sennit.KindAdd:
			u.RawQuery = adds(ch)
		case sennit.KindAppend:
			u.RawQuery, body = "append", ch.Value.Data
		default:
			method, body = http.MethodPut, ch.Value.Data
		}
		if ch.Value.Type != "" && (ch.Kind == sennit.KindPut || ch.Kind == sennit.KindAppend) {
			header["Content-Type"] = []string{ch.Value.Type}
		}
		setCondition(header, ch.If)
	}
	resp, err := c.do(ctx, method, u, header, body)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return "", c.stranger(resp)
	}
	return versionOf(resp.Header.Get("Version")), nil
}

// Send sends a live message to whoever watches a path; 0 for life means
// [sennit.MessageLife].
func (c *Client) Send(ctx context.Context, a sennit.Addr, v sennit.Value, life time.Duration) error {
	if err := writable(&sennit.Change{Kind: sennit.KindPut, Path: a.Path, Value: v}); err != nil {
		return err
	}
	u, err := locate(a.Root, string(a.Path), false)
	if err != nil {
		return err
	}
	if u.RawQuery = "live"; life != 0 {
		u.RawQuery += "=" + strconv.FormatFloat(life.Seconds(), 'f', -1, 64)
	}
	header := http.Header{}
	if v.Type != "" {
		header["Content-Type"] = []string{v.Type}
	}
	resp, err := c.do(ctx, http.MethodPost, u, header, v.Data)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return c.stranger(resp)
	}
	return nil
}

// writable refuses what requests can't say. All else is the node's to judge.
func writable(ch *sennit.Change) error {
	switch {
	case ch.Kind < sennit.KindPut || ch.Kind > sennit.KindAppend:
		return sennit.Errorf(sennit.Unsupported, "changes of kind %d can't be written over HTTP", ch.Kind)
	case ch.If != nil && ch.Kind == sennit.KindDel && ch.Deep:
		return sennit.Errorf(sennit.Unsupported, "a subtree has no version that a condition could name")
	case ch.If != nil && strings.ContainsFunc(string(*ch.If), func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }):
		return sennit.Errorf(sennit.BadInput, "%.100q is not a version", *ch.If)
	case ch.Kind == sennit.KindPut && len(ch.Value.Data) > sennit.MaxInline:
		return sennit.Hint(sennit.Errorf(sennit.TooLarge, "the value at %s has %d bytes; at most %d are allowed", ch.Path, len(ch.Value.Data), sennit.MaxInline),
			"larger values are put by themselves, from a stream")
	case ch.Kind == sennit.KindPut && ch.Value.Blob != nil:
		return sennit.Errorf(sennit.Unsupported, "references to blobs can't be written over HTTP")
	case len(ch.Value.Type) > sennit.MaxType || strings.ContainsFunc(ch.Value.Type, func(r rune) bool { return r < ' ' || r > '~' }):
		return sennit.Errorf(sennit.BadInput, "%.150q is not a media type of at most %d bytes", ch.Value.Type, sennit.MaxType)
	}
	return nil
}

// adds is the query that says by how much a counter grows.
func adds(ch *sennit.Change) string { return "add=" + strconv.FormatInt(ch.Delta, 10) }

// setCondition says which version a value must have.
func setCondition(h http.Header, cond *sennit.Version) {
	switch {
	case cond == nil:
	case *cond == "":
		h["If-None-Match"] = []string{"*"}
	default:
		h["If-Match"] = []string{`"` + string(*cond) + `"`}
	}
}

// encodeCommit writes changes as the requests that would do them one by one.
func encodeCommit(root string, changes []sennit.Change) ([]byte, error) {
	if len(changes) > sennit.MaxOps {
		return nil, sennit.Errorf(sennit.TooLarge, "%d changes in one commit; at most %d are allowed", len(changes), sennit.MaxOps)
	}
	var b []byte
	for i := range changes {
		ch := &changes[i]
		u, err := locate(root, string(ch.Path), ch.Kind == sennit.KindDel && ch.Deep)
		if err != nil {
			return nil, err
		}
		method, query := "PUT ", ""
		switch ch.Kind {
		case sennit.KindDel:
			method = "DELETE "
		case sennit.KindAdd:
			method, query = "POST ", "?"+adds(ch)
		case sennit.KindAppend:
			method, query = "POST ", "?append"
		}
		b = append(append(append(append(b, method...), u.EscapedPath()...), query...), "\r\n"...)
		switch {
		case ch.If == nil:
		case *ch.If == "":
			b = append(b, "If-None-Match: *\r\n"...)
		default:
			b = append(append(append(b, `If-Match: "`...), *ch.If...), "\"\r\n"...)
		}
		if ch.Kind != sennit.KindPut && ch.Kind != sennit.KindAppend {
			b = append(b, "\r\n"...)
			continue
		}
		if ch.Value.Type != "" {
			b = append(append(append(b, "Content-Type: "...), ch.Value.Type...), "\r\n"...)
		}
		b = strconv.AppendInt(append(b, "Content-Length: "...), int64(len(ch.Value.Data)), 10)
		b = append(append(append(b, "\r\n\r\n"...), ch.Value.Data...), "\r\n"...)
		if len(b) > maxCommitBody {
			return nil, sennit.Errorf(sennit.TooLarge, "the commit has more than %d bytes", sennit.MaxCommit)
		}
	}
	return b, nil
}

// versionOf reads a Version header: one version in quotes. Others have no
// meaning here, and are as good as none.
func versionOf(v string) sennit.Version {
	if len(v) < 2 || v[0] != '"' || v[len(v)-1] != '"' || strings.ContainsAny(v[1:len(v)-1], `"\`) {
		return ""
	}
	return sennit.Version(v[1 : len(v)-1])
}

// parseAuthor reads an Author header: a space and a device.
func parseAuthor(v string) (p sennit.Principal, err error) {
	space, device, _ := strings.Cut(v, " ")
	if p.Space, err = sennit.ParseSpace(space); err == nil {
		p.Device, err = sennit.ParseDevice(device)
	}
	return p, err
}

func parseTime(v string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return t, sennit.Errorf(sennit.BadInput, "%.40q is not a time", v)
	}
	return t, nil
}
