package main

import (
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/sennit/sennit"
)

func itoa(n int) string { return strconv.Itoa(n) }

// isTerminal reports whether somebody reads or types there.
func isTerminal(v io.Writer) bool {
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// cursorText is a cursor as people pass it around, "" for none.
func cursorText(c sennit.Cursor) string {
	if c == (sennit.Cursor{}) {
		return ""
	}
	return strconv.FormatUint(c.Epoch, 16) + "-" + strconv.FormatUint(c.N, 10)
}

func parseCursor(text string) (c sennit.Cursor, err error) {
	epoch, n, ok := strings.Cut(text, "-")
	if ok {
		c.Epoch, err = strconv.ParseUint(epoch, 16, 64)
	}
	if ok && err == nil {
		c.N, err = strconv.ParseUint(n, 10, 64)
	}
	if !ok || err != nil {
		return c, sennit.Hint(sennit.Errorf(sennit.BadInput, "%q is not a cursor", text), "take one from the output of: sennit watch --json")
	}
	return c, nil
}
