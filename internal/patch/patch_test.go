package patch_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/patch"
)

func apply(value string, patches ...string) (string, error) {
	var all []patch.Patch
	for i := 0; i < len(patches); i += 2 {
		p, err := patch.Parse(patches[i])
		if err != nil {
			return "", err
		}
		p.Content = []byte(patches[i+1])
		all = append(all, p)
	}
	got, err := patch.Apply([]byte(value), all)
	return string(got), err
}

func TestPatches(t *testing.T) {
	const doc = `{"a": {"b": [1, 2.50, 3]}, "s": "grüße", "n": 1e400, "": {}}`
	for _, c := range []struct {
		value   string
		patches []string
		want    string
	}{
		{doc, []string{"json .a.b[1:2]", "[7,8]"}, `{"a": {"b": [1, 7,8, 3]}, "s": "grüße", "n": 1e400, "": {}}`},
		{doc, []string{"json .a.b[1]", `{"x":1}`}, `{"a": {"b": [1, {"x":1}, 3]}, "s": "grüße", "n": 1e400, "": {}}`},
		{doc, []string{"json .a.b[-1]", "null"}, `{"a": {"b": [1, 2.50, null]}, "s": "grüße", "n": 1e400, "": {}}`},
		{doc, []string{"json .a.b[-0:-0]", "[4]"}, `{"a": {"b": [1, 2.50, 3,4]}, "s": "grüße", "n": 1e400, "": {}}`},
		{doc, []string{"json .a.b[0:0]", "[0]"}, `{"a": {"b": [0,1, 2.50, 3]}, "s": "grüße", "n": 1e400, "": {}}`},
		{doc, []string{"json .a.b[1:]", ""}, `{"a": {"b": [1]}, "s": "grüße", "n": 1e400, "": {}}`},
		{doc, []string{"json .a.b[:2]", "[]"}, `{"a": {"b": [3]}, "s": "grüße", "n": 1e400, "": {}}`},
		{doc, []string{"json .a.b[:]", ""}, `{"a": {"b": []}, "s": "grüße", "n": 1e400, "": {}}`},
		{doc, []string{"json .a", ""}, `{"s": "grüße", "n": 1e400, "": {}}`},
		{doc, []string{`json [""]`, ""}, `{"a": {"b": [1, 2.50, 3]}, "s": "grüße", "n": 1e400}`},
		{doc, []string{`json [""].new`, "5"}, `{"a": {"b": [1, 2.50, 3]}, "s": "grüße", "n": 1e400, "": {"new":5}}`},
		{doc, []string{"json .c", "true"}, `{"a": {"b": [1, 2.50, 3]}, "s": "grüße", "n": 1e400, "": {},"c":true}`},
		{doc, []string{`json ["a.b[\"]"]`, "1"}, `{"a": {"b": [1, 2.50, 3]}, "s": "grüße", "n": 1e400, "": {},"a.b[\"]":1}`},
		{doc, []string{"json .s[2:4]", `"<ö>"`}, `{"a": {"b": [1, 2.50, 3]}, "s": "gr<ö>e", "n": 1e400, "": {}}`},
		{doc, []string{"json .s[5:5]", `"!"`, "json .s[0:1]", `"G"`}, `{"a": {"b": [1, 2.50, 3]}, "s": "Grüße!", "n": 1e400, "": {}}`},
		{doc, []string{"json", "[1]"}, `[1]`},
		{` [ ] `, []string{"json [0:0]", ` [ 1 , 2 ] `}, ` [1 , 2 ] `},
		{` { } `, []string{"json .x", `{}`}, ` {"x":{} } `},
		{`{"a":1,"a":2}`, []string{"json .a", `3`}, `{"a":1,"a":3}`},
		{"grüße", []string{"text [2:4]", "<ö>"}, "gr<ö>e"},
		{"grüße", []string{"text [-0:-0]", " an alle"}, "grüße an alle"},
		{"grüße", []string{"text", "x"}, "x"},
	} {
		if got, err := apply(c.value, c.patches...); err != nil || got != c.want {
			t.Errorf("%s with %q:\ngot  %s, %v\nwant %s", c.value, c.patches, got, err, c.want)
		}
	}
}

