//go:build unix

package httpdoor

import (
	"errors"
	"syscall"
)

// canPark says that a socket can be asked to take what it takes at once.
const canPark = true

// attempt tries things on sockets without waiting. It is for one goroutine.
type attempt struct {
	b    []byte
	n    int
	err  error
	put  func(fd uintptr) bool // made once
	take func(fd uintptr) bool
}

func newAttempt() *attempt {
	a := &attempt{}
	a.put = func(fd uintptr) bool {
		for a.n, a.err = syscall.Write(int(fd), a.b); errors.Is(a.err, syscall.EINTR); {
			a.n, a.err = syscall.Write(int(fd), a.b)
		}
		return true
	}
	a.take = func(fd uintptr) bool {
		var room [512]byte
		for range 8 { // what comes is of no use; who sends more than that is looked at again later
			if a.n, a.err = syscall.Read(int(fd), room[:]); a.err != nil || a.n == 0 {
				break
			}
		}
		return true
	}
	return a
}

// write writes as much as the socket takes.
func (a *attempt) write(raw syscall.RawConn, b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	a.b = b
	err = raw.Write(a.put)
	a.b = nil
	switch {
	case err != nil:
		return 0, err
	case errors.Is(a.err, syscall.EAGAIN):
		return 0, nil
	}
	return max(a.n, 0), a.err
}

// gone reports whether the other end was closed.
func (a *attempt) gone(raw syscall.RawConn) bool {
	if err := raw.Read(a.take); err != nil {
		return true
	}
	if a.err != nil {
		return !errors.Is(a.err, syscall.EAGAIN) && !errors.Is(a.err, syscall.EINTR)
	}
	return a.n == 0
}
