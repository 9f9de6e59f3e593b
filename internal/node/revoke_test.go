package node_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/wire"
)

// TestNobodyWritesBelowTheirCut: somebody who was removed signs a commit under
// an old number, and a later one whose past names both it and the commit that
// the cut names. It counts nowhere, in whatever order things come.
func TestNobodyWritesBelowTheirCut(t *testing.T) {
	newIdentity(t, "owner")
	newIdentity(t, "left")
	newIdentity(t, "right")
	for _, order := range []string{"hrf", "hfr", "rhf", "rfh", "frh", "fhr", "rf", "fr"} {
		t.Run(order, func(t *testing.T) {
			if err := inBubble(t, func(f failer) {
				s := newScene(f, t, newChoices(1, 60))
				defer s.close()
				m := s.nodes[0]
				s.admit(m)
				ana := s.people[2]
				auth := []sennit.Hash{allowed(f, s, m, wire.Grant{Who: wire.Who{Subject: wire.SubjectSpace, Key: ana.space()}, May: sennit.Write})}
				s.evidence(m)

				clock := uint64(s.base.UnixMilli()) << 16
				honest := newLog(s.space, ana.space(), secret("ana 1"), wire.Data, 1)
				for i := range 6 {
					honest.write(f, clock+uint64(i), auth, putOp("a", string(rune('0'+i))))
				}
				forged := honest.fork(2)
				forged.write(f, clock+2, auth, putOp("b", "forged"))
				for _, c := range honest.commits[3:5] {
					forged.adopt(c) // whose pasts don't hold the forged one
				}
				forged.write(f, clock+9, auth, putOp("c", "forged"))

				revoke := func() {
					cut := wire.Cut{Log: honest.rec.ID(), Seq: 5, Last: honest.commits[4].ID}
					v := wire.Revoke{Who: wire.Who{Subject: wire.SubjectSpace, Key: ana.space()}, Cuts: []wire.Cut{cut}}
					s.fetch()
					l := s.rules[slices.IndexFunc(s.rules, func(l *log) bool { return l.key != nil })]
					s.authorize(l, wire.Op{Kind: sennit.KindRevoke, Body: v.Append(nil)})
					if err := m.deliver(l.rec, l.whole(f)); err != nil {
						f.Fatalf("revoke: %v", err)
					}
				}
				for _, step := range order {
					switch step {
					case 'h':
						s.tolerate(m.deliver(honest.rec, honest.whole(f)))
					case 'r':
						revoke()
					case 'f':
						only := forged.run(f, 0, 3, 6, func(seq int) bool { return seq == 3 }, allOps)
						s.tolerate(m.deliver(forged.rec, only))
					}
				}
				for p, want := range map[sennit.Path]string{"a": "4", "b": "", "c": ""} {
					if p == "a" && len(order) == 2 {
						want = "" // the commits that count never came
					}
					got, err := m.Bus(m.Owner()).Get(context.Background(), sennit.Addr{Root: "me", Path: p})
					if err != nil && sennit.CodeOf(err) != sennit.NotFound || string(got.Value.Data) != want {
						f.Fatalf("/%s shows %q, want %q (%v)", p, got.Value.Data, want, err)
					}
				}
				m.whole(f, "the node")
			}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// allowed makes a rule, and tells the commit that has it.
func allowed(f failer, s *scene, m *machine, g wire.Grant) sennit.Hash {
	if _, err := m.Allow(context.Background(), m.Owner(), s.space, []wire.Grant{g}); err != nil {
		f.Fatalf("allow: %v", err)
	}
	s.fetch()
	return s.heads[len(s.heads)-1]
}

// TestRevoke: what is here of what somebody wrote stays, or goes with their
// rights; a collection keeps what shows that it counts.
func TestRevoke(t *testing.T) {
	for _, void := range []bool{false, true} {
		newIdentity(t, "owner")
		newIdentity(t, "left")
		newIdentity(t, "right")
		if err := inBubble(t, func(f failer) {
			s := newScene(f, t, newChoices(1, 60))
			defer s.close()
			m := s.nodes[0]
			if err := m.stop(); err != nil {
				f.Fatalf("stop: %v", err)
			}
			m.undo = time.Hour
			boot(f, m)
			s.admit(m)
			ana := s.people[2]
			auth := []sennit.Hash{allowed(f, s, m, wire.Grant{Who: wire.Who{Subject: wire.SubjectSpace, Key: ana.space()}, May: sennit.Write})}
			s.evidence(m)
			clock := uint64(s.base.UnixMilli()) << 16
			l := newLog(s.space, ana.space(), secret("ana 1"), wire.Data, 1)
			for i := range 40 {
				l.write(f, clock+uint64(i), auth, putOp([]string{"kept", "often"}[min(i, 1)], string(rune('A'+i))))
			}
			deliver := func(last int) {
				if err := m.deliver(l.rec, l.run(f, 0, 1, last, all, allOps)); err != nil {
					f.Fatalf("deliver: %v", err)
				}
			}
			deliver(30)
			if _, err := m.Revoke(context.Background(), m.Owner(), s.space, []node.Revocation{{
				Who: wire.Who{Subject: wire.SubjectSpace, Key: ana.space()}, Void: void,
			}}); err != nil {
				f.Fatalf("revoke: %v", err)
			}
			deliver(40)
			shows := func(want map[sennit.Path]string) {
				for p, want := range want {
					got, err := m.Bus(m.Owner()).Get(context.Background(), sennit.Addr{Root: "me", Path: p})
					if err != nil && sennit.CodeOf(err) != sennit.NotFound || string(got.Value.Data) != want {
						f.Fatalf("void %v: /%s shows %q, want %q (%v)", void, p, got.Value.Data, want, err)
					}
				}
			}
			kept, often := "A", string(rune('A'+29))
			if void {
				kept, often = "", ""
			}
			for range 2 {
				shows(map[sennit.Path]string{"kept": kept, "often": often})
				// The commit that the cut names is superseded, and too old to be wanted back.
				often = "again"
				if _, err := m.Bus(m.Owner()).Write(context.Background(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: "often", Value: sennit.Value{Data: []byte(often)}}}); err != nil {
					f.Fatalf("write: %v", err)
				}
				time.Sleep(2 * time.Hour)
				if _, err := m.Collect(context.Background(), s.space, nil); err != nil {
					f.Fatalf("collect: %v", err)
				}
				m.whole(f, "the node")
				if err := m.stop(); err != nil {
					f.Fatalf("stop: %v", err)
				}
				boot(f, m)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestACollectionLeavesWhatARevocationBringsBack: of each path and log the
// newest 16 versions that something covers.
func TestACollectionLeavesWhatARevocationBringsBack(t *testing.T) {
	newIdentity(t, "owner")
	newIdentity(t, "left")
	newIdentity(t, "right")
	for _, back := range []int{1, 2, 9, 16} {
		if err := inBubble(t, func(f failer) {
			s := newScene(f, t, newChoices(1, 60))
			defer s.close()
			m := s.nodes[0]
			s.admit(m)
			ana := s.people[2]
			auth := []sennit.Hash{allowed(f, s, m, wire.Grant{Who: wire.Who{Subject: wire.SubjectSpace, Key: ana.space()}, May: sennit.Write})}
			s.evidence(m)
			l := newLog(s.space, ana.space(), secret("ana 1"), wire.Data, 1)
			const versions = 40
			for i := range versions {
				l.write(f, uint64(s.base.UnixMilli())<<16+uint64(i), auth, putOp("often", strconv.Itoa(i)))
			}
			if err := m.deliver(l.rec, l.whole(f)); err != nil {
				f.Fatalf("deliver: %v", err)
			}
			if got, err := m.Collect(context.Background(), s.space, nil); err != nil || got.Dropped == 0 {
				f.Fatalf("collect: %+v, %v", got, err)
			}
			last := l.commits[versions-1-back]
			v := wire.Revoke{
				Who: wire.Who{Subject: wire.SubjectSpace, Key: ana.space()}, Cuts: []wire.Cut{{Log: l.rec.ID(), Seq: last.Seq, Last: last.ID}},
			}
			rules := s.rules[slices.IndexFunc(s.rules, func(l *log) bool { return l.key != nil })]
			s.authorize(rules, wire.Op{Kind: sennit.KindRevoke, Body: v.Append(nil)})
			if err := m.deliver(rules.rec, rules.whole(f)); err != nil {
				f.Fatalf("revoke: %v", err)
			}
			got, err := m.Bus(m.Owner()).Get(context.Background(), sennit.Addr{Root: "me", Path: "often"})
			if want := strconv.Itoa(versions - 1 - back); err != nil || string(got.Value.Data) != want {
				f.Fatalf("%d versions back it shows %q, want %q (%v)", back, got.Value.Data, want, err)
			}
		}); err != nil {
			t.Error(err)
		}
	}
}

// TestACutsCommitInOneGroupWithWhatItShows: a log that isn't known comes in
// several runs, which are committed together. The first waits for the commit that a
// cut names; it is in the second, and may be in another once more.
func TestACutsCommitInOneGroupWithWhatItShows(t *testing.T) {
	for name, again := range map[string]bool{"once": false, "once more": true} {
		t.Run(name, func(t *testing.T) { cutInOneGroup(t, again) })
	}
}

// grouped boots a machine that takes the runs which it is handed together as one
// group commit.
func grouped(f failer, m *machine) (together func(rec wire.Log, runs ...*wire.Run)) {
	if err := m.stop(); err != nil {
		f.Fatalf("stop: %v", err)
	}
	var holds atomic.Bool
	goOn := make(chan struct{})
	m.full = func() error {
		if holds.Load() {
			<-goOn
		}
		return nil
	}
	boot(f, m)
	return func(rec wire.Log, runs ...*wire.Run) {
		ctx := context.Background()
		holds.Store(true)
		release := sync.OnceFunc(func() {
			holds.Store(false)
			close(goOn)
		})
		defer release() // also if the test fails: nothing ends before
		wrote := make(chan error, 1)
		go func() {
			_, err := m.Bus(m.Owner()).Write(ctx, "me", []sennit.Change{{Kind: sennit.KindPut, Path: "own"}})
			wrote <- err
		}()
		synctest.Wait()
		taken := make(chan error, 1)
		go func() { taken <- m.deliver(rec, runs...) }()
		synctest.Wait()
		release()
		if err := errors.Join(<-wrote, <-taken); err != nil {
			f.Fatalf("what came in one group: %v", err)
		}
	}
}

func cutInOneGroup(t *testing.T, again bool) {
	newIdentity(t, "owner")
	newIdentity(t, "left")
	newIdentity(t, "right")
	if err := inBubble(t, func(f failer) {
		s := newScene(f, t, newChoices(1, 60))
		defer s.close()
		m := s.nodes[0]
		together := grouped(f, m)
		s.admit(m)
		ana := s.people[2]
		auth := []sennit.Hash{allowed(f, s, m, wire.Grant{Who: wire.Who{Subject: wire.SubjectSpace, Key: ana.space()}, May: sennit.Write})}
		s.evidence(m)
		l := newLog(s.space, ana.space(), secret("ana 1"), wire.Data, 1)
		for i := range 6 {
			l.write(f, uint64(s.base.UnixMilli())<<16+uint64(i), auth, putOp("at/"+strconv.Itoa(i+1), "x"))
		}
		v := wire.Revoke{
			Who: wire.Who{Subject: wire.SubjectSpace, Key: ana.space()}, Cuts: []wire.Cut{{Log: l.rec.ID(), Seq: 5, Last: l.commits[4].ID}},
		}
		rules := s.rules[slices.IndexFunc(s.rules, func(l *log) bool { return l.key != nil })]
		s.authorize(rules, wire.Op{Kind: sennit.KindRevoke, Body: v.Append(nil)})
		if err := m.deliver(rules.rec, rules.whole(f)); err != nil {
			f.Fatalf("revoke: %v", err)
		}

		ctx := context.Background()
		runs := []*wire.Run{l.run(f, 0, 1, 3, all, allOps), l.run(f, 3, 4, 5, all, allOps), l.run(f, 5, 6, 6, all, allOps)}
		if again {
			runs[2] = l.whole(f)
		}
		together(l.rec, runs...)
		for i := range 6 {
			_, err := m.Bus(m.Owner()).Get(ctx, sennit.Addr{Root: "me", Path: sennit.Path("at/" + strconv.Itoa(i+1))})
			if shows := err == nil; shows != (i < 5) {
				f.Fatalf("commit %d, of which 5 count, shows: %v (%v)", i+1, shows, err)
			}
		}
		m.whole(f, "the node")
	}); err != nil {
		t.Fatal(err)
	}
}
