package daemon_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/client"
	"github.com/sennit/sennit/internal/daemon"
	"github.com/sennit/sennit/internal/peer"
)

// soon bounds what should come soon. The machine may be busy.
const soon = time.Minute

// running is a node within the test.
type running struct {
	t     *testing.T
	cfg   daemon.Config
	ready daemon.Ready
	ahead atomic.Int64 // how far its clock is ahead, in nanoseconds
	stop  context.CancelFunc
	done  chan error
}

// node makes a node on a new directory, and starts it.
func node(t *testing.T, change ...func(*daemon.Config)) *running {
	t.Helper()
	n := &running{t: t, cfg: daemon.Config{
		Data: t.TempDir(), HTTP: "127.0.0.1:0", LAN: "off", Reserve: "0", Log: "error",
		Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"},
	}}
	n.cfg.Now = func() time.Time { return time.Now().Add(time.Duration(n.ahead.Load())) }
	for _, f := range change {
		f(&n.cfg)
	}
	n.up()
	t.Cleanup(n.down)
	return n
}

func (n *running) up() {
	n.t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(n.t.Context()))
	n.stop, n.done = stop, make(chan error, 1)
	ready := make(chan daemon.Ready, 1)
	go func(done chan error) {
		done <- daemon.Run(ctx, n.cfg, func(r daemon.Ready, _ sennit.Bus) { ready <- r })
	}(n.done)
	select {
	case n.ready = <-ready:
	case err := <-n.done:
		stop()
		n.stop = nil
		n.t.Fatal(err)
	case <-time.After(soon):
		n.t.Fatal("the node doesn't start")
	}
}

// down stops the node, if it runs.
func (n *running) down() {
	n.t.Helper()
	if n.stop == nil {
		return
	}
	n.stop()
	n.stop = nil
	select {
	case err := <-n.done:
		if err != nil {
			n.t.Errorf("the node stopped with %v", err)
		}
	case <-time.After(soon):
		n.t.Error("the node doesn't stop")
	}
}

func (n *running) client() *client.Client {
	n.t.Helper()
	c, err := client.Dial(n.t.Context(), client.Config{Socket: daemon.Socket(n.cfg.Data)})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(c.Close)
	return c
}

// ask asks for one of the node's own resources.
func (n *running) ask(method, path string, in, out any) error {
	n.t.Helper()
	c := n.client()
	return c.Do(n.t.Context(), method, "/_node/"+path, in, out)
}

func (n *running) set(path, value string) error {
	n.t.Helper()
	_, err := n.client().Write(n.t.Context(), "me", []sennit.Change{{
		Kind: sennit.KindPut, Path: sennit.MustPath(path), Value: sennit.Value{Data: []byte(value)},
	}})
	return err
}

// invite makes an invitation link.
func (n *running) invite(in any) string {
	n.t.Helper()
	var out daemon.Invited
	if err := n.ask("POST", "invites", in, &out); err != nil {
		n.t.Fatal(err)
	}
	return out.Link
}

// until waits until something is so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick, late := time.NewTicker(10*time.Millisecond), time.After(soon)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not within %v", what, soon)
		}
	}
}

func TestNobodyElseCanOpenTheSocket(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there, the directory's access list decides")
	}
	n := node(t, func(c *daemon.Config) {
		if err := os.Chmod(c.Data, 0o755); err != nil {
			t.Fatal(err)
		}
	})
	path := daemon.Socket(n.cfg.Data)
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode().Type() != os.ModeSocket {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	if _, err := os.Lstat(path + ".new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("where it was made is still there: %v", err)
	}
	n.down()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is there after the node: %v", err)
	}
	// What a start that was killed left is no obstacle.
	if err := os.MkdirAll(filepath.Join(path+".new", "s"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, path, "")
	n.up()
	if err := n.set("x", "y"); err != nil {
		t.Error(err)
	}
}

