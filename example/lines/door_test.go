package main_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/bustest"
	main "github.com/sennit/sennit/example/lines"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lines": main.Program})
}

// wait bounds what should come soon. The machine may be busy.
const wait = time.Minute

// open serves a new model until the test ends. The function ends it sooner.
func open(t *testing.T) (bus *bustest.Model, addr string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bus = bustest.Memory()
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := main.Serve(ctx, l, bus); !errors.Is(err, net.ErrClosed) {
			t.Errorf("serving ended with %v", err)
		}
	})
	stop = func() { cancel(); serving.Wait() }
	t.Cleanup(stop)
	return bus, l.Addr().String(), stop
}

// caller is somebody at the other end of a connection.
type caller struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func call(t *testing.T, addr string) caller {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	return caller{t, c, bufio.NewReader(c)}
}

func (c caller) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// hears reads a line, which must begin with something.
func (c caller) hears(want string) string {
	c.t.Helper()
	line, err := c.in.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, want) {
		c.t.Fatalf("the door said %.200q, %v; want %q", line, err, want)
	}
	return strings.TrimSuffix(line, "\n")
}

// ends reads to the end, and tells what came before it. A connection may be
// reset at its end, if something that was sent was not read.
func (c caller) ends() string {
	c.t.Helper()
	text, err := io.ReadAll(c.in)
	if late, ok := err.(net.Error); ok && late.Timeout() {
		c.t.Fatalf("the connection doesn't end; the door said %.200q", text)
	}
	return string(text)
}

func TestCommandsAreAnswered(t *testing.T) {
	_, addr, _ := open(t)
	c := call(t, addr)
	for _, step := range []struct{ line, want string }{
		{"get notes/a", "error not-found "},
		{"set notes/a one  two ", "ok "},
		{"get notes/a", `value "one  two "` + "\n"},
		{"get /me/notes/a\r", `value "one  two "` + "\n"},
		{"set notes/a", "ok "},
		{"get notes/a", `value ""` + "\n"},
		{"rm notes/a", "ok "},
		{"get notes/a", "error not-found "},
		{"get /@nobody/a", "error not-found "},
		{"set /@nobody/a 1", "error not-found "},
		{"watch /@nobody/a", "error not-found "},
		{"get", "error not-found "},
		{"set  x", "error bad-input "},
		{"set notes/b " + strings.Repeat("x", sennit.MaxInline), "ok "},
		{"set notes/b " + strings.Repeat("x", sennit.MaxInline+1), "error too-large "},
		{"get notes/b", `value "xxx`},
	} {
		c.say(step.line + "\n")
		if c.hears(step.want); t.Failed() {
			t.Fatalf("after %.50q", step.line)
		}
	}
}

func TestAllWhoWatchAreTold(t *testing.T) {
	bus, addr, _ := open(t)
	writer, one, two := call(t, addr), call(t, addr), call(t, addr)
	writer.say("set notes/a 1\n")
	writer.hears("ok ")
	for _, c := range []caller{one, two} {
		c.say("watch notes\n")
		c.hears(`set "notes/a" "1"` + "\n")
		c.hears("live ")
	}
	writer.say("set notes/a two\\nlines\nset other/b 1\nrm notes/a\n")
	for range 3 {
		writer.hears("ok ")
	}
	grow := sennit.Change{Kind: sennit.KindAppend, Path: "notes/log", Value: sennit.Value{Data: []byte("two\nlines")}}
	if _, err := bus.Write(t.Context(), "me", []sennit.Change{grow}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []caller{one, two} {
		for line := ""; line != `rm "notes/a" ""`; { // of states that followed fast the last is told
			line = c.hears("")
		}
		c.hears(`append "notes/log" "two\nlines"` + "\n")
		c.say("get other/b\n") // who watches can still ask
		c.hears(`value "1"`)
	}
	one.Close()
	writer.say("set notes/a 3\n")
	writer.hears("ok ")
	two.hears(`set "notes/a" "3"`)
	if _, err := bus.Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindDel, Path: "notes", Deep: true}}); err != nil {
		t.Fatal(err)
	}
	two.hears(`rm "notes/" ""`)
}

