package httpdoor_test

import (
	"strings"
	"testing"

	"github.com/sennit/sennit"
	httpdoor "github.com/sennit/sennit/internal/door/http"
)

func TestHealthSaysNoMoreThanThat(t *testing.T) {
	var wrong error
	h := open(t, func(c *httpdoor.Config) { c.Ready = func() error { return wrong } })
	ask := func(path string) answer { return h.raw(t, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n", true) }
	for _, path := range []string{"/livez", "/readyz"} {
		if a := ask(path); a.status != 200 || a.body != "ok\n" {
			t.Errorf("%s answers %d %q", path, a.status, a.body)
		}
	}
	wrong = sennit.Errorf(sennit.ReadOnly, "the disk with /home/ana is full")
	if a := ask("/livez"); a.status != 200 {
		t.Errorf("a node that can't write lives: %d", a.status)
	}
	if a := ask("/readyz"); a.status != 503 || strings.Contains(a.body, "ana") {
		t.Errorf("a stranger learns of a node that can't write: %d %s", a.status, a.body)
	}
	stats := h.door.Stats()
	if stats.Requests["GET"] != 4 || stats.Refused[503] != 1 {
		t.Errorf("the door counted %+v", stats)
	}
}
