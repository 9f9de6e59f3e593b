package node

import (
	"context"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/wire"
)

// ownEvidence is this node's identity as evidence for a space that doesn't
// have it yet.
func (n *Node) ownEvidence(sp *space) []access.Evidence {
	if sp != nil && sp.authority().Proven(n.self) {
		return nil
	}
	return []access.Evidence{n.Evidence()}
}

// Evidence is this node's identity, for other spaces.
func (n *Node) Evidence() access.Evidence {
	return access.Evidence{Inception: n.cfg.Identity.Inception(), Events: n.cfg.Identity.Events()}
}

// Allow writes grants to a space and returns the version of their commit. The
// caller must hold the grant right there.
func (n *Node) Allow(ctx context.Context, c Caller, space sennit.Space, grants []wire.Grant) (sennit.Version, error) {
	sp := n.space(space)
	if sp == nil {
		return "", sennit.Errorf(sennit.NotFound, "this node holds nothing of space %s", space)
	}
	r := &request{space: space, class: wire.Authority, done: make(chan result, 1)}
	for _, g := range grants {
		if !n.may(c, sp, sennit.Grant, g.Prefix) {
			return "", sennit.Errorf(sennit.Denied, "you may not make rules for %s in space %s", g.Prefix, space)
		}
		r.ops = append(r.ops, n.op(sennit.KindGrant, "", g.Append(nil)))
	}
	if space != n.self.Space {
		r.evidence = n.ownEvidence(sp)
	}
	for i := range r.ops {
		r.size += len(r.ops[i].Bytes())
	}
	res := n.submit(ctx, r)
	return res.version, res.err
}
