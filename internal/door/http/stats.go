package httpdoor

import (
	"net/http"
	"sync/atomic"
)

// methods are those that are counted by name; the last stands for all others.
var methods = [...]string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete, http.MethodOptions, "other"}

// stats counts what a door does.
type stats struct {
	requests    [len(methods)]atomic.Uint64
	refused     [600]atomic.Uint64 // by status
	subscribers atomic.Int64
	slow        atomic.Int64
}

func (s *stats) request(method string) {
	for i, m := range methods {
		if m == method || i == len(methods)-1 {
			s.requests[i].Add(1)
			return
		}
	}
}

// Stats is what a door did since it was made, and what it does now.
type Stats struct {
	Requests    map[string]uint64 // by method; "other" for those that are not known
	Refused     map[int]uint64    // answers with a status of 400 and more
	Subscribers int64             // subscriptions now
	Slow        int64             // of those that take less than they are sent
}

// Stats tells what the door did so far.
func (d *Door) Stats() Stats {
	s := Stats{Requests: map[string]uint64{}, Refused: map[int]uint64{}, Subscribers: d.stats.subscribers.Load(), Slow: d.stats.slow.Load()}
	for i, m := range methods {
		s.Requests[m] = d.stats.requests[i].Load()
	}
	for status := range d.stats.refused {
		if n := d.stats.refused[status].Load(); n > 0 {
			s.Refused[status] = n
		}
	}
	return s
}
