package main

import (
	"fmt"
	"syscall"
)

// serveFloor is the least that a server of events can do. It lets in those who
// join, and then writes an event to each of them whenever the last one who came
// says so. Nothing is between the loop and the kernel.
func serveFloor(ready func(addr string) error) error {
	l, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		err = syscall.Bind(l, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = syscall.Listen(l, crowdSize)
	}
	var at syscall.Sockaddr
	if err == nil {
		at, err = syscall.Getsockname(l)
	}
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err := ready(local(uint16(at.(*syscall.SockaddrInet4).Port)).String()); err != nil {
		return fmt.Errorf("say where it is: %w", err)
	}
	var crowd []plug
	for said := make([]byte, len(floorJoin)); ; {
		fd, _, err := syscall.Accept4(l, syscall.SOCK_CLOEXEC)
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		p := plug(fd)
		if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
			return fmt.Errorf("have a socket send at once: %w", err)
		}
		if _, err := p.read(said); err != nil {
			return err
		}
		if string(said) != floorJoin {
			return writeFloor(crowd, p)
		}
		crowd = append(crowd, p)
		if err := p.say([]byte(floorJoined)); err != nil {
			return err
		}
	}
}

// writeFloor ends with an error when whoever told it to write has gone.
func writeFloor(crowd []plug, boss plug) error {
	value, said := event("~"), make([]byte, len(floorGo))
	for {
		for _, p := range crowd {
			if err := p.say(value); err != nil {
				return err
			}
		}
		if err := boss.say([]byte(floorDone)); err != nil {
			return err
		}
		if _, err := boss.read(said); err != nil {
			return err
		}
	}
}
