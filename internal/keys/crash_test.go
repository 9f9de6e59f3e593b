package keys_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/keys"
)

const place = "/srv/sennit/node"

// restarts is what may happen to what was not synced when all stops.
func restarts(seed uint64) map[string]func(n *inode) bool {
	r := rand.New(rand.NewPCG(seed, 0))
	return map[string]func(n *inode) bool{
		"killed":                   nil,
		"power lost, nothing kept": func(*inode) bool { return false },
		"power lost, all kept":     func(*inode) bool { return true },
		"power lost, names kept":   func(n *inode) bool { return n.mode.IsDir() },
		"power lost, some kept":    func(*inode) bool { return r.IntN(2) == 0 },
	}
}

// same reports whether two identities are one, by what they sign and open.
func same(a, b *keys.Identity) bool {
	return a.Principal() == b.Principal() && a.Host().Equal(b.Host()) &&
		a.SignCommit(sennit.Hash{1}) == b.SignCommit(sennit.Hash{1}) &&
		string(a.HPKE().PublicKey().Bytes()) == string(b.HPKE().PublicKey().Bytes())
}

func mustLoad(t testing.TB, d *memDisk, want *keys.Identity) {
	t.Helper()
	got, err := keys.LoadOn(d, place)
	if err != nil {
		t.Fatalf("the identity can't be loaded: %v", err)
	}
	if !same(got, want) {
		t.Fatal("another identity is there")
	}
	words, err := got.Words()
	if err != nil {
		t.Fatalf("the words can't be read: %v", err)
	}
	if key, err := keys.FromWords(words); err != nil || key.Equal(got.Host()) {
		t.Fatalf("the words are no good: %v", err)
	}
}

// Whatever operation Create stops at, there is a whole identity afterwards or
// none, and what Create returned or Load showed stays.
func TestCreateSurvivesACrashAtEveryOperation(t *testing.T) {
	crashed, seen := 0, make(map[string]bool)
	for op, done := 1, false; !done; op++ {
		for name, survives := range restarts(uint64(op)) {
			d := newMemDisk()
			d.crashAt = op
			made, err := keys.CreateOn(d, place, options(1))
			if !d.stopped {
				done = true
				if err != nil {
					t.Fatal(err)
				}
			} else {
				crashed++
			}
			d.restart(survives)
			left := fmt.Sprint(err == nil, d.root.dump())
			if seen[left] {
				continue // what follows was seen to go well
			}
			seen[left] = true
			kept, lerr := keys.LoadOn(d, place)
			switch {
			case err == nil && lerr != nil:
				t.Fatalf("stopped at operation %d, %s: Create succeeded and its identity is gone: %v", op, name, lerr)
			case err == nil && !same(made, kept):
				t.Fatalf("stopped at operation %d, %s: another identity is there", op, name)
			case lerr != nil && sennit.CodeOf(lerr) != sennit.NotFound:
				t.Fatalf("stopped at operation %d, %s: half an identity is there: %v", op, name, lerr)
			}
			again, err := keys.CreateOn(d, place, options(2))
			if kept != nil {
				if sennit.CodeOf(err) != sennit.Conflict {
					t.Fatalf("stopped at operation %d, %s: a second identity was made: %v", op, name, err)
				}
			} else {
				if err != nil {
					t.Fatalf("stopped at operation %d, %s: Create can't be called again: %v", op, name, err)
				}
				kept = again
				for entry := range d.at(place).entries {
					if entry != "keys" {
						t.Errorf("stopped at operation %d, %s: %s was left", op, name, entry)
					}
				}
			}
			d.restart(func(*inode) bool { return false })
			mustLoad(t, d, kept)
		}
	}
	if crashed < 5*40 {
		t.Errorf("only %d crashes: Create has more operations than that", crashed)
	}
	if len(seen) < 40 {
		t.Errorf("only %d different states were left", len(seen))
	}
}

