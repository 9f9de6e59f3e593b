package httpdoor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sennit/sennit"
)

func TestLiveMessagesOverHTTP(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house, p *pipes) {
		oddSpeed()
		names := h.names(t)
		h.put(t, "doc", "one") // 1
		all, value, quiet := p.dial(), p.dial(), p.dial()
		defer all.Close()
		defer value.Close()
		defer quiet.Close()
		tree := subscribe(t, all, "/me/doc/?messages")
		one := subscribe(t, value, "/me/doc?messages=1")
		none := subscribe(t, quiet, "/me/doc/")
		set := "HTTP 200 OK\nContent-Location: /SPACE/doc\nVersion: <V1>\nWHO\n"
		rest := "Content-Type: text/plain\nContent-Length: 3\n\none\n"
		marker := "HTTP 200 OK\nLive: ?1\nCursor: <C1>\nContent-Length: 0\n\n\n"
		tree.read(set+rest+marker, names)
		none.read(set+rest+marker, names)
		one.read(set+"Live: ?1\nCursor: <C1>\n"+rest, names)

		send := p.dial()
		defer send.Close()
		sent := time.Now()
		const body = `{"at":12}`
		request := "POST /me/doc?live=2.5 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + tok + "\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n" + body
		if _, err := send.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, len("HTTP/1.1 202 Accepted"))
		if _, err := send.Read(answer); err != nil || string(answer) != "HTTP/1.1 202 Accepted" {
			t.Fatalf("the answer begins %q, %v", answer, err)
		}
		void := sent.Add(2500 * time.Millisecond).UTC().Format(time.RFC3339Nano)
		block := "HTTP 202 Accepted\nContent-Location: /SPACE/doc\nWHO\nUntil: " + void + "\nContent-Type: application/json\nContent-Length: 9\n\n" + body + "\n"
		tree.read(block, names)
		one.read(block, names)
		h.put(t, "doc", "two") // 2
		two := "HTTP 200 OK\nContent-Location: /SPACE/doc\nVersion: <V2>\nWHO\nCursor: <C2>\nContent-Type: text/plain\nContent-Length: 3\n\ntwo\n"
		for _, s := range []*subscription{tree, one, none} {
			s.read(two, names)
		}
	})
}

func TestLiveMessagesThatAreRefused(t *testing.T) {
	h := open(t, nil)
	want(t, h.ask(t, "POST", "/me/doc?live", "x", "Content-Type: text/plain"), 202, "")
	want(t, h.ask(t, "POST", "/me/doc?live=60", ""), 202, "")
	want(t, h.ask(t, "POST", "/me/doc?live=0.001", strings.Repeat("x", sennit.MaxMessage)), 202, "")
	before := h.state(t)
	for _, c := range []struct {
		target, header string
		status         int
	}{
		{"/me/doc?live=0", "X-Nothing: x", 400},
		{"/me/doc?live=0.0009", "X-Nothing: x", 400},
		{"/me/doc?live=60.1", "X-Nothing: x", 400},
		{"/me/doc?live=-1", "X-Nothing: x", 400},
		{"/me/doc?live=1e1", "X-Nothing: x", 400},
		{"/me/doc?live=Inf", "X-Nothing: x", 400},
		{"/me/doc?live=.", "X-Nothing: x", 400},
		{"/me/doc?live=00000000001", "X-Nothing: x", 400},
		{"/me/doc?live&live", "X-Nothing: x", 400},
		{"/me/doc?live&append", "X-Nothing: x", 400},
		{"/me/doc?live", "Content-Type: nonsense", 400},
		{"/me/doc?live", "If-None-Match: *", 501},
		{"/me/doc?live", "Content-Encoding: gzip", 415},
		{"/me/doc/?live", "X-Nothing: x", 405},
		{"/me?live", "X-Nothing: x", 400},
		{"/me/.acl/x?live", "X-Nothing: x", 403},
		{"/@nobody/doc?live", "X-Nothing: x", 404},
	} {
		if a := h.ask(t, "POST", c.target, "x", c.header); a.status != c.status {
			t.Errorf("%s with %s: %d %s, want %d", c.target, c.header, a.status, a.body, c.status)
		}
	}
	want(t, h.ask(t, "POST", "/me/doc?live", strings.Repeat("x", sennit.MaxMessage+1)), 413, sennit.TooLarge)
	want(t, h.ask(t, "GET", "/me/doc/?messages=no", "", "Subscribe: ?1"), 400, sennit.BadInput)
	want(t, h.ask(t, "GET", "/me/doc", ""), 404, sennit.NotFound)
	if after := h.state(t); after != before {
		t.Errorf("the state was %v and is %v", before, after)
	}
}
