package files

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sennit/sennit"
)

// Overtaken lists values under the path that is kept the same that came to the
// node behind a cursor and were older than what the node itself had written
// there, and behind which cursor to go on.
type Overtaken func(ctx context.Context, since sennit.Cursor) (list []Older, next sennit.Cursor, err error)

// Older is a value that was overtaken.
type Older struct {
	Path    sennit.Path
	Version sennit.Version
	Time    time.Time
	Type    string
	Hash    sennit.Hash // BLAKE3, of its bytes
	Size    uint64
}

func (o *Older) key() string { return string(o.Path) + "\x00" + string(o.Version) }

func (o *Older) value() value {
	return value{content: content{hash: o.Hash, size: o.Size, exec: isExec(o.Type)}, version: o.Version}
}

// Bounds of what is done about what was overtaken.
const (
	rescueTime = 10 * time.Second // in which a round of a live sync begins copies
	rescueRest = time.Minute      // before what failed is tried again
	lookAgain  = 1000             // arrivals that are looked at again rather than remembered to be done
	maxTodo    = 1000             // copies that are still to be made; what is beyond is left to history
)

// overtaken keeps what others wrote before they knew what was written here, and
// that is older, so that it never showed: as a copy, as the loser of any other
// conflict. The one who wrote the newer change has to see to it, since only
// there is it known that the other one had not been seen.
func (r *round) overtaken(ctx context.Context) error {
	if r.Overtaken == nil {
		return nil
	}
	if err := r.late(ctx); err != nil {
		return err
	}
	// What failed lately comes last.
	slices.SortStableFunc(r.todo, func(a, b Older) int { return r.tried[a.key()].Compare(r.tried[b.key()]) })
	begun := time.Now()
	left := make([]Older, 0, len(r.todo))
	defer func() { r.todo = left }()
	for i, o := range r.todo {
		if now := time.Now(); now.Before(r.tried[o.key()]) {
			left = append(left, o)
			continue
		} else if !r.Once && now.Sub(begun) > rescueTime {
			left = append(left, r.todo[i:]...)
			r.again(0)
			return nil
		}
		err := r.rescue(ctx, o)
		if err == nil {
			r.done(o, "")
			continue
		}
		if sennit.CodeOf(err) == sennit.Conflict { // somebody was quicker: what is there is known now
			left = append(left, o)
			r.again(0)
			continue
		}
		// Is it this one, or the node?
		if _, _, down := r.Overtaken(ctx, r.since); ctx.Err() != nil || down != nil {
			left = append(left, r.todo[i:]...)
			return errors.Join(ctx.Err(), down)
		}
		reason := "somebody's older change of it can't be kept beside it, see sennit history: " + why(err)
		if never(err) {
			r.done(o, reason)
			continue
		}
		left = append(left, o)
		r.tried[o.key()] = time.Now().Add(rescueRest)
		r.leave(r.nameOf(o.Path), reason)
	}
	return nil
}

// never reports whether an error would be the same next time.
func never(err error) bool {
	switch sennit.CodeOf(err) {
	case sennit.Gone, sennit.NotFound, sennit.Denied, sennit.TooLarge, sennit.BadInput, sennit.Unsupported:
		return true
	}
	return errors.As(err, new(inTheWay))
}

// done remembers that something that was overtaken has been seen to: it is kept
// now, or there is a reason why it can't be.
func (r *round) done(o Older, reason string) {
	delete(r.tried, o.key())
	r.dirty = true
	if name := r.nameOf(o.Path); reason == "" {
		delete(r.unkept, name)
	} else {
		r.leave(name, reason)
	}
}

// leave tells, in this round and the next ones, why somebody's older change
// isn't beside a name.
func (r *round) leave(name, reason string) { r.unkept[name], r.skips[name] = reason, reason }

// due reports whether something can be tried again now.
func (s *syncer) due() bool {
	return slices.ContainsFunc(s.todo, func(o Older) bool { return time.Now().After(s.tried[o.key()]) })
}

