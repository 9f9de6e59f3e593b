package wire

import (
	"encoding/binary"
	"strings"

	"github.com/sennit/sennit"
)

// Bounds of authority ops.
const (
	MaxCuts  = 1024 // logs in one revocation
	MaxGroup = 64   // bytes of a group's name
)

// Subject says whom a grant or revocation is about.
type Subject uint8

// The subjects.
const (
	SubjectAny    Subject = 1 // everybody
	SubjectSpace  Subject = 2 // a person, through any device
	SubjectDevice Subject = 3 // one device
	SubjectGroup  Subject = 4 // a group of the same space, by name
	SubjectBoard  Subject = 5 // the members of a board
	SubjectOp     Subject = 6 // revocations: one grant or member op
)

// Who is a subject.
//
//	subject u8 | nothing, 32 bytes, a name, or an op's ref
type Who struct {
	Subject Subject
	Key     [32]byte // space, device or board
	Group   string
	Op      OpRef
}

func (w Who) append(dst []byte) []byte {
	dst = append(dst, byte(w.Subject))
	switch w.Subject {
	case SubjectSpace, SubjectDevice, SubjectBoard:
		dst = append(dst, w.Key[:]...)
	case SubjectGroup:
		dst = appendBytes(dst, w.Group)
	case SubjectOp:
		dst = appendRef(dst, w.Op)
	}
	return dst
}

func (r *reader) who() (w Who) {
	w.Subject = Subject(r.u8())
	switch w.Subject {
	case SubjectAny:
	case SubjectSpace, SubjectDevice, SubjectBoard:
		w.Key = r.hash()
	case SubjectGroup:
		w.Group = r.group()
	case SubjectOp:
		w.Op = r.ref()
	default:
		r.fail("subject")
	}
	return w
}

// group reads a group's name: one path component.
func (r *reader) group() string {
	b := string(r.bytes(MaxGroup))
	if p, err := sennit.ParsePath(b); err != nil || p.Depth() != 1 || string(p) != b {
		r.fail("group name")
	}
	return b
}

// Grant is the body of a grant op: a rule. Its id is its op.
//
//	prefix path | who | may u8 | seal flag | where bytes | until u64 | limit uvarint
type Grant struct {
	Prefix sennit.Path
	Who    Who
	May    sennit.Rights
	Seal   bool   // grants at shorter prefixes end here
	Where  string // pattern under the prefix with "*" and "{self}" components; "" means everything
	Until  uint64 // milliseconds since 1970; 0 means no end
	Limit  uint64 // bytes that the subject may keep here; 0 means no limit of its own
}

// Append encodes the body.
func (g Grant) Append(dst []byte) []byte {
	dst = g.Who.append(appendBytes(dst, g.Prefix))
	dst = appendBytes(appendFlag(append(dst, byte(g.May)), g.Seal), g.Where)
	dst = binary.BigEndian.AppendUint64(dst, g.Until)
	return binary.AppendUvarint(dst, g.Limit)
}

// DecodeGrant decodes the body of a grant.
func DecodeGrant(b []byte) (Grant, error) {
	r := reader{b: b}
	g := Grant{Prefix: r.path(), Who: r.who()}
	g.May = sennit.Rights(r.u8())
	g.Seal = r.flag()
	g.Where = r.where()
	g.Until = r.u64()
	g.Limit = r.uvarint(1 << 62)
	if g.Who.Subject == SubjectOp || g.May&^sennit.AllRights != 0 || g.May == 0 && !g.Seal || g.Prefix.Reserved() {
		r.fail("grant")
	}
	return g, r.end("grant")
}

func (r *reader) where() string {
	w := string(r.bytes(sennit.MaxPath))
	plain := strings.Split(w, "/")
	for i, c := range plain {
		if c == "*" {
			plain[i] = "x"
		}
	}
	joined := strings.Join(plain, "/")
	if p, err := sennit.ParsePath(joined); err != nil || string(p) != joined {
		r.fail("pattern")
	}
	return w
}

// Cut is the last commit of one log that a revocation accepts.
type Cut struct {
	Log  sennit.Hash
	Seq  uint64
	Last sennit.Hash // id of that commit
}

// Revoke is the body of a revoke op: it takes back a grant, or a principal's
// rights under a prefix, but for what lies at or below the cuts. A log that is
// not listed is cut at 0.
//
//	who | prefix path | cuts list of (log hash, seq uvarint, commit hash), by log, no log twice
type Revoke struct {
	Who    Who
	Prefix sennit.Path
	Cuts   []Cut
}

// Append encodes the body.
func (v Revoke) Append(dst []byte) []byte {
	dst = appendBytes(v.Who.append(dst), v.Prefix)
	dst = binary.AppendUvarint(dst, uint64(len(v.Cuts)))
	for _, c := range v.Cuts {
		dst = binary.AppendUvarint(append(dst, c.Log[:]...), c.Seq)
		dst = append(dst, c.Last[:]...)
	}
	return dst
}

// DecodeRevoke decodes the body of a revocation.
func DecodeRevoke(b []byte) (Revoke, error) {
	r := reader{b: b}
	v := Revoke{Who: r.who(), Prefix: r.path()}
	n := r.count(MaxCuts, 65)
	for i := range n {
		c := Cut{r.hash(), r.uvarint(MaxSeq), r.hash()}
		if c.Seq == 0 || i > 0 && string(v.Cuts[i-1].Log[:]) >= string(c.Log[:]) {
			r.fail("cut")
		}
		if r.err != nil {
			break
		}
		v.Cuts = append(v.Cuts, c)
	}
	return v, r.end("revocation")
}

// Member is the body of a member op: who belongs to a group of this space.
//
//	group bytes | space hash
type Member struct {
	Group string
	Space sennit.Space
}

// Append encodes the body.
func (m Member) Append(dst []byte) []byte {
	return append(appendBytes(dst, m.Group), m.Space[:]...)
}

// DecodeMember decodes the body of a member op.
func DecodeMember(b []byte) (Member, error) {
	r := reader{b: b}
	m := Member{r.group(), sennit.Space(r.hash())}
	return m, r.end("member")
}
