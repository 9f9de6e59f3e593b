package tree

import "github.com/sennit/sennit"

// Slot says what an op competes for at its path. At most one op is live in
// each of Put, Del and Deep; one of each log and Since in Add; any number of
// ops in Append and Other.
//
// An op makes an older op dead ("covers" it) as follows.
//
//	newer op   covers older ops at the same path    beneath it
//	Put        Put                                  -
//	Del        Put, Del, Add, Append, Other         -
//	Deep       Put, Del, Deep, Add, Append, Other   all
//	Add        Add of the same log and Since        -
//	Append     -                                    -
//	Other      -                                    -
//
// A Del or Deep also covers newer Adds: those whose Since is older than its
// clock. They state a total that was begun before it, see [Resets].
//
// An op is live if nothing in the set covers it. Covering is transitive, so it
// is a partial order and the live ops are its maxima: every dead op is covered
// by some live one. That is why dead ops can be dropped, or never be sent,
// without any effect on what is live, now or after more ops arrive.
//
// A put does not cover a del. An old del still has work to do after a newer
// put: it keeps values, counters and streams dead that are older than itself
// and have yet to arrive.
type Slot uint8

// The slots.
const (
	Put    Slot = iota // sets the register
	Del                // deletes what is at the path
	Deep               // deletes what is at the path and beneath it
	Add                // a log's running total at a counter
	Append             // bytes of a stream
	Other              // text, snap, and kinds yet to come
)

// Many reports whether any number of ops can be live in a slot of one path.
func (s Slot) Many() bool { return s >= Append }

// SlotOf tells the slot of an op; deep is what the body of a del says.
func SlotOf(k sennit.Kind, deep bool) Slot {
	switch {
	case k == sennit.KindPut:
		return Put
	case k == sennit.KindDel && deep:
		return Deep
	case k == sennit.KindDel:
		return Del
	case k == sennit.KindAdd:
		return Add
	case k == sennit.KindAppend:
		return Append
	}
	return Other
}

// Set is a set of slots.
type Set uint8

// Has reports whether s is in the set.
func (t Set) Has(s Slot) bool { return t&(1<<s) != 0 }

// many is the set of slots in which more than one op can be live.
const many = 1<<Add | 1<<Append | 1<<Other

// covers is the set of slots whose older ops at the same path an op of slot s
// makes dead.
func (s Slot) covers() Set {
	switch s {
	case Put:
		return 1 << Put
	case Del:
		return 1<<Put | 1<<Del | many
	case Deep:
		return 1<<Put | 1<<Del | 1<<Deep | many
	}
	return 0
}

// Slots holds the stamps of the ops that hold the slots of one path, indexed
// by Put, Del and Deep. The zero Stamp is an empty slot.
type Slots [3]Stamp

// Fate is what becomes of an op that arrives.
type Fate uint8

// The fates.
const (
	Dead  Fate = iota // something newer covers it; nothing changes
	Known             // it holds its slot already; nothing changes
	Live              // it takes its slot
)

// Effect is what an op does on arrival. Clears and Beneath are set only when
// its fate is Live.
type Effect struct {
	Fate Fate

	// Clears has the slots at the path whose op dies, the op's own slot
	// included if an older op held it. If it has Add, Append and Other, the
	// Append and Other ops at the path that are before this op die, and the
	// Adds that it [Resets]; the rest stay.
	Clears Set

	// Beneath says that everything under the path that is before this op
	// dies. [Sweep] decides it for each path's slots; [Resets] for Adds, and
	// [Stamp.Before] for Append and Other ops.
	Beneath bool
}

// Decide says what becomes of an op of slot s with stamp at that arrives at a
// path, given the ops that hold the path's slots now, and cover, the newest
// Deep op at the path's strict ancestors (the zero Stamp if there is none).
// Adds have [DecideAdd].
//
// What has to be read for an op depends on its slot. What isn't listed may be
// left zero.
//
//	Put    slots Put, Del, Deep; cover
//	Del    slots Put, Del, Deep; cover; if it is Live what is in the other slots at the path
//	Deep   slots Put, Del, Deep; cover; if it is Live what is in the other slots at the path, and everything beneath
//	Append slots Del, Deep; cover
//	Other  slots Del, Deep; cover
//
// Nothing has to be read for an op that is newer than every op in the space,
// as is a local write's: see [Newest].
//
// Append and Other ops have no slot that could tell whether one is known; they
// are kept by name, so that adding one again changes nothing.
//
// It does no harm if now holds ops that are dead already (a store may sweep
// lazily): whatever they cover, some live op covers too. When an op is taken
// back, because the rules that allowed it changed, nothing here undoes it: the
// paths that it covered are emptied and their remaining ops decided anew, in
// any order.
func Decide(s Slot, at Stamp, now *Slots, cover Stamp) Effect {
	if at.compare(&cover) < 0 {
		return Effect{}
	}
	mine := s.covers()
	e := Effect{Fate: Live, Beneath: s == Deep, Clears: mine & many}
	for w := Put; w <= Deep; w++ {
		if now[w].IsZero() {
			continue
		}
		switch c := at.compare(&now[w]); {
		case c == 0 && w == s:
			return Effect{Fate: Known}
		case c < 0 && w.covers().Has(s):
			return Effect{}
		case c > 0 && mine.Has(w):
			e.Clears |= 1 << w
		}
	}
	return e
}

// DecideAdd says what becomes of an Add that arrives at a path. have is the
// live Add of the same log and Since, now and cover are as for [Decide]; slot
// Put of now is not looked at. If it is Live, have dies and nothing else does.
func DecideAdd(at Stamp, since uint64, now *Slots, cover, have Stamp) Fate {
	if Resets(now[Del], at, since) || Resets(now[Deep], at, since) || Resets(cover, at, since) {
		return Dead
	}
	switch c := at.compare(&have); {
	case c < 0:
		return Dead
	case c == 0:
		return Known
	}
	return Live
}

// Resets reports whether a Del or Deep that reaches an Add's path covers it:
// because it is newer, or because the total was begun before it. What a writer
// that did not know of the deletion counted after it is gone as well, since
// its total can't be divided.
func Resets(del, at Stamp, since uint64) bool {
	return !del.IsZero() && (at.compare(&del) < 0 || since < del.Clock)
}

// Newest is the effect of an op of slot s that is newer than every op in the
// space: it lives, and clears all that it covers, which can be overwritten and
// deleted without being read. Slots in Clears may be empty. It is not for Adds,
// which an older deletion may cover.
func Newest(s Slot) Effect {
	return Effect{Fate: Live, Clears: s.covers(), Beneath: s == Deep}
}

// Sweep tells which slots of a path lose their op to a Deep op at one of its
// strict ancestors.
func Sweep(deep Stamp, now *Slots) Set {
	var dead Set
	for w := Put; w <= Deep; w++ {
		if !now[w].IsZero() && now[w].compare(&deep) < 0 {
			dead |= 1 << w
		}
	}
	return dead
}

// Shown is the op whose value a read of the path shows, if it shows one: the
// put, unless a del at the path, or cover, is newer. As long as slots are
// cleared and swept as [Decide] says, this is simply the op in slot Put; the
// rest is for stores that sweep lazily.
func Shown(now *Slots, cover Stamp) (Stamp, bool) {
	put := &now[Put]
	if put.IsZero() || put.compare(&now[Del]) < 0 || put.compare(&now[Deep]) < 0 || put.compare(&cover) < 0 {
		return Stamp{}, false
	}
	return *put, true
}
