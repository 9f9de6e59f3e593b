//go:build race

package bubble

import (
	"runtime"
	"sync"
)

var running struct {
	sync.Mutex
	bubbles    int
	processors int // before the first
}

// oneProcessor takes all but one from the process while any bubble runs. The
// race detector keeps one context for all the timers of a bubble, and dies
// when two processors touch it at once (go.dev/issue/78156). It sees races by
// what happens before what, for which one is enough.
func oneProcessor() (restore func()) {
	running.Lock()
	defer running.Unlock()
	if running.bubbles++; running.bubbles == 1 {
		running.processors = runtime.GOMAXPROCS(1)
	}
	return func() {
		running.Lock()
		defer running.Unlock()
		if running.bubbles--; running.bubbles == 0 {
			runtime.GOMAXPROCS(running.processors)
		}
	}
}
