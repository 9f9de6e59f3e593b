package daemon

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"
	"unicode/utf8"

	"lukechampine.com/blake3"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
)

// Collection is a line of POST /_node/collect while it works; the last line has
// Done set.
type Collection struct {
	Looked  uint64 `json:"looked"`            // ops that were looked at
	Total   uint64 `json:"total,omitempty"`   // of so many in the space at hand
	Dropped uint64 `json:"dropped,omitempty"` // ops
	Blobs   uint64 `json:"blobs,omitempty"`   // large values that were removed
	Before  uint64 `json:"before,omitempty"`  // bytes on disk
	After   uint64 `json:"after,omitempty"`
	Done    bool   `json:"done,omitempty"`
	Error   string `json:"error,omitempty"` // why it could not be finished
}

// collect drops what is superseded, in all spaces or in ?space, and gives the
// room back. It answers in JSON Lines: progress at most once a second, then
// what was done.
func (d *daemon) collect(w http.ResponseWriter, r *http.Request) {
	spaces := d.node.Spaces()
	if root := r.URL.Query().Get("space"); root != "" {
		id, err := d.node.Resolve(root)
		if err != nil {
			d.door.Fail(w, r, err)
			return
		}
		spaces = []sennit.Space{id}
	}
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("Cache-Control", "no-store")
	enc, rc := json.NewEncoder(w), http.NewResponseController(w)
	said := time.Now()
	say := func(c Collection) {
		// It may take longer than an answer has time to leave.
		_ = rc.SetWriteDeadline(time.Now().Add(time.Minute))
		_ = enc.Encode(c) // the caller went away: the context ends
		_ = rc.Flush()
	}
	last, err := d.collectAll(r.Context(), spaces, func(c Collection) {
		if now := time.Now(); now.Sub(said) >= time.Second {
			said = now
			say(c)
		}
	})
	if last.Done = true; err != nil {
		last.Error = err.Error()
	}
	say(last)
}

func (d *daemon) collectAll(ctx context.Context, spaces []sennit.Space, progress func(Collection)) (all Collection, err error) {
	all.Before = d.store.DiskUsage() + d.blobs.Usage()
	for _, id := range spaces {
		looked := all.Looked
		c, err := d.node.Collect(ctx, id, func(done, total uint64) {
			all.Looked, all.Total = looked+done, looked+total
			progress(all)
		})
		all.Looked, all.Dropped = looked+c.Seen, all.Dropped+c.Dropped
		if err != nil {
			return all, err
		}
	}
	if all.Blobs, err = d.node.CollectBlobs(ctx); err != nil {
		return all, err
	}
	if err := d.store.Shrink(ctx); err != nil {
		return all, err
	}
	all.Total, all.After = 0, d.store.DiskUsage()+d.blobs.Usage()
	return all, nil
}

// Past is a change of a value, in the answer of GET /_node/history.
type Past struct {
	Kind    string         `json:"kind"`             // "set", "delete", "delete-deep", "add" or "append"
	Path    string         `json:"path"`             // where it was made: of "delete-deep", perhaps further up
	Shown   bool           `json:"shown,omitempty"`  // this is what is shown at the path now
	Value   *string        `json:"value,omitempty"`  // of "set" and "append": bytes that are text, of at most 64 KiB
	Base64  string         `json:"base64,omitempty"` // the same of other bytes
	Size    uint64         `json:"size"`             // bytes
	Total   int64          `json:"total,omitempty"`  // of "add": the running total of who added, unless it is 0
	Type    string         `json:"type,omitempty"`   // media type
	Author  string         `json:"author"`           // space of who made it
	Version sennit.Version `json:"version"`          // what --at takes
	Time    time.Time      `json:"time"`             // when it was made, by the author's clock
}

// maxHistory is how many changes are listed at most.
const maxHistory = 1000

func (d *daemon) history(r *http.Request) (int, any, error) {
	a, err := addrOf(r)
	if err != nil {
		return 0, nil, err
	}
	list, err := d.node.History(r.Context(), a, maxHistory)
	if err != nil {
		return 0, nil, err
	}
	out := []Past{}
	for _, p := range list {
		out = append(out, past(a.Root, &p))
	}
	return http.StatusOK, out, nil
}

