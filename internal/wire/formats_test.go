package wire_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/sennit/sennit/internal/wire"
	"pgregory.net/rapid"
)

// format is the codec of one kind of record as the tests see it.
type format struct {
	name   string
	gen    *rapid.Generator[any]
	encode func(v any) ([]byte, error)
	decode func(b []byte) (any, error)
	// loose gives what an encoding should be from what was decoded, for the one
	// format that forgives something.
	loose func(b []byte) []byte
}

func of[V any](name string, gen func(*rapid.T) V, encode func(V) []byte, decode func([]byte) (V, error)) format {
	return format{
		name:   name,
		gen:    rapid.Custom(func(t *rapid.T) any { return gen(t) }),
		encode: func(v any) ([]byte, error) { return encode(v.(V)), nil },
		decode: func(b []byte) (any, error) { return decode(b) },
		loose:  func(b []byte) []byte { return b },
	}
}

type appender interface{ Append([]byte) []byte }

func appended[V appender](v V) []byte { return v.Append(nil) }

// formats lists every record that package wire decodes on its own.
func formats() []format {
	fs := []format{
		of("op", op, func(o wire.Op) []byte { o = bare(o); return o.Bytes() }, wire.DecodeOp),
		of("put", put, appended[wire.Put], wire.DecodePut),
		of("del", del, appended[wire.Del], wire.DecodeDel),
		of("add", add, appended[wire.Add], wire.DecodeAdd),
		of("append", chunk, appended[wire.Append], wire.DecodeAppend),
		of("text", text, appended[wire.Text], wire.DecodeText),
		of("snap", snap, appended[wire.Snap], wire.DecodeSnap),
		of("grant", grant, appended[wire.Grant], wire.DecodeGrant),
		of("revoke", revoke, appended[wire.Revoke], wire.DecodeRevoke),
		of("member", member, appended[wire.Member], wire.DecodeMember),
		of("key", key, appended[wire.Key], wire.DecodeKey),
		of("inception", inception, wire.Inception.Bytes, wire.DecodeInception),
		of("key-event", keyEvent, (*wire.KeyEvent).Bytes, wire.DecodeKeyEvent),
		of("evidence", evidence, appended[*wire.Evidence], wire.DecodeEvidence),
		of("log", log, wire.Log.Bytes, wire.DecodeLog),
		of("header", header, appended[*wire.Header], wire.DecodeHeader),
		of("id-proof", idProof, appended[wire.IDProof], wire.DecodeIDProof),
		of("fork-proof", forkProof, appended[*wire.ForkProof], wire.DecodeForkProof),
		of("run", run, func(r *wire.Run) []byte { return bareRun(r).Append(nil) }, wire.DecodeRun),
		of("stored", stored, appended[*wire.Stored], wire.DecodeStored),
		of("live-message", liveMessage, (*wire.LiveMessage).Bytes, wire.DecodeLiveMessage),
		of("host-certificate", hostCert, func(c wire.HostCert) []byte { return c.Bytes() }, wire.DecodeHostCert),
		of("redeem", redeem, func(d wire.Redeem) []byte { return d.Bytes() }, wire.DecodeRedeem),
	}
	for _, m := range messages() {
		fs = append(fs, of("message-"+m.name, m.gen, message.encode, decodeMessage))
	}
	for _, m := range blobMessages() {
		fs = append(fs, of("blob-"+m.name, m.gen, blobMessage.encode, decodeBlobMessage))
	}
	l := of("link", link, nil, func(b []byte) (*wire.Link, error) { return wire.ParseLink(string(b)) })
	l.encode = func(v any) ([]byte, error) {
		text, err := v.(*wire.Link).Text()
		return []byte(text), err
	}
	l.loose = bytes.TrimSpace // people paste links
	return append(fs, l)
}

func formatOf(t testing.TB, name string) format {
	t.Helper()
	for _, f := range formats() {
		if f.name == name {
			return f
		}
	}
	t.Fatalf("no format %q", name)
	return format{}
}

// bare is the op without what it remembers of its encoding, so that encoding
// it starts from its fields.
func bare(op wire.Op) wire.Op {
	return wire.Op{Kind: op.Kind, Path: op.Path, Parents: op.Parents, Body: op.Body, Salt: op.Salt}
}

func bareRun(r *wire.Run) *wire.Run {
	c := *r
	c.Items = append([]wire.RunItem(nil), r.Items...)
	for i := range c.Items {
		parts := append([]wire.Part(nil), c.Items[i].Parts...)
		for j := range parts {
			ops := append([]wire.Op(nil), parts[j].Ops...)
			for k := range ops {
				ops[k] = bare(ops[k])
			}
			parts[j].Ops = ops
		}
		c.Items[i].Parts = parts
	}
	return &c
}

// same compares the exported fields of two values. It takes an empty slice for
// a nil one: a format can't tell them apart.
func same(a, b any) bool { return sameValue(reflect.ValueOf(a), reflect.ValueOf(b)) }

func sameValue(a, b reflect.Value) bool {
	if a.IsValid() != b.IsValid() || a.IsValid() && a.Type() != b.Type() {
		return false
	}
	switch a.Kind() {
	case reflect.Pointer, reflect.Interface:
		return a.IsNil() == b.IsNil() && (a.IsNil() || sameValue(a.Elem(), b.Elem()))
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !sameValue(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for _, k := range a.MapKeys() {
			if v := b.MapIndex(k); !v.IsValid() || !sameValue(a.MapIndex(k), v) {
				return false
			}
		}
		return true
	case reflect.Struct:
		for i := range a.NumField() {
			if a.Type().Field(i).IsExported() && !sameValue(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	}
	return a.Equal(b)
}
