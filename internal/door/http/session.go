package httpdoor

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"slices"
	"sync"
	"time"
)

// maxKeys is how many one-time keys may wait to be used. One more makes the
// oldest void.
const maxKeys = 16

// sessions knows the owner's browsers. A one-time key, once used, becomes a
// cookie: an expiry and a nonce under a MAC. So sessions cost no memory and
// survive a restart, and they end together, when the secret changes.
type sessions struct {
	cookie  string // its name
	mac     []byte // its key
	keyLife time.Duration
	life    time.Duration

	mu   sync.Mutex
	keys []oneTimeKey // oldest first
}

type oneTimeKey struct {
	hash    [32]byte
	expires time.Time
}

func (s *sessions) init(secret [32]byte, keyLife, life time.Duration) {
	derive := func(label string) []byte {
		m := hmac.New(sha256.New, secret[:])
		m.Write([]byte(label))
		return m.Sum(nil)
	}
	// Browsers keep cookies by host, whatever the port. The name tells the
	// nodes of one host apart.
	s.cookie = "sennit-" + hex.EncodeToString(derive("sennit session name")[:8])
	s.mac = derive("sennit session key")
	s.keyLife, s.life = keyLife, life
}

// NewKey makes a one-time key. Whoever opens "/?key=KEY" with it first, within
// [Limits.Key], is signed in as the owner. At most 16 keys are open at a time;
// a further one voids the oldest.
func (d *Door) NewKey() string {
	key := rand.Text()
	s := &d.sessions
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, oneTimeKey{sha256.Sum256([]byte(key)), time.Now().Add(s.keyLife)})
	s.keys = slices.Delete(s.keys, 0, max(0, len(s.keys)-maxKeys))
	return key
}

// redeem uses a key up.
func (s *sessions) redeem(key string) bool {
	hash, now := sha256.Sum256([]byte(key)), time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, k := range s.keys {
		if k.hash == hash {
			s.keys = slices.Delete(s.keys, i, i+1)
			return now.Before(k.expires)
		}
	}
	return false
}

const (
	nonceBytes  = 16
	cookieBytes = 8 + nonceBytes + sha256.Size
)

func (s *sessions) sign(b []byte) []byte {
	m := hmac.New(sha256.New, s.mac)
	m.Write(b)
	return m.Sum(b)
}

// issue makes a cookie.
func (s *sessions) issue() *http.Cookie {
	b := make([]byte, 8+nonceBytes, cookieBytes)
	binary.BigEndian.PutUint64(b, uint64(time.Now().Add(s.life).Unix()))
	rand.Read(b[8:]) // never fails
	return &http.Cookie{
		Name: s.cookie, Value: base64.RawURLEncoding.EncodeToString(s.sign(b)),
		Path: "/", MaxAge: int(s.life / time.Second), HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

// valid reports whether the request carries a cookie that was issued here and
// has not expired.
func (s *sessions) valid(r *http.Request) bool {
	c, err := r.Cookie(s.cookie)
	if err != nil {
		return false
	}
	b, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || len(b) != cookieBytes {
		return false
	}
	signed := s.sign(b[: 8+nonceBytes : 8+nonceBytes])
	return hmac.Equal(signed, b) && time.Now().Unix() < int64(binary.BigEndian.Uint64(b))
}

// usedKeyPage is what a person sees who opens a link that is of no use.
const usedKeyPage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>This link can't be used any more</title>
<h1>This link can't be used any more</h1>
<p>A link that signs you in works once, and not for long. This one was used before, is too old, or was never right.</p>
<p>If you are signed in already, <a href="/">open the page</a>. If not, get a new link with the command <code>sennit open</code>.</p>
`

// signIn answers "/?key=KEY". It is the one GET that changes something, so it
// takes care not to be done by a browser that only looks ahead.
func (d *Door) signIn(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	ahead := r.Header.Get("Sec-Purpose") != "" || r.Header.Get("Purpose") != ""
	if r.Method != http.MethodGet || ahead || !d.sessions.redeem(r.URL.Query().Get("key")) {
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		w.WriteHeader(http.StatusForbidden)
		if r.Method != http.MethodHead {
			w.Write([]byte(usedKeyPage))
		}
		return
	}
	http.SetCookie(w, d.sessions.issue())
	h.Set("Location", "/")
	w.WriteHeader(http.StatusSeeOther)
}
