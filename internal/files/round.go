package files

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sennit/sennit"
)

// held is what a file holds, and when that was read.
type held struct {
	content
	stat stat
	seen time.Time
}

// round is one look at both sides, and what follows from it.
type round struct {
	*syncer
	found listing
	here  map[string]held
	there map[string]value
	dirs  names // that have values below them
	next  time.Duration

	uploads   []upload
	downloads []download
	removals  []string // of files
}

// round makes both sides the same as far as it can. It tells when to look
// again, 0 if that needs no more than a change.
func (s *syncer) round(ctx context.Context) (next time.Duration, err error) {
	if err := s.stillThere(); err != nil {
		return 0, err
	}
	r := &round{syncer: s}
	before := s.skips
	s.skips = maps.Clone(s.unkept)
	at := s.at.Path
	if s.only != "" {
		at = at.Parent()
	}
	if r.found, err = s.disk.walk(ctx, at, s.leaves, s.enter); err != nil {
		return 0, err
	}
	if err := s.disk.clean(r.found); err != nil {
		return 0, err
	}
	for _, skip := range r.found.skipped {
		s.skips[skip.Path] = skip.Why
	}
	if err = r.read(ctx); err == nil {
		err = r.look(ctx)
	}
	if err == nil {
		err = r.plan(ctx, time.Now())
	}
	if err == nil {
		err = r.do(ctx)
	}
	if err == nil {
		err = r.overtaken(ctx)
	}
	for name, why := range s.skips {
		if before[name] != why {
			s.tell(Event{Path: name, Did: Skipped, Why: why})
		}
	}
	// What was done is remembered, also if it was interrupted: else what changes
	// next would be taken for a conflict.
	if err := errors.Join(err, s.remember(context.WithoutCancel(ctx))); err != nil {
		return 0, err
	}
	return r.next, nil
}

// remember makes durable what was written, and then what both sides agree on.
func (s *syncer) remember(ctx context.Context) error {
	if err := s.disk.flush(ctx); err != nil || !s.dirty && s.saved {
		return err
	}
	if err := s.disk.saveState(s.state, state{s.at.String(), s.since, s.todo, s.base}); err != nil {
		return err
	}
	s.dirty, s.saved, s.kept = false, true, s.since
	return nil
}

// again asks for another round, after a while.
func (r *round) again(after time.Duration) {
	if after = max(after, time.Millisecond); r.next == 0 || after < r.next {
		r.next = after
	}
}

// read reads the files that changed since they were last read.
func (r *round) read(ctx context.Context) error {
	r.here = make(map[string]held, len(r.found.files))
	var mu sync.Mutex // guards what the readers tell: here, and the errors
	failures := map[string]error{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for name, st := range r.found.files {
		if strings.Contains(name, "/") && r.only != "" {
			continue
		}
		if a, ok := r.base[name]; ok && a.unchanged(st) {
			mu.Lock()
			r.here[name] = held{a.content, st, time.Unix(0, a.seen)}
			mu.Unlock()
			continue
		}
		group.Go(func() error {
			seen := time.Now()
			c, st, err := r.disk.hash(ctx, name, r.Quiet)
			if stops(ctx, err) {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if r.here[name] = (held{c, st, seen}); err != nil {
				delete(r.here, name)
				failures[name] = err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for name, err := range failures {
		if errors.Is(err, errBusy) || errors.Is(err, fs.ErrNotExist) {
			r.again(r.Quiet)
		} else {
			r.skips[name] = why(err)
		}
		r.found.blocked[name] = true // what it holds is not known
	}
	return nil
}

// look takes what the tree has.
func (r *round) look(ctx context.Context) error {
	r.there = map[string]value{}
	if r.only == "" {
		for name, v := range r.mirror.values {
			if name != "" && !anyPassing(name) {
				r.there[name] = v
			}
		}
		r.dirs = r.mirror.dirs()
	} else {
		if v, ok := r.mirror.values[""]; ok {
			r.there[r.only] = v
		}
		for name := range r.names() {
			if name == r.only {
				continue
			}
			v, ok, err := r.ask(ctx, name)
			if err != nil {
				return err
			}
			if ok {
				r.there[name] = v
			}
		}
	}
	for name, v := range r.there {
		if !v.unread {
			continue
		}
		if a, ok := r.base[name]; ok && a.version == v.version {
			v.content, v.unread = a.content, false
		} else if p, err := r.pathOf(name); err == nil {
			if v, err = hashValue(ctx, r.Bus, sennit.Addr{Root: r.at.Root, Path: p}); sennit.CodeOf(err) == sennit.NotFound {
				delete(r.there, name)
				continue
			} else if err != nil {
				return err
			}
		}
		r.there[name] = v
		r.learn(name, &v)
	}
	return nil
}

// names is all that either side has, or had.
func (r *round) names() names {
	all := names{}
	for name := range r.here {
		all[name] = true
	}
	for name := range r.there {
		all[name] = true
	}
	for name := range r.base {
		all[name] = true
	}
	for name := range r.copies {
		all[name] = true
	}
	return all
}

// ask asks what value a name has now.
func (s *syncer) ask(ctx context.Context, name string) (value, bool, error) {
	p, err := s.pathOf(name)
	if err != nil {
		return value{}, false, err
	}
	n, err := s.Bus.Get(ctx, sennit.Addr{Root: s.at.Root, Path: p})
	if sennit.CodeOf(err) == sennit.NotFound {
		return value{}, false, nil
	}
	if err != nil {
		return value{}, false, err
	}
	return valueOf(n), true, nil
}

// learn remembers what value a name has. nil: none.
func (s *syncer) learn(name string, v *value) {
	if s.only != "" {
		if name != s.only {
			return // it is asked for in every round
		}
		name = ""
	}
	if v == nil {
		delete(s.mirror.values, name)
	} else {
		s.mirror.values[name] = *v
	}
}

// agree remembers that both sides of a name are the same.
func (s *syncer) agree(name string, v value, st stat, seen time.Time) {
	a := agreed{v.content, v.version, st.mtime, seen.UnixNano()}
	if old, ok := s.base[name]; !ok || old != a {
		s.base[name], s.dirty = a, true
	}
}

// forget remembers that neither side has a name.
func (s *syncer) forget(name string) {
	if _, ok := s.base[name]; ok {
		delete(s.base, name)
		s.dirty = true
	}
}
