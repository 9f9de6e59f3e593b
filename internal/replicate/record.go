package replicate

import (
	"encoding/json"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
)

// This file is about how what is known of who holds what is stored: a local
// record for each space.

const (
	saveEvery  = 10 * time.Minute // that a host is still good is no reason to write at once
	sourcesKey = "sources/"
)

// record is a source as it is stored.
type record struct {
	Host   string    `json:"host"`
	Addrs  []string  `json:"addrs,omitempty"`
	Teller string    `json:"teller,omitempty"`
	Good   time.Time `json:"good,omitzero"`
	Said   time.Time `json:"said,omitzero"`
	Open   bool      `json:"open,omitempty"`
}

// unsaved gives the records that are to be written now, nil for those that are
// to be removed.
func (b *book) unsaved(now time.Time) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, id := range b.gone {
		out[sourcesKey+id.String()] = nil
	}
	b.gone = nil
	for id, p := range b.pages {
		if !p.changed && (!p.stale || now.Sub(p.saved) < saveEvery) {
			continue
		}
		p.changed, p.stale, p.saved = false, false, now
		var all []record
		for _, s := range b.order(p) {
			if s.Chosen && s.Good.IsZero() && len(s.Addrs) == 0 {
				continue // the follow says as much
			}
			r := record{Host: hostText(s.Host), Addrs: s.Addrs, Good: s.Good, Said: s.said, Open: s.open}
			if s.Teller != (Host{}) {
				r.Teller = hostText(s.Teller)
			}
			all = append(all, r)
		}
		key := sourcesKey + id.String()
		if out[key] = nil; len(all) > 0 {
			text, err := json.Marshal(all)
			if err != nil {
				return nil, err
			}
			out[key] = text
		}
	}
	return out, nil
}

// load reads what was stored. What can't be read is forgotten: it was only
// learnt.
func (b *book) load(n *node.Node) error {
	return n.Locals(sourcesKey, func(name string, text []byte) error {
		id, err := sennit.ParseSpace(name[len(sourcesKey):])
		var all []record
		if err != nil || json.Unmarshal(text, &all) != nil {
			return nil
		}
		p := b.page(id)
		for _, r := range all[:min(len(all), maxSources)] {
			host, ok := parseHost(r.Host)
			if !ok {
				continue
			}
			s := &Source{Host: host, Addrs: r.Addrs, Good: r.Good, said: r.Said, open: r.Open}
			s.Teller, _ = parseHost(r.Teller)
			p.sources[host] = s
		}
		return nil
	})
}
