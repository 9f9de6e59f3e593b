package httpdoor_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sennit/sennit"
)

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

// problem is the body of a refusal.
func (a answer) problem(t testing.TB) (p struct {
	Status             int
	Code, Detail, Hint string
}) {
	t.Helper()
	if typ := a.header.Get("Content-Type"); typ != "application/problem+json" {
		t.Errorf("a refusal with %d has the type %q: %s", a.status, typ, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || p.Status != a.status || p.Code == "" || p.Detail == "" {
		t.Errorf("a refusal with %d says %s (%v)", a.status, a.body, err)
	}
	return p
}

// raw sends bytes, and nothing but these bytes, and reads one answer. The
// sending side is closed after them if end is set.
func (h *house) raw(t testing.TB, request string, end bool) answer {
	t.Helper()
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	// A server that refuses early may close before it has read all.
	if _, err := io.WriteString(c, request); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Logf("sending: %v", err)
	}
	if end {
		c.(*net.TCPConn).CloseWrite()
	}
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no answer to %.80q: %v", request, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("the answer to %.80q breaks off: %v", request, err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// ask sends a request with headers, "Name: value", by the trusted token unless
// the headers say otherwise.
func (h *house) ask(t testing.TB, method, target, body string, headers ...string) answer {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nConnection: close\r\n", method, target)
	has := func(name string) bool {
		for _, line := range headers {
			if n, _, _ := strings.Cut(line, ":"); n == name {
				return true
			}
		}
		return false
	}
	if !has("Host") {
		fmt.Fprintf(&b, "Host: %s\r\n", h.addr)
	}
	if !has("Authorization") {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", tok)
	}
	if body != "" && !has("Transfer-Encoding") && !has("Content-Length") {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	for _, line := range headers {
		if !strings.HasSuffix(line, ":-") { // "Name:-" leaves a header out
			fmt.Fprintf(&b, "%s\r\n", line)
		}
	}
	fmt.Fprintf(&b, "\r\n%s", body)
	return h.raw(t, b.String(), false)
}

// state is a digest of everything, to see that nothing changed.
func (h *house) state(t testing.TB) sennit.Digest {
	t.Helper()
	d, err := h.model.Digest(t.Context(), sennit.Addr{Root: "me"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (h *house) put(t testing.TB, path, text string) sennit.Version {
	t.Helper()
	v, err := h.model.Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: sennit.MustPath(path), Value: sennit.Value{Type: "text/plain", Data: []byte(text)}}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (h *house) text(t testing.TB, path string) string {
	t.Helper()
	n, err := h.model.Get(t.Context(), sennit.Addr{Root: "me", Path: sennit.MustPath(path)})
	if err != nil {
		return "nothing: " + string(sennit.CodeOf(err))
	}
	return string(n.Value.Data)
}

// want checks a status, and that a refusal is a problem with a code.
func want(t testing.TB, a answer, status int, code sennit.Code) {
	t.Helper()
	if a.status != status {
		t.Errorf("got %d %s, want %d", a.status, a.body, status)
		return
	}
	if code != "" {
		if p := a.problem(t); p.Code != string(code) {
			t.Errorf("the code is %q, want %q", p.Code, code)
		}
	}
}

// dial opens a connection for as long as the test takes, or 20 seconds.
func (h *house) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}
