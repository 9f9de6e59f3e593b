package replicate

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/wire"
)

// This file is about raw commits outside of sessions: in a file, say, that is
// carried from one node to another.

// An op stream is
//
//	"sennit ops 1\n" | space 32 bytes | for each message: length u32 | message
//
// The messages are those of a session (docs/formats/replication.md), numbered
// from 0, with a tag of zeros: authority, then ops, of which the last says that
// it is the last.
const opMagic = "sennit ops 1\n"

// WriteOps writes what a node holds of a space, as far as it arrived after
// since, without what may leaves out. It tells up to which arrival it got.
func WriteOps(ctx context.Context, n *node.Node, space sennit.Space, may node.Filter, since uint64, w io.Writer) (upTo uint64, err error) {
	out := bufio.NewWriterSize(w, frameBytes)
	number := uint64(0)
	send := func(f wire.Frame) error {
		msg := wire.AppendFrame(nil, number, f)
		number++
		if _, err := out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(msg)))); err != nil {
			return err
		}
		_, err := out.Write(msg)
		return cmp.Or(err, ctx.Err())
	}
	if _, err := out.WriteString(opMagic + string(space[:])); err != nil {
		return 0, err
	}
	frames, err := authorityFrames(n, space, wire.Tag{}, nil)
	if err != nil {
		return 0, err
	}
	for _, f := range frames {
		if err := send(f); err != nil {
			return 0, err
		}
	}
	feed := n.Feed(space, may)
	for at := since; ; {
		batch, err := feed.After(at, frameBytes, nil)
		if err != nil {
			return at, err
		}
		at = batch.N
		done := batch.N >= batch.Last
		if err := send(&wire.Ops{Up: at, Caught: done, Batch: wire.Batch{Logs: batch.Logs, Runs: batch.Runs}}); err != nil {
			return at, err
		}
		if done {
			return at, out.Flush()
		}
	}
}

// ReadOps has a node take an op stream: each commit is checked and admitted as
// if a peer had sent it. It tells how many ops were new here. What came before
// an error was taken. The node must follow the space, or hold it.
func ReadOps(ctx context.Context, n *node.Node, r io.Reader) (space sennit.Space, added int, err error) {
	in := bufio.NewReaderSize(r, frameBytes)
	head := make([]byte, len(opMagic)+len(space))
	if _, err := io.ReadFull(in, head); err != nil || string(head[:len(opMagic)]) != opMagic {
		return space, 0, sennit.Errorf(sennit.BadInput, "this is no stream of ops")
	}
	space = sennit.Space(head[len(opMagic):])
	if ok, err := takes(n, space); !ok || err != nil {
		if err == nil {
			err = sennit.Hint(sennit.Errorf(sennit.Denied, "the ops are of space %s, which this node doesn't follow", space), "follow it first: sennit follow "+space.String())
		}
		return space, 0, err
	}
	intake := n.Intake()
	defer func() {
		more, werr := intake.Wait(ctx)
		added += more
		err = cmp.Or(err, werr)
	}()
	for number := uint64(0); ; number++ {
		f, err := readFrame(in, number)
		if err != nil {
			return space, added, err
		}
		switch f := f.(type) {
		case *wire.AuthorityFrame:
			if err := takeAuthority(ctx, n, intake, space, f); err != nil {
				return space, added, err
			}
		case *wire.Ops:
			if err := takeOps(ctx, intake, space, f); err != nil {
				return space, added, err
			}
			if f.Caught {
				return space, added, nil
			}
		default:
			return space, added, sennit.Errorf(sennit.BadInput, "message %d has no place among ops", number)
		}
	}
}

// takes reports whether a node takes commits of a space from elsewhere.
func takes(n *node.Node, space sennit.Space) (bool, error) {
	follows, err := n.Follows()
	return space == n.Self().Space || slices.ContainsFunc(follows, func(f node.Follow) bool { return f.Space == space }), err
}

func readFrame(r io.Reader, number uint64) (wire.Frame, error) {
	var size [4]byte
	early := func(err error) error {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return sennit.Hint(sennit.Errorf(sennit.BadInput, "the stream of ops ends early"), "what came before was taken; get the rest, and push all of it again")
		}
		return err
	}
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, early(err)
	}
	length := binary.BigEndian.Uint32(size[:])
	if length > wire.MaxFrame {
		return nil, sennit.Errorf(sennit.BadInput, "message %d says that it has %d bytes", number, length)
	}
	msg := make([]byte, length)
	if _, err := io.ReadFull(r, msg); err != nil {
		return nil, early(err)
	}
	got, f, err := wire.DecodeFrame(msg)
	if err == nil && (got != number || wire.TagOf(f) != wire.Tag{}) {
		err = sennit.Errorf(sennit.BadInput, "message %d came instead of message %d", got, number)
	}
	return f, err
}

func takeOps(ctx context.Context, in *node.Intake, space sennit.Space, f *wire.Ops) error {
	for _, l := range f.Logs {
		if l.Space != space || l.Class != wire.Data {
			return sennit.Errorf(sennit.BadInput, "a log of another space or class")
		}
		if err := in.Log(l); err != nil {
			return err
		}
	}
	for _, run := range f.Runs {
		var behind *node.Behind
		switch err := in.Run(ctx, run); {
		case errors.As(err, &behind):
			return sennit.Hint(sennit.Errorf(sennit.Conflict, "commits of log %s that come first are not here", run.Log), "push a stream from the beginning")
		case sennit.CodeOf(err) == sennit.Denied: // an op without a right is no reason to give up
		case err != nil:
			return err
		}
	}
	return nil
}
