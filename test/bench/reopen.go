package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// reopen measures from the start of the command to the line that says that the
// node is ready, and what memory it has had by then.
func reopen(ctx context.Context, b *bench, _ string) (_ []point, err error) {
	if b.full == "" {
		if err := b.fillUp(ctx); err != nil {
			return nil, err
		}
	}
	begin := time.Now()
	c, _, err := b.up(ctx, b.full)
	if err != nil {
		return nil, err
	}
	took := time.Since(begin)
	defer func() { err = errors.Join(err, c.stop()) }()
	most, err := c.memory("VmHWM")
	if err != nil {
		return nil, err
	}
	// The last value that was made. A digest would tell more, and is worked out
	// over minutes after so much was written.
	last, err := b.command(ctx, b.full, "get", fmt.Sprintf("data/%08d", b.ops-1))
	if err != nil {
		return nil, err
	}
	if len(last) < minValue || len(last) > maxValue {
		return nil, fmt.Errorf("the last value has %d bytes, not %d to %d", len(last), minValue, maxValue)
	}
	size, err := sizeOf(b.full)
	if err != nil {
		return nil, err
	}
	return []point{{of: fmt.Sprintf("%d ops", b.ops), rate: took.Seconds(),
		figures: map[string]float64{"RSS MB": most / 1e6, "store MB": size / 1e6}}}, nil
}

// fillUp makes the store that is reopened. It stays until the program ends.
func (b *bench) fillUp(ctx context.Context) (err error) {
	dir := filepath.Join(b.base, "full")
	c, _, err := b.up(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	fmt.Fprintf(b.stderr, "filling a store with %d ops\n", b.ops)
	begin := time.Now()
	if err := b.generate(ctx, dir, b.ops); err != nil {
		return err
	}
	b.notes = append(b.notes, fmt.Sprintf("making the store took %s: %.0f values/s in commits of %s, durable", time.Since(begin).Round(time.Second/10),
		float64(b.ops)/time.Since(begin).Seconds(), genBatch))
	b.full = dir
	return nil
}

// sizeOf is how much the files under a directory have, in bytes.
func sizeOf(dir string) (size float64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // a file that the node has just dropped
			return nil
		}
		if err == nil {
			size += float64(info.Size())
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("look how large %s is: %w", dir, err)
	}
	return size, nil
}
