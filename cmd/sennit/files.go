package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/client"
	"github.com/sennit/sennit/internal/daemon"
	"github.com/sennit/sennit/internal/files"
)

func (a *app) importFiles() *cobra.Command {
	var o files.Options
	cmd := &cobra.Command{
		Use: "import DIR PATH", Short: "make values of the files in a directory",
		Long: `Makes a value of every file in a directory: DIR/a/b becomes PATH/a/b. What is there
already with the same bytes is left as it is, so an import that was interrupted goes
on when it is done again. What can't be kept (symlinks, empty directories, names
that no path can have) is listed with its reason; then the exit code is 8.
docs/files.md has the details.`,
		Example: "  sennit import photos albums/2024\n  sennit import photos albums/2024 --delete",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Dir = args[0]
			return a.carry(cmd, args[1], o, files.Import)
		},
	}
	cmd.Flags().BoolVar(&o.Delete, "delete", false, "delete values for which there is no file")
	return cmd
}

func (a *app) exportFiles() *cobra.Command {
	var o files.Options
	cmd := &cobra.Command{
		Use: "export PATH DIR", Short: "make files of the values under a path",
		Long: `Makes a file of every value under a path: PATH/a/b becomes DIR/a/b. What is there
already with the same bytes is left as it is, so an export that was interrupted goes
on when it is done again. Nothing but regular files is overwritten, and nothing is
written through a symlink. What can't be kept is listed with its reason; then the
exit code is 8. When it succeeds all is on disk. docs/files.md has the details.`,
		Example:           "  sennit export albums/2024 copy\n  sennit export /@bob/posts posts --delete",
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completePaths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Dir = args[1]
			return a.carry(cmd, args[0], o, files.Export)
		},
	}
	cmd.Flags().BoolVar(&o.Delete, "delete", false, "remove files for which there is no value, and empty directories")
	return cmd
}

// carry imports or exports.
func (a *app) carry(cmd *cobra.Command, path string, o files.Options, do carrier) error {
	var err error
	if o.At, err = sennit.ParseAddr(strings.TrimSuffix(path, "/")); err != nil {
		return err
	}
	c, err := a.client(cmd.Context())
	if err != nil {
		return err
	}
	defer c.Close()
	o.Bus = c
	if a.told {
		o.Progress = a.progress()
	}
	r, err := do(cmd.Context(), o)
	return a.reportFiles(r, err)
}

// progress prints how far things are, once a second.
func (a *app) progress() func(files.Progress) {
	last := time.Now()
	return func(p files.Progress) {
		if time.Since(last) < time.Second {
			return
		}
		last = time.Now()
		a.note("%d of %d files, %s of %s, %s/s, %s left", p.Files, p.Total, megabytes(p.Bytes), megabytes(p.TotalBytes), megabytes(uint64(p.Rate())), p.Left())
	}
}

// megabytes is bytes for people.
func megabytes(n uint64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// reportFiles prints what was done, also of what was interrupted or failed.
func (a *app) reportFiles(r files.Report, err error) error {
	if a.json {
		return errors.Join(err, a.print(r))
	}
	for i, s := range r.Skipped {
		if i == maxFindings {
			a.note("and %d more; see them all with --json", len(r.Skipped)-i)
			break
		}
		a.note("skipped: %s: %s", oneLine([]byte(s.Path)), oneLine([]byte(s.Why)))
	}
	if err == nil || sennit.CodeOf(err) == sennit.Partly || r.Files+r.Deleted > 0 {
		a.line("%d files, %s; %d unchanged, %d deleted, %d skipped", r.Files, megabytes(r.Bytes), r.Unchanged, r.Deleted, len(r.Skipped))
	}
	return err
}

func (a *app) syncFiles() *cobra.Command {
	var o files.SyncOptions
	cmd := &cobra.Command{
		Use: "sync DIR|FILE PATH", Short: "keep files and values the same",
		Long: `Keeps a directory and the values under a path the same, or one file and one value,
until it is interrupted; with --once until both are the same. What changed on one
side is carried to the other, deletions too. What changed on both is kept from both:
the value under its name, the file's bytes as NAME.conflict-DATE-TIME.EXT, and so is
what somebody at another node changed at the same time. What both
sides were when they last agreed is remembered in DIR/.sennit-sync. Files that
editors keep for a moment are left alone. docs/files.md has the details.

If DIR vanishes it stops, and if more than half of more than 20 names are gone from
a side it deletes nothing on the other unless it is told to. With --json it prints
{"path","did","copy","why"} for each thing it does; with --once the last line is
the sum.`,
		Example: "  sennit sync notes notes --once\n  sennit sync todo.txt shared/todo\n  sennit sync notes notes --once --force-delete",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			o.Dir = args[0]
			if o.At, err = sennit.ParseAddr(strings.TrimSuffix(args[1], "/")); err != nil {
				return err
			}
			// What it remembers is of one space, whatever that is called.
			if o.At.Root == "me" {
				var s daemon.Status
				err = a.do(cmd.Context(), "GET", "status", nil, &s)
				o.At.Root = s.Space
			} else if strings.HasPrefix(o.At.Root, "@") {
				o.At.Root, err = a.space(cmd.Context(), o.At.Root)
			}
			if err != nil {
				return err
			}
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			o.Bus, o.Overtaken = c, overtaken(c, o.At)
			o.Tell = func(e files.Event) {
				if a.json || !o.Once || e.Did != files.Skipped { // the sum lists those
					a.event(e)
				}
			}
			r, err := files.Sync(cmd.Context(), o)
			if !o.Once {
				return err
			}
			return a.reportFiles(r, err)
		},
	}
	cmd.Flags().BoolVar(&o.Once, "once", false, "end when both sides are the same")
	cmd.Flags().BoolVar(&o.ForceDelete, "force-delete", false, "delete on the other side even if most names are gone from one")
	return cmd
}

// overtaken asks a node what came to it too late to show.
func overtaken(c *client.Client, at sennit.Addr) files.Overtaken {
	return func(ctx context.Context, since sennit.Cursor) (list []files.Older, next sennit.Cursor, err error) {
		var got daemon.Overtaken
		if err := c.Do(ctx, "GET", "/_node/overtaken?path="+url.QueryEscape(at.String())+"&since="+since.String(), nil, &got); err != nil {
			return nil, next, err
		}
		for _, v := range got.Values {
			a, err := sennit.ParseAddr(v.Path)
			if err != nil {
				return nil, next, err
			}
			hash, err := sennit.ParseHash(v.Hash)
			if err != nil {
				return nil, next, err
			}
			list = append(list, files.Older{Path: a.Path, Version: v.Version, Time: v.Time, Type: v.Type, Hash: hash, Size: v.Size})
		}
		next, err = sennit.ParseCursor(got.Cursor)
		return list, next, err
	}
}

// carrier is what imports or exports.
type carrier = func(context.Context, files.Options) (files.Report, error)

// event prints what a sync did, at once. Main reports an error of the output.
func (a *app) event(e files.Event) {
	path := oneLine([]byte(e.Path))
	switch {
	case a.json:
		_ = a.print(e)
	case e.Did == files.Live:
		a.note("(live)")
	case e.Did == files.Waiting:
		a.note("waiting: %s", oneLine([]byte(e.Why)))
	case e.Did == files.Skipped:
		a.note("skipped: %s: %s", path, oneLine([]byte(e.Why)))
	case e.Did == files.Conflicted:
		a.line("conflict: %s was changed on both sides; the other one is %s now", path, oneLine([]byte(e.Copy)))
	default:
		a.line("%s: %s", e.Did, path)
	}
	_ = a.out.Flush()
}
