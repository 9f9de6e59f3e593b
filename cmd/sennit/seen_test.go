package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sennit/sennit"
	main "github.com/sennit/sennit/cmd/sennit"
)

// This file looks whether what scripts see the program print with --json is as
// docs/output.md says.

// sight is the variable that names the file in which runs of the program tell
// what they printed.
const sight = "OUTPUTS_SEEN"

// program is the program as scripts run it. With --json, what it prints has to
// be as the document says.
func program() {
	// A terminal gets it untouched, as what it is makes a difference.
	args := os.Args[1:]
	if !slices.Contains(args, "--json") || main.IsTerminal(os.Stdout) {
		main.Program()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	out, errs := &tee{to: os.Stdout}, &tee{to: os.Stderr}
	code := main.Main(ctx, args, os.Stdin, out, errs)
	stop()
	seen, err := printed(args, code, out.kept.Bytes())
	if err == nil {
		err = failed(seen, code, errs.kept.Bytes())
	}
	said := strings.Join(seen, "\n")
	if err != nil {
		said = strings.ReplaceAll(fmt.Sprintf("wrong: sennit %s: %v", strings.Join(args, " "), err), "\n", "; ")
		fmt.Fprintln(os.Stderr, said)
		code = 99
	}
	if err := tell(said); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 99
	}
	os.Exit(code)
}

// tee writes, and keeps what it wrote.
type tee struct {
	to   *os.File
	kept bytes.Buffer
}

func (t *tee) Write(b []byte) (int, error) {
	t.kept.Write(b)
	return t.to.Write(b)
}

// tell adds to what was seen. What is written at once isn't torn apart by
// others that do the same.
func tell(text string) error {
	f, err := os.OpenFile(os.Getenv(sight), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text + "\n")
	return errors.Join(err, f.Close())
}

// key names an output.
func key(command string, o *main.Output) string { return strings.TrimSpace(command + " " + o.With) }

// printed looks whether what a command printed is what it prints, and tells
// which outputs these were.
func printed(args []string, code int, out []byte) (seen []string, err error) {
	cmd, _, err := main.Root().Find(args)
	if err != nil {
		return nil, nil // it says so itself
	}
	name := commandName(cmd)
	if name == "config" {
		name = "config show" // which it does
	}
	given := func(end string) bool {
		return slices.ContainsFunc(args, func(arg string) bool { return strings.HasSuffix(arg, end) })
	}
	var able []main.Output
	one := false // there is exactly one value
	for _, o := range main.Outputs[name] {
		if (o.With == "" || given(o.With)) && (o.Without == "" || !given(o.Without)) {
			if o.Example == nil {
				return []string{key(name, &o)}, nil
			}
			able, one = append(able, o), !o.Lines
		}
	}
	one = one && len(able) == 1
	lines := 0
	for line := range bytes.Lines(out) {
		lines++
		o, err := among(name, able, line)
		if err != nil {
			return nil, err
		}
		seen = append(seen, key(name, o))
	}
	if code == 0 && one && lines != 1 {
		return nil, fmt.Errorf("it printed %d values, not one", lines)
	}
	if code == 0 && len(main.Outputs[name]) == 0 {
		seen = append(seen, name)
	}
	return seen, nil
}

// among finds the output that a line is.
func among(name string, able []main.Output, line []byte) (*main.Output, error) {
	var fails error
	for i, o := range able {
		s := shapeOf(reflect.TypeOf(o.Example))
		err := fitsLine(&s, line)
		if err == nil {
			return &able[i], nil
		}
		fails = errors.Join(fails, fmt.Errorf("as %q: %w", key(name, &o), err))
	}
	if fails == nil {
		fails = fmt.Errorf("it is to print nothing, and prints %.40q", line)
	}
	return nil, fails
}

func fitsLine(s *shape, line []byte) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return err
	}
	if rest := bytes.TrimSpace(line[dec.InputOffset():]); len(rest) > 0 {
		return fmt.Errorf("after a value comes %.40q", rest)
	}
	return s.fits(v, "the value")
}

// failed looks whether a command that ended with an exit code said why.
func failed(seen []string, code int, errs []byte) error {
	if code == 0 || slices.Contains(seen, "status --check") {
		return nil
	}
	lines := bytes.Split(bytes.TrimSpace(errs), []byte("\n"))
	last := lines[len(lines)-1]
	s := shapeOf(reflect.TypeOf(main.Failure))
	err := fitsLine(&s, last)
	var said struct{ Error struct{ Code sennit.Code } }
	if err == nil {
		err = json.Unmarshal(last, &said)
	}
	if err != nil {
		return fmt.Errorf("the error %q: %w", last, err)
	}
	if said.Error.Code.Exit() != code {
		return fmt.Errorf("the error is %q, the exit code %d", said.Error.Code, code)
	}
	return nil
}

// lookedAt fails the test if a script saw something else than what is
// documented, or, after all of them ran, if one of the outputs was not seen.
func lookedAt(t *testing.T, path string, all bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "wrong: ") {
			t.Error(line)
		}
		seen[line] = true
	}
	if !all || t.Failed() {
		return
	}
	for name, outputs := range main.Outputs {
		for _, o := range outputs {
			if !seen[key(name, &o)] {
				t.Errorf("no script runs %q with --json", key(name, &o))
			}
		}
		if len(outputs) == 0 && !seen[name] {
			t.Errorf("no script runs %q with --json", name)
		}
	}
}
