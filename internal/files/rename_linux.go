package files

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func renameat(from *os.File, old string, to *os.File, name string, swap bool) error {
	flags := uint(unix.RENAME_NOREPLACE)
	if swap {
		flags = unix.RENAME_EXCHANGE
	}
	err := unix.Renameat2(int(from.Fd()), old, int(to.Fd()), name, flags)
	if err == unix.EINVAL { // what disks say that can't
		return errors.ErrUnsupported
	}
	return err
}
