package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/sennit/sennit"
)

// The media types of documents and of patches to them (RFC 7396).
const (
	documentType = "application/json"
	patchType    = "application/merge-patch+json"
)

// Document reads all that is at and under a path as one JSON document
// (docs/formats/documents.md). It is read as it comes, and may be of any size:
// what doesn't end in io.EOF is not whole. state is the digest of what it
// shows, for the conditions of PutDocument and PatchDocument. The caller closes
// the document; ctx ends it. It fails with [sennit.NotFound] if nothing is
// there.
func (c *Client) Document(ctx context.Context, a sennit.Addr) (doc io.ReadCloser, state sennit.Hash, err error) {
	u, err := locate(a.Root, string(a.Path), true)
	if err != nil {
		return nil, state, err
	}
	resp, err := c.do(ctx, http.MethodGet, u, http.Header{"Accept": {documentType}}, nil)
	if err != nil {
		return nil, state, err
	}
	if resp.StatusCode == http.StatusOK && mediaType(resp) == documentType {
		if state, err = sennit.ParseHash(strings.Trim(resp.Header.Get("Etag"), `"`)); err == nil {
			return &answer{resp.Body, c, ctx}, state, nil
		}
	}
	resp.Body.Close()
	return nil, state, c.stranger(resp)
}

// answer is the body of an answer, which fails with errors that have a code.
type answer struct {
	io.ReadCloser
	c   *Client
	ctx context.Context // of the call that asked
}

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = a.c.unreachable(a.ctx, http.MethodGet, err)
	}
	return n, err
}

// PutDocument makes all that is at and under a path what a JSON document says,
// by one commit of what differs; if nothing does, there is none and the version
// is "". The document has at most 4 MiB, and what differs must fit one commit:
// what is larger can be written in parts.
//
// cond is the state that the subtree must have, as Document gave it, or the
// zero hash if nothing may be there yet; nil: whatever is there. If it doesn't
// hold PutDocument fails with [sennit.Conflict]. Each value that is written is
// held to it until the commit; others may change before.
func (c *Client) PutDocument(ctx context.Context, a sennit.Addr, doc []byte, cond *sennit.Hash) (sennit.Version, error) {
	return c.sendDocument(ctx, http.MethodPut, a, documentType, doc, cond)
}

// PatchDocument does a JSON merge patch (RFC 7396) to the document at a path,
// as PutDocument does a whole one. It has at most sennit.MaxOps members.
func (c *Client) PatchDocument(ctx context.Context, a sennit.Addr, patch []byte, cond *sennit.Hash) (sennit.Version, error) {
	return c.sendDocument(ctx, http.MethodPatch, a, patchType, patch, cond)
}

func (c *Client) sendDocument(ctx context.Context, method string, a sennit.Addr, typ string, body []byte, cond *sennit.Hash) (sennit.Version, error) {
	u, err := locate(a.Root, string(a.Path), true)
	if err != nil {
		return "", err
	}
	header := http.Header{"Content-Type": {typ}}
	switch {
	case cond == nil:
	case cond.IsZero():
		header["If-None-Match"] = []string{"*"}
	default:
		header["If-Match"] = []string{`"` + cond.String() + `"`}
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