// late learns what was overtaken since it last asked: of each path and writer
// the newest is to be kept.
func (r *round) late(ctx context.Context) error {
	if r.since == (sennit.Cursor{}) {
		r.since, r.dirty = r.mirror.begun, true
	}
	newest := map[string]int{}
	by := func(o *Older) string {
		log, _, _ := strings.Cut(string(o.Version), "-")
		return string(o.Path) + "\x00" + log
	}
	for i := range r.todo {
		newest[by(&r.todo[i])] = i
	}
	for {
		list, next, err := r.Overtaken(ctx, r.since)
		switch sennit.CodeOf(err) {
		case "":
		case sennit.Gone: // the store is another one: what it knows began with the snapshot
			r.since, r.dirty = r.mirror.begun, true
			return nil
		case sennit.NotFound:
			return nil
		default:
			return err
		}
		for _, o := range list {
			i, ok := newest[by(&o)]
			switch name := r.nameOf(o.Path); {
			case name == "" || r.leavesAny(name):
			case ok && o.Time.Before(r.todo[i].Time):
			case ok:
				r.todo[i] = o
			case len(r.todo) == maxTodo:
				r.leave(name, "too many older changes are to be kept beside newer ones: this one is in sennit history only")
			default:
				newest[by(&o)] = len(r.todo)
				r.todo = append(r.todo, o)
			}
		}
		r.dirty = r.dirty || len(list) > 0 || next.N > r.kept.N+lookAgain
		if r.since == next || len(list) == 0 {
			r.since = next
			return nil
		}
		r.since = next
	}
}

// rescue sets a value that was overtaken again: under a name that tells of the
// conflict, or under its own if nothing has that any more.
func (r *round) rescue(ctx context.Context, o Older) error {
	name, v := r.nameOf(o.Path), o.value()
	there, isThere, err := r.has(ctx, name)
	if err != nil || isThere && there.content == v.content {
		return err
	}
	to := name
	if _, isHere := r.here[name]; isHere || isThere || r.found.blocked.covers(name) || r.dirs[name] {
		done := false
		var failed error
		to, err = r.copyName(name, o.Time.UTC(), func(copied string) bool {
			var have value
			have, isThere, failed = r.has(ctx, copied)
			done = isThere && have.content == v.content
			return failed == nil && !done && (isThere || r.taken(copied))
		})
		if err = errors.Join(err, failed); err != nil || done {
			return err
		}
	}
	path, err := r.pathOf(to)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	alarm := time.AfterFunc(stall, stop)
	defer alarm.Stop()
	_, c, err := r.Bus.At(ctx, sennit.Addr{Root: r.at.Root, Path: o.Path}, o.Version)
	if err != nil {
		return err
	}
	defer c.Close()
	content := watched{&valueReader{ctx: ctx, Content: c}, alarm}
	nothing := sennit.Version("")
	if v.version, err = r.Bus.Put(ctx, sennit.Addr{Root: r.at.Root, Path: path}, o.Type, content, &nothing); err != nil {
		if sennit.CodeOf(err) == sennit.Conflict {
			if have, ok, failed := r.ask(ctx, to); failed == nil && ok {
				r.learn(to, &have)
			}
		}
		return err
	}
	r.learn(to, &v)
	if r.only != "" {
		r.copies[to] = true // for one file, others aren't looked for
	}
	r.again(0)
	if to == name {
		r.tell(Event{Path: name, Did: Restored})
	} else {
		r.tell(Event{Path: name, Did: Conflicted, Copy: to})
	}
	return nil
}

// has tells what value a name has.
func (r *round) has(ctx context.Context, name string) (value, bool, error) {
	if r.only != "" {
		return r.ask(ctx, name)
	}
	v, ok := r.mirror.values[name]
	return v, ok, nil
}

// watched is read as long as something comes.
type watched struct {
	io.Reader
	alarm *time.Timer
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	w.alarm.Reset(stall)
	return n, err
}

// nameOf is the name of the file that a value stands for, "" if none does.
func (r *round) nameOf(p sennit.Path) string {
	switch {
	case r.only == "":
		return nameOf(r.at.Path, p)
	case p == r.at.Path:
		return r.only
	}
	return ""
}
