package client_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/client"
	"github.com/sennit/sennit/internal/bubble"
)

// script is what a node does on one connection of a watch: it is sent the
// request's Since, and says what to answer.
type script struct {
	since  string // what the request must say
	status int    // 0 for 209
	text   string // the stream; "|" ends it without an end
	stay   bool   // leave the connection open
}

// run watches over a node that follows scripts, one for each connection, and
// returns what the reader gets until the last script has been played and n
// updates have come.
func play(t *testing.T, o sennit.WatchOptions, n int, scripts ...script) (got []sennit.Update, failure error) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		conns := 0
		ctx, cancel := context.WithCancel(context.Background())
		c := client.New(func(context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			if conns == len(scripts) {
				t.Errorf("connection %d was not to be made", conns+1)
				cancel()
				return nil, context.Canceled
			}
			s := scripts[conns]
			conns++
			wg.Go(func() {
				defer far.Close()
				r, err := http.ReadRequest(bufio.NewReader(far))
				if err != nil {
					t.Errorf("connection %d: %v", conns, err)
					return
				}
				if got := r.Header.Get("Since"); got != s.since || r.Header.Get("Subscribe") != "?1" || r.URL.Path != "/me/p/" {
					t.Errorf("connection %d asks for %s since %q, want %q", conns, r.URL, got, s.since)
				}
				if s.status != 0 {
					fmt.Fprintf(far, "HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", s.status)
					return
				}
				far.Write([]byte("HTTP/1.1 209 Subscription\r\nContent-Type: application/http-history\r\n\r\n"))
				far.Write([]byte(lines(s.text)))
				if s.stay {
					<-ctx.Done()
				}
			})
			return near, nil
		})
		w, err := c.Watch(ctx, []sennit.Pattern{{Root: "me", Path: "p"}}, o)
		if err != nil {
			failure = err
			cancel()
			wg.Wait()
			return
		}
		for len(got) < n {
			updates, err := w.Next(ctx)
			if err != nil {
				failure = err
				break
			}
			got = append(got, updates...)
		}
		synctest.Wait()
		w.Close()
		cancel()
		wg.Wait()
		if conns != len(scripts) {
			t.Errorf("%d connections were made, want %d", conns, len(scripts))
		}
	})
	return got, failure
}

func set(path, cursor string) string {
	s := "HTTP 200 OK\nContent-Location: /SPACE/" + path + "\n"
	if cursor != "" {
		s += "Cursor: " + cursor + "\n"
	}
	return s + "Content-Length: 1\n\nx\n"
}

func live(cursor string) string {
	return "HTTP 200 OK\nLive: ?1\nCursor: " + cursor + "\nContent-Length: 0\n\n\n"
}

func said(path string) string {
	return "HTTP 202 Accepted\nContent-Location: /SPACE/" + path + "\nUntil: 2026-02-03T04:05:36Z\nContent-Length: 1\n\nx\n"
}

const reset = "HTTP 205 Reset Content\nContent-Length: 0\n\n\n"

// tell writes updates as a line: paths, with cursors, and marks.
func tell(updates []sennit.Update) string {
	var s []string
	for _, u := range updates {
		text := map[sennit.UpdateKind]string{sennit.Set: "+", sennit.Deleted: "-", sennit.Live: "live", sennit.Reset: "reset", sennit.Message: "!"}[u.Kind] + string(u.Node.Path)
		if u.Cursor != (sennit.Cursor{}) {
			text += fmt.Sprintf("@%d-%d", u.Cursor.Epoch, u.Cursor.N)
		}
		s = append(s, text)
	}
	return strings.Join(s, " ")
}

