package daemon

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/wire"
)

// Fork is an item of the answer of GET /_node/forks: a log of which its device
// signed two histories. The proof of that is kept.
type Fork struct {
	Space  string    `json:"space"`  // id of the space where the log is
	Author string    `json:"author"` // space for whom the device wrote
	Device string    `json:"device"` // id of the device
	Own    bool      `json:"own"`    // it is a device of this node's identity
	Log    string    `json:"log"`    // id of the log
	Class  string    `json:"class"`  // "data" or "authority"
	Apart  uint64    `json:"apart"`  // the histories differ at the commit with this number, if not before
	Signed time.Time `json:"signed"` // when one of the two was signed, by the device's clock
	Found  time.Time `json:"found"`  // when the proof was made here, or came
}

// forks lists what forked, in all spaces or in ?space, what was found last first.
func (d *daemon) forks(r *http.Request) (int, any, error) {
	spaces := d.node.Spaces()
	if root := r.URL.Query().Get("space"); root != "" {
		id, err := d.node.Resolve(root)
		if err != nil {
			return 0, nil, err
		}
		spaces = []sennit.Space{id}
	}
	return http.StatusOK, d.forked(spaces), nil
}

func (d *daemon) forked(spaces []sennit.Space) []Fork {
	all := []Fork{}
	for _, id := range spaces {
		for _, f := range d.node.Forks(id) {
			all = append(all, d.describe(&f))
		}
	}
	slices.SortFunc(all, func(a, b Fork) int { return cmp.Or(b.Found.Compare(a.Found), cmp.Compare(a.Log, b.Log)) })
	return all
}

func (d *daemon) describe(f *node.Fork) Fork {
	rec := f.Proof.Log
	out := Fork{
		Space: rec.Space.String(), Author: rec.Principal.String(), Device: rec.Device.String(), Own: rec.Principal == d.id.Space(),
		Log: f.Log.String(), Class: "data", Apart: f.Proof.A.Seq, Found: f.Found.UTC(),
	}
	if rec.Class == wire.Authority {
		out.Class = "authority"
	}
	// Whoever signs two histories may sign any time, also one that no calendar has.
	out.Signed = time.UnixMilli(int64(f.Proof.B.Clock >> 16)).UTC()
	if latest := out.Found.Add(node.MaxAhead); out.Signed.After(latest) {
		out.Signed = latest
	}
	return out
}

// ownForks is a warning for each device of this identity of which it was found
// lately that it signed two histories, but for one of which it was said already
// why.
func ownForks(forks []Fork, said string, now time.Time) (all []Finding) {
	seen := map[string]bool{said: true}
	for _, f := range forks { // of each device what was found last
		if !f.Own || seen[f.Device] || now.Sub(f.Found) >= copyMatters {
			continue
		}
		seen[f.Device] = true
		all = append(all, Finding{
			What: "device " + f.Device + " signed two histories on " + f.Signed.Format(time.DateOnly) +
				": its data directory was copied or restored, or its key is stolen",
			About: "forks",
			Do:    "nothing is lost, but if you know of no copy, take its rights back: sennit revoke device:" + f.Device + " /me; see also: sennit forks",
		})
	}
	return all
}

// otherForks is how many devices of others signed two histories.
func (d *daemon) otherForks() int {
	devices := map[string]bool{}
	for _, f := range d.forked(d.node.Spaces()) {
		if !f.Own {
			devices[f.Device] = true
		}
	}
	return len(devices)
}
