package sennit

import (
	"context"
	"errors"
	"fmt"
)

// Code classifies an error. Codes are stable: programs branch on them, doors
// map them to HTTP statuses, and the command line to exit codes.
type Code string

// The codes. The comment gives the HTTP status and the exit code.
const (
	Internal    Code = "internal"    // 500, 1: a bug or a broken disk
	BadInput    Code = "bad-input"   // 400, 2: what was asked makes no sense
	NotFound    Code = "not-found"   // 404, 3: nothing there, or nothing that the caller may know of
	Denied      Code = "denied"      // 403, 4: the caller may not do that
	Expired     Code = "expired"     // 403, 4: an invitation that was used up, ran out or was revoked
	Unreachable Code = "unreachable" // 502, 5: no node answers
	Conflict    Code = "conflict"    // 409, 6: the state is not what the caller said it is
	Timeout     Code = "timeout"     // 504, 7: it took too long
	Partly      Code = "partly"      // 207, 8: some of it was done
	OverQuota   Code = "over-quota"  // 429, 9: a speed bump; try later or ask for more
	TooLarge    Code = "too-large"   // 413, 2: over a limit of the format
	ReadOnly    Code = "read-only"   // 507, 1: the disk is full, or writing is suspended
	Gone        Code = "gone"        // 410, 1: history no longer held, or the node is stopping
	Unsupported Code = "unsupported" // 501, 1: understood, but this node can't do it
	Interrupted Code = "interrupted" // 499, 130: the caller went away
)

// Error is an error with a code, for people a message, and often what to do next.
type Error struct {
	Code    Code
	Message string
	Hint    string // the next step, "" if there is none
	Err     error  // the cause, may be nil
}

func (e *Error) Error() string { return e.Message }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an error with a code. %w works as in fmt.Errorf.
func Errorf(code Code, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// Hint adds what to do next to an error.
func Hint(err error, hint string) error {
	return &Error{Code: CodeOf(err), Message: err.Error(), Hint: hint, Err: err}
}

// CodeOf tells the code of an error: that of the outermost [Error] in its
// chain, or one that fits the context's errors, or Internal. It is "" for nil.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, context.Canceled):
		return Interrupted
	}
	return Internal
}

// HintOf tells the outermost hint in the error's chain.
func HintOf(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

// Status is the HTTP status of a code.
func (c Code) Status() int {
	switch c {
	case "":
		return 200
	case BadInput:
		return 400
	case NotFound:
		return 404
	case Denied, Expired:
		return 403
	case Unreachable:
		return 502
	case Conflict:
		return 409
	case Timeout:
		return 504
	case Partly:
		return 207
	case OverQuota:
		return 429
	case TooLarge:
		return 413
	case ReadOnly:
		return 507
	case Gone:
		return 410
	case Unsupported:
		return 501
	case Interrupted:
		return 499
	}
	return 500
}

// Exit is the exit code of a program that ends with this code.
func (c Code) Exit() int {
	switch c {
	case "":
		return 0
	case BadInput, TooLarge:
		return 2
	case NotFound:
		return 3
	case Denied, Expired:
		return 4
	case Unreachable:
		return 5
	case Conflict:
		return 6
	case Timeout:
		return 7
	case Partly:
		return 8
	case OverQuota:
		return 9
	case Interrupted:
		return 130
	}
	return 1
}
