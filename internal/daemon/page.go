package daemon

import (
	"io"
	"net/http"
	"strconv"
	"strings"

	"rsc.io/qr"

	"github.com/sennit/sennit"
)

// maxQR bounds the text of a QR code in bytes. Links have at most half of it.
const maxQR = 1024

// Saved is the answer of GET /_node/saved: how many peers hold everything that
// this node holds of a space.
type Saved struct {
	Peers int `json:"peers"`
}

func (d *daemon) saved(r *http.Request) (int, any, error) {
	_, space, err := d.where(r.URL.Query().Get("path"))
	if err != nil {
		return 0, nil, err
	}
	n, err := d.rep.Saved(space)
	return http.StatusOK, Saved{n}, err
}

// Opened is the answer of POST /_node/page.
type Opened struct {
	Open string `json:"open"` // URL of the page, with a key that works once
}

func (d *daemon) openPage(*http.Request) (int, any, error) {
	if d.http == nil {
		return 0, nil, sennit.Hint(sennit.Errorf(sennit.Unsupported, "the HTTP door is off"), "start the node without --http off")
	}
	return http.StatusCreated, Opened{d.page()}, nil
}

// qrCode draws a text as a QR code.
func (d *daemon) qrCode(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Text string `json:"text"`
	}
	err := read(r, &in)
	if err == nil && (in.Text == "" || len(in.Text) > maxQR) {
		err = sennit.Errorf(sennit.BadInput, "a QR code holds 1 to %d bytes here; this text has %d", maxQR, len(in.Text))
	}
	if err != nil {
		d.door.Fail(w, r, err)
		return
	}
	code, err := qr.Encode(in.Text, qr.M)
	if err != nil {
		d.door.Fail(w, r, sennit.Errorf(sennit.BadInput, "this can't be drawn: %w", err))
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, svg(code)) // the caller went away
}

// svg draws a QR code with the quiet zone of four modules that readers need
// (ISO/IEC 18004 section 9.1). Modules in a row are one rectangle.
func svg(code *qr.Code) string {
	var b strings.Builder
	side := strconv.Itoa(code.Size + 8)
	b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="QR code" shape-rendering="crispEdges" viewBox="0 0 ` + side + ` ` + side +
		`"><path fill="#fff" d="M0 0h` + side + `v` + side + `H0z"/><path d="`)
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			from := x
			for x < code.Size && code.Black(x, y) {
				x++
			}
			if n := strconv.Itoa(x - from); x > from {
				b.WriteString("M" + strconv.Itoa(from+4) + " " + strconv.Itoa(y+4) + "h" + n + "v1h-" + n + "z")
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return b.String()
}
