package peer

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/sennit/sennit"
)

// Config says what a [Host] is to be.
type Config struct {
	// Key is the host key. It names the host and authenticates it.
	Key ed25519.PrivateKey
	// Listen holds at most 16 multiaddrs to listen on, as [DefaultListen]
	// gives: /ip4 or /ip6, then /udp/PORT/quic-v1 or /tcp/PORT. Port 0 is any
	// free port. Without one the host only dials.
	Listen []string
	// LAN is whether to look for other hosts on the local network, and to be
	// found there (multicast DNS, RFC 6762).
	LAN bool
	// Changed, if set, is called after the result of [Host.LAN] changed,
	// several changes at once, at most ten times a second. It must not block.
	Changed func()
	// Log, if set, hears of what goes on without being an error of some call.
	Log *slog.Logger
}

// DefaultListen is QUIC and TCP on free ports of every address of the machine.
func DefaultListen() []string {
	return []string{"/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/udp/0/quic-v1", "/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0"}
}

// Host is a place on the network, named by its key. All methods may be called
// by several goroutines at once.
type Host struct {
	id  ID
	net *stack
	lan *lan // nil when off
	log *slog.Logger

	mu       sync.Mutex
	state    state
	handlers map[string]func(context.Context, *Conn)
	// accept lets libp2p hand over the streams of a protocol. It is set once
	// the host runs.
	accept func(proto string)
	// open counts the Conns in use, by peer. Peers without any are not in it.
	open map[ID]inUse
}

// inUse counts the Conns of one peer.
type inUse struct{ dialled, served int }

type state int

const (
	ready state = iota
	running
	stopped
)

// New makes a host and takes its ports. A port that is taken is a
// [sennit.Conflict]. The host accepts connections from now on, but refuses
// their streams until it runs. Whoever doesn't call [Host.Run] calls
// [Host.Close].
func New(c Config) (*Host, error) {
	key, err := hostKey(c.Key)
	if err != nil {
		return nil, err
	}
	listen, err := parseListen(c.Listen)
	if err != nil {
		return nil, err
	}
	h := &Host{
		id:       ID(c.Key.Public().(ed25519.PublicKey)),
		log:      c.Log,
		handlers: map[string]func(context.Context, *Conn){},
		open:     map[ID]inUse{},
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.net, err = assemble(key, h.id); err != nil {
		return nil, err
	}
	if err := h.listen(listen); err != nil {
		h.net.close()
		return nil, err
	}
	h.net.Start()
	if c.LAN {
		h.lan = &lan{self: h.id, addrs: h.Addrs, changed: c.Changed, log: h.log}
	}
	return h, nil
}

func parseListen(list []string) ([]multiaddr.Multiaddr, error) {
	if len(list) > maxListen {
		return nil, sennit.Errorf(sennit.BadInput, "there are %d addresses to listen on; at most %d are allowed", len(list), maxListen)
	}
	var out []multiaddr.Multiaddr
	for _, text := range list {
		a, id, err := parseAddr(text)
		if err != nil {
			return nil, err
		}
		if _, err := manet.ToIP(a); err != nil || !id.IsZero() {
			return nil, sennit.Errorf(sennit.BadInput, "%q is not an address to listen on: want an IP address, then /tcp/PORT or /udp/PORT/quic-v1", text)
		}
		out = append(out, a)
	}
	return out, nil
}

// listen takes all the addresses, or fails. libp2p's own way would be content
// with one of them.
func (h *Host) listen(addrs []multiaddr.Multiaddr) error {
	for _, a := range addrs {
		err := h.net.swarm.AddListenAddr(a)
		switch {
		case err == nil:
		case manet.IsIPUnspecified(a) && a.Protocols()[0].Code == multiaddr.P_IP6 && !hasIPv6():
			h.log.Info("not listening on IPv6: this machine has none", "addr", a.String())
		case taken(err):
			return sennit.Hint(sennit.Errorf(sennit.Conflict, "can't listen on %s: the port is taken: %w", a, err),
				"another program listens there, perhaps another node; choose another port, or 0 for any free one")
		case errors.Is(err, syscall.EACCES):
			return sennit.Errorf(sennit.Denied, "can't listen on %s: not allowed: %w", a, err)
		default:
			return sennit.Errorf(sennit.BadInput, "can't listen on %s: %w", a, err)
		}
	}
	return nil
}

// taken reports whether err says that a port is in use.
func taken(err error) bool {
	const windows = syscall.Errno(10048) // WSAEADDRINUSE, which package syscall doesn't map
	var number syscall.Errno
	return errors.As(err, &number) && (number == syscall.EADDRINUSE || number == windows)
}

// hasIPv6 reports whether anything can listen on IPv6 here.
func hasIPv6() bool {
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6unspecified})
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// ID names this host.
func (h *Host) ID() ID { return h.id }

// Addrs lists the addresses at which others may reach this host now, QUIC
// first, each with the host's id at its end. They change when the machine's
// addresses do. Loopback is listed only when there is nothing else.
func (h *Host) Addrs() []string {
	var out []string
	for _, a := range h.net.Addrs() {
		out = append(out, a.String()+"/p2p/"+h.id.String())
	}
	slices.SortStableFunc(out, func(a, b string) int { return class(a) - class(b) })
	return out
}

