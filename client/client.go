// Package client is the Go SDK: a [sennit.Bus] at the far end of a node's HTTP
// door, over the node's unix socket or over TCP.
//
// Owns: how the calls of a Bus become requests, and what a watch does when its
// connection breaks.
// Promises: errors come back with the code, message and hint that the node
// gave them. A watch that loses its connection goes on by itself where it
// stopped: its reader gets everything once. What a node sends is checked and
// takes bounded memory.
// Must not know: how a node does what it is asked.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/sennit/sennit"
)

// Config says where a node is, and who asks. Either Socket or Origin is set.
type Config struct {
	Socket string // path of the node's unix socket: whoever may open it is the owner
	Origin string // scheme and host, such as "http://127.0.0.1:7700"
	Token  string // bearer token; without one, and over TCP, the caller is anybody
}

// Client is one node as one caller sees it. It is a [sennit.Bus], safe for
// concurrent use. Make one with [Dial].
type Client struct {
	http  http.Client
	base  url.URL
	token string
	where string // for messages
}

const (
	dialTimeout     = 10 * time.Second // to connect
	continueTimeout = time.Second      // for a node to refuse a large body before it is sent
	maxJSON         = 16 << 20         // bytes of an answer in JSON
	maxProblem      = 64 << 10         // bytes of an answer that says no
	maxValue        = sennit.MaxCommit // bytes of a value
)

// Dial checks that a node is there and takes the token. It fails with
// [sennit.Unreachable] if nothing listens, [sennit.Denied] if the token is of
// no use, and [sennit.BadInput] if the configuration makes no sense.
//
// Nothing else is kept from the call: connections come and go as needed, and
// the client outlives a restart of the node.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	transport := &http.Transport{
		DisableCompression:    true,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       time.Minute,
		ExpectContinueTimeout: continueTimeout,
		// No proxy: a node is called by its own address.
	}
	c := &Client{token: cfg.Token}
	switch {
	case (cfg.Socket == "") == (cfg.Origin == ""):
		return nil, sennit.Errorf(sennit.BadInput, "a client needs a socket or an origin, and not both")
	case cfg.Socket != "":
		c.where, c.base = cfg.Socket, url.URL{Scheme: "http", Host: "sennit"}
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", cfg.Socket)
		}
	default:
		u, err := url.Parse(cfg.Origin)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
			return nil, sennit.Errorf(sennit.BadInput, "%q is not an origin: want http://host:port", cfg.Origin)
		}
		c.where, c.base = cfg.Origin, url.URL{Scheme: u.Scheme, Host: u.Host}
		transport.DialContext = dialer.DialContext
	}
	if strings.ContainsFunc(cfg.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, sennit.Errorf(sennit.BadInput, "the token holds characters that no token has")
	}
	c.http = http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.do(ctx, http.MethodOptions, url.URL{Path: "/me/"}, nil, nil)
	if err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent || resp.Header.Get("Allow") == "" {
			err = c.stranger(resp)
		}
	}
	if err != nil {
		transport.CloseIdleConnections()
		return nil, err
	}
	return c, nil
}

// Close closes connections that nothing uses. Watches are closed one by one.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Do asks for something else than the tree, such as the node's own state under
// /_node/. The path is escaped already, and may have a query. in is sent as
// JSON unless it is nil, and the answer is read as JSON into out unless that
// is nil. An answer in JSON may have at most 16 MiB.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	u, err := url.ParseRequestURI(path)
	if err != nil || u.Host != "" || !strings.HasPrefix(path, "/") {
		return sennit.Errorf(sennit.BadInput, "%q is not a path of the node", path)
	}
	header := http.Header{}
	var body []byte
	if in != nil {
		if body, err = json.Marshal(in); err != nil {
			return sennit.Errorf(sennit.BadInput, "%s %s: %w", method, path, err)
		}
		header.Set("Content-Type", "application/json")
	}
	resp, err := c.do(ctx, method, *u, header, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	return c.readJSON(resp, out)
}

// Stream asks for something that is read as it comes, such as the progress of a
// long check. The caller closes it; ctx ends it.
func (c *Client) Stream(ctx context.Context, path string) (io.ReadCloser, error) {
	return c.stream(ctx, http.MethodGet, path)
}