func TestWatchGoesOnWhereItWas(t *testing.T) {
	since := sennit.Cursor{Epoch: 1, N: 3}
	for name, c := range map[string]struct {
		o       sennit.WatchOptions
		scripts []script
		want    string
	}{
		"a commit is told as a whole": {
			scripts: []script{{text: set("p/a", "") + live("1-5") + set("p/b", "") + set("p/c", "1-6") + set("p/d", "1-7"), stay: true}},
			want:    "+p/a live@1-5 +p/b@1-6 +p/c@1-6 +p/d@1-7",
		},
		"broken after a commit": {
			scripts: []script{{text: live("1-5") + set("p/b", "1-6")}, {since: "1-6", text: set("p/c", "1-7"), stay: true}},
			want:    "live@1-5 +p/b@1-6 +p/c@1-7",
		},
		"broken within a commit": {
			scripts: []script{{text: live("1-5") + set("p/b", "1-6") + set("p/c", "") + set("p/d", "")[:50]}, {since: "1-6", text: set("p/c", "") + set("p/d", "1-7"), stay: true}},
			want:    "live@1-5 +p/b@1-6 +p/c@1-7 +p/d@1-7",
		},
		"broken within the snapshot": {
			scripts: []script{{text: set("p/a", "") + set("p/b", "")}, {text: set("p/a", "") + set("p/b", "") + live("1-5"), stay: true}},
			want:    "+p/a +p/b reset +p/a +p/b live@1-5",
		},
		"messages belong to no commit": {
			o:       sennit.WatchOptions{Messages: true},
			scripts: []script{{text: live("1-5") + said("p/a") + set("p/b", "1-6") + said("p/a")}, {since: "1-6", text: said("p/c") + set("p/d", "1-7"), stay: true}},
			want:    "live@1-5 !p/a +p/b@1-6 !p/a !p/c +p/d@1-7",
		},
		"broken before anything": {
			scripts: []script{{}, {text: "HTTP 200 O"}, {text: set("p/a", "") + live("1-5"), stay: true}},
			want:    "+p/a live@1-5",
		},
		"broken after the snapshot": {
			scripts: []script{{text: set("p/a", "") + live("1-5")}, {since: "1-5", text: live("1-5") + set("p/b", "1-6"), stay: true}},
			want:    "+p/a live@1-5 +p/b@1-6",
		},
		"continued, and broken at once": {
			o:       sennit.WatchOptions{Since: since},
			scripts: []script{{since: "1-3"}, {since: "1-3", text: set("p/a", "") + set("p/b", "1-4")}, {since: "1-4", text: set("p/c", "1-5"), stay: true}},
			want:    "+p/a@1-4 +p/b@1-4 +p/c@1-5",
		},
		"continued, with a mark": {
			o:       sennit.WatchOptions{Since: since},
			scripts: []script{{since: "1-3", text: set("p/a", "1-4") + live("1-4")}, {since: "1-4", text: live("1-4") + set("p/c", "1-5"), stay: true}},
			want:    "+p/a@1-4 live@1-4 +p/c@1-5",
		},
		"reset by the node": {
			o:       sennit.WatchOptions{Since: since},
			scripts: []script{{since: "1-3", text: reset + set("p/a", "")}, {text: set("p/a", "") + live("2-1") + reset + live("3-1")}, {since: "3-1", text: set("p/b", "3-2"), stay: true}},
			want:    "reset +p/a reset +p/a live@2-1 reset live@3-1 +p/b@3-2",
		},
		"history that is gone": {
			scripts: []script{{text: live("1-5")}, {since: "1-5", status: 410}, {text: set("p/a", "") + live("2-1"), stay: true}},
			want:    "live@1-5 reset +p/a live@2-1",
		},
		"a node that has trouble": {
			scripts: []script{{text: live("1-5")}, {since: "1-5", status: 503}, {since: "1-5", status: 500}, {since: "1-5", status: 429}, {since: "1-5", status: 200},
				{since: "1-5", text: set("p/b", "1-6"), stay: true}},
			want: "live@1-5 +p/b@1-6",
		},
	} {
		n := len(strings.Fields(c.want))
		got, err := play(t, c.o, n, c.scripts...)
		if err != nil || tell(got) != c.want {
			t.Errorf("%s: got %s (%v), want %s", name, tell(got), err, c.want)
		}
	}
}

