package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sennit/sennit/internal/wire"
)

// TestInvitationsThatAreOfNoUseSayWhy tries what happens to links on their way.
func TestInvitationsThatAreOfNoUseSayWhy(t *testing.T) {
	a, b, c := start(t), start(t), start(t)
	forge := func(link string, change func(*wire.Link)) string {
		l, err := wire.ParseLink(link)
		if err != nil {
			t.Fatal(err)
		}
		change(l)
		text, err := l.Text()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	used := a.do("invite", "new")
	b.do("join", used)
	revoked := a.do("invite", "new")
	var invites []struct {
		ID   string
		Used int
	}
	a.json(&invites, "invite", "ls")
	for _, in := range invites {
		if in.Used == 0 {
			a.do("invite", "revoke", in.ID[:20])
		}
	}
	good := a.do("invite", "new")
	middle := len(good) / 2
	altered := good[:middle] + string('a'+(good[middle]-'a'+1)%26) + good[middle+1:]

	for _, one := range []struct {
		what, link, says string
		exit             int
	}{
		{"used", used, "was used already", 4},
		{"revoked", revoked, "was revoked", 4},
		{"expired", forge(good, func(l *wire.Link) { l.Until = uint64(time.Now().Add(-time.Hour).Unix() / 60) }), "expired on", 4},
		{"with another seed", forge(good, func(l *wire.Link) { l.Seed[0]++ }), "was revoked, or was never made here", 4},
		{"altered", altered, "not a whole invitation link", 2},
		{"cut off", good[:len(good)-5], "not a whole invitation link", 2},
		{"nonsense", "hello", "not a whole invitation link", 2},
		{"to nowhere", forge(good, func(l *wire.Link) { l.Host[0] ^= 1 }), "can't be reached", 5},
	} {
		out, errs, exit := c.try("join", one.link)
		if exit != one.exit || !strings.Contains(errs, one.says) || !strings.Contains(errs, "hint: ") || out != "" {
			t.Errorf("a link that is %s: exit %d, want %d\n%s%s", one.what, exit, one.exit, out, errs)
		}
	}
	var follows []any
	if c.json(&follows, "follows"); len(follows) != 0 {
		t.Errorf("links that were of no use left %v", follows)
	}

	// Nothing of that used the good one up, and who used one can use it again,
	// because the answer may have been lost.
	c.do("join", good)
	c.do("join", good)
	if _, errs, exit := a.try("join", good); exit != 2 || !strings.Contains(errs, "your own invitation") {
		t.Errorf("the own link: exit %d\n%s", exit, errs)
	}
}
