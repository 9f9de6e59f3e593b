package httpdoor_test

import (
	"strings"
	"testing"

	"github.com/sennit/sennit"
)

func TestAVersionOverHTTP(t *testing.T) {
	h := open(t, nil)
	one := `"` + string(h.put(t, "a", "hello")) + `"`
	h.put(t, "a", "other")
	gone := h.ask(t, "DELETE", "/me/a", "").header.Get("Version")
	h.put(t, "a", "now")
	at := "Version: " + one
	for _, method := range []string{"GET", "HEAD"} {
		a := h.ask(t, method, "/me/a", "", at)
		if want(t, a, 200, ""); a.header.Get("ETag") != one || a.header.Get("Version") != one || a.header.Get("Author") == "" || a.header.Get("Content-Length") != "5" {
			t.Errorf("%s at a version answers %v", method, a.header)
		}
		if method == "GET" && a.body != "hello" {
			t.Errorf("at its version the value is %q", a.body)
		}
	}
	for _, c := range []struct {
		fields []string
		status int
		body   string
	}{
		{[]string{at, "Range: bytes=1-2"}, 206, "el"},
		{[]string{at, "Range: bytes=1-2", "If-Match: " + one}, 206, "el"},
		{[]string{at, "If-Match: " + gone}, 412, ""},
		{[]string{at, "If-None-Match: " + one}, 304, ""},
		{[]string{at, "If-None-Match: " + gone}, 200, "hello"},
		{[]string{"Version: " + gone}, 404, ""},
		{[]string{`Version: "nothing"`}, 404, ""},
		{[]string{at, "Parents: " + one}, 501, ""},
		{[]string{"Version: " + strings.Trim(one, `"`)}, 400, ""},
		{[]string{`Version: ""`}, 400, ""},
		{[]string{"Version: " + one + ", " + gone}, 400, ""},
		{[]string{at, at}, 400, ""},
		{[]string{`Version:`}, 400, ""},
	} {
		if a := h.ask(t, "GET", "/me/a", "", c.fields...); a.status != c.status || c.body != "" && a.body != c.body {
			t.Errorf("with %q: %d %q, want %d %q", c.fields, a.status, a.body, c.status, c.body)
		}
	}
	want(t, h.ask(t, "GET", "/me/never", "", at), 404, sennit.NotFound)
}
