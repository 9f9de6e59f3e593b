package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/daemon"
)

func (a *app) config() *cobra.Command {
	names := strings.Join(daemon.SettingNames(), ", ")
	show := &cobra.Command{
		Use: "show", Short: "list the settings",
		Long: `Prints a line for each setting: its name, what it is, and whether a flag, a variable,
the file config.toml or the default says so. If a node runs these are the settings
that it was started with, else those that sennit up would take. sennit config alone
does the same. What the settings are for tells: sennit up --help`,
		Example: "  sennit config\n  sennit config show\n  sennit config show --json",
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.showConfig(cmd.Context()) },
	}
	set := &cobra.Command{
		Use: "set NAME VALUE", Short: "set a setting",
		Long: `Sets a setting in config.toml in the data directory, for the next start. The rest of
the file stays as it is. A value that a start would refuse is refused, and the file
left alone. Of listen, the values are written with commas between. The settings are
` + names + `.`,
		Example: "  sennit config set reserve 500MB\n  sennit config set listen /ip4/0.0.0.0/udp/20000/quic-v1,/ip4/0.0.0.0/tcp/20000",
		Args:    args(cobra.ExactArgs(2)),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return daemon.SettingNames(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] == "" {
				return sennit.Hint(sennit.Errorf(sennit.BadInput, "an empty value says nothing"), "sennit config unset "+args[0])
			}
			return a.setConfig(cmd.Context(), args[0], args[1])
		},
	}
	unset := &cobra.Command{
		Use: "unset NAME", Short: "take a setting out of config.toml",
		Long:              "Takes a setting out of config.toml in the data directory, for the next start. It is\nno error if the file doesn't have it.",
		Example:           "  sennit config unset reserve",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: set.ValidArgsFunction,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.setConfig(cmd.Context(), args[0], "")
		},
	}
	cmd := group("config", "list and change the settings", set, show, unset)
	wrong := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return wrong(cmd, args)
		}
		return a.showConfig(cmd.Context())
	}
	return cmd
}

// shownConfig is what config show --json prints.
type shownConfig struct {
	Running  bool             `json:"running"`  // a node runs, and has these
	Settings []daemon.Setting `json:"settings"` // all that there are
}

// changedConfig is what config set --json prints.
type changedConfig struct {
	daemon.Setting
	Restart bool `json:"restart"` // a node runs, with what was set before
}

func (a *app) showConfig(ctx context.Context) error {
	var all []daemon.Setting
	err := a.do(ctx, "GET", "config", nil, &all)
	running := err == nil
	if sennit.CodeOf(err) == sennit.Unreachable {
		all, err = a.settings()
	}
	if err != nil {
		return err
	}
	if a.json {
		return a.print(shownConfig{running, all})
	}
	for _, s := range all {
		a.line("%-8s %s (%s)", s.Name, oneLine([]byte(s.Value)), s.From)
	}
	return nil
}

// settings is what a node that starts now would take.
func (a *app) settings() ([]daemon.Setting, error) {
	cfg, err := a.configuration()
	return cfg.Settings(), err
}

// configuration is that of a node that starts now, without flags.
func (a *app) configuration() (cfg daemon.Config, err error) {
	if cfg.Data, err = daemon.DataDir(a.data); err == nil {
		err = cfg.Load()
	}
	return cfg, err
}

// setConfig changes the file, and says what still keeps the change from being
// in force.
func (a *app) setConfig(ctx context.Context, name, value string) error {
	dir, err := daemon.DataDir(a.data)
	if err != nil {
		return err
	}
	if err := daemon.Set(dir, name, value); err != nil {
		return err
	}
	all, err := a.settings()
	if err != nil {
		return sennit.Errorf(sennit.CodeOf(err), "it is set, but a node can't start: %w", err)
	}
	now := all[slices.IndexFunc(all, func(s daemon.Setting) bool { return s.Name == name })]
	c, err := a.client(ctx)
	running := err == nil
	if running {
		c.Close()
	}
	if a.json {
		return a.print(changedConfig{now, running})
	}
	a.line("%-8s %s (%s)", now.Name, oneLine([]byte(now.Value)), now.From)
	if now.From == daemon.ByVariable {
		a.note("the variable SENNIT_%s comes before the file", strings.ToUpper(name))
	}
	if running {
		a.note("a node runs; it takes this when it is started again")
	}
	return nil
}
