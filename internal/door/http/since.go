package httpdoor

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/sennit/sennit"
)

// This file is about a GET with Parents: what came after a version. Of a value it
// is enough to tell what is there now, because the newest writing takes the place
// of all before it.

// maxHold is how long a node waits for a version that it has not heard of: it may
// be on its way here, from where the client has it.
const maxHold = 3 * time.Second

// maxParents bounds the versions that are looked for.
const maxParents = 4

// since answers a GET of a value with Parents.
func (d *Door) since(w http.ResponseWriter, r *http.Request, c Caller, t target) error {
	parents, err := versions(r.Header["Parents"])
	switch {
	case err != nil:
		return err
	case len(parents) > maxParents:
		return sennit.Errorf(sennit.BadInput, "Parents names %d versions; a value has one, and %d are looked at", len(parents), maxParents)
	case r.Header["Version"] != nil:
		return sennit.Errorf(sennit.Unsupported, "what is between two versions is not served; ask for one, or for what came after one")
	}
	bus := d.cfg.Bus(c)
	for _, v := range parents {
		if err := d.known(r.Context(), bus, t.addr, v); err != nil {
			if n, e := bus.Get(r.Context(), t.addr); e == nil {
				tellVersion(w.Header(), "Current-Version", n.Version)
			}
			if sennit.CodeOf(err) == sennit.NotFound {
				return unknown(w)
			}
			return err
		}
	}
	n, err := bus.Get(r.Context(), t.addr)
	if err != nil {
		return err
	}
	var e encoder
	if len(parents) != 1 || parents[0] != n.Version {
		e.block(&told{}, &sennit.Update{Kind: sennit.Set, Node: n}, false, false)
	}
	h := w.Header()
	tellVersion(h, "Current-Version", n.Version)
	h.Set("Content-Type", httpHistory)
	h["Cache-Control"] = d.fixed.cache
	h.Set("Content-Length", strconv.Itoa(len(e.b)))
	w.WriteHeader(statusSub)
	if r.Method != http.MethodHead {
		w.Write(e.b)
	}
	return nil
}

// tellVersion says in a header which version there is; it is empty if there is none.
func tellVersion(h http.Header, name string, v sennit.Version) {
	text := ""
	if simple(string(v)) {
		text = `"` + string(v) + `"`
	}
	h[name] = []string{text}
}

// known waits until the node knows that a path had a version, for a while. It fails
// with NotFound if it never did, and with Gone if it doesn't hold it any more.
func (d *Door) known(ctx context.Context, bus sennit.Bus, a sennit.Addr, v sennit.Version) error {
	look := func() error {
		_, content, err := bus.At(ctx, a, v)
		if err == nil {
			err = content.Close()
		}
		return err
	}
	err := look()
	if sennit.CodeOf(err) != sennit.NotFound {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, maxHold)
	defer cancel()
	watch, e := bus.Watch(wait, []sennit.Pattern{{Root: a.Root, Path: string(a.Path), Exact: true}}, sennit.WatchOptions{})
	if e != nil {
		return e
	}
	defer watch.Close()
	for {
		if err := look(); sennit.CodeOf(err) != sennit.NotFound {
			return err
		}
		if _, e := watch.Next(wait); e != nil {
			if wait.Err() != nil && ctx.Err() == nil {
				return err
			}
			return e
		}
	}
}
