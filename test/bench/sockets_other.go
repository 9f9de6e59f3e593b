//go:build !linux

package main

import (
	"context"
	"fmt"
	"runtime"
)

// serveFloor and what follows use epoll and proc(5).
func serveFloor(func(string) error) error { return missing() }

func missing() error {
	return fmt.Errorf("what is measured over sockets %w: it needs Linux, and this is %s", errMissing, runtime.GOOS)
}

func nothing(starter) func(context.Context, *bench, string) ([]point, error) {
	return func(context.Context, *bench, string) ([]point, error) { return nil, missing() }
}

func requests(s starter) func(context.Context, *bench, string) ([]point, error) { return nothing(s) }
func fan(s starter) func(context.Context, *bench, string) ([]point, error)      { return nothing(s) }
func idle(s starter) func(context.Context, *bench, string) ([]point, error)     { return nothing(s) }
