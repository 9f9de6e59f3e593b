package embed_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/bustest"
	"github.com/sennit/sennit/client"
	"github.com/sennit/sennit/embed"
)

func open(t *testing.T, dir string) *embed.Node {
	t.Helper()
	n, err := embed.Open(t.Context(), embed.Config{Data: dir, HTTP: "127.0.0.1:0", Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Reserve: "0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("the node ended with %v", err)
		}
	})
	return n
}

// TestBus holds the node to the contract, as a program sees it that embeds it,
// and as one does that comes to it by its socket.
func TestBus(t *testing.T) {
	t.Run("inside", func(t *testing.T) {
		bustest.Run(t, func(t *testing.T) sennit.Bus { return open(t, t.TempDir()).Bus() })
	})
	t.Run("over its socket", func(t *testing.T) {
		bustest.Run(t, func(t *testing.T) sennit.Bus {
			dir := t.TempDir()
			open(t, dir)
			c, err := client.Dial(t.Context(), client.Config{Socket: embed.Socket(dir)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			return c
		})
	})
}

func TestWhatWasWrittenIsThereAgain(t *testing.T) {
	dir := t.TempDir()
	n := open(t, dir)
	if resp, err := http.Get(n.HTTP() + "/"); err != nil || resp.StatusCode != http.StatusOK || len(n.Peer()) == 0 {
		t.Errorf("the page at %s answers %v, %v; peers come to %v", n.HTTP(), resp, err, n.Peer())
	} else {
		resp.Body.Close()
	}
	put := sennit.Change{Kind: sennit.KindPut, Path: "a", Value: sennit.Value{Data: []byte("1")}}
	if _, err := n.Bus().Write(t.Context(), "me", []sennit.Change{put}); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	<-n.Done()
	again := open(t, dir)
	if got, err := again.Bus().Get(t.Context(), sennit.Addr{Root: again.Space(), Path: "a"}); err != nil || string(got.Value.Data) != "1" || again.Space() != n.Space() {
		t.Errorf("after a restart: %q, %v", got.Value.Data, err)
	}
}

func TestWhatCanNotStart(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	for name, c := range map[string]struct {
		cfg  embed.Config
		want sennit.Code
	}{
		"no directory":       {embed.Config{}, sennit.BadInput},
		"one that is in use": {embed.Config{Data: dir}, sennit.Conflict},
		"a bad address":      {embed.Config{Data: t.TempDir(), Listen: []string{"everywhere"}}, sennit.BadInput},
		"a bad size":         {embed.Config{Data: t.TempDir(), Reserve: "much"}, sennit.BadInput},
	} {
		if n, err := embed.Open(t.Context(), c.cfg); sennit.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want the code %q", name, err, c.want)
			if err == nil {
				n.Close()
			}
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := embed.Open(ended, embed.Config{Data: t.TempDir(), Listen: []string{"/ip4/127.0.0.1/tcp/0"}}); err == nil {
		t.Error("it started although nobody wanted that any more")
	}
}

// TestCallsThatAreUnderWayEndWithTheNode closes a node on which others read, and
// hold what they have not read to the end.
func TestCallsThatAreUnderWayEndWithTheNode(t *testing.T) {
	for range 5 {
		n := open(t, t.TempDir())
		bus := n.Bus()
		var changes []sennit.Change
		for i := range 2000 {
			changes = append(changes, sennit.Change{Kind: sennit.KindPut, Path: sennit.Path(fmt.Sprintf("d/%d", i)), Value: sennit.Value{Data: []byte("x")}})
		}
		changes = append(changes, sennit.Change{Kind: sennit.KindAppend, Path: "s", Value: sennit.Value{Data: []byte("one")}},
			sennit.Change{Kind: sennit.KindAppend, Path: "s", Value: sennit.Value{Data: []byte("two")}})
		if _, err := bus.Write(t.Context(), "me", changes); err != nil {
			t.Fatal(err)
		}
		// A watch amid its snapshot, and a stream that is open, hold a state of the store.
		w, err := bus.Watch(t.Context(), []sennit.Pattern{{Root: "me"}}, sennit.WatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, content, err := bus.Open(t.Context(), sennit.Addr{Root: "me", Path: "s"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := content.ReadAt(t.Context(), make([]byte, 2), 0); err != nil {
			t.Fatal(err)
		}
		var reading, begun sync.WaitGroup
		for range 8 {
			begun.Add(1)
			reading.Go(func() {
				begin := sync.OnceFunc(begun.Done)
				defer begin()
				for {
					_, _, err := bus.List(t.Context(), sennit.Addr{Root: "me", Path: "d"}, sennit.Listing{})
					if err == nil {
						_, err = bus.Digest(t.Context(), sennit.Addr{Root: "me"})
					}
					if err == nil {
						_, err = bus.Get(t.Context(), sennit.Addr{Root: "me", Path: "d/7"})
					}
					if err != nil {
						if sennit.CodeOf(err) != sennit.Gone {
							t.Errorf("a read ended with %v", err)
						}
						return
					}
					begin()
				}
			})
		}
		begun.Wait() // they are amid their work
		if err := n.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
		reading.Wait()
		if _, err := w.Next(t.Context()); sennit.CodeOf(err) != sennit.Gone {
			t.Errorf("the watch ended with %v", err)
		}
		if _, err := content.ReadAt(t.Context(), make([]byte, 3), 3); err != nil && sennit.CodeOf(err) != sennit.Gone {
			t.Errorf("the stream ended with %v", err)
		}
		if err := errors.Join(w.Close(), content.Close()); err != nil {
			t.Error(err)
		}
		if _, err := bus.Write(t.Context(), "me", changes[:1]); sennit.CodeOf(err) != sennit.Gone {
			t.Errorf("a write to a node that stopped: %v", err)
		}
	}
}
