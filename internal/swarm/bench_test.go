package swarm_test

import (
	"context"
	"crypto/ed25519"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/blob"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	libp2p "github.com/sennit/sennit/internal/peer"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/swarm"
)

// wired is a node on real disks and a real network.
type wired struct {
	n     *node.Node
	r     *replicate.Replicator
	s     *swarm.Swarm
	host  *libp2p.Host
	blobs *blob.Store
	spawn func(func(context.Context))
}

type stream struct{ *libp2p.Conn }

func (c stream) Host() replicate.Host { return replicate.Host(c.Remote()) }
func (c stream) Addr() string         { return c.RemoteAddr() }

func newWired(b *testing.B, listen string) *wired {
	b.Helper()
	dir, w := b.TempDir(), &wired{}
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	id, err := keys.Create(dir, keys.Options{DeviceName: "bench", Now: time.Now()})
	must(err)
	st, err := store.Open(store.Config{Dir: filepath.Join(dir, "store")})
	must(err)
	w.blobs, err = blob.Open(blob.Config{Dir: filepath.Join(dir, "blobs")})
	must(err)
	log := slog.New(slog.DiscardHandler)
	w.n, err = node.New(node.Config{Store: st, Identity: id, Blobs: w.blobs, Log: log})
	must(err)
	w.host, err = libp2p.New(libp2p.Config{Key: id.Host(), Listen: []string{listen}})
	must(err)
	dial := func(ctx context.Context, host replicate.Host, addrs []string, proto string) (stream, error) {
		c, err := w.host.Dial(ctx, libp2p.ID(host), addrs, proto)
		return stream{c}, err
	}
	w.r, err = replicate.New(replicate.Config{
		Node: w.n, Identity: id, Self: replicate.Host(id.Host().Public().(ed25519.PublicKey)), Addrs: w.host.Addrs, Log: log,
		Dial: func(ctx context.Context, host replicate.Host, addrs []string) (replicate.Conn, error) {
			return dial(ctx, host, addrs, "/sennit/sync/1")
		},
	})
	must(err)
	w.s, err = swarm.New(swarm.Config{
		Node: w.n, Sessions: w.r, Log: log, Budget: 1, // fetching is what is measured, and that begins when it is asked for
		Dial: func(ctx context.Context, host replicate.Host) (swarm.Conn, error) {
			return dial(ctx, host, nil, swarm.Protocol)
		},
	})
	must(err)
	w.host.Serve("/sennit/sync/1", func(ctx context.Context, c *libp2p.Conn) { w.r.Serve(ctx, stream{c}) })
	w.host.Serve(swarm.Protocol, func(ctx context.Context, c *libp2p.Conn) { w.s.Serve(ctx, stream{c}) })
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	w.spawn = func(f func(context.Context)) { wg.Go(func() { f(ctx) }) }
	wg.Go(func() { w.n.Run(ctx) })
	wg.Go(func() { w.host.Run(ctx) })
	wg.Go(func() { w.r.Run(ctx) })
	wg.Go(func() { w.s.Run(ctx) })
	b.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := st.Close(); err != nil {
			b.Error(err)
		}
	})
	return w
}

// BenchmarkFetch fetches 256 MiB from another node in the same process, over
// loopback and real disks. rss-MB is the most memory that both had together.
func BenchmarkFetch(b *testing.B) {
	const size = 256 << 20
	for name, listen := range map[string]string{"quic": "/ip4/127.0.0.1/udp/0/quic-v1", "tcp": "/ip4/127.0.0.1/tcp/0"} {
		b.Run(name, func(b *testing.B) {
			from, to := newWired(b, listen), newWired(b, listen)
			_, link, err := from.r.NewInvite(b.Context(), replicate.Invite{Uses: 1, Expires: time.Now().Add(time.Hour)})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := to.r.Join(b.Context(), link, "", nil, to.spawn); err != nil {
				b.Fatal(err)
			}
			space := from.n.Self().Space
			at := sennit.Addr{Root: space.String(), Path: "film"}
			if _, err := from.n.Bus(from.n.Owner()).Put(b.Context(), at, "", io.LimitReader(rand.NewChaCha8([32]byte{1}), size), nil); err != nil {
				b.Fatal(err)
			}
			var got sennit.Node
			for got.Value.Blob == nil {
				time.Sleep(10 * time.Millisecond)
				got, _ = to.n.Bus(to.n.Owner()).Get(b.Context(), at)
			}
			w := node.Want{Space: space, Path: "film", Blob: *got.Value.Blob}
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				if err := to.s.Fetch(b.Context(), w); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := to.blobs.Remove(b.Context(), w.Blob); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(peak(b), "rss-MB")
		})
	}
}

// peak is the most memory that this process had, in MB (proc(5), VmHWM).
func peak(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0 // not on Linux
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				b.Fatal(err)
			}
			return float64(kb) / 1e3
		}
	}
	return 0
}
