package peer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/sennit/sennit"
)

// Framing. A message travels as one frame:
//
//	frame = head [size] body
//	head  = uvarint(len(body)<<2 | kind)
//	size  = uvarint(len(message)), for kinds more and fresh
//
// A raw body is the message. Otherwise it is the next piece of a zstd stream
// (RFC 8878), cut where the compressor was flushed, which gives the message
// and nothing beyond: fresh begins a zstd stream, more goes on with the last
// one, and so has seen what earlier compressed messages held. A piece may be at
// most 16 bytes longer than the message: a message that doesn't shrink is sent
// as a piece only for the sake of later ones that repeat parts of it. Varints
// are unsigned LEB128, in their shortest form, of at most four bytes.
//
// So the overhead of a raw message is 1 byte below 32 bytes, 2 below 4 KiB,
// and never more than 4, and that of an incompressible one up to 16 for the
// first few; and a short message that repeats ids and hashes of another may
// well take half its size.
const (
	kindRaw   = 0
	kindMore  = 1
	kindFresh = 2

	maxVarint = 4
	maxGrowth = 16 // bytes by which a piece may exceed its message
)

const (
	// window is how far back the compressor looks. Twice as much would shrink
	// source code by 2.5 % more, and cost the two sides 320 KB more together.
	window = 64 << 10
	// maxWindow is the largest window that a peer may ask for.
	maxWindow = 512 << 10
	// What a compressor and, with the largest window, a decompressor cost, in
	// bytes, as measured.
	packerMemory   = 1 << 20
	unpackerMemory = 896 << 10

	// A message is believed to be as long as its head says only step by step:
	// this much memory is taken when it begins, the rest when so much of it
	// has come.
	firstStep = 64 << 10
	// smallMessage is the size up to which the buffer of a message isn't
	// charged: it comes and goes.
	smallMessage = 8 << 10

	readBuffer = 4 << 10
	// joined is how much of a message is copied behind the head, to be written
	// with it at once. Each write costs a packet or a frame below.
	joined = 16 << 10
	// keptBuffer is the largest output buffer that the compressor keeps.
	keptBuffer = 256 << 10
)

// memory is where a reader or writer asks before it takes memory on behalf of
// a peer. libp2p's stream scopes are of this kind.
type memory interface {
	ReserveMemory(size int, priority uint8) error
	ReleaseMemory(size int)
}

// frameReader reads messages. It is not safe for concurrent use. After an
// error it must not be used again.
type frameReader struct {
	in   *bufio.Reader
	mem  memory
	body body
	zstd *zstd.Decoder // nil until needed
}

func newFrameReader(r io.Reader, mem memory) *frameReader {
	in := bufio.NewReaderSize(r, readBuffer)
	return &frameReader{in: in, mem: mem, body: body{in: in}}
}

// read reads the next message, which is the caller's. It fails with io.EOF at
// the end, with io.ErrUnexpectedEOF within a message, with the error of the
// underlying reader, or else with an error that has a code.
func (r *frameReader) read() ([]byte, error) {
	head, err := r.varint()
	if err != nil {
		return nil, err
	}
	n, kind := int(head>>2), head&3
	switch kind {
	case kindRaw:
		if n > MaxMessage {
			return nil, tooLong(n)
		}
		return r.fill(r.in, n, nil)
	case kindMore, kindFresh:
		size, err := r.varint()
		if err != nil {
			return nil, mid(err)
		}
		if size > MaxMessage {
			return nil, tooLong(int(size))
		}
		if n == 0 || n > int(size)+maxGrowth {
			return nil, sennit.Errorf(sennit.BadInput, "a frame is malformed: %d bytes stand for a message of %d", n, size)
		}
		return r.unpack(n, int(size), kind == kindFresh)
	}
	return nil, sennit.Errorf(sennit.BadInput, "a frame is malformed: it is of the unknown kind %d", kind)
}

func tooLong(n int) error {
	return sennit.Errorf(sennit.TooLarge, "a message has %d bytes; at most %d are allowed", n, MaxMessage)
}

