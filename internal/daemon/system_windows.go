package daemon

import (
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// lock takes a lock that ends with the process, however it ends.
func lock(f *os.File) (taken bool, err error) {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	// Far behind what is written, so that others can read who holds it.
	err = windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{Offset: 1 << 20})
	return errors.Is(err, windows.ERROR_LOCK_VIOLATION), err
}

func notDirectory(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

func outOfSpace(err error) bool { return errors.Is(err, windows.ERROR_DISK_FULL) }

// diskSpace tells the bytes of a file system, and those of them that are free
// for this user.
func diskSpace(path string) (size, free uint64, err error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, 0, err
	}
	var avail, total uint64
	err = windows.GetDiskFreeSpaceEx(name, &avail, &total, nil)
	return total, avail, err
}

// listenSocket listens on a unix socket. Who may open it is up to the data
// directory's access list: a user's own files are closed to others.
func listenSocket(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", path)
}
