package files

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sennit/sennit"
)

// Export makes a file of every value under a path, or leaves it if it is there
// already with the same bytes: done again after it was interrupted, it goes on.
// It makes o.Dir if need be. With o.Delete it removes the regular files that
// stand for no value, and the directories that hold nothing. When it succeeds
// all is durable.
//
// Nothing but a regular file is ever overwritten. With skipped values the error
// has the code [sennit.Partly], and the report is whole.
func Export(ctx context.Context, o Options) (Report, error) {
	var r Report
	begun := time.Now()
	there, err := snapshot(ctx, o.Bus, o.At)
	if err == nil && len(there.values) == 0 {
		err = sennit.Errorf(sennit.NotFound, "there are no values under %s", o.At)
	}
	if err != nil {
		return r.end(begun, err)
	}
	if err := os.MkdirAll(o.Dir, 0o777); err != nil {
		return r.end(begun, failed(err, "make the directory"))
	}
	d, err := openDisk(o.Dir, o.seam)
	if err != nil {
		return r.end(begun, err)
	}
	defer d.close()
	found, err := d.walk(ctx, o.At.Path, ours, nil)
	if err == nil {
		err = d.clean(found)
	}
	if err == nil && o.Delete {
		err = r.removeOthers(ctx, d, found, there)
	}
	if err != nil {
		return r.end(begun, err)
	}
	m := meter{begun: begun, told: o.Progress}
	var all []download
	dirs := there.dirs()
	for _, name := range slices.Sorted(maps.Keys(there.values)) {
		v := there.values[name]
		switch {
		case dirs[name]:
			r.skip(name, "there are values below it, so it is a directory")
			continue
		case slices.ContainsFunc(strings.Split(name, "/"), ours):
			r.skip(name, "files with names like this hold what sennit itself remembers")
			continue
		}
		one := download{name: name, path: o.At.Path.Join(sennit.Path(name)), have: v}
		if s, ok := found.files[name]; ok {
			one.was = &s
		}
		all = append(all, one)
		m.totalBytes += v.size
	}
	m.total = len(all)
	w := downloader{bus: o.Bus, root: o.At.Root, disk: d, meter: &m}
	err = w.run(ctx, all, func(down downloaded) {
		switch {
		case down.err != nil:
			if why := refusal(down.err); why != "" {
				r.skip(down.name, why)
			}
		case down.same:
			r.Unchanged++
		default:
			r.Files++
			r.Bytes += down.value.size
		}
	})
	if err == nil {
		err = d.flush(ctx)
	}
	return r.end(begun, err)
}

// removeOthers removes the files that stand for no value, and the directories
// that hold nothing.
func (r *Report) removeOthers(ctx context.Context, d *disk, found listing, there *mirror) error {
	dirs := there.dirs()
	for _, name := range slices.Sorted(maps.Keys(found.files)) {
		if _, ok := there.values[name]; ok && !dirs[name] {
			continue
		}
		if err := errors.Join(ctx.Err(), d.remove(name, found.files[name])); err != nil {
			if ctx.Err() != nil || grave(err) {
				return err
			}
			r.skip(name, why(err))
			continue
		}
		delete(found.files, name)
		r.Deleted++
	}
	for _, dir := range slices.Backward(found.dirs) {
		if err := ctx.Err(); err != nil {
			return err
		}
		_ = d.removeDir(dir) // it holds something, or went with its last file
	}
	return nil
}
