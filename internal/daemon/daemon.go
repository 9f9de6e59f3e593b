// Package daemon puts a node together and runs it: the only place where things
// are constructed and wired.
//
// Owns: configuration, the data directory, the order of starting and stopping,
// tokens, and the node's own resources under /_node/.
// Promises: what it started it stops, doors first and the store last, so that
// whatever was acknowledged is on disk and whatever was begun is finished or
// refused.
// Must not know: how anything works inside.
package daemon

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/blob"
	httpdoor "github.com/sennit/sennit/internal/door/http"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/peer"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/swarm"
	"github.com/sennit/sennit/web"
)

// syncProtocol is the name by which peers open a session.
const syncProtocol = "/sennit/sync/1"

// maxAheadClock is how far this machine's clock may be ahead of most peers'
// before writing is refused: everybody would hold back what it writes.
const maxAheadClock = 5 * time.Minute

// Ready says where a node that has started can be reached.
type Ready struct {
	Ready  bool     `json:"ready"`          // always true
	Space  string   `json:"space"`          // id of the node's space
	Device string   `json:"device"`         // id of this device
	HTTP   string   `json:"http,omitempty"` // origin of the HTTP door, if it is on
	Open   string   `json:"open,omitempty"` // URL of the page, with a key that works once
	Peer   []string `json:"peer"`           // multiaddrs for peers
	PID    int      `json:"pid"`            // process id
	Note   string   `json:"note,omitempty"` // what is not as asked for
	New    bool     `json:"new,omitempty"`  // the identity was made just now
}

// daemon is a node with everything around it.
type daemon struct {
	cfg   Config
	log   *slog.Logger
	begun time.Time

	dir   *Directory
	id    *keys.Identity
	store *store.Store
	blobs *blob.Store
	node  *node.Node
	host  *peer.Host
	rep   *replicate.Replicator
	swarm *swarm.Swarm
	door  *httpdoor.Door
	known knownTokens
	disk  *disk
	http  net.Listener // nil if off
	sock  net.Listener
	spawn func(func(context.Context)) // runs something as long as the network runs

	looking chan struct{} // has room for one who looks something up

	ready Ready // fixed before the doors open
}

// Run runs a node until ctx ends. It calls ready once everything is up, with the
// node as its owner sees it.
func Run(ctx context.Context, cfg Config, ready func(Ready, sennit.Bus)) (err error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = logger(cfg.Log)
	}
	if cfg.Fatal == nil {
		cfg.Fatal = fatal
	}
	d := &daemon{cfg: cfg, begun: cfg.Now(), log: cfg.Logger, looking: make(chan struct{}, 1)}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.open(); err != nil {
		return err
	}
	return d.serve(ctx, ready)
}

