// Package sennit is the vocabulary of Sennit, a peer-to-peer state bus: the
// nouns, the error codes, and the one interface, [Bus], that every node offers
// and every door speaks.
//
// Owns: the names of things and their textual forms.
// Promises: standard library only, no I/O, no goroutines, no state.
// Must not know: how anything is encoded, stored, signed or sent.
//
// A reader who is new here reads this package first, then internal/node, which
// is the engine behind the interface.
package sennit

import (
	"context"
	"encoding/base32"
	"encoding/hex"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits that every node enforces on what it writes and on what it accepts.
// They are part of the format: a commit that exceeds one is malformed.
const (
	MaxPath      = 1024          // bytes of a path in canonical form
	MaxDepth     = 32            // components of a path
	MaxComponent = 255           // bytes of one component
	MaxInline    = 64 << 10      // bytes of a value that rides in its op
	MaxOp        = 64<<10 + 2048 // bytes of one encoded op: an inline value and its frame
	MaxOps       = 4096          // ops in one commit
	MaxCommit    = 1 << 20       // bytes of one encoded commit
	MaxType      = 127           // bytes of a media type
	MaxMessage   = 4 << 10       // bytes of a live message
)

// How long live messages count after they were sent.
const (
	MessageLife    = 30 * time.Second // where nothing else is asked for
	MaxMessageLife = time.Minute
)

// Hash is a SHA-256 digest.
type Hash [32]byte

// String is the digest as 64 hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// IsZero reports whether h is all zero, which is never the digest of anything here.
func (h Hash) IsZero() bool { return h == Hash{} }

// ParseHash parses 64 hexadecimal digits.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if b, err := hex.DecodeString(s); err == nil && copy(h[:], b) == len(h) && len(b) == len(h) {
		return h, nil
	}
	return Hash{}, Errorf(BadInput, "%q is not a hash: want 64 hexadecimal digits", s)
}

// Space names a tree with an owner: a person, a partition of a person, a
// group, a board or an app publisher. It is the SHA-256 of the space's
// inception record, so it certifies itself and survives every change of keys.
type Space [32]byte

// lower is base32 in lower case without padding (RFC 4648 section 6): a space
// fits a DNS label.
var lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// String is the space's id: 52 lower-case base32 characters.
func (s Space) String() string { return lower.EncodeToString(s[:]) }

// IsZero reports whether s names nothing.
func (s Space) IsZero() bool { return s == Space{} }

// ParseSpace parses the 52 characters that String gives, and nothing else:
// upper case and stray trailing bits are refused, so that a space has one name.
func ParseSpace(text string) (Space, error) {
	var s Space
	b, err := lower.DecodeString(text)
	if err != nil || len(b) != len(s) || Space(b).String() != text {
		return Space{}, Errorf(BadInput, "%.100q is not a space id: want 52 lower-case base32 characters", text)
	}
	return Space(b), nil
}

// Device is the Ed25519 public key of one installation.
type Device [32]byte

// String is the key as 52 lower-case base32 characters.
func (d Device) String() string { return lower.EncodeToString(d[:]) }

// IsZero reports whether d names nothing.
func (d Device) IsZero() bool { return d == Device{} }

// ParseDevice parses what [Device.String] gives.
func ParseDevice(text string) (Device, error) {
	s, err := ParseSpace(text)
	if err != nil {
		return Device{}, Errorf(BadInput, "%q is not a device key: want 52 lower-case base32 characters", text)
	}
	return Device(s), nil
}

// Principal is who asks or writes: a space, through one of its devices. The
// zero Principal is anybody: it matches only grants to any.
type Principal struct {
	Space  Space
	Device Device
}

// Rights is a set of what a grant lets somebody do.
type Rights uint8

// The rights, in the order in which they are listed.
const (
	Read   Rights = 1 << iota // read, list and watch
	Write                     // set values
	Remove                    // delete what the same grant lets one write ("delete")
	Grant                     // write authority commits
	Mirror                    // keep and serve sealed data
)

// AllRights is what an owner has.
const AllRights = Read | Write | Remove | Grant | Mirror

var rightNames = [...]string{"read", "write", "delete", "grant", "mirror"}

