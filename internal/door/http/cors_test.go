package httpdoor_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	httpdoor "github.com/sennit/sennit/internal/door/http"
)

func TestPagesOfOtherOriginsThatTheOwnerNamed(t *testing.T) {
	const app, other = "Origin: https://app.example", "Origin: https://other.example"
	h := open(t, func(c *httpdoor.Config) { c.Origins = []string{"https://app.example", "http://localhost:5173"} })
	h.put(t, "a", "mine")
	h.put(t, "open", "for all")
	cookie := "Cookie: " + h.signIn(t)
	cross := "Sec-Fetch-Site: cross-site"
	const nobody = "Authorization:-"
	for _, c := range []struct {
		method, target string
		header         []string
		status         int
		allowed        string
	}{
		{"GET", "/me/a", []string{app, cross}, 200, "https://app.example"}, // with the token
		{"PUT", "/me/a", []string{app, cross}, 204, "https://app.example"},
		{"GET", "/me/a", []string{"Origin: http://localhost:5173", "Sec-Fetch-Site: same-site"}, 200, "http://localhost:5173"},
		{"GET", "/me/open", []string{app, cross, nobody}, 200, "https://app.example"},
		{"GET", "/me/a", []string{app, cross, nobody}, 404, "https://app.example"},
		{"GET", "/me/a", []string{app, cross, nobody, cookie}, 404, "https://app.example"}, // the cookie isn't theirs
		{"PUT", "/me/a", []string{app, cross, nobody, cookie}, 404, "https://app.example"},
		{"GET", "/me/a", []string{"Sec-Fetch-Site: same-origin", nobody, cookie}, 200, ""},
		{"GET", "/", []string{app, cross}, 403, "https://app.example"},
		{"GET", "/_node/", []string{app, cross}, 403, "https://app.example"},
		{"GET", "/metrics", []string{app, cross}, 403, "https://app.example"},
		{"GET", "/me/open", []string{other, cross}, 403, ""},
		{"GET", "/me/open", []string{other, cross, nobody}, 403, ""},
		{"GET", "/me/open", []string{"Origin: https://app.example:444", cross}, 403, ""},
		{"GET", "/me/open", []string{"Origin: null", cross}, 403, ""},
		{"GET", "/me/open", []string{app, app, cross}, 403, ""},
		{"GET", "/me/open", []string{cross}, 403, ""}, // an image there, say
		{"OPTIONS", "/me/a", []string{app, cross, nobody, "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: authorization, subscribe", "Access-Control-Request-Private-Network: true"}, 204, "https://app.example"},
		{"OPTIONS", "/me/a", []string{other, cross, nobody, "Access-Control-Request-Method: PUT"}, 403, ""},
		{"GET", "/me/a", []string{app, "Host: elsewhere.example"}, 421, "https://app.example"},
	} {
		a := h.ask(t, c.method, c.target, "", c.header...)
		if a.status != c.status || a.header.Get("Access-Control-Allow-Origin") != c.allowed || !strings.Contains(strings.Join(a.header["Vary"], ","), "Origin") || a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s %s %q: %d %v %s", c.method, c.target, c.header, a.status, a.header, a.body)
		}
		if c.method == "OPTIONS" && c.allowed != "" {
			for name, want := range map[string]string{"Allow-Methods": "PUT", "Allow-Headers": "Authorization", "Allow-Private-Network": "true", "Max-Age": "600"} {
				if got := a.header.Get("Access-Control-" + name); !strings.Contains(got, want) {
					t.Errorf("the answer to a preflight has Access-Control-%s: %q", name, got)
				}
			}
		}
	}
	for _, bad := range []string{"", "*", "null", "app.example", "https://app.example/", "https://App.example", "ftp://app.example", "https://u@app.example", "https://app.example?x", "https://app.example:443", "http://app.example:80", "https://äpp.example"} {
		if _, err := httpdoor.New(httpdoor.Config{Bus: func(httpdoor.Caller) sennit.Bus { return h.model }, Origins: []string{bad}}); sennit.CodeOf(err) != sennit.BadInput {
			t.Errorf("the origin %q: %v", bad, err)
		}
	}
}

// signIn is the cookie of a browser that the owner signed in.
func (h *house) signIn(t testing.TB) string {
	t.Helper()
	a := h.ask(t, "GET", "/?key="+h.door.NewKey(), "", "Authorization:-")
	cookies := (&http.Response{Header: a.header}).Cookies()
	if len(cookies) != 1 {
		t.Fatalf("signing in is answered %+v", a)
	}
	return cookies[0].Name + "=" + cookies[0].Value
}
