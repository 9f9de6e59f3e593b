package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/store"
)

// startSennit runs a node's engine over a store on the disk. It is all that a
// node does for a put but the door: checks, signature, hashes, index, watchers.
func startSennit(ctx context.Context, dir string, _ how) (*running, error) {
	id, err := keys.Create(dir, keys.Options{DeviceName: "bench", Now: time.Now()})
	if err != nil {
		return nil, err
	}
	st, err := store.Open(store.Config{Dir: filepath.Join(dir, "store")})
	if err != nil {
		return nil, err
	}
	n, err := node.New(node.Config{Store: st, Identity: id, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	var (
		wg  sync.WaitGroup
		end error
	)
	wg.Go(func() { end = n.Run(ctx) })
	bus := n.Bus(n.Owner())
	return &running{
		name:    "sennit",
		version: fmt.Sprintf("store format %d", store.Version),
		put: func(ctx context.Context, _ int, key string, value []byte) error {
			_, err := bus.Write(ctx, "me", []sennit.Change{{Kind: sennit.KindPut, Path: sennit.Path(key), Value: sennit.Value{Data: value}}})
			return err
		},
		get: func(ctx context.Context, _ int, key string) ([]byte, error) {
			got, err := bus.Get(ctx, sennit.Addr{Root: "me", Path: sennit.Path(key)})
			return got.Value.Data, err
		},
		many: func(ctx context.Context, keys []string, values [][]byte) error {
			changes := make([]sennit.Change, len(keys))
			for i := range keys {
				changes[i] = sennit.Change{Kind: sennit.KindPut, Path: sennit.Path(keys[i]), Value: sennit.Value{Data: values[i]}}
			}
			_, err := bus.Write(ctx, "me", changes)
			return err
		},
		stop: func() error {
			cancel()
			wg.Wait()
			return errors.Join(end, st.Close())
		},
	}, nil
}
