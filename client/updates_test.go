package client_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/client"
)

var (
	space  = sennit.Space{1, 2, 3}
	device = sennit.Device{4, 5, 6}
)

// lines writes line ends as they are sent, and names.
func lines(text string) string {
	return strings.NewReplacer("\n", "\r\n", "SPACE", space.String(), "DEVICE", device.String()).Replace(text)
}

func TestUpdatesAreParsed(t *testing.T) {
	stream := lines("\n\nHTTP 200 OK\nContent-Location: /SPACE/a%20b/%C3%BC\nVersion: \"l-1\"\nAuthor: SPACE DEVICE\nTime: 2026-02-03T04:05:06.789Z\n" +
		"Cursor: 7-8\nContent-Type: text/plain\nX-Unknown: x\ncontent-length: 7\n\n\n\nHTT\n" +
		"\n\nHTTP/1.1 404 Not Found\nContent-Location: /SPACE/a/\nContent-Length: 0\n\n\n\n\n" +
		"HTTP 404\nContent-Location: /SPACE/\nContent-Length:0\n\n" +
		"HTTP 200 OK\nLive: ?1\nCursor: 7-9\nContent-Length: 0\n\n\n" +
		"HTTP 205 Reset Content\nContent-Length: 0\n\n\n" +
		"HTTP 200 OK\nContent-Location: /SPACE/big\nBlob: " + strings.Repeat("ab", 32) + " 123456789012\nContent-Length: 0\n\n\n" +
		"HTTP 202 Accepted\nContent-Location: /SPACE/doc\nAuthor: SPACE DEVICE\nTime: 2026-02-03T04:05:06Z\nUntil: 2026-02-03T04:05:36Z\nContent-Type: a/b\nContent-Length: 2\n\nhi\n")
	want := []client.Block{
		{Status: 200, Located: true, Update: sennit.Update{Kind: sennit.Set, Space: space, Cursor: sennit.Cursor{Epoch: 7, N: 8}, Node: sennit.Node{
			Path: "a b/ü", Version: "l-1", Author: sennit.Principal{Space: space, Device: device}, Time: time.Date(2026, 2, 3, 4, 5, 6, 789e6, time.UTC),
			Value: sennit.Value{Type: "text/plain", Data: []byte("\r\n\r\nHTT")[:7]}}}},
		{Status: 404, Update: sennit.Update{Kind: sennit.Deleted, Space: space, Deep: true, Node: sennit.Node{Path: "a"}}},
		{Status: 404, Update: sennit.Update{Kind: sennit.Deleted, Space: space, Deep: true}},
		{Status: 200, Live: true, Located: true, Update: sennit.Update{Cursor: sennit.Cursor{Epoch: 7, N: 9}}},
		{Status: 205},
		{Status: 200, Update: sennit.Update{Kind: sennit.Set, Space: space, Node: sennit.Node{Path: "big"}}},
		{Status: 202, Update: sennit.Update{Kind: sennit.Message, Space: space, Until: time.Date(2026, 2, 3, 4, 5, 36, 0, time.UTC), Node: sennit.Node{
			Path: "doc", Author: sennit.Principal{Space: space, Device: device}, Time: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC),
			Value: sennit.Value{Type: "a/b", Data: []byte("hi")}}}},
	}
	for name, r := range map[string]io.Reader{
		"at once":      strings.NewReader(stream),
		"byte by byte": iotest.OneByteReader(strings.NewReader(stream)),
		"in halves":    iotest.HalfReader(strings.NewReader(stream)),
	} {
		got, _, err := client.Parse(r)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%s: %d blocks, %v", name, len(got), err)
		}
		if b := got[5].Update.Node.Value.Blob; b == nil || b.Size != 123456789012 || b.Root[0] != 0xab {
			t.Errorf("%s: the blob is %v", name, b)
		}
		got[5].Update.Node.Value.Blob = nil
		for i := range want {
			if a, b := fmt.Sprintf("%+v", got[i]), fmt.Sprintf("%+v", want[i]); a != b {
				t.Errorf("%s, block %d: got %s, want %s", name, i, a, b)
			}
		}
	}
}

