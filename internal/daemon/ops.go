package daemon

import (
	"encoding/json"
	"net/http"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/replicate"
)

// opsPath is where raw commits are had and taken.
const opsPath = "/_node/ops"

// opsType is the media type of raw commits.
const opsType = "application/vnd.sennit.ops"

// getOps streams the commits that the node holds at and under ?path, as far as
// they arrived after ?since. The header Cursor says where the next stream may
// begin.
func (d *daemon) getOps(w http.ResponseWriter, r *http.Request) {
	a, err := addrOf(r)
	var since sennit.Cursor
	if text := r.URL.Query().Get("since"); err == nil && text != "" {
		since, err = sennit.ParseCursor(text)
	}
	if err == nil && since.N > 0 && since.Epoch != d.node.Epoch() {
		err = sennit.Hint(sennit.Errorf(sennit.Gone, "the cursor is of another store"), "begin anew, without one")
	}
	var space sennit.Space
	if err == nil {
		space, err = d.node.Resolve(a.Root)
	}
	if err == nil && d.node.Authority(space) == nil {
		err = sennit.Errorf(sennit.NotFound, "this node holds nothing of %s", a)
	}
	var upTo uint64
	if err == nil {
		upTo, err = d.node.Arrivals()
	}
	if err != nil {
		d.door.Fail(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", opsType)
	h.Set("Cache-Control", "no-store")
	h.Set("Cursor", sennit.Cursor{Epoch: d.node.Epoch(), N: upTo}.String())
	may := func(p sennit.Path, deep bool) bool { return p.Under(a.Path) || deep && a.Path.Under(p) }
	if a.Path == "" {
		may = nil
	}
	_, answer := d.door.Unhurried(w, r)
	if _, err := replicate.WriteOps(r.Context(), d.node, space, may, since.N, answer); err != nil {
		panic(http.ErrAbortHandler) // what came is not all
	}
}

// Pushed is the answer of POST /_node/ops.
type Pushed struct {
	Space string `json:"space"` // id of the space that they are of
	New   int    `json:"new"`   // ops that were not here
}

// pushOps takes a stream of commits.
func (d *daemon) pushOps(w http.ResponseWriter, r *http.Request) {
	body, _ := d.door.Unhurried(w, r)
	space, added, err := replicate.ReadOps(r.Context(), d.node, body)
	if err != nil {
		d.door.Fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(Pushed{space.String(), added}) // the caller went away
}
