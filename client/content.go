package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sennit/sennit"
)

// Open reads the merged value at a path, whatever its size.
func (c *Client) Open(ctx context.Context, a sennit.Addr) (sennit.Node, sennit.Content, error) {
	return c.open(ctx, a, nil)
}

// At reads what a path showed at a version. It fails with Gone if the node
// doesn't hold that any more.
func (c *Client) At(ctx context.Context, a sennit.Addr, v sennit.Version) (sennit.Node, sennit.Content, error) {
	if v == "" || strings.ContainsFunc(string(v), func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
		return sennit.Node{}, nil, sennit.Errorf(sennit.NotFound, "%s never had the version %.100q", a, v)
	}
	return c.open(ctx, a, []string{`"` + string(v) + `"`})
}

// open reads a value, at a version if one is given as in a header.
func (c *Client) open(ctx context.Context, a sennit.Addr, at []string) (sennit.Node, sennit.Content, error) {
	// The body is read by later calls, each with a context of its own.
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	linked := context.AfterFunc(ctx, stop)
	n, resp, err := c.get(reading, a, at)
	if !linked() && err == nil {
		resp.Body.Close()
		err = sennit.Errorf(sennit.CodeOf(ctx.Err()), "asking the node at %s: %w", c.where, ctx.Err())
	}
	if err != nil {
		stop()
		return n, nil, err
	}
	u, err := locate(a.Root, string(a.Path), false)
	v := &content{c: c, u: u, asked: at, version: n.Version, size: resp.ContentLength, body: resp.Body, stop: stop}
	if err == nil && n.Value.Size() == 0 {
		if n.Value.Data, err = c.readBody(resp, maxValue); err == nil {
			v.data = n.Value.Data
			v.quit()
		}
	}
	if err == nil && v.size < 0 {
		err = c.stranger(resp)
	}
	if err != nil {
		return n, nil, errors.Join(err, v.Close())
	}
	return n, v, nil
}

// content is a value's bytes. Those of small ones are here; of others an answer
// is under way, which is read as long as what is wanted follows on what was
// read, and is asked for anew otherwise.
type content struct {
	c       *Client
	u       url.URL
	asked   []string // header Version, if it is not what is there now
	version sennit.Version
	size    int64
	data    []byte

	body io.ReadCloser // nil: none is under way
	at   int64         // where it goes on
	stop context.CancelFunc
}

// ReadAt reads like [io.ReaderAt]. It fails with Conflict if the value has
// changed since it was opened and must be asked for anew.
func (v *content) ReadAt(ctx context.Context, p []byte, off int64) (n int, err error) {
	switch {
	case off < 0:
		return 0, sennit.Errorf(sennit.BadInput, "reading from byte %d on", off)
	case off >= v.size:
		return 0, io.EOF
	case v.data != nil:
		if n = copy(p, v.data[off:]); n < len(p) {
			err = io.EOF
		}
		return n, err
	}
	if v.body != nil && v.at != off {
		v.quit()
	}
	if v.body == nil {
		if err := v.ask(ctx, off); err != nil {
			return 0, err
		}
	}
	want := p[:min(int64(len(p)), v.size-off)]
	linked := context.AfterFunc(ctx, v.stop)
	n, err = io.ReadFull(v.body, want)
	v.at += int64(n)
	if !linked() || err != nil {
		v.quit()
	}
	switch {
	case ctx.Err() != nil && n < len(want):
		return n, sennit.Errorf(sennit.CodeOf(ctx.Err()), "asking the node at %s: %w", v.c.where, ctx.Err())
	case err != nil:
		return n, v.c.unreachable(ctx, http.MethodGet, err)
	case n < len(p):
		return n, io.EOF
	}
	return n, nil
}

// ask asks for the bytes from off on.
func (v *content) ask(ctx context.Context, off int64) error {
	h := http.Header{"Range": {"bytes=" + strconv.FormatInt(off, 10) + "-"}}
	if v.version != "" {
		h["If-Match"] = []string{`"` + string(v.version) + `"`}
	}
	if v.asked != nil {
		h["Version"] = v.asked
	}
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	linked := context.AfterFunc(ctx, stop)
	resp, err := v.c.do(reading, http.MethodGet, v.u, h, nil)
	if !linked() && err == nil {
		resp.Body.Close()
		err = sennit.Errorf(sennit.CodeOf(ctx.Err()), "asking the node at %s: %w", v.c.where, ctx.Err())
	}
	if err == nil && (resp.StatusCode != http.StatusPartialContent || resp.ContentLength != v.size-off) {
		resp.Body.Close()
		err = v.c.stranger(resp)
	}
	if err != nil {
		stop()
		return err
	}
	v.body, v.at, v.stop = resp.Body, off, stop
	return nil
}

// quit gives up the answer that is under way.
func (v *content) quit() {
	if v.body != nil {
		v.stop()
		v.body.Close()
		v.body = nil
	}
}

// Close frees what reading holds.
func (v *content) Close() error {
	v.quit()
	return nil
}

// Put sets the value at a path from a stream, whatever its size. If the
// connection breaks before the answer it fails with [sennit.Unreachable], and
// the value may have been set.
func (c *Client) Put(ctx context.Context, a sennit.Addr, typ string, from io.Reader, cond *sennit.Version) (sennit.Version, error) {
	change := sennit.Change{Kind: sennit.KindPut, Path: a.Path, Value: sennit.Value{Type: typ}, If: cond}
	if err := writable(&change); err != nil {
		return "", err
	}
	u, err := locate(a.Root, string(a.Path), false)
	if err != nil {
		return "", err
	}
	header := http.Header{"Expect": {"100-continue"}} // it may not be wanted
	if typ != "" {
		header["Content-Type"] = []string{typ}
	}
	setCondition(header, cond)
	source := &source{Reader: from}
	resp, err := c.send(ctx, http.MethodPut, u, header, source)
	switch {
	case source.err != nil && source.err != io.EOF:
		if err == nil {
			resp.Body.Close()
		}
		return "", source.err
	case err != nil:
		return "", err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return "", c.stranger(resp)
	}
	return versionOf(resp.Header.Get("Version")), nil
}

// source remembers why reading ended: it is the caller's error, and not the
// node's.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (n int, err error) {
	n, s.err = s.Reader.Read(p)
	return n, s.err
}