func TestMalformedUpdatesAreToldFromBrokenOnes(t *testing.T) {
	ok := "HTTP 200 OK\nContent-Location: /SPACE/a\nContent-Length: 1\n\nx\n"
	for name, c := range map[string]struct {
		text      string
		malformed bool
	}{
		"no status":                 {"Version: \"1\"\n\n", true},
		"a status that is none":     {"HTTP x OK\n\n", true},
		"a line that never ends":    {"HTTP 200 " + strings.Repeat("x", 20<<10), true},
		"a header without a colon":  {"HTTP 200 OK\nnonsense\n\n", true},
		"headers without end":       {"HTTP 200 OK\n" + strings.Repeat("A: b\n", 100), true},
		"no length":                 {"HTTP 200 OK\nContent-Location: /SPACE/a\n\n", true},
		"a negative length":         {"HTTP 200 OK\nContent-Location: /SPACE/a\nContent-Length: -1\n\n", true},
		"a huge length":             {"HTTP 200 OK\nContent-Location: /SPACE/a\nContent-Length: 1048577\n\n", true},
		"no place":                  {"HTTP 200 OK\nContent-Length: 1\n\nx", true},
		"a relative place":          {"HTTP 200 OK\nContent-Location: SPACE/a\nContent-Length: 0\n\n", true},
		"no space":                  {"HTTP 200 OK\nContent-Location: /me/a\nContent-Length: 0\n\n", true},
		"an empty component":        {"HTTP 200 OK\nContent-Location: /SPACE//a\nContent-Length: 0\n\n", true},
		"an encoded slash":          {"HTTP 200 OK\nContent-Location: /SPACE/a%2fb\nContent-Length: 0\n\n", true},
		"a path that leads up":      {"HTTP 200 OK\nContent-Location: /SPACE/%2e%2e/b\nContent-Length: 0\n\n", true},
		"bad encoding":              {"HTTP 200 OK\nContent-Location: /SPACE/%zz\nContent-Length: 0\n\n", true},
		"a value at a subtree":      {"HTTP 200 OK\nContent-Location: /SPACE/a/\nContent-Length: 0\n\n", true},
		"a value at the root":       {"HTTP 200 OK\nContent-Location: /SPACE\nContent-Length: 0\n\n", true},
		"no cursor":                 {"HTTP 200 OK\nCursor: x\nContent-Length: 0\n\n", true},
		"no author":                 {"HTTP 200 OK\nAuthor: x\nContent-Length: 0\n\n", true},
		"no time":                   {"HTTP 200 OK\nTime: yesterday\nContent-Length: 0\n\n", true},
		"no blob":                   {"HTTP 200 OK\nBlob: x 1\nContent-Length: 0\n\n", true},
		"a patch":                   {"HTTP 200 OK\nContent-Range: json .a\nContent-Length: 1\n\nx", true},
		"patches":                   {"HTTP 200 OK\nPatches: 2\n\n", true},
		"a message for ever":        {"HTTP 202 Accepted\nContent-Location: /SPACE/a\nContent-Length: 0\n\n", true},
		"a message nowhere":         {"HTTP 202 Accepted\nUntil: 2026-02-03T04:05:36Z\nContent-Length: 0\n\n", true},
		"a message at a subtree":    {"HTTP 202 Accepted\nContent-Location: /SPACE/a/\nUntil: 2026-02-03T04:05:36Z\nContent-Length: 0\n\n", true},
		"a message with a cursor":   {"HTTP 202 Accepted\nContent-Location: /SPACE/a\nUntil: 2026-02-03T04:05:36Z\nCursor: 7-8\nContent-Length: 0\n\n", true},
		"a message until nonsense":  {"HTTP 202 Accepted\nContent-Location: /SPACE/a\nUntil: soon\nContent-Length: 0\n\n", true},
		"another status":            {"HTTP 500 Internal\nContent-Location: /SPACE/a\nContent-Length: 0\n\n", true},
		"broken in the status line": {"HTTP 200 O", false},
		"broken in the headers":     {"HTTP 200 OK\nContent-Location: /SPA", false},
		"broken before the body":    {"HTTP 200 OK\nContent-Location: /SPACE/a\nContent-Length: 2\n", false},
		"broken in the body":        {"HTTP 200 OK\nContent-Location: /SPACE/a\nContent-Length: 2\n\nx", false},
	} {
		got, malformed, err := client.Parse(strings.NewReader(lines(ok + c.text)))
		if err == nil || malformed != c.malformed || len(got) != 1 {
			t.Errorf("%s: %d blocks, malformed=%v, %v", name, len(got), malformed, err)
		}
	}
}

// FuzzUpdates: a stream gives blocks that make sense and take no more memory
// than it has bytes, however it arrives.
func FuzzUpdates(f *testing.F) {
	for _, s := range []string{
		"HTTP 200 OK\nContent-Location: /SPACE/a\nVersion: \"l-1\"\nAuthor: SPACE DEVICE\nTime: 2026-02-03T04:05:06Z\nCursor: 1-2\nContent-Type: a/b\nContent-Length: 1\n\nx\n",
		"HTTP 404 Not Found\nContent-Location: /SPACE/a%20/\nContent-Length: 0\n\n\n\n\nHTTP 200 OK\nLive: ?1\nCursor: 1-2\nContent-Length: 0\n\n",
		"HTTP 202 Accepted\nContent-Location: /SPACE/a\nUntil: 2026-02-03T04:05:36Z\nContent-Length: 1\n\nx\n",
		"HTTP 205 Reset Content\nContent-Length: 0\n\n\n", "HTTP 200 OK\nBlob: x 1\nContent-Length: 99\n\n",
	} {
		f.Add([]byte(lines(s)))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		got, malformed, err := client.Parse(bytes.NewReader(stream))
		again, malformed2, err2 := client.Parse(iotest.OneByteReader(bytes.NewReader(stream)))
		if len(got) != len(again) || malformed != malformed2 || (err == nil) != (err2 == nil) {
			t.Fatalf("at once %d blocks, %v; byte by byte %d blocks, %v", len(got), err, len(again), err2)
		}
		size := 0
		for _, b := range got {
			u := b.Update
			size += len(u.Node.Value.Data)
			if u.Kind == 0 {
				continue
			}
			if p, err := sennit.ParsePath(string(u.Node.Path)); err != nil || p != u.Node.Path || u.Space.IsZero() {
				t.Errorf("an update at %v %q: %v", u.Space, u.Node.Path, err)
			}
			if u.Kind == sennit.Set && (u.Deep || u.Node.Path == "") || u.Kind == sennit.Deleted && len(u.Node.Value.Data) > 0 {
				t.Errorf("an update that makes no sense: %+v", u)
			}
		}
		if size > len(stream) {
			t.Errorf("%d bytes of values in %d bytes", size, len(stream))
		}
	})
}
