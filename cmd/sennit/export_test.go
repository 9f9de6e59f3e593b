package main

import (
	"bufio"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Program is what the operating system calls.
func Program() { main() }

// Root is the tree of commands.
func Root() *cobra.Command { return (&app{out: bufio.NewWriter(io.Discard), err: io.Discard}).root() }

// Exits is what the exit codes mean, and OwnExits for which commands not.
var Exits = exits

const OwnExits = ownExits

// About is what a command says of itself.
func About(c *cobra.Command) string { return about(c) }

// Option describes a flag.
func Option(f *pflag.Flag) (names, value, usage string) { return option(f) }

// Commands is a command and those below it that people are told of.
func Commands(c *cobra.Command) []*cobra.Command { return commands(c) }

// IsTerminal reports whether somebody reads there.
func IsTerminal(w io.Writer) bool { return isTerminal(w) }

// Schema is the version of what commands print with --json.
const Schema = schema
