package main

import (
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/daemon"
	"github.com/sennit/sennit/internal/keys"
)

func (a *app) id() *cobra.Command {
	cmd := &cobra.Command{Use: "id", Short: "your identity", Args: args(cobra.NoArgs)}
	show := &cobra.Command{
		Use: "show", Short: "say who this node is", Args: args(cobra.NoArgs),
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
			id, err := keys.Load(a.data)
			if err != nil {
				return err
			}
			words, err := id.Words()
			if err != nil {
				return err
			}
			if a.json {
				err = a.print(map[string]string{"words": words})
			} else {
				a.line("%s", words)
				a.note("Write these twelve words down now. They are not shown again.")
			}
			if err != nil {
				return err
			}
			return id.ForgetWords()
		},
	}
	cmd.AddCommand(show, words)
	return cmd
}

func (a *app) token() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "bearer tokens for HTTP clients", Args: args(cobra.NoArgs)}
	var prefixes []string
	var may string
	var all bool
	var expires time.Duration
	add := &cobra.Command{
		Use: "new", Short: "make a token and print it",
		Long:    "Prints a token. It is shown once. Without --may it only reads.",
		Example: "  sennit token new --prefix /me/notes --may read,write\n  sennit token new --all --expires 24h",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := map[string]any{"prefix": prefixes, "all": all}
			if may != "" {
				in["may"] = strings.Split(may, ",")
			}
			if expires > 0 {
				in["expires"] = expires.String()
			}
			var out struct {
				ID       string   `json:"id"`
				Token    string   `json:"token"`
				Prefixes []string `json:"prefixes"`
				May      []string `json:"may"`
			}
			if err := a.do(cmd.Context(), "POST", "tokens", in, &out); err != nil {
				return err
			}
			if a.json {
				return a.print(out)
			}
			a.line("%s", out.Token)
			return nil
		},
	}
	f := add.Flags()
	f.StringArrayVar(&prefixes, "prefix", nil, "only at and under this path, repeatable")
	f.StringVar(&may, "may", "", "rights: a comma list of read, write, delete (default read; with --all everything)")
	f.BoolVar(&all, "all", false, "everywhere")
	f.DurationVar(&expires, "expires", 0, "how long it lasts (default: until it is revoked)")
	list := &cobra.Command{
		Use: "ls", Short: "list tokens", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var out []struct {
				ID       string    `json:"id"`
				Prefixes []string  `json:"prefixes"`
				May      []string  `json:"may"`
				Expires  time.Time `json:"expires,omitzero"`
			}
			if err := a.do(cmd.Context(), "GET", "tokens", nil, &out); err != nil {
				return err
			}
			if a.json {
				return a.print(out)
			}
			for _, t := range out {
				where := strings.Join(t.Prefixes, " ")
				if where == "" {
					where = "everywhere"
				}
				a.line("%s %s %s", t.ID, strings.Join(t.May, ","), where)
			}
			return nil
		},
	}
	revoke := &cobra.Command{
		Use: "revoke ID", Short: "make a token useless", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.do(cmd.Context(), "DELETE", "tokens/"+url.PathEscape(args[0]), nil, nil)
		},
	}
	cmd.AddCommand(add, list, revoke)
	return cmd
}

func (a *app) allow() *cobra.Command {
	var where string
	cmd := &cobra.Command{
		Use: "allow WHO RIGHTS PREFIX", Short: "let somebody do something",
		Long: `Makes a rule: who may do what at and under a path. WHO is any, a space id, @name
or device:KEY; RIGHTS a comma list of read, write, delete, grant and mirror.`,
		Example: "  sennit allow @bob read,write /me/shared\n  sennit allow any write /me/posts --where '*/likes/{self}'",
		Args:    args(cobra.ExactArgs(3)),
		RunE: func(cmd *cobra.Command, args []string) error {
			prefix, err := sennit.ParseAddr(strings.TrimSuffix(args[2], "/"))
			if err != nil {
				return err
			}
			in := map[string]any{"who": args[0], "may": strings.Split(args[1], ","), "prefix": prefix.String(), "where": where}
			var out map[string]string
			if err := a.do(cmd.Context(), "POST", "rules", in, &out); err != nil {
				return err
			}
			if a.json {
				return a.print(out)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&where, "where", "", "only where this pattern matches under the prefix: * is any component, {self} the author's space")
	return cmd
}

func (a *app) rules() *cobra.Command {
	return &cobra.Command{
		Use: "rules [PREFIX]", Short: "list the rules that bear on a path",
		Example: "  sennit rules /me/shared",
		Args:    args(cobra.MaximumNArgs(1)),
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
				a.line("%s %s %s", r.Prefix, r.Who, strings.TrimSpace(strings.Join(r.May, ",")+" "+r.Where))
			}
			return nil
		},
	}
}