// mid is err for when a message has begun already.
func mid(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *frameReader) varint() (uint32, error) {
	var v uint32
	for i := 0; ; i++ {
		b, err := r.in.ReadByte()
		if err != nil {
			if i > 0 {
				err = mid(err)
			}
			return 0, err
		}
		v |= uint32(b&0x7f) << (7 * i)
		switch {
		case b == 0 && i > 0:
			return 0, sennit.Errorf(sennit.BadInput, "a frame is malformed: a length is not in its shortest form")
		case b < 0x80:
			return v, nil
		case i == maxVarint-1:
			return 0, sennit.Errorf(sennit.TooLarge, "a frame is malformed: a length is beyond all limits")
		}
	}
}

// fill reads a message of n bytes from src, taking memory for it in steps.
// first, if not nil, is called when the first byte was read.
func (r *frameReader) fill(src io.Reader, n int, first func() error) ([]byte, error) {
	var buf []byte
	charged := 0
	defer func() { r.mem.ReleaseMemory(charged) }()
	for _, step := range []int{smallMessage, firstStep, n} {
		have := len(buf)
		step = min(step, n)
		if step > smallMessage {
			if err := r.mem.ReserveMemory(step-charged, network.ReservationPriorityHigh); err != nil {
				return nil, sennit.Errorf(sennit.OverQuota, "no memory left for a message of %d bytes: %w", n, err)
			}
			charged = step
		}
		longer := make([]byte, step)
		copy(longer, buf)
		buf = longer
		if err := fillUp(src, buf, have, first); err != nil {
			return nil, err
		}
		if step == n {
			break
		}
	}
	return buf, nil
}

func fillUp(src io.Reader, buf []byte, have int, first func() error) error {
	if first != nil && have == 0 && len(buf) > 0 {
		if _, err := io.ReadFull(src, buf[:1]); err != nil {
			return mid(err)
		}
		have = 1
		if err := first(); err != nil {
			return err
		}
	}
	_, err := io.ReadFull(src, buf[have:])
	return mid(err)
}

// unpack reads a body of n bytes that stands for a message of size bytes.
func (r *frameReader) unpack(n, size int, fresh bool) ([]byte, error) {
	if r.zstd == nil && !fresh {
		return nil, sennit.Errorf(sennit.BadInput, "a frame is malformed: it goes on with a compressed stream that was never begun")
	}
	r.body.left, r.body.read = n, 0
	if fresh {
		if err := r.begin(); err != nil {
			return nil, err
		}
	}
	msg, err := r.fill(r.zstd, size, func() error {
		// Nothing of this body was needed for a byte: it is from the last one.
		if r.body.read == 0 {
			return sennit.Errorf(sennit.BadInput, "a frame is malformed: it held more than its size")
		}
		return nil
	})
	switch {
	case r.body.err != nil:
		return nil, mid(r.body.err)
	case err != nil && sennit.CodeOf(err) != sennit.Internal:
		return nil, err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return nil, sennit.Errorf(sennit.TooLarge, "a compressed message asks for more memory than is allowed: %w", err)
	case err != nil:
		return nil, sennit.Errorf(sennit.BadInput, "a compressed message is malformed: %w", err)
	case r.body.left > 0:
		return nil, sennit.Errorf(sennit.BadInput, "a frame is malformed: it held more than its size")
	}
	return msg, nil
}

// begin makes the decompressor ready for a new zstd stream.
func (r *frameReader) begin() error {
	if r.zstd != nil {
		if err := r.zstd.Reset(&r.body); err != nil {
			return sennit.Errorf(sennit.Internal, "resetting the decompressor: %w", err)
		}
		return nil
	}
	if err := r.mem.ReserveMemory(unpackerMemory, network.ReservationPriorityHigh); err != nil {
		return sennit.Errorf(sennit.OverQuota, "no memory left for a decompressor: %w", err)
	}
	var err error
	r.zstd, err = zstd.NewReader(&r.body,
		zstd.WithDecoderConcurrency(1), // no goroutines
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return sennit.Errorf(sennit.Internal, "making a decompressor: %w", err)
	}
	return nil
}

