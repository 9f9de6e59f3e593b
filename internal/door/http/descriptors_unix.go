//go:build unix

package httpdoor

import (
	"math"
	"syscall"
)

// descriptors is how many files and connections the process may have open.
func descriptors() int {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 1024 // what it mostly is where nobody said otherwise
	}
	return int(min(uint64(l.Cur), math.MaxInt32))
}
