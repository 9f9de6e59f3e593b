package httpdoor_test

import (
	"context"
	"crypto/sha256"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/bustest"
	"github.com/sennit/sennit/client"
	httpdoor "github.com/sennit/sennit/internal/door/http"
)

// house is a door over a model, served on a unix socket and on TCP.
type house struct {
	model  *bustest.Model
	door   *httpdoor.Door
	socket string
	addr   string // of TCP
	tokens tokens
	stop   func() error // ends serving and returns how it ended
}

// tokens are tokens by their text.
type tokens map[string]httpdoor.Token

func (t tokens) Lookup(_ context.Context, hash sennit.Hash) (httpdoor.Token, bool) {
	for text, token := range t {
		if hash == sha256.Sum256([]byte(text)) {
			return token, true
		}
	}
	return httpdoor.Token{}, false
}

// tok is the token of somebody who may do everything.
const tok = "token-of-somebody-trusted"

// newDoor makes a door over a new model. Anonymous callers may read /me/open.
func newDoor(t testing.TB, change func(*httpdoor.Config)) *house {
	t.Helper()
	h := &house{model: bustest.Memory(), tokens: tokens{tok: {May: sennit.AllRights}}}
	cfg := httpdoor.Config{
		Tokens: h.tokens,
		Bus: func(c httpdoor.Caller) sennit.Bus {
			switch {
			case c.Owner():
				return h.model
			case c.Via == httpdoor.ByToken:
				return h.model.Limited(c.Token.Prefixes, c.Token.May)
			}
			return h.model.Limited([]sennit.Addr{{Root: "me", Path: "open"}}, sennit.Read)
		},
		Node: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			switch c := httpdoor.CallerOf(r.Context()); c.Via {
			case httpdoor.BySocket:
				w.Write([]byte(`{"via":"socket"}`))
			case httpdoor.BySession:
				w.Write([]byte(`{"via":"session"}`))
			case httpdoor.ByToken:
				w.Write([]byte(`{"via":"token"}`))
			default:
				w.Write([]byte(`{"via":"nothing"}`))
			}
		}),
		Page: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Write([]byte("<!doctype html><title>the page</title>"))
		}),
	}
	if change != nil {
		change(&cfg)
	}
	door, err := httpdoor.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.door = door
	return h
}

// open makes a door and serves it until the test ends.
func open(t testing.TB, change func(*httpdoor.Config)) *house {
	t.Helper()
	h := newDoor(t, change)
	dir, err := os.MkdirTemp("", "sennit") // the names of sockets must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h.socket = filepath.Join(dir, "s")
	unix, err := net.Listen("unix", h.socket)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = tcp.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var served error
	wg.Go(func() { served = h.door.Serve(ctx, unix, tcp) })
	h.stop = sync.OnceValue(func() error {
		cancel()
		wg.Wait()
		return served
	})
	t.Cleanup(func() {
		if err := h.stop(); err != nil {
			t.Errorf("serving ended with: %v", err)
		}
	})
	return h
}

func (h *house) client(t testing.TB, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (h *house) bySocket() client.Config { return client.Config{Socket: h.socket} }

func (h *house) byTCP(token string) client.Config {
	return client.Config{Origin: "http://" + h.addr, Token: token}
}

func TestBusOverUnixSocket(t *testing.T) {
	bustest.Run(t, func(t *testing.T) sennit.Bus {
		h := open(t, nil)
		return h.client(t, h.bySocket())
	})
}

func TestBusOverTCP(t *testing.T) {
	bustest.Run(t, func(t *testing.T) sennit.Bus {
		h := open(t, nil)
		return h.client(t, h.byTCP(tok))
	})
}

func TestLimitedBusOverTCP(t *testing.T) {
	bustest.RunLimited(t, func(t *testing.T, prefixes []sennit.Addr, may sennit.Rights) (owner, limited sennit.Bus) {
		h := open(t, nil)
		h.tokens["narrow"] = httpdoor.Token{Prefixes: prefixes, May: may}
		return h.client(t, h.bySocket()), h.client(t, h.byTCP("narrow"))
	})
}
