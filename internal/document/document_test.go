package document_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/document"
)

func TestStringsKeepTheirCharactersAndNumbersTheirText(t *testing.T) {
	for doc, want := range map[string]struct{ typ, data, shown string }{
		`"hello"`:                  {document.Text, "hello", `"hello"`},
		`""`:                       {document.Text, "", `""`},
		` "\u00e9\/\ud83d\ude00" `: {document.Text, "é/😀", `"é/😀"`},
		`"\u0000\n\u001f\""`:       {document.Text, "\x00\n\x1f\"", `"\u0000\n\u001f\""`},
		`"\ufffd"`:                 {document.Text, "\ufffd", `"` + "\ufffd" + `"`},
		`"a\ud800"`:                {document.JSON, `"a\ud800"`, `"a\ud800"`},
		`"\udc00\ud800"`:           {document.JSON, `"\udc00\ud800"`, `"\udc00\ud800"`},
		`[ "\ud800" , "\u0061" ]`:  {document.JSON, `["\ud800","\u0061"]`, `["\ud800","\u0061"]`},
		`[ "\u0061" ]`:             {document.JSON, `["a"]`, `["a"]`},
		"-0":                       {document.JSON, "-0", "-0"},
		"1.0":                      {document.JSON, "1.0", "1.0"},
		"1E+400":                   {document.JSON, "1E+400", "1E+400"},
		"[1.0, 1E2,-0 ]":           {document.JSON, "[1.0,1E2,-0]", "[1.0,1E2,-0]"},
		"9007199254740993":         {document.JSON, "9007199254740993", "9007199254740993"},
		"null":                     {document.JSON, "null", "null"},
		" true\n":                  {document.JSON, "true", "true"},
		"{ }":                      {document.JSON, "{}", "{}"},
		`[{"b":1, "a":[ ]}]`:       {document.JSON, `[{"b":1,"a":[]}]`, `[{"b":1,"a":[]}]`},
	} {
		s := state{}.apply(diff(t, at, nil, doc))
		if v := s[at]; len(s) != 1 || v.Type != want.typ || string(v.Data) != want.data {
			t.Errorf("%s is kept as %q %q", doc, v.Type, v.Data)
		}
		got := compose(t, at, s)
		if got != want.shown {
			t.Errorf("%s reads as %s, want %s", doc, got, want.shown)
		}
		if again := diff(t, at, s, got); len(again) > 0 {
			t.Errorf("%s comes back, and changes %+v", got, again)
		}
	}
}

// TestSpellingIsNoChange: what a client's JSON library makes of a document it
// has read.
func TestSpellingIsNoChange(t *testing.T) {
	s := state{}
	for p, json := range map[string]string{"a": `["\u00e9", {"b":1,"1":2}]`, "o": `{"x": {"b":[1],"a":"\u0041"}, "y":"\/"}`, "s": `"\u0041"`} {
		s[at.Join(sennit.Path(p))] = sennit.Value{Type: document.JSON, Data: []byte(json)}
	}
	s[at.Join("t")] = sennit.Value{Type: document.Text, Data: []byte("é\n")}
	doc := ` {"t":"\u00e9\u000a", "s":"A", "o":{"y":"/","x":{"a":"A","b":[1]}}, "a":["é",{"1":2,"b":1}]} `
	if changes := diff(t, at, s, doc); len(changes) > 0 {
		t.Errorf("changes %+v", changes)
	}
	for _, other := range []string{
		strings.Replace(doc, "[1]", "[2]", 1), strings.Replace(doc, `"1":2,"b":1`, `"1":1,"b":2`, 1), strings.Replace(doc, `"A"`, `"B"`, 1),
	} {
		if changes := diff(t, at, s, other); len(changes) != 1 {
			t.Errorf("%s changes %+v", other, changes)
		}
	}
}

