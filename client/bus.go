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

// Get reads the merged value at a path. A value may have at most 1 MiB.
func (c *Client) Get(ctx context.Context, a sennit.Addr) (sennit.Node, error) {
	u, err := locate(a.Root, string(a.Path), false)
	if err != nil {
		return sennit.Node{}, err
	}
	resp, err := c.do(ctx, http.MethodGet, u, nil, nil)
	if err != nil {
		return sennit.Node{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return sennit.Node{}, c.stranger(resp)
	}
	n := sennit.Node{Path: a.Path, Version: versionOf(resp.Header.Get("Version"))}
	n.Value.Type = resp.Header.Get("Content-Type")
	if v := resp.Header.Get("Author"); v != "" {
		if n.Author, err = parseAuthor(v); err != nil {
			return sennit.Node{}, err
		}
	}
	if v := resp.Header.Get("Time"); v != "" {
		if n.Time, err = parseTime(v); err != nil {
			return sennit.Node{}, err
		}
	}
	n.Value.Data, err = c.readBody(resp, maxValue)
	return n, err
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
		default:
			method, body = http.MethodPut, ch.Value.Data
			if ch.Value.Type != "" {
				header["Content-Type"] = []string{ch.Value.Type}
			}
		}
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

// writable refuses what requests can't say. All else is the node's to judge.
func writable(ch *sennit.Change) error {
	switch {
	case ch.Kind != sennit.KindPut && ch.Kind != sennit.KindDel && ch.Kind != sennit.KindAdd:
		return sennit.Errorf(sennit.Unsupported, "changes of kind %d can't be written over HTTP", ch.Kind)
	case ch.Kind == sennit.KindPut && ch.Value.Blob != nil:
		return sennit.Errorf(sennit.Unsupported, "references to blobs can't be written over HTTP")
	case len(ch.Value.Type) > sennit.MaxType || strings.ContainsFunc(ch.Value.Type, func(r rune) bool { return r < ' ' || r > '~' }):
		return sennit.Errorf(sennit.BadInput, "%.150q is not a media type of at most %d bytes", ch.Value.Type, sennit.MaxType)
	}
	return nil
}

// adds is the query that says by how much a counter grows.
func adds(ch *sennit.Change) string { return "add=" + strconv.FormatInt(ch.Delta, 10) }

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
		if ch.Kind == sennit.KindDel {
			b = append(append(append(b, "DELETE "...), u.EscapedPath()...), "\r\n\r\n"...)
			continue
		}
		if ch.Kind == sennit.KindAdd {
			b = append(append(append(b, "POST "...), u.EscapedPath()...), "?"+adds(ch)+"\r\n\r\n"...)
			continue
		}
		b = append(append(append(b, "PUT "...), u.EscapedPath()...), "\r\n"...)
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