func TestAPathThatIsTooLongForASocketIsToldSo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	err := daemon.Run(t.Context(), daemon.Config{Data: dir, HTTP: "off", LAN: "off"}, func(daemon.Ready, sennit.Bus) {})
	if sennit.CodeOf(err) != sennit.BadInput || !strings.Contains(err.Error(), "too long for a unix socket") {
		t.Errorf("got %v", err)
	}
}

func TestANodeKeepsThePortThatItChose(t *testing.T) {
	n := node(t)
	were := n.ready.Peer
	one, two := port(t, were[0]), port(t, were[1])
	if len(were) != 2 || one != two {
		t.Errorf("one port serves all: %q", were)
	}
	n.down()
	n.up()
	if !reflect.DeepEqual(n.ready.Peer, were) || n.ready.Note != "" {
		t.Errorf("it was at %q, and is at %q; note %q", were, n.ready.Peer, n.ready.Note)
	}
	n.down()

	// Taken by somebody else, it is given up, and that is said once.
	other, err := net.Listen("tcp", "127.0.0.1:"+one)
	if err != nil {
		t.Fatal(err)
	}
	n.up()
	now := port(t, n.ready.Peer[0])
	if want := "port " + one + ", at which peers know this node, is taken; it is on port " + now + " now"; now == one || n.ready.Note != want {
		t.Errorf("it is on port %s and notes %q", now, n.ready.Note)
	}
	n.down()
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	n.up()
	if port(t, n.ready.Peer[0]) != now || n.ready.Note != "" {
		t.Errorf("it is at %q after it was at port %s; note %q", n.ready.Peer, now, n.ready.Note)
	}
	n.down()

	// A file that says nothing sensible is said to be that, and replaced.
	for _, text := range []string{"", "nonsense", `{"peer":0}`, `{"peer":65536}`, `{"peer":"x"}`} {
		write(t, filepath.Join(n.cfg.Data, "ports"), text)
		n.up()
		if !strings.Contains(n.ready.Note, "can't be used") || !strings.Contains(n.ready.Note, "a new port for peers is chosen") {
			t.Errorf("with the file %q it notes %q", text, n.ready.Note)
		}
		n.down()
	}
	n.up()
	if n.ready.Note != "" {
		t.Errorf("it notes %q", n.ready.Note)
	}
}

// port is the port of an address of peers.
func port(t *testing.T, addr string) string {
	t.Helper()
	_, a, err := peer.ParseAddr(addr)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(a, "/")[4]
}

func TestOnlyOpenPortsAreFilledIn(t *testing.T) {
	in := []string{"/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/tcp/0", "/ip4/10.0.0.1/tcp/4001"}
	if got := daemon.WithPort(in, 25000); !reflect.DeepEqual(got, []string{"/ip4/0.0.0.0/udp/25000/quic-v1", "/ip6/::/tcp/25000", "/ip4/10.0.0.1/tcp/4001"}) {
		t.Errorf("got %q", got)
	}
	if in[0] != "/ip4/0.0.0.0/udp/0/quic-v1" {
		t.Error("it changed what it was given")
	}
}

func TestAddressesThatCantShareAPortGetAnyPorts(t *testing.T) {
	n := node(t, func(c *daemon.Config) { c.Listen = []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0"} })
	if len(n.ready.Peer) != 2 {
		t.Errorf("it is at %q", n.ready.Peer)
	}
}

func TestAPortThatWasAskedForAndIsTakenEndsTheStart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, change := range map[string]func(*daemon.Config){
		"http": func(c *daemon.Config) { c.HTTP = l.Addr().String() },
		"peer": func(c *daemon.Config) {
			c.Listen = daemon.WithPort([]string{"/ip4/127.0.0.1/tcp/0"}, l.Addr().(*net.TCPAddr).Port)
		},
	} {
		cfg := daemon.Config{Data: t.TempDir(), HTTP: "off", LAN: "off", Reserve: "0", Log: "error"}
		change(&cfg)
		err := daemon.Run(t.Context(), cfg, func(daemon.Ready, sennit.Bus) { t.Errorf("%s: it started", name) })
		if code := sennit.CodeOf(err); code.Exit() != 1 || !strings.Contains(err.Error(), "can't listen") || sennit.HintOf(err) == "" {
			t.Errorf("%s: %v (%s)", name, err, code)
		}
	}
}

func TestTheDoorIsForThisMachine(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:0"} {
		err := daemon.Run(t.Context(), daemon.Config{Data: t.TempDir(), HTTP: addr, LAN: "off", Reserve: "0"}, func(daemon.Ready, sennit.Bus) { t.Error("it started") })
		if sennit.CodeOf(err) != sennit.BadInput {
			t.Errorf("%s: %v", addr, err)
		}
	}
	n := node(t, func(c *daemon.Config) { c.HTTP = "localhost:0" })
	resp, err := http.Get(n.ready.HTTP + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if policy := resp.Header.Get("Content-Security-Policy"); resp.StatusCode != 200 || !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("the page: %s, policy %q", resp.Status, policy)
	}
}

