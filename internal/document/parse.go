package document

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sennit/sennit"
)

// reader reads JSON texts, one after the other.
type reader struct {
	dec  jsontext.Decoder
	in   bytes.Buffer
	text []byte
	max  int // nesting
}

// read reads a JSON text, in which arrays and objects may nest up to max deep.
// Names of members must be unique, and without lone surrogates. The value
// shares memory with the text.
func (r *reader) read(text []byte, max int) (value, error) {
	if !utf8.Valid(text) {
		at := 0
		for c, n := utf8.DecodeRune(text); c != utf8.RuneError || n > 1; c, n = utf8.DecodeRune(text[at:]) {
			at += n
		}
		return value{}, sennit.Errorf(sennit.BadInput, "malformed JSON at byte %d: it is not UTF-8", at)
	}
	// A lone surrogate counts as invalid UTF-8, and is allowed in strings.
	r.in = *bytes.NewBuffer(text)
	r.dec.Reset(&r.in, jsontext.AllowInvalidUTF8(true))
	r.text, r.max = text, max
	v, err := r.value(1)
	if err != nil {
		return value{}, err
	}
	if rest := bytes.TrimLeft(text[r.dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return value{}, sennit.Errorf(sennit.BadInput, "malformed JSON at byte %d: something follows the value", len(text)-len(rest))
	}
	return v, nil
}

// next is where the next token starts.
func (r *reader) next() int {
	at := int(r.dec.InputOffset())
	for at < len(r.text) && bytes.IndexByte([]byte(" \t\r\n,:"), r.text[at]) >= 0 {
		at++
	}
	return at
}

func (r *reader) malformed(err error) error {
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return sennit.Errorf(sennit.BadInput, "malformed JSON at byte %d: an object has two members of the same name", r.next())
	case errors.Is(err, io.EOF):
		return sennit.Errorf(sennit.BadInput, "malformed JSON at byte %d: there is no value", len(r.text))
	case errors.As(err, &syntax):
		return sennit.Errorf(sennit.BadInput, "malformed JSON at byte %d: %v", syntax.ByteOffset, syntax.Err)
	}
	return sennit.Errorf(sennit.BadInput, "malformed JSON: %w", err)
}

func (r *reader) tooDeep() error {
	return sennit.Errorf(sennit.TooLarge, "at byte %d, JSON nests more than %d deep", r.next(), r.max)
}

// value reads the next value, which is the level-th array or object from
// outside, if it is one.
func (r *reader) value(level int) (value, error) {
	switch r.dec.PeekKind() {
	case '{':
		return r.object(level)
	case '[':
		return r.array(level)
	}
	raw, err := r.raw()
	if err != nil {
		return value{}, err
	}
	if raw[0] != '"' {
		return value{atom: sennit.Value{Type: JSON, Data: raw}}, nil
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return value{atom: sennit.Value{Type: Text, Data: raw[1 : len(raw)-1 : len(raw)-1]}}, nil
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil { // a lone surrogate, which has no form in UTF-8
		return value{atom: sennit.Value{Type: JSON, Data: raw}}, nil
	}
	return value{atom: sennit.Value{Type: Text, Data: text}}, nil
}

// raw reads a string, a number or a literal as it is written.
func (r *reader) raw() ([]byte, error) {
	raw, err := r.dec.ReadValue()
	if err != nil {
		return nil, r.malformed(err)
	}
	end := int(r.dec.InputOffset())
	return r.text[end-len(raw) : end : end], nil
}

// name reads the name of a member.
func (r *reader) name() (string, error) {
	raw, err := r.raw()
	if err != nil {
		return "", err
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), nil
	}
	name, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		at := int(r.dec.InputOffset()) - len(raw)
		return "", sennit.Hint(sennit.Errorf(sennit.BadInput, "malformed JSON at byte %d: the name of a member has half of a surrogate pair", at),
			`\ud800 to \udfff make sense only in pairs (RFC 7493 section 2.1)`)
	}
	return string(name), nil
}

func (r *reader) object(level int) (value, error) {
	if level > r.max {
		return value{}, r.tooDeep()
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return value{}, r.malformed(err)
	}
	var members []member
	for r.dec.PeekKind() != '}' {
		name, err := r.name()
		if err != nil {
			return value{}, err
		}
		v, err := r.value(level + 1)
		if err != nil {
			return value{}, err
		}
		members = append(members, member{name, Escape(name), v})
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return value{}, r.malformed(err)
	}
	return newObject(slices.Clip(members)), nil
}

// array reads an array and keeps its text, without white space and with each
// string in its shortest spelling. If one of them has a lone surrogate, all
// strings stay as they are written.
func (r *reader) array(level int) (value, error) {
	outside, nesting, start := r.dec.StackDepth(), 0, r.next()
	for first := true; first || r.dec.StackDepth() > outside; first = false {
		inside := r.dec.StackDepth() - outside
		switch kind := r.dec.PeekKind(); kind {
		case '{', '[':
			if level+inside > r.max {
				return value{}, r.tooDeep()
			}
			nesting = max(nesting, inside+1)
		case '"':
			if in, n := r.dec.StackIndex(r.dec.StackDepth()); in == '{' && n%2 == 0 {
				if _, err := r.name(); err != nil {
					return value{}, err
				}
				continue
			}
		}
		if _, err := r.dec.ReadToken(); err != nil {
			return value{}, r.malformed(err)
		}
	}
	text := r.text[start:r.dec.InputOffset()]
	out, err := jsontext.AppendFormat(nil, text)
	if err != nil {
		out, err = jsontext.AppendFormat(nil, text, jsontext.AllowInvalidUTF8(true), jsontext.PreserveRawStrings(true))
	}
	if err != nil {
		return value{}, r.malformed(err)
	}
	return value{atom: sennit.Value{Type: JSON, Data: out}, nesting: nesting}, nil
}
