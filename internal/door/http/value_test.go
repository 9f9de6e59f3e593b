package httpdoor_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/sennit/sennit"
	httpdoor "github.com/sennit/sennit/internal/door/http"
)

func TestValueOverHTTP(t *testing.T) {
	h := open(t, nil)
	a := h.ask(t, "PUT", "/me/notes/gr%C3%BC%C3%9Fe%20100%25", "hello", "Content-Type: text/plain; charset=utf-8")
	want(t, a, 204, "")
	tag := a.header.Get("ETag")
	if tag == "" || a.header.Get("Version") != tag {
		t.Errorf("PUT answers ETag %q, Version %q", tag, a.header.Get("Version"))
	}
	if got := h.text(t, "notes/grüße 100%"); got != "hello" {
		t.Errorf("stored: %q", got)
	}

	a = h.ask(t, "GET", "/me/notes/gr%c3%bc%c3%9fe%20100%25", "")
	want(t, a, 200, "")
	for name, value := range map[string]string{
		"Content-Type": "text/plain; charset=utf-8", "Content-Length": "5", "ETag": tag, "Version": tag,
		"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-cache",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := a.header.Get(name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if a.body != "hello" {
		t.Errorf("the body is %q", a.body)
	}

	head := h.ask(t, "HEAD", "/me/notes/gr%c3%bc%c3%9fe%20100%25", "")
	want(t, head, 200, "")
	a.header.Del("Date")
	head.header.Del("Date")
	for name := range a.header {
		if head.header.Get(name) != a.header.Get(name) {
			t.Errorf("HEAD says %s: %q, GET says %q", name, head.header.Get(name), a.header.Get(name))
		}
	}
	if head.body != "" {
		t.Errorf("HEAD has the body %q", head.body)
	}

	for _, c := range []struct {
		field  string
		status int
	}{{tag, 304}, {`"other", W/` + tag, 304}, {"*", 304}, {`"other"`, 200}, {strings.Trim(tag, `"`), 200}} {
		a := h.ask(t, "GET", "/me/notes/gr%c3%bc%c3%9fe%20100%25", "", "If-None-Match: "+c.field)
		if want(t, a, c.status, ""); a.status == 304 && (a.body != "" || a.header.Get("ETag") != tag) {
			t.Errorf("304 has the body %q and ETag %q", a.body, a.header.Get("ETag"))
		}
	}
	for _, c := range []struct {
		fields []string
		status int
		body   string
	}{
		{[]string{"Range: bytes=0-1"}, 206, "he"},
		{[]string{"Range: bytes=-2"}, 206, "lo"},
		{[]string{"Range: bytes=4-99"}, 206, "o"},
		{[]string{"Range: bytes=0-1", "If-Range: " + tag}, 206, "he"},
		{[]string{"Range: bytes=0-1", `If-Range: "other"`}, 200, "hello"},
		{[]string{"Range: bytes=0-1", "If-Match: " + tag}, 206, "he"},
		{[]string{"Range: lines=0-1"}, 416, ""},
		{[]string{"Range: bytes=5-"}, 416, ""},
		{[]string{"Range: bytes=x"}, 416, ""},
		{[]string{"Range: bytes=0-1", `If-Match: "other"`}, 412, ""},
		{[]string{`If-Match: "other"`}, 412, ""},
		{[]string{"If-Match: " + tag}, 200, "hello"},
	} {
		a := h.ask(t, "GET", "/me/notes/gr%c3%bc%c3%9fe%20100%25", "", c.fields...)
		if a.status != c.status || c.body != "" && a.body != c.body {
			t.Errorf("with %q: %d %q, want %d %q", c.fields, a.status, a.body, c.status, c.body)
		}
		if cr := a.header.Get("Content-Range"); (cr != "") != (a.status == 206 || a.status == 416 && strings.HasSuffix(cr, "*/5")) {
			t.Errorf("with %q: %d has Content-Range %q", c.fields, a.status, cr)
		}
	}

	want(t, h.ask(t, "PUT", "/me/empty", ""), 204, "")
	if a := h.ask(t, "GET", "/me/empty", ""); a.status != 200 || a.body != "" || a.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("an empty value: %d %q %q", a.status, a.header.Get("Content-Type"), a.body)
	}
	want(t, h.ask(t, "GET", "/me/absent", ""), 404, sennit.NotFound)
	want(t, h.ask(t, "GET", "/me", ""), 404, sennit.NotFound)
	want(t, h.ask(t, "GET", "/@nobody/a", ""), 404, sennit.NotFound)
	want(t, h.ask(t, "GET", "/nowhere/a", ""), 400, sennit.BadInput)
	want(t, h.ask(t, "GET", "http://"+h.addr+"/me/empty", ""), 200, "") // as proxies ask
}

func TestDeleteOverHTTP(t *testing.T) {
	h := open(t, nil)
	for _, p := range []string{"a", "a/b", "c", "c/d", "c/e/f"} {
		h.put(t, p, p)
	}
	a := h.ask(t, "DELETE", "/me/a", "")
	if want(t, a, 204, ""); a.header.Get("Version") == "" {
		t.Error("a delete has no version")
	}
	want(t, h.ask(t, "DELETE", "/me/c/", ""), 204, "")
	want(t, h.ask(t, "DELETE", "/me/never", ""), 204, "")
	for path, want := range map[string]string{
		"a": "nothing: not-found", "a/b": "a/b", "c": "nothing: not-found", "c/d": "nothing: not-found", "c/e/f": "nothing: not-found",
	} {
		if got := h.text(t, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestMalformedPathsAreRefusedAndStoreNothing(t *testing.T) {
	h := open(t, nil)
	h.put(t, "a/b", "x")
	before := h.state(t)
	long := strings.Repeat(strings.Repeat("x", 200)+"/", 6)
	for _, target := range []string{
		"/me//a", "/me/a//b", "/me//", "//me/a", "/me/a//", "//", "/me/../a", "/me/..", "/me/a/..", "/me/a/../b", "/me/./a", "/me/.",
		"/me/%2e%2e/a", "/me/%2E%2e", "/me/%2e/a", "/me/.%2e", "/me/a%2fb", "/me/a%2Fb", "/me%2fa", "/%2fme/a", "/me/a%2f", "/me/%2f",
		"/me/%00", "/me/a%0ab", "/me/a%1f", "/me/%7f", "/me/%ff", "/me/a%c3", "/me/%c3%28", "/me/%ed%a0%80",
		"/me/" + strings.Repeat("x", 256), "/me/" + long[:1026], "/me/" + strings.Repeat("d/", 33) + "e",
		"/me/%zz", "/me/%", "/me/%2", "/me/a%", "/me/*", "/me/a/*/b", "/me/%2a", "/@/a", "/@a%2fb/c", "/@../x", "/ME/a", "/.well-known/x", "/favicon.ico",
		"me/a", "*a", "http:/me", "/me/a?x=1", "/me/a?limit=1", "/me/a?%zz", "/me/a?a;b",
		"/me/.acl/x", "/me/.id",
	} {
		for _, method := range []string{"PUT", "DELETE", "GET"} {
			body := ""
			if method == "PUT" {
				body = "evil"
			}
			a := h.ask(t, method, target, body)
			reserved := strings.Contains(target, "/.acl") || strings.Contains(target, "/.id")
			if ok := a.status == 400 || reserved && (a.status == 403 || a.status == 404); !ok {
				t.Errorf("%s %.80q: got %d %s", method, target, a.status, a.body)
			}
		}
	}
	// Bytes that no URL has, as they are.
	for _, target := range []string{"/me/a\x01b", "/me/a\x7fb", "/me/\xff", "/me/a b", "/me/\x00"} {
		if a := h.ask(t, "PUT", target, "evil"); a.status != 400 {
			t.Errorf("PUT %q: got %d %s", target, a.status, a.body)
		}
	}
	if after := h.state(t); after.Hash != before.Hash {
		t.Error("a malformed request changed something")
	}
}

func TestPercentEncodingIsUndoneOnce(t *testing.T) {
	h := open(t, nil)
	for target, path := range map[string]string{
		"/me/%252e%252e/a": "%2e%2e/a", "/me/a%252fb": "a%2fb", "/me/%25": "%", "/me/a+b": "a+b", "/me/a%2Bb": "a+b", "/%6de/x": "x",
		"/me/%61": "a", "/me/a%3Fb": "a?b", "/me/a%23b": "a#b", "/me/a;b=c,d": "a;b=c,d", "/me/a\\b": "a\\b", "/me/ä": "ä",
	} {
		want(t, h.ask(t, "PUT", target, "at "+path), 204, "")
		if got := h.text(t, path); got != "at "+path {
			t.Errorf("PUT %s: at %q is %q", target, path, got)
		}
		if a := h.ask(t, "GET", target, ""); a.body != "at "+path {
			t.Errorf("GET %s: %d %q", target, a.status, a.body)
		}
	}
}

func TestBodiesHaveLimits(t *testing.T) {
	h := open(t, func(c *httpdoor.Config) { c.Limits.Value = sennit.MaxInline })
	full := strings.Repeat("x", sennit.MaxInline)
	want(t, h.ask(t, "PUT", "/me/full", full), 204, "")
	if got := h.text(t, "full"); got != full {
		t.Errorf("the largest value has %d bytes", len(got))
	}
	chunk := func(parts ...string) string {
		var b strings.Builder
		for _, p := range parts {
			b.WriteString(strings.ToLower(hex(len(p))) + "\r\n" + p + "\r\n")
		}
		return b.String()
	}
	want(t, h.ask(t, "PUT", "/me/chunked", chunk("he", "llo")+"0\r\n\r\n", "Transfer-Encoding: chunked"), 204, "")
	if got := h.text(t, "chunked"); got != "hello" {
		t.Errorf("chunked: %q", got)
	}
	want(t, h.ask(t, "PUT", "/me/chunked", chunk(full)+"0\r\n\r\n", "Transfer-Encoding: chunked"), 204, "")
	before := h.state(t)

	// Said to be too large: refused before a byte of it is sent.
	a := h.ask(t, "PUT", "/me/a", "", "Content-Length: 65537")
	want(t, a, 413, sennit.TooLarge)
	want(t, h.ask(t, "PUT", "/me/a", "", "Content-Length: 999999999999"), 413, sennit.TooLarge)
	// Not said: refused as soon as it is.
	a = h.ask(t, "PUT", "/me/a", chunk(full, "y"), "Transfer-Encoding: chunked")
	want(t, a, 413, sennit.TooLarge)

	for name, request := range map[string]string{
		"shorter than said":  "PUT /me/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + tok + "\r\nContent-Length: 10\r\n\r\nhello",
		"a chunk broken off": "PUT /me/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + tok + "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
		"no last chunk":      "PUT /me/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + tok + "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"no length of chunk": "PUT /me/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + tok + "\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n0\r\n\r\n",
		"half a commit":      "POST /me/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + tok + "\r\nContent-Type: application/vnd.sennit.commit\r\nContent-Length: 99\r\n\r\nPUT /me/a\r\nContent-Length: 1\r\n\r\nx\r\n",
	} {
		if a := h.raw(t, request, true); a.status != 400 {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
	// Lengths that contradict themselves never get as far as the door.
	for name, headers := range map[string][]string{
		"two lengths":      {"Content-Length: 5", "Content-Length: 6"},
		"a negative one":   {"Content-Length: -5"},
		"no number":        {"Content-Length: five"},
		"unknown encoding": {"Transfer-Encoding: gzip"},
	} {
		if a := h.ask(t, "PUT", "/me/a", "hello", headers...); a.status != 400 && a.status != 501 {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
	if after := h.state(t); after.Hash != before.Hash {
		t.Error("a refused body changed something")
	}
}

func hex(n int) string {
	const digits = "0123456789abcdef"
	if n < 16 {
		return digits[n : n+1]
	}
	return hex(n/16) + digits[n%16:n%16+1]
}

func TestWritesThatCannotBeDoneAsAskedAreRefused(t *testing.T) {
	h := open(t, nil)
	h.put(t, "a", "x")
	before := h.state(t)
	for _, c := range []struct {
		method, target, header string
		status                 int
	}{
		{"PUT", "/me/a", `If-Match: "1"`, 412},
		{"PUT", "/me/a", `If-Match: "1", "2"`, 501},
		{"PUT", "/me/a", `If-Match: W/"1"`, 501},
		{"PUT", "/me/a", `If-Match: *`, 501},
		{"PUT", "/me/a", `If-Match: 1`, 501},
		{"PUT", "/me/a", "If-None-Match: *", 412},
		{"PUT", "/me/a", `If-None-Match: "1"`, 501},
		{"DELETE", "/me/a", `If-Match: "1"`, 412},
		{"DELETE", "/me/a/", `If-Match: "1"`, 501},
		{"POST", "/me/a?append", `If-Match: "1"`, 412},
		{"POST", "/me/a?append&add=1", "X-Nothing: x", 400},
		{"POST", "/me/a?append=x", "X-Nothing: x", 400},
		{"POST", "/me/a?append", "Content-Type: nonsense", 400},
		{"PUT", "/me/a", "If-Unmodified-Since: Tue, 15 Nov 1994 12:45:26 GMT", 501},
		{"PUT", "/me/a", "Content-Range: bytes 0-0/2", 400},
		{"PUT", "/me/a", "Patches: 2", 400},
		{"PUT", "/me/a", "Content-Encoding: gzip", 415},
		{"PUT", "/me/a", "Content-Type: nonsense", 400},
		{"PUT", "/me/a", "Content-Type: text/", 400},
		{"PUT", "/me/a", "Content-Type: text/pl\u00e4in", 400},
		{"PUT", "/me/a", "Content-Type: text/" + strings.Repeat("x", 123), 400},
		{"PUT", "/me/a/", "X-Nothing: x", 415},
		{"POST", "/me/a", "Content-Type: text/plain", 400},
		{"POST", "/me/a?add=1", "X-Nothing: there is a body", 400},
		{"POST", "/me/a?add=", "X-Nothing: x", 400},
		{"POST", "/me/a?add=1.5", "X-Nothing: x", 400},
		{"POST", "/me/a?add=9223372036854775808", "X-Nothing: x", 400},
		{"POST", "/me/a?add=1&add=1", "X-Nothing: x", 400},
		{"POST", "/me/a?add=1&more", "X-Nothing: x", 400},
		{"POST", "/me/a/?add=1", "X-Nothing: x", 405},
		{"POST", "/me/?add=1", "X-Nothing: x", 400},
		{"POST", "/me/a/", "Content-Type: application/vnd.sennit.commit", 405},
		{"POST", "/me/", "Content-Type: text/plain", 415},
		{"POST", "/me/", "X-Nothing: x", 415},
		{"PATCH", "/me/a", "Content-Type: text/plain", 415},
		{"TRACE", "/me/a", "X-Nothing: x", 405},
		{"BREW", "/me/a", "X-Nothing: x", 405},
		{"POST", "/", "X-Nothing: x", 405},
	} {
		a := h.ask(t, c.method, c.target, "y", c.header)
		if a.status != c.status {
			t.Errorf("%s %s with %s: got %d %s, want %d", c.method, c.target, c.header, a.status, a.body, c.status)
			continue
		}
		a.problem(t)
		if allow := a.header.Get("Allow"); (a.status == 405) != (allow != "") || strings.Contains(allow, c.method) {
			t.Errorf("%s %s: %d with Allow %q", c.method, c.target, a.status, allow)
		}
	}
	for _, target := range []string{"/me/a?add=x", "/me/.acl/n?add=1"} {
		if a := h.ask(t, "POST", target, ""); a.status != 400 && a.status != 403 && a.status != 404 {
			t.Errorf("POST %s without a body: %d", target, a.status)
		}
	}
	// A GET changes nothing, whatever it carries.
	h.ask(t, "GET", "/me/a", "new", "Content-Type: text/plain", "X-HTTP-Method-Override: PUT")
	h.ask(t, "GET", "/me/b", "new", "Content-Type: text/plain")
	if after := h.state(t); after.Hash != before.Hash {
		t.Error("a refused write changed something")
	}
	if a := h.ask(t, "OPTIONS", "/me/a", ""); a.status != 204 || a.header.Get("Allow") != "GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS" || a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("OPTIONS: %d %v", a.status, a.header)
	}
}

// odd is a bus that gives what no good one gives.
type odd struct {
	sennit.Bus
	node sennit.Node
	err  error
}

func (b odd) Open(context.Context, sennit.Addr) (sennit.Node, sennit.Content, error) {
	return b.node, gone{}, b.err
}

// gone is a content that can't be read.
type gone struct{}

func (gone) ReadAt(context.Context, []byte, int64) (int, error) {
	return 0, sennit.Errorf(sennit.Unreachable, "nobody has it")
}

func (gone) Close() error { return nil }

func TestTypesFromElsewhereCannotForgeHeaders(t *testing.T) {
	var bus odd
	h := open(t, func(c *httpdoor.Config) { c.Bus = func(httpdoor.Caller) sennit.Bus { return &bus } })
	for _, typ := range []string{"text/html\r\nSet-Cookie: a=b", "text/html\nX: y", "text", "/", "a/", "text/\x00", strings.Repeat("a/b", 100)} {
		bus.node = sennit.Node{Value: sennit.Value{Type: typ, Data: []byte("x")}, Version: "v\r\nSet-Cookie: c=d"}
		a := h.ask(t, "GET", "/me/a", "")
		if a.status != 200 || a.header.Get("Content-Type") != "application/octet-stream" || a.header.Get("Set-Cookie") != "" || a.header.Get("ETag") != "" {
			t.Errorf("type %q: %d %v", typ, a.status, a.header)
		}
	}
}

// journal is a log that is written and read at the same time.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func TestErrorsTellTheOwnerMoreThanOthers(t *testing.T) {
	var log journal
	bus := odd{err: errors.New("open /home/ana/.local/share/sennit: disk on fire")}
	h := open(t, func(c *httpdoor.Config) {
		c.Bus = func(httpdoor.Caller) sennit.Bus { return &bus }
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	a := h.ask(t, "GET", "/me/a", "")
	want(t, a, 500, sennit.Internal)
	if strings.Contains(a.body, "ana") || !strings.Contains(log.String(), "disk on fire") {
		t.Errorf("a stranger is told %s, the log %q", a.body, log.String())
	}
	owner := h.client(t, h.bySocket())
	if _, err := owner.Get(t.Context(), sennit.Addr{Root: "me", Path: "a"}); err == nil || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("the owner is told: %v", err)
	}

	// Should a Bus word what is absent and what is denied differently, only
	// the owner learns of it.
	var bodies []string
	for _, text := range []string{"nothing at a", "you may not know of a"} {
		bus.err = sennit.Hint(sennit.Errorf(sennit.NotFound, "%s", text), text)
		a := h.ask(t, "GET", "/me/a", "")
		want(t, a, 404, sennit.NotFound)
		bodies = append(bodies, a.body)
		if _, err := owner.Get(t.Context(), sennit.Addr{Root: "me", Path: "a"}); err == nil || err.Error() != text {
			t.Errorf("the owner is told: %v", err)
		}
	}
	if bodies[0] != bodies[1] {
		t.Errorf("a stranger is told %s or %s", bodies[0], bodies[1])
	}

	for _, c := range []struct {
		code   sennit.Code
		status int
	}{
		{sennit.BadInput, 400}, {sennit.Denied, 403}, {sennit.Expired, 403}, {sennit.Unreachable, 502}, {sennit.Conflict, 409},
		{sennit.Timeout, 504}, {sennit.OverQuota, 429}, {sennit.TooLarge, 413}, {sennit.ReadOnly, 507}, {sennit.Gone, 410}, {sennit.Unsupported, 501},
	} {
		bus.err = sennit.Hint(sennit.Errorf(c.code, "so it is"), "do that")
		a := h.ask(t, "GET", "/me/a", "")
		want(t, a, c.status, c.code)
		if (c.code == sennit.OverQuota) != (a.header.Get("Retry-After") != "") {
			t.Errorf("%s: Retry-After %q", c.code, a.header.Get("Retry-After"))
		}
		_, err := owner.Get(t.Context(), sennit.Addr{Root: "me", Path: "a"})
		if sennit.CodeOf(err) != c.code || err.Error() != "so it is" || sennit.HintOf(err) != "do that" {
			t.Errorf("%s reaches a client as %q %v, hint %q", c.code, sennit.CodeOf(err), err, sennit.HintOf(err))
		}
	}
}

func TestAStreamOverHTTP(t *testing.T) {
	h := open(t, nil)
	want(t, h.ask(t, "POST", "/me/log?append", "one\n", "Content-Type: text/plain"), 204, "")
	want(t, h.ask(t, "POST", "/me/log?append", "two\n"), 204, "")
	a := h.ask(t, "GET", "/me/log", "")
	if a.status != 200 || a.body != "one\ntwo\n" || a.header.Get("Content-Type") != "text/plain" {
		t.Errorf("%d %q of type %q", a.status, a.body, a.header.Get("Content-Type"))
	}
	if a := h.ask(t, "GET", "/me/log", "", "Range: bytes=4-"); a.status != 206 || a.body != "two\n" {
		t.Errorf("its end: %d %q", a.status, a.body)
	}
	want(t, h.ask(t, "POST", "/me/log?append", ""), 400, sennit.BadInput)
	want(t, h.ask(t, "POST", "/me/log?append", strings.Repeat("x", sennit.MaxInline+1)), 413, sennit.TooLarge)
}

// TestContentThatBreaksOffIsNoAnswer: a client must not take what came for the
// whole.
func TestContentThatBreaksOffIsNoAnswer(t *testing.T) {
	bus := odd{node: sennit.Node{Value: sennit.Value{Blob: &sennit.Blob{Size: 1 << 20}}}}
	h := open(t, func(c *httpdoor.Config) { c.Bus = func(httpdoor.Caller) sennit.Bus { return &bus } })
	n, content, err := h.client(t, h.bySocket()).Open(t.Context(), sennit.Addr{Root: "me", Path: "a"})
	if err != nil {
		return // it found out at once
	}
	defer content.Close()
	if k, err := content.ReadAt(t.Context(), make([]byte, 100), 0); err == nil {
		t.Errorf("%d bytes of %d are taken for the beginning of something", k, n.Value.Size())
	}
}
