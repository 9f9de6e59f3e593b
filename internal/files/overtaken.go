package files

import (
	"context"
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

func (o *Older) value() value {
	return value{content: content{hash: o.Hash, size: o.Size, exec: isExec(o.Type)}, version: o.Version}
}

// overtaken keeps what others wrote before they knew what was written here, and
// that is older, so that it never showed: as a copy, as the loser of any other
// conflict. The one who wrote the newer change has to see to it, since only
// there is it known that the other one had not been seen; so there is one copy.
func (r *round) overtaken(ctx context.Context) error {
	if r.Overtaken == nil {
		return nil
	}
	if r.since == (sennit.Cursor{}) {
		r.since, r.dirty = r.mirror.begun, true
	}
	newest := map[string]Older{} // by name and who wrote it
	at := r.since
	for {
		list, next, err := r.Overtaken(ctx, at)
		switch sennit.CodeOf(err) {
		case "":
		case sennit.Gone: // the store is another one: what it knows began with the snapshot
			list, next = nil, r.mirror.begun
		case sennit.NotFound:
			return nil
		default:
			return err
		}
		for _, n := range list {
			key := string(n.Path) + "\x00" + writer(n.Version)
			if was, ok := newest[key]; !ok || was.Time.Before(n.Time) {
				newest[key] = n
			}
		}
		if at == next || len(list) == 0 {
			at = next
			break
		}
		at = next
	}
	for _, key := range slices.Sorted(maps.Keys(newest)) {
		n := newest[key]
		err := r.rescue(ctx, n)
		switch sennit.CodeOf(err) {
		case "":
			continue
		case sennit.Conflict: // somebody was quicker: all this is looked at again
			r.again(r.Quiet)
			return nil
		case sennit.OverQuota:
			return err
		}
		// Is it the bytes that can't be had, or the node?
		if _, _, down := r.Overtaken(ctx, at); down != nil {
			return down
		}
		r.skips[r.nameOf(n.Path)] = "somebody's older change of it can't be read, see sennit history: " + why(err)
	}
	r.since, r.dirty = at, r.dirty || len(newest) > 0
	return nil
}

// writer is the log that a version is of.
func writer(v sennit.Version) string {
	log, _, _ := strings.Cut(string(v), "-")
	return log
}

// rescue sets a value that was overtaken again: under a name that tells of the
// conflict, or under its own if nothing has that any more.
func (r *round) rescue(ctx context.Context, n Older) error {
	name, v := r.nameOf(n.Path), n.value()
	there, isThere := r.there[name]
	if name == "" || r.leavesAny(name) || isThere && (there.content == v.content || writer(there.version) == writer(v.version)) {
		return nil
	}
	to := name
	if _, isHere := r.here[name]; isHere || isThere || r.found.blocked.covers(name) || r.dirs[name] {
		var err error
		done := false
		if to, err = r.copyName(name, n.Time.Local(), func(copied string) bool {
			done = done || r.there[copied].content == v.content
			return !done && r.taken(copied)
		}); err != nil || done {
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
	_, c, err := r.Bus.At(ctx, sennit.Addr{Root: r.at.Root, Path: n.Path}, n.Version)
	if err != nil {
		return err
	}
	defer c.Close()
	content := watched{&valueReader{ctx: ctx, Content: c}, alarm}
	nothing := sennit.Version("")
	if v.version, err = r.Bus.Put(ctx, sennit.Addr{Root: r.at.Root, Path: path}, n.Type, content, &nothing); err != nil {
		return err
	}
	r.there[to] = v
	r.learn(to, &v)
	if to == name {
		r.tell(Event{Path: name, Did: Restored})
	} else {
		r.tell(Event{Path: name, Did: Conflicted, Copy: to})
	}
	return nil
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
