package httpdoor

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/sennit/sennit"
)

// This file is about pages of other origins. None may ask anything, but those that
// the owner has named: not even for what everybody may read, because whoever gets
// that from the browser of a visitor knows who the visitor is.

// What a page that may ask can send, and see, beyond what any page can.
const (
	corsMethods = "GET, HEAD, PUT, PATCH, POST, DELETE"
	corsSends   = "Accept, Authorization, Content-Digest, Content-Range, Content-Type, Heartbeats, If-Match, If-None-Match, If-Range, Merge-Type, Multiplex-Through, Multiplex-Version, Parents, Patches, Peer, Range, Repr-Digest, Since, Subscribe, Version, Version-Type, Want-Repr-Digest"
	corsSees    = "Accept-Patch, Author, Bad-Multiplexer, Bad-Request, Blob, Content-Range, Current-Version, ETag, Heartbeats, Link, Merge-Type, Multiplex-Through, Multiplex-Version, Repr-Digest, Repr-Type, Retry-After, Stream, Subscribe, Accept-Subscribe, Time, Version, Version-Type"
	corsSeconds = "600" // for which a browser remembers
)

// ParseOrigin checks an origin: scheme, host and perhaps a port, as browsers write
// them.
func ParseOrigin(s string) error {
	u, err := url.Parse(s)
	usual := u != nil && u.Port() == map[string]string{"http": "80", "https": "443"}[u.Scheme] // which browsers leave out
	if err != nil || usual || !printable(s) || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Host != strings.ToLower(u.Host) || s != u.Scheme+"://"+u.Host {
		return sennit.Hint(sennit.Errorf(sennit.BadInput, "%.100q is no origin", s), "such as https://app.example or http://localhost:5173, without a path")
	}
	return nil
}

// foreign tells which of the origins that the owner named a request comes from, ""
// if from none. Its browser's cookie isn't the page's, so it counts for nothing.
func (d *Door) foreign(r *http.Request) string {
	o := r.Header["Origin"]
	if len(o) != 1 || !d.foreigners[o[0]] {
		return ""
	}
	return o[0]
}

// share lets the page of another origin see an answer, and answers whether it may
// send a request, which browsers ask before. It reports whether that was all.
func (d *Door) share(w http.ResponseWriter, r *http.Request) (done bool) {
	if d.foreigners == nil {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := d.foreign(r)
	if origin == "" {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", corsSees)
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	if r.Method != http.MethodOptions || r.Header["Access-Control-Request-Method"] == nil {
		return false
	}
	h.Set("Access-Control-Allow-Methods", corsMethods)
	h.Set("Access-Control-Allow-Headers", corsSends)
	h.Set("Access-Control-Max-Age", corsSeconds)
	if r.Header["Access-Control-Request-Private-Network"] != nil {
		h.Set("Access-Control-Allow-Private-Network", "true")
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}
