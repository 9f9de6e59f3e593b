package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/daemon"
)

// This file is the answer for monitoring systems: line, figures and exit codes
// as the Monitoring Plugins Development Guidelines have them.

// checkTime is how long a node may take to answer a check; the guidelines want
// a plugin to give up by itself, and that is what most give.
const checkTime = 10 * time.Second

// forkMatters is for how long a fork of somebody else's device is a warning: it
// stays on record for good, and there is nothing to be done about it here.
const forkMatters = 7 * 24 * time.Hour

// severity is a state of a plugin, and its exit code.
type severity int

const (
	fine severity = iota
	warning
	critical
	unknown
)

func (s severity) String() string {
	return [...]string{"ok", "warning", "critical", "unknown"}[s]
}

// MarshalText implements [encoding.TextMarshaler].
func (s severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// verdict is what status --check --json prints.
type verdict struct {
	State  severity  `json:"state"`  // the worst of the checks: "ok", "warning", "critical" or "unknown"
	What   []string  `json:"what"`   // why it is so, the worst first
	Checks []checked `json:"checks"` // what was looked at
}

// checked is one thing that was looked at.
type checked struct {
	Name  string   `json:"name"`           // such as "node", "disk", "clock", "copy", "forks", "words" or "follows"
	State severity `json:"state"`          // "ok", "warning", "critical" or "unknown"
	What  string   `json:"what,omitempty"` // what is wrong
	Do    string   `json:"do,omitempty"`   // what to do about it
}

// check prints how the node is for a monitoring system.
func (a *app) check(ctx context.Context) error {
	if a.timeout == 0 {
		short, cancel := context.WithTimeout(ctx, checkTime)
		defer cancel()
		ctx = short
	}
	s, checks, err := a.inspect(ctx)
	if err != nil {
		state, what := unknown, err.Error()
		switch sennit.CodeOf(err) {
		case sennit.Unreachable:
			state = critical
			if senseless(err) { // something is there, but who knows what
				state = unknown
			}
		case sennit.Timeout:
			state, what = critical, "the node didn't answer within "+cmp.Or(a.timeout, checkTime).String()
		}
		checks = []checked{{Name: "node", State: state, What: what, Do: sennit.HintOf(err)}}
	}
	worst, words := fine, []string{}
	for _, c := range slices.SortedStableFunc(slices.Values(checks), func(a, b checked) int { return cmp.Compare(b.State, a.State) }) {
		worst = max(worst, c.State)
		if c.State != fine {
			words = append(words, c.What)
		}
	}
	if worst == fine {
		words = append(words, fmt.Sprintf("%d peers", len(s.Peers)), room(s.Disk))
	}
	if a.json {
		if err := a.print(verdict{worst, words, checks}); err != nil {
			return err
		}
	} else {
		a.line("SENNIT %s - %s%s", strings.ToUpper(worst.String()), plain(strings.Join(words, ", ")), figures(s))
	}
	if worst == fine {
		return nil
	}
	return exitError{errors.New(worst.String()), int(worst)}
}

// senseless reports whether an answer came that is no JSON, or other JSON.
func senseless(err error) bool {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	return errors.As(err, &syntax) || errors.As(err, &kind)
}

// inspect asks the node for all that a check tells.
func (a *app) inspect(ctx context.Context) (*daemon.Status, []checked, error) {
	c, err := a.client(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	var s daemon.Status
	if err := c.Do(ctx, "GET", "/_node/status", nil, &s); err != nil {
		return nil, nil, err
	}
	if s.Space == "" {
		return nil, nil, sennit.Errorf(sennit.Internal, "the node's answer is no status")
	}
	found, err := findings(ctx, c, false, func(daemon.Progress) {})
	if err != nil {
		return nil, nil, err
	}
	if s.Forks > 0 {
		var forks []daemon.Fork
		if err := c.Do(ctx, "GET", "/_node/forks", nil, &forks); err != nil {
			return nil, nil, err
		}
		for _, f := range forks {
			if !f.Own && time.Since(f.Found) < forkMatters {
				found = append(found, daemon.Finding{What: "device " + f.Device + " of " + f.Author + " signed two histories", About: "forks", Do: "sennit forks"})
			}
		}
	}
	return &s, judge(found), nil
}

// judge sorts what was found by what it is about.
func judge(found []daemon.Finding) []checked {
	var checks []checked
	for _, name := range []string{"node", "disk", "clock", "copy", "forks", "words", "follows"} {
		checks = append(checks, checked{Name: name})
	}
	more := map[string]int{}
	for _, f := range found {
		state := warning
		if f.Grave {
			state = critical
		}
		name := cmp.Or(f.About, "other") // of a node of another version
		i := slices.IndexFunc(checks, func(c checked) bool { return c.Name == name })
		if i < 0 {
			i, checks = len(checks), append(checks, checked{Name: name})
		}
		switch c := &checks[i]; {
		case c.State == fine:
			c.State, c.What, c.Do = state, f.What, f.Do
		case state > c.State:
			c.State, c.What, c.Do = state, f.What, f.Do
			more[name]++
		default:
			more[name]++
		}
	}
	for i := range checks {
		if n := more[checks[i].Name]; n > 0 {
			checks[i].What += fmt.Sprintf(" (and %d more)", n)
		}
	}
	return checks
}

// room says how much may be written before the node only reads.
func room(u daemon.Usage) string {
	return fmt.Sprintf("%d MB free above the reserve", (u.Free-min(u.Free, u.Reserve))/1e6)
}

// figures is the performance data, which follows a bar; "" if nothing is known.
func figures(s *daemon.Status) string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf(" | peers=%d;;;0 spaces=%d;;;0 ops=%d;;;0 store=%dB;;;0 blobs=%dB;;;0 missing=%d;;;0 forks=%d;;;0 free=%dB;;%d:;0;%d",
		len(s.Peers), s.Spaces, s.Ops, s.Store, s.Blobs.Held, s.Blobs.Missing, s.Forks, s.Disk.Free, s.Disk.Reserve, s.Disk.Size)
}

// plain is text that can come before the bar: in one line, and without one.
func plain(text string) string { return strings.ReplaceAll(oneLine([]byte(text)), "|", "/") }
