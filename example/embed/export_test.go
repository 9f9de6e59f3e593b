package main

// Program is what the operating system calls.
func Program() { main() }