// TestAClockAheadOfPeersRefusesWrites: everybody would hold back what is
// written by such a clock.
func TestAClockAheadOfPeersRefusesWrites(t *testing.T) {
	for _, ahead := range []time.Duration{time.Hour, 365 * 24 * time.Hour} {
		a, b := node(t), node(t)
		link := a.invite(nil)
		if err := b.ask("POST", "join", map[string]string{"link": link, "name": "a"}, nil); err != nil {
			t.Fatal(err)
		}
		if err := a.set("x", "before"); err != nil {
			t.Fatal(err)
		}
		a.down()
		a.ahead.Store(int64(ahead))
		a.up()
		until(t, "the peer's hello tells", func() bool {
			var s daemon.Status
			return a.ask("GET", "status", nil, &s) == nil && len(s.Warnings) > 0 && s.Warnings[0].Grave
		})
		// While two sessions decide which one stays nothing is known of clocks.
		var err error
		until(t, "writes are refused", func() bool {
			err = a.set("probe", "x")
			return sennit.CodeOf(err) == sennit.ReadOnly
		})
		if !strings.Contains(err.Error(), "this machine's clock is "+ahead.String()+" ahead of most peers'") || !strings.Contains(sennit.HintOf(err), "set the clock") {
			t.Errorf("%v ahead: %v", ahead, err)
		}
		got, err := a.client().Get(t.Context(), sennit.Addr{Root: "me", Path: "x"})
		if err != nil || string(got.Value.Data) != "before" {
			t.Errorf("reading goes on: %q, %v", got.Value.Data, err)
		}
		if err := b.set("y", "b's clock is right"); err != nil {
			t.Error(err)
		}
		// Set right, it goes on.
		a.down()
		a.ahead.Store(0)
		a.up()
		if err := a.set("x", "after"); err != nil {
			t.Error(err)
		}
		a.down()
		b.down()
	}
}

func TestInvitationsRunOutWhereTheyWereMade(t *testing.T) {
	a, b := node(t), node(t)
	link := a.invite(map[string]any{"expires": "1h"})
	a.ahead.Store(int64(2 * time.Hour)) // and to the invitee the link still looks good
	err := b.ask("POST", "join", map[string]string{"link": link}, nil)
	if sennit.CodeOf(err) != sennit.Expired || !strings.Contains(err.Error(), "expired on") {
		t.Errorf("got %v (%s)", err, sennit.CodeOf(err))
	}
}

func TestTokensRunOut(t *testing.T) {
	n := node(t)
	if err := n.set("x", "y"); err != nil {
		t.Fatal(err)
	}
	var made struct{ Token string }
	if err := n.ask("POST", "tokens", map[string]any{"prefix": []string{"/me/"}, "expires": "1h"}, &made); err != nil {
		t.Fatal(err)
	}
	get := func() error {
		c, err := client.Dial(t.Context(), client.Config{Origin: n.ready.HTTP, Token: made.Token})
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Get(t.Context(), sennit.Addr{Root: "me", Path: "x"})
		return err
	}
	n.ahead.Store(int64(59 * time.Minute))
	if err := get(); err != nil {
		t.Error(err)
	}
	n.ahead.Store(int64(61 * time.Minute))
	if err := get(); sennit.CodeOf(err) != sennit.Denied {
		t.Errorf("a token that ran out: %v", err)
	}
}

