package store

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
)

// The first byte of a key says what it is. Spaces and logs go by local 4-byte
// numbers, given in order of first sight.
//
//	m <name>                          what the store knows of itself
//	x <name>                          the node's own state (settings, follows, invitations)
//	s <space 32>                      number of a space
//	k <space>                         state of a space: clock u64, flags u8, folds u32, ops, kept, dropped u64
//	l <number>                        record of a log (docs/formats/commits.md)
//	c <log> <seq u64>                 commit (docs/formats/stored.md)
//	o <log> <seq u64> <index u16>     op
//	n <log> <level> <index u64>       node of a log's id tree
//	a <space> <arrival u64>           what arrived when: log u32, seq u64, and if there is more to say flags u8, masks
//	w <space> <log> <seq u64>         commit that waits, not applied or not wholly: bytes u32, u8 1 if some of it was
//	e <space> <key 32>                evidence
//	f <space> <log id 32>             fork proof, behind the time when it was found: u64, in ms since 1970
//	p <space> <path> <slot>           index: live ops by path, and of a stream what it comes to
//	q <space> <path> <slot> <clock u64> <log> <seq u64> <index u16>
//	                                  index: live ops of slots that hold many, oldest first: bytes that they add to a stream
//	b <root 32> <size u64> <space> <path>
//	                                  a put there named the blob; it may be gone
//	t <space> <folds u32> ...         trie of digests (package tree)
//	d <space> <folds u32>             arrival u64 up to which the trie is up to date
//
// All but b, c, o, n, l, s, e, f, m and x can be rebuilt from those, except for
// what an arrival says was beaten.
const (
	keyMeta    = 'm'
	keyLocal   = 'x'
	keySpace   = 's'
	keyState   = 'k'
	keyLog     = 'l'
	keyCommit  = 'c'
	keyOp      = 'o'
	keyNode    = 'n'
	keyArrival = 'a'
	keyWaiting = 'w'
	keyProof   = 'e'
	keyFork    = 'f'
	keyIndex   = 'p'
	keyMany    = 'q'
	keyBlob    = 'b'
	keyTrie    = 't'
	keyTrieAt  = 'd'
)

func key(tag byte, num uint32) []byte {
	return binary.BigEndian.AppendUint32(append(make([]byte, 0, 48), tag), num)
}

func commitKey(dst []byte, log uint32, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(append(dst, keyCommit), log), seq)
}

func opKey(dst []byte, log uint32, seq uint64, index uint32) []byte {
	dst = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(append(dst, keyOp), log), seq)
	return binary.BigEndian.AppendUint16(dst, uint16(index))
}

func nodeKey(dst []byte, log uint32, at commit.Place) []byte {
	dst = append(binary.BigEndian.AppendUint32(append(dst, keyNode), log), at.Level)
	return binary.BigEndian.AppendUint64(dst, at.Index)
}

func arrivalKey(dst []byte, space uint32, n uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(append(dst, keyArrival), space), n)
}

func waitingKey(space, log uint32, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(key(keyWaiting, space), log), seq)
}

// pathKey is the index key of a path without a slot. Each component ends in
// 0x00, which no component holds; slots are 0x01-0x0f, with which no component
// starts. So a path's own slots sort before its children, a subtree is one
// range, and 0x01 in place of a component's 0x00 is just after its subtree.
func pathKey(dst []byte, space uint32, p sennit.Path) []byte {
	return pathKeyIn(dst, keyIndex, space, p)
}

// pathKeyIn is pathKey for one of the parts of the index.
func pathKeyIn(dst []byte, tag byte, space uint32, p sennit.Path) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, tag), space)
	if p == "" {
		return dst
	}
	at := len(dst)
	dst = append(append(dst, p...), 0)
	for i := at; i < len(dst); i++ {
		if dst[i] == '/' {
			dst[i] = 0
		}
	}
	return dst
}

// splitPathKey reads an index key back: the path, and what follows it (the
// slot, and for slots that hold several ops their place in order).
func splitPathKey(k []byte) (p sennit.Path, slot []byte, ok bool) {
	if len(k) < 6 {
		return "", nil, false
	}
	k = k[5:]
	end := bytes.LastIndexByte(trimSlot(k), 0)
	if end < 0 {
		return "", k, true
	}
	return sennit.Path(strings.ReplaceAll(string(k[:end]), "\x00", "/")), k[end+1:], true
}

// trimSlot cuts a key behind the last byte of its path: slots hold binary
// data, in which a zero byte isn't a component's end. A component starts with
// a byte above 0x0f, a slot with one below.
func trimSlot(k []byte) []byte {
	at := 0
	for at < len(k) && k[at] > 0x0f {
		end := bytes.IndexByte(k[at:], 0)
		if end < 0 {
			return k[:at]
		}
		at += end + 1
	}
	return k[:at]
}

// after is the end of the range of keys that start with prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
