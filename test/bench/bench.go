package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// measurement is something that can be measured of several systems.
type measurement struct {
	name    string
	title   string
	unit    string   // of the rate: what ratios are of
	more    []string // other figures of a sample that are shown
	less    bool     // less of it is better
	floor   string   // a system that shows what can't be beaten; "" if there is none
	most    int      // rounds; 0: as many as are asked for
	systems []system
}

// system is how one system is measured once, in an empty directory.
type system struct {
	name    string
	measure func(ctx context.Context, b *bench, dir string) ([]point, error)
}

// point is one sample: what came out once, in one case of a measurement.
type point struct {
	of      string // the case, such as how many writers there are
	rate    float64
	figures map[string]float64
}

// measurements are all there are, in the order in which they are run.
func measurements() []measurement {
	return []measurement{
		{name: "puts", title: fmt.Sprintf("durable puts of %d-%d B in process (hypercore: in Node, and not durable)", minValue, maxValue),
			unit: "puts/s", more: []string{"p50 us", "p99 us", "x fdatasync"}, systems: []system{
				{"sennit", puts(startSennit)}, {"redis", puts(startRedis)}, {"nats", puts(startNATS)}, {"etcd", puts(startEtcd)},
				{"hypercore", hypercorePuts}, {"fdatasync", fdatasync},
			}},
		{name: "gets", title: fmt.Sprintf("gets of %d-%d B, of %d keys, in process", minValue, maxValue, keyCount),
			unit: "gets/s", more: []string{"p50 us", "p99 us"}, systems: []system{
				{"sennit", gets(startSennit)}, {"redis", gets(startRedis)}, {"nats", gets(startNATS)}, {"etcd", gets(startEtcd)},
			}},
		{name: "http", title: fmt.Sprintf("requests over HTTP, %d clients, values of %d-%d B; only sennit's puts are durable", clientCount, minValue, maxValue),
			unit: "requests/s", more: []string{"p50 us", "p99 us", "client cpu %"}, systems: []system{
				{"sennit", requests(sennitServer)}, {"braid", requests(braidServer)},
			}},
		{name: "fan", title: fmt.Sprintf("events of %d B to %d subscribers over TCP, put one at a time; only sennit's and etcd's are durable", eventSize, crowdSize),
			unit: "deliveries/s", more: []string{"client cpu %"}, floor: "floor", systems: []system{
				{"sennit", fan(sennitServer)}, {"redis", fan(redisServer)}, {"nats", fan(natsServer)}, {"etcd", fan(etcdServer)},
				{"braid", fan(braidServer)}, {"floor", fan(floorServer)},
			}},
		{name: "idle", title: fmt.Sprintf("memory of the server for an idle subscriber, of up to %d over TCP", idleCount),
			unit: "KB", less: true, most: 3, systems: []system{
				{"sennit", idle(sennitServer)}, {"redis", idle(redisServer)}, {"nats", idle(natsServer)}, {"etcd", idle(etcdServer)},
				{"braid", idle(braidServer)},
			}},
		{name: "sync", title: "a follower with nothing takes all values over loopback",
			unit: "values/s", more: []string{"values", "seconds", "B/value"}, most: 3, systems: []system{
				{"sennit", syncSennit}, {"hypercore", syncHypercore},
			}},
		{name: "reopen", title: "from start to ready, of a node with a full store",
			unit: "seconds", more: []string{"RSS MB", "store MB"}, less: true, systems: []system{{"sennit", reopen}}},
	}
}

func measurementNames() []string {
	var names []string
	for _, m := range measurements() {
		names = append(names, m.name)
	}
	return names
}

// systemNames are those of all systems, Sennit first.
func systemNames() []string {
	var names []string
	for _, m := range measurements() {
		for _, s := range m.systems {
			if !slices.Contains(names, s.name) {
				names = append(names, s.name)
			}
		}
	}
	return names
}

// bench is what measurements share.
type bench struct {
	options
	base     string // directory for what lasts as long as the run
	load     *load
	stderr   io.Writer
	versions map[string]string
	notes    []string // of the present measurement

	program string // the sennit command, once it is built
	node    map[string]installed
	full    string // the data directory that is reopened, once it is filled
}

func newBench(o options, base string, stderr io.Writer) *bench {
	return &bench{options: o, base: base, load: newLoad(), stderr: stderr, versions: map[string]string{}, node: map[string]installed{}}
}

// warm is how long a measurement goes on before it counts.
func (b *bench) warm() time.Duration { return time.Duration(float64(b.length) * warmUp) }

// chosen are the systems to be measured. What shows the floor is measured
// whoever else is.
func (b *bench) chosen(m measurement, skipped map[string]string) []system {
	return slices.DeleteFunc(slices.Clone(m.systems), func(s system) bool {
		return b.only != nil && !slices.Contains(b.only, s.name) && s.name != m.floor || skipped[m.name+" "+s.name] != ""
	})
}

// sennit builds the command once and tells where it is. It is the one of the
// module that this program was built with.
func (b *bench) sennit(ctx context.Context) (string, error) {
	if b.program != "" {
		return b.program, nil
	}
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sennit/sennit").Output()
	if err != nil {
		return "", fmt.Errorf("find the module of sennit, from its root or from test/bench: %w", explained(err))
	}
	program := filepath.Join(b.base, "sennit-program")
	build := exec.CommandContext(ctx, "go", "build", "-C", strings.TrimSpace(string(root)), "-trimpath", "-o", program, "./cmd/sennit")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if _, err := build.Output(); err != nil {
		return "", fmt.Errorf("build sennit: %w", explained(err))
	}
	b.program = program
	return program, nil
}

// explained adds what a command said when it failed.
func explained(err error) error {
	var failed *exec.ExitError
	if !errors.As(err, &failed) {
		return err
	}
	said := strings.TrimSpace(string(failed.Stderr))
	return fmt.Errorf("%w: %s", err, said[max(0, len(said)-1000):])
}
