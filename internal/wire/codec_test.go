package wire_test

import (
	"bytes"
	"runtime"
	"slices"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
	"pgregory.net/rapid"
)

// judge decodes any bytes at all and checks what every decoder promises: it
// doesn't panic, doesn't touch its input, allocates in proportion to it, says
// one of three codes when it refuses, and accepts only the one encoding of
// what it returns. It tells whether the bytes were accepted.
func judge(t rapid.TB, f format, b []byte) bool {
	t.Helper()
	input := bytes.Clone(b)
	var v any
	var err error
	bound := uint64(4096 + 40*len(b))
	if n := allocated(bound, func() { v, err = f.decode(input) }); n > bound {
		t.Fatalf("%s: decoding %d bytes allocated %d; at most %d are allowed\n%x", f.name, len(b), n, bound, head(b))
	}
	if !bytes.Equal(input, b) {
		t.Fatalf("%s: decoding changed its input\n%x", f.name, head(b))
	}
	if err != nil {
		if c := sennit.CodeOf(err); c != sennit.BadInput && c != sennit.TooLarge && c != sennit.Unsupported {
			t.Fatalf("%s: refused with code %q: %v\n%x", f.name, c, err, head(b))
		}
		return false
	}
	again, err := f.encode(v)
	if err != nil {
		t.Fatalf("%s: it decodes but does not encode: %v\n%x", f.name, err, head(b))
	}
	if !bytes.Equal(again, f.loose(b)) {
		t.Fatalf("%s: it decodes, and encodes to other bytes\n%x\n%x", f.name, head(b), head(again))
	}
	return true
}

// allocated measures the bytes that do allocates. Other goroutines of the test
// binary allocate as well, so a figure over the bound is measured again.
func allocated(bound uint64, do func()) (n uint64) {
	for range 4 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		do()
		runtime.ReadMemStats(&after)
		if n = after.TotalAlloc - before.TotalAlloc; n <= bound {
			break
		}
	}
	return n
}

func head(b []byte) []byte { return b[:min(len(b), 600)] }

func TestEveryRecordComesBackAsItWas(t *testing.T) {
	for _, f := range formats() {
		t.Run(f.name, rapid.MakeCheck(func(t *rapid.T) {
			v := f.gen.Draw(t, f.name)
			b, err := f.encode(v)
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.decode(b)
			if err != nil {
				t.Fatalf("its own encoding is refused: %v\n%x", err, head(b))
			}
			if !same(v, got) {
				t.Fatalf("encoded and decoded, %+v\nbecame %+v", v, got)
			}
			if !judge(t, f, b) {
				t.Fatalf("decodes once only\n%x", head(b))
			}
		}))
	}
}

// TestDamageIsRefusedOrAnotherValue changes encodings a little, which finds
// second encodings of one value sooner than random bytes do.
func TestDamageIsRefusedOrAnotherValue(t *testing.T) {
	for _, f := range formats() {
		t.Run(f.name, rapid.MakeCheck(func(t *rapid.T) {
			enc, err := f.encode(f.gen.Draw(t, f.name))
			if err != nil {
				t.Fatal(err)
			}
			for range 10 {
				b := bytes.Clone(enc)
				at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
				switch rapid.IntRange(0, 3).Draw(t, "damage") {
				case 0:
					b[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
				case 1:
					b = slices.Delete(b, at, at+1)
				case 2:
					b = slices.Insert(b, at, rapid.Byte().Draw(t, "byte"))
				case 3: // 5 becomes 0x85 0x00: the same integer in two bytes
					b[at] |= 0x80
					b = slices.Insert(b, at+1, 0)
				}
				judge(t, f, b)
			}
		}))
	}
}

func TestEveryRecordNeedsAllItsBytes(t *testing.T) {
	// The last field of these takes all bytes that are left.
	open := map[string]bool{"put": true, "append": true, "snap": true, "blob-data": true}
	for _, f := range formats() {
		t.Run(f.name, func(t *testing.T) {
			b := smallest(t, f)
			for n := range b {
				if judge(t, f, b[:n]) && !open[f.name] {
					t.Errorf("the first %d of %d bytes are accepted: %x", n, len(b), b[:n])
				}
			}
			for _, extra := range []byte{0, 1, 0x41, 0xff} {
				if judge(t, f, append(bytes.Clone(b), extra)) && !open[f.name] {
					t.Errorf("an extra byte 0x%02x is accepted: %x", extra, b)
				}
			}
		})
	}
}

// smallest picks the shortest of some random encodings.
func smallest(t *testing.T, f format) (least []byte) {
	for seed := range 30 {
		b, err := f.encode(f.gen.Example(seed))
		if err != nil {
			t.Fatal(err)
		}
		if least == nil || len(b) < len(least) {
			least = b
		}
	}
	return least
}

// TestCountsPromiseNoMemory writes huge integers over every byte of an
// encoding, so that each count and length in it gets its turn.
func TestCountsPromiseNoMemory(t *testing.T) {
	huge := [][]byte{
		{0xff, 0x7f},                         // 16,383: within the limits of some lists
		{0x80, 0x80, 0x04},                   // 65,536
		{0xff, 0xff, 0xff, 0xff, 0x0f},       // the most that 32 bits hold
		{0xff, 0xff, 0xff, 0xff, 0xff, 0x1f}, // overflows an int32
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, // the most that 64 bits hold
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}, // and one bit more
	}
	for _, f := range formats() {
		t.Run(f.name, func(t *testing.T) {
			b := smallest(t, f)
			for at := range min(len(b), 250) {
				for _, h := range huge {
					judge(t, f, slices.Replace(bytes.Clone(b), at, at+1, h...))
				}
			}
		})
	}
}

