// Package web holds the page that a node serves to its owner's browser.
//
// Owns: the page's one file.
// Promises: nothing in it reaches for anything but the node that served it, and
// the browser is told to hold it to that.
// Must not know: anything of Go; the page is a client of the HTTP door.
package web

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strings"
)

//go:embed index.html
var index string

// Handler serves the page. Its policy (Content Security Policy Level 3) lets
// run only the script and the styles of the file, so that nothing that a post
// says can become one.
func Handler() http.Handler {
	policy := strings.Join([]string{
		"default-src 'none'", "connect-src 'self'", "img-src data:",
		"script-src " + digest("script"), "style-src " + digest("style"),
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
	}, "; ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", policy)
		h.Set("Cache-Control", "no-cache")
		if r.Method != http.MethodHead {
			_, _ = w.Write([]byte(index)) // the browser went away
		}
	})
}

// digest is the hash of what the page has in an element, as the policy wants it.
func digest(element string) string {
	_, rest, _ := strings.Cut(index, "<"+element+">")
	inside, _, _ := strings.Cut(rest, "</"+element+">")
	sum := sha256.Sum256([]byte(inside))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
