package sim

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/wire"
)

// This file is a second, naive opinion about what a space holds: from the set
// of all commits that anybody has, without an index, by the rules as the
// formats state them.

// opID names an op.
type opID struct {
	commit sennit.Hash
	index  uint32
}

// op is an op and its place in the order of all.
type op struct {
	id    opID
	clock uint64
	at    place
	by    sennit.Principal
	auth  []sennit.Hash
	kind  sennit.Kind
	path  sennit.Path
	deep  bool
	value string
	blob  *sennit.Blob // of a put, if it is too big for an op
	add   wire.Add
}

func (a *op) compare(b *op) int {
	return cmp.Or(cmp.Compare(a.clock, b.clock), bytes.Compare(a.at.log[:], b.at.log[:]), cmp.Compare(a.at.seq, b.at.seq),
		cmp.Compare(a.id.index, b.id.index), bytes.Compare(a.id.commit[:], b.id.commit[:]))
}

// covers reports whether a newer op a makes b dead.
func (a *op) covers(b *op) bool {
	begun := a.kind == sennit.KindDel && b.kind == sennit.KindAdd && b.add.Since < a.clock
	if a.compare(b) <= 0 && !begun {
		return false
	}
	switch {
	case a.kind == sennit.KindAdd:
		return a.path == b.path && b.kind == sennit.KindAdd && a.at.log == b.at.log && a.add.Since == b.add.Since
	case a.kind == sennit.KindPut:
		return a.path == b.path && b.kind == sennit.KindPut
	case a.kind == sennit.KindDel && a.deep:
		return b.path.Under(a.path)
	case a.kind == sennit.KindDel:
		return a.path == b.path && !(b.kind == sennit.KindDel && b.deep)
	}
	return false
}

// model is the ops of one space that anybody has.
type model struct {
	space sennit.Space
	ops   map[opID]*op
	at    map[place][]*op
	held  map[opID]bool                 // what a node has now
	past  map[sennit.Hash][]sennit.Hash // of a commit: some that certainly came before it in its log
}

func newModel(space sennit.Space) *model {
	return &model{space, map[opID]*op{}, map[place][]*op{}, map[opID]bool{}, map[sennit.Hash][]sennit.Hash{}}
}

// add takes in all commits that a node has of the space. Each is checked from
// scratch: the node's word is not taken for anything.
func (m *model) add(n *node.Node) error {
	feed := n.Feed(m.space, nil)
	logs := map[sennit.Hash]wire.Log{}
	past := map[sennit.Hash][]furthest{} // a forked log has branches, which are told by turns
	for at := uint64(0); ; {
		batch, err := feed.After(at, 1<<20, nil)
		if err != nil {
			return err
		}
		for _, l := range batch.Logs {
			logs[l.ID()] = l
		}
		for _, run := range batch.Runs {
			l, ok := logs[run.Log]
			if !ok {
				return fmt.Errorf("a run of log %s, which was not introduced", run.Log)
			}
			var after furthest
			err := fmt.Errorf("a run of log %s goes on behind commit %d, which wasn't told", run.Log, run.From)
			if run.From == 0 {
				err = m.run(run, l, &after)
			}
			for _, before := range past[run.Log] {
				if run.From == 0 || before.peaks.Size != run.From {
					continue
				}
				after = furthest{before.peaks.Clone(), before.last}
				if err = m.run(run, l, &after); err == nil {
					break
				}
			}
			if err != nil {
				return err
			}
			past[run.Log] = append(past[run.Log], after)
		}
		if at = batch.N; batch.N >= batch.Last {
			return nil
		}
	}
}

// furthest is how far the runs of a log went.
type furthest struct {
	peaks commit.Peaks
	last  sennit.Hash // commit; zero: none
}

// join takes in what another model has.
func (m *model) join(o *model) {
	for id, x := range o.ops {
		if m.ops[id] == nil {
			m.ops[id] = x
			m.at[x.at] = append(m.at[x.at], x)
		}
	}
	for id, before := range o.past {
		m.came(id, before...)
	}
}

// came notes that some commits came before one.
func (m *model) came(id sennit.Hash, before ...sennit.Hash) {
	for _, b := range before {
		if !b.IsZero() && !slices.Contains(m.past[id], b) {
			m.past[id] = append(m.past[id], b)
		}
	}
}

// pastOf is all commits that certainly came before one in its log, and itself.
func (m *model) pastOf(last sennit.Hash) map[sennit.Hash]bool {
	all := map[sennit.Hash]bool{}
	for todo := []sennit.Hash{last}; len(todo) > 0; {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !all[id] {
			all[id] = true
			todo = append(todo, m.past[id]...)
		}
	}
	return all
}

