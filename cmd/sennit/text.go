package main

import (
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sennit/sennit"
)

// isTerminal reports whether somebody reads there.
func isTerminal(v io.Writer) bool {
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}

// oneLine is a value as a line for people. Whoever wrote it must not be able
// to move the cursor of a terminal.
func oneLine(value []byte) string {
	if !utf8.Valid(value) {
		return "(" + strconv.Itoa(len(value)) + " bytes)"
	}
	var b strings.Builder
	for _, r := range strings.TrimRight(string(value), "\n") {
		if unicode.IsControl(r) || !unicode.IsPrint(r) && r != ' ' {
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// cursorText is a cursor as people pass it around, the same as over HTTP; ""
// for none.
func cursorText(c sennit.Cursor) string {
	if c == (sennit.Cursor{}) {
		return ""
	}
	return c.String()
}

func parseCursor(text string) (sennit.Cursor, error) {
	c, err := sennit.ParseCursor(text)
	if err != nil {
		err = sennit.Hint(err, "take one from the output of: sennit watch --json")
	}
	return c, err
}
