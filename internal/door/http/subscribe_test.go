package httpdoor_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sennit/sennit"
	httpdoor "github.com/sennit/sennit/internal/door/http"
)

// subscription is the answer to a GET with Subscribe, being read.
type subscription struct {
	t    testing.TB
	conn net.Conn
	resp *http.Response
	r    *bufio.Reader
}

func subscribe(t testing.TB, c net.Conn, target string, headers ...string) *subscription {
	t.Helper()
	has := ""
	for _, line := range headers {
		has += line + "\r\n"
	}
	if !strings.Contains(has, "Subscribe:") {
		has += "Subscribe: true\r\n"
	}
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n%s\r\n", target, tok, has)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: "GET"})
	if err != nil {
		t.Fatalf("subscribing to %s: %v", target, err)
	}
	return &subscription{t, c, resp, bufio.NewReader(resp.Body)}
}

// read reads exactly as much as want has, and compares. Times, authors and
// spaces, which are the model's own, are written as T, A and S.
func (s *subscription) read(want string, names *strings.Replacer) {
	s.t.Helper()
	want = names.Replace(strings.ReplaceAll(want, "\n", "\r\n"))
	got := make([]byte, len(want))
	n, err := io.ReadFull(s.r, got)
	if text := when.ReplaceAllString(string(got[:n]), "Time: 0000-00-00T00:00:00.000000000Z"); text != want {
		s.t.Fatalf("got %q (%v), want %q", text, err, want)
	}
}

var when = regexp.MustCompile(`Time: [0-9-]+T[0-9:]+(\.[0-9]+)?Z`)

// names fills in what the texts below leave open: Space, Author and Time
// lines, and versions and cursors by the number of the commit.
func (h *house) names(t testing.TB) *strings.Replacer {
	h.put(t, "names", "x")
	n, err := h.model.Get(t.Context(), sennit.Addr{Root: "me", Path: "names"})
	if err != nil {
		t.Fatal(err)
	}
	d := h.state(t)
	log, _, _ := strings.Cut(string(n.Version), "-")
	var pairs []string
	for i := range 10 {
		pairs = append(pairs, fmt.Sprintf("<V%d>", i), fmt.Sprintf(`"%s-%d"`, log, d.Cursor.N+uint64(i)),
			fmt.Sprintf("<C%d>", i), fmt.Sprintf("%d-%d", d.Cursor.Epoch, d.Cursor.N+uint64(i)))
	}
	who := fmt.Sprintf("Author: %s %s\r\nTime: 0000-00-00T00:00:00.000000000Z", n.Author.Space, n.Author.Device)
	return strings.NewReplacer(append(pairs, "SPACE", h.model.Space().String(), "WHO", who)...)
}

// oddSpeed makes the clock of a bubble show nanoseconds, so that times have
// one length.
func oddSpeed() { time.Sleep(123456789) }

func TestSubscriptionOfAValue(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house, p *pipes) {
		oddSpeed()
		names := h.names(t)
		h.put(t, "a/b ü", "one") // 1
		c := p.dial()
		defer c.Close()
		s := subscribe(t, c, "/me/a/b%20%C3%BC", "Subscribe: ?1", "Peer: x", `Parents: "old"`)
		for name, want := range map[string]string{
			"Subscribe": "?1", "Accept-Subscribe": "true", "Content-Type": "application/http-history", "Repr-Type": "text/plain",
			"Current-Version": names.Replace("<V1>"), "Cache-Control": "no-cache, no-transform, no-store", "X-Accel-Buffering": "no", "Heartbeats": "", "Merge-Type": "",
		} {
			if got := s.resp.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if s.resp.StatusCode != 209 {
			t.Errorf("the status is %d", s.resp.StatusCode)
		}
		s.read("HTTP 200 OK\nContent-Location: /SPACE/a/b%20%C3%BC\nVersion: <V1>\nWHO\nLive: ?1\nCursor: <C1>\nContent-Type: text/plain\nContent-Length: 3\n\none\n", names)
		h.put(t, "a", "beside")          // 2
		h.put(t, "a/b ü/c", "below")     // 3
		h.put(t, "a/b ü", "\r\n\r\nTwo") // 4
		s.read("HTTP 200 OK\nContent-Location: /SPACE/a/b%20%C3%BC\nVersion: <V4>\nWHO\nCursor: <C4>\nContent-Type: text/plain\nContent-Length: 7\n\n\n\nTwo\n", names)
		if _, err := h.model.Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindDel, Path: "a", Deep: true}}); err != nil { // 5
			t.Fatal(err)
		}
		s.read("HTTP 404 Not Found\nContent-Location: /SPACE/a/b%20%C3%BC\nVersion: <V5>\nWHO\nCursor: <C5>\nContent-Length: 0\n\n\n", names)
	})
}

