package tree_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// memory keeps nodes in a map, counts what is done, and is as unhelpful as its
// contract allows: what Get returned is overwritten by the next call.
type memory struct {
	m             map[string][]byte
	reads, writes int
	read, written int            // bytes of keys and values
	got, set      map[string]int // calls by key, if not nil
	fail          error          // of every write, if set
	scratch       []byte
}

func newMemory() *memory { return &memory{m: map[string][]byte{}, scratch: []byte{}} }

// start makes the counts those of what follows.
func (s *memory) start() {
	*s = memory{m: s.m, scratch: []byte{}, got: map[string]int{}, set: map[string]int{}}
}

func (s *memory) count(n map[string]int, key []byte) {
	for i := range s.scratch {
		s.scratch[i] = 0xee
	}
	if n != nil {
		n[string(key)]++
	}
}

func (s *memory) Get(key []byte) ([]byte, error) {
	s.count(s.got, key)
	v, ok := s.m[string(key)]
	if !ok {
		s.reads++
		return nil, nil
	}
	s.reads++
	s.read += len(key) + len(v)
	s.scratch = append(s.scratch[:0], v...)
	return s.scratch[:len(v):len(v)], nil
}

func (s *memory) Set(key, value []byte) error {
	s.count(s.set, key)
	s.writes++
	s.written += len(key) + len(value)
	s.m[string(key)] = bytes.Clone(value)
	return s.fail
}

func (s *memory) Delete(key []byte) error {
	s.count(s.set, key)
	delete(s.m, string(key))
	return s.fail
}

func (s *memory) DeleteRange(start, end []byte) error {
	maps.DeleteFunc(s.m, func(k string, _ []byte) bool { return k >= string(start) && k < string(end) })
	return s.fail
}

// again names a key that was read twice or written twice, "" if none was.
func (s *memory) again() string {
	for _, n := range []map[string]int{s.got, s.set} {
		for key, times := range n {
			if times > 1 {
				return fmt.Sprintf("%q, %d times", key, times)
			}
		}
	}
	return ""
}

// equal compares two stores byte for byte.
func (s *memory) equal(t *memory) bool { return maps.EqualFunc(s.m, t.m, bytes.Equal) }

// replica merges ops one by one, in the way that an engine over a store does.
type replica struct {
	slots  map[sennit.Path]*tree.Slots
	others map[sennit.Path]map[tree.Stamp]bool
	adds   map[sennit.Path]map[total]tree.Stamp
	dirty  map[sennit.Path]bool
	clear  map[sennit.Path]bool
	newest tree.Stamp
	nodes  *memory
}

// total is what an add states anew.
type total struct {
	log   sennit.Hash
	since uint64
}

func newReplica() *replica {
	return &replica{
		slots: map[sennit.Path]*tree.Slots{}, others: map[sennit.Path]map[tree.Stamp]bool{}, adds: map[sennit.Path]map[total]tree.Stamp{},
		dirty: map[sennit.Path]bool{}, clear: map[sennit.Path]bool{}, nodes: newMemory(),
	}
}

func (r *replica) at(p sennit.Path) *tree.Slots {
	if r.slots[p] == nil {
		r.slots[p] = new(tree.Slots)
		r.others[p] = map[tree.Stamp]bool{}
		r.adds[p] = map[total]tree.Stamp{}
	}
	return r.slots[p]
}

// cover is the newest deep del above p.
func (r *replica) cover(p sennit.Path) (newest tree.Stamp) {
	for p != "" {
		p = p.Parent()
		if s := r.slots[p]; s != nil && newest.Before(s[tree.Deep]) {
			newest = s[tree.Deep]
		}
	}
	return newest
}

// apply merges one op.
func (r *replica) apply(o op) {
	slot := tree.SlotOf(o.kind, o.deep)
	now := r.at(o.path)
	if slot == tree.Add {
		group := total{o.at.Log, o.since}
		if tree.DecideAdd(o.at, o.since, r.asRead(slot, now), r.cover(o.path), r.adds[o.path][group]) == tree.Live {
			r.adds[o.path][group] = o.at
			r.dirty[o.path] = true
		}
		if r.newest.Before(o.at) {
			r.newest = o.at
		}
		return
	}
	var e tree.Effect
	if unread := r.newest.Before(o.at); unread {
		e, r.newest = tree.Newest(slot), o.at
		if e.Beneath {
			// Nothing beneath survives: no need to look.
			r.clear[o.path] = true
			for p := range r.slots {
				if p != o.path && p.Under(o.path) {
					delete(r.slots, p)
					delete(r.others, p)
					delete(r.adds, p)
					delete(r.dirty, p)
					delete(r.clear, p)
				}
			}
		}
	} else {
		e = tree.Decide(slot, o.at, r.asRead(slot, now), r.cover(o.path))
	}
	if e.Fate != tree.Live {
		return
	}
	r.dirty[o.path] = true
	r.drop(o.path, e.Clears, o.at)
	if slot.Many() {
		r.others[o.path][o.at] = true
	} else {
		now[slot] = o.at
	}
	if e.Beneath {
		for p, below := range r.slots {
			if p != o.path && p.Under(o.path) {
				r.drop(p, tree.Sweep(o.at, below)|1<<tree.Add|1<<tree.Other, o.at)
				r.dirty[p] = true
			}
		}
	}
}

// asRead are the slots that Decide says must be read.
func (r *replica) asRead(s tree.Slot, now *tree.Slots) *tree.Slots {
	if s >= tree.Add {
		return &tree.Slots{tree.Del: now[tree.Del], tree.Deep: now[tree.Deep]}
	}
	return now
}

// drop empties slots, and drops the Adds and Other ops that by covers.
func (r *replica) drop(p sennit.Path, slots tree.Set, by tree.Stamp) {
	for s := tree.Put; s <= tree.Deep; s++ {
		if slots.Has(s) {
			r.slots[p][s] = tree.Stamp{}
		}
	}
	if slots.Has(tree.Add) {
		maps.DeleteFunc(r.adds[p], func(g total, at tree.Stamp) bool { return tree.Resets(by, at, g.since) })
	}
	if slots.Has(tree.Other) {
		maps.DeleteFunc(r.others[p], func(at tree.Stamp, _ bool) bool { return at.Before(by) })
	}
}

// names are the live ops by path.
func (r *replica) names() names {
	n := names{}
	for p := range r.slots {
		if refs := r.namesAt(p); len(refs) > 0 {
			n[p] = refs
		}
	}
	return n
}

func (r *replica) namesAt(p sennit.Path) (refs []wire.OpRef) {
	for _, at := range r.at(p) {
		if !at.IsZero() {
			refs = append(refs, at.Name())
		}
	}
	for at := range r.others[p] {
		refs = append(refs, at.Name())
	}
	for _, at := range r.adds[p] {
		refs = append(refs, at.Name())
	}
	slices.SortFunc(refs, tree.CompareNames)
	return refs
}

// flush brings the trie up to date.
func (r *replica) flush() error {
	var changes []tree.Change
	for p := range r.dirty {
		changes = append(changes, tree.Change{Path: p, Names: r.namesAt(p), Cleared: r.clear[p]})
	}
	clear(r.dirty)
	clear(r.clear)
	r.nodes.start()
	if err := tree.Update(r.nodes, changes); err != nil {
		return err
	}
	if key := r.nodes.again(); key != "" {
		return fmt.Errorf("a node was read or written again: %s", key)
	}
	return nil
}

// dump lists a store, for messages.
func (s *memory) dump() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(s.m)) {
		fmt.Fprintf(&b, "%q: %x\n", k, s.m[k])
	}
	return b.String()
}
