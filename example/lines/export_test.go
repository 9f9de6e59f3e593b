package main

// Program is what the operating system calls.
func Program() { main() }

// MaxLine is how long a line may be.
const MaxLine = maxLine
