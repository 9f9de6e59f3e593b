package httpdoor

import (
	"context"
	"net/http"
	"time"

	"github.com/sennit/sennit"
)

// stream is the answer to a subscription on a connection that net/http keeps,
// with a goroutine of its own: for servers that can't park it, and for those that
// go through a multiplexer.
type stream struct {
	w        http.ResponseWriter
	rc       *http.ResponseController
	limit    time.Duration // for one write
	encoders *encoders
	told     told
	check    func() bool // whether its client may still watch; nil: for as long as it likes
}

// run sends updates until the client is gone, the watch fails or ctx ends. A
// reader that is slow only slows this stream: the watch merges or waits, and a
// write that takes longer than the limit ends the stream. The client can go on
// from the newest cursor that it saw.
func (s *stream) run(ctx context.Context, watch sennit.Watch, beat time.Duration) {
	// One context serves until its alarm goes off; a new one for each wait
	// would be most of what an update costs.
	wait, wake := context.WithCancel(ctx)
	alarm := time.AfterFunc(min(beat, probe), wake)
	defer func() {
		alarm.Stop()
		wake()
	}()
	wrote := time.Now()
	for {
		updates, err := watch.Next(wait)
		rings := wait.Err() != nil && ctx.Err() == nil // perhaps while there was something
		switch {
		case err == nil:
			err = s.updates(updates)
			wrote = time.Now()
		case rings:
			err = nil
		}
		if rings && err == nil {
			if s.check != nil && !s.check() {
				return
			}
			if time.Since(wrote) >= beat {
				err = s.send(heartbeat)
				wrote = time.Now()
			}
			wait, wake = context.WithCancel(ctx)
			alarm = time.AfterFunc(min(beat-time.Since(wrote), probe), wake)
		}
		if err != nil {
			return
		}
	}
}

var heartbeat = []byte("\r\n")

// updates sends a batch.
func (s *stream) updates(updates []sennit.Update) error {
	if through, ok := s.w.(*throughWriter); ok {
		lock := through.encodeLock()
		lock.Lock()
		defer lock.Unlock()
	}
	e := s.encoders.get()
	defer s.encoders.put(e)
	for len(updates) > 0 {
		e.b = e.b[:0]
		updates = e.some(&s.told, updates)
		if len(e.b) == 0 {
			continue
		}
		if err := s.send(e.b); err != nil {
			return err
		}
	}
	return nil
}

// send writes and flushes within the limit.
func (s *stream) send(b []byte) error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(s.limit)) // a writer that knows no deadlines needs none
	if len(b) > 0 {
		if _, err := s.w.Write(b); err != nil {
			return err
		}
	}
	return s.rc.Flush()
}
