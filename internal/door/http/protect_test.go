package httpdoor_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/client"
	"github.com/sennit/sennit/internal/bubble"
	httpdoor "github.com/sennit/sennit/internal/door/http"
)

func TestHostsThatAreNotOursAreMisdirected(t *testing.T) {
	h := open(t, func(c *httpdoor.Config) {
		c.Hosts = []string{"localhost", "127.0.0.1", "[::1]", "node.example:7700"}
	})
	h.put(t, "a", "secret")
	_, port, _ := net.SplitHostPort(h.addr)
	for host, ok := range map[string]bool{
		"localhost": true, "localhost:" + port: true, "LocalHost:1": true, "127.0.0.1": true, "127.0.0.1:" + port: true,
		"[::1]": true, "[::1]:" + port: true, "node.example:7700": true,
		"evil.example": false, "evil.example:" + port: false, "node.example": false, "node.example:7701": false, "localhost.": false,
		"localhost.evil.example": false, "127.0.0.2": false, "": false, "localhost:": true, "::1": false, "localhost:1:2": false, "a@localhost": false,
	} {
		for _, target := range []string{"/me/a", "/", "/_node/x"} {
			a := h.ask(t, "GET", target, "", "Host: "+host)
			if ok && a.status != 200 || !ok && a.status != 421 && a.status != 400 {
				t.Errorf("Host %q, %s: got %d %s", host, target, a.status, a.body)
			}
			if a.status == 421 {
				if a.problem(t); strings.Contains(a.body, "secret") {
					t.Errorf("Host %q: told %s", host, a.body)
				}
			}
		}
	}
	// The target's host counts, not the header's: it is the one that is asked.
	want(t, h.ask(t, "GET", "http://evil.example/me/a", "", "Host: localhost"), 421, sennit.Denied)
	if a := h.raw(t, "GET /me/a HTTP/1.0\r\n\r\n", false); a.status != 421 {
		t.Errorf("without a Host: %d", a.status)
	}
	if a := h.raw(t, "GET /me/a HTTP/1.1\r\n\r\n", false); a.status != 400 {
		t.Errorf("HTTP/1.1 without a Host: %d", a.status)
	}
}

func TestRequestsOfOtherSitesAreRefused(t *testing.T) {
	h := open(t, nil)
	h.put(t, "a", "secret")
	before := h.state(t)
	navigation := []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}
	for _, c := range []struct {
		method, target string
		headers        []string
		status         int
	}{
		{"GET", "/me/a", []string{"Sec-Fetch-Site: same-origin"}, 200},
		{"GET", "/me/a", []string{"Sec-Fetch-Site: none"}, 200},
		{"GET", "/me/a", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"GET", "/me/a", []string{"Sec-Fetch-Site: same-site"}, 403}, // another port of this host
		{"GET", "/me/a", []string{"Sec-Fetch-Site: anything"}, 403},
		{"GET", "/me/a", append([]string{"Sec-Fetch-Site: cross-site"}, navigation...), 403},
		{"GET", "/_node/x", append([]string{"Sec-Fetch-Site: cross-site"}, navigation...), 403},
		{"GET", "/", append([]string{"Sec-Fetch-Site: cross-site"}, navigation...), 200},
		{"HEAD", "/", append([]string{"Sec-Fetch-Site: cross-site"}, navigation...), 403},
		{"GET", "/", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"GET", "/", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, 403},
		{"GET", "/", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}, 403},
		{"GET", "/me/a", []string{"Origin: http://evil.example"}, 403},
		{"GET", "/me/a", []string{"Origin: null"}, 403},
		{"GET", "/me/a", []string{"Origin: http://" + h.addr}, 200},
		{"PUT", "/me/a", []string{"Origin: http://" + h.addr, "Sec-Fetch-Site: same-origin"}, 204},
		{"PUT", "/me/a", []string{"Origin: http://" + h.addr}, 204},
		{"PUT", "/me/a", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"PUT", "/me/a", []string{"Origin: http://127.0.0.1:1"}, 403},
		{"PUT", "/me/a", []string{"Origin: http://evil.example", "Sec-Fetch-Site: same-origin"}, 403},
		{"DELETE", "/me/a", []string{"Origin: null"}, 403},
		{"POST", "/me/", []string{"Origin: https://evil.example", "Content-Type: application/vnd.sennit.commit"}, 403},
		{"POST", "/_node/x", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"OPTIONS", "/me/a", []string{"Origin: http://evil.example", "Access-Control-Request-Method: PUT"}, 403},
	} {
		a := h.ask(t, c.method, c.target, "", c.headers...)
		if a.status != c.status {
			t.Errorf("%s %s with %q: got %d %s, want %d", c.method, c.target, c.headers, a.status, a.body, c.status)
		}
		if a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s with %q: another origin may read the answer", c.method, c.target, c.headers)
		}
		if c.status == 204 {
			h.put(t, "a", "secret")
			before = h.state(t)
		} else if h.state(t).Hash != before.Hash {
			t.Errorf("%s %s with %q changed something", c.method, c.target, c.headers)
		}
	}
}

