package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/nats-io/nats-server/v2/server"
	"go.etcd.io/etcd/api/v3/version"
)

// serveWord has this program be a server instead, for its own measurements:
// then the server has a process of its own, as others have.
const serveWord = "serve"

// serving is what such a server prints when it can be reached.
type serving struct {
	Addr    string `json:"addr"`
	Version string `json:"version"`
}

// served takes the arguments of such a server apart.
func served(args []string) (name, dir string, ok bool) {
	if len(args) != 4 || args[1] != serveWord {
		return "", "", false
	}
	return args[2], args[3], true
}

// serve runs until the process is ended.
func serve(name, dir string, out io.Writer) error {
	ready := json.NewEncoder(out)
	switch name {
	case "nats":
		srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
		if err != nil {
			return fmt.Errorf("make a server: %w", err)
		}
		srv.Start()
		if !srv.ReadyForConnections(patience) {
			return fmt.Errorf("the server isn't ready after %s", patience)
		}
		if err := ready.Encode(serving{srv.Addr().String(), server.VERSION}); err != nil {
			return fmt.Errorf("say where it is: %w", err)
		}
		srv.WaitForShutdown()
		return nil
	case "etcd":
		e, err := runEtcd(dir)
		if err != nil {
			return err
		}
		if err := ready.Encode(serving{e.Clients[0].Addr().String(), version.Version}); err != nil {
			return fmt.Errorf("say where it is: %w", err)
		}
		return <-e.Err()
	case "floor":
		return serveFloor(func(addr string) error { return ready.Encode(serving{Addr: addr}) })
	}
	return fmt.Errorf("there is no server %q", name)
}

// What is said to the floor, and what it says.
const (
	floorJoin   = "join"
	floorJoined = "good"
	floorGo     = "go.."
	floorDone   = "done"
)
