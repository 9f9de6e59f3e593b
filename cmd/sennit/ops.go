package main

import (
	"io"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/daemon"
)

func (a *app) ops() *cobra.Command {
	var push bool
	var since string
	cmd := &cobra.Command{
		Use: "ops [PATH] | ops --push [FILE]", Short: "stream raw commits out, or in",
		Long: `Prints the commits that the node holds at and under a path (by default of your own
space), as they were signed. With --push it takes such a stream, from a file or from
standard input: each commit is checked and admitted as if a peer had sent it, and
taking the same twice does no harm. So news can travel on a stick.

--since goes on after a cursor, as sennit digest --json gives it: what arrived before is
left out. Large values travel by themselves and are not in the stream.`,
		Example:           "  sennit ops > all.ops\n  sennit ops /@bob/posts > posts.ops\n  sennit ops --push all.ops",
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completePaths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			arg := ""
			if len(args) > 0 {
				arg = args[0]
			}
			if push {
				return a.pushOps(cmd, arg)
			}
			path, err := canonical(arg)
			if err != nil {
				return err
			}
			query := url.Values{"path": {path}}
			if since != "" {
				c, err := parseCursor(since)
				if err != nil {
					return err
				}
				query.Set("since", c.String())
			}
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			body, err := c.Stream(cmd.Context(), "/_node/ops?"+query.Encode())
			if err != nil {
				return err
			}
			defer body.Close()
			if _, err := io.Copy(a.out, body); err != nil {
				return sennit.Errorf(sennit.Unreachable, "the stream broke off: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&push, "push", false, "take a stream in, from FILE or standard input")
	cmd.Flags().StringVar(&since, "since", "", "only what arrived after this `CURSOR`")
	return cmd
}

func (a *app) pushOps(cmd *cobra.Command, file string) error {
	from := a.in
	if file != "" && file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return sennit.Errorf(sennit.BadInput, "read the ops: %w", err)
		}
		defer f.Close()
		from = f
	}
	c, err := a.client(cmd.Context())
	if err != nil {
		return err
	}
	defer c.Close()
	var p daemon.Pushed
	if err := c.Upload(cmd.Context(), "/_node/ops", from, &p); err != nil {
		return err
	}
	if a.json {
		return a.print(p)
	}
	a.line("%d ops of %s are new here", p.New, p.Space)
	return nil
}