func logger(level string) *slog.Logger {
	var l slog.Level
	if l.UnmarshalText([]byte(level)) != nil {
		l = slog.LevelWarn
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
}

// open takes everything that may be refused: directory, ports, identity, store.
func (d *daemon) open() (err error) {
	if d.dir, err = OpenDirectory(d.cfg.Data); err != nil {
		return err
	}
	// Before an identity is made, which its owner would hear of only once.
	if err := d.listenLocal(); err != nil {
		return err
	}
	if d.id, d.ready.New, err = identity(d.cfg); err != nil {
		return err
	}
	reserve, err := ParseSize(d.cfg.Reserve)
	if err != nil {
		return err
	}
	d.disk = &disk{path: d.cfg.Data, reserve: reserve, space: diskSpace, now: time.Now}
	var g errgroup.Group
	g.Go(func() (err error) {
		d.store, err = store.Open(store.Config{Dir: filepath.Join(d.cfg.Data, storeDir), Fatal: d.cfg.Fatal})
		return err
	})
	g.Go(func() (err error) {
		d.blobs, err = blob.Open(blob.Config{Dir: filepath.Join(d.cfg.Data, blobsDir)})
		return err
	})
	g.Go(d.listenPeers)
	if err := g.Wait(); err != nil {
		return err
	}
	d.node, err = node.New(node.Config{
		Store: d.store, Identity: d.id, Blobs: d.blobs, Log: d.log, Now: d.cfg.Now, Full: d.disk.full, Ahead: d.ahead, Fetch: d.fetch,
	})
	if err != nil {
		return err
	}
	guests, err := d.cfg.guests()
	if err != nil {
		return err
	}
	d.rep, err = replicate.New(replicate.Config{
		Node: d.node, Identity: d.id, Self: replicate.Host(d.host.ID()), Dial: d.dial, Addrs: d.host.Addrs, Log: d.log, Now: d.cfg.Now,
		Hidden: d.cfg.Hidden == "on", Guests: guests,
	})
	if err != nil {
		return err
	}
	d.host.Serve(syncProtocol, func(ctx context.Context, c *peer.Conn) {
		if err := d.rep.Serve(ctx, conn{c}); err != nil {
			d.log.Debug("a peer's session ended", "peer", c.Remote(), "err", err)
		}
	})
	d.swarm, err = swarm.New(swarm.Config{Node: d.node, Sessions: d.rep, Dial: d.dialBlobs, Log: d.log, Full: d.disk.full})
	if err != nil {
		return err
	}
	d.host.Serve(swarm.Protocol, func(ctx context.Context, c *peer.Conn) {
		if err := d.swarm.Serve(ctx, conn{c}); err != nil {
			d.log.Debug("a peer's stream of blobs ended", "peer", c.Remote(), "err", err)
		}
	})
	secret, err := sessionSecret(d.id)
	if err != nil {
		return err
	}
	d.door, err = httpdoor.New(httpdoor.Config{
		Bus: d.bus, Tokens: d.tokens(), Node: d.control(), Page: web.Handler(), Ready: d.able, Origins: d.cfg.Origins, Secret: secret, Log: d.log,
	})
	return err
}

// sessionSecret is what the cookies of browser sessions are made with. It is
// derived and not stored, so that they survive a restart and nothing is
// written before the node runs.
func sessionSecret(id *keys.Identity) (secret [32]byte, err error) {
	b, err := hkdf.Key(sha256.New, id.Host().Seed(), nil, "sennit browser sessions", len(secret))
	if err != nil {
		return secret, sennit.Errorf(sennit.Internal, "derive the secret of browser sessions: %w", err)
	}
	return [32]byte(b), nil
}

// identity loads the identity of a data directory, or makes one.
func identity(cfg Config) (id *keys.Identity, fresh bool, err error) {
	id, err = keys.Load(cfg.Data)
	if sennit.CodeOf(err) != sennit.NotFound {
		return id, false, err
	}
	if store.Exists(nil, filepath.Join(cfg.Data, storeDir)) {
		return nil, false, sennit.Hint(sennit.Errorf(sennit.Internal, "the data directory %s has a store but no identity", cfg.Data),
			"put its keys directory back, from a backup")
	}
	id, err = keys.Create(cfg.Data, keys.Options{DeviceName: cfg.Name, Now: cfg.Now()})
	return id, true, err
}

// Init makes the identity of a data directory without running a node.
func Init(cfg Config) (*keys.Identity, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	dir, err := OpenDirectory(cfg.Data)
	if err != nil {
		return nil, err
	}
	id, fresh, err := identity(cfg)
	if err == nil && !fresh {
		err = sennit.Hint(sennit.Errorf(sennit.Conflict, "%s has an identity already: %s", cfg.Data, id.Space()), "start it: sennit up")
	}
	return id, errors.Join(err, dir.Close())
}

// fatal ends the process because the disk failed. Nothing can be put in order
// any more: a start finds the store as after a power failure.
func fatal(err error) {
	fmt.Fprintf(os.Stderr, "sennit: %v\nhint: %s\n", err, sennit.HintOf(err))
	os.Exit(sennit.CodeOf(err).Exit())
}

// ahead is why the node may not write of its own now. What others wrote, and
// records that nobody else sees, bear no time of this clock.
func (d *daemon) ahead() error {
	if d.rep == nil {
		return nil
	}
	if ahead := d.rep.Ahead(); ahead > maxAheadClock {
		return sennit.Hint(sennit.Errorf(sennit.ReadOnly, "this machine's clock is %s ahead of most peers', so nothing is written", ahead.Round(time.Second)),
			"set the clock; everybody would hold back what is written now")
	}
	return nil
}

// serve runs everything until ctx ends, and stops it in order: doors, network,
// engine.
func (d *daemon) serve(ctx context.Context, ready func(Ready, sennit.Bus)) error {
	engine, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	network, stopNetwork := context.WithCancel(context.WithoutCancel(ctx))
	doors, stopDoors := context.WithCancel(ctx)
	defer stopEngine()
	defer stopNetwork()
	defer stopDoors()

	d.announce()
	var eg, ng, dg errgroup.Group
	eg.Go(func() error { defer stopDoors(); return d.node.Run(engine) })
	d.spawn = func(f func(context.Context)) { ng.Go(func() error { f(network); return nil }) }
	ng.Go(func() error { defer stopDoors(); return d.host.Run(network) })
	ng.Go(func() error { return d.rep.Run(network) })
	ng.Go(func() error { return d.swarm.Run(network) })
	listeners := []net.Listener{d.sock}
	if d.http != nil {
		listeners = append(listeners, d.http)
	}
	dg.Go(func() error { defer stopDoors(); return d.door.Serve(doors, listeners...) })

	ready(d.ready, d.owner()) // the listeners take connections already
	dg.Go(func() error { d.report(doors); return nil })
	err := dg.Wait()
	stopNetwork()
	err = errors.Join(err, ng.Wait())
	stopEngine()
	return errors.Join(err, eg.Wait())
}

// announce gathers what the node says of itself once it is ready. It comes
// before the doors open, because they tell it too.
func (d *daemon) announce() {
	d.ready.Ready, d.ready.PID = true, os.Getpid()
	d.ready.Space, d.ready.Device = d.id.Space().String(), d.id.Device().String()
	d.ready.Peer = append([]string{}, d.host.Addrs()...)
	if d.http != nil {
		d.ready.HTTP = "http://" + d.http.Addr().String()
		d.ready.Open = d.page()
	}
}

// page is the URL that opens the page for the owner, once.
func (d *daemon) page() string { return d.ready.HTTP + "/?key=" + d.door.NewKey() }

// close frees what open took, last first.
func (d *daemon) close() error {
	var errs []error
	if d.sock != nil {
		errs = append(errs, ignoreClosed(d.sock.Close()))
		if err := os.Remove(Socket(d.cfg.Data)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fileError("remove the unix socket", err))
		}
	}
	if d.http != nil {
		errs = append(errs, ignoreClosed(d.http.Close()))
	}
	if d.host != nil {
		errs = append(errs, d.host.Close())
	}
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	if d.dir != nil {
		errs = append(errs, d.dir.Close())
	}
	return errors.Join(errs...)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// conn is a stream as package replicate wants it.
type conn struct{ *peer.Conn }

func (c conn) Host() replicate.Host { return replicate.Host(c.Remote()) }
func (c conn) Addr() string         { return c.RemoteAddr() }

func (d *daemon) dial(ctx context.Context, host replicate.Host, addrs []string) (replicate.Conn, error) {
	c, err := d.host.Dial(ctx, peer.ID(host), addrs, syncProtocol)
	if err != nil {
		return nil, err
	}
	return conn{c}, nil
}

// dialBlobs opens a stream for blobs, on the connection that the session uses.
func (d *daemon) dialBlobs(ctx context.Context, host replicate.Host) (swarm.Conn, error) {
	c, err := d.host.Dial(ctx, peer.ID(host), nil, swarm.Protocol)
	if err != nil {
		return nil, err
	}
	return conn{c}, nil
}

// fetch brings a blob for the node. Nobody reads before there is a swarm.
func (d *daemon) fetch(ctx context.Context, w node.Want) error { return d.swarm.Fetch(ctx, w) }

// nearby hears that the hosts on the local network changed.
func (d *daemon) nearby() {
	if d.rep != nil {
		d.rep.Wake()
	}
}

// owner is the node as its owner sees it.
func (d *daemon) owner() sennit.Bus { return lookingBus{d.node.Bus(d.node.Owner()), d} }

// bus is the node as a caller of the door sees it.
func (d *daemon) bus(c httpdoor.Caller) sennit.Bus {
	switch {
	case c.Owner():
		return d.owner()
	case c.Via != httpdoor.ByToken:
		return d.node.Bus(node.Caller{})
	}
	caller := node.Caller{Principal: c.Token.Who, Scope: []node.Scope{}}
	for _, p := range c.Token.Prefixes {
		if space, err := d.node.Resolve(p.Root); err == nil {
			caller.Scope = append(caller.Scope, node.Scope{Space: space, Prefix: p.Path, May: c.Token.May})
		}
	}
	if len(c.Token.Prefixes) == 0 {
		caller.Scope = append(caller.Scope, node.Scope{Everywhere: true, May: c.Token.May})
	}
	return d.node.Bus(caller)
}
