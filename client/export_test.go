package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/sennit/sennit"
)

// Quiet is how long a connection may be without a byte.
const Quiet = quiet

// New makes a client over connections that dial gives, without asking whether
// anybody is there.
func New(dial func(context.Context) (net.Conn, error)) *Client {
	c := &Client{where: "the test"}
	c.base.Scheme, c.base.Host = "http", "test"
	c.http.Transport = &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: continueTimeout,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	return c
}

// Block is what the parser makes of a block.
type Block struct {
	Status        int
	Update        sennit.Update
	Live, Located bool
}

// Parse parses a stream to its end. Malformed says whether it ended because
// it makes no sense, rather than breaking off.
func Parse(r io.Reader) (blocks []Block, malformed bool, err error) {
	p := newParser(r)
	for {
		b, err := p.next()
		if err == io.EOF {
			return blocks, false, nil
		}
		if err != nil {
			return blocks, errors.Is(err, errMalformed), err
		}
		blocks = append(blocks, Block{b.status, b.update, b.live, b.located})
	}
}