func TestMalformed(t *testing.T) {
	for doc, problem := range map[string]string{
		"": "byte 0: there is no value", " ": "byte 1: there is no value", "{": "byte 1", "[1,": "byte 3", `{"a"`: "byte 4", `"`: "byte 1",
		"[1,]": "byte 2", `{"a":1,}`: "byte 6", "{a:1}": "byte 1", "{1:1}": "byte 1", `{"a" 1}`: "byte 5", `{"a":}`: "byte 5", "[1 2]": "byte 3",
		"01": "byte 1", "-": "byte 0", "1.": "byte 0", ".5": "byte 0", "+1": "byte 0", "1e": "byte 0", "0x1": "byte 1", "NaN": "byte 0", "tru": "byte 3", "True": "byte 0",
		"\"\t\"": "byte 1", `"\x"`: "byte 1", `"\u12"`: "byte 1", "'a'": "byte 0", "]": "byte 0", "[}": "byte 1", "{]": "byte 1", "// c\n1": "byte 0", "\ufeff1": "byte 0",
		"1,": "byte 1: something follows", "1 2": "byte 2: something follows", "{}}": "byte 2: something follows", `{"a":1} x`: "byte 8: something follows",
		"\"\xff\"": "byte 1: it is not UTF-8", "{\"a\":\"é\xed\xa0\x80\"}": "byte 8: it is not UTF-8", "[\x00]": "byte 1",
		`{"a":1,"a":2}`: "byte 7: an object has two members of the same name", `{"a":1, "\u0061":2}`: "byte 8: an object has two",
		`[[{"x":1,"x":1}]]`: "byte 9: an object has two", `{"":{"b":{"":1,"":1}}}`: "byte 15: an object has two",
		`{"\ud800":1}`: "byte 1: the name of a member has half", `[{"a":[{"\udfff":1}]}]`: "byte 8: the name of a member has half",
		strings.Repeat("[", 100_000): "byte 1032", strings.Repeat(`{"":`, 25_000): "byte 4128", `{"a":[1,{"b":nul}]}`: "byte 16",
	} {
		for kind, f := range map[string]func() ([]sennit.Change, error){
			"diff":  func() ([]sennit.Change, error) { return document.Diff(at, nil, []byte(doc)) },
			"patch": func() ([]sennit.Change, error) { return document.Patch(at, lookup(t, nil, nil), []byte(doc)) },
		} {
			changes, err := f()
			code := sennit.BadInput
			if len(doc) == 100_000 {
				code = sennit.TooLarge
			}
			if sennit.CodeOf(err) != code || !strings.Contains(err.Error(), problem) || len(changes) > 0 || len(err.Error()) > 200 {
				t.Errorf("%s of %.50q: %+v, %v; want %q", kind, doc, changes, err, problem)
			}
		}
	}
}

