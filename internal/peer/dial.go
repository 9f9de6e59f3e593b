package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"
	"github.com/quic-go/quic-go"

	"github.com/sennit/sennit"
)

// Dial opens a stream of a protocol to a peer. When there is no connection to
// it yet, it tries the addresses given (at most [MaxAddrs], with or without
// the id at the end), those heard of on the local network, and those that the
// peer itself told less than a quarter of an hour ago; QUIC before TCP, a few
// at a time. Each has 10 s, at private addresses 5 s.
//
// It fails with [sennit.Unreachable] when none answers, or when somebody else
// does, and names the reason for each address; with [sennit.Unsupported] when
// the peer doesn't serve the protocol; with [sennit.OverQuota] when a limit of
// this host or of the peer is reached; with the context's error. A peer that
// has too many streams of this host open may refuse the new one a moment
// later: then the first Send or Recv fails with OverQuota.
func (h *Host) Dial(ctx context.Context, id ID, addrs []string, proto string) (*Conn, error) {
	if id == h.id {
		return nil, sennit.Errorf(sennit.BadInput, "can't dial %s: that is this node", id)
	}
	old, patience := h.connected(id.Peer()), agreeTimeout
	if old {
		patience = oldTimeout
	}
	conn, err := h.connect(ctx, id, addrs)
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, conn, proto, patience)
	if err != nil && old && sennit.CodeOf(err) == sennit.Unreachable {
		// The peer may have gone without a word, and the connection be a
		// corpse that was not found yet.
		conn.Close()
		if conn, err = h.connect(ctx, id, addrs); err != nil {
			return nil, err
		}
		s, err = open(ctx, conn, proto, agreeTimeout)
	}
	if err != nil {
		return nil, sennit.Errorf(sennit.CodeOf(err), "opening %s to %s: %w", proto, id, err)
	}
	h.hold(id)
	return newConn(s, id, func() { h.release(id, inUse{dialled: 1}) }), nil
}

// connect gives the connection to a peer, making one if there is none.
func (h *Host) connect(ctx context.Context, id ID, addrs []string) (network.Conn, error) {
	p := id.Peer()
	var refused []string
	if !h.connected(p) {
		var good []multiaddr.Multiaddr
		good, refused = h.targets(id, addrs)
		h.net.Peerstore().AddAddrs(p, good, peerstore.TempAddrTTL)
		// libp2p would not try an address again for some time after a failure.
		// Whoever calls Dial has waited long enough.
		h.net.swarm.Backoff().Clear(p)
	}
	c, err := h.net.swarm.DialPeer(ctx, p)
	switch {
	case err == nil:
		return c, nil
	case ctx.Err() != nil:
		return nil, sennit.Errorf(sennit.CodeOf(ctx.Err()), "dialling %s: %w", id, ctx.Err())
	case errors.Is(err, swarm.ErrSwarmClosed):
		return nil, sennit.Errorf(sennit.Gone, "dialling %s: the node is stopping", id)
	}
	return nil, unreachable(id, err, refused)
}

// targets gives the addresses to try, and for those that make no sense the
// reason.
func (h *Host) targets(id ID, addrs []string) (good []multiaddr.Multiaddr, refused []string) {
	given := slices.Clone(addrs[:min(len(addrs), MaxAddrs)])
	if h.lan != nil {
		given = append(given, h.lan.of(id)...)
	}
	for _, text := range given {
		a, other, err := parseAddr(text)
		switch {
		case err != nil:
			refused = append(refused, err.Error())
		case !other.IsZero() && other != id:
			refused = append(refused, fmt.Sprintf("%s: the address is that of another node, %s", a, other))
		default:
			good = append(good, a)
		}
	}
	return good, refused
}