// TestARevokedTokenIsNoGoodAtOnce, also while requests come with it.
func TestARevokedTokenIsNoGoodAtOnce(t *testing.T) {
	n := node(t)
	if err := n.set("x", "y"); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		var made struct{ ID, Token string }
		if err := n.ask("POST", "tokens", map[string]any{"all": true}, &made); err != nil {
			t.Fatal(err)
		}
		c, err := client.Dial(t.Context(), client.Config{Origin: n.ready.HTTP, Token: made.Token})
		if err != nil {
			t.Fatal(err)
		}
		get := func() error {
			_, err := c.Get(t.Context(), sennit.Addr{Root: "me", Path: "x"})
			return err
		}
		stop := make(chan struct{})
		var busy sync.WaitGroup
		for range 4 {
			busy.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						_ = get() // until the token is of no use, and then
					}
				}
			})
		}
		if err := n.ask("DELETE", "tokens/"+made.ID, nil, nil); err != nil {
			t.Fatal(err)
		}
		if err := get(); sennit.CodeOf(err) != sennit.Denied {
			t.Errorf("a token that was revoked: %v", err)
		}
		close(stop)
		busy.Wait()
		if err := get(); sennit.CodeOf(err) != sennit.Denied {
			t.Errorf("a token that was revoked while it was in use: %v", err)
		}
		c.Close()
	}
}