// shown has what a leaf of some type reads as.
func TestWhatLeavesShow(t *testing.T) {
	p := at.Join("a")
	reference := func(typ string, size int) string {
		return fmt.Sprintf(`{"a":{"$value":"a","size":%d,"type":%q}}`, size, typ)
	}
	for i, c := range []struct {
		v    sennit.Value
		want string
	}{
		{sennit.Value{Type: document.Text, Data: []byte("x")}, `{"a":"x"}`},
		{sennit.Value{Type: document.Text, Data: []byte("\xff")}, reference(document.Text, 1)},
		{sennit.Value{Type: "text/plain", Data: []byte("x")}, reference("text/plain", 1)},
		{sennit.Value{Type: "text/markdown", Data: []byte("x")}, reference("text/markdown", 1)},
		{sennit.Value{Data: []byte("xy")}, reference("application/octet-stream", 2)},
		{sennit.Value{Type: document.JSON, Data: []byte(" [1, 2] ")}, `{"a":[1,2]}`},
		{sennit.Value{Type: document.JSON, Data: []byte(`{"b":1,"a":{}}`)}, `{"a":{"a":{},"b":1}}`},
		{sennit.Value{Type: document.JSON}, reference(document.JSON, 0)},
		{sennit.Value{Type: document.JSON, Data: []byte("{")}, reference(document.JSON, 1)},
		{sennit.Value{Type: document.JSON, Data: []byte("1 2")}, reference(document.JSON, 3)},
		{sennit.Value{Type: document.JSON, Data: []byte("\"\xff\"")}, reference(document.JSON, 3)},
		{sennit.Value{Type: document.JSON, Data: []byte(`{"a":1,"a":2}`)}, reference(document.JSON, 13)},
		{sennit.Value{Type: document.JSON, Data: []byte(`{"\ud800":1}`)}, reference(document.JSON, 12)},
		{sennit.Value{Type: "application/json; charset=utf-8", Data: []byte("1")}, reference("application/json; charset=utf-8", 1)},
		{sennit.Value{Type: document.Text, Blob: &sennit.Blob{Size: 1 << 40}}, reference(document.Text, 1<<40)},
		{sennit.Value{Type: document.Text, Stream: 1 << 20}, reference(document.Text, 1<<20)},
		{sennit.Value{Type: document.JSON, Stream: 1 << 20}, reference(document.JSON, 1<<20)},
		{sennit.Value{Type: document.JSON, Data: []byte(nested(document.MaxNesting))}, `{"a":` + nested(document.MaxNesting) + "}"},
		{sennit.Value{Type: document.JSON, Data: []byte(objects(document.MaxNesting))}, `{"a":` + objects(document.MaxNesting) + "}"},
		{sennit.Value{Type: document.JSON, Data: []byte(objects(document.MaxNesting + 1))}, reference(document.JSON, 6*document.MaxNesting+7)},
		{sennit.Value{Type: document.JSON, Data: []byte(nested(document.MaxNesting + 1))}, reference(document.JSON, 2*document.MaxNesting+2)},
	} {
		s := state{p: c.v}
		got := compose(t, at, s)
		if got != c.want {
			t.Errorf("%d: got %.200s, want %.200s", i, got, c.want)
		}
		if changes := diff(t, at, s, got); len(changes) > 0 {
			t.Errorf("%d: it comes back, and changes %+v", i, changes)
		}
		if after, _, _ := patch(t, s, got); !same(after, s) {
			t.Errorf("%d: it comes back as a patch, and becomes %v", i, after)
		}
	}
}

