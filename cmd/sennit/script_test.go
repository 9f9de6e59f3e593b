package main_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/daemon"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sennit": program})
}

// TestScripts runs testdata/script. Beside the usual commands scripts have
//
//	node NAME [FLAG]...     start a node on the directory NAME, wait until it is
//	                        ready, and let what follows talk to it; sets
//	                        NAME_space, NAME_addr, NAME_http, NAME_pid and NAME_note
//	on NAME                 let what follows talk to another node
//	halt NAME               interrupt a node; it must exit with 0
//	crash NAME              kill a node
//	capture NAME            set a variable to what the last command printed
//	http STATUS METHOD URL [TOKEN [BODY]]
//	                        ask the HTTP door; the body HUGE has 70,000 bytes
//	cut STATUS METHOD URL TOKEN
//	                        the same with a body that ends before it is whole
//	until PATTERN COMMAND [ARGUMENT]...
//	                        run a command, and interrupt it once a line that it
//	                        printed matches; it must exit with 130
//	hold ADDRESS NAME       take a TCP port, and set a variable to its address
//	damage DIR HOW          spoil a data directory: newer, keys, manifest, log, tables
//
// Whatever sennit prints with --json in a script has to be as docs/output.md
// says, and each output that it tells of has to be seen.
func TestScripts(t *testing.T) {
	seen := filepath.Join(t.TempDir(), "seen")
	if err := os.WriteFile(seen, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob(filepath.Join("testdata", "script", "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var begun atomic.Int64
	t.Cleanup(func() { lookedAt(t, seen, int(begun.Load()) == len(scripts)) })
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_DATA_HOME", "")
			env.Setenv("SENNIT_DATA", filepath.Join(env.WorkDir, "none"))
			env.Setenv("LONG", strings.Repeat("a", 256))
			env.Setenv("DEEP", strings.Repeat("a/", 32)+"b")
			env.Setenv("WIDE", strings.Repeat("abcdefghijklmno/", 64)+"b")
			env.Setenv("TZ", "UTC")
			env.Setenv(sight, seen)
			begun.Add(1)
			env.Values[nodesKey{}] = nodes{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"node": startNode, "on": onNode, "halt": haltNode, "crash": crashNode,
			"capture": capture, "http": ask, "cut": cut, "until": until, "hold": hold, "damage": damage,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// nodes are the processes that a script started.
type nodes map[string]*process

// nodesKey is where a script keeps its nodes.
type nodesKey struct{}

type process struct {
	cmd    *exec.Cmd
	exited chan error
}

func running(ts *testscript.TestScript, name string) *process {
	p := ts.Value(nodesKey{}).(nodes)[name]
	if p == nil {
		ts.Fatalf("no node %s runs", name)
	}
	return p
}

// wants fails a script that uses a command as it can't be used.
func wants(ts *testscript.TestScript, neg bool, args []string, least, most int) {
	if neg || len(args) < least || len(args) > most {
		ts.Fatalf("wrong use of a command: %q", args)
	}
}

func startNode(ts *testscript.TestScript, neg bool, args []string) {
	wants(ts, neg, args, 1, 20)
	name, dir := args[0], ts.MkAbs(args[0])
	program, err := exec.LookPath("sennit")
	ts.Check(err)
	cmd := exec.Command(program, append([]string{"up", "--data", dir, "--http", "127.0.0.1:0", "--lan", "off", "--reserve", "0", "--json",
		"--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--listen", "/ip4/127.0.0.1/tcp/0"}, args[1:]...)...)
	cmd.Env = environ(ts)
	said := new(strings.Builder)
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	line, err := bufio.NewReader(out).ReadBytes('\n')
	p := &process{cmd, make(chan error, 1)}
	go func() { p.exited <- cmd.Wait() }()
	var ready daemon.Ready
	if err == nil {
		err = json.Unmarshal(line, &ready)
	}
	if err != nil {
		<-p.exited
		ts.Fatalf("node %s did not start: %v\n%s", name, err, said)
	}
	all := ts.Value(nodesKey{}).(nodes)
	all[name] = p
	ts.Defer(func() {
		if all[name] == p {
			_ = cmd.Process.Kill() // it may have ended by itself
			<-p.exited
		}
	})
	ts.Setenv(name+"_space", ready.Space)
	ts.Setenv(name+"_http", ready.HTTP)
	ts.Setenv(name+"_addr", ready.Peer[0])
	ts.Setenv(name+"_pid", fmt.Sprint(ready.PID))
	ts.Setenv(name+"_note", ready.Note)
	ts.Setenv("SENNIT_DATA", dir)
}

// environ is what a script's environment comes to.
func environ(ts *testscript.TestScript) []string {
	all := os.Environ()
	for _, name := range []string{"HOME", "XDG_DATA_HOME", "SENNIT_DATA", "TZ", sight} {
		all = append(all, name+"="+ts.Getenv(name))
	}
	return all
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	wants(ts, neg, args, 2, 20)
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	program, err := exec.LookPath(args[1])
	ts.Check(err)
	cmd := exec.Command(program, args[2:]...)
	cmd.Env, cmd.Dir = environ(ts), ts.MkAbs(".")
	seen := make(chan struct{})
	match := &matcher{pattern: pattern, seen: seen}
	cmd.Stdout, cmd.Stderr = io.MultiWriter(ts.Stdout(), match), io.MultiWriter(ts.Stderr(), match)
	ts.Check(cmd.Start())
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	select {
	case <-seen:
		ts.Check(cmd.Process.Signal(os.Interrupt))
		<-exited
	case err := <-exited:
		ts.Fatalf("%s ended before it printed %s: %v", args[1], args[0], err)
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill() // it may have ended by itself
		<-exited
		ts.Fatalf("%s does not print %s", args[1], args[0])
	}
	if code := cmd.ProcessState.ExitCode(); code != sennit.Interrupted.Exit() {
		ts.Fatalf("%s exited with %d after it was interrupted", args[1], code)
	}
}

// matcher looks for a pattern in what two streams give.
type matcher struct {
	pattern *regexp.Regexp
	seen    chan struct{}

	mu   sync.Mutex // guards what follows
	text []byte
	done bool
}

func (m *matcher) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.text = append(m.text, b...)
	if !m.done && m.pattern.Match(m.text) {
		m.done = true
		close(m.seen)
	}
	return len(b), nil
}

func onNode(ts *testscript.TestScript, neg bool, args []string) {
	wants(ts, neg, args, 1, 1)
	running(ts, args[0])
	ts.Setenv("SENNIT_DATA", ts.MkAbs(args[0]))
}

func end(ts *testscript.TestScript, name string, signal os.Signal) error {
	p := running(ts, name)
	ts.Check(p.cmd.Process.Signal(signal))
	delete(ts.Value(nodesKey{}).(nodes), name)
	select {
	case err := <-p.exited:
		return err
	case <-time.After(time.Minute):
		_ = p.cmd.Process.Kill()
		return errors.New("it does not stop")
	}
}

func haltNode(ts *testscript.TestScript, neg bool, args []string) {
	wants(ts, neg, args, 1, 1)
	if err := end(ts, args[0], os.Interrupt); err != nil {
		ts.Fatalf("node %s: %v", args[0], err)
	}
}

func crashNode(ts *testscript.TestScript, neg bool, args []string) {
	wants(ts, neg, args, 1, 1)
	_ = end(ts, args[0], syscall.SIGKILL) // it says that it was killed
}

func capture(ts *testscript.TestScript, neg bool, args []string) {
	wants(ts, neg, args, 1, 1)
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

func ask(ts *testscript.TestScript, neg bool, args []string) {
	wants(ts, neg, args, 3, 5)
	var body io.Reader
	switch {
	case len(args) == 5 && args[4] == "HUGE":
		body = strings.NewReader(strings.Repeat(" ", 70_000))
	case len(args) == 5:
		body = strings.NewReader(args[4])
	}
	r, err := http.NewRequest(args[1], args[2], body)
	ts.Check(err)
	if len(args) > 3 && args[3] != "" {
		r.Header.Set("Authorization", "Bearer "+args[3])
	}
	resp, err := http.DefaultClient.Do(r)
	ts.Check(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s\n%s\n", resp.Status, text)
	if !strings.HasPrefix(resp.Status, args[0]) {
		ts.Fatalf("%s %s: %s, want %s\n%s", args[1], args[2], resp.Status, args[0], text)
	}
}

// cut promises a hundred bytes and sends ten, once as a length and once in
// chunks (RFC 9112 section 8).
func cut(ts *testscript.TestScript, neg bool, args []string) {
	wants(ts, neg, args, 4, 4)
	u, err := url.Parse(args[2])
	ts.Check(err)
	for _, framed := range []string{"Content-Length: 100\r\n\r\n0123456789", "Transfer-Encoding: chunked\r\n\r\n64\r\n0123456789"} {
		c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(u.Host)))
		ts.Check(err)
		_, err = fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n%s", args[1], u.RequestURI(), u.Host, args[3], framed)
		ts.Check(err)
		ts.Check(c.CloseWrite())
		answer, err := io.ReadAll(c)
		c.Close()
		ts.Check(err)
		if !strings.HasPrefix(string(answer), "HTTP/1.1 "+args[0]+" ") {
			ts.Fatalf("%.40q: want %s, got\n%s", framed, args[0], answer)
		}
	}
}

func hold(ts *testscript.TestScript, neg bool, args []string) {
	wants(ts, neg, args, 2, 2)
	l, err := net.Listen("tcp", args[0])
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[1], l.Addr().String())
}

func damage(ts *testscript.TestScript, neg bool, args []string) {
	wants(ts, neg, args, 2, 2)
	dir := ts.MkAbs(args[0])
	switch args[1] {
	case "newer": // the layout of the store
		db, err := pebble.Open(filepath.Join(dir, "store"), &pebble.Options{Logger: silent{}})
		ts.Check(err)
		defer db.Close()
		ts.Check(db.Set([]byte("mversion"), []byte{0, 0, 0, 0, 0, 0, 0, 99}, pebble.Sync))
	case "keys":
		spoil(ts, filepath.Join(dir, "keys", "device"))
	case "manifest", "log", "tables": // of the store
		pattern := map[string]string{"manifest": "MANIFEST-*", "log": "*.log", "tables": "*.sst"}[args[1]]
		found, err := filepath.Glob(filepath.Join(dir, "store", pattern))
		ts.Check(err)
		if len(found) == 0 {
			ts.Fatalf("no %s in %s", pattern, dir)
		}
		for _, path := range found {
			spoil(ts, path)
		}
	default:
		ts.Fatalf("no damage %q", args[1])
	}
}

// spoil changes a byte in the middle of a file.
func spoil(ts *testscript.TestScript, path string) {
	b, err := os.ReadFile(path)
	ts.Check(err)
	b[len(b)/2] ^= 0x55
	ts.Check(os.WriteFile(path, b, 0o600))
}

type silent struct{}

func (silent) Infof(string, ...any)           {}
func (silent) Errorf(string, ...any)          {}
func (silent) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