// TestOneClientHarmsNobodyElse: what one sends, or doesn't take, holds up no
// other, and ends at most its own connection.
func TestOneClientHarmsNobodyElse(t *testing.T) {
	bus, addr, _ := open(t)
	good := call(t, addr)
	good.say("set a 1\nwatch a\n")
	good.hears("ok ")
	good.hears(`set "a" "1"`)
	good.hears("live ")

	for name, sent := range map[string]string{
		"a line that is too long":  "set b " + strings.Repeat("x", main.MaxLine) + "\nset c 1\n",
		"one that doesn't end":     strings.Repeat("x", 4*main.MaxLine),
		"no command":               "put b 1\nset c 1\n",
		"an empty line":            "\nset c 1\n",
		"a path that is malformed": "get a//b\nset c 1\n",
		"no text":                  "\x16\x03\x01\x00\xff\x00\nset c 1\n",
	} {
		c := call(t, addr)
		_, _ = io.WriteString(c, sent) // the door may have hung up already
		if said := c.ends(); said != "" && !strings.HasPrefix(said, "error ") || strings.Count(said, "\n") > 1 {
			t.Errorf("%s: the door said %q", name, said)
		}
		if _, err := bus.Get(t.Context(), sennit.Addr{Root: "me", Path: "c"}); sennit.CodeOf(err) != sennit.NotFound {
			t.Errorf("%s: what follows it was done", name)
		}
	}
	c := call(t, addr)
	c.say("sett a 1\n")
	if said := c.ends(); said != "error bad-input \"sett\" is none of get, set, rm and watch\n" {
		t.Errorf("after what is no command the door said %q", said)
	}

	// One that watches and takes nothing.
	slow := call(t, addr)
	slow.say("watch big\n")
	for i := range 300 {
		good.say(fmt.Sprintf("set big/%d %s\n", i, bytes.Repeat([]byte("x"), sennit.MaxInline)))
		good.hears("ok ")
	}
	good.say("set a 2\n")
	for line := ""; line != `set "a" "2"`; { // among the answers to what it set
		line = good.hears("")
	}
}

// TestAWebPageCanNotCommand: a form or a script on any page may send a request
// here, and choose its body.
func TestAWebPageCanNotCommand(t *testing.T) {
	bus, addr, _ := open(t)
	resp, err := http.Post("http://"+addr+"/set%20a%201", "text/plain", strings.NewReader("\nset a 1\nget a\n"))
	if err == nil {
		resp.Body.Close()
		t.Errorf("it was answered with %s", resp.Status)
	}
	c := call(t, addr) // when it is served, so was the request
	c.say("get a\n")
	c.hears("error not-found ")
	if _, err := bus.Get(t.Context(), sennit.Addr{Root: "me", Path: "a"}); sennit.CodeOf(err) != sennit.NotFound {
		t.Error("the request's body was done")
	}
}

func TestConnectionsEndWithTheDoor(t *testing.T) {
	bus, addr, stop := open(t)
	c := call(t, addr)
	c.say("watch notes\n")
	c.hears("live ")
	stop()
	c.ends()
	if n := bus.Watches(); n != 0 {
		t.Errorf("%d watches are still open", n)
	}
	if again, err := net.Dial("tcp", addr); err == nil {
		again.Close()
		t.Error("the door still listens")
	}
}

// TestTheProgram runs all of it twice on one directory.
func TestTheProgram(t *testing.T) {
	dir := t.TempDir()
	for _, steps := range [][2]string{{"get notes/a", "error not-found "}, {"get notes/a", `value "1"`}} {
		cmd := exec.Command("lines", "-data", dir, "-listen", "127.0.0.1:0")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
		if !ok {
			t.Fatalf("the program said %q, %v", line, err)
		}
		c := call(t, addr)
		c.say(steps[0] + "\nset notes/a 1\n")
		c.hears(steps[1])
		c.hears("ok ")
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the program ended with %v", err)
		}
	}
}
