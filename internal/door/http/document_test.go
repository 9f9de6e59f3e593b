package httpdoor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/bustest"
	httpdoor "github.com/sennit/sennit/internal/door/http"
)

const (
	asJSON  = "Accept: application/json"
	isJSON  = "Content-Type: application/json"
	isPatch = "Content-Type: application/merge-patch+json"
)

func TestDocumentOverHTTP(t *testing.T) {
	h := open(t, nil)
	a := h.ask(t, "PUT", "/me/d/", `{"title":"Trip","n":1.50,"tags":["a"],"at":{"home":true}}`, isJSON+"; charset=utf-8")
	if want(t, a, 204, ""); a.header.Get("Version") == "" || a.header.Get("ETag") != "" {
		t.Errorf("PUT answers %v", a.header)
	}
	if got := h.text(t, "d/n") + h.text(t, "d/at/home") + h.text(t, "d/title"); got != "1.50trueTrip" {
		t.Errorf("stored: %q", got)
	}

	const text = `{"at":{"home":true},"n":1.50,"tags":["a"],"title":"Trip"}` + "\n"
	a = h.ask(t, "GET", "/me/d/", "", asJSON)
	want(t, a, 200, "")
	d, err := h.model.Digest(t.Context(), sennit.Addr{Root: "me", Path: "d"})
	if err != nil {
		t.Fatal(err)
	}
	tag := `"` + d.Hash.String() + `"`
	for name, value := range map[string]string{
		"Content-Type": "application/json", "ETag": tag, "Vary": "Accept", "Cache-Control": "private, no-cache",
		"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
	} {
		if got := a.header.Get(name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if a.body != text {
		t.Errorf("it reads %s", a.body)
	}
	head := h.ask(t, "HEAD", "/me/d/", "", asJSON)
	if want(t, head, 200, ""); head.body != "" || head.header.Get("ETag") != tag || head.header.Get("Content-Type") != "application/json" {
		t.Errorf("HEAD answers %q %v", head.body, head.header)
	}
	for accept, document := range map[string]bool{
		"application/json": true, "application/json, */*": true, "application/json, text/plain, */*": true, "application/json, application/vnd.sennit.list+json;q=0.9": true,
		"text/html, application/json;q=0.5": true, "application/vnd.sennit.list+json;q=0, */*;q=0.1": true, "APPLICATION/JSON": true,
		"*/*": false, "application/*": false, "application/json;q=0.5, */*": false, "application/vnd.sennit.list+json, application/json": false, "": false,
	} {
		a := h.ask(t, "GET", "/me/d/", "", "Accept: "+accept)
		if got := a.header.Get("Content-Type") == "application/json"; a.status != 200 || got != document || a.header.Get("Vary") != "Accept" || (a.header.Get("ETag") != "") != document {
			t.Errorf("Accept %q: %d %v", accept, a.status, a.header)
		}
	}

	a = h.ask(t, "PATCH", "/me/d/", `{"n":null,"at":{"work":false}}`, isPatch)
	if want(t, a, 204, ""); a.header.Get("Version") == "" {
		t.Error("PATCH answers no version")
	}
	want(t, h.ask(t, "PATCH", "/me/d/", `{"title":"Journey"}`, isJSON), 204, "")
	if a := h.ask(t, "GET", "/me/d/", "", asJSON); a.body != `{"at":{"home":true,"work":false},"tags":["a"],"title":"Journey"}`+"\n" {
		t.Errorf("after the patches it reads %s", a.body)
	}
	if a := h.ask(t, "GET", "/me/d/at/", "", asJSON); a.body != `{"home":true,"work":false}`+"\n" {
		t.Errorf("a part reads %s", a.body)
	}
	before := h.state(t)
	for _, method := range []string{"PUT", "PATCH"} {
		a := h.ask(t, method, "/me/d/", `{ "tags":["\u0061"], "at":{"work":false,"home":true},"title":"Journey" }`, isJSON)
		if want(t, a, 204, ""); a.header.Get("Version") != "" || h.state(t) != before {
			t.Errorf("%s of the same: %v", method, a.header)
		}
	}
	want(t, h.ask(t, "DELETE", "/me/d/", ""), 204, "")
	for _, method := range []string{"GET", "HEAD"} {
		for _, field := range []string{"X-Nothing: x", "If-None-Match: *"} {
			if a := h.ask(t, method, "/me/d/", "", asJSON, field); a.status != 404 || a.header.Get("ETag") != "" {
				t.Errorf("%s of nothing with %s: %d %v", method, field, a.status, a.header)
			}
		}
	}
	a = h.ask(t, "OPTIONS", "/me/d/", "")
	if a.header.Get("Allow") != "GET, HEAD, PUT, PATCH, DELETE, OPTIONS" || a.header.Get("Accept-Patch") != "application/merge-patch+json, application/json, application/http-patches" {
		t.Errorf("OPTIONS answers %v", a.header)
	}
	if a = h.ask(t, "OPTIONS", "/me/", ""); a.header.Get("Allow") != "GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS" {
		t.Errorf("OPTIONS of the root answers %v", a.header)
	}
}

func TestDocumentConditions(t *testing.T) {
	h := open(t, nil)
	doc := func() string { return h.ask(t, "GET", "/me/d/", "", asJSON).body }
	want(t, h.ask(t, "PUT", "/me/d/", `{"a":1}`, isJSON, "If-None-Match: *"), 204, "")
	want(t, h.ask(t, "PUT", "/me/d/", `{"a":2}`, isJSON, "If-None-Match: *"), 412, sennit.Conflict)
	want(t, h.ask(t, "PATCH", "/me/d/", `{"a":2}`, isPatch, "If-None-Match: *"), 412, sennit.Conflict)
	first := h.ask(t, "GET", "/me/d/", "", asJSON).header.Get("ETag")
	want(t, h.ask(t, "PATCH", "/me/d/", `{"b":1}`, isPatch, "If-Match: "+first), 204, "")
	for _, method := range []string{"PUT", "PATCH"} {
		want(t, h.ask(t, method, "/me/d/", `{"a":3}`, isJSON, "If-Match: "+first), 412, sennit.Conflict)
		want(t, h.ask(t, method, "/me/d/", `{"a":1,"b":1}`, isJSON, "If-Match: "+first), 412, sennit.Conflict)
		want(t, h.ask(t, method, "/me/d/", `{"a":3}`, isJSON, `If-Match: "no-state"`), 412, sennit.Conflict)
		for _, field := range []string{"If-Match: *", "If-Match: " + first + ", " + first, "If-Match: W/" + first, "If-None-Match: " + first, "If-Unmodified-Since: Tue, 15 Nov 1994 12:45:26 GMT", `Parents: "x"`, `Version: "x"`} {
			want(t, h.ask(t, method, "/me/d/", `{"a":3}`, isJSON, field), 501, sennit.Unsupported)
		}
		want(t, h.ask(t, method, "/me/d/", `{"a":3}`, isJSON, "Content-Encoding: gzip"), 415, sennit.Unsupported)
		want(t, h.ask(t, method, "/me/d/", `{"a":3}`, isJSON, "Content-Range: bytes 0-1/2"), 400, sennit.BadInput)
	}
	if got := doc(); got != `{"a":1,"b":1}`+"\n" {
		t.Errorf("a refused writing left %s", got)
	}
	tag := h.ask(t, "GET", "/me/d/", "", asJSON).header.Get("ETag")
	for _, c := range []struct {
		field  string
		status int
	}{
		{"If-None-Match: " + tag, 304},
		{`If-None-Match: "x", W/` + tag, 304},
		{"If-None-Match: *", 304},
		{"If-None-Match: " + first, 200},
		{"If-Match: " + tag, 200},
		{"If-Match: *", 200},
		{"If-Match: " + first, 412},
		{`Version: "x"`, 501},
		{`Parents: "x"`, 501},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			if a := h.ask(t, method, "/me/d/", "", asJSON, c.field); a.status != c.status || a.status == 304 && (a.body != "" || a.header.Get("ETag") != tag || a.header.Get("Vary") != "Accept") {
				t.Errorf("%s with %s: %d %v, want %d", method, c.field, a.status, a.header, c.status)
			}
		}
	}
	want(t, h.ask(t, "PUT", "/me/d/", `{"a":3}`, isJSON, "If-Match: "+tag), 204, "")
	if got := doc(); got != `{"a":3}`+"\n" {
		t.Errorf("it reads %s", got)
	}
}

func TestDocumentsThatCannotBeWritten(t *testing.T) {
	h := open(t, nil)
	h.put(t, "d/a", "x")
	h.put(t, "open/a", "x")
	before := h.state(t)
	many := "{" + strings.Repeat(" ", 100)
	for i := range sennit.MaxOps + 1 {
		many += fmt.Sprintf(`"%d":1,`, i)
	}
	many += `"last":1}`
	for _, c := range []struct {
		method, target, body string
		status               int
		code                 sennit.Code
		says                 string
	}{
		{"PUT", "/me/d/", "", 400, sennit.BadInput, "byte 0"},
		{"PUT", "/me/d/", `{"a":1,}`, 400, sennit.BadInput, "byte 6"},
		{"PUT", "/me/d/", `{"a":1} x`, 400, sennit.BadInput, "byte 8"},
		{"PUT", "/me/d/", `{"a":1,"a":2}`, 400, sennit.BadInput, "byte 7"},
		{"PUT", "/me/d/", "\"\xff\"", 400, sennit.BadInput, "byte 1"},
		{"PUT", "/me/d/", "\ufeff1", 400, sennit.BadInput, "byte 0"},
		{"PUT", "/me/d/", strings.Repeat("[", 100_000), 413, sennit.TooLarge, "deep"},
		{"PUT", "/me/d/", `"` + strings.Repeat("x", sennit.MaxInline+1) + `"`, 413, sennit.TooLarge, "at most 65536"},
		{"PUT", "/me/d/", many, 413, sennit.TooLarge, "more than 4096 values"},
		{"PATCH", "/me/d/", many, 413, sennit.TooLarge, "more than 4096 members"},
		{"PATCH", "/me/d/", `{"b":`, 400, sennit.BadInput, "byte 5"},
		{"PUT", "/me/", `{}`, 400, sennit.BadInput, "root"},
		{"PUT", "/me/", `1`, 400, sennit.BadInput, "root"},
		{"PUT", "/me/", `{"ok":1,".acl":{"x":1}}`, 403, sennit.Denied, ".acl"},
		{"PATCH", "/me/", `{"ok":1,".acl":null}`, 403, sennit.Denied, ".acl"},
		{"PUT", "/me/.id/", `{}`, 403, sennit.Denied, ".id"},
		{"PUT", "/me/d/?x", `{}`, 400, sennit.BadInput, "parameter"},
		{"PUT", "/me/*/d/", `{}`, 400, sennit.BadInput, "any component"},
		{"PUT", "/@nobody/d/", `{}`, 404, sennit.NotFound, "nothing"},
		{"PATCH", "/me/d", `{}`, 415, sennit.Unsupported, "Content-Range"},
		{"POST", "/me/d/", `{}`, 405, sennit.BadInput, "allowed"},
	} {
		a := h.ask(t, c.method, c.target, c.body, isJSON)
		if want(t, a, c.status, c.code); !strings.Contains(a.body, c.says) {
			t.Errorf("%s %s of %.40s says %s", c.method, c.target, c.body, a.body)
		}
	}
	for _, typ := range []string{"Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded", isPatch, "X-Nothing: x"} {
		a := h.ask(t, "PUT", "/me/d/", `{}`, typ)
		if want(t, a, 415, sennit.Unsupported); a.header.Get("Accept") != "application/json" {
			t.Errorf("PUT with %s is answered %v", typ, a.header)
		}
		if typ == isPatch {
			continue
		}
		if a = h.ask(t, "PATCH", "/me/d/", `{}`, typ); a.status != 415 || a.header.Get("Accept-Patch") != "application/merge-patch+json, application/json" {
			t.Errorf("PATCH with %s: %d %v", typ, a.status, a.header)
		}
	}
	want(t, h.ask(t, "PUT", "/me/d/", "", isJSON, "Content-Length: 4194305"), 413, sennit.TooLarge)
	// Strangers have less room, and may only read here.
	large := `"` + strings.Repeat("x", sennit.MaxInline) + `"`
	want(t, h.ask(t, "PUT", "/me/open/", large, isJSON, "Authorization:-"), 413, sennit.TooLarge)
	want(t, h.ask(t, "PUT", "/me/open/", "{}", isJSON, "Authorization:-"), 403, sennit.Denied)
	want(t, h.ask(t, "PUT", "/me/d/", "{}", isJSON, "Authorization:-"), 404, sennit.NotFound)
	want(t, h.ask(t, "GET", "/me/d/", "", asJSON, "Authorization:-"), 404, sennit.NotFound)
	want(t, h.ask(t, "GET", "/me/open/", "", asJSON, "Authorization:-"), 200, "")
	want(t, h.ask(t, "GET", "/me/open/?limit=1", "", asJSON), 400, sennit.BadInput)
	if after := h.state(t); after.Hash != before.Hash {
		t.Error("a refused writing changed something")
	}
}

// TestStrangersCompareLittle: what a stranger's request makes the door read is
// bounded, whoever put it there.
func TestStrangersCompareLittle(t *testing.T) {
	h := open(t, nil)
	for i := range 5 {
		h.put(t, fmt.Sprintf("open/%d", i), strings.Repeat("x", sennit.MaxInline))
	}
	a := h.ask(t, "PUT", "/me/open/", "{}", isJSON, "Authorization:-")
	if want(t, a, 413, sennit.TooLarge); !strings.Contains(a.body, "262144 bytes") {
		t.Errorf("it says %s", a.body)
	}
	want(t, h.ask(t, "PUT", "/me/open/", "{}", isJSON), 204, "")
}

// breaking is a bus whose snapshots fail after so many updates.
type breaking struct {
	sennit.Bus
	after int
}

func (b breaking) Watch(ctx context.Context, patterns []sennit.Pattern, o sennit.WatchOptions) (sennit.Watch, error) {
	w, err := b.Bus.Watch(ctx, patterns, o)
	return &breakingWatch{w, b.after, false}, err
}

type breakingWatch struct {
	sennit.Watch
	after int
	done  bool
}

func (w *breakingWatch) Next(ctx context.Context) ([]sennit.Update, error) {
	if w.done || w.after == 0 {
		return nil, sennit.Errorf(sennit.Gone, "the node stops")
	}
	w.done = true
	updates, err := w.Watch.Next(ctx)
	return updates[:w.after], err
}

// TestADocumentThatBreaksOffIsNotWhole: the answer must not end as if it were.
func TestADocumentThatBreaksOffIsNotWhole(t *testing.T) {
	var after atomic.Int64
	var model *bustest.Model
	h := open(t, func(c *httpdoor.Config) {
		c.Bus = func(httpdoor.Caller) sennit.Bus { return breaking{model, int(after.Load())} }
	})
	model = h.model
	for i := range 9 {
		h.put(t, fmt.Sprintf("d/%d", i), strings.Repeat("x", 1000))
	}
	h.put(t, "d/0", "x")
	want(t, h.ask(t, "GET", "/me/d/", "", asJSON), 410, sennit.Gone)
	after.Store(5)
	want(t, h.ask(t, "GET", "/me/d/", "", asJSON), 410, sennit.Gone) // nothing was sent yet
	if _, err := model.Write(t.Context(), "me", []sennit.Change{{
		Kind: sennit.KindPut, Path: "d/1",
		Value: sennit.Value{Type: "text/plain; charset=utf-8", Data: []byte(strings.Repeat("x", 60_000))},
	}}); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+h.addr+"/me/d/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/json")
	resp, err := (&http.Transport{DisableCompression: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); resp.StatusCode != 200 || len(b) < 60_000 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d with %d bytes, %v", resp.StatusCode, len(b), err)
	}
	if resp, err := new(http.Transport).RoundTrip(r); err == nil {
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil {
			t.Errorf("compressed, it is taken for the whole: %d bytes", len(b))
		}
	}
	c := h.client(t, h.byTCP(tok))
	doc, state, err := c.Document(t.Context(), sennit.Addr{Root: "me", Path: "d"})
	if err != nil || state.IsZero() {
		t.Fatal(err)
	}
	defer doc.Close()
	if _, err := io.ReadAll(doc); sennit.CodeOf(err) != sennit.Unreachable {
		t.Errorf("the client reads a part: %v", err)
	}
}

