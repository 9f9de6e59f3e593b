package peer

import (
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// nearDelay is how long other addresses of a local network wait for TCP: ten
// times what its handshakes take there.
const nearDelay = 50 * time.Millisecond

// rank says when each address of a peer is tried. Out in the internet QUIC goes
// first, as libp2p has it: it has fewer round trips, and gets through more
// routers. On a local network and within a machine neither matters, and TCP
// goes first: the kernel does most of its work, so that large values come half
// as fast again.
func rank(addrs []multiaddr.Multiaddr) []network.AddrDelay {
	var near, others []multiaddr.Multiaddr
	for _, a := range addrs {
		if _, err := a.ValueForProtocol(multiaddr.P_TCP); err == nil && manet.IsPrivateAddr(a) {
			near = append(near, a)
		} else {
			others = append(others, a)
		}
	}
	all := swarm.DefaultDialRanker(others)
	if len(near) == 0 {
		return all
	}
	for i := range all {
		if manet.IsPrivateAddr(all[i].Addr) {
			all[i].Delay += nearDelay
		}
	}
	return append(swarm.DefaultDialRanker(near), all...)
}
