package wire

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/sennit/sennit"
)

// MaxParents bounds the parents of one op.
const MaxParents = 64

// Op is one delta to one path.
//
//	kind u8 | path bytes | parents list of (commit hash, index uvarint) | body bytes | salt 8 bytes
//
// Authority ops have the empty path: their bodies say what they are about.
// Parents occur in text ops, and may in kinds that are yet to come. The salt
// is random, so that a value that was dropped or is kept from a reader can't
// be guessed from its hash.
type Op struct {
	Kind    sennit.Kind
	Path    sennit.Path
	Parents []OpRef
	Body    []byte
	Salt    [8]byte

	enc []byte // its encoding, if it was decoded or sealed
}

// Bytes is the op's encoding. It must not be changed. An op remembers it: one
// that differs in a field must be made anew, and the first call on an op that
// was not decoded must have no other call beside it.
func (o *Op) Bytes() []byte {
	if o.enc == nil {
		enc := o.append(make([]byte, 0, len(o.Path)+len(o.Body)+24+len(o.Parents)*34))
		o.enc = enc[:len(enc):len(enc)] // no room: whoever appends to it gets a copy
	}
	return o.enc
}

func (o *Op) append(dst []byte) []byte {
	dst = append(dst, byte(o.Kind))
	dst = appendBytes(dst, o.Path)
	dst = appendRefs(dst, o.Parents)
	dst = appendBytes(dst, o.Body)
	return append(dst, o.Salt[:]...)
}

// DecodeOp decodes one op, and its body where the kind is known. The op
// aliases b.
func DecodeOp(b []byte) (Op, error) {
	if len(b) > sennit.MaxOp {
		return Op{}, sennit.Errorf(sennit.TooLarge, "an op has %d bytes; at most %d are allowed", len(b), sennit.MaxOp)
	}
	r := reader{b: b}
	o := Op{enc: b[:len(b):len(b)]}
	o.Kind = sennit.Kind(r.u8())
	o.Path = r.path()
	o.Parents = r.refs(MaxParents)
	o.Body = r.bytes(sennit.MaxOp)
	copy(o.Salt[:], r.take(8))
	if err := r.end("op"); err != nil {
		return Op{}, err
	}
	return o, o.check()
}

// PathOf reads the path out of an op's encoding without decoding the rest. It
// aliases b.
func PathOf(b []byte) (path []byte, ok bool) {
	r := reader{b: b}
	r.u8()
	path = r.bytes(sennit.MaxPath)
	return path, r.err == nil
}

// check says whether the fields fit the kind.
func (o *Op) check() (err error) {
	switch {
	case o.Kind == 0:
		return malformed("op: kind 0")
	case o.Kind.Authority() && o.Path != "":
		return malformed("authority op: it has a path")
	case !o.Kind.Authority() && o.Path.Reserved():
		return malformed("op: a data op in a reserved place")
	case len(o.Parents) > 0 && o.Kind < sennit.KindText || o.Kind == sennit.KindSnap && len(o.Parents) > 0 ||
		len(o.Parents) > 0 && o.Kind.Authority():
		return malformed("op: parents where there can be none")
	}
	switch o.Kind {
	case sennit.KindPut:
		r := reader{b: o.Body}
		r.rawValue()
		err = r.end("put")
	case sennit.KindDel:
		_, err = DecodeDel(o.Body)
	case sennit.KindAdd:
		_, err = DecodeAdd(o.Body)
	case sennit.KindAppend:
		_, err = DecodeAppend(o.Body)
	case sennit.KindText:
		_, err = DecodeText(o.Body)
	case sennit.KindSnap:
		_, err = DecodeSnap(o.Body)
	case sennit.KindKey:
		_, err = DecodeKey(o.Body)
	case sennit.KindGrant:
		_, err = DecodeGrant(o.Body)
	case sennit.KindRevoke:
		_, err = DecodeRevoke(o.Body)
	case sennit.KindMember:
		_, err = DecodeMember(o.Body)
	}
	return err
}

// Put is the body of a put: the new value of a register.
//
//	form u8: 0 | type text | the value's bytes to the end
//	form u8: 1 | type text | BLAKE3 root hash | size uvarint
type Put struct{ Value sennit.Value }

// Append encodes the body.
func (p Put) Append(dst []byte) []byte { return appendValue(dst, p.Value) }

// DecodePut decodes the body of a put; the value aliases b.
func DecodePut(b []byte) (Put, error) {
	r := reader{b: b}
	v := r.value()
	return Put{v}, r.end("put")
}

// BlobOf is the blob that the body of a put names, zero if it holds its value.
func BlobOf(body []byte) (ref sennit.Blob) {
	if len(body) > 0 && body[0] == 1 {
		r := reader{b: body}
		_, _, ref = r.rawValue()
	}
	return ref
}

func appendValue(dst []byte, v sennit.Value) []byte {
	if v.Blob == nil {
		dst = appendBytes(append(dst, 0), v.Type)
		return append(dst, v.Data...)
	}
	dst = appendBytes(append(dst, 1), v.Type)
	dst = append(dst, v.Blob.Root[:]...)
	return binary.AppendUvarint(dst, v.Blob.Size)
}

func (r *reader) value() sennit.Value {
	typ, data, blob := r.rawValue()
	v := sennit.Value{Type: string(typ), Data: data}
	if blob.Size > 0 {
		v.Blob = &sennit.Blob{Root: blob.Root, Size: blob.Size}
	}
	return v
}

