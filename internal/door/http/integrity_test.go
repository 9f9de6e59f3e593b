package httpdoor_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/sennit/sennit"
)

func sha256Of(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// TestABodyThatIsNotWhatItsDigestSaysChangesNothing, by whichever way it comes.
func TestABodyThatIsNotWhatItsDigestSaysChangesNothing(t *testing.T) {
	h := open(t, nil)
	h.ask(t, "PUT", "/me/a", "before", "Content-Type: text/plain")
	h.ask(t, "PUT", "/me/d/", `{"a":1}`, "Content-Type: application/json")
	h.ask(t, "POST", "/me/s?append", "before")
	big := strings.Repeat("0123456789abcdef", 8<<10)
	long := sha512.Sum512([]byte("after"))
	sha512Of := "sha-512=:" + base64.StdEncoding.EncodeToString(long[:]) + ":"
	commit := "DELETE /me/a\r\n\r\n"
	for _, c := range []struct {
		method, target, body string
		header               []string
		status               int
	}{
		{"PUT", "/me/a", "after", []string{"Repr-Digest: " + sha256Of("other")}, 550},
		{"PUT", "/me/a", "after", []string{"Content-Digest: " + sha256Of("other")}, 550},
		{"PUT", "/me/a", "after", []string{"Repr-Digest: md5=:AAAA:, " + sha256Of("other")}, 550},
		{"PUT", "/me/a", "after", []string{"Repr-Digest: " + sha512Of + ", " + sha256Of("other")}, 550},
		{"PUT", "/me/a", "", []string{"Repr-Digest: " + sha256Of("after")}, 550},
		{"PUT", "/me/a", big, []string{"Repr-Digest: " + sha256Of("other")}, 550},
		{"PUT", "/me/a", big, []string{"Content-Digest: " + sha256Of("other")}, 550},
		{"PUT", "/me/a", "AFTER", []string{"Content-Range: text [0:6]", "Repr-Digest: " + sha256Of("other")}, 550},
		{"PUT", "/me/a", "AFTER", []string{"Content-Range: text [0:6]", "Content-Digest: " + sha256Of("other")}, 550},
		{"PUT", "/me/d/", `{"a":2}`, []string{"Content-Type: application/json", "Repr-Digest: " + sha256Of("other")}, 550},
		{"PATCH", "/me/d/", `{"a":2}`, []string{"Content-Type: application/json", "Content-Digest: " + sha256Of("other")}, 550},
		{"PATCH", "/me/d/", `{"a":2}`, []string{"Content-Type: application/json", "Repr-Digest: " + sha256Of("other")}, 501},
		{"POST", "/me/s?append", "after", []string{"Content-Digest: " + sha256Of("other")}, 550},
		{"POST", "/me/s?append", "after", []string{"Repr-Digest: " + sha256Of("after")}, 501},
		{"POST", "/me/", commit, []string{"Content-Type: application/vnd.sennit.commit", "Content-Digest: " + sha256Of("other")}, 550},
		{"POST", "/me/s?live", "after", []string{"Repr-Digest: " + sha256Of("after")}, 501},
		{"DELETE", "/me/a", "", []string{"Repr-Digest: " + sha256Of("")}, 501},
		{"POST", "/me/", commit, []string{"Content-Type: application/vnd.sennit.commit", "Repr-Digest: " + sha256Of(commit)}, 501},
		{"PUT", "/me/a", "after", []string{"Repr-Digest: " + sha256Of("after") + ", " + sha256Of("after")}, 400},
		{"PUT", "/me/a", "after", []string{"Repr-Digest: sha-256"}, 400},
		{"PUT", "/me/a", "after", []string{"Repr-Digest: sha-256=abc"}, 400},
		{"PUT", "/me/a", "after", []string{"Repr-Digest: sha-256=:???:"}, 400},
		{"PUT", "/me/a", "after", []string{"Repr-Digest: sha-256=:AAAA:"}, 400},
		{"PUT", "/me/a", "after", []string{"Repr-Digest: "}, 400},
	} {
		was := h.state(t)
		if a := h.ask(t, c.method, c.target, c.body, c.header...); a.status != c.status || a.problem(t).Code == "" || h.state(t) != was {
			t.Errorf("%s %s %q: %d %s", c.method, c.target, c.header, a.status, a.body)
		}
	}
	for _, c := range []struct {
		method, target, body string
		header               []string
		leaves               string
	}{
		{"PUT", "/me/a", "after", []string{"Repr-Digest: " + sha512Of + ", " + sha256Of("after"), "Content-Digest: " + sha256Of("after"), "Content-Type: text/plain"}, "after"},
		{"PUT", "/me/a", "A", []string{"Content-Range: text [0:1]", "Repr-Digest: " + sha256Of("After"), "Content-Digest: " + sha256Of("A")}, "After"},
		{"PUT", "/me/a", big, []string{"Repr-Digest: " + sha256Of(big) + ", xyz=:AAAA:"}, big},
		{"PUT", "/me/a", "", []string{"Repr-Digest: " + sha256Of("")}, ""},
	} {
		if a := h.ask(t, c.method, c.target, c.body, c.header...); a.status != 204 {
			t.Errorf("%s %s %q: %d %s", c.method, c.target, c.header, a.status, a.body)
		}
		if got := h.ask(t, "GET", c.target, "").body; got != c.leaves {
			t.Errorf("%s %s %q leaves %.40q", c.method, c.target, c.header, got)
		}
	}
}

func TestADigestIsToldToWhoWantsIt(t *testing.T) {
	h := open(t, nil)
	h.ask(t, "PUT", "/me/a", "hello")
	for want, told := range map[string]string{
		"sha-256=1": sha256Of("hello"), "sha-512=10, sha-256=3": sha256Of("hello"), "sha-512=1": "", "sha-256=0": "", "": "",
	} {
		if a := h.ask(t, "GET", "/me/a", "", "Want-Repr-Digest: "+want); a.header.Get("Repr-Digest") != told || a.body != "hello" {
			t.Errorf("%q is answered with %q", want, a.header.Get("Repr-Digest"))
		}
	}
}

// TestALargeBodyIsHashedAsItComes: chunked, so that nobody knows when it ends.
func TestALargeBodyIsHashedAsItComes(t *testing.T) {
	h := open(t, nil)
	body := strings.Repeat("x", 100<<10)
	for digest, want := range map[string]int{sha256Of(body): 204, sha256Of(body + "x"): 550} {
		a := h.raw(t, fmt.Sprintf("PUT /me/big HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\nRepr-Digest: %s\r\n\r\n%x\r\n%s\r\n0\r\n\r\n",
			tok, digest, len(body), body), false)
		if a.status != want {
			t.Errorf("%d %s, want %d", a.status, a.body, want)
		}
	}
	if _, err := h.model.Get(t.Context(), sennit.Addr{Root: "me", Path: "big"}); err != nil {
		t.Error(err)
	}
}
