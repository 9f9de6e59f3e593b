package httpdoor_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	"pgregory.net/rapid"
)

// failer is what tests and rapid's tests have in common.
type failer interface {
	Helper()
	Fatalf(string, ...any)
}

// serve has the door answer one request of the trusted caller, without a
// connection.
func (h *house) serve(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "localhost"
	r.Header.Set("Authorization", "Bearer "+tok)
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.door.ServeHTTP(w, r)
	return w
}

// parseJSON reads JSON with the standard library, numbers as texts.
func parseJSON(text []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err = dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err = dec.Token(); err == io.EOF {
		return v, nil
	}
	return nil, sennit.Errorf(sennit.BadInput, "something follows: %v", err)
}

// reads is the document at /me/d/ and its tag, nothing{} and "" if there is
// none.
func (h *house) reads(t failer) (v any, tag string) {
	t.Helper()
	w := h.serve("GET", "/me/d/", "", asJSON)
	if w.Code == http.StatusNotFound {
		return nothing{}, ""
	}
	v, err := parseJSON(w.Body.Bytes())
	if w.Code != http.StatusOK || err != nil {
		t.Fatalf("reading it: %d %s (%v)", w.Code, w.Body, err)
	}
	return v, w.Header().Get("ETag")
}

type nothing struct{}

// patched is what a merge patch makes of a value: RFC 7396 section 2, word for
// word.
func patched(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, _ := target.(map[string]any)
	if t = maps.Clone(t); t == nil {
		t = map[string]any{}
	}
	for name, v := range p {
		if v == nil {
			delete(t, name)
		} else {
			t[name] = patched(t[name], v)
		}
	}
	return t
}

// documents draws documents with few names, so that they meet, some of them
// evil.
func documents(depth int) *rapid.Generator[any] {
	name := rapid.SampledFrom([]string{"a", "b", "c", "a b", "a/b", "", "~", "~1", "..", "*", "\x00", "ü", ".acl", strings.Repeat("n", 300)})
	scalar := rapid.SampledFrom([]any{
		nil, true, "", "x", "{}", "\x1b[0m", json.Number("1"), json.Number("1.0"), json.Number("-0"), json.Number("1e999"),
		[]any{},
		[]any{json.Number("1.50"), map[string]any{"b": nil, "a": []any{}}},
	})
	return rapid.Custom(func(t *rapid.T) any {
		if depth == 0 || rapid.IntRange(0, 2).Draw(t, "kind") == 0 {
			return scalar.Draw(t, "scalar")
		}
		return map[string]any(rapid.MapOfN(name, documents(depth-1), 0, 4).Draw(t, "object"))
	})
}

// TestDocumentsAgainstANaiveModel does what random clients ask, and knows what
// must be there by the standard library and RFC 7396.
func TestDocumentsAgainstANaiveModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newDoor(t, nil)
		var want any = nothing{}
		old := `"` + strings.Repeat("1", 64) + `"`
		for range rapid.IntRange(1, 8).Draw(rt, "requests") {
			v, tag := h.reads(rt)
			if !reflect.DeepEqual(v, want) {
				rt.Fatalf("it reads %v, want %v", v, want)
			}
			doc := documents(4).Draw(rt, "document")
			body, err := json.Marshal(doc)
			if err != nil {
				rt.Fatalf("%v", err)
			}
			method, typ, next := "PUT", isJSON, doc
			if rapid.Bool().Draw(rt, "patch") {
				method, typ, next = "PATCH", isPatch, patched(want, doc)
			}
			status, cond := http.StatusNoContent, "X-Nothing: x"
			switch rapid.IntRange(0, 5).Draw(rt, "condition") {
			case 0:
				if cond = "If-Match: " + tag; tag == "" {
					cond, status = "If-Match: "+old, http.StatusPreconditionFailed
				}
			case 1:
				if cond = "If-Match: " + old; old != tag {
					status = http.StatusPreconditionFailed
				}
			case 2:
				if cond = "If-None-Match: *"; tag != "" {
					status = http.StatusPreconditionFailed
				}
			}
			before := h.state(t)
			w := h.serve(method, "/me/d/", string(body), typ, cond)
			if w.Code != status {
				rt.Fatalf("%s of %s with %s: %d %s, want %d", method, body, cond, w.Code, w.Body, status)
			}
			same := reflect.DeepEqual(next, want)
			if status != http.StatusNoContent {
				next, same = want, true
			}
			if wrote := h.state(t).Hash != before.Hash; wrote == same || (w.Header().Get("Version") != "") != wrote {
				rt.Fatalf("%s of %s over %v: wrote: %v, version %q", method, body, want, wrote, w.Header().Get("Version"))
			}
			if want = next; tag != "" {
				old = tag
			}
		}
		if got, _ := h.reads(rt); !reflect.DeepEqual(got, want) {
			rt.Fatalf("it reads %v, want %v", got, want)
		}
		if n := h.model.Watches(); n != 0 {
			rt.Fatalf("%d watches are left", n)
		}
	})
}

// FuzzDocument: whatever is put, or patched, is refused and changes nothing, or
// reads back as the standard library has it.
func FuzzDocument(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":1.0,"b":{"c":[1,{"d":null}]}}`, `{"a":null,"b":{"":"x"}}`, `"\ud83d\ude00"`, `"\ud800"`, `{"a":["\ud800","\u0061"]}`, `{"\ud800":1}`,
		`{"a":1,"\u0061":2}`, `{"~1":1,"a/b":{"*":2,"..":3,"\u0000":4}}`, `[`, ` null `, `{"":{"":""}}`, `1e`, `{"$value":"a","size":1,"type":"text/plain"}`,
		strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40), strings.Repeat("[", 2000), "\xff", `{"` + strings.Repeat("n", 256) + `":1,"a":2}`,
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, patch bool) {
		h := newDoor(t, nil)
		if w := h.serve("PUT", "/me/d/", `{"a":{"x":1},"b":"text","c":[1]}`, isJSON); w.Code != http.StatusNoContent {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		h.put(t, "beside", "x")
		before := h.state(t)
		old, _ := h.reads(t)
		method, typ := "PUT", isJSON
		if patch {
			method, typ = "PATCH", isPatch
		}
		w := h.serve(method, "/me/d/", string(body), typ)
		now, _ := h.reads(t)
		switch w.Code {
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			if h.state(t).Hash != before.Hash {
				t.Errorf("%q is refused, and changes %v to %v", body, old, now)
			}
		case http.StatusNoContent:
			want, err := parseJSON(body)
			if patch {
				want = patched(old, want)
			}
			if err != nil || !reflect.DeepEqual(now, want) {
				t.Errorf("%q reads as %v, want %v (%v)", body, now, want, err)
			}
		default:
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
		if h.text(t, "beside") != "x" || h.model.Watches() != 0 {
			t.Errorf("%q: beside it is %q, %d watches are left", body, h.text(t, "beside"), h.model.Watches())
		}
	})
}
