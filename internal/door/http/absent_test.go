package httpdoor_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/client"
	"github.com/sennit/sennit/embed"
)

// real is a node, as its owner sees it, with a door to which strangers come.
type real struct {
	*client.Client
	space string
	addr  string // of the door
}

func realNode(t *testing.T) real {
	t.Helper()
	dir := t.TempDir()
	n, err := embed.Open(t.Context(), embed.Config{Data: dir, HTTP: "127.0.0.1:0", Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Reserve: "0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("the node ended with %v", err)
		}
	})
	c, err := client.Dial(t.Context(), client.Config{Socket: embed.Socket(dir)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return real{c, n.Space(), strings.TrimPrefix(n.HTTP(), "http://")}
}

// token makes a token for prefixes.
func (n real) token(t *testing.T, may []string, prefixes ...string) string {
	t.Helper()
	var made struct{ Token string }
	in := map[string]any{"prefix": prefixes, "may": may}
	if err := n.Do(t.Context(), "POST", "/_node/tokens", in, &made); err != nil {
		t.Fatal(err)
	}
	return made.Token
}

func (n real) write(t *testing.T, changes ...sennit.Change) sennit.Version {
	t.Helper()
	v, err := n.Write(t.Context(), "me", changes)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// in is a value that says where it is.
func in(p sennit.Path) sennit.Value {
	return sennit.Value{Type: "text/plain", Data: []byte("in " + p + ".")}
}

// fill writes one of each kind of thing under a directory, and tells the version
// of the value at /old, which was deleted since.
func (n real) fill(t *testing.T, dir sennit.Path) sennit.Version {
	t.Helper()
	old := n.write(t, sennit.Change{Kind: sennit.KindPut, Path: dir + "/old", Value: in(dir + "/old")})
	n.write(t,
		sennit.Change{Kind: sennit.KindPut, Path: dir, Value: in(dir)},
		sennit.Change{Kind: sennit.KindPut, Path: dir + "/value", Value: in(dir + "/value")},
		sennit.Change{Kind: sennit.KindPut, Path: dir + "/deep/er/value", Value: in(dir + "/deep/er/value")},
		sennit.Change{Kind: sennit.KindAdd, Path: dir + "/counter", Delta: 3},
		sennit.Change{Kind: sennit.KindAppend, Path: dir + "/stream", Value: in(dir + "/stream")},
		sennit.Change{Kind: sennit.KindDel, Path: dir + "/old"},
	)
	if _, err := n.PutDocument(t.Context(), sennit.Addr{Root: "me", Path: dir + "/document"}, []byte(`{"a":{"b":["in `+dir+`/document/a/b."]}}`), nil); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat(string(in(dir+"/large").Data), 10_000)
	if _, err := n.Put(t.Context(), sennit.Addr{Root: "me", Path: dir + "/large"}, "text/plain", strings.NewReader(large), nil); err != nil {
		t.Fatal(err)
	}
	return old
}

// befriend lets n follow a friend, as @anna.
func (n real) befriend(t *testing.T, friend real) {
	t.Helper()
	var invite struct{ Link string }
	if err := friend.Do(t.Context(), "POST", "/_node/invites", nil, &invite); err != nil {
		t.Fatal(err)
	}
	if err := n.Do(t.Context(), "POST", "/_node/join", map[string]string{"link": invite.Link, "name": "anna"}, nil); err != nil {
		t.Fatal(err)
	}
}

// request is what somebody asks; %s in it stands for a directory.
type request struct {
	method, target, body string
	headers              []string
}

// requests are all that can be asked of the things that fill writes. Versions are
// those of what was there and of what is.
func requests(old, now sennit.Version) (all []request) {
	for _, target := range []string{"", "/value", "/old", "/counter", "/stream", "/large", "/document", "/deep", "/none"} {
		for _, headers := range [][]string{nil, {"Range: bytes=0-1"}, {"If-None-Match: *"}, {"Accept-Encoding: gzip"}, {`Version: "` + string(old) + `"`}, {`Version: "` + string(now) + `"`}} {
			all = append(all, request{"GET", "%s" + target, "", headers}, request{"HEAD", "%s" + target, "", headers})
		}
		for _, headers := range [][]string{nil, {"If-None-Match: *"}, {`If-Match: "` + string(now) + `"`}, {"Content-Type: no type"}} {
			all = append(all, request{"PUT", "%s" + target, "owned", headers}, request{"DELETE", "%s" + target, "", headers},
				request{"POST", "%s" + target + "?add=1", "", headers}, request{"POST", "%s" + target + "?append", "owned", headers})
		}
		all = append(all,
			request{"PUT", "%s" + target, strings.Repeat("owned", 20_000), nil},
			request{"PUT", "%s" + target, "1", []string{"Content-Range: json .a"}},
			request{"PATCH", "%s" + target, "1", []string{"Content-Range: text [0:1]"}},
			request{"PATCH", "%s" + target, "1", nil},
			request{"POST", "%s" + target + "?live", "owned", nil},
			request{"POST", "%s" + target, "owned", nil},
			request{"OPTIONS", "%s" + target, "", nil},
			request{"BREW", "%s" + target, "", nil},
		)
	}
	for _, target := range []string{"/", "/deep/", "/document/", "/document/a/", "/value/", "/none/"} {
		for _, accept := range []string{"*/*", "application/json", "image/png"} {
			all = append(all, request{"GET", "%s" + target, "", []string{"Accept: " + accept}}, request{"HEAD", "%s" + target, "", []string{"Accept: " + accept}})
		}
		all = append(all,
			request{"GET", "%s" + target + "?digest", "", nil},
			request{"GET", "%s" + target + "?after=a&limit=1", "", nil},
			request{"GET", "%s" + target + "?depth=9", "", nil},
			request{"GET", "%s" + target + "*/", "", nil},
			request{"PUT", "%s" + target, `{"a":1}`, []string{"Content-Type: application/json"}},
			request{"PUT", "%s" + target, `{"a":1}`, []string{"Content-Type: application/json", "If-None-Match: *"}},
			request{"PATCH", "%s" + target, `{"a":null}`, []string{"Content-Type: application/merge-patch+json"}},
			request{"PATCH", "%s" + target, "1", []string{"Content-Range: json .a"}},
			request{"DELETE", "%s" + target, "", nil},
			request{"POST", "%s" + target, "owned", nil},
		)
	}
	return all
}

// whole sends a request and reads the answer byte for byte, but for the date,
// which counts no more than the name of the directory if that is told.
func (n real) whole(t *testing.T, r request, dir, token string) string {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %d\r\n", r.method, strings.ReplaceAll(r.target, "%s", dir), n.addr, len(r.body))
	if token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", token)
	}
	for _, h := range r.headers {
		fmt.Fprintf(&b, "%s\r\n", h)
	}
	fmt.Fprintf(&b, "\r\n%s", strings.ReplaceAll(r.body, "%s", dir))
	c, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write(b.Bytes()) // a refusal may come before all is sent
	answer, err := io.ReadAll(c)
	if len(answer) == 0 {
		t.Fatalf("%s %s: no answer: %v", r.method, r.target, err)
	}
	lines := slices.DeleteFunc(strings.Split(string(answer), "\r\n"), func(l string) bool { return strings.HasPrefix(l, "Date: ") })
	return strings.ReplaceAll(strings.Join(lines, "\n"), dir, "DIR")
}

// TestDeniedIsByteForByteAbsent asks a node for what is there and not for the
// caller, and the same where nothing is. All of both answers must be the same.
func TestDeniedIsByteForByteAbsent(t *testing.T) {
	n, friend := realNode(t), realNode(t)
	old := n.fill(t, "secret")
	n.fill(t, "mine")
	friend.fill(t, "secret")
	n.befriend(t, friend)
	theirs, err := n.Get(t.Context(), sennit.Addr{Root: "@anna", Path: "secret"})
	if err != nil {
		t.Fatal(err) // what isn't here can't be denied
	}
	ours, err := n.Get(t.Context(), sennit.Addr{Root: "me", Path: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	stranger := strings.Repeat("a", 52) // a space of which nothing is here

	before, err := n.Digest(t.Context(), sennit.Addr{Root: "me"})
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	callers := []struct{ name, token string }{
		{"who may read", n.token(t, []string{"read"}, "/me/mine")},
		{"who may write", n.token(t, []string{"write"}, "/me/mine")},
		{"who may do all", n.token(t, sennit.AllRights.Names(), "/me/mine")},
		{"who may see the node", n.token(t, []string{"node", "read"}, "/me/mine")},
		{"a stranger", ""},
	}
	if testing.Short() {
		callers = callers[3:]
	}
	for _, who := range callers {
		for _, pair := range []struct {
			there, absent string
			now           sennit.Version
		}{
			{"/me/secret", "/me/absent", ours.Version},
			{"/" + n.space + "/secret", "/" + n.space + "/absent", ours.Version},
			{"/@anna/secret", "/@anna/absent", theirs.Version},
			{"/@anna/secret", "/@nobody/secret", theirs.Version},
			{"/" + friend.space + "/secret", "/" + stranger + "/secret", theirs.Version},
		} {
			for _, r := range requests(old, pair.now) {
				asked++
				there, absent := n.whole(t, r, pair.there, who.token), n.whole(t, r, pair.absent, who.token)
				if there != absent {
					t.Errorf("%s, %s %s with %q: where %s is\n%s\nand where %s is not\n%s", who.name, r.method, r.target, r.headers, pair.there, there, pair.absent, absent)
				}
				if status := strings.Fields(there)[1]; status[0] == '2' && r.method != "OPTIONS" || strings.Contains(there, "in secret") {
					t.Errorf("%s, %s %s with %q: %.300s", who.name, r.method, r.target, r.headers, there)
				}
			}
		}
	}
	if got := n.whole(t, request{"GET", "%s", "", nil}, "/me/secret", n.token(t, []string{"read"}, "/me/secret")); !strings.HasSuffix(got, "in secret.") {
		t.Errorf("who may read it gets\n%s", got)
	}
	t.Logf("%d pairs of requests", asked)
	after, err := n.Digest(t.Context(), sennit.Addr{Root: "me"})
	if err != nil || after.Hash != before.Hash {
		t.Errorf("something changed: %v", err)
	}
}

// TestDeniedSubscriptionsAreByteForByteAbsent subscribes to what is there and to
// what isn't, and to a value that the caller may read. While that changes, so
// does what is denied.
func TestDeniedSubscriptionsAreByteForByteAbsent(t *testing.T) {
	n := realNode(t)
	n.fill(t, "secret")
	n.fill(t, "mine")
	token := n.token(t, sennit.AllRights.Names(), "/me/mine")
	subscribe := func(target string) *bufio.Reader {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+n.addr+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Subscribe", "?1")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		resp.Header.Del("Date")
		return bufio.NewReader(io.MultiReader(strings.NewReader(fmt.Sprintln(resp.Status, resp.Header)), resp.Body))
	}
	targets := []string{"/me/%s?also=/me/mine/value", "/me/%s/?also=/me/mine/value", "/me/%s/?exact&also=/me/mine/value", "/me/%s/*/?also=/me/mine/value",
		"/me/%s/value?also=/me/mine/value", "/me/%s/?tail&messages&also=/me/mine/value", "/me/%s/?newest=3&also=/me/mine/value"}
	until := func(in *bufio.Reader, ends func(line string) bool) (all string) {
		for {
			line, err := in.ReadString('\n')
			if all += line; err != nil {
				t.Fatalf("the subscription said %s, and then %v", all, err)
			}
			if ends(strings.TrimSpace(line)) {
				return all
			}
		}
	}
	same := func(target, one, two string) {
		t.Helper()
		if one != two || strings.Contains(one, "secret") {
			t.Errorf("%s: where something is\n%s\nand where nothing is\n%s", target, one, two)
		}
	}
	live := func(line string) bool { return line == "Live: ?1" }
	for _, target := range []string{"/me/%s", "/me/%s/value", "/me/%s/document/a", "/me/%s/", "/me/%s/*/", "/me/*/value?also=/me/%s"} {
		same(target, until(subscribe(fmt.Sprintf(target, "secret")), live), until(subscribe(fmt.Sprintf(target, "absent")), live))
	}
	var there, absent []*bufio.Reader
	for _, target := range targets {
		there, absent = append(there, subscribe(fmt.Sprintf(target, "secret"))), append(absent, subscribe(fmt.Sprintf(target, "absent")))
	}
	put := func(path sennit.Path, text string) sennit.Change {
		return sennit.Change{Kind: sennit.KindPut, Path: path, Value: sennit.Value{Data: []byte(text)}}
	}
	n.write(t, put("secret", "new"), put("secret/value", "new"), put("secret/deep/er/value", "new"), put("mine/value", "first"))
	n.write(t, put("secret/value", "newer"))
	n.write(t, sennit.Change{Kind: sennit.KindDel, Path: "secret", Deep: true})
	if err := n.Send(t.Context(), sennit.Addr{Root: "me", Path: "secret/value"}, sennit.Value{Data: []byte("news")}, 0); err != nil {
		t.Fatal(err)
	}
	n.write(t, put("mine/value", "last"))
	last := func(line string) bool { return line == "last" }
	for i, target := range targets {
		same(target, until(there[i], last), until(absent[i], last))
	}
}
