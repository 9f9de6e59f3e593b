package wire

import (
	"encoding/binary"
	"slices"

	"github.com/sennit/sennit"
)

// Cursor of a node's store in messages: epoch u64, n uvarint.
func appendCursor(dst []byte, c sennit.Cursor) []byte {
	return binary.AppendUvarint(binary.BigEndian.AppendUint64(dst, c.Epoch), c.N)
}

func (r *reader) cursor() sennit.Cursor { return sennit.Cursor{Epoch: r.u64(), N: r.uvarint(1 << 62)} }

// Open says what its sender holds of a space, and begins or renews its
// replication. It answers an interest, or another open.
//
//	tag | authority digest hash | heads list of hashes | scope list of paths | interest list of paths |
//	digest hash | ops uvarint | at cursor | since cursor | newest uvarint | sizes list of (log 8 bytes, commits uvarint), by log
//
// Heads, scope, interest and sizes ascend, and nothing is in them twice. Of
// interest, no path is under another.
type Open struct {
	Tag       Tag
	Authority sennit.Hash   // digest of the authority that everything below was judged by
	Heads     []sennit.Hash // of the authority commits, sorted
	Scope     []sennit.Path // prefixes that the receiver may read, sorted
	Interest  []sennit.Path // what the sender takes, and keeps up to date
	Digest    sennit.Hash   // over the prefixes that are in both scope and interest, in order
	Ops       uint64        // live ops there
	At        sennit.Cursor // of the sender's store, when it worked the digest out
	Since     sennit.Cursor // the sender has everything that arrived at the receiver up to here
	Newest    uint64        // so many values are wanted before everything else, if the sender has nothing yet
	Sizes     []LogSize     // trees of logs that the sender has, sorted by log
}

// LogSize says how many commits of a log a node has the tree of.
type LogSize struct {
	Log  [8]byte // beginning of its id
	Size uint64
}

func (*Open) frame() FrameType { return FrameOpen }

func (o *Open) append(dst []byte) []byte {
	dst = append(append(dst, o.Tag[:]...), o.Authority[:]...)
	dst = appendHashes(dst, o.Heads)
	dst = appendPaths(appendPaths(dst, o.Scope), o.Interest)
	dst = binary.AppendUvarint(append(dst, o.Digest[:]...), o.Ops)
	dst = binary.AppendUvarint(appendCursor(appendCursor(dst, o.At), o.Since), o.Newest)
	dst = binary.AppendUvarint(dst, uint64(len(o.Sizes)))
	for _, s := range o.Sizes {
		dst = binary.AppendUvarint(append(dst, s.Log[:]...), s.Size)
	}
	return dst
}

func (r *reader) open() *Open {
	o := &Open{Tag: r.tag8(), Authority: r.hash(), Heads: r.hashes(MaxHeads)}
	for i := range o.Heads {
		if i > 0 && string(o.Heads[i-1][:]) >= string(o.Heads[i][:]) {
			r.fail("heads out of order")
		}
	}
	o.Scope = r.prefixes("scope")
	o.Interest = r.prefixes("interest")
	for _, p := range o.Interest {
		for p != "" {
			p = p.Parent()
			if _, twice := slices.BinarySearch(o.Interest, p); twice {
				r.fail("an interest under another")
			}
		}
	}
	o.Digest, o.Ops, o.At, o.Since, o.Newest = r.hash(), r.uvarint(1<<62), r.cursor(), r.cursor(), r.uvarint(MaxNewest)
	o.Sizes = make([]LogSize, r.count(MaxFrameLogs, 9))
	for i := range o.Sizes {
		o.Sizes[i] = LogSize{r.tag8(), r.uvarint(MaxSeq)}
		if i > 0 && string(o.Sizes[i-1].Log[:]) >= string(o.Sizes[i].Log[:]) {
			r.fail("sizes out of order")
		}
	}
	return o
}
