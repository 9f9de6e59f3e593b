package node

import (
	"slices"
	"strings"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/access"
	"github.com/sennit/sennit/internal/prefix"
)

// sight is what a caller can read of a space.
type sight struct {
	prefixes []sennit.Path // under which it may read everything; sorted, none under another
	more     bool          // there may be more, which can't be said in prefixes
}

// owns reports whether the caller may read all of a space, whatever happens.
func (b *view) owns(sp *space) bool {
	return b.c.Scope == nil && b.c.Principal == b.n.self && sp.id == b.n.self.Space
}

// sees works out what a caller can read of a space now.
func (n *Node) sees(c Caller, sp *space) (s sight) {
	a := sp.authority()
	s.prefixes = a.Readable(c.Principal, uint64(n.cfg.Now().UnixMilli()))
	if !slices.Equal(s.prefixes, []sennit.Path{""}) {
		s.more = a.Revoked(c.Principal) || slices.ContainsFunc(a.Rules(""), func(r access.Rule) bool {
			return r.Seals || r.Gives&sennit.Read != 0 && strings.Contains(r.Grant.Where, "*")
		})
	}
	if c.Scope == nil {
		return s
	}
	var both []sennit.Path
	for _, p := range s.prefixes {
		for _, sc := range c.Scope {
			switch q, ok := sc.within(sp.id, sennit.Read); {
			case !ok:
			case p.Under(q):
				both = append(both, p)
			case q.Under(p):
				both = append(both, q)
			}
		}
	}
	s.prefixes = prefix.Of(both...)
	return s
}

// any reports whether a caller may read anything of a space.
func (n *Node) any(c Caller, sp *space) bool {
	if c.Scope != nil && !slices.ContainsFunc(c.Scope, func(s Scope) bool {
		_, ok := s.within(sp.id, sennit.Read)
		return ok
	}) {
		return false
	}
	return sp.authority().Sight(c.Principal, "", uint64(n.cfg.Now().UnixMilli())) != access.None
}

func (s sight) same(t sight) bool { return !s.more && !t.more && slices.Equal(s.prefixes, t.prefixes) }

// narrow cuts subtrees down to what can be read of them. It fails with errReset
// if that can't be said: then the caller looks again.
func (s sight) narrow(paths []sennit.Path) (seen []sennit.Path, err error) {
	for _, p := range paths {
		if slices.ContainsFunc(s.prefixes, p.Under) {
			seen = append(seen, p)
			continue
		}
		if s.more {
			return nil, errReset
		}
		for _, q := range s.prefixes {
			if q.Under(p) {
				seen = append(seen, q)
			}
		}
	}
	return seen, nil
}
