package httpdoor_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/sennit/sennit"
)

// parts makes the body of a request with several patches.
func parts(patches ...string) string {
	var b strings.Builder
	for i := 0; i < len(patches); i += 2 {
		if i > 0 {
			b.WriteString("\r\n\r\n")
		}
		fmt.Fprintf(&b, "content-length: %d\r\ncontent-range: %s\r\n\r\n%s", len(patches[i+1]), patches[i], patches[i+1])
	}
	return b.String()
}

func TestPartsOfValuesAreWritten(t *testing.T) {
	h := open(t, nil)
	h.ask(t, "PUT", "/me/j", `{"a": {"b": [1, 2.50, 3]}}`, "Content-Type: application/json")
	h.ask(t, "PUT", "/me/t", "grüße", "Content-Type: text/plain; charset=utf-8")
	h.ask(t, "PUT", "/me/d/", `{"list":[1,2,3],"name":"x"}`, "Content-Type: application/json")
	for _, c := range []struct {
		method, target, body string
		header               []string
		want                 string
	}{
		{"PUT", "/me/j", "[7,8]", []string{"Content-Range: json .a.b[1:2]"}, `{"a": {"b": [1, 7,8, 3]}}`},
		{"PATCH", "/me/j", "true", []string{"Content-Range: json .c", "Version: \"somebody-1\""}, `{"a": {"b": [1, 7,8, 3]},"c":true}`},
		{"PUT", "/me/j", parts("json .a", "", "json .c", "[]", "json .c[-0:-0]", "[5]"), []string{"Patches: 3"}, `{"c":[5]}`},
		{"PUT", "/me/j", parts("json .c[0]", "6"), []string{"Content-Type: application/http-patches; count=1"}, `{"c":[6]}`},
		{"PUT", "/me/j", parts("json .c[0]", "7"), []string{"Content-Type: application/http-patches; count=1", "Patches: 1"}, `{"c":[7]}`},
		{"PUT", "/me/t", "<ö>", []string{"Content-Range: text [2:4]"}, "gr<ö>e"},
		{"PATCH", "/me/d/", "[9]", []string{"Content-Range: json .list[1:2]"}, `{"list":[1,9,3],"name":"x"}`},
		{"PUT", "/me/d/", parts("json .name", `"y"`, "json .new.deep", `1`), []string{"Patches: 2"}, ""},
		{"PUT", "/me/d/", parts("json .name", `"y"`, "json .new", `{"deep":1}`), []string{"Patches: 2"}, `{"list":[1,9,3],"name":"y","new":{"deep":1}}`},
	} {
		was := h.state(t)
		a := h.ask(t, c.method, c.target, c.body, c.header...)
		if c.want == "" {
			if a.status != 416 || h.state(t).Hash != was.Hash {
				t.Errorf("%s %s %q: %d %s", c.method, c.target, c.header, a.status, a.body)
			}
			continue
		}
		if a.status != 204 || a.header.Get("Version") == "" {
			t.Fatalf("%s %s %q: %d %s", c.method, c.target, c.header, a.status, a.body)
		}
		got := h.ask(t, "GET", c.target, "", "Accept: application/json, text/*")
		if strings.TrimSpace(got.body) != c.want {
			t.Errorf("%s %s %q leaves %s, want %s", c.method, c.target, c.header, got.body, c.want)
		}
	}
	// Each field of the document is a value of its own, and only what differs was written.
	if a := h.ask(t, "GET", "/me/d/new/deep", ""); a.body != "1" {
		t.Errorf("a field: %d %s", a.status, a.body)
	}
}