func TestPatchesThatCanNotBeDone(t *testing.T) {
	const doc = `{"a":{"b":[1,2]},"s":"xy"}`
	for _, c := range []struct {
		patches []string
		want    sennit.Code
	}{
		{[]string{"json .a.c.d", "1"}, sennit.NotFound},
		{[]string{"json .a.c", ""}, sennit.NotFound},
		{[]string{"json .a.b[2]", "1"}, sennit.NotFound},
		{[]string{"json .a.b[-3]", "1"}, sennit.NotFound},
		{[]string{"json .a.b[1:3]", "[]"}, sennit.NotFound},
		{[]string{"json .a.b[2:1]", "[]"}, sennit.NotFound},
		{[]string{"json .a[0]", "1"}, sennit.NotFound},
		{[]string{"json .a.b.x", "1"}, sennit.NotFound},
		{[]string{"json .a[0:0]", "[]"}, sennit.NotFound},
		{[]string{"json .s.length", "1"}, sennit.NotFound},
		{[]string{"json .a.b[0:1]", "1"}, sennit.BadInput},
		{[]string{"json .s[0:1]", "1"}, sennit.BadInput},
		{[]string{"json .a", "{"}, sennit.BadInput},
		{[]string{"json .a", "1 2"}, sennit.BadInput},
		{[]string{"json", ""}, sennit.BadInput},
		{[]string{"bytes 0-5/10", "x"}, sennit.BadInput},
		{[]string{"json a", "1"}, sennit.BadInput},
		{[]string{"json .", "1"}, sennit.BadInput},
		{[]string{"json .a..b", "1"}, sennit.BadInput},
		{[]string{"json [0:1].a", "1"}, sennit.BadInput},
		{[]string{"json [", "1"}, sennit.BadInput},
		{[]string{"json []", "1"}, sennit.BadInput},
		{[]string{`json ["a`, "1"}, sennit.BadInput},
		{[]string{`json ["\ux"]`, "1"}, sennit.BadInput},
		{[]string{"json [+1]", "1"}, sennit.BadInput},
		{[]string{"json [--1]", "1"}, sennit.BadInput},
		{[]string{"json [99999999999]", "1"}, sennit.BadInput},
		{[]string{"text .a", "1"}, sennit.BadInput},
		{[]string{"json " + strings.Repeat("[0]", 300), "1"}, sennit.BadInput},
		{[]string{"json .s", `"z"`, "json .nowhere.x", "1"}, sennit.NotFound},
	} {
		if got, err := apply(doc, c.patches...); sennit.CodeOf(err) != c.want {
			t.Errorf("%q: got %s, %v; want the code %q", c.patches, got, err, c.want)
		}
	}
	for _, value := range []string{"", "{", "text", "\xff"} {
		if _, err := apply(value, "json .a", "1"); sennit.CodeOf(err) != sennit.BadInput {
			t.Errorf("a range in %q: %v", value, err)
		}
	}
	if _, err := apply("\xff", "text [0:0]", "1"); sennit.CodeOf(err) != sennit.BadInput {
		t.Errorf("a range of text in what is no text: %v", err)
	}
	if _, err := patch.Apply([]byte("[]"), make([]patch.Patch, patch.MaxPatches+1)); sennit.CodeOf(err) != sennit.TooLarge {
		t.Errorf("too many patches: %v", err)
	}
}

