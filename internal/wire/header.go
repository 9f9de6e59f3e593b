package wire

import (
	"encoding/binary"

	"github.com/sennit/sennit"
)

// Bounds of headers.
const (
	MaxAuth      = 64 // authority commits that an authority commit may name
	MaxDataAuth  = 4  // authority commits that a data commit may name, at least 1
	MaxSeq       = 1 << 48
	MaxHeaderLen = 256 + 32*MaxAuth
)

// Class separates the logs of data from those of authority.
type Class uint8

// The classes.
const (
	Data      Class = 1
	Authority Class = 2
)

// Log is the record whose SHA-256 is a log's id: one device's commits in one
// space, from one installation, of one class.
//
//	'L' 1 | space hash | principal hash | device key | class u8 | nonce 16 bytes
type Log struct {
	Space     sennit.Space  // where it writes
	Principal sennit.Space  // for whom
	Device    sennit.Device // the key that signs
	Class     Class
	Nonce     [16]byte // random: a new one for each data directory, and after each unclean stop
}

// LogLen is the length of an encoded [Log].
const LogLen = 2 + 32 + 32 + 32 + 1 + 16

// Bytes is the record's encoding.
func (l Log) Bytes() []byte {
	dst := append(make([]byte, 0, LogLen), tagLog, Format)
	dst = append(append(append(dst, l.Space[:]...), l.Principal[:]...), l.Device[:]...)
	return append(append(dst, byte(l.Class)), l.Nonce[:]...)
}

// ID is the log's id.
func (l Log) ID() sennit.Hash { return sum(l.Bytes()) }

// DecodeLog decodes a log record.
func DecodeLog(b []byte) (Log, error) {
	r := reader{b: b}
	l := r.log()
	return l, r.end("log record")
}

func (r *reader) log() (l Log) {
	r.tag(tagLog, "log record")
	l.Space, l.Principal, l.Device = sennit.Space(r.hash()), sennit.Space(r.hash()), sennit.Device(r.hash())
	l.Class = Class(r.u8())
	copy(l.Nonce[:], r.take(16))
	if l.Class != Data && l.Class != Authority {
		r.fail("log record")
	}
	return l
}

// Header is what a commit's id and signature cover.
//
//	'C' 1 | space hash | log hash | seq uvarint | past hash | clock u64 | auth list of hashes |
//	count uvarint | root hash
type Header struct {
	Space sennit.Space
	Log   sennit.Hash
	Seq   uint64        // 1 for the first commit of the log
	Past  sennit.Hash   // RFC 6962 tree head over the ids of commits 1 to Seq-1
	Clock uint64        // hybrid logical clock: milliseconds since 1970 << 16 | counter
	Auth  []sennit.Hash // authority commits that it relies on
	Count uint32        // ops
	Root  sennit.Hash   // RFC 6962 tree head over the encoded ops
}

// Append encodes the header.
func (h *Header) Append(dst []byte) []byte {
	dst = append(dst, tagHeader, Format)
	dst = append(append(dst, h.Space[:]...), h.Log[:]...)
	dst = append(binary.AppendUvarint(dst, h.Seq), h.Past[:]...)
	dst = binary.BigEndian.AppendUint64(dst, h.Clock)
	dst = appendHashes(dst, h.Auth)
	return append(binary.AppendUvarint(dst, uint64(h.Count)), h.Root[:]...)
}

// ID is the commit's id: SHA-256 of the encoded header.
func (h *Header) ID() sennit.Hash {
	var buf [512]byte
	return sum(h.Append(buf[:0]))
}

// DecodeHeader decodes a header.
func DecodeHeader(b []byte) (*Header, error) {
	if len(b) > MaxHeaderLen {
		return nil, malformed("header: too long")
	}
	r := reader{b: b}
	h := new(Header)
	r.tag(tagHeader, "header")
	h.Space, h.Log = sennit.Space(r.hash()), r.hash()
	h.Seq, h.Past, h.Clock = r.uvarint(MaxSeq), r.hash(), r.u64()
	h.Auth = r.hashes(MaxAuth)
	h.Count, h.Root = uint32(r.uvarint(sennit.MaxOps)), r.hash()
	if h.Seq == 0 || h.Count == 0 {
		r.fail("header")
	}
	return h, r.end("header")
}

// IDProof links a commit to a later header of its log: an RFC 6962 inclusion
// proof (section 2.1.1) of its id in the later header's past.
//
//	seq uvarint | size uvarint | nodes list of hashes
type IDProof struct {
	Seq   uint64 // of the commit that is proved
	Size  uint64 // commits in the tree: the later header's Seq - 1
	Nodes []sennit.Hash
}

// Append encodes the proof.
func (p IDProof) Append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, p.Seq)
	return appendHashes(binary.AppendUvarint(dst, p.Size), p.Nodes)
}

func (r *reader) idProof() IDProof {
	p := IDProof{r.uvarint(MaxSeq), r.uvarint(MaxSeq), r.hashes(64)}
	if p.Seq == 0 || p.Seq > p.Size {
		r.fail("id proof")
	}
	return p
}

// DecodeIDProof decodes an id proof.
func DecodeIDProof(b []byte) (IDProof, error) {
	r := reader{b: b}
	p := r.idProof()
	return p, r.end("id proof")
}

// ForkProof shows that a device signed two histories of one log: headers A and
// B, A not later than B, and, where A's seq is lower, the id of another commit
// at A's seq that B's past holds.
//
//	log record | A bytes | signature | B bytes | signature | other flag: id hash, id proof
type ForkProof struct {
	Log        Log
	A, B       *Header
	SigA, SigB [64]byte
	Other      sennit.Hash // commit in B's past at A's seq; zero if A and B have the same seq
	Proof      IDProof     // of Other in B's past
}

// Append encodes the proof.
func (f *ForkProof) Append(dst []byte) []byte {
	dst = append(dst, f.Log.Bytes()...)
	dst = append(appendBytes(dst, f.A.Append(nil)), f.SigA[:]...)
	dst = append(appendBytes(dst, f.B.Append(nil)), f.SigB[:]...)
	if f.A.Seq == f.B.Seq {
		return append(dst, 0)
	}
	return f.Proof.Append(append(append(dst, 1), f.Other[:]...))
}

// DecodeForkProof decodes a fork proof. Whether it proves anything is for
// package commit to say.
func DecodeForkProof(b []byte) (*ForkProof, error) {
	r := reader{b: b}
	f := r.forkProof()
	return f, r.end("fork proof")
}

func (r *reader) forkProof() *ForkProof {
	f := &ForkProof{Log: r.log()}
	f.A = r.header()
	copy(f.SigA[:], r.take(64))
	f.B = r.header()
	copy(f.SigB[:], r.take(64))
	if r.err == nil && f.A.Seq > f.B.Seq {
		r.fail("fork proof")
	}
	if other := r.flag(); r.err == nil && other {
		f.Other, f.Proof = r.hash(), r.idProof()
	}
	if r.err == nil && f.Proof.Size == 0 != (f.A.Seq == f.B.Seq) {
		r.fail("fork proof")
	}
	return f
}

func (r *reader) header() *Header {
	h, err := DecodeHeader(r.bytes(MaxHeaderLen))
	if err != nil && r.err == nil {
		r.stop(err)
	}
	return h
}
