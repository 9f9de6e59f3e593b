// Command embed has a node inside it: it sets a value, and prints what a watch
// tells of it. Run it with a directory for the node's data:
//
//	go run ./example/embed -data /tmp/hello
package main

import (
	"context"
	"flag"
	"fmt"
	"log"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/embed"
)

func main() {
	data := flag.String("data", "data", "the directory for the node's data")
	flag.Parse()
	ctx := context.Background()
	node, err := embed.Open(ctx, embed.Config{Data: *data, Reserve: "1GiB"})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	hello := sennit.Change{Kind: sennit.KindPut, Path: "notes/hello", Value: sennit.Value{Data: []byte("hello, world")}}
	if _, err := node.Bus().Write(ctx, "me", []sennit.Change{hello}); err != nil {
		log.Fatal(err)
	}
	watch, err := node.Bus().Watch(ctx, []sennit.Pattern{{Root: "me", Path: "notes"}}, sennit.WatchOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer watch.Close()
	updates, err := watch.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(updates[0].Node.Path, string(updates[0].Node.Value.Data))
}
