package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// machine is where figures come from; without it they mean nothing.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	FS     string `json:"fs"` // type of the file system that was measured
	Go     string `json:"go"`
}

// look describes this machine. What can't be learnt is "unknown", as most is
// where there is no /proc.
func look(dir string) machine {
	m := machine{CPU: "unknown", Cores: runtime.NumCPU(), Kernel: "unknown", FS: fileSystem(dir), Go: runtime.Version()}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = runtime.GOOS + " " + strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	return m
}

// fileSystem is the type of what is mounted nearest above a directory. Of two
// mounts at one place the later hides the earlier.
func fileSystem(dir string) string {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "unknown"
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	fs, nearest := "unknown", -1
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line) // device, place, type, ...; spaces are escaped
		if len(f) < 3 {
			continue
		}
		at := strings.TrimSuffix(strings.ReplaceAll(f[1], `\040`, " "), "/")
		if len(at) >= nearest && (dir == at || strings.HasPrefix(dir, at+"/")) {
			fs, nearest = f[2], len(at)
		}
	}
	return fs
}

// inMemory says that syncing does nothing there.
func (m machine) inMemory() bool { return m.FS == "tmpfs" || m.FS == "ramfs" }

// busy says how many processes wanted to run over the last minutes.
func busy() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	f := strings.Fields(string(b))
	return strings.Join(f[:min(3, len(f))], " ")
}
