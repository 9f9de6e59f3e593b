package client

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/sennit/sennit"
)

const (
	lineBytes  = 16 << 10 // the longest line of a block's headers
	maxHeaders = 64       // lines of a block's headers
)

// errMalformed marks a stream that makes no sense, as opposed to one that
// breaks off: to ask for it again would be of no use.
var errMalformed = errors.New("malformed")

func malformed(format string, args ...any) error {
	return sennit.Errorf(sennit.Unreachable, "the node sends what makes no sense: "+format+" (%w)", append(args, errMalformed)...)
}

// block is one update as it stands in a subscription: a status line, headers,
// an empty line, and a body.
type block struct {
	status   int
	update   sennit.Update // Kind is zero if the block names no path
	live     bool          // what follows are changes
	appended bool          // the body is added to what was there
	located  bool          // it says where a resumed watch would go on
}

// parser reads the blocks of a subscription. It takes no more memory than one
// block, of which the body is at most maxValue.
type parser struct {
	r *bufio.Reader

	// The newest texts, and what they stand for: mostly the next are the same.
	space      sennit.Space
	spaceText  string
	author     sennit.Principal
	authorText string
	typ        string
}

func newParser(r io.Reader) *parser { return &parser{r: bufio.NewReaderSize(r, lineBytes)} }

// next reads one block. It fails with [io.EOF] where the stream ends between
// blocks, with the reader's error where it breaks off, and with errMalformed.
func (p *parser) next() (b block, err error) {
	line, err := p.first()
	if err != nil {
		return b, err
	}
	if b.status, err = parseStatus(line); err != nil {
		return b, err
	}
	length := -1
	n := &b.update.Node
	for i := 0; ; i++ {
		if line, err = p.line(); err != nil {
			return b, err
		}
		if len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || i == maxHeaders {
			return b, malformed("the header line %.60q", line)
		}
		value = bytes.Trim(value, " \t")
		switch {
		case is(name, "Content-Length"):
			u, err := strconv.ParseUint(string(value), 10, 31)
			if err != nil || u > maxValue {
				return b, malformed("the length %.30q", value)
			}
			length = int(u)
		case is(name, "Content-Location"):
			err = p.locate(&b.update, value)
		case is(name, "Version"):
			n.Version = versionOf(string(value))
		case is(name, "Author"):
			n.Author, err = p.authorOf(value)
		case is(name, "Time"):
			n.Time, err = parseTime(string(value))
		case is(name, "Content-Type"):
			if p.typ != string(value) {
				p.typ = string(value)
			}
			n.Value.Type = p.typ
		case is(name, "Blob"):
			n.Value.Blob, err = parseBlob(string(value))
		case is(name, "Cursor"):
			b.update.Cursor, err = sennit.ParseCursor(string(value))
			b.located = true
		case is(name, "Live"):
			b.live = string(value) == "?1"
		case is(name, "Stream"):
			n.Value.Stream, err = strconv.ParseUint(string(value), 10, 64)
		case is(name, "Content-Range") && string(value) == "bytes [-0:-0]":
			b.appended = true
		case is(name, "Until"):
			b.update.Until, err = parseTime(string(value))
		case is(name, "Late"):
			b.update.Late = string(value) == "?1"
		case is(name, "Patches"), is(name, "Content-Range"):
			err = malformed("a part of a value, which was not asked for")
		}
		if err != nil {
			if !errors.Is(err, errMalformed) {
				err = malformed("%v", err)
			}
			return b, err
		}
	}
	if length < 0 {
		return b, malformed("a block without a length")
	}
	if length > 0 {
		n.Value.Data = make([]byte, length)
		if _, err := io.ReadFull(p.r, n.Value.Data); err != nil {
			return b, broken(err)
		}
	}
	p.skip()
	return b, b.check()
}

