package main

import (
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sennit/sennit/internal/daemon"
)

func (a *app) forks() *cobra.Command {
	return &cobra.Command{
		Use: "forks [SPACE]", Short: "list devices that signed two histories of a log",
		Long: `Lists the logs of which it is proved that their device signed two histories: its
data directory was copied or restored, its key is stolen, or it lies. Both
histories count, as if two devices had written them. What was found last comes
first.`,
		Example:           "  sennit forks\n  sennit forks /@bob --json",
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completePaths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := ""
			if len(args) > 0 {
				query = "?space=" + url.QueryEscape(strings.Trim(args[0], "/"))
			}
			var all []daemon.Fork
			if err := a.do(cmd.Context(), "GET", "forks"+query, nil, &all); err != nil {
				return err
			}
			if a.json {
				return a.print(all)
			}
			for _, f := range all {
				whose := "of " + f.Author
				if f.Own {
					whose = "of yours"
				}
				a.line("%s device %s %s, in /%s: two histories of its %s, apart at commit %d or before",
					f.Signed.Local().Format(time.DateTime), f.Device, whose, f.Space, f.Class, f.Apart)
			}
			return nil
		},
	}
}
