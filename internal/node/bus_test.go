package node_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/bustest"

	"github.com/sennit/sennit/internal/node"
)

func TestBus(t *testing.T) {
	bustest.Run(t, func(t *testing.T) sennit.Bus {
		n := open(t, vfs.NewMem())
		return n.Bus(n.Owner())
	})
}

func TestLimitedBus(t *testing.T) {
	bustest.RunLimited(t, func(t *testing.T, prefixes []sennit.Addr, may sennit.Rights) (owner, limited sennit.Bus) {
		n := open(t, vfs.NewMem())
		c := n.Owner()
		for _, a := range prefixes {
			c.Scope = append(c.Scope, node.Scope{Space: n.Self().Space, Prefix: a.Path, May: may})
		}
		return n.Bus(n.Owner()), n.Bus(c)
	})
}
