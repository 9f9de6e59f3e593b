package httpdoor_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sennit/sennit"
)

func TestAnswersAreCompressedForWhomItHelps(t *testing.T) {
	h := open(t, nil)
	text := strings.Repeat("compressible text, ", 200)
	h.ask(t, "PUT", "/me/d/long", text, "Content-Type: text/plain")
	h.ask(t, "PUT", "/me/doc/", fmt.Sprintf(`{"a":%q}`, text), "Content-Type: application/json")
	h.ask(t, "PUT", "/me/d/short", "short", "Content-Type: text/plain")
	h.ask(t, "PUT", "/me/large", strings.Repeat(text, 30), "Content-Type: text/plain")
	h.ask(t, "PUT", "/me/d/picture", text, "Content-Type: image/png")
	for i := range 200 {
		h.put(t, fmt.Sprintf("list/%d", i), "x")
	}
	for _, c := range []struct {
		target  string
		header  []string
		status  int
		squeeze bool
	}{
		{"/me/d/long", []string{"Accept-Encoding: gzip"}, 200, true},
		{"/me/d/long", []string{"Accept-Encoding: br, gzip;q=0.5"}, 200, true},
		{"/me/doc/", []string{"Accept-Encoding: gzip", "Accept: application/json"}, 200, true},
		{"/me/list/", []string{"Accept-Encoding: gzip"}, 200, true},
		{"/me/d/long", nil, 200, false},
		{"/me/d/long", []string{"Accept-Encoding: gzip", "Want-Repr-Digest: sha-256=1"}, 200, false}, // whose digest is of these bytes
		{"/me/d/long", []string{"Accept-Encoding: gzip;q=0"}, 200, false},
		{"/me/d/long", []string{"Accept-Encoding: br"}, 200, false},
		{"/me/d/long", []string{"Accept-Encoding: gzip", "Range: bytes=0-1999"}, 206, false},
		{"/me/d/short", []string{"Accept-Encoding: gzip"}, 200, false},
		{"/me/d/picture", []string{"Accept-Encoding: gzip"}, 200, false},
		{"/me/large", []string{"Accept-Encoding: gzip"}, 200, false},
		{"/me/nothing", []string{"Accept-Encoding: gzip"}, 404, false},
	} {
		a := h.ask(t, "GET", c.target, "", c.header...)
		squeezed := a.header.Get("Content-Encoding") == "gzip"
		if a.status != c.status || squeezed != c.squeeze {
			t.Errorf("%s %q: %d %v", c.target, c.header, a.status, a.header)
			continue
		}
		body := a.body
		if squeezed {
			r, err := gzip.NewReader(strings.NewReader(a.body))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if body = string(b); len(a.body) >= len(body) || !strings.Contains(strings.Join(a.header["Vary"], ","), "Accept-Encoding") {
				t.Errorf("%s: %d bytes became %d: %v", c.target, len(body), len(a.body), a.header)
			}
		}
		if c.target == "/me/d/long" && c.status == 200 && body != text {
			t.Errorf("%q: %.60q", c.header, body)
		}
	}
}

// TestTheTagOfACompressedAnswerIsAsGoodAsTheOther: in conditions both name the version.
func TestTheTagOfACompressedAnswerIsAsGoodAsTheOther(t *testing.T) {
	h := open(t, nil)
	text := strings.Repeat("compressible text, ", 200)
	h.ask(t, "PUT", "/me/d/", fmt.Sprintf(`{"a":%q}`, text), "Content-Type: application/json")
	for _, target := range []string{"/me/d/a", "/me/d/"} {
		get := []string{"Accept-Encoding: gzip", "Accept: application/json, text/plain"}
		tag := h.ask(t, "GET", target, "", get...).header.Get("ETag")
		if plain := h.ask(t, "GET", target, "", get[1]).header.Get("ETag"); tag == plain || !strings.HasPrefix(tag, strings.TrimSuffix(plain, `"`)) {
			t.Errorf("%s has the tags %s and %s", target, tag, plain)
		}
		if a := h.ask(t, "GET", target, "", append(get, "If-None-Match: "+tag)...); a.status != http.StatusNotModified || a.body != "" || a.header.Get("ETag") != tag {
			t.Errorf("%s is sent again: %d %v", target, a.status, a.header)
		}
		body := map[bool]string{true: `{"a":"other"}`, false: `"other"`}[strings.HasSuffix(target, "/")]
		put := []string{"If-Match: " + tag, "Content-Type: application/json"}
		want(t, h.ask(t, "PUT", target, body, put...), 204, "")
		want(t, h.ask(t, "PUT", target, body, put...), 412, sennit.Conflict)
		h.ask(t, "PUT", "/me/d/", fmt.Sprintf(`{"a":%q}`, text), "Content-Type: application/json")
	}
}
