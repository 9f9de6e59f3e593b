package wire

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/sennit/sennit"
)

// Bounds of the replication protocol's messages. A message that exceeds one
// ends the session.
const (
	Protocol      = 1       // version of the replication protocol
	MaxInterests  = 4096    // spaces named in one message
	MaxScope      = 256     // prefixes of one space in one session, readable or of interest
	MaxNewest     = 1024    // values that a newcomer can ask for first
	MaxFrameLogs  = 4096    // logs introduced in one message
	MaxFrameRuns  = 4096    // runs in one message
	MaxHeads      = 1024    // authority heads named in one message
	MaxItems      = 1024    // nodes compared in one message
	MaxPrints     = 1 << 16 // fingerprints in one message
	MaxFrame      = 2 << 20 // bytes of one message
	maxEvidences  = 1 << 14 // principals that evidence comes for in one message
	evidenceMin   = 60      // bytes of the shortest evidence, with its length
	maxAddrs      = 8
	maxAddr       = 256 // bytes of one address
	maxNibbles    = 64
	maxCode       = 32  // bytes of an error's code
	maxProblem    = 512 // bytes of an error's text
	fingerprint   = 4   // bytes that stand for a node's hash
	opFingerprint = 5   // bytes that stand for a path's live ops
)

// FrameType is the first byte of a message between two nodes.
type FrameType uint8

// The messages. Every message starts with its type and the number of messages
// that its sender sent before in this session, so that a transport that loses,
// repeats or reorders can't make a session go on with a part of it.
const (
	FrameHello     FrameType = 1
	FrameInterest  FrameType = 2
	FrameOpen      FrameType = 3
	FrameAuthority FrameType = 4
	FrameOps       FrameType = 5
	FrameCompare   FrameType = 6
	FrameWant      FrameType = 7
	FrameNeed      FrameType = 8
	FrameAck       FrameType = 9
	FramePing      FrameType = 10
	FrameAsk       FrameType = 11
	FrameEvidence  FrameType = 12
	FrameRedeem    FrameType = 13
	FrameWelcome   FrameType = 14
	FrameProblem   FrameType = 15
	FrameAddrs     FrameType = 16
	FrameLive      FrameType = 17
	FrameSources   FrameType = 18
	FrameFork      FrameType = 19
	FramePast      FrameType = 20
	FrameHeld      FrameType = 21
)

// Frame is one message of the replication protocol.
//
//	type u8 | number uvarint | body by type
type Frame interface {
	frame() FrameType
	append(dst []byte) []byte
}

// AppendFrame encodes a message.
func AppendFrame(dst []byte, number uint64, f Frame) []byte {
	return f.append(binary.AppendUvarint(append(dst, byte(f.frame())), number))
}

// DecodeFrame decodes a message. It aliases b.
func DecodeFrame(b []byte) (number uint64, f Frame, err error) {
	if len(b) > MaxFrame {
		return 0, nil, malformed("message: too long")
	}
	r := reader{b: b}
	t := FrameType(r.u8())
	number = r.uvarint(1 << 62)
	switch t {
	case FrameHello:
		f = r.hello()
	case FrameInterest:
		f = &Interest{r.interests()}
	case FrameOpen:
		f = r.open()
	case FrameAuthority:
		f = r.authority()
	case FrameOps:
		f = r.ops()
	case FrameCompare:
		f = r.compare()
	case FrameWant:
		f = r.want()
	case FrameNeed:
		f = &Need{Tag: r.tag8(), Log: r.hash(), Size: r.uvarint(MaxSeq)}
	case FrameAck:
		f = &Ack{Tag: r.tag8(), N: r.uvarint(1 << 62)}
	case FramePing:
		f = &Ping{Answer: r.flag()}
	case FrameAsk:
		f = &Ask{}
	case FrameEvidence:
		f = &EvidenceFrame{Evidence: r.someEvidence()}
	case FrameRedeem:
		f = r.redeemFrame()
	case FrameWelcome:
		f = &Welcome{Evidence: r.someEvidence()}
	case FrameAddrs:
		f = &Addrs{r.addrs(maxAddrs)}
	case FrameLive:
		f = r.live()
	case FrameSources:
		f = r.sources()
	case FrameFork:
		f = &ForkFrame{Tag: r.tag8(), Proof: r.forkProof()}
	case FramePast:
		f = r.past()
	case FrameHeld:
		f = r.held()
	case FrameProblem:
		f = r.problem()
	default:
		r.fail("message: unknown type")
	}
	return number, f, r.end("message")
}

