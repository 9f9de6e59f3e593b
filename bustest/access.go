package bustest

import (
	"reflect"
	"testing"

	"github.com/sennit/sennit"
)

// RunLimited holds to its contract what a Bus does for a caller who may not do
// everything. It calls open once for each test: open returns the bus of an
// owner as for [Run], and a second bus over the same state for a caller who
// may do only that, at and under those prefixes of the owner's space.
func RunLimited(t *testing.T, open func(t *testing.T, prefixes []sennit.Addr, may sennit.Rights) (owner, limited sennit.Bus)) {
	tests := []struct {
		name string
		may  sennit.Rights
		test func(t *testing.T, owner, limited sennit.Bus)
	}{
		{"a reader sees its prefixes and nothing else", sennit.Read, limitedReads},
		{"a reader changes nothing", sennit.Read, limitedReadOnly},
		{"a writer changes its prefixes and nothing else", sennit.Read | sennit.Write | sennit.Remove, limitedWrites},
		{"a right to write is no right to delete", sennit.Read | sennit.Write, limitedRemove},
		{"who may only write learns nothing", sennit.Write, limitedBlind},
		{"a reader gets messages of its prefixes and sends none", sennit.Read, limitedMessages},
		{"who may only write may send", sennit.Write, limitedSends},
		{"a watch tells a limited caller no more than a read", sennit.Read, limitedWatch},
	}
	prefixes := []sennit.Addr{me("p/mine"), me("q")}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			owner, limited := open(t, prefixes, c.may)
			for _, p := range []string{"p/mine/a", "p/mine", "p/other/a", "p/mine2", "p", "q/a", "r"} {
				put(t, owner, p, "0")
			}
			c.test(t, owner, limited)
		})
	}
}

// wantSecret wants a path with a value to look like one without.
func wantSecret(t tb, limited sennit.Bus, path, absent string) {
	t.Helper()
	_, there := limited.Get(t.Context(), me(path))
	_, nothing := limited.Get(t.Context(), me(absent))
	wantCode(t, there, sennit.NotFound)
	wantCode(t, nothing, sennit.NotFound)
	if a, b := sennit.HintOf(there), sennit.HintOf(nothing); a != b {
		t.Errorf("hint %q for what is there, %q for what is not", a, b)
	}
	_, _, there = limited.List(t.Context(), me(path), sennit.Listing{})
	wantCode(t, there, sennit.NotFound)
	a, errA := limited.Digest(t.Context(), me(path))
	b, errB := limited.Digest(t.Context(), me(absent))
	if a.Hash != b.Hash || a.Ops != b.Ops || sennit.CodeOf(errA) != sennit.CodeOf(errB) {
		t.Errorf("digest %v, %v for what is there, %v, %v for what is not", a, errA, b, errB)
	}
}

func limitedReads(t *testing.T, owner, limited sennit.Bus) {
	for _, p := range []string{"p/mine/a", "p/mine", "q/a"} {
		wantText(t, limited, p, "0")
	}
	if got, _ := list(t, limited, "p/mine", sennit.Listing{}); !reflect.DeepEqual(got, []sennit.Entry{{Name: "a", Value: true}}) {
		t.Errorf("the prefix holds %v", got)
	}
	for _, p := range []string{"p/other/a", "p/other", "p/mine2", "r"} {
		wantSecret(t, limited, p, "p/nothing")
	}
	wantNothing(t, limited, "p")

	wantAt(t, limited, "q/a", get(t, owner, "q/a").Version, "0")
	v := get(t, owner, "p/other/a").Version
	for _, p := range []string{"p/other/a", "p/mine/a", "p"} {
		_, _, err := limited.At(t.Context(), me(p), v)
		wantCode(t, err, sennit.NotFound)
	}
}

func limitedReadOnly(t *testing.T, owner, limited sennit.Bus) {
	for path, code := range map[string]sennit.Code{
		"p/mine/a": sennit.Denied, "p/mine/new": sennit.Denied, // it may look there
		"p/other/a": sennit.NotFound, "p/other/new": sennit.NotFound, "r": sennit.NotFound, // it may not
	} {
		_, err := limited.Write(t.Context(), "me", []sennit.Change{putting(path, "1")})
		wantCode(t, err, code)
		_, err = limited.Write(t.Context(), "me", []sennit.Change{deleting(path, false)})
		wantCode(t, err, code)
	}
	wantText(t, owner, "p/mine/a", "0")
	wantText(t, owner, "p/other/a", "0")
	wantNothing(t, owner, "p/mine/new")
}

func limitedWrites(t *testing.T, owner, limited sennit.Bus) {
	put(t, limited, "p/mine/a", "1")
	put(t, limited, "q", "1")
	wantText(t, owner, "p/mine/a", "1")
	_, err := limited.Write(t.Context(), "me", []sennit.Change{putting("p/mine/a", "2"), putting("p/other/a", "2")})
	wantCode(t, err, sennit.NotFound)
	wantText(t, owner, "p/mine/a", "1") // all or nothing
	for _, p := range []string{"p", ""} {
		_, err := limited.Write(t.Context(), "me", []sennit.Change{deleting(p, true)})
		wantCode(t, err, sennit.NotFound, sennit.BadInput)
	}
	wantText(t, owner, "p/other/a", "0")
	write(t, limited, deleting("p/mine", true))
	wantNothing(t, owner, "p/mine/a")
	wantText(t, owner, "p/mine2", "0")
}

func limitedRemove(t *testing.T, owner, limited sennit.Bus) {
	put(t, limited, "p/mine/a", "1")
	for _, deep := range []bool{false, true} {
		_, err := limited.Write(t.Context(), "me", []sennit.Change{deleting("p/mine/a", deep)})
		wantCode(t, err, sennit.Denied)
	}
	wantText(t, owner, "p/mine/a", "1")
}

func limitedBlind(t *testing.T, owner, limited sennit.Bus) {
	put(t, limited, "p/mine/a", "1")
	wantText(t, owner, "p/mine/a", "1")
	wantSecret(t, limited, "p/mine/a", "p/mine/nothing")
	_, err := limited.Write(t.Context(), "me", []sennit.Change{deleting("p/mine/a", false)})
	wantCode(t, err, sennit.NotFound)
}

func limitedWatch(t *testing.T, owner, limited sennit.Bus) {
	r := watch(t, limited, sennit.WatchOptions{Tail: true}, subtree(""), subtree("p/other"))
	if got := r.snapshot(); paths(got) != "p/mine p/mine/a q/a" {
		t.Fatalf("the snapshot holds %s", paths(got))
	}
	put(t, owner, "p/other/a", "1")
	put(t, owner, "p/mine/a", "1")
	put(t, owner, "r", "1")
	put(t, owner, "q/new", "1")
	r.wantSet("p/mine/a", "1")
	r.wantSet("q/new", "1")
	write(t, owner, deleting("p/other", true))
	write(t, owner, deleting("p", true)) // takes what the caller may see, and more
	if u := r.wantGone("p/mine/a"); !u.Node.Path.Under("p/mine") {
		t.Errorf("the caller learns that %s was deleted", u.Node.Path)
	}
}
