package daemon

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/sennit/sennit"

	httpdoor "github.com/sennit/sennit/internal/door/http"
	"github.com/sennit/sennit/internal/node"
)

const (
	tokenKey    = "token/"
	tokenPrefix = "snt_"
	maxTokens   = 10_000
)

// token is a bearer token as it is kept: by its hash. The token itself is
// shown once, when it is made.
type token struct {
	ID       string        `json:"id"` // beginning of the hash
	Prefixes []string      `json:"prefixes"`
	May      sennit.Rights `json:"-"`
	Rights   []string      `json:"may"`
	Node     bool          `json:"node,omitempty"` // may use /_node/ as well
	Expires  time.Time     `json:"expires,omitzero"`
	Created  time.Time     `json:"created"`
}

// tokens looks tokens up for the door.
type tokens struct{ n *node.Node }

// Lookup implements httpdoor.Tokens.
func (t tokens) Lookup(_ context.Context, hash sennit.Hash) (httpdoor.Token, bool) {
	tok, err := t.get(hex.EncodeToString(hash[:]))
	if err != nil || tok == nil || !tok.Expires.IsZero() && !time.Now().Before(tok.Expires) {
		return httpdoor.Token{}, false
	}
	out := httpdoor.Token{Who: t.n.Self(), May: tok.May}
	for _, p := range tok.Prefixes {
		a, err := sennit.ParseAddr(p)
		if err != nil {
			return httpdoor.Token{}, false
		}
		out.Prefixes = append(out.Prefixes, a)
	}
	return out, true
}

func (t tokens) get(hash string) (*token, error) {
	b, err := t.n.Local(tokenKey + hash)
	if b == nil || err != nil {
		return nil, err
	}
	return decodeToken(b)
}

func decodeToken(b []byte) (*token, error) {
	tok := new(token)
	err := json.Unmarshal(b, tok)
	if err == nil {
		tok.May, err = sennit.ParseRights(tok.Rights)
	}
	if err != nil {
		return nil, sennit.Errorf(sennit.Internal, "the record of a token is damaged: %w", err)
	}
	return tok, nil
}

// list is all tokens, by hash.
func (t tokens) list() (map[string]*token, error) {
	all := map[string]*token{}
	err := t.n.Locals(tokenKey, func(name string, b []byte) error {
		tok, err := decodeToken(b)
		all[name[len(tokenKey):]] = tok
		return err
	})
	return all, err
}

// add makes a token and tells it.
func (t tokens) add(ctx context.Context, tok token) (token, string, error) {
	all, err := t.list()
	if err != nil {
		return tok, "", err
	}
	if len(all) >= maxTokens {
		return tok, "", sennit.Hint(sennit.Errorf(sennit.OverQuota, "there are %d tokens already", len(all)), "revoke some: sennit token revoke")
	}
	var secret [32]byte
	rand.Read(secret[:])
	text := tokenPrefix + base64.RawURLEncoding.EncodeToString(secret[:])
	sum := sha256.Sum256([]byte(text))
	hash := hex.EncodeToString(sum[:])
	tok.ID, tok.Created, tok.Rights = hash[:16], time.Now().UTC(), tok.May.Names()
	b, err := json.Marshal(tok)
	if err != nil {
		return tok, "", err
	}
	return tok, text, t.n.SetLocal(ctx, map[string][]byte{tokenKey + hash: b})
}

// remove makes a token useless.
func (t tokens) remove(ctx context.Context, id string) error {
	all, err := t.list()
	if err != nil {
		return err
	}
	for hash, tok := range all {
		if tok.ID == id {
			return t.n.SetLocal(ctx, map[string][]byte{tokenKey + hash: nil})
		}
	}
	return sennit.Hint(sennit.Errorf(sennit.NotFound, "no token %q", id), "list them: sennit token ls")
}

// secret is what browser sessions are made with; it survives restarts.
func (d *daemon) secret() (secret [32]byte, err error) {
	// Derived, not stored: it needs no write before the node runs, and is as
	// secret as the key that it comes from.
	sum := sha256.Sum256(append([]byte("sennit/1 browser sessions\x00"), d.id.Host().Seed()...))
	return sum, nil
}
