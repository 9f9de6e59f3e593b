package swarm

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sennit/sennit/internal/blob"
)

// schedule says which pieces of a blob to ask a peer for next, and knows which
// are under way. Everything that decides between pieces is in this file.
type schedule struct {
	f    *blob.Fetch
	last uint64 // the last piece

	mu     sync.Mutex // guards what follows
	flying []blob.Range
	at     uint64        // where the rest goes on
	moved  chan struct{} // closed and replaced when pieces that were under way are not any more
}

func newSchedule(f *blob.Fetch) *schedule {
	return &schedule{f: f, last: (f.Blob().Size - 1) / blob.Piece, moved: make(chan struct{})}
}

// next picks up to most pieces to ask for of a peer that has some. It gives
// nothing if that peer can't help now. What it picks is under way until done is
// called with it.
func (s *schedule) next(have []blob.Range, most uint64) (r blob.Range, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The last piece proves the size, and no other does: see [blob.Fetch].
	if r, ok = s.from(s.last, have, 1); !ok {
		for _, p := range s.f.Wanted() {
			// A reader goes on from where it waits; so does what nobody waits for.
			if r, ok = s.from(p, have, most); ok && r.First == p {
				s.at = r.End
				break
			}
			ok = false
		}
	}
	if !ok {
		if r, ok = s.from(s.at, have, most); !ok {
			r, ok = s.from(0, have, most)
		}
	}
	if ok {
		i, _ := slices.BinarySearchFunc(s.flying, r, byFirst)
		s.flying = slices.Insert(s.flying, i, r)
	}
	return r, ok
}

func byFirst(a, b blob.Range) int { return cmp.Compare(a.First, b.First) }

// done says that pieces are not under way any more: they came, or they won't.
func (s *schedule) done(r blob.Range) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flying = slices.DeleteFunc(s.flying, func(o blob.Range) bool { return o == r })
	close(s.moved)
	s.moved = make(chan struct{})
}

// wait gives a channel that is closed when next may give more.
func (s *schedule) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moved
}

// from finds the first pieces, from one on, that are missing, not under way, and
// among those that a peer has. It gives no more than most, and none beyond the
// next multiple of what a slice can have: such slices share the most nodes.
func (s *schedule) from(first uint64, have []blob.Range, most uint64) (blob.Range, bool) {
	const batch = 16
	for {
		gaps := s.f.Missing(first, batch)
		for _, gap := range gaps {
			k, _ := slices.BinarySearchFunc(have, gap.First, func(h blob.Range, at uint64) int { return cmp.Compare(h.End, at+1) })
			for ; k < len(have) && have[k].First < gap.End; k++ {
				r := blob.Range{First: max(gap.First, have[k].First), End: min(gap.End, have[k].End)}
				if r, ok := s.still(r); ok {
					r.End = min(r.End, r.First+most, (r.First/blob.MaxSlice+1)*blob.MaxSlice)
					return r, true
				}
			}
			first = gap.End
		}
		if len(gaps) < batch {
			return blob.Range{}, false
		}
	}
}

// still gives the first pieces of r that are not under way.
func (s *schedule) still(r blob.Range) (blob.Range, bool) {
	for _, f := range s.flying {
		switch {
		case f.End <= r.First:
		case f.First > r.First:
			r.End = min(r.End, f.First)
			return r, r.First < r.End
		default:
			r.First = f.End
		}
	}
	return r, r.First < r.End
}

// flight bounds the bytes that are asked for over all streams.
type flight struct{ left atomic.Int64 }

// take reserves room for some pieces. Without room it does so only if it must.
func (f *flight) take(pieces uint64, must bool) bool {
	n := int64(pieces) * blob.Piece
	if f.left.Add(-n) >= 0 || must {
		return true
	}
	f.left.Add(n)
	return false
}

func (f *flight) give(pieces uint64) { f.left.Add(int64(pieces) * blob.Piece) }
