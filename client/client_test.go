package client_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/client"
	"github.com/sennit/sennit/internal/bubble"
)

// node is a server that answers Dial, and all else with a handler.
func node(t *testing.T, f http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions {
			w.Header().Set("Allow", "GET")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		f(w, r)
	}))
	t.Cleanup(s.Close)
	c, err := client.Dial(t.Context(), client.Config{Origin: s.URL, Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestDialTellsWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<h1>It works</h1>") }))
	defer other.Close()
	absent := httptest.NewServer(http.NotFoundHandler())
	defer absent.Close()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg  client.Config
		code sennit.Code
		hint string
	}{
		"nothing":            {client.Config{}, sennit.BadInput, ""},
		"both":               {client.Config{Socket: "x", Origin: "http://localhost:1"}, sennit.BadInput, ""},
		"no origin":          {client.Config{Origin: "localhost:7700"}, sennit.BadInput, ""},
		"another protocol":   {client.Config{Origin: "ftp://localhost"}, sennit.BadInput, ""},
		"a path":             {client.Config{Origin: "http://localhost/me"}, sennit.BadInput, ""},
		"a token with a gap": {client.Config{Origin: "http://localhost:1", Token: "a b"}, sennit.BadInput, ""},
		"a forged header":    {client.Config{Origin: "http://localhost:1", Token: "a\r\nHost:x"}, sennit.BadInput, ""},
		"no socket":          {client.Config{Socket: filepath.Join(dir, "absent")}, sennit.Unreachable, "sennit up"},
		"a socket of nobody": {client.Config{Socket: plain}, sennit.Unreachable, "sennit up"},
		"nobody listens":     {client.Config{Origin: "http://" + closed}, sennit.Unreachable, "sennit up"},
		"another program":    {client.Config{Origin: other.URL}, sennit.Unreachable, "another program"},
		"a program without":  {client.Config{Origin: absent.URL}, sennit.NotFound, ""},
	} {
		got, err := client.Dial(t.Context(), c.cfg)
		if got != nil || sennit.CodeOf(err) != c.code || !strings.Contains(sennit.HintOf(err), c.hint) || c.hint != "" && sennit.HintOf(err) == "" {
			t.Errorf("%s: %v (%s), hint %q", name, err, sennit.CodeOf(err), sennit.HintOf(err))
		}
		if err != nil && strings.Contains(err.Error(), "/me/") {
			t.Errorf("%s: the message tells the request: %v", name, err)
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Dial(over, client.Config{Origin: other.URL}); sennit.CodeOf(err) != sennit.Interrupted {
		t.Errorf("interrupted: %v", err)
	}
}

func TestDoExchangesJSON(t *testing.T) {
	type thing struct{ Name string }
	c := node(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Seen", r.Method+" "+r.RequestURI+" "+r.Header.Get("Content-Type")+" "+r.Header.Get("Authorization"))
		switch r.URL.Path {
		case "/_node/echo":
			w.Write(body)
		case "/_node/seen":
			io.WriteString(w, `{"Name":"`+w.Header().Get("Seen")+`"}`)
		case "/_node/none":
			w.WriteHeader(http.StatusNoContent)
		case "/_node/bad":
			io.WriteString(w, `{"Name":`)
		case "/_node/moved":
			http.Redirect(w, r, "/_node/echo", http.StatusSeeOther)
		case "/_node/large":
			w.Write(make([]byte, 17<<20))
		default:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusConflict)
			io.WriteString(w, `{"detail":"it is there already","code":"conflict","hint":"take another name"}`)
		}
	})
	var got thing
	if err := c.Do(t.Context(), "POST", "/_node/echo", thing{"ä"}, &got); err != nil || got.Name != "ä" {
		t.Errorf("echo: %v, %v", got, err)
	}
	if err := c.Do(t.Context(), "POST", "/_node/seen?a=%20b", thing{}, &got); err != nil || got.Name != "POST /_node/seen?a=%20b application/json Bearer secret" {
		t.Errorf("seen: %v, %v", got, err)
	}
	if err := c.Do(t.Context(), "DELETE", "/_node/none", nil, nil); err != nil {
		t.Errorf("none: %v", err)
	}
	err := c.Do(t.Context(), "PUT", "/_node/taken", nil, nil)
	if sennit.CodeOf(err) != sennit.Conflict || err.Error() != "it is there already" || sennit.HintOf(err) != "take another name" {
		t.Errorf("conflict: %v (%s, %s)", err, sennit.CodeOf(err), sennit.HintOf(err))
	}
	for path, code := range map[string]sennit.Code{
		"/_node/bad": sennit.Unreachable, "/_node/moved": sennit.Unreachable, "/_node/large": sennit.TooLarge,
		"_node": sennit.BadInput, "http://evil.example/_node": sennit.BadInput, "": sennit.BadInput, "/%zz": sennit.BadInput,
	} {
		if err := c.Do(t.Context(), "GET", path, nil, &got); sennit.CodeOf(err) != code {
			t.Errorf("%q: %v (%s), want %s", path, err, sennit.CodeOf(err), code)
		}
	}
	if err := c.Do(t.Context(), "POST", "/_node/echo", func() {}, nil); sennit.CodeOf(err) != sennit.BadInput {
		t.Errorf("what is no JSON: %v", err)
	}
}