func TestTokens(t *testing.T) {
	h := open(t, nil)
	h.put(t, "open/a", "for all")
	h.put(t, "mine/a", "secret")
	h.tokens["narrow"] = httpdoor.Token{Prefixes: []sennit.Addr{{Root: "me", Path: "mine"}}, May: sennit.Read}
	for _, c := range []struct {
		header, target string
		status         int
	}{
		{"Authorization: Bearer " + tok, "/me/mine/a", 200},
		{"Authorization: bearer " + tok, "/me/mine/a", 200},
		{"Authorization: Bearer narrow", "/me/mine/a", 200},
		{"Authorization: Bearer narrow", "/me/open/a", 404},
		{"Authorization:-", "/me/open/a", 200},
		{"Authorization:-", "/me/mine/a", 404},
		// Whoever shows something shows something good.
		{"Authorization: Bearer wrong", "/me/open/a", 401},
		{"Authorization: Bearer " + tok + "x", "/me/open/a", 401},
		{"Authorization: Bearer " + tok[1:], "/me/open/a", 401},
		{"Authorization: Bearer", "/me/open/a", 401},
		{"Authorization: Bearer ", "/me/open/a", 401},
		{"Authorization: Basic " + tok, "/me/open/a", 401},
		{"Authorization: Bearer " + strings.Repeat("x", 5000), "/me/open/a", 401},
		{"Authorization: Bearer " + tok + "\r\nAuthorization: Bearer narrow", "/me/open/a", 401},
		{"Authorization: Bearer wrong", "/_node/x", 401},
		{"Authorization: Bearer wrong", "/", 401},
	} {
		a := h.ask(t, "GET", c.target, "", c.header)
		if a.status != c.status {
			t.Errorf("%.60s, %s: got %d %s, want %d", c.header, c.target, a.status, a.body, c.status)
		}
		if a.status == 401 && a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%.60s: 401 without WWW-Authenticate", c.header)
		}
	}
	want(t, h.ask(t, "PUT", "/me/mine/a", "x", "Authorization: Bearer narrow"), 403, sennit.Denied)
	want(t, h.ask(t, "PUT", "/me/open/a", "x", "Authorization: Bearer narrow"), 404, sennit.NotFound)
	want(t, h.ask(t, "PUT", "/me/open/a", "x", "Authorization:-"), 403, sennit.Denied)
	want(t, h.ask(t, "PUT", "/me/mine/a", "x", "Authorization:-"), 404, sennit.NotFound)

	_, err := client.Dial(t.Context(), client.Config{Origin: "http://" + h.addr, Token: "wrong"})
	if sennit.CodeOf(err) != sennit.Denied || sennit.HintOf(err) == "" {
		t.Errorf("a client with a wrong token: %v", err)
	}
	// A refusal of a large body reaches the client, though the body is not read.
	stranger := h.client(t, h.byTCP(""))
	large := make([]sennit.Change, 30)
	for i := range large {
		large[i] = sennit.Change{Kind: sennit.KindPut, Path: "open/a", Value: sennit.Value{Data: make([]byte, sennit.MaxInline)}}
	}
	for range 20 {
		if _, err := stranger.Write(t.Context(), "me", large); sennit.CodeOf(err) != sennit.TooLarge {
			t.Fatalf("a stranger's large commit: %v", err)
		}
	}
	none := open(t, func(c *httpdoor.Config) { c.Tokens = nil })
	want(t, none.ask(t, "GET", "/me/a", ""), 401, sennit.Denied)
}

