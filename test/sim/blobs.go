package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
)

// This file is about the bytes of large values, which come after the ops.

// spread waits until every honest follower that could reach somebody honest who
// has the bytes of a value has them too.
func (w *world) spread(models map[sennit.Space]*model) {
	begun, lacks := time.Now(), ""
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		lacks = w.lacking(models)
		if lacks == "" || time.Since(begun) > patience {
			break
		}
		time.Sleep(wait)
	}
	if lacks != "" {
		w.fail("after %s %s", patience, lacks)
	}
	for _, x := range w.acked {
		if x.m.liar != nil || x.m.wasSetBack() {
			continue
		}
		for _, c := range x.changes {
			if c.Value.Blob == nil || !w.current(models, x.space, c) {
				continue
			}
			if err := x.m.up().n.Blobs().Verify(context.Background(), *c.Value.Blob); err != nil {
				w.fail("%s acknowledged the blob at %s and doesn't have it: %v", x.m.name, c.Path, err)
			}
			w.blobs++
		}
	}
}

// current reports whether a change of an honest owner's space still counts.
func (w *world) current(models map[sennit.Space]*model, space sennit.Space, c sennit.Change) bool {
	for _, m := range w.machines {
		if m.id.Space() == space && m.liar == nil {
			live := models[space].live(m.up().n.Authority(space), c.Path, m.now())
			return slices.ContainsFunc(live, func(o *op) bool { return o.path == c.Path && o.blob != nil && *o.blob == *c.Value.Blob })
		}
	}
	return false
}

// lacking tells of the first follower that lacks a blob which somebody has whom
// it is in touch with, who lets it read, and who knows that the blob is the value
// there.
func (w *world) lacking(models map[sennit.Space]*model) string {
	all := w.replicas()
	for _, x := range all {
		if x.of.liar != nil {
			continue
		}
		space := x.of.id.Space()
		for _, o := range models[space].live(x.of.up().n.Authority(space), "", x.m.now()) {
			if o.blob == nil || !w.wants(x, o.path) || w.has(x.m, o) {
				continue
			}
			for _, y := range all {
				if y.of != x.of || y.m == x.m || !w.touch(x.m, y.m) || !w.has(y.m, o) {
					continue
				}
				rules := y.m.up().n.Authority(space)
				if rules.May(x.m.id.Principal(), sennit.Read, o.path, uint64(y.m.now().UnixMilli())) && rules.Proven(x.m.id.Principal()) && w.knows(y.m, space, o) {
					return fmt.Sprintf("%s lacks the blob at %s/%s, which %s has: %+v", x.m.name, x.of.name, o.path, y.m.name, x.m.up().s.Pending(10))
				}
			}
		}
	}
	return ""
}

// knows reports whether a machine has the op itself. One may have a blob only as
// another value of its own. A liar can name that blob where it may write, and
// whoever gave it on the word of others would give what they may not read.
func (w *world) knows(m *machine, space sennit.Space, o *op) bool {
	own := newModel(space)
	if err := own.add(m.up().n); err != nil {
		w.fail("%s holds what is not genuine: %v", m.name, err)
	}
	return own.held[o.id]
}

// wants reports whether a replica follows a path, and may read it.
func (w *world) wants(x replica, p sennit.Path) bool {
	under := func(all []sennit.Path) bool { return slices.ContainsFunc(all, p.Under) }
	if x.m == x.of {
		return true
	}
	follows, err := x.m.up().n.Follows()
	return err == nil && under(x.scope) && slices.ContainsFunc(follows, func(f node.Follow) bool {
		return f.Space == x.of.id.Space() && (len(f.Prefixes) == 0 || under(f.Prefixes))
	})
}

func (w *world) has(m *machine, o *op) bool {
	ok, err := m.up().n.Blobs().Has(context.Background(), *o.blob)
	if err != nil {
		w.fail("%s can't tell whether it has a blob: %v", m.name, err)
	}
	return ok
}
