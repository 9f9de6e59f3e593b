package httpdoor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	httpdoor "github.com/sennit/sennit/internal/door/http"
)

func TestListingOverHTTP(t *testing.T) {
	h := open(t, nil)
	for _, p := range []string{"p/a", "p/b/c", "p/b", "p/d <>/e", "p/\"q\""} {
		h.put(t, p, "x")
	}
	a := h.ask(t, "GET", "/me/p/", "")
	want(t, a, 200, "")
	const all = `[{"name":"\"q\"","value":true,"dir":false},{"name":"a","value":true,"dir":false},{"name":"b","value":true,"dir":true},{"name":"d \u003c\u003e","value":false,"dir":true}]` + "\n"
	if a.body != all || a.header.Get("Content-Type") != "application/vnd.sennit.list+json" || a.header.Get("Link") != "" {
		t.Errorf("got %s with %v", a.body, a.header)
	}
	if head := h.ask(t, "HEAD", "/me/p/", ""); head.status != 200 || head.body != "" || head.header.Get("Content-Length") != fmt.Sprint(len(all)) {
		t.Errorf("HEAD: %d %v", head.status, head.header)
	}
	for accept, status := range map[string]int{
		"*/*": 200, "application/*": 200, "application/vnd.sennit.list+json": 200, "text/html, */*;q=0.1": 200, "text/html, application/vnd.sennit.list+json;q=0.5": 200,
		"application/vnd.sennit.list+json, application/json": 200, "application/json;q=0.5, application/*": 200, "text/html": 406, "application/json;q=0": 406,
		"*/*, application/vnd.sennit.list+json;q=0": 200, "application/json;q=0, application/vnd.sennit.list+json;q=0, */*": 406, "*/*;q=x": 406, "*/*;q=2": 406, "*/*;q=0": 406, ";;;": 406, "": 200,
	} {
		if a := h.ask(t, "GET", "/me/p/", "", "Accept: "+accept); a.status != status {
			t.Errorf("Accept %q: %d %s", accept, a.status, a.body)
		}
	}
	for _, target := range []string{"?limit=0", "?limit=-1", "?limit=x", "?limit=", "?limit=1&limit=2", "?limit=99999999999", "?after=a&after=b", "?after=%ff",
		"?digest=x", "?depth=0", "?depth=x", "?depth=2&after=a//b", "?x", "?digest&limit=1", "?%zz", "?limit=1;after=a"} {
		want(t, h.ask(t, "GET", "/me/p/"+target, ""), 400, sennit.BadInput)
	}
	want(t, h.ask(t, "GET", "/me/nothing/", ""), 404, sennit.NotFound)
	want(t, h.ask(t, "GET", "/me/", ""), 200, "")
	want(t, h.ask(t, "GET", "/me/p/*/", ""), 400, sennit.BadInput)
}

// TestListingsAreAsDeepAsAskedFor, on pages of any length.
func TestListingsAreAsDeepAsAskedFor(t *testing.T) {
	h := open(t, nil)
	for _, p := range []string{"p/a", "p/a/x", "p/a/y/z", "p/a-b", "p/b/c/d/e", "p/c"} {
		h.put(t, p, "x")
	}
	for depth, want := range map[int][]string{
		1: {"a+/", "a-b+", "b/", "c+"},
		2: {"a+/", "a/x+", "a/y/", "a-b+", "b/", "b/c/", "c+"},
		3: {"a+/", "a/x+", "a/y/", "a/y/z+", "a-b+", "b/", "b/c/", "b/c/d/", "c+"},
		9: {"a+/", "a/x+", "a/y/", "a/y/z+", "a-b+", "b/", "b/c/", "b/c/d/", "b/c/d/e+", "c+"},
	} {
		for limit := range 12 {
			var got []string
			pages := 0
			target := fmt.Sprintf("/me/p/?depth=%d", depth)
			if limit > 0 {
				target += fmt.Sprintf("&limit=%d", limit)
			}
			for ; target != "" && pages < 20; pages++ {
				a := h.ask(t, "GET", target, "")
				var list []struct {
					Name       string
					Value, Dir bool
				}
				if err := json.Unmarshal([]byte(a.body), &list); err != nil || limit > 0 && len(list) > limit {
					t.Fatalf("%s: %d %s (%v)", target, a.status, a.body, err)
				}
				for _, e := range list {
					got = append(got, e.Name+strings.Repeat("+", map[bool]int{true: 1}[e.Value])+strings.Repeat("/", map[bool]int{true: 1}[e.Dir]))
				}
				target, _, _ = strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
			}
			if !slices.Equal(got, want) || limit > 0 && pages != (len(want)+limit-1)/limit {
				t.Errorf("depth %d, %d at a time, on %d pages: %q, want %q", depth, limit, pages, got, want)
			}
		}
	}
}

