package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/daemon"
)

// completeTime bounds how long somebody who presses the tab key waits.
const completeTime = 2 * time.Second

// completer tells what the arguments of a command can be.
type completer = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective)

func (a *app) completion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use: "completion SHELL", Short: "print what makes a shell complete commands",
		Long: `Prints a script that makes bash, zsh, fish or powershell complete commands, flags,
paths and names. In bash: source <(sennit completion bash)`,
		Example:   "  sennit completion bash",
		Args:      args(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out, true)
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			}
			return root.GenPowerShellCompletionWithDesc(a.out)
		},
	}
}

// complete offers what the node knows for the first most arguments, 0 for all.
// Where no node runs there is nothing to offer.
func (a *app) complete(most int, offer func(ctx context.Context, begun string) ([]string, error)) completer {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTime)
		defer cancel()
		all, err := offer(ctx, begun)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		directive := cobra.ShellCompDirectiveNoFileComp
		var fitting []string
		for _, s := range all {
			if strings.HasPrefix(s, begun) {
				fitting = append(fitting, s)
				if strings.HasSuffix(s, "/") { // something will follow
					directive |= cobra.ShellCompDirectiveNoSpace
				}
			}
		}
		return fitting, directive
	}
}

// completeNames offers those whom this node follows.
func (a *app) completeNames(most int) completer {
	return a.complete(most, func(ctx context.Context, _ string) ([]string, error) { return a.names(ctx) })
}

func (a *app) names(ctx context.Context) (names []string, err error) {
	var all []daemon.Follow
	err = a.do(ctx, "GET", "follows", nil, &all)
	for _, f := range all {
		if f.Name != "" {
			names = append(names, "@"+f.Name)
		} else {
			names = append(names, f.Space)
		}
	}
	return names, err
}

// completePaths offers the children of the path that was begun.
func (a *app) completePaths(most int) completer { return a.complete(most, a.paths) }

func (a *app) paths(ctx context.Context, begun string) (all []string, err error) {
	parent := begun[:strings.LastIndexByte(begun, '/')+1]
	if parent == "/" {
		names, err := a.names(ctx)
		for _, n := range append(names, "me") {
			all = append(all, "/"+n+"/")
		}
		return all, err
	}
	at, err := sennit.ParseAddr(strings.TrimSuffix(parent, "/"))
	if err != nil {
		return nil, err
	}
	c, err := a.client(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	entries, _, err := c.List(ctx, at, sennit.Listing{})
	for _, e := range entries {
		if e.Value {
			all = append(all, parent+e.Name)
		}
		if e.Dir {
			all = append(all, parent+e.Name+"/")
		}
	}
	return all, err
}

// completeRevoke offers whom something is taken from, or where, then where.
func (a *app) completeRevoke(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if rule, _ := cmd.Flags().GetString("rule"); len(args) == 0 && rule == "" {
		return a.completeRule(cmd, nil, begun)
	}
	return a.completePaths(2)(cmd, args, begun)
}

// completeRule offers whom a rule can be for, rights, then paths.
func (a *app) completeRule(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return a.complete(0, func(ctx context.Context, _ string) ([]string, error) {
			names, err := a.names(ctx)
			return append(names, "any"), err
		})(cmd, nil, begun)
	case 1:
		done := begun[:strings.LastIndexByte(begun, ',')+1]
		return a.complete(0, func(context.Context, string) (all []string, err error) {
			for _, r := range sennit.AllRights.Names() {
				all = append(all, done+r)
			}
			return all, nil
		})(cmd, nil, begun)
	}
	return a.completePaths(3)(cmd, args, begun)
}
