// Package peer is a node's place on the network: a libp2p host, and
// authenticated streams of messages between two hosts.
//
// Owns: the host key on the network, listening, dialling, finding nodes on the
// local network, the framing and compression of messages, and the limits on
// what strangers may cost.
//
// Promises: the other end of a [Conn] holds the private key of [Conn.Remote].
// What a peer sends, too much, too little or garbage, costs bounded memory and
// gives an error, never a panic. No goroutine of this package outlives
// [Host.Run]. An idle host costs next to nothing.
//
// Must not know: spaces, commits, replication, boards. It carries messages and
// does not look inside.
//
// The parts of libp2p are put together by hand (libp2p.go) rather than by
// libp2p's own constructor: that one brings WebRTC, WebTransport, a dependency
// injector, relays and reachability probes, none of which is wanted here, and
// costs three times the code and a hundred goroutines.
package peer

import (
	"crypto/ed25519"
	"errors"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/sennit/sennit"
)

// ID names a host: it is the host's Ed25519 public key. Its text is libp2p's
// peer id, which carries the whole key ("12D3KooW...").
type ID [32]byte

const idText = 52 // characters of an ID as text

// IsZero reports whether i names nothing.
func (i ID) IsZero() bool { return i == ID{} }

// String is the libp2p peer id: base58 of the identity multihash of the key.
func (i ID) String() string { return i.Peer().String() }

// Peer is the host's id as libp2p's packages want it.
func (i ID) Peer() peer.ID {
	// An identity multihash of the protobuf {type: Ed25519, data: key}
	// (libp2p's peer id specification): the prefix never changes.
	return peer.ID("\x00\x24\x08\x01\x12\x20" + string(i[:]))
}

// FromPeer is the reverse of [ID.Peer]. Peers with keys that are not Ed25519
// are refused: their ids don't hold the key.
func FromPeer(p peer.ID) (ID, error) {
	if i, ok := idOf(p); ok {
		return i, nil
	}
	return ID{}, sennit.Errorf(sennit.BadInput, "the peer id %s does not hold an Ed25519 key", p)
}

func idOf(p peer.ID) (i ID, ok bool) {
	const prefix = 6
	if len(p) == prefix+len(i) {
		i = ID([]byte(p[prefix:]))
	}
	return i, i.Peer() == p
}

// ParseID parses what [ID.String] gives, and nothing else: the other spellings
// that libp2p knows are refused, so that a host has one name.
func ParseID(text string) (ID, error) {
	// Decoding base58 takes time that grows with the square of the length.
	if len(text) == idText {
		if p, err := peer.Decode(text); err == nil {
			if i, ok := idOf(p); ok && i.String() == text {
				return i, nil
			}
		}
	}
	return ID{}, sennit.Errorf(sennit.BadInput, "%.64q is not a peer id: want %d characters that begin with 12D3KooW", text, idText)
}

// ParseAddr takes apart an address that ends in a peer id, such as those that
// [Host.Addrs] gives: "/ip4/192.0.2.7/udp/4001/quic-v1/p2p/12D3KooW...".
func ParseAddr(text string) (ID, string, error) {
	a, id, err := parseAddr(text)
	if err != nil {
		return ID{}, "", err
	}
	if id.IsZero() {
		return ID{}, "", sennit.Errorf(sennit.BadInput, "the address %.128q does not end in /p2p/ and a peer id", text)
	}
	return id, a.String(), nil
}

// parseAddr parses an address with or without a peer id at its end. It lets
// through only what this host can dial: an IP address or DNS name, then TCP
// or QUIC.
func parseAddr(text string) (multiaddr.Multiaddr, ID, error) {
	if len(text) > maxAddr {
		return nil, ID{}, sennit.Errorf(sennit.BadInput, "the address %.64q... has %d bytes; at most %d are allowed", text, len(text), maxAddr)
	}
	a, err := multiaddr.NewMultiaddr(text)
	if err != nil {
		return nil, ID{}, sennit.Errorf(sennit.BadInput, "%q is not a multiaddr: %w", text, err)
	}
	var id ID
	if rest, last := multiaddr.SplitLast(a); last != nil && last.Protocol().Code == multiaddr.P_P2P {
		if id, err = ParseID(last.Value()); err != nil {
			return nil, ID{}, sennit.Errorf(sennit.BadInput, "the address %q names a peer whose id does not hold an Ed25519 key", text)
		}
		a = rest
	}
	var shape string
	multiaddr.ForEach(a, func(c multiaddr.Component) bool {
		switch c.Protocol().Code {
		case multiaddr.P_IP4, multiaddr.P_IP6, multiaddr.P_DNS, multiaddr.P_DNS4, multiaddr.P_DNS6:
			shape += "/host"
		default:
			shape += "/" + c.Protocol().Name
		}
		return true
	})
	if shape != "/host/tcp" && shape != "/host/udp/quic-v1" {
		return nil, ID{}, sennit.Errorf(sennit.BadInput, "the address %q is of a kind that this node can't use: want /ip4, /ip6 or /dns, then /tcp/PORT or /udp/PORT/quic-v1", text)
	}
	return a, id, nil
}

// hostKey is key in libp2p's form.
func hostKey(key ed25519.PrivateKey) (crypto.PrivKey, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, sennit.Errorf(sennit.BadInput, "the host key has %d bytes; an Ed25519 private key has %d", len(key), ed25519.PrivateKeySize)
	}
	k, err := crypto.UnmarshalEd25519PrivateKey(key)
	if err == nil && !key.Equal(ed25519.NewKeyFromSeed(key.Seed())) {
		err = errors.New("its two halves don't belong together")
	}
	if err != nil {
		return nil, sennit.Errorf(sennit.BadInput, "the host key is not an Ed25519 private key: %w", err)
	}
	return k, nil
}