func TestWatchEndsWhereItIsNotWanted(t *testing.T) {
	for status, code := range map[int]sennit.Code{400: sennit.BadInput, 401: sennit.Denied, 403: sennit.Denied, 404: sennit.NotFound, 501: sennit.Unsupported} {
		got, err := play(t, sennit.WatchOptions{}, 9, script{text: live("1-5") + set("p/a", "1-6")}, script{since: "1-6", status: status})
		if tell(got) != "live@1-5 +p/a@1-6" || sennit.CodeOf(err) != code {
			t.Errorf("%d: got %s and %v (%s), want %s", status, tell(got), err, sennit.CodeOf(err), code)
		}
		if _, err := play(t, sennit.WatchOptions{}, 9, script{status: status}); sennit.CodeOf(err) != code {
			t.Errorf("%d at once: %v (%s), want %s", status, err, sennit.CodeOf(err), code)
		}
	}
	got, err := play(t, sennit.WatchOptions{}, 9, script{text: live("1-5") + set("p/a", "1-6") + "nonsense\n\n", stay: true})
	if tell(got) != "live@1-5 +p/a@1-6" || sennit.CodeOf(err) != sennit.Unreachable || !strings.Contains(err.Error(), "makes no sense") {
		t.Errorf("nonsense: got %s and %v", tell(got), err)
	}
	endless := live("1-5") + strings.Repeat(set("p/a", ""), 20000)
	if got, err := play(t, sennit.WatchOptions{}, 9, script{text: endless, stay: true}); tell(got) != "live@1-5" || !strings.Contains(fmt.Sprint(err), "without an end") {
		t.Errorf("a commit without end: got %d updates and %v", len(got), err)
	}
}

// TestAQuietConnectionCountsAsBroken has a node that sends neither updates nor
// heartbeats any more, as after the machine lost its network.
func TestAQuietConnectionCountsAsBroken(t *testing.T) {
	began := time.Time{}
	bubble.Test(t, func(t *testing.T) {
		began = time.Now()
		done := make(chan struct{})
		var wg sync.WaitGroup
		var times []time.Duration
		c := client.New(func(context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			times = append(times, time.Since(began))
			first := len(times) == 1
			wg.Go(func() {
				defer far.Close()
				http.ReadRequest(bufio.NewReader(far))
				far.Write([]byte("HTTP/1.1 209 Subscription\r\nContent-Type: application/http-history\r\n\r\n" + lines(live("1-5"))))
				if first {
					for range 3 { // heartbeats, and then none
						time.Sleep(20 * time.Second)
						far.Write([]byte("\r\n"))
					}
				} else {
					far.Write([]byte(lines(set("p/a", "1-6"))))
				}
				<-done
			})
			return near, nil
		})
		w, err := c.Watch(t.Context(), []sennit.Pattern{{Root: "me", Path: "p"}}, sennit.WatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var got []sennit.Update
		for len(got) < 2 {
			u, err := w.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, u...)
		}
		want := time.Minute + client.Quiet
		if tell(got) != "live@1-5 +p/a@1-6" || len(times) != 2 || times[1] < want || times[1] > want+time.Second {
			t.Errorf("got %s, with connections at %v, want the second at %v", tell(got), times, want)
		}
		close(done)
		w.Close()
		wg.Wait()
	})
}

// TestConnectingIsGivenUpWithItsContext has a node that never answers.
func TestConnectingIsGivenUpWithItsContext(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		done := make(chan struct{})
		c := client.New(func(context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			wg.Go(func() {
				http.ReadRequest(bufio.NewReader(far))
				<-done
				far.Close()
			})
			return near, nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := c.Watch(ctx, []sennit.Pattern{{Root: "me"}}, sennit.WatchOptions{}); sennit.CodeOf(err) != sennit.Timeout || time.Since(began) > 2*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if _, err := c.Watch(t.Context(), []sennit.Pattern{{Root: "me"}}, sennit.WatchOptions{}); sennit.CodeOf(err) != sennit.Unreachable {
			t.Errorf("a node that does not answer: %v", err)
		}
		close(done)
		wg.Wait()
	})
}
