package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// How many values a follower takes. Of Hypercore fewer: it takes long.
const (
	syncValues      = keyCount
	hypercoreValues = 20_000
	// genBatch and genWriters are how stores are filled.
	genBatch   = "1000"
	genWriters = "4"
)

// command runs the sennit command on a data directory.
func (b *bench) command(ctx context.Context, dir string, args ...string) (string, error) {
	program, err := b.sennit(ctx)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, program, append([]string{"--data", dir}, args...)...).Output()
	if err != nil {
		return "", fmt.Errorf("sennit %s: %w", args[0], explained(err))
	}
	return strings.TrimSpace(string(out)), nil
}

// up runs a node without a door over HTTP, and waits until it is ready.
func (b *bench) up(ctx context.Context, dir string) (_ *child, space string, err error) {
	program, err := b.sennit(ctx)
	if err != nil {
		return nil, "", err
	}
	c, err := spawn(ctx, program, nodeFlags(dir, "off")...)
	if err != nil {
		return nil, "", err
	}
	defer stopIfFailed(c, &err)
	var ready struct{ Space string }
	return c, ready.Space, c.tells(&ready)
}

// syncSennit has a node without anything accept another's invitation, until it
// holds the same.
func syncSennit(ctx context.Context, b *bench, dir string) (_ []point, err error) {
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	one, space, err := b.up(ctx, from)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, one.stop()) }()
	if err := b.generate(ctx, from, syncValues); err != nil {
		return nil, err
	}
	want, err := b.command(ctx, from, "digest", "/"+space)
	if err != nil {
		return nil, err
	}
	link, err := b.command(ctx, from, "invite", "new")
	if err != nil {
		return nil, err
	}
	other, _, err := b.up(ctx, to)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, other.stop()) }()

	before, begin := loopbackBytes(), time.Now()
	// It returns when all is here, or after 30 seconds.
	if _, err := b.command(ctx, to, "join", link); err != nil {
		return nil, err
	}
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for late := time.After(patience); ; {
		got, err := b.command(ctx, to, "digest", "/"+space)
		if err != nil {
			return nil, err
		}
		if got == want {
			break
		}
		select {
		case <-again.C:
		case <-late:
			return nil, fmt.Errorf("the follower doesn't hold the same %s after it joined", patience)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	took := time.Since(begin).Seconds()
	return []point{synced(syncValues, took, loopbackBytes()-before)}, nil
}

func synced(values int, seconds, bytes float64) point {
	return point{of: "a new follower", rate: float64(values) / seconds,
		figures: map[string]float64{"values": float64(values), "seconds": seconds, "B/value": bytes / float64(values)}}
}

// loopbackBytes is what the loopback interface has carried, 0 where that can't
// be told (proc_net_dev: the first figure is of bytes received).
func loopbackBytes() float64 {
	b, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if figures, ok := strings.CutPrefix(strings.TrimSpace(line), "lo:"); ok {
			n, err := strconv.ParseFloat(strings.Fields(figures)[0], 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

// generate fills a node that runs.
func (b *bench) generate(ctx context.Context, dir string, n int) error {
	_, err := b.command(ctx, dir, "gen", "data", "--n", strconv.Itoa(n), "--batch", genBatch, "--writers", genWriters,
		"--size", fmt.Sprintf("%d-%d", minValue, maxValue), "--seed", strconv.FormatUint(rand.Uint64(), 10))
	return err
}

// syncHypercore has a core without anything download another.
func syncHypercore(ctx context.Context, b *bench, dir string) (_ []point, err error) {
	from, err := b.hypercore(ctx, "serve", filepath.Join(dir, "from"), fmt.Sprint(hypercoreValues), fmt.Sprint(minValue), fmt.Sprint(maxValue))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.stop()) }()
	var at struct {
		Port int
		Key  string
	}
	if err := from.tells(&at); err != nil {
		return nil, err
	}
	to, err := b.hypercore(ctx, "follow", filepath.Join(dir, "to"), fmt.Sprint(at.Port), at.Key, fmt.Sprint(hypercoreValues))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, to.stop()) }()
	var got struct {
		Seconds, Bytes float64
		Values         int
	}
	if err := to.tells(&got); err != nil {
		return nil, err
	}
	if got.Values != hypercoreValues {
		return nil, fmt.Errorf("the follower has %d values, not %d", got.Values, hypercoreValues)
	}
	return []point{synced(hypercoreValues, got.Seconds, got.Bytes)}, nil
}
