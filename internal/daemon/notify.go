package daemon

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/sennit/sennit/client"
)

// Notifier tells a service manager how the node is: datagrams to a socket that
// the manager names, as sd_notify(3) describes them. It may be nil, for none.
type Notifier struct {
	socket string
	within time.Duration // the manager wants to hear of the node so often, 0: not at all
}

// ServiceManager is the one that started this process, nil if none did that
// wants to hear of it. A node within another program has none: whether that
// program is ready is not the node's to say.
func ServiceManager() *Notifier {
	socket := os.Getenv("NOTIFY_SOCKET")
	if !strings.HasPrefix(socket, "/") && !strings.HasPrefix(socket, "@") { // "@": an abstract one
		return nil
	}
	n := &Notifier{socket: socket}
	// The variables are for one process, and its children inherit them.
	if pid := os.Getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 {
			n.within = time.Duration(usec) * time.Microsecond
		}
	}
	return n
}

// send sends what there is to say, a line each.
func (n *Notifier) send(lines ...string) error {
	if n == nil {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	// A manager that doesn't read must not hold the node up.
	if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	_, err = c.Write([]byte(strings.Join(lines, "\n")))
	return err
}

// notify tells the service manager something. It can do without; systemd ends
// what it doesn't hear of, and then the log says why.
func (d *daemon) notify(lines ...string) {
	if err := d.cfg.Notify.send(lines...); err != nil {
		d.log.Warn("the service manager can't be told how the node is", "err", err)
	}
}

// report tells the service manager that the node is ready, then that it is well,
// and that it stops once ctx ends.
func (d *daemon) report(ctx context.Context) {
	if d.cfg.Notify == nil {
		return
	}
	status := "STATUS=ready"
	if d.ready.HTTP != "" {
		status += " at " + d.ready.HTTP
	}
	d.notify("READY=1", status)
	defer d.notify("STOPPING=1", "STATUS=stopping")
	if d.cfg.Notify.within == 0 {
		<-ctx.Done()
		return
	}
	every := d.cfg.Notify.within / 2
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := d.answers(ctx, every); err == nil {
			d.notify("WATCHDOG=1")
		} else if ctx.Err() == nil {
			d.log.Warn("this node doesn't answer itself", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// answers asks this node how it is, the way that others do: through its door,
// with a look at the store.
func (d *daemon) answers(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c, err := client.Dial(ctx, client.Config{Socket: Socket(d.cfg.Data)})
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Do(ctx, "GET", "/_node/status", nil, new(Status))
}
