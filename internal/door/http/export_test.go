package httpdoor

import "github.com/sennit/sennit"

// What reads a client's bytes.
var (
	ParseCommit  = parseCommit
	SplitPatches = splitPatches
	IsWallclock  = isWallclock
	Newer        = newer
)

// ParseTarget reads a request's target and writes its path again.
func ParseTarget(raw string) (addr sennit.Addr, slash, plain bool, again string, err error) {
	t, err := parseTarget(raw)
	again = string(appendEscaped(nil, t.addr.String()))
	if t.slash {
		again += "/"
	}
	return t.addr, t.slash, err == nil && !t.front && t.health == "" && !t.metrics && !t.wild, again, err
}
