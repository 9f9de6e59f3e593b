package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// nodePeers are the programs for Node, each with the exact versions of what it
// needs. They are brought when they are to run, and removed with the rest.
//
//go:embed node
var nodePeers embed.FS

// installed is a program for Node that can be run.
type installed struct {
	program string // Node's
	dir     string // of what runs
	version string
	err     error
}

// install brings what a program for Node needs, once.
func (b *bench) install(ctx context.Context, name, needs string) (installed, error) {
	in, ok := b.node[name]
	if !ok {
		in, in.err = b.bring(ctx, name, needs)
		if ctx.Err() != nil {
			return in, ctx.Err()
		}
		b.node[name] = in
	}
	return in, in.err
}

func (b *bench) bring(ctx context.Context, name, needs string) (in installed, err error) {
	if in.program, err = exec.LookPath("node"); err != nil {
		return in, fmt.Errorf("%s %w: Node.js is not installed", name, errMissing)
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return in, fmt.Errorf("%s %w: npm is not installed", name, errMissing)
	}
	in.dir = filepath.Join(b.base, "node-"+name)
	if err := os.Mkdir(in.dir, 0o700); err != nil {
		return in, fmt.Errorf("make a directory for %s: %w", name, err)
	}
	from := "node/" + name
	files, err := nodePeers.ReadDir(from)
	if err != nil {
		return in, fmt.Errorf("look for the program of %s: %w", name, err)
	}
	for _, f := range files {
		text, err := nodePeers.ReadFile(from + "/" + f.Name())
		if err == nil {
			err = os.WriteFile(filepath.Join(in.dir, f.Name()), text, 0o600)
		}
		if err != nil {
			return in, fmt.Errorf("copy the program of %s: %w", name, err)
		}
	}
	fmt.Fprintf(b.stderr, "bringing %s for Node\n", needs)
	ci := exec.CommandContext(ctx, npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error")
	ci.Dir = in.dir
	if _, err := ci.Output(); err != nil {
		return in, fmt.Errorf("%s %w: npm can't bring %s: %w", name, errMissing, needs, explained(err))
	}
	version, err := exec.CommandContext(ctx, in.program, "--version").Output()
	if err != nil {
		return in, fmt.Errorf("ask Node for its version: %w", explained(err))
	}
	var lock struct {
		Packages map[string]struct{ Version string }
	}
	text, err := nodePeers.ReadFile(from + "/package-lock.json")
	if err == nil {
		err = json.Unmarshal(text, &lock)
	}
	if err != nil {
		return in, fmt.Errorf("look for the version of %s: %w", needs, err)
	}
	in.version = fmt.Sprintf("(%s %s, Node %s)", needs, lock.Packages["node_modules/"+needs].Version, strings.TrimSpace(string(version)))
	b.versions[name] = in.version
	return in, nil
}

// hypercore runs the program for Hypercore.
func (b *bench) hypercore(ctx context.Context, args ...string) (*child, error) {
	in, err := b.install(ctx, "hypercore", "hypercore")
	if err != nil {
		return nil, err
	}
	return spawn(ctx, in.program, append([]string{filepath.Join(in.dir, "hypercore.mjs")}, args...)...)
}

// hypercorePuts has Hypercore append values to a core, which it doesn't sync.
func hypercorePuts(ctx context.Context, b *bench, dir string) (points []point, err error) {
	for _, writers := range workerCounts() {
		p, err := b.hypercoreAppends(ctx, filepath.Join(dir, fmt.Sprint(writers)), writers)
		if err != nil {
			return nil, err
		}
		points = append(points, p)
	}
	return points, nil
}

func (b *bench) hypercoreAppends(ctx context.Context, dir string, writers int) (p point, err error) {
	c, err := b.hypercore(ctx, "puts", dir, fmt.Sprint(writers), fmt.Sprint(b.warm().Seconds()), fmt.Sprint(b.length.Seconds()),
		fmt.Sprint(minValue), fmt.Sprint(maxValue))
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	var got struct{ Count, P50, P99 float64 }
	if err := c.tells(&got); err != nil {
		return p, err
	}
	return point{of: counted(writers, "writer"), rate: got.Count / b.length.Seconds(),
		figures: map[string]float64{"p50 us": got.P50, "p99 us": got.P99}}, nil
}
