//go:build unix

package httpdoor_test

import (
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sennit/sennit"
	httpdoor "github.com/sennit/sennit/internal/door/http"
)

// TestPointsInTimeAreOrderedAsNumbers, however many digits they have.
func TestPointsInTimeAreOrderedAsNumbers(t *testing.T) {
	point := rapid.StringMatching(`-?[0-9]{0,4}\.[0-9]{0,4}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := point.Draw(t, "a"), point.Draw(t, "b")
		number := func(s string) *big.Rat {
			sign, s := strings.HasPrefix(s, "-"), strings.TrimPrefix(s, "-")
			n, ok := new(big.Rat).SetString("0" + s + "0")
			if !ok {
				t.Fatalf("%q is no number", s)
			}
			if sign {
				n.Neg(n)
			}
			return n
		}
		if !httpdoor.IsWallclock(a) || !httpdoor.IsWallclock(b) {
			t.Fatalf("%q or %q is no point", a, b)
		}
		x, y := number(a), number(b)
		if x.Sign() == 0 && y.Sign() == 0 {
			return // minus nothing is nothing; no clock says so
		}
		if want, got := x.Cmp(y) > 0, httpdoor.Newer(a, b); got != want {
			t.Fatalf("%s is newer than %s: %v", a, b, got)
		}
	})
	for _, s := range []string{"", "1", "1.2.3", "a.b", "1e9.", "+1.0", "--1.0", "1.-2", "1,5", strings.Repeat("1", 80) + "."} {
		if httpdoor.IsWallclock(s) {
			t.Errorf("%q is a point in time", s)
		}
	}
}

var aPoint = regexp.MustCompile(`^"[0-9]+\.[0-9]{29}"$`)

func TestValuesWithPointsInTimeAsVersions(t *testing.T) {
	h := open(t, nil)
	const aww, at = "Merge-Type: aww", "Version-Type: wallclockish"
	version := func(a answer) string {
		t.Helper()
		v := a.header.Get("Version")
		if !aPoint.MatchString(v) || a.header.Get("Merge-Type") != "aww" || a.header.Get("Version-Type") != "wallclockish" {
			t.Fatalf("the answer has the headers %v", a.header)
		}
		return strings.Trim(v, `"`)
	}
	one := version(h.ask(t, "PUT", "/me/a", "one", aww, "Content-Type: text/plain"))
	if a := h.ask(t, "GET", "/me/a", "", at); version(a) != one || a.body != "one" || a.header.Get("ETag") == "" {
		t.Errorf("%+v", a)
	}
	// A version that is older, or the same, does nothing.
	for _, old := range []string{one, "1.5", "-3.", "."} {
		if a := h.ask(t, "PUT", "/me/a", "old", aww, `Version: "`+old+`"`); a.status != 204 || version(a) != one || a.header.Get("Current-Version") != `"`+one+`"` {
			t.Errorf("a writing of %s: %+v", old, a)
		}
	}
	// A newer one is done, and what it makes is newer than what it named.
	for _, ahead := range []time.Duration{0, 30 * time.Millisecond} {
		now := time.Now().Add(ahead)
		mine := fmt.Sprintf("%d.%03d1234", now.Unix(), now.Nanosecond()/1e6)
		a := h.ask(t, "PUT", "/me/a", mine, aww, `Version: "`+mine+`"`)
		if got := version(a); a.status != 204 || !httpdoor.Newer(got, mine) {
			t.Errorf("a writing of %s is answered %d, %s", mine, a.status, got)
		}
		if got := h.text(t, "a"); got != mine {
			t.Errorf("it leaves %q", got)
		}
	}
	// Who has seen something newer is told that it isn't here.
	later := fmt.Sprintf("%d.5", time.Now().Unix()+100)
	for _, header := range []string{"Version", "Parents"} {
		for _, method := range []string{"GET", "HEAD"} {
			if a := h.ask(t, method, "/me/a", "", at, header+`: "`+later+`"`); a.status != 309 || a.header.Get("Retry-After") == "" {
				t.Errorf("%s %s: %+v", method, header, a)
			}
			if a := h.ask(t, method, "/me/a", "", at, header+`: "`+one+`"`); a.status != 200 {
				t.Errorf("%s %s of an old one: %+v", method, header, a)
			}
		}
	}
	was := h.state(t)
	for _, c := range []struct {
		header []string
		status int
	}{
		{[]string{aww, `Version: "` + later + `"`}, 400},
		{[]string{aww, `Version: "log-1"`}, 400},
		{[]string{aww, `Version: "1.5", `}, 400},
		{[]string{aww, "If-None-Match: *"}, 400},
		{[]string{"Merge-Type: simpleton"}, 400},
		{[]string{"Version-Type: event"}, 400},
		{[]string{aww, aww}, 400},
	} {
		if a := h.ask(t, "PUT", "/me/a", "no", c.header...); a.status != c.status || h.state(t) != was {
			t.Errorf("%q: %d %s", c.header, a.status, a.body)
		}
	}
	if a := h.ask(t, "PUT", "/me/a", strings.Repeat("x", 100<<10), aww); a.status != 204 || version(a) == "" {
		t.Errorf("a large one: %+v", a)
	}
	if a := h.ask(t, "PUT", "/me/a", strings.Repeat("y", 100<<10), aww, `Version: "1.5"`); a.status != 204 || !strings.HasPrefix(h.ask(t, "GET", "/me/a", "").body, "xx") {
		t.Errorf("a large one that is old: %+v", a)
	}
}