func past(root string, p *node.Past) Past {
	out := Past{
		Path: sennit.Addr{Root: root, Path: p.Path}.String(), Shown: p.Shown, Size: p.Value.Size(), Total: p.Total, Type: p.Value.Type,
		Author: p.Author.Space.String(), Version: p.Version, Time: p.Time.UTC(),
	}
	switch p.Kind {
	case sennit.KindPut:
		out.Kind = "set"
	case sennit.KindAdd:
		out.Kind = "add"
	case sennit.KindAppend:
		out.Kind = "append"
	case sennit.KindDel:
		if out.Kind = "delete"; p.Deep {
			out.Kind = "delete-deep"
		}
	}
	switch data := p.Value.Data; {
	case p.Value.Blob != nil || p.Kind != sennit.KindPut && p.Kind != sennit.KindAppend:
	case utf8.Valid(data):
		text := string(data)
		out.Value = &text
	default:
		out.Base64 = base64.StdEncoding.EncodeToString(data)
	}
	return out
}

// Overtaken is the answer of GET /_node/overtaken: values that came after
// ?since, at and under ?path, and were older than what this node itself had
// written there.
type Overtaken struct {
	Values []Older `json:"values"`
	Cursor string  `json:"cursor"` // behind these; the same again if nothing came
}

// Older is a value that was overtaken.
type Older struct {
	Path    string         `json:"path"`
	Author  string         `json:"author"`
	Version sennit.Version `json:"version"`
	Time    time.Time      `json:"time"`
	Type    string         `json:"type,omitempty"`
	Hash    string         `json:"hash"` // BLAKE3, of the bytes
	Size    uint64         `json:"size"`
}

func (d *daemon) overtaken(r *http.Request) (int, any, error) {
	a, err := addrOf(r)
	if err != nil {
		return 0, nil, err
	}
	var since sennit.Cursor
	if text := r.URL.Query().Get("since"); text != "" {
		if since, err = sennit.ParseCursor(text); err != nil {
			return 0, nil, err
		}
	}
	list, next, err := d.node.Overtaken(r.Context(), a, since, maxHistory)
	if err != nil {
		return 0, nil, err
	}
	out := Overtaken{Values: []Older{}, Cursor: next.String()}
	for _, n := range list {
		hash := sennit.Hash(blake3.Sum256(n.Value.Data))
		if n.Value.Blob != nil {
			hash = n.Value.Blob.Root
		}
		out.Values = append(out.Values, Older{
			Path: sennit.Addr{Root: a.Root, Path: n.Path}.String(), Author: n.Author.Space.String(), Version: n.Version, Time: n.Time.UTC(),
			Type: n.Value.Type, Hash: hash.String(), Size: n.Value.Size(),
		})
	}
	return http.StatusOK, out, nil
}

func addrOf(r *http.Request) (sennit.Addr, error) {
	path := r.URL.Query().Get("path")
	if path == "" {
		return sennit.Addr{}, sennit.Errorf(sennit.BadInput, "?path is missing")
	}
	return sennit.ParseAddr(path)
}

// Undone is the answer of POST /_node/undo.
type Undone struct {
	Changed int `json:"changed"` // values that changed
}

func (d *daemon) undo(r *http.Request) (int, any, error) {
	a, err := addrOf(r)
	if err != nil {
		return 0, nil, err
	}
	changed, err := d.node.Undo(r.Context(), a)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, Undone{changed}, nil
}

// Used is the answer of GET /_node/du: what values take at and under a path.
type Used struct {
	Path   string `json:"path"`   // address
	Values uint64 `json:"values"` // values at and under it
	Bytes  uint64 `json:"bytes"`  // bytes that they have
	Blobs  uint64 `json:"blobs"`  // of the bytes, those in values above 64 KiB
	Here   uint64 `json:"here"`   // of those, the bytes that are on this disk
}

func (d *daemon) du(r *http.Request) (int, any, error) {
	a, err := addrOf(r)
	if err != nil {
		return 0, nil, err
	}
	u, err := d.node.Usage(r.Context(), a)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, Used{a.String(), u.Values, u.Bytes, u.Blobs, u.Here}, nil
}
