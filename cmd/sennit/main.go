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
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
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
func Main(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	a := &app{in: in, out: bufio.NewWriter(out), err: errs, seen: isTerminal(out), told: isTerminal(errs)}
	root := a.root()
	root.SetArgs(steps(args))
	root.SetIn(in)
	root.SetOut(a.out)
	root.SetErr(errs)
	fail := root.ExecuteContext(ctx)
	if a.cancel != nil {
		a.cancel()
	}
	if err := a.out.Flush(); err != nil && fail == nil {
		fail = sennit.Errorf(sennit.Internal, "write the result: %w", err)
	}
	// An error may have come before the flag was read.
	a.json = a.json || slices.Contains(args, "--json")
	return a.report(ctx, fail)
}

// app is one run of the program.
type app struct {
	in   io.Reader
	out  *bufio.Writer // of results; it remembers an error, and Main reports it
	err  io.Writer
	seen bool // somebody looks at the results as they come
	told bool // somebody looks at what else is said

	data     string
	json     bool
	timeout  time.Duration
	cancel   context.CancelFunc
	watching bool // the command is to print its list again whenever it changes
}

// usageError is a mistake in how the program was called.
type usageError struct{ error }

// exitError is an exit code that no [sennit.Code] has. All was said already.
type exitError struct {
	error
	code int
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "sennit",
		Short: "your data on your machines, shared with your people",
		Long: `Sennit keeps a tree of values on your own machine and shares it with the people
you choose, from node to node, without a server in the middle.

Start with:   sennit up
Then write:   sennit set notes/hello 'hello, world'
And invite:   sennit invite new`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if a.timeout < 0 {
				return usageError{errors.New("--timeout is negative")}
			}
			if a.timeout > 0 {
				ctx, cancel := context.WithTimeout(cmd.Context(), a.timeout)
				a.cancel = cancel
				cmd.SetContext(ctx)
			}
			return nil
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := root.PersistentFlags()
	f.StringVar(&a.data, "data", "", "`DIR` that holds the node's data (SENNIT_DATA; default $XDG_DATA_HOME/sennit)")
	f.BoolVar(&a.json, "json", false, "print JSON")
	f.DurationVar(&a.timeout, "timeout", 0, "give up after this `TIME`, such as 30s")
	root.AddCommand(
		a.up(), a.initialise(), a.openPage(), a.status(), a.doctor(), a.config(), a.version(), a.completion(), a.man(),
		a.get(), a.set(), a.patch(), a.add(), a.append(), a.remove(), a.list(), a.watch(), a.live(), a.digest(),
		a.history(), a.undo(), a.du(), a.forks(), a.collect(), a.ops(), a.generate(),
		a.importFiles(), a.exportFiles(), a.syncFiles(),
		a.follow(), a.unfollow(), a.follows(), a.invite(), a.join(),
		a.id(), a.token(), a.allow(), a.revoke(), a.rules(),
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

// group is a command that only has others below it. Without RunE cobra would
// print its help and exit with 0 whatever follows.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			var names []string
			for _, c := range cmd.Commands() {
				names = append(names, c.Name())
			}
			what := fmt.Sprintf("%q needs a command after it", cmd.CommandPath())
			if len(args) > 0 {
				what = fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return usageError{fmt.Errorf("%s: %s", what, strings.Join(names, ", "))}
		},
	}
	cmd.AddCommand(below...)
	return cmd
}

// failure is an error as it is printed with --json.
type failure struct {
	Error fault `json:"error"` // why the command failed
}

type fault struct {
	Code    sennit.Code `json:"code"`           // what kind of error it is
	Message string      `json:"message"`        // what went wrong, for people
	Hint    string      `json:"hint,omitempty"` // what to do about it, for people
}

// report prints an error and tells the exit code.
func (a *app) report(ctx context.Context, err error) int {
	if err == nil {
		return 0
	}
	var exit exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	code, hint, message := sennit.CodeOf(err), sennit.HintOf(err), err.Error()
	var usage usageError
	switch {
	case errors.As(err, &usage) || strings.HasPrefix(message, "unknown command"):
		code = sennit.BadInput
		if hint == "" {
			hint = "see: sennit --help"
		}
	case ctx.Err() != nil:
		code, hint, message = sennit.Interrupted, "", "interrupted"
	case a.timeout > 0 && errors.Is(err, context.DeadlineExceeded):
		code, hint, message = sennit.Timeout, "", "gave up after "+a.timeout.String()
	}
	if a.json {
		_ = json.NewEncoder(a.err).Encode(failure{fault{code, message, hint}}) // nothing is left to tell it to
		return code.Exit()
	}
	fmt.Fprintf(a.err, "sennit: %s\n", message)
	if hint != "" {
		fmt.Fprintf(a.err, "hint: %s\n", hint)
	}
	return code.Exit()
}

// client connects to the node that runs on the data directory.
func (a *app) client(ctx context.Context) (*client.Client, error) {
	dir, err := daemon.DataDir(a.data)
	if err != nil {
		return nil, err
	}
	c, err := client.Dial(ctx, client.Config{Socket: daemon.Socket(dir)})
	if sennit.CodeOf(err) == sennit.Unreachable {
		return nil, sennit.Hint(sennit.Errorf(sennit.Unreachable, "no node runs on %s", dir),
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

// print writes v as one line of JSON.
func (a *app) print(v any) error { return json.NewEncoder(a.out).Encode(v) }

// line writes one line of a result.
func (a *app) line(format string, args ...any) { fmt.Fprintf(a.out, format+"\n", args...) }

// note tells people something that is not the result.
func (a *app) note(format string, args ...any) {
	if !a.json {
		_ = a.out.Flush() // what was said before comes before; Main reports an error
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}
