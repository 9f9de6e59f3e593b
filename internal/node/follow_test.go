package node_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/prefix"
)

// TestEditsOfAFollowDontOverlap: each edit finds what all others left.
func TestEditsOfAFollowDontOverlap(t *testing.T) {
	n, space := open(t, vfs.NewMem()), sennit.Space{1}
	const editors = 50
	var all sync.WaitGroup
	for i := range editors {
		all.Go(func() {
			if err := n.EditFollow(t.Context(), space, func(f *node.Follow) {
				f.Mode, f.Hosts = "live", []node.Host{{Key: "host"}}
				f.Name += fmt.Sprint(i % 10)
			}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	follows, err := n.Follows()
	if err != nil || len(follows) != 1 || len(follows[0].Name) != editors {
		t.Errorf("%+v, %v", follows, err)
	}
}

// TestPetnames: a name is one space's, until that is called something else or
// isn't followed any more.
func TestPetnames(t *testing.T) {
	n := open(t, vfs.NewMem())
	ann, bob := sennit.Space{1}, sennit.Space{2}
	call := func(space sennit.Space, name string) error {
		return n.EditFollow(t.Context(), space, func(f *node.Follow) { f.Mode, f.Name = "live", name })
	}
	check := func(want ...string) {
		t.Helper()
		var got []string
		for _, name := range []string{"ann", "anna", "bob"} {
			if id, err := n.Resolve("@" + name); err == nil {
				got = append(got, fmt.Sprint(name, "=", id[0]))
			} else if sennit.CodeOf(err) != sennit.NotFound {
				t.Errorf("@%s: %v", name, err)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("names are %v, want %v", got, want)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	must(call(ann, "ann"))
	check("ann=1")
	if err := call(bob, "ann"); sennit.CodeOf(err) != sennit.Conflict || !strings.Contains(err.Error(), "@ann is somebody else here") {
		t.Errorf("a name that is taken: %v", err)
	}
	check("ann=1")
	must(call(ann, "anna"))
	check("anna=1")
	must(call(bob, "ann"))
	check("ann=2", "anna=1")
	must(call(bob, ""))
	check("anna=1")
	must(n.Unfollow(t.Context(), ann))
	check()
	must(call(bob, "anna"))
	check("anna=2")
	must(n.Unfollow(t.Context(), ann)) // which isn't followed
	check("anna=2")
}

// TestAFailedEditOfAFollowChangesNothing: neither the record nor the names.
func TestAFailedEditOfAFollowChangesNothing(t *testing.T) {
	n := open(t, vfs.NewMem())
	ann, bob := sennit.Space{1}, sennit.Space{2}
	for space, name := range map[sennit.Space]string{ann: "ann", bob: "bob"} {
		if err := n.EditFollow(t.Context(), space, func(f *node.Follow) { f.Mode, f.Name = "live", name }); err != nil {
			t.Fatal(err)
		}
	}
	before, err := n.Follows()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.EditFollow(t.Context(), bob, func(f *node.Follow) { f.Name, f.Hosts = "ann", []node.Host{{Key: "elsewhere"}} }); sennit.CodeOf(err) != sennit.Conflict {
		t.Fatal(err)
	}
	after, err := n.Follows()
	if err != nil || fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("%v became %v, %v", before, after, err)
	}
	for name, want := range map[string]sennit.Space{"@ann": ann, "@bob": bob} {
		if got, err := n.Resolve(name); got != want {
			t.Errorf("%s is %v, %v", name, got, err)
		}
	}
}

// TestPartsOfAFollow are kept in one form; a record from before there were parts,
// or an edit that names none, means everything.
func TestPartsOfAFollow(t *testing.T) {
	many := func(n int) (all prefix.Set) {
		for i := range n {
			all = append(all, sennit.Path(fmt.Sprintf("p%03d", i)))
		}
		return all
	}
	n := open(t, vfs.NewMem())
	space := sennit.Space{1}
	for _, c := range []struct {
		from, want prefix.Set
		code       sennit.Code
	}{
		{nil, prefix.All(), ""},
		{prefix.Set{"posts", "a", "posts/2026", "a"}, prefix.Set{"a", "posts"}, ""},
		{prefix.Set{"posts", ""}, prefix.All(), ""},
		{many(256), many(256), ""},
		{many(257), nil, sennit.BadInput},
		{append(many(257), ""), prefix.All(), ""},
		{prefix.Set{"/posts"}, nil, sennit.BadInput},
		{prefix.Set{"a//b"}, nil, sennit.BadInput},
	} {
		err := n.EditFollow(t.Context(), space, func(f *node.Follow) { f.Mode, f.Prefixes = "live", c.from })
		if sennit.CodeOf(err) != c.code {
			t.Errorf("%.3q: %v", c.from, err)
		}
		if keeps, err := n.Keeps(space); c.code == "" && (err != nil || !keeps.Equal(c.want)) {
			t.Errorf("%.3q: keeps %.3q, %v", c.from, keeps, err)
		}
	}
	if err := n.SetLocal(t.Context(), map[string][]byte{"follow/" + space.String(): []byte(`{"mode":"live"}`)}); err != nil {
		t.Fatal(err)
	}
	if follows, err := n.Follows(); err != nil || len(follows) != 1 || !follows[0].Prefixes.Equal(prefix.All()) {
		t.Errorf("a record without parts: %+v, %v", follows, err)
	}
	if keeps, err := n.Keeps(sennit.Space{2}); err != nil || len(keeps) > 0 {
		t.Errorf("of a space that isn't followed it keeps %q, %v", keeps, err)
	}
	if keeps, err := n.Keeps(n.Self().Space); err != nil || !keeps.Equal(prefix.All()) {
		t.Errorf("of its own space it keeps %q, %v", keeps, err)
	}
}

// TestHostsOfAFollow: they are bounded, the newest choice comes first, and a
// record from when there was one host still counts.
func TestHostsOfAFollow(t *testing.T) {
	n, space := open(t, vfs.NewMem()), sennit.Space{1}
	hosts := func() (keys []string) {
		t.Helper()
		follows, err := n.Follows()
		if err != nil || len(follows) != 1 {
			t.Fatalf("%+v, %v", follows, err)
		}
		for _, h := range follows[0].Hosts {
			keys = append(keys, fmt.Sprint(h.Key, h.Addrs))
		}
		return keys
	}
	old := `{"prefixes":[""],"mode":"live","host":"old","addrs":["one","two"]}`
	if err := n.SetLocal(t.Context(), map[string][]byte{"follow/" + space.String(): []byte(old)}); err != nil {
		t.Fatal(err)
	}
	if got := hosts(); !slices.Equal(got, []string{"old[one two]"}) {
		t.Errorf("a record with one host: %q", got)
	}
	prefer := func(h node.Host) {
		t.Helper()
		if err := n.EditFollow(t.Context(), space, func(f *node.Follow) { f.Prefer(h) }); err != nil {
			t.Fatal(err)
		}
	}
	prefer(node.Host{Key: "new"})
	prefer(node.Host{Key: "old", Addrs: []string{"three"}})
	if got := hosts(); !slices.Equal(got, []string{"old[three]", "new[]"}) {
		t.Errorf("what is preferred comes first, once: %q", got)
	}
	for i := range node.MaxHosts - 1 {
		prefer(node.Host{Key: fmt.Sprint(i)})
	}
	if got := hosts(); len(got) != node.MaxHosts || got[0] != "6[]" || got[node.MaxHosts-1] != "old[three]" {
		t.Errorf("%d hosts: %q", len(got), got)
	}
	err := n.EditFollow(t.Context(), space, func(f *node.Follow) { f.Hosts = append(f.Hosts, node.Host{Key: "one more"}) })
	if sennit.CodeOf(err) != sennit.BadInput || len(hosts()) != node.MaxHosts {
		t.Errorf("one too many: %v", err)
	}
}