func TestDocumentsByTheClient(t *testing.T) {
	h := open(t, nil)
	c, at := h.client(t, h.bySocket()), sennit.Addr{Root: "me", Path: "notes/gr\u00fc\u00dfe 100%"}
	read := func() (string, sennit.Hash) {
		t.Helper()
		doc, state, err := c.Document(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		defer doc.Close()
		b, err := io.ReadAll(doc)
		if err != nil {
			t.Fatal(err)
		}
		return string(b), state
	}
	if _, _, err := c.Document(t.Context(), at); sennit.CodeOf(err) != sennit.NotFound {
		t.Errorf("a document that isn't there: %v", err)
	}
	if v, err := c.PutDocument(t.Context(), at, []byte(`{"a":1,"b":2}`), new(sennit.Hash)); err != nil || v == "" {
		t.Fatalf("put: %q, %v", v, err)
	}
	if _, err := c.PutDocument(t.Context(), at, []byte(`{"a":3}`), new(sennit.Hash)); sennit.CodeOf(err) != sennit.Conflict {
		t.Errorf("put where something is: %v", err)
	}
	text, state := read()
	if text != `{"a":1,"b":2}`+"\n" {
		t.Errorf("it reads %s", text)
	}
	if g, err := c.Digest(t.Context(), at); err != nil || g.Hash != state {
		t.Errorf("the state is %s, the digest %s, %v", state, g.Hash, err)
	}
	if v, err := c.PatchDocument(t.Context(), at, []byte(`{"a":1}`), &state); err != nil || v != "" {
		t.Errorf("a patch of nothing: %q, %v", v, err)
	}
	if v, err := c.PatchDocument(t.Context(), at, []byte(`{"a":null}`), &state); err != nil || v == "" {
		t.Errorf("a patch: %q, %v", v, err)
	}
	if _, err := c.PatchDocument(t.Context(), at, []byte(`{"a":5}`), &state); sennit.CodeOf(err) != sennit.Conflict {
		t.Errorf("a patch of an older state: %v", err)
	}
	if text, _ := read(); text != `{"b":2}`+"\n" {
		t.Errorf("it reads %s", text)
	}
	if _, err := c.PutDocument(t.Context(), at, []byte(`{"a":`), nil); sennit.CodeOf(err) != sennit.BadInput || !strings.Contains(err.Error(), "byte 5") {
		t.Errorf("malformed: %v", err)
	}
	big := []byte(`"` + strings.Repeat("x", 4*sennit.MaxCommit) + `"`)
	if _, err := c.PutDocument(t.Context(), at, big, nil); sennit.CodeOf(err) != sennit.TooLarge {
		t.Errorf("too large: %v", err)
	}
	if _, _, err := c.Document(t.Context(), sennit.Addr{Root: "a/b"}); sennit.CodeOf(err) != sennit.BadInput {
		t.Errorf("a root with a slash: %v", err)
	}
	if _, err := c.PutDocument(t.Context(), sennit.Addr{}, nil, nil); sennit.CodeOf(err) != sennit.BadInput {
		t.Errorf("no root: %v", err)
	}
}
