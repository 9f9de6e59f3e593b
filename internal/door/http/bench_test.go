package httpdoor_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sennit/sennit"
	httpdoor "github.com/sennit/sennit/internal/door/http"
)

// perSecond reports requests per second.
func perSecond(b *testing.B) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// exchange sends requests over connections of its own, without the cost of an
// HTTP client: what is measured is the door, net/http and the kernel. Each
// request gets its number.
func exchange(b *testing.B, addr string, request func(i int64) string) {
	var n atomic.Int64
	b.SetParallelism(8) // connections per processor
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		for pb.Next() {
			if _, err := io.WriteString(c, request(n.Add(1))); err != nil {
				b.Error(err)
				return
			}
			length := 0
			for first := true; ; first = false {
				line, err := r.ReadSlice('\n')
				if err != nil || first && string(line[9:11]) != "20" {
					b.Errorf("got %q, %v", line, err)
					return
				}
				if len(line) == 2 {
					break
				}
				if n, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
					length, _ = strconv.Atoi(string(bytes.TrimSpace(n)))
				}
			}
			if _, err := r.Discard(length); err != nil {
				b.Error(err)
				return
			}
		}
	})
	perSecond(b)
}

const benchHead = " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + tok + "\r\n"

// BenchmarkLoopbackNothing is net/http and the kernel alone: the ceiling.
func BenchmarkLoopbackNothing(b *testing.B) {
	body := []byte(strings.Repeat("x", 100))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(body) }))
	defer s.Close()
	exchange(b, s.Listener.Addr().String(), func(int64) string { return "GET /me/bench/a" + benchHead + "\r\n" })
}

func BenchmarkLoopbackGet(b *testing.B) {
	h := open(b, nil)
	h.put(b, "bench/a", strings.Repeat("x", 100))
	exchange(b, h.addr, func(int64) string { return "GET /me/bench/a" + benchHead + "\r\n" })
}

func BenchmarkLoopbackPut(b *testing.B) {
	h := open(b, nil)
	body := strings.Repeat("x", 100)
	exchange(b, h.addr, func(i int64) string {
		return fmt.Sprintf("PUT /me/bench/%d%sContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", i%1000, benchHead, len(body), body)
	})
}

func BenchmarkClientGet(b *testing.B) {
	h := open(b, nil)
	h.put(b, "bench/a", strings.Repeat("x", 100))
	c := h.client(b, h.byTCP(tok))
	b.SetParallelism(8)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Get(context.Background(), sennit.Addr{Root: "me", Path: "bench/a"}); err != nil {
				b.Error(err)
				return
			}
		}
	})
	perSecond(b)
}

// nowhere is a ResponseWriter that counts.
type nowhere struct {
	header http.Header
	bytes  int
}

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) WriteHeader(int)             {}
func (w *nowhere) Write(p []byte) (int, error) { w.bytes += len(p); return len(p), nil }
func (w *nowhere) Flush()                      {}

// BenchmarkHandlerGet is a GET without net/http and the kernel.
func BenchmarkHandlerGet(b *testing.B) {
	h := newDoor(b, nil)
	h.put(b, "bench/a", strings.Repeat("x", 100))
	r := httptest.NewRequest("GET", "/me/bench/a", nil)
	r.Host = "localhost"
	r.Header.Set("Authorization", "Bearer "+tok)
	w := &nowhere{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		h.door.ServeHTTP(w, r)
	}
}

// feed is a Bus with a watch that gives the same updates n times.
type feed struct {
	sennit.Bus
	updates []sennit.Update
	n       int
}

func (f *feed) Watch(context.Context, []sennit.Pattern, sennit.WatchOptions) (sennit.Watch, error) {
	return f, nil
}

func (f *feed) Next(context.Context) ([]sennit.Update, error) {
	if f.n == 0 {
		return nil, io.EOF
	}
	f.n--
	return f.updates, nil
}

func (f *feed) Close() error { return nil }

// BenchmarkSubscriber is what one update costs on its way to one subscriber,
// without net/http and the kernel, in batches of 1 and of 64.
func BenchmarkSubscriber(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			h := newDoor(b, nil)
			for i := range batch {
				h.put(b, fmt.Sprintf("bench/%d", i), strings.Repeat("x", 100))
			}
			w, err := h.model.Watch(b.Context(), []sennit.Pattern{{Root: "me"}}, sennit.WatchOptions{})
			if err != nil {
				b.Fatal(err)
			}
			updates, err := w.Next(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			updates = updates[:batch]
			out := &nowhere{header: http.Header{}}
			f := &feed{updates: updates}
			d, err := httpdoor.New(httpdoor.Config{Bus: func(httpdoor.Caller) sennit.Bus { return f }})
			if err != nil {
				b.Fatal(err)
			}
			r := httptest.NewRequest("GET", "/me/", nil)
			r.Host = "localhost"
			r.Header.Set("Subscribe", "?1")
			b.ReportAllocs()
			b.ResetTimer()
			f.n = (b.N + batch - 1) / batch
			d.ServeHTTP(out, r)
			b.ReportMetric(float64(out.bytes)/float64(b.N), "sent-B/update")
		})
	}
}

// BenchmarkWatch is an update's way from a write, through the door and a
// socket, to the reader of a client.
func BenchmarkWatch(b *testing.B) {
	for _, over := range []string{"unix", "tcp"} {
		b.Run(over, func(b *testing.B) {
			h := open(b, nil)
			cfg := h.bySocket()
			if over == "tcp" {
				cfg = h.byTCP(tok)
			}
			w, err := h.client(b, cfg).Watch(b.Context(), []sennit.Pattern{{Root: "me", Path: "bench"}}, sennit.WatchOptions{Tail: true})
			if err != nil {
				b.Fatal(err)
			}
			defer w.Close()
			if _, err := w.Next(b.Context()); err != nil {
				b.Fatal(err)
			}
			changes := make([]sennit.Change, 64)
			for i := range changes {
				changes[i] = sennit.Change{Kind: sennit.KindPut, Path: sennit.MustPath(fmt.Sprintf("bench/%d", i)),
					Value: sennit.Value{Type: "text/plain", Data: make([]byte, 100)}}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for left := b.N; left > 0; {
				n := min(left, len(changes))
				left -= n
				if _, err := h.model.Write(b.Context(), "me", changes[:n]); err != nil {
					b.Fatal(err)
				}
				for n > 0 {
					updates, err := w.Next(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					n -= len(updates)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}
