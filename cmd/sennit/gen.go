package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/client"
)

// generator writes random values.
type generator struct {
	n, batch, writers int
	rate              float64
	low, high         int
	seed              uint64
}

// generated is what gen --json prints.
type generated struct {
	Ops int64 `json:"ops"` // values that are on disk
}

func (a *app) generate() *cobra.Command {
	var g generator
	var size string
	cmd := &cobra.Command{
		Use: "gen PATH", Short: "write random values",
		Long: `Writes random values under a path, to see what a node does with them. The same
seed gives the same values. It prints how many are on disk, also if it is
interrupted or fails.`,
		Example:           "  sennit gen test/data --n 10000 --batch 100\n  sennit gen test/live --n 600 --rate 1000",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completePaths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := sennit.ParseAddr(strings.TrimSuffix(args[0], "/"))
			if err == nil {
				err = g.check(size)
			}
			if err != nil {
				return err
			}
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			done, err := g.run(cmd.Context(), c, at, a)
			if a.json {
				return errors.Join(err, a.print(generated{done}))
			}
			a.line("%d", done)
			return err
		},
	}
	f := cmd.Flags()
	f.IntVar(&g.n, "n", 1000, "write `N` values")
	f.IntVar(&g.batch, "batch", 1, "`N` values in one commit")
	f.IntVar(&g.writers, "writers", 1, "`N` write at once")
	f.Float64Var(&g.rate, "rate", 0, "`N` values a second (default as fast as it goes)")
	f.StringVar(&size, "size", "100-250", "bytes of a value, `MIN-MAX`")
	f.Uint64Var(&g.seed, "seed", 1, "`N` from which the random values come")
	return cmd
}

func (g *generator) check(size string) (err error) {
	low, high, ok := strings.Cut(size, "-")
	if !ok {
		high = low
	}
	if g.low, err = strconv.Atoi(low); err == nil {
		g.high, err = strconv.Atoi(high)
	}
	if err != nil || g.low < 0 || g.high < g.low || g.high > sennit.MaxInline {
		return sennit.Errorf(sennit.BadInput, "--size %q: want MIN-MAX, at most %d", size, sennit.MaxInline)
	}
	if g.n < 0 || g.batch < 1 || g.batch > sennit.MaxOps || g.writers < 1 || g.writers > 1024 || g.rate < 0 {
		return sennit.Errorf(sennit.BadInput, "--n, --rate: not below 0; --batch: 1 to %d; --writers: 1 to 1024", sennit.MaxOps)
	}
	return nil
}

// letters make values that people can look at and that hardly compress.
const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

// change is value number i: the same for the same seed, whoever writes it.
func (g *generator) change(under sennit.Path, i int) sennit.Change {
	rng := rand.New(rand.NewPCG(g.seed, uint64(i)))
	data := make([]byte, g.low+rng.IntN(g.high-g.low+1))
	for j := range data {
		data[j] = letters[rng.IntN(len(letters))]
	}
	name := sennit.Path(fmt.Sprintf("%08d", i))
	return sennit.Change{Kind: sennit.KindPut, Path: under.Join(name), Value: sennit.Value{Type: "text/plain", Data: data}}
}

func (g *generator) run(ctx context.Context, c *client.Client, at sennit.Addr, a *app) (int64, error) {
	var next, done atomic.Int64
	begun := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for range g.writers {
		group.Go(func() error {
			for {
				from := int(next.Add(int64(g.batch))) - g.batch
				if from >= g.n {
					return nil
				}
				var changes []sennit.Change
				for i := from; i < min(from+g.batch, g.n); i++ {
					changes = append(changes, g.change(at.Path, i))
				}
				if err := g.pace(ctx, begun, from); err != nil {
					return err
				}
				if _, err := c.Write(ctx, at.Root, changes); err != nil {
					return err
				}
				if k := done.Add(int64(len(changes))); a.told && k*20/int64(g.n) != (k-int64(len(changes)))*20/int64(g.n) {
					a.note("%d of %d, %.0f a second", k, g.n, float64(k)/time.Since(begun).Seconds())
				}
			}
		})
	}
	err := group.Wait()
	return done.Load(), err
}

// pace waits until value number i is due.
func (g *generator) pace(ctx context.Context, begun time.Time, i int) error {
	if g.rate == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(time.Until(begun.Add(time.Duration(float64(i) / g.rate * float64(time.Second)))))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
