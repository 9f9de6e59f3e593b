package node

import (
	"context"
	"slices"
	"strings"

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
	return n.authorize(ctx, sp, r)
}

// authorize writes an authority commit.
func (n *Node) authorize(ctx context.Context, sp *space, r *request) (sennit.Version, error) {
	if sp.id != n.self.Space {
		r.evidence = n.ownEvidence(sp)
	}
	for i := range r.ops {
		r.size += len(r.ops[i].Bytes())
	}
	res := n.submit(ctx, r)
	return res.version, res.err
}

// Revocation takes rights back.
type Revocation struct {
	Who    wire.Who    // from whom, or which grant
	Prefix sennit.Path // at and under
	Void   bool        // what was written with those rights goes as well; otherwise what is here of it stays
}

// Revoke writes revocations to a space and returns the version of their commit.
// The caller must hold the grant right there.
func (n *Node) Revoke(ctx context.Context, c Caller, space sennit.Space, revocations []Revocation) (sennit.Version, error) {
	sp := n.space(space)
	if sp == nil {
		return "", sennit.Errorf(sennit.NotFound, "this node holds nothing of space %s", space)
	}
	r := &request{space: space, class: wire.Authority, done: make(chan result, 1)}
	for _, v := range revocations {
		if !n.may(c, sp, sennit.Grant, v.Prefix) {
			return "", sennit.Errorf(sennit.Denied, "you may not revoke anything for %s in space %s", v.Prefix, space)
		}
		if v.Who.Subject == wire.SubjectSpace && v.Who.Key == space {
			return "", sennit.Hint(sennit.Errorf(sennit.BadInput, "a space can't revoke itself: nobody would be left to own it"), "name one device")
		}
		body := wire.Revoke{Who: v.Who, Prefix: v.Prefix}
		if !v.Void {
			var err error
			if body.Cuts, err = n.cuts(sp, v.Who); err != nil {
				return "", err
			}
		}
		r.ops = append(r.ops, n.op(sennit.KindRevoke, "", body.Append(nil)))
	}
	return n.authorize(ctx, sp, r)
}

// cuts is the last commits that are here of the logs of whoever a revocation is
// about. Of a log that forked it is that of the branch that came first.
func (n *Node) cuts(sp *space, who wire.Who) (cuts []wire.Cut, err error) {
	v, err := n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	for _, l := range n.st.Logs(sp.num) {
		switch who.Subject {
		case wire.SubjectSpace:
			if l.Rec.Principal != sennit.Space(who.Key) {
				continue
			}
		case wire.SubjectDevice:
			if l.Rec.Device != who.Key {
				continue
			}
		default: // whoever a grant lets write; what others wrote doesn't depend on it
			if l.Rec.Principal == sp.id {
				continue
			}
		}
		if n.st.Log(l.ID) != l {
			continue // another branch
		}
		cut := wire.Cut{Log: l.ID}
		if cut.Seq, err = v.Size(l.Num); err != nil {
			return nil, err
		}
		if cut.Seq == 0 {
			continue // nothing of it is accepted, as of a log that isn't listed
		}
		rec, err := v.Commit(l.Num, cut.Seq)
		if err != nil {
			return nil, err
		}
		if rec == nil {
			return nil, sennit.Hint(sennit.Errorf(sennit.Internal, "the newest commit of log %s isn't here", l.ID), "run: sennit doctor --verify")
		}
		cut.Last = rec.ID
		cuts = append(cuts, cut)
	}
	if len(cuts) > wire.MaxCuts {
		return nil, sennit.Hint(sennit.Errorf(sennit.TooLarge, "%d logs were written with these rights; a revocation can name %d", len(cuts), wire.MaxCuts),
			"revoke the rights of each author, or void what was written")
	}
	slices.SortFunc(cuts, func(a, b wire.Cut) int { return strings.Compare(string(a.Log[:]), string(b.Log[:])) })
	return cuts, nil
}