// class orders addresses: QUIC before TCP.
func class(addr string) int {
	if strings.Contains(addr, "/quic-v1") {
		return 0
	}
	return 1
}

// LAN lists the hosts heard of on the local network, with their addresses
// (without the id). At most 64 hosts are remembered, at most 8 addresses of
// each; when all places are taken, newcomers are ignored until somebody left
// or was not heard of for some minutes. What is listed is hearsay: only [Host.Dial] proves it.
func (h *Host) LAN() map[ID][]string {
	if h.lan == nil {
		return nil
	}
	return h.lan.all()
}

// Serve lets handle have the streams of a protocol that peers open. A protocol
// is a name such as "/sennit/sync/1"; strangers can read it. When handle
// returns, the Conn is closed. Its context ends when the host stops, and it
// must return then. A peer that has [MaxServed] streams open gets no more.
// Serving a protocol again replaces the handler for new streams.
func (h *Host) Serve(proto string, handle func(ctx context.Context, c *Conn)) {
	h.mu.Lock()
	h.handlers[proto] = handle
	accept := h.accept
	h.mu.Unlock()
	if accept != nil {
		accept(proto)
	}
}

// Run serves until ctx ends, then shuts everything down and returns nil:
// handlers have a second to say goodbye before the network is cut, and Run
// waits for them to return. It can be called once.
func (h *Host) Run(ctx context.Context) error {
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	var serving, finding sync.WaitGroup
	accept := func(proto string) {
		h.net.SetStreamHandler(protocol.ID(proto), func(s network.Stream) {
			h.serve(run, &serving, s, proto)
		})
	}
	h.mu.Lock()
	if h.state != ready {
		h.mu.Unlock()
		return sennit.Errorf(sennit.Conflict, "the host ran already")
	}
	h.state, h.accept = running, accept
	known := slices.Collect(maps.Keys(h.handlers))
	h.mu.Unlock()

	for _, proto := range known {
		accept(proto)
	}
	if h.lan != nil {
		finding.Go(func() { h.lan.run(run) })
	}
	<-run.Done()

	h.mu.Lock()
	h.state = stopped // from here on serving only falls
	h.mu.Unlock()
	idle := make(chan struct{})
	finding.Go(func() {
		serving.Wait()
		close(idle)
	})
	select {
	case <-idle:
	case <-time.After(stopGrace):
	}
	h.net.close()
	finding.Wait()
	return nil
}

// Close frees what a host holds that never ran. A host that runs is ended by
// its context.
func (h *Host) Close() error {
	h.mu.Lock()
	unused := h.state == ready
	if unused {
		h.state = stopped
	}
	h.mu.Unlock()
	if unused {
		h.net.close()
	}
	return nil
}

// serve gives one inbound stream to its handler.
func (h *Host) serve(ctx context.Context, serving *sync.WaitGroup, s network.Stream, proto string) {
	id, err := FromPeer(s.Conn().RemotePeer())
	if err != nil {
		s.ResetWithError(network.StreamProtocolViolation)
		return
	}
	handle, code := h.admit(id, proto, serving)
	if handle == nil {
		s.ResetWithError(code)
		return
	}
	defer serving.Done()
	// The place is taken until the handler returns, whatever becomes of the
	// stream: a peer that resets streams gets no more handlers to work for it.
	defer h.release(id, inUse{served: 1})
	c := newConn(s, id, func() {})
	defer c.Close()
	handle(ctx, c)
}

// admit counts one more stream that a peer opened, and gives its handler; or
// nil and the reason.
func (h *Host) admit(id ID, proto string, serving *sync.WaitGroup) (func(context.Context, *Conn), network.StreamErrorCode) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.open[id]
	switch {
	case h.state == stopped:
		return nil, network.StreamShutdown
	case n.served >= MaxServed:
		return nil, network.StreamResourceLimitExceeded
	}
	n.served++
	h.open[id] = n
	serving.Add(1)
	h.weigh(id, n)
	return h.handlers[proto], network.StreamNoError
}

// hold counts one more stream that this host opened.
func (h *Host) hold(id ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.open[id]
	n.dialled++
	h.open[id] = n
	h.weigh(id, n)
}

// release counts streams that were closed.
func (h *Host) release(id ID, gone inUse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.open[id]
	n.dialled -= gone.dialled
	n.served -= gone.served
	if n == (inUse{}) {
		delete(h.open, id)
	} else {
		h.open[id] = n
	}
	h.weigh(id, n)
}

// weigh tells the connection manager how useful a peer's connections are: it
// closes the lightest first.
func (h *Host) weigh(id ID, n inUse) {
	const tag = "sennit"
	conns, p := h.net.ConnManager(), id.Peer()
	switch {
	case n.dialled > 0:
		conns.TagPeer(p, tag, 2)
	case n.served > 0:
		conns.TagPeer(p, tag, 1)
	default:
		conns.UntagPeer(p, tag)
	}
}

// connected reports whether there is a connection to the peer.
func (h *Host) connected(p peer.ID) bool {
	return h.net.swarm.Connectedness(p) == network.Connected
}
