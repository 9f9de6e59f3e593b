package replicate

import (
	"context"
	"slices"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/wire"
)

// This file is about the past of a space. Whoever keeps all of it asks each peer
// for what the peer still holds: which logs, what is in their stretches where
// both differ, at last single ops. The peer only answers; nobody else is asked
// or told anything. docs/decisions/full.md says why it is so.

// Bounds of asking.
const (
	askStretches = 64      // in one message
	maxStretches = 1 << 14 // that are known to differ and are still to be asked about: of more, the next round asks
	maxPasts     = 8       // rounds of asking in a session
	pastPause    = 10 * time.Second
	restShare    = 4 // so many times as long as it takes to answer a question the next one waits
)

// asking is what this side found out of the past that the peer holds; guarded by
// s.mu, as whether it keeps all.
type asking struct {
	full    bool // this side keeps all that ever was of the space,
	over    bool // and has asked for all that there is
	asked   *wire.Past
	logs    bool        // it was told of all logs in this round,
	after   sennit.Hash // or of those up to this one
	differ  []wire.Stretch
	wants   []wire.WantedOps
	lacked  bool // something was asked for in this round, or left out of it
	rounds  int
	resumes time.Time  // when the next round may begin
	asks    *wire.Past // of the peer, not answered yet
	rests   time.Time  // before which it isn't answered
}

// anew has this side ask from the beginning, because more may flow to it, or
// more count, than before; s.mu is held.
func (a *asking) anew() {
	begun := a.asked != nil || a.logs || !a.after.IsZero()
	a.rounds, a.over, a.lacked, a.resumes = 0, false, a.lacked || begun, time.Time{}
}

