package wire_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// post is an op as a chat or a timeline writes them: a typed value of 120
// bytes at a path of four components.
func post(n int) wire.Op {
	op := wire.Op{
		Kind: sennit.KindPut,
		Path: sennit.Path(fmt.Sprintf("chirp/posts/2026/%08d", n)),
		Body: wire.Put{Value: sennit.Value{Type: "application/json", Data: make([]byte, 120)}}.Append(nil),
	}
	binary.BigEndian.PutUint64(op.Salt[:], uint64(n))
	return op
}

// runOf is a run of whole commits, each with so many ops.
func runOf(commits, ops int) *wire.Run {
	run := &wire.Run{Log: sha256.Sum256([]byte("log")), From: 1000}
	auth := []sennit.Hash{sha256.Sum256([]byte("auth"))}
	for i := range commits {
		part := wire.Part{}
		for j := range ops {
			part.Ops = append(part.Ops, post(i*ops+j))
		}
		run.Items = append(run.Items, wire.RunItem{
			Clock: uint64(i) << 16, Auth: auth, Count: uint32(ops), Parts: []wire.Part{part},
		})
	}
	return run
}

func BenchmarkOpEncode(b *testing.B) {
	op := post(1)
	b.SetBytes(int64(len(op.Bytes())))
	b.ReportAllocs()
	for b.Loop() {
		fresh := bare(op)
		fresh.Bytes()
	}
}

func BenchmarkOpDecode(b *testing.B) {
	op := post(1)
	enc := op.Bytes()
	b.SetBytes(int64(len(enc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wire.DecodeOp(enc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRunDecode(b *testing.B) {
	for _, shape := range [][2]int{{1000, 1}, {1, 1000}} {
		b.Run(fmt.Sprintf("%dx%d", shape[0], shape[1]), func(b *testing.B) {
			enc := runOf(shape[0], shape[1]).Append(nil)
			b.SetBytes(int64(len(enc)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.DecodeRun(enc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRunEncode(b *testing.B) {
	for _, shape := range [][2]int{{1000, 1}, {1, 1000}} {
		b.Run(fmt.Sprintf("%dx%d", shape[0], shape[1]), func(b *testing.B) {
			run := runOf(shape[0], shape[1])
			dst := run.Append(nil)
			b.SetBytes(int64(len(dst)))
			b.ReportAllocs()
			for b.Loop() {
				dst = run.Append(dst[:0])
			}
		})
	}
}

func BenchmarkHeaderID(b *testing.B) {
	h := &wire.Header{Seq: 1000, Clock: 1 << 60, Auth: make([]sennit.Hash, 1), Count: 1}
	b.ReportAllocs()
	for b.Loop() {
		h.ID()
	}
}
