package peer_test

import (
	"bytes"
	"context"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/sennit/sennit/internal/peer"
)

// BenchmarkRoundTrip sends 300 bytes there and back; p50-ns is the median.
func BenchmarkRoundTrip(b *testing.B) {
	for _, tt := range transports {
		b.Run(tt.name, func(b *testing.B) {
			c, s, _, _ := pair(b, tt.listen)
			ctx := b.Context()
			go func() {
				for {
					msg, err := s.Recv(ctx)
					if err != nil || s.Send(ctx, msg) != nil {
						return
					}
				}
			}()
			msg := noise(1, 300)
			var took []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				began := time.Now()
				if err := c.Send(ctx, msg); err != nil {
					b.Fatal(err)
				}
				if _, err := c.Recv(ctx); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2]), "p50-ns")
		})
	}
}

// records is n bytes of records of 200 bytes, each of which holds so many that
// don't compress.
func records(n, random int) []byte {
	out := prose(n)
	for i := 0; i+200 <= n; i += 200 {
		copy(out[i:], noise(uint64(i), random))
	}
	return out
}

// BenchmarkThroughput sends 25 MB in messages of 256 KiB, and waits until the
// last has arrived; wire-% is what went over the stream.
func BenchmarkThroughput(b *testing.B) {
	const size, total = 256 << 10, 25 << 20
	for _, tt := range transports {
		for _, kind := range []struct {
			name   string
			random int
		}{{"incompressible", 200}, {"half", 100}, {"text", 0}} {
			b.Run(tt.name+"/"+kind.name, func(b *testing.B) {
				c, s, _, _ := pair(b, tt.listen)
				ctx := b.Context()
				data := records(total, kind.random)
				go func() {
					for {
						for range total / size {
							if _, err := s.Recv(ctx); err != nil {
								return
							}
						}
						if s.Send(ctx, nil) != nil {
							return
						}
					}
				}()
				b.SetBytes(total)
				n := 0
				for b.Loop() {
					n++
					for rest := range slices.Chunk(data, size) {
						if err := c.Send(ctx, rest); err != nil {
							b.Fatal(err)
						}
					}
					if _, err := c.Recv(ctx); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(100*float64(c.Stats().Out)/float64(n*total), "wire-%")
			})
		}
	}
}

// BenchmarkFrames is the framing without a network.
func BenchmarkFrames(b *testing.B) {
	for _, kind := range []struct {
		name  string
		msg   []byte
		speed float64 // of the network it pretends to have
	}{
		{"100 incompressible", noise(1, 100), 0},
		{"300 incompressible", noise(1, 300), 0},
		{"300 text", prose(300), 0},
		{"256 KiB incompressible", noise(1, 256<<10), 0},
		{"256 KiB half, slow network", records(256<<10, 100), 1e3},
		{"256 KiB half, fast network", records(256<<10, 100), 1},
	} {
		b.Run("write/"+kind.name, func(b *testing.B) {
			w := peer.NewFrameWriter(io.Discard, rich())
			b.SetBytes(int64(len(kind.msg)))
			b.ReportAllocs()
			for b.Loop() {
				w.Wire(kind.speed)
				if err := w.Write(kind.msg); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("read/"+kind.name, func(b *testing.B) {
			var wire bytes.Buffer
			w := peer.NewFrameWriter(&wire, rich())
			const batch = 100
			b.SetBytes(int64(len(kind.msg)))
			b.ReportAllocs()
			r, left := peer.NewFrameReader(&wire, rich()), 0
			for b.Loop() {
				if left == 0 {
					b.StopTimer()
					for range batch {
						w.Wire(kind.speed)
						if err := w.Write(kind.msg); err != nil {
							b.Fatal(err)
						}
					}
					left = batch
					b.StartTimer()
				}
				left--
				if _, err := r.Read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDial opens and closes a stream on a connection that is there.
func BenchmarkDial(b *testing.B) {
	for _, tt := range transports {
		b.Run(tt.name, func(b *testing.B) {
			c, _, from, to := pair(b, tt.listen)
			defer c.Close()
			closed := make(chan struct{})
			to.Serve(proto, func(ctx context.Context, c *peer.Conn) {
				c.Recv(ctx)
				closed <- struct{}{}
			})
			for b.Loop() {
				dial(b, from, to).Close()
				<-closed
			}
		})
	}
}