func TestSubscriptionOfAValueThatIsNotThere(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house, p *pipes) {
		oddSpeed()
		names := h.names(t)
		c := p.dial()
		defer c.Close()
		s := subscribe(t, c, "/me/a", "Subscribe: true")
		if h := s.resp.Header; s.resp.StatusCode != 209 || h.Get("Repr-Type") != "" || h["Current-Version"] == nil || h.Get("Current-Version") != "" {
			t.Errorf("the answer is %d %v", s.resp.StatusCode, h)
		}
		s.read("HTTP 404 Not Found\nLive: ?1\nCursor: <C0>\nContent-Length: 0\n\n\n", names)
		h.put(t, "a", "") // 1
		s.read("HTTP 200 OK\nContent-Location: /SPACE/a\nVersion: <V1>\nWHO\nCursor: <C1>\nContent-Type: text/plain\nContent-Length: 0\n\n\n", names)

		// Resumed: no snapshot, and nothing about the time before.
		again := p.dial()
		defer again.Close()
		h.put(t, "a", "two") // 2
		r := subscribe(t, again, "/me/a", "Subscribe:", "Since: "+names.Replace("<C1>"))
		r.read("HTTP 200 OK\nContent-Location: /SPACE/a\nVersion: <V2>\nWHO\nCursor: <C2>\nContent-Type: text/plain\nContent-Length: 3\n\ntwo\n", names)
		h.model.Restore() // what it sent is void: it begins again
		d := h.state(t)
		r.read(fmt.Sprintf("HTTP 200 OK\nContent-Location: /SPACE/a\nVersion: <V2>\nWHO\nLive: ?1\nCursor: %d-%d\nContent-Type: text/plain\nContent-Length: 3\n\ntwo\n", d.Cursor.Epoch, d.Cursor.N), names)
	})
}

func TestSubscriptionOfASubtree(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house, p *pipes) {
		oddSpeed()
		names := h.names(t)
		h.put(t, "p/a", "one") // 1
		c := p.dial()
		defer c.Close()
		s := subscribe(t, c, "/me/p/?also=/me/q&also=/me/%C3%BC/")
		s.read("HTTP 200 OK\nContent-Location: /SPACE/p/a\nVersion: <V1>\nWHO\nContent-Type: text/plain\nContent-Length: 3\n\none\n"+
			"HTTP 200 OK\nLive: ?1\nCursor: <C1>\nContent-Length: 0\n\n\n", names)
		_, err := h.model.Write(t.Context(), "me", []sennit.Change{ // 2
			{Kind: sennit.KindPut, Path: "p/b*c", Value: sennit.Value{Data: []byte("x")}},
			{Kind: sennit.KindPut, Path: "ü/x", Value: sennit.Value{Type: "bad\r\ntype", Data: []byte("yy")}},
			{Kind: sennit.KindPut, Path: "q/x", Value: sennit.Value{}},
			{Kind: sennit.KindDel, Path: "p", Deep: true},
			{Kind: sennit.KindDel, Path: "q"},
		})
		if err != nil {
			t.Fatal(err)
		}
		// Merged, in order; the cursor is behind the whole commit.
		s.read("HTTP 200 OK\nContent-Location: /SPACE/%C3%BC/x\nVersion: <V2>\nWHO\nContent-Type: application/octet-stream\nContent-Length: 2\n\nyy\n"+
			"HTTP 404 Not Found\nContent-Location: /SPACE/p/\nVersion: <V2>\nWHO\nContent-Length: 0\n\n\n"+
			"HTTP 404 Not Found\nContent-Location: /SPACE/q\nVersion: <V2>\nWHO\nCursor: <C2>\nContent-Length: 0\n\n\n", names)
		h.model.Restore()
		s.read("HTTP 205 Reset Content\nContent-Length: 0\n\n\nHTTP 200 OK\nContent-Location: /SPACE/%C3%BC/x\nVersion: <V2>\n", names)
	})
}

