package main_test

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	main "github.com/sennit/sennit/cmd/sennit"
	"github.com/sennit/sennit/internal/daemon"
)

// pretend answers on a data directory's socket as a node does, with these
// bodies by path, and tells the directory.
func pretend(t *testing.T, answers map[string]string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sennit") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	if socket := daemon.Socket(dir); socket != l.Addr().String() {
		t.Fatalf("the socket is %s", socket)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch body, ok := answers[r.URL.Path]; {
		case r.Method == http.MethodOptions:
			w.Header().Set("Allow", "GET")
			w.WriteHeader(http.StatusNoContent)
		case !ok:
			<-r.Context().Done() // it hangs
		default:
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(body)) // the caller went away
		}
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // it was closed
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return dir
}

func TestACheckSaysHowTheNodeIs(t *testing.T) {
	const (
		space  = "nzkqj5npdmn5s24cbzfkxgwpq4awgazynsrgivflsx6jqvalyg5q"
		status = `{"space":"` + space + `","disk":{"size":100000000000,"free":12000000000,"reserve":10000000000},"spaces":3,"ops":7,"peers":[{},{}]`
		well   = `{"done":true}`
	)
	found := func(findings string) string { return `{"done":true,"findings":[` + findings + `]}` }
	forks := func(found string) string {
		return `[{"author":"` + space + `","device":"their","own":false,"found":"` + found + `"},{"device":"mine","own":true,"found":"2999-01-01T00:00:00Z"}]`
	}
	for _, one := range []struct {
		name                  string
		status, doctor, forks string
		code                  int
		want                  string // the beginning
	}{
		{"all is well", status + "}", well, "", 0, "SENNIT OK - 2 peers, 2000 MB free above the reserve | peers=2;;;0 spaces=3;;;0 ops=7;;;0 "},
		{"the clock", status + "}", found(`{"what":"the clock is off","about":"clock"}`), "", 1, "SENNIT WARNING - the clock is off | peers=2;"},
		{"the clock is far ahead", status + "}", found(`{"what":"nothing is written","about":"clock","grave":true}`), "", 2, "SENNIT CRITICAL - nothing is written | "},
		{"what is worse comes first", status + "}", found(`{"what":"a","about":"words"},{"what":"b","about":"disk","grave":true},{"what":"c","about":"follows"}`), "", 2, "SENNIT CRITICAL - b, a, c | "},
		{"many of a kind", status + "}", found(`{"what":"a","about":"follows"},{"what":"b","about":"follows"},{"what":"c","about":"follows"}`), "", 1, "SENNIT WARNING - a (and 2 more) | "},
		{"the graver of a kind", status + "}", found(`{"what":"a","about":"clock"},{"what":"b","about":"clock","grave":true}`), "", 2, "SENNIT CRITICAL - b (and 1 more) | "},
		{"of another version", status + "}", found(`{"what":"something else"}`), "", 1, "SENNIT WARNING - something else | "},
		{"a bar and lines", status + "}", found(`{"what":"a|b\nc"}`), "", 1, `SENNIT WARNING - a/b\nc | `},
		{"a fork lately", status + `,"forks":1}`, well, forks("2999-01-01T00:00:00Z"), 1, "SENNIT WARNING - device their of " + space + " signed two histories | "},
		{"a fork long ago", status + `,"forks":1}`, well, forks("2020-01-01T00:00:00Z"), 0, "SENNIT OK - "},
		{"no JSON", "<html>", well, "", 3, "SENNIT UNKNOWN - the answer of "},
		{"other JSON", "[1]", well, "", 3, "SENNIT UNKNOWN - the answer of "},
		{"no status", "{}", well, "", 3, "SENNIT UNKNOWN - the node's answer is no status\n"},
		{"no findings", status + "}", "nonsense", "", 3, "SENNIT UNKNOWN - read the node's answer"},
		{"it hangs", "", well, "", 2, "SENNIT CRITICAL - the node didn't answer within 1s\n"},
	} {
		t.Run(one.name, func(t *testing.T) {
			answers := map[string]string{"/_node/doctor": one.doctor, "/_node/forks": one.forks}
			patience := "1m"
			if one.status == "" {
				patience = "1s"
			} else {
				answers["/_node/status"] = one.status
			}
			dir := pretend(t, answers)
			var out, errs bytes.Buffer
			code := main.Main(t.Context(), []string{"status", "--check", "--data", dir, "--timeout", patience}, strings.NewReader(""), &out, &errs)
			if code != one.code || !strings.HasPrefix(out.String(), one.want) || strings.Count(out.String(), "\n") != 1 || errs.Len() > 0 {
				t.Errorf("got %d, %q and %q; want %d and %q", code, out.String(), errs.String(), one.code, one.want)
			}
		})
	}
}
