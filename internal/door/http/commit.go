package httpdoor

import (
	"bytes"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/sennit/sennit"
)

// maxCommitBody bounds the body of a commit. The changes of the largest commit
// fit even if every byte of their paths is percent-encoded.
const maxCommitBody = 4 * sennit.MaxCommit

// commit answers POST to the root of a space: several changes, done together.
func (d *Door) commit(w http.ResponseWriter, r *http.Request, c Caller, t target) error {
	if err := t.none(); err != nil {
		return err
	}
	if err := checkConditions(r, reprDigest); err != nil {
		return err
	}
	typ, err := contentType(r.Header)
	if err != nil {
		return err
	}
	if typ, _, err := mime.ParseMediaType(typ); err != nil || typ != commitType {
		return status(http.StatusUnsupportedMediaType, sennit.Errorf(sennit.Unsupported, "a commit has the type %s", commitType))
	}
	limit := int64(maxCommitBody)
	if c.Via == Anonymous {
		limit = sennit.MaxInline // of strangers there may be many
	}
	body, err := readBody(w, r, limit)
	if err != nil {
		return err
	}
	changes, err := parseCommit(body, t.addr.Root)
	if err != nil {
		return err
	}
	v, err := d.cfg.Bus(c).Write(r.Context(), t.addr.Root, changes)
	if err != nil {
		return err
	}
	written(w, v)
	return nil
}

// parseCommit reads the changes of a commit, which look like the requests that
// would do them one by one:
//
//	PUT /me/notes/a
//	Content-Type: text/plain
//	Content-Length: 5
//
//	hello
//	DELETE /me/notes/old/
//	POST /me/votes?add=1
//
//	POST /me/journal?append
//	Content-Length: 9
//
//	one line
//
// Lines end in CRLF or LF. A PUT and what is appended need their Content-Length;
// the others have no body. Each may have a condition: If-Match with a version, or
// If-None-Match with a star. Empty lines after a change are skipped. Paths are percent-encoded, name
// the root that the commit was posted to, and mean what they mean in requests.
// The values alias the body.
func parseCommit(body []byte, root string) ([]sennit.Change, error) {
	var changes []sennit.Change
	for {
		if body = bytes.TrimLeft(body, "\r\n"); len(body) == 0 {
			return changes, nil
		}
		if len(changes) == sennit.MaxOps {
			return nil, sennit.Errorf(sennit.TooLarge, "the commit has more than %d changes", sennit.MaxOps)
		}
		c, rest, err := parseChange(body, root)
		if err != nil {
			return nil, sennit.Errorf(sennit.CodeOf(err), "change %d of the commit: %w", len(changes)+1, err)
		}
		changes, body = append(changes, c), rest
	}
}

func parseChange(body []byte, root string) (c sennit.Change, rest []byte, err error) {
	line, body, ok := cutLine(body)
	method, path, _ := strings.Cut(line, " ")
	if !ok || method != "PUT" && method != "DELETE" && method != "POST" {
		return c, nil, sennit.Errorf(sennit.BadInput, "%.60q is neither PUT nor DELETE nor POST and a path", line)
	}
	t, err := parseTarget(path)
	switch {
	case err != nil:
		return c, nil, err
	case t.front || t.wild || t.query != "" && method != "POST" || t.addr.Root != root:
		return c, nil, sennit.Errorf(sennit.BadInput, "the path %.100q is not a path under /%s", path, root)
	case method != "DELETE" && t.slash:
		return c, nil, sennit.Errorf(sennit.BadInput, "the path %.100q ends in a slash; values are put without", path)
	}
	c = sennit.Change{Kind: sennit.KindPut, Path: t.addr.Path}
	switch method {
	case "DELETE":
		c.Kind, c.Deep = sennit.KindDel, t.slash
	case "POST":
		if c, err = t.grows(); err != nil {
			return c, nil, err
		}
	}
	bytes := c.Kind == sennit.KindPut || c.Kind == sennit.KindAppend
	length := -1
	for {
		if line, body, ok = cutLine(body); !ok {
			return c, nil, sennit.Errorf(sennit.BadInput, "it breaks off in the headers")
		}
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		switch {
		case bytes && strings.EqualFold(name, "Content-Type") && c.Value.Type == "" && isType(value):
			c.Value.Type = value
		case strings.EqualFold(name, "If-None-Match") && value == "*" && c.If == nil && !c.Deep:
			c.If = new(sennit.Version)
		case strings.EqualFold(name, "If-Match") && len(value) > 2 && value[0] == '"' && value[len(value)-1] == '"' && simple(value[1:len(value)-1]) && c.If == nil && !c.Deep:
			v := sennit.Version(value[1 : len(value)-1])
			c.If = &v
		case bytes && strings.EqualFold(name, "Content-Length") && length < 0:
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return c, nil, sennit.Errorf(sennit.BadInput, "%.30q is not a length", value)
			}
			length = int(n)
		default:
			return c, nil, sennit.Errorf(sennit.BadInput, "the header %.60q is malformed, repeated or has no place here", line)
		}
	}
	switch {
	case !bytes:
		return c, body, nil
	case length < 0:
		return c, nil, sennit.Errorf(sennit.BadInput, "it has no Content-Length")
	case length > len(body):
		return c, nil, sennit.Errorf(sennit.BadInput, "it breaks off: the value has %d of %d bytes", len(body), length)
	}
	c.Value.Data = body[:length:length]
	return c, body[length:], nil
}

// maxLine bounds one line of a commit: a method and a path of which every byte
// is percent-encoded.
const maxLine = 4 << 10

// cutLine takes a line off b, without its end.
func cutLine(b []byte) (line string, rest []byte, ok bool) {
	i := bytes.IndexByte(b[:min(len(b), maxLine)], '\n')
	if i < 0 {
		return string(b[:min(len(b), maxLine)]), nil, false
	}
	return string(bytes.TrimSuffix(b[:i], []byte("\r"))), b[i+1:], true
}
