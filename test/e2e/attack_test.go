package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/client"
	"github.com/sennit/sennit/internal/daemon"
)

// leak is what a hostile page could read.
type leak struct {
	What   string
	Status int
	Text   string
}

// TestHostilePages: the owner's browser is signed in, and then visits pages that
// want to read and change what the node has: on another port of this host, under
// another of its names, on another site, without an origin, and under a name that
// was made to lead to the node (DNS rebinding).
func TestHostilePages(t *testing.T) {
	n := start(t)
	c := n.client()
	if _, err := c.Write(t.Context(), "me", []sennit.Change{
		put("notes/secret", "the secret"),
		{Kind: sennit.KindAdd, Path: "polls/pizza", Delta: 3},
		{Kind: sennit.KindPut, Path: "picture", Value: sennit.Value{Type: "image/svg+xml", Data: []byte(`<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>`)}},
		{Kind: sennit.KindPut, Path: "page", Value: sennit.Value{Type: "text/html", Data: []byte(`<title>harmless</title>
			<script>fetch("/me/notes/secret", { method: "DELETE" }); document.title = "owned"</script>`)}},
		{Kind: sennit.KindPut, Path: "script", Value: sennit.Value{Type: "text/javascript", Data: []byte(`owned = 1`)}},
		{Kind: sennit.KindPut, Path: "style", Value: sennit.Value{Type: "text/css", Data: []byte(`body { color: red }`)}},
	}); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(strings.TrimPrefix(n.ready.HTTP, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	evil := hostile(t)

	// What the newest browsers refuse by themselves must not be what helps.
	web := browse(t, "--host-resolver-rules=MAP evil.test 127.0.0.1", "--disable-popup-blocking",
		"--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests")
	signIn(t, web, c, "127.0.0.1:"+port)
	signIn(t, web, c, "localhost:"+port)

	attack, err := os.ReadFile("testdata/attack.js")
	if err != nil {
		t.Fatal(err)
	}
	here, local, rebound := "127.0.0.1:"+port, "localhost:"+port, "evil.test:"+port
	pages := []struct {
		name, at string
		asks     []string
	}{
		{"another port", "http://127.0.0.1:" + evil + "/", []string{here, local}},
		{"another name", "http://localhost:" + evil + "/", []string{here, local}},
		{"another site", "http://evil.test:" + evil + "/", []string{here, rebound}},
		{"no origin", "http://127.0.0.1:" + evil + "/sandboxed", []string{here}},
		{"a rebound name", "http://" + rebound + "/", []string{here, rebound}},
	}
	// tab opens a hostile page. told looks at what that learned of a host: all
	// that a rebound page may read is that its name is none of the node's.
	tab := func(at string) *page {
		p := web.tab()
		p.visit(at)
		p.run(nil, "(0, eval)(%s)", string(attack))
		return p
	}
	told := func(name string, own bool, host string, learned []leak) {
		t.Helper()
		for _, l := range learned {
			if !own || l.Status != http.StatusMisdirectedRequest {
				t.Errorf("%s, which asks %s, learns of %s: %d %.200s", name, host, l.What, l.Status, l.Text)
			}
		}
	}

	before := n.everything()
	hear := messages(t, c)
	for _, from := range pages {
		if !*long {
			from.asks = from.asks[len(from.asks)-1:]
		}
		for _, host := range from.asks {
			p := tab(from.at)
			done, refused := figures(t, c)
			var got struct {
				Tried   int
				Learned []leak
			}
			p.run(&got, "attack(%s, %s)", "http://"+host, "http://127.0.0.1:"+evil+"/bounce?to=")
			told(from.name, from.at == "http://"+host+"/", host, got.Learned)
			var now map[int]int
			eventually(t, "all that "+from.name+" asks "+host+" is refused", func() bool {
				done++ // to ask for the figures is not
				var is int
				is, now = figures(t, c)
				return is == done
			})
			no := 0
			for status, k := range now {
				if k -= refused[status]; k > 0 && status != http.StatusForbidden && status != http.StatusMisdirectedRequest {
					t.Errorf("%s, which asks %s: %d answers with %d", from.name, host, k, status)
				}
				no += k
			}
			if t.Logf("%s tried %d things on %s; %d requests were refused", from.name, got.Tried, host, no); no < 100 {
				t.Error("that is too few to tell anything")
			}
			p.call("Page.close", map[string]any{}, nil)
		}
	}
	// To open the node's page is allowed. It tells whoever opened it nothing.
	for _, from := range pages {
		p := tab(from.at)
		var learned []leak
		p.run(&learned, "visit(%s, %s)", "http://"+here, []string{"/", "/?key=GUESS", "/me/notes/secret"})
		told(from.name, false, here, learned)
		p.call("Page.close", map[string]any{}, nil)
	}
	// A value that somebody wrote, opened as a page, is one without an origin.
	p := web.tab()
	p.visit("http://" + here + "/me/page")
	var title string
	if p.run(&title, "document.title"); title != "harmless" {
		t.Errorf("a value that is opened as a page can run a script: its title is %q", title)
	}
	if now := n.everything(); now != before {
		t.Errorf("the node had\n%s\nand has\n%s", before, now)
	}
	if _, err := c.Write(t.Context(), "me", []sennit.Change{put("end", "1")}); err != nil {
		t.Fatal(err)
	}
	if u := hear(); u.Kind != sennit.Set || u.Node.Path != "end" {
		t.Errorf("who watched heard of %+v", u)
	}
}

// hostile serves an empty page on a port of its own, the same without an origin
// at /sandboxed, and at /bounce a redirect that keeps method and body.
func hostile(t *testing.T) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sandboxed" {
			w.Header().Set("Content-Security-Policy", "sandbox allow-scripts allow-forms allow-popups")
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>hostile</title><body>")
	})
	mux.HandleFunc("/bounce", func(w http.ResponseWriter, r *http.Request) {
		if origin := r.Header.Get("Origin"); origin != "" { // so that it can be followed
			w.Header().Set("Access-Control-Allow-Origin", origin)
			w.Header().Set("Access-Control-Allow-Credentials", "true")
			w.Header().Set("Access-Control-Allow-Methods", "PUT, PATCH, DELETE")
			w.Header().Set("Access-Control-Allow-Headers", "Content-Type")
		}
		if r.Method != http.MethodOptions {
			http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusTemporaryRedirect)
		}
	})
	srv := &http.Server{Handler: mux}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(l) }) // until it is closed
	t.Cleanup(func() { srv.Close(); serving.Wait() })
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// signIn opens the node's page under one of its names, as its owner, and leaves
// it again.
func signIn(t *testing.T, b *browser, c *client.Client, host string) {
	t.Helper()
	var got daemon.Opened
	if err := c.Do(t.Context(), "POST", "/_node/page", nil, &got); err != nil {
		t.Fatal(err)
	}
	_, key, _ := strings.Cut(got.Open, "/?")
	p := b.tab()
	p.visit("http://" + host + "/?" + key)
	eventually(t, "the page is live", func() bool {
		var state string
		p.run(&state, `document.getElementById("state").textContent`)
		return state == "live"
	})
	var secret string
	p.run(&secret, `fetch("/me/notes/secret").then(r => r.text())`)
	if secret != "the secret" {
		t.Fatalf("the owner's own page at %s reads %q", host, secret)
	}
	p.call("Page.close", map[string]any{}, nil)
}

