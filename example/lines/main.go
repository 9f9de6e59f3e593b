// Command lines is a node with a door of its own: whatever can speak lines of
// text over TCP reads and writes values with it. The door is in door.go, and is
// written against [sennit.Bus] and nothing else; the node is inside the program.
//
//	go run ./example/lines -data /tmp/lines -listen 127.0.0.1:7711
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"

	"github.com/sennit/sennit/embed"
)

func main() {
	data := flag.String("data", "data", "the directory for the node's data")
	listen := flag.String("listen", "127.0.0.1:7711", "the address of the door; whoever can connect acts as the owner")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *data, *listen); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, data, listen string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	defer l.Close()
	node, err := embed.Open(ctx, embed.Config{Data: data, Reserve: "1GiB"})
	if err != nil {
		return err
	}
	fmt.Println("listening on", l.Addr())
	err = Serve(ctx, l, node.Bus())
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, node.Close())
}
