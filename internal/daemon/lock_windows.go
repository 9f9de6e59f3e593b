package daemon

import (
	"os"

	"golang.org/x/sys/windows"
)

// lockFd takes a lock that ends with the process, however it ends.
func lockFd(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	// Far behind what is written, so that others can read who holds it.
	return windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{Offset: 1 << 20})
}

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