func (c *Client) stream(ctx context.Context, method, path string) (io.ReadCloser, error) {
	u, err := url.ParseRequestURI(path)
	if err != nil || u.Host != "" || !strings.HasPrefix(path, "/") {
		return nil, sennit.Errorf(sennit.BadInput, "%q is not a path of the node", path)
	}
	resp, err := c.do(ctx, method, *u, http.Header{}, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Upload sends a body of any size, and reads the answer as JSON into out.
func (c *Client) Upload(ctx context.Context, path string, body io.Reader, out any) error {
	u, err := url.ParseRequestURI(path)
	if err != nil || u.Host != "" || !strings.HasPrefix(path, "/") {
		return sennit.Errorf(sennit.BadInput, "%q is not a path of the node", path)
	}
	from := &source{Reader: body}
	resp, err := c.send(ctx, http.MethodPost, *u, http.Header{"Expect": {"100-continue"}}, from)
	if from.err != nil && from.err != io.EOF {
		if err == nil {
			resp.Body.Close()
		}
		return from.err
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return c.readJSON(resp, out)
}

// StreamPost is Stream for what changes something, such as a long cleaning up.
func (c *Client) StreamPost(ctx context.Context, path string) (io.ReadCloser, error) {
	return c.stream(ctx, http.MethodPost, path)
}

// do sends one request. The answer's status is below 400, and its body is the
// caller's to close.
func (c *Client) do(ctx context.Context, method string, u url.URL, header http.Header, body []byte) (*http.Response, error) {
	if header == nil {
		header = http.Header{}
	}
	req := c.request(ctx, method, u, header)
	if len(body) > 0 {
		req.ContentLength = int64(len(body))
		req.Body = io.NopCloser(bytes.NewReader(body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		if len(body) > sennit.MaxInline {
			header["Expect"] = []string{"100-continue"} // it may be too large to be taken
		}
	}
	return c.answer(ctx, req)
}

// send sends a request with a body of unknown length.
func (c *Client) send(ctx context.Context, method string, u url.URL, header http.Header, body io.Reader) (*http.Response, error) {
	req := c.request(ctx, method, u, header)
	req.ContentLength, req.Body = -1, io.NopCloser(body)
	return c.answer(ctx, req)
}

func (c *Client) request(ctx context.Context, method string, u url.URL, header http.Header) *http.Request {
	u.Scheme, u.Host = c.base.Scheme, c.base.Host
	if c.token != "" {
		header["Authorization"] = []string{"Bearer " + c.token}
	}
	return (&http.Request{Method: method, URL: &u, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
}

func (c *Client) answer(ctx context.Context, req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, req.Method, err)
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		return nil, c.problem(resp)
	}
	return resp, nil
}

// unreachable says why there is no answer.
func (c *Client) unreachable(ctx context.Context, method string, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the URL, which may say more than a log should have
	}
	var op *net.OpError
	switch {
	case ctx.Err() != nil:
		return sennit.Errorf(sennit.CodeOf(ctx.Err()), "asking the node at %s: %w", c.where, ctx.Err())
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return sennit.Hint(sennit.Errorf(sennit.Denied, "the node's socket %s is not yours to open: %w", c.where, err),
			"ask as the user who runs the node, or use a token over TCP")
	case errors.As(err, &op) && op.Op == "dial":
		return sennit.Hint(sennit.Errorf(sennit.Unreachable, "no node answers at %s: %w", c.where, err),
			"start it: sennit up")
	case method == http.MethodGet || method == http.MethodOptions:
		return sennit.Errorf(sennit.Unreachable, "the node at %s broke off: %w", c.where, err)
	}
	return sennit.Hint(sennit.Errorf(sennit.Unreachable, "the node at %s broke off before it answered: %w", c.where, err),
		"it may or may not have been done: look before you try again")
}

// problem is the error that an answer tells.
func (c *Client) problem(resp *http.Response) error {
	var p struct {
		Detail string      `json:"detail"`
		Code   sennit.Code `json:"code"`
		Hint   string      `json:"hint"`
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err == nil && mediaType(resp) == "application/problem+json" && json.Unmarshal(body, &p) == nil && p.Code != "" && p.Detail != "" {
		return &sennit.Error{Code: p.Code, Message: p.Detail, Hint: p.Hint}
	}
	// From before the door, or from something that is no node.
	for _, code := range []sennit.Code{sennit.BadInput, sennit.NotFound, sennit.Denied, sennit.Conflict, sennit.Gone, sennit.TooLarge,
		sennit.OverQuota, sennit.ReadOnly, sennit.Timeout, sennit.Unsupported, sennit.Unreachable} {
		if code.Status() == resp.StatusCode {
			return sennit.Errorf(code, "%s answered %s", c.where, resp.Status)
		}
	}
	switch resp.StatusCode {
	case http.StatusPreconditionFailed:
		return sennit.Hint(sennit.Errorf(sennit.Conflict, "the value has changed since it was opened"), "open it again")
	case http.StatusUnauthorized, http.StatusMisdirectedRequest:
		return sennit.Errorf(sennit.Denied, "%s answered %s", c.where, resp.Status)
	case http.StatusRequestHeaderFieldsTooLarge, http.StatusRequestURITooLong:
		return sennit.Errorf(sennit.TooLarge, "%s answered %s", c.where, resp.Status)
	case http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUnsupportedMediaType:
		return sennit.Errorf(sennit.Unsupported, "%s answered %s", c.where, resp.Status)
	case http.StatusServiceUnavailable:
		return sennit.Errorf(sennit.Unreachable, "%s answered %s", c.where, resp.Status)
	}
	return sennit.Errorf(sennit.Internal, "%s answered %s", c.where, resp.Status)
}

// stranger is the error for an answer that no node gives.
func (c *Client) stranger(resp *http.Response) error {
	return sennit.Hint(sennit.Errorf(sennit.Unreachable, "what answers at %s is no Sennit node: %s, %q", c.where, resp.Status, mediaType(resp)),
		"see whether another program has taken the node's port")
}

func mediaType(resp *http.Response) string {
	t, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return strings.TrimSpace(t)
}

// readJSON reads the body of an answer.
func (c *Client) readJSON(resp *http.Response, out any) error {
	body, err := c.readBody(resp, maxJSON)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, out); err != nil {
		return sennit.Errorf(sennit.Unreachable, "the answer of %s makes no sense: %w", c.where, err)
	}
	return nil
}

// readBody reads a body of at most limit bytes.
func (c *Client) readBody(resp *http.Response, limit int64) ([]byte, error) {
	n := resp.ContentLength
	if n > limit {
		return nil, sennit.Errorf(sennit.TooLarge, "the answer of %s has %d bytes; at most %d are taken", c.where, n, limit)
	}
	var data []byte
	var err error
	if n >= 0 && n <= maxValue {
		data = make([]byte, n)
		_, err = io.ReadFull(resp.Body, data)
	} else {
		data, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
		if int64(len(data)) > limit {
			return nil, sennit.Errorf(sennit.TooLarge, "the answer of %s has more than %d bytes", c.where, limit)
		}
	}
	if err != nil {
		return nil, c.unreachable(resp.Request.Context(), http.MethodGet, err)
	}
	return data, nil
}