func objects(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestWhatDoesNotFitAPathIsKeptTogether(t *testing.T) {
	long := strings.Repeat("n", 256)
	for _, c := range []struct {
		at   sennit.Path
		doc  string
		want map[sennit.Path]string
	}{
		{"d", `{"a":1,"` + long + `":{"x":2}}`, map[sennit.Path]string{"d": `{"` + long + `":{"x":2}}`, "d/a": "1"}},
		{sennit.Path("d" + strings.Repeat("/d", 31)), `{"b":{"c":1},"a":"x"}`, map[sennit.Path]string{
			sennit.Path("d" + strings.Repeat("/d", 31)): `{"a":"x","b":{"c":1}}`,
		}},
		{sennit.Path("d" + strings.Repeat("/d", 30)), `{"b":{"c":1}}`, map[sennit.Path]string{
			sennit.Path("d" + strings.Repeat("/d", 30) + "/b"): `{"c":1}`,
		}},
		{sennit.Path(strings.Repeat(long[:254]+"/", 4) + "dd"), `{"b":1,"cd":2}`, map[sennit.Path]string{
			sennit.Path(strings.Repeat(long[:254]+"/", 4) + "dd"):   `{"cd":2}`,
			sennit.Path(strings.Repeat(long[:254]+"/", 4) + "dd/b"): "1",
		}},
	} {
		s := state{}.apply(diff(t, c.at, nil, c.doc))
		got := map[sennit.Path]string{}
		for p, v := range s {
			got[p] = string(v.Data)
		}
		if !same(got, c.want) {
			t.Errorf("%.40s is kept as %v", c.doc, got)
		}
		if got := compose(t, c.at, s); !same(parse(t, got), parse(t, c.doc)) {
			t.Errorf("%.40s comes back as %s", c.doc, got)
		}
	}
}

// TestOwnValuesMoveWhereTheyMust: the own value of a directory needs another
// place when it is left alone under the empty name.
func TestOwnValuesMoveWhereTheyMust(t *testing.T) {
	deep := at.Join(sennit.Path(strings.Repeat("x/", sennit.MaxDepth-at.Depth()-1) + "x"))
	image := sennit.Value{Type: "image/png", Data: []byte("png")}
	hello := sennit.Value{Type: document.Text, Data: []byte("hello")}
	one := sennit.Value{Type: document.JSON, Data: []byte("1")}
	for name, c := range map[string]struct {
		at     sennit.Path
		before state
		doc    string
		after  state
	}{
		"a reference alone": {at, state{at: image, at.Join("a"): one}, `{"":{"$value":"","size":3,"type":"image/png"}}`, state{at.Join("~"): image}},
		"beside a name that fits no path": {
			at,
			state{at: hello, at.Join("a"): one},
			`{"":"hello","a":1,"` + strings.Repeat("n", 256) + `":1}`,
			state{at: {Type: document.JSON, Data: []byte(`{"` + strings.Repeat("n", 256) + `":1}`)}, at.Join("a"): one, at.Join("~"): hello},
		},
		"where no child can be": {
			deep, state{deep: hello}, `{"":"hello","x":1,"~":{}}`, state{deep: {Type: document.JSON, Data: []byte(`{"x":1,"":"hello","~":{}}`)}},
		},
		"an object in its place": {at, state{at: hello, at.Join("a"): one}, `{"":{"b":1},"a":1}`, state{at.Join("a"): one, at.Join("~/b"): one}},
		"another text":           {at, state{at: one, at.Join("a"): one}, `{"":"hello","a":1}`, state{at: hello, at.Join("a"): one}},
	} {
		if got := c.before.apply(diff(t, c.at, c.before, c.doc)); !same(got, c.after) {
			t.Errorf("%s: got %v", name, got)
		}
	}
	for _, c := range []struct {
		before state
		patch  string
		after  state
	}{
		{state{at: image, at.Join("a"): one}, `{"a":null}`, state{at.Join("~"): image}},
		{state{at: hello, at.Join("a"): one}, `{"":null}`, state{at.Join("a"): one}},
		{state{at: hello, at.Join("~"): one}, `{"":null}`, state{at: {Type: document.JSON, Data: []byte("{}")}}},
		{state{at: hello, at.Join("~"): one, at.Join("a"): one}, `{"":null}`, state{at.Join("a"): one}},
		{state{at: hello, at.Join("a"): one}, `{"":{"b":1,"c":null}}`, state{at.Join("~/b"): one, at.Join("a"): one}},
	} {
		if got, _, _ := patch(t, c.before, c.patch); !same(got, c.after) {
			t.Errorf("%s leaves %v", c.patch, got)
		}
	}
}

// pieces counts what is written.
type pieces struct {
	strings.Builder
	most, left int
}

func (p *pieces) Write(b []byte) (int, error) {
	if p.most = max(p.most, len(b)); p.left == 0 {
		return 0, errors.ErrUnsupported
	}
	p.left--
	return p.Builder.Write(b)
}

func TestComposeStreams(t *testing.T) {
	s := state{}
	for i := range 1000 {
		s[at.Join(sennit.Path(fmt.Sprintf("a/%d", i)))] = sennit.Value{Type: document.Text, Data: []byte(strings.Repeat("x", 1000))}
	}
	out := pieces{left: 1000}
	if err := document.Compose(&out, at, seq(s.leaves(at))); err != nil || out.most > 34<<10 || !json.Valid([]byte(out.String())) {
		t.Errorf("%v; the largest piece has %d bytes", err, out.most)
	}
	for left := range 3 {
		if err := document.Compose(&pieces{left: left}, at, seq(s.leaves(at))); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("a writer that fails: %v", err)
		}
	}
}

