package wire

import (
	"encoding/binary"

	"github.com/sennit/sennit"
)

// Bounds of the messages by which a node gets what others still hold of a
// space's past.
const (
	MaxStretches   = 256     // stretches of logs, and logs, in one message
	MaxPastCommits = 1 << 14 // commits named in one message
	MaxLevel       = 12      // of a stretch: one of level 12 is a whole log
	maxBitmap      = sennit.MaxOps / 8
)

// Stretch is some commits of a log: those of which Index is seq-1 without its
// lowest 4 * Level bits.
type Stretch struct {
	Log   sennit.Hash
	Level uint8
	Index uint64
}

// Bounds tells the first and the last seq of the stretch.
func (s Stretch) Bounds() (first, last uint64) {
	return s.Index<<(4*s.Level) + 1, (s.Index + 1) << (4 * s.Level)
}

// OpSet is ops of one commit: the log's id is said elsewhere.
type OpSet struct {
	Seq uint64
	ID  [8]byte // beginning of the commit's id: a log that forked has several with one seq
	Ops []byte  // bit i%8 of byte i/8, from the lowest, stands for op i; the last byte isn't 0
}

// Past asks for what the receiver holds of the space's past: its logs, what is
// in some stretches, and ops. It is answered by [Held], after the ops.
//
//	tag | logs flag | after hash (if logs) | stretches list | wants list of (log hash, op set)
//	stretch: log hash | level u8 | index uvarint
//	op set: seq uvarint | id 8 bytes | ops bytes
type Past struct {
	Tag       Tag
	Logs      bool        // which logs there are,
	After     sennit.Hash // with greater ids
	Stretches []Stretch
	Wants     []WantedOps
}

// WantedOps is ops of a commit that are asked for.
type WantedOps struct {
	Log sennit.Hash
	OpSet
}

func (*Past) frame() FrameType { return FramePast }

func (p *Past) append(dst []byte) []byte {
	dst = appendFlag(append(dst, p.Tag[:]...), p.Logs)
	if p.Logs {
		dst = append(dst, p.After[:]...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(p.Stretches)))
	for _, s := range p.Stretches {
		dst = s.append(dst)
	}
	dst = binary.AppendUvarint(dst, uint64(len(p.Wants)))
	for _, w := range p.Wants {
		dst = w.OpSet.append(append(dst, w.Log[:]...))
	}
	return dst
}

func (s Stretch) append(dst []byte) []byte {
	return binary.AppendUvarint(append(append(dst, s.Log[:]...), s.Level), s.Index)
}

func (o *OpSet) append(dst []byte) []byte {
	return appendBytes(append(binary.AppendUvarint(dst, o.Seq), o.ID[:]...), o.Ops)
}

func (r *reader) past() *Past {
	p := &Past{Tag: r.tag8(), Logs: r.flag()}
	if p.Logs {
		p.After = r.hash()
	}
	for range r.count(MaxStretches, 34) {
		p.Stretches = append(p.Stretches, r.stretch())
	}
	for range r.count(MaxStretches, 43) {
		p.Wants = append(p.Wants, WantedOps{r.hash(), r.opSet()})
	}
	return p
}

func (r *reader) stretch() Stretch {
	s := Stretch{Log: r.hash(), Level: r.u8()}
	if s.Level > MaxLevel {
		r.fail("a stretch longer than a log")
		return s
	}
	s.Index = r.uvarint((MaxSeq - 1) >> (4 * s.Level))
	return s
}

func (r *reader) opSet() OpSet {
	o := OpSet{Seq: r.uvarint(MaxSeq), ID: [8]byte(r.tag8()), Ops: r.bytes(maxBitmap)}
	if r.err == nil && (o.Seq == 0 || len(o.Ops) == 0 || o.Ops[len(o.Ops)-1] == 0) {
		r.fail("a set of no ops")
	}
	return o
}

// Held answers [Past]: which logs there are, and what is in the stretches that
// were asked for, perhaps not of all of them. What the receiver may not read is
// left out as if it weren't there.
//
//	tag | more flag | logs list of (stretch, print 8 bytes), by log | stretches list
//	stretch: stretch | kind u8 | by kind
//	  parts 1: bitmap 2 bytes | a print of 8 bytes for each bit
//	  commits 2: op sets list, by seq and id
type Held struct {
	Tag       Tag
	More      bool // there are logs behind the last one
	Logs      []HeldLog
	Stretches []HeldStretch
}

