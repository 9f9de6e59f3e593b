package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/daemon"
)

func (a *app) history() *cobra.Command {
	return &cobra.Command{
		Use: "history PATH", Short: "list what was done to the value at a path",
		Long:              "Lists the changes of a value that the node still holds, newest first. What is\noverwritten or deleted is held for 30 days: of a path that changes often, the\nnewest versions of each writer, and some of older ages. With --json it tells\nthe version of each, with which sennit get --at prints it.",
		Example:           "  sennit history notes/hello",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completePaths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := canonical(args[0])
			if err != nil {
				return err
			}
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			var all []daemon.Past
			if err := c.Do(cmd.Context(), "GET", "/_node/history?path="+url.QueryEscape(path), nil, &all); err != nil {
				return err
			}
			for _, p := range all {
				if a.json {
					if err := a.print(p); err != nil {
						return err
					}
					continue
				}
				a.line("%s %s", p.Time.Local().Format("2006-01-02 15:04:05"), pastLine(&p))
			}
			return nil
		},
	}
}

// pastLine says what a change did.
func pastLine(p *daemon.Past) string {
	what := ""
	switch {
	case p.Kind == "add":
		what = fmt.Sprintf("counted to %d", p.Total)
	case p.Kind == "delete":
		what = "deleted"
	case p.Kind == "delete-deep":
		what = "deleted with all under " + p.Path
	case p.Value != nil:
		what = oneLine([]byte(*p.Value))
	default:
		what = fmt.Sprintf("(%d bytes)", p.Size)
	}
	if p.Kind == "append" {
		what = "+ " + what
	}
	return what
}

// canonical is the address that an argument names, with its root.
func canonical(arg string) (string, error) {
	at, err := sennit.ParseAddr(strings.TrimSuffix(arg, "/"))
	return at.String(), err
}

func (a *app) undo() *cobra.Command {
	return &cobra.Command{
		Use: "undo PATH", Short: "take the newest change of a value back",
		Long:              "Sets a value again to what it was before its newest change, or deletes it if it was\nnot there. If everything under a path was deleted, all of it comes back, but for what\nwas written since. Doing it twice takes the undoing back.",
		Example:           "  sennit undo notes/hello\n  sennit undo notes",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completePaths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := canonical(args[0])
			if err != nil {
				return err
			}
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			var done daemon.Undone
			if err := c.Do(cmd.Context(), "POST", "/_node/undo?path="+url.QueryEscape(path), nil, &done); err != nil {
				return err
			}
			if a.json {
				return a.print(done)
			}
			if done.Changed != 1 {
				a.note("%d values changed", done.Changed)
			}
			return nil
		},
	}
}

func (a *app) du() *cobra.Command {
	return &cobra.Command{
		Use: "du [PATH]", Short: "say how much values take",
		Long:              "Says how many values there are at and under a path, and how many bytes they have.",
		Example:           "  sennit du\n  sennit du /@bob/pictures",
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completePaths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := canonical(strings.Join(args, ""))
			if err != nil {
				return err
			}
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			var u daemon.Used
			if err := c.Do(cmd.Context(), "GET", "/_node/du?path="+url.QueryEscape(path), nil, &u); err != nil {
				return err
			}
			if a.json {
				return a.print(u)
			}
			a.line("%d values, %s", u.Values, size(u.Bytes))
			if u.Here < u.Blobs {
				a.line("%s of that is not on this disk", size(u.Blobs-u.Here))
			}
			return nil
		},
	}
}

// collected is what collect --json prints.
type collected struct {
	Looked  uint64 `json:"looked"`  // ops that were looked at
	Dropped uint64 `json:"dropped"` // ops that were dropped
	Blobs   uint64 `json:"blobs"`   // large values that were removed
	Before  uint64 `json:"before"`  // bytes on disk before
	After   uint64 `json:"after"`   // bytes on disk now
	Done    bool   `json:"done"`    // always true
}

func (a *app) collect() *cobra.Command {
	return &cobra.Command{
		Use: "collect [SPACE]", Short: "drop what was overwritten or deleted long ago",
		Long:    "Drops what was overwritten or deleted and is too old to be wanted back, and gives\nthe room on disk back. The node does the same by itself now and then. What is shown\nstays as it is; see what can be taken back with: sennit history",
		Example: "  sennit collect\n  sennit collect /@bob",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := ""
			if len(args) > 0 {
				query = "?space=" + url.QueryEscape(strings.Trim(args[0], "/"))
			}
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			body, err := c.StreamPost(cmd.Context(), "/_node/collect"+query)
			if err != nil {
				return err
			}
			defer body.Close()
			lines := bufio.NewScanner(body)
			for lines.Scan() {
				var p daemon.Collection
				if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
					return sennit.Errorf(sennit.Internal, "read the node's answer: %w", err)
				}
				switch {
				case p.Error != "":
					return sennit.Errorf(sennit.Internal, "the collection was not finished: %s", p.Error)
				case !p.Done:
					if a.told {
						a.note("looked at %d of %d", p.Looked, p.Total)
					}
				case a.json:
					return a.print(collected{p.Looked, p.Dropped, p.Blobs, p.Before, p.After, p.Done})
				default:
					a.line("%d of %d ops dropped; %s on disk, %s before", p.Dropped, p.Looked, size(p.After), size(p.Before))
					return nil
				}
			}
			return sennit.Errorf(sennit.Unreachable, "the node's answer ended early")
		},
	}
}

// size is a number of bytes as people say it.
func size(n uint64) string {
	units := []string{"kB", "MB", "GB", "TB", "PB", "EB"}
	if n < 1000 {
		return fmt.Sprintf("%d bytes", n)
	}
	f, i := float64(n)/1000, 0
	for f >= 999.5 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	return fmt.Sprintf("%.3g %s", f, units[i])
}
