package embed_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/embed"
)

// A node in a program: a value is set, and read again.
func Example() {
	dir, err := os.MkdirTemp("", "sennit")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	node, err := embed.Open(ctx, embed.Config{Data: dir, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Reserve: "0"})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()

	hello := sennit.Change{Kind: sennit.KindPut, Path: "notes/hello", Value: sennit.Value{Type: "text/plain", Data: []byte("hello, world")}}
	if _, err := node.Bus().Write(ctx, "me", []sennit.Change{hello}); err != nil {
		log.Fatal(err)
	}
	got, err := node.Bus().Get(ctx, sennit.Addr{Root: "me", Path: "notes/hello"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(got.Value.Data))
	// Output: hello, world
}
