package files

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/sennit/sennit"
)

const (
	maxCalm    = 3 * time.Second // that a round waits at most while changes keep coming
	asking     = 5 * time.Second // between questions for what was overtaken, of which nothing tells
	blindly    = 5 * time.Second // between rounds where the system doesn't tell of changes
	minBackoff = time.Second     // before the first attempt after the node was away; later ones wait twice as long
	maxBackoff = 30 * time.Second
)

// live keeps both sides the same until ctx ends. What the system tells of files
// only hints that it is time for another round: watchers lose events.
func (s *syncer) live(ctx context.Context) error {
	s.absent = s.Absent
	ctx, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()

	touched, updates, failed := make(chan error, 1), make(chan []sennit.Update), make(chan error, 1)
	blind := s.watchFiles(ctx, &group, touched)
	w, err := s.Bus.Watch(ctx, s.pattern(), sennit.WatchOptions{})
	if err != nil {
		return err
	}
	s.mirror = newMirror(s.at.Path)
	group.Go(func() {
		defer w.Close()
		for {
			u, err := w.Next(ctx)
			if err == nil {
				err = send(ctx, updates, u)
			}
			if err != nil {
				failed <- err
				return
			}
		}
	})

	ask := time.NewTicker(asking)
	defer ask.Stop()
	wait := timetable{calm: s.Quiet}
	wait.at(time.Now())
	backoff, told := minBackoff, false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case us := <-updates:
			s.apply(us)
			wait.changed(time.Now())
			continue
		case err := <-touched:
			if err != nil && !errors.Is(err, fsnotify.ErrEventOverflow) {
				blind = true
				s.tell(Event{Did: Waiting, Why: "the system doesn't tell of all changes (" + err.Error() + "): looking every " + blindly.String()})
			}
			wait.changed(time.Now())
			continue
		case <-ask.C:
			late := s.due()
			if s.Overtaken != nil && s.since != (sennit.Cursor{}) && !late {
				list, _, err := s.Overtaken(ctx, s.since)
				late = err == nil && len(list) > 0
			}
			if late {
				wait.changed(time.Now())
			}
			continue
		case <-wait.timer():
		}
		if !s.mirror.live { // the snapshot isn't whole
			wait.at(time.Now().Add(s.Quiet))
			continue
		}
		begun := time.Now()
		next, err := s.round(ctx)
		switch {
		case err != nil && (ctx.Err() != nil || !passes(err)):
			return err
		case err != nil:
			s.tell(Event{Did: Waiting, Why: err.Error()})
			next, backoff = backoff, min(2*backoff, maxBackoff)
		default:
			if backoff = minBackoff; next == 0 && !told {
				told = true
				s.tell(Event{Did: Live})
			}
			rest := s.Rescan
			if blind {
				rest = min(rest, blindly)
			}
			if next == 0 {
				next = rest
			}
		}
		wait.calm = max(s.Quiet, time.Since(begun)) // rounds take no more than half of the time
		wait.at(time.Now().Add(max(next, time.Since(begun))))
	}
}

// apply does what updates of the tree say.
func (s *syncer) apply(us []sennit.Update) {
	for _, u := range us {
		s.mirror.apply(u)
	}
}

// passes reports whether to try again might help.
func passes(err error) bool {
	switch sennit.CodeOf(err) {
	case sennit.Unreachable, sennit.Timeout, sennit.OverQuota:
		return true
	}
	return false
}

// timetable is when the next round is due.
type timetable struct {
	calm  time.Duration // how long to wait after a change for more of them: a save may be many
	due   time.Time
	first time.Time // when it was first put off for calm; zero: it wasn't
}

// at sets a new time.
func (t *timetable) at(due time.Time) { t.due, t.first = due, time.Time{} }

// changed makes a round due when it is calm, or earlier if it was put off for
// long.
func (t *timetable) changed(now time.Time) {
	if t.first.IsZero() {
		t.first = now
	}
	t.due = now.Add(t.calm)
	if latest := t.first.Add(max(maxCalm, t.calm)); t.due.After(latest) {
		t.due = latest
	}
}

func (t *timetable) timer() <-chan time.Time { return time.After(time.Until(t.due)) }

// watchFiles asks the system to tell of changes, and reports whether it won't.
// touched gets nil for a change, and an error for what may have been missed.
func (s *syncer) watchFiles(ctx context.Context, group *sync.WaitGroup, touched chan<- error) (blind bool) {
	hint := func(err error) {
		select {
		case touched <- err:
		default: // one that waits says enough
		}
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		hint(err)
		return true
	}
	full := false
	s.enter = func(dir string) {
		if full || s.only != "" && dir != "." {
			return
		}
		// Directories come and go, and adding one twice does nothing.
		if err := w.Add(filepath.Join(s.dir, filepath.FromSlash(dir))); err != nil && s.stillThere() == nil {
			if _, gone := s.disk.lstat(dir); gone == nil {
				full = true
				hint(err)
			}
		}
	}
	group.Go(func() {
		defer w.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-w.Events:
				if !s.leaves(filepath.Base(e.Name)) || e.Has(fsnotify.Remove) && filepath.Base(e.Name) == s.state {
					hint(nil)
				}
			case err := <-w.Errors:
				hint(err)
			}
		}
	})
	return false
}