// rawValue reads a value without allocating, for those who only check it. A
// blob of size 0 is none.
func (r *reader) rawValue() (typ, data []byte, blob sennit.Blob) {
	form := r.u8()
	typ = r.text(sennit.MaxType)
	switch form {
	case 0:
		data = r.rest()
		if len(data) > sennit.MaxInline {
			r.fail("value: more than 64 KiB inline")
		}
	case 1:
		blob = sennit.Blob{Root: r.hash(), Size: r.uvarint(1 << 62)}
		if r.err == nil && blob.Size <= sennit.MaxInline {
			r.fail("value: a blob that would fit its op")
		}
	default:
		r.fail("value: unknown form")
	}
	return typ, data, blob
}

// Del is the body of a del: flag u8, 1 if everything under the path goes as well.
type Del struct{ Deep bool }

// Append encodes the body.
func (d Del) Append(dst []byte) []byte { return appendFlag(dst, d.Deep) }

// DecodeDel decodes the body of a del.
func DecodeDel(b []byte) (Del, error) {
	r := reader{b: b}
	d := Del{r.flag()}
	return d, r.end("del")
}

// Add is the body of an add: a log's running total at a counter since a time.
//
//	since u64 | total zigzag uvarint
type Add struct {
	Since uint64 // clock of the newest deletion that the writer knew, 0 if none
	Total int64
}

// Append encodes the body.
func (a Add) Append(dst []byte) []byte {
	return binary.AppendUvarint(binary.BigEndian.AppendUint64(dst, a.Since), uint64(a.Total)<<1^uint64(a.Total>>63))
}

// DecodeAdd decodes the body of an add.
func DecodeAdd(b []byte) (Add, error) {
	r := reader{b: b}
	a := Add{Since: r.u64()}
	z := r.uvarint(1<<64 - 1)
	a.Total = int64(z>>1) ^ -int64(z&1)
	return a, r.end("add")
}

// Append is the body of an append: a chunk of a stream.
//
//	type text | the chunk's bytes to the end, 1 byte to 64 KiB
type Append struct {
	Type string // media type of the stream; "" in all but its first chunk, mostly
	Data []byte
}

// Append encodes the body.
func (a Append) Append(dst []byte) []byte { return append(appendBytes(dst, a.Type), a.Data...) }

// DecodeAppend decodes the body of an append, which it aliases.
func DecodeAppend(b []byte) (Append, error) {
	r := reader{b: b}
	a := Append{Type: string(r.text(sennit.MaxType)), Data: r.rest()}
	if len(a.Data) == 0 || len(a.Data) > sennit.MaxInline {
		r.fail("append: 1 byte to 64 KiB")
	}
	return a, r.end("append")
}

// Text is the body of a text op: runs of edits that one agent made.
//
//	agent bytes | prev optional ref | first uvarint | runs list of (pos, deleted, inserted bytes)
//
// An agent is (client id, log); events are numbered from First, one per code
// point deleted or inserted. Positions and lengths count code points.
type Text struct {
	Agent []byte // client id, at most 64 bytes
	Prev  *OpRef // this log's text op before this one at the same path
	First uint64 // number of the first event
	Runs  []TextRun
}

// TextRun is one edit: at Pos, delete some code points, then insert some.
type TextRun struct {
	Pos, Deleted uint64
	Inserted     []byte // UTF-8
}

// Append encodes the body.
func (t Text) Append(dst []byte) []byte {
	dst = appendBytes(dst, t.Agent)
	dst = appendOptRef(dst, t.Prev)
	dst = binary.AppendUvarint(dst, t.First)
	dst = binary.AppendUvarint(dst, uint64(len(t.Runs)))
	for _, run := range t.Runs {
		dst = binary.AppendUvarint(dst, run.Pos)
		dst = binary.AppendUvarint(dst, run.Deleted)
		dst = appendBytes(dst, run.Inserted)
	}
	return dst
}

// DecodeText decodes the body of a text op.
func DecodeText(b []byte) (Text, error) {
	r := reader{b: b}
	t := Text{Agent: r.bytes(64), Prev: r.optRef(), First: r.uvarint(1 << 53)}
	n := r.count(sennit.MaxInline, 3)
	if n == 0 {
		r.fail("text: no runs")
	}
	t.Runs = make([]TextRun, 0, n)
	for range n {
		run := TextRun{r.uvarint(1 << 53), r.uvarint(1 << 53), r.bytes(sennit.MaxInline)}
		if run.Deleted == 0 && len(run.Inserted) == 0 || !utf8.Valid(run.Inserted) {
			r.fail("text run")
		}
		if r.err != nil {
			break
		}
		t.Runs = append(t.Runs, run)
	}
	return t, r.end("text")
}

// Snap is the body of a snap: the state of a text or stream at a version.
//
//	prev optional ref | covers list of 1-64 refs | value as in put
type Snap struct {
	Prev   *OpRef
	Covers []OpRef
	Value  sennit.Value
}

// Append encodes the body.
func (s Snap) Append(dst []byte) []byte {
	return appendValue(appendRefs(appendOptRef(dst, s.Prev), s.Covers), s.Value)
}

// DecodeSnap decodes the body of a snap.
func DecodeSnap(b []byte) (Snap, error) {
	r := reader{b: b}
	s := Snap{Prev: r.optRef(), Covers: r.refs(MaxParents)}
	if len(s.Covers) == 0 {
		r.fail("snap: it covers nothing")
	}
	s.Value = r.value()
	return s, r.end("snap")
}
