package peer

import (
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"

	"github.com/sennit/sennit"
)

// MaxMessage is the largest message, in bytes. Both sides refuse more.
const MaxMessage = 2 << 20

// MaxServed is how many streams one peer may have open to this host, over all
// protocols; more are refused with [sennit.OverQuota].
const MaxServed = 16

// MaxAddrs is how many addresses [Host.Dial] takes from its caller; the others
// are not tried.
const MaxAddrs = 16

// Connections. When there are more than connsHigh, the least useful ones are
// closed until connsLow are left: those without streams before those that
// serve, and those before the ones that this node dialled. A connection of
// less than connsGrace is left alone. Above maxConns new ones are refused.
const (
	connsLow   = 32
	connsHigh  = 96
	maxConns   = 128
	connsGrace = 30 * time.Second
	// Connections of one peer: both sides may dial at once, over both
	// transports.
	maxPeerConns = 8
	// Connections from one IPv4 address or IPv6 /56. Behind one address there
	// may be a whole house; loopback is not limited.
	maxHouseConns = 32
	// Inbound connections whose peer is not known yet.
	maxStrangers = 32
)

// Memory that peers may make libp2p and this package hold: flow-control
// windows, which stop growing at the half of it; compressors, which are done
// without above three fifths; partial messages and decompressors, for which a
// stream is reset above four fifths. With connsHigh sessions that all compress
// both ways it's about 180 MiB.
const (
	maxMemory         = 256 << 20
	maxPeerMemory     = 48 << 20
	maxStrangerMemory = 16 << 20
)

// Streams, in both directions together, beside the ones of identify.
const (
	maxStreams     = 1024
	maxPeerStreams = 64
)

// How long things may take.
const (
	dialTimeout      = 10 * time.Second // to reach and authenticate at one address
	dialLocalTimeout = 5 * time.Second  // the same, at a private address
	agreeTimeout     = 10 * time.Second // to agree about a stream's protocol
	oldTimeout       = 3 * time.Second  // the same, on an old connection that may be dead
	stopGrace        = time.Second      // for handlers to say goodbye before the network is cut
)

const (
	maxListen  = 16  // addresses in Config.Listen
	maxAddr    = 320 // bytes of an address as text: the longest DNS name fits
	maxReasons = 6   // addresses listed in the error of a failed dial
)

// agent is all that a stranger learns of the program that this host runs.
const agent = "sennit"

// limits tells libp2p's resource manager what was said above.
func limits() rcmgr.ConcreteLimitConfig {
	all := rcmgr.ResourceLimits{
		Streams: maxStreams, StreamsInbound: maxStreams, StreamsOutbound: maxStreams,
		Conns: maxConns, ConnsInbound: maxConns, ConnsOutbound: maxConns,
		FD: maxConns, Memory: maxMemory,
	}
	strangers := rcmgr.ResourceLimits{
		Streams: 2 * maxStrangers, StreamsInbound: maxStrangers, StreamsOutbound: 2 * maxStrangers,
		Conns: 2 * maxStrangers, ConnsInbound: maxStrangers, ConnsOutbound: 2 * maxStrangers,
		FD: maxStrangers, Memory: maxStrangerMemory,
	}
	peer := rcmgr.ResourceLimits{
		Streams: maxPeerStreams, StreamsInbound: maxPeerStreams, StreamsOutbound: maxPeerStreams,
		Conns: maxPeerConns, ConnsInbound: maxPeerConns, ConnsOutbound: maxPeerConns,
		FD: maxPeerConns, Memory: maxPeerMemory,
	}
	conn := peer
	conn.Conns, conn.ConnsInbound, conn.ConnsOutbound, conn.FD = 1, 1, 1, 1
	stream := rcmgr.ResourceLimits{
		Streams: 1, StreamsInbound: 1, StreamsOutbound: 1,
		Conns: rcmgr.BlockAllLimit, ConnsInbound: rcmgr.BlockAllLimit, ConnsOutbound: rcmgr.BlockAllLimit,
		FD: rcmgr.BlockAllLimit, Memory: maxPeerMemory,
	}
	return rcmgr.PartialLimitConfig{
		System: all, Transient: strangers,
		// Nothing is on the allow list; if something were, it would not be freer.
		AllowlistedSystem: all, AllowlistedTransient: strangers,
		ServiceDefault: all, ServicePeerDefault: peer,
		ProtocolDefault: all, ProtocolPeerDefault: peer,
		PeerDefault: peer, Conn: conn, Stream: stream,
	}.Build(rcmgr.InfiniteLimits)
}

// newManager makes the resource manager.
func newManager() (network.ResourceManager, error) {
	m, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits()),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: maxHouseConns}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: maxHouseConns}, {PrefixLength: 48, ConnCount: 2 * maxHouseConns}},
		))
	if err != nil {
		return nil, sennit.Errorf(sennit.Internal, "setting the network's limits: %w", err)
	}
	return m, nil
}
