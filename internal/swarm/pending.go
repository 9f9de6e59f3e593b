package swarm

import (
	"errors"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/replicate"
)

// Pending is a blob that a followed space names and that is not here.
type Pending struct {
	Space sennit.Space
	Path  sennit.Path // one at which it is the value
	Blob  sennit.Blob
	Why   string // in a few words
}

// Backlog is everything that followed spaces name and that is not here.
type Backlog struct {
	Blobs int
	Bytes uint64
	Some  []Pending // of them, the smallest first
}

// Pending tells what is missing, with at most limit blobs one by one, and why
// each of them is: "over budget", "nobody has it", "damaged by HOST", and so on.
func (s *Swarm) Pending(limit int) Backlog {
	p := &s.pull
	p.mu.Lock()
	defer p.mu.Unlock()
	b := Backlog{Blobs: p.unlined + len(p.line), Bytes: p.unsized}
	for i, it := range p.line {
		b.Bytes += it.blob.Size
		if i < limit {
			w := it.wants[0]
			b.Some = append(b.Some, Pending{w.Space, w.Path, w.Blob, p.why(it)})
		}
	}
	return b
}

// why tells why a blob is not here; p.mu is held.
func (p *pull) why(it *item) string {
	r := p.resting[it.blob]
	var lied *Lied
	switch {
	case p.running[it.blob] != nil:
		return "being fetched"
	case !p.room(it):
		return "over budget"
	case p.full != nil:
		return "the disk is full"
	case r != nil && errors.As(r.err, &lied):
		return "damaged by " + replicate.HostText(lied.Host)
	case r != nil && sennit.CodeOf(r.err) == sennit.Unreachable:
		return "nobody has it"
	case r != nil:
		return r.err.Error()
	case !p.served(it):
		return "nobody to ask"
	}
	return "in line"
}
