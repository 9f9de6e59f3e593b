package daemon

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sennit/sennit"

	httpdoor "github.com/sennit/sennit/internal/door/http"
	"github.com/sennit/sennit/internal/node"
)

const (
	tokenKey    = "token/"
	tokenPrefix = "snt_" // so that secret scanners know one when they see it
	tokenID     = 16     // characters of the hash that name a token
	nodeRight   = "node" // the right to /_node/, which only tokens know
	maxTokens   = 10_000
)

// Token is a bearer token as it is kept and listed: by its hash. The token
// itself is told once, when it is made.
type Token struct {
	ID       string    `json:"id"`               // beginning of the hash
	Prefixes []string  `json:"prefixes"`         // where it is good; none: everywhere
	May      []string  `json:"may"`              // rights, and "node" for the node's own resources
	Expires  time.Time `json:"expires,omitzero"` // none: it lasts until it is revoked
	Created  time.Time `json:"created"`          // when it was made
}

// tokens keeps the bearer tokens.
type tokens struct {
	n     *node.Node
	now   func() time.Time
	known *knownTokens
}

func (d *daemon) tokens() tokens { return tokens{d.node, d.cfg.Now, &d.known} }

// knownTokens are tokens that were looked up, so that a request needn't read them
// from the store. What isn't a token isn't remembered.
type knownTokens struct {
	mu      sync.RWMutex // guards what follows
	all     map[sennit.Hash]knownToken
	removed int // how often some token was
}

type knownToken struct {
	Token
	door httpdoor.Token
}

func (k *knownTokens) find(hash sennit.Hash) (tok knownToken, ok bool, removed int) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	tok, ok = k.all[hash]
	return tok, ok, k.removed
}

// add remembers a token, unless one was removed since it was read: it may be that.
func (k *knownTokens) add(hash sennit.Hash, tok knownToken, removed int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.removed != removed {
		return
	}
	if k.all == nil {
		k.all = map[sennit.Hash]knownToken{}
	}
	k.all[hash] = tok
}

func (k *knownTokens) remove(hash sennit.Hash) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.removed++
	delete(k.all, hash)
}

// Lookup implements httpdoor.Tokens.
func (t tokens) Lookup(_ context.Context, hash sennit.Hash) (httpdoor.Token, bool) {
	tok, ok := t.get(hash)
	return tok.door, ok
}

// door is a token as the door knows it.
func (t tokens) door(tok Token) (out httpdoor.Token, ok bool) {
	out.Who = t.n.Self()
	rights := slices.DeleteFunc(slices.Clone(tok.May), func(r string) bool { return r == nodeRight })
	if len(rights) > 0 {
		var err error
		if out.May, err = sennit.ParseRights(rights); err != nil {
			return httpdoor.Token{}, false
		}
	}
	for _, p := range tok.Prefixes {
		a, err := sennit.ParseAddr(p)
		if err != nil {
			return httpdoor.Token{}, false
		}
		out.Prefixes = append(out.Prefixes, a)
	}
	return out, true
}

// get finds a token that is of use.
func (t tokens) get(hash sennit.Hash) (knownToken, bool) {
	tok, ok, removed := t.known.find(hash)
	if !ok {
		b, err := t.n.Local(tokenKey + hash.String())
		if b == nil || err != nil {
			return tok, false
		}
		if tok.Token, err = decodeToken(b); err != nil {
			return tok, false
		}
		if tok.door, ok = t.door(tok.Token); !ok {
			return tok, false
		}
		t.known.add(hash, tok, removed)
	}
	if tok.Expires.IsZero() || t.now().Before(tok.Expires) {
		return tok, true
	}
	return knownToken{}, false
}

func decodeToken(b []byte) (tok Token, err error) {
	if err := json.Unmarshal(b, &tok); err != nil {
		return tok, sennit.Errorf(sennit.Internal, "the record of a token is damaged: %w", err)
	}
	return tok, nil
}

// node reports whether a request may use the node's own resources: as its
// owner, or with a token for them.
func (t tokens) node(r *http.Request) bool {
	c := httpdoor.CallerOf(r.Context())
	if c.Via != httpdoor.ByToken {
		return c.Owner()
	}
	// The door knows the token's rights in the tree, and only those.
	_, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	tok, ok := t.get(sha256.Sum256([]byte(text)))
	return ok && slices.Contains(tok.May, nodeRight)
}