// Names lists the rights in a set, in their order.
func (r Rights) Names() []string {
	names := []string{}
	for i, name := range rightNames {
		if r&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// ParseRights reads what Names gives, in any order.
func ParseRights(names []string) (r Rights, err error) {
	for _, name := range names {
		i := slices.Index(rightNames[:], name)
		if i < 0 {
			return 0, Hint(Errorf(BadInput, "%q is not a right", name), "rights are read, write, delete, grant and mirror")
		}
		r |= 1 << i
	}
	if r == 0 {
		return 0, Errorf(BadInput, "no rights are named")
	}
	return r, nil
}

// Kind says what an op does to its path. Kinds that a node does not know are
// stored and forwarded, never interpreted.
type Kind uint8

// Kinds of data ops, and of authority ops (from KindKey on).
const (
	KindPut    Kind = 1 // set a register
	KindDel    Kind = 2 // delete a value, or a subtree
	KindAdd    Kind = 3 // a log's running total at a counter
	KindAppend Kind = 4 // bytes at the end of a stream
	KindText   Kind = 5 // runs of inserts and deletes
	KindSnap   Kind = 6 // compaction point of a text or stream

	KindKey    Kind = 32 // a key event or inception record
	KindGrant  Kind = 33 // a rule
	KindRevoke Kind = 34 // takes back a grant or removes a principal, with a cut
	KindMember Kind = 35 // a member of a group
)

// Authority reports whether ops of kind k say who may do what. They live in
// commits of their own class.
func (k Kind) Authority() bool { return k >= KindKey && k < 64 }

// Version is the textual name of a version of a value: "<log>-<seq>" of the
// commit that changed it last. Where several ops make a value, as in a counter
// or a stream, "." and 16 hexadecimal digits follow, which tell their set from
// any other: it may change although its newest op doesn't.
type Version string

// Value is a byte stream with a media type.
type Value struct {
	Type   string // media type; "" means application/octet-stream
	Data   []byte // not to be changed by whoever receives it
	Blob   *Blob  // set, and Data empty, when the value is too big for an op
	Stream uint64 // set, and Data empty, when the value is a stream of more than MaxInline bytes: how many
}

// Size is the value's bytes.
func (v Value) Size() uint64 {
	switch {
	case v.Blob != nil:
		return v.Blob.Size
	case v.Stream > 0:
		return v.Stream
	}
	return uint64(len(v.Data))
}

// Blob names a value too big for an op.
type Blob struct {
	Root Hash   // BLAKE3 root
	Size uint64 // bytes
}

// Node is what is known of the value at a path.
type Node struct {
	Path    Path
	Value   Value
	Author  Principal
	Version Version
	Time    time.Time // the writer's clock, to the millisecond; what is finer only counts
}

// Entry is one child in a listing.
type Entry struct {
	Name  string // one component
	Value bool   // the child holds a value
	Dir   bool   // the child has children
}

// Change is one thing to do to one path. Several changes written at once
// become one commit.
type Change struct {
	Kind  Kind // KindPut, KindDel, KindAdd or KindAppend
	Path  Path
	Value Value // of a put; of an append, the bytes that are added, and the stream's type if there is none yet
	Deep  bool  // of a del: the subtree as well
	Delta int64 // of an add: by how much the counter grows

	// If says which version the value at Path must have for the write to be
	// done; "" says that nothing may be there. nil: whatever is there.
	If *Version
}

// Listing asks for the children of a path.
type Listing struct {
	After string // only names that sort after this one
	Limit int    // at most so many entries; 0 means 1,000
}

// Digest says what state a subtree has: two nodes agree about it if and only
// if their digests are equal.
type Digest struct {
	Hash   Hash   // over every live, valid op at and under the path
	Ops    uint64 // how many of them there are
	Cursor Cursor // the state it was computed for
}

// Cursor is an opaque position in a node's order of arrival. It means
// something only to the node that gave it. The zero Cursor is the beginning.
type Cursor struct {
	Epoch uint64 // of the store: changes when a data directory is restored or rebuilt
	N     uint64 // arrivals up to here
}

// Append appends the cursor as text: two decimal numbers with "-" between.
func (c Cursor) Append(dst []byte) []byte {
	dst = strconv.AppendUint(dst, c.Epoch, 10)
	return strconv.AppendUint(append(dst, '-'), c.N, 10)
}

// String is the cursor as text, which [ParseCursor] reads.
func (c Cursor) String() string { return string(c.Append(nil)) }

// ParseCursor reads the text of a cursor.
func ParseCursor(text string) (c Cursor, err error) {
	epoch, n, _ := strings.Cut(text, "-")
	if c.Epoch, err = strconv.ParseUint(epoch, 10, 64); err == nil {
		c.N, err = strconv.ParseUint(n, 10, 64)
	}
	if err != nil {
		return Cursor{}, Errorf(BadInput, "%.60q is not a cursor", text)
	}
	return c, nil
}

// WatchOptions says how to watch.
type WatchOptions struct {
	Since  Cursor // continue after this cursor instead of starting with a snapshot
	Tail   bool   // every change, in order of arrival; else only the latest state of each path
	Newest int    // snapshot: only so many values, newest first; 0 means all, as [Path.Compare] has it
	Queue  int    // bytes that may wait for a slow reader; 0 means 1 MiB

	// Messages says that live messages are wanted as well: those that are sent
	// while the watch is live. Who comes late gets none that were sent before.
	Messages bool

	// Wake, if it is set, lets one goroutine read many watches: after a Next
	// that found nothing and failed because its context had ended, it is called
	// when there may be something. It may be called for nothing, from any
	// goroutine, also before Watch has returned, during a Next, and shortly
	// after Close. It must not block, and must not call the bus or the watch.
	// A bus at the far end of a connection refuses it as [Unsupported].
	Wake func()
}

// UpdateKind says what an [Update] tells.
type UpdateKind uint8

const (
	Set      UpdateKind = iota + 1 // a value is here now
	Deleted                        // the value at Path is gone (Deep: everything under it as well)
	Live                           // the snapshot is complete; what follows are changes
	Reset                          // what was sent is void (access or history changed): a new snapshot follows
	Appended                       // the stream here has grown by Value.Data; where nothing was it begins with that
	Message                        // somebody sent Value to whoever watches Path: a live message, which changes nothing
)

// Update is one step of a watch.
type Update struct {
	Kind   UpdateKind
	Space  Space
	Deep   bool      // of Deleted
	Late   bool      // of Appended: the bytes don't belong at the end, but before some that were told earlier
	Node   Node      // Path is always set for Set, Deleted, Appended and Message; a message has no Version
	Until  time.Time // of a Message: when it is void, by its sender's clock
	Cursor Cursor    // none of a Message: who resumes gets no messages that were sent meanwhile
}

// Watch is a snapshot followed by every later update.
type Watch interface {
	// Next returns the next updates, at least one, waiting for them if need
	// be. What it returned is not touched again. It fails with the context's error, and
	// with [Gone] when the node stops.
	Next(ctx context.Context) ([]Update, error)
	// Close frees what the watch holds. It is safe to call twice.
	Close() error
}

// Content is the bytes of a value of any size, which are read where they are
// wanted. It is for one goroutine at a time.
type Content interface {
	// ReadAt reads like [io.ReaderAt]. It waits for bytes that aren't here yet
	// and that some peer has.
	ReadAt(ctx context.Context, p []byte, off int64) (n int, err error)
	Close() error
}

// Bus is what a node offers to one caller, who is fixed when it is made:
// rights are checked against that caller on every call. Every door is written
// against it and nothing else, and every implementation passes the same suite
// (bustest).
//
// Addresses are resolved by the node: "me", petnames, spaces. Errors carry a
// [Code]. A caller who may not read something gets exactly what an absent
// thing gives: [NotFound].
type Bus interface {
	// Get reads the merged value at a path. Of one that has more than MaxInline
	// bytes it gives what it is, but not the bytes.
	Get(ctx context.Context, a Addr) (Node, error)
	// Open reads the merged value at a path, whatever its size. The content is
	// that of the node's version, even if the value changes meanwhile.
	Open(ctx context.Context, a Addr) (Node, Content, error)
	// At reads what the path showed at a version of it, whatever its size: the
	// value when the change that made the version was the newest of all that
	// the node knows. It takes the right to read there now. It fails with Gone
	// if that is not held any more, as of what was overwritten long ago, and
	// with NotFound if there was no such version, or it deleted the value. The
	// node's version is the one that was asked for; of a counter or a stream,
	// of which the version may be given as [Bus.Write] gave it, with what tells
	// the set of its ops.
	At(ctx context.Context, a Addr, v Version) (Node, Content, error)
	// List lists the children of a path in order of name, and says whether
	// there are more.
	List(ctx context.Context, a Addr, o Listing) (entries []Entry, more bool, err error)
	// Write does all the changes in one commit, or none. It returns when they
	// are durable, with the version of the last. It fails with Conflict if a
	// change has a condition that doesn't hold.
	Write(ctx context.Context, root string, changes []Change) (Version, error)
	// Put sets the value at a path from a stream, whatever its size. It returns
	// when the value is durable. cond is as If in [Change].
	Put(ctx context.Context, a Addr, typ string, content io.Reader, cond *Version) (Version, error)
	// Watch watches values and subtrees, of several spaces if need be. A
	// pattern matches the path itself and everything under it, unless it is
	// exact.
	Watch(ctx context.Context, patterns []Pattern, o WatchOptions) (Watch, error)
	// Send sends a live message, such as who is here, or where a cursor stands,
	// to whoever watches the path and asked for messages, here and at other
	// nodes. Nobody keeps it: it is void after life, which is at most
	// MaxMessageLife, and MessageLife if it is 0. It takes the right to write
	// there. That it was sent is all that is promised: on its way it may be
	// lost, as where too many are sent, or a reader is slow. Of what one device
	// sends to one path a watch never gets an older message after a newer one,
	// and none twice. The value has at most MaxMessage bytes.
	Send(ctx context.Context, a Addr, v Value, life time.Duration) error
	// Digest says what state a subtree has. It fails with Unsupported if the
	// node follows only a part of it.
	Digest(ctx context.Context, a Addr) (Digest, error)
}
