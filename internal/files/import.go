package files

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/sennit/sennit"
)

// Import makes a value of every file in a directory, or leaves it if it is
// there already with the same bytes: done again after it was interrupted, it
// goes on. With o.Delete it deletes the values under o.At that no file stands
// for.
//
// A value that somebody changes meanwhile is not overwritten, but skipped. With
// skipped files the error has the code [sennit.Partly], and the report is whole.
func Import(ctx context.Context, o Options) (Report, error) {
	var r Report
	begun := time.Now()
	d, err := openDisk(o.Dir, o.seam)
	if err != nil {
		return r.end(begun, err)
	}
	defer d.close()
	found, err := d.walk(ctx, o.At.Path, ours, nil)
	if err != nil {
		return r.end(begun, err)
	}
	r.Skipped = found.skipped
	for _, name := range found.empty {
		r.skip(name, "it is an empty directory, and those are not kept")
	}
	there, err := snapshot(ctx, o.Bus, o.At)
	if err != nil {
		return r.end(begun, err)
	}
	m := meter{total: len(found.files), begun: begun, told: o.Progress}
	var all []upload
	for _, name := range slices.Sorted(maps.Keys(found.files)) {
		p, err := pathOf(o.At.Path, name)
		if err != nil {
			return r.end(begun, err)
		}
		one := upload{name: name, path: p}
		if v, ok := there.values[name]; ok {
			one.have, one.cond = &v, v.version
		}
		all = append(all, one)
		m.totalBytes += uint64(found.files[name].size)
	}
	if o.Delete {
		for _, name := range slices.Sorted(maps.Keys(there.values)) {
			v := there.values[name]
			if _, ok := found.files[name]; !ok && !found.blocked.covers(name) {
				all = append(all, upload{name: name, path: o.At.Path.Join(sennit.Path(name)), del: true, cond: v.version, have: &v})
			}
		}
	}
	u := uploader{bus: o.Bus, root: o.At.Root, disk: d, meter: &m}
	err = u.run(ctx, all, func(up uploaded) {
		switch {
		case sennit.CodeOf(up.err) == sennit.Conflict:
			r.skip(up.name, "somebody changes the value at the same time")
		case up.err != nil:
			r.skip(up.name, why(up.err))
		case up.del:
			r.Deleted++
		case up.same:
			r.Unchanged++
		default:
			r.Files++
			r.Bytes += up.content.size
		}
	})
	return r.end(begun, err)
}
