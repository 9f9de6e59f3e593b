package peer

import "time"

const (
	// Messages shorter than this are not compressed: there is little to gain.
	minPacked = 128
	// Messages of at least this size are bulk: how fast they go matters, and
	// not only how many bytes they take.
	bulkSize = 16 << 10
	// sample is how much of a message is compressed to see whether to go on.
	sample = 32 << 10
	// Only after so many disappointments small messages are skipped.
	smallPatience = 3
)

// gauge decides which messages are compressed. Compressing incompressible data
// is pure cost; and even when it saves bytes, a fast network takes them in less
// time than it takes to squeeze them out (measured: zstd's fastest level makes
// 140 MB/s of what shrinks to a half, a loopback connection 300 to 900). So for
// bulk it compares the time that compressing took with the time that writing
// takes. For small messages it looks at the bytes alone, and it is patient: the
// first of a kind doesn't shrink, but those that repeat its ids and hashes do.
// Where it doesn't pay it tries again after 1, 2, 4 ... 64 messages.
type gauge struct {
	small, bulk pause
	speed       float64 // of writing bulk: ns per byte, a moving average, 0 when not known
}

// pause counts disappointments in a row, and the messages that are not tried
// because of them.
type pause struct{ failed, left int }

func (g *gauge) class(n int) *pause {
	if n >= bulkSize {
		return &g.bulk
	}
	return &g.small
}

// worth reports whether to try to compress a message of n bytes.
func (g *gauge) worth(n int) bool {
	p := g.class(n)
	switch {
	case n < minPacked:
		return false
	case p.left > 0:
		p.left--
		return false
	}
	return true
}

// pays hears that part of a message of n bytes was compressed to size bytes,
// and tells whether that was worth it.
func (g *gauge) pays(n, part, size int, took time.Duration) bool {
	p, saved, patience := g.class(n), part-size, smallPatience
	ok := saved*16 >= part
	if n >= bulkSize {
		patience = 0
		ok = ok && (g.speed == 0 || float64(took) < float64(saved)*g.speed)
	}
	if ok {
		*p = pause{}
		return true
	}
	p.failed++
	if over := p.failed - patience; over > 0 {
		p.left = 1 << min(over-1, 6)
	}
	return false
}

// wrote hears how long it took to write n bytes.
func (g *gauge) wrote(n int, took time.Duration) {
	if n < bulkSize {
		return
	}
	now := float64(took) / float64(n)
	if g.speed > 0 {
		now = g.speed + (now-g.speed)/4
	}
	g.speed = now
}
