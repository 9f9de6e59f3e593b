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
)

// redisConns is how many connections the writers share. Few are about twice as
// fast as one for each of 256 writers, which costs Redis and this program a
// system call for every put.
const redisConns = 4

// startRedis runs redis-server on a unix socket, with a log that is synced
// before a write is acknowledged, and never written anew meanwhile.
func startRedis(ctx context.Context, dir string, h how) (_ *running, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make its directory: %w", err)
	}
	// A socket's name has room for about 100 bytes, so it is not in dir.
	at, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the socket: %w", err)
	}
	socket := filepath.Join(at, "s")
	server, err := spawnRedis(ctx, "--port", "0", "--unixsocket", socket, "--unixsocketperm", "700",
		"--dir", dir, "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(at))
	}
	var conns []*respConn
	stop := func() error {
		var err error
		for _, c := range conns {
			err = errors.Join(err, c.close())
		}
		return errors.Join(err, server.stop(), os.RemoveAll(at))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, stop())
		}
	}()
	for len(conns) < min(redisConns, h.workers) {
		c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
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
		name:    "redis",
		version: version,
		put: func(ctx context.Context, writer int, key string, value []byte) error {
			_, err := conns[writer%len(conns)].do(ctx, "SET", key, value)
			return err
		},
		get: func(ctx context.Context, reader int, key string) ([]byte, error) {
			return conns[reader%len(conns)].do(ctx, "GET", key, nil)
		},
		stop: stop,
	}, nil
}

// spawnRedis starts redis-server and waits until it listens.
func spawnRedis(ctx context.Context, args ...string) (*child, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("redis %w: redis-server is not installed", errMissing)
	}
	c, err := spawn(ctx, program, append([]string{"--daemonize", "no", "--save", ""}, args...)...)
	if err != nil {
		return nil, err
	}
	if _, err := c.until("eady to accept connections"); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
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
