package wire_test

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// readable shows a record as JSON, in the order of its fields: bytes as hex,
// 64-bit integers as decimal strings (JSON's numbers can't hold them), and
// nothing for what is zero or empty. An op shows its decoded body as well.
func readable(v any) json.RawMessage {
	var b bytes.Buffer
	show(&b, reflect.ValueOf(v))
	return b.Bytes()
}

func show(b *bytes.Buffer, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		show(b, v.Elem())
	case reflect.Struct:
		showStruct(b, v)
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			raw := make([]byte, v.Len())
			reflect.Copy(reflect.ValueOf(raw), v)
			b.WriteString(strconv.Quote(hex.EncodeToString(raw)))
			return
		}
		b.WriteString("[")
		for i := range v.Len() {
			if i > 0 {
				b.WriteString(", ")
			}
			show(b, v.Index(i))
		}
		b.WriteString("]")
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.Uint(), b.Uint()) })
		for i, k := range keys {
			b.WriteString([]string{"{", ", "}[min(i, 1)] + strconv.Quote(fmt.Sprint(k.Uint())) + ": ")
			show(b, v.MapIndex(k))
		}
		b.WriteString("}")
	case reflect.String:
		quoted, err := json.Marshal(v.String())
		if err != nil {
			panic(err)
		}
		b.Write(quoted)
	case reflect.Bool:
		b.WriteString(strconv.FormatBool(v.Bool()))
	case reflect.Uint8, reflect.Uint32:
		b.WriteString(strconv.FormatUint(v.Uint(), 10))
	case reflect.Uint64:
		b.WriteString(strconv.Quote(strconv.FormatUint(v.Uint(), 10)))
	case reflect.Int64:
		b.WriteString(strconv.Quote(strconv.FormatInt(v.Int(), 10)))
	default:
		panic("readable: " + v.Type().String())
	}
}

func showStruct(b *bytes.Buffer, v reflect.Value) {
	sep := "{"
	field := func(name string, v reflect.Value) {
		b.WriteString(sep + strconv.Quote(name) + ": ")
		show(b, v)
		sep = ", "
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || empty(v.Field(i)) {
			continue
		}
		name := strings.ToLower(f.Name)
		if strings.IndexFunc(f.Name, unicode.IsLower) >= 0 {
			name = strings.ToLower(f.Name[:1]) + f.Name[1:]
		}
		field(name, v.Field(i))
	}
	if op, ok := v.Interface().(wire.Op); ok {
		if body := decodedBody(&op); body != nil {
			field("decoded", reflect.ValueOf(body))
		}
	}
	if sep == "{" {
		b.WriteString(sep)
	}
	b.WriteString("}")
}

func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && !empty(v.Field(i)) {
				return false
			}
		}
		return true
	}
	return v.IsZero()
}

// decodedBody decodes the body of an op of a known kind with a body of its own.
func decodedBody(op *wire.Op) (body any) {
	var err error
	switch op.Kind {
	case sennit.KindPut:
		body, err = wire.DecodePut(op.Body)
	case sennit.KindDel:
		body, err = wire.DecodeDel(op.Body)
	case sennit.KindAdd:
		body, err = wire.DecodeAdd(op.Body)
	case sennit.KindAppend:
		body, err = wire.DecodeAppend(op.Body)
	case sennit.KindText:
		body, err = wire.DecodeText(op.Body)
	case sennit.KindSnap:
		body, err = wire.DecodeSnap(op.Body)
	case sennit.KindKey:
		body, err = wire.DecodeKey(op.Body)
	case sennit.KindGrant:
		body, err = wire.DecodeGrant(op.Body)
	case sennit.KindRevoke:
		body, err = wire.DecodeRevoke(op.Body)
	case sennit.KindMember:
		body, err = wire.DecodeMember(op.Body)
	}
	if err != nil {
		panic(err)
	}
	return body
}

func TestReadableShowsEverythingThatIsSet(t *testing.T) {
	op := wire.Op{
		Kind: sennit.KindAdd, Path: "votes/\"x\"", Body: wire.Add{Since: 7, Total: -3}.Append(nil),
		Salt: salt(1),
	}
	var got map[string]any
	if err := json.Unmarshal(readable(&op), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"kind": 3.0, "path": "votes/\"x\"", "body": "000000000000000705", "salt": "5a175a175a170001",
		"decoded": map[string]any{"since": "7", "total": "-3"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if s := string(readable(wire.Del{})); s != "{}" {
		t.Errorf("an empty record is shown as %s", s)
	}
}
