package main

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/daemon"
	"github.com/sennit/sennit/internal/keys"
)

func (a *app) id() *cobra.Command {
	show := &cobra.Command{
		Use: "show", Short: "say who this node is",
		Long:    "Prints the space, and a line for each of its devices.",
		Example: "  sennit id show\n  sennit id show --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var id daemon.Identity
			if err := a.do(cmd.Context(), "GET", "id", nil, &id); err != nil {
				return err
			}
			if a.json {
				return a.print(id)
			}
			a.line("%s", id.Space)
			for _, d := range id.Devices {
				a.line("  %s %s", d.Device, d.Name)
			}
			return nil
		},
	}
	words := &cobra.Command{
		Use: "words", Short: "show the recovery words, once",
		Long:    "Shows the recovery words and then forgets them. They are read from the data\ndirectory and never sent anywhere. Write them down.",
		Example: "  sennit id words",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			dir, err := daemon.DataDir(a.data)
			if err != nil {
				return err
			}
			id, err := keys.Load(dir)
			if err != nil {
				return err
			}
			words, err := id.Words()
			if err != nil {
				return err
			}
			return a.showWords(id, words, recovery{words})
		},
	}
	return group("id", "your identity", show, words)
}

// recovery is what id words --json prints.
type recovery struct {
	Words string `json:"words"` // the twelve recovery words, with spaces between
}

// showWords prints the recovery words and forgets them, once they are out.
func (a *app) showWords(id *keys.Identity, words string, out any) error {
	if a.json {
		if err := a.print(out); err != nil {
			return err
		}
	} else {
		a.line("%s", words)
	}
	if err := a.out.Flush(); err != nil {
		return sennit.Errorf(sennit.Internal, "write the result: %w", err)
	}
	a.note("Write these twelve words down now. They are not shown again.")
	return id.ForgetWords()
}

// newToken is what token new --json prints.
type newToken struct {
	daemon.Token
	Text string `json:"token"` // the token itself, told once
}

func (a *app) token() *cobra.Command {
	var prefixes []string
	var may string
	var all bool
	var expires time.Duration
	add := &cobra.Command{
		Use: "new", Short: "make a token and print it",
		Long:    "Prints a token. It is shown once. Without --may it only reads. The right \"node\" is\nfor the node's own resources, under /_node/; who has it can make other tokens.",
		Example: "  sennit token new --prefix /me/notes --may read,write\n  sennit token new --all --expires 24h\n  sennit token new --may node",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := map[string]any{"prefix": prefixes, "all": all}
			if may != "" {
				in["may"] = strings.Split(may, ",")
			}
			if cmd.Flags().Changed("expires") {
				in["expires"] = expires.String()
			}
			var out newToken
			if err := a.do(cmd.Context(), "POST", "tokens", in, &out); err != nil {
				return err
			}
			if a.json {
				return a.print(out)
			}
			a.line("%s", out.Text)
			return nil
		},
	}
	f := add.Flags()
	f.StringArrayVar(&prefixes, "prefix", nil, "only at and under this `PATH`, repeatable")
	f.StringVar(&may, "may", "", "`RIGHTS`: a comma list of read, write, delete, grant, mirror and node (default read; with --all all but node)")
	f.BoolVar(&all, "all", false, "everywhere")
	f.DurationVar(&expires, "expires", 0, "how long it lasts, a `TIME` (default until it is revoked)")
	list := &cobra.Command{
		Use: "ls", Short: "list tokens",
		Long:    "Prints a line for each: its id, rights, where it is good, and when it runs out.",
		Example: "  sennit token ls",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []daemon.Token
			if err := a.do(cmd.Context(), "GET", "tokens", nil, &all); err != nil {
				return err
			}
			if a.json {
				return a.print(all)
			}
			for _, t := range all {
				where := strings.Join(t.Prefixes, " ")
				if where == "" {
					where = "everywhere"
				}
				if !t.Expires.IsZero() {
					where += " until " + t.Expires.Local().Format(time.DateTime)
				}
				a.line("%s %s %s", t.ID, strings.Join(t.May, ","), where)
			}
			return nil
		},
	}
	revoke := &cobra.Command{
		Use: "revoke ID", Short: "make a token useless",
		Long:    "Makes a token useless from the next request on.",
		Example: "  sennit token revoke $TOKEN",
		Args:    args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.complete(1, func(ctx context.Context, _ string) (ids []string, err error) {
			var all []daemon.Token
			err = a.do(ctx, "GET", "tokens", nil, &all)
			for _, t := range all {
				ids = append(ids, t.ID)
			}
			return ids, err
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.do(cmd.Context(), "DELETE", "tokens/"+url.PathEscape(args[0]), nil, nil)
		},
	}
	return group("token", "bearer tokens for HTTP clients", add, a.watchable(list, nil), revoke)
}

