//go:build !linux

package main

import "os"

// syncData syncs more than the data where there is no fdatasync.
func syncData(f *os.File) error { return f.Sync() }