// TestPatchesThatMakeNoSenseChangeNothing has the known ways in which servers of
// Braid apply a half, answer 500, or die.
func TestPatchesThatMakeNoSenseChangeNothing(t *testing.T) {
	h := open(t, nil)
	h.ask(t, "PUT", "/me/j", `{"a":[1]}`, "Content-Type: application/json")
	h.ask(t, "PUT", "/me/t", "text", "Content-Type: text/plain")
	h.ask(t, "PUT", "/me/big", strings.Repeat("x", sennit.MaxInline+1), "Content-Type: text/plain")
	good := parts("json .a[0]", "2")
	was := h.state(t)
	for _, c := range []struct {
		target, body string
		header       []string
		status       int
	}{
		{"/me/j", "2", []string{"Content-Range: json .a[1]"}, 416},
		{"/me/j", "2", []string{"Content-Range: json .a[0:5]"}, 416},
		{"/me/j", "2", []string{"Content-Range: json a"}, 400},
		{"/me/j", "2", []string{"Content-Range: json"}, 204},
		{"/me/j", "2", []string{"Content-Range: "}, 400},
		{"/me/j", "2", []string{"Content-Range: bytes 0-0/2"}, 400},
		{"/me/j", "{", []string{"Content-Range: json .a[0]"}, 400},
		{"/me/j", "2", []string{"Content-Range: json .a[0]", "Content-Range: json .a[0]"}, 400},
		{"/me/j", good, []string{"Content-Range: json .a[0]", "Patches: 1"}, 400},
		{"/me/j", good, []string{"Patches: 2"}, 400},
		{"/me/j", good, []string{"Patches: 0"}, 400},
		{"/me/j", good, []string{"Patches: -1"}, 400},
		{"/me/j", good, []string{"Patches: one"}, 400},
		{"/me/j", good, []string{"Patches: 1001"}, 400},
		{"/me/j", good, []string{"Patches: 1", "Content-Type: application/http-patches; count=2"}, 400},
		{"/me/j", good, []string{"Content-Type: application/http-patches"}, 400},
		{"/me/j", good, []string{"Content-Type: application/http-patches; count"}, 400},
		{"/me/j", good + "more", []string{"Patches: 1"}, 400},
		{"/me/j", good[:len(good)-1], []string{"Patches: 1"}, 400},
		{"/me/j", "content-range: json .a[0]\r\n\r\n2", []string{"Patches: 1"}, 400},
		{"/me/j", "content-length: 1\r\n\r\n2", []string{"Patches: 1"}, 400},
		{"/me/j", "content-length: 1\r\ncontent-length: 1\r\ncontent-range: json .a[0]\r\n\r\n2", []string{"Patches: 1"}, 400},
		{"/me/j", "content-length: 99999999999\r\ncontent-range: json .a[0]\r\n\r\n2", []string{"Patches: 1"}, 400},
		{"/me/j", "content-length: 1\r\ncontent-range: json .a[0]", []string{"Patches: 1"}, 400},
		{"/me/j", "nonsense\r\n\r\n", []string{"Patches: 1"}, 400},
		{"/me/j", "x: " + strings.Repeat("x", 9000) + "\r\n\r\n", []string{"Patches: 1"}, 400},
		{"/me/j", parts("json .a[0]", "2", "json .nowhere.x", "1"), []string{"Patches: 2"}, 416},
		{"/me/j", good, []string{"Patches: 1", `Version: "a`}, 400},
		{"/me/j", good, []string{"Patches: 1", `Version: a-1`}, 400},
		{"/me/j", good, []string{"Patches: 1", `Version: {"a":1}`}, 400},
		{"/me/j", good, []string{"Patches: 1", `Parents: "a`}, 400},
		{"/me/j", good, []string{"Patches: 1", `Parents: "nobody-7"`}, 409},
		{"/me/j", good, []string{"Patches: 1", `Parents: "a-1", "b-2"`}, 409},
		{"/me/j", good, []string{"Patches: 1", `If-Match: "nobody-7"`}, 412},
		{"/me/j", good, []string{"Patches: 1", `If-None-Match: *`}, 400},
		{"/me/j", good, []string{"Patches: 1", `Content-Encoding: gzip`}, 415},
		{"/me/j?x", good, []string{"Patches: 1"}, 400},
		{"/me/j", strings.Repeat("x", sennit.MaxInline+1), []string{"Content-Range: json .a[0]"}, 413},
		{"/me/j", `"` + strings.Repeat("x", sennit.MaxInline-3) + `"`, []string{"Content-Range: json .a[0]"}, 413},
		{"/me/t", "2", []string{"Content-Range: json .a"}, 400},
		{"/me/t", "2", []string{"Content-Range: text [0:9]"}, 416},
		{"/me/t", "\xff", []string{"Content-Range: text [0:1]"}, 400},
		{"/me/big", "2", []string{"Content-Range: text [0:1]"}, 413},
		{"/me/nothing", "2", []string{"Content-Range: text [0:0]"}, 404},
		{"/me/.acl/x", "2", []string{"Content-Range: json .a"}, 404},
		{"/me/d/", "2", []string{"Content-Range: json .a"}, 404},
		{"/me/", "2", []string{"Content-Range: text [0:0]"}, 400},
		{"/me/", "2", []string{"Content-Range: json .j", `Parents: "a-1"`}, 501},
		{"/me/", "2", []string{"Content-Range: json .j", `If-Match: "0000"`}, 409},
	} {
		a := h.ask(t, "PUT", c.target, c.body, c.header...)
		if c.status == 204 {
			h.ask(t, "PUT", "/me/j", `{"a":[1]}`, "Content-Type: application/json")
			was = h.state(t)
		} else if a.problem(t); h.state(t).Hash != was.Hash {
			t.Fatalf("%s %.100q of %.60q changed something", c.target, c.header, c.body)
		}
		if a.status != c.status && !(c.status == 409 && a.status == 412) {
			t.Errorf("%s %.100q of %.60q: %d %s, want %d", c.target, c.header, c.body, a.status, a.body, c.status)
		}
	}
}

func TestPatchesOfManyAtOnceAreAllDone(t *testing.T) {
	h := open(t, nil)
	h.ask(t, "PUT", "/me/j", `[]`, "Content-Type: application/json")
	h.ask(t, "PUT", "/me/d/", `{"list":[]}`, "Content-Type: application/json")
	const writers, each = 4, 10
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for j := range each {
				for _, where := range [][2]string{{"/me/j", "json [-0:-0]"}, {"/me/d/", "json .list[-0:-0]"}} {
					// Who loses too often is told so, and tries again.
					for {
						a := h.ask(t, "PUT", where[0], fmt.Sprintf("[%d]", i*each+j), "Content-Range: "+where[1])
						if a.status == 204 {
							break
						}
						if a.status != 409 {
							t.Errorf("%d %s", a.status, a.body)
							return
						}
					}
				}
			}
		})
	}
	wg.Wait()
	for _, target := range []string{"/me/j", "/me/d/list/"} {
		a := h.ask(t, "GET", target, "", "Accept: application/json")
		for n := range writers * each {
			if !strings.Contains(strings.NewReplacer("[", ",", "]", ",", "\n", ",").Replace(a.body), fmt.Sprintf(",%d,", n)) {
				t.Fatalf("%s lacks %d: %s", target, n, a.body)
			}
		}
	}
}