func TestMalformedSubscriptionsAreRefused(t *testing.T) {
	h := open(t, nil)
	h.put(t, "a", "x")
	many := strings.Repeat("also=/me/a&", 64)
	for _, c := range []struct{ target, header string }{
		{"/me/a", "Subscribe: yes"}, {"/me/a", "Subscribe: 1"}, {"/me/a", "Subscribe: true\r\nSubscribe: true"},
		{"/me/a", "Parents: x"}, {"/me/a", "Parents: \"x"}, {"/me/a", "Parents: [\"x\"]"}, {"/me/a", "Version: \"1\""}, {"/me/a", "Version: x"}, {"/me/a", "Merge-Type: simpleton"}, {"/me/a", "Merge-Type: "},
		{"/me/a", "Heartbeats: x"}, {"/me/a", "Heartbeats: -1"}, {"/me/a", "Heartbeats: 0"}, {"/me/a", "Heartbeats: 10m"}, {"/me/a", "Heartbeats: NaN"}, {"/me/a", "Heartbeats:"},
		{"/me/a", "Since: x"}, {"/me/a", "Since: 1"}, {"/me/a", "Since: 1-"}, {"/me/a", "Since: 1-2-3"}, {"/me/a", "Since: -1-2"}, {"/me/a", "Since: 1-2\r\nSince: 1-2"},
		{"/me/a", "Since: 18446744073709551616-1"}, {"/me/a", "Since:"},
		{"/me/a?newest=5", ""}, {"/me/a?exact", ""}, {"/me/a?limit=1", ""}, {"/me/a?digest", ""},
		{"/me/a/?newest=0", ""}, {"/me/a/?newest=x", ""}, {"/me/a/?tail=maybe", ""}, {"/me/a/?tail&tail", ""}, {"/me/a/?nonsense", ""}, {"/me/a/?after=b", ""},
		{"/me/a/?also=", ""}, {"/me/a/?also=/", ""}, {"/me/a/?also=b", ""}, {"/me/a/?also=/me//b", ""}, {"/me/a/?also=/me/b//", ""}, {"/me/a/?also=/me/../b", ""},
		{"/me/a/?also=/nowhere/b", ""}, {"/me/a/?also=/me/%ff", ""}, {"/me/a/?also=//", ""}, {"/me/a/?" + many[:len(many)-1], ""},
		{"/@follows/a/b/", ""}, {"/@follows/", ""}, {"/me/**/a/../", ""}, {"/me/*//", ""}, {"/me/a%2f*", ""},
	} {
		header := c.header
		if !strings.HasPrefix(header, "Subscribe") {
			header = strings.TrimPrefix(header+"\r\nSubscribe: ?1", "\r\n")
		}
		a := h.ask(t, "GET", c.target, "", header)
		if want(t, a, 400, sennit.BadInput); a.status == 209 {
			t.Errorf("%s with %q was accepted", c.target, header)
		}
	}
	want(t, h.ask(t, "GET", "/me/a", "", "Subscribe: ?1", "Content-Length: 5"), 400, sennit.BadInput)
	want(t, h.ask(t, "GET", "/me/a", "", "Subscribe: ?1", "Transfer-Encoding: chunked"), 400, sennit.BadInput)
	want(t, h.ask(t, "GET", "/@nobody/a/", "", "Subscribe: ?1"), 404, sennit.NotFound)
	want(t, h.ask(t, "GET", "/me/a", "", "Subscribe: ?0"), 200, "")
	want(t, h.ask(t, "GET", "/me/a", "", "Subscribe: false"), 200, "")
	want(t, h.ask(t, "HEAD", "/me/a", "", "Subscribe: true"), 200, "")
	want(t, h.ask(t, "PUT", "/me/a", "y", "Subscribe: true"), 204, "")
	if n := h.model.Watches(); n != 0 {
		t.Errorf("refused subscriptions left %d watches", n)
	}
}

