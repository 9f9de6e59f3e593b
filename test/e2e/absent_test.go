package e2e_test

import (
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sennit/sennit"
)

// absentGoal is by how much the median time of an answer about what is denied may
// differ from that of one about what is absent.
const absentGoal = 0.05

// TestDeniedTakesAsLongAsAbsent: how long an answer takes must not tell whether
// something is there. It asks by turns for what is denied and what is absent, in
// random order, on one connection.
func TestDeniedTakesAsLongAsAbsent(t *testing.T) {
	n := start(t)
	c := n.client()
	var many []sennit.Change
	for i := range 1000 {
		many = append(many, put(sennit.Path("secret/many").Join(sennit.Path(time.Duration(i).String())), strings.Repeat("x", 100)))
	}
	many = append(many, put("secret/value", "the secret"), put("mine/value", "1"))
	if _, err := c.Write(t.Context(), "me", many); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(t.Context(), sennit.Addr{Root: "me", Path: "secret/large"}, "text/plain", strings.NewReader(strings.Repeat("x", 1<<20)), nil); err != nil {
		t.Fatal(err)
	}
	tokens := map[string]string{"a stranger": "", "a token for something else": n.do("token", "new", "--prefix", "/me/mine")}
	each := 500
	if *long {
		each = 10_000
	}
	for who, token := range tokens {
		for _, what := range []struct{ name, there, absent, accept string }{
			{"a value", "/me/secret/value", "/me/absent/value", ""},
			{"a large value", "/me/secret/large", "/me/absent/large", ""},
			{"a directory", "/me/secret/many/", "/me/absent/many/", ""},
			{"a document", "/me/secret/many/", "/me/absent/many/", "application/json"},
		} {
			took := map[string][]time.Duration{}
			for range each {
				pair := []string{what.there, what.absent}
				rand.Shuffle(2, func(i, j int) { pair[i], pair[j] = pair[j], pair[i] })
				for _, path := range pair {
					req, err := http.NewRequestWithContext(t.Context(), "GET", n.ready.HTTP+path, nil)
					if err != nil {
						t.Fatal(err)
					}
					if req.Header.Set("Accept", what.accept); token != "" {
						req.Header.Set("Authorization", "Bearer "+token)
					}
					begun := time.Now()
					resp, err := http.DefaultClient.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					_, err = io.Copy(io.Discard, resp.Body)
					took[path] = append(took[path], time.Since(begun))
					if resp.Body.Close(); err != nil || resp.StatusCode != http.StatusNotFound {
						t.Fatalf("%s: %s, %v", path, resp.Status, err)
					}
				}
			}
			median := func(path string) time.Duration {
				slices.Sort(took[path])
				return took[path][each/2]
			}
			denied, absent := median(what.there), median(what.absent)
			differ := float64(denied-absent) / float64(absent)
			t.Logf("%s asks %d times for %s: it takes %v where it is denied and %v where it is absent, %+.1f %%", who, each, what.name, denied, absent, 100*differ)
			if *long && max(differ, -differ) > absentGoal { // otherwise others work beside it
				t.Errorf("the difference is more than %.0f %%", 100*absentGoal)
			}
		}
	}
}
