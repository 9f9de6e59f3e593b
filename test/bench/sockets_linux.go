package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"
)

// plug is a connection of which this process holds nothing but the number:
// whoever has thousands of them must not be what is measured.
type plug int

func connect(to netip.AddrPort) (plug, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("make a socket: %w", err)
	}
	err = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: int64(patience.Seconds())})
	if err == nil {
		err = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	}
	if err == nil {
		err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("connect to %s: %w", to, err), syscall.Close(fd))
	}
	return plug(fd), nil
}

func (p plug) close() error { return syscall.Close(int(p)) }

func (p plug) say(b []byte) error {
	for len(b) > 0 {
		n, err := syscall.Write(int(p), b)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("write to a socket: %w", err)
		}
		b = b[max(n, 0):]
	}
	return nil
}

// read reads what is there, or the first that comes.
func (p plug) read(room []byte) (int, error) {
	for {
		n, err := syscall.Read(int(p), room)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, fmt.Errorf("read from a socket: %w", err)
		case n == 0:
			return 0, errors.New("the server hung up")
		default:
			return n, nil
		}
	}
}

// hear reads until something was said.
func (p plug) hear(text string) error {
	var heard []byte
	var room [4096]byte
	for !bytes.Contains(heard, []byte(text)) {
		n, err := p.read(room[:])
		if err != nil {
			return fmt.Errorf("wait for %q, after %.300q: %w", text, heard, err)
		}
		heard = append(heard, room[:n]...)
	}
	return nil
}

// plugs are connections that are waited for together, by one thread.
type plugs struct {
	poll   int
	all    []plug
	events []syscall.EpollEvent
}

func newPlugs() (*plugs, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an epoll: %w", err)
	}
	return &plugs{poll: fd, events: make([]syscall.EpollEvent, 256)}, nil
}

// add opens one more connection. Its place is what next says of it.
func (p *plugs) add(to netip.AddrPort) (plug, error) {
	one, err := connect(to)
	if err != nil {
		return 0, err
	}
	e := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(len(p.all))}
	p.all = append(p.all, one)
	if err := syscall.EpollCtl(p.poll, syscall.EPOLL_CTL_ADD, int(one), &e); err != nil {
		return 0, fmt.Errorf("add to an epoll: %w", err)
	}
	return one, nil
}

// next waits until something can be read, and calls with the place of each
// connection of which that is so.
func (p *plugs) next(ctx context.Context, ready func(place int) error) error {
	for begin := time.Now(); ; {
		n, err := syscall.EpollWait(p.poll, p.events, 100)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("wait for sockets: %w", err)
		}
		for _, e := range p.events[:max(n, 0)] {
			if err := ready(int(e.Fd)); err != nil {
				return err
			}
		}
		if n > 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Since(begin) > patience {
			return fmt.Errorf("nothing came for %s", patience)
		}
	}
}

func (p *plugs) close() error {
	err := syscall.Close(p.poll)
	for _, one := range p.all {
		err = errors.Join(err, one.close())
	}
	return err
}

// processor is the processor time that this process took so far.
func processor() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