func TestAnswersWithoutAProblemHaveACode(t *testing.T) {
	status := 0
	body := ""
	c := node(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
	for s, code := range map[int]sennit.Code{
		400: sennit.BadInput, 401: sennit.Denied, 403: sennit.Denied, 404: sennit.NotFound, 405: sennit.Unsupported, 409: sennit.Conflict, 410: sennit.Gone,
		413: sennit.TooLarge, 421: sennit.Denied, 429: sennit.OverQuota, 431: sennit.TooLarge, 500: sennit.Internal, 501: sennit.Unsupported, 502: sennit.Unreachable,
		503: sennit.Unreachable, 504: sennit.Timeout, 507: sennit.ReadOnly, 418: sennit.Internal,
	} {
		for _, body = range []string{"", "nonsense", "{}", `{"code":"conflict"}`, `{"detail":"x"}`, strings.Repeat("x", 1<<20)} {
			status = s
			if _, err := c.Get(t.Context(), sennit.Addr{Root: "me", Path: "a"}); sennit.CodeOf(err) != code || !strings.Contains(err.Error(), "answered") {
				t.Errorf("%d %.20q: %v (%s), want %s", s, body, err, sennit.CodeOf(err), code)
			}
		}
	}
}

// TestAnswersThatMakeNoSense has a node that lies, or another program in its
// place.
func TestAnswersThatMakeNoSense(t *testing.T) {
	header := map[string]string{}
	status, body := 200, ""
	c := node(t, func(w http.ResponseWriter, r *http.Request) {
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
	addr := sennit.Addr{Root: "me", Path: "a"}
	change := sennit.Change{Kind: sennit.KindPut, Path: "a"}
	calls := map[string]func() error{
		"get":    func() error { _, err := c.Get(t.Context(), addr); return err },
		"list":   func() error { _, _, err := c.List(t.Context(), addr, sennit.Listing{}); return err },
		"digest": func() error { _, err := c.Digest(t.Context(), addr); return err },
		"write":  func() error { _, err := c.Write(t.Context(), "me", []sennit.Change{change}); return err },
		"document": func() error {
			doc, _, err := c.Document(t.Context(), addr)
			if err == nil {
				_, err = io.ReadAll(doc)
				doc.Close()
			}
			return err
		},
		"put document": func() error { _, err := c.PutDocument(t.Context(), addr, []byte("1"), nil); return err },
		"watch": func() error {
			w, err := c.Watch(t.Context(), []sennit.Pattern{{Root: "me"}}, sennit.WatchOptions{})
			if err == nil {
				w.Close()
			}
			return err
		},
	}
	for _, c := range []struct {
		call   string
		status int
		header map[string]string
		body   string
	}{
		{"get", 204, nil, ""},
		{"get", 303, map[string]string{"Location": "/"}, ""},
		{"get", 200, map[string]string{"Author": "x"}, ""},
		{"get", 200, map[string]string{"Time": "x"}, ""},
		{"get", 200, map[string]string{"Content-Length": "5000000"}, ""},
		{"get", 200, nil, strings.Repeat("x", 2<<20)},
		{"get", 200, map[string]string{"Content-Length": "9"}, "short"},
		{"list", 200, nil, "[]"},
		{"list", 200, map[string]string{"Content-Type": "application/vnd.sennit.list+json"}, "{}"},
		{"digest", 200, nil, "{}"},
		{"digest", 200, map[string]string{"Content-Type": "application/vnd.sennit.digest+json"}, `{"hash":"x","ops":1,"cursor":"1-1"}`},
		{"digest", 200, map[string]string{"Content-Type": "application/vnd.sennit.digest+json"}, `{"hash":"` + strings.Repeat("0", 64) + `","cursor":"1"}`},
		{"write", 200, nil, ""},
		{"document", 200, nil, "{}"},
		{"document", 204, nil, ""},
		{"document", 200, map[string]string{"Content-Type": "application/json"}, "{}"},
		{"document", 200, map[string]string{"Content-Type": "application/json", "Etag": `"x"`}, "{}"},
		{"document", 200, map[string]string{"Content-Type": "application/json", "Etag": `"` + strings.Repeat("1", 64) + `"`, "Content-Length": "9"}, "{}"},
		{"put document", 200, nil, ""},
		{"watch", 200, nil, ""},
	} {
		header, status, body = c.header, c.status, c.body
		if err := calls[c.call](); err == nil || sennit.CodeOf(err) == sennit.Internal {
			t.Errorf("%s: %d %v %.20q is taken for good: %v", c.call, c.status, c.header, c.body, err)
		}
	}
}

func TestCallsThatNoRequestCanSay(t *testing.T) {
	asked := 0
	c := node(t, func(w http.ResponseWriter, r *http.Request) { asked++ })
	write := func(changes ...sennit.Change) error {
		_, err := c.Write(t.Context(), "me", changes)
		return err
	}
	watch := func(o sennit.WatchOptions, patterns ...sennit.Pattern) error {
		_, err := c.Watch(t.Context(), patterns, o)
		return err
	}
	put := sennit.Change{Kind: sennit.KindPut, Path: "a"}
	_, get := c.Get(t.Context(), sennit.Addr{Root: "me/other", Path: "a"})
	_, _, list := c.List(t.Context(), sennit.Addr{Root: "me"}, sennit.Listing{Limit: -1})
	for name, c := range map[string]struct {
		err  error
		code sennit.Code
	}{
		"a root with a slash":    {get, sennit.BadInput},
		"a negative limit":       {list, sennit.BadInput},
		"a kind":                 {write(sennit.Change{Kind: sennit.KindText, Path: "a"}), sennit.Unsupported},
		"a blob":                 {write(sennit.Change{Kind: sennit.KindPut, Path: "a", Value: sennit.Value{Blob: &sennit.Blob{}}}), sennit.Unsupported},
		"a type that forges":     {write(sennit.Change{Kind: sennit.KindPut, Path: "a", Value: sennit.Value{Type: "a/b\r\nX: y"}}), sennit.BadInput},
		"too many changes":       {write(make([]sennit.Change, sennit.MaxOps+1)...), sennit.Unsupported},
		"too many good changes":  {write(repeat(put, sennit.MaxOps+1)...), sennit.TooLarge},
		"too large a commit":     {write(repeat(sennit.Change{Kind: sennit.KindPut, Path: "a", Value: sennit.Value{Data: make([]byte, 1<<20)}}, 5)...), sennit.TooLarge},
		"no pattern":             {watch(sennit.WatchOptions{}), sennit.BadInput},
		"a negative number":      {watch(sennit.WatchOptions{Newest: -1}, sennit.Pattern{Root: "me"}), sennit.BadInput},
		"a negative queue":       {watch(sennit.WatchOptions{Queue: -1}, sennit.Pattern{Root: "me"}), sennit.BadInput},
		"patterns too long":      {watch(sennit.WatchOptions{}, repeat(sennit.Pattern{Root: "me", Path: strings.Repeat("x", 1000)}, 30)...), sennit.BadInput},
		"a pattern with a slash": {watch(sennit.WatchOptions{}, sennit.Pattern{Root: "me"}, sennit.Pattern{Root: "a/b"}), sennit.BadInput},
	} {
		if sennit.CodeOf(c.err) != c.code {
			t.Errorf("%s: %v (%s), want %s", name, c.err, sennit.CodeOf(c.err), c.code)
		}
	}
	if asked != 0 {
		t.Errorf("%d of these reached the node", asked)
	}
}

func repeat[T any](v T, n int) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = v
	}
	return s
}

// TestAWriteWithoutAnAnswerSaysSo has a node that dies before it answers.
func TestAWriteWithoutAnAnswerSaysSo(t *testing.T) {
	c := node(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	})
	_, err := c.Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: "a", Value: sennit.Value{Data: []byte("x")}}})
	if sennit.CodeOf(err) != sennit.Unreachable || !strings.Contains(sennit.HintOf(err), "may or may not") {
		t.Errorf("a write without an answer: %v, hint %q", err, sennit.HintOf(err))
	}
	if _, err := c.Get(t.Context(), sennit.Addr{Root: "me", Path: "a"}); sennit.CodeOf(err) != sennit.Unreachable || sennit.HintOf(err) != "" {
		t.Errorf("a read without an answer: %v, hint %q", err, sennit.HintOf(err))
	}
}

// TestLargeBodiesWaitToBeWanted has a node that refuses a large body by its
// headers. The client must not have sent any of it: what is sent and not read
// can tear the connection down before the refusal is seen.
func TestLargeBodiesWaitToBeWanted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		c := client.New(func(context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			wg.Go(func() {
				defer far.Close()
				r := bufio.NewReader(far)
				if _, err := http.ReadRequest(r); err != nil {
					t.Errorf("the request: %v", err)
				}
				far.SetReadDeadline(time.Now().Add(time.Second / 2))
				if b, err := r.ReadByte(); err == nil {
					t.Errorf("the body was sent, beginning with %q", b)
				}
				io.WriteString(far, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			})
			return near, nil
		})
		change := sennit.Change{Kind: sennit.KindPut, Path: "a", Value: sennit.Value{Data: make([]byte, sennit.MaxInline)}}
		if _, err := c.Write(t.Context(), "me", []sennit.Change{change, change}); sennit.CodeOf(err) != sennit.TooLarge {
			t.Errorf("a large body: %v", err)
		}
		wg.Wait()
	})
}
