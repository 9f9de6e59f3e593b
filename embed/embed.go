// Package embed runs a node inside a program: its data, its identity, its peers
// and, if it is asked for, its doors, without a second process.
//
// Owns: the life of a node inside somebody else's program.
// Promises: nothing but the configuration decides what it does: neither
// SENNIT_* variables nor config.toml; it never writes to standard output, and
// doesn't end the process unless the disk fails; what was acknowledged is on disk
// when Close returns, and calls that are under way then fail with gone.
// Must not know: how anything works inside.
package embed

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/daemon"
)

// Config says how a node is to run. Only Data must be given.
type Config struct {
	// Data is the directory with all that the node has. It is made if it isn't
	// there, with a new identity. No other process may run on it.
	Data string

	// HTTP is the address of the HTTP door, such as "127.0.0.1:0". Default: none.
	// The unix socket in Data is served in any case, so that the sennit command
	// works on a running program.
	HTTP string

	// Listen are the multiaddrs at which peers reach the node. Default: QUIC
	// and TCP on all interfaces, on ports that stay the same.
	Listen []string

	// LAN has the node look for others on the local network, and be found there.
	LAN bool

	// Reserve is how many bytes of the disk stay free, such as "2GiB": with less
	// the node only reads. Default: 10 %, at least 1 GiB.
	Reserve string

	// Name is the device's name, for a new identity. Default: the host's name.
	Name string

	// Log gets what an operator would want to know. Default: nothing is logged.
	Log *slog.Logger

	// Fatal is called when the disk failed in a way that nobody can put in
	// order while the process runs, and must not return. Default: the process
	// ends with an error message.
	Fatal func(error)
}

// Node is a node that runs. Its methods are safe for concurrent use.
type Node struct {
	bus   sennit.Bus
	ready daemon.Ready
	stop  context.CancelFunc
	done  chan struct{}
	err   error // set before done is closed
}

// Open starts a node and waits until everything is up. ctx is only for that: the
// node runs until Close. A start that is given up is stopped first, which may
// take as long as the start.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	if cfg.Data == "" {
		return nil, sennit.Errorf(sennit.BadInput, "a node needs a directory for its data: set Config.Data")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := daemon.Config{
		Data: cfg.Data, HTTP: cfg.HTTP, Listen: cfg.Listen, LAN: "off", Reserve: cfg.Reserve, Name: cfg.Name,
		Logger: cfg.Log, Fatal: cfg.Fatal,
	}
	if c.HTTP == "" {
		c.HTTP = "off"
	}
	if cfg.LAN {
		c.LAN = "on"
	}
	if err := c.Complete(); err != nil {
		return nil, err
	}
	data, err := filepath.Abs(c.Data)
	if err != nil {
		return nil, sennit.Errorf(sennit.BadInput, "the directory %s: %w", c.Data, err)
	}
	c.Data = data
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	n := &Node{stop: stop, done: make(chan struct{})}
	up := make(chan struct{})
	go func() {
		defer close(n.done)
		n.err = daemon.Run(running, c, func(r daemon.Ready, bus sennit.Bus) {
			n.ready, n.bus = r, bus
			close(up)
		})
	}()
	select {
	case <-up:
		return n, nil
	case <-n.done:
		stop()
		return nil, n.err
	case <-ctx.Done():
		return nil, sennit.Errorf(sennit.CodeOf(ctx.Err()), "start the node on %s: %w", cfg.Data, errors.Join(ctx.Err(), n.Close()))
	}
}

// Bus is the node as its owner sees it.
func (n *Node) Bus() sennit.Bus { return n.bus }

// Space is the id of the owner's space.
func (n *Node) Space() string { return n.ready.Space }

// HTTP is the origin of the HTTP door, "" without one.
func (n *Node) HTTP() string { return n.ready.HTTP }

// Peer are the multiaddrs at which peers reach the node.
func (n *Node) Peer() []string { return n.ready.Peer }

// Done is closed when the node has stopped, also when it did so by itself.
func (n *Node) Done() <-chan struct{} { return n.done }

// Close stops the node and waits until it has. It returns the error with which
// the node ended, if there is one, and does no harm when called again.
func (n *Node) Close() error {
	n.stop()
	<-n.done
	return n.err
}

// Socket is where the node of a data directory can be reached by clients of
// this machine: client.Config.Socket.
func Socket(data string) string { return daemon.Socket(data) }
