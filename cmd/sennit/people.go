package main

import (
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/daemon"
)

func (a *app) follow() *cobra.Command {
	var name, host string
	var addrs []string
	cmd := &cobra.Command{
		Use: "follow SPACE", Short: "replicate somebody's space",
		Long:    "Keeps a copy of what you may read of a space, and keeps it up to date. Following\nsomebody twice changes nothing. An invitation link is for: sennit join",
		Example: "  sennit follow SPACE --name bob --host HOST --addr /ip4/192.0.2.7/udp/4001/quic-v1",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := map[string]any{"name": name, "host": host, "addrs": addrs}
			var out daemon.Follow
			if err := a.do(cmd.Context(), "PUT", "follows/"+url.PathEscape(args[0]), in, &out); err != nil {
				return err
			}
			if a.json {
				return a.print(out)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "what to call it here: @NAME")
	f.StringVar(&host, "host", "", "transport key of a node that has it")
	f.StringArrayVar(&addrs, "addr", nil, "multiaddr of that node, repeatable")
	return cmd
}

func (a *app) unfollow() *cobra.Command {
	return &cobra.Command{
		Use: "unfollow SPACE|@NAME", Short: "stop replicating somebody's space",
		Long:    "Stops keeping a space up to date. What is here of it stays.",
		Example: "  sennit unfollow @bob",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			space := args[0]
			if name, ok := strings.CutPrefix(space, "@"); ok {
				var all []daemon.Follow
				if err := a.do(cmd.Context(), "GET", "follows", nil, &all); err != nil {
					return err
				}
				for _, f := range all {
					if f.Name == name {
						space = f.Space
					}
				}
				if space == args[0] {
					return sennit.Hint(sennit.Errorf(sennit.NotFound, "nobody is called %s here", space), "see: sennit follows")
				}
			}
			return a.do(cmd.Context(), "DELETE", "follows/"+url.PathEscape(space), nil, nil)
		},
	}
}

func (a *app) follows() *cobra.Command {
	return &cobra.Command{
		Use: "follows", Short: "list the spaces that are replicated",
		Example: "  sennit follows --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []daemon.Follow
			if err := a.do(cmd.Context(), "GET", "follows", nil, &all); err != nil {
				return err
			}
			if a.json {
				return a.print(all)
			}
			for _, f := range all {
				name := f.Space
				if f.Name != "" {
					name = "@" + f.Name + " " + name
				}
				a.line("%s %s %d", name, f.State, f.Ops)
			}
			return nil
		},
	}
}

func (a *app) invite() *cobra.Command {
	cmd := &cobra.Command{Use: "invite", Short: "invite somebody", Args: args(cobra.NoArgs)}
	var uses int
	var expires time.Duration
	var open, reads string
	add := &cobra.Command{
		Use: "new", Short: "make an invitation link",
		Long: `Prints a link. Whoever opens it first becomes a reader of your space and you of
theirs: each follows the other. It works a limited number of times and runs out.`,
		Example: "  sennit invite new\n  sennit invite new --uses 5 --expires 24h",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := map[string]any{"uses": uses, "expires": expires.String(), "open": open, "reads": reads}
			var out struct {
				ID      string      `json:"id"`
				Link    string      `json:"link"`
				Uses    int         `json:"uses"`
				Expires time.Time   `json:"expires"`
				Reads   sennit.Path `json:"reads"`
			}
			if err := a.do(cmd.Context(), "POST", "invites", in, &out); err != nil {
				return err
			}
			if a.json {
				return a.print(out)
			}
			what := "everything in your space"
			if out.Reads != "" {
				what = "/me/" + string(out.Reads)
			}
			a.note("lets %d read %s, until %s:", out.Uses, what, out.Expires.Local().Format("2 January 2006 15:04"))
			a.line("%s", out.Link)
			return nil
		},
	}
	f := add.Flags()
	f.IntVar(&uses, "uses", 1, "how many people can use it")
	f.DurationVar(&expires, "expires", 7*24*time.Hour, "how long it lasts")
	f.StringVar(&open, "open", "", "a path to show them first")
	f.StringVar(&reads, "reads", "", "let them read only under this path of your space (default: all)")
	list := &cobra.Command{
		Use: "ls", Short: "list invitations", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []struct {
				ID      string    `json:"id"`
				Uses    int       `json:"uses"`
				Used    int       `json:"used"`
				Expires time.Time `json:"expires"`
				By      []string  `json:"by,omitempty"`
			}
			if err := a.do(cmd.Context(), "GET", "invites", nil, &all); err != nil {
				return err
			}
			if a.json {
				return a.print(all)
			}
			for _, in := range all {
				a.line("%s %d/%d %s", in.ID[:16], in.Used, in.Uses, in.Expires.Local().Format(time.DateTime))
			}
			return nil
		},
	}
	revoke := &cobra.Command{
		Use: "revoke ID", Short: "make an invitation useless", Args: args(cobra.ExactArgs(1)),
		Long: "Makes an invitation useless. The beginning of an id will do if only one starts so.",
		RunE: func(cmd *cobra.Command, args []string) error {
			var all []struct {
				ID string `json:"id"`
			}
			if err := a.do(cmd.Context(), "GET", "invites", nil, &all); err != nil {
				return err
			}
			var found []string
			for _, in := range all {
				if strings.HasPrefix(in.ID, args[0]) {
					found = append(found, in.ID)
				}
			}
			if len(found) != 1 {
				return sennit.Hint(sennit.Errorf(sennit.NotFound, "%d invitations start with %q", len(found), args[0]), "see: sennit invite ls")
			}
			return a.do(cmd.Context(), "DELETE", "invites/"+url.PathEscape(found[0]), nil, nil)
		},
	}
	cmd.AddCommand(add, list, revoke)
	return cmd
}

func (a *app) join() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "join LINK", Short: "accept an invitation",
		Long:    "Reaches whoever made the link, lets them read your space, and follows theirs. It\nreturns when what they have is here.",
		Example: "  sennit join sennit:AS4...",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var out daemon.Joined
			if err := a.do(cmd.Context(), "POST", "join", map[string]string{"link": args[0], "name": name}, &out); err != nil {
				return err
			}
			if a.json {
				return a.print(out)
			}
			a.line("/%s", out.Space)
			a.note("joined; %d values are here", out.Ops)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what to call the inviter here: @NAME")
	return cmd
}
