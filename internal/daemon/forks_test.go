package daemon_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sennit/sennit/internal/daemon"
)

// TestWarningsAboutForkedDevices: one for each device of the owner's, of what was
// found lately, unless it was said why.
func TestWarningsAboutForkedDevices(t *testing.T) {
	now := time.Date(2026, 3, 20, 12, 0, 0, 0, time.UTC)
	fork := func(device string, own bool, days int) daemon.Fork {
		at := now.AddDate(0, 0, -days)
		return daemon.Fork{Device: device, Own: own, Signed: at.AddDate(0, 0, -1), Found: at}
	}
	forks := []daemon.Fork{
		fork("laptop", true, 0), fork("phone", true, 1), fork("laptop", true, 2), fork("bob's", false, 3),
		fork("this one", true, 6), fork("old one", true, 7),
	}
	for said, want := range map[string][]string{
		"":         {"laptop signed two histories on 2026-03-19", "phone signed two histories on 2026-03-18", "this one signed two histories on 2026-03-13"},
		"this one": {"laptop signed two histories on 2026-03-19", "phone signed two histories on 2026-03-18"},
	} {
		var got []string
		for _, f := range daemon.OwnForks(forks, said, now) {
			what, _, _ := strings.Cut(strings.TrimPrefix(f.What, "device "), ":")
			got = append(got, what)
		}
		if !slices.Equal(got, want) {
			t.Errorf("with %q said already it warns of %q, want %q", said, got, want)
		}
	}
}
