package peer_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/peer"
)

// purse is a memory limit that counts.
type purse struct{ limit, used, peak int }

func (p *purse) ReserveMemory(size int, _ uint8) error {
	if p.used+size > p.limit {
		return errors.New("the purse is empty")
	}
	p.used += size
	p.peak = max(p.peak, p.used)
	return nil
}

func (p *purse) ReleaseMemory(size int) { p.used -= size }

func rich() *purse { return &purse{limit: 64 << 20} }

// noise is n bytes that don't compress, the same ones for the same seed.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

// prose is n bytes that do.
func prose(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "/chirp/posts/%06d it was the best of times, it was the worst of times; ", i)
	}
	return b.Bytes()[:n]
}

// frame builds a frame by hand.
func frame(kind, length uint64, rest ...byte) []byte {
	return append(binary.AppendUvarint(nil, length<<2|kind), rest...)
}

func TestFramesArriveAsSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var wire bytes.Buffer
		w := peer.NewFrameWriter(&wire, rich())
		w.Wire(rapid.SampledFrom([]float64{0, 0.1, 1000}).Draw(t, "ns per byte"))
		var sent [][]byte
		limit := 0
		for range rapid.IntRange(1, 10).Draw(t, "messages") {
			n := rapid.OneOf(
				rapid.IntRange(0, 600),
				rapid.SampledFrom([]int{127, 128, 16<<10 - 1, 16 << 10, 32<<10 - 1, 32 << 10, 32<<10 + 1, 128 << 10, 160 << 10}),
			).Draw(t, "size")
			msg := noise(uint64(n), n)
			if rapid.Bool().Draw(t, "compressible") {
				msg = prose(n)
			}
			sent = append(sent, bytes.Clone(msg))
			limit += n + 20
			if err := w.Write(msg); err != nil {
				t.Fatal(err)
			}
			clear(msg) // the writer must not look again
		}
		if wire.Len() > limit {
			t.Fatalf("%d bytes went out, want at most %d", wire.Len(), limit)
		}
		var in io.Reader = &wire
		if rapid.Bool().Draw(t, "dribble") {
			in = iotest.HalfReader(in)
		}
		mem := rich()
		r := peer.NewFrameReader(in, mem)
		for i, want := range sent {
			got, err := r.Read()
			if err != nil {
				t.Fatalf("message %d of %d: %v", i, len(sent), err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("message %d of %d bytes came as another one of %d", i, len(want), len(got))
			}
		}
		if _, err := r.Read(); err != io.EOF {
			t.Fatalf("at the end: %v, want io.EOF", err)
		}
		if mem.used > peer.UnpackerMemory {
			t.Fatalf("%d bytes are still charged", mem.used)
		}
	})
}

func TestFrameSizes(t *testing.T) {
	ids := noise(1, 160) // ids and hashes that come again
	tests := []struct {
		name  string
		msgs  [][]byte
		limit int // bytes on the wire
	}{
		{"empty", [][]byte{{}}, 1},
		{"31 bytes", [][]byte{noise(1, 31)}, 32},
		{"120 incompressible bytes", [][]byte{noise(1, 120)}, 122},
		{"300 incompressible bytes", [][]byte{noise(1, 300)}, 318},
		{"4 KiB of incompressible bytes", [][]byte{noise(1, 4096)}, 4115},
		{"2 MiB of incompressible bytes", [][]byte{noise(1, peer.MaxMessage)}, peer.MaxMessage + 4},
		{"300 bytes of text", [][]byte{prose(300)}, 120},
		{"two of 300 bytes that share ids", [][]byte{append(noise(2, 140), ids...), append(noise(3, 140), ids...)}, 480},
		{"two of 300 bytes, half text, that share ids", [][]byte{append(prose(140), ids...), append(prose(140), ids...)}, 300},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var wire bytes.Buffer
			w := peer.NewFrameWriter(&wire, rich())
			total := 0
			for _, m := range tt.msgs {
				total += len(m)
				if err := w.Write(m); err != nil {
					t.Fatal(err)
				}
			}
			if wire.Len() > tt.limit {
				t.Errorf("%d bytes took %d on the wire, want at most %d", total, wire.Len(), tt.limit)
			}
			t.Logf("%d bytes took %d on the wire", total, wire.Len())
		})
	}
}

