package httpdoor

import (
	"context"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sennit/sennit"
)

// This file is about Braid's merge type aww, in which the newest writing wins. Its
// clients (such as braid-blob 0.0.82) know nothing of versions but which of two is
// newer: they are points in time, as decimal numbers of seconds since 1970. That is
// how a node decides as well, so the versions are another way to write the same.

const (
	mergeAWW     = "aww"
	wallclockish = "wallclockish"  // the type of its versions
	maxWallclock = 80              // bytes of one
	maxAhead     = 3 * time.Second // that a client's clock may be ahead
)

// speaksAWW reports whether a request is of the merge type aww. Others are refused.
func speaksAWW(h http.Header) (bool, error) {
	merge, version := h["Merge-Type"], h["Version-Type"]
	switch {
	case len(merge) > 1 || len(merge) == 1 && merge[0] != mergeAWW:
		return false, sennit.Hint(sennit.Errorf(sennit.BadInput, "the merge type %.60q is not known here", merge), "the newest writing wins here; to have versions as points in time ask for aww")
	case len(version) > 1 || len(version) == 1 && version[0] != wallclockish:
		return false, sennit.Errorf(sennit.BadInput, "the version type %.60q is not known here", version)
	}
	return merge != nil || version != nil, nil
}

// merges refuses a merge type that isn't known, and versions that are points in
// time where nothing is done by them: to pass them over would be to write blindly.
func (d *Door) merges(r *http.Request, t target) error {
	aww, err := speaksAWW(r.Header)
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	puts := r.Method == http.MethodPut && !t.slash && !ranges(r.Header)
	if err == nil && aww && !reads && !puts {
		err = sennit.Errorf(sennit.Unsupported, "by points in time values are put whole, and nothing else is written")
	}
	return err
}

// wallclock is the version of a node as a point in time, "" if it has none: its
// time to the nanosecond, of which the last digits count, and digits that tell
// logs apart, in the order of which a node prefers one of two at the same time.
func wallclock(n *sennit.Node) string {
	if n.Time.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s%020d", pointAt(n.Time), logOrder(string(n.Version)))
}

// logOrder is the beginning of the log's id in a version. Of another version it is 0.
func logOrder(version string) uint64 {
	const digits = 16 // base 32: ten bytes
	if len(version) < digits {
		return 0
	}
	id, err := versionDigits.DecodeString(version[:digits])
	if err != nil {
		return 0
	}
	return binary.BigEndian.Uint64(id)
}

var versionDigits = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// isWallclock reports whether a version is a point in time.
func isWallclock(v string) bool {
	whole, part, ok := strings.Cut(strings.TrimPrefix(v, "-"), ".")
	return ok && len(v) <= maxWallclock && strings.Trim(whole+part, "0123456789") == ""
}

// newer reports whether one point in time is after another; "" is before all.
func newer(a, b string) bool {
	switch {
	case a == "" || b == "":
		return a != "" && b == ""
	case a[0] == '-' && b[0] == '-':
		return newer(b[1:], a[1:])
	case a[0] == '-' || b[0] == '-':
		return b[0] == '-'
	}
	wholeA, partA, _ := strings.Cut(a, ".")
	wholeB, partB, _ := strings.Cut(b, ".")
	wholeA, wholeB = strings.TrimLeft(wholeA, "0"), strings.TrimLeft(wholeB, "0")
	switch {
	case len(wholeA) != len(wholeB):
		return len(wholeA) > len(wholeB)
	case wholeA != wholeB:
		return wholeA > wholeB
	}
	return strings.TrimRight(partA, "0") > strings.TrimRight(partB, "0")
}

// points reads a header that names points in time, and returns the newest.
func points(fields []string) (newest string, err error) {
	all, err := versions(fields)
	if err != nil {
		return "", err
	}
	for _, v := range all {
		if !isWallclock(string(v)) {
			return "", sennit.Hint(sennit.Errorf(sennit.BadInput, "%.100q is no point in time", v), `versions of the merge type aww are seconds since 1970, such as "1770000000.123"`)
		}
		if newer(string(v), newest) {
			newest = string(v)
		}
	}
	return newest, nil
}

// tellAWW says in a header what the present version is.
func tellAWW(h http.Header, name string, n *sennit.Node) {
	h.Set("Merge-Type", mergeAWW)
	h.Set("Version-Type", wallclockish)
	version := wallclock(n)
	if version != "" {
		version = `"` + version + `"`
	}
	h[name] = []string{version}
}

// unknown is the answer to who has seen something newer than what is here.
func unknown(w http.ResponseWriter) error {
	w.Header().Set("Retry-After", "1")
	return status(statusUnknown, sennit.Hint(sennit.Errorf(sennit.NotFound, "this node hasn't that version"), "ask again in a while, or for what is here"))
}

// openAWW opens what is there for a GET or HEAD of this merge type. Who has seen
// something newer has no use for it.
func (d *Door) openAWW(w http.ResponseWriter, r *http.Request, c Caller, t target) (n sennit.Node, content sennit.Content, err error) {
	var asked [2]string
	for i, name := range []string{"Version", "Parents"} {
		if asked[i], err = points(r.Header[name]); err != nil {
			return n, nil, err
		}
	}
	n, content, err = d.cfg.Bus(c).Open(r.Context(), t.addr)
	if err != nil {
		return n, nil, err
	}
	tellAWW(w.Header(), "Version", &n)
	if now := wallclock(&n); newer(asked[0], now) || newer(asked[1], now) {
		content.Close()
		return n, nil, unknown(w)
	}
	return n, content, nil
}

// putAWW answers PUT of a value of this merge type. It is done if the version that
// the request names, if any, is newer than what is there. put puts it; it can do so
// again unless once is set.
func (d *Door) putAWW(w http.ResponseWriter, r *http.Request, c Caller, t target, once bool, put func(cond *sennit.Version) error) error {
	theirs, err := points(r.Header["Version"])
	if err != nil {
		return err
	}
	if err := reached(r.Context(), theirs); err != nil {
		return err
	}
	bus := d.cfg.Bus(c)
	for try := 1; ; try++ {
		n, err := bus.Get(r.Context(), t.addr) // who may not read finds nothing
		if err != nil && sennit.CodeOf(err) != sennit.NotFound {
			return err
		}
		if theirs == "" || newer(theirs, wallclock(&n)) {
			cond := &n.Version // "": nothing is there
			if theirs == "" {
				cond = nil
			}
			err := put(cond)
			if sennit.CodeOf(err) == sennit.Conflict && !once && try < maxTries {
				continue // somebody else wrote meanwhile
			}
			if err != nil {
				return err
			}
			if n, err = bus.Get(r.Context(), t.addr); err != nil && sennit.CodeOf(err) != sennit.NotFound {
				return err
			}
		}
		tellAWW(w.Header(), "Version", &n)
		tellAWW(w.Header(), "Current-Version", &n)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// reached waits until a point in time is past, so that a writing that is done then
// gets a newer version. It doesn't wait for clocks that are far ahead.
func reached(ctx context.Context, point string) error {
	for point != "" {
		now := time.Now().Truncate(time.Millisecond) // a node's clock has no finer
		if newer(pointAt(now), point) {
			return nil
		}
		if newer(point, pointAt(now.Add(maxAhead))) {
			return sennit.Hint(sennit.Errorf(sennit.BadInput, "the version %.40s lies in the future", point), "set the clock")
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func pointAt(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }
