package tree

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/sennit/sennit"
)

// Any number of ops can be live in slots Append and Other of one path. Were
// they hashed with the path's own ops, each byte that a stream grows by would
// cost a hash of the whole list of names, and a comparison would have to list
// it. So the digest trie has them beneath the path: in a directory whose name
// no component has, in one child for each clock. One change there costs what
// one in a directory of as many values costs.
//
//	path / 0x01 / the ops' clock, 16 hexadecimal digits
const moments = "\x01"

// Moments is the directory of the trie in which the ops of a path's slots
// Append and Other are.
func Moments(p sennit.Path) sennit.Path { return p.Join(moments) }

// Moment is the path of the trie at which those of them are that have a clock.
func Moment(p sennit.Path, clock uint64) sennit.Path {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], clock)
	return p.Join(sennit.Path(moments + "/" + hex.EncodeToString(b[:])))
}

// OfMoment tells whether a path of the trie is that of a [Moment], and of
// which path and clock. For the directory of [Moments] clock is 0.
func OfMoment(at sennit.Path) (p sennit.Path, clock uint64, ok bool) {
	dir, tail := at, ""
	if dir.Base() != moments {
		dir, tail = at.Parent(), at.Base()
		if dir.Base() != moments {
			return "", 0, false
		}
		b, err := hex.DecodeString(tail)
		if err != nil || len(b) != 8 || strings.ToLower(tail) != tail {
			return "", 0, false
		}
		clock = binary.BigEndian.Uint64(b)
	}
	return dir.Parent(), clock, true
}
