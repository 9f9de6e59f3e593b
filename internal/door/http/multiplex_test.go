//go:build unix

package httpdoor_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sennit/sennit"
	httpdoor "github.com/sennit/sennit/internal/door/http"
)

// mux is a client's end of a multiplexer.
type mux struct {
	t       *testing.T
	h       *house
	name    string
	conn    net.Conn
	r       *bufio.Reader
	answers map[string]*strings.Builder // by request, what came so far
	closed  map[string]bool
}

const muxHeaders = "Multiplex-Version: 1.0\r\n"

func (h *house) mux(t *testing.T, name string) *mux {
	t.Helper()
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(c, "POST /.well-known/multiplexer/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n%s\r\n", name, muxHeaders)
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: "POST"})
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Multiplex-Version") != "1.0" {
		t.Fatalf("a multiplexer is answered %v", resp)
	}
	return &mux{t, h, name, c, bufio.NewReader(resp.Body), map[string]*strings.Builder{}, map[string]bool{}}
}

// request sends a request whose answer comes through the multiplexer.
func (m *mux) request(name, target string, headers ...string) answer {
	m.t.Helper()
	head := strings.Join(append(headers, "Authorization: Bearer "+tok, "Subscribe: ?1",
		"Multiplex-Version: 1.0", "Multiplex-Through: /.well-known/multiplexer/"+m.name+"/"+name), "\r\n")
	return m.h.raw(m.t, "GET "+target+" HTTP/1.1\r\nHost: localhost\r\n"+head+"\r\n\r\n", false)
}

// next takes one message in.
func (m *mux) next() {
	m.t.Helper()
	line := "\r\n"
	for line == "\r\n" {
		var err error
		if line, err = m.r.ReadString('\n'); err != nil {
			m.t.Fatalf("the multiplexer ended: %v", err)
		}
	}
	var size int
	var name string
	switch line = strings.TrimSuffix(line, "\r\n"); {
	case strings.HasPrefix(line, "start response "):
		m.answers[strings.TrimPrefix(line, "start response ")] = new(strings.Builder)
	case strings.HasPrefix(line, "close response "):
		m.closed[strings.TrimPrefix(line, "close response ")] = true
	default:
		if _, err := fmt.Sscanf(line, "%d bytes for response %s", &size, &name); err != nil {
			m.t.Fatalf("the multiplexer sends %q", line)
		}
		b := make([]byte, size)
		if _, err := io.ReadFull(m.r, b); err != nil {
			m.t.Fatal(err)
		}
		m.answers[name].Write(b)
	}
}

// until takes messages in until the answer to a request holds a text.
func (m *mux) until(name, text string) {
	m.t.Helper()
	for m.answers[name] == nil || !strings.Contains(m.answers[name].String(), text) {
		m.next()
	}
}

func TestManySubscriptionsShareOneConnection(t *testing.T) {
	h := open(t, nil)
	m := h.mux(t, "Ab_-9")
	h.put(t, "b", "is there")
	for name, target := range map[string]string{"1": "/me/a", "2": "/me/b", "tree": "/me/"} {
		a := m.request(name, target)
		if a.status != 293 || a.header.Get("Multiplex-Version") != "1.0" || a.header.Get("Multiplex-Through") != "/.well-known/multiplexer/Ab_-9/"+name {
			t.Fatalf("%s: %+v", name, a)
		}
	}
	m.until("2", "is there")
	m.until("tree", "Live: ?1")
	m.until("1", "Live: ?1")
	for i := range 100 {
		h.put(t, "a", fmt.Sprint("value ", i))
	}
	m.until("1", "value 99")
	m.until("tree", "value 99")
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(m.answers["1"].String())), &http.Request{Method: "GET"})
	if err != nil || resp.StatusCode != 209 || resp.Header.Get("Content-Type") != "application/http-history" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the answer begins %v, %v", resp, err)
	}
	if strings.Contains(m.answers["2"].String(), "value") {
		t.Error("what is for one came for another")
	}

	// One ends, the others go on.
	bye := func(request string) answer {
		return h.raw(t, "DELETE /.well-known/multiplexer/Ab_-9"+request+" HTTP/1.1\r\nHost: localhost\r\n"+muxHeaders+"\r\n", false)
	}
	if a := bye("/1"); a.status != 200 || a.header.Get("Multiplex-Version") != "1.0" {
		t.Errorf("to end a request: %+v", a)
	}
	for !m.closed["1"] {
		m.next()
	}
	soon(t, "its watch is closed", func() bool { return h.model.Watches() == 2 })
	if a := bye("/1"); a.status != 404 || a.header.Get("Bad-Request") != "1" {
		t.Errorf("to end it again: %+v", a)
	}
	h.put(t, "a", "later")
	m.until("tree", "later")

	// A name that is free again may be used again.
	if a := m.request("1", "/me/a"); a.status != 293 {
		t.Errorf("a request like one that ended: %+v", a)
	}
	m.until("1", "later")

	m.conn.Close()
	soon(t, "all watches are closed", func() bool { return h.model.Watches() == 0 })
	soon(t, "the multiplexer is gone", func() bool { return m.request("3", "/me/a").status == 424 })
}

