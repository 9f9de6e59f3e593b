package files

import (
	"context"

	"github.com/sennit/sennit"
)

// do carries out what was planned. Files go before others come, for these may
// need their names for directories.
func (r *round) do(ctx context.Context) error {
	for _, name := range r.removals {
		if err := r.remove(ctx, name); err != nil {
			return err
		}
	}
	m := &meter{}
	w := downloader{bus: r.Bus, root: r.at.Root, disk: r.disk, meter: m}
	if err := w.run(ctx, r.downloads, func(d downloaded) { r.fetched(ctx, d) }); err != nil {
		return err
	}
	u := uploader{bus: r.Bus, root: r.at.Root, disk: r.disk, quiet: r.Quiet, meter: m}
	return u.run(ctx, r.uploads, func(up uploaded) { r.sent(ctx, up) })
}

// remove removes a file whose value is gone, if it still is.
func (r *round) remove(ctx context.Context, name string) error {
	v, there, err := r.ask(ctx, name)
	if err != nil {
		return err
	}
	if there {
		r.learn(name, &v)
		r.again(0)
		return nil
	}
	if err := r.disk.remove(name, r.here[name].stat); err != nil {
		if grave(err) {
			return failed(err, "remove %s", name)
		}
		r.trouble(ctx, name, err)
		return nil
	}
	r.forget(name)
	delete(r.here, name)
	r.report.Deleted++
	r.tell(Event{Path: name, Did: DeletedFile})
	return nil
}

// fetched takes note of a file that was made like its value.
func (r *round) fetched(ctx context.Context, d downloaded) {
	switch sennit.CodeOf(d.err) {
	case "":
	case sennit.NotFound: // it was deleted meanwhile
		r.learn(d.name, nil)
		r.again(0)
		return
	case sennit.Conflict:
		r.again(r.Quiet)
		return
	default:
		r.trouble(ctx, d.name, d.err)
		return
	}
	r.learn(d.name, &d.value)
	r.agree(d.name, d.value, d.stat, d.seen)
	if !d.same {
		r.report.Files++
		r.report.Bytes += d.value.size
		r.tell(Event{Path: d.name, Did: Fetched})
	}
}

// sent takes note of a value that was made like its file.
func (r *round) sent(ctx context.Context, up uploaded) {
	switch {
	case sennit.CodeOf(up.err) == sennit.Conflict: // somebody was quicker
		v, there, err := r.ask(ctx, up.name)
		if err == nil && there {
			r.learn(up.name, &v)
		} else if err == nil {
			r.learn(up.name, nil)
		}
		r.again(0)
		return
	case up.err != nil:
		r.trouble(ctx, up.name, up.err)
		return
	case up.del:
		r.learn(up.name, nil)
		r.forget(up.name)
		delete(r.gone, up.name)
		r.report.Deleted++
		r.tell(Event{Path: up.name, Did: DeletedTree})
		return
	}
	v := value{content: up.content, version: up.version}
	r.learn(up.name, &v)
	r.agree(up.name, v, up.stat, up.seen)
	if !up.same {
		r.report.Files++
		r.report.Bytes += up.content.size
		r.tell(Event{Path: up.name, Did: Sent})
	}
}
