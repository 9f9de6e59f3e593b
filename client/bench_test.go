package client_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sennit/sennit/client"
)

// BenchmarkParse is what one update costs to parse.
func BenchmarkParse(b *testing.B) {
	var s strings.Builder
	const n = 1000
	for i := range n {
		fmt.Fprintf(&s, "HTTP 200 OK\nContent-Location: /SPACE/bench/%d\nVersion: \"aaaaaaaaaaaaaaaa-%d\"\nAuthor: SPACE DEVICE\nTime: 2026-02-03T04:05:06.789Z\nCursor: 7-%d\n"+
			"Content-Type: text/plain\nContent-Length: 100\n\n%s\n", i, i, i, strings.Repeat("x", 100))
	}
	stream := lines(s.String())
	b.SetBytes(int64(len(stream) / n))
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= n {
		var r io.Reader = strings.NewReader(stream)
		if got, _, err := client.Parse(r); err != nil || len(got) != n {
			b.Fatalf("%d updates, %v", len(got), err)
		}
	}
}