// HeldLog is all that is held of a log.
type HeldLog struct {
	Stretch         // the shortest from the log's beginning on that it lies in: its index is 0
	Print   [8]byte // see [HeldStretch]
}

// HeldStretch is what is held of a stretch: of each of its 16 parts a print, or
// all commits if they are few. A print is the sum of the prints of the commits,
// modulo 2^64, big-endian: of each the first 8 bytes of SHA-256(tag | id | ops),
// with its whole id and the ops as in [OpSet]. The tag is of the session, so that
// nobody can write commits whose prints cancel each other out.
type HeldStretch struct {
	Stretch
	Parts   map[uint8][8]byte // nil if it has commits
	Commits []OpSet
}

// Kinds of held stretches.
const (
	heldParts   = 1
	heldCommits = 2
)

func (*Held) frame() FrameType { return FrameHeld }

func (h *Held) append(dst []byte) []byte {
	dst = appendFlag(append(dst, h.Tag[:]...), h.More)
	dst = binary.AppendUvarint(dst, uint64(len(h.Logs)))
	for _, l := range h.Logs {
		dst = append(l.Stretch.append(dst), l.Print[:]...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(h.Stretches)))
	for i := range h.Stretches {
		dst = h.Stretches[i].append(dst)
	}
	return dst
}

func (s *HeldStretch) append(dst []byte) []byte {
	dst = s.Stretch.append(dst)
	if s.Parts == nil {
		dst = binary.AppendUvarint(append(dst, heldCommits), uint64(len(s.Commits)))
		for i := range s.Commits {
			dst = s.Commits[i].append(dst)
		}
		return dst
	}
	var bitmap [2]byte
	for k := range s.Parts {
		bitmap[k/8] |= 1 << (k % 8)
	}
	dst = append(append(dst, heldParts), bitmap[:]...)
	for k := range uint8(16) {
		if print, ok := s.Parts[k]; ok {
			dst = append(dst, print[:]...)
		}
	}
	return dst
}

func (r *reader) held() *Held {
	h := &Held{Tag: r.tag8(), More: r.flag()}
	for i := range r.count(MaxStretches, 42) {
		l := HeldLog{r.stretch(), [8]byte(r.tag8())}
		if l.Index != 0 || i > 0 && string(h.Logs[i-1].Log[:]) >= string(l.Log[:]) {
			r.fail("logs out of order")
			return h
		}
		h.Logs = append(h.Logs, l)
	}
	commits := MaxPastCommits
	for range r.count(MaxStretches, 36) {
		s := HeldStretch{Stretch: r.stretch()}
		switch r.u8() {
		case heldParts:
			s.Parts = r.parts16(s.Level)
		case heldCommits:
			n := r.count(commits, 11)
			commits -= n
			s.Commits = r.opSets(s.Stretch, n)
		default:
			r.fail("a held stretch of no kind")
		}
		if r.err != nil {
			return h
		}
		h.Stretches = append(h.Stretches, s)
	}
	return h
}

// parts16 reads prints of the parts of a stretch.
func (r *reader) parts16(level uint8) map[uint8][8]byte {
	bitmap := r.take(2)
	if r.err != nil || level == 0 || bitmap[0]|bitmap[1] == 0 {
		r.fail("a stretch without parts")
		return nil
	}
	parts := map[uint8][8]byte{}
	for k := range uint8(16) {
		if bitmap[k/8]>>(k%8)&1 == 1 {
			parts[k] = r.tag8()
		}
	}
	return parts
}

// opSets reads the commits of a stretch.
func (r *reader) opSets(in Stretch, n int) (all []OpSet) {
	first, last := in.Bounds()
	for i := range n {
		o := r.opSet()
		if r.err == nil && (o.Seq < first || o.Seq > last) {
			r.fail("a commit outside its stretch")
		}
		if i > 0 && (o.Seq < all[i-1].Seq || o.Seq == all[i-1].Seq && string(o.ID[:]) <= string(all[i-1].ID[:])) {
			r.fail("commits out of order")
		}
		if r.err != nil {
			return nil
		}
		all = append(all, o)
	}
	return all
}
