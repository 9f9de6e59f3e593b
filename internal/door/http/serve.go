package httpdoor

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"

	"github.com/sennit/sennit"
)

// Server makes the server of a door: HTTP/1 only, with a limit on everything
// that a client might draw out, and with the owner recognised on unix sockets.
// Serve a door with [Door.Serve], or with this where the end of subscriptions
// at a shutdown is seen to otherwise.
func (d *Door) Server() *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	l := &d.cfg.Limits
	return &http.Server{
		Handler:           d,
		ReadHeaderTimeout: l.ReadHeader,
		ReadTimeout:       l.Read,
		WriteTimeout:      l.Write,
		IdleTimeout:       l.Idle,
		MaxHeaderBytes:    l.Header,
		Protocols:         &protocols,
		ErrorLog:          slog.NewLogLogger(d.cfg.Log.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if sock, ok := c.(syscall.Conn); ok {
				ctx = context.WithValue(ctx, sockKey{}, sock)
			}
			if u, ok := c.(*net.UnixConn); ok {
				return context.WithValue(ctx, socketKey{}, peer{owner: ownsPeer(u)})
			}
			return ctx
		},
	}
}

// Serve serves the listeners until ctx ends or one of them fails, and closes
// them. At the end, subscriptions are ended first; other requests under way
// have [Limits.Drain] to finish.
func (d *Door) Serve(ctx context.Context, listeners ...net.Listener) error {
	srv := d.Server()
	lot := newLot(ctx, d)
	srv.BaseContext = func(net.Listener) context.Context {
		return context.WithValue(context.WithoutCancel(ctx), lotKey{}, lot)
	}
	failed := make(chan error, len(listeners))
	var wg sync.WaitGroup
	for _, l := range listeners {
		if tcp, ok := l.(*net.TCPListener); ok { // the owner, who comes by the socket, is never too many
			b := &boundedListener{TCPListener: tcp, refused: &d.stats.refused[http.StatusServiceUnavailable]}
			b.left.Store(int64(d.cfg.Limits.Conns))
			l = b
		}
		wg.Go(func() { failed <- srv.Serve(l) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = sennit.Errorf(sennit.Internal, "serving HTTP: %w", err)
	}
	lot.close()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.Limits.Drain)
	defer cancel()
	if e := srv.Shutdown(drain); errors.Is(e, context.DeadlineExceeded) {
		srv.Close() // who has not finished by now is cut off
	}
	wg.Wait()
	return err
}
