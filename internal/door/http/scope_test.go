package httpdoor_test

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sennit/sennit"
)

// told finds what an answer tells: where its values are from, in themselves, and
// what its blocks are about.
var told = regexp.MustCompile(`in ([a-z/]+)\.|Content-Location: (\S+)`)

// covers reports whether one of some addresses covers another.
func covers(prefixes []sennit.Addr, a sennit.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p sennit.Addr) bool { return p.Root == a.Root && a.Path.Under(p.Path) })
}

// outside is all that a token for prefixes must leave alone: the values of both
// spaces that it doesn't cover, and what the node has beside the tree.
func (n real) outside(t *testing.T, prefixes []sennit.Addr) string {
	t.Helper()
	var all strings.Builder
	for _, root := range []string{"me", "@anna"} {
		w, err := n.Watch(t.Context(), []sennit.Pattern{{Root: root}}, sennit.WatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for live := false; !live; {
			updates, err := w.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range updates {
				if live = live || u.Kind == sennit.Live; u.Kind == sennit.Set && !covers(prefixes, sennit.Addr{Root: root, Path: u.Node.Path}) {
					fmt.Fprintln(&all, root, u.Node.Path, u.Node.Version)
				}
			}
		}
		w.Close()
	}
	for _, path := range []string{"/_node/tokens", "/_node/invites", "/_node/follows", "/_node/rules"} {
		var list []struct{ ID, Space, Prefix, Mode string }
		if err := n.Do(t.Context(), "GET", path, nil, &list); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&all, path, list)
	}
	return all.String()
}

// TestATokenSeesAndChangesNothingElse asks whatever can be asked of a node, with
// tokens for parts of its spaces.
func TestATokenSeesAndChangesNothingElse(t *testing.T) {
	n, friend := realNode(t), realNode(t)
	dirs := []sennit.Path{"mine", "minex", "other", "mine/sub"}
	var old []sennit.Version
	for _, dir := range dirs {
		old = append(old, n.fill(t, dir))
		friend.fill(t, dir)
	}
	n.befriend(t, friend)
	type token struct {
		text     string
		prefixes []sennit.Addr
	}
	var tokens []token
	for _, prefixes := range [][]string{{"/me/mine"}, {"/me/mine/sub"}, {"/me/mine/value"}, {"/@anna/mine"}, {"/me/mine/sub/document", "/@anna/mine/deep"}} {
		for _, may := range [][]string{{"read"}, {"write", "delete"}, sennit.AllRights.Names()} {
			k := token{text: n.token(t, may, prefixes...)}
			for _, p := range prefixes {
				a, err := sennit.ParseAddr(p)
				if err != nil {
					t.Fatal(err)
				}
				k.prefixes = append(k.prefixes, a)
			}
			tokens = append(tokens, k)
		}
	}
	roots := map[string]string{"/me": "me", "/" + n.space: "me", "/@anna": "@anna", "/" + friend.space: "@anna", "/" + strings.Repeat("a", 52): "nobody", "/@nobody": "nobody"}
	places := slices.Concat(slices.Sorted(maps.Keys(roots)), []string{"/me", "/me", "/@anna"})
	now, err := n.Get(t.Context(), sennit.Addr{Root: "me", Path: "other"})
	if err != nil {
		t.Fatal(err)
	}
	all := requests(old[2], now.Version)
	kinds := []request{
		{"POST", "%s/", "PUT %s/other/value\nContent-Length: 5\n\nowned", []string{"Content-Type: application/vnd.sennit.commit"}},
		{"POST", "%s/", "POST %s/mine/counter?add=1\n\nDELETE %s/other/\n\n", []string{"Content-Type: application/vnd.sennit.commit"}},
		{"POST", "%s/", "PUT %s/mine/value\nContent-Length: 1\n\nx\nDELETE %s/mine/\n\n", []string{"Content-Type: application/vnd.sennit.commit"}},
	}
	control := []request{
		{"GET", "/metrics", "", nil}, {"POST", "/_node/tokens", `{"all":true}`, nil}, {"POST", "/_node/invites", "", nil}, {"POST", "/_node/page", "", nil},
		{"POST", "/_node/rules", `{"who":"any","may":["read"],"prefix":"/me/other"}`, nil}, {"POST", "/_node/undo", `{"path":"/me/other/old"}`, nil},
		{"DELETE", "/_node/follows/" + friend.space, "", nil}, {"POST", "/_node/collect", "", nil}, {"POST", "/_node/ops", "x", nil},
		{"GET", "/_node/pprof/heap", "", nil}, {"GET", "/_node/nothing", "", nil},
	}
	for _, path := range []string{"status", "id", "config", "follows", "invites", "tokens", "rules", "saved?path=/me", "doctor", "ops?path=/me", "history?path=/me/mine/old", "overtaken", "du?path=/me", "forks"} {
		control = append(control, request{"GET", "/_node/" + path, "", nil})
	}

	full := tokens[2].text
	for _, r := range []request{{"GET", "%s", "", nil}, {"PUT", "%s", "mine", nil}, {"DELETE", "%s", "", nil}} {
		if answer := n.whole(t, r, "/me/mine/value", full); !strings.HasPrefix(answer, "HTTP/1.1 20") {
			t.Errorf("what the token is for: %s gets %s", r.method, answer)
		}
	}
	done := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		k := rapid.SampledFrom(tokens).Draw(rt, "token")
		for _, dir := range dirs { // what was deleted is there again
			n.write(t, sennit.Change{Kind: sennit.KindPut, Path: dir, Value: in(dir)}, sennit.Change{Kind: sennit.KindPut, Path: dir + "/value", Value: in(dir + "/value")},
				sennit.Change{Kind: sennit.KindPut, Path: dir + "/document/a/b", Value: in(dir + "/document/a/b")})
		}
		before := n.outside(t, k.prefixes)
		for range 30 {
			place := rapid.SampledFrom(places).Draw(rt, "root")
			r, at, seen := request{}, place, false // seen: an answer of 2xx is fine
			switch rapid.IntRange(0, 9).Draw(rt, "kind") {
			case 0:
				r = rapid.SampledFrom(control).Draw(rt, "request")
			case 1:
				r = rapid.SampledFrom(kinds).Draw(rt, "request")
			case 2:
				r = rapid.SampledFrom(all).Draw(rt, "request") // of the space itself
			default:
				r = rapid.SampledFrom(all).Draw(rt, "request")
				at += "/" + string(rapid.SampledFrom(dirs).Draw(rt, "directory"))
			}
			if path, err := url.Parse(strings.ReplaceAll(r.target, "%s", at)); err == nil && strings.HasPrefix(r.target, "%s") {
				rest, _ := strings.CutPrefix(path.Path, place)
				seen = covers(k.prefixes, sennit.Addr{Root: roots[place], Path: sennit.Path(strings.Trim(rest, "/"))})
			}
			answer := n.whole(t, r, at, k.text)
			status := strings.Fields(answer)[1]
			// A patch that deletes what the caller can't see has nothing to do, and
			// makes no version.
			nothing := status == "204" && !strings.Contains(answer, "\nVersion: ")
			if done[r.method+" "+status]++; status[0] == '2' && !seen && !nothing {
				rt.Errorf("%v: %s %s of %s: %.300s", k.prefixes, r.method, r.target, at, answer)
			}
			for _, m := range told.FindAllStringSubmatch(answer, -1) {
				if p := sennit.Path(m[1]); !covers(k.prefixes, sennit.Addr{Root: roots[place], Path: p}) {
					rt.Errorf("%v: %s %s of %s tells what is at %s", k.prefixes, r.method, r.target, at, p)
				}
			}
		}
		if after := n.outside(t, k.prefixes); after != before {
			rt.Errorf("%v: there was\n%s\nand there is\n%s", k.prefixes, before, after)
		}
	})
	t.Logf("answers: %v", done)
}

