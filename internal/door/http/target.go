package httpdoor

import (
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sennit/sennit"
)

// target is what a request's path names.
type target struct {
	front     bool           // "/"
	health    string         // "/livez" or "/readyz"
	metrics   bool           // "/metrics"
	multiplex string         // what follows multiplexPath
	slash     bool           // the path ends in a slash: the subtree
	wild      bool           // a component is "*": only for watching
	addr      sennit.Addr    // unless wild
	pattern   sennit.Pattern // the subtree or, without the slash, exactly the value
	query     string         // as it came, without "?"
}

// Paths beside the tree and /_node/.
const (
	livez   = "/livez"
	readyz  = "/readyz"
	metrics = "/metrics"
)

// parseTarget reads the target of a request as it stood on the request line:
// not what a library made of it, because there an encoded slash is one like
// any other. Each component is decoded here, once.
func parseTarget(raw string) (target, error) {
	path, query, _ := strings.Cut(raw, "?")
	if !strings.HasPrefix(path, "/") {
		// Proxies write the whole URL. The name in it was checked as the host.
		_, rest, ok := strings.Cut(path, "://")
		i := strings.IndexByte(rest, '/')
		if !ok || i < 0 {
			return target{}, sennit.Errorf(sennit.BadInput, "the target %.100q is no path", raw)
		}
		path = rest[i:]
	}
	t := target{query: query}
	switch path { // no root of the tree is called so
	case "/":
		t.front = true
		return t, nil
	case livez, readyz:
		t.health = path
		return t, nil
	case metrics:
		t.metrics = true
		return t, nil
	}
	if rest, ok := strings.CutPrefix(path, multiplexPath); ok && rest != "" {
		t.multiplex = rest
		return t, nil
	}
	path, t.slash = strings.CutSuffix(path, "/")
	text, err := decodePath(path)
	if err != nil {
		return t, err
	}
	if t.wild = hasWild(text); !t.wild {
		if t.addr, err = sennit.ParseAddr(text); err != nil {
			return t, err
		}
		t.pattern = sennit.Pattern{Root: t.addr.Root, Path: string(t.addr.Path), Exact: !t.slash}
		return t, nil
	}
	t.pattern, err = sennit.ParsePattern(text, !t.slash)
	return t, err
}

// decodePath decodes the components of a path that starts with a slash and
// does not end in one. Decoding must not change where components begin and
// end, so an encoded slash is refused. All else is checked by the parser of
// addresses.
func decodePath(path string) (string, error) {
	if len(path) < 2 || path[len(path)-1] == '/' {
		return "", sennit.Errorf(sennit.BadInput, "the path %.100q is malformed: a component is empty", path)
	}
	if strings.IndexByte(path, '%') < 0 {
		return path, nil
	}
	slashes := strings.Count(path, "/")
	text, err := url.PathUnescape(path)
	if err != nil {
		return "", sennit.Errorf(sennit.BadInput, "the path %.100q is malformed: %v", path, err)
	}
	if strings.Count(text, "/") != slashes {
		return "", sennit.Errorf(sennit.BadInput, "the path %.100q is malformed: a component holds an encoded slash", path)
	}
	return text, nil
}

func hasWild(text string) bool {
	return strings.Contains(text, "/*/") || strings.HasSuffix(text, "/*")
}

// query holds a request's parameters, taken out one by one; what is left at
// the end was not expected. A parameter that a newer node knows and this one
// does not is refused rather than passed over.
type query url.Values

func parseQuery(raw string) (query, error) {
	if raw == "" {
		return nil, nil
	}
	v, err := url.ParseQuery(raw)
	if err != nil {
		return nil, sennit.Errorf(sennit.BadInput, "the query is malformed: %v", err)
	}
	return query(v), nil
}

// all takes a parameter that may be repeated.
func (q query) all(name string) []string {
	v := q[name]
	delete(q, name)
	return v
}

// text takes a parameter that may occur once.
func (q query) text(name string) (string, error) {
	switch v := q.all(name); {
	case len(v) > 1:
		return "", sennit.Errorf(sennit.BadInput, "the parameter %q occurs more than once", name)
	case len(v) == 1 && !utf8.ValidString(v[0]):
		return "", sennit.Errorf(sennit.BadInput, "the parameter %q is not valid UTF-8", name)
	case len(v) == 1:
		return v[0], nil
	}
	return "", nil
}

// flag takes a parameter that is there or not.
func (q query) flag(name string) (bool, error) {
	_, there := q[name]
	switch v, err := q.text(name); {
	case err != nil:
		return false, err
	case v != "" && v != "1" && v != "true":
		return false, sennit.Errorf(sennit.BadInput, "the parameter %q takes no value", name)
	}
	return there, nil
}

// count takes a parameter that is a number of at least 1; 0 if it is missing.
func (q query) count(name string) (int, error) {
	_, there := q[name]
	v, err := q.text(name)
	if err != nil || !there {
		return 0, err
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil || n == 0 {
		return 0, sennit.Errorf(sennit.BadInput, "the parameter %q is not a number of at least 1: %.20q", name, v)
	}
	return int(n), nil
}

// done refuses what was not taken.
func (q query) done() error {
	for name := range q {
		return sennit.Errorf(sennit.BadInput, "the parameter %.50q is not known here", name)
	}
	return nil
}

// grows takes the one parameter of a POST to a path: by how much a counter
// grows, or that a stream does.
func (t target) grows() (c sennit.Change, err error) {
	c.Path = t.addr.Path
	q, err := parseQuery(t.query)
	if err != nil {
		return c, err
	}
	_, counts := q["add"]
	n, err := q.text("add")
	if err != nil {
		return c, err
	}
	appends, err := q.flag("append")
	if err == nil {
		err = q.done()
	}
	switch {
	case err != nil:
		return c, err
	case counts == appends:
		return c, sennit.Hint(sennit.Errorf(sennit.BadInput, "a POST to a path adds to a counter or a stream, or sends a live message, and this one doesn't say which"),
			"add 1 with ?add=1; add the body to a stream with ?append; send it with ?live; set a value with PUT")
	case appends:
		c.Kind = sennit.KindAppend
		return c, nil
	}
	c.Kind = sennit.KindAdd
	if c.Delta, err = strconv.ParseInt(n, 10, 64); err != nil {
		err = sennit.Errorf(sennit.BadInput, "%.30q is not a whole number of 64 bits", n)
	}
	return c, err
}

// none refuses any parameter.
func (t target) none() error {
	q, err := parseQuery(t.query)
	if err != nil {
		return err
	}
	return q.done()
}

// appendEscaped appends a path, percent-encoded so that it can stand in a
// header and be taken for a request's path. Slashes stay.
func appendEscaped(dst []byte, path string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~/!$&()+=:@", c) >= 0:
			dst = append(dst, c)
		default:
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}