// shy is a bus on which a directory is listed that then has nothing to show: it was
// deleted meanwhile, or nothing in it is for this reader.
type shy struct{ sennit.Bus }

func (b shy) List(ctx context.Context, a sennit.Addr, o sennit.Listing) ([]sennit.Entry, bool, error) {
	if a.Path == "p/b" {
		return nil, false, sennit.Errorf(sennit.NotFound, "nothing at %s", a)
	}
	return b.Bus.List(ctx, a, o)
}

func TestADirectoryThatShowsNothingDoesNotEndAListing(t *testing.T) {
	h := open(t, func(c *httpdoor.Config) {
		bus := c.Bus
		c.Bus = func(who httpdoor.Caller) sennit.Bus { return shy{bus(who)} }
	})
	for _, p := range []string{"p/a/x", "p/b/x", "p/c/x"} {
		h.put(t, p, "x")
	}
	a := h.ask(t, "GET", "/me/p/?depth=2", "")
	if want(t, a, 200, ""); strings.Count(a.body, `"name"`) != 5 || strings.Contains(a.body, "b/x") {
		t.Errorf("%s", a.body)
	}
	want(t, h.ask(t, "GET", "/me/p/b/?depth=2", ""), 404, sennit.NotFound)
}

func TestListingPagesFollowLinks(t *testing.T) {
	h := open(t, nil)
	var changes []sennit.Change
	var want []string
	for i := range 7 {
		name := fmt.Sprintf("n%d ;,<>\"&=ü", i)
		want = append(want, name)
		changes = append(changes, sennit.Change{Kind: sennit.KindPut, Path: sennit.MustPath("p ü>/" + name)})
	}
	if _, err := h.model.Write(t.Context(), "me", changes); err != nil {
		t.Fatal(err)
	}
	var got []string
	pages := 0
	for target := "/me/p%20%C3%BC%3E/?limit=3"; target != ""; pages++ {
		a := h.ask(t, "GET", target, "")
		var entries []struct{ Name string }
		if err := json.Unmarshal([]byte(a.body), &entries); err != nil {
			t.Fatalf("%s: %d %s", target, a.status, a.body)
		}
		for _, e := range entries {
			got = append(got, e.Name)
		}
		link := a.header.Get("Link")
		target = ""
		if link != "" {
			rest, ok := strings.CutSuffix(link, `>; rel="next"`)
			if !ok || strings.Count(link, ">") != 1 || !strings.HasPrefix(rest, "</") {
				t.Fatalf("the link is %s", link)
			}
			target = rest[1:]
			if _, err := url.ParseRequestURI(target); err != nil {
				t.Fatal(err)
			}
		}
	}
	if strings.Join(got, "|") != strings.Join(want, "|") || pages != 3 {
		t.Errorf("in %d pages got %q, want %q", pages, got, want)
	}
}

func TestDigestOverHTTP(t *testing.T) {
	h := open(t, nil)
	h.put(t, "p/a", "x")
	d, err := h.model.Digest(t.Context(), sennit.Addr{Root: "me", Path: "p"})
	if err != nil {
		t.Fatal(err)
	}
	a := h.ask(t, "GET", "/me/p/?digest", "")
	if want := fmt.Sprintf(`{"hash":"%s","ops":1,"cursor":"%d-%d"}`+"\n", d.Hash, d.Cursor.Epoch, d.Cursor.N); a.status != 200 || a.body != want {
		t.Errorf("got %d %s, want %s", a.status, a.body, want)
	}
	want(t, h.ask(t, "GET", "/me/p/a?digest", ""), 400, sennit.BadInput)
}

const commitType = "Content-Type: application/vnd.sennit.commit"

