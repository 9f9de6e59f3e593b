// Package evil is peers that lie.
package evil

import "github.com/sennit/sennit/internal/replicate"

// Config says how to lie.
type Config struct {
	Seed  uint64
	First int
}

// Liar is a lying peer.
type Liar struct{}

// New makes a liar.
func New(c Config) *Liar { return &Liar{} }

// Wrap makes a connection lie.
func (l *Liar) Wrap(c replicate.Conn) replicate.Conn { return c }