// TestATokenWatchesNothingElse subscribes, with a token for a part, to more than
// that.
func TestATokenWatchesNothingElse(t *testing.T) {
	n, friend := realNode(t), realNode(t)
	dirs := []sennit.Path{"mine", "minex", "other", "mine/sub"}
	for _, dir := range dirs {
		n.fill(t, dir)
		friend.fill(t, dir)
	}
	n.befriend(t, friend)
	token := n.token(t, sennit.AllRights.Names(), "/me/mine/sub")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all []*bufio.Reader
	targets := []string{"/me/", "/" + n.space + "/", "/me/mine/", "/me/*/", "/me/*/*/", "/me/?tail&messages", "/me/?newest=5", "/me/mine/?messages&also=/me/other/", "/@follows/*/?also=/me/"}
	for _, target := range targets {
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+n.addr+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Subscribe", "?1")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != 209 {
			t.Fatalf("%s: %s", target, resp.Status)
		}
		all = append(all, bufio.NewReader(resp.Body))
	}
	for _, dir := range []sennit.Path{"minex", "other", "mine", "mine/sub"} {
		n.fill(t, dir) // once more
		if err := n.Send(t.Context(), sennit.Addr{Root: "me", Path: dir + "/value"}, in(dir+"/value"), 0); err != nil {
			t.Fatal(err)
		}
	}
	n.write(t, sennit.Change{Kind: sennit.KindDel, Path: "other", Deep: true}, sennit.Change{Kind: sennit.KindPut, Path: "mine/sub/value", Value: sennit.Value{Data: []byte("last")}})
	for i, target := range targets {
		seen := 0
		for line := ""; strings.TrimSpace(line) != "last"; {
			var err error
			if line, err = all[i].ReadString('\n'); err != nil {
				t.Fatalf("%s: %v", target, err)
			}
			for _, m := range told.FindAllStringSubmatch(line, -1) {
				seen++
				if p := sennit.Path(m[1] + strings.TrimPrefix(m[2], "/"+n.space+"/")); !p.Under("mine/sub") {
					t.Errorf("%s tells of %s", target, p)
				}
			}
		}
		if seen < 10 {
			t.Errorf("%s told of %d things", target, seen)
		}
	}
}