// everything is what a hostile page might want to change.
func (n *node) everything() string {
	n.t.Helper()
	var all []string
	for _, command := range []string{"digest /me", "token ls", "invite ls", "follows", "rules", "config show"} {
		all = append(all, n.do(append(strings.Fields(command), "--json")...))
	}
	return strings.Join(all, "\n")
}

// messages watches all of the space, live messages too, and gives what came
// after it began.
func messages(t *testing.T, c *client.Client) func() sennit.Update {
	t.Helper()
	w, err := c.Watch(t.Context(), []sennit.Pattern{{Root: "me"}}, sennit.WatchOptions{Tail: true, Messages: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	var updates []sennit.Update
	next := func() sennit.Update {
		t.Helper()
		for len(updates) == 0 {
			if updates, err = w.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		u := updates[0]
		updates = updates[1:]
		return u
	}
	for next().Kind != sennit.Live {
	}
	return next
}

// counted finds the figures of the door: all requests, and refusals by status.
var counted = regexp.MustCompile(`(?m)^sennit_http_(requests|refused)_total\{(?:method|status)="(\w+)"\} (\d+)$`)

// figures tells how many requests the node didn't refuse, with this one, and how
// many it did, by status.
func figures(t *testing.T, c *client.Client) (done int, refused map[int]int) {
	t.Helper()
	body, err := c.Stream(t.Context(), "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	refused = map[int]int{}
	for _, m := range counted.FindAllStringSubmatch(string(b), -1) {
		k, err := strconv.Atoi(m[3])
		if err != nil {
			t.Fatal(err)
		}
		if status, err := strconv.Atoi(m[2]); err == nil {
			refused[status] = k
			done -= k
		} else { // the name of a method
			done += k
		}
	}
	return done, refused
}
