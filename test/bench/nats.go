package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsConns is how many connections the writers share; it makes no difference:
// the server syncs after every single put.
const natsConns = 1

// startNATS runs a NATS server in this process, without a network, and a
// key-value bucket in a file that is synced after every write.
func startNATS(ctx context.Context, dir string, h how) (_ *running, err error) {
	srv, err := server.NewServer(&server.Options{
		DontListen: true, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: dir, SyncAlways: h.durable,
	})
	if err != nil {
		return nil, fmt.Errorf("make a server: %w", err)
	}
	var conns []*nats.Conn
	stop := func() error {
		for _, c := range conns {
			c.Close()
		}
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, stop())
		}
	}()
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		return nil, errors.New("the server isn't ready after 10 s")
	}
	var buckets []jetstream.KeyValue
	for len(buckets) < min(natsConns, h.workers) {
		c, err := nats.Connect("", nats.InProcessServer(srv))
		if err != nil {
			return nil, fmt.Errorf("connect: %w", err)
		}
		conns = append(conns, c)
		js, err := jetstream.New(c, jetstream.WithDefaultTimeout(patience))
		if err != nil {
			return nil, fmt.Errorf("use JetStream: %w", err)
		}
		b, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "bench", History: 1, Storage: jetstream.FileStorage, Replicas: 1})
		if err != nil {
			return nil, fmt.Errorf("make a bucket: %w", err)
		}
		buckets = append(buckets, b)
	}
	return &running{
		name:    "nats",
		version: server.VERSION,
		put: func(ctx context.Context, writer int, key string, value []byte) error {
			_, err := buckets[writer%len(buckets)].Put(ctx, key, value)
			return err
		},
		get: func(ctx context.Context, reader int, key string) ([]byte, error) {
			e, err := buckets[reader%len(buckets)].Get(ctx, key)
			if err != nil {
				return nil, err
			}
			return e.Value(), nil
		},
		stop: stop,
	}, nil
}
