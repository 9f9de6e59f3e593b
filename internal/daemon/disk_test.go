package daemon_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/daemon"
)

const gib = 1 << 30

func TestTheReserveStaysFree(t *testing.T) {
	for _, one := range []struct {
		name       string
		reserve    int64
		size, free uint64
		want       uint64 // the reserve
		full       bool
	}{
		{"a small disk keeps 1 GiB", -1, 5 * gib, gib, gib, false},
		{"a byte less is too little", -1, 5 * gib, gib - 1, gib, true},
		{"a large disk keeps a tenth", -1, 100 * gib, 10 * gib, 10 * gib, false},
		{"less than a tenth is too little", -1, 100 * gib, 10*gib - 1, 10 * gib, true},
		{"as was said", 500e6, 100 * gib, 500e6, 500e6, false},
		{"less than was said", 500e6, 100 * gib, 500e6 - 1, 500e6, true},
		{"room to end in order stays", 0, 100 * gib, 64 << 20, 64 << 20, false},
		{"whatever was said", 1, 100 * gib, 64<<20 - 1, 64 << 20, true},
	} {
		t.Run(one.name, func(t *testing.T) {
			d := daemon.NewDisk(one.reserve, func(path string) (uint64, uint64, error) {
				if path != "/somewhere" {
					t.Errorf("asked about %s", path)
				}
				return one.size, one.free, nil
			}, time.Now)
			u, err := d.Look()
			if u != (daemon.Usage{Size: one.size, Free: one.free, Reserve: one.want, Full: one.full}) {
				t.Errorf("got %+v", u)
			}
			if one.full != (sennit.CodeOf(err) == sennit.ReadOnly) || !one.full && err != nil {
				t.Errorf("got %v", err)
			}
			if one.full && (sennit.HintOf(err) == "" || !strings.Contains(err.Error(), "nothing is written")) {
				t.Errorf("it says %v, hint %q", err, sennit.HintOf(err))
			}
		})
	}
}

func TestRoomIsNoticedSoon(t *testing.T) {
	now, free, asked := time.Unix(1000, 0), uint64(gib-1), 0
	var broken error
	d := daemon.NewDisk(gib, func(string) (uint64, uint64, error) { asked++; return 5 * gib, free, broken }, func() time.Time { return now })
	expect := func(code sennit.Code, looks int) {
		t.Helper()
		if err := d.Full(); sennit.CodeOf(err) != code || asked != looks {
			t.Errorf("got %v after %d looks; want %q after %d", err, asked, code, looks)
		}
	}
	expect(sennit.ReadOnly, 1)
	free = gib
	expect(sennit.ReadOnly, 1) // it doesn't ask the system before each commit
	now = now.Add(100 * time.Millisecond)
	expect("", 2)
	free = gib - 1
	now = now.Add(100 * time.Millisecond)
	expect(sennit.ReadOnly, 3)
	broken = errors.New("no such disk")
	now = now.Add(100 * time.Millisecond)
	expect(sennit.Internal, 4)
	broken, free = nil, gib
	now = now.Add(-time.Hour) // a clock that was set back doesn't stop it
	expect("", 5)
}

// TestALookThatTakesLongHoldsNobodyUp: a file system in a network may not
// answer for a while.
func TestALookThatTakesLongHoldsNobodyUp(t *testing.T) {
	now := time.Unix(1000, 0)
	slow, hang := make(chan struct{}), make(chan struct{})
	calls := 0
	d := daemon.NewDisk(10, func(string) (uint64, uint64, error) {
		if calls++; calls == 2 {
			close(slow)
			<-hang
		}
		return 5 * gib, 2 * gib, nil
	}, func() time.Time { return now })
	if err := d.Full(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(100 * time.Millisecond)
	var wg, late sync.WaitGroup
	late.Go(func() {
		if err := d.Full(); err != nil {
			t.Error(err)
		}
	})
	<-slow
	for range 3 {
		wg.Go(func() {
			if err := d.Full(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(hang)
	late.Wait()
}