// check says what kind of update the block is.
func (b *block) check() error {
	named := !b.update.Space.IsZero()
	switch {
	case b.status == 200 && named:
		if b.update.Kind = sennit.Set; b.appended {
			b.update.Kind = sennit.Appended
		}
		if b.update.Late = b.update.Late && b.appended; b.update.Deep || b.update.Node.Path == "" {
			return malformed("a value at a subtree")
		}
	case b.status == 202 && named && !b.update.Until.IsZero():
		if b.update.Kind = sennit.Message; b.update.Deep || b.update.Node.Path == "" || b.located || b.live || b.appended {
			return malformed("a message with what only values have")
		}
	case (b.status == 404 || b.status == 410) && named:
		b.update.Kind = sennit.Deleted
		b.update.Node.Value = sennit.Value{}
	case b.status == 205, b.status == 200 && b.live, b.status == 404 && b.live:
	default:
		return malformed("a block with status %d that names no path", b.status)
	}
	return nil
}

// buffered reports whether more than line ends has arrived already.
func (p *parser) buffered() bool { return p.r.Buffered() > 0 }

// skip drops the line ends after a block, as far as they have arrived.
func (p *parser) skip() {
	for p.r.Buffered() > 0 {
		if c, err := p.r.Peek(1); err != nil || c[0] != '\r' && c[0] != '\n' {
			return
		}
		p.r.Discard(1)
	}
}

// first reads the first line of a block, and over what goes before: line ends,
// which are heartbeats too.
func (p *parser) first() ([]byte, error) {
	for {
		c, err := p.r.ReadByte()
		if err != nil {
			return nil, err
		}
		if c != '\r' && c != '\n' {
			p.r.UnreadByte() // can't fail after ReadByte
			return p.line()
		}
	}
}

// line reads one line. It is good until the next read.
func (p *parser) line() ([]byte, error) {
	line, err := p.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, malformed("a line of more than %d bytes", lineBytes)
	case err != nil:
		return nil, broken(err)
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

// broken is the error for a stream that ends within a block.
func broken(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parseStatus reads "HTTP 200 OK", or "HTTP/1.1 200 OK".
func parseStatus(line []byte) (int, error) {
	f := bytes.SplitN(line, []byte(" "), 3)
	if len(f) >= 2 && bytes.HasPrefix(f[0], []byte("HTTP")) && len(f[1]) == 3 {
		if n, err := strconv.Atoi(string(f[1])); err == nil && n >= 100 {
			return n, nil
		}
	}
	return 0, malformed("the status line %.60q", line)
}

// is compares a header's name without regard to case.
func is(name []byte, want string) bool {
	return len(name) == len(want) && strings.EqualFold(string(name), want)
}

// locate reads a Content-Location: "/space/path", percent-encoded, with a
// slash at the end if it means the subtree.
func (p *parser) locate(u *sennit.Update, value []byte) error {
	text := string(value)
	if strings.IndexByte(text, '%') >= 0 {
		slashes := strings.Count(text, "/")
		plain, err := url.PathUnescape(text)
		if err != nil || strings.Count(plain, "/") != slashes {
			return malformed("the location %.100q", value)
		}
		text = plain
	}
	rest, ok := strings.CutPrefix(text, "/")
	rest, u.Deep = strings.CutSuffix(rest, "/")
	space, path, below := strings.Cut(rest, "/")
	if !ok || below && (path == "" || path[0] == '/') {
		return malformed("the location %.100q", value)
	}
	if space != p.spaceText {
		s, err := sennit.ParseSpace(space)
		if err != nil {
			return err
		}
		p.space, p.spaceText = s, strings.Clone(space)
	}
	u.Space = p.space
	var err error
	u.Node.Path, err = sennit.ParsePath(path)
	return err
}

func (p *parser) authorOf(value []byte) (sennit.Principal, error) {
	if string(value) != p.authorText {
		a, err := parseAuthor(string(value))
		if err != nil {
			return a, err
		}
		p.author, p.authorText = a, string(value)
	}
	return p.author, nil
}

// parseBlob reads a Blob header: the root's hash and the size.
func parseBlob(v string) (*sennit.Blob, error) {
	root, size, _ := strings.Cut(v, " ")
	h, err := sennit.ParseHash(root)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(size, 10, 64)
	if err != nil {
		return nil, sennit.Errorf(sennit.BadInput, "%.30q is not a size", size)
	}
	return &sennit.Blob{Root: h, Size: n}, nil
}