func TestHostileFrames(t *testing.T) {
	compressed := func(opts []zstd.EOption, parts ...[]byte) []byte {
		var out bytes.Buffer
		z, err := zstd.NewWriter(&out, append([]zstd.EOption{zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(512 << 10)}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			z.Write(p)
			z.Flush()
		}
		return out.Bytes()
	}
	packed := func(kind uint64, size int, body []byte) []byte {
		return append(binary.AppendUvarint(frame(kind, uint64(len(body))), uint64(size)), body...)
	}
	zeros := make([]byte, 8<<20)
	bomb := compressed(nil, zeros[:peer.MaxMessage])
	hugeBomb := compressed(nil, zeros)
	wide := compressed([]zstd.EOption{zstd.WithWindowSize(1 << 20)}, prose(4000), noise(1, 3<<20)) // keeps the encoder from choosing less
	tests := []struct {
		name  string
		bytes []byte
		code  sennit.Code // "" for io.ErrUnexpectedEOF
		text  string
	}{
		{"2 MiB and 1 byte", frame(0, peer.MaxMessage+1), sennit.TooLarge, "2097153 bytes"},
		{"the longest length", []byte{0xfc, 0xff, 0xff, 0x7f}, sennit.TooLarge, "at most 2097152"},
		{"a length of five bytes", []byte{0xff, 0xff, 0xff, 0xff, 0x7f}, sennit.TooLarge, "beyond all limits"},
		{"an endless length", bytes.Repeat([]byte{0xff}, 100), sennit.TooLarge, "beyond all limits"},
		{"a length with a zero at its end", []byte{0x80, 0x00}, sennit.BadInput, "shortest form"},
		{"an unknown kind", frame(3, 5), sennit.BadInput, "unknown kind"},
		{"half a length", []byte{0x80}, "", ""},
		{"half a message", frame(0, 10, 1, 2, 3), "", ""},
		{"no message after a head", frame(0, 2<<20), "", ""},
		{"no size", frame(2, 5), "", ""},
		{"a piece of nothing", packed(1, 100, bomb[:10]), sennit.BadInput, "never begun"},
		{"an empty piece", packed(2, 100, nil), sennit.BadInput, "0 bytes stand for"},
		{"a piece much longer than the message", packed(2, 10, bomb[:27]), sennit.BadInput, "27 bytes stand for"},
		{"garbage for zstd", packed(2, 100, noise(9, 50)), sennit.BadInput, "compressed message is malformed"},
		{"a piece that gives too little", packed(2, 200, compressed(nil, prose(199))), sennit.BadInput, "malformed"},
		{"a piece that gives too much", packed(2, 1000, compressed(nil, prose(1000), prose(1000))), sennit.BadInput, "more than its size"},
		{"a bomb that says its size", packed(2, len(zeros), hugeBomb), sennit.TooLarge, "8388608 bytes"},
		{"a bomb that says less", packed(2, peer.MaxMessage, hugeBomb), sennit.BadInput, "more than its size"},
		{"a window that is too large", packed(2, peer.MaxMessage, wide[:1<<20]), sennit.TooLarge, "more memory than is allowed"},
		{"half a piece", packed(2, 4000, compressed(nil, prose(4000)))[:40], "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mem := rich()
			msg, err := peer.NewFrameReader(bytes.NewReader(tt.bytes), mem).Read()
			if err == nil {
				t.Fatalf("a message of %d bytes was read", len(msg))
			}
			if tt.code == "" {
				if err != io.ErrUnexpectedEOF {
					t.Fatalf("got %v, want io.ErrUnexpectedEOF", err)
				}
			} else if sennit.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("got %v (%s), want %q (%s)", err, sennit.CodeOf(err), tt.text, tt.code)
			}
			if most := peer.UnpackerMemory + peer.MaxMessage; mem.peak > most {
				t.Errorf("%d bytes were taken, want at most %d", mem.peak, most)
			}
		})
	}

	t.Run("a surplus in a block", func(t *testing.T) {
		// A block that gives 1,000 bytes, declared as 600. What is over stays in
		// the decompressor, and with the next block would make a message.
		one, both := compressed(nil, prose(1000)), compressed(nil, prose(1000), prose(200))
		in := append(packed(2, 600, one), packed(1, 600, both[len(one):])...)
		r := peer.NewFrameReader(bytes.NewReader(in), rich())
		if _, err := r.Read(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(); sennit.CodeOf(err) != sennit.BadInput || !strings.Contains(err.Error(), "more than its size") {
			t.Fatalf("the next message: %v", err)
		}
	})
}

