package swarm

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
)

// follows reports whether a path is among those that are followed.
func follows(follows map[sennit.Space][]sennit.Path, w node.Want) bool {
	prefixes, ok := follows[w.Space]
	return ok && (len(prefixes) == 0 || slices.ContainsFunc(prefixes, w.Path.Under))
}

// scan looks for what is missing, ends the fetching of what nothing names any
// more, and removes what is partly here of such. What is named from now on
// closes named.
func (p *pull) scan(ctx context.Context, s *Swarm) (named <-chan struct{}, err error) {
	unnamed := map[sennit.Blob]bool{}
	err = s.blobs.Each(func(ref sennit.Blob, _ uint64, whole bool) error {
		if !whole {
			unnamed[ref] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	q := &queue{follows: p.follows, resting: maps.Clone(p.resting), lines: map[sennit.Space][]*item{}, held: map[sennit.Space]uint64{}, missing: map[sennit.Blob]bool{}, unwanted: maps.Clone(p.running)}
	p.mu.Unlock()
	named, err = s.n.Named(ctx, func(w node.Want, here bool) error {
		delete(unnamed, w.Blob)
		q.add(w, here)
		return ctx.Err()
	})
	if err != nil {
		return named, err
	}
	q.flush()
	for _, it := range q.unwanted {
		it.stop() // what is here of it goes when it has ended
	}
	for ref := range unnamed {
		if err := s.blobs.RemovePartial(ctx, ref); err != nil {
			return named, err
		}
	}
	line := q.line()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line, p.held, p.unlined, p.unsized = line, q.held, q.blobs-len(line), q.bytes
	for _, it := range line {
		p.unsized -= it.blob.Size
	}
	maps.DeleteFunc(p.resting, func(ref sennit.Blob, _ *rest) bool { return !q.missing[ref] })
	return named, nil
}

// queue gathers what a scan finds.
type queue struct {
	follows map[sennit.Space][]sennit.Path
	resting map[sennit.Blob]*rest
	lines   map[sennit.Space][]*item // by the first space of each
	held    map[sennit.Space]uint64
	missing map[sennit.Blob]bool // of those that rest
	blobs   int                  // that are missing
	bytes   uint64               // their sum

	unwanted map[sennit.Blob]*item // of those that are fetched

	it   item // at hand
	here bool
	seen []sennit.Space
}

// add takes a path that names a blob. They come blob by blob.
func (q *queue) add(w node.Want, here bool) {
	if w.Blob != q.it.blob {
		q.flush()
		q.it, q.here, q.seen = item{blob: w.Blob}, here, q.seen[:0]
	}
	if !follows(q.follows, w) {
		return
	}
	delete(q.unwanted, w.Blob)
	if !slices.Contains(q.seen, w.Space) {
		q.seen = append(q.seen, w.Space)
		if here {
			q.held[w.Space] += w.Blob.Size
		}
	}
	if len(q.it.wants) < maxPaths {
		q.it.wants = append(q.it.wants, w)
	}
}

// flush puts the item at hand in line.
func (q *queue) flush() {
	if q.here || len(q.it.wants) == 0 {
		return
	}
	it := q.it
	q.it = item{}
	q.blobs++
	q.bytes += it.blob.Size
	if q.resting[it.blob] != nil {
		q.missing[it.blob] = true
	}
	space := it.wants[0].Space
	q.lines[space] = append(q.lines[space], &it)
	if len(q.lines[space]) >= 2*maxLine {
		q.cut(space)
	}
}

// cut leaves the first in line: who rests comes last, then the larger.
func (q *queue) cut(space sennit.Space) {
	late := func(it *item) int {
		if q.resting[it.blob] != nil {
			return 1
		}
		return 0
	}
	all := q.lines[space]
	slices.SortFunc(all, func(a, b *item) int { return cmp.Or(late(a)-late(b), cmp.Compare(a.blob.Size, b.blob.Size)) })
	q.lines[space] = slices.Clip(all[:min(len(all), maxLine)])
}

// line is all that wait, the smallest first.
func (q *queue) line() (all []*item) {
	for space := range q.lines {
		q.cut(space)
		all = append(all, q.lines[space]...)
	}
	slices.SortFunc(all, func(a, b *item) int {
		return cmp.Or(cmp.Compare(a.blob.Size, b.blob.Size), slices.Compare(a.blob.Root[:], b.blob.Root[:]))
	})
	return all
}
