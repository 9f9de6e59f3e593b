package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"go.etcd.io/etcd/api/v3/version"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// runEtcd runs an etcd of one member in this process. It syncs its log before it
// acknowledges a write.
func runEtcd(dir string) (*embed.Etcd, error) {
	// Its gateway calls it at the port that it was told, which therefore can't be 0.
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	cfg := embed.NewConfig()
	clients, peers := []url.URL{{Scheme: "http", Host: local(port).String()}}, []url.URL{{Scheme: "http", Host: local(0).String()}}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = clients, clients
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = peers, peers
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.Dir, cfg.LogLevel, cfg.MaxTxnOps = dir, "panic", fillBatch // it calls its own stopping an error
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	select {
	case <-e.Server.ReadyNotify():
		return e, nil
	case err = <-e.Err():
	case <-time.After(patience):
		err = errors.New("it isn't ready")
	}
	e.Close()
	return nil, fmt.Errorf("start etcd: %w", err)
}

// startEtcd uses it by calls within the process, without gRPC's connections.
func startEtcd(_ context.Context, dir string, _ how) (*running, error) {
	e, err := runEtcd(dir)
	if err != nil {
		return nil, err
	}
	c := v3client.New(e.Server)
	return &running{
		name:    "etcd",
		version: version.Version,
		put: func(ctx context.Context, _ int, key string, value []byte) error {
			_, err := c.Put(ctx, key, string(value))
			return err
		},
		get: func(ctx context.Context, _ int, key string) ([]byte, error) {
			got, err := c.Get(ctx, key, clientv3.WithSerializable()) // of one member it is as good as the default, and faster
			if err != nil {
				return nil, err
			}
			if len(got.Kvs) != 1 {
				return nil, fmt.Errorf("%d values at %s", len(got.Kvs), key)
			}
			return got.Kvs[0].Value, nil
		},
		many: func(ctx context.Context, keys []string, values [][]byte) error {
			ops := make([]clientv3.Op, len(keys))
			for i := range keys {
				ops[i] = clientv3.OpPut(keys[i], string(values[i]))
			}
			_, err := c.Txn(ctx).Then(ops...).Commit()
			return err
		},
		stop: func() error {
			err := c.Close()
			e.Close()
			if errors.Is(err, context.Canceled) { // that is how it says that it was closed
				err = nil
			}
			return err
		},
	}, nil
}