// TestPatchesAgainstANaiveReading does the same to values as Go has them.
func TestPatchesAgainstANaiveReading(t *testing.T) {
	value := func(label string) *rapid.Generator[any] {
		leaf := rapid.OneOf(rapid.Just[any](nil), rapid.Map(rapid.IntRange(-9, 9), func(n int) any { return float64(n) }),
			rapid.Map(rapid.StringOf(rapid.SampledFrom([]rune(`a"\ü,]}`))), func(s string) any { return s }))
		return rapid.Custom(func(t *rapid.T) any {
			var draw func(depth int) any
			draw = func(depth int) any {
				switch k := rapid.IntRange(0, 2).Draw(t, "kind"); {
				case k == 0 || depth == 0:
					return leaf.Draw(t, "leaf")
				case k == 1:
					list := []any{}
					for range rapid.IntRange(0, 3).Draw(t, "length") {
						list = append(list, draw(depth-1))
					}
					return list
				}
				obj := map[string]any{}
				for range rapid.IntRange(0, 3).Draw(t, "members") {
					obj[rapid.SampledFrom([]string{"a", "b", "", `x"y`, "ü"}).Draw(t, "name")] = draw(depth - 1)
				}
				return obj
			}
			return draw(3)
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		was, content := value("value").Draw(t, "value"), value("content").Draw(t, "content")
		var steps []string
		// set gives what v becomes when the rest of the way is taken.
		var set func(v any) (any, bool)
		set = func(v any) (any, bool) {
			if len(steps) > 0 && rapid.IntRange(0, 2).Draw(t, "stop") == 0 {
				return content, true
			}
			switch v := v.(type) {
			case map[string]any:
				name := rapid.SampledFrom([]string{"a", "b", "", `x"y`, "ü"}).Draw(t, "name")
				text, _ := json.Marshal(name)
				steps = append(steps, "["+string(text)+"]")
				out := map[string]any{}
				for k, x := range v {
					out[k] = x
				}
				old, there := v[name]
				if !there {
					out[name] = content
					return out, true
				}
				var ok bool
				out[name], ok = set(old)
				return out, ok
			case []any:
				if len(v) == 0 || rapid.Bool().Draw(t, "slice") {
					list, ok := content.([]any)
					if !ok {
						list = []any{content}
					}
					a := rapid.IntRange(0, len(v)).Draw(t, "from")
					b := rapid.IntRange(a, len(v)).Draw(t, "to")
					text, _ := json.Marshal([]int{a, b})
					steps = append(steps, strings.Replace(string(text), ",", ":", 1))
					content = list
					return append(append(append([]any{}, v[:a]...), list...), v[b:]...), true
				}
				i := rapid.IntRange(0, len(v)-1).Draw(t, "index")
				text, _ := json.Marshal([]int{i})
				steps = append(steps, string(text))
				out := append([]any{}, v...)
				var ok bool
				out[i], ok = set(v[i])
				return out, ok
			}
			return content, len(steps) > 0
		}
		want, ok := set(was)
		if !ok {
			t.Skip("nothing to go into")
		}
		old, _ := json.MarshalIndent(was, "", " ")
		body, _ := json.MarshalIndent(content, " ", "\t")
		got, err := apply(string(old), "json "+strings.Join(steps, ""), string(body))
		if err != nil {
			t.Fatalf("%s, %q with %s: %v", old, steps, body, err)
		}
		var have any
		if err := json.Unmarshal([]byte(got), &have); err != nil {
			t.Fatalf("%s, %q with %s gives no JSON: %s", old, steps, body, got)
		}
		a, _ := json.Marshal(have)
		b, _ := json.Marshal(want)
		if !bytes.Equal(a, b) {
			t.Fatalf("%s, %q with %s:\ngot  %s\nwant %s", old, steps, body, a, b)
		}
	})
}

func FuzzApply(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"c"}]}`), "json .a[1].b", []byte(`"d"`))
	f.Add([]byte(`[]`), "json [0:0]", []byte(`[1]`))
	f.Add([]byte("grüße"), "text [1:3]", []byte("x"))
	f.Fuzz(func(t *testing.T, value []byte, rng string, content []byte) {
		p, err := patch.Parse(rng)
		if err != nil {
			return
		}
		p.Content = content
		before := bytes.Clone(value)
		got, err := patch.Apply(value, []patch.Patch{p})
		if !bytes.Equal(value, before) {
			t.Fatalf("%q at %q changed what it was given", content, rng)
		}
		if err == nil && p.Unit == "json" && !json.Valid(got) {
			t.Fatalf("%q at %q in %q gives %q, which is no JSON", content, rng, value, got)
		}
	})
}
