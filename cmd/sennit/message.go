package main

import (
	"io"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/sennit/sennit"
)

// sent is what live --json prints.
type sent struct {
	Sent bool `json:"sent"` // always true
}

func (a *app) live() *cobra.Command {
	var typ string
	var life time.Duration
	cmd := &cobra.Command{
		Use: "live PATH VALUE|-|@FILE", Short: "send a live message to whoever watches a path",
		Long: `Sends the argument itself, standard input for -, or a file for @FILE, at most
4 KiB, to everybody who watches the path with "watch --messages", at this node and at
others: who is here, where a cursor stands, that somebody is typing. Nobody keeps it, and
it changes no value. Who comes later doesn't get it, so send it again for as long as it
is true. It takes the right to write at the path. That it was sent is all that is known
when this returns: on its way it may be lost.`,
		Example:           "  sennit live doc 'ana is here'\n  sennit live doc/cursors '{\"at\":12}' --type application/json --for 5s",
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completePaths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := sennit.ParseAddr(args[0])
			if err != nil {
				return err
			}
			if life < time.Millisecond || life > sennit.MaxMessageLife {
				return sennit.Errorf(sennit.BadInput, "a message that counts for %v; 1ms to %v are allowed", life, sennit.MaxMessageLife)
			}
			from, err := a.value(args[1])
			if err != nil {
				return err
			}
			defer from.Close()
			data, err := io.ReadAll(io.LimitReader(from, sennit.MaxMessage+1))
			switch {
			case err != nil:
				return sennit.Errorf(sennit.BadInput, "read the message: %w", err)
			case len(data) > sennit.MaxMessage:
				return sennit.Hint(sennit.Errorf(sennit.TooLarge, "the message has more than %d bytes", sennit.MaxMessage), "set a value, and send that it is there")
			case typ == "" && utf8.Valid(data):
				typ = textType
			}
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			err = c.Send(cmd.Context(), at, sennit.Value{Type: typ, Data: data}, life)
			if err == nil && a.json {
				err = a.print(sent{true})
			}
			return err
		},
	}
	cmd.Flags().DurationVar(&life, "for", sennit.MessageLife, "how long the message counts: a `TIME` of at most 1m")
	cmd.Flags().StringVar(&typ, "type", "", "media `TYPE` (default text/plain for text)")
	return cmd
}
