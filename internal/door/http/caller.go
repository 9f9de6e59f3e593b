package httpdoor

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strings"

	"github.com/sennit/sennit"
)

// Via says how a caller was recognised.
type Via uint8

const (
	Anonymous Via = iota // not at all: what rules give to any
	BySocket             // the owner, or root, through the unix socket
	BySession            // the owner's browser, by its cookie
	ByToken              // somebody with a bearer token
)

// Caller is who asks, as far as authentication found out.
type Caller struct {
	Via   Via
	Token Token // of ByToken
}

// Owner reports whether the caller is the node's owner.
func (c Caller) Owner() bool { return c.Via == BySocket || c.Via == BySession }

// Token is what a bearer token stands for: a principal, and what its bearer
// may do in the principal's name.
type Token struct {
	Who      sennit.Principal
	Prefixes []sennit.Addr // only at and under these; none: everywhere
	May      sennit.Rights
}

// Tokens looks bearer tokens up.
type Tokens interface {
	// Lookup tells what the token with this SHA-256 stands for; false if it
	// is unknown, revoked or has expired. Only the hash is given, so that no
	// copy of a token need be kept; and since nobody can choose hashes, how
	// long a look-up takes says nothing about other tokens.
	Lookup(ctx context.Context, token sennit.Hash) (Token, bool)
}

type (
	callerKey struct{} // of a Caller, in the contexts of mounted handlers
	socketKey struct{} // of a peer, in the context of a unix socket's connection
	lotKey    struct{} // of the *lot where subscriptions are parked
	sockKey   struct{} // of the socket of a connection, which is a syscall.Conn
)

// peer is the process at the other end of a unix socket.
type peer struct {
	owner bool // it runs as the node's user, or as root
}

// CallerOf tells a handler mounted at /_node/ or "/" who asks.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// maxToken bounds what is hashed to look a token up.
const maxToken = 1024

// bearer tells whether a request says who asks, with what token, and whether that
// can be one.
func bearer(r *http.Request) (said bool, token string, ok bool) {
	auth := r.Header["Authorization"]
	if auth == nil {
		return false, "", false
	}
	scheme, token, _ := strings.Cut(auth[0], " ")
	return true, token, len(auth) == 1 && strings.EqualFold(scheme, "Bearer") && token != "" && len(token) <= maxToken
}

// authenticate finds out who asks. A token wins over a socket and a cookie:
// who sends one means to be limited by it.
func (d *Door) authenticate(r *http.Request) (Caller, error) {
	if said, token, ok := bearer(r); said {
		if ok && d.cfg.Tokens != nil {
			if t, ok := d.cfg.Tokens.Lookup(r.Context(), sha256.Sum256([]byte(token))); ok {
				return Caller{Via: ByToken, Token: t}, nil
			}
		}
		return Caller{}, status(http.StatusUnauthorized, sennit.Hint(
			sennit.Errorf(sennit.Denied, "the token is unknown, expired or revoked"),
			"make a new one: sennit token new"))
	}
	if p, ok := r.Context().Value(socketKey{}).(peer); ok && p.owner {
		return Caller{Via: BySocket}, nil
	}
	if r.Header["Cookie"] != nil && d.foreign(r) == "" && d.sessions.valid(r) {
		return Caller{Via: BySession}, nil
	}
	return Caller{}, nil
}
