package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sennit/sennit"
)

// What clients can take.
const (
	maxLine    = sennit.MaxInline + 4<<10 // bytes: the largest value that fits an op, and its path
	maxClients = 100                      // who comes when there are so many waits
	patience   = 10 * time.Second         // for answers to leave
)

// Serve answers whoever connects, until ctx ends. A line is a command:
//
//	get PATH         is answered with: value "VALUE"
//	set PATH VALUE   ok VERSION; VALUE is what is left of the line
//	rm PATH          ok VERSION
//	watch PATH       from then on whatever happens is a line: set, append, rm, live
//	                 or reset, then "PATH" within the space, and "VALUE"; after rm a
//	                 slash ends the path if all that was under it is gone
//
// A value that doesn't fit a line is shown as "". What can't be done is answered
// with: error CODE message. After a line that makes no sense the connection
// ends: a browser can be made to send a request to any port, and there may be
// lines that look like commands in its body. Serve returns why it took no more
// connections, net.ErrClosed if ctx ended.
func Serve(ctx context.Context, l net.Listener, bus sennit.Bus) error {
	var clients errgroup.Group
	clients.SetLimit(maxClients)
	defer clients.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	context.AfterFunc(ctx, func() { l.Close() })
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		clients.Go(func() error { serve(ctx, c, bus); return nil })
	}
}

// serve does the commands of one client.
func serve(ctx context.Context, c net.Conn, bus sennit.Bus) {
	var watches errgroup.Group
	watches.SetLimit(16) // behind one more, this client's commands wait
	defer watches.Wait()
	ctx, end := context.WithCancel(ctx)
	defer end()
	context.AfterFunc(ctx, func() { c.Close() })
	say := func(line string, err error) {
		if err != nil {
			line = fmt.Sprintf("error %s %s\n", sennit.CodeOf(err), strings.ReplaceAll(err.Error(), "\n", " "))
		}
		_ = c.SetWriteDeadline(time.Now().Add(patience)) // if it is closed, writing fails too
		if _, err := io.WriteString(c, line); err != nil {
			end()
		}
	}
	in := bufio.NewScanner(c)
	in.Buffer(nil, maxLine)
	for in.Scan() {
		verb, rest, _ := strings.Cut(in.Text(), " ")
		path, value, _ := strings.Cut(rest, " ")
		a, err := sennit.ParseAddr(path)
		change := sennit.Change{Kind: sennit.KindPut, Path: a.Path, Value: sennit.Value{Type: "text/plain", Data: []byte(value)}}
		switch {
		case err != nil:
			say("", err)
			return
		case verb == "get":
			n, err := bus.Get(ctx, a)
			say(fmt.Sprintf("value %q\n", n.Value.Data), err)
		case verb == "rm":
			change = sennit.Change{Kind: sennit.KindDel, Path: a.Path}
			fallthrough
		case verb == "set":
			v, err := bus.Write(ctx, a.Root, []sennit.Change{change})
			say(fmt.Sprintf("ok %s\n", v), err)
		case verb == "watch":
			watches.Go(func() error { say("", watch(ctx, bus, a, say)); return nil })
		default:
			say("", sennit.Errorf(sennit.BadInput, "%.20q is none of get, set, rm and watch", verb))
			return
		}
	}
	if in.Err() == bufio.ErrTooLong {
		say("", sennit.Errorf(sennit.TooLarge, "a line has at most %d bytes", maxLine))
	}
}

// watch says what happens at and under a path, until ctx ends.
func watch(ctx context.Context, bus sennit.Bus, a sennit.Addr, say func(string, error)) error {
	w, err := bus.Watch(ctx, []sennit.Pattern{{Root: a.Root, Path: string(a.Path)}}, sennit.WatchOptions{})
	if err != nil {
		return err
	}
	defer w.Close()
	words := map[sennit.UpdateKind]string{sennit.Set: "set", sennit.Appended: "append", sennit.Deleted: "rm", sennit.Live: "live", sennit.Reset: "reset"}
	for {
		updates, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, u := range updates {
			if u.Deep {
				u.Node.Path += "/"
			}
			say(fmt.Sprintf("%s %q %q\n", words[u.Kind], u.Node.Path, u.Node.Value.Data), nil)
		}
	}
}