// list is all tokens, by the hash in hexadecimal.
func (t tokens) list() (map[string]Token, error) {
	all := map[string]Token{}
	err := t.n.Locals(tokenKey, func(name string, b []byte) (err error) {
		all[name[len(tokenKey):]], err = decodeToken(b)
		return err
	})
	return all, err
}

// add makes a token and tells it.
func (t tokens) add(ctx context.Context, tok Token) (Token, string, error) {
	all, err := t.list()
	if err != nil {
		return tok, "", err
	}
	if len(all) >= maxTokens {
		return tok, "", sennit.Hint(sennit.Errorf(sennit.OverQuota, "there are %d tokens already", len(all)), "revoke some: sennit token revoke")
	}
	var secret [32]byte
	rand.Read(secret[:]) // never fails
	text := tokenPrefix + base64.RawURLEncoding.EncodeToString(secret[:])
	sum := sha256.Sum256([]byte(text))
	hash := hex.EncodeToString(sum[:])
	tok.ID, tok.Created = hash[:tokenID], t.now().UTC()
	b, err := json.Marshal(tok)
	if err != nil {
		return tok, "", sennit.Errorf(sennit.Internal, "make a token: %w", err)
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
		if tok.ID != id {
			continue
		}
		// Whoever asked may go: a removal that was begun is done, and then known.
		err := t.n.SetLocal(context.WithoutCancel(ctx), map[string][]byte{tokenKey + hash: nil})
		sum, e := sennit.ParseHash(hash)
		if e == nil {
			t.known.remove(sum)
		}
		return errors.Join(err, e)
	}
	return sennit.Hint(sennit.Errorf(sennit.NotFound, "there is no token %.40q", id), "list them: sennit token ls")
}

func (d *daemon) listTokens(*http.Request) (int, any, error) {
	all, err := d.tokens().list()
	out := []Token{}
	for _, tok := range all {
		out = append(out, tok)
	}
	slices.SortFunc(out, func(a, b Token) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return http.StatusOK, out, err
}

func (d *daemon) addToken(r *http.Request) (int, any, error) {
	var in struct {
		Prefix  []string `json:"prefix"`
		May     []string `json:"may"`
		All     bool     `json:"all"`
		Expires string   `json:"expires"`
	}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	if len(in.May) == 0 {
		if in.May = sennit.Read.Names(); in.All {
			in.May = sennit.AllRights.Names()
		}
	}
	rights := slices.DeleteFunc(slices.Clone(in.May), func(r string) bool { return r == nodeRight })
	node, tree := len(rights) < len(in.May), len(rights) > 0
	switch {
	case in.All && len(in.Prefix) > 0:
		return 0, nil, sennit.Errorf(sennit.BadInput, "a token is for prefixes or for all, not both")
	case tree && !in.All && len(in.Prefix) == 0:
		return 0, nil, sennit.Hint(sennit.Errorf(sennit.BadInput, "it is not said where the token is good"), "name a prefix (--prefix /me/notes), or say --all")
	case !tree && (in.All || len(in.Prefix) > 0):
		return 0, nil, sennit.Errorf(sennit.BadInput, "the right %q is not for paths", nodeRight)
	}
	tok := Token{Prefixes: []string{}}
	if tree {
		may, err := sennit.ParseRights(rights)
		if err != nil {
			return 0, nil, err
		}
		tok.May = may.Names()
	}
	if node {
		tok.May = append(tok.May, nodeRight)
	}
	for _, p := range in.Prefix {
		a, space, err := d.where(p)
		if err != nil {
			return 0, nil, err
		}
		a.Root = space.String() // what it is called here may change
		tok.Prefixes = append(tok.Prefixes, a.String())
	}
	if in.Expires != "" {
		life, err := lifetime(in.Expires)
		if err != nil {
			return 0, nil, err
		}
		tok.Expires = d.cfg.Now().Add(life).UTC()
	}
	tok, text, err := d.tokens().add(r.Context(), tok)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, struct {
		Token
		Text string `json:"token"`
	}{tok, text}, nil
}

// lifetime reads how long something is to last.
func lifetime(text string) (time.Duration, error) {
	life, err := time.ParseDuration(text)
	if err != nil || life <= 0 {
		return 0, sennit.Errorf(sennit.BadInput, "%.40q is not a length of time: write it as 30m, 24h or 168h", text)
	}
	return life, nil
}

func (d *daemon) deleteToken(r *http.Request) (int, any, error) {
	return http.StatusNoContent, nil, d.tokens().remove(r.Context(), r.PathValue("id"))
}