func TestHeartbeats(t *testing.T) {
	for asked, want := range map[string]time.Duration{"20": 20 * time.Second, "120s": 2 * time.Minute, "0.001": time.Second, "1e9": time.Hour} {
		inBubble(t, nil, func(t *testing.T, h *house, p *pipes) {
			c := p.dial()
			defer c.Close()
			s := subscribe(t, c, "/me/a/", "Heartbeats: "+asked)
			if got := s.resp.Header.Get("Heartbeats"); got != fmt.Sprintf("%gs", want.Seconds()) {
				t.Errorf("asked for %s, told %s", asked, got)
			}
			skip(t, s, "Live: ?1", "Content-Length: 0", "", "")
			began := time.Now()
			for i := range 3 {
				skip(t, s, "")
				if got := time.Since(began); got != time.Duration(i+1)*want {
					t.Fatalf("asked for %s, heartbeat %d came after %v", asked, i+1, got)
				}
			}
			time.Sleep(want / 2)
			h.put(t, "a", "x")
			skip(t, s, "Content-Length: 1", "", "x")
			began = time.Now()
			skip(t, s, "")
			if got := time.Since(began); got != want {
				t.Errorf("asked for %s, the first heartbeat after an update came after %v", asked, got)
			}
		})
	}
}

// skip reads lines until each of the wanted ones was there, in this order.
func skip(t testing.TB, s *subscription, lines ...string) {
	t.Helper()
	for _, want := range lines {
		for {
			line, err := s.r.ReadString('\n')
			if err != nil {
				t.Fatalf("waiting for the line %q: %v", want, err)
			}
			if strings.TrimRight(line, "\r\n") == want {
				break
			}
		}
	}
}

// TestSubscriptionsEndWithTheirClients counts watches, and leaves it to the
// bubble to find a goroutine that stays.
func TestSubscriptionsEndWithTheirClients(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house, p *pipes) {
		h.put(t, "a", "x")
		var conns []net.Conn
		for i := range 20 {
			c := p.dial()
			s := subscribe(t, c, []string{"/me/a", "/me/", "/@follows/*/a/", "/me/nothing"}[i%4], "Heartbeats: 1000")
			if i%2 == 1 { // some read all, some nothing
				skip(t, s, "Content-Length: 0", "")
			}
			conns = append(conns, c)
		}
		synctest.Wait()
		if n := h.model.Watches(); n != 20 {
			t.Fatalf("%d watches are open, want 20", n)
		}
		for _, c := range conns {
			c.Close()
		}
		synctest.Wait() // and no time passes
		if n := h.model.Watches(); n != 0 {
			t.Errorf("after the clients left %d watches are open", n)
		}
	})
}

func TestStoppingEndsSubscriptionsInOrder(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house, p *pipes) {
		c := p.dial()
		defer c.Close()
		s := subscribe(t, c, "/me/")
		skip(t, s, "Content-Length: 0", "", "")
		began := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { h.stop() })
		if rest, err := io.ReadAll(s.r); err != nil || len(rest) != 0 {
			t.Errorf("the stream ends with %q, %v", rest, err)
		}
		wg.Wait()
		if took := time.Since(began); took > time.Second {
			t.Errorf("stopping took %v", took)
		}
		if n := h.model.Watches(); n != 0 {
			t.Errorf("%d watches are open", n)
		}
	})
}

func TestStoppingLetsWritesFinish(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	wait := func(c *httpdoor.Config) {
		bus := c.Bus
		c.Bus = func(who httpdoor.Caller) sennit.Bus { return slow{bus(who), begun, finish} }
	}
	inBubble(t, wait, func(t *testing.T, h *house, p *pipes) {
		begun, finish = make(chan struct{}), make(chan struct{}) // of this bubble
		c := p.dial()
		defer c.Close()
		fmt.Fprintf(c, "PUT /me/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: 1\r\n\r\nx", tok)
		<-begun
		var wg sync.WaitGroup
		wg.Go(func() { h.stop() })
		synctest.Wait() // until stopping waits for the write
		close(finish)
		resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: "PUT"})
		if err != nil || resp.StatusCode != 204 {
			t.Errorf("a write that was under way got %v, %v", resp, err)
		}
		wg.Wait()
		if got := h.text(t, "a"); got != "x" {
			t.Errorf("it stored %q", got)
		}
	})
}

// slow is a bus whose writes wait.
type slow struct {
	sennit.Bus
	begun, finish chan struct{}
}

