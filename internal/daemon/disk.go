package daemon

import (
	"sync"
	"time"

	"github.com/sennit/sennit"
)

// leastReserve stays free whatever was asked for. A store that can't write to
// its log has to end at once, so there is room for what may be written between
// two looks, and for the tables that the store merges meanwhile.
const leastReserve = 64 << 20

// lookEvery is how long what is known of the disk is good enough.
const lookEvery = 100 * time.Millisecond

// disk watches that some of the file system stays free. Once there is less
// than the reserve, the node only reads, until there is more again.
type disk struct {
	path    string
	reserve int64 // bytes, as asked for; -1: the larger of 1 GiB and 10 % of the file system
	space   func(path string) (size, free uint64, err error)
	now     func() time.Time

	mu     sync.Mutex // guards what follows
	looked time.Time
	usage  Usage
	err    error
}

// Usage is how full the file system is that holds the data directory.
type Usage struct {
	Size    uint64 `json:"size"`    // bytes
	Free    uint64 `json:"free"`    // bytes that this user may fill
	Reserve uint64 `json:"reserve"` // bytes that are to stay free
	Full    bool   `json:"full"`    // less is free, so that nothing is written
}

// full is why nothing may be written, nil if there is room.
func (d *disk) full() error {
	_, err := d.look()
	return err
}

// look tells what is known. It is asked before each group commit, and those
// have about 1 MiB. While one caller looks the others get what was known.
func (d *disk) look() (Usage, error) {
	now := d.now()
	d.mu.Lock()
	usage, err := d.usage, d.err
	due := d.looked.IsZero() || now.Sub(d.looked) >= lookEvery || now.Before(d.looked)
	if due {
		d.looked = now
	}
	d.mu.Unlock()
	if !due {
		return usage, err
	}
	usage, err = d.measure()
	d.mu.Lock()
	d.usage, d.err = usage, err
	d.mu.Unlock()
	return usage, err
}

func (d *disk) measure() (Usage, error) {
	size, free, err := d.space(d.path)
	if err != nil {
		return Usage{}, sennit.Errorf(sennit.Internal, "ask how full the disk is: %w", err)
	}
	u := Usage{Size: size, Free: free, Reserve: max(1<<30, size/10)}
	if d.reserve >= 0 {
		u.Reserve = max(uint64(d.reserve), leastReserve)
	}
	if u.Full = free < u.Reserve; !u.Full {
		return u, nil
	}
	hint := "make room"
	if u.Reserve > leastReserve {
		hint = "make room, or lower the reserve: --reserve 500MB"
	}
	return u, sennit.Hint(sennit.Errorf(sennit.ReadOnly, "the disk is nearly full: %d MB are free and %d MB are to stay free, so nothing is written", free/1e6, u.Reserve/1e6), hint)
}