func TestCallersReachMountedHandlers(t *testing.T) {
	h := open(t, nil)
	via := func(c *client.Client) string {
		var got struct{ Via string }
		if err := c.Do(t.Context(), "GET", "/_node/x?y=z", nil, &got); err != nil {
			t.Fatal(err)
		}
		return got.Via
	}
	if got := via(h.client(t, h.bySocket())); got != "socket" {
		t.Errorf("by the socket: %s", got)
	}
	limited := h.bySocket()
	limited.Token = tok
	if got := via(h.client(t, limited)); got != "token" {
		t.Errorf("by the socket, with a token: %s", got)
	}
	if got := via(h.client(t, h.byTCP(tok))); got != "token" {
		t.Errorf("by TCP with a token: %s", got)
	}
	if got := via(h.client(t, h.byTCP(""))); got != "nothing" {
		t.Errorf("by TCP without: %s", got)
	}
	if a := h.ask(t, "GET", "/", ""); a.status != 200 || a.header.Get("X-Frame-Options") != "DENY" || a.header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("the page: %d %v", a.status, a.header)
	}
	bare := open(t, func(c *httpdoor.Config) { c.Node, c.Page = nil, nil })
	want(t, bare.ask(t, "GET", "/_node/x", ""), 404, sennit.NotFound)
	want(t, bare.ask(t, "GET", "/", ""), 404, sennit.NotFound)
}

// TestDeniedLooksLikeAbsent compares whole answers, and what a watch tells.
func TestDeniedLooksLikeAbsent(t *testing.T) {
	h := open(t, nil)
	h.put(t, "secret/a", "x")
	h.put(t, "secret/a/b", "x")
	for _, target := range []string{"/me/%s/a", "/me/%s/", "/me/%s/a/", "/me/%s/?digest", "/@nobody/%s"} {
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE"} {
			if method == "PUT" && strings.HasSuffix(target, "/") || strings.Contains(target, "?") && method != "GET" {
				continue
			}
			there := h.ask(t, method, strings.ReplaceAll(target, "%s", "secret"), "", "Authorization:-")
			absent := h.ask(t, method, strings.ReplaceAll(target, "%s", "nowhere"), "", "Authorization:-")
			there.header.Del("Date")
			absent.header.Del("Date")
			if !reflect.DeepEqual(there, absent) {
				t.Errorf("%s %s: %v where something is, %v where nothing is", method, target, there, absent)
			}
		}
	}
}

func TestOneTimeKeySignsABrowserIn(t *testing.T) {
	h := open(t, nil)
	h.put(t, "a", "secret")
	key := h.door.NewKey()
	stranger := "Authorization:-"
	// Looking ahead uses nothing up, nor does HEAD.
	want(t, h.ask(t, "GET", "/?key="+key, "", stranger, "Sec-Purpose: prefetch;prerender"), 403, "")
	want(t, h.ask(t, "HEAD", "/?key="+key, "", stranger), 403, "")

	a := h.ask(t, "GET", "/?key="+key, "", stranger, "Sec-Fetch-Site: none")
	if want(t, a, 303, ""); a.header.Get("Location") != "/" {
		t.Errorf("signing in leads to %q", a.header.Get("Location"))
	}
	set := a.header.Get("Set-Cookie")
	for _, attribute := range []string{"; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age=2592000"} {
		if !strings.Contains(set, attribute) {
			t.Errorf("the cookie %q lacks %q", set, attribute)
		}
	}
	cookie, _, _ := strings.Cut(set, ";")
	if a := h.ask(t, "GET", "/me/a", "", stranger, "Cookie: other=1; "+cookie, "Sec-Fetch-Site: same-origin"); a.status != 200 || a.body != "secret" {
		t.Errorf("with the cookie: %d %s", a.status, a.body)
	}
	if a := h.ask(t, "GET", "/_node/x", "", stranger, "Cookie: "+cookie); !strings.Contains(a.body, "session") {
		t.Errorf("with the cookie, the node sees %s", a.body)
	}
	want(t, h.ask(t, "PUT", "/me/a", "by another port", stranger, "Cookie: "+cookie, "Sec-Fetch-Site: same-site", "Origin: http://127.0.0.1:9"), 403, sennit.Denied)

	again := h.ask(t, "GET", "/?key="+key, "", stranger)
	if again.status != 403 || again.header.Get("Set-Cookie") != "" || !strings.Contains(again.body, "sennit open") || !strings.HasPrefix(again.header.Get("Content-Type"), "text/html") {
		t.Errorf("a second use: %d %s", again.status, again.body)
	}
	for _, wrong := range []string{"", "x", key + "x", strings.ToLower(key)} {
		if a := h.ask(t, "GET", "/?key="+wrong, "", stranger); a.status != 403 || a.header.Get("Set-Cookie") != "" {
			t.Errorf("key %q: %d", wrong, a.status)
		}
	}
	name, value, _ := strings.Cut(cookie, "=")
	flipped := "A"
	if value[30] == 'A' {
		flipped = "B"
	}
	for _, forged := range []string{"", "x", value + "A", value[:30] + flipped + value[31:], strings.Repeat("A", len(value))} {
		want(t, h.ask(t, "GET", "/me/a", "", stranger, "Cookie: "+name+"="+forged), 404, sennit.NotFound)
	}
	other := open(t, nil) // with another secret
	other.put(t, "a", "secret")
	want(t, other.ask(t, "GET", "/me/a", "", stranger, "Cookie: "+cookie), 404, sennit.NotFound)
}

