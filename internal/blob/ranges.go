package blob

import (
	"encoding/binary"
	"slices"
	"sort"

	"lukechampine.com/blake3"

	"github.com/sennit/sennit"
)

// ranges is a set of pieces: sorted, and none touches the next. What is kept
// grows with what is here and not with what a blob claims to be.
type ranges []Range

// from is the index of the first range that ends after piece i.
func (s ranges) from(i uint64) int {
	return sort.Search(len(s), func(k int) bool { return s[k].End > i })
}

// meets reports whether any piece of r is in s.
func (s ranges) meets(r Range) bool {
	k := s.from(r.First)
	return k < len(s) && s[k].First < r.End
}

// covers reports whether all pieces of r are in s.
func (s ranges) covers(r Range) bool {
	k := s.from(r.First)
	return k < len(s) && s[k].First <= r.First && s[k].End >= r.End
}

// count is the number of pieces in s.
func (s ranges) count() (n uint64) {
	for _, r := range s {
		n += r.len()
	}
	return n
}

// add puts the pieces of r into s, and returns it as append does.
func (s ranges) add(r Range) ranges {
	i := sort.Search(len(s), func(k int) bool { return s[k].End >= r.First })
	j := sort.Search(len(s), func(k int) bool { return s[k].First > r.End })
	if i < j {
		r.First, r.End = min(r.First, s[i].First), max(r.End, s[j-1].End)
	}
	return slices.Replace(s, i, j, r)
}

// gaps lists at most limit ranges that are in within and not in s.
func (s ranges) gaps(within Range, limit int) []Range {
	var out []Range
	at := within.First
	for _, r := range s[s.from(at):] {
		if r.First >= within.End || len(out) >= limit {
			break
		}
		if r.First > at {
			out = append(out, Range{at, r.First})
		}
		at = r.End
	}
	if at < within.End && len(out) < limit {
		out = append(out, Range{at, within.End})
	}
	return out
}

// encode gives the content of a file of pieces: first and end of every range as
// big-endian u64, then the BLAKE3 hash of that.
func (s ranges) encode() []byte {
	b := make([]byte, 0, 16*len(s)+32)
	for _, r := range s {
		b = binary.BigEndian.AppendUint64(b, r.First)
		b = binary.BigEndian.AppendUint64(b, r.End)
	}
	sum := blake3.Sum256(b)
	return append(b, sum[:]...)
}

// decodeRanges reads what encode gives, for a blob.
func decodeRanges(ref sennit.Blob, b []byte) (s ranges, ok bool) {
	n := len(b) - 32
	if n < 0 || n%16 != 0 || blake3.Sum256(b[:n]) != [32]byte(b[n:]) {
		return nil, false
	}
	for ; n > 0; n -= 16 {
		r := Range{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
		if r.First >= r.End || r.End > pieces(ref).End || len(s) > 0 && r.First <= s[len(s)-1].End {
			return nil, false
		}
		s = append(s, r)
		b = b[16:]
	}
	return s, true
}
