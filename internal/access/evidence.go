package access

import (
	"slices"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/wire"
)

// claimed is evidence that was offered.
type claimed struct {
	Evidence
	done    bool
	refusal Refusal
}

// hear takes in the owner's key events, and evidence of others that is due.
func (s *step) hear(evidence []Evidence) {
	owner := s.owner
	for _, ev := range evidence {
		c := &claimed{Evidence: ev}
		space := ev.Inception.Space()
		c.refusal.Space = space
		s.heard = append(s.heard, c)
		if slices.Contains(ev.Events, nil) {
			c.done = true
			c.fail(sennit.Errorf(sennit.BadInput, "a key event is missing"))
		} else if space == s.space {
			if l, err := s.owner.hear(ev); err != nil {
				c.fail(err)
			} else {
				s.owner = l
			}
			c.done = true
		} else {
			s.claims[space] = append(s.claims[space], c)
			for _, e := range ev.Events {
				if e.Type == wire.DeviceAdd {
					s.devices[e.Device] = append(s.devices[e.Device], space)
				}
			}
		}
	}
	var inc *wire.Inception
	var events []*wire.KeyEvent
	for _, d := range s.drafts {
		if events = append(events, d.events...); d.inc != nil {
			inc = d.inc
		}
	}
	if inc != nil || len(events) > 0 {
		s.owner = s.owner.tell(inc, events)
	}
	if s.owner.digest != owner.digest {
		s.out.Spaces = append(s.out.Spaces, s.space)
	}
	for _, c := range s.heard {
		if !c.done {
			s.prove(c.refusal.Space)
		}
	}
}

func (c *claimed) fail(err error) {
	c.refusal.Reason, c.refusal.Err = Malformed, err
	if sennit.CodeOf(err) == sennit.OverQuota {
		c.refusal.Reason = Full
	}
}

// prove takes the evidence about a space, if a rule names it by now.
func (s *step) prove(space sennit.Space) {
	if len(s.claims[space]) == 0 {
		return
	}
	l, known := s.others.get(sennit.Hash(space))
	named := len(s.by[subject{wire.SubjectSpace, space}]) > 0
	covered := known || named || len(s.by[subject{kind: wire.SubjectAny}]) > 0
	for _, c := range s.claims[space] {
		for _, e := range c.Events {
			covered = covered || e.Type == wire.DeviceAdd && len(s.by[subject{wire.SubjectDevice, e.Device}]) > 0
		}
	}
	if !covered {
		return
	}
	if !known {
		l = newLineage(space)
	}
	room := MaxEvidence
	if !named {
		room /= 2
	}
	was := l
	for _, c := range s.claims[space] {
		n, err := l.hear(c.Evidence)
		c.done = true
		switch {
		case err != nil:
			c.fail(err)
		case n == l:
		case !named && !known && s.others.n >= MaxStrangers, s.kept+n.bytes-l.bytes > room:
			c.refusal.Reason = Full
			c.refusal.Err = sennit.Errorf(sennit.OverQuota, "there is no room for the evidence of %v", space)
		default:
			s.kept += n.bytes - l.bytes
			l = n
		}
	}
	delete(s.claims, space)
	if l == was {
		return
	}
	s.others = s.others.put(sennit.Hash(space), l.digest, l)
	s.out.Spaces = append(s.out.Spaces, space)
	s.ready = append(s.ready, s.unproven[space]...)
	delete(s.unproven, space)
}
