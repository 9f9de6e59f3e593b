// Package e2e_test tries the whole: the program as people run it, two nodes on
// one machine, a browser before them, and processes that are killed.
//
// With -args -long it does what takes minutes: the whole series of kills, the
// minute of changes, a store with a million ops.
package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sennit/sennit/client"
	"github.com/sennit/sennit/internal/daemon"
)

var long = flag.Bool("long", false, "run the long series, and hold the figures to their goals")

// program builds the program once, as make does, and tells where it is.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sennit-e2e-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "sennit")
	build := exec.Command("go", "build", "-trimpath", "-o", path, "../../cmd/sennit")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	flag.Parse()
	path, err := program()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(filepath.Dir(path))
	os.Exit(code)
}

// wait bounds what should come soon. The machine may be busy.
const wait = time.Minute

// node is a data directory, and the process that runs on it if one does.
type node struct {
	t     testing.TB
	dir   string
	flags []string // of up, besides those that all have
	ready daemon.Ready

	cmd    *exec.Cmd // nil if none runs
	stderr *bytes.Buffer
	exited chan error
}

// loopback makes a node listen for peers on this machine only: tests are
// nobody else's business.
func loopback() []string {
	return []string{"--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--listen", "/ip4/127.0.0.1/tcp/0"}
}

// start makes a node on a new directory and starts it.
func start(t testing.TB) *node { t.Helper(); return startWith(t, loopback()...) }

func startWith(t testing.TB, flags ...string) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), flags: flags}
	n.up()
	t.Cleanup(func() {
		if n.cmd != nil {
			n.kill()
		}
		if t.Failed() {
			t.Logf("what the node on %s said:\n%s", n.dir, n.stderr)
		}
	})
	return n
}

// up starts the node and waits until it is ready.
func (n *node) up() {
	n.t.Helper()
	path, err := program()
	if err != nil {
		n.t.Fatal(err)
	}
	args := append([]string{"up", "--data", n.dir, "--http", "127.0.0.1:0", "--lan", "off", "--reserve", "0", "--json", "--log", "debug"}, n.flags...)
	n.cmd, n.stderr, n.exited = exec.Command(path, args...), new(bytes.Buffer), make(chan error, 1)
	n.cmd.Stderr = n.stderr
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		n.ready = daemon.Ready{}
		err = json.Unmarshal(line, &n.ready)
	}
	go func(cmd *exec.Cmd, exited chan error) { exited <- cmd.Wait() }(n.cmd, n.exited)
	if err != nil {
		<-n.exited
		n.cmd = nil
		n.t.Fatalf("the node did not start: %v\n%s", err, n.stderr)
	}
}

// kill ends the node as a power cut would end the process: nothing is said or
// saved.
func (n *node) kill() {
	n.t.Helper()
	if err := n.cmd.Process.Kill(); err != nil {
		n.t.Error(err)
	}
	<-n.exited
	n.cmd = nil
	n.sound()
}

// stop ends the node politely.
func (n *node) stop() {
	n.t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGINT); err != nil {
		n.t.Error(err)
	}
	select {
	case err := <-n.exited:
		if err != nil {
			n.t.Errorf("the node stopped with %v\n%s", err, n.stderr)
		}
	case <-time.After(wait):
		n.t.Errorf("the node does not stop")
		n.kill()
		return
	}
	n.cmd = nil
	n.sound()
}

func (n *node) sound() {
	if said := n.stderr.String(); strings.Contains(said, "panic:") || strings.Contains(said, "fatal error:") {
		n.t.Errorf("the node panicked:\n%s", said)
	}
}

// try runs a command on the node's directory.
func (n *node) try(args ...string) (out, errs string, exit int) {
	n.t.Helper()
	path, err := program()
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*wait)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"--data", n.dir}, args...)...)
	var o, e strings.Builder
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		n.t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// do runs a command that must succeed, and gives what it printed.
func (n *node) do(args ...string) string {
	n.t.Helper()
	out, errs, exit := n.try(args...)
	if exit != 0 {
		n.t.Fatalf("sennit %s: exit %d\n%s%s", strings.Join(args, " "), exit, out, errs)
	}
	return strings.TrimSpace(out)
}

// json runs a command that must succeed, and reads what it printed.
func (n *node) json(v any, args ...string) {
	n.t.Helper()
	if out := n.do(append(args, "--json")...); json.Unmarshal([]byte(out), v) != nil {
		n.t.Fatalf("sennit %s --json printed %q", strings.Join(args, " "), out)
	}
}

// client connects to the node's socket. It outlives restarts.
func (n *node) client() *client.Client {
	n.t.Helper()
	c, err := client.Dial(n.t.Context(), client.Config{Socket: daemon.Socket(n.dir)})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(c.Close)
	return c
}

// befriend lets b join a, whom it calls @a. Each follows the other then, and b
// is @b there.
func befriend(t testing.TB, a, b *node) {
	t.Helper()
	b.do("join", a.do("invite", "new"), "--name", "a")
	a.do("follow", b.ready.Space, "--name", "b")
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	tick, late := time.NewTicker(20*time.Millisecond), time.After(wait)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not within %v", what, wait)
		}
	}
}

// same waits until two nodes hold the same of each other's spaces.
func same(t testing.TB, a, b *node) {
	t.Helper()
	for _, space := range []string{a.ready.Space, b.ready.Space} {
		eventually(t, "both hold the same of "+space, func() bool {
			one, _, _ := a.try("digest", "/"+space)
			two, _, _ := b.try("digest", "/"+space)
			return one != "" && one == two
		})
	}
}