// TestDenseInputAllocatesInProportion feeds each list its shortest elements, as
// many as fit.
func TestDenseInputAllocatesInProportion(t *testing.T) {
	dense := wire.Text{}
	for range 20000 {
		dense.Runs = append(dense.Runs, wire.TextRun{Deleted: 1})
	}
	gones := &wire.Stored{Count: sennit.MaxOps}
	for i := range sennit.MaxOps / 2 {
		gones.Gone = append(gones.Gone, wire.Gone{First: uint32(2 * i), N: 1})
	}
	gaps, split := new(wire.Run), new(wire.Run)
	for range wire.MaxRun / 2 {
		gaps.Items = append(gaps.Items, wire.RunItem{Gap: 1}, wire.RunItem{Count: 1, Parts: []wire.Part{{Skip: 1}}})
	}
	parts := wire.RunItem{Count: sennit.MaxOps}
	for range sennit.MaxOps / 2 {
		parts.Parts = append(parts.Parts, wire.Part{Skip: 1}, wire.Part{Ops: []wire.Op{{Kind: 200}}})
	}
	split.Items = []wire.RunItem{parts}
	cuts := wire.Revoke{Who: wire.Who{Subject: wire.SubjectAny}}
	for i := range wire.MaxCuts {
		cuts.Cuts = append(cuts.Cuts, wire.Cut{Log: [32]byte{byte(i >> 8), byte(i)}, Seq: 1})
	}
	for name, b := range map[string][]byte{
		"text":   dense.Append(nil),
		"stored": gones.Append(nil),
		"run":    gaps.Append(nil),
		"revoke": cuts.Append(nil),
	} {
		if !judge(t, formatOf(t, name), b) {
			t.Errorf("%s: refused", name)
		}
	}
	if !judge(t, formatOf(t, "run"), split.Append(nil)) {
		t.Error("run of a commit in many parts: refused")
	}
}

// TestAnOpHasOneEncoding checks what an op remembers of its encoding: it is what
// its fields encode to, and neither decoding nor appending to it makes it
// anything else.
func TestAnOpHasOneEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		made := op(t)
		enc := bytes.Clone(made.Bytes())
		// Room behind the input tempts append to write there.
		frame := append(append([]byte{}, enc...), "what follows in the frame"...)
		got, err := wire.DecodeOp(frame[:len(enc)])
		if err != nil {
			t.Fatal(err)
		}
		fresh := bare(got)
		if !bytes.Equal(got.Bytes(), enc) || !bytes.Equal(fresh.Bytes(), enc) {
			t.Fatalf("encodings differ: decoded %x, from its fields %x, first %x", got.Bytes(), fresh.Bytes(), enc)
		}
		for _, o := range []*wire.Op{&made, &got, &fresh} {
			a, b := append(o.Bytes(), 1), append(o.Bytes(), 2)
			if a[len(a)-1] != 1 || b[len(b)-1] != 2 {
				t.Fatal("two appends to an op's encoding share memory")
			}
		}
		_ = append(got.Body, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"...)
		if string(frame[len(enc):]) != "what follows in the frame" || !bytes.Equal(got.Bytes(), enc) {
			t.Fatal("appending to a decoded op wrote over its frame")
		}
		moved := got // a copy keeps the encoding, and shares it
		if &moved.Bytes()[0] != &got.Bytes()[0] || !bytes.Equal(moved.Bytes(), enc) {
			t.Fatal("a copy of an op encodes again")
		}
	})
}

// TestOpsOfARunDoNotTouchEachOther appends to what a run's commits share an
// allocation for.
func TestOpsOfARunDoNotTouchEachOther(t *testing.T) {
	enc := runOf(5, 2).Append(nil)
	r, err := wire.DecodeRun(enc)
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Items {
		it := &r.Items[i]
		it.Parts[0].Ops = append(it.Parts[0].Ops, post(77))
		it.Count++
		it.Parts = append(it.Parts, wire.Part{Skip: 1})
		it.Count++
	}
	want := runOf(5, 2)
	for i := range want.Items {
		it := &want.Items[i]
		it.Parts[0].Ops = append(it.Parts[0].Ops, post(77))
		it.Parts = append(it.Parts, wire.Part{Skip: 1})
		it.Count += 2
	}
	if !same(want, r) {
		t.Error("a commit's parts or ops were written over by its neighbour's")
	}
}

func TestStoredIDIsThatOfTheCommit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := stored(t)
		enc := s.Append(nil)
		if id, ok := wire.StoredID(enc); !ok || id != s.ID {
			t.Fatalf("got %s, %t, want %s", id, ok, s.ID)
		}
		short := enc[:rapid.IntRange(0, 39).Draw(t, "length")]
		if id, ok := wire.StoredID(short); ok || !id.IsZero() {
			t.Fatalf("%d bytes hold the id %s", len(short), id)
		}
	})
}