func (m *model) run(run *wire.Run, l wire.Log, at *furthest) error {
	key, err := keys.Admit(l.Device)
	if err != nil {
		return err
	}
	commits, err := commit.Check(run, l, &at.peaks, func(id sennit.Hash, sig *[64]byte) bool {
		return key.Verify(keys.DomainCommit, id[:], sig)
	}, nil)
	if err != nil {
		return err
	}
	for _, c := range commits {
		// A run proves each of its commits to be in the past of the next.
		m.came(c.ID, at.last)
		at.last = c.ID
		c.Each(func(i uint32, o *wire.Op) {
			id := opID{c.ID, i}
			if m.held[id] = true; m.ops[id] != nil {
				return
			}
			x := &op{
				id: id, clock: c.Clock, at: place{c.Log, c.Seq}, by: sennit.Principal{Space: l.Principal, Device: l.Device},
				auth: c.Auth, kind: o.Kind, path: o.Path,
			}
			switch o.Kind {
			case sennit.KindPut:
				p, perr := wire.DecodePut(o.Body)
				x.value, x.blob, err = text(p.Value), p.Value.Blob, cmp.Or(err, perr)
			case sennit.KindDel:
				d, derr := wire.DecodeDel(o.Body)
				x.deep, err = d.Deep, cmp.Or(err, derr)
			case sennit.KindAppend:
				c, cerr := wire.DecodeAppend(o.Body)
				x.value, err = string(c.Data), cmp.Or(err, cerr)
			case sennit.KindAdd:
				var aerr error
				x.add, aerr = wire.DecodeAdd(o.Body)
				err = cmp.Or(err, aerr)
			}
			m.ops[id] = x
			m.at[x.at] = append(m.at[x.at], x)
		})
	}
	return err
}

// has reports whether some commit at a place does what was written.
func (m *model) has(at place, c *sennit.Change) bool {
	return slices.ContainsFunc(m.at[at], func(o *op) bool { // of an add, the total follows from what came before
		return o.kind == c.Kind && o.path == c.Path && o.deep == c.Deep && o.value == text(c.Value)
	})
}

// farAhead is how far ahead an op's clock is that nobody waits for.
const farAhead = 24 * time.Hour

// live is the ops that count, under some rules, and that nothing covers, at and
// under a prefix. What is written in the far future doesn't count yet.
func (m *model) live(a *access.Authority, prefix sennit.Path, now time.Time) (all []*op) {
	pasts := map[sennit.Hash]map[sennit.Hash]bool{}
	linked := func(o *op) func(wire.Cut) access.Link {
		return func(cut wire.Cut) access.Link {
			if pasts[cut.Last] == nil {
				pasts[cut.Last] = m.pastOf(cut.Last)
			}
			if pasts[cut.Last][o.id.commit] {
				return access.Linked
			}
			return access.Unknown
		}
	}
	var valid []*op
	byPath := map[sennit.Path][]*op{}
	var deep []*op
	for _, o := range m.ops {
		if o.clock>>16 > uint64(now.Add(farAhead).UnixMilli()) || a.Judge(access.Claim{
			Author: o.by, Log: o.at.log, Seq: o.at.seq, Commit: o.id.commit, Auth: o.auth, Kind: o.kind, Path: o.path, Deep: o.deep,
			Link: linked(o),
		}) != access.Valid {
			continue
		}
		valid = append(valid, o)
		byPath[o.path] = append(byPath[o.path], o)
		if o.deep {
			deep = append(deep, o)
		}
	}
	for _, o := range valid {
		covered := func(x *op) bool { return x.covers(o) }
		if o.path.Under(prefix) && !slices.ContainsFunc(byPath[o.path], covered) && !slices.ContainsFunc(deep, covered) {
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b *op) int { return strings.Compare(string(a.path), string(b.path)) })
	return all
}

// values is what live ops show.
func values(live []*op) map[sennit.Path]string {
	vs := map[sennit.Path]string{}
	newest := map[sennit.Path]*op{}
	sums := map[sennit.Path]int64{}
	chunks := map[sennit.Path][]*op{}
	for _, o := range live {
		if o.kind == sennit.KindAdd {
			sums[o.path] += o.add.Total
		}
		if o.kind == sennit.KindAppend {
			chunks[o.path] = append(chunks[o.path], o)
		}
		if old := newest[o.path]; o.kind <= sennit.KindAppend {
			if old == nil || old.compare(o) < 0 {
				newest[o.path] = o
			}
		}
	}
	for p, o := range newest {
		switch o.kind {
		case sennit.KindPut:
			vs[p] = o.value
		case sennit.KindAdd:
			vs[p] = fmt.Sprint(sums[p])
		case sennit.KindAppend:
			slices.SortFunc(chunks[p], (*op).compare)
			for _, c := range chunks[p] {
				vs[p] += c.value
			}
		}
	}
	return vs
}
