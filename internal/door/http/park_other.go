//go:build !unix

package httpdoor

import "syscall"

// canPark says that a socket can be asked to take what it takes at once. Where it
// can't, each subscriber has a goroutine.
const canPark = false

type attempt struct{}

func newAttempt() *attempt { return nil }

func (*attempt) write(syscall.RawConn, []byte) (int, error) { panic("nothing is parked here") }
func (*attempt) gone(syscall.RawConn) bool                  { panic("nothing is parked here") }
