package document_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/document"
)

func TestDiffStopsAtWhatACommitHolds(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"%d":1`, i)
		}
		return "{" + b.String()[1:] + "}"
	}
	s := state{}.apply(diff(t, at, nil, many(sennit.MaxOps)))
	if changes, err := document.Diff(at, nil, []byte(many(sennit.MaxOps+1))); sennit.CodeOf(err) != sennit.TooLarge || sennit.HintOf(err) == "" || len(changes) > sennit.MaxOps {
		t.Errorf("too many new values: %d changes, %v", len(changes), err)
	}
	if changes := diff(t, at, s, many(sennit.MaxOps+1)); len(changes) != 1 {
		t.Errorf("one more than there are: %d changes", len(changes))
	}
}

// TestLongStreamsDoNotMove: the bytes of one are not in its leaf, so a put of
// that would lose them.
func TestLongStreamsDoNotMove(t *testing.T) {
	s := state{at: {Type: document.Text, Stream: 1 << 20}, at.Join("a"): {Type: document.JSON, Data: []byte("1")}}
	_, err := document.Patch(at, lookup(t, s, map[sennit.Path]bool{}), []byte(`{"a":null}`))
	_, err2 := document.Diff(at, s.leaves(at), []byte(`{"":{"$value":"","size":1048576,"type":"text/plain; charset=utf-8"}}`))
	for _, err := range []error{err, err2} {
		if sennit.CodeOf(err) != sennit.Unsupported || sennit.HintOf(err) == "" {
			t.Errorf("a long stream moves: %v", err)
		}
	}
	if changes := diff(t, at, s, `{"a":2,"":{"$value":"","size":1048576,"type":"text/plain; charset=utf-8"}}`); len(changes) != 1 {
		t.Errorf("a long stream that stays: %+v", changes)
	}
	if got := s.apply(diff(t, at, s, `{"a":1}`)); len(got) != 1 {
		t.Errorf("a long stream that is deleted: %v", got)
	}
}

func TestLimits(t *testing.T) {
	big := strings.Repeat("x", sennit.MaxInline)
	for i, c := range []struct {
		at   sennit.Path
		doc  string
		code sennit.Code
	}{
		{at, `{"a":"` + big + `"}`, ""},
		{at, `{"a":"x` + big + `"}`, sennit.TooLarge},
		{at, `["` + big[4:] + `"]`, ""},
		{at, `["` + big[3:] + `"]`, sennit.TooLarge},
		{at, `{"a":{"b":"` + big + `","c":"` + big + `"}}`, ""},
		{at, nested(document.MaxNesting), ""},
		{at, `{"a":` + nested(document.MaxNesting) + "}", ""},
		{at, nested(document.MaxNesting + 1), sennit.TooLarge},
		{"d", strings.Repeat(`{"a":`, 31) + nested(document.MaxNesting) + strings.Repeat("}", 31), ""},
		{"d", strings.Repeat(`{"a":`, 32) + nested(document.MaxNesting) + strings.Repeat("}", 32), sennit.TooLarge},
		{"d", strings.Repeat(`{"a":`, 31+document.MaxNesting) + "1" + strings.Repeat("}", 31+document.MaxNesting), ""},
		{"d", strings.Repeat(`{"a":`, 32+document.MaxNesting) + "1" + strings.Repeat("}", 32+document.MaxNesting), sennit.TooLarge},
		{"", `{"a":{}}`, ""},
		{"", "{}", sennit.BadInput},
		{"", "1", sennit.BadInput},
	} {
		changes, err := document.Diff(c.at, nil, []byte(c.doc))
		if sennit.CodeOf(err) != c.code {
			t.Errorf("%d: got %v, want %q", i, err, c.code)
		}
		if err == nil {
			if got := compose(t, c.at, state{}.apply(changes)); got != c.doc {
				t.Errorf("%d: %.60s comes back as %.60s", i, c.doc, got)
			}
		}
	}
}
