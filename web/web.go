// Package web holds the page that a node serves to its owner's browser.
//
// Owns: the page's one file.
// Promises: nothing in it reaches for anything but the node that served it.
// Must not know: anything of Go; the page is a client of the HTTP door.
package web

import (
	_ "embed"
	"net/http"
)

//go:embed index.html
var index []byte

// Handler serves the page.
func Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(index) // the browser went away
	})
}