// someEvidence reads evidence that ends a message.
func (r *reader) someEvidence() Evidence {
	if len(r.b) > MaxEvidence {
		r.fail("evidence: too long")
	}
	return *r.evidence()
}

// Tag names a space within a session: the beginning of a hash of the space
// salted with both nonces.
type Tag [8]byte

// TagOf is the space that a message is about, zero if it is about none.
func TagOf(f Frame) Tag {
	switch f := f.(type) {
	case *Open:
		return f.Tag
	case *AuthorityFrame:
		return f.Tag
	case *Ops:
		return f.Tag
	case *Compare:
		return f.Tag
	case *Want:
		return f.Tag
	case *Need:
		return f.Tag
	case *Ack:
		return f.Tag
	case *Live:
		return f.Tag
	case *Sources:
		return f.Tag
	case *ForkFrame:
		return f.Tag
	case *Past:
		return f.Tag
	case *Held:
		return f.Tag
	}
	return Tag{}
}

func (r *reader) tag8() (t Tag) {
	copy(t[:], r.take(8))
	return t
}

// Hello begins a session, from both sides at once. Each interest is the
// beginning of a hash of a space, salted with the sender's nonce: it tells the
// other side nothing about spaces that it doesn't know. They are padded with
// random ones.
//
//	version uvarint | nonce 16 bytes | clock u64 | space hash | device key | until u64 | signature 64 bytes |
//	interests list of 8 bytes, ascending
//
// The certificate's host is not sent: it is the key that the transport proved.
type Hello struct {
	Version   uint64
	Nonce     [16]byte
	Clock     uint64 // milliseconds since 1970
	Cert      HostCert
	Sig       [64]byte
	Interests [][8]byte
}

func (*Hello) frame() FrameType { return FrameHello }

func (h *Hello) append(dst []byte) []byte {
	dst = append(binary.AppendUvarint(dst, h.Version), h.Nonce[:]...)
	dst = binary.BigEndian.AppendUint64(dst, h.Clock)
	dst = append(append(dst, h.Cert.Author.Space[:]...), h.Cert.Author.Device[:]...)
	dst = append(binary.BigEndian.AppendUint64(dst, h.Cert.Until), h.Sig[:]...)
	return appendInterests(dst, h.Interests)
}

func (r *reader) hello() *Hello {
	h := &Hello{Version: r.uvarint(1 << 32)}
	if r.err == nil && h.Version != Protocol {
		r.stop(sennit.Errorf(sennit.Unsupported, "the peer speaks version %d of the protocol; this program speaks %d", h.Version, Protocol))
	}
	copy(h.Nonce[:], r.take(16))
	h.Clock = r.u64()
	h.Cert.Author.Space, h.Cert.Author.Device = sennit.Space(r.hash()), sennit.Device(r.hash())
	h.Cert.Until = r.u64()
	copy(h.Sig[:], r.take(64))
	h.Interests = r.interests()
	return h
}

func appendInterests(dst []byte, all [][8]byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(all)))
	for _, i := range all {
		dst = append(dst, i[:]...)
	}
	return dst
}

func (r *reader) interests() [][8]byte {
	n := r.count(MaxInterests, 8)
	if n == 0 {
		return nil
	}
	all := make([][8]byte, n)
	for i := range all {
		all[i] = r.tag8()
		if i > 0 && string(all[i-1][:]) >= string(all[i][:]) {
			r.fail("interests out of order")
		}
	}
	return all
}

// Interest adds interests to those of the hello.
//
//	interests list of 8 bytes, ascending
type Interest struct{ Interests [][8]byte }

func (*Interest) frame() FrameType           { return FrameInterest }
func (i *Interest) append(dst []byte) []byte { return appendInterests(dst, i.Interests) }