// TestWhatGoesThroughAMultiplexerMayBeRefused: there, as it would be elsewhere.
func TestWhatGoesThroughAMultiplexerMayBeRefused(t *testing.T) {
	h := open(t, nil)
	m := h.mux(t, "m")
	if a := m.request("1", "/me/a", "Version: \"x-1\""); a.status != 293 {
		t.Errorf("%+v", a)
	}
	for !m.closed["1"] {
		m.next()
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(m.answers["1"].String())), &http.Request{Method: "GET"})
	if err != nil || resp.StatusCode != 400 || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%v, %v", resp, err)
	}
	soon(t, "its name is free", func() bool { return m.request("1", "/me/a").status == 293 })
	m.until("1", "Live: ?1")

	for name, c := range map[string]struct {
		request string
		status  int
		header  string // that the answer has
		says    string
	}{
		"a name twice":             {"POST /.well-known/multiplexer/m HTTP/1.1\r\n" + muxHeaders, 409, "", `"error":"Multiplexer already exists"`},
		"a request twice":          {"GET /me/a HTTP/1.1\r\nSubscribe: ?1\r\n" + muxHeaders + "Multiplex-Through: /.well-known/multiplexer/m/1\r\n", 409, "", `"error":"Request already multiplexed"`},
		"through nothing":          {"GET /me/open HTTP/1.1\r\nSubscribe: ?1\r\n" + muxHeaders + "Multiplex-Through: /.well-known/multiplexer/n/1\r\n", 424, "Bad-Multiplexer", ""},
		"through no multiplexer":   {"GET /me/open HTTP/1.1\r\nSubscribe: ?1\r\n" + muxHeaders + "Multiplex-Through: /me/m/1\r\n", 400, "", ""},
		"through, without request": {"GET /me/open HTTP/1.1\r\nSubscribe: ?1\r\n" + muxHeaders + "Multiplex-Through: /.well-known/multiplexer/m\r\n", 400, "", ""},
		"through, of no version":   {"GET /me/open HTTP/1.1\r\nSubscribe: ?1\r\nMultiplex-Through: /.well-known/multiplexer/m/2\r\n", 400, "", ""},
		"another version":          {"POST /.well-known/multiplexer/n HTTP/1.1\r\nMultiplex-Version: 2.0\r\n", 400, "", ""},
		"no version":               {"POST /.well-known/multiplexer/n HTTP/1.1\r\n", 400, "", ""},
		"no name":                  {"POST /.well-known/multiplexer/ HTTP/1.1\r\n" + muxHeaders, 400, "", ""},
		"an odd name":              {"POST /.well-known/multiplexer/a.b HTTP/1.1\r\n" + muxHeaders, 400, "", ""},
		"a long name":              {"POST /.well-known/multiplexer/" + strings.Repeat("a", 65) + " HTTP/1.1\r\n" + muxHeaders, 400, "", ""},
		"a body":                   {"POST /.well-known/multiplexer/n HTTP/1.1\r\nContent-Length: 1\r\n" + muxHeaders, 400, "", ""},
		"another method":           {"GET /.well-known/multiplexer/n HTTP/1.1\r\n" + muxHeaders, 405, "Allow", ""},
		"to end nothing":           {"DELETE /.well-known/multiplexer/n/1 HTTP/1.1\r\n" + muxHeaders, 404, "Bad-Multiplexer", ""},
		"from another site":        {"POST /.well-known/multiplexer/n HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\n" + muxHeaders, 403, "", ""},
	} {
		a := h.raw(t, c.request+"Host: localhost\r\n\r\n", true)
		if a.status != c.status || c.header != "" && a.header.Get(c.header) == "" || !strings.Contains(a.body, c.says) {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// TestMultiplexersOutliveTheLimitsOfRequests, and tell their clients apart from dead ones.
func TestMultiplexersOutliveTheLimitsOfRequests(t *testing.T) {
	h := open(t, func(c *httpdoor.Config) {
		c.Limits.Read, c.Limits.Write, c.Limits.Idle = 50*time.Millisecond, 50*time.Millisecond, 10*time.Millisecond
	})
	m := h.mux(t, "m")
	m.request("1", "/me/a")
	m.until("1", "Live: ?1")
	for range 30 { // heartbeats of the multiplexer, and of the subscription
		if _, err := m.r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	h.put(t, "a", "still here")
	m.until("1", "still here")
}

func TestARevokedTokenEndsWhatGoesThroughAMultiplexer(t *testing.T) {
	gone := &revocable{tokens: tokens{tok: {May: sennit.AllRights}}}
	h := open(t, func(c *httpdoor.Config) { c.Tokens, c.Limits.Idle = gone, 20*time.Millisecond })
	m := h.mux(t, "m")
	m.request("1", "/me/a")
	m.until("1", "Live: ?1")
	gone.revoked.Store(true)
	for !m.closed["1"] {
		m.next()
	}
}

// TestAClientThatDoesNotReadHoldsLittle, however much comes through its multiplexer.
func TestAClientThatDoesNotReadHoldsLittle(t *testing.T) {
	h := open(t, nil)
	m := h.mux(t, "m")
	if err := m.conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	const crowd = 100
	for i := range crowd {
		m.request(fmt.Sprint(i), "/me/d/")
	}
	for i := range crowd {
		m.until(fmt.Sprint(i), "Live: ?1")
	}
	heap := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	const values, size = 40, 60 << 10 // which the model keeps
	for i := range values {
		h.put(t, fmt.Sprintf("d/%d", i), strings.Repeat("x", size))
	}
	soon(t, "most wait", func() bool { return strings.Count(stacks(), "(*stream).updates") > crowd/2 })
	each := (int64(heap()-before) - 2*values*size) / crowd
	t.Logf("each of %d subscriptions holds %d KiB", crowd, each>>10)
	if each > 40<<10 {
		t.Error("that is too much")
	}
}

func TestServingEndsWithMultiplexers(t *testing.T) {
	h := open(t, nil)
	m := h.mux(t, "m")
	m.request("1", "/me/a")
	m.until("1", "Live: ?1")
	if err := h.stop(); err != nil {
		t.Error(err)
	}
	if h.model.Watches() != 0 {
		t.Error("a watch is left")
	}
}
