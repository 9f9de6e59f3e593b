package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Of one look at the disk.
const (
	diskTime  = 300 * time.Millisecond
	diskWrite = 256 // bytes
)

// diskLook is what the least durable thing costs, as medians: writing a few bytes
// and syncing the data.
type diskLook struct {
	inPlace time.Duration // into blocks that the file has already
	growing time.Duration // at the end of the file: its new size is synced as well
}

// fdatasync measures the disk as if it were a store.
func fdatasync(_ context.Context, b *bench, dir string) ([]point, error) {
	look, err := lookAtDisk(dir, b.load)
	if err != nil {
		return nil, err
	}
	var points []point
	for _, one := range []struct {
		of   string
		took time.Duration
	}{{"in place", look.inPlace}, {"at the end", look.growing}} {
		points = append(points, point{of: one.of, rate: 1 / one.took.Seconds(), figures: map[string]float64{"p50 us": micros(one.took)}})
	}
	return points, nil
}

// lookAtDisk measures a disk. The two ways take turns.
func lookAtDisk(dir string, l *load) (d diskLook, err error) {
	f, err := os.Create(filepath.Join(dir, "in-place"))
	if err != nil {
		return d, fmt.Errorf("measure the disk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	g, err := os.Create(filepath.Join(dir, "growing"))
	if err != nil {
		return d, fmt.Errorf("measure the disk: %w", err)
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if _, err := f.Write(l.pool); err != nil {
		return d, fmt.Errorf("measure the disk: %w", err)
	}
	if err := f.Sync(); err != nil {
		return d, fmt.Errorf("measure the disk: %w", err)
	}
	var inPlace, growing []time.Duration
	for begin := time.Now(); len(growing) == 0 || time.Since(begin) < diskTime; {
		at := int64(len(inPlace) * diskWrite % (len(l.pool) - diskWrite))
		took, err := timeSync(f, func() error { _, err := f.WriteAt(l.pool[:diskWrite], at); return err })
		if err != nil {
			return d, err
		}
		inPlace = append(inPlace, took)
		if took, err = timeSync(g, func() error { _, err := g.Write(l.pool[:diskWrite]); return err }); err != nil {
			return d, err
		}
		growing = append(growing, took)
	}
	slices.Sort(inPlace)
	slices.Sort(growing)
	return diskLook{inPlace[len(inPlace)/2], growing[len(growing)/2]}, nil
}

func timeSync(f *os.File, write func() error) (time.Duration, error) {
	begin := time.Now()
	err := write()
	if err == nil {
		err = syncData(f)
	}
	if err != nil {
		return 0, fmt.Errorf("measure the disk: %w", err)
	}
	return time.Since(begin), nil
}
