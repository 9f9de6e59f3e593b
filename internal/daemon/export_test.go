package daemon

import "time"

// Disk is what watches the free space.
type Disk = disk

func NewDisk(reserve int64, space func(string) (size, free uint64, err error), now func() time.Time) *Disk {
	return &disk{path: "/somewhere", reserve: reserve, space: space, now: now}
}

func (d *disk) Look() (Usage, error) { return d.look() }

func (d *disk) Full() error { return d.full() }

// WithPort puts a port in place of each port 0.
func WithPort(listen []string, port int) []string { return withPort(listen, port) }

// Replace writes a file as the ports file is written.
func Replace(path string, content []byte) error { return replace(path, content) }

// OwnForks is the warnings about devices of this node's identity that forked.
func OwnForks(forks []Fork, said string, now time.Time) []Finding { return ownForks(forks, said, now) }
