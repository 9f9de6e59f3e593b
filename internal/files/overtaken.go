package files

import (
	"context"
	"errors"
	"io"
	"maps"
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

// Bounds of what is done in one round about what was overtaken.
const (
	rescueTime = 10 * time.Second // in which no more copies are begun
	rescueRest = time.Minute      // before what failed is tried again
	lookAgain  = 1000             // arrivals that are looked at again rather than remembered to be done
)

// overtaken keeps what others wrote before they knew what was written here, and
// that is older, so that it never showed: as a copy, as the loser of any other
// conflict. The one who wrote the newer change has to see to it, since only
// there is it known that the other one had not been seen.
func (r *round) overtaken(ctx context.Context) error {
	if r.Overtaken == nil || time.Now().Before(r.later) {
		return nil
	}
	if r.since == (sennit.Cursor{}) {
		r.since, r.dirty = r.mirror.begun, true
	}
	newest, at, err := r.late(ctx)
	if err != nil {
		return err
	}
	begun, whole := time.Now(), true
	for _, o := range newest {
		if time.Since(begun) > rescueTime {
			r.again(0)
			return nil
		}
		err := r.rescue(ctx, o)
		if err == nil {
			r.rescued[o.key()] = true
			continue
		}
		if ctx.Err() != nil {
			return err
		}
		switch sennit.CodeOf(err) {
		case sennit.Conflict: // somebody was quicker: it is looked at again
			r.again(r.Quiet)
			return nil
		case sennit.Gone, sennit.NotFound, sennit.Denied, sennit.TooLarge, sennit.BadInput, sennit.Unsupported:
			r.rescued[o.key()] = true // it would be the same next time
		default:
			whole = false
		}
		// Is it this one, or the node?
		if _, _, down := r.Overtaken(ctx, at); down != nil {
			return down
		}
		r.skips[r.nameOf(o.Path)] = "somebody's older change of it can't be kept beside it, see sennit history: " + why(err)
	}
	if !whole {
		r.later = time.Now().Add(rescueRest)
		if !r.Once {
			r.again(rescueRest)
		}
		return nil
	}
	r.since, r.dirty = at, r.dirty || len(newest) > 0 || at.N > r.kept.N+lookAgain
	clear(r.rescued)
	return nil
}

// late lists what was overtaken and hasn't been seen to, of each path and writer
// the newest, and up to where that is all.
func (r *round) late(ctx context.Context) (all []Older, at sennit.Cursor, err error) {
	newest := map[string]Older{}
	for at = r.since; ; {
		list, next, err := r.Overtaken(ctx, at)
		switch sennit.CodeOf(err) {
		case "":
		case sennit.Gone: // the store is another one: what it knows began with the snapshot
			r.since, r.dirty = r.mirror.begun, true
			return nil, r.since, nil
		case sennit.NotFound:
			return nil, at, nil
		default:
			return nil, at, err
		}
		for _, o := range list {
			log, _, _ := strings.Cut(string(o.Version), "-")
			key := string(o.Path) + "\x00" + log
			if was, ok := newest[key]; !ok || !o.Time.Before(was.Time) {
				newest[key] = o
			}
		}
		if at == next || len(list) == 0 {
			at = next
			break
		}
		at = next
	}
	for _, key := range slices.Sorted(maps.Keys(newest)) {
		if o := newest[key]; !r.rescued[o.key()] {
			all = append(all, o)
		}
	}
	return all, at, nil
}

// rescue sets a value that was overtaken again: under a name that tells of the
// conflict, or under its own if nothing has that any more.
func (r *round) rescue(ctx context.Context, o Older) error {
	name, v := r.nameOf(o.Path), o.value()
	if name == "" || r.leavesAny(name) {
		return nil
	}
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