func TestSubscriptionsWithPointsInTimeAsVersions(t *testing.T) {
	h := open(t, nil)
	one := strings.Trim(h.ask(t, "PUT", "/me/a", "one", "Merge-Type: aww").header.Get("Version"), `"`)
	versions := regexp.MustCompile(`\r\nVersion: "([^"]*)"`)
	for _, c := range []struct {
		headers []string
		first   string
	}{
		{[]string{"Merge-Type: aww"}, "one"},
		{[]string{"Merge-Type: aww", `Parents: "1.5"`}, "one"},
		{[]string{"Version-Type: wallclockish", `Parents: "` + one + `"`}, "two"},
	} {
		h.ask(t, "PUT", "/me/a", "one")
		one = strings.Trim(h.ask(t, "GET", "/me/a", "", "Merge-Type: aww").header.Get("Version"), `"`)
		if c.first == "two" {
			c.headers[1] = `Parents: "` + one + `"`
		}
		conn := h.dial(t)
		s := subscribe(t, conn, "/me/a", append(c.headers, "Subscribe: true")...)
		if got := s.resp.Header.Get("Current-Version"); got != `"`+one+`"` || s.resp.Header.Get("Merge-Type") != "aww" {
			t.Errorf("%q: the headers are %v", c.headers, s.resp.Header)
		}
		h.ask(t, "PUT", "/me/a", "two")
		text := ""
		for !strings.Contains(text, "two") {
			line, err := s.r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			text += line
		}
		if strings.Contains(text, "one") != (c.first == "one") {
			t.Errorf("%q: %s", c.headers, text)
		}
		last := ""
		for _, m := range versions.FindAllStringSubmatch(text, -1) {
			if !httpdoor.IsWallclock(m[1]) || !httpdoor.Newer(m[1], last) {
				t.Errorf("%s comes after %s", m[1], last)
			}
			last = m[1]
		}
		conn.Close()
	}
}

// TestADeletionIsToldToWhoResumesWithAPointInTime: that the value is gone is no
// older than what the client has.
func TestADeletionIsToldToWhoResumesWithAPointInTime(t *testing.T) {
	h := open(t, nil)
	one := h.ask(t, "PUT", "/me/a", "one", "Merge-Type: aww").header.Get("Version")
	h.ask(t, "DELETE", "/me/a", "")
	s := subscribe(t, h.dial(t), "/me/a", "Merge-Type: aww", "Subscribe: true", "Parents: "+one)
	if line, err := s.r.ReadString('\n'); line != "HTTP 404 Not Found\r\n" {
		t.Errorf("it is told %q, %v", line, err)
	}
}

