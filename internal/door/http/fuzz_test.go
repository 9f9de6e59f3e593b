package httpdoor_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	httpdoor "github.com/sennit/sennit/internal/door/http"
)

// FuzzTarget: whatever a request's target is, it is refused or names what
// decoding each component once gives, and writing that gives it again.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/", "/me/a", "/me/a/?limit=1", "/me/%2e%2e/a", "/me/a%2fb", "/me//a", "/@ana/%C3%BC*", "http://h/me/a", "/me/*/a/", "*", "/me/%zz",
		"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		addr, slash, plain, again, err := httpdoor.ParseTarget(raw)
		if err != nil {
			if sennit.CodeOf(err) != sennit.BadInput {
				t.Errorf("%q: %v", raw, err)
			}
			return
		}
		if !plain {
			return
		}
		path, _, _ := strings.Cut(raw, "?")
		if !strings.HasPrefix(path, "/") {
			_, path, _ = strings.Cut(path, "://")
			path = path[strings.IndexByte(path, '/'):]
		}
		var parts []string
		for c := range strings.SplitSeq(strings.TrimSuffix(path[1:], "/"), "/") {
			d, err := url.PathUnescape(c)
			if err != nil || d == "" || d == "." || d == ".." || d == "*" || strings.ContainsAny(d, "/\x00\n\x7f") {
				t.Fatalf("%q was taken, though it has the component %q (%v)", raw, d, err)
			}
			parts = append(parts, d)
		}
		if want := "/" + strings.Join(parts, "/"); addr.String() != want || slash != strings.HasSuffix(path, "/") {
			t.Errorf("%q is taken for %q slash=%v", raw, addr, slash)
		}
		addr2, slash2, _, _, err := httpdoor.ParseTarget(again)
		if err != nil || addr2 != addr || slash2 != slash {
			t.Errorf("%q is written as %q, which is %q slash=%v, %v", raw, again, addr2, slash2, err)
		}
	})
}

// FuzzCommit: a body is refused or is a bounded list of changes, which written
// again are the same.
func FuzzCommit(f *testing.F) {
	for _, s := range []string{"", "PUT /me/a\r\nContent-Length: 1\r\n\r\nx\r\n", "DELETE /me/a/\n\nPUT /me/b\nContent-Type: a/b\nContent-Length: 0\n\n",
		"POST /me/n?add=-3\r\n\r\nPOST /me/n?add=x\r\n\r\n", "POST /me/n?add=5\n\nDELETE /me/n\n\n",
		"PUT /me/a\r\nContent-Length: 9\r\n\r\nx", "DELETE /me/%2e%2e\r\n\r\n", "PUT /me/a\nContent-Length: 12\n\nDELETE /me/b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		changes, err := httpdoor.ParseCommit(body, "me")
		if err != nil {
			if c := sennit.CodeOf(err); c != sennit.BadInput && c != sennit.TooLarge {
				t.Errorf("%v", err)
			}
			return
		}
		var b strings.Builder
		size := 0
		for _, c := range changes {
			u := url.URL{Path: sennit.Addr{Root: "me", Path: c.Path}.String()}
			size += len(c.Value.Data)
			if c.Kind == sennit.KindDel {
				if c.Deep {
					u.Path += "/"
				}
				fmt.Fprintf(&b, "DELETE %s\r\n\r\n", u.EscapedPath())
				continue
			}
			if c.Kind == sennit.KindAdd {
				fmt.Fprintf(&b, "POST %s?add=%d\r\n\r\n", u.EscapedPath(), c.Delta)
				continue
			}
			fmt.Fprintf(&b, "PUT %s\r\n", u.EscapedPath())
			if c.Value.Type != "" {
				fmt.Fprintf(&b, "Content-Type: %s\r\n", c.Value.Type)
			}
			fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s\r\n", len(c.Value.Data), c.Value.Data)
		}
		if size > len(body) || len(changes) > sennit.MaxOps {
			t.Errorf("%d changes with %d bytes in a body of %d", len(changes), size, len(body))
		}
		again, err := httpdoor.ParseCommit([]byte(b.String()), "me")
		if err != nil || fmt.Sprint(again) != fmt.Sprint(changes) {
			t.Errorf("%v is written as %q, which is %v, %v", changes, b.String(), again, err)
		}
	})
}

