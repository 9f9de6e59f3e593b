package files

import (
	"context"
	"errors"
	"io"
	"time"

	"lukechampine.com/blake3"

	"github.com/sennit/sennit"
)

// value is what is known of a value without its bytes.
type value struct {
	content
	version sennit.Version
	unread  bool // a stream, whose hash only its bytes tell
}

// valueOf is what a node says of its value.
func valueOf(n sennit.Node) value {
	v := value{version: n.Version, content: content{size: n.Value.Size(), exec: isExec(n.Value.Type)}}
	switch {
	case n.Value.Blob != nil:
		v.hash = n.Value.Blob.Root
	case n.Value.Stream > 0:
		v.unread = true
	default:
		v.hash = blake3.Sum256(n.Value.Data)
	}
	return v
}

// mirror is the values under a path as a watch tells of them, by name. It takes
// none of their bytes.
type mirror struct {
	at     sennit.Path
	values map[string]value
	live   bool          // the snapshot is complete
	begun  sennit.Cursor // behind the newest snapshot
}

func newMirror(at sennit.Path) *mirror { return &mirror{at: at, values: map[string]value{}} }

// apply does what an update says.
func (m *mirror) apply(u sennit.Update) {
	p := u.Node.Path
	switch u.Kind {
	case sennit.Live:
		m.live, m.begun = true, u.Cursor
	case sennit.Reset:
		m.values, m.live = map[string]value{}, false
	case sennit.Deleted:
		if u.Deep {
			for name := range m.values {
				if m.at.Join(sennit.Path(name)).Under(p) {
					delete(m.values, name)
				}
			}
		} else if p.Under(m.at) {
			delete(m.values, nameOf(m.at, p))
		}
	case sennit.Set:
		if p.Under(m.at) && !p.Reserved() {
			m.values[nameOf(m.at, p)] = valueOf(u.Node)
		}
	case sennit.Appended:
		if p.Under(m.at) && !p.Reserved() {
			m.values[nameOf(m.at, p)] = value{version: u.Node.Version, unread: true}
		}
	}
}

// dirs is the names that have values below them.
func (m *mirror) dirs() names {
	all := names{}
	for name := range m.values {
		all.addParents(name)
	}
	return all
}

// snapshot tells what values there are under a path. That at the path itself,
// which no file in the directory stands for, is left out.
func snapshot(ctx context.Context, bus sennit.Bus, at sennit.Addr) (*mirror, error) {
	m, err := readMirror(ctx, bus, at.Path, []sennit.Pattern{{Root: at.Root, Path: string(at.Path)}})
	if err == nil {
		delete(m.values, "")
	}
	return m, err
}

// stall is how long a node may bring nothing.
const stall = 30 * time.Second

// readMirror reads a watch up to the end of its snapshot.
func readMirror(ctx context.Context, bus sennit.Bus, at sennit.Path, patterns []sennit.Pattern) (*mirror, error) {
	w, err := bus.Watch(ctx, patterns, sennit.WatchOptions{})
	if err != nil {
		return nil, err
	}
	defer w.Close()
	m := newMirror(at)
	for !m.live {
		waiting, stop := context.WithTimeout(ctx, stall)
		updates, err := w.Next(waiting)
		stop()
		if err != nil && ctx.Err() == nil && waiting.Err() != nil {
			// A watch waits for a node that went away until it is back.
			err = sennit.Hint(sennit.Errorf(sennit.Unreachable, "the node has not answered for %s", stall), "see whether it runs, and do this again: it goes on where it was")
		}
		if err != nil {
			return nil, err
		}
		for _, u := range updates {
			m.apply(u)
		}
	}
	return m, nil
}

// tries is how often a value is opened that changes while it is read.
const tries = 5

// readValue reads a value from its beginning to its end. f is called anew when
// the value changes meanwhile.
func readValue(ctx context.Context, bus sennit.Bus, a sennit.Addr, f func(sennit.Node, io.Reader) error) error {
	var err error
	for range tries {
		if err = readOnce(ctx, bus, a, f); sennit.CodeOf(err) != sennit.Conflict {
			return err
		}
	}
	return err
}

func readOnce(ctx context.Context, bus sennit.Bus, a sennit.Addr, f func(sennit.Node, io.Reader) error) error {
	n, c, err := bus.Open(ctx, a)
	if err != nil {
		return err
	}
	return errors.Join(f(n, &valueReader{ctx: ctx, Content: c}), c.Close())
}

// hashValue reads a value to tell what it holds.
func hashValue(ctx context.Context, bus sennit.Bus, a sennit.Addr) (v value, err error) {
	err = readValue(ctx, bus, a, func(n sennit.Node, r io.Reader) error {
		v = valueOf(n)
		v.unread = false
		var err error
		v.hash, v.size, err = hashOf(r)
		return err
	})
	return v, err
}
