package httpdoor

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// busy is what a connection too many is told.
const busy = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 49\r\nConnection: close\r\n\r\nThis node has as many connections as it may have\n"

// boundedListener listens for TCP connections, and has so many at most. Further ones are
// told so, and closed: to leave them waiting would say nothing to anybody. A
// client that only connects holds one until [Limits.ReadHeader] is over.
type boundedListener struct {
	*net.TCPListener
	left    atomic.Int64
	refused *atomic.Uint64
}

// Accept implements [net.Listener].
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		if l.left.Add(-1) >= 0 {
			return &boundedConn{TCPConn: c, l: l}, nil
		}
		l.left.Add(1)
		l.refused.Add(1)
		_ = c.SetWriteDeadline(time.Now().Add(time.Millisecond)) // there is room in a new socket
		_, _ = c.Write([]byte(busy))
		_ = c.Close()
	}
}

// boundedConn counts until it is closed.
type boundedConn struct {
	*net.TCPConn
	l    *boundedListener
	once sync.Once
}

// Close implements [net.Conn].
func (c *boundedConn) Close() error {
	c.once.Do(func() { c.l.left.Add(1) })
	return c.TCPConn.Close()
}