// FuzzRequest: a request that is refused changes nothing, whatever it is.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"GET /me/a HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /me/a/ HTTP/1.1\r\nHost: localhost\r\nSubscribe: ?1\r\nHeartbeats: 20s\r\nSince: 1-2\r\n\r\n",
		"GET /me/*/a/?newest=5&tail&also=/me/b HTTP/1.1\r\nHost: localhost\r\nSubscribe:\r\nParents: \"x\"\r\n\r\n",
		"GET /me/?limit=3&after=a HTTP/1.1\r\nHost: localhost\r\nAccept: a/b;q=0, */*\r\nIf-None-Match: W/\"x\", *\r\n\r\n",
		"PUT /me/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
		"PUT /me/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"DELETE /me/a/ HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n",
		"GET /me/ HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nIf-Match: \"x\"\r\n\r\n",
		"PUT /me/a/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIf-None-Match: *\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
		"PATCH /me/a/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/merge-patch+json\r\nContent-Length: 10\r\n\r\n{\"b\":null}",
		"POST /me/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/vnd.sennit.commit\r\nContent-Length: 16\r\n\r\nDELETE /me/a/\r\n\r\n",
		"POST /.well-known/multiplexer/m HTTP/1.1\r\nHost: localhost\r\nMultiplex-Version: 1.0\r\n\r\n",
		"DELETE /.well-known/multiplexer/m/1 HTTP/1.1\r\nHost: localhost\r\nMultiplex-Version: 1.0\r\n\r\n",
		"GET /me/a HTTP/1.1\r\nHost: localhost\r\nSubscribe: ?1\r\nMultiplex-Version: 1.0\r\nMultiplex-Through: /.well-known/multiplexer/m/1\r\n\r\n",
		"PUT /me/a HTTP/1.1\r\nHost: localhost\r\nMerge-Type: aww\r\nVersion: \"1.5\"\r\nContent-Length: 1\r\n\r\nx",
		"GET /me/a HTTP/1.1\r\nHost: localhost\r\nVersion-Type: wallclockish\r\nParents: \"99999999999.\"\r\nSubscribe: ?1\r\n\r\n",
		"GET /me/a HTTP/1.1\r\nHost: localhost\r\nParents: \"x-1\", \"y\"\r\nAccept-Encoding: gzip\r\n\r\n",
		"PUT /me/a HTTP/1.1\r\nHost: localhost\r\nRepr-Digest: sha-256=:AAAA:\r\nContent-Digest: x=:AAAA:, sha-512=::\r\nContent-Length: 1\r\n\r\nx",
		"PATCH /me/a HTTP/1.1\r\nHost: localhost\r\nPatches: 1\r\nContent-Length: 45\r\n\r\nContent-Length: 1\r\nContent-Range: json .a\r\n\r\n5",
		"GET /?key=x HTTP/1.1\r\nHost: localhost\r\nCookie: a=b; sennit-00=x\r\nAuthorization: Bearer x\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		h := newDoor(t, func(c *httpdoor.Config) {
			bus := c.Bus
			c.Bus = func(httpdoor.Caller) sennit.Bus { return bus(httpdoor.Caller{Via: httpdoor.BySocket}) }
		})
		h.put(t, "a", "x")
		h.put(t, "a/b", "x")
		before := h.state(t)
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(request))))
		if err != nil {
			return
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // a subscription sends what there is, and ends
		w := httptest.NewRecorder()
		h.door.ServeHTTP(w, r.WithContext(ctx))
		refused := w.Code >= 400
		if w.Code < 200 || w.Code >= 600 || w.Code == 500 {
			t.Errorf("%q: %d %s", request, w.Code, w.Body)
		}
		safe := r.Method == "GET" || r.Method == "HEAD" || r.Method == "OPTIONS"
		if after := h.state(t); (refused || safe) && after.Hash != before.Hash {
			t.Errorf("%q: %d, and something changed", request, w.Code)
		}
		if typ := w.Header().Get("Content-Type"); refused && typ != "application/problem+json" && typ != "text/html; charset=utf-8" {
			t.Errorf("%q: %d with the type %q", request, w.Code, typ)
		}
		if n := h.model.Watches(); n != 0 {
			t.Errorf("%q: %d watches are left", request, n)
		}
	})
}

// FuzzPatches: a body is refused or is as many patches as were announced, whose
// contents are parts of it.
func FuzzPatches(f *testing.F) {
	f.Add([]byte("Content-Length: 1\r\nContent-Range: json .a\r\n\r\n5\r\n\r\ncontent-length: 0\ncontent-range: text [1:2]\n\n"), 2)
	f.Add([]byte("Content-Length: 99\r\nContent-Range: json .a\r\n\r\n5"), 1)
	f.Add([]byte("\r\n"), 0)
	f.Fuzz(func(t *testing.T, body []byte, count int) {
		if count < 0 || count > 1000 {
			return
		}
		all, err := httpdoor.SplitPatches(body, count)
		if err != nil {
			if sennit.CodeOf(err) != sennit.BadInput {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		size := 0
		for _, p := range all {
			size += len(p.Content)
		}
		if len(all) != count || size > len(body) {
			t.Errorf("%q gives %d patches of %d bytes", body, len(all), size)
		}
	})
}