func TestCommitOverHTTP(t *testing.T) {
	h := open(t, nil)
	h.put(t, "old/a", "x")
	h.put(t, "kept/a", "x")
	h.put(t, "kept", "x")
	a := h.ask(t, "POST", "/me/", "PUT /me/a%20b\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\n\r\nPUT \r\n\r\n"+
		"DELETE /me/old/\r\n\r\nDELETE /me/kept\nContent-LENGTH:0\n\n", commitType)
	want(t, a, 400, sennit.BadInput) // a delete has no body, not even none
	a = h.ask(t, "POST", "/me/", "PUT /me/a%20b\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\n\r\nPUT \r\n\r\n"+
		"DELETE /me/old/\r\n\r\nDELETE /me/kept\n\nPUT /me/last\ncontent-length:0\n\n", commitType+"; v=1")
	want(t, a, 204, "")
	n, err := h.model.Get(t.Context(), sennit.Addr{Root: "me", Path: "last"})
	if err != nil || a.header.Get("Version") != `"`+string(n.Version)+`"` {
		t.Errorf("the version is %s, the last change's %q (%v)", a.header.Get("Version"), n.Version, err)
	}
	for path, want := range map[string]string{"a b": "\r\nPUT \r", "old/a": "nothing: not-found", "kept": "nothing: not-found", "kept/a": "x", "last": ""} {
		if got := h.text(t, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestMalformedCommitsStoreNothing(t *testing.T) {
	h := open(t, nil)
	h.put(t, "a", "x")
	before := h.state(t)
	good := "PUT /me/good\r\nContent-Length: 1\r\n\r\nx\r\n"
	for name, body := range map[string]string{
		"nothing":                  "\r\n\r\n",
		"no length":                "PUT /me/b\r\n\r\n",
		"no end of headers":        "PUT /me/b\r\nContent-Length: 0\r\n",
		"no end of the line":       "PUT /me/b",
		"too short":                "PUT /me/b\r\nContent-Length: 9\r\n\r\nx",
		"a negative length":        "PUT /me/b\r\nContent-Length: -1\r\n\r\n",
		"a huge length":            "PUT /me/b\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"two lengths":              "PUT /me/b\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
		"two types":                "PUT /me/b\r\nContent-Type: a/b\r\nContent-Type: a/b\r\nContent-Length: 1\r\n\r\nx",
		"a type that is none":      "PUT /me/b\r\nContent-Type: b\r\nContent-Length: 1\r\n\r\nx",
		"an unknown header":        "PUT /me/b\r\nIf-Match: *\r\nContent-Length: 1\r\n\r\nx",
		"an unknown method":        "PATCH /me/b\r\nContent-Length: 1\r\n\r\nx",
		"no path":                  "PUT\r\nContent-Length: 1\r\n\r\nx",
		"a value at a subtree":     "PUT /me/b/\r\nContent-Length: 1\r\n\r\nx",
		"a value at the root":      "PUT /me\r\nContent-Length: 1\r\n\r\nx",
		"another root":             "PUT /@ana/b\r\nContent-Length: 1\r\n\r\nx",
		"a query":                  "PUT /me/b?x\r\nContent-Length: 1\r\n\r\nx",
		"any component":            "DELETE /me/*/b\r\n\r\n",
		"the page":                 "DELETE /\r\n\r\n",
		"a path that leads up":     "PUT /me/%2e%2e/b\r\nContent-Length: 1\r\n\r\nx",
		"an encoded slash":         "PUT /me/a%2fb\r\nContent-Length: 1\r\n\r\nx",
		"a value that is too long": "PUT /me/b\r\nContent-Length: 65537\r\n\r\n" + strings.Repeat("x", 65537),
		"a line that is too long":  "PUT /me/" + strings.Repeat("x", 5000) + "\r\nContent-Length: 1\r\n\r\nx",
		"too many":                 strings.Repeat("DELETE /me/b\r\n\r\n", sennit.MaxOps+1),
	} {
		for i, text := range []string{body, good + body} {
			if name == "nothing" && i == 1 {
				continue
			}
			if a := h.ask(t, "POST", "/me/", text, commitType); a.status != 400 && a.status != 413 {
				t.Errorf("%s: got %d %s", name, a.status, a.body)
			} else {
				a.problem(t)
			}
		}
	}
	if c, err := httpdoor.ParseCommit([]byte(strings.Repeat("DELETE /me/b\n\n", 200_000)), "me"); c != nil || sennit.CodeOf(err) != sennit.TooLarge {
		t.Errorf("far too many: %d changes, %v", len(c), err)
	}
	// Strangers have the room of one value.
	a := h.ask(t, "POST", "/me/", "PUT /me/open/b\r\nContent-Length: 65536\r\n\r\n"+strings.Repeat("x", 65536), commitType, "Authorization:-")
	want(t, a, 413, sennit.TooLarge)
	want(t, h.ask(t, "POST", "/me/", "", commitType, "Content-Length: 4194305"), 413, sennit.TooLarge)
	if after := h.state(t); after.Hash != before.Hash {
		t.Error("a refused commit changed something")
	}
}
