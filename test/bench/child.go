package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxSaid is how much is kept of what a process says on standard error.
const maxSaid = 2000

// child is a process that a measurement started. It ends when the measurement
// does, whatever the reason.
type child struct {
	name string
	cmd  *exec.Cmd
	end  context.CancelFunc
	out  *bufio.Reader
	said tail
}

func spawn(ctx context.Context, program string, args ...string) (*child, error) {
	ctx, end := context.WithCancel(ctx)
	c := &child{name: filepath.Base(program), end: end, cmd: exec.CommandContext(ctx, program, args...)}
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGTERM) }
	c.cmd.WaitDelay = 10 * time.Second
	c.cmd.Stderr = &c.said
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		end()
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	c.out = bufio.NewReader(out)
	return c, nil
}

// until reads lines of what the process prints up to one that has a text, and
// gives that.
func (c *child) until(text string) (string, error) {
	for {
		line, err := c.out.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("%s ended (%w), having said: %s", c.name, err, c.said.text())
		}
		if strings.Contains(line, text) {
			return line, nil
		}
		fmt.Fprintf(&c.said, "%s", line)
	}
}

// tells reads the next line that is a JSON object.
func (c *child) tells(v any) error {
	line, err := c.until("{")
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(line), v); err != nil {
		return fmt.Errorf("%s printed %.200q: %w", c.name, line, err)
	}
	return nil
}

// stop ends the process and waits until it has. How it took that says nothing.
func (c *child) stop() error {
	c.end()
	var exit *exec.ExitError
	if err := c.cmd.Wait(); err != nil && !errors.As(err, &exit) && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("stop %s: %w", c.name, err)
	}
	return nil
}

// memory is a line of proc(5)'s status of the process, such as VmRSS, in bytes.
func (c *child) memory(line string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("look at the memory of %s: %w", c.name, err)
	}
	for text := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(text, line+":"); ok {
			k, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			if err != nil {
				return 0, fmt.Errorf("look at the memory of %s: %w", c.name, err)
			}
			return k * 1024, nil
		}
	}
	return 0, fmt.Errorf("look at the memory of %s: there is no %s", c.name, line)
}

// tail keeps the end of what is written.
type tail struct {
	mu   sync.Mutex
	last []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	t.last = t.last[max(0, len(t.last)-maxSaid):]
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.last))
}
