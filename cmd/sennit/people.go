package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/daemon"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/wire"
)

// space reads a space's id, or what it is called here.
func (a *app) space(ctx context.Context, text string) (string, error) {
	name, petname := strings.CutPrefix(text, "@")
	if !petname {
		id, err := sennit.ParseSpace(text)
		if strings.HasPrefix(text, "sennit:") {
			err = sennit.Hint(sennit.Errorf(sennit.BadInput, "this is an invitation"), "accept it: sennit join LINK")
		} else if err != nil {
			err = sennit.Hint(err, "or name somebody whom this node knows: @NAME")
		}
		return id.String(), err
	}
	var all []daemon.Follow
	if err := a.do(ctx, "GET", "follows", nil, &all); err != nil {
		return "", err
	}
	for _, f := range all {
		if f.Name == name {
			return f.Space, nil
		}
	}
	return "", sennit.Hint(sennit.Errorf(sennit.NotFound, "nobody is called %s here", text), "see whom this node knows with: sennit follows")
}

func (a *app) follow() *cobra.Command {
	var name, mode string
	var newest int
	var hosts, addrs, prefixes []string
	cmd := &cobra.Command{
		Use: "follow SPACE|@NAME|/me", Short: "replicate somebody's space, or parts of it",
		Long: `Keeps a copy of what you may read of a space, and keeps it up to date. Following
somebody twice changes nothing, except what is said anew. An invitation link is
for: sennit join

With --prefix, only what is at and under these paths is kept: the rest takes
neither room nor traffic, and reads as if it weren't there. Saying other prefixes
later changes the follow: what is missing is fetched, and what is here of the
others stays, but gets no newer. --prefix / is everything again.

With --addr and --host, these nodes are tried, the first of them always; at most
8, in the place of those that were named before. They tell which others have a
copy, and those are asked when they can't be reached: see sennit follows --hosts

With --newest, so many values come before the rest, if nothing is here yet: those
that came last where they come from. What there is can then be shown at once, and
all of it takes a little longer.

With --mode full, all that was overwritten or deleted is kept as well, for good, and
what others still have of it is fetched: see sennit history. Of your own space, /me,
only the mode can be said. --mode live is what is so otherwise; sennit collect drops
then what is too old.`,
		Example: "  sennit follow $SPACE --name bob --addr $ADDR\n  sennit follow @bob --name robert\n" +
			"  sennit follow @bob --prefix posts --prefix profile\n  sennit follow $SPACE --newest 50 --addr $ADDR\n  sennit follow /me --mode full",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			space := "me"
			if strings.Trim(args[0], "/") != space {
				var err error
				if space, err = a.space(cmd.Context(), args[0]); err != nil {
					return err
				}
			}
			in := map[string]any{"name": strings.TrimPrefix(name, "@"), "hosts": hosts, "addrs": addrs, "prefixes": prefixes, "mode": mode}
			if cmd.Flags().Changed("newest") {
				in["newest"] = newest
			}
			var out daemon.Follow
			if err := a.do(cmd.Context(), "PUT", "follows/"+space, in, &out); err != nil {
				return err
			}
			if a.json {
				return a.print(out)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "what to call it here: @`NAME`")
	f.StringVar(&mode, "mode", "", "keep what counts now (`live`), or all that ever was (full)")
	f.IntVar(&newest, "newest", 0, fmt.Sprintf("the newest `N` values come first, at most %d", wire.MaxNewest))
	f.StringArrayVar(&hosts, "host", nil, "`KEY` of a node that has it, if its address doesn't end in it, repeatable")
	f.StringArrayVar(&addrs, "addr", nil, "`MULTIADDR` of a node that has it, as its status tells, repeatable")
	f.StringArrayVar(&prefixes, "prefix", nil, "keep only what is at and under this `PATH` of the space, repeatable")
	return cmd
}

func (a *app) unfollow() *cobra.Command {
	return &cobra.Command{
		Use: "unfollow SPACE|@NAME", Short: "stop replicating somebody's space",
		Long:              "Stops keeping a space up to date. What is here of it stays.",
		Example:           "  sennit unfollow @bob",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			space, err := a.space(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.do(cmd.Context(), "DELETE", "follows/"+space, nil, nil)
		},
	}
}

func (a *app) follows() *cobra.Command {
	var hosts bool
	cmd := &cobra.Command{
		Use: "follows", Short: "list the spaces that are replicated",
		Long: `Prints a line for each: what it is called, the space, whether it is live, syncing
or offline, how many values are here, and which parts are followed if not all are.

With --hosts, a line follows for each node that has it, in the order in which they
are tried: its key, whether it was chosen or learnt from others, whether it is
connected or offline, and when both last held the same.`,
		Example: "  sennit follows\n  sennit follows --hosts\n  sennit follows --json\n  sennit follows --watch",
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
				parts := ""
				for _, p := range f.Prefixes {
					if p != "" {
						parts += " /" + string(p)
					}
				}
				a.line("%s %s %d%s", name, f.State, f.Ops, parts)
				if hosts {
					a.hosts(f.Hosts)
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&hosts, "hosts", false, "list the nodes that have each space as well")
	return a.watchable(cmd, nil)
}

// hosts prints the nodes that have a space.
func (a *app) hosts(all []daemon.Host) {
	for _, h := range all {
		how, good := "learnt", "never"
		if h.Chosen {
			how = "chosen"
		}
		if !h.Good.IsZero() {
			good = h.Good.Local().Format(time.DateTime)
		}
		a.line("  %s %s %s %s", h.Host, how, h.State, good)
	}
}

func (a *app) invite() *cobra.Command {
	var uses int
	var expires time.Duration
	var open, reads string
	add := &cobra.Command{
		Use: "new", Short: "make an invitation link",
		Long: `Prints a link. Whoever opens it first becomes a reader of your space and you of
theirs: each follows the other. It works a limited number of times and runs out.`,
		Example: "  sennit invite new\n  sennit invite new --uses 5 --expires 24h --reads posts",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := map[string]any{"uses": uses, "expires": expires.String(), "open": open, "reads": reads}
			var out daemon.Invited
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
			who := "one person"
			if out.Uses != 1 {
				who = strconv.Itoa(out.Uses) + " people"
			}
			a.note("lets %s read %s, until %s:", who, what, out.Expires.Local().Format("2 January 2006 15:04"))
			a.line("%s", out.Link)
			return nil
		},
	}
	f := add.Flags()
	f.IntVar(&uses, "uses", 1, "`N` people can use it, at most "+strconv.Itoa(replicate.MaxUses))
	f.DurationVar(&expires, "expires", 7*24*time.Hour, "how long it lasts, a `TIME` of at most 366 days")
	f.StringVar(&open, "open", "", "a `PATH` to show them first")
	f.StringVar(&reads, "reads", "", "let them read only under this `PATH` of your space (default all)")
	list := &cobra.Command{
		Use: "ls", Short: "list invitations",
		Long:    "Prints a line for each: its id, how often it was used and can be, and when it runs\nout.",
		Example: "  sennit invite ls",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []replicate.Invite
			if err := a.do(cmd.Context(), "GET", "invites", nil, &all); err != nil {
				return err
			}
			if a.json {
				return a.print(all)
			}
			for _, in := range all {
				a.line("%.16s %d/%d %s", in.ID, in.Used, in.Uses, in.Expires.Local().Format(time.DateTime))
			}
			return nil
		},
	}
	revoke := &cobra.Command{
		Use: "revoke ID", Short: "make an invitation useless",
		Long:    "Makes an invitation useless. The beginning of an id will do if only one starts so.\nWhoever used it already stays in.",
		Example: "  sennit invite revoke $INVITE",
		Args:    args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.complete(1, func(ctx context.Context, _ string) (ids []string, err error) {
			var all []replicate.Invite
			err = a.do(ctx, "GET", "invites", nil, &all)
			for _, in := range all {
				ids = append(ids, in.ID)
			}
			return ids, err
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			var all []replicate.Invite
			if err := a.do(cmd.Context(), "GET", "invites", nil, &all); err != nil {
				return err
			}
			var found []string
			for _, in := range all {
				if strings.HasPrefix(in.ID, args[0]) {
					found = append(found, in.ID)
				}
			}
			switch len(found) {
			case 1:
				return a.do(cmd.Context(), "DELETE", "invites/"+url.PathEscape(found[0]), nil, nil)
			case 0:
				return sennit.Hint(sennit.Errorf(sennit.NotFound, "no invitation starts with %q", args[0]), "see: sennit invite ls")
			}
			return sennit.Hint(sennit.Errorf(sennit.BadInput, "%d invitations start with %q", len(found), args[0]), "give more of the id; see: sennit invite ls")
		},
	}
	return group("invite", "invite somebody", add, a.watchable(list, nil), revoke)
}

func (a *app) join() *cobra.Command {
	var name string
	var prefixes []string
	cmd := &cobra.Command{
		Use: "join LINK", Short: "accept an invitation",
		Long: `Reaches whoever made the link, lets them read your space, and follows theirs. It
returns when what they have is here, or after 30 seconds: the rest comes by
itself.`,
		Example: "  sennit join $LINK --name alice",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var out daemon.Joined
			in := map[string]any{"link": args[0], "name": strings.TrimPrefix(name, "@"), "prefixes": prefixes}
			if err := a.do(cmd.Context(), "POST", "join", in, &out); err != nil {
				return err
			}
			if a.json {
				return a.print(out)
			}
			a.line("/%s", out.Space)
			more := ""
			if !out.Whole {
				more = ", and more will come"
			}
			a.note("joined; %d values are here%s", out.Ops, more)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what to call the inviter here: @`NAME`")
	cmd.Flags().StringArrayVar(&prefixes, "prefix", nil, "keep only what is at and under this `PATH` of their space, repeatable")
	return cmd
}