// open opens a stream on a connection and agrees with the peer about the
// protocol. libp2p's host would first wait until the peer has identified
// itself, which costs a round trip, and then assume that it serves what it
// once said it did.
func open(ctx context.Context, conn network.Conn, proto string, patience time.Duration) (network.Stream, error) {
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := conn.NewStream(wait)
	if err == nil {
		if err = s.SetProtocol(protocol.ID(proto)); err == nil {
			stop := guard(wait, s.SetDeadline)
			err = multistream.SelectProtoOrFail(proto, s)
			stop()
		}
		if err == nil {
			return s, nil
		}
		s.ResetWithError(network.StreamProtocolNegotiationFailed)
	}
	var reset *network.StreamError
	switch {
	case ctx.Err() != nil:
		return nil, sennit.Errorf(sennit.CodeOf(ctx.Err()), "%w", ctx.Err())
	case errors.As(err, &reset):
		code, what := refusal(reset)
		return nil, sennit.Errorf(code, "%s: %w", what, err)
	case errors.Is(err, multistream.ErrNotSupported[string]{}):
		return nil, sennit.Errorf(sennit.Unsupported, "the peer doesn't serve it")
	case errors.Is(err, network.ErrResourceLimitExceeded):
		return nil, sennit.Errorf(sennit.OverQuota, "there are too many streams: %w", err)
	case wait.Err() != nil:
		return nil, sennit.Errorf(sennit.Unreachable, "the peer didn't answer for %v", patience)
	}
	return nil, sennit.Errorf(sennit.Unreachable, "the connection failed: %w", err)
}

// unreachable says in short why a peer couldn't be dialled.
func unreachable(id ID, err error, refused []string) error {
	var failed *swarm.DialError
	reasons, impostor, full := refused, false, errors.Is(err, network.ErrResourceLimitExceeded)
	if errors.As(err, &failed) {
		for _, one := range failed.DialErrors {
			var wrong sec.ErrPeerIDMismatch
			impostor = impostor || errors.As(one.Cause, &wrong)
			reasons = append(reasons, fmt.Sprintf("%s: %s", one.Address, reason(one.Cause)))
		}
	}
	if len(reasons) == 0 {
		switch {
		case full:
			return sennit.Errorf(sennit.OverQuota, "can't reach %s: there are too many connections", id)
		case errors.Is(err, swarm.ErrNoAddresses):
			return sennit.Hint(sennit.Errorf(sennit.Unreachable, "can't reach %s: no address of it is known", id),
				"ask its owner for a new link")
		case errors.Is(err, swarm.ErrNoGoodAddresses):
			return sennit.Errorf(sennit.Unreachable, "can't reach %s: none of its addresses can be dialled from here", id)
		}
		return sennit.Errorf(sennit.Unreachable, "can't reach %s: %s", id, reason(err))
	}
	code := sennit.Unreachable
	if full {
		code = sennit.OverQuota
	}
	more := ""
	if n := len(reasons) - maxReasons; n > 0 {
		reasons, more = reasons[:maxReasons], fmt.Sprintf("; and %d more", n)
	}
	result := sennit.Errorf(code, "can't reach %s: %s%s", id, strings.Join(reasons, "; "), more)
	if impostor {
		return sennit.Hint(result, "another node has that address now; ask the owner of the one you want for a new link")
	}
	return result
}

// reason says in a few words why an address didn't work.
func reason(err error) string {
	var wrong sec.ErrPeerIDMismatch
	var idle *quic.IdleTimeoutError
	var shake *quic.HandshakeTimeoutError
	switch {
	case errors.As(err, &wrong):
		return fmt.Sprintf("another node is there, %s", wrong.Actual)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &idle), errors.As(err, &shake):
		return "no answer"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route"
	case errors.Is(err, swarm.ErrDialToSelf):
		return "that is this node"
	case errors.Is(err, swarm.ErrDialRefusedBlackHole):
		return "not tried, because nothing of its kind works here"
	case errors.Is(err, network.ErrResourceLimitExceeded):
		return "too many connections"
	}
	text := err.Error()
	const most = 100
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// guard makes I/O on a stream fail as soon as ctx ends, by the deadline that
// set sets. The caller calls what it returns when the I/O is over.
func guard(ctx context.Context, set func(time.Time) error) (release func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		set(time.Unix(1, 0)) // fails only on a stream that is over anyway
		close(fired)
	})
	return func() {
		if !stop() {
			// The deadline must not hit the next call.
			<-fired
			set(time.Time{})
		}
	}
}
