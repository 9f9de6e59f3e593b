package replicate

import (
	"context"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/wire"
)

// maxRunsSent bounds the runs and evidence of one message: half of what is
// taken, so that no other limit of theirs is met first.
const maxRunsSent = wire.MaxFrameRuns / 2

// lacking is the authority commits and evidence that the peer lacks, in as many
// messages as it takes. A commit comes after those that it names. Evidence comes
// last, with what it is evidence for; a commit that needs it to be accepted is
// sent again, since the peer says that it lacks it.
func (c *channel) lacking(o *wire.Open) (frames []wire.Frame, err error) {
	has, err := c.s.n.Ancestry(c.space, o.Heads)
	if err != nil {
		return nil, err
	}
	return authorityFrames(c.s.n, c.space, c.tag, has)
}

// authorityFrames is the authority of a space, without the commits in has.
func authorityFrames(n *node.Node, space sennit.Space, tag wire.Tag, has map[sennit.Hash]bool) (frames []wire.Frame, err error) {
	batch, err := n.Feed(space, nil).Authority(frameBytes, func(id sennit.Hash) bool { return has[id] })
	if err != nil {
		return nil, err
	}
	logs := map[sennit.Hash]wire.Log{}
	for _, l := range batch.Logs {
		logs[l.ID()] = l
	}
	f, size := &wire.AuthorityFrame{Tag: tag}, 0
	room := func(bytes int) {
		if size += bytes; size > bytes && (size > 2*frameBytes || len(f.Runs)+len(f.Evidence) == maxRunsSent) {
			frames = append(frames, f)
			f, size = &wire.AuthorityFrame{Tag: tag}, bytes
		}
	}
	for _, run := range batch.Runs {
		room(len(run.Append(nil)))
		if l, ok := logs[run.Log]; ok {
			f.Logs = append(f.Logs, l)
			delete(logs, run.Log)
		}
		f.Runs = append(f.Runs, run)
	}
	if a := n.Authority(space); a != nil {
		for _, e := range a.Evidence() {
			e := &wire.Evidence{Inception: e.Inception, Events: e.Events}
			room(len(e.Append(nil)))
			f.Evidence = append(f.Evidence, e)
		}
	}
	return append(frames, f), nil
}

// authority takes authority commits and evidence, and says what came of it.
func (c *channel) authority(ctx context.Context, f *wire.AuthorityFrame) error {
	if err := takeAuthority(ctx, c.s.n, c.s.in, c.space, f); err != nil {
		return err
	}
	c.s.proved()
	return c.renew(ctx)
}

// takeAuthority has a node take authority commits and evidence, and waits until
// they count.
func takeAuthority(ctx context.Context, n *node.Node, in *node.Intake, space sennit.Space, f *wire.AuthorityFrame) error {
	known := map[sennit.Hash]bool{} // checking evidence costs several signatures; mostly it is here already
	if a := n.Authority(space); a != nil {
		for _, e := range a.Evidence() {
			known[(&wire.Evidence{Inception: e.Inception, Events: e.Events}).Key()] = true
		}
	}
	for _, e := range f.Evidence {
		if known[e.Key()] {
			continue
		}
		if err := in.Evidence(ctx, space, e); err != nil {
			return err
		}
	}
	for _, l := range f.Logs {
		if l.Space != space || l.Class != wire.Authority {
			return sennit.Errorf(sennit.BadInput, "a log of another space or class")
		}
		if err := in.Log(l); err != nil {
			return err
		}
	}
	for _, run := range f.Runs {
		if err := in.Run(ctx, run); err != nil {
			return err
		}
	}
	if _, err := in.Wait(ctx); err != nil && sennit.CodeOf(err) == sennit.Gone {
		return err
	}
	return nil
}