// A peer that says a message is long, and sends nothing, must not make us take
// memory for it.
func TestSilentPeerCostsLittle(t *testing.T) {
	for _, in := range [][]byte{
		frame(0, peer.MaxMessage),
		append(frame(0, peer.MaxMessage), make([]byte, 8000)...),
		binary.AppendUvarint(frame(2, 1000), peer.MaxMessage),
	} {
		mem := rich()
		if _, err := peer.NewFrameReader(bytes.NewReader(in), mem).Read(); err == nil {
			t.Fatal("a message that never came was read")
		}
		if mem.peak > peer.UnpackerMemory {
			t.Errorf("%d bytes were taken", mem.peak)
		}
	}
	mem := rich()
	in := append(frame(0, peer.MaxMessage), make([]byte, 20_000)...)
	if _, err := peer.NewFrameReader(bytes.NewReader(in), mem).Read(); err == nil || mem.peak != peer.FirstStep {
		t.Errorf("after 20 kB of 2 MiB %d bytes were taken (%v), want %d", mem.peak, err, peer.FirstStep)
	}
}

func TestNoMemory(t *testing.T) {
	var wire bytes.Buffer
	w := peer.NewFrameWriter(&wire, &purse{limit: 1000})
	if err := w.Write(prose(1000)); err != nil {
		t.Fatalf("a writer that has no memory for a compressor: %v", err)
	}
	if got := wire.Len(); got != 1002 {
		t.Fatalf("%d bytes went out, want 1002: uncompressed", got)
	}
	if msg, err := peer.NewFrameReader(bytes.NewReader(wire.Bytes()), &purse{}).Read(); err != nil || !bytes.Equal(msg, prose(1000)) {
		t.Fatalf("a small message needs no reserve: %v", err)
	}

	wire.Reset()
	w = peer.NewFrameWriter(&wire, rich())
	if err := w.Write(prose(1000)); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.NewFrameReader(&wire, &purse{limit: 1000}).Read(); sennit.CodeOf(err) != sennit.OverQuota {
		t.Fatalf("a compressed message without memory for a decompressor: %v", err)
	}
	if _, err := peer.NewFrameReader(bytes.NewReader(append(frame(0, 100_000), make([]byte, 100_000)...)), &purse{limit: 70_000}).Read(); sennit.CodeOf(err) != sennit.OverQuota {
		t.Fatalf("a long message without memory: %v", err)
	}
}

