package httpdoor

import (
	"net"
	"os"
	"syscall"
)

// ownsPeer reports whether the process at the other end of a unix socket runs
// as the user who runs this one, or as root. The socket's mode says who may
// connect; this says so again, should the mode have been changed.
func ownsPeer(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	owner := false
	err = raw.Control(func(fd uintptr) {
		cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		owner = err == nil && (int(cred.Uid) == os.Geteuid() || cred.Uid == 0)
	})
	return err == nil && owner
}
