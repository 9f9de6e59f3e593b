package node

import (
	"maps"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// maxAdd is the bytes of an add beside its path, at most.
const maxAdd = 40

// adding is an add that was asked for: which op of a request, and by how much.
type adding struct {
	op    int
	delta int64
}

// counting makes the bodies of a commit's adds. An op states its log's running
// total, so it has to know what came before it: in the store, and in the commit.
type counting struct {
	t     *txn
	sp    *space
	log   uint32
	clock uint64 // of the commit

	totals map[sennit.Path]wire.Add
	gone   []sennit.Path // deleted with all that is under them, by the commit
}

// make makes the bodies of a request's adds, of all or, if it fails, of none
// that count.
func (c *counting) make(r *request) error {
	next := counting{c.t, c.sp, c.log, c.clock, maps.Clone(c.totals), c.gone}
	if next.totals == nil {
		next.totals = map[sennit.Path]wire.Add{}
	}
	adds := r.adds
	for i := range r.ops {
		op := &r.ops[i]
		if op.Kind == sennit.KindDel {
			next.delete(op)
		}
		if len(adds) == 0 || adds[0].op != i {
			continue
		}
		total, err := next.total(op.Path)
		if err != nil {
			return err
		}
		sum := total.Total + adds[0].delta
		if (sum > total.Total) != (adds[0].delta > 0) && adds[0].delta != 0 {
			return sennit.Errorf(sennit.BadInput, "the counter at /%s would leave the range of 64 bits", op.Path)
		}
		total.Total = sum
		next.totals[op.Path] = total
		op.Body = total.Append(nil)
		adds = adds[1:]
	}
	*c = next
	return nil
}

// delete has the counters that an op of the commit deletes begin anew.
func (c *counting) delete(op *wire.Op) {
	c.totals[op.Path] = wire.Add{Since: c.clock}
	if !deep(op) {
		return
	}
	c.gone = append(c.gone[:len(c.gone):len(c.gone)], op.Path)
	for p := range c.totals {
		if p.Under(op.Path) {
			c.totals[p] = wire.Add{Since: c.clock}
		}
	}
}

// total is what this node's log states at a path.
func (c *counting) total(p sennit.Path) (total wire.Add, err error) {
	if total, ok := c.totals[p]; ok {
		return total, nil
	}
	for _, q := range c.gone {
		if p.Under(q) {
			return wire.Add{Since: c.clock}, nil
		}
	}
	now, cover, err := c.t.slots(c.sp, p)
	if err != nil {
		return total, err
	}
	total.Since = max(now[tree.Del].Clock, now[tree.Deep].Clock, cover.Clock)
	pos, ok, err := c.t.b.Total(c.sp.num, p, c.log, total.Since)
	if ok && err == nil {
		total.Total, err = c.t.through().total(p, pos)
	}
	return total, err
}
