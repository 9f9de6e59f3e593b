package wire_test

import (
	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
	"pgregory.net/rapid"
)

// blobMessage is a message of the blob protocol with its number.
type blobMessage struct {
	Number uint64
	Frame  wire.BlobFrame
}

func (m blobMessage) encode() []byte { return wire.AppendBlobFrame(nil, m.Number, m.Frame) }

func decodeBlobMessage(b []byte) (blobMessage, error) {
	number, f, err := wire.DecodeBlobFrame(b)
	return blobMessage{number, f}, err
}

// kindOfBlobMessage is one type of message: its name and a generator.
type kindOfBlobMessage struct {
	name string
	gen  func(*rapid.T) blobMessage
}

func blobMessages() []kindOfBlobMessage {
	of := func(name string, gen func(*rapid.T) wire.BlobFrame) kindOfBlobMessage {
		return kindOfBlobMessage{name, func(t *rapid.T) blobMessage { return blobMessage{number(t, 0, 1<<62), gen(t)} }}
	}
	return []kindOfBlobMessage{
		of("want", func(t *rapid.T) wire.BlobFrame {
			w := &wire.BlobWant{Space: sennit.Space(hash(t)), Path: shortPath(t), Count: uint32(number(t, 0, wire.MaxSlicePiece))}
			w.Blob = sennit.Blob{Root: hash(t), Size: number(t, sennit.MaxInline+1, 1<<62)}
			if w.Count > 0 {
				w.First = number(t, 0, 1<<46-1)
			}
			return w
		}),
		of("have", func(t *rapid.T) wire.BlobFrame {
			h, at := &wire.BlobHave{}, number(t, 0, 1<<40)
			for range number(t, 0, 20) {
				n := number(t, 1, 1<<40)
				h.Ranges = append(h.Ranges, wire.PieceRange{First: at, End: at + n})
				at += n + number(t, 1, 1<<40)
			}
			return h
		}),
		of("data", func(t *rapid.T) wire.BlobFrame {
			return &wire.BlobData{First: number(t, 0, 1<<46-1), Slice: octets(t, 0, 300)}
		}),
		of("reject", func(t *rapid.T) wire.BlobFrame { return &wire.BlobReject{Busy: rapid.Bool().Draw(t, "busy")} }),
	}
}

func blobRefusals() (cs []refusal) {
	b := sennit.BadInput
	add := func(kind, name string, good, bad []byte, why string) {
		cs = append(cs, refusal{name, "blob-" + kind, good, bad, b, why})
	}
	want := func(path string, size uint64, rest ...any) []byte {
		return raw(1, 0, h32(1), uint64(len(path)), path, h32(2), size, raw(rest...))
	}
	whole := want("a", 65537, 0)
	add("want", "type 0", whole, raw(0, whole[1:]), "unknown type")
	add("want", "type 5", whole, raw(5, whole[1:]), "unknown type")
	add("want", "too small for a blob", whole, want("a", 65536, 0), "too small")
	add("want", "size over 2^62", want("a", 1<<62, 0), want("a", 1<<62+1, 0), "over its limit")
	add("want", "bad path", whole, want("/", 65537, 0), "path")
	add("want", "17 pieces", want("a", 65537, 16, 0), want("a", 65537, 17, 0), "over its limit")
	add("want", "from piece 2^46", want("a", 65537, 1, uint64(1<<46-1)), want("a", 65537, 1, uint64(1<<46)), "over its limit")
	add("want", "no first piece", want("a", 65537, 1, 0), want("a", 65537, 1), "integer")
	add("want", "a first piece of none", whole, want("a", 65537, 0, 0), "left over")
	have := func(ranges ...any) []byte { return raw(2, 0, len(ranges)/2, raw(ranges...)) }
	add("have", "empty range", have(0, 1), have(0, 0), "ranges")
	add("have", "ranges that touch", have(0, 1, 1, 1), have(0, 1, 0, 1), "ranges")
	add("have", "beyond the last piece", have(uint64(1<<46-1), 1), have(uint64(1<<46-1), 2), "over its limit")
	many := func(n int) []byte { return raw(2, 0, uint64(n), rep(raw(1, 1), n)) }
	add("have", "1025 ranges", many(wire.MaxHave), many(wire.MaxHave+1), "over its limit")
	add("have", "more ranges than bytes", have(0, 1), raw(2, 0, 2, 0, 1), "longer than its record")
	add("data", "from piece 2^46", raw(3, 0, uint64(1<<46-1), "slice"), raw(3, 0, uint64(1<<46), "slice"), "over its limit")
	full := raw(3, 0, 0)
	add("data", "too long", append(full, rep(0, wire.MaxBlobFrame-len(full))...), append(full, rep(0, wire.MaxBlobFrame-len(full)+1)...), "too long")
	add("reject", "flag 2", raw(4, 0, 1), raw(4, 0, 2), "flag")
	add("reject", "more", raw(4, 0, 0), raw(4, 0, 0, 0), "left over")
	return cs
}

func (w *world) blobMessages() []example {
	ref := sennit.Blob{Root: h32(0xb3), Size: 5_000_000_000}
	made := func(kind, name string, number uint64, f wire.BlobFrame) example {
		return example{"blob-" + kind, name, blobMessage{number, f}, nil}
	}
	return []example{
		made("want", "which", 0, &wire.BlobWant{Space: w.ana.Space(), Path: "films/sea", Blob: ref}),
		made("want", "last", 1, &wire.BlobWant{Space: w.ana.Space(), Path: "films/sea", Blob: ref, First: 76293, Count: 1}),
		made("have", "two", 0, &wire.BlobHave{Ranges: []wire.PieceRange{{First: 0, End: 1024}, {First: 76293, End: 76294}}}),
		made("data", "short", 1, &wire.BlobData{First: 76293, Slice: []byte("not a whole slice")}),
		made("reject", "no", 2, &wire.BlobReject{}),
		made("reject", "busy", 3, &wire.BlobReject{Busy: true}),
	}
}