func (a *app) allow() *cobra.Command {
	var where string
	cmd := &cobra.Command{
		Use: "allow WHO RIGHTS PREFIX", Short: "let somebody do something",
		Long: `Makes a rule: who may do what at and under a path. WHO is any, a space id, @name
or device:KEY; RIGHTS a comma list of read, write, delete, grant and mirror.`,
		Example:           "  sennit allow @bob read,write /me/shared\n  sennit allow any write /me/posts --where '*/likes/{self}'",
		Args:              args(cobra.ExactArgs(3)),
		ValidArgsFunction: a.completeRule,
		RunE: func(cmd *cobra.Command, args []string) error {
			prefix, err := sennit.ParseAddr(strings.TrimSuffix(args[2], "/"))
			if err != nil {
				return err
			}
			in := map[string]any{"who": args[0], "may": strings.Split(args[1], ","), "prefix": prefix.String(), "where": where}
			var out written
			if err := a.do(cmd.Context(), "POST", "rules", in, &out); err != nil {
				return err
			}
			if a.json {
				return a.print(out)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&where, "where", "", "only where this `PATTERN` matches under the prefix: * is any component, {self} the author's space")
	return cmd
}

func (a *app) revoke() *cobra.Command {
	var rule string
	var void bool
	cmd := &cobra.Command{
		Use: "revoke [WHO] PREFIX", Short: "take rights back",
		Long: `Takes back what somebody may do at and under a path, whatever rule allows it: reading
ends, and nothing that they write from now on counts. What is here of what they
wrote stays, unless --void is given. With --rule it is one rule that ends, for
everybody whom it lets in. A rule that is made later holds again.`,
		Example:           "  sennit revoke @bob /me/shared\n  sennit revoke @bob /me --void\n  sennit revoke --rule $RULE /me",
		Args:              args(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: a.completeRevoke,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 2) == (rule != "") {
				return sennit.Hint(sennit.Errorf(sennit.BadInput, "say from whom, or which --rule, and where"), "see: sennit revoke --help")
			}
			prefix, err := sennit.ParseAddr(strings.TrimSuffix(args[len(args)-1], "/"))
			if err != nil {
				return err
			}
			in := map[string]any{"rule": rule, "prefix": prefix.String(), "void": void}
			if len(args) == 2 {
				in["who"] = args[0]
			}
			var out written
			if err := a.do(cmd.Context(), "POST", "revocations", in, &out); err != nil {
				return err
			}
			if a.json {
				return a.print(out)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&rule, "rule", "", "the `ID` of the rule, as rules --json tells it, or its beginning")
	cmd.Flags().BoolVar(&void, "void", false, "what was written with these rights goes as well")
	return cmd
}

func (a *app) rules() *cobra.Command {
	return a.watchable(&cobra.Command{
		Use: "rules [PREFIX]", Short: "list the rules that bear on a path",
		Long:              "Prints a line for each: where it holds, for whom, and the rights. Those that were\nrevoked are marked as ended.",
		Example:           "  sennit rules\n  sennit rules /me/shared",
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completePaths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			prefix, err := sennit.ParseAddr(strings.TrimSuffix(strings.Join(args, ""), "/"))
			if err != nil {
				return err
			}
			var all []daemon.Rule
			if err := a.do(cmd.Context(), "GET", "rules?path="+url.QueryEscape(prefix.String()), nil, &all); err != nil {
				return err
			}
			if a.json {
				return a.print(all)
			}
			for _, r := range all {
				line := r.Prefix + " " + r.Who + " " + strings.TrimSpace(strings.Join(r.May, ",")+" "+r.Where)
				if r.Ended {
					line += " ended"
				}
				a.line("%s", line)
			}
			return nil
		},
	}, nil)
}