func appendPaths(dst []byte, all []sennit.Path) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(all)))
	for _, p := range all {
		dst = appendBytes(dst, p)
	}
	return dst
}

// prefixes reads a list of at most MaxScope paths that ascend.
func (r *reader) prefixes(what string) []sennit.Path {
	all := make([]sennit.Path, 0, r.count(MaxScope, 1))
	for i := range cap(all) {
		p := r.path()
		if i > 0 && all[i-1] >= p {
			r.fail(what + " out of order")
		}
		if r.err != nil {
			break
		}
		all = append(all, p)
	}
	return all
}

// Batch is commits under way: records of logs that the receiver may not know,
// and runs.
//
//	logs list of records | runs list of bytes
type Batch struct {
	Logs []Log
	Runs []*Run
}

func (b *Batch) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b.Logs)))
	for _, l := range b.Logs {
		dst = append(dst, l.Bytes()...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(b.Runs)))
	for _, run := range b.Runs {
		dst = appendBytes(dst, run.Append(nil))
	}
	return dst
}

func (r *reader) batch() (b Batch) {
	for range r.count(MaxFrameLogs, LogLen) {
		b.Logs = append(b.Logs, r.log())
	}
	for range r.count(MaxFrameRuns, 100) {
		run, err := DecodeRun(r.bytes(MaxFrame))
		if r.err == nil && err != nil {
			r.stop(err)
		}
		if r.err != nil {
			break
		}
		b.Runs = append(b.Runs, run)
	}
	return b
}

// AuthorityFrame carries authority commits, and the evidence that belongs to
// them.
//
//	tag | batch | evidence list of bytes
type AuthorityFrame struct {
	Tag Tag
	Batch
	Evidence []*Evidence
}

func (*AuthorityFrame) frame() FrameType { return FrameAuthority }

func (a *AuthorityFrame) append(dst []byte) []byte {
	dst = a.Batch.append(append(dst, a.Tag[:]...))
	dst = binary.AppendUvarint(dst, uint64(len(a.Evidence)))
	for _, e := range a.Evidence {
		dst = appendBytes(dst, e.Append(nil))
	}
	return dst
}

func (r *reader) authority() *AuthorityFrame {
	a := &AuthorityFrame{Tag: r.tag8(), Batch: r.batch()}
	for range r.count(maxEvidences, evidenceMin) {
		e, err := DecodeEvidence(r.bytes(MaxEvidence))
		if r.err == nil && err != nil {
			r.stop(err)
		}
		if r.err != nil {
			break
		}
		a.Evidence = append(a.Evidence, e)
	}
	return a
}

// Ops carries data commits. Up says that with them the receiver has everything
// that arrived at the sender, in the scope, up to N; 0 says nothing.
//
//	tag | up uvarint | caught up flag | batch
type Ops struct {
	Tag    Tag
	Up     uint64
	Caught bool // nothing more was there when this was sent
	Batch
}

func (*Ops) frame() FrameType { return FrameOps }

func (o *Ops) append(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, o.Tag[:]...), o.Up)
	return o.Batch.append(appendFlag(dst, o.Caught))
}

func (r *reader) ops() *Ops {
	return &Ops{Tag: r.tag8(), Up: r.uvarint(1 << 62), Caught: r.flag(), Batch: r.batch()}
}

// Need says that a run started behind what its receiver has of the log.
//
//	tag | log hash | size uvarint
type Need struct {
	Tag  Tag
	Log  sennit.Hash
	Size uint64
}

func (*Need) frame() FrameType { return FrameNeed }
func (n *Need) append(dst []byte) []byte {
	return binary.AppendUvarint(append(append(dst, n.Tag[:]...), n.Log[:]...), n.Size)
}

// Ack says that everything up to N, as said by [Ops.Up], is durable.
//
//	tag | n uvarint
type Ack struct {
	Tag Tag
	N   uint64
}

func (*Ack) frame() FrameType           { return FrameAck }
func (a *Ack) append(dst []byte) []byte { return binary.AppendUvarint(append(dst, a.Tag[:]...), a.N) }

// Live carries a live message, to be given to watchers and passed on. Space
// stands in it again, because its device signed that.
//
//	tag | signature 64 bytes | live message
type Live struct {
	Tag     Tag
	Sig     [64]byte
	Message *LiveMessage
}

