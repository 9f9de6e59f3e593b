package daemon_test

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sennit/sennit/internal/daemon"
)

// manager is a service manager's socket.
func manager(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	t.Setenv("WATCHDOG_USEC", "")
	t.Setenv("WATCHDOG_PID", "")
	return c
}

// hear tells the first line of what comes next, "" if nothing does.
func hear(t *testing.T, c *net.UnixConn, within time.Duration) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(b[:n]), "\n")
	return first
}

func notified(c *daemon.Config) { c.Notify = daemon.ServiceManager() }

// short is a directory whose sockets have short paths.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sennit")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestAServiceManagerHearsOfReadyAndOfStopping(t *testing.T) {
	names := map[string]string{"a file": filepath.Join(short(t), "notify")}
	if runtime.GOOS == "linux" {
		names["an abstract socket"] = "@sennit-test-" + strconv.Itoa(os.Getpid())
	}
	for name, socket := range names {
		t.Run(name, func(t *testing.T) {
			c := manager(t, socket)
			n := node(t, notified)
			if got := hear(t, c, soon); got != "READY=1" {
				t.Errorf("it heard %q", got)
			}
			n.down()
			if got := hear(t, c, soon); got != "STOPPING=1" {
				t.Errorf("it heard %q", got)
			}
		})
	}
}

func TestTheWatchdogHearsOnlyOfANodeThatAnswers(t *testing.T) {
	c := manager(t, filepath.Join(short(t), "notify"))
	t.Setenv("WATCHDOG_USEC", "4000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	n := node(t, notified)
	for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := hear(t, c, soon); got != want {
			t.Fatalf("it heard %q, not %q", got, want)
		}
	}
	// Nobody can reach it any more.
	if err := os.Remove(daemon.Socket(n.cfg.Data)); err != nil {
		t.Fatal(err)
	}
	hear(t, c, time.Second) // it may have asked before
	if got := hear(t, c, 5*time.Second); got != "" {
		t.Errorf("it heard %q of a node that doesn't answer", got)
	}
	n.down()
	if got := hear(t, c, soon); got != "STOPPING=1" {
		t.Errorf("it heard %q", got)
	}
}

func TestWhoIsNotAskedSaysNothing(t *testing.T) {
	c := manager(t, filepath.Join(short(t), "notify"))
	node(t) // as one within another program
	if got := hear(t, c, 100*time.Millisecond); got != "" {
		t.Errorf("it heard %q", got)
	}

	// The watchdog of another process.
	t.Setenv("WATCHDOG_USEC", "100000")
	t.Setenv("WATCHDOG_PID", "1")
	node(t, notified)
	if got := hear(t, c, soon); got != "READY=1" {
		t.Errorf("it heard %q", got)
	}
	if got := hear(t, c, time.Second); got != "" {
		t.Errorf("it heard %q", got)
	}
	for _, socket := range []string{"", "vsock:2:1234", "relative"} {
		t.Setenv("NOTIFY_SOCKET", socket)
		if daemon.ServiceManager() != nil {
			t.Errorf("%q is taken for a socket", socket)
		}
	}
	// One that went away is no reason to stop.
	t.Setenv("NOTIFY_SOCKET", filepath.Join(short(t), "gone"))
	if err := node(t, notified).set("a", "b"); err != nil {
		t.Error(err)
	}
}
