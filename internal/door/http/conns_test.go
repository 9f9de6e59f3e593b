//go:build unix

package httpdoor_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/sennit/sennit"
	httpdoor "github.com/sennit/sennit/internal/door/http"
)

// TestConnectionsAreBounded, and the owner's, through the socket, aren't among them.
func TestConnectionsAreBounded(t *testing.T) {
	h := open(t, func(c *httpdoor.Config) { c.Limits.Conns = 2 })
	dial := func() (net.Conn, *bufio.Reader) {
		t.Helper()
		c, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(20 * time.Second))
		return c, bufio.NewReader(c)
	}
	get := func(c net.Conn, r *bufio.Reader, headers string) int {
		t.Helper()
		if c != nil {
			io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: localhost\r\n"+headers+"\r\n")
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	c1, r1 := dial()
	c2, r2 := dial()
	for range 2 {
		if a, b := get(c1, r1, ""), get(c2, r2, ""); a != 200 || b != 200 {
			t.Fatalf("two connections are answered %d and %d", a, b)
		}
	}
	for range 10 {
		if _, r := dial(); get(nil, r, "") != http.StatusServiceUnavailable {
			t.Error("a third is taken")
		}
	}
	if h.door.Stats().Refused[http.StatusServiceUnavailable] != 10 {
		t.Errorf("it counts %v", h.door.Stats().Refused)
	}
	if _, err := h.client(t, h.bySocket()).Digest(t.Context(), sennit.Addr{Root: "me"}); err != nil {
		t.Errorf("the owner is refused: %v", err)
	}
	// Also one that serves a subscription gives its place back.
	io.WriteString(c1, "GET /me/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+tok+"\r\nSubscribe: ?1\r\n\r\n")
	if resp, err := http.ReadResponse(r1, nil); err != nil || resp.StatusCode != 209 {
		t.Fatalf("%v, %v", resp, err)
	}
	c1.Close()
	soon(t, "there is room again", func() bool {
		h.put(t, "a", "x") // by which the subscription finds out
		c, r := dial()
		defer c.Close()
		io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		return err == nil && resp.StatusCode == 200
	})
}
