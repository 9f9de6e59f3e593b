// Command sennit is a node, and what one does with it from a terminal.
//
// Owns: what people type and read.
// Promises: results on standard output, everything else on standard error; the
// exit code says what happened (docs/commands.md); with --json all of it can
// be read by a program; it never asks questions.
// Must not know: anything that the HTTP door doesn't offer. It talks to the
// running node like any other client.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/client"
	"github.com/sennit/sennit/internal/daemon"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Main runs one command and returns its exit code.
func Main(ctx context.Context, args []string, in io.Reader, out, err io.Writer) int {
	a := &app{in: in, out: out, err: err}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(err)
	fail := root.ExecuteContext(ctx)
	if a.cancel != nil {
		a.cancel()
	}
	return a.report(ctx, fail)
}

// app is one run of the program.
type app struct {
	in       io.Reader
	out, err io.Writer

	data    string
	json    bool
	timeout time.Duration
	cancel  context.CancelFunc
}

// usageError is a mistake in how the program was called.
type usageError struct{ error }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "sennit",
		Short: "your data on your machines, shared with your people",
		Long: `Sennit keeps a tree of values on your own machine and shares it with the people
you choose, from node to node, without a server in the middle.

Start with:   sennit up
Then write:   sennit set notes/hello 'hello, world'
And invite:   sennit invite new`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if a.timeout > 0 {
				ctx, cancel := context.WithTimeout(cmd.Context(), a.timeout)
				a.cancel = cancel
				cmd.SetContext(ctx)
			}
			dir, err := daemon.DataDir(a.data)
			a.data = dir
			return err
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := root.PersistentFlags()
	f.StringVar(&a.data, "data", "", "data directory (SENNIT_DATA; default $XDG_DATA_HOME/sennit)")
	f.BoolVar(&a.json, "json", false, "print JSON")
	f.DurationVar(&a.timeout, "timeout", 0, "give up after this long, such as 30s")
	root.AddCommand(
		a.up(), a.initialise(), a.openPage(), a.status(), a.doctor(), a.version(),
		a.get(), a.set(), a.remove(), a.list(), a.watch(), a.digest(), a.generate(),
		a.follow(), a.unfollow(), a.follows(), a.invite(), a.join(),
		a.id(), a.token(), a.allow(), a.rules(),
	)
	return root
}

// args wraps a check of arguments so that its errors count as usage errors.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// report prints an error and tells the exit code.
func (a *app) report(ctx context.Context, err error) int {
	if err == nil {
		return 0
	}
	code, hint := sennit.CodeOf(err), sennit.HintOf(err)
	var usage usageError
	switch {
	case errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command"):
		code = sennit.BadInput
		if hint == "" {
			hint = "see: sennit --help"
		}
	case ctx.Err() != nil:
		code = sennit.Interrupted
	}
	if a.json {
		type body struct {
			Code    sennit.Code `json:"code"`
			Message string      `json:"message"`
			Hint    string      `json:"hint,omitempty"`
		}
		_ = json.NewEncoder(a.err).Encode(map[string]body{"error": {code, err.Error(), hint}}) // nothing is left to tell it to
		return code.Exit()
	}
	fmt.Fprintf(a.err, "sennit: %v\n", err)
	if hint != "" {
		fmt.Fprintf(a.err, "hint: %s\n", hint)
	}
	return code.Exit()
}

// client connects to the node that runs on the data directory.
func (a *app) client(ctx context.Context) (*client.Client, error) {
	c, err := client.Dial(ctx, client.Config{Socket: daemon.Socket(a.data)})
	if sennit.CodeOf(err) == sennit.Unreachable {
		return nil, sennit.Hint(sennit.Errorf(sennit.Unreachable, "no node runs on %s", a.data),
			"start it: sennit up (another data directory: --data DIR)")
	}
	return c, err
}

// do asks the node for one of its own resources.
func (a *app) do(ctx context.Context, method, path string, in, out any) error {
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Do(ctx, method, "/_node/"+path, in, out)
}

// print writes v as JSON.
func (a *app) print(v any) error { return json.NewEncoder(a.out).Encode(v) }

// line writes one line of a result.
func (a *app) line(format string, args ...any) { fmt.Fprintf(a.out, format+"\n", args...) }

// note tells people something that is not the result.
func (a *app) note(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}