func TestTokensAreNotKept(t *testing.T) {
	n := node(t)
	var made struct{ Token string }
	if err := n.ask("POST", "tokens", map[string]any{"all": true}, &made); err != nil {
		t.Fatal(err)
	}
	n.down() // so that all is on disk
	err := filepath.WalkDir(n.cfg.Data, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), made.Token[4:]) {
			t.Errorf("%s holds the token", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	n.up()
}

// TestWhatIsAskedOfTheNodeIsChecked: every resource, with what makes no sense.
func TestWhatIsAskedOfTheNodeIsChecked(t *testing.T) {
	n := node(t)
	const other = "nzkqj5npdmn5s24cbzfkxgwpq4awgazynsrgivflsx6jqvalyg5q"
	var nine []string
	for i := range byte(9) {
		nine = append(nine, sennit.Device{i}.String())
	}
	for _, one := range []struct {
		method, path, body string
		want               sennit.Code
	}{
		{"GET", "nonsense", "", sennit.NotFound},
		{"POST", "status", "", sennit.NotFound},
		{"PUT", "follows/nonsense", "{}", sennit.BadInput},
		{"PUT", "follows/" + n.ready.Space, "{}", sennit.BadInput},
		{"PUT", "follows/" + other, `{"mode":"fullest"}`, sennit.BadInput},
		{"PUT", "follows/" + other, `{"name":"a/b"}`, sennit.BadInput},
		{"PUT", "follows/" + other, `{"name":"follows"}`, sennit.BadInput},
		{"PUT", "follows/" + other, `{"hosts":["x"]}`, sennit.BadInput},
		{"PUT", "follows/" + other, `{"addrs":["/ip4/1.2.3.4/tcp/1"]}`, sennit.BadInput},
		{"PUT", "follows/" + other, `{"hosts":["` + other + `","` + n.ready.Space + `"],"addrs":["/ip4/1.2.3.4/tcp/1"]}`, sennit.BadInput},
		{"PUT", "follows/" + other, `{"hosts":["` + strings.Join(nine, `","`) + `"]}`, sennit.BadInput},
		{"PUT", "follows/" + other, `{"addrs":[` + strings.Repeat(`"x",`, 128) + `"x"]}`, sennit.BadInput},
		{"PUT", "follows/" + other, `{"nmae":"x"}`, sennit.BadInput},
		{"PUT", "follows/" + other, `{"name":1}`, sennit.BadInput},
		{"PUT", "follows/" + other, `[]`, sennit.BadInput},
		{"PUT", "follows/" + other, `{}x`, sennit.BadInput},
		{"PUT", "follows/" + other, strings.Repeat(" ", 70_000), sennit.TooLarge},
		{"DELETE", "follows/" + other, "", sennit.NotFound},
		{"DELETE", "follows/nonsense", "", sennit.BadInput},
		{"POST", "invites", `{"uses":0}`, sennit.BadInput},
		{"POST", "invites", `{"expires":"soon"}`, sennit.BadInput},
		{"POST", "invites", `{"open":"a//b"}`, sennit.BadInput},
		{"POST", "invites", `{"reads":"/` + other + `/x"}`, sennit.BadInput},
		{"DELETE", "invites/nonsense", "", sennit.NotFound},
		{"POST", "join", "", sennit.BadInput},
		{"POST", "join", `{"link":"sennit:AAAA"}`, sennit.BadInput},
		{"POST", "tokens", "", sennit.BadInput},
		{"POST", "tokens", `{"all":true,"may":["fly"]}`, sennit.BadInput},
		{"DELETE", "tokens/nonsense", "", sennit.NotFound},
		{"GET", "rules?path=a//b", "", sennit.BadInput},
		{"GET", "rules?path=/" + other, "", sennit.NotFound},
		{"POST", "rules", `{"who":"any","may":[],"prefix":"/me/x"}`, sennit.BadInput},
		{"POST", "rules", `{"who":"x","may":["read"],"prefix":"/me/x"}`, sennit.BadInput},
		{"POST", "revocations", `{"prefix":"/me/x"}`, sennit.BadInput},
		{"POST", "revocations", `{"who":"any","rule":"00","prefix":"/me/x"}`, sennit.BadInput},
		{"POST", "revocations", `{"who":"x","prefix":"/me/x"}`, sennit.BadInput},
		{"POST", "revocations", `{"who":"any","prefix":"/` + other + `/x"}`, sennit.NotFound},
		{"POST", "revocations", `{"rule":"xyz","prefix":"/me"}`, sennit.NotFound},
		{"POST", "rules", `{"who":"me","may":["read"],"prefix":"/me/x"}`, sennit.BadInput},
		{"POST", "rules", `{"who":"any","may":["read"],"prefix":"/` + other + `/x"}`, sennit.NotFound},
		{"POST", "rules", `{"who":"any","may":["read"],"prefix":"/me/x","where":"` + strings.Repeat("x", 2000) + `"}`, sennit.BadInput},
		{"GET", "saved?path=/@nobody", "", sennit.NotFound},
		{"POST", "qr", `{"text":""}`, sennit.BadInput},
		{"POST", "qr", `{"text":"` + strings.Repeat("x", 2000) + `"}`, sennit.BadInput},
	} {
		var in any
		if one.body != "" {
			in = json.RawMessage(one.body)
			if !json.Valid([]byte(one.body)) { // the client would not send it
				in = nil
				if got := raw(t, n, one.method, one.path, one.body); got != one.want {
					t.Errorf("%s %s %.60s: %q, want %q", one.method, one.path, one.body, got, one.want)
				}
				continue
			}
		}
		if err := n.ask(one.method, one.path, in, nil); sennit.CodeOf(err) != one.want {
			t.Errorf("%s %s %.60s: %v, want %q", one.method, one.path, one.body, err, one.want)
		}
	}
	for _, path := range []string{"follows", "invites", "tokens", "rules?path=/me"} {
		var list []any
		if err := n.ask("GET", path, nil, &list); err != nil || len(list) != 0 {
			t.Errorf("%s: %v is left, %v", path, list, err)
		}
	}
}

// raw sends a body as it is over the socket, and tells the code of the answer.
func raw(t *testing.T, n *running, method, path, body string) sennit.Code {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", daemon.Socket(n.cfg.Data))
	}}}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://sennit/_node/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var p struct{ Code sennit.Code }
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	return p.Code
}

