package files

import (
	"os"

	"golang.org/x/sys/unix"
)

func renameat(from *os.File, old string, to *os.File, name string, swap bool) error {
	flags := uint32(unix.RENAME_EXCL)
	if swap {
		flags = unix.RENAME_SWAP
	}
	return unix.RenameatxNp(int(from.Fd()), old, int(to.Fd()), name, flags)
}