// TestPointsInTimeArePassedOverNowhere: where they decide nothing they are refused.
func TestPointsInTimeArePassedOverNowhere(t *testing.T) {
	h := open(t, nil)
	h.ask(t, "PUT", "/me/a", "before", "Content-Type: text/plain")
	h.ask(t, "PUT", "/me/n", "no number")
	was := h.state(t)
	for _, c := range []struct {
		method, target, body string
		header               []string
	}{
		{"PUT", "/me/a", "X", []string{"Content-Range: text [0:1]", `Version: "1.5"`}},
		{"PATCH", "/me/a", "X", []string{"Content-Range: text [0:1]"}},
		{"DELETE", "/me/a", "", []string{`Version: "1.5"`}},
		{"POST", "/me/c?add=1", "", nil},
		{"POST", "/me/s?append", "x", nil},
		{"PUT", "/me/d/", "{}", []string{"Content-Type: application/json"}},
		{"POST", "/me/", "DELETE /me/a\r\n\r\n", []string{"Content-Type: application/vnd.sennit.commit"}},
	} {
		for merge, status := range map[string]int{"aww": 501, "simpleton": 400} {
			if a := h.ask(t, c.method, c.target, c.body, append(c.header, "Merge-Type: "+merge)...); a.status != status || h.state(t) != was {
				t.Errorf("%s %s %q with %s: %d %s", c.method, c.target, c.header, merge, a.status, a.body)
			}
		}
	}
	// Who says no version writes as ever, also without the right to read.
	h.tokens["blind"] = httpdoor.Token{May: sennit.Write, Prefixes: []sennit.Addr{{Root: "me", Path: "blind"}}}
	if a := h.ask(t, "PUT", "/me/blind/a", "x", "Merge-Type: aww", "Authorization: Bearer blind"); a.status != 204 || h.text(t, "blind/a") != "x" {
		t.Errorf("a blind writing: %d %s", a.status, a.body)
	}
	if a := h.ask(t, "GET", "/me/a", "", `Parents: "a-1", "a-2", "a-3", "a-4", "a-5"`); a.status != 400 {
		t.Errorf("many parents: %d", a.status)
	}
}

// TestWhatCameAfterAVersion: of a value that is what is there now.
func TestWhatCameAfterAVersion(t *testing.T) {
	h := open(t, nil)
	one := string(h.put(t, "a", "one"))
	two := string(h.put(t, "a", "two"))
	quoted := func(v string) string { return `"` + v + `"` }
	a := h.ask(t, "GET", "/me/a", "", "Parents: "+quoted(one))
	if a.status != 209 || a.header.Get("Content-Type") != "application/http-history" || a.header.Get("Current-Version") != quoted(two) ||
		!strings.Contains(a.body, "Version: "+quoted(two)+"\r\n") || !strings.HasSuffix(a.body, "\r\n\r\ntwo\r\n") || strings.Contains(a.body, "one") {
		t.Errorf("after the first: %+v", a)
	}
	if a := h.ask(t, "GET", "/me/a", "", "Parents: "+quoted(two)); a.status != 209 || a.body != "" {
		t.Errorf("after the last: %+v", a)
	}
	if a := h.ask(t, "GET", "/me/a", "", "Parents: "); a.status != 209 || !strings.HasSuffix(a.body, "two\r\n") {
		t.Errorf("after nothing: %+v", a)
	}
	if a := h.ask(t, "HEAD", "/me/a", "", "Parents: "+quoted(one)); a.status != 209 || a.header.Get("Current-Version") != quoted(two) {
		t.Errorf("the head of it: %+v", a)
	}
	for _, bad := range []string{"one", `"a`, "1", `["a"]`} {
		if a := h.ask(t, "GET", "/me/a", "", "Parents: "+bad); a.status != 400 {
			t.Errorf("%s: %d", bad, a.status)
		}
	}
	want(t, h.ask(t, "GET", "/me/a", "", "Parents: "+quoted(one), "Version: "+quoted(two)), 501, sennit.Unsupported)
}

// TestAVersionThatIsNotHereYetIsWaitedFor, but not for long.
func TestAVersionThatIsNotHereYetIsWaitedFor(t *testing.T) {
	h := open(t, nil)
	h.put(t, "a", "one")
	one := h.put(t, "a", "two")
	// The next version of the model's can be told from the last.
	log, seq, _ := strings.Cut(string(one), "-")
	n := 0
	fmt.Sscan(seq, &n)
	next := fmt.Sprintf(`"%s-%d"`, log, n+1)
	done := make(chan answer)
	go func() { done <- h.ask(t, "GET", "/me/a", "", "Parents: "+next) }()
	soon(t, "it waits", func() bool { return h.model.Watches() == 1 })
	h.put(t, "a", "three")
	if a := <-done; a.status != 209 || a.header.Get("Current-Version") != next {
		t.Errorf("what came meanwhile: %+v", a)
	}
	begun := time.Now()
	a := h.ask(t, "GET", "/me/a", "", `Parents: "nobody-1"`)
	if a.status != 309 || a.header.Get("Current-Version") != next || a.header.Get("Retry-After") != "1" || time.Since(begun) < 2*time.Second {
		t.Errorf("what never comes, after %v: %+v", time.Since(begun), a)
	}
}
