package files

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/sennit/sennit"
)

// plan decides what to do about every name.
func (r *round) plan(ctx context.Context, now time.Time) error {
	goneHere, goneThere := 0, 0
	var deletions []upload
	all := slices.Sorted(maps.Keys(r.names()))
	for _, name := range all {
		if r.found.blocked.covers(name) {
			continue
		}
		path, err := r.pathOf(name)
		if err != nil || r.leavesAny(name) {
			r.forget(name)
			continue
		}
		here, isHere := r.here[name]
		there, isThere := r.there[name]
		base, isBase := r.base[name]
		if !keepsMode && isHere {
			if here.exec = base.exec; isThere {
				here.exec = there.exec
			}
			r.here[name] = here
		}
		if isHere {
			delete(r.gone, name)
		}
		switch decide(some(base.content, isBase), some(here.content, isHere), some(there.content, isThere)) {
		case settled:
			if isHere {
				r.agree(name, there, here.stat, here.seen)
			} else {
				r.forget(name)
			}
		case toTree:
			one := upload{name: name, path: path}
			if isThere {
				one.have, one.cond = &there, there.version
			}
			r.uploads = append(r.uploads, one)
		case toDisk:
			if !isHere && r.dirs[name] {
				r.skips[name] = "there are values below it, so it is a directory"
				continue
			}
			r.download(name, path, there, here, isHere)
		case modeToDisk:
			st, err := r.disk.chmod(name, there.exec, here.stat)
			if err != nil {
				r.trouble(ctx, name, err)
				continue
			}
			r.agree(name, there, st, time.Unix(0, st.mtime)) // the bytes here may be newer
			r.again(0)
		case removeThere:
			goneHere++
			since, waits := r.gone[name]
			if !waits {
				since, r.gone[name] = now, now
			}
			if left := r.absent - now.Sub(since); left > 0 {
				r.again(left)
				continue
			}
			deletions = append(deletions, upload{name: name, path: path, del: true, cond: there.version, have: &there})
		case removeHere:
			goneThere++
			r.removals = append(r.removals, name)
		case conflict:
			if err := r.part(ctx, name, path, here, there, now); err != nil {
				r.trouble(ctx, name, err)
			}
		}
	}
	r.uploads = append(r.uploads, deletions...)
	if err := r.guard(len(deletions), goneHere, r.Dir); err != nil {
		return err
	}
	return r.guard(len(r.removals), goneThere, r.at.String())
}

// leavesAny reports whether a name is not to be carried, for one of its
// components.
func (s scope) leavesAny(name string) bool {
	if s.only != "" {
		return s.leaves(name)
	}
	return anyPassing(name)
}

func some(c content, there bool) *content {
	if !there {
		return nil
	}
	return &c
}

// manyNames is how many names there must be for the loss of most of them to be
// taken for a mishap.
const manyNames = 20

// guard fails if more than half of the names are about to be deleted, because
// they are gone from a side.
func (s *syncer) guard(now, gone int, from string) error {
	if now == 0 || s.ForceDelete || len(s.base) <= manyNames || gone*2 <= len(s.base) {
		return nil
	}
	return sennit.Hint(sennit.Errorf(sennit.Conflict, "%d of %d files are gone from %s all at once; nothing was deleted on the other side", gone, len(s.base), from),
		"if they were meant to go: --force-delete")
}

func (r *round) download(name string, path sennit.Path, v value, here held, isHere bool) {
	one := download{name: name, path: path, have: v}
	if isHere {
		one.was, one.has = &here.stat, &here.content
	}
	r.downloads = append(r.downloads, one)
}

// part gives a file that changed on both sides another name, so that the value
// can have its own.
func (r *round) part(ctx context.Context, name string, path sennit.Path, here held, there value, now time.Time) error {
	copied, err := r.copyName(name, now, r.taken)
	if err != nil {
		return err
	}
	to, err := r.pathOf(copied)
	if err != nil {
		return err
	}
	// That the name is gone must not look like a deletion, whenever this ends.
	if _, ok := r.base[name]; ok {
		r.forget(name)
		if err := r.remember(ctx); err != nil {
			return err
		}
	}
	if err := r.disk.move(name, copied, here.stat); err != nil {
		return err
	}
	r.here[copied] = here
	r.tell(Event{Path: name, Did: Conflicted, Copy: copied})
	r.uploads = append(r.uploads, upload{name: copied, path: to})
	r.download(name, path, there, held{}, false)
	return nil
}

// taken reports whether a name is in use.
func (r *round) taken(n string) bool {
	_, here := r.here[n]
	_, there := r.there[n]
	_, base := r.base[n]
	return here || there || base || r.found.blocked[n] || r.dirs[n]
}

// trouble tells what is in the way of a name, or asks for another look at what
// has changed meanwhile.
func (r *round) trouble(ctx context.Context, name string, err error) {
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, errStale), errors.Is(err, errBusy), errors.Is(err, fs.ErrNotExist):
		r.again(r.Quiet)
	default:
		r.skips[name] = why(err)
	}
}
