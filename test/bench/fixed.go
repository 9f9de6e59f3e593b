package main

// Of what is measured over TCP.
const (
	clientCount = 50     // connections that put and get over HTTP
	idleCount   = 10_000 // subscribers to whom nothing happens, if so many files may be open
)
