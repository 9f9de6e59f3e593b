package replicate

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/wire"
)

// salted is what an interest is sent as.
func salted(nonce [16]byte, space sennit.Space) [8]byte {
	h := sha256.Sum256(append(nonce[:], space[:]...))
	return [8]byte(h[:8])
}

// tag is a space's tag in this session, once both nonces are known.
func (s *session) tag(space sennit.Space) wire.Tag {
	a, b := s.nonce, s.hello.Nonce
	if bytes.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	h := sha256.Sum256(slices.Concat([]byte("tag"), a[:], b[:], space[:]))
	return wire.Tag(h[:8])
}

// wanted is the spaces that this node wants to hear of: its own and what it
// follows. It notes whether the peer's host is one that was chosen to follow somebody through.
func (s *session) wanted() ([]node.Follow, error) {
	follows, err := s.n.Follows()
	host := hostText(s.conn.Host())
	chosen := slices.ContainsFunc(follows, func(f node.Follow) bool {
		return slices.ContainsFunc(f.Hosts, func(h node.Host) bool { return h.Key == host })
	})
	s.mu.Lock()
	s.chosen = chosen
	s.mu.Unlock()
	all := append([]node.Follow{{Space: s.n.Self().Space, Prefixes: prefix.All()}}, follows...)
	return slices.DeleteFunc(all, func(f node.Follow) bool { return !s.r.cfg.concerns(f.Space) }), err
}

// keeping is what this node keeps of the spaces that it wants.
func keeping(wanted []node.Follow) map[sennit.Space]prefix.Set {
	keeps := map[sennit.Space]prefix.Set{}
	for _, f := range wanted {
		keeps[f.Space] = f.Prefixes
	}
	return keeps
}

// greeting is this side's hello.
func (s *session) greeting() (*wire.Hello, error) {
	now := s.r.cfg.Now()
	h := &wire.Hello{Version: wire.Protocol, Nonce: s.nonce, Clock: uint64(now.UnixMilli())}
	h.Cert = wire.HostCert{Author: s.n.Self(), Host: s.r.cfg.Self, Until: uint64(now.Add(certLife).UnixMilli())}
	h.Sig = s.r.cfg.Identity.SignHost(&h.Cert)
	spaces, err := s.wanted()
	if err != nil {
		return nil, err
	}
	if len(spaces) > wire.MaxInterests {
		spaces = spaces[:wire.MaxInterests]
	}
	for _, f := range spaces {
		h.Interests = append(h.Interests, salted(s.nonce, f.Space))
	}
	for len(h.Interests)&3 != 0 { // how many there are is nobody's business
		var pad [8]byte
		rand.Read(pad[:])
		h.Interests = append(h.Interests, pad)
	}
	slices.SortFunc(h.Interests, func(a, b [8]byte) int { return bytes.Compare(a[:], b[:]) })
	h.Interests = slices.Compact(h.Interests)
	return h, nil
}

// greet takes the peer's hello.
func (s *session) greet(h *wire.Hello) error {
	h.Cert.Host = s.conn.Host()
	key, err := keys.Admit(h.Cert.Author.Device)
	if err != nil {
		return err
	}
	if !key.Verify(keys.DomainHost, h.Cert.Bytes(), &h.Sig) {
		return sennit.Errorf(sennit.BadInput, "the peer's certificate is for another host, or its signature is wrong")
	}
	s.mu.Lock()
	s.hello, s.greeted = h, time.Now()
	for _, i := range h.Interests {
		s.interests[i] = true
	}
	s.recheck = true
	join := s.join
	s.mu.Unlock()
	s.proved()
	s.wake()
	if join != nil {
		return s.knock(join)
	}
	return nil
}

// proved looks whether what this node holds proves that the peer's device
// belongs to its space. If not it asks, once.
func (s *session) proved() {
	s.mu.Lock()
	h, known := s.hello, !s.who.Space.IsZero()
	s.mu.Unlock()
	if h == nil || known || !s.lasting(h) {
		return
	}
	claim := h.Cert.Author
	for _, id := range append([]sennit.Space{claim.Space}, s.n.Spaces()...) {
		if a := s.n.Authority(id); a != nil && a.Proven(claim) {
			s.mu.Lock()
			s.who = claim
			s.mu.Unlock()
			return
		}
	}
	s.mu.Lock()
	if !s.asked {
		s.asked = true
		s.post(&wire.Ask{})
	}
	s.mu.Unlock()
}

// lasting reports whether the peer's certificate is good now. One that isn't
// makes the peer anybody, and doesn't end the session: then the clocks differ,
// by more than a day, and each side learns that from the other's hello.
func (s *session) lasting(h *wire.Hello) bool {
	left := time.UnixMilli(int64(h.Cert.Until)).Sub(s.r.cfg.Now())
	return left >= 0 && left <= 2*certLife
}

// identify takes the evidence that was asked for.
func (s *session) identify(e *wire.Evidence) error {
	state, err := keys.Evaluate(e.Inception, e.Events)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	claim := s.hello.Cert.Author
	if state.Space() != claim.Space || !state.Device(claim.Device) {
		return sennit.Errorf(sennit.BadInput, "the peer's evidence is not for its own device")
	}
	if !s.lasting(s.hello) {
		return nil
	}
	s.who, s.recheck = claim, true
	s.wake()
	return nil
}

// reachable notes where the peer says that it can be reached, in the follows of
// its space.
func (s *session) reachable(ctx context.Context, f *wire.Addrs) error {
	s.mu.Lock()
	who := s.who
	s.mu.Unlock()
	if who.Space.IsZero() {
		return nil
	}
	err := s.n.EditFollow(ctx, who.Space, func(fo *node.Follow) {
		if fo.Mode != "" {
			fo.Prefer(node.Host{Key: hostText(s.conn.Host()), Addrs: f.Addrs})
		}
	})
	if sennit.CodeOf(err) == sennit.ReadOnly {
		return nil // no reason to stop talking
	}
	return err
}
