package peer

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"net"
	"slices"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/sec"
	basic "github.com/libp2p/go-libp2p/p2p/host/basic"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	tls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quictransport "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/quic-go/quic-go"

	"github.com/sennit/sennit"
)

// stack is libp2p, put together.
type stack struct {
	*basic.BasicHost
	swarm *swarm.Swarm
	close func()
}

// assemble puts libp2p together for one host: QUIC, and TCP with TLS or Noise
// and yamux; identify, which libp2p needs to learn what a peer speaks. There
// is no ping, relay, reachability probe or metrics. Nothing listens yet.
func assemble(key crypto.PrivKey, id ID) (_ *stack, err error) {
	var undo []func() error
	closeAll := func() {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]() // what fails to close can't be helped
		}
	}
	defer func() {
		if err != nil {
			closeAll()
			err = sennit.Errorf(sennit.Internal, "putting the network together: %w", err)
		}
	}()

	manager, err := newManager()
	if err != nil {
		return nil, err
	}
	undo = append(undo, manager.Close)
	book, err := pstoremem.NewPeerstore()
	if err != nil {
		return nil, err
	}
	undo = append(undo, book.Close)
	if err := book.AddPrivKey(id.Peer(), key); err != nil {
		return nil, err
	}
	if err := book.AddPubKey(id.Peer(), key.GetPublic()); err != nil {
		return nil, err
	}
	reuse, err := newQUIC(key, manager)
	if err != nil {
		return nil, err
	}
	undo = append(undo, reuse.Close)

	bus := eventbus.NewBus()
	net, err := swarm.NewSwarm(id.Peer(), book, bus,
		swarm.WithResourceManager(manager),
		swarm.WithDialTimeout(dialTimeout),
		swarm.WithDialRanker(rank),
		swarm.WithDialTimeoutLocal(dialLocalTimeout))
	if err != nil {
		return nil, err
	}
	undo = append(undo, net.Close)
	if err := addTransports(net, key, reuse, manager); err != nil {
		return nil, err
	}

	conns, err := connmgr.NewConnManager(connsLow, connsHigh, connmgr.WithGracePeriod(connsGrace))
	if err != nil {
		return nil, err
	}
	undo = append(undo, conns.Close)
	host, err := basic.NewHost(net, &basic.HostOpts{
		EventBus:                bus,
		ConnManager:             conns,
		AddrsFactory:            usable,
		UserAgent:               agent,
		ProtocolVersion:         agent,
		DisableSignedPeerRecord: true, // nobody hands them on
	})
	if err != nil {
		return nil, err
	}
	// The host closes all that it was given, but doesn't know of the sockets.
	undo = []func() error{reuse.Close, host.Close}
	return &stack{BasicHost: host, swarm: net, close: closeAll}, nil
}

// addTransports adds QUIC first, then TCP, over which TLS is preferred to
// Noise.
func addTransports(net *swarm.Swarm, key crypto.PrivKey, reuse *quicreuse.ConnManager, manager network.ResourceManager) error {
	q, err := quictransport.NewTransport(key, reuse, nil, nil, manager)
	if err != nil {
		return err
	}
	if err := net.AddTransport(q); err != nil {
		return err
	}
	muxers := []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}}
	overTLS, err := tls.New(tls.ID, key, muxers)
	if err != nil {
		return err
	}
	overNoise, err := noise.New(noise.ID, key, muxers)
	if err != nil {
		return err
	}
	up, err := upgrader.New([]sec.SecureTransport{overTLS, overNoise}, muxers, nil, manager, nil)
	if err != nil {
		return err
	}
	// Without DisableReuseport two nodes could listen on one TCP port, and
	// each would get some of the other's connections. What is lost is hole
	// punching over TCP; QUIC does it better.
	t, err := tcp.NewTCPTransport(up, manager, nil, tcp.DisableReuseport())
	if err != nil {
		return err
	}
	return net.AddTransport(t)
}

// newQUIC makes what holds the UDP sockets. Its keys are derived from the host
// key, so that peers learn of a restart from the first packet that they send
// to the new process (RFC 9000 section 10.3), and not when they time out.
func newQUIC(key crypto.PrivKey, manager network.ResourceManager) (*quicreuse.ConnManager, error) {
	secret, err := key.Raw()
	if err != nil {
		return nil, err
	}
	reset, err := hkdf.Key(sha256.New, secret, nil, "sennit quic stateless reset", 32)
	if err != nil {
		return nil, err
	}
	token, err := hkdf.Key(sha256.New, secret, nil, "sennit quic address token", 32)
	if err != nil {
		return nil, err
	}
	return quicreuse.NewConnManager(quic.StatelessResetKey(reset), quic.TokenGeneratorKey(token),
		// An inbound connection is charged before the handshake, which costs most.
		quicreuse.ConnContext(func(ctx context.Context, c *quic.ClientInfo) (context.Context, error) {
			addr, err := quicreuse.ToQuicMultiaddr(c.RemoteAddr, quic.Version1)
			if err != nil {
				addr = nil
			}
			scope, err := manager.OpenConnection(network.DirInbound, false, addr)
			if err != nil {
				return ctx, err
			}
			ctx = network.WithConnManagementScope(ctx, scope)
			context.AfterFunc(ctx, scope.Done)
			return ctx, nil
		}),
		quicreuse.VerifySourceAddress(func(a net.Addr) bool { return manager.VerifySourceAddress(a) }))
}

// usable leaves of the addresses that libp2p would tell others (those of all
// interfaces, but no link-local ones) those that are of use to them: loopback
// only when that is all there is.
func usable(addrs []multiaddr.Multiaddr) []multiaddr.Multiaddr {
	out := slices.DeleteFunc(slices.Clone(addrs), manet.IsIPLoopback)
	if len(out) == 0 {
		return addrs
	}
	return out
}
