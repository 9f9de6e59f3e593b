package httpdoor

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"hash"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/sennit/sennit"
)

// statusDigest is what Braid answers if a body isn't what its digest says.
const statusDigest = 550

// integrity is what a client says that a body's bytes, or those of the value that
// it makes, have as digests (RFC 9530).
type integrity []claim

type claim struct {
	header, algorithm string
	hash              func() hash.Hash
	want              []byte
}

// The fields that say so.
const (
	reprDigest    = "Repr-Digest"    // of all that will be there
	contentDigest = "Content-Digest" // of the body
)

// claims reads some of these fields. Of algorithms that are not known here nothing
// is said.
func claims(h http.Header, names ...string) (all integrity, err error) {
	for _, name := range names {
		for _, field := range h[name] {
			for one := range strings.SplitSeq(field, ",") {
				algorithm, text, ok := strings.Cut(strings.Trim(one, " \t"), "=")
				text, begins := strings.CutPrefix(text, ":")
				text, ends := strings.CutSuffix(text, ":")
				sum, err := base64.StdEncoding.DecodeString(text)
				if !ok || !begins || !ends || err != nil {
					return nil, sennit.Errorf(sennit.BadInput, "%s is %.150q; want such as sha-256=:BASE64:", name, field)
				}
				c := claim{name, algorithm, nil, sum}
				switch algorithm {
				case "sha-256":
					c.hash = sha256.New
				case "sha-512":
					c.hash = sha512.New
				default:
					continue
				}
				if slices.ContainsFunc(all, func(o claim) bool { return o.header == name && o.algorithm == algorithm }) {
					return nil, sennit.Errorf(sennit.BadInput, "%s has two digests of %s", name, algorithm)
				}
				if len(sum) != c.hash().Size() {
					return nil, sennit.Errorf(sennit.BadInput, "%s is %.150q, which is not as long as %s", name, field, algorithm)
				}
				all = append(all, c)
			}
		}
	}
	return all, nil
}

func (c *claim) broken() error {
	return status(statusDigest, sennit.Hint(sennit.Errorf(sennit.BadInput, "%s says something else than what came; nothing was changed", c.header), "send it again"))
}

// check compares bytes with what was said about them.
func (all integrity) check(data []byte) error {
	for i := range all {
		c := &all[i]
		h := c.hash()
		h.Write(data)
		if !bytes.Equal(h.Sum(nil), c.want) {
			return c.broken()
		}
	}
	return nil
}

// checked is a body that fails, rather than end, if it isn't what was said of it.
type checked struct {
	r    io.Reader
	all  integrity
	sums []hash.Hash
	err  error // what was said is wrong
}

func (all integrity) reader(r io.Reader) *checked {
	c := &checked{r: r, all: all}
	for i := range all {
		c.sums = append(c.sums, all[i].hash())
	}
	return c
}

func (c *checked) Read(p []byte) (n int, err error) {
	n, err = c.r.Read(p)
	for i, sum := range c.sums {
		sum.Write(p[:n])
		if errors.Is(err, io.EOF) && !bytes.Equal(sum.Sum(nil), c.all[i].want) {
			c.err = c.all[i].broken()
			return n, c.err
		}
	}
	return n, err
}

// wanted reports whether Want-Repr-Digest asks for a SHA-256, which is the one
// that is told.
func wanted(h http.Header) bool {
	for _, field := range h["Want-Repr-Digest"] {
		for one := range strings.SplitSeq(field, ",") {
			if name, q, _ := strings.Cut(strings.Trim(one, " \t"), "="); name == "sha-256" && q != "0" {
				return true
			}
		}
	}
	return false
}

// tellDigest says what a value's digest is, if it is asked for.
func tellDigest(w http.ResponseWriter, r *http.Request, data []byte) {
	if wanted(r.Header) {
		sum := sha256.Sum256(data)
		w.Header().Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
	}
}
