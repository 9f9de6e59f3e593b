package files

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"lukechampine.com/blake3"

	"github.com/sennit/sennit"
)

// agreed is what both sides of a name were when they last agreed.
type agreed struct {
	content
	version sennit.Version
	mtime   int64 // of the file, in nanoseconds since 1970: with the size it tells whether to read it again
	seen    int64 // when it was read, likewise
}

// settleTime is how much older than a look a file's time must be for a later
// change to show in it: some file systems count in steps of two seconds.
const settleTime = 3 * time.Second

// unchanged reports whether a file is as it was when it was last read.
func (a *agreed) unchanged(s stat) bool {
	return a.size == uint64(s.size) && a.mtime == s.mtime && (a.exec == s.exec || !keepsMode) && a.seen-a.mtime > int64(settleTime)
}

// state is what a sync remembers.
type state struct {
	at    string        // the address of the tree that the directory is kept the same as
	since sennit.Cursor // as in syncer
	todo  []Older       // likewise
	names map[string]agreed
}

// Limits of a state file. One that is larger is as good as damaged.
const (
	maxState     = 1 << 30 // bytes
	maxStateLine = 16 << 10
)

// stateHead is the first line of a state file, and stateLine each of the
// others but the last.
type stateHead struct {
	Format int    `json:"sennit-sync"`
	At     string `json:"at"`
	Since  string `json:"since,omitempty"`
}

type stateLine struct {
	Name    string `json:"name"`
	Hash    string `json:"hash"` // BLAKE3, hexadecimal
	Size    uint64 `json:"size"`
	Exec    bool   `json:"exec,omitempty"`
	Version string `json:"version"`
	MTime   int64  `json:"mtime"`
	Seen    int64  `json:"seen"`
}

// todoLine is a line of what was overtaken and isn't kept yet.
type todoLine struct {
	Overtaken string    `json:"overtaken"` // the path
	Version   string    `json:"version"`
	Time      time.Time `json:"time"`
	Type      string    `json:"type,omitempty"`
	Hash      string    `json:"hash"`
	Size      uint64    `json:"size"`
}

const stateFormat = 1

// encodeState is a state as a file: lines of JSON, and one with the BLAKE3 hash
// of all before it.
func encodeState(s state) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	head := stateHead{Format: stateFormat, At: s.at}
	if s.since != (sennit.Cursor{}) {
		head.Since = s.since.String()
	}
	if err := e.Encode(head); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(s.names)) {
		a := s.names[name]
		if err := e.Encode(stateLine{name, a.hash.String(), a.size, a.exec, string(a.version), a.mtime, a.seen}); err != nil {
			return nil, err
		}
	}
	for _, o := range s.todo {
		if err := e.Encode(todoLine{string(o.Path), string(o.Version), o.Time, o.Type, o.Hash.String(), o.Size}); err != nil {
			return nil, err
		}
	}
	sum := blake3.Sum256(b.Bytes())
	b.WriteString(hex.EncodeToString(sum[:]) + "\n")
	return b.Bytes(), nil
}

var errDamaged = errors.New("the state file is damaged")

// decodeState reads what encodeState gives.
func decodeState(r io.Reader) (state, error) {
	lines := bufio.NewScanner(io.LimitReader(r, maxState))
	lines.Buffer(nil, maxStateLine)
	hasher := blake3.New(32, nil)
	s := state{names: map[string]agreed{}}
	var head bool
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) > 0 && line[0] != '{' {
			if lines.Scan() || !head || string(line) != hex.EncodeToString(hasher.Sum(nil)) {
				return state{}, errDamaged
			}
			return s, lines.Err()
		}
		hasher.Write(line)
		hasher.Write([]byte{'\n'})
		if !head {
			var h stateHead
			if err := json.Unmarshal(line, &h); err != nil || h.Format != stateFormat {
				return state{}, errDamaged
			}
			if h.Since != "" {
				var err error
				if s.since, err = sennit.ParseCursor(h.Since); err != nil {
					return state{}, errDamaged
				}
			}
			s.at, head = h.At, true
			continue
		}
		var l struct {
			stateLine
			Overtaken string    `json:"overtaken"`
			Time      time.Time `json:"time"`
			Type      string    `json:"type"`
		}
		if err := json.Unmarshal(line, &l); err != nil {
			return state{}, errDamaged
		}
		hash, err := sennit.ParseHash(l.Hash)
		if l.Overtaken != "" {
			p, bad := sennit.ParsePath(l.Overtaken)
			if err != nil || bad != nil || len(s.todo) == maxTodo {
				return state{}, errDamaged
			}
			s.todo = append(s.todo, Older{p, sennit.Version(l.Version), l.Time, l.Type, hash, l.Size})
			continue
		}
		if p, bad := sennit.ParsePath(l.Name); err != nil || bad != nil || string(p) != l.Name || p == "" {
			return state{}, errDamaged
		}
		s.names[l.Name] = agreed{content{hash, l.Size, l.Exec}, sennit.Version(l.Version), l.MTime, l.Seen}
	}
	return state{}, errDamaged // it has no end
}

// loadState reads a state file. One that is missing or damaged is no state, and
// told apart by there.
func (d *disk) loadState(ctx context.Context, name string) (s state, there bool, err error) {
	f, err := d.open(ctx, name, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, false, nil
	}
	if err != nil {
		return state{}, false, failed(err, "read %s", name)
	}
	defer f.Close()
	s, err = decodeState(f.f)
	if err != nil && !errors.Is(err, errDamaged) && !errors.Is(err, bufio.ErrTooLong) {
		return state{}, false, failed(err, "read %s", name)
	}
	return s, err == nil, nil
}

// saveState writes a state file, durably and at once.
func (d *disk) saveState(name string, s state) error {
	b, err := encodeState(s)
	if err != nil {
		return err
	}
	var was *stat
	if now, err := d.lstat(name); err == nil {
		was = &now
	}
	_, err = d.place(name, false, was, func(w io.Writer) error {
		_, err := w.Write(b)
		if f, ok := w.(interface{ Sync() error }); ok && err == nil && !d.volatile {
			err = f.Sync()
		}
		return err
	})
	if err != nil {
		return failed(err, "write %s", filepath.Join(d.root.Name(), name))
	}
	return nil
}
