package daemon

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/peer"
	"github.com/sennit/sennit/internal/prefix"
	"github.com/sennit/sennit/internal/replicate"
	"github.com/sennit/sennit/internal/store"
)

// This file is about reading in a space that isn't followed, and of which nothing
// is here: hosts that this node knows are asked. docs/decisions/looking-up.md
// says how, and why so.

// Bounds of looking something up.
const (
	lookTime  = 20 * time.Second
	lookQuiet = 3 * time.Second // in which a host opens the space, if it has it and lets this node read it
	lookBytes = 64 << 20        // that come, of which all are in memory
)

// lookingBus is the owner's bus. It looks up what Get, Open and List don't find
// because this node holds nothing of the space.
type lookingBus struct {
	sennit.Bus
	d *daemon
}

// Get implements [sennit.Bus].
func (b lookingBus) Get(ctx context.Context, a sennit.Addr) (n sennit.Node, err error) {
	n, err = b.Bus.Get(ctx, a)
	err = b.d.lookUp(ctx, a, err, func(bus sennit.Bus) (err error) {
		n, err = bus.Get(ctx, a)
		return err
	})
	return n, err
}

// List implements [sennit.Bus].
func (b lookingBus) List(ctx context.Context, a sennit.Addr, o sennit.Listing) (all []sennit.Entry, more bool, err error) {
	all, more, err = b.Bus.List(ctx, a, o)
	err = b.d.lookUp(ctx, a, err, func(bus sennit.Bus) (err error) {
		all, more, err = bus.List(ctx, a, o)
		return err
	})
	return all, more, err
}

// Open implements [sennit.Bus].
func (b lookingBus) Open(ctx context.Context, a sennit.Addr) (n sennit.Node, c sennit.Content, err error) {
	n, c, err = b.Bus.Open(ctx, a)
	err = b.d.lookUp(ctx, a, err, func(bus sennit.Bus) (err error) {
		var from sennit.Content
		if n, from, err = bus.Open(ctx, a); err != nil {
			if n.Value.Blob != nil {
				err = sennit.Hint(err, "follow the space to get values of more than 64 KiB: sennit follow")
			}
			return err
		}
		// What it is read from ends. It has no more bytes than came.
		size := len(n.Value.Data)
		if n.Value.Stream > 0 {
			size = int(n.Value.Stream)
		}
		here := make([]byte, size)
		if _, err = from.ReadAt(ctx, here, 0); size == 0 {
			err = nil
		}
		c = content{bytes.NewReader(here)}
		return errors.Join(err, from.Close())
	})
	return n, c, err
}

// content is a value in memory.
type content struct{ *bytes.Reader }

func (c content) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	return c.Reader.ReadAt(p, off)
}

func (content) Close() error { return nil }

// lookUp reads at an address whose space this node doesn't hold, if that is why
// nothing was found there.
func (d *daemon) lookUp(ctx context.Context, a sennit.Addr, found error, read func(sennit.Bus) error) error {
	if sennit.CodeOf(found) != sennit.NotFound {
		return found
	}
	space, err := d.node.Resolve(a.Root)
	if err != nil || d.node.Authority(space) != nil {
		return found
	}
	if keeps, err := d.node.Keeps(space); err != nil || len(keeps) > 0 {
		return found // it is on its way
	}
	hosts, err := d.acquaintances()
	switch {
	case err != nil:
		return err
	case len(hosts) == 0:
		return found // nobody to ask
	}
	select {
	case d.looking <- struct{}{}:
		defer func() { <-d.looking }()
	case <-ctx.Done():
		return sennit.Errorf(sennit.CodeOf(ctx.Err()), "looking up %s: %w", a, ctx.Err())
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	l, err := d.newLook(ctx)
	if err != nil {
		return err
	}
	err = l.run(ctx, node.Follow{Space: space, Mode: "live", Prefixes: prefix.Of(a.Path), Hosts: hosts}, read)
	return errors.Join(err, l.store.Close())
}

// acquaintances gives hosts that may have a space: those with a session first,
// then those through which others are followed.
func (d *daemon) acquaintances() (all []node.Host, err error) {
	sources, err := d.rep.Sources()
	if err != nil {
		return nil, err
	}
	peers := map[string]bool{}
	add := func(key string, addrs ...string) {
		i := slices.IndexFunc(all, func(h node.Host) bool { return h.Key == key })
		if i < 0 {
			i, all = len(all), append(all, node.Host{Key: key})
		}
		for _, a := range addrs {
			if len(all[i].Addrs) < peer.MaxAddrs && !slices.Contains(all[i].Addrs, a) {
				all[i].Addrs = append(all[i].Addrs, a)
			}
		}
	}
	for _, p := range d.rep.Peers() {
		key := replicate.HostText(p.Host)
		peers[key] = true
		add(key, p.Addr)
	}
	for _, known := range sources {
		for _, s := range known {
			if key := replicate.HostText(s.Host); s.Chosen || peers[key] {
				add(key, s.Addrs...)
			}
		}
	}
	return all[:min(len(all), node.MaxHosts)], nil
}

// look is a node in memory that lives as long as something is looked up. It has
// this node's identity, so that it may read what this node may, and a host key of
// its own, so that its sessions don't end those of this node.
type look struct {
	d     *daemon
	store *store.Store
	node  *node.Node
	host  *peer.Host
	rep   *replicate.Replicator
	left  atomic.Int64 // bytes that may still come
}

func (d *daemon) newLook(ctx context.Context) (l *look, err error) {
	l = &look{d: d}
	l.left.Store(lookBytes)
	if l.store, err = store.Open(store.Config{Dir: "look", FS: vfs.NewMem(), Fatal: d.cfg.Fatal}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.store.Close())
		}
	}()
	if l.node, err = node.New(node.Config{Store: l.store, Identity: d.id, Log: d.log, Now: d.cfg.Now, Ahead: d.ahead}); err != nil {
		return nil, err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, sennit.Errorf(sennit.Internal, "make a host key: %w", err)
	}
	l.host, err = peer.New(peer.Config{Key: key, Log: d.log})
	return l, err
}