// What the reader and writer ask for must be what they take.
func TestCompressorMemory(t *testing.T) {
	live := func() int {
		runtime.GC()
		runtime.GC() // pools let go in two steps
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	msg := prose(256 << 10)
	for i := 0; i+200 < len(msg); i += 200 {
		copy(msg[i:], noise(uint64(i), 100))
	}
	var wire bytes.Buffer
	wire.Grow(4 << 20)
	before := live()
	w := peer.NewFrameWriter(&wire, rich())
	for range 4 {
		w.Wire(1e6)
		if err := w.Write(msg); err != nil {
			t.Fatal(err)
		}
	}
	between := live()
	mem := rich()
	r := peer.NewFrameReader(&wire, mem)
	for range 4 {
		if _, err := r.Read(); err != nil {
			t.Fatal(err)
		}
	}
	after := live()
	t.Logf("a compressor takes %d KB, a decompressor %d KB", (between-before)>>10, (after-between)>>10)
	if got := between - before; got > peer.PackerMemory {
		t.Errorf("a compressor takes %d bytes, more than the %d that are charged", got, peer.PackerMemory)
	}
	if got := after - between; got > peer.UnpackerMemory {
		t.Errorf("a decompressor takes %d bytes, more than the %d that are charged", got, peer.UnpackerMemory)
	}
	runtime.KeepAlive(msg)
	runtime.KeepAlive(w)
	runtime.KeepAlive(r)
}

func TestGauge(t *testing.T) {
	const ms = time.Millisecond
	t.Run("short messages are never compressed", func(t *testing.T) {
		var g peer.Gauge
		if g.Worth(127) || !g.Worth(128) {
			t.Error("the limit is not at 128 bytes")
		}
	})
	t.Run("disappointments make pauses of 1, 2, 4 ... 64 messages", func(t *testing.T) {
		for _, size := range []int{1000, 100_000} {
			var g peer.Gauge
			pauses := []int{1, 2, 4, 8, 16, 32, 64, 64, 64}
			if size < 16<<10 {
				pauses = append([]int{0, 0, 0}, pauses...)
			}
			for _, want := range pauses {
				if !g.Worth(size) {
					t.Fatal("not tried")
				}
				if g.Pays(size, 1000, 990, 0) {
					t.Fatal("1 % was enough")
				}
				for range want {
					if g.Worth(size) {
						t.Fatalf("%d bytes: tried within the pause of %d", size, want)
					}
				}
			}
			if !g.Worth(101_000 - size) {
				t.Error("one class of messages has spoilt it for the other")
			}
			if !g.Worth(size) || !g.Pays(size, 1000, 500, 0) || !g.Worth(size) {
				t.Error("a success doesn't end the pauses")
			}
		}
	})
	t.Run("bulk is compressed only if that is faster", func(t *testing.T) {
		var g peer.Gauge
		if !g.Pays(100_000, 32_000, 16_000, ms) {
			t.Error("with a network of unknown speed the bytes decide")
		}
		g.Wrote(100_000, ms) // 10 ns per byte: 16,000 bytes take 0.16 ms
		if g.Pays(100_000, 32_000, 16_000, ms) {
			t.Error("1 ms spent to save 0.16 ms")
		}
		for range 20 {
			g.Wrote(100_000, 100*ms) // the network has become slow
		}
		if !g.Pays(100_000, 32_000, 16_000, ms) {
			t.Error("1 ms not spent to save 16 ms")
		}
		if !g.Pays(1000, 1000, 500, ms) {
			t.Error("small messages are judged by time")
		}
	})
}

func FuzzFrames(f *testing.F) {
	var wire bytes.Buffer
	w := peer.NewFrameWriter(&wire, rich())
	for _, m := range [][]byte{nil, noise(1, 40), prose(300), prose(500), noise(2, 300), prose(40_000)} {
		if err := w.Write(m); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(wire.Bytes())
	f.Add(frame(0, peer.MaxMessage))
	f.Add(binary.AppendUvarint(frame(2, 12), 100))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		mem := rich()
		r := peer.NewFrameReader(bytes.NewReader(in), mem)
		for {
			msg, err := r.Read()
			if err != nil {
				if c := sennit.CodeOf(err); c == sennit.Internal && err != io.EOF && err != io.ErrUnexpectedEOF {
					t.Fatalf("an error without a code: %v", err)
				}
				break
			}
			if len(msg) > peer.MaxMessage {
				t.Fatalf("a message of %d bytes", len(msg))
			}
		}
		if mem.peak > peer.UnpackerMemory+peer.MaxMessage {
			t.Fatalf("%d bytes were taken", mem.peak)
		}
	})
}