func TestADirectoryIsExaminedWithoutANode(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	examine := func(dir string) ([]daemon.Finding, error) {
		return daemon.Examine(t.Context(), daemon.Config{Data: dir, Log: "error"}, false, func(daemon.Progress) {})
	}
	if _, err := examine(none); sennit.CodeOf(err) != sennit.NotFound {
		t.Errorf("no directory: %v", err)
	}
	if f, err := examine(t.TempDir()); len(f) != 0 || err != nil {
		t.Errorf("an empty directory: %v, %v", f, err)
	}
	n := node(t)
	if err := n.set("x", "y"); err != nil {
		t.Fatal(err)
	}
	if _, err := examine(n.cfg.Data); sennit.CodeOf(err) != sennit.Conflict {
		t.Errorf("a node runs there: %v", err)
	}
	n.down()
	if f, err := examine(n.cfg.Data); len(f) != 0 || err != nil {
		t.Errorf("a sound directory: %v, %v", f, err)
	}
	if err := os.Remove(filepath.Join(n.cfg.Data, "keys", "device")); err != nil {
		t.Fatal(err)
	}
	f, err := examine(n.cfg.Data)
	if err != nil || len(f) != 1 || !f[0].Grave || f[0].Do == "" || !strings.Contains(f[0].What, "device") {
		t.Errorf("without the device's key: %+v, %v", f, err)
	}
}

// TestAClockBehindPeersIsTold: what peers wrote lies far ahead of such a clock
// and is held back until the clock is right; nothing is lost.
func TestAClockBehindPeersIsTold(t *testing.T) {
	const year = 365 * 24 * time.Hour
	a, b := node(t), node(t)
	if err := a.set("x", "from a"); err != nil {
		t.Fatal(err)
	}
	if err := b.ask("POST", "join", map[string]string{"link": a.invite(nil), "name": "a"}, nil); err != nil {
		t.Fatal(err)
	}
	b.down()
	until(t, "a notices that b went away", func() bool {
		var s daemon.Status
		return a.ask("GET", "status", nil, &s) == nil && len(s.Peers) == 0
	})
	if err := a.set("x", "from a, later"); err != nil {
		t.Fatal(err)
	}
	b.ahead.Store(int64(-year))
	b.up()
	until(t, "the peer's hello tells", func() bool {
		var s daemon.Status
		if b.ask("GET", "status", nil, &s) != nil {
			return false
		}
		for _, w := range s.Warnings {
			if strings.HasPrefix(w.What, "this machine's clock differs from most peers' by -87") && w.Do == "set the clock" {
				return true
			}
		}
		return false
	})
	// It can still write: its clock never goes back.
	if err := b.set("y", "from b"); err != nil {
		t.Errorf("a write by a clock that is behind: %v", err)
	}
	b.down()
	b.ahead.Store(0)
	b.up()
	until(t, "all is there once the clock is right", func() bool {
		n, err := b.client().Get(t.Context(), sennit.Addr{Root: "@a", Path: "x"})
		return err == nil && string(n.Value.Data) == "from a, later"
	})
	if err := a.ask("PUT", "follows/"+b.ready.Space, map[string]string{"name": "b"}, nil); err != nil {
		t.Fatal(err)
	}
	until(t, "what b wrote came over", func() bool {
		n, err := a.client().Get(t.Context(), sennit.Addr{Root: "@b", Path: "y"})
		return err == nil && string(n.Value.Data) == "from b"
	})
}

// TestInvitationsOfAClockThatIsBehindSayWhatToLookAt: to everybody else they
// ran out long ago.
func TestInvitationsOfAClockThatIsBehindSayWhatToLookAt(t *testing.T) {
	a, b := node(t), node(t)
	a.ahead.Store(int64(-365 * 24 * time.Hour))
	err := b.ask("POST", "join", map[string]string{"link": a.invite(nil)}, nil)
	if sennit.CodeOf(err) != sennit.Expired || !strings.Contains(err.Error(), "expired on") || !strings.Contains(sennit.HintOf(err), "check this machine's clock") {
		t.Errorf("got %v (%s), hint %q", err, sennit.CodeOf(err), sennit.HintOf(err))
	}
	var follows []any
	if err := b.ask("GET", "follows", nil, &follows); err != nil || len(follows) != 0 {
		t.Errorf("it left %v, %v", follows, err)
	}
}