// run fetches what a follow asks for, and has it read.
func (l *look) run(ctx context.Context, f node.Follow, read func(sennit.Bus) error) (err error) {
	l.rep, err = replicate.New(replicate.Config{
		Node: l.node, Identity: l.d.id, Self: replicate.Host(l.host.ID()), Dial: l.dial, Hidden: true, Only: f.Space,
		Log: l.d.log, Now: l.d.cfg.Now,
	})
	if err != nil {
		return errors.Join(err, l.host.Close())
	}
	engine, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	network, stopNetwork := context.WithCancel(context.WithoutCancel(ctx))
	var eg, ng sync.WaitGroup
	var failed, broken error
	eg.Go(func() { failed = l.node.Run(engine) })
	ng.Go(func() { broken = l.host.Run(network) })
	err = l.node.EditFollow(ctx, f.Space, func(have *node.Follow) { *have = f })
	if err == nil {
		ng.Go(func() { _ = l.rep.Run(network) }) // it has no error of its own
		err = l.wait(ctx, f)
	}
	if err == nil {
		err = read(l.node.Bus(l.node.Owner()))
	}
	stopNetwork()
	ng.Wait()
	stopEngine()
	eg.Wait()
	return errors.Join(err, failed, broken)
}

// wait returns when what is followed is here, as somebody has it.
func (l *look) wait(ctx context.Context, f node.Follow) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		asked, open := 0, false
		for _, p := range l.rep.Peers() {
			if l.d.cfg.Now().Sub(p.Since) > lookQuiet {
				asked++
			}
			for _, sp := range p.Spaces {
				if sp.Space == f.Space && sp.Synced && sp.Whole {
					return nil
				}
				open = open || sp.Space == f.Space
			}
		}
		if l.left.Load() < 0 {
			return sennit.Hint(sennit.Errorf(sennit.TooLarge, "what lies there has more than %d MiB", lookBytes>>20),
				"ask for less of it, or follow it: sennit follow SPACE --prefix PATH")
		}
		var unreachable error
		silent := asked
		for _, h := range f.Hosts {
			key, err := sennit.ParseDevice(h.Key)
			if err == nil {
				err = l.rep.Failure(replicate.Host(key))
			}
			if err != nil {
				silent++
				unreachable = err
			}
		}
		switch {
		case open || silent < len(f.Hosts):
		case asked == 0:
			return sennit.Hint(sennit.Errorf(sennit.Unreachable, "nobody whom this node knows can be reached to ask for /%s: %w", f.Space, unreachable),
				"try again later, or follow it at a node that has it: sennit follow SPACE --addr MULTIADDR")
		default:
			return sennit.Hint(sennit.Errorf(sennit.NotFound, "nobody whom this node knows has /%s, or lets it read there", f.Space),
				"follow it at a node that has it: sennit follow SPACE --addr MULTIADDR")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return sennit.Errorf(sennit.CodeOf(ctx.Err()), "looking up what lies in /%s: %w", f.Space, ctx.Err())
		}
	}
}

func (l *look) dial(ctx context.Context, host replicate.Host, addrs []string) (replicate.Conn, error) {
	c, err := l.host.Dial(ctx, peer.ID(host), addrs, syncProtocol)
	if err != nil {
		return nil, err
	}
	return metered{conn{c}, &l.left}, nil
}

// metered is a connection over which only so much may come.
type metered struct {
	conn
	left *atomic.Int64
}

func (m metered) Recv(ctx context.Context) ([]byte, error) {
	msg, err := m.conn.Recv(ctx)
	if err == nil && m.left.Add(-int64(len(msg))) < 0 {
		return nil, sennit.Errorf(sennit.TooLarge, "more came than was to be read")
	}
	return msg, err
}