// The same with any number of crashes in a row, in Create and in Load.
func TestCreateSurvivesCrashesInARow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newMemDisk()
		var shown *keys.Identity // what anybody was given
		for i := range rapid.IntRange(1, 6).Draw(t, "starts") {
			d.crashAt = rapid.IntRange(1, 90).Draw(t, "operation")
			id, err := keys.LoadOn(d, place)
			if sennit.CodeOf(err) == sennit.NotFound {
				id, err = keys.CreateOn(d, place, options(byte(i)))
			}
			switch {
			case err != nil && !d.stopped:
				t.Fatalf("start %d: %v", i, err)
			case err == nil && shown != nil && !same(id, shown):
				t.Fatalf("start %d: another identity than before", i)
			case err == nil:
				shown = id
			}
			all := restarts(rapid.Uint64().Draw(t, "seed"))
			d.restart(all[rapid.SampledFrom([]string{
				"killed", "power lost, nothing kept", "power lost, all kept", "power lost, names kept", "power lost, some kept",
			}).Draw(t, "end")])
		}
		if shown == nil {
			return
		}
		got, err := keys.LoadOn(d, place)
		if err != nil || !same(got, shown) {
			t.Fatalf("the identity is not there any more: %v", err)
		}
	})
}

// A disk that fails is reported with the right code, and nothing is left in
// the way of the next attempt.
func TestCreateReportsAFailingDisk(t *testing.T) {
	for op, done := 1, false; !done; op++ {
		d := newMemDisk()
		d.failAt, d.failure = op, fmt.Errorf("write: %w", syscall.ENOSPC)
		_, err := keys.CreateOn(d, place, options(1))
		done = d.ops < op
		d.failAt = 0
		if err != nil && sennit.CodeOf(err) != sennit.ReadOnly {
			t.Errorf("operation %d: %v (%s), want read-only", op, err, sennit.CodeOf(err))
		}
		if n := d.at(place); n != nil {
			for entry := range n.entries {
				// After a failed sync of the last step the keys are in place.
				if strings.HasPrefix(entry, "keys.new-") {
					t.Errorf("operation %d: %s was left", op, entry)
				}
			}
		}
		if _, lerr := keys.LoadOn(d, place); sennit.CodeOf(lerr) == sennit.NotFound {
			if err == nil {
				t.Errorf("operation %d: Create succeeded and nothing is there", op)
			}
			if _, err := keys.CreateOn(d, place, options(2)); err != nil {
				t.Errorf("operation %d: Create can't be called again: %v", op, err)
			}
		} else if lerr != nil {
			t.Errorf("operation %d: half an identity is there: %v", op, lerr)
		}
	}
}

func TestLoadReportsAFailingDisk(t *testing.T) {
	d := newMemDisk()
	id, err := keys.CreateOn(d, place, options(1))
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for op, done := 1, false; !done; op++ {
		d.ops, d.failAt, d.failure = 0, op, fmt.Errorf("read: %w", syscall.EIO)
		_, err := keys.LoadOn(d, place)
		done = d.ops < op
		d.failAt = 0
		if err != nil {
			failed++
			if sennit.CodeOf(err) != sennit.Internal {
				t.Errorf("operation %d: %v (%s), want internal", op, err, sennit.CodeOf(err))
			}
		}
	}
	if failed < 10 {
		t.Errorf("only %d failures were reported", failed)
	}
	mustLoad(t, d, id)
}

func TestForgottenWordsStayForgotten(t *testing.T) {
	for op, done := 1, false; !done; op++ {
		for name, survives := range restarts(uint64(op)) {
			d := newMemDisk()
			id, err := keys.CreateOn(d, place, options(1))
			if err != nil {
				t.Fatal(err)
			}
			words, err := id.Words()
			if err != nil {
				t.Fatal(err)
			}
			d.ops, d.crashAt = 0, op
			ferr := id.ForgetWords()
			done = !d.stopped
			d.restart(survives)
			after, err := keys.LoadOn(d, place)
			if err != nil || !same(after, id) {
				t.Fatalf("stopped at operation %d, %s: %v", op, name, err)
			}
			got, err := after.Words()
			switch {
			case ferr == nil && sennit.CodeOf(err) != sennit.NotFound:
				t.Errorf("stopped at operation %d, %s: the words are back: %v", op, name, err)
			case err == nil && got != words, err != nil && sennit.CodeOf(err) != sennit.NotFound:
				t.Errorf("stopped at operation %d, %s: half of the words are there: %v", op, name, err)
			}
			if err := after.ForgetWords(); err != nil {
				t.Errorf("stopped at operation %d, %s: %v", op, name, err)
			}
			if _, err := after.Words(); sennit.CodeOf(err) != sennit.NotFound {
				t.Errorf("stopped at operation %d, %s: %v, want not-found", op, name, err)
			}
		}
	}
}