func (s slow) Write(ctx context.Context, root string, changes []sennit.Change) (sennit.Version, error) {
	s.begun <- struct{}{}
	select {
	case <-s.finish:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	return s.Bus.Write(ctx, root, changes)
}

// TestReadersThatStopReadingAreCutOff has a reader that takes nothing. The
// write to it ends after the limit, and nobody else waits.
func TestReadersThatStopReadingAreCutOff(t *testing.T) {
	inBubble(t, func(c *httpdoor.Config) { c.Limits.Write = 30 * time.Second }, func(t *testing.T, h *house, p *pipes) {
		stuck, fine := p.dial(), p.dial()
		defer stuck.Close()
		defer fine.Close()
		s := subscribe(t, stuck, "/me/p/")
		f := subscribe(t, fine, "/me/p/")
		skip(t, s, "Content-Length: 0", "", "")
		skip(t, f, "Content-Length: 0", "", "")
		for i := range 100 {
			h.put(t, "p/a", fmt.Sprint("value ", i))
			skip(t, f, fmt.Sprint("value ", i))
		}
		time.Sleep(29 * time.Second)
		if n := h.model.Watches(); n != 2 {
			t.Errorf("before the limit %d watches are open", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := h.model.Watches(); n != 1 {
			t.Errorf("after the limit %d watches are open", n)
		}
		h.put(t, "p/a", "last")
		skip(t, f, "last")
	})
}

// TestIdleSubscriptionsOutliveTheLimitsOfRequests waits much longer than a
// request may take to arrive, or an answer to leave.
func TestIdleSubscriptionsOutliveTheLimitsOfRequests(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house, p *pipes) {
		c := p.dial()
		defer c.Close()
		s := subscribe(t, c, "/me/a")
		var wg sync.WaitGroup
		wg.Go(func() { skip(t, s, "a day later") })
		time.Sleep(24 * time.Hour)
		h.put(t, "a", "a day later")
		wg.Wait()
	})
}

// TestClientsThatSentMoreAreMissedInTheEnd has clients that send a byte after
// their request, which keeps net/http from noticing that they go.
func TestClientsThatSentMoreAreMissedInTheEnd(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house, p *pipes) {
		c := p.dial()
		s := subscribe(t, c, "/me/a")
		c.Write([]byte("G"))
		skip(t, s, "Content-Length: 0", "", "")
		c.Close()
		time.Sleep(2*time.Minute + time.Second)
		synctest.Wait()
		if n := h.model.Watches(); n != 0 {
			t.Errorf("%d watches are open", n)
		}
	})
}

func TestSlowRequestsAreCutOff(t *testing.T) {
	for name, c := range map[string]struct {
		sent  string
		after time.Duration
	}{
		"nothing":          {"", 10 * time.Second},
		"half a header":    {"PUT /me/a HTTP/1.1\r\nHost: localh", 10 * time.Second},
		"half a body":      {"PUT /me/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + tok + "\r\nContent-Length: 9\r\n\r\nhalf", time.Minute},
		"after an answer":  {"GET /me/a HTTP/1.1\r\nHost: localhost\r\n\r\n", 2 * time.Minute},
		"a second request": {"GET /me/a HTTP/1.1\r\nHost: localhost\r\n\r\nGET /me/", 10 * time.Second},
	} {
		inBubble(t, nil, func(t *testing.T, h *house, p *pipes) {
			conn := p.dial()
			defer conn.Close()
			began := time.Now()
			var wg sync.WaitGroup
			wg.Go(func() { io.WriteString(conn, c.sent) })
			_, err := io.Copy(io.Discard, conn) // until the server closes
			if took := time.Since(began); err != nil || took < c.after || took > c.after+time.Second {
				t.Errorf("%s: closed after %v (%v), want %v", name, took, err, c.after)
			}
			wg.Wait()
			if got := h.text(t, "a"); got != "nothing: not-found" {
				t.Errorf("%s: stored %q", name, got)
			}
		})
	}
}

func TestLargeHeadersAreRefused(t *testing.T) {
	h := open(t, nil)
	for name, header := range map[string]string{
		"one":  "X-Large: " + strings.Repeat("x", 64<<10),
		"many": strings.Repeat("X-Many: x\r\n", 8<<10) + "X-Last: x",
	} {
		if a := h.ask(t, "GET", "/me/a", "", header); a.status != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%s: got %d", name, a.status)
		}
	}
}

func TestServingEndsWithAListener(t *testing.T) {
	h := newDoor(t, nil)
	bad, good := newPipes(), newPipes()
	bad.Close()
	err := h.door.Serve(t.Context(), good, bad)
	if sennit.CodeOf(err) != sennit.Internal || !errors.Is(err, net.ErrClosed) {
		t.Errorf("serving a closed listener: %v", err)
	}
	select {
	case <-good.done:
	default:
		t.Error("the other listener is still open")
	}
}
