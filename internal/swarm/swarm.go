// Package swarm brings the bytes of blobs from the nodes that have them, and
// gives them to those who may have them.
//
// Owns: the blob protocol (docs/formats/swarm.md); which peer is asked for which
// pieces, and when; what a node fetches without being asked.
// Promises: nothing is kept that doesn't verify, and nothing is given to anybody
// who may not read a value that names it. A peer that lies costs at most the
// slice that it lied in, and is named. What somebody claims about a blob costs
// neither memory nor disk. A slow or silent peer holds up nobody who has
// others to ask.
// Must not know: transports, files, rules, or how it is known who a host is.
//
// Which pieces to ask a peer for is decided in schedule.go alone.
package swarm

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/blob"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/replicate"
)

// Protocol is the name by which peers open a stream.
const Protocol = "/sennit/blob/1"

// Defaults of [Config].
const (
	DefaultBudget   = 10 << 30
	DefaultInFlight = 32 << 20
)

// readerPatience is how long a reader waits for somebody to ask when there is
// nobody: a session may be about to begin.
const readerPatience = 3 * time.Second

// Conn is a stream of messages as in package replicate, but that what Send was
// given may be reused once it has returned.
type Conn interface{ replicate.Conn }

// Dialer opens a stream of [Protocol] to a host with which there is a session.
type Dialer func(ctx context.Context, host replicate.Host) (Conn, error)

// Sessions is what [replicate.Replicator] knows of those whom this node is in
// touch with.
type Sessions interface {
	Principal(replicate.Host) (sennit.Principal, bool)
	Holders(sennit.Space) map[replicate.Host]replicate.Holding
	Changed() <-chan struct{}
}

// Config is what a swarm needs.
type Config struct {
	Node     *node.Node // one that keeps blobs
	Sessions Sessions
	Dial     Dialer
	Log      *slog.Logger
	// Full says that there is no room to write, nil if there is. Default: there
	// always is.
	Full func() error
	// Budget is the bytes of blobs that are kept of each followed space without
	// anybody reading them. Default: DefaultBudget.
	Budget uint64
	// InFlight is the bytes that may be asked for at a time, besides one slice
	// of each stream. Default: DefaultInFlight.
	InFlight int64
}

// Swarm fetches blobs and serves them. Make one with [New], then call Run.
type Swarm struct {
	cfg   Config
	n     *node.Node
	blobs *blob.Store

	life   context.Context // of jobs; ends with Run
	end    context.CancelFunc
	work   sync.WaitGroup // jobs
	turns  chan struct{}  // to read from the disk for a peer
	flight flight
	pull   pull

	mu     sync.Mutex // guards what follows
	jobs   map[sennit.Blob]*job
	liars  map[replicate.Host]*liar
	served map[replicate.Host]int // streams that are open
	serves int                    // their sum
	over   bool
}

// New makes a swarm. It fails if the node keeps no blobs.
func New(c Config) (*Swarm, error) {
	if c.Node == nil || c.Sessions == nil || c.Dial == nil || c.Log == nil {
		return nil, errors.New("swarm: Node, Sessions, Dial and Log are required")
	}
	if c.Node.Blobs() == nil {
		return nil, sennit.Errorf(sennit.Unsupported, "a node that keeps no blobs can't fetch any")
	}
	if c.Full == nil {
		c.Full = func() error { return nil }
	}
	if c.Budget == 0 {
		c.Budget = DefaultBudget
	}
	if c.InFlight == 0 {
		c.InFlight = DefaultInFlight
	}
	s := &Swarm{
		cfg: c, n: c.Node, blobs: c.Node.Blobs(), turns: make(chan struct{}, maxReading),
		jobs: map[sennit.Blob]*job{}, liars: map[replicate.Host]*liar{}, served: map[replicate.Host]int{},
	}
	s.flight.left.Store(c.InFlight)
	s.pull.resting = map[sennit.Blob]*rest{}
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Fetch brings a blob and returns when it is whole, on disk for good. It fails
// with [sennit.Unreachable] when nobody is left to ask, and says who was asked
// and what they said: after 3 seconds if there is nobody at all. A peer that
// sent what is not right is in the error as [*Lied]. It fails with
// [sennit.ReadOnly] when the disk is full, with [sennit.Gone] when the blob was
// removed meanwhile or the node stops, and with the context's error. What was
// fetched by then stays.
//
// However many fetch a blob, it is fetched once.
func (s *Swarm) Fetch(ctx context.Context, w node.Want) error {
	return s.fetch(ctx, []node.Want{w}, readerPatience)
}

// Run fetches by itself what followed spaces name, until the context ends. Then
// it ends all fetches, and waits for them.
func (s *Swarm) Run(ctx context.Context) error {
	defer func() {
		s.mu.Lock()
		s.over = true
		s.mu.Unlock()
		s.end()
		s.work.Wait()
	}()
	return s.pull.run(ctx, s)
}
