package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// redisConns is how many connections the writers share. Few are about twice as
// fast as one for each of 256 writers, which costs Redis and this program a
// system call for every put.
const redisConns = 4

// startRedis runs redis-server on a unix socket, with a log that is synced
// before a write is acknowledged, and never written anew meanwhile.
func startRedis(ctx context.Context, dir string, writers int) (_ *running, err error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("redis %w: redis-server is not installed", errMissing)
	}
	// A socket's name has room for about 100 bytes, so it is not in dir.
	at, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the socket: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, errors.Join(err, os.RemoveAll(at))
	}
	socket, log := filepath.Join(at, "s"), filepath.Join(at, "log")
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, program, "--port", "0", "--unixsocket", socket, "--unixsocketperm", "700", "--daemonize", "no",
		"--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0", "--logfile", log)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, errors.Join(fmt.Errorf("start redis-server: %w", err), os.RemoveAll(at))
	}
	exited := make(chan struct{})
	var server sync.WaitGroup
	server.Go(func() {
		_ = cmd.Wait() // it was told to stop; if it ended before that, puts fail and its log says why
		close(exited)
	})
	var conns []*respConn
	stop := func() error {
		var err error
		for _, c := range conns {
			err = errors.Join(err, c.close())
		}
		cancel()
		server.Wait()
		return errors.Join(err, os.RemoveAll(at))
	}
	defer func() {
		if err != nil {
			said, _ := os.ReadFile(log)
			err = errors.Join(fmt.Errorf("%w; redis-server said: %s", err, said[max(0, len(said)-1000):]), stop())
		}
	}()
	for len(conns) < min(redisConns, writers) {
		c, err := dial(ctx, socket, exited)
		if err != nil {
			return nil, fmt.Errorf("connect to redis-server: %w", err)
		}
		conns = append(conns, dialed(c))
	}
	version, err := redisVersion(ctx, conns[0])
	if err != nil {
		return nil, err
	}
	return &running{
		version: version,
		put: func(ctx context.Context, writer int, key string, value []byte) error {
			_, err := conns[writer%len(conns)].do(ctx, "SET", key, value)
			return err
		},
		get: func(ctx context.Context, key string) ([]byte, error) {
			return conns[0].do(ctx, "GET", key, nil)
		},
		stop: stop,
	}, nil
}

// dial waits until redis-server listens.
func dial(ctx context.Context, socket string, exited <-chan struct{}) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			return c, nil
		}
		select {
		case <-again.C:
		case <-exited:
			return nil, errors.New("it has ended")
		case <-ctx.Done():
			return nil, err
		}
	}
}

// redisVersion asks for the version, and whether the log is really synced
// always.
func redisVersion(ctx context.Context, c *respConn) (string, error) {
	info, err := c.do(ctx, "INFO", "everything", nil)
	if err != nil {
		return "", fmt.Errorf("ask for its version: %w", err)
	}
	version, on := "", false
	for line := range strings.Lines(string(info)) {
		if v, ok := strings.CutPrefix(line, "redis_version:"); ok {
			version = strings.TrimSpace(v)
		}
		on = on || strings.TrimSpace(line) == "aof_enabled:1"
	}
	if version == "" || !on {
		return "", errors.New("redis-server doesn't keep a log")
	}
	return version, nil
}
