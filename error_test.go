package sennit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/sennit/sennit"
)

func TestCodesMapToStatusAndExit(t *testing.T) {
	for _, c := range []struct {
		code         sennit.Code
		text         string
		status, exit int
	}{
		{"", "", 200, 0},
		{sennit.Internal, "internal", 500, 1},
		{sennit.BadInput, "bad-input", 400, 2},
		{sennit.NotFound, "not-found", 404, 3},
		{sennit.Denied, "denied", 403, 4},
		{sennit.Expired, "expired", 403, 4},
		{sennit.Unreachable, "unreachable", 502, 5},
		{sennit.Conflict, "conflict", 409, 6},
		{sennit.Timeout, "timeout", 504, 7},
		{sennit.Partly, "partly", 207, 8},
		{sennit.OverQuota, "over-quota", 429, 9},
		{sennit.TooLarge, "too-large", 413, 2},
		{sennit.ReadOnly, "read-only", 507, 1},
		{sennit.Gone, "gone", 410, 1},
		{sennit.Unsupported, "unsupported", 501, 1},
		{sennit.Interrupted, "interrupted", 499, 130},
		{"made up by a later version", "made up by a later version", 500, 1},
	} {
		if string(c.code) != c.text {
			t.Errorf("code %q is written %q; programs rely on it", c.text, c.code)
		}
		if c.code.Status() != c.status || c.code.Exit() != c.exit {
			t.Errorf("%q: status %d, exit %d; want %d, %d", c.code, c.code.Status(), c.code.Exit(), c.status, c.exit)
		}
	}
}

func TestCodeOf(t *testing.T) {
	denied := sennit.Errorf(sennit.Denied, "no")
	for name, c := range map[string]struct {
		err  error
		want sennit.Code
	}{
		"nil":                   {nil, ""},
		"own":                   {denied, sennit.Denied},
		"wrapped":               {fmt.Errorf("reading: %w", denied), sennit.Denied},
		"joined":                {errors.Join(io.EOF, denied), sennit.Denied},
		"outermost":             {sennit.Errorf(sennit.Partly, "some: %w", denied), sennit.Partly},
		"hint keeps it":         {sennit.Hint(denied, "ask"), sennit.Denied},
		"somebody else's":       {io.EOF, sennit.Internal},
		"deadline":              {context.DeadlineExceeded, sennit.Timeout},
		"deadline, wrapped":     {fmt.Errorf("dialing: %w", context.DeadlineExceeded), sennit.Timeout},
		"canceled":              {context.Canceled, sennit.Interrupted},
		"code before context":   {sennit.Errorf(sennit.Unreachable, "dialing: %w", context.DeadlineExceeded), sennit.Unreachable},
		"hint on other's error": {sennit.Hint(io.EOF, "try again"), sennit.Internal},
	} {
		if got := sennit.CodeOf(c.err); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestErrorsKeepTheirMessageAndCause(t *testing.T) {
	err := sennit.Errorf(sennit.NotFound, "reading %s: %w", "a/b", io.EOF)
	if err.Error() != "reading a/b: EOF" || !errors.Is(err, io.EOF) {
		t.Errorf("got %q, cause %v", err, errors.Unwrap(err))
	}
	if err := sennit.Errorf(sennit.NotFound, "nothing"); errors.Unwrap(err) != nil {
		t.Errorf("a cause from nowhere: %v", errors.Unwrap(err))
	}
	hinted := sennit.Hint(err, "look elsewhere")
	if hinted.Error() != err.Error() || !errors.Is(hinted, io.EOF) {
		t.Errorf("a hint changes the error: %q", hinted)
	}
}

func TestHintOf(t *testing.T) {
	inner := sennit.Hint(io.EOF, "inner")
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"nil":           {nil, ""},
		"none":          {sennit.Errorf(sennit.Denied, "no"), ""},
		"foreign":       {io.EOF, ""},
		"own":           {inner, "inner"},
		"outermost":     {sennit.Hint(inner, "outer"), "outer"},
		"beneath":       {sennit.Errorf(sennit.Denied, "no: %w", inner), "inner"},
		"far beneath":   {fmt.Errorf("a: %w", sennit.Errorf(sennit.Denied, "b: %w", fmt.Errorf("c: %w", inner))), "inner"},
		"joined to one": {errors.Join(io.EOF, inner), "inner"},
	} {
		if got := sennit.HintOf(c.err); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
