package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// host is a process to which sockets are opened, on an empty directory.
type host struct {
	name, version string
	addr          netip.AddrPort
	talk          dialect
	keys          func(i int) string // the path of key number i, of one that speaks HTTP
	header        string             // of every request over HTTP
	proc          *child
}

// starter starts a server. stop of its process ends it.
type starter func(ctx context.Context, b *bench, dir string) (*host, error)

// nodeFlags make a node that is nobody else's business, on ports that are free.
func nodeFlags(dir, http string) []string {
	return []string{"up", "--data", dir, "--http", http, "--lan", "off", "--reserve", "0", "--json",
		"--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1"}
}

// sennitServer runs the sennit command, built from this tree.
func sennitServer(ctx context.Context, b *bench, dir string) (_ *host, err error) {
	program, err := b.sennit(ctx)
	if err != nil {
		return nil, err
	}
	c, err := spawn(ctx, program, nodeFlags(dir, "127.0.0.1:0")...)
	if err != nil {
		return nil, err
	}
	defer stopIfFailed(c, &err)
	var ready struct{ HTTP string }
	if err := c.tells(&ready); err != nil {
		return nil, err
	}
	addr, err := netip.ParseAddrPort(strings.TrimPrefix(ready.HTTP, "http://"))
	if err != nil {
		return nil, fmt.Errorf("where sennit listens: %w", err)
	}
	token, err := exec.CommandContext(ctx, program, "--data", dir, "token", "new", "--all").Output()
	if err != nil {
		return nil, fmt.Errorf("make a token: %w", explained(err))
	}
	text := strings.TrimSpace(string(token))
	return &host{
		name: "sennit", addr: addr, proc: c, talk: sennitDialect(text),
		keys: func(i int) string { return fmt.Sprintf("/me/bench/%d", i) }, header: "Authorization: Bearer " + text + "\r\n",
	}, nil
}

// braidServer runs the Braid server in node/braid.
func braidServer(ctx context.Context, b *bench, dir string) (_ *host, err error) {
	in, err := b.install(ctx, "braid", "braid-http")
	if err != nil {
		return nil, err
	}
	c, err := spawn(ctx, in.program, filepath.Join(in.dir, "server.mjs"), dir)
	if err != nil {
		return nil, err
	}
	defer stopIfFailed(c, &err)
	var ready struct{ Port uint16 }
	if err := c.tells(&ready); err != nil {
		return nil, err
	}
	return &host{
		name: "braid", addr: local(ready.Port), proc: c, talk: braidDialect(),
		keys: func(i int) string { return fmt.Sprintf("/bench/%d", i) },
	}, nil
}

// redisServer runs redis-server without a log, as is usual for its messages.
func redisServer(ctx context.Context, _ *bench, dir string) (*host, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	c, err := spawnRedis(ctx, "--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--dir", dir, "--appendonly", "no",
		"--maxclients", fmt.Sprint(idleCount+100), "--tcp-backlog", "511")
	if err != nil {
		return nil, err
	}
	h := &host{name: "redis", addr: local(port), proc: c, talk: redisDialect()}
	if said, err := exec.CommandContext(ctx, c.cmd.Path, "--version").Output(); err == nil {
		_, version, _ := strings.Cut(string(said), "v=")
		h.version, _, _ = strings.Cut(version, " ")
	}
	return h, nil
}

// freePort is one that nobody has just now: not all can be told to look for one.
func freePort() (uint16, error) {
	l, err := net.Listen("tcp4", local(0).String())
	if err != nil {
		return 0, fmt.Errorf("look for a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	return port, l.Close()
}

func natsServer(ctx context.Context, _ *bench, dir string) (*host, error) {
	return ownServer(ctx, "nats", dir, natsDialect())
}

func etcdServer(ctx context.Context, _ *bench, dir string) (*host, error) {
	return ownServer(ctx, "etcd", dir, etcdDialect())
}

func floorServer(ctx context.Context, _ *bench, dir string) (*host, error) {
	return ownServer(ctx, "floor", dir, floorDialect())
}

// ownServer runs this program as a server.
func ownServer(ctx context.Context, name, dir string, talk dialect) (_ *host, err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	c, err := spawn(ctx, program, serveWord, name, dir)
	if err != nil {
		return nil, err
	}
	defer stopIfFailed(c, &err)
	var ready serving
	if err := c.tells(&ready); err != nil {
		return nil, err
	}
	addr, err := netip.ParseAddrPort(ready.Addr)
	if err != nil {
		return nil, fmt.Errorf("where %s listens: %w", name, err)
	}
	return &host{name: name, version: ready.Version, addr: addr, proc: c, talk: talk}, nil
}

func local(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

func stopIfFailed(c *child, err *error) {
	if *err != nil {
		*err = errors.Join(*err, c.stop())
	}
}

// started starts a server, and notes its version.
func (b *bench) started(ctx context.Context, start starter, dir string) (*host, error) {
	s, err := start(ctx, b, dir)
	if err == nil && s.version != "" {
		b.versions[s.name] = s.version
	}
	return s, err
}
