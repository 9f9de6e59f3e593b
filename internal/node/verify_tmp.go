package node

import (
	"context"

	"github.com/sennit/sennit"
)

// Finding is something that is wrong, and what to do about it.
type Finding struct{ What, Where, Do string }

// Verify checks the store. It can't yet, and says so.
func (n *Node) Verify(context.Context, func(done, total uint64)) ([]Finding, error) {
	return nil, sennit.Errorf(sennit.Unsupported, "the store can't be verified yet")
}