func TestOneKeyMakesOneSession(t *testing.T) {
	h := open(t, nil)
	key := h.door.NewKey()
	var wg sync.WaitGroup
	var mu sync.Mutex
	in := 0
	for range 8 {
		wg.Go(func() {
			a := h.ask(t, "GET", "/?key="+key, "", "Authorization:-")
			mu.Lock()
			defer mu.Unlock()
			if a.status == 303 {
				in++
			}
		})
	}
	wg.Wait()
	if in != 1 {
		t.Errorf("one key signed in %d times", in)
	}
	keys := make([]string, 17)
	for i := range keys {
		keys[i] = h.door.NewKey()
	}
	for i, key := range keys {
		if a := h.ask(t, "GET", "/?key="+key, "", "Authorization:-"); (a.status == 303) != (i > 0) {
			t.Errorf("of 17 keys, number %d gives %d", i, a.status)
		}
	}
}

func TestKeysAndSessionsExpireAndSurviveRestarts(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		secret := func(b byte) func(*httpdoor.Config) {
			return func(c *httpdoor.Config) {
				c.Secret = [32]byte{b}
				c.Limits.Key, c.Limits.Session = time.Minute, time.Hour
			}
		}
		h := newDoor(t, secret(1))
		h.put(t, "a", "secret")
		get := func(h *house, target, cookie string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(context.Background(), "GET", target, nil)
			r.Host = "localhost"
			if cookie != "" {
				r.Header.Set("Cookie", cookie)
			}
			w := httptest.NewRecorder()
			h.door.ServeHTTP(w, r)
			return w
		}
		late, good := h.door.NewKey(), h.door.NewKey()
		time.Sleep(time.Minute - time.Second) // of the bubble: no time passes
		w := get(h, "/?key="+good, "")
		cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
		if w.Code != http.StatusSeeOther || cookie == "" {
			t.Fatalf("within its time a key gives %d", w.Code)
		}
		time.Sleep(time.Second)
		if w := get(h, "/?key="+late, ""); w.Code != http.StatusForbidden {
			t.Errorf("after its time a key gives %d", w.Code)
		}
		restarted, changed := newDoor(t, secret(1)), newDoor(t, secret(2))
		restarted.put(t, "a", "secret")
		changed.put(t, "a", "secret")
		for _, c := range []struct {
			name   string
			h      *house
			status int
		}{{"the node", h, 200}, {"the node after a restart", restarted, 200}, {"a node with another secret", changed, 404}} {
			if w := get(c.h, "/me/a", cookie); w.Code != c.status {
				t.Errorf("%s gives %d for the cookie, want %d", c.name, w.Code, c.status)
			}
		}
		time.Sleep(time.Hour - 2*time.Second)
		if w := get(h, "/me/a", cookie); w.Code != 200 {
			t.Errorf("within its time the session gives %d", w.Code)
		}
		time.Sleep(time.Second)
		if w := get(h, "/me/a", cookie); w.Code != 404 {
			t.Errorf("after its time the session gives %d", w.Code)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	bus := func(httpdoor.Caller) sennit.Bus { return nil }
	for name, cfg := range map[string]httpdoor.Config{
		"no bus":           {},
		"a negative limit": {Bus: bus, Limits: httpdoor.Limits{Value: -1}},
		"an empty host":    {Bus: bus, Hosts: []string{""}},
		"upper case":       {Bus: bus, Hosts: []string{"Localhost"}},
		"an origin":        {Bus: bus, Hosts: []string{"http://localhost"}},
	} {
		if _, err := httpdoor.New(cfg); sennit.CodeOf(err) != sennit.BadInput {
			t.Errorf("%s: %v", name, err)
		}
	}
}