func TestComposeRefuses(t *testing.T) {
	a, b := document.Leaf{Path: at.Join("a")}, document.Leaf{Path: at.Join("a/b")}
	c := document.Leaf{Path: at.Join("a b")}
	for name, leaves := range map[string][]document.Leaf{
		"out of order": {b, a}, "twice": {a, a}, "by bytes": {a, c, b}, "outside": {a, {Path: "y"}}, "above": {{Path: at.Parent()}}, "beside": {{Path: at + "s"}},
	} {
		if err := document.Compose(&pieces{}, at, seq(leaves)); sennit.CodeOf(err) != sennit.Internal {
			t.Errorf("leaves %s: %v", name, err)
		}
		if _, err := document.Diff(at, leaves, []byte("1")); sennit.CodeOf(err) != sennit.Internal {
			t.Errorf("leaves %s: %v", name, err)
		}
	}
	if err := document.Compose(&pieces{}, at, seq(nil)); sennit.CodeOf(err) != sennit.NotFound {
		t.Errorf("no leaves: %v", err)
	}
	broken := errors.New("broken")
	err := document.Compose(&pieces{}, at, func(yield func(document.Leaf, error) bool) { _ = yield(a, nil) && yield(document.Leaf{}, broken) })
	if !errors.Is(err, broken) {
		t.Errorf("leaves that end with an error: %v", err)
	}
}

func FuzzRoundTrip(f *testing.F) {
	for _, doc := range []string{
		`{"a":1,"b":{"c":"d","":[1,{"x":"\ud800"}]},"~1":"","/":{}}`, `"\ud83d\ude00"`, "[1.0,-0]", `{"a":{"b":{"c":null}}}`, `{"a":1,"a":1}`, "\"\xff\"", `{"\ud800":0}`, "nul",
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		changes, err := document.Diff(at, nil, doc)
		if err != nil {
			code := sennit.CodeOf(err)
			if code != sennit.BadInput && code != sennit.TooLarge || len(changes) > 0 {
				t.Fatalf("%q: %v", doc, err)
			}
			why := slices.ContainsFunc([]string{"same name", "half of a surrogate"}, func(s string) bool { return strings.Contains(err.Error(), s) })
			if json.Valid(doc) && utf8.Valid(doc) && code == sennit.BadInput && !why {
				t.Fatalf("%q is refused: %v", doc, err)
			}
			return
		}
		if !json.Valid(doc) {
			t.Fatalf("%q is accepted", doc)
		}
		s := state{}.apply(changes)
		got := compose(t, at, s)
		if !same(parse(t, got), parse(t, string(doc))) {
			t.Fatalf("%q comes back as %q", doc, got)
		}
		if again := diff(t, at, s, got); len(again) > 0 {
			t.Fatalf("%q comes back as %q, and changes %+v", doc, got, again)
		}
		after, _, _ := patch(t, s, got)
		if want := mergePatch(parse(t, got), parse(t, got)); !same(parse(t, compose(t, at, after)), want) {
			t.Fatalf("%q as a patch of itself gives %v", got, after)
		}
	})
}

// FuzzLeaf has a leaf whose bytes somebody else chose, and a child beneath it.
func FuzzLeaf(f *testing.F) {
	for _, data := range []string{`{"a":1,"b":{}}`, "[1]", "{", `{"\ud800":1}`, "\xff", `{"~":2,"":1}`} {
		f.Add(document.JSON, []byte(data), "~", `{"a":2}`)
		f.Add(document.Text, []byte(data), "a", `{"":null,"a":null}`)
	}
	f.Fuzz(func(t *testing.T, typ string, data []byte, name, doc string) {
		if !isComponent(name) || len(at)+1+len(name) > sennit.MaxPath || !utf8.ValidString(typ) {
			t.Skip()
		}
		s := state{at: {Type: typ, Data: data}, at.Join(sennit.Path(name)): {Type: typ, Data: data}}
		shown := compose(t, at, s)
		if changes := diff(t, at, s, shown); len(changes) > 0 {
			t.Fatalf("%s comes back, and changes %+v", shown, changes)
		}
		changes, err := document.Diff(at, s.leaves(at), []byte(doc))
		if err != nil {
			return
		}
		if got := compose(t, at, s.apply(changes)); !same(moved(parse(t, got)), moved(parse(t, doc))) {
			t.Fatalf("%s becomes %s, want %s", shown, got, doc)
		}
	})
}