// body gives the decompressor the bytes of one frame and no more.
type body struct {
	in   *bufio.Reader
	left int   // bytes of the frame that were not read yet
	read int   // and that were
	err  error // of in
}

func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.in.Read(p[:min(len(p), b.left)])
	b.left -= n
	b.read += n
	if err != nil {
		b.err = err
	}
	return n, err
}

// frameWriter writes messages. It is not safe for concurrent use. After an
// error it must not be used again.
type frameWriter struct {
	out   io.Writer
	mem   memory
	zstd  *zstd.Encoder // nil until needed
	plain bool          // there is no memory for a compressor
	begun bool          // the peer has seen all that zstd has seen since it was reset
	piece piece
	gauge gauge
	buf   []byte
}

func newFrameWriter(w io.Writer, mem memory) *frameWriter {
	return &frameWriter{out: w, mem: mem}
}

// write sends one message of at most MaxMessage bytes.
func (w *frameWriter) write(msg []byte) error {
	w.buf = w.buf[:0]
	body, kind, err := w.pack(msg)
	if err != nil {
		return err
	}
	w.buf = binary.AppendUvarint(w.buf, uint64(len(body))<<2|kind)
	if kind != kindRaw {
		w.buf = binary.AppendUvarint(w.buf, uint64(len(msg)))
	}
	n := min(len(body), joined-len(w.buf))
	w.buf = append(w.buf, body[:n]...)
	start := time.Now()
	if _, err = w.out.Write(w.buf); err == nil && n < len(body) {
		_, err = w.out.Write(body[n:])
	}
	w.gauge.wrote(len(body), time.Since(start))
	if cap(w.piece) > keptBuffer {
		w.piece = nil
	}
	return err
}

// pack gives the body that stands for a message: a compressed one if that is
// worth it.
func (w *frameWriter) pack(msg []byte) (body []byte, kind uint64, err error) {
	if !w.gauge.worth(len(msg)) || !w.ready() {
		return msg, kindRaw, nil
	}
	kind, w.piece = kindMore, w.piece[:0]
	if !w.begun {
		kind = kindFresh
	}
	if len(msg) >= bulkSize { // its beginning tells whether to go on
		part := msg[:min(len(msg), sample)]
		start := time.Now()
		if err := w.squeeze(part); err != nil {
			return nil, 0, err
		}
		if !w.gauge.pays(len(msg), len(part), len(w.piece), time.Since(start)) {
			w.zstd.Reset(&w.piece) // it has seen what the peer won't
			w.begun = false
			return msg, kindRaw, nil
		}
		err = w.squeeze(msg[len(part):])
	} else {
		err = w.squeeze(msg)
		w.gauge.pays(len(msg), len(msg), len(w.piece), 0)
	}
	if err != nil {
		return nil, 0, err
	}
	if len(w.piece) > len(msg)+maxGrowth {
		// A beginning that shrank can't be followed by so much that grows;
		// the limit must hold all the same.
		w.zstd.Reset(&w.piece)
		w.begun = false
		return msg, kindRaw, nil
	}
	w.begun = true
	return w.piece, kind, nil
}

// squeeze appends the compressed form of b to the piece.
func (w *frameWriter) squeeze(b []byte) error {
	_, err := w.zstd.Write(b)
	if err == nil {
		err = w.zstd.Flush()
	}
	if err != nil {
		return sennit.Errorf(sennit.Internal, "compressing a message: %w", err)
	}
	return nil
}

// ready reports whether there is a compressor, making it if need be.
func (w *frameWriter) ready() bool {
	if w.zstd != nil || w.plain {
		return w.zstd != nil
	}
	if err := w.mem.ReserveMemory(packerMemory, network.ReservationPriorityMedium); err != nil {
		w.plain = true
		return false
	}
	z, err := zstd.NewWriter(&w.piece,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1), // no goroutines
		zstd.WithWindowSize(window),
		zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(false)) // the transport authenticates every byte
	if err != nil { // only for options that make no sense
		w.plain = true
		return false
	}
	w.zstd = z
	return true
}

// piece collects what the compressor gives.
type piece []byte

func (p *piece) Write(b []byte) (int, error) {
	*p = append(*p, b...)
	return len(b), nil
}