func (*Live) frame() FrameType { return FrameLive }

func (l *Live) append(dst []byte) []byte {
	return append(append(append(dst, l.Tag[:]...), l.Sig[:]...), l.Message.Bytes()...)
}

func (r *reader) live() *Live {
	l := &Live{Tag: r.tag8()}
	copy(l.Sig[:], r.take(64))
	l.Message = r.liveMessage()
	return l
}

// ForkFrame hands on the proof that a device signed two histories of a log of
// the space.
//
//	tag | fork proof
type ForkFrame struct {
	Tag   Tag
	Proof *ForkProof
}

func (*ForkFrame) frame() FrameType { return FrameFork }

func (f *ForkFrame) append(dst []byte) []byte {
	return f.Proof.Append(append(dst, f.Tag[:]...))
}

// Ping asks whether the other side is there; an answer is a ping as well.
//
//	answer flag
type Ping struct{ Answer bool }

func (*Ping) frame() FrameType           { return FramePing }
func (p *Ping) append(dst []byte) []byte { return appendFlag(dst, p.Answer) }

// Ask asks the other side for the evidence behind its certificate.
type Ask struct{}

func (*Ask) frame() FrameType         { return FrameAsk }
func (*Ask) append(dst []byte) []byte { return dst }

// EvidenceFrame is the sender's own evidence, which an ask asked for.
type EvidenceFrame struct{ Evidence }

func (*EvidenceFrame) frame() FrameType           { return FrameEvidence }
func (e *EvidenceFrame) append(dst []byte) []byte { return e.Evidence.Append(dst) }

// RedeemFrame uses an invitation.
//
//	redeem statement | signature 64 bytes | evidence of the invitee
type RedeemFrame struct {
	Redeem   Redeem
	Sig      [64]byte
	Evidence Evidence
}

func (*RedeemFrame) frame() FrameType { return FrameRedeem }

func (f *RedeemFrame) append(dst []byte) []byte {
	return f.Evidence.Append(append(append(dst, f.Redeem.Bytes()...), f.Sig[:]...))
}

func (r *reader) redeemFrame() *RedeemFrame {
	f := &RedeemFrame{Redeem: r.redeem()}
	copy(f.Sig[:], r.take(64))
	f.Evidence = r.someEvidence()
	return f
}

// Welcome answers a redeem: the inviter's evidence, so that the invitee can
// let it read in turn.
type Welcome struct{ Evidence Evidence }

func (*Welcome) frame() FrameType           { return FrameWelcome }
func (w *Welcome) append(dst []byte) []byte { return w.Evidence.Append(dst) }

// Addrs says where its sender can be reached: multiaddrs that end in its host.
//
//	addrs list of text
type Addrs struct{ Addrs []string }

func (*Addrs) frame() FrameType { return FrameAddrs }

func (a *Addrs) append(dst []byte) []byte { return appendAddrs(dst, a.Addrs, maxAddrs) }

// Problem says why something was refused, in words for people. Words that are
// too long are cut off.
//
//	code text of 1 to 32 bytes | message bytes: UTF-8 without control characters
type Problem struct {
	Code    sennit.Code
	Message string
}

func (*Problem) frame() FrameType { return FrameProblem }

func (p *Problem) append(dst []byte) []byte {
	words := strings.Map(func(c rune) rune {
		if c < 0x20 || c == 0x7f {
			return ' '
		}
		return c // what is no UTF-8 becomes U+FFFD
	}, p.Message)
	for len(words) > maxProblem {
		_, last := utf8.DecodeLastRuneInString(words)
		words = words[:len(words)-last]
	}
	return appendBytes(appendBytes(dst, string(p.Code)), words)
}

// problem keeps what could steer a terminal from the people who read it.
func (r *reader) problem() *Problem {
	p := &Problem{Code: sennit.Code(r.text(maxCode)), Message: string(r.bytes(maxProblem))}
	control := strings.ContainsFunc(p.Message, func(c rune) bool { return c < 0x20 || c == 0x7f })
	if p.Code == "" || control || !utf8.ValidString(p.Message) {
		r.fail("problem")
	}
	return p
}
