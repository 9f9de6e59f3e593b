package document

import "strings"

// Names of members and components of paths correspond one to one, save that a
// name can be too long for a component. Two kinds of names have to be changed.
//
// Those that are no component as a whole get a tilde in front:
//
//	""  ~       "."  ~.       ".."  ~..       "*"  ~*
//
// Characters that no component has are replaced, in the way of RFC 6901
// section 3:
//
//	/  ~1       U+0000 to U+001F, U+007F  ~x and two hexadecimal digits (0-9, a-f)
//
// What would read as one of these, but is meant as it stands, gets a zero
// after its tilde; what would read as such a thing gets one zero more, and so
// on: the name ~1 is ~01, the name ~01 is ~001. Any other tilde stands for itself.
// So nothing is left over: each component is the escape of exactly one name.

// emptyName is the component for the name "".
const emptyName = "~"

// Escape gives the component for a member's name, which must be valid UTF-8.
// It can be longer than sennit.MaxComponent.
func Escape(name string) string {
	switch {
	case whole(name):
		return "~" + name
	case marked(name):
		return "~0" + name[1:]
	}
	var out []byte
	done := 0 // so much of the name is in out
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c == '/':
			out = append(append(out, name[done:i]...), "~1"...)
		case c < 0x20 || c == 0x7f:
			out = append(append(out, name[done:i]...), '~', 'x', hexDigits[c>>4], hexDigits[c&15])
		case c == '~' && escapes(name[i+1:]) > 0:
			out = append(append(out, name[done:i]...), "~0"...)
		default:
			continue
		}
		done = i + 1
	}
	if out == nil {
		return name
	}
	return string(append(out, name[done:]...))
}

// Unescape gives the name of the member that a component stands for.
func Unescape(component string) string {
	if marked(component) {
		if strings.HasPrefix(component, "~0") {
			return "~" + component[2:]
		}
		return component[1:]
	}
	var out []byte
	done := 0
	for i := 0; i < len(component); i++ {
		if component[i] != '~' {
			continue
		}
		n := escapes(component[i+1:])
		if n == 0 {
			continue
		}
		out = append(out, component[done:i]...)
		switch component[i+1] {
		case '0':
			out = append(append(out, '~'), component[i+2:i+1+n]...)
		case '1':
			out = append(out, '/')
		default:
			out = append(out, unhex(component[i+2])<<4|unhex(component[i+3]))
		}
		i += n
		done = i + 1
	}
	if out == nil {
		return component
	}
	return string(append(out, component[done:]...))
}

// whole reports whether a name is no component because of what it is as a
// whole.
func whole(s string) bool { return s == "" || s == "." || s == ".." || s == "*" }

// marked reports whether s is a tilde, any number of zeros, and something
// that is no component as a whole.
func marked(s string) bool {
	return strings.HasPrefix(s, "~") && whole(strings.TrimLeft(s[1:], "0"))
}

// escapes is the length of what makes a tilde before s an escape, 0 if nothing
// does: any number of zeros, and then 1, or x and the digits of a control
// character.
func escapes(s string) int {
	n := len(s) - len(strings.TrimLeft(s, "0"))
	switch rest := s[n:]; {
	case strings.HasPrefix(rest, "1"):
		return n + 1
	case len(rest) >= 3 && rest[0] == 'x' && isHex(rest[2]) && (rest[1] == '0' || rest[1] == '1' || rest[1:3] == "7f"):
		return n + 3
	}
	return 0
}

const hexDigits = "0123456789abcdef"

func isHex(c byte) bool { return strings.IndexByte(hexDigits, c) >= 0 }

func unhex(c byte) byte { return byte(strings.IndexByte(hexDigits, c)) }
