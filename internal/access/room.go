package access

import "github.com/sennit/sennit"

// Bounds of a space's authority. MaxSize is part of validity: everybody
// refuses a bigger commit. The others protect a node, and need an owner or a
// holder of the grant right to be reached; beyond them two nodes may hold
// different commits. Others than the owner can use up half of each, so that
// the owner always has room.
const (
	MaxSize    = 128 << 10 // bytes of one authority commit's op bodies: a revocation with all its cuts fits
	MaxCommits = 1 << 16   // authority commits
	MaxRules   = 1 << 14   // grants and revocations
	MaxStrata  = 64        // how often a right can be handed on; part of validity
	MaxBytes   = 64 << 20  // bytes of all op bodies
	MaxWeight  = 64 << 20  // bytes of memory for ancestries; a plain history of MaxCommits takes a quarter
)

// Bounds of evidence. A principal whom a rule names by its space always finds
// room beside the strangers whom only a rule for any or for a device lets in.
const (
	MaxStrangers = 1 << 14   // principals, beyond which only those that a rule names by their space are taken
	MaxEvidence  = 128 << 20 // bytes of all evidence; strangers' at most half
	MaxLineage   = 512       // key events of one principal, on all branches
)

// usage counts what is bounded.
type usage struct{ commits, rules, bytes, weight int }

func (u usage) plus(v usage) usage {
	return usage{u.commits + v.commits, u.rules + v.rules, u.bytes + v.bytes, u.weight + v.weight}
}

// within reports whether u takes at most 1/share of the bounds.
func (u usage) within(share int) bool {
	return u.commits <= MaxCommits/share && u.rules <= MaxRules/share &&
		u.bytes <= MaxBytes/share && u.weight <= MaxWeight/share
}

// room reports whether a commit fits, and counts it. Others than the owner
// have half of each bound to themselves, but what a commit of the owner's
// names must come in whoever wrote it: otherwise a node whose half was filled
// in another order could never take the owner's commit.
func (s *step) room(d *draft, st standing, cost usage) bool {
	used, foreign := s.used.plus(cost), s.foreign
	if !st.owner {
		if foreign = foreign.plus(cost); !foreign.within(2) {
			if s.pulled == nil {
				s.pull()
			}
			if !s.pulled[d.ID] {
				return false
			}
		}
	}
	if !used.within(1) {
		return false
	}
	s.used, s.foreign = used, foreign
	return true
}

// pull collects what the owner's commits among those offered descend from.
func (s *step) pull() {
	s.pulled = make(map[sennit.Hash]bool)
	byID := make(map[sennit.Hash]*draft)
	var todo []*draft
	for _, d := range s.drafts {
		byID[d.ID] = d
		if s.standing(d.Author, true).owner {
			todo = append(todo, d)
		}
	}
	for len(todo) > 0 {
		d := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, h := range d.Heads {
			if next := byID[h]; next != nil && !s.pulled[h] {
				s.pulled[h] = true
				todo = append(todo, next)
			}
		}
	}
}