// keepsAll looks whether this side keeps all of the space's past.
func (c *channel) keepsAll() error {
	full, err := c.s.n.KeepsAll(c.space)
	if err != nil {
		return err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if full && !c.past.full {
		c.past.anew()
	}
	c.past.full = full
	return nil
}

// seekPast asks the peer for more, if there is anything to ask. Writer only.
func (c *channel) seekPast(put func(wire.Frame) error) (bool, error) {
	s := c.s
	s.mu.Lock()
	a := &c.past
	if !a.full || a.over || a.asked != nil || !c.mayAsk() || time.Now().Before(a.resumes) {
		s.mu.Unlock()
		return false, nil
	}
	f := &wire.Past{Tag: c.tag}
	k, j := min(len(a.wants), wire.MaxStretches), min(len(a.differ), askStretches)
	f.Wants, f.Stretches = a.wants[:k:k], a.differ[:j:j]
	a.wants, a.differ = a.wants[k:], a.differ[j:]
	if k+j == 0 {
		if a.logs { // the round is over
			if a.rounds++; !a.lacked || a.rounds >= maxPasts {
				a.over = true
				s.mu.Unlock()
				return true, nil
			}
			a.logs, a.after, a.lacked, a.resumes = false, sennit.Hash{}, false, time.Now().Add(pastPause)
			s.mu.Unlock()
			return true, nil
		}
		f.Logs, f.After = true, a.after
	}
	a.lacked = a.lacked || k > 0
	a.asked = f
	s.mu.Unlock()
	return true, put(f)
}

// mayAsk reports whether the peer has sent what arrived there, by rules that
// both have: then what is still missing here is past; s.mu is held.
func (c *channel) mayAsk() bool {
	return c.theirs != nil && c.done && len(c.theirs.Scope) > 0 && c.theirs.Authority == c.mine.Authority
}

// tellOf takes a question about the past. The writer answers it, after what was
// asked for was sent.
func (c *channel) tellOf(f *wire.Past) error {
	picks, err := c.s.n.Find(c.space, f.Wants)
	if err != nil {
		return err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.past.asks != nil {
		return sennit.Errorf(sennit.BadInput, "another question about the past before the last one was answered")
	}
	c.past.asks = f
	c.push.Add(picks)
	c.s.wake()
	return nil
}

// tellPast answers a question about the past, once what was asked for before is
// sent. Writer only.
func (c *channel) tellPast(ctx context.Context, put func(wire.Frame) error) (bool, error) {
	s := c.s
	s.mu.Lock()
	f := c.past.asks
	if f == nil || !c.pumping || len(c.push) > 0 || c.behind > 0 || time.Now().Before(c.past.rests) {
		s.mu.Unlock()
		return false, nil
	}
	may := filter(c.out)
	s.mu.Unlock()
	out, begun := &wire.Held{Tag: c.tag}, time.Now()
	var err error
	if f.Logs {
		if out.Logs, out.More, err = s.n.HeldLogs(ctx, c.space, may, c.tag, f.After, wire.MaxStretches); err != nil {
			return false, err
		}
	}
	for size, i := 0, 0; i < len(f.Stretches) && size < frameBytes && i < askStretches; i++ {
		held, err := s.n.Held(ctx, c.space, may, c.tag, f.Stretches[i], false)
		if err != nil {
			return false, err
		}
		for _, set := range held.Commits {
			size += len(set.Ops) + 16
		}
		out.Stretches = append(out.Stretches, held)
	}
	s.mu.Lock()
	// It takes as long as much is held, and whoever may read may ask.
	c.past.asks, c.past.rests = nil, time.Now().Add(restShare*time.Since(begun))
	s.mu.Unlock()
	return true, put(out)
}

// learn takes what the peer holds, and works out what is missing here.
func (c *channel) learn(ctx context.Context, f *wire.Held) error {
	s := c.s
	s.mu.Lock()
	asked, may := c.past.asked, filter(c.in)
	s.mu.Unlock()
	if asked == nil || !answers(asked, f) {
		return sennit.Errorf(sennit.BadInput, "an answer about the past that nobody asked for")
	}
	if _, err := s.in.Wait(ctx); err != nil && ctx.Err() != nil {
		return err // what came before the answer is here now
	}
	var differ []wire.Stretch
	var wants []wire.WantedOps
	for _, l := range f.Logs {
		mine, err := s.n.Print(ctx, c.space, may, c.tag, l.Stretch)
		if err != nil {
			return err
		}
		if mine != l.Print {
			differ = append(differ, l.Stretch)
		}
	}
	for i := range f.Stretches {
		theirs := &f.Stretches[i]
		if theirs.Parts == nil {
			lacks, err := s.n.Lacks(theirs.Log, theirs.Commits)
			if err != nil {
				return err
			}
			wants = append(wants, lacks...)
			continue
		}
		mine, err := s.n.Held(ctx, c.space, may, c.tag, theirs.Stretch, true)
		if err != nil {
			return err
		}
		for k := range uint8(16) {
			if print, ok := theirs.Parts[k]; ok && print != mine.Parts[k] {
				differ = append(differ, wire.Stretch{Log: theirs.Log, Level: theirs.Level - 1, Index: theirs.Index<<4 | uint64(k)})
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &c.past
	a.asked = nil
	if asked.Logs {
		a.logs = !f.More
		if len(f.Logs) > 0 {
			a.after = f.Logs[len(f.Logs)-1].Log
		}
	}
	// Deepest first, so that what is still to be asked stays little.
	a.differ = slices.Concat(differ, asked.Stretches[len(f.Stretches):], a.differ)
	if len(a.differ) > maxStretches {
		a.differ, a.lacked = a.differ[:maxStretches], true
	}
	a.wants = append(a.wants, wants...)
	s.wake()
	return nil
}

// answers reports whether a message answers a question.
func answers(asked *wire.Past, f *wire.Held) bool {
	if !asked.Logs && (len(f.Logs) > 0 || f.More) || f.More && len(f.Logs) == 0 || len(f.Stretches) > len(asked.Stretches) || len(f.Stretches) == 0 && len(asked.Stretches) > 0 {
		return false
	}
	for i := range f.Stretches {
		if f.Stretches[i].Stretch != asked.Stretches[i] {
			return false
		}
	}
	for _, l := range f.Logs {
		if string(l.Log[:]) <= string(asked.After[:]) {
			return false
		}
	}
	return true
}
