package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
)

// maxReply bounds what is read as one reply, in bytes.
const maxReply = 1 << 20

// respConn is a connection to Redis that many writers share: what they send at
// the same time leaves in one write, and replies come in the order of the
// commands (RESP2, redis.io/docs/latest/develop/reference/protocol-spec).
type respConn struct {
	conn   net.Conn
	reader sync.WaitGroup

	mu      sync.Mutex // guards what follows
	out     []byte     // commands that wait to be sent; as many as there are writers
	spare   []byte
	sending bool
	waiting []chan<- reply // in the order of commands; as many as there are writers
	fault   error          // why nothing can be sent any more
}

type reply struct {
	data []byte
	err  error
}

func dialed(c net.Conn) *respConn {
	r := &respConn{conn: c}
	r.reader.Go(r.read)
	return r
}

// close ends the connection; commands that wait fail.
func (c *respConn) close() error {
	err := c.conn.Close()
	c.reader.Wait()
	return err
}

// do sends a command of one or two arguments (value is left out if nil) and
// waits for its reply.
func (c *respConn) do(ctx context.Context, command, key string, value []byte) ([]byte, error) {
	done := make(chan reply, 1)
	c.mu.Lock()
	if c.fault != nil {
		c.mu.Unlock()
		return nil, c.fault
	}
	c.out = appendCommand(c.out, command, key, value)
	c.waiting = append(c.waiting, done)
	first := !c.sending
	c.sending = true
	c.mu.Unlock()
	if first {
		c.send()
	}
	select {
	case r := <-done:
		return r.data, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// send sends until nothing waits. One writer at a time does that for all.
func (c *respConn) send() {
	c.mu.Lock()
	for len(c.out) > 0 && c.fault == nil {
		b := c.out
		c.out = c.spare[:0]
		c.mu.Unlock()
		_, err := c.conn.Write(b)
		c.mu.Lock()
		c.spare = b
		if err != nil {
			c.mu.Unlock()
			c.fail(err)
			c.mu.Lock()
		}
	}
	c.sending = false
	c.mu.Unlock()
}

func appendCommand(b []byte, command, key string, value []byte) []byte {
	n := 2
	if value != nil {
		n = 3
	}
	b = fmt.Appendf(b, "*%d\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", n, len(command), command, len(key), key)
	if value != nil {
		b = fmt.Appendf(b, "$%d\r\n", len(value))
		b = append(append(b, value...), '\r', '\n')
	}
	return b
}

// read hands out replies until the connection ends.
func (c *respConn) read() {
	in := bufio.NewReaderSize(c.conn, 64<<10)
	for {
		data, err := readReply(in)
		var said refused
		if err != nil && !errors.As(err, &said) {
			c.fail(err)
			return
		}
		c.mu.Lock()
		if len(c.waiting) == 0 {
			c.mu.Unlock()
			c.fail(errors.New("a reply to nothing"))
			return
		}
		next := c.waiting[0]
		c.waiting = c.waiting[1:]
		c.mu.Unlock()
		next <- reply{data, err}
	}
}

// fail ends all that waits.
func (c *respConn) fail(err error) {
	c.mu.Lock()
	if c.fault == nil {
		c.fault = err
	}
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, w := range waiting {
		w <- reply{err: err}
	}
}

// refused is an error reply: the connection goes on.
type refused string

func (r refused) Error() string { return "redis: " + string(r) }

// readReply reads a simple string, an error, or a bulk string.
func readReply(in *bufio.Reader) ([]byte, error) {
	raw, err := in.ReadSlice('\n') // a line longer than the buffer is an error
	if err != nil {
		return nil, fmt.Errorf("read a reply: %w", err)
	}
	kind, line := raw[0], strings.TrimSuffix(string(raw[1:]), "\r\n")
	switch kind {
	case '+':
		return []byte(line), nil
	case '-':
		return nil, refused(line)
	case '$':
		size, err := strconv.Atoi(line)
		switch {
		case err != nil || size < -1 || size > maxReply:
			return nil, fmt.Errorf("a reply of %.20q bytes", line)
		case size == -1:
			return nil, refused("there is no such key")
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, fmt.Errorf("read a reply of %d bytes: %w", size, err)
		}
		return b[:size], nil
	}
	return nil, fmt.Errorf("a reply of unknown kind %q", kind)
}
