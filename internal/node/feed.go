package node

import (
	"maps"
	"math"
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// Filter says which ops of a space a reader gets; nil means all. deep says
// that the op deletes all that is under its path.
type Filter func(p sennit.Path, deep bool) bool

// Feed reads what arrived in one space, as runs for one reader. It belongs to
// one goroutine.
type Feed struct {
	n     *Node
	space sennit.Space
	may   Filter
	Known map[sennit.Hash]uint64 // commits of each log that the reader has the tree of, or apart
}

// apart stands for the commits that a reader has of a log of which it has
// another branch: it is told all of it from the log's beginning on.
const apart = math.MaxUint64

// Behind takes that the reader has only the first size commits of the branch of
// a log that is here; none: it may have another branch.
func (f *Feed) Behind(log sennit.Hash, size uint64) {
	if f.Known[log] = size; size == 0 {
		f.Known[log] = apart // it may have some, but not these
	}
}

// Feed begins to read a space for a reader.
func (n *Node) Feed(space sennit.Space, may Filter) *Feed {
	return &Feed{n: n, space: space, may: may, Known: map[sennit.Hash]uint64{}}
}

// Batch is some of what arrived.
type Batch struct {
	Logs []wire.Log // of runs whose log the reader isn't known to have
	Runs []*wire.Run
	N    uint64 // everything that arrived up to here has been read
	Last uint64 // the newest arrival when this was read: more is there if it is larger
	Ops  int
}

// After reads what arrived after n, up to about limit bytes of ops. skip says
// of a commit that the reader has it.
func (f *Feed) After(n uint64, limit int, skip func(commit sennit.Hash) bool) (*Batch, error) {
	v, err := f.n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	out := &Batch{N: n, Last: v.N}
	num, ok := f.n.st.Space(f.space)
	if !ok {
		out.N = v.N
		return out, nil
	}
	b := runBuilder{f: f, v: v, out: out}
	full := false
	err = v.Arrivals(num, min(n, v.N), func(a store.Arrival) error {
		if b.bytes >= limit {
			full = true
			return store.ErrStop
		}
		if err := b.add(a.Log, a.Seq, skip); err != nil {
			return err
		}
		out.N = a.N
		return nil
	})
	if err == nil {
		err = b.flush()
	}
	if !full {
		out.N = v.N
	}
	return out, err
}

// Picks names some ops of some commits: by log and seq, their indices.
type Picks map[uint32]map[uint64][]uint32

// Add adds more of them.
func (p Picks) Add(more Picks) {
	for log, commits := range more {
		if p[log] == nil {
			p[log] = commits
			continue
		}
		for seq, ops := range commits {
			ops = append(p[log][seq], ops...)
			slices.Sort(ops)
			p[log][seq] = slices.Compact(ops)
		}
	}
}

// Ops reads some ops of the space, with proofs that stand for the rest of their
// commits, up to about limit bytes. What it read it takes out of picks.
func (f *Feed) Ops(picks Picks, limit int) (*Batch, error) {
	v, err := f.n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	out := &Batch{}
	b := runBuilder{f: f, v: v, out: out}
	for _, log := range slices.Sorted(maps.Keys(picks)) {
		for _, seq := range slices.Sorted(maps.Keys(picks[log])) {
			if b.bytes >= limit {
				return out, b.flush()
			}
			b.only = picks[log][seq]
			if err := b.add(log, seq, nil); err != nil {
				return nil, err
			}
			delete(picks[log], seq)
		}
		delete(picks, log)
	}
	return out, b.flush()
}

// Authority reads all authority commits of the space but those that known
// says the reader has, in runs of at most about limit bytes. They are few, and
// never collected.
func (f *Feed) Authority(limit int, known func(id sennit.Hash) bool) (*Batch, error) {
	v, err := f.n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	out := &Batch{}
	num, ok := f.n.st.Space(f.space)
	if !ok {
		return out, nil
	}
	// In order of arrival, so that a commit comes after those that it names.
	b := runBuilder{f: f, v: v, out: out, class: wire.Authority}
	err = v.Arrivals(num, 0, func(a store.Arrival) error {
		if l := f.n.st.LogByNum(a.Log); l == nil || l.Rec.Class != wire.Authority {
			return nil
		}
		if b.bytes >= limit && b.sig != nil {
			if err := b.flush(); err != nil {
				return err
			}
			b.bytes = 0
		}
		return b.add(a.Log, a.Seq, known)
	})
	if err == nil {
		err = b.flush()
	}
	return out, err
}

// viewOf is a view to read one space in; nil if there is nothing of it.
func (n *Node) viewOf(id sennit.Space) (v *store.View, num uint32, err error) {
	num, ok := n.st.Space(id)
	if !ok {
		return nil, 0, nil
	}
	v, err = n.st.View()
	return v, num, err
}

// Live tells the live ops at some paths of a space.
func (n *Node) Live(id sennit.Space, paths []sennit.Path) (Picks, error) {
	v, num, err := n.viewOf(id)
	if v == nil {
		return nil, err
	}
	defer v.Release()
	store.SortPaths(paths)
	picks := Picks{}
	err = v.Each(num, paths, func(_ int, _ tree.Slot, pos store.Pos) error {
		if picks[pos.Log] == nil {
			picks[pos.Log] = map[uint64][]uint32{}
		}
		picks[pos.Log][pos.Seq] = append(picks[pos.Log][pos.Seq], pos.Index)
		return nil
	})
	for _, commits := range picks {
		for seq, ops := range commits {
			slices.Sort(ops)
			commits[seq] = slices.Compact(ops)
		}
	}
	return picks, err
}

// lookForNewest bounds the ops that are looked at to find the newest values.
const lookForNewest = 1 << 14

// Newest tells the puts that came last of those that still show and that a reader
// gets, at most count of them. It looks at what came in the last lookForNewest
// ops, so it may find fewer.
func (n *Node) Newest(id sennit.Space, may Filter, count int) (Picks, error) {
	v, num, err := n.viewOf(id)
	if v == nil {
		return nil, err
	}
	defer v.Release()
	picks, looked := Picks{}, 0
	return picks, v.ArrivalsBack(num, func(a store.Arrival) error {
		if l := n.st.LogByNum(a.Log); a.Seq == 0 || l == nil || l.Rec.Class != wire.Data {
			return nil
		}
		var ops []uint32
		if err := v.Ops(a.Log, a.Seq, func(i uint32, raw []byte) error {
			looked++
			p, ok := wire.PathOf(raw)
			if !ok || raw[0] != byte(sennit.KindPut) || may != nil && !may(sennit.Path(p), false) {
				return nil
			}
			pos, ok, err := v.At(num, sennit.Path(p), tree.Put)
			if ok && pos.Log == a.Log && pos.Seq == a.Seq && pos.Index == i {
				ops = append(ops, i)
			}
			return err
		}); err != nil {
			return err
		}
		ops = ops[max(0, len(ops)-count):]
		if count -= len(ops); len(ops) > 0 {
			picks.Add(Picks{a.Log: {a.Seq: ops}})
		}
		if count == 0 || looked >= lookForNewest {
			return store.ErrStop
		}
		return nil
	})
}

// Logs tells the logs of a space and how many commits of each are here.
func (n *Node) Logs(id sennit.Space) (map[sennit.Hash]uint64, error) {
	v, num, err := n.viewOf(id)
	if v == nil {
		return nil, err
	}
	defer v.Release()
	sizes := map[sennit.Hash]uint64{}
	for _, l := range n.st.Logs(num) {
		if n.st.Log(l.ID) != l {
			continue // another branch
		}
		if sizes[l.ID], err = v.Size(l.Num); err != nil {
			return nil, err
		}
	}
	return sizes, nil
}

// LastArrival is the number of the newest arrival in a space, 0 if there is
// none.
func (n *Node) LastArrival(id sennit.Space) (uint64, error) {
	v, num, err := n.viewOf(id)
	if v == nil {
		return 0, err
	}
	defer v.Release()
	return v.LastArrival(num)
}

// Ancestry lists the authority commits that somebody has whose heads are given:
// those that are here, and all that they descend from.
func (n *Node) Ancestry(id sennit.Space, heads []sennit.Hash) (map[sennit.Hash]bool, error) {
	v, num, err := n.viewOf(id)
	if v == nil {
		return nil, err
	}
	defer v.Release()
	named := map[sennit.Hash][]sennit.Hash{}
	for _, l := range n.st.Logs(num) {
		if l.Rec.Class != wire.Authority {
			continue
		}
		if err := v.Commits(l.Num, 1, func(_ uint64, c *wire.Stored) error {
			named[c.ID] = c.Auth
			return nil
		}); err != nil {
			return nil, err
		}
	}
	has := map[sennit.Hash]bool{}
	for todo := slices.Clone(heads); len(todo) > 0; {
		h := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if auth, ok := named[h]; ok && !has[h] {
			has[h] = true
			todo = append(todo, auth...)
		}
	}
	return has, nil
}
