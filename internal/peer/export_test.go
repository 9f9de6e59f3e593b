package peer

import (
	"context"
	"io"
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// What the tests, which are outside of the package, need of its inside.

const (
	MaxNeighbours  = maxNeighbours
	MaxLANAddrs    = maxLANAddrs
	LANTTL         = lanTTL
	FirstStep      = firstStep
	UnpackerMemory = unpackerMemory
	PackerMemory   = packerMemory
	MaxMemory      = maxMemory
)

type (
	Memory      = memory
	FrameReader struct{ *frameReader }
	FrameWriter struct{ *frameWriter }
	Gauge       struct{ gauge }
	Sighting    struct {
		ID    ID
		Addrs []string
		TTL   time.Duration
	}
	Neighbours struct{ lan }
)

func NewFrameReader(r io.Reader, m Memory) FrameReader { return FrameReader{newFrameReader(r, m)} }
func NewFrameWriter(w io.Writer, m Memory) FrameWriter { return FrameWriter{newFrameWriter(w, m)} }
func (r FrameReader) Read() ([]byte, error)            { return r.read() }
func (w FrameWriter) Write(msg []byte) error           { return w.write(msg) }

// Wire says how fast the network pretends to be, in ns per byte.
func (w FrameWriter) Wire(speed float64) { w.gauge.speed = speed }

func (g *Gauge) Worth(n int) bool { return g.worth(n) }
func (g *Gauge) Pays(n, part, size int, took time.Duration) bool {
	return g.pays(n, part, size, took)
}
func (g *Gauge) Wrote(n int, took time.Duration) { g.wrote(n, took) }

func Guard(ctx context.Context, set func(time.Time) error) func() { return guard(ctx, set) }

func Question() ([]byte, error) { return question() }
func Answer(instance string, addrs []string, ttl time.Duration) ([]byte, error) {
	return answer(instance, addrs, ttl)
}

func Hear(packet []byte, from netip.Addr) (asks bool, seen []Sighting) {
	asks, all := hear(packet, from)
	for _, s := range all {
		seen = append(seen, Sighting{s.id, s.addrs, s.ttl})
	}
	return asks, seen
}

func NewNeighbours(self ID) *Neighbours { return &Neighbours{lan{self: self}} }

func (n *Neighbours) Note(now time.Time, seen ...Sighting) bool {
	var all []sighting
	for _, s := range seen {
		all = append(all, sighting{s.ID, s.Addrs, s.TTL})
	}
	return n.note(now, all)
}
func (n *Neighbours) Forget(now time.Time) bool { return n.forget(now) }
func (n *Neighbours) All() map[ID][]string      { return n.all() }

// Limits gives the maximum of conns, streams and bytes of memory that libp2p
// was told.
func Limits() (conns, streams int, memory int64) {
	l := limits().ToPartialLimitConfig().System
	return int(l.Conns), int(l.Streams), int64(l.Memory)
}

// Told is what a connected peer has told about itself.
type Told struct {
	Agent, Version string
	Protocols      []string
}

// Told waits until the peer has identified itself.
func (h *Host) Told(ctx context.Context, id ID) (told Told) {
	for _, c := range h.net.swarm.ConnsToPeer(id.Peer()) {
		select {
		case <-h.net.IDService().IdentifyWait(c):
		case <-ctx.Done():
		}
	}
	get := func(key string) string {
		v, _ := h.net.Peerstore().Get(id.Peer(), key)
		s, _ := v.(string)
		return s
	}
	all, _ := h.net.Peerstore().GetProtocols(id.Peer())
	for _, p := range all {
		told.Protocols = append(told.Protocols, string(p))
	}
	told.Agent, told.Version = get("AgentVersion"), get("ProtocolVersion")
	return told
}

// InUse counts the Conns that the host believes to be in use.
func (h *Host) InUse() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, one := range h.open {
		n += one.dialled + one.served
	}
	return n + len(h.open)
}

// Raw opens a stream below the framing.
func (h *Host) Raw(ctx context.Context, id ID, addrs []string, proto string) (network.Stream, error) {
	c, err := h.connect(ctx, id, addrs)
	if err != nil {
		return nil, err
	}
	return open(ctx, c, proto, agreeTimeout)
}
