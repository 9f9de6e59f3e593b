package main

import (
	"bufio"
	"io"

	"github.com/spf13/cobra"
)

// Program is what the operating system calls.
func Program() { main() }

// Root is the tree of commands.
func Root() *cobra.Command { return (&app{out: bufio.NewWriter(io.Discard), err: io.Discard}).root() }
